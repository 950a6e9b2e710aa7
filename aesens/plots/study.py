"""The figures of the study that aesens reproduces, panel by panel, on the study's own axes.

Those differ from the other figures' in one point: parameters grow to the right and are spaced evenly, so that gain,
room size, cutoff and bit depth stand where they stand in V. Deng et al. (ICASSP 2025). A panel whose model or
effect is missing, or whose instrument the data lack, says so in words: every function takes ``missing``, a mapping from
the name of a model or an effect that is not drawn to the reason. Its table has the columns ``model`` and ``effect`` in
front of those of the function of `aesens.tables` that made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from aesens.analysis import projections
from aesens.effects import effect
from aesens.plots import titles as names
from aesens.plots.curves import SPECTRA
from aesens.plots.style import CLEAN, MUTED, WIDTH, legend_entries, number, strength_bar

__all__ = [
    "STUDY_EFFECTS",
    "STUDY_MODELS",
    "STUDY_PANELS",
    "study_auc",
    "study_directions",
    "study_histograms",
    "study_spectra",
    "study_umap",
]

#: The study's networks, in its order.
STUDY_MODELS = ("openl3", "panns", "msclap")

#: The study's effects.
STUDY_EFFECTS = ("lowpass", "gain", "reverb", "bitcrush")

_DOWN = sorted(STUDY_EFFECTS)  # the order of its other figures, by its own names too

#: Panels of each figure, row by row: model, effect and instrument; None for all instruments.
STUDY_PANELS: dict[str, list[tuple[str, str, str | None]]] = {
    "umap": [(model, name, "flu") for model, name in product(STUDY_MODELS, STUDY_EFFECTS)],
    "directions": [(model, name, "cel") for name, model in product(_DOWN, STUDY_MODELS)],
    "histograms": [(model, name, None) for name, model in product(_DOWN, STUDY_MODELS)],
    "spectra": [("msclap", "lowpass", "cel"), ("panns", "reverb", "cel"), ("openl3", "gain", "cel")],
    "auc": [("openl3", "reverb", "cel"), ("panns", "gain", "org"), ("msclap", "lowpass", "gac")],
}

# Where the study's axis of the parameter has the clean clips.
_IDENTITY = {"gain": 0.0, "bitcrush": 16.0, "lowpass": 22_500.0, "reverb": 0.0}

# What a row of the study's figure of ROC-AUC shows: left, right, bottom and top; None for the whole parameter.
_SHOWN = [(0.5, 0.8, 0.94, 0.97), (None, None, 0.97, 0.99), (None, None, 0.98, 0.992)]

# Its two groups of curves, and the conditions of the two columns of each.
_CURVES = (("none", "average", "svd-0.4", "pca"), ("none", "svd-0.3", "svd-0.4", "svd-0.5"))
_SIDES = {
    "clean-effected": ("clean", "effected", "-"),
    "effected-clean": ("effected", "clean", (0, (4, 1.5))),
}

# What its legend has beside the curves.
_ASIDE = ("Clean clips", "Extent of the study's panel")

_THRESHOLDS = {0.3: (0, (1, 1)), 0.4: (0, (4, 1.5)), 0.5: (0, (6, 1.5, 1, 1.5))}


def _fill(ax: plt.Axes, table: pd.DataFrame, panel: tuple, missing: Mapping[str, str]) -> pd.DataFrame:
    """Rows of a table that belong to a panel; where there are none, the panel says why."""
    model, name, instrument = panel
    part = table[(table["model"] == model) & (table["effect"] == name)]
    titles = {model: names.model_title(model), name: effect(name).title}
    reasons = [f"{title}:\n{missing[key]}" for key, title in titles.items() if key in missing]
    if part.empty or reasons:
        lacking = f"{titles[model]}:\nno clips of\n{names.instrument_title(instrument or '').lower()}"
        text = next(iter(reasons), lacking)
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=8.5, color=MUTED)
        ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
        ax.spines[:].set_color("#CCCCCC")
        return part.iloc[:0]
    return part


def _panels(
    axes: np.ndarray, figure: str, table: pd.DataFrame, missing: Mapping[str, str]
) -> Iterator[tuple[plt.Axes, str, str, pd.DataFrame]]:
    """Panels of a figure as (ax, model, effect, rows), without those that have nothing to draw."""
    for ax, panel in zip(axes.flat, STUDY_PANELS[figure], strict=True):
        part = _fill(ax, table, panel, missing)
        if len(part):
            yield ax, *panel[:2], part


def _effects_down(height: float, xlabel: str, ylabel: str) -> tuple[plt.Figure, np.ndarray]:
    """Panels of effects down and models across, named on their axes."""
    figure, axes = plt.subplots(len(_DOWN), len(STUDY_MODELS), figsize=(WIDTH, height))
    for ax, name in zip(axes[:, 0], _DOWN, strict=True):
        ax.set_ylabel(f"{effect(name).title}\n{ylabel}")
    for ax, model in zip(axes[-1], STUDY_MODELS, strict=True):
        ax.set_xlabel(f"{xlabel}\n{names.model_title(model)}")
    return figure, axes


def _parameter_bar(figure: plt.Figure, ax: plt.Axes, name: str, strengths: int, location: str) -> None:
    """Colour bar of an effect's parameter, its values evenly spaced."""
    kind, last = effect(name), strengths - 1
    values = kind.parameters(strengths)
    places = (0, last // 2, last)
    ticks = {at / max(last, 1): number(values[at] * kind.display, "{:.3g}") for at in places}
    bar = strength_bar(figure, ticks, ax=ax, location=location, aspect=14, pad=0.04)
    bar.set_label(kind.label)
    # As on an axis: the parameter grows upwards or to the right.
    if values[0] > values[-1]:
        (bar.ax.invert_xaxis if location == "bottom" else bar.ax.invert_yaxis)()


def study_umap(table: pd.DataFrame, missing: Mapping[str, str]) -> plt.Figure:
    """UMAP of the trajectory of one clip, of `aesens.tables.clip_umap`, models down and effects across."""
    figure, axes = plt.subplots(len(STUDY_MODELS), len(STUDY_EFFECTS), figsize=(WIDTH, 5.2))
    plt.setp(axes, xticks=[], yticks=[])
    for ax, name in zip(axes[0], STUDY_EFFECTS, strict=True):
        ax.set_title(effect(name).title)
    for ax, model in zip(axes[:, 0], STUDY_MODELS, strict=True):
        ax.set_ylabel(names.model_title(model), fontweight="bold")
    for ax, _, _, part in _panels(axes, "umap", table, missing):
        part = part[part["kind"] == "clip"]
        path, clean = part[part["strength"] >= 0], part[part["strength"] < 0]
        colours = names.strength_colours(len(path))[path["strength"].to_numpy(int)]
        ax.scatter(path["x"], path["y"], s=16, color=colours, linewidth=0)
        ax.scatter(clean["x"], clean["y"], s=32, linewidth=1.2, label="Clean clip", **CLEAN)
        ax.margins(0.1)
    for ax, name in zip(axes[-1], STUDY_EFFECTS, strict=True):
        drawn = table[table["effect"] == name]
        if len(drawn):
            _parameter_bar(figure, ax, name, int(drawn["strength"].max()) + 1, "bottom")
    if len(table):
        figure.legend(*legend_entries(axes.flat), loc="outside upper right")
    return figure


def study_directions(table: pd.DataFrame, fits: pd.DataFrame, missing: Mapping[str, str]) -> plt.Figure:
    """Rank of the parameter against the projection on the global CCA direction, effects down and models across.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `aesens.tables.direction_points`; its training clips are drawn.
    fits : pandas.DataFrame
        Columns ``model``, ``effect``, ``split``, ``squared``: the squared Spearman correlation.
    missing : mapping
        See above.
    """
    figure, axes = _effects_down(7.4, "Projection on u", "Parameter rank")
    for ax, model, name, part in _panels(axes, "directions", table, missing):
        part = part[part["split"] == "train"]
        values, place = np.unique(part["parameter"], return_inverse=True)
        order = effect(name).parameters(len(values))
        colours = names.strength_colours(len(values))[:: 1 if order[0] < order[-1] else -1]
        # From 0 in steps of one over the number of values, as in the study; as a picture, for at the study's scale
        # these are thousands of points.
        look = {"color": colours[place], "linewidth": 0, "rasterized": True}
        ax.scatter(part["projection"], place / len(values), s=5, **look)
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 3))
        fit = fits[(fits["model"] == model) & (fits["effect"] == name) & (fits["split"] == "train")]
        ax.set_title(f"ρ² = {fit['squared'].item():.4f}", fontsize=9)
    for row, name in zip(axes, _DOWN, strict=True):
        drawn = table[table["effect"] == name]
        if len(drawn):
            _parameter_bar(figure, row[-1], name, drawn["parameter"].nunique(), "right")
    return figure


