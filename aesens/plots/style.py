"""One style for all figures, and the grid of models by effects that most of them share."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from aesens import names
from aesens.effects import Effect, effect

__all__ = ["WIDTH", "UNTRAINED", "grid", "parameter_axis", "present", "use_style"]

#: Width in inches of a figure across the page.
WIDTH = 7.2

#: Line style of untrained weights, so that the control shows without colour too.
UNTRAINED = (0, (3, 1.5))


def use_style() -> None:
    """Set fonts, lines and resolution; called once at the top of a notebook.

    Examples
    --------
    >>> with plt.rc_context():
    ...     use_style()
    ...     plt.rcParams["figure.constrained_layout.use"]
    True
    """
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={
            "figure.dpi": 110,
            "savefig.dpi": 130,
            "savefig.bbox": "tight",
            "font.size": 8,
            "axes.titlesize": 8.5,
            "axes.labelsize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.frameon": False,
            "figure.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.3,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,
            "image.interpolation": "nearest",
        },
    )


def present(table, column: str) -> list[str]:
    """Distinct values of a column in their order of first appearance.

    Examples
    --------
    >>> present({"effect": ["gain", "reverb", "gain"]}, "effect")
    ['gain', 'reverb']
    """
    return list(dict.fromkeys(table[column]))


def parameter_axis(ax: plt.Axes, kind: Effect, parameters: np.ndarray, *, label: bool = True) -> None:
    """Set up the x axis for an effect's parameter, strength growing to the right.

    Examples
    --------
    >>> figure, ax = plt.subplots()
    >>> parameter_axis(ax, effect("lowpass"), np.array([18000.0, 1600.0]))
    >>> ax.get_xlabel(), bool(ax.get_xlim()[0] > ax.get_xlim()[1])
    ('Cutoff (kHz)', True)
    >>> plt.close(figure)
    """
    shown = np.asarray(parameters, dtype=float) * kind.display
    if kind.log:
        ax.set_xscale("log")
        decades = 10.0 ** np.arange(np.floor(np.log10(shown.min())), np.log10(shown.max()) + 1)
        steps = np.ravel([decade * np.array([1, 2, 3, 5]) for decade in decades])
        ax.set_xticks(ticks := [t for t in steps if shown.min() * 0.9 <= t <= shown.max() * 1.1])
        ax.set_xticklabels([f"{t:g}" for t in ticks])
        ax.minorticks_off()
    margin = 0.04 * (shown.max() - shown.min())
    low, high = (
        (shown.min() / 1.06, shown.max() * 1.06) if kind.log else (shown.min() - margin, shown.max() + margin)
    )
    ax.set_xlim(*((high, low) if shown[0] > shown[-1] else (low, high)))
    if label:
        ax.set_xlabel(kind.label)


def grid(table, *, height: float = 1.45, sharex="col", sharey=False, width: float = WIDTH):
    """Make a grid of panels, models down and effects across.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns ``model``, ``pretrained`` and ``effect``.
    height : float
        Of a row, in inches.
    sharex, sharey
        As in `matplotlib.pyplot.subplots`.
    width : float
        Of the figure, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
    panels : list of (matplotlib.axes.Axes, pandas.DataFrame, Effect)
        Row by row; the rows of `table` that belong to each panel.

    Examples
    --------
    >>> import pandas as pd
    >>> figure, panels = grid(pd.DataFrame({"model": ["panns"], "pretrained": [True], "effect": ["gain"]}))
    >>> panels[0][0].get_title()
    'Gain'
    >>> plt.close(figure)
    """
    models, effects = present(table, "model"), present(table, "effect")
    figure, axes = plt.subplots(
        len(models),
        len(effects),
        figsize=(width, height * len(models) + 0.7),
        sharex=sharex,
        sharey=sharey,
        squeeze=False,
    )
    panels = []
    for row, model in zip(axes, models, strict=True):
        for ax, name in zip(row, effects, strict=True):
            part = table[(table["model"] == model) & (table["effect"] == name)]
            panels.append((ax, part, effect(name)))
        pretrained = bool(table.loc[table["model"] == model, "pretrained"].iloc[0])
        title = names.MODELS.get(model, model)
        row[0].annotate(
            title if pretrained else f"{title}\n(untrained)",
            (0, 0.5),
            xytext=(-60, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold" if pretrained else "normal",
            color="black" if pretrained else "#555555",
            linespacing=1.3,
            annotation_clip=False,
        )
    for ax, name in zip(axes[0], effects, strict=True):
        ax.set_title(effect(name).title)
    return figure, panels
