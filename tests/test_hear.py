"""A model of the user's own: a toy module of the HEAR API through everything, and what is said of a wrong one."""

import importlib
import json
import re
import shutil
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch
from support import ROOT, aesens

from aesens.app.run import copies
from aesens.models import MODELS, ModelError, load_model
from aesens.models.base import NoUntrainedWeights
from aesens.models.hear import register_module
from aesens.models.weights import WeightsError
from aesens.plots import titles as names
from aesens.study import Study
from aesens.syntax import EditedError

TOY = textwrap.dedent(
    '''
    """Log energies of 12 bands, weighted."""
    import torch

    pretrained = False


    class Toy(torch.nn.Module):
        sample_rate = 16000
        scene_embedding_size = 12

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(1 + 0.1 * torch.randn(12))


    def load_model(model_file_path=""):
        model = Toy()
        if model_file_path:
            model.load_state_dict(torch.load(model_file_path, weights_only=True))
        return model


    def get_scene_embeddings(audio, model):
        bands = torch.fft.rfft(audio).abs()[:, :18000].unflatten(1, (12, -1)).mean(dim=2)
        return torch.log1p(bands) * model.weight
    '''
)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr("aesens.models.MODELS", dict(MODELS))


def registry():
    """The models of this test."""
    from aesens import models

    return models.MODELS


@pytest.fixture
def toy(tmp_path):
    """The toy module and a weights file for it."""
    (tmp_path / "toy_hear.py").write_text(TOY)
    torch.save({"weight": torch.linspace(0.5, 1.5, 12)}, tmp_path / "toy.pt")
    return tmp_path / "toy_hear.py", tmp_path / "toy.pt"


def waves(number=3):
    return np.random.default_rng(0).standard_normal((number, 48_000)).astype(np.float32) * 0.1


def test_a_module_by_its_path(toy):
    module, weights = toy
    model = load_model(f"hear:{module}", weights_file=weights, device="cpu")
    assert (model.name, model.sample_rate, model.dimension) == ("hear-toy_hear", 16_000, 12)
    assert model.weights.pretrained and "toy.pt" in model.weights.source
    spectrum = np.abs(np.fft.rfft(waves(), axis=1))[:, :18_000].reshape(3, 12, -1).mean(axis=2)
    np.testing.assert_allclose(
        model.embed(waves()), np.log1p(spectrum) * np.linspace(0.5, 1.5, 12), rtol=1e-4
    )


def test_a_module_by_its_dotted_name(toy, monkeypatch):
    monkeypatch.syspath_prepend(toy[0].parent)
    assert load_model("hear:toy_hear", device="cpu").name == "hear-toy_hear"


def test_what_counts_as_pretrained(toy):
    place = f"hear:{toy[0]}"
    first, again, other = (load_model(place, seed=seed, device="cpu") for seed in (1, 1, 2))
    assert not first.weights.pretrained
    np.testing.assert_array_equal(first.embed(waves()), again.embed(waves()))
    assert np.abs(first.embed(waves()) - other.embed(waves())).max() > 1e-3
    assert not load_model(place, weights="untrained", weights_file=toy[1], device="cpu").weights.pretrained
    with pytest.raises(ModelError, match="--weights-file"):
        load_model(place, weights="pretrained", device="cpu")
    own = toy[0].with_name("own_hear.py")
    own.write_text(TOY + "\npretrained = True\n")
    assert load_model(f"hear:{own}", weights="pretrained", device="cpu").weights.word == "pretrained"
    with pytest.raises(NoUntrainedWeights, match="brings its own"):
        load_model(f"hear:{own}", weights="untrained", device="cpu")


def test_a_module_that_does_not_say_what_it_is(toy, own_cache):
    silent = toy[0].with_name("silent.py")
    silent.write_text(TOY.replace("pretrained = False\n", ""))
    model = load_model(f"hear:{silent}", device="cpu")
    assert not model.weights.pretrained and model.weights.word == "undeclared"
    with pytest.raises(NoUntrainedWeights, match="does not say pretrained = False"):
        load_model(f"hear:{silent}", weights="untrained", device="cpu")
    assert load_model(f"hear:{silent}", weights_file=toy[1], device="cpu").weights.word == "pretrained"
    assert names.model_title("hear-silent", False) == "silent (undeclared)"
    assert names.model_title("hear-silent", True) == "silent"
    study = Study("tiny", models=f"hear:{silent}")
    assert study.policies("hear-silent") == ["auto"]


def test_what_determines_an_embedding_is_in_its_address(toy):
    module, weights = toy
    digests = {load_model(f"hear:{module}", weights_file=weights, device="cpu").weights.digest}
    torch.save({"weight": torch.ones(12)}, weights)
    digests.add(load_model(f"hear:{module}", weights_file=weights, device="cpu").weights.digest)
    changed = module.with_name("changed.py")
    changed.write_text(TOY.replace("log1p", "sqrt"))
    digests.add(load_model(f"hear:{changed}", weights_file=weights, device="cpu").weights.digest)
    assert len(digests) == 3


