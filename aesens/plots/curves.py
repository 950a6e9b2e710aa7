"""Curves over strength and spectra."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from aesens import names
from aesens.effects import effect
from aesens.plots.style import UNTRAINED, WIDTH, grid, parameter_axis, present

__all__ = ["auc_curves", "sensitivity_curves", "spectra"]

_MEASURES = {
    "cosine": "Cosine distance",
    "l2": "L2 distance\n(clean clips = 1)",
    "frechet": "Fréchet distance\n(clean halves = 1)",
}


def sensitivity_curves(table: pd.DataFrame) -> plt.Figure:
    """Distance from the clean clips against the parameter, one row a measure and one column an effect.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``parameter``, ``measure``, ``value``, ``low``, ``high``.
    """
    measures, effects = present(table, "measure"), present(table, "effect")
    figure, axes = plt.subplots(
        len(measures), len(effects), figsize=(WIDTH, 1.65 * len(measures) + 0.9), sharex="col", squeeze=False
    )
    for column, name in enumerate(effects):
        kind = effect(name)
        for row, measure in enumerate(measures):
            ax = axes[row, column]
            panel = table[(table["effect"] == name) & (table["measure"] == measure)]
            for model in present(panel, "model"):
                line = panel[panel["model"] == model]
                pretrained = bool(line["pretrained"].iloc[0])
                x = line["parameter"] * kind.display
                ax.fill_between(
                    x, line["low"], line["high"], color=names.colour(model), alpha=0.15, linewidth=0
                )
                ax.plot(
                    x,
                    line["value"],
                    color=names.colour(model),
                    linestyle="-" if pretrained else UNTRAINED,
                    marker="o",
                    markersize=2.2,
                    label=names.model_title(model, pretrained),
                )
            ax.set_ylim(bottom=0)
            if column == 0:
                ax.set_ylabel(_MEASURES.get(measure, measure))
            if kind.identity_inside:
                ax.axvline(kind.identity, color="black", linewidth=0.6, linestyle=":")
        parameter_axis(axes[-1, column], kind, table.loc[table["effect"] == name, "parameter"].to_numpy())
        axes[0, column].set_title(kind.title)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=len(present(table, "model")),
    )
    return figure


def spectra(table: pd.DataFrame) -> plt.Figure:
    """Normalised singular values of the sample-wise directions beside those of the clean embeddings.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``kind`` (``directions``, ``clean`` or ``random``), ``rank``
        (from 1), ``value`` (s_i / s_1).
    """
    figure, panels = grid(table, sharex=False, sharey=True)
    looks = {
        "directions": ("Sample-wise CCA directions", "#D55E00", "-"),
        "clean": ("Clean embeddings, centred", "#0072B2", "--"),
        "random": ("As many random unit vectors", "#8A8A8A", ":"),
    }
    for ax, part, _ in panels:
        for key, (label, colour, style) in looks.items():
            line = part[part["kind"] == key]
            ax.plot(line["rank"], line["value"], color=colour, linestyle=style, label=label)
        for threshold in (0.3, 0.4, 0.5):
            ax.axhline(threshold, color="#CCCCCC", linewidth=0.6, zorder=0)
        ax.set_xscale("log")
        ax.set_ylim(0, 1.03)
    effects = len(present(table, "effect"))
    for ax, _, _ in panels[-effects:]:
        ax.set_xlabel("Rank")
    for ax, _, _ in panels[::effects]:
        ax.set_ylabel("$s_i / s_1$")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def auc_curves(table: pd.DataFrame, projections: list[str]) -> plt.Figure:
    """ROC-AUC against the parameter, one line a projection, one panel a model and effect.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``projection``, ``parameter``, ``roc_auc``; rows with
        ``clean_auc`` hold the value of clean clips on both sides.
    projections : list of str
        Those drawn, in this order.
    """
    figure, panels = grid(table, sharey="row", height=1.35)
    for ax, part, kind in panels:
        for name in projections:
            line = part[part["projection"] == name]
            baseline = name == "none"
            ax.plot(
                line["parameter"] * kind.display,
                line["roc_auc"],
                color=names.colour(name),
                linewidth=1.8 if baseline else 1.0,
                linestyle=":" if name.startswith("random") else "-",
                zorder=3 if baseline else 2,
                label="No projection" if baseline else names.projection_title(name),
            )
        ax.axhline(part["clean_auc"].iloc[0], color="#888888", linewidth=0.7, linestyle="--", zorder=1)
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    effects = len(present(table, "effect"))
    for ax, _, kind in panels[-effects:]:
        ax.set_xlabel(kind.label)
    for ax, _, _ in panels[::effects]:
        ax.set_ylabel("ROC-AUC")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure
