"""Curves over strength, spectra, and statistics beside what chance makes of them."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker

from aesens.analysis import projections as registry
from aesens.effects import effect
from aesens.plots import titles as names
from aesens.plots.style import (
    MUTED,
    UNTRAINED,
    WIDTH,
    grid,
    legend_columns,
    legend_entries,
    lowest,
    model_axis,
    mute_panel,
    networks,
    parameter_axis,
    present,
    wrapped,
)

__all__ = [
    "SPECTRA",
    "against_null",
    "agreement",
    "auc_curves",
    "projection_line",
    "protocol_curves",
    "sensitivity_curves",
    "spectra",
]

_MEASURES = {
    "cosine": "Cosine distance",
    "l2": "L2 distance\n(clean clips = 1)",
    "frechet": "Fréchet distance\n(clean halves = 1)",
}

# Measures whose unit is worth a line: two clean clips, two halves of the clean set.
_UNITS = ("l2", "frechet")

_PROTOCOLS = {
    "study": ("Through a 16-bit file, as in the study", "#D55E00", "-"),
    "float": ("In floating point", "#0072B2", "--"),
}

#: Lines of spectra: label, colour and style of each kind of `aesens.tables.spectra`.
SPECTRA = {
    "directions": ("Sample-wise CCA directions", "#D55E00", "-"),
    "clean": ("Clean embeddings, centred", "#0072B2", "--"),
    "random": ("As many random unit vectors", "#8A8A8A", ":"),
}
_OTHERS = {"color": "#F3C9A8", "linewidth": 0.6, "label": "Directions of the other instruments", "zorder": 1}
_KEPT = {"color": "#555555", "linewidth": 0.7}

_COSINES = {
    "between_instruments": ("Two instruments, same effect", "o", "#0072B2"),
    "between_effects": ("Two effects, same instrument", "s", "#009E73"),
    "with_own_classifier": ("Instrument and its own classifier", "D", "#D55E00"),
    "with_other_classifiers": ("Instrument and another's classifier", "v", "#E69F00"),
}

_CHANCE = "#DDDDDD"


def sensitivity_curves(table: pd.DataFrame) -> plt.Figure:
    """Distance from the clean clips against the parameter, one row a measure and one column an effect.

    The scale of a measure with a unit is linear up to 1 and logarithmic above, so that what moves a model by hundreds
    of units does not flatten the others.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``parameter``, ``measure``, ``value``, ``low``, ``high``.
    """
    measures, effects = present(table, "measure"), present(table, "effect")
    figure, axes = plt.subplots(
        len(measures),
        len(effects),
        figsize=(WIDTH, 1.7 * len(measures) + 0.95),
        sharex="col",
        sharey="row",
        squeeze=False,
    )
    for row, measure in zip(axes, measures, strict=True):
        of_measure = table[table["measure"] == measure]
        for ax, name in zip(row, effects, strict=True):
            panel, kind = of_measure[of_measure["effect"] == name], effect(name)
            for (model, _), line in networks(panel):
                _distance_line(ax, line, model, kind.display)
            if kind.identity_inside:
                ax.axvline(kind.identity, color="black", linewidth=0.6, linestyle=":")
            if measure in _UNITS:
                ax.axhline(1, color="#888888", linewidth=0.7, linestyle="--", zorder=1)
        row[0].set_ylabel(_MEASURES.get(measure, measure))
        _distance_axis(row[0], measure, float(of_measure[["value", "high"]].max(axis=None)))
    for first, last, name in zip(axes[0], axes[-1], effects, strict=True):
        first.set_title(effect(name).title)
        parameter_axis(last, effect(name), table.loc[table["effect"] == name, "parameter"].to_numpy())
    figure.align_ylabels(axes[:, 0])
    handles, labels = legend_entries(axes[0])
    columns = legend_columns(labels, min(len(labels), 4))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
    return figure


def _distance_line(ax: plt.Axes, line: pd.DataFrame, model: str, display: float) -> None:
    """One model's curve with its interval; pretrained ones broader and above."""
    pretrained, x = bool(line["pretrained"].iloc[0]), line["parameter"] * display
    look = {"color": names.colour(model), "zorder": 3 if pretrained else 2}
    ax.fill_between(x, line["low"], line["high"], alpha=0.18 if pretrained else 0.1, linewidth=0, **look)
    ax.plot(
        x,
        line["value"],
        linestyle="-" if pretrained else UNTRAINED,
        linewidth=1.6 if pretrained else 1.0,
        marker="o",
        # Of many strengths each is a point of a curve, not a mark of its own.
        markersize=2.4 if len(line) < 12 else 1.4,
        label=names.legend_label(names.model_title(model, pretrained)),
        **look,
    )


