"""Adding things from outside the package: the worked examples, `aesens new`, the explorer."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from functools import lru_cache, partial

import jupytext
import matplotlib.pyplot as plt
import matplotlib.text
import nbformat
import numpy as np
import pandas as pd
import pedalboard
import pytest
import sklearn.base
from IPython.core.interactiveshell import InteractiveShell
from support import PYTHONPATH, ROOT, ToyModel, aesens, write_clips

from aesens import data, effects, models, plots, sources, tables
from aesens.analysis import projections
from aesens.app.cli import main
from aesens.app.commands import new_notebook
from aesens.app.run import copies
from aesens.embeddings.extract import Plan, extract
from aesens.plots import explorer as explore
from aesens.plots import titles as names
from aesens.plots.explorer import Explorer
from aesens.settings import Profile, Scale
from aesens.sources import code_of, source_of
from aesens.study import Study
from aesens.syntax import EditedError

EXAMPLES = ("90_template", "91_new_effect", "92_new_projection")


@pytest.fixture
def registries(monkeypatch):
    """The registries as they are, whatever the test adds."""
    monkeypatch.setattr(effects, "EFFECTS", dict(effects.EFFECTS))
    monkeypatch.setattr(projections, "PROJECTIONS", dict(projections.PROJECTIONS))
    monkeypatch.setattr(models, "MODELS", dict(models.MODELS))
    monkeypatch.setattr(data, "DATASETS", dict(data.DATASETS))


def toy_study(tmp_path, names=("bitcrush", "gain")) -> Study:
    """A study of the toy model on a few rendered clips."""
    models.register("toy", ToyModel)
    profile = Profile(
        "toy",
        "for tests",
        data_options={"songs": 5, "excerpts": 1, "instruments": ("cel", "pia")},
        models=("toy",),
        effects=names,
        scale=Scale(strengths=3),
        n_resamples=50,
        n_permutations=10,
    )
    return Study(profile, out=tmp_path / "figures", jobs=1)


@pytest.mark.notebooks
def test_the_worked_examples_run(tiny, tmp_path):
    out = tmp_path / f"fork-{tmp_path.name}"
    chosen = ",".join(name[:2] for name in EXAMPLES)
    aesens(
        "tiny", "--only", chosen, "--models", "musicnn", "--out", out, home=tiny["home"], cache=tiny["cache"]
    )
    shutil.rmtree(copies(ROOT, out))
    assert (out / "90_louder.png").exists() and (out / "90_louder.csv").exists()
    distances = pd.read_csv(out / "91_distances.csv")
    assert set(distances["effect"]) == {"reverb", "distortion"}
    strongest = distances[(distances["effect"] == "distortion") & (distances["measure"] == "cosine")]
    assert strongest["value"].iloc[-1] > strongest["value"].iloc[0] > 0
    # Chapter 6 left results without the new projection in the cache; they must not be taken for these.
    removed = pd.read_csv(out / "92_projections.csv")
    assert set(removed["projection"]) == {"average", "strongest", "within", "pca", "random"}
    assert {"strongest", "within"} <= set(pd.read_csv(out / "92_changes.csv")["projection"])
    for name in EXAMPLES:
        assert (out / "report" / f"{name}.html").exists()


@pytest.mark.parametrize(
    ("name", "call"), [("91_new_effect", "register"), ("92_new_projection", "register_projection")]
)
def test_an_addition_takes_few_lines(name, call):
    source = addition(name, call)
    ast.parse(source)
    assert len([line for line in source.splitlines() if line.strip()]) < 30


def test_an_added_effect_is_a_column_of_every_figure(registries, own_cache, tmp_path):
    def flip(audio, rate, turns):
        return audio[:, ::-1] if turns > 1 else audio

    effects.register(effects.Effect("flip", flip, np.arange(4.0), "Flipping", "Turns"))
    study = toy_study(tmp_path, ("flip", "gain"))
    table = study.collect(tables.distances, seed=0)
    figure = plots.sensitivity_curves(table)
    assert figure.axes[0].get_title() == "Flipping"
    plt.close(figure)
    assert study.provenance()["effects"]["flip"]["source"].lstrip().startswith("def flip")


def test_what_a_cell_ends_with_is_shown_as_a_table(registries, own_cache, tmp_path):
    study = toy_study(tmp_path)
    sweep = study.sweep("toy", "gain")
    for thing in (study, sweep, sweep.effect, study.dataset):
        assert "<table" in thing._repr_html_(), type(thing)
    (store, *_) = extract([Plan.clean(study.model("toy"), study.clips("toy"))], n_jobs=1, progress=False)
    assert "Strengths" in store._repr_html_() and "Clips" in store._repr_html_()
    assert {"model", "weights", "licence"} <= set(tables.model_table(study))


def addition(name, call) -> str:
    """The cells of a worked example that register something."""
    book = jupytext.read(ROOT / "notebooks" / "percent" / f"{name}.py")
    cells = [c.source for c in book.cells if c.cell_type == "code" and f"{call}(" in c.source]
    assert cells
    return "\n\n".join(cells)


@pytest.fixture
def added(registries, own_cache, tmp_path):
    """What the worked examples add, and a model and a data set: settings of a run that uses them all."""
    space = {"np": np, "pedalboard": pedalboard, "Projection": projections.Projection}
    space |= {"Effect": effects.Effect, "register": effects.register}
    space |= {"register_projection": projections.register_projection}
    space |= {name: getattr(sklearn.base, name) for name in ("BaseEstimator", "TransformerMixin")}
    exec(addition("91_new_effect", "register"), space)
    exec(addition("92_new_projection", "register_projection"), space)
    models.register("toy", ToyModel)
    folder = write_clips(tmp_path / "own", songs=8)
    data.register("own", lambda: data.load_dataset(folder))
    own = {"profile": "tiny", "models": "toy", "effects": "gain,distortion", "weights": "untrained"}
    return own | {"data": "own", "jobs": 1, "out": str(tmp_path / "figures")}


# Words of a figure that name what was added: the effect, the projection, the model, a class of the data set.
SHOWN = {
    "01_data": {"01_clips_per_instrument": {"aaa", "bbb"}},
    "02_effects": {"02_distortion": {"Distortion", "Drive 40 dB"}},
    "03_embeddings": {"03_clean_map": {"aaa"}, "03_clean_classification": {"toy"}},
    "04_sensitivity": {
        "04_distances": {"Distortion", "Drive (dB)", "toy (untrained)"},
        "04_largest_distance": {"Distortion", "toy (untrained)"},
        "04_monotonicity": {"Distortion", "toy (untrained)"},
        "04_discontinuity": {"Distortion: jump", "toy (untrained)"},
    },
    "05_trajectories": {
        "05_umap": {"Distortion", "toy\n(untrained)"},
        "05_umap_study": {"Distortion", "toy\n(untrained)", "Straight path"},
        "05_pca": {"Distortion", "toy\n(untrained)"},
        "05_samplewise": {"Distortion", "toy\n(untrained)"},
        "05_spectra": {"Distortion", "toy\n(untrained)"},
        "05_global_cca": {"toy (untrained): Distortion", "aaa"},
        "05_direction_points": {"Distortion", "toy\n(untrained)"},
        "05_decoding": {"Distortion", "toy (untrained)"},
        "05_agreement": {"toy (untrained)"},
    },
    "06_projections": {
        "06_effect_removed": {"strongest", "toy (untrained): Distortion"},
        "06_clean_removed": {"strongest", "toy (untrained): Distortion"},
        "06_method_cosines": {"strongest"},
        "06_classifier_cosines": {"strongest", "toy (untrained): Distortion"},
    },
    "07_classification": {
        "07_auc_clean_effected": {"strongest", "Distortion", "toy\n(untrained)"},
        "07_operating_point": {"Distortion", "toy\n(untrained)"},
        "07_balanced_clean_effected": {"strongest", "Distortion"},
        "07_auc_effected_clean": {"strongest", "Distortion"},
        "07_recovered": {"strongest", "Distortion"},
        "07_conditions": {"toy (untrained): Distortion"},
        "07_auc_change": {"strongest", "toy (untrained): Distortion"},
    },
    "08_remedies": {
        "08_balanced_accuracy": {"strongest", "within", "Distortion"},
        "08_roc_auc": {"strongest", "within", "Distortion"},
        "08_linearity": {"Distortion", "toy (untrained)"},
    },
    "09_claims": {"09_claims": {"Distortion", "toy (untrained)"}},
}
TABLES = {
    "01_split": {"instrument": "aaa"},
    "02_levels": {"effect": "distortion"},
    "03_clean_classification": {"model": "toy"},
    "04_distances": {"effect": "distortion", "model": "toy"},
    "04_response": {"effect": "distortion", "model": "toy"},
    "05_geometry": {"effect": "distortion", "model": "toy"},
    "05_global_cca": {"effect": "distortion", "instrument": "bbb"},
    "06_projections": {"effect": "distortion", "projection": "strongest"},
    "06_npca": {"effect": "distortion", "instrument": "aaa"},
    "06_method_cosines": {"first": "strongest", "second": "strongest"},
    "07_curves": {"effect": "distortion", "projection": "strongest"},
    "07_changes": {"effect": "distortion", "projection": "strongest"},
    "07_robustness": {"effect": "distortion", "method": "strongest"},
    "07_instruments": {"effect": "distortion", "projection": "strongest", "condition": "effected-clean"},
    "08_remedies": {"effect": "distortion", "method": "within"},
    "08_linearity": {"effect": "distortion", "model": "toy"},
    "09_claims": {"effect": "distortion", "model": "toy"},
}


@pytest.mark.notebooks
def test_additions_flow_through_every_chapter(added, monkeypatch):
    drawn, save = {}, Study.figure

    def keep(study, figure, name, caption, **others):
        drawn[name] = {text.get_text() for text in figure.findobj(matplotlib.text.Text)}
        return save(study, figure, name, caption, **others)

    monkeypatch.setattr(Study, "figure", keep)
    monkeypatch.setenv("AESENS_PLAIN_PROGRESS", "1")
    missing = {}
    for chapter, figures in SHOWN.items():
        run_here(chapter, added)
        missing |= {
            figure: words - drawn[figure] for figure, words in figures.items() if words - drawn[figure]
        }
    assert not missing, {figure: (words, drawn[figure]) for figure, words in missing.items()}
    for name, values in TABLES.items():
        table = pd.read_csv(f"{added['out']}/{name}.csv")
        for column, value in values.items():
            assert value in set(table[column]), (name, column)


def run_here(chapter, settings) -> None:
    """Run a chapter in this process, where a test's registrations hold."""
    space = {}
    for cell in jupytext.read(ROOT / "notebooks" / "percent" / f"{chapter}.py").cells:
        if cell.cell_type != "code":
            continue
        exec(compile(cell.source, chapter, "exec"), space)
        if "parameters" in cell.metadata.get("tags", []):
            space.update(
                profile=settings["profile"], options={k: v for k, v in settings.items() if k != "profile"}
            )


