"""One style for all figures, and the arrangements of panels that they share."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import chain

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, Normalize

from aesens.effects import Effect, effect
from aesens.plots import titles as names

__all__ = [
    "CLEAN",
    "COLUMN",
    "DIVERGING",
    "MUTED",
    "SEQUENTIAL",
    "UNTRAINED",
    "WIDTH",
    "bounded",
    "grid",
    "legend_columns",
    "legend_entries",
    "lowest",
    "model_axis",
    "mute",
    "mute_panel",
    "networks",
    "number",
    "parameter_axis",
    "present",
    "strength_bar",
    "use_style",
    "wrapped",
]

#: Width in inches of a figure across the page.
WIDTH = 7.2

#: Width in inches of a figure that also stands in one column of a journal (3.4 inches), its text then 5 pt and more.
COLUMN = 5.0

#: Colours of a quantity in a heat map: dark is high. Strength has its own, see `aesens.plots.titles.strength_colours`.
SEQUENTIAL = "magma_r"

#: Colours of changes about zero: blue is a gain, red a loss.
DIVERGING = "RdBu"

#: The cross of a clean clip.
CLEAN = {"marker": "x", "color": "#D55E00"}

#: Colour of the names of untrained controls.
MUTED = "#666666"

#: Line style of untrained weights, so that the control shows without colour too.
UNTRAINED = (0, (3, 1.5))


def use_style() -> None:
    """Set fonts, lines and resolution; called once at the top of a notebook.

    Names of classes and models come from outside, so text is text: ``$`` begins no formula in a figure or a table (one
    of your own: ``ax.set_title(..., parse_math=True)``), and what looks like HTML is none.
    """
    # What no font has is said in one line, see `aesens.plots.fonts`.
    warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
    pd.set_option(
        "styler.format.escape", "html", "styler.html.mathjax", False, "display.html.use_mathjax", False
    )
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={
            "figure.dpi": 110,
            "savefig.dpi": 130,
            "savefig.bbox": "tight",
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.labelsize": 9,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8.5,
            "legend.title_fontsize": 8.5,
            "legend.frameon": False,
            "legend.handlelength": 1.8,
            "legend.columnspacing": 1.6,
            "figure.titlesize": 11,
            "figure.labelsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.3,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,
            "text.parse_math": False,
            "image.interpolation": "nearest",
        },
    )


def present(table, column: str) -> list[str]:
    """Distinct values of a column in their order of first appearance."""
    return list(dict.fromkeys(table[column]))


def networks(table) -> list[tuple[tuple[str, bool], pd.DataFrame]]:
    """Each network of a table, (model, pretrained), with its rows, in order of first appearance.

    A model and its untrained twin have one name, so that the name alone tells no network.
    """
    pairs = zip(table["model"], table["pretrained"].astype(bool), strict=True)
    trained = table["pretrained"].astype(bool)
    return [((m, own), table[(table["model"] == m) & (trained == own)]) for m, own in dict.fromkeys(pairs)]


def number(value: float, form: str = "{:.2f}") -> str:
    """A number for a reader: a true minus sign, none on what rounds to zero, and a sign for no bound.

    Examples
    --------
    >>> number(-0.001), number(-0.25), number(12.34, "{:+.1f}"), number(float("-inf"))
    ('0.00', '−0.25', '+12.3', '−∞')
    """
    text = form.format(value)
    if not any(digit in text for digit in "123456789") and np.isfinite(value):
        text = form.format(0.0).replace("+", "")
    return text.replace("-", "−").replace("inf", "∞")


def grid(table, xlabel: str | None, ylabel: str, *, height=1.45, sharex="col", sharey=False, controls=1.0):
    """Make a grid of panels, models down and effects across.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns ``model``, ``pretrained`` and ``effect``.
    xlabel, ylabel : str
        Of the last row and of the first column; without `xlabel` that of the effect's parameter.
    height : float
        Of a row, in inches.
    sharex, sharey
        As in `matplotlib.pyplot.subplots`.
    controls : float
        Height of the rows of untrained controls beside pretrained models, relative to theirs.

    Returns
    -------
    figure : matplotlib.figure.Figure
    panels : list of (matplotlib.axes.Axes, pandas.DataFrame, Effect)
        Row by row; the rows of `table` that belong to each panel.
    """
    found, effects = networks(table), present(table, "effect")
    trained = [pretrained for (_, pretrained), _ in found]
    heights = [1.0 if pretrained or not any(trained) else controls for pretrained in trained]
    figure, axes = plt.subplots(
        len(found),
        len(effects),
        figsize=(WIDTH, height * sum(heights) + 0.7),
        sharex=sharex,
        sharey=sharey,
        squeeze=False,
        height_ratios=heights,
    )
    panels = []
    for row, ((model, pretrained), own) in zip(axes, found, strict=True):
        for ax, name in zip(row, effects, strict=True):
            panels.append((ax, own[own["effect"] == name], effect(name)))
            if not pretrained:
                mute_panel(ax)
        row[0].set_ylabel(ylabel)
        title = names.model_title(model, pretrained).replace(" (un", "\n(un")
        # A character along a row takes about 6 points.
        room = max(int(12 * height * (1.0 if pretrained or not any(trained) else controls)), 12)
        title = "\n".join(names.folded(line, room) for line in title.split("\n"))
        row[0].annotate(
            title,
            (0, 0.5),
            # Left of the axis' label, wherever its numbers push that.
            xytext=(-18 - 6 * title.count("\n"), 0),
            xycoords=(row[0].yaxis.label, "axes fraction"),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="center",
            fontsize=9.5 if title.count("\n") < 2 else 8,
            fontweight="bold" if pretrained else "normal",
            color="black" if pretrained else MUTED,
            linespacing=1.3,
            annotation_clip=False,
        )
    figure.align_ylabels(axes[:, 0])
    for first, last, name in zip(axes[0], axes[-1], effects, strict=True):
        first.set_title(effect(name).title)
        last.set_xlabel(effect(name).label if xlabel is None else xlabel)
    return figure, panels


def wrapped(
    panels: int, *, height: float, spare: float, across: int = 2, width: float = COLUMN, shared: bool = True
) -> tuple[plt.Figure, np.ndarray]:
    """Make panels in rows of a few, so that their text can still be read; places that stay empty have no axes.

    Parameters
    ----------
    panels : int
    height, spare, width : float
        Of a row, of what stands beside the rows, and of the figure, in inches.
    across : int
        Panels a row at most; as many as leave the fewest places empty in as many rows.
    shared : bool
        Whether all panels share their axes.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : array of matplotlib.axes.Axes, shape (row, column)
    """
    down = -(-panels // across)
    across = -(-panels // down)
    figure, axes = plt.subplots(
        down, across, figsize=(width, height * down + spare), sharex=shared, sharey=shared, squeeze=False
    )
    for ax in axes.flat[panels:]:
        ax.set_axis_off()
    return figure, axes


def lowest(axes: np.ndarray, panels: int) -> list[plt.Axes]:
    """The last panel of each column of `wrapped`, with the labels of its ticks.

    Those above an empty place hang into it and move no panel.
    """
    found = list(axes.flat[max(panels - axes.shape[1], 0) : panels])
    for ax in found:
        ax.tick_params(labelbottom=True)
        plt.setp(ax.get_xticklabels(), in_layout=ax in axes[-1])
    return found


def parameter_axis(ax: plt.Axes, kind: Effect, parameters: np.ndarray, *, label: bool = True) -> None:
    """Set up the x axis for an effect's parameter, strength growing to the right."""
    shown = np.asarray(parameters, dtype=float) * kind.display
    low, high = shown.min(), shown.max()
    if kind.log:
        ax.set_xscale("log")
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
        steps = np.outer(decades, [1, 2, 3, 5]).ravel()
        ticks = steps[(steps >= low * 0.9) & (steps <= high * 1.1)]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ends = low / 1.06, high * 1.06
    else:
        margin = 0.04 * (high - low)
        ends = low - margin, high + margin
    ax.set_xlim(*(ends if shown[0] <= shown[-1] else reversed(ends)))
    if label:
        ax.set_xlabel(kind.label)