def _distance_axis(ax: plt.Axes, measure: str, top: float) -> None:
    """Scale of a measure: from 0, and logarithmic above its unit if it has one and goes well beyond."""
    if measure in _UNITS and top > 1.5:
        ax.set_yscale("symlog", linthresh=1, linscale=1)
        decades = 10.0 ** np.arange(1, np.ceil(np.log10(top)) + 1)
        # Two numbers between 1 and 10 where there is nothing above.
        ticks = [0, 0.5, 1, *([2, 5] if top < 15 else []), *decades]
        ax.yaxis.set_major_locator(ticker.FixedLocator([tick for tick in ticks if tick <= 1.1 * top]))
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(ticker.NullLocator())
        ax.set_ylim(0, 1.25 * top)
    else:
        ax.set_ylim(0, 1.05 * max(top, 1.05 if measure in _UNITS else 0))


def protocol_curves(table: pd.DataFrame) -> plt.Figure:
    """Distance from the clean clips against the parameter under both protocols, a panel a model.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model`` (or ``"front end"``, OpenL3's), ``pretrained``, ``effect`` (one), ``protocol``, ``parameter``,
        ``value``, ``low``, ``high``.
    """
    kind, found = effect(table["effect"].iloc[0]), networks(table)
    figure, axes = wrapped(len(found), height=1.75, spare=0.6, across=3, width=WIDTH)
    for ax, ((model, pretrained), panel) in zip(axes.flat, found, strict=False):
        for protocol, (label, colour, style) in _PROTOCOLS.items():
            line = panel[panel["protocol"] == protocol]
            x, ends = (
                line["parameter"] * kind.display,
                (line[end].fillna(line["value"]) for end in ("low", "high")),
            )
            ax.fill_between(x, *ends, color=colour, alpha=0.15, linewidth=0)
            ax.plot(x, line["value"], style, color=colour, marker="o", markersize=2.4, label=label)
        if kind.identity_inside:
            ax.axvline(kind.identity * kind.display, color="black", linewidth=0.6, linestyle=":")
        title = "OpenL3's front end" if model == "front end" else names.model_title(model, pretrained)
        control = not pretrained and model != "front end"
        ax.set_title(names.folded(title, 26), color=MUTED if control else "black")
        if control:
            mute_panel(ax)
        parameter_axis(ax, kind, panel["parameter"].to_numpy(), label=False)
    # Not so fine that next to nothing looks like something.
    axes[0, 0].set_ylim(0, 1.08 * max(1, table[["value", "high"]].max(axis=None)))
    for ax in lowest(axes, len(found)):
        ax.set_xlabel(kind.label)
    for ax in axes[:, 0]:
        ax.set_ylabel("L2 distance\n(clean clips = 1)")
    figure.legend(*legend_entries(axes.flat[:1]), loc="outside upper center", ncols=2)
    return figure


