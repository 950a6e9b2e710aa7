"""What an effect costs the classifiers of clean clips by strength, and how much of it is recovered."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MultipleLocator

from aesens.analysis.statistics import MINIMUM_SONGS
from aesens.plots import titles as names
from aesens.plots.curves import projection_line
from aesens.plots.style import bounded, grid, legend_entries, parameter_axis

__all__ = ["operating_curves", "recovered_curves"]

_METRICS = {"roc_auc": ("#0072B2", "o"), "balanced_accuracy": ("#D55E00", "s")}

# A share below or above these is drawn at the edge: where little is lost, shares know no bounds.
_SHARES = (-1.0, 1.5)


def operating_curves(table: pd.DataFrame) -> plt.Figure:
    """Ranking and operating point without a projection against the parameter, one panel a model and effect.

    The band holds 95 % of the loss from the dashed line, that of clean clips; below six test songs an instrument it is
    a range, drawn by its edges alone.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `aesens.tables.robustness`, with the columns ``model``, ``pretrained``, ``effect``.
    """
    table = table[(table["kind"] == "strength") & (table["method"] == "none")]
    figure, panels = grid(table, None, "Score", height=1.7, sharey=True, controls=0.7)
    for ax, part, kind in panels:
        for metric, (colour, marker) in _METRICS.items():
            line, title = part[part["metric"] == metric], names.METRICS[metric]
            x, clean = line["parameter"] * kind.display, line["clean"].iloc[0]
            ends = [clean - line["loss_high"], clean - line["loss_low"]]
            if (line["songs"] < MINIMUM_SONGS).any():
                for end in ends:
                    ax.plot(x, end, color=colour, linewidth=0.7, linestyle=":", alpha=0.7)
            else:
                ax.fill_between(x, *ends, color=colour, alpha=0.16, linewidth=0)
            ax.plot(x, line["value"], color=colour, marker=marker, markersize=2.6, label=title)
            ax.axhline(clean, color=colour, linewidth=0.9, linestyle="--", label=f"{title} on clean clips")
        ax.axhline(0.5, color="black", linewidth=0.8, linestyle=":", label="Chance")
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    panels[0][0].set_ylim(min(0.45, table["value"].min() - 0.02), 1.01)
    panels[0][0].yaxis.set_major_locator(MultipleLocator(0.1))
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def recovered_curves(table: pd.DataFrame) -> plt.Figure:
    """Share of the lost balanced accuracy that projections recover where some is lost, one panel a model and effect.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `operating_curves`.
    """
    table = table[(table["kind"] == "strength") & (table["metric"] == "balanced_accuracy")]
    drawn = [name for name in names.drawn_projections(table["method"]) if name != "none"]
    figure, panels = grid(table, None, "Share\nrecovered", height=1.7, sharey=True, controls=0.7)
    for ax, part, kind in panels:
        for name in drawn:
            line = part[part["method"] == name]
            share = line["recovered"].clip(*_SHARES)
            look = {"color": names.colour(name), "marker": "o", "markersize": 2.4}
            ax.plot(line["parameter"] * kind.display, share, **projection_line(name) | look)
        for share, look in ((0, "-"), (1, "--")):
            ax.axhline(share, color="#666666", linewidth=0.8, linestyle=look, zorder=1.5)
        if not part["recovered"].notna().any():
            ax.text(0.5, 0.2, "nothing lost", transform=ax.transAxes, ha="center", color="#666666")
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    ticks = (_SHARES[0], 0, 1, _SHARES[1])
    panels[0][0].set_ylim(_SHARES[0] - 0.05, _SHARES[1] + 0.05)
    panels[0][0].set_yticks(ticks, bounded(ticks, *_SHARES))
    figure.legend(*legend_entries(ax for ax, _, _ in panels), loc="outside upper center", ncols=4)
    return figure
