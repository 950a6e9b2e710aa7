"""Pretrained models beside their untrained twins: the same clips, effects and strengths, in every table and figure."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from support import PROFILE, ToyModel, write_clips

from aesens import models, plots, tables
from aesens.models import WeightsInfo
from aesens.plots.style import MUTED
from aesens.study import Study


class Twinned(ToyModel):
    """The toy with weights that count as pretrained, and without, when all bands weigh the same."""

    name = "twinned"

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    @classmethod
    def load(cls, weights="auto", seed=0, device=None, **options):
        own = WeightsInfo(True, "a test", "twinned-1")
        return cls(WeightsInfo.untrained(seed) if weights == "untrained" else own)

    def frames(self, waves):
        bands = super().frames(waves)
        return bands if self.weights.pretrained else bands.mean(dim=-1, keepdim=True).expand_as(bands)


@pytest.fixture
def study(monkeypatch, own_cache, tmp_path):
    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))
    monkeypatch.setitem(models.MODELS, "twinned", models.Entry(Twinned, "Twinned"))
    clips = write_clips(tmp_path / "clips", songs=8, seconds=0.5, rate=22050)
    profile = replace(PROFILE, models=("twinned", "toy"), beside=("toy", "yamnet"), twins=True)
    return Study(profile, data=clips, out=tmp_path / "out")


def test_a_twin_follows_its_model_and_an_untrained_model_has_none(study):
    assert study.networks == [("twinned", "auto"), ("twinned", "untrained"), ("toy", "auto")]
    assert [(s.model, s.pretrained) for s in study.sweeps()][::2] == [
        ("twinned", True),
        ("twinned", False),
        ("toy", False),
    ]


def test_twins_can_be_left_out_and_the_word_is_checked(study):
    assert study.variant(twins="no").networks == [("twinned", "auto"), ("toy", "auto")]
    with pytest.raises(ValueError, match="twins='maybe' is neither yes nor no"):
        Study(study.profile, twins="maybe")


def test_beside_the_profiles_models_stand_those_it_names_and_beside_others_nothing(study):
    assert study.beside == ["yamnet"]
    assert Study(study.profile, models="toy").beside == []
    assert study.scale("yamnet") == study.profile.short != study.scale("twinned")
    assert Study(study.profile, models="yamnet").scale("yamnet") == study.profile.scale


def test_protocols_are_drawn_of_the_same_clips_and_strengths_whatever_stands_beside(study, monkeypatch):
    monkeypatch.setitem(models.MODELS, "yamnet", models.Entry(ToyModel))
    sweeps = [sweep for _, sweep in study.both_protocols("gain", ("yamnet",))]
    assert len(sweeps) == 6 and {len(sweep.parameters) for sweep in sweeps} == {4}
    assert all(sweep.clips.equals(sweeps[0].clips) for sweep in sweeps)


def test_a_table_has_the_twins_own_rows(study):
    table = study.collect(tables.distances, seed=0)
    of_twins = table[table["model"] == "twinned"]
    assert list(of_twins.groupby("pretrained").size()) == [
        24,
        24,
    ]  # three measures, four strengths, two effects
    ends = of_twins[of_twins["measure"] == "l2"].groupby(["pretrained", "effect"])["value"].last()
    sweep = study.sweep("twinned", "gain", weights="untrained")
    assert not sweep.pretrained and np.ptp(sweep.clean, axis=1).max() == 0
    moved = np.linalg.norm(sweep.trajectories[-1] - sweep.clean, axis=1).mean()
    i, j = np.triu_indices(len(sweep.clean), 1)
    unit = np.median(np.linalg.norm(sweep.clean[i] - sweep.clean[j], axis=1))
    assert ends[False, "gain"] == pytest.approx(moved / unit, rel=1e-5)


def test_sweeps_of_a_network_can_be_measured_together(study):
    def effects(sweeps, *, factor):
        return pd.DataFrame(
            {"effect": s.effect.name, "value": factor * float(s.trajectories.mean())} for s in sweeps
        )

    table = study.collect(effects, together=True, factor=2)
    assert list(table["effect"]) == ["gain", "reverb"] * 3 and list(table.columns)[:3] == [
        "model",
        "pretrained",
        "effect",
    ]
    assert table.iloc[2]["value"] == pytest.approx(
        2 * study.sweep("twinned", "gain", weights="untrained").trajectories.mean()
    )
    study.extract = study.sweep = lambda *a, **k: 1 / 0
    pd.testing.assert_frame_equal(study.collect(effects, together=True, factor=2), table)


def test_another_seed_deals_other_songs(study):
    other = study.variant(seed=study.seed + 1)
    assert other.seed == study.seed + 1 and (other.split != study.split).any()
    assert (study.variant(seed=study.seed).split == study.split).all()


def test_a_twin_is_drawn_muted_beside_its_model(study):
    distances = study.collect(tables.distances, seed=0)
    figure = plots.sensitivity_curves(distances)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Twinned", "Twinned (untrained)", "toy (untrained)"]
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines["Twinned"].get_color() == lines["Twinned (untrained)"].get_color()
    assert lines["Twinned"].get_linestyle() == "-" != lines["Twinned (untrained)"].get_linestyle()
    plt.close(figure)
    layout = study.collect(tables.layout, method="pca", clips=2, seed=0)
    figure = plots.trajectory_grid(layout, ("1", "2"))
    assert len(figure.axes) == 3 * 2 + 1  # a row a network, and the colour bar
    plt.close(figure)
    maps = plots.clean_map(tables.clean_layout(study))
    titles = {ax.get_title().split("\n")[0]: ax.title.get_color() for ax in maps.axes if ax.get_title()}
    assert titles == {"Twinned": "black", "Twinned (untrained)": MUTED, "toy (untrained)": MUTED}
    plt.close(maps)