def test_a_changed_effect_is_embedded_again(registries, own_cache, tmp_path):
    def loud(audio, rate, value):
        return audio * np.float32(1 + value)

    def louder(audio, rate, value):
        return audio * np.float32(3 + value)

    found = []
    for process in (loud, louder):
        effects.register(effects.Effect("own", process, np.arange(3.0), "Own", "Value"))
        found.append(toy_study(tmp_path, ("own",)).sweep("toy", "own").trajectories)
    assert not np.allclose(*found)


def test_an_added_projection_is_in_every_table(registries, own_cache, tmp_path):
    study = toy_study(tmp_path, ("gain",))
    before = study.collect(tables.projected, seed=0)

    class First(projections.Projection):
        def learn(self, parts):
            return np.eye(1, parts.n_features)

    projections.register_projection("first", First)
    after = study.collect(tables.projected, seed=0)
    assert set(after["projection"]) - set(before["projection"]) == {"first"}
    results = study.collect(tables.classification, n_resamples=20, seed=0)
    figure = plots.auc_curves(
        results[results["kind"] == "curve"].dropna(subset="parameter"), ["none", "first"]
    )
    assert "first" in [text.get_text() for text in figure.legends[0].get_texts()]
    plt.close(figure)

    class Second(First):
        def learn(self, parts):
            return np.eye(2, parts.n_features)

    projections.register_projection("first", Second)
    changed = study.collect(tables.projected, seed=0)
    assert set(changed.loc[changed["projection"] == "first", "dimension"]) == {2}


