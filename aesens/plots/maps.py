"""Tables as pictures: heat maps with their numbers."""

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
from aesens.plots.style import DIVERGING, MUTED, SEQUENTIAL, WIDTH, mute, number

__all__ = ["condition_title", "effect_column", "heatmap", "model_effect_row", "model_row"]


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
    titles = [names.folded(title, 32) if height >= 0.25 else title for title in titles]
    # What the names of the rows leave of the width, in points; a character takes about 0.6 of its size.
    deep = max((name.count("\n") for name, _ in groups), default=0)
    longest = max(len(line) for title in titles for line in title.split("\n"))
    side = 4.5 * longest + (14 + 10 * (1 + deep) if groups else 8)
    cell_width = (72 * width - side - 50) / len(columns)
    size = np.clip(cell_width / (0.66 * max(map(len, texts[shown]), default=1)), 5, 8)
    heads, turned = _heads([column_title(name) for name in columns], int(cell_width / 4.8))

    # A turned title needs room above.
    above = max(0.5, 0.042 * max(map(len, heads))) if turned else 0.4
    figure, ax = plt.subplots(figsize=(width, height * len(keys) + above + 0.75))
    norm = _norm(values[shown], limits, centre, log)
    bar = {"label": label, "extend": "min" if (values[shown] < norm.vmin).any() else "neither"}
    # Below: its label would be longer than a few rows are high, and turned titles reach beyond the last cell.
    bar |= {"location": "bottom", "pad": 0.02, "aspect": 50, "shrink": 0.8}
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
    mute(ax, ["(un" not in title for title in titles])
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
    # A character along the rows takes about 5 points.
    rooms = [int(72 * height * len(rows) / 5) for rows in found]
    if min(rooms) < 11 or not all(rest for _, _, rest in parts):
        return [], titles
    lines = [parts[rows[0]][0].replace(" (", "\n(").split("\n") for rows in found]
    shown = [
        "\n".join(names.folded(line, room) for line in of) for of, room in zip(lines, rooms, strict=True)
    ]
    middles = [np.mean(rows) + 0.5 for rows in found]
    return list(zip(shown, middles, strict=True)), [rest for _, _, rest in parts]


def _name_group(ax: plt.Axes, title: str, y: float, beside: plt.Text) -> None:
    """Write the name of a group of rows along them, left of the widest of their titles."""
    control = "untrained" in title.lower() or "undeclared" in title
    ax.annotate(
        title,
        (0, y),
        xytext=(-14 - 5 * title.count("\n"), 0),
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
