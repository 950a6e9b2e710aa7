"""Curves over strength, spectra, and statistics beside what chance makes of them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullFormatter, NullLocator

from aesens.analysis import projections
from aesens.effects import effect
from aesens.plots import titles as names
from aesens.plots.style import UNTRAINED, WIDTH, grid, legend_entries, mute, parameter_axis, present, wrapped

__all__ = ["against_null", "agreement", "auc_curves", "protocol_curves", "sensitivity_curves", "spectra"]

_MEASURES = {
    "cosine": "Cosine distance",
    "l2": "L2 distance\n(clean clips = 1)",
    "frechet": "Fréchet distance\n(clean halves = 1)",
}

# Measures whose unit is worth a line: two clean clips, two halves of the clean set.
_UNITS = ("l2", "frechet")

_COSINES = {
    "between_instruments": ("Two instruments, same effect", "o", "#0072B2"),
    "between_effects": ("Two effects, same instrument", "s", "#009E73"),
    "with_own_classifier": ("Instrument and its own classifier", "D", "#D55E00"),
    "with_other_classifiers": ("Instrument and another's classifier", "v", "#E69F00"),
}


def sensitivity_curves(table: pd.DataFrame) -> plt.Figure:
    """Distance from the clean clips against the parameter, one row a measure and one column an effect.

    The scale of a measure with a unit is linear up to 1 and logarithmic above, so that what moves a model by hundreds
    of units does not flatten the others.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``parameter``, ``measure``, ``value``, ``low``, ``high``.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> row |= {"measure": "cosine", "parameter": [-40.0, 5.0], "value": [0.5, 0.1], "low": 0.0, "high": 0.6}
    >>> figure = sensitivity_curves(pd.DataFrame(row))
    >>> figure.axes[0].get_ylabel()
    'Cosine distance'
    >>> plt.close(figure)
    """
    measures, effects, models = (present(table, name) for name in ("measure", "effect", "model"))
    figure, axes = plt.subplots(
        len(measures),
        len(effects),
        figsize=(WIDTH, 1.7 * len(measures) + 0.95),
        sharex="col",
        sharey="row",
        squeeze=False,
    )
    for (row, column), ax in np.ndenumerate(axes):
        kind, measure = effect(effects[column]), measures[row]
        panel = table[(table["effect"] == kind.name) & (table["measure"] == measure)]
        for model in present(panel, "model"):
            line = panel[panel["model"] == model]
            pretrained, x = bool(line["pretrained"].iloc[0]), line["parameter"] * kind.display
            look = {"color": names.colour(model), "zorder": 3 if pretrained else 2}
            ax.fill_between(
                x, line["low"], line["high"], alpha=0.18 if pretrained else 0.1, linewidth=0, **look
            )
            ax.plot(
                x,
                line["value"],
                linestyle="-" if pretrained else UNTRAINED,
                linewidth=1.6 if pretrained else 1.0,
                marker="o",
                # Of many strengths each is a point of a curve, not a mark of its own.
                markersize=2.4 if len(line) < 12 else 1.4,
                label=names.model_title(model, pretrained),
                **look,
            )
        if kind.identity_inside:
            ax.axvline(kind.identity, color="black", linewidth=0.6, linestyle=":")
    for ax, measure in zip(axes[:, 0], measures, strict=True):
        ax.set_ylabel(_MEASURES.get(measure, measure))
        part = table[table["measure"] == measure]
        _distance_axis(ax, measure, float(part[["value", "high"]].max(axis=None)))
    for measure, row in zip(measures, axes, strict=True):
        for ax in row if measure in _UNITS else ():
            ax.axhline(1, color="#888888", linewidth=0.7, linestyle="--", zorder=1)
    for ax, name in zip(axes[-1], effects, strict=True):
        parameter_axis(ax, effect(name), table.loc[table["effect"] == name, "parameter"].to_numpy())
    for ax, name in zip(axes[0], effects, strict=True):
        ax.set_title(effect(name).title)
    figure.align_ylabels(axes[:, 0])
    figure.legend(*legend_entries(axes[0]), loc="outside upper center", ncols=min(len(models), 5))
    return figure


def protocol_curves(table: pd.DataFrame) -> plt.Figure:
    """Distance from the clean clips against the parameter under both protocols, a panel a model.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model`` (or ``"front end"``, OpenL3's), ``pretrained``, ``effect`` (one), ``protocol``, ``parameter``,
        ``value``, ``low``, ``high``.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain", "low": 0.1, "high": 0.6}
    >>> table = pd.DataFrame(row | {"protocol": ["study", "float"], "parameter": [-40.0, -40.0], "value": [0.5, 0.4]})
    >>> figure = protocol_curves(table)
    >>> figure.axes[0].get_title(), len(figure.axes[0].get_lines())
    ('YAMNet', 3)
    >>> plt.close(figure)
    """
    (name,), models = present(table, "effect"), list(dict.fromkeys(table["model"]))
    kind = effect(name)
    figure, axes = wrapped(len(models), height=1.75, spare=0.6, across=3, width=WIDTH, shared=False)
    for ax, model in zip(axes.flat, models, strict=False):
        panel = table[table["model"] == model]
        for protocol, (label, colour, style) in _PROTOCOLS.items():
            line = panel[panel["protocol"] == protocol]
            x = line["parameter"] * kind.display
            ax.fill_between(
                x,
                line["low"].fillna(line["value"]),
                line["high"].fillna(line["value"]),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
            ax.plot(x, line["value"], style, color=colour, marker="o", markersize=2.4, label=label)
        if kind.identity_inside:
            ax.axvline(kind.identity * kind.display, color="black", linewidth=0.6, linestyle=":")
        pretrained = bool(panel["pretrained"].iloc[0])
        ax.set_title("OpenL3's front end" if model == "front end" else names.model_title(model, pretrained))
        parameter_axis(ax, kind, panel["parameter"].to_numpy())
        # Each on its own scale, but none so fine that next to nothing looks like something.
        ax.set_ylim(0, 1.08 * max(1, panel[["value", "high"]].max(axis=None)))
    for ax in axes[:, 0]:
        ax.set_ylabel("L2 distance\n(clean clips = 1)")
    figure.legend(*legend_entries(axes.flat[:1]), loc="outside upper center", ncols=2)
    return figure


_PROTOCOLS = {
    "study": ("Through a 16-bit file, as in the study", "#D55E00", "-"),
    "float": ("In floating point", "#0072B2", "--"),
}


def _distance_axis(ax: plt.Axes, measure: str, top: float) -> None:
    """Scale of a measure: from 0, and logarithmic above its unit if it has one and goes well beyond."""
    if measure in _UNITS and top > 1.5:
        ax.set_yscale("symlog", linthresh=1, linscale=1)
        decades = 10.0 ** np.arange(1, np.ceil(np.log10(top)) + 1)
        # Two numbers between 1 and 10 where there is nothing above.
        ticks = [0, 0.5, 1, *([2, 5] if top < 15 else []), *decades]
        ax.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= 1.1 * top]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_ylim(0, 1.25 * top)
    else:
        ax.set_ylim(0, 1.05 * max(top, 1.05 if measure in _UNITS else 0))


def spectra(table: pd.DataFrame, instrument: str | None = None) -> plt.Figure:
    """Normalised singular values of one instrument's sample-wise directions beside those of its clean embeddings.

    The thresholds of the subspace method end at the curve that they are applied to, at the number of dimensions that
    is kept. The directions of the other instruments are thin lines.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect`` and those of `aesens.tables.spectra`.
    instrument : str, optional
        By default the table's first.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain", "instrument": "cel"}
    >>> row |= {"kind": "directions", "rank": [1, 2], "value": [1.0, 0.5]}
    >>> figure = spectra(pd.DataFrame(row))
    >>> figure.axes[0].get_xlabel()
    'Rank'
    >>> plt.close(figure)
    """
    instrument = table["instrument"].iloc[0] if instrument is None else instrument
    figure, panels = grid(table, sharex=False, sharey=True)
    looks = {
        "directions": ("Sample-wise CCA directions", "#D55E00", "-"),
        "clean": ("Clean embeddings, centred", "#0072B2", "--"),
        "random": ("As many random unit vectors", "#8A8A8A", ":"),
    }
    for ax, part, _ in panels:
        mine = part[part["instrument"] == instrument]
        for key, (label, colour, style) in looks.items():
            line = mine[mine["kind"] == key]
            ax.plot(line["rank"], line["value"], color=colour, linestyle=style, label=label)
        others = part[(part["kind"] == "directions") & (part["instrument"] != instrument)]
        for _, line in others.groupby("instrument"):
            look = {"color": "#F3C9A8", "linewidth": 0.6, "label": "Directions of the other instruments"}
            ax.plot(line["rank"], line["value"], zorder=1, **look)
        values = mine.loc[mine["kind"] == "directions", "value"].to_numpy()
        for threshold in (0.3, 0.4, 0.5):
            kept = (values >= threshold).sum()
            ax.plot([1, kept], [threshold] * 2, color="#555555", linewidth=0.7, zorder=3)
            ax.plot(kept, threshold, ".", color="#555555", markersize=4, zorder=3)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda rank, _: f"{rank:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(0, 1.03)
    effects = len(present(table, "effect"))
    for ax, _, _ in panels[-effects:]:
        ax.set_xlabel("Rank")
    for ax, _, _ in panels[::effects]:
        ax.set_ylabel("$s_i / s_1$")
    handles, labels = legend_entries([panels[0][0]])
    handles.append(plt.Line2D([], [], color="#555555", linewidth=0.7, marker=".", markersize=4))
    labels.append("Dimensions kept at t = 0.3, 0.4, 0.5")
    title = names.instrument_title(instrument)
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=3)
    return figure


def against_null(
    table: pd.DataFrame,
    value: str,
    *,
    null: str,
    label: str,
    low: str | None = None,
    high: str | None = None,
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

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> about = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> table = pd.DataFrame([about | {"r2": 0.6, "low": 0.5, "high": 0.7, "null": 0.1}])
    >>> figure = against_null(table, "r2", low="low", high="high", null="null", label="$R^2$")
    >>> figure.axes[0].get_title()
    'Gain'
    """
    models, effects = present(table, "model"), present(table, "effect")
    figure, axes = wrapped(len(effects), height=0.25 * len(models) + 0.4, spare=0.95)
    bottom = limits[0] if limits else -float("inf")
    trained = dict(zip(table["model"], table["pretrained"], strict=True))
    for ax, name in zip(axes.flat, effects, strict=False):
        for row in table[table["effect"] == name].to_dict("records"):
            place, colour = models.index(row["model"]), names.colour(row["model"])
            ax.barh(place, max(row[null], bottom), height=0.76, color="#DDDDDD", zorder=1)
            if low and high:
                ends = [max(row[end], bottom) for end in (low, high)]
                ax.plot(ends, [place, place], color=colour, linewidth=1.8, zorder=2, solid_capstyle="butt")
            face = colour if row["pretrained"] else "white"
            at = max(row[value], bottom)
            ax.plot(at, place, "o", color=colour, markerfacecolor=face, markersize=5, zorder=4, clip_on=False)
        if points is not None:
            part = points[points["effect"] == name]
            rows = [models.index(model) + 0.27 for model in part["model"]]
            ax.plot(part[value].clip(lower=bottom), rows, ".", color="#555555", markersize=2.6, zorder=3)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_title(effect(name).title)
    for ax in axes.flat[max(len(effects) - axes.shape[1], 0) : len(effects)]:
        ax.set_xlabel(label)
        ax.tick_params(labelbottom=True)
    if limits:
        axes[0, 0].set_xlim(*limits)
    axes[0, 0].set_yticks(range(len(models)), [names.model_title(m, bool(trained[m])) for m in models])
    axes[0, 0].set_ylim(len(models) - 0.5, -0.5)
    for ax in axes[:, 0]:
        mute(ax, [bool(trained[m]) for m in models])
    handles = [
        plt.Line2D([], [], marker="o", color="black", markersize=5, label="All clips, 95 % interval"),
        plt.Rectangle((0, 0), 1, 1, color="#DDDDDD", label="Chance stays below in 95 %"),
    ]
    if points is not None:
        dot = plt.Line2D([], [], marker=".", color="#555555", linestyle="", markersize=4)
        dot.set_label("One instrument")
        handles.insert(1, dot)
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def agreement(table: pd.DataFrame) -> plt.Figure:
    """Mean absolute cosines between directions of each model, beside that of random directions.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `aesens.tables.agreements`.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> kinds = dict.fromkeys(_COSINES, 0.2) | {"random": 0.05}
    >>> figure = agreement(pd.DataFrame([{"model": "yamnet", "pretrained": True, **kinds}]))
    >>> figure.axes[0].get_yticklabels()[0].get_text()
    'YAMNet'
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(table) + 1.3))
    for place, row in enumerate(table.to_dict("records")):
        ax.barh(place, row["random"], height=0.8, color="#DDDDDD", zorder=1)
        for shift, (kind, (_, marker, colour)) in enumerate(_COSINES.items()):
            ax.plot(row[kind], place + 0.18 * (shift - 1.5), marker, color=colour, markersize=4.5, zorder=2)
    titles = [names.model_title(m, bool(p)) for m, p in zip(table["model"], table["pretrained"], strict=True)]
    ax.set_yticks(range(len(table)), titles)
    mute(ax, list(table["pretrained"]))
    ax.set(xlim=(0, None), ylim=(len(table) - 0.5, -0.5), xlabel="Mean |cosine|")
    handles = [
        plt.Line2D([], [], marker=marker, color=colour, linestyle="", markersize=4, label=label)
        for label, marker, colour in _COSINES.values()
    ]
    handles.append(plt.Rectangle((0, 0), 1, 1, color="#DDDDDD", label="Two random directions"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def auc_curves(table: pd.DataFrame, projections: list[str] | None = None) -> plt.Figure:
    """ROC-AUC against the parameter, one line a projection, one panel a model and effect, all on one scale.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``projection``, ``parameter``, ``roc_auc``; rows with
        ``clean_auc`` hold the value of clean clips on both sides.
    projections : list of str, optional
        Those drawn, in this order; by default the study's and all that were added, see
        `aesens.plots.titles.drawn_projections`.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> row |= {"projection": "none", "parameter": [-40.0, 5.0], "roc_auc": [0.6, 0.9], "clean_auc": 0.9}
    >>> figure = auc_curves(pd.DataFrame(row))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['No projection', 'Clean test clips, no projection', 'Chance']
    >>> plt.close(figure)
    """
    projections = names.drawn_projections(table["projection"]) if projections is None else projections
    figure, panels = grid(table, height=2.0, sharey=True, controls=0.55)
    for ax, part, kind in panels:
        for name in projections:
            line = part[part["projection"] == name]
            ax.plot(
                line["parameter"] * kind.display, line["roc_auc"], color=names.colour(name), **_auc_line(name)
            )
        ax.axhline(part["clean_auc"].iloc[0], color="#666666", linewidth=0.9, linestyle="--", zorder=1.5)
        ax.axhline(0.5, color="black", linewidth=0.8, linestyle=":", zorder=1.5)
        parameter_axis(ax, kind, part["parameter"].to_numpy(), label=False)
    shown = table.loc[table["projection"].isin(projections), ["roc_auc", "clean_auc"]]
    low, high = min(shown.min(axis=None), 0.5), max(shown.max(axis=None), 0.5)
    panels[0][0].set_ylim(low - 0.02, min(high + 0.02, 1.005))
    panels[0][0].yaxis.set_major_locator(MultipleLocator(0.1))
    effects = len(present(table, "effect"))
    for ax, _, kind in panels[-effects:]:
        ax.set_xlabel(kind.label)
    for ax, _, _ in panels[::effects]:
        ax.set_ylabel("ROC-AUC")
    handles, labels = panels[0][0].get_legend_handles_labels()
    handles += [
        plt.Line2D([], [], color="#666666", linewidth=0.9, linestyle="--"),
        plt.Line2D([], [], color="black", linewidth=0.8, linestyle=":"),
    ]
    labels += ["Clean test clips, no projection", "Chance"]
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _auc_line(name: str) -> dict:
    """How a projection's curve is drawn, so that those that lie on one another all show."""
    if name == "none":
        # Broad and below: a curve that changes nothing runs in it as its core.
        return {"linewidth": 2.8, "zorder": 2, "label": "No projection", "solid_capstyle": "butt"}
    shipped = name in projections.PROJECTIONS and name not in projections.added()
    style = "-" if shipped else (0, (4, 1))
    if name in projections.controls():
        style = (0, (1, 1.2))
    elif name == "npca":
        style = (0, (3, 2))
    # Dashes last, above the lines that they may coincide with.
    return {
        "linewidth": 1.2,
        "linestyle": style,
        "zorder": 3 if style == "-" else 4,
        "label": names.projection_title(name),
    }