def test_a_model_that_is_pretrained_whatever_is_asked_has_no_twin(registries, own_cache):
    """As the one of README.md, as it stands there."""
    (code,) = [
        b for b in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "Bands" in b
    ]
    exec(code, {"__name__": "bands"})
    study = Study("tiny", models="bands,musicnn", weights="untrained", twins="yes")
    assert study.model("bands").weights.pretrained
    assert study.networks == [("bands", "untrained"), ("musicnn", "untrained")]
    assert Study("tiny", models="bands").networks == [("bands", "auto")]


def test_added_names_have_titles_and_colours():
    assert names.model_title("mine") == names.projection_title("mine") == "mine"
    assert names.colour("mine").startswith("#") and names.colour("mine") == names.colour("mine")
    assert names.colour("mine") not in {
        names.colour(name) for name in [*models.MODELS, *projections.PROJECTIONS]
    }
    drawn = names.drawn_projections(["none", "mine", "svd-0.4", "random", "lda", "other"])
    assert drawn == ["none", "lda", "random", "mine", "other"]


def made(code: str, name: str = "thing"):
    """What code that has no file defines."""
    space = {}
    exec(code, space)
    return space[name]


CLASS = "class thing:\n    def learn(self):\n        return {}"
HELPED = "def helper(x):\n    return x {} 2\ndef thing(x):\n    return (lambda: helper(x))()"
VALUE = "LIMITS = {}\nclass Holder:\n    def __init__(self, x):\n        self.x = x\nHELD = Holder(LIMITS)\n"
VALUE += "def thing(x):\n    return x * HELD.x"
SET = "def thing(x, names=frozenset(['a', 'b', 'c', {}])):\n    return x in names"


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [(CLASS, "1", "2"), (HELPED, "+", "-"), (VALUE, "[1, 2.5]", "[1, 2.6]"), (SET, "'d'", "'e'")],
)
def test_source_of_what_has_no_file(code, first, second):
    one, same, other = (source_of(made(code.format(value))) for value in (first, first, second))
    assert one == same != other
    # Nor does it depend on the process, which orders sets in its own way.
    script = "import sys; from aesens.sources import source_of; exec(sys.argv[1]); print(source_of(thing))"
    command = [sys.executable, "-c", script, code.format(first)]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == one.strip()


