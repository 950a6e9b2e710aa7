"""Trajectories on a plane, and how well a direction follows them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize

from aesens import names
from aesens.plots.style import grid, parameter_axis, present

_RHO = "$\\rho^2$: squared Spearman correlation on test songs (on the training songs) | 95 % quantile of its null"

__all__ = ["correlation_grid", "correlation_violins", "trajectory_grid"]


def trajectory_grid(table: pd.DataFrame, axis_names: tuple[str, str]) -> plt.Figure:
    """Trajectories of a few clips, coloured by strength, the clean clip marked.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``clip``, ``strength`` (-1 for the clean clip), ``x``, ``y``.
    axis_names : tuple of str
        What the axes are.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> row |= {"clip": "a", "strength": [-1, 0, 1], "x": [0.0, 1.0, 2.0], "y": 0.0}
    >>> figure = trajectory_grid(pd.DataFrame(row), ("PC 1", "PC 2"))
    >>> figure.axes[0].get_xlabel()
    'PC 1'
    >>> plt.close(figure)
    """
    figure, panels = grid(table, sharex=False, height=1.55)
    for ax, part, _ in panels:
        strengths = int(part["strength"].max()) + 1
        colours = names.strength_colours(strengths)
        for _, clip in part.groupby("clip", sort=True):
            path = clip[clip["strength"] >= 0].sort_values("strength")
            ax.plot(path["x"], path["y"], color="#BBBBBB", linewidth=0.6, zorder=1)
            ax.scatter(path["x"], path["y"], s=9, color=colours[path["strength"]], linewidth=0, zorder=2)
        clean = part[part["strength"] < 0]
        ax.scatter(
            clean["x"],
            clean["y"],
            marker="*",
            s=34,
            color="#D55E00",
            edgecolor="white",
            linewidth=0.4,
            zorder=3,
        )
        ax.set(xticks=[], yticks=[])
        ax.margins(0.08)
    effects = len(present(table, "effect"))
    for ax, _, _ in panels[-effects:]:
        ax.set_xlabel(axis_names[0])
    for ax, _, _ in panels[::effects]:
        ax.set_ylabel(axis_names[1])
    scale = ScalarMappable(Normalize(0, 1), ListedColormap(names.strength_colours(64)))
    bar = figure.colorbar(
        scale, ax=figure.axes, location="bottom", fraction=0.02, aspect=50, pad=0.02, ticks=[0, 1]
    )
    # An effect whose clean setting lies inside its sweep is strong at both ends.
    inside = [kind.title.lower() for _, _, kind in panels[:effects] if kind.identity_inside]
    note = [f"\n({', '.join(inside)}: {end} value)" if inside else "" for end in ("lowest", "highest")]
    bar.ax.set_xticklabels([f"nearly clean{note[0]}", f"strongest{note[1]}"])
    bar.outline.set_visible(False)
    star = plt.Line2D([], [], marker="*", color="#D55E00", linestyle="", markersize=8, label="Clean clip")
    figure.legend(handles=[star], loc="outside upper right")
    return figure


def correlation_grid(points: pd.DataFrame, summary: pd.DataFrame) -> plt.Figure:
    """Projection on the global CCA direction against the parameter, for held-out songs of one instrument.

    Parameters
    ----------
    points : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``split``, ``clip``, ``parameter``, ``projection``.
    summary : pandas.DataFrame
        Columns ``model``, ``effect``, ``in_sample``, ``held_out``: squared Spearman correlations; ``null``: the 95 %
        quantile of the latter's permutation null.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> points = pd.DataFrame(row | {"split": "test", "clip": "a", "parameter": [-40.0, 5.0], "projection": [0.0, 1.0]})
    >>> figure = correlation_grid(points, pd.DataFrame([row | {"in_sample": 1.0, "held_out": 0.9, "null": 0.1}]))
    >>> figure.axes[0].get_ylabel()
    'Projection on $u$'
    >>> plt.close(figure)
    """
    figure, panels = grid(points, sharey=False)
    for ax, part, kind in panels:
        for side, colour, order in (("train", "#C6C6C6", 1), ("test", "#0072B2", 2)):
            for _, clip in part[part["split"] == side].groupby("clip", sort=True):
                x = clip["parameter"] * kind.display
                ax.plot(
                    x,
                    clip["projection"],
                    color=colour,
                    linewidth=0.7,
                    marker="o",
                    markersize=1.6,
                    zorder=order,
                )
        chosen = (summary["model"] == part["model"].iloc[0]) & (summary["effect"] == kind.name)
        row = summary[chosen].iloc[0]
        text = f"$\\rho^2$ {row['held_out']:.2f} ({row['in_sample']:.2f}) | {row['null']:.2f}"
        ax.margins(y=0.2)
        ax.annotate(text, (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=6.5)
        ax.set_yticks([])
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    effects = len(present(points, "effect"))
    for position, (ax, _, kind) in enumerate(panels):
        if position >= len(panels) - effects:
            ax.set_xlabel(kind.label)
        if position % effects == 0:
            ax.set_ylabel("Projection on $u$")
    lines = [plt.Line2D([], [], color=c, marker="o", markersize=3) for c in ("#C6C6C6", "#0072B2")]
    figure.legend(
        lines,
        ["Training songs (fitted)", "Test songs (held out)"],
        title=_RHO,
        loc="outside upper center",
        ncols=2,
    )
    return figure


def correlation_violins(table: pd.DataFrame) -> plt.Figure:
    """Distributions over clips of the sample-wise R^2: in-sample, held-out strengths, permutation null, noise.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``kind``, ``value``.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> row |= {"kind": "in-sample", "value": [1.0, 0.9, 0.8]}
    >>> figure = correlation_violins(pd.DataFrame(row))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['In-sample']
    >>> plt.close(figure)
    """
    looks = {
        "in-sample": ("In-sample", "#E69F00"),
        "held-out": ("Held-out strengths", "#0072B2"),
        "null": ("Permutation null, held out", "#A6A6A6"),
        "noise in-sample": ("White noise, in-sample", "#F3D08B"),
        "noise held-out": ("White noise, held out", "#D0D0D0"),
    }
    kinds = [kind for kind in looks if kind in set(table["kind"])]
    figure, panels = grid(table, sharex=True, sharey=True, height=1.3)
    for ax, part, _ in panels:
        values = [np.clip(part.loc[part["kind"] == kind, "value"].to_numpy(float), -1, 1) for kind in kinds]
        boxes = ax.boxplot(
            values, widths=0.65, patch_artist=True, showfliers=False, medianprops={"color": "black"}
        )
        for place, (box, kind, value) in enumerate(zip(boxes["boxes"], kinds, values, strict=True), 1):
            box.set(facecolor=looks[kind][1], linewidth=0.6)
            # Where all values are alike the box is a line; a dot shows whose it is.
            ax.plot(
                place,
                np.nanmedian(value),
                "o",
                color=looks[kind][1],
                markersize=4,
                zorder=3,
                markeredgewidth=0.4,
                markeredgecolor="black",
            )
        ax.axhline(0, color="black", linewidth=0.6, linestyle=":")
        ax.set(xticks=[], ylim=(-1.05, 1.08))
    for ax, _, _ in panels[:: len(present(table, "effect"))]:
        ax.set_ylabel("$R^2$, at least −1")
    patches = [
        plt.Rectangle((0, 0), 1, 1, facecolor=looks[k][1], edgecolor="black", linewidth=0.5) for k in kinds
    ]
    figure.legend(patches, [looks[k][0] for k in kinds], loc="outside upper center", ncols=3)
    return figure
