"""Tables as pictures: heat maps with their numbers, and the claims at one look."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from aesens.effects import effect
from aesens.plots import titles as names
from aesens.plots.style import DIVERGING, MUTED, SEQUENTIAL, WIDTH, mute, number, present, wrapped
from aesens.tables.claims import definitions

__all__ = ["claims_map", "condition_title", "effect_column", "heatmap", "model_effect_row", "model_row"]


def model_row(key: tuple) -> str:
    """Row title from (model, pretrained).

    Examples
    --------
    >>> model_row(("panns", False))
    'PANNs (untrained)'
    """
    return names.model_title(key[0], bool(key[1]))


def model_effect_row(key: tuple) -> str:
    """Row title from (model, pretrained, effect).

    Examples
    --------
    >>> model_effect_row(("yamnet", True, "lowpass"))
    'YAMNet: Low-pass filtering'
    """
    return f"{model_row(key)}: {effect(key[2]).title}"


def effect_column(name: str) -> str:
    """Column title of an effect.

    Examples
    --------
    >>> effect_column("reverb")
    'Reverberation'
    """
    return effect(name).title


def condition_title(condition: str) -> str:
    """Column title of a training and test condition, e.g. ``"clean-effected"``.

    Examples
    --------
    >>> condition_title("clean-effected").split("\\n")
    ['clean', '↓', 'effected']
    """
    trained, tested = condition.split("-")
    return f"{trained}\n↓\n{tested}"


def heatmap(
    table: pd.DataFrame,
    value: str,
    *,
    rows: list[str],
    column: str,
    label: str,
    cmap: str | None = None,
    limits: tuple[float, float] | None = None,
    centre: float | None = None,
    log: bool = False,
    form: str = "{:.2f}",
    mark: str | None = None,
    column_title=str,
    row_title=None,
    height: float = 0.26,
    width: float = WIDTH,
) -> plt.Figure:
    """Numbers in coloured cells.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a cell.
    value : str
        Column of the number.
    rows : list of str
        Columns that name a row; a line is drawn where the first changes.
    column : str
        Column that names a column.
    label : str
        Of the colour bar.
    cmap, limits, centre
        Colours: by default dark is high, or, with `centre`, blue is above it and red below; with `centre` the limits
        are symmetric about it.
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

    Returns
    -------
    matplotlib.figure.Figure

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

    Rows of two groups:

    >>> table = pd.DataFrame({"kind": list("aaabbb"), "row": list("xyzxyz"), "column": "c", "value": range(6)})
    >>> about = {"rows": ["kind", "row"], "column": "column", "label": "Value"}
    >>> figure = heatmap(table, "value", row_title=lambda key: f"{key[0]}: {key[1]}", **about)
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['x', 'y', 'z', 'x', 'y', 'z']
    >>> plt.close(figure)
    """
    order = list(dict.fromkeys(table[rows].itertuples(index=False, name=None)))
    columns = present(table, column)
    values = np.full((len(order), len(columns)), np.nan)
    marks = np.zeros(values.shape, bool)
    for key, col, cell, marked in zip(
        table[rows].itertuples(index=False, name=None),
        table[column],
        table[value],
        table[mark] if mark else [False] * len(table),
        strict=True,
    ):
        place = order.index(key), columns.index(col)
        values[place], marks[place] = cell, bool(marked)
    cmap = cmap or (SEQUENTIAL if centre is None else DIVERGING)
    norm = _norm(values, limits, centre, log)
    titles = [(row_title or (lambda key: " ".join(map(str, key))))(key) for key in order]
    groups, titles = _groups([key[0] for key in order], titles, height)
    texts = {
        at: number(values[at], form) + "*" * int(marks[at])
        for at in np.ndindex(values.shape)
        if np.isfinite(values[at])
    }
    # What the names of the rows leave of the width, in points; a character takes about 0.6 of its size.
    side = 4.5 * max(len(title) for title in titles) + (34 if groups else 8)
    cell_width = (72 * width - side - 50) / len(columns)
    size = np.clip(cell_width / (0.66 * max(map(len, texts.values()), default=1)), 5, 8)
    heads, turned = _heads([column_title(c) for c in columns], int(cell_width / 4.8))

    figure, ax = plt.subplots(figsize=(width, height * len(order) + (1.5 if turned else 1.0)))
    image = ax.imshow(values, aspect="auto", cmap=cmap, norm=norm)
    for (i, j), text in texts.items():
        shade = np.dot(image.cmap(image.norm(values[i, j]))[:3], (0.299, 0.587, 0.114))
        weight, ink = "bold" if marks[i, j] else "normal", "w" if shade < 0.5 else "k"
        ax.text(j, i, text, ha="center", va="center_baseline", fontsize=size, color=ink, weight=weight)
    ax.set_xticks(range(len(columns)), heads)
    ax.xaxis.tick_top()
    if turned:
        ax.tick_params(axis="x", rotation=35)
        plt.setp(ax.get_xticklabels(), ha="left", rotation_mode="anchor")
    ax.set_yticks(range(len(order)), titles)
    ax.tick_params(length=0)
    mute(ax, ["(untrained)" not in title for title in titles])
    breaks = [i for i in range(1, len(order)) if order[i][0] != order[i - 1][0]]
    # Lines between groups, not between all rows.
    for i in breaks if len(breaks) < len(order) - 1 else ():
        ax.axhline(i - 0.5, color="white", linewidth=3)
        ax.axhline(i - 0.5, color="black", linewidth=0.8)
    widest = ax.get_yticklabels()[int(np.argmax(list(map(len, titles))))]
    for title, first, last in groups:
        _name_group(ax, title, (first + last) / 2, widest)
    for spine in ax.spines.values():
        spine.set_visible(False)
    # Turned titles reach beyond the last cell: a bar at the side would stand far off.
    if turned:
        place = {"location": "bottom", "pad": 0.02, "aspect": 50, "shrink": 0.8}
    else:
        place = {"pad": 0.01, "aspect": 8 + len(order)}
    beyond = "min" if np.nanmin(values) < norm.vmin else "neither"
    bar = figure.colorbar(image, ax=ax, label=label, extend=beyond, **place)
    bar.outline.set_visible(False)
    if log:
        bar.locator = LogLocator(subs=(1, 2, 5))
        bar.formatter, bar.minorformatter = FuncFormatter(lambda tick, _: f"{tick:g}"), NullFormatter()
        bar.minorticks_off()
        bar.update_ticks()
    return figure


def _norm(values: np.ndarray, limits: tuple | None, centre: float | None, log: bool) -> Normalize:
    """Scale of the colours of a heat map."""
    if log and centre is not None:
        raise ValueError("log=True has no centre: give one of the two")
    found = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
    if limits is None:
        limits = (float(found.min()), float(found.max())) if found.size else (1, 10)
    if centre is not None:
        reach = max(abs(limits[0] - centre), abs(limits[1] - centre), 1e-9)
        limits = (centre - reach, centre + reach)
    if log:
        # Two decades: what lies far below the largest number is all small.
        return LogNorm(max(limits[0], limits[1] / 100), limits[1], clip=True)
    return Normalize(*limits)


def _heads(titles: list[str], room: int) -> tuple[list[str], bool]:
    """Titles of columns, broken into lines of `room` characters where that is enough; else they are to be turned."""
    wrapped = [
        "\n".join(textwrap.fill(line, max(room, 1), break_long_words=False) for line in title.split("\n"))
        for title in titles
    ]
    lines = [title.split("\n") for title in wrapped]
    fits = max(len(line) for parts in lines for line in parts) <= room and max(map(len, lines)) <= 3
    return (wrapped, False) if fits else (titles, True)


def _groups(keys: list, titles: list[str], height: float) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Groups of rows as (title, first, last), and what is left of the rows' titles; none without room for theirs."""
    parts = [title.split(": ", 1) for title in titles]
    if not all(len(part) == 2 for part in parts):
        return [], titles
    found: list[list] = []
    for place, (group, _) in enumerate(parts):
        if found and found[-1][0] == group and keys[place] == keys[place - 1]:
            found[-1][2] = place
        else:
            found.append([group, place, place])
    lines = [max(map(len, group.replace(" (", "\n(").split("\n"))) for group, _, _ in found]
    room = [72 * height * (last - first + 1) for _, first, last in found]
    if any(5 * line > space for line, space in zip(lines, room, strict=True)):
        return [], titles
    return [tuple(group) for group in found], [row for _, row in parts]


