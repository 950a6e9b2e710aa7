"""Choose a clip and an effect, hear it and see its trajectory.

In a live notebook `explore` shows menus; under papermill, on a page or in print the same view stands still.
"""

from __future__ import annotations

import io
import os

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import Image, display

from aesens.analysis.distances import cosine_distance
from aesens.analysis.geometry import pca_layout
from aesens.effects import effect, render
from aesens.plots import titles as names
from aesens.plots.fonts import lay_out
from aesens.plots.player import player
from aesens.plots.style import CLEAN, WIDTH, number, parameter_axis, strength_bar

__all__ = ["Explorer", "explore", "live"]

# Paths of other clips that are drawn.
_OTHERS = 200


def live() -> bool:
    """Whether a reader sits at this notebook, so that menus make sense."""
    return not os.environ.get("AESENS_PLAIN_PROGRESS") and get_ipython() is not None


class Explorer:
    """What the menus offer and what a choice shows; knows nothing of widgets.

    Parameters
    ----------
    study : aesens.study.Study

    Attributes
    ----------
    models, effects, instruments : list of str
        What can be chosen.
    """

    def __init__(self, study):
        self.study = study
        self.models, self.effects = list(study.models), list(study.effects)
        self.instruments = list(study.dataset.instruments)
        self._layouts: dict[tuple[str, str], np.ndarray] = {}

    def model_title(self, model: str) -> str:
        """Name of a model; untrained weights are named as such."""
        return names.model_title(model, self.study.model(model).weights.pretrained)

    def start(self) -> tuple[str, str]:
        """Model and effect that a page shows: the first pretrained model, and an effect with long trajectories."""
        trained = [name for name in self.models if self.study.model(name).weights.pretrained]
        return (trained or self.models)[0], "reverb" if "reverb" in self.effects else self.effects[0]

    def clips(self, model: str, instrument: str) -> list[str]:
        """Clips of an instrument that a model has embedded."""
        table = self.study.clips(model).table
        return list(table.index[table["instrument"] == instrument])

    def strengths(self, model: str, effect_name: str) -> list[str]:
        """Titles of the strengths, the clean clip first."""
        kind = effect(effect_name)
        # A number without a unit would not say what it is of.
        form = "{:.3g} " + kind.unit if kind.unit else kind.parameter + " {:.3g}"
        values = kind.parameters(self.study.scale(model).strengths)
        return ["Clean", *(form.format(value * kind.display) for value in values)]

    def figure(self, model: str, effect_name: str, clip: str, strength: int) -> plt.Figure:
        """The clip's trajectory among those of the others, and its distance from the clean clip.

        Parameters
        ----------
        model, effect_name, clip : str
        strength : int
            0 for the clean clip, 1 for the first strength.

        Raises
        ------
        ValueError
            If the model has not embedded the clip or there is no such strength.
        """
        sweep = self.study.sweep(model, effect_name)
        if clip not in sweep.clips.index:
            raise ValueError(f"{model} has no embedding of {clip!r} in this profile")
        if not 0 <= strength <= len(sweep.parameters):
            raise ValueError(f"strength {strength} is not between 0 and {len(sweep.parameters)}")
        mine = sweep.clips.index.get_loc(clip)
        figure, (plane, curve) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), width_ratios=(3, 2))
        self._draw_plane(figure, plane, sweep, mine, strength)
        kind, distance = sweep.effect, cosine_distance(sweep.clean, sweep.trajectories)[:, mine]
        shown, colours = sweep.parameters * kind.display, names.strength_colours(len(sweep.parameters))
        curve.plot(shown, distance, color="#555555", linewidth=1, zorder=2)
        curve.scatter(shown, distance, color=colours, s=26, zorder=3, clip_on=False)
        if strength:
            curve.axvline(shown[strength - 1], color="black", linewidth=0.8, linestyle=":")
        curve.set(ylabel="Cosine distance", ylim=(0, None))
        parameter_axis(curve, kind, sweep.parameters)
        instrument = names.instrument_title(sweep.clips.loc[clip, "instrument"])
        figure.suptitle(f"{names.sweep_title(sweep)}: {instrument}, {clip}")
        return figure

    def _draw_plane(self, figure: plt.Figure, plane: plt.Axes, sweep, mine: int, strength: int) -> None:
        """Trajectories on two principal components, that of clip `mine` in colours, with their key below."""
        points, strengths = self._layout(sweep), len(sweep.parameters)
        # Where the clean setting lies inside the sweep, the sweep does not start from the clean clip.
        start = int(sweep.effect.identity_inside)
        # Of thousands of clips some are enough to show where the others go.
        for other in np.unique(np.linspace(0, points.shape[1] - 1, _OTHERS).astype(int)):
            plane.plot(*points[start:, other].T, color="#DDDDDD", linewidth=0.6, zorder=1)
        path = points[:, mine]
        plane.plot(*path[start:].T, color="#555555", linewidth=1, zorder=2)
        plane.scatter(*path[1:].T, color=names.strength_colours(strengths), s=26, zorder=3)
        plane.scatter(*path[0], s=48, linewidth=1.6, zorder=4, label="Clean clip", **CLEAN)
        plane.scatter(*path[strength], s=130, facecolors="none", edgecolors="black", zorder=5, label="Heard")
        plane.set(xticks=[], yticks=[], xlabel="PC 1", ylabel="PC 2")
        ends = [number(value * sweep.effect.display, "{:.3g}") for value in sweep.parameters[[0, -1]]]
        place = {"cax": plane.inset_axes((0.15, -0.17, 0.7, 0.035)), "orientation": "horizontal"}
        bar = strength_bar(figure, dict(enumerate(ends)), strengths, **place)
        # Between the two numbers.
        bar.set_label(sweep.effect.label, labelpad=-9)
        bar.ax.tick_params(length=0)
        handles, labels = plane.get_legend_handles_labels()
        handles.append(plt.Line2D([], [], color="#CCCCCC", linewidth=1))
        figure.legend(handles, [*labels, "Other clips"], loc="outside lower center", ncols=3)

    def _layout(self, sweep) -> np.ndarray:
        """Clean and effected clips on two principal components, (1 + strength, clip, 2), computed once."""
        key = sweep.model, sweep.effect.name
        if key not in self._layouts:
            self._layouts[key] = pca_layout(np.concatenate([sweep.clean[None], sweep.trajectories]))
        return self._layouts[key]

    def sound(self, model: str, effect_name: str, clip: str, strength: int):
        """A player of the clip at a strength; the clean clip at 0."""
        decoded = self.study.source.decode(clip)
        audio = decoded.audio
        if strength:
            kind = effect(effect_name)
            value = kind.parameters(self.study.scale(model).strengths)[strength - 1]
            audio = render(kind, decoded, value, self.study.protocol)
        title = self.strengths(model, effect_name)[strength]
        return player(audio, decoded.sample_rate, title, self.study.source.credits.get(clip, ""))


