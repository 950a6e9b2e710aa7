"""Pictures of the data and of the clean embeddings."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from aesens.data import sort_instruments
from aesens.plots import titles as names
from aesens.plots.style import (
    MUTED,
    WIDTH,
    legend_columns,
    legend_entries,
    mute_panel,
    networks,
    present,
    wrapped,
)

__all__ = ["clean_classification", "clean_map", "clips_per_instrument"]

_SIDES = {
    "train": ("Training", "#0072B2"),
    "test": ("Test", "#E69F00"),
    "unused": ("Not used", "#BFBFBF"),
    "none": ("none", "#56B4E9"),
}


def clips_per_instrument(table: pd.DataFrame) -> plt.Figure:
    """Clips and songs an instrument, by side of the split.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``instrument``, ``split``, ``clips``, ``songs``.
    """
    instruments = sort_instruments(table["instrument"])
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 0.19 * len(instruments) + 1.0), sharey=True)
    for ax, unit in zip(axes, ("clips", "songs"), strict=True):
        counts = table.pivot(index="instrument", columns="split", values=unit).reindex(instruments).fillna(0)
        left = np.zeros(len(instruments))
        for side in (side for side in _SIDES if side in counts):
            label, colour = _SIDES[side]
            ax.barh(range(len(instruments)), counts[side], left=left, color=colour, label=label)
            left += counts[side].to_numpy()
        ax.set_xlabel(unit.capitalize())
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_yticks(range(len(instruments)), map(names.instrument_title, instruments))
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def clean_map(table: pd.DataFrame) -> plt.Figure:
    """Clean clips of each model on two axes, an instrument by colour and shape.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``instrument``, ``x``, ``y``, ``explained`` (share of variance on both).
    """
    found = networks(table)
    figure, axes = wrapped(len(found), height=2.5, spare=0.4, across=3, width=WIDTH, shared=False)
    for ax, ((model, pretrained), part) in zip(axes.flat, found, strict=False):
        for code, clips in part.groupby("instrument", sort=False):
            look = {"marker": names.marker(code), "color": names.colour(code), "edgecolor": "white"}
            title = names.legend_label(names.instrument_title(code))
            ax.scatter(clips["x"], clips["y"], s=24, label=title, linewidth=0.4, **look)
        explained = 100 * part["explained"].iloc[0]
        title = f"{names.folded(names.model_title(model, pretrained), 26)}\n{explained:.0f} % of variance"
        ax.set(xticks=[], yticks=[], xlabel="PC 1", ylabel="PC 2")
        ax.set_title(title, color="black" if pretrained else MUTED)
        if not pretrained:
            mute_panel(ax)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    columns = legend_columns(labels, 2, WIDTH / axes.shape[1])
    # A line takes about 13 points of the empty place.
    if len(found) < axes.size and 13 * len(labels) / columns <= 72 * 2.2:
        axes.flat[-1].legend(handles, labels, loc="center", ncols=columns, handletextpad=0.2)
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels, 6))
    return figure


def clean_classification(table: pd.DataFrame) -> plt.Figure:
    """ROC-AUC on clean clips, pretrained weights beside the same network untrained.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``data``, ``model``, ``pretrained``, ``roc_auc``, ``low``, ``high``.
    """
    datasets, models = present(table, "data"), present(table, "model")
    figure, axes = wrapped(len(datasets), height=0.38 * len(models) + 0.8, spare=0.4)
    for ax, data in zip(axes.flat, datasets, strict=False):
        part = table[table["data"] == data]
        for pretrained, label, marker, colour, face, offset in (
            (True, "Pretrained", "o", "#0072B2", "#0072B2", -0.13),
            (False, "Untrained control", "s", "#7F7F7F", "white", 0.13),
        ):
            chosen = part[part["pretrained"] == pretrained]
            if chosen.empty:
                continue
            y = np.array([models.index(model) for model in chosen["model"]]) + offset
            ax.hlines(y, chosen["low"], chosen["high"], color=colour, linewidth=2.4, alpha=0.5)
            look = {"marker": marker, "color": colour, "facecolor": face}
            ax.scatter(chosen["roc_auc"], y, s=32, label=label, zorder=3, **look)
        ax.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
        ax.set(title=textwrap.fill(data, 24), xlabel="ROC-AUC,\nclean test clips")
        ax.tick_params(labelbottom=True)
        ax.grid(axis="x", color="#E5E5E5")
    axes[0, 0].set_yticks(range(len(models)), [names.folded(names.model_title(m), 20) for m in models])
    axes[0, 0].set_ylim(len(models) - 0.5, -0.5)
    figure.legend(*legend_entries(axes.flat), loc="outside upper center", ncols=2)
    return figure