def study_histograms(table: pd.DataFrame, missing: Mapping[str, str]) -> plt.Figure:
    """Squared correlation of training clips on their own direction, of `aesens.tables.samplewise`, effects down."""
    figure, axes = _effects_down(6.6, "Squared correlation", "Clips")
    for ax, model, _, part in _panels(axes, "histograms", table, missing):
        values = part.loc[part["kind"] == "in-sample", "value"].dropna()
        # Where all are nearly 1, that is what is seen, not rounding.
        ax.hist(values, bins=20, range=(min(values.min(), 0.95), 1), color=names.colour(model))
        ax.set_title(f"{values.min():.4f} to {values.max():.4f}", fontsize=9)
    return figure


def study_spectra(table: pd.DataFrame, missing: Mapping[str, str]) -> plt.Figure:
    """Normalised singular values of one instrument's directions and clean embeddings, of `aesens.tables.spectra`."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.4), sharey=True)
    for ax, (model, name, instrument) in zip(axes, STUDY_PANELS["spectra"], strict=True):
        title = f"{names.model_title(model)}, {effect(name).title.lower()}"
        ax.set_title(f"{title}\n{names.instrument_title(instrument)}", fontsize=9)
        ax.set_xlabel("Singular vector")
    for ax, _, _, part in _panels(axes, "spectra", table, missing):
        for kind in ("directions", "clean"):
            label, colour, style = SPECTRA[kind]
            line = part[part["kind"] == kind]
            ax.plot(line["rank"], line["value"], color=colour, linestyle=style, label=label)
        for threshold, style in _THRESHOLDS.items():
            look = {"color": "#777777", "linewidth": 0.8, "linestyle": style, "zorder": 1}
            ax.axhline(threshold, label=f"t = {threshold}", **look)
    axes[0].set(ylabel="sᵢ / s₁", ylim=(0, 1.03))
    if len(table):
        figure.legend(*legend_entries(axes), loc="outside upper center", ncols=5)
    return figure


def study_auc(table: pd.DataFrame, missing: Mapping[str, str]) -> plt.Figure:
    """ROC-AUC of three classifiers against the parameter, the clean clips on the axis too.

    A row for each model with its effect and instrument. In each pair of columns, trained on clean and tested on
    effected clips, then the other way round; in the first pair three methods, in the second the thresholds of one.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of `aesens.tables.classification` with ``kind == "instrument"``, of the panels' instruments.
    missing : mapping
        See above.
    """
    figure, axes = plt.subplots(3, 4, figsize=(WIDTH, 6.0), sharey="row")
    for row, panel, shown in zip(axes, STUDY_PANELS["auc"], _SHOWN, strict=True):
        model, name, instrument = panel
        kind = effect(name)
        title = [names.model_title(model), kind.title, names.instrument_title(instrument), "ROC-AUC"]
        row[0].set_ylabel("\n".join(title))
        for ax, (methods, condition) in zip(row, product(_CURVES, _SIDES), strict=True):
            part = _fill(ax, table, panel, missing)
            ax.set_xlabel(kind.label)
            if len(part):
                _auc_panel(ax, part, methods, condition, _IDENTITY[name], kind.display)
                _mark_shown(ax, shown)
        bottom, top = row[0].get_ylim()
        row[0].set_ylim(bottom, min(top, 1 + 0.04 * (1 - bottom)))
    for ax, (train, test, _) in zip(axes[0], [*_SIDES.values()] * 2, strict=True):
        ax.set_title(f"Trained on {train},\ntested on {test}", fontsize=9)
    if len(table):
        handles, labels = legend_entries(axes[:, ::2].flat)
        order = [*map(_method_title, projections.PROJECTIONS), *_ASIDE]
        entries = sorted(zip(labels, handles, strict=True), key=lambda entry: order.index(entry[0]))
        labels, handles = zip(*entries, strict=True)
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
    figure.align_ylabels(axes[:, 0])
    return figure


def _method_title(name: str) -> str:
    return "No projection" if name == "none" else names.projection_title(name)


def _auc_panel(ax, part, methods, condition, identity, display) -> None:
    clean, line = (part[part["condition"] == name] for name in ("clean-clean", condition))
    for method in methods:
        of_method = line[line["projection"] == method]
        at_clean = clean.loc[clean["projection"] == method, "roc_auc"].item()
        x, y = np.append(of_method["parameter"], identity), np.append(of_method["roc_auc"], at_clean)
        order = np.argsort(x)
        look = {"color": names.colour(method), "linestyle": _SIDES[condition][2]}
        look |= {"linewidth": 2.4, "zorder": 2} if method == "none" else {"linewidth": 1.2, "zorder": 3}
        ax.plot(x[order] * display, y[order], label=_method_title(method), **look)
    look = {"color": "#777777", "linewidth": 0.8, "linestyle": ":", "zorder": 1}
    ax.axvline(identity * display, label=_ASIDE[0], **look)


def _mark_shown(ax, shown) -> None:
    """Shade what the study's panel shows, without making room for it."""
    left, right, bottom, top = shown
    low, high = ax.get_xlim()
    left, right = low if left is None else left, high if right is None else right
    box = plt.Rectangle((left, bottom), right - left, top - bottom, facecolor="#EEEEEE", zorder=0)
    box.set_label(_ASIDE[1])
    ax.add_artist(box)
    ax.set_xlim(low, high)
