"""The claims at one look, and what a run could have seen."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from aesens.plots.maps import effect_column
from aesens.plots.style import COLUMN, MUTED, legend_entries, lowest, model_axis, number, present, wrapped
from aesens.plots.titles import model_title

__all__ = ["claims_map", "power_curves"]

# Colour of a verdict's cell, and of the number in it.
_VERDICTS = {
    "supported": ("#0072B2", "white"),
    "not supported": ("#D55E00", "white"),
    "inconclusive": ("#F0D58A", "black"),
    "control": ("#F1F1F1", MUTED),
}

_BLANK = {"facecolor": "white", "edgecolor": "#DDDDDD", "linewidth": 0.6}

# Of the statistics that two decimals do not fit.
_FORMS = {"C2": "{:.1f}", "C6": "{:.3f}"}


# What a power curve goes over.
_TRUTHS = {"C2": "Share of the path in one step", "C5": "Recovered share of the loss"}


def _short(value: float, form: str) -> str:
    """A number that fits a small cell."""
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return ">99" if value > 0 else "<−99"
    return number(value, "{:.0f}" if abs(value) >= 10 else form)


def _entry(claim: str) -> dict:
    """A claim as its file has it."""
    # Imported here, since what says the claims in words takes the titles of models from this folder.
    from aesens.tables.claims import entries

    return entries()[0][claim]


def _condition(claim: str, threshold: float) -> str:
    """When a claim is supported, e.g. ``"mean ρ > 0.5"``."""
    entry = _entry(claim)
    relation = {"above": "{} > {:g} {}", "below": "{} < {:g} {}", "within": "|{}| < {:g} {}"}[entry["side"]]
    return relation.format(entry["name"], threshold, entry.get("unit", "")).rstrip()


def claims_map(table: pd.DataFrame) -> plt.Figure:
    """Verdict of each claim for each model and effect, one panel a claim.

    A panel's title says when the claim is supported. Below a model's number stands that of its untrained twin; a number
    with a ring is one that the interval alone did not decide.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `aesens.tables.claims.of_study`.
    """
    keys, models, effects = (present(table, name) for name in ("claim", "model", "effect"))
    held = ~table["reason"].fillna("").isin(["", "interval"])
    table, twins = table.assign(held=held), table["twin"].notna().any()
    # Names beside two panels, whose cells hold four digits each.
    width = 0.085 * max(map(len, map(model_title, models))) + 1.1 * len(effects) + 0.4
    height = (0.3 if twins else 0.21) * len(models) + 0.5
    figure, axes = wrapped(len(keys), height=height, spare=1.0, width=max(width, COLUMN))
    for ax, claim in zip(axes.flat, keys, strict=False):
        part = table[table["claim"] == claim]
        for x, y in np.ndindex(len(effects), len(models)):
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, **_BLANK))
        form = _FORMS.get(claim, "{:.2f}")
        for row in part.itertuples():
            x, y = effects.index(row.effect), models.index(row.model)
            colour, ink = _VERDICTS[row.verdict]
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=colour, linewidth=0))
            text = _short(row.statistic, form) + "°" * row.held
            look = {"color": ink, "ha": "center", "va": "center_baseline"}
            weight = "normal" if row.verdict == "control" else "bold"
            beside = np.isfinite(row.twin)
            ax.text(x, y - 0.17 * beside, text, fontsize=8, weight=weight, **look)
            if beside:
                ax.text(x, y + 0.24, _short(row.twin, form), fontsize=6.5, style="italic", alpha=0.85, **look)
        title = f"{claim} {part['title'].iloc[0]}\n{_condition(claim, part['threshold'].iloc[0])}"
        ax.set_title(title, loc="left", fontsize=8, linespacing=1.15)
        ax.set(xlim=(-0.5, len(effects) - 0.5))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0, 0].set_xticks(range(len(effects)), map(effect_column, effects))
    for ax in lowest(axes, len(keys)):
        plt.setp(ax.get_xticklabels(), ha="right", rotation=30, rotation_mode="anchor")
    model_axis(axes[:, 0], table)
    entries = {
        verdict if verdict != "control" else "untrained control, no verdict": plt.Rectangle(
            (0, 0), 1, 1, color=colour
        )
        for verdict, (colour, _) in _VERDICTS.items()
        if verdict in set(table["verdict"])
    }
    if len(table) < len(keys) * len(models) * len(effects):
        entries["blank: not part of the claim"] = plt.Rectangle((0, 0), 1, 1, **_BLANK)
    # Marks that are text need no picture beside them.
    if held.any():
        entries["° not decided by the interval alone"] = plt.Line2D([], [], linestyle="")
    if twins:
        entries["small: untrained twin"] = plt.Line2D([], [], linestyle="")
    where = {"loc": "outside upper left", "ncols": 3, "columnspacing": 1.0, "fontsize": 8}
    figure.legend(entries.values(), entries.keys(), **where)
    return figure


def power_curves(table: pd.DataFrame) -> plt.Figure:
    """How often a claim is decided as the truth grows, one panel a claim: what a run of that size could have seen.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``claim``, ``size`` (of the run, in words), ``truth``, and the shares ``supported`` and
        ``not supported``; see ``benchmarks/verdicts.py``.
    """
    claims, sizes = present(table, "claim"), present(table, "size")
    figure, axes = wrapped(len(claims), height=2.0, spare=0.5, shared=False)
    colours = dict(zip(sizes, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False))
    for ax, claim in zip(axes.flat, claims, strict=False):
        part = table[table["claim"] == claim]
        for size, rows in part.groupby("size", sort=False):
            for verdict, line in (("supported", "-"), ("not supported", ":")):
                label = f"{size}, {verdict}"
                ax.plot(rows["truth"], rows[verdict], line, marker=".", color=colours[size], label=label)
        ax.set_title(f"{claim} {_entry(claim)['title']}", loc="left", fontsize=8.5)
        ax.set(xlabel=_TRUTHS[claim], ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("Share of data sets")
    handles, labels = legend_entries(axes.flat[: len(claims)])
    figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=7.5)
    return figure
