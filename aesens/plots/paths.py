"""Trajectories on a plane, and how well a direction follows them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection

from aesens.plots import titles as names
from aesens.plots.style import CLEAN, bounded, grid, parameter_axis, strength_bar

__all__ = ["clip_umap", "correlation_boxes", "correlation_grid", "trajectory_grid"]

_RHO = (
    "In each panel: ρ² on test songs (on training songs) | what chance reaches on test songs, 95 % quantile"
)

# Sides of the split: title, colour, and which lies above.
_SIDES = {"train": ("Training songs (fitted)", "#BDBDBD", 1), "test": ("Test songs (held out)", "#0072B2", 2)}

# Kinds of `aesens.tables.samplewise`: what is fitted, and the test of the fit.
_FITTED = {
    "": ("Clips", "#0072B2"),
    "walk ": ("Random walks", "#E69F00"),
    "shuffled ": ("Shuffled strengths", "#7F7F7F"),
    "noise ": ("White noise", "#D5D5D5"),
}
_TESTS = {
    "in-sample": "Fitted\nρ²",
    "held-out": "Left out\nR²",
    "transfer": "Others\nρ",
}


def trajectory_grid(table: pd.DataFrame, axis_names: tuple[str, str], *, lines: bool = True) -> plt.Figure:
    """Trajectories of a few clips, coloured by strength, the clean clip marked.

    A trajectory starts at its clean clip, save where the clean setting lies inside the sweep.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``clip``, ``strength`` (-1 for the clean clip), ``x``, ``y``.
    axis_names : tuple of str
        What the axes are.
    lines : bool
        Whether points of neighbouring strengths are joined.
    """
    figure, panels = grid(table, *axis_names, sharex=False, height=1.55)
    for ax, part, kind in panels:
        strengths = int(part["strength"].max()) + 1
        colours = names.strength_colours(strengths)
        # Where the clean setting lies inside the sweep, the sweep does not start from the clean clip.
        start = 0 if kind.identity_inside else -1
        for _, clip in part.groupby("clip", sort=True):
            whole = clip[clip["strength"] >= start].sort_values("strength")
            points, reached = whole[["x", "y"]].to_numpy(float), whole["strength"].to_numpy()
            if lines:
                segments = np.stack([points[:-1], points[1:]], axis=1)
                look = {"colors": colours[reached[1:]], "linewidths": 1.1, "zorder": 1}
                ax.add_collection(LineCollection(segments, **look))
            seen, size = reached >= 0, 12 if strengths < 12 else 9
            ax.scatter(*points[seen].T, s=size, color=colours[reached[seen]], linewidth=0, zorder=2)
        clean = part[part["strength"] < 0]
        # Below the points of its trajectory and larger than they are, so that both show.
        ax.scatter(clean["x"], clean["y"], s=30, linewidth=1, zorder=1.5, **CLEAN)
        ax.set(xticks=[], yticks=[])
        ax.margins(0.08)
    # An effect whose clean setting lies inside its sweep is strong at both ends.
    inside = dict.fromkeys(kind.title.lower() for _, _, kind in panels if kind.identity_inside)
    lowest, highest = (
        f"\n({', '.join(inside)}: {end} value)" if inside else "" for end in ("lowest", "highest")
    )
    ticks = {0: f"nearly clean{lowest}", 1: f"strongest{highest}"}
    place = {"location": "bottom", "shrink": 0.6, "aspect": 32, "pad": 0.02}
    bar = strength_bar(figure, ticks, ax=figure.axes, **place)
    bar.ax.tick_params(length=0)
    cross = plt.Line2D([], [], linestyle="", markersize=5, markeredgewidth=1, label="Clean clip", **CLEAN)
    bar.ax.legend(handles=[cross], loc="center left", bbox_to_anchor=(1.06, 0.5), borderaxespad=0)
    return figure


def clip_umap(table: pd.DataFrame) -> plt.Figure:
    """One clip's trajectories by UMAP, without lines as in the study, and a straight path below them.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect`` and those of `aesens.tables.clip_umap`. The straight paths
        drawn are those of the first model of most strengths.
    """
    finest = table.loc[table["strength"].idxmax(), ["model", "pretrained"]]
    straight = table[(table["kind"] == "straight") & (table[finest.index] == finest).all(axis=1)]
    rows = [table[table["kind"] == "clip"], straight.assign(model="Straight path", pretrained=True)]
    return trajectory_grid(pd.concat(rows), ("UMAP 1", "UMAP 2"), lines=False)


def correlation_grid(points: pd.DataFrame, summary: pd.DataFrame) -> plt.Figure:
    """Projection on the global CCA direction against the parameter, for held-out songs of one instrument.

    Parameters
    ----------
    points : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``split``, ``clip``, ``parameter``, ``projection``.
    summary : pandas.DataFrame
        Columns ``model``, ``effect``, ``in_sample``, ``held_out``: squared Spearman correlations; ``null``: the 95 %
        quantile of the latter's permutation null.
    """
    figure, panels = grid(points, None, "Projection on u")
    for ax, part, kind in panels:
        for side, (_, colour, order) in _SIDES.items():
            look = {"color": colour, "linewidth": 0.7, "marker": "o", "markersize": 1.6, "zorder": order}
            for _, clip in part[part["split"] == side].groupby("clip", sort=True):
                ax.plot(clip["parameter"] * kind.display, clip["projection"], **look)
        network = part[["model", "pretrained", "effect"]].iloc[0]
        row = summary[(summary[network.index] == network).all(axis=1)].iloc[0]
        text = f"ρ² {row['held_out']:.2f} ({row['in_sample']:.2f}) | {row['null']:.2f}"
        ax.margins(y=0.2)
        ax.annotate(text, (0.03, 0.99), xycoords="axes fraction", va="top", fontsize=8)
        ax.set_yticks([])
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    lines = [
        plt.Line2D([], [], color=colour, marker="o", markersize=3, label=label)
        for label, colour, _ in _SIDES.values()
    ]
    figure.legend(handles=lines, title=_RHO, loc="outside upper center", ncols=2)
    return figure


def correlation_boxes(table: pd.DataFrame) -> plt.Figure:
    """Distributions over clips of what a clip's own direction fits, for the clips and for what has no direction.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``kind``, ``value``, as of `aesens.tables.samplewise`.
        Values below -1 are drawn there.
    """
    table = table.assign(kind=table["kind"].replace("null", "shuffled held-out"))
    # The walks fit in-sample as noise does: one of them is enough.
    drawn = set(table["kind"]) - {"walk in-sample"}
    places, colours, ticks, at = {}, {}, {}, 0.0
    for test, label in _TESTS.items():
        kinds = {who + test: colour for who, (_, colour) in _FITTED.items() if who + test in drawn}
        if kinds:
            places |= {kind: at + i for i, kind in enumerate(kinds)}
            colours |= kinds
            ticks[at + (len(kinds) - 1) / 2] = label
            at += len(kinds) + 0.7

    figure, panels = grid(table, "", "Fit", sharex=True, sharey=True, height=1.3)
    look = {
        "patch_artist": True,
        "manage_ticks": False,
        "showfliers": False,
        "medianprops": {"color": "black"},
    }
    dot = {"markersize": 4, "zorder": 3, "markeredgewidth": 0.4, "markeredgecolor": "black"}
    for ax, part, _ in panels:
        values = [part.loc[part["kind"] == kind, "value"].dropna().clip(-1, 1) for kind in places]
        boxes = ax.boxplot(values, positions=list(places.values()), widths=0.7, **look)
        for kind, box, value in zip(places, boxes["boxes"], values, strict=True):
            box.set(facecolor=colours[kind], linewidth=0.6)
            # Where all values are alike the box is a line; a dot shows whose it is.
            ax.plot(places[kind], value.median(), "o", color=colours[kind], **dot)
        ax.axhline(0, color="black", linewidth=0.6, linestyle=":")
        ax.set(ylim=(-1.05, 1.08), xlim=(-0.7, at - 1))
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.tick_params(axis="x", length=0)
    panels[0][0].set_yticks((-1, 0, 1), bounded((-1, 0, 1), low=-1))
    patches = [
        plt.Rectangle((0, 0), 1, 1, fc=colour, ec="black", linewidth=0.5, label=title)
        for title, colour in _FITTED.values()
        if colour in colours.values()
    ]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches))
    return figure