def spectra(table: pd.DataFrame) -> plt.Figure:
    """Normalised singular values of the first instrument's sample-wise directions beside its clean embeddings'.

    The thresholds of the subspace method end at the curve that they are applied to, at the number of dimensions that
    is kept. The directions of the other instruments are thin lines.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect`` and those of `aesens.tables.spectra`.
    """
    instrument = table["instrument"].iloc[0]
    figure, panels = grid(table, "Rank", "sᵢ / s₁", sharex=False, sharey=True)
    for ax, part, _ in panels:
        mine = part[part["instrument"] == instrument]
        for key, (label, colour, style) in SPECTRA.items():
            line = mine[mine["kind"] == key]
            ax.plot(line["rank"], line["value"], color=colour, linestyle=style, label=label)
        others = part[(part["kind"] == "directions") & (part["instrument"] != instrument)]
        for _, line in others.groupby("instrument"):
            ax.plot(line["rank"], line["value"], **_OTHERS)
        values = mine.loc[mine["kind"] == "directions", "value"].to_numpy()
        for threshold in (0.3, 0.4, 0.5):
            kept = (values >= threshold).sum()
            ax.plot([1, kept], [threshold] * 2, zorder=3, **_KEPT)
            ax.plot(kept, threshold, ".", color=_KEPT["color"], markersize=4, zorder=3)
        ax.set_xscale("log")
        # Few ranks are less than a decade.
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda rank, _: f"{rank:g}"))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.set_ylim(0, 1.03)
    handles, labels = legend_entries([panels[0][0]])
    handles.append(plt.Line2D([], [], marker=".", markersize=4, **_KEPT))
    labels.append("Dimensions kept at t = 0.3, 0.4, 0.5")
    title = names.instrument_title(instrument)
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=3)
    return figure


