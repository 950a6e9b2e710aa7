"""Trajectories on a plane, and how well a direction follows them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize

from aesens.plots import titles as names
from aesens.plots.style import grid, parameter_axis, present

# The clean clip: a thin cross, below the points of its trajectory and larger than they are, so that both show.
_CLEAN = {"marker": "x", "color": "#D55E00", "linewidth": 1.0}

_RHO = "In each panel: $\\rho^2$ on test songs (on training songs) | what chance reaches on test songs, 95 % quantile"

__all__ = ["correlation_boxes", "correlation_grid", "clip_umap", "trajectory_grid"]


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
                ax.add_collection(
                    LineCollection(segments, colors=colours[reached[1:]], linewidths=1.1, zorder=1)
                )
            seen = reached >= 0
            ax.scatter(
                *points[seen].T,
                s=12 if strengths < 12 else 9,
                color=colours[reached[seen]],
                linewidth=0,
                zorder=2,
            )
        clean = part[part["strength"] < 0]
        ax.scatter(clean["x"], clean["y"], **_CLEAN, s=30, zorder=1.5)
        ax.set(xticks=[], yticks=[])
        ax.margins(0.08)
    effects = len(present(table, "effect"))
    for ax, _, _ in panels[-effects:]:
        ax.set_xlabel(axis_names[0])
    for ax, _, _ in panels[::effects]:
        ax.set_ylabel(axis_names[1])
    scale = ScalarMappable(Normalize(0, 1), ListedColormap(names.strength_colours(64)))
    bar = figure.colorbar(
        scale, ax=figure.axes, location="bottom", shrink=0.6, aspect=32, pad=0.02, ticks=[0, 1]
    )
    # An effect whose clean setting lies inside its sweep is strong at both ends.
    inside = [kind.title.lower() for _, _, kind in panels[:effects] if kind.identity_inside]
    note = [f"\n({', '.join(inside)}: {end} value)" if inside else "" for end in ("lowest", "highest")]
    bar.ax.set_xticklabels([f"nearly clean{note[0]}", f"strongest{note[1]}"])
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    cross = plt.Line2D(
        [], [], linestyle="", markersize=5, markeredgewidth=_CLEAN["linewidth"], label="Clean clip"
    )
    cross.set(marker=_CLEAN["marker"], color=_CLEAN["color"])
    bar.ax.legend(handles=[cross], loc="center left", bbox_to_anchor=(1.06, 0.5), borderaxespad=0)
    return figure


def clip_umap(table: pd.DataFrame) -> plt.Figure:
    """One clip's trajectories by UMAP, without lines as in the study, and a straight path below them.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect`` and those of `aesens.tables.clip_umap`. The straight paths
        drawn are those of the first model of most strengths.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain", "clip": "a", "strength": [0, 1], "y": 0.0}
    >>> parts = [pd.DataFrame(row | {"kind": kind, "x": [0.0, 1.0]}) for kind in ("clip", "straight")]
    >>> figure = clip_umap(pd.concat(parts))
    >>> len(figure.axes)  # two panels and the scale of colours
    3
    >>> plt.close(figure)
    """
    finest = table.loc[table["strength"].idxmax(), "model"]
    straight = table[(table["kind"] == "straight") & (table["model"] == finest)]
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
        for side, colour, order in (("train", "#BDBDBD", 1), ("test", "#0072B2", 2)):
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
        ax.annotate(text, (0.03, 0.99), xycoords="axes fraction", va="top", fontsize=8)
        ax.set_yticks([])
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    effects = len(present(points, "effect"))
    for position, (ax, _, kind) in enumerate(panels):
        if position >= len(panels) - effects:
            ax.set_xlabel(kind.label)
        if position % effects == 0:
            ax.set_ylabel("Projection on $u$")
    lines = [plt.Line2D([], [], color=c, marker="o", markersize=3) for c in ("#BDBDBD", "#0072B2")]
    labels = ["Training songs (fitted)", "Test songs (held out)"]
    figure.legend(lines, labels, title=_RHO, loc="outside upper center", ncols=2)
    return figure


def correlation_boxes(table: pd.DataFrame) -> plt.Figure:
    """Distributions over clips of what a clip's own direction fits, for the clips and for what has no direction.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``kind``, ``value``, as of `aesens.tables.samplewise`.
        Values below -1 are drawn there.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> kinds = ["in-sample", "noise in-sample", "transfer", "walk transfer"]
    >>> figure = correlation_boxes(pd.DataFrame([row | {"kind": kind, "value": 0.5} for kind in kinds]))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['Clips', 'Random walks', 'White noise']
    >>> plt.close(figure)
    """
    looks = {
        "": ("Clips", "#0072B2"),
        "walk ": ("Random walks", "#E69F00"),
        "shuffled ": ("Shuffled strengths", "#7F7F7F"),
        "noise ": ("White noise", "#D5D5D5"),
    }
    tests = {
        "in-sample": "Fitted\n$\\rho^2$",
        "held-out": "Left out\n$R^2$",
        "transfer": "Others\n$\\rho$",
    }
    table = table.assign(kind=table["kind"].replace("null", "shuffled held-out"))
    # The walks fit in-sample as noise does: one of them is enough.
    places, ticks, at = {}, {}, 0.0
    for test, label in tests.items():
        kinds = [who + test for who in looks if (who + test) in set(table["kind"])]
        kinds = [kind for kind in kinds if kind != "walk in-sample"]
        if kinds:
            places |= {kind: at + i for i, kind in enumerate(kinds)}
            ticks[at + (len(kinds) - 1) / 2] = label
            at += len(kinds) + 0.7
    colours = {kind: looks[kind[: kind.rfind(" ") + 1]][1] for kind in places}

    figure, panels = grid(table, sharex=True, sharey=True, height=1.3)
    for ax, part, _ in panels:
        values = [np.clip(part.loc[part["kind"] == kind, "value"].dropna(), -1, 1) for kind in places]
        boxes = ax.boxplot(
            values,
            positions=list(places.values()),
            widths=0.7,
            patch_artist=True,
            manage_ticks=False,
            showfliers=False,
            medianprops={"color": "black"},
        )
        for kind, box, value in zip(places, boxes["boxes"], values, strict=True):
            box.set(facecolor=colours[kind], linewidth=0.6)
            # Where all values are alike the box is a line; a dot shows whose it is.
            ax.plot(
                places[kind],
                value.median(),
                "o",
                color=colours[kind],
                markersize=4,
                zorder=3,
                markeredgewidth=0.4,
                markeredgecolor="black",
            )
        ax.axhline(0, color="black", linewidth=0.6, linestyle=":")
        ax.set(ylim=(-1.05, 1.08), xlim=(-0.7, at - 1))
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.tick_params(axis="x", length=0)
    for ax, _, _ in panels[:: len(present(table, "effect"))]:
        ax.set_ylabel("Fit, at least −1")
    drawn = [(name, colour) for name, colour in looks.values() if colour in colours.values()]
    patches = [plt.Rectangle((0, 0), 1, 1, fc=colour, ec="black", linewidth=0.5) for _, colour in drawn]
    figure.legend(patches, [name for name, _ in drawn], loc="outside upper center", ncols=len(drawn))
    return figure
