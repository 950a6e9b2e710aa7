"""What remedies give and cost, and how much of an effect a linear map foresees."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from aesens.effects import effect
from aesens.plots import titles as names
from aesens.plots.style import (
    MUTED,
    UNTRAINED,
    WIDTH,
    legend_entries,
    lowest,
    parameter_axis,
    present,
    wrapped,
)

__all__ = ["gain_and_cost", "linearity_curves"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def gain_and_cost(table: pd.DataFrame, *, label: str) -> plt.Figure:
    """What each method changes on effected and on clean clips: an arrow a model and effect, a panel a method.

    Up is a gain on effected clips, left a cost on clean ones, the tip is where a method leads to. Pretrained models
    have full arrows, their twins thin grey ones.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``method``, ``change`` (on effected clips), ``cost`` (on clean
        ones) and ``control``, one row an arrow; methods in the order of their panels.
    label : str
        What changes, for the axes.
    """
    methods, effects = present(table, "method"), present(table, "effect")
    figure, axes = wrapped(len(methods), height=1.5, spare=0.9, across=5, width=WIDTH)
    reach = 1.12 * max(1.0, 100 * table[["cost", "change"]].abs().max(axis=None))
    for ax, method in zip(axes.flat, methods, strict=False):
        ax.axhspan(0, reach, color="#EAF3EA", zorder=0, linewidth=0)
        ax.axhline(0, color="black", linewidth=0.6, zorder=1)
        ax.axvline(0, color="black", linewidth=0.6, zorder=1)
        # Twins first, below.
        part = table[table["method"] == method].sort_values("pretrained", kind="stable")
        for row in part.to_dict("records"):
            trained, x, y = bool(row["pretrained"]), -100 * row["cost"], 100 * row["change"]
            colour = names.colour(row["model"]) if trained else "#B5B5B5"
            look = {"color": colour, "zorder": 3 if trained else 2}
            ax.plot([0, x], [0, y], linewidth=1.4 if trained else 0.7, **look)
            kind = _MARKERS[effects.index(row["effect"]) % len(_MARKERS)]
            ax.plot(x, y, kind, markersize=4.2 if trained else 3, **look)
        control = bool(part["control"].iloc[0])
        ax.set_title(
            names.projection_title(method) + (" (control)" if control else ""),
            color=MUTED if control else "black",
            fontsize=8,
        )
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    lowest(axes, len(methods))
    figure.supxlabel(f"Change of {label} on clean clips (hundredths): left is a cost")
    figure.supylabel("On effected clips: up is a gain")
    handles = [
        plt.Line2D([], [], color=names.colour(model), linewidth=1.6, label=names.model_title(model, True))
        for model in present(table[table["pretrained"].astype(bool)], "model")
    ]
    if not table["pretrained"].astype(bool).all():
        handles.append(plt.Line2D([], [], color="#B5B5B5", linewidth=0.9, label="Untrained"))
    for place, name in enumerate(effects):
        look = {"color": "#444444", "linestyle": "", "markersize": 4.5, "label": effect(name).title}
        handles.append(plt.Line2D([], [], marker=_MARKERS[place % len(_MARKERS)], **look))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def linearity_curves(table: pd.DataFrame) -> plt.Figure:
    """Share of the movement that a linear map of the clean embedding foresees, by parameter, a panel an effect.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect`` and those of `aesens.tables.linearity`, the rows of one strength.
    """
    effects = present(table, "effect")
    figure, axes = wrapped(len(effects), height=1.75, spare=0.8, width=WIDTH, shared=False)
    for ax, name in zip(axes.flat, effects, strict=False):
        panel, kind = table[table["effect"] == name], effect(name)
        for (model, trained), line in panel.groupby(["model", "pretrained"], sort=False):
            at, colour = line["parameter"] * kind.display, names.colour(model)
            look = {"color": colour, "linestyle": "-" if trained else UNTRAINED}
            # What a map that is worse than none predicts is below all that is drawn.
            values, low, high = (line[column].clip(lower=-0.1) for column in ("linear", "low", "high"))
            ax.fill_between(at, low, high, color=colour, alpha=0.15 if trained else 0.07, linewidth=0)
            ax.plot(
                at,
                values,
                linewidth=1.6 if trained else 0.9,
                label=names.model_title(model, bool(trained)),
                **look,
            )
            ax.plot(at, line["shift"].clip(lower=-0.1), ".", color=colour, markersize=4 if trained else 2.5)
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set(ylim=(-0.12, 1.02), title=kind.title)
        parameter_axis(ax, kind, panel.sort_values("strength", kind="stable")["parameter"].to_numpy())
    for ax in axes[:, 0]:
        ax.set_ylabel("Share foreseen")
    handles, labels = legend_entries(axes.flat[: len(effects)])
    handles.append(plt.Line2D([], [], color="#444444", linestyle="", marker=".", markersize=5))
    labels.append("By the mean displacement alone")
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure
