"""The study joins the parts: settings, scale, cached results, outputs with provenance."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from support import PROFILE, ToyModel, write_clips

from aesens import models, tables
from aesens.cache import cache_dir
from aesens.data import Decoded
from aesens.data.clips import INSTRUMENTS
from aesens.effects import EFFECTS
from aesens.plots import heatmap, outputs
from aesens.plots.player import effect_levels, player, sweep_versions
from aesens.settings import PROFILES, Profile, Scale
from aesens.sources import _OUTER, package_versions
from aesens.study import NeedsSplit, Study
from aesens.tables import sensitivity
from aesens.tables.claims import decide


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))


@pytest.fixture
def study(toy, own_cache, tmp_path):
    clips = write_clips(tmp_path / "clips", songs=8, seconds=3.0, rate=22050)
    return Study(PROFILE, data=clips, out=tmp_path / "out")


def test_sweep_has_the_shapes_and_sides_it_says(study):
    sweep = study.sweep("toy", "gain")
    assert sweep.trajectories.shape == (4, 16, 8) and sweep.clean.shape == (16, 8)
    assert sweep.train.sum() == 12 and sweep.test.sum() == 4 and not (sweep.train & sweep.test).any()
    assert not set(sweep.songs[sweep.train]) & set(sweep.songs[sweep.test])
    assert not sweep.pretrained
    part = sweep.take(sweep.instruments == "aaa")
    assert part.trajectories.shape == (4, 8, 8) and set(part.instruments) == {"aaa"}
    assert np.array_equal(sweep.displacements, sweep.trajectories - sweep.clean[None])


def test_collect_computes_once_and_reads_the_same(study, monkeypatch):
    first = study.collect(tables.distances, seed=0)
    assert list(first.columns[:3]) == ["model", "pretrained", "effect"] and set(first["effect"]) == {
        "gain",
        "reverb",
    }
    # Whatever the measure would compute now: the second time it is read.
    monkeypatch.setattr(sensitivity, "cosine_distance", lambda *a: 1 / 0)
    pd.testing.assert_frame_equal(first, study.collect(tables.distances, seed=0))
    with pytest.raises(ZeroDivisionError):
        study.collect(tables.distances, seed=1)


def test_scale_limits_songs_and_excerpts(toy, own_cache, tmp_path):
    profile = Profile("toy", "", models=("toy",), effects=("gain",), scale=Scale(strengths=2, songs=(3, 1)))
    study = Study(profile, data=write_clips(tmp_path / "clips", songs=8, seconds=0.2), out=tmp_path)
    counts = study.clips("toy").table.groupby(["instrument", "split"]).size()
    assert counts.to_dict() == {(i, s): n for i in ("aaa", "bbb") for s, n in (("train", 3), ("test", 1))}
    assert study.sweep("toy", "gain").trajectories.shape[:2] == (2, 8)


def test_pictures_draw_few_clips_at_more_strengths(toy, own_cache, tmp_path):
    scale = Scale(strengths=2, pictured=5)
    profile = replace(PROFILE, effects=("gain",), scale=scale, picture_clips=3)
    study = Study(profile, data=write_clips(tmp_path / "clips", songs=8, seconds=0.2), out=tmp_path)
    study.extract(study.all_plans())
    few, all_clips = study.sweep("toy", "gain", pictured=True), study.sweep("toy", "gain")
    assert few.trajectories.shape[:2] == (5, 3) and all_clips.trajectories.shape[:2] == (2, 16)
    # Of each instrument the first, then of the first the second.
    turn = all_clips.clips.groupby("instrument").head(2).index
    assert list(few.clips.index) == [turn[0], turn[1], turn[2]]
    # Both ends of the grid are in either: the same clips, the same embeddings.
    here = all_clips.clips.index.isin(few.clips.index)
    assert np.array_equal(few.trajectories[[0, -1]], all_clips.trajectories[:, here])
    table = study.collect(tables.layout, pictured=True, method="pca", clips=3, seed=0)
    assert table["strength"].max() == 4 and table["clip"].nunique() == 3
    assert study.collect(tables.layout, method="pca", clips=3, seed=0)["strength"].max() == 1


def test_further_seeds_may_have_other_clips(toy, own_cache, tmp_path):
    """More songs of one instrument than of another: which are trained on depends on the seed."""
    profile = replace(PROFILE, scale=Scale(strengths=2, pictured=3), effects=("gain",), picture_clips=3)
    clips = write_clips(tmp_path / "clips", songs=16, seconds=0.5, rate=22050)
    for song in range(8):
        (clips / "aaa" / f"aaa{song}.wav").unlink()
    study = Study(profile, data=clips)
    others = study.further_seeds()
    assert len(others) == 4 and not any(other.twins for other in others)
    assert len({tuple(other.clips("toy").table.index) for other in (study, *others)}) > 1
    # A result asks for what it is computed from: neither for the finer sweeps of pictures nor for other seeds' clips.
    study.collect(tables.distances, seed=study.seed)
    assert study.embedded() and any(plan.store().missing().any() for plan in study._plans())
    assert not all(other.embedded() for other in others)
    study.extract(study.all_plans())
    assert all(other.embedded() for other in others)


def test_without_a_split_the_reason_is_told(toy, own_cache, tmp_path):
    study = Study(PROFILE, data=write_clips(tmp_path / "few", songs=2, seconds=3.0, rate=22050), out=tmp_path)
    assert not study.has_split and "aaa" in study.split_error
    with pytest.raises(NeedsSplit, match="aaa"):
        study.require_split()
    assert len(study.collect(tables.distances, seed=0))


@pytest.mark.parametrize("songs", [1, 2])
def test_one_test_song_an_instrument_gives_no_range(toy, own_cache, tmp_path, songs):
    """Drawn again and again it would give one of width zero."""
    clips = write_clips(tmp_path / "clips", songs=4 * songs, seconds=3.0, rate=22050)
    study = Study(PROFILE, data=clips)
    assert (study.dataset.table["split"] == "test").sum() == 2 * songs
    table = tables.clean_classification(study)
    assert table["roc_auc"].notna().all() and (table[["low", "high"]].notna() == (songs > 1)).all(axis=None)


def test_unknown_names_are_explained(own_cache):
    with pytest.raises(ValueError, match="tiny, demo, paper"):
        Study("nonsense")
    with pytest.raises(ValueError, match="no effect named 'flanger'"):
        Study("tiny", effects="gain,flanger")
    with pytest.raises(ValueError, match="no model named 'vggish'"):
        Study("tiny").model("vggish")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": "yamnet,vggish"}, "no model named 'vggish'; there are openl3, panns"),
        ({"weights": "random"}, "weights='random' is not one of auto, pretrained, untrained"),
        ({"backend": "official"}, "backend='official' is not one of aesens, reference"),
        ({"precision": "fp8"}, "precision='fp8' is not one of float32"),
        ({"jobs": 0}, "jobs=0 is less than one thread"),
        ({"jobs": -1}, "jobs=-1 is less than one thread"),
        ({"seed": -1}, "seed=-1 is not between 0 and"),
        ({"seed": 2**32}, "is not between 0 and"),
        ({"device": "abacus"}, "device='abacus' is not here; there are cpu"),
    ],
)
def test_settings_that_make_no_sense_are_refused(own_cache, settings, message):
    with pytest.raises(ValueError, match=message):
        Study("tiny", **settings)


def test_what_measures_are_made_of_is_part_of_a_results_address():
    """A table that is kept must not outlive a change of what it was computed with."""
    code = "import sys, aesens.tables; print(*(m for m in sys.modules if m.startswith('aesens.')))"
    used = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    parts = {part for module in used.split() for part in module.split(".")}
    assert "tables" in parts and not parts & _OUTER


def test_a_gpu_need_not_be_here_if_workers_elsewhere_compute(monkeypatch):
    far = {"device": "cuda:77"}
    with pytest.raises(ValueError, match="device='cuda:77' is not here"):
        Study("tiny", **far)
    assert Study("tiny", scheduler="tcp://elsewhere:8786", **far).device == "cuda:77"
    # A study of before does not make the next one lenient.
    with pytest.raises(ValueError, match="device='cuda:77' is not here"):
        Study("tiny", **far)
    monkeypatch.setenv("AESENS_SCHEDULER", "slurm")
    assert Study("tiny", models="musicnn", weights="untrained", **far).model("musicnn").device.index == 77
    with pytest.raises(ValueError, match="device='abacus' is not here"):
        Study("tiny", device="abacus")


def test_what_is_named_twice_counts_once(own_cache):
    study = Study(
        "tiny", models="yamnet,musicnn,yamnet", effects="gain,gain", instruments=["cel", "cel", "pia"]
    )
    assert study.models == ["yamnet", "musicnn"] and study.effects == ["gain"]
    assert study.instruments == ["cel", "pia"] and Study("tiny").instruments is None


def test_a_folder_does_not_hide_a_data_set_of_its_name(own_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rendered", "mine"):
        write_clips(tmp_path / name, songs=1, seconds=0.1)
    assert Study("tiny", data="rendered").data == "rendered"
    assert Study("tiny", data="mine").data == str(tmp_path / "mine")


def test_one_instrument_leaves_what_needs_no_second(toy, own_cache, tmp_path):
    clips = write_clips(tmp_path / "one", classes=["aaa"], songs=8, seconds=3.0, rate=22050)
    study = Study(PROFILE, data=clips, out=tmp_path / "out")
    with pytest.raises(NeedsSplit, match="one instrument only: add a second class folder"):
        study.require_split()
    assert len(study.collect(tables.distances, seed=0)) and len(study.clips("toy")) == 8


def test_damaged_results_are_computed_again(study):
    first = study.collect(tables.distances, seed=0)
    kept = sorted((cache_dir("results") / "distances").iterdir())
    kept[0].write_bytes(b"")
    kept[1].write_bytes(kept[1].read_bytes()[:-7])
    pd.testing.assert_frame_equal(study.collect(tables.distances, seed=0), first)
    sweep = study.sweep("toy", "gain")
    fitted = study.fitted(sweep)
    (kept,) = (cache_dir("results") / "fitted_subspaces").iterdir()
    for damaged in (b"", kept.read_bytes()[:-40], b"no archive"):
        kept.write_bytes(damaged)
        again = study.fitted(sweep)
        assert again.keys() == fitted.keys()
        assert all(np.array_equal(again[n][c], fitted[n][c]) for n in fitted for c in fitted[n])


def test_settings_of_a_measure_within_are_part_of_its_result(study):
    def scaled(sweep, by):
        return pd.DataFrame({"value": [by * float(sweep.clean.mean())]})

    tables = [study.collect(partial(scaled, by=by)) for by in (1.0, 2.0)]
    assert np.allclose(2 * tables[0]["value"], tables[1]["value"])


def test_settings_of_a_run_replace_the_profile(own_cache):
    study = Study(
        "demo", models="yamnet, musicnn", effects=["gain"], instruments="cel,pia", seed=7, weights="untrained"
    )
    assert study.models == ["yamnet", "musicnn"] and study.effects == ["gain"] and study.seed == 7
    assert study.instruments == ["cel", "pia"] and study.weights == "untrained"
    assert not study.model("yamnet").weights.pretrained


def test_seed_and_parameters_of_profiles_make_sense():
    for profile in PROFILES.values():
        assert set(profile.effects) <= set(EFFECTS) and set(profile.models) <= set(models.MODELS)
        assert set(profile.beside) <= set(models.MODELS) - set(profile.models)
        # The smallest p-value, corrected over the instruments, must be able to show something.
        if profile.name != "tiny":
            assert len(INSTRUMENTS) / (profile.n_permutations + 1) < 0.05
    assert PROFILES["paper"].scale == Scale() and PROFILES["paper"].weights == "pretrained"


def test_figures_and_tables_carry_their_provenance(study):
    table = pd.DataFrame({"a": ["x", "y"], "b": [1.5, 2.0], "c": ["p", "p"]})
    study.table(table, "numbers", "Some numbers.")
    study.figure(heatmap(table, "b", rows=["a"], column="c", label="B"), "picture", "A picture.")
    assert pd.read_csv(study.out / "numbers.csv").equals(table)
    # A figure and a table of one name keep their own captions.
    study.table(table, "picture", "The numbers of it.")
    for name, caption in (("numbers.csv", "Some"), ("picture", "A picture."), ("picture.csv", "The numbers")):
        about = json.loads((study.out / "provenance" / f"{name}.json").read_text())
        assert about["caption"].startswith(caption) and "other_sources" not in about
        assert about["models"]["toy"]["pretrained"] is False and about["packages"]["numpy"] == np.__version__
    pdf, png = (study.out / f"picture.{ending}" for ending in ("pdf", "png"))
    assert b"A picture." in png.read_bytes() and pdf.stat().st_size > 0
    before = png.read_bytes(), pdf.read_bytes()
    study.figure(heatmap(table, "b", rows=["a"], column="c", label="B"), "picture", "A picture.")
    assert (png.read_bytes(), pdf.read_bytes()) == before


def test_a_pdf_is_drawn_again_unless_the_same_code_drew_it(tmp_path):
    from matplotlib.figure import Figure

    from aesens.plots.outputs import save_figure

    pdf, drawn = tmp_path / "f.pdf", []

    def save(clean=True, heights=(1, 2)):
        figure = Figure()
        figure.subplots().plot(heights)
        savefig, before = figure.savefig, len(drawn)
        figure.savefig = lambda path, *a, **k: (drawn.append(path), savefig(path, *a, **k))
        save_figure(figure, tmp_path, "f", {"caption": "C", "commit": {"hash": "a", "clean": clean}})
        assert pdf.read_bytes().startswith(b"%PDF")
        return sum(str(path).endswith(".pdf") for path in drawn[before:])

    assert [save(), save(), save()] == [1, 0, 0]
    assert [save(heights=(1, 3)), save(heights=(1, 3))] == [1, 0]
    # Code that is not committed may be any; a file that was changed or lost is not the one that was drawn.
    assert [save(clean=False), save(clean=False), save(), save()] == [1, 1, 1, 0]
    pdf.write_bytes(b"%PDF damaged")
    assert [save(), save()] == [1, 0]
    pdf.unlink()
    assert [save(), save()] == [1, 0]
    (tmp_path / "provenance" / "f.json").write_text("{}")
    assert [save(), save()] == [1, 0]


def test_tables_of_other_runs_on_other_data_are_shown_beside(study):
    here = pd.DataFrame({"data": ["Mine"], "roc_auc": [0.9]})
    for folder, data in (("other", "Theirs"), ("mine-too", "Mine")):
        (study.out.parent / folder).mkdir()
        pd.DataFrame({"data": [data], "roc_auc": [0.8]}).to_csv(
            study.out.parent / folder / "t.csv", index=False
        )
    (study.out.parent / "older").mkdir()
    pd.DataFrame({"roc_auc": [0.7]}).to_csv(study.out.parent / "older" / "t.csv", index=False)
    joined = outputs.with_other_runs(study.out, "t", here)
    assert list(joined["data"]) == ["Mine", "Theirs"]
    figure = heatmap(joined, "roc_auc", rows=["data"], column="data", label="AUC")
    study.figure(figure, "both", "Both runs.", sources=joined.attrs["sources"])
    (other,) = json.loads((study.out / "provenance" / "both.json").read_text())["other_sources"]
    assert other["run"] == "other" and other["data"] == ["Theirs"] and len(other["sha256"]) == 64


def test_versions_name_the_packages():
    assert {"python", "numpy", "torch", "pedalboard"} <= set(package_versions())


@pytest.mark.parametrize(
    ("low", "high", "side", "threshold", "verdict"),
    [
        (0.6, 0.7, "above", 0.5, "supported"),
        (0.4, 0.7, "above", 0.5, "inconclusive"),
        (0.1, 0.4, "above", 0.5, "not supported"),
        (0.1, 0.4, "below", 0.5, "supported"),
        (0.6, 0.7, "below", 0.5, "not supported"),
        (-0.01, 0.01, "within", 0.02, "supported"),
        (-0.03, 0.01, "within", 0.02, "inconclusive"),
        (-0.05, -0.03, "within", 0.02, "not supported"),
        (0.03, 0.05, "within", 0.02, "not supported"),
        (float("nan"), 0.05, "above", 0.02, "inconclusive"),
    ],
)
def test_verdicts(low, high, side, threshold, verdict):
    assert decide(low, high, side, threshold) == verdict
    with pytest.raises(ValueError, match="side"):
        decide(low, high, "beyond", threshold)


def test_listening():
    audio = (0.1 * np.random.default_rng(0).standard_normal((2, 44100))).astype(np.float32)
    versions = sweep_versions(EFFECTS["lowpass"], Decoded(audio, 44100), 3, "float")
    assert [title for title, _ in versions] == [
        "Clean",
        "Cutoff 18.3 kHz",
        "Cutoff 5.42 kHz",
        "Cutoff 1.6 kHz",
    ]
    assert (
        "data:audio/mpeg;base64," in player(audio, 44100, "a <b>").data
        and "<b>" not in player(audio, 44100, "<b>").data
    )
    levels = effect_levels(EFFECTS["gain"], Decoded(audio, 44100), "float")
    assert np.allclose(levels["level_db"], EFFECTS["gain"].grid, atol=1e-3)
    ratio = np.abs(10 ** (EFFECTS["gain"].grid / 20) - 1)
    assert np.allclose(levels["change_db"], 20 * np.log10(ratio), atol=1e-3)