def explore(study):
    """Explore a study's clips: menus where a reader sits at the notebook, one view that stands still elsewhere.

    Parameters
    ----------
    study : aesens.study.Study

    Returns
    -------
    ipywidgets.VBox or None
        The menus in a live notebook; None where the view was displayed.
    """
    explorer = Explorer(study)
    if live():
        return _menus(explorer)
    model, name = explorer.start()
    clip = explorer.clips(model, explorer.instruments[0])[0]
    choice = model, name, clip, len(explorer.strengths(model, name)) - 1
    caption = f"Trajectory of {clip} in {explorer.model_title(model)} under {effect(name).title.lower()}."
    display(study.figure(explorer.figure(*choice), "05_explorer", caption))
    display(explorer.sound(*choice))
    return None


def _menus(explorer: Explorer):
    import ipywidgets as widgets

    def menu(title, entries, label):
        return widgets.Dropdown(description=title, options=[(label(name), name) for name in entries])

    model = menu("Model", explorer.models, explorer.model_title)
    kind = menu("Effect", explorer.effects, lambda name: effect(name).title)
    instrument = menu("Instrument", explorer.instruments, names.instrument_title)
    clip = widgets.Dropdown(description="Clip")
    slider = {"options": [("Clean", 0)], "continuous_update": False}
    strength = widgets.SelectionSlider(description="Strength", **slider)
    view = widgets.Output()

    def refill():
        entries = explorer.clips(model.value, instrument.value)
        if list(clip.options) != entries or clip.value is None:
            clip.options = entries
            clip.value = entries[0] if entries else None
        titles = explorer.strengths(model.value, kind.value)
        at = min(strength.value or 0, len(titles) - 1)
        strength.options = [(title, place) for place, title in enumerate(titles)]
        strength.value = at

    filling = False

    def chosen(_=None):
        # Filling a menu changes its value, which is no choice of the reader's and draws nothing.
        nonlocal filling
        if filling:
            return
        filling = True
        try:
            refill()
        finally:
            filling = False
        if clip.value is None:
            return
        view.clear_output(wait=True)
        with view:
            choice = model.value, kind.value, clip.value, strength.value
            display(_picture(explorer.figure(*choice)), explorer.sound(*choice))

    for control in (model, kind, instrument, clip, strength):
        control.observe(chosen, names="value")
    chosen()
    controls = widgets.VBox([model, kind, instrument, clip, strength])
    return widgets.VBox([controls, view])


def _picture(figure: plt.Figure) -> Image:
    """A figure as a picture, closed so that the notebook does not show it again."""
    buffer = io.BytesIO()
    lay_out(figure)
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return Image(buffer.getvalue(), alt="Trajectory of the chosen clip")
