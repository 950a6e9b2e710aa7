"""Tables as pictures: heat maps with their numbers, and the claims at one look."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, LogLocator

from aesens.effects import effect
from aesens.plots import titles as names
from aesens.plots.style import DIVERGING, MUTED, SEQUENTIAL, WIDTH, model_axis, mute, number, present, wrapped

__all__ = ["claims_map", "condition_title", "effect_column", "heatmap", "model_effect_row", "model_row"]


def model_row(key: tuple) -> str:
    """Row title from (model, pretrained), e.g. ``"PANNs (untrained)"``."""
    return names.model_title(key[0], bool(key[1]))


def model_effect_row(key: tuple) -> str:
    """Row title from (model, pretrained, effect), e.g. ``"YAMNet: Low-pass filtering"``."""
    return f"{model_row(key)}: {effect(key[2]).title}"


def effect_column(name: str) -> str:
    """Column title of an effect."""
    return effect(name).title


def condition_title(condition: str) -> str:
    """Column title of a training and test condition, ``"clean-effected"`` in three lines."""
    trained, tested = condition.split("-")
    return f"{trained}\n↓\n{tested}"


def heatmap(
    table: pd.DataFrame,
    value: str,
    *,
    rows: list[str],
    column: str,
    label: str,
    limits: tuple[float, float] | None = None,
    centre: float | None = None,
    log: bool = False,
    form: str = "{:.2f}",
    mark: str | None = None,
    column_title: Callable[[str], str] = str,
    row_title: Callable[[tuple], str] | None = None,
    height: float = 0.26,
    width: float = WIDTH,
) -> plt.Figure:
    """Numbers in coloured cells.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a cell; rows and columns in the order of their first appearance.
    value : str
        Column of the number.
    rows : list of str
        Columns that name a row; a line is drawn where the first changes.
    column : str
        Column that names a column.
    label : str
        Of the colour bar.
    limits : tuple of float, optional
        Numbers of the lightest and of the darkest colour; by default the least and the largest.
    centre : float, optional
        Blue above it and red below, as far on either side.
    log : bool
        Whether colours follow the logarithm, so that one large number does not bleach the others; not with `centre`.
    form : str
        Format of the number.
    mark : str, optional
        Column of booleans: those cells are bold with an asterisk.
    column_title, row_title : callable, optional
        Names for people; `row_title` takes the tuple of a row's values. Where titles have the form ``"group: row"``,
        the group stands once beside its rows.
    height, width : float
        Of a row and of the figure, in inches.

    Raises
    ------
    ValueError
        If both `log` and `centre` are given.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["yamnet"], "effect": ["gain"], "value": [0.5]})
    >>> figure = heatmap(table, "value", rows=["model"], column="effect", label="Value")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.50']
    >>> plt.close(figure)
    """
    if log and centre is not None:
        raise ValueError("log=True has no centre: give one of the two")
    row, keys = pd.MultiIndex.from_frame(table[rows]).factorize()
    place, columns = pd.factorize(table[column])
    values, texts = np.full((len(keys), len(columns)), np.nan), np.full((len(keys), len(columns)), "", object)
    values[row, place] = table[value].where(np.isfinite(table[value]))
    texts[row, place] = [number(x, form) for x in table[value]]
    if mark:
        texts[row, place] += np.where(table[mark].astype(bool), "*", "").astype(object)
    shown = np.isfinite(values)
    titles = [(row_title or (lambda key: " ".join(map(str, key))))(key) for key in keys]
    groups, titles = _groups([key[0] for key in keys], titles, height)
    # What the names of the rows leave of the width, in points; a character takes about 0.6 of its size.
    side = 4.5 * max(len(title) for title in titles) + (34 if groups else 8)
    cell_width = (72 * width - side - 50) / len(columns)
    size = np.clip(cell_width / (0.66 * max(map(len, texts[shown]), default=1)), 5, 8)
    heads, turned = _heads([column_title(name) for name in columns], int(cell_width / 4.8))

    figure, ax = plt.subplots(figsize=(width, height * len(keys) + (1.5 if turned else 1.0)))
    norm = _norm(values[shown], limits, centre, log)
    bar = {"label": label, "extend": "min" if (values[shown] < norm.vmin).any() else "neither"}
    # Turned titles reach beyond the last cell: a bar at the side would stand far off.
    if turned:
        bar |= {"location": "bottom", "pad": 0.02, "aspect": 50, "shrink": 0.8}
    else:
        bar |= {"pad": 0.01, "aspect": 8 + len(keys)}
    if log:
        bar |= {"ticks": LogLocator(subs=(1, 2, 5)), "format": FuncFormatter(lambda tick, _: f"{tick:g}")}
    sns.heatmap(
        values,
        ax=ax,
        cmap=SEQUENTIAL if centre is None else DIVERGING,
        norm=norm,
        annot=texts,
        fmt="",
        annot_kws={"size": size, "va": "center_baseline"},
        cbar_kws=bar,
        xticklabels=False,
        yticklabels=False,
        # In a pdf too: viewers draw seams between cells of vectors.
        rasterized=True,
    )
    (cells,) = ax.collections
    cells.colorbar.minorticks_off()
    for text, colour in zip(ax.texts, cells.get_facecolors()[shown.ravel()], strict=True):
        # Black on middling colours, where seaborn has white: small numbers need the contrast.
        text.set_color("w" if np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5 else "k")
        text.set_fontweight("bold" if text.get_text().endswith("*") else "normal")
    ax.set_xticks(np.arange(len(columns)) + 0.5, heads)
    ax.xaxis.tick_top()
    if turned:
        plt.setp(ax.get_xticklabels(), rotation=35, ha="left", rotation_mode="anchor")
    ax.set_yticks(np.arange(len(keys)) + 0.5, titles)
    ax.tick_params(length=0)
    mute(ax, ["(untrained)" not in title for title in titles])
    breaks = [i for i in range(1, len(keys)) if keys[i][0] != keys[i - 1][0]]
    # Lines between groups, not between all rows.
    for i in breaks if len(breaks) < len(keys) - 1 else ():
        ax.axhline(i, color="white", linewidth=3)
        ax.axhline(i, color="black", linewidth=0.8)
    widest = ax.get_yticklabels()[int(np.argmax(list(map(len, titles))))]
    for title, middle in groups:
        _name_group(ax, title, middle, widest)
    return figure


def _norm(values: np.ndarray, limits: tuple | None, centre: float | None, log: bool) -> Normalize:
    """Scale of the colours of a heat map of finite values."""
    if centre is not None:
        reach = np.abs(values - centre).max(initial=0)
        # Where nothing changes, a scale of ones: numbers like 1e-9 beside its bar would look like something.
        reach = reach if reach > 1e-3 else 1.0
        return Normalize(centre - reach, centre + reach)
    found = values[values > 0] if log else values
    low, high = limits or ((found.min(), found.max()) if found.size else (1, 10))
    # Two decades: what lies far below the largest number is all small.
    return LogNorm(max(low, high / 100), high, clip=True) if log else Normalize(low, high)


def _heads(titles: list[str], room: int) -> tuple[list[str], bool]:
    """Titles of columns, broken into lines of `room` characters where that is enough; else they are to be turned."""
    wrapped = [
        "\n".join(textwrap.fill(line, max(room, 1), break_long_words=False) for line in title.split("\n"))
        for title in titles
    ]
    lines = [title.split("\n") for title in wrapped]
    fits = max(len(line) for parts in lines for line in parts) <= room and max(map(len, lines)) <= 3
    return (wrapped, False) if fits else (titles, True)


def _groups(keys: list, titles: list[str], height: float) -> tuple[list[tuple[str, float]], list[str]]:
    """Groups of rows as (title, middle), and what is left of the rows' titles; none without room for theirs."""
    parts = [title.partition(": ") for title in titles]
    found = [list(rows) for _, rows in groupby(range(len(keys)), lambda row: (keys[row], parts[row][0]))]
    names = [parts[rows[0]][0].replace(" (", "\n(") for rows in found]
    # A character along the rows takes about 5 points.
    fit = [
        5 * max(map(len, name.split("\n"))) <= 72 * height * len(rows)
        for name, rows in zip(names, found, strict=True)
    ]
    if not all(fit) or not all(rest for _, _, rest in parts):
        return [], titles
    middles = [np.mean(rows) + 0.5 for rows in found]
    return list(zip(names, middles, strict=True)), [rest for _, _, rest in parts]