OWN = """
import torch
from pathlib import Path
import {name}.deep as deep
pretrained = True
{declared}

class Scaled(torch.nn.Module):
    sample_rate, scene_embedding_size = 16000, 1

def load_model(path=""):
    model = Scaled()
    model.scale = float(Path(__file__).with_name("own.txt").read_text())
    return model

def get_scene_embeddings(audio, model):
    return model.scale * deep.level(audio)
"""


def package(folder, name, declared="", level="audio.abs().mean(dim=1, keepdim=True)", scale="2.0"):
    """A HEAR package that loads its own weights and computes in another of its modules."""
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "__init__.py").write_text(OWN.format(name=name, declared=declared))
    (place / "deep.py").write_text(f"def level(audio):\n    return {level}\n")
    (place / "lazy.py").write_text("")
    (place / "own.txt").write_text(scale)
    return place


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """What is said of the weights of a package in `tmp_path` that is imported now."""
    monkeypatch.syspath_prepend(tmp_path)

    def of(name="own_pack"):
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[module]
        importlib.invalidate_caches()
        registry().pop(f"hear-{name}", None)
        return load_model(f"hear:{name}", device="cpu").weights.digest

    yield of
    for module in [module for module in sys.modules if module.startswith("own_pack")]:
        del sys.modules[module]


def test_all_of_a_package_and_its_own_weights_count(tmp_path, digest):
    place = package(tmp_path, "own_pack")
    said = [digest()]
    # Comments do not count.
    (place / "deep.py").write_text("# louder\n" + (place / "deep.py").read_text())
    assert digest() == said[0]
    for change in [
        {"level": "audio.square().mean(dim=1, keepdim=True)"},
        {"scale": "3.0"},
        {"declared": "weights_digest = 'one'"},
        {"declared": "weights_digest = 'other'"},
    ]:
        package(tmp_path, "own_pack", **change)
        said.append(digest())
    (place / "lazy.py").write_text("factor = 2\n")
    said.append(digest())
    assert len(set(said)) == len(said)
    # Where the module says what its weights are, the signal is not asked.
    package(tmp_path, "own_pack", declared="weights_digest = 'one'")
    one = digest()
    package(tmp_path, "own_pack", declared="weights_digest = 'one'", scale="9.0")
    assert digest() == one


def test_a_module_edited_under_a_live_kernel_is_refused(tmp_path, monkeypatch):
    place = package(tmp_path, "live_pack")
    monkeypatch.syspath_prepend(tmp_path)
    before = load_model("hear:live_pack", device="cpu").weights.digest
    assert load_model("hear:live_pack", device="cpu").weights.digest == before
    time.sleep(0.02)
    package(tmp_path, "live_pack", level="audio.square().mean(dim=1, keepdim=True)")
    with pytest.raises(EditedError, match=r"deep\.py was edited.*restart the kernel"):
        load_model("hear:live_pack", device="cpu")
    package(tmp_path, "live_pack")
    assert load_model("hear:live_pack", device="cpu").weights.digest == before and place.exists()


def test_a_module_that_works_in_place_changes_no_other_input(toy, own_cache, tmp_path):
    from support import ToyModel, all_train, write_clips

    from aesens.data import load_dataset
    from aesens.effects import EFFECTS
    from aesens.embeddings.extract import Plan, extract

    greedy = toy[0].with_name("greedy.py")
    greedy.write_text(
        TOY.replace("    bands =", "    audio /= audio.abs().max()\n    audio *= 0.5\n    bands =")
    )
    first = load_model(f"hear:{greedy}", device="cpu")
    data = all_train(load_dataset(write_clips(tmp_path / "clips", songs=2, seconds=3.0), seconds=3.0))
    kind = EFFECTS["gain"]

    def plans(*models):
        return [Plan(model, kind, kind.parameters(3), data) for model in models]

    (found,) = extract(plans(first, ToyModel()), progress=False, n_jobs=1)[1:]
    found = found.read()
    shutil.rmtree(own_cache / "store")
    (alone,) = extract(plans(ToyModel()), progress=False, n_jobs=1)
    assert np.array_equal(found, alone.read())


def test_two_modules_of_one_name(toy, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "toy_hear.py").write_text(TOY)
    load_model(f"hear:{toy[0]}", device="cpu")
    with pytest.raises(ValueError, match=r"would both be called hear-toy_hear: rename one"):
        load_model(f"hear:{tmp_path / 'other' / 'toy_hear.py'}", device="cpu")