def _name_group(ax: plt.Axes, title: str, y: float, beside: plt.Text) -> None:
    """Write the name of a group of rows along them, left of the widest of their titles."""
    control = "untrained" in title.lower()
    ax.annotate(
        title.replace(" (", "\n("),
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


_VERDICTS = {
    "supported": ("#0072B2", "supported"),
    "not supported": ("#D55E00", "not supported"),
    "inconclusive": ("#F0D58A", "inconclusive"),
    "control": ("#F1F1F1", "untrained control, no verdict"),
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


def _short(value: float, form: str = "{:.2f}") -> str:
    """A number that fits a small cell.

    >>> _short(0.004), _short(-12.4), _short(250.0), _short(float("nan"))
    ('0.00', '−12', '>99', '–')
    """
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return ">99" if value > 0 else "<−99"
    return number(value, "{:.0f}" if abs(value) >= 10 else form)


def _condition(claim: str, threshold: float | None) -> str:
    """When a claim is supported, e.g. ``"mean ρ > 0.5"``; empty for a claim that is not defined."""
    known = definitions().set_index("claim")["supported if"]
    if claim not in known or threshold is None:
        return ""
    name, factor, unit, _ = _STATISTICS.get(claim, ("x", 1, "", ""))
    within, sign = known[claim].startswith("|"), ">" if ">" in known[claim] else "<"
    return f"{f'|{name}|' if within else name} {sign} {factor * threshold:g} {unit}".rstrip()


def claims_map(table: pd.DataFrame) -> plt.Figure:
    """Verdict of each claim for each model and effect, one panel a claim.

    A panel's title says when the claim is supported, in the unit of its numbers.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``claim``, ``title``, ``model``, ``pretrained``, ``effect``, ``statistic``, ``verdict`` and, if there
        are such, ``threshold`` and ``gate``: a cell whose gate is not empty has a dagger.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain", "claim": "C1", "threshold": 0.5}
    >>> row |= {"title": "sensitive", "statistic": 0.9, "verdict": "supported"}
    >>> figure = claims_map(pd.DataFrame([row]))
    >>> figure.axes[0].get_title("left").split("\\n")[0]
    'C1 sensitive'
    >>> plt.close(figure)
    """
    keys, models, effects = (present(table, name) for name in ("claim", "model", "effect"))
    figure, axes = wrapped(len(keys), height=0.21 * len(models) + 0.5, spare=1.0)
    trained = [bool(table.loc[table["model"] == model, "pretrained"].iloc[0]) for model in models]
    for ax, claim in zip(axes.flat, keys, strict=False):
        part = table[table["claim"] == claim]
        for x, y in np.ndindex(len(effects), len(models)):
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, **_BLANK))
        _, factor, _, form = _STATISTICS.get(claim, ("x", 1, "", "{:.2f}"))
        for row in part.itertuples():
            x, y = effects.index(row.effect), models.index(row.model)
            cell = plt.Rectangle(
                (x - 0.48, y - 0.45), 0.96, 0.9, color=_VERDICTS[row.verdict][0], linewidth=0
            )
            ax.add_patch(cell)
            ink = "white" if "supported" in row.verdict else MUTED if row.verdict == "control" else "black"
            weight = "normal" if row.verdict == "control" else "bold"
            gated = isinstance(gate := getattr(row, "gate", ""), str) and gate != ""
            text = _short(factor * row.statistic, form) + "†" * gated
            ax.text(x, y, text, ha="center", va="center_baseline", fontsize=8, color=ink, weight=weight)
        threshold = part["threshold"].iloc[0] if "threshold" in part else None
        title = f"{claim} {part['title'].iloc[0]}\n{_condition(claim, threshold)}".rstrip()
        ax.set(xlim=(-0.5, len(effects) - 0.5), ylim=(len(models) - 0.5, -0.5))
        ax.set_title(title, loc="left", fontsize=8.5, linespacing=1.15)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    for ax in axes.flat[max(len(keys) - axes.shape[1], 0) : len(keys)]:
        ax.set_xticks(range(len(effects)), [effect(name).title for name in effects])
        ax.tick_params(axis="x", labelbottom=True, rotation=30)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    axes[0, 0].set_yticks(
        range(len(models)), [model_row((m, p)) for m, p in zip(models, trained, strict=True)]
    )
    for ax in axes[:, 0]:
        mute(ax, trained)
    shown = [verdict for verdict in _VERDICTS if verdict in set(table["verdict"])]
    patches = [plt.Rectangle((0, 0), 1, 1, color=_VERDICTS[verdict][0]) for verdict in shown]
    labels = [_VERDICTS[verdict][1] for verdict in shown]
    if len(table) < len(keys) * len(models) * len(effects):
        patches.append(plt.Rectangle((0, 0), 1, 1, **_BLANK))
        labels.append("blank: not part of the claim")
    if "gate" in table and table["gate"].fillna("").ne("").any():
        patches.append(plt.Line2D([], [], linestyle="", marker="$†$", color="black", markersize=6))
        labels.append("held back: too little to judge")
    figure.legend(patches, labels, loc="outside upper left", ncols=3, columnspacing=1.0, fontsize=8)
    return figure