def _name_group(ax: plt.Axes, title: str, y: float, beside: plt.Text) -> None:
    """Write the name of a group of rows along them, left of the widest of their titles."""
    control = "untrained" in title.lower()
    ax.annotate(
        title,
        (0, y),
        xytext=(-20, 0),
        xycoords=(beside, "data"),
        textcoords="offset points",
        rotation=90,
        ha="center",
        va="center",
        fontsize=8.5,
        color=MUTED if control else "black",
        fontweight="normal" if control else "bold",
        annotation_clip=False,
    )


# Colour of a verdict's cell, and of the number in it.
_VERDICTS = {
    "supported": ("#0072B2", "white"),
    "not supported": ("#D55E00", "white"),
    "inconclusive": ("#F0D58A", "black"),
    "control": ("#F1F1F1", MUTED),
}

_BLANK = {"facecolor": "white", "edgecolor": "#DDDDDD", "linewidth": 0.6}

# What the statistic of a claim is called where it is drawn, its factor and unit there, and its format.
_STATISTICS = {
    "C1": ("mean $\\rho$", 1, "", "{:.2f}"),
    "C2": ("longest step", 1, "× smooth growth", "{:.1f}"),
    "C3": ("held-out $R^2$", 1, "", "{:.2f}"),
    "C4": ("energy in 5 dimensions", 1, "", "{:.2f}"),
    "C5": ("$\\Delta$ROC-AUC", 100, "(hundredths)", "{:.1f}"),
    "C6": ("$\\Delta$ROC-AUC", 100, "(hundredths)", "{:.1f}"),
}