def against_null(
    table: pd.DataFrame,
    value: str,
    *,
    low: str,
    high: str,
    null: str,
    label: str,
    points: pd.DataFrame | None = None,
    limits: tuple[float, float] | None = None,
) -> plt.Figure:
    """A statistic of each model and effect beside what chance reaches.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect`` and those named, one row a model and effect.
    value, low, high : str
        Columns of the statistic, a dot, and of its interval, a line.
    null : str
        Column of the 95 % quantile of the null, a grey bar.
    label : str
        Of the axis of values.
    points : pandas.DataFrame, optional
        The same columns with several rows a model and effect, such as one an instrument: small dots.
    limits : tuple of float, optional
        Of that axis; what lies below is drawn at its end.
    """
    places = {network: place for place, (network, _) in enumerate(networks(table))}
    effects = present(table, "effect")
    figure, axes = wrapped(len(effects), height=0.25 * len(places) + 0.4, spare=0.95)
    bottom = limits[0] if limits else -float("inf")
    for ax, name in zip(axes.flat, effects, strict=False):
        for row in table[table["effect"] == name].to_dict("records"):
            place = places[row["model"], bool(row["pretrained"])]
            colour = names.colour(row["model"])
            at, start, end, chance = (max(row[column], bottom) for column in (value, low, high, null))
            ax.barh(place, chance, height=0.76, color=_CHANCE, zorder=1)
            ax.plot(
                [start, end], [place, place], color=colour, linewidth=1.8, zorder=2, solid_capstyle="butt"
            )
            face = colour if row["pretrained"] else "white"
            ax.plot(at, place, "o", color=colour, markerfacecolor=face, markersize=5, zorder=4, clip_on=False)
        if points is not None:
            part = points[points["effect"] == name]
            rows = [
                places[model, bool(own)] + 0.27
                for model, own in zip(part["model"], part["pretrained"], strict=True)
            ]
            ax.plot(part[value].clip(lower=bottom), rows, ".", color="#555555", markersize=2.6, zorder=3)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_title(effect(name).title)
    for ax in lowest(axes, len(effects)):
        ax.set_xlabel(textwrap.fill(label, 20))
    if limits:
        axes[0, 0].set_xlim(*limits)
    model_axis(axes[:, 0], table)
    handles = [
        plt.Line2D([], [], marker="o", color="black", markersize=5, label="All clips, 95 % interval"),
        plt.Rectangle((0, 0), 1, 1, color=_CHANCE, label="Chance stays below in 95 %"),
    ]
    if points is not None:
        look = {"marker": ".", "color": "#555555", "linestyle": "", "markersize": 4}
        handles.insert(1, plt.Line2D([], [], label="One instrument", **look))
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def agreement(table: pd.DataFrame) -> plt.Figure:
    """Mean absolute cosines between directions of each model, beside that of random directions.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `aesens.tables.agreements`.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(table) + 1.3))
    ax.barh(
        range(len(table)), table["random"], height=0.8, color=_CHANCE, zorder=1, label="Two random directions"
    )
    for shift, (kind, (label, marker, colour)) in enumerate(_COSINES.items()):
        places = np.arange(len(table)) + 0.18 * (shift - 1.5)
        look = {"color": colour, "linestyle": "", "markersize": 4.5, "zorder": 2}
        ax.plot(table[kind], places, marker=marker, label=label, **look)
    model_axis([ax], table)
    ax.set(xlim=(0, None), xlabel="Mean |cosine|")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def auc_curves(
    table: pd.DataFrame, projections: list[str] | None = None, *, metric: str = "roc_auc"
) -> plt.Figure:
    """A score against the parameter, one line a projection, one panel a model and effect, all on one scale.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``projection``, ``parameter``, and the metric's; rows with
        ``clean_auc`` (``clean_balanced_accuracy``) hold the value of clean clips on both sides.
    projections : list of str, optional
        Those drawn, in this order; by default the study's and all that were added, see
        `aesens.plots.titles.drawn_projections`.
    metric : {"roc_auc", "balanced_accuracy"}
    """
    clean_score = f"clean_{metric.removeprefix('roc_')}"
    projections = names.drawn_projections(table["projection"]) if projections is None else projections
    figure, panels = grid(
        table, None, names.METRICS[metric].replace(" ", "\n"), height=2.0, sharey=True, controls=0.55
    )
    clean = {"color": "#666666", "linewidth": 0.9, "linestyle": "--"}
    chance = {"color": "black", "linewidth": 0.8, "linestyle": ":"}
    for ax, part, kind in panels:
        for name in projections:
            line, look = part[part["projection"] == name], projection_line(name)
            ax.plot(line["parameter"] * kind.display, line[metric], color=names.colour(name), **look)
        ax.axhline(part[clean_score].iloc[0], zorder=1.5, label="Clean test clips, no projection", **clean)
        ax.axhline(0.5, zorder=1.5, label="Chance", **chance)
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    shown = table.loc[table["projection"].isin(projections), [metric, clean_score]]
    low, high = min(shown.min(axis=None), 0.5), max(shown.max(axis=None), 0.5)
    panels[0][0].set_ylim(low - 0.02, min(high + 0.02, 1.005))
    panels[0][0].yaxis.set_major_locator(ticker.MultipleLocator(0.1))
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=legend_columns(labels, 4))
    return figure


def projection_line(name: str) -> dict:
    """How a projection's curve is drawn, so that those that lie on one another all show."""
    if name == "none":
        # Broad and below: a curve that changes nothing runs in it as its core.
        return {"linewidth": 2.8, "zorder": 2, "label": "No projection", "solid_capstyle": "butt"}
    shipped = name in registry.PROJECTIONS and name not in registry.added()
    style = "-" if shipped else (0, (4, 1))
    if name in registry.controls():
        style = (0, (1, 1.2))
    elif name == "npca":
        style = (0, (3, 2))
    # Dashes last, above the lines that they may coincide with.
    order = 3 if style == "-" else 4
    return {
        "linewidth": 1.2,
        "linestyle": style,
        "zorder": order,
        "label": names.legend_label(names.projection_title(name)),
    }
