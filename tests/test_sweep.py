"""What a study reads, keeps and computes of its sweeps."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
from support import PROFILE, ToyModel, write_clips

from aesens import models, tables
from aesens.analysis import projections
from aesens.analysis.remedies import LEACE
from aesens.embeddings.sweep import Sweep
from aesens.study import Study


@pytest.fixture
def study(monkeypatch, own_cache, tmp_path):
    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))
    clips = write_clips(tmp_path / "clips", songs=8, seconds=1.0, rate=22050)
    return Study(PROFILE, data=clips, out=tmp_path / "out")


def test_the_study_hands_out_the_light_class(study):
    assert isinstance(study.sweep("toy", "gain"), Sweep)


def test_a_study_keeps_one_sweep(study):
    first = study.sweep("toy", "gain")
    assert study.sweep("toy", "gain") is first
    gone = weakref.ref(first)
    del first
    study.sweep("toy", "reverb")
    gc.collect()
    assert gone() is None
    assert [sweep.effect.name for sweep in study.sweeps()] == ["gain", "reverb"]


def test_results_that_are_there_need_no_embeddings(study, monkeypatch):
    first = study.collect(tables.projected, seed=0)
    monkeypatch.setattr(study, "sweep", lambda *pair, **options: 1 / 0)
    monkeypatch.setattr(study, "_extract", lambda plans: [1 / 0 for plan in plans])
    pd.testing.assert_frame_equal(first, study.collect(tables.projected, seed=0))
    with pytest.raises(ZeroDivisionError):
        study.collect(tables.projected, seed=1)


def test_projections_are_fitted_once_for_all_measures(study, monkeypatch):
    sweep = study.sweep("toy", "gain")
    fitted = study.fitted(sweep, 3)
    expected = tables.fitted_subspaces(sweep, seed=3)
    assert list(fitted) == list(expected)
    for name, of in expected.items():
        assert list(fitted[name]) == list(of)
        for code, rows in of.items():
            np.testing.assert_array_equal(fitted[name][code], rows)
    study.collect(tables.projected, seed=3)
    monkeypatch.setattr(tables.projections.projections, "fit_all", lambda *a, **k: 1 / 0)
    study.collect(tables.method_cosines, seed=3)
    study.collect(tables.classifier_cosines, seed=3)
    with pytest.raises(ZeroDivisionError):
        study.collect(tables.projected, seed=4)


def test_a_map_of_its_own_is_kept_too(study, monkeypatch):
    monkeypatch.setattr(projections, "PROJECTIONS", dict(projections.PROJECTIONS))
    projections.register_projection("leace", LEACE)
    sweep = study.sweep("toy", "gain")
    first, expected = study.fitted(sweep, 3), tables.fitted_subspaces(sweep, seed=3)
    assert "leace" in set(study.collect(tables.projected, seed=3)["projection"])
    # Fails where what was kept is not read.
    monkeypatch.setattr(tables.projections.projections, "fit_all", lambda *a, **k: 1 / 0)
    for fitted in (first, study.fitted(sweep, 3)):
        for code, made in expected["leace"].items():
            moved = fitted["leace"][code].transform(sweep.clean)
            np.testing.assert_array_equal(moved, made.transform(sweep.clean))
            assert np.abs(moved - sweep.clean).max() > 0


def test_agreement_has_a_row_a_model(study):
    table = tables.agreements(study.sweeps(), fitted=study.fitted, seed=study.seed)
    (row,) = table.to_dict("records")
    assert row["model"] == "toy" and not row["pretrained"]
    for kind in ("between_instruments", "between_effects", "with_own_classifier", "with_other_classifiers"):
        assert 0 <= row[kind] <= 1