def test_weights_that_change_while_they_are_read_are_refused(toy):
    module = toy[0].with_name("slow_hear.py")
    # As if another program wrote the file meanwhile.
    module.write_text(TOY.replace("model = Toy()", "model = Toy()\n    touched(model_file_path)"))
    name = register_module(str(module))
    other = {"weight": torch.ones(12)}
    registry()[name].model.module.touched = lambda path: torch.save(other, path)
    with pytest.raises(WeightsError, match=r"toy\.pt was changed since it was verified"):
        load_model(f"hear:{module}", weights_file=toy[1], device="cpu")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def load_model(path=''): ...", "no get_scene_embeddings"),
        ("import a_package_that_is_not_there", "a_package_that_is_not_there"),
        (
            "def load_model(path=''): return object()\ndef get_scene_embeddings(a, m): ...",
            "no attribute sample_rate",
        ),
    ],
)
def test_a_wrong_module_is_explained(tmp_path, source, message):
    (tmp_path / "wrong.py").write_text(source)
    with pytest.raises(ValueError, match=message):
        load_model(f"hear:{tmp_path / 'wrong.py'}", device="cpu")


def test_modules_that_are_not_there(tmp_path, monkeypatch):
    for place in ("nowhere.py", "not_there.at_all"):
        with pytest.raises(ValueError, match=place):
            load_model(f"hear:{place}")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_broken.py").write_text("def load_model(:\n")
    (tmp_path / "own_ending.py").write_text("raise SystemExit(3)\n")
    for place in ("", ".near", "own_broken", "own_ending"):
        with pytest.raises(ValueError, match=f"hear:{place} cannot be imported: "):
            load_model(f"hear:{place}")
    with pytest.raises(WeightsError, match=r"nowhere\.pth is missing"):
        load_model("panns", weights_file="nowhere.pth")


def test_names_and_colours(toy):
    assert names.model_title("hear-toy_hear", pretrained=False) == "toy_hear (untrained)"
    taken = {names.colour(name) for name in MODELS}
    assert len(taken) == len(MODELS) and names.colour("hear-toy_hear") not in taken


def test_weights_files_of_several_models(toy, own_cache):
    module, weights = toy
    study = Study("tiny", models=f"hear:{module},yamnet", weights_file=f"hear-toy_hear={weights}")
    assert study.weights_file == {"hear-toy_hear": weights}
    assert Study("tiny", models=["panns"], weights_file="a=b.pth").weights_file["panns"].name == "a=b.pth"
    with pytest.raises(ValueError, match="--weights-file hear-toy_hear="):
        Study("tiny", models=f"hear:{module},yamnet", weights_file=weights)


def test_settings_of_the_study(toy):
    assert (
        Study("tiny", models=["yamnet"], weights="untrained", pooling="max").model("yamnet").pooling == "max"
    )
    with pytest.raises(ValueError, match="median"):
        Study("tiny", pooling="median")
    with pytest.raises(ValueError, match="openl3, panns, clap"):
        Study("tiny", models=["yamnet"], weights="untrained", backend="reference").model("yamnet")


def test_pooling_is_what_it_says(own_cache):
    frames = load_model("yamnet", weights="untrained", device="cpu")
    greatest = load_model("yamnet", weights="untrained", device="cpu", pooling="max")
    with torch.inference_mode():
        each = frames.frames(torch.from_numpy(waves())).numpy()
    np.testing.assert_allclose(frames.embed(waves()), each.mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(greatest.embed(waves()), each.max(axis=1))
    assert frames.options() != greatest.options()


def test_the_readmes_class_is_a_model():
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", (ROOT / "README.md").read_text(), re.S)
    namespace = {}
    exec(code, namespace)
    model = load_model("bands", device="cpu", pooling="max")
    assert model.embed(waves()).shape == (3, 40)


@pytest.mark.notebooks
def test_a_hear_module_goes_through_the_whole_tiny_profile(toy, tmp_path):
    """Every notebook, figure and table, by --models alone."""
    module, weights = toy
    out = tmp_path / f"hear-{tmp_path.name}"
    arguments = ["tiny", "--models", f"hear:{module}", "--weights-file", weights, "--out", out]
    # Two effects show what four would.
    done = aesens(*arguments, "--effects", "gain,reverb", cache=tmp_path / "cache")
    shutil.rmtree(copies(ROOT, out))
    assert "stopped early" not in done.stdout
    tables = {path.stem: pd.read_csv(path) for path in out.glob("*.csv")}
    assert {"03_models", "09_claims"} <= set(tables)
    for name, table in tables.items():
        if "model" in table:
            # Chapter 4 looks at OpenL3's front end and what the file does to it, whatever the models are.
            others = {"openl3", "front end"} if name == "04_protocols" else set()
            assert set(table["model"]) == {"hear-toy_hear"} | others, name
    assert tables["09_claims"]["pretrained"].all()
    assert len(list(out.glob("*.png"))) >= 12
    for path in (out / "provenance").glob("*.json"):
        about = json.loads(path.read_text())
        assert about["models"]["hear-toy_hear"]["pretrained"] and str(tmp_path) not in path.read_text()