def test_source_of_what_wraps_a_function():
    def scaled(x, by, names=()):
        return x * by

    def closed(by):
        return lambda x: x * by

    kinds = [
        lambda by: partial(scaled, by=by),
        lambda by: partial(scaled, 1.0, by),
        closed,
        lambda by: lru_cache(closed(by)),
        lambda by: (
            made(f"class thing:\n    @staticmethod\n    def process(x):\n        return x * {by}").process
        ),
        lambda by: partial(made("class thing:\n    def __init__(self, k):\n        self.k = k"), by),
        # Made by a package: its own source is told by the version, what the user gave it is not.
        lambda by: effects._pedalboard(pedalboard.Gain, by),
    ]
    for kind in kinds:
        assert source_of(kind(1)) != source_of(kind(2)), kind
    assert source_of(kinds[0](1)).lstrip().startswith("def scaled")
    assert source_of(np.sin).startswith("sin")


def test_source_of_a_file_of_the_users_changes_with_the_file(tmp_path, monkeypatch):
    helper, path = tmp_path / "own_helper.py", tmp_path / "own_measure.py"
    path.write_text("import own_helper\ndef measure(x):\n    return own_helper.scale(x)\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = set()
    for factor in (1, 2, 2):
        helper.write_text(f"def scale(x):\n    return x * {factor}\n")
        for name in ("own_helper", "own_measure"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        found.add(source_of(importlib.import_module("own_measure").measure))
    for name in ("own_helper", "own_measure"):
        del sys.modules[name]
    assert len(found) == 2


@pytest.mark.parametrize(
    "measure",
    [
        "def measure(x):\n    from own_package.part import scale\n    return scale(x)\n",
        "import own_package\ndef measure(x):\n    return own_package.part.scale(x)\n",
        "from own_package import part as other\nclass measure:\n    def fit(self, x):\n        return other.scale(x)\n",
    ],
)
def test_source_of_a_file_follows_what_it_imports(tmp_path, monkeypatch, measure):
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("from . import part\n")
    (tmp_path / "own_package" / "part.py").write_text("from .deep import scale\n")
    deep = tmp_path / "own_package" / "deep.py"
    (tmp_path / "own_code.py").write_text(measure)
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for factor in (1, 2, 2):
        deep.write_text(f"def scale(x):\n    return x * {factor}\n")
        for name in [name for name in sys.modules if name.startswith("own_")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        found.append(source_of(importlib.import_module("own_code").measure))
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]
    assert found[0] != found[1] == found[2]


IMPORTS = [
    "def measure(x):\n    from own_helper import scale\n    return scale(x)\n",
    "def measure(x):\n    import own_helper as other\n    return other.scale(x)\n",
    "import importlib\ndef measure(x):\n    return importlib.import_module('own_helper').scale(x)\n",
    "from importlib import import_module\ndef measure(x):\n    return import_module('own_helper').scale(x)\n",
    "def measure(x):\n    return __import__('own_helper').scale(x)\n",
    "def measure(x):\n    def own():\n        import own_helper as o\n        return o.scale(x)\n    return own()\n",
]


@pytest.mark.parametrize("code", IMPORTS)
@pytest.mark.parametrize("where", ["file", "cell", "text"])
def test_source_follows_imports_inside_functions(tmp_path, monkeypatch, code, where):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_code.py").write_text(code)
    found = []
    for factor in ("1", "2", "2  # the same", '2\n"""A docstring of no function."""'):
        (tmp_path / "own_helper.py").write_text(f"def scale(x):\n    return x * {factor}\n")
        for name in ("own_code", "own_helper"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        if where == "file":
            measure = importlib.import_module("own_code").measure
        elif where == "cell":
            shell = InteractiveShell()
            shell.run_cell(code)
            measure = shell.user_ns["measure"]
        else:
            if "import_module" in code or "__import__" in code:
                pytest.skip("a name that only the text of the code tells")
            measure = made(code, "measure")
        found.append(code_of(measure))
    for name in ("own_code", "own_helper"):
        sys.modules.pop(name, None)
    assert found[0] != found[1] == found[2]


@pytest.mark.parametrize("kind", ["helper", "constant", "own"])
def test_a_file_edited_after_its_import_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.syspath_prepend(tmp_path)
    helper, own = tmp_path / "own_helper.py", tmp_path / "own_code.py"
    helper.write_text("FACTOR = 2\ndef scale(x):\n    return x * FACTOR\n")
    own.write_text("import own_helper\ndef measure(x):\n    return own_helper.scale(x)\n")
    importlib.invalidate_caches()
    measure = importlib.import_module("own_code").measure
    before = code_of(measure)
    time.sleep(0.02)
    edited, old, new = {
        "helper": (helper, "x * FACTOR", "x + FACTOR"),
        "constant": (helper, "FACTOR = 2", "FACTOR = 3"),
        "own": (own, "scale(x)", "scale(x) + 1"),
    }[kind]
    text = edited.read_text()
    edited.write_text(text.replace(old, new))
    with pytest.raises(EditedError, match=f"{edited.name} was edited after"):
        code_of(measure)
    # A comment, and what was undone, change nothing.
    edited.write_text(text + "# a comment\n")
    assert code_of(measure) == before
    edited.write_text(text.replace(old, new) + "\n")
    importlib.reload(sys.modules[edited.stem])
    assert code_of(sys.modules["own_code"].measure) != before
    for name in ("own_code", "own_helper"):
        del sys.modules[name]


def test_an_edit_before_the_first_look_is_noticed_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own_code.py"
    path.write_text("FACTOR = 2\ndef measure(x):\n    return x * FACTOR\n")
    importlib.invalidate_caches()
    measure = importlib.import_module("own_code").measure
    time.sleep(0.02)
    path.write_text(path.read_text().replace("2", "3"))
    with pytest.raises(EditedError, match="own_code"):
        code_of(measure)
    del sys.modules["own_code"]


LATE = "def process(audio, rate, value):\n    import own_late\n    return audio * own_late.FACTOR * value\n"


def test_what_was_made_of_code_that_was_edited_meanwhile_is_not_kept(
    registries, own_cache, tmp_path, monkeypatch
):
    """The helper is imported when the effect is first applied, after it was hashed and edited."""
    from aesens.embeddings import forward

    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_late.py").write_text("FACTOR = 1\n")
    (tmp_path / "own_effect.py").write_text(LATE)
    importlib.invalidate_caches()
    process = importlib.import_module("own_effect").process
    effects.register(effects.Effect("own", process, np.arange(1.0, 4.0), "Own", "Value"))
    study = toy_study(tmp_path, ("own",))
    plan = study._plan("toy", ["own"])[1]
    decode = forward.decode

    def edit(*arguments):
        (tmp_path / "own_late.py").write_text("FACTOR = 0.5\n")
        return decode(*arguments)

    monkeypatch.setattr(forward, "decode", edit)
    with pytest.raises(EditedError, match=r"own_late\.py was edited during the run"):
        extract([plan], progress=False)
    assert not list((own_cache / "store").glob("*own*/embedding/c.*"))
    monkeypatch.setattr(forward, "decode", decode)
    assert not extract([plan], progress=False)[0].missing().any()
    for name in ("own_effect", "own_late"):
        del sys.modules[name]


def test_the_packages_own_code_counts_but_for_its_comments(tmp_path, monkeypatch):
    from aesens import syntax

    shutil.copytree(ROOT / "aesens", tmp_path / "aesens", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(syntax, "_PACKAGE", tmp_path / "aesens")
    monkeypatch.setattr(syntax, "_since", lambda place: None)
    monkeypatch.setattr(syntax, "_file_of", syntax._file_of.__wrapped__)
    roots = {
        "model": ("aesens.models.musicnn", "Musicnn"),
        "low-pass": ("aesens.effects", "_lowpass"),
        "render": ("aesens.effects", "render"),
        "decode": ("aesens.data.clips", "read_clip"),
    }

    def hashes():
        return {name: syntax.reached(root)[0] for name, root in roots.items()}

    def edit(file, old, new):
        path = tmp_path / "aesens" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    before = hashes()
    edit("models/musicnn.py", '"""', '"""Another docstring. ')
    edit("models/base.py", "import numpy as np", "# A comment.\nimport numpy as np")
    edit("effects.py", "grid=np.arange(-40.0, 5.1, 1.5)", "grid=np.arange(-40.0, 5.1, 0.5)")
    edit("models/weights.py", "def verify(", "def checked(")
    assert hashes() == before
    for file, old, new, changed in [
        ("models/frontend.py", "return ", "return 1 * ", {"model"}),
        ("models/base.py", 'quality="HQ"', 'quality="VHQ"', {"model"}),
        ("effects.py", '"edge": 1.1', '"edge": 1.2', {"low-pass"}),
        ("effects.py", "int32) >> 16", "int32) >> 15", {"render"}),
        ("data/clips.py", '"PCM_24": 24', '"PCM_24": 23', {"decode"}),
    ]:
        edit(file, old, new)
        after = hashes()
        assert {name for name in roots if after[name] != before[name]} >= changed, file
        assert not {"low-pass", "decode"} - changed & {
            name for name in roots if after[name] != before[name]
        }, file
        before = after


def test_a_version_says_what_cannot_be_seen():
    def process(x):
        return x

    class Model:
        version = 1

    before = source_of(process), source_of(Model), source_of(partial(process))
    process.version, Model.version = 2, 2
    after = source_of(process), source_of(Model), source_of(partial(process))
    assert not set(before) & set(after)


def test_source_of_what_a_notebook_defines():
    """As kernels do it: each cell is a file of its own, which is on no disk."""
    cells = "GAIN = {}", "def helper(x):\n    return {} * x", "def thing(x):\n    return GAIN * helper(x)"

    def run(gain, factor):
        shell = InteractiveShell()
        for cell in cells:
            shell.run_cell(cell.format(factor if "helper(x):" in cell and "thing" not in cell else gain))
        return source_of(shell.user_ns["thing"])

    one, same, gain, factor = run(1, 2), run(1, 2), run(3, 2), run(1, 3)
    assert one == same and len({one, gain, factor}) == 3
    assert one.startswith("def thing(x):")


def test_source_of_what_cannot_be_written_down_matches_nothing():
    lock, other = threading.Lock(), threading.Lock()

    def held(which):
        return lambda x: (which, x)

    one, two = held(lock), held(other)
    assert source_of(one) == source_of(one) != source_of(two)


def test_a_changed_model_is_embedded_again(registries, own_cache, tmp_path):
    study = toy_study(tmp_path, ("gain",))
    before = study.sweep("toy", "gain")

    class Louder(ToyModel):
        def frames(self, waves):
            return super().frames(2 * waves)

    models.register("toy", Louder)
    # In the same study and in one that finds its stores.
    for later in (study, Study(study.profile, out=tmp_path / "figures", jobs=1)):
        after = later.sweep("toy", "gain")
        assert after.key != before.key and not np.allclose(after.clean, before.clean)


def test_results_of_a_changed_effect_are_its_own(registries, own_cache, tmp_path):
    effects.register(effects.Effect("own", partial(shift, by=1.0), np.arange(3.0), "Own", "Value"))
    study = toy_study(tmp_path, ("own",))
    first = study.collect(tables.distances, seed=0)
    effects.register(effects.Effect("own", partial(shift, by=4.0), np.arange(3.0), "Own", "Value"))
    second = study.collect(tables.distances, seed=0)
    assert not first["value"].equals(second["value"])
    # What one study left in the cache under either effect is what another computes.
    shutil.rmtree(own_cache / "results")
    again = toy_study(tmp_path, ("own",)).collect(tables.distances, seed=0)
    pd.testing.assert_frame_equal(again, second)


def shift(audio, rate, value, by):
    return audio * np.float32(1 + by * value)


def test_new_notebook_starts_a_pair(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks" / "percent").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "percent" / "90_template.py", tmp_path / "notebooks" / "percent")
    monkeypatch.chdir(tmp_path)
    assert main(["new", "Louder is closer!"]) == 0
    assert "--only 93" in capsys.readouterr().out
    path, script = (
        tmp_path / "notebooks" / p for p in ("93_louder_is_closer.ipynb", "percent/93_louder_is_closer.py")
    )
    book = nbformat.read(path, as_version=4)
    assert book.cells[0].source.startswith("# Louder is closer\n")
    assert [c.source for c in book.cells] == [c.source for c in jupytext.read(script).cells]
    assert '"93_louder"' in script.read_text() and "90_" not in script.read_text()
    assert new_notebook("second").name == "94_second.ipynb"
    assert new_notebook("97_mine").name == "97_mine.ipynb"
    for name, message in (("97_mine", "exists already"), ("...", "no name"), ("98", "no name")):
        assert main(["new", name]) == 1
        assert message in capsys.readouterr().err


@pytest.fixture
def toy_explorer(registries, own_cache, tmp_path):
    return Explorer(toy_study(tmp_path))


def test_explorer_offers_what_is_stored(toy_explorer):
    assert toy_explorer.instruments == ["cel", "pia"]
    clips = toy_explorer.clips("toy", "pia")
    assert clips and all("[pia]" in clip or "pia" in clip for clip in clips)
    assert toy_explorer.strengths("toy", "gain") == ["Clean", "-40 dB", "-17.5 dB", "5 dB"]


def test_explorer_shows_the_chosen_clip(toy_explorer):
    (clip, *_) = toy_explorer.clips("toy", "cel")
    figure = toy_explorer.figure("toy", "gain", clip, 2)
    plane, curve = figure.axes
    sweep = toy_explorer.study.sweep("toy", "gain")
    mine = sweep.clips.index.get_loc(clip)
    a, b = sweep.clean[mine].astype(float), sweep.trajectories[:, mine].astype(float)
    cosine = 1 - b @ a / (np.linalg.norm(a) * np.linalg.norm(b, axis=1))
    assert curve.lines[0].get_ydata() == pytest.approx(cosine, abs=1e-6)
    assert curve.lines[1].get_xdata()[0] == sweep.parameters[1]
    assert len(plane.lines) == len(sweep.clips) + 1
    plt.close(figure)
    clean, heard = (toy_explorer.sound("toy", "gain", clip, s).data for s in (0, 1))
    assert "Clean" in clean and "-40 dB" in heard and clean != heard
    for wrong in (("nothing", 1), (clip, 9)):
        with pytest.raises(ValueError, match="no embedding|not between"):
            toy_explorer.figure("toy", "gain", *wrong)


def test_menus_follow_one_another(toy_explorer, monkeypatch):
    monkeypatch.setattr(explore, "display", lambda *shown: drawn.append(len(shown)))
    drawn = []
    box = explore._menus(toy_explorer)
    model, kind, instrument, clip, strength = box.children[0].children
    assert model.value == "toy" and clip.value in toy_explorer.clips("toy", "cel")
    instrument.value = "pia"
    assert clip.value in toy_explorer.clips("toy", "pia")
    strength.value = 3
    kind.value = "gain"
    assert [title for title, _ in strength.options] == toy_explorer.strengths("toy", "gain")
    # A choice keeps the others where it can, and draws once.
    assert strength.value == 3 and len(drawn) == 4
    assert drawn and set(drawn) == {2}


def test_on_a_page_the_explorer_stands_still(toy_explorer, monkeypatch):
    monkeypatch.setenv("AESENS_PLAIN_PROGRESS", "1")
    shown = []
    monkeypatch.setattr(explore, "display", shown.append)
    assert explore.explore(toy_explorer.study) is None
    assert len(shown) == 2 and "<audio" in shown[1].data
    assert (toy_explorer.study.out / "05_explorer.png").exists()


ADDITION = """
import pedalboard
from aesens.effects import Effect, register

register(Effect("distortion", lambda audio, rate, db: pedalboard.Distortion(db)(audio, rate),
                grid=[5.0, 15.0, 30.0], title="Distortion", parameter="Drive", unit="dB"))
"""


def test_a_file_of_additions_is_executed_once(registries, own_cache, tmp_path, monkeypatch):
    path = tmp_path / "my_effect.py"
    path.write_text(ADDITION)
    monkeypatch.setenv("AESENS_WITH", str(path))
    study = Study("tiny", effects="gain,distortion", models="musicnn", weights="untrained")
    assert study.effects == ["gain", "distortion"]
    added = effects.EFFECTS["distortion"]
    Study("tiny", effects="distortion")
    assert effects.EFFECTS["distortion"] is added
    monkeypatch.setenv("AESENS_WITH", str(tmp_path / "nowhere.py"))
    with pytest.raises(ValueError, match=r"there is no file .*nowhere\.py"):
        Study("tiny")


def test_a_file_of_additions_may_import_what_lies_beside_it(registries, own_cache, tmp_path, monkeypatch):
    """However deep: what is two imports away counts as its own, and travels with it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sources, "_FILES", {})
    (tmp_path / "own_near.py").write_text(
        "import own_far\ndef scale(a, by):\n    return own_far.scale(a, by)\n"
    )
    own = "from aesens.effects import Effect, register\nimport own_near\n"
    own += "register(Effect('own', lambda a, rate, by: own_near.scale(a, by), [1.0, 2.0, 3.0], 'Own', 'Value'))\n"
    found = []
    for number, factor in enumerate((1, 2, 2)):
        (tmp_path / "own_far.py").write_text(f"def scale(a, by):\n    return a * by * {factor}\n")
        path = tmp_path / f"addition{number}.py"
        path.write_text(own)
        for name in ("own_near", "own_far"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        monkeypatch.setenv("AESENS_WITH", str(path))
        Study("tiny", models="musicnn", effects="own", weights="untrained")
        found.append(code_of(effects.effect("own").process))
        names = {module.__name__ for module in sources.imported_files()}
        assert {"own_near", "own_far", f"with_addition{number}"} <= names
        assert not {name for name in names if name.startswith(("aesens", "numpy"))}
    assert found[0] != found[1] == found[2]


def test_a_file_of_additions_that_exits_is_named(tmp_path):
    (tmp_path / "own.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(ValueError, match=r"own\.py cannot be imported: SystemExit: 3"):
        sources.import_file(tmp_path / "own.py", "with")


@pytest.mark.notebooks
def test_an_addition_from_the_command_line_reaches_the_chapters(tmp_path):
    path = tmp_path / "my_effect.py"
    path.write_text(ADDITION)
    out = tmp_path / f"with-{tmp_path.name}"
    arguments = ["tiny", "--with", path, "--effects", "gain,distortion", "--models", "musicnn"]
    aesens(*arguments, "--weights", "untrained", "--only", "04", "--out", out, cache=tmp_path / "cache")
    shutil.rmtree(copies(ROOT, out))
    assert set(pd.read_csv(out / "04_distances.csv")["effect"]) == {"gain", "distortion"}


def test_sources_are_read_by_several_threads_at_a_time():
    """Python 3.11 cannot parse in two threads at once, which shows where a collection of garbage lets them change."""
    code = """
import gc, threading, time
from support import ToyModel
from aesens.sources import source_of
gc.callbacks.append(lambda phase, info: time.sleep(0.0005))
gc.set_threshold(200)
found = []
threads = [threading.Thread(target=lambda: found.append(source_of(ToyModel))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(found) == 4 and len(set(found)) == 1 and found[0].startswith("class ToyModel"), found
"""
    environment = os.environ | {"PYTHONPATH": PYTHONPATH}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