def _short(value: float, form: str) -> str:
    """A number that fits a small cell."""
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return ">99" if value > 0 else "<−99"
    return number(value, "{:.0f}" if abs(value) >= 10 else form)


def _condition(claim: str, threshold: float) -> str:
    """When a claim is supported, e.g. ``"mean ρ > 0.5"``."""
    # Imported here, since the claims in turn take the titles of models from this folder.
    from aesens.tables.claims import definitions

    name, factor, unit, _ = _STATISTICS[claim]
    relation = definitions().set_index("claim").loc[claim, "supported if"].rpartition(" ")[0]
    name = relation.replace("x", name) if "x" in relation else f"{name} {relation}"
    return f"{name} {factor * threshold:g} {unit}".rstrip()


def claims_map(table: pd.DataFrame) -> plt.Figure:
    """Verdict of each claim for each model and effect, one panel a claim.

    A panel's title says when the claim is supported, in the unit of its numbers; a number with a dagger was held back
    by a gate.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `aesens.tables.claims.verdicts`.
    """
    keys, models, effects = (present(table, name) for name in ("claim", "model", "effect"))
    table = table.assign(gate=table["gate"].fillna(""))
    figure, axes = wrapped(len(keys), height=0.21 * len(models) + 0.5, spare=1.0)
    for ax, claim in zip(axes.flat, keys, strict=False):
        part = table[table["claim"] == claim]
        for x, y in np.ndindex(len(effects), len(models)):
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, **_BLANK))
        _, factor, _, form = _STATISTICS[claim]
        for row in part.itertuples():
            x, y = effects.index(row.effect), models.index(row.model)
            colour, ink = _VERDICTS[row.verdict]
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=colour, linewidth=0))
            text = _short(factor * row.statistic, form) + "†" * (row.gate != "")
            look = {"color": ink, "weight": "normal" if row.verdict == "control" else "bold", "fontsize": 8}
            ax.text(x, y, text, ha="center", va="center_baseline", **look)
        title = f"{claim} {part['title'].iloc[0]}\n{_condition(claim, part['threshold'].iloc[0])}"
        ax.set_title(title, loc="left", fontsize=8.5, linespacing=1.15)
        ax.set(xlim=(-0.5, len(effects) - 0.5))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    for ax in axes.flat[max(len(keys) - axes.shape[1], 0) : len(keys)]:
        ax.set_xticks(range(len(effects)), map(effect_column, effects))
        ax.tick_params(axis="x", labelbottom=True, rotation=30)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
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
    if (table["gate"] != "").any():
        look = {"linestyle": "", "marker": "$†$", "color": "black", "markersize": 6}
        entries["held back: too little to judge"] = plt.Line2D([], [], **look)
    where = {"loc": "outside upper left", "ncols": 3, "columnspacing": 1.0, "fontsize": 8}
    figure.legend(entries.values(), entries.keys(), **where)
    return figure
