"""Curves over strength, spectra, and statistics beside what chance makes of them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from aesens import names
from aesens.effects import effect
from aesens.plots.style import UNTRAINED, WIDTH, grid, parameter_axis, present

__all__ = ["against_null", "agreement", "auc_curves", "sensitivity_curves", "spectra"]

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
            if measure in _UNITS and ax.get_ylim()[1] > 1:
                ax.axhline(1, color="#888888", linewidth=0.7, linestyle="--", zorder=1)
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

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> row |= {"kind": "directions", "rank": [1, 2], "value": [1.0, 0.5]}
    >>> figure = spectra(pd.DataFrame(row))
    >>> figure.axes[0].get_xlabel()
    'Rank'
    >>> plt.close(figure)
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
    figure, axes = plt.subplots(
        1, len(effects), figsize=(WIDTH, 0.27 * len(models) + 1.25), sharex=True, sharey=True, squeeze=False
    )
    bottom = limits[0] if limits else -float("inf")
    trained = dict(zip(table["model"], table["pretrained"], strict=True))
    for ax, name in zip(axes[0], effects, strict=True):
        for row in table[table["effect"] == name].to_dict("records"):
            place, colour = models.index(row["model"]), names.colour(row["model"])
            ax.barh(place, max(row[null], bottom), height=0.72, color="#DDDDDD", zorder=1)
            if low and high:
                ends = [max(row[end], bottom) for end in (low, high)]
                ax.plot(ends, [place, place], color=colour, linewidth=1.4, zorder=2)
            face = colour if row["pretrained"] else "white"
            at = max(row[value], bottom)
            ax.plot(
                at, place, "o", color=colour, markerfacecolor=face, markersize=4.5, zorder=4, clip_on=False
            )
        if points is not None:
            part = points[points["effect"] == name]
            rows = [models.index(model) + 0.24 for model in part["model"]]
            ax.plot(part[value].clip(lower=bottom), rows, ".", color="#666666", markersize=2.6, zorder=3)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_title(effect(name).title)
    figure.supxlabel(label, fontsize=8)
    if limits:
        axes[0, 0].set_xlim(*limits)
    axes[0, 0].set_yticks(range(len(models)), [names.model_title(m, bool(trained[m])) for m in models])
    axes[0, 0].set_ylim(len(models) - 0.5, -0.5)
    handles = [
        plt.Line2D([], [], marker="o", color="black", markersize=4.5, label="All clips, 95 % interval"),
        plt.Rectangle((0, 0), 1, 1, color="#DDDDDD", label="Chance stays below this in 95 %"),
    ]
    if points is not None:
        dot = plt.Line2D([], [], marker=".", color="#666666", linestyle="", markersize=4)
        dot.set_label("One instrument")
        handles.insert(1, dot)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def agreement(table: pd.DataFrame) -> plt.Figure:
    """Mean absolute cosines between directions of each model, beside that of random directions.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `aesens.study.Study.agreement`.

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
    figure, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(table) + 1.25))
    for place, row in enumerate(table.to_dict("records")):
        ax.barh(place, row["random"], height=0.8, color="#DDDDDD", zorder=1)
        for shift, (kind, (_, marker, colour)) in enumerate(_COSINES.items()):
            ax.plot(row[kind], place + 0.18 * (shift - 1.5), marker, color=colour, markersize=4, zorder=2)
    titles = [names.model_title(m, bool(p)) for m, p in zip(table["model"], table["pretrained"], strict=True)]
    ax.set_yticks(range(len(table)), titles)
    ax.set(xlim=(0, None), ylim=(len(table) - 0.5, -0.5), xlabel="Mean |cosine|")
    handles = [
        plt.Line2D([], [], marker=marker, color=colour, linestyle="", markersize=4, label=label)
        for label, marker, colour in _COSINES.values()
    ]
    handles.append(plt.Rectangle((0, 0), 1, 1, color="#DDDDDD", label="Two random directions"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def auc_curves(table: pd.DataFrame, projections: list[str] | None = None) -> plt.Figure:
    """ROC-AUC against the parameter, one line a projection, one panel a model and effect.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``projection``, ``parameter``, ``roc_auc``; rows with
        ``clean_auc`` hold the value of clean clips on both sides.
    projections : list of str, optional
        Those drawn, in this order; by default the study's and all that were added (`aesens.names.drawn_projections`).

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain"}
    >>> row |= {"projection": "none", "parameter": [-40.0, 5.0], "roc_auc": [0.6, 0.9], "clean_auc": 0.9}
    >>> figure = auc_curves(pd.DataFrame(row))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['No projection']
    >>> plt.close(figure)
    """
    projections = names.drawn_projections(table["projection"]) if projections is None else projections
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
                linestyle=":"
                if name.startswith("random")
                else "-"
                if name in names.PROJECTIONS
                else (0, (4, 1)),
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