def model_axis(column: Iterable[plt.Axes], table) -> None:
    """Models from the top down on the y axes of a column of panels that share them, controls in grey."""
    found = [network for network, _ in networks(table)]
    titles = [names.folded(names.model_title(*network), 28) for network in found]
    column[0].set_yticks(range(len(titles)), titles, linespacing=0.95)
    for label in column[0].get_yticklabels():
        label.set_fontsize(min(8, 14 / (1 + label.get_text().count("\n"))))
    column[0].set_ylim(len(titles) - 0.5, -0.5)
    for ax in column:
        mute(ax, [pretrained for _, pretrained in found])


def mute(ax: plt.Axes, pretrained: Iterable[bool]) -> None:
    """Grey the names of untrained controls on the y axis, one truth value a tick."""
    for title, trained in zip(ax.get_yticklabels(), pretrained, strict=True):
        title.set_color("black" if trained else MUTED)


def mute_panel(ax: plt.Axes) -> None:
    """Give a panel of an untrained control a grey ground and grey lines."""
    ax.set_facecolor("#F4F4F4")
    ax.spines[:].set_color(MUTED)
    ax.tick_params(color=MUTED)


def bounded(ticks: Iterable[float], low: float | None = None, high: float | None = None) -> list[str]:
    """Labels of ticks where what lies beyond an end of the axis is drawn at that end.

    Examples
    --------
    >>> bounded([-1, 0, 1.5], low=-1, high=1.5)
    ['≤ −1', '0', '≥ 1.5']
    """
    signs = {low: "≤ ", high: "≥ "}
    return [signs.get(tick, "") + number(tick, "{:g}") for tick in ticks]


def strength_bar(figure: plt.Figure, ticks: dict[float, str], colours: int = 64, **place) -> Colorbar:
    """Colour bar of strength, from 0 to 1; `ticks` has a title by place, `place` goes to ``Figure.colorbar``."""
    scale = ScalarMappable(Normalize(0, 1), ListedColormap(names.strength_colours(colours)))
    bar = figure.colorbar(scale, ticks=list(ticks), **place)
    bar.set_ticklabels(list(ticks.values()))
    bar.outline.set_visible(False)
    return bar


def legend_columns(labels: Iterable[str], most: int, width: float = WIDTH) -> int:
    """As many columns of a legend, at most so many, as there is room for in a width in inches."""
    longest = [max(len(line) for line in label.split("\n")) for label in labels]
    for n in range(most, 1, -1):
        # A character takes about 4.6 points, its line and the space beside it 36; columns are filled one by one.
        if sum(36 + 4.6 * max(part, default=0) for part in np.array_split(longest, n)) <= 72 * width:
            return n
    return 1


def legend_entries(axes: Iterable[plt.Axes]) -> tuple[list, list[str]]:
    """Handles and labels of several panels for one legend, each label once."""
    pairs = (zip(*ax.get_legend_handles_labels(), strict=True) for ax in axes)
    found = {label: handle for handle, label in chain.from_iterable(pairs)}
    return list(found.values()), list(found)
