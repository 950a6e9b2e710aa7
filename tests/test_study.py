"""The study joins the parts: settings, scale, cached results, outputs with provenance."""

import json

import numpy as np
import pandas as pd
import pytest
from support import PROFILE, ToyModel, write_clips

from aesens import measure, models, outputs
from aesens.claims import decide
from aesens.data.clips import INSTRUMENTS
from aesens.effects import EFFECTS
from aesens.listen import effect_levels, player, sweep_versions
from aesens.plots import heatmap
from aesens.profiles import PROFILES, Profile, Scale
from aesens.study import NeedsSplit, Study


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(models.MODELS, "toy", ToyModel)


@pytest.fixture
def study(toy, own_cache, tmp_path):
    clips = write_clips(tmp_path / "clips", songs=8, seconds=3.0, rate=22050)
    return Study(PROFILE, data=clips, out=tmp_path / "out")


def test_sweep_has_the_shapes_and_sides_it_says(study):
    sweep = study.sweep("toy", "gain")
    assert sweep.trajectories.shape == (4, 16, 8) and sweep.clean.shape == (16, 8)
    assert sweep.train.sum() == 12 and sweep.test.sum() == 4 and not (sweep.train & sweep.test).any()
    assert not set(sweep.songs[sweep.train]) & set(sweep.songs[sweep.test])
    assert not sweep.pretrained and "untrained" in sweep.title
    part = sweep.take(sweep.instruments == "aaa")
    assert part.trajectories.shape == (4, 8, 8) and set(part.instruments) == {"aaa"}
    assert np.array_equal(sweep.displacements, sweep.trajectories - sweep.clean[None])


def test_collect_computes_once_and_reads_the_same(study, monkeypatch):
    first = study.collect(measure.distances, resamples=50, seed=0)
    assert list(first.columns[:3]) == ["model", "pretrained", "effect"] and set(first["effect"]) == {
        "gain",
        "reverb",
    }
    # Whatever the measure would compute now: the second time it is read.
    monkeypatch.setattr(measure.sensitivity, "cosine_distance", lambda *a: 1 / 0)
    pd.testing.assert_frame_equal(first, study.collect(measure.distances, resamples=50, seed=0))
    with pytest.raises(ZeroDivisionError):
        study.collect(measure.distances, resamples=50, seed=1)


def test_scale_limits_songs_and_excerpts(toy, own_cache, tmp_path):
    profile = Profile(
        "toy", "", models=("toy",), effects=("gain",), scales={"toy": Scale(strengths=2, songs=(3, 1))}
    )
    study = Study(profile, data=write_clips(tmp_path / "clips", songs=8, seconds=0.2), out=tmp_path)
    counts = study.clips("toy").table.groupby(["instrument", "split"]).size()
    assert counts.to_dict() == {(i, s): n for i in ("aaa", "bbb") for s, n in (("train", 3), ("test", 1))}
    assert study.sweep("toy", "gain").trajectories.shape[:2] == (2, 8)


def test_without_a_split_the_reason_is_told(toy, own_cache, tmp_path):
    study = Study(PROFILE, data=write_clips(tmp_path / "few", songs=2, seconds=3.0, rate=22050), out=tmp_path)
    assert not study.has_split and "aaa" in study.split_error
    with pytest.raises(NeedsSplit, match="aaa"):
        study.require_split()
    assert len(study.collect(measure.distances, resamples=20, seed=0))


def test_unknown_names_are_explained(own_cache):
    with pytest.raises(ValueError, match="tiny, demo, paper"):
        Study("nonsense")
    with pytest.raises(ValueError, match="no effect named 'flanger'"):
        Study("tiny", effects="gain,flanger")
    with pytest.raises(ValueError, match="no model named 'vggish'"):
        Study("tiny").model("vggish")


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
        assert set(profile.scales) <= set(profile.models) | set(models.MODELS)
        # The smallest p-value, corrected over the instruments, must be able to show something.
        if profile.name != "tiny":
            assert len(INSTRUMENTS) / (profile.permutations + 1) < 0.05
    assert PROFILES["paper"].scale == Scale() and PROFILES["paper"].weights == "pretrained"


def test_figures_and_tables_carry_their_provenance(study):
    table = pd.DataFrame({"a": ["x", "y"], "b": [1.5, 2.0], "c": ["p", "p"]})
    study.table(table, "numbers", "Some numbers.")
    study.figure(heatmap(table, "b", rows=["a"], column="c", label="B"), "picture", "A picture.")
    assert pd.read_csv(study.out / "numbers.csv").equals(table)
    for name in ("numbers", "picture"):
        about = json.loads((study.out / "provenance" / f"{name}.json").read_text())
        assert about["models"]["toy"]["pretrained"] is False and about["packages"]["numpy"] == np.__version__
    pdf, png = (study.out / f"picture.{ending}" for ending in ("pdf", "png"))
    assert b"A picture." in png.read_bytes() and pdf.stat().st_size > 0
    before = png.read_bytes(), pdf.read_bytes()
    study.figure(heatmap(table, "b", rows=["a"], column="c", label="B"), "picture", "A picture.")
    assert (png.read_bytes(), pdf.read_bytes()) == before


def test_tables_of_other_runs_on_other_data_are_shown_beside(study):
    here = pd.DataFrame({"data": ["Mine"], "roc_auc": [0.9]})
    for folder, data in (("other", "Theirs"), ("mine-too", "Mine")):
        (study.out.parent / folder).mkdir()
        pd.DataFrame({"data": [data], "roc_auc": [0.8]}).to_csv(
            study.out.parent / folder / "t.csv", index=False
        )
    assert list(study.with_other_runs("t", here)["data"]) == ["Mine", "Theirs"]


def test_versions_name_the_packages():
    assert {"python", "numpy", "torch", "pedalboard"} <= set(outputs.package_versions())


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
    versions = sweep_versions(EFFECTS["lowpass"], audio, 44100, 3)
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
    levels = effect_levels(EFFECTS["gain"], audio, 44100)
    assert np.allclose(levels["level_db"], EFFECTS["gain"].grid, atol=1e-3)
    ratio = np.abs(10 ** (EFFECTS["gain"].grid / 20) - 1)
    assert np.allclose(levels["change_db"], 20 * np.log10(ratio), atol=1e-3)
