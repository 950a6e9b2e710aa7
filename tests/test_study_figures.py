"""The study's figures (notebook 80): every panel drawn with stand-in weights, and said in words without."""

from dataclasses import replace
from itertools import product

import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from support import ROOT, ToyModel, write_clips

from aesens import plots
from aesens.analysis import geometry as trajectories
from aesens.app.run import notebooks
from aesens.effects import effect
from aesens.models import MODELS, WeightsInfo
from aesens.models.weights import WeightsError
from aesens.settings import PROFILES, Profile, Scale
from aesens.study import Study

FIGURES = ("80_umap", "80_global_cca", "80_samplewise", "80_spectra", "80_auc")
STUDY_PROFILE = Profile(
    "stand-in",
    "the study's figures with stand-in weights",
    # The run's own choice, which the figures are not bound to.
    models=("yamnet",),
    effects=("reverb",),
    weights="pretrained",
    protocol="float",
    scale=Scale(strengths=6),
    n_permutations=2,
    n_resamples=10,
)


def stand_in(name: str, pretrained: bool):
    """A quick network under the name of one of the study's; it hears the noise of clips, not their tones."""

    class StandIn(ToyModel):
        dimension = 16

        def __init__(self, seed=0):
            super().__init__(seed)
            self.weights = WeightsInfo(pretrained, f"stand-in for {name}", f"stand-in-{name}", "")

        @classmethod
        def load(cls, weights="auto", seed=0, device=None, **options):
            if weights == "pretrained" and not pretrained:
                raise WeightsError(f"{name}: not here")
            return cls(seed)

        def frames(self, waves):
            spectrum = torch.fft.rfft(waves).abs()[:, waves.shape[1] // 4 :]
            bands = torch.stack([band.mean(dim=1) for band in spectrum.chunk(self.dimension, dim=1)], dim=1)
            # Each network hears them in its own way.
            return torch.log1p(10.0 ** plots.STUDY_MODELS.index(name) * bands)[:, None]

    StandIn.name = name
    return StandIn


def draw(folder, pretrained, classes=("cel", "flu", "gac", "org"), saved=False, **parameters):
    """Execute the notebook's code; the figures by name, each with its panels row by row, and the names it made."""
    figures, save, names = {}, Study.figure, {}

    def figure(self, made, name, caption):
        figures[name] = made
        assert self.provenance()["models"].keys() == set(pretrained)
        return save(self, made, name, caption) if saved else plt.close(made)

    clips = write_clips(folder / "clips", classes, songs=6, seconds=0.2)
    values = {"data": clips, "out": folder / "out", "jobs": 1} | parameters
    with pytest.MonkeyPatch.context() as patch, plt.rc_context():
        patch.setenv("AESENS_CACHE", str(folder / "cache"))
        patch.setitem(PROFILES, STUDY_PROFILE.name, STUDY_PROFILE)
        for name in plots.STUDY_MODELS:
            patch.setitem(MODELS, name, replace(MODELS[name], model=stand_in(name, name in pretrained)))
        patch.setattr(Study, "figure", figure)
        # UMAP has tests of its own, and takes half a minute to compile.
        patch.setattr(trajectories, "path_layout", lambda path, others, **_: np.r_[others, path][:, :2])
        for cell in jupytext.read(ROOT / "notebooks" / "percent" / "80_study_figures.py").cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= {"profile": STUDY_PROFILE.name, "options": values}
    assert tuple(figures) == FIGURES
    return {name: (made, _panels(made, name)) for name, made in figures.items()}, names


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """All of them, drawn with stand-ins for all three networks; and where."""
    folder = tmp_path_factory.mktemp("drawn")
    return *draw(folder, plots.STUDY_MODELS, saved=True), folder


def _panels(figure, name):
    # Colour bars come after them.
    return figure.axes[: 3 if name == "80_spectra" else 12]


def words(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_every_panel_is_drawn_from_official_weights(drawn):
    figures, names, folder = drawn
    # Whatever the run's own protocol is.
    assert names["ours"].protocol == "study" and names["study"].protocol == "float"
    for name, (_, panels) in figures.items():
        assert all((folder / "out" / f"{name}.{kind}").exists() for kind in ("png", "pdf"))
        assert not [text for ax in panels for text in ax.texts], name

    _, panels = figures["80_umap"]
    assert [ax.get_title() for ax in panels[:4]] == [effect(name).title for name in plots.STUDY_EFFECTS]
    assert [ax.get_ylabel() for ax in panels[::4]] == ["OpenL3", "PANNs", "CLAP (Microsoft)"]
    assert all([len(points.get_offsets()) for points in ax.collections] == [6, 1] for ax in panels)

    figure, panels = figures["80_global_cca"]
    assert all(ax.get_title().startswith("ρ² = ") for ax in panels)
    assert [ax.get_ylabel().splitlines() for ax in panels[::3]] == [
        [title, "Parameter rank"] for title in ("Bitcrushing", "Gain", "Low-pass filtering", "Reverberation")
    ]
    table = names["ours"].dataset.table
    fitted = ((table["instrument"] == "cel") & (table["split"] == "train")).sum()
    for ax in panels:
        x, rank = ax.collections[0].get_offsets().T
        assert len(x) == 6 * fitted and np.allclose(np.unique(rank), np.arange(6) / 6)
    bars = [ax.get_ylabel() for ax in figure.axes[12:]]
    assert bars == ["Bit depth (bit)", "Gain (dB)", "Cutoff (kHz)", "Room size"]

    _, panels = figures["80_samplewise"]
    for ax in panels:
        assert sum(bar.get_height() for bar in ax.patches) == (table["split"] == "train").sum()
        assert len(ax.patches) == 20 and " to " in ax.get_title()

    figure, panels = figures["80_spectra"]
    assert [ax.get_title().splitlines() for ax in panels] == [
        ["CLAP (Microsoft), low-pass filtering", "Cello"],
        ["PANNs, reverberation", "Cello"],
        ["OpenL3, gain", "Cello"],
    ]
    assert words(figure)[2:] == ["t = 0.3", "t = 0.4", "t = 0.5"]
    assert all(len(ax.lines[0].get_xdata()) == min(fitted, 16) for ax in panels)


def test_the_figure_of_roc_auc_is_the_studys(drawn):
    figures, names, _ = drawn
    figure, panels = figures["80_auc"]
    methods = ["Average displacement", "PCA", *(f"CCA SVD, t = {t}" for t in (0.3, 0.4, 0.5))]
    assert set(words(figure)) == {"No projection", *methods, "Clean clips", "Extent of the study's panel"}
    assert [ax.get_ylabel().splitlines()[:3] for ax in panels[::4]] == [
        ["OpenL3", "Reverberation", "Cello"],
        ["PANNs", "Gain", "Organ"],
        ["CLAP (Microsoft)", "Low-pass filtering", "Acoustic guitar"],
    ]
    scores = names["scores"].set_index(["model", "condition", "projection"]).sort_index()
    groups = (("none", "average", "svd-0.4", "pca"), ("none", "svd-0.3", "svd-0.4", "svd-0.5"))
    conditions = ("clean-effected", "effected-clean")
    rows = (("openl3", "reverb", 0.0), ("panns", "gain", 0.0), ("msclap", "lowpass", 22.5))
    for (model, name, identity), row in zip(rows, np.reshape(panels, (3, 4)), strict=True):
        kind = effect(name)
        for ax, (methods, condition) in zip(row, product(groups, conditions), strict=True):
            assert ax.get_xlabel() == kind.label
            # A curve each, and the line at the clean clips.
            assert len(ax.lines) == 5 and ax.lines[-1].get_xdata() == [identity, identity]
            low, high = ax.get_xlim()
            assert low < identity < high
            for method, line in zip(methods, ax.lines, strict=False):
                found = scores.loc[(model, condition, method)]
                expected = dict(zip(found["parameter"] * kind.display, found["roc_auc"], strict=True))
                expected[identity] = scores.loc[(model, "clean-clean", method), "roc_auc"].item()
                assert dict(zip(*line.get_data(), strict=True)) == pytest.approx(expected)
                assert (np.diff(line.get_xdata()) > 0).all()


def said(ax) -> str:
    (text,) = ax.texts
    assert not (ax.lines or ax.collections or ax.patches)
    return text.get_text().replace("\n", " ")


def test_without_weights_every_panel_says_so_and_nothing_is_embedded(tmp_path):
    figures, _ = draw(tmp_path, ())
    for _, panels in figures.values():
        assert {said(ax) for ax in panels} == {
            f"{title}: official weights not at hand" for title in ("OpenL3", "PANNs", "CLAP (Microsoft)")
        }
    assert not any(figure.legends for figure, _ in figures.values())
    assert not (tmp_path / "cache" / "store").exists()


def test_a_model_that_the_run_leaves_out_is_named(tmp_path):
    figures, _ = draw(tmp_path, (), models="panns")
    assert {said(ax) for _, panels in figures.values() for ax in panels} == {
        "OpenL3: not in this run",
        "PANNs: official weights not at hand",
        "CLAP (Microsoft): not in this run",
    }


def test_what_the_data_or_the_run_lack_is_named_and_not_embedded(tmp_path):
    options = {"effects": "lowpass,gain", "weights": "auto"}
    figures, names = draw(tmp_path, ("panns", "msclap"), classes=("cel", "org"), **options)
    assert names["ours"].models == ["panns", "msclap"] and names["ours"].effects == ["lowpass", "gain"]
    _, panels = figures["80_auc"]
    assert [said(ax) for ax in panels[::8]] == [
        "OpenL3: official weights not at hand",
        "CLAP (Microsoft): no clips of acoustic guitar",
    ]
    assert all(ax.lines and not ax.texts for ax in panels[4:8])
    _, panels = figures["80_umap"]
    assert [said(ax) for ax in panels[4:8]] == [
        "PANNs: no clips of flute",
        "PANNs: no clips of flute",
        "Reverberation: not in this run",
        "Bitcrushing: not in this run",
    ]
    _, panels = figures["80_spectra"]
    assert panels[0].lines and said(panels[1]) == "Reverberation: not in this run"


def test_appendices_run_when_named_and_at_the_end_of_the_paper():
    assert [path.stem for path in notebooks(ROOT, "80")] == ["80_study_figures"]
    assert "80_study_figures" not in [path.stem for path in notebooks(ROOT)]
    assert notebooks(ROOT, appendices=True)[-1].name[:1] == "8"
    assert {profile.name for profile in PROFILES.values() if profile.appendices} == {"paper"}
