"""Tables as pictures: heat maps with their numbers, and the claims at one look."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from aesens import names
from aesens.effects import effect
from aesens.plots.style import WIDTH, present

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
    'YAMNet: low-pass filtering'
    """
    return f"{model_row(key)}: {effect(key[2]).title.lower()}"


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
    ['clean →', 'effected']
    """
    trained, tested = condition.split("-")
    return f"{trained} →\n{tested}"


def heatmap(
    table: pd.DataFrame,
    value: str,
    *,
    rows: list[str],
    column: str,
    label: str,
    cmap: str = "viridis",
    limits: tuple[float, float] | None = None,
    centre: float | None = None,
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
        Colours; with `centre` the limits are symmetric about it.
    form : str
        Format of the number.
    mark : str, optional
        Column of booleans: those cells are bold with an asterisk.
    column_title, row_title : callable, optional
        Names for people; `row_title` takes the tuple of a row's values.
    height, width : float
        Of a row and of the figure, in inches.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["yamnet"], "effect": ["gain"], "value": [0.5]})
    >>> figure = heatmap(table, "value", rows=["model"], column="effect", label="Value")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.50']
    >>> plt.close(figure)
    """
    order = list(dict.fromkeys(table[rows].itertuples(index=False, name=None)))
    columns = present(table, column)
    values = np.full((len(order), len(columns)), np.nan)
    marks = np.zeros(values.shape, bool)
    for key, col, number, marked in zip(
        table[rows].itertuples(index=False, name=None),
        table[column],
        table[value],
        table[mark] if mark else [False] * len(table),
        strict=True,
    ):
        place = order.index(key), columns.index(col)
        values[place], marks[place] = number, bool(marked)
    if limits is None:
        limits = (float(np.nanmin(values)), float(np.nanmax(values)))
    if centre is not None:
        reach = max(abs(limits[0] - centre), abs(limits[1] - centre), 1e-9)
        limits = (centre - reach, centre + reach)
    figure, ax = plt.subplots(figsize=(width, height * len(order) + 1.1))
    image = ax.imshow(values, aspect="auto", cmap=cmap, vmin=limits[0], vmax=limits[1])
    for (i, j), number in np.ndenumerate(values):
        if np.isfinite(number):
            shade = np.dot(image.cmap(image.norm(number))[:3], (0.299, 0.587, 0.114))
            # What rounds to zero has no sign of its own.
            shown = form.format(number if float(form.format(number)) else 0.0).replace("-", "−")
            text = shown + ("*" if marks[i, j] else "")
            weight = "bold" if marks[i, j] else "normal"
            ax.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                fontsize=6.5,
                color="w" if shade < 0.5 else "k",
                weight=weight,
            )
    ax.set_xticks(range(len(columns)), [column_title(c) for c in columns])
    ax.xaxis.tick_top()
    # A character of this size takes about 0.055 inch; the cells have some two thirds of the width.
    longest = max(len(line) for c in columns for line in column_title(c).split("\n"))
    turned = longest * 0.055 > 0.65 * width / len(columns)
    if turned:
        ax.tick_params(axis="x", rotation=35)
        plt.setp(ax.get_xticklabels(), ha="left", rotation_mode="anchor")
    title = row_title or (lambda key: " ".join(map(str, key)))
    ax.set_yticks(range(len(order)), [title(key) for key in order])
    ax.tick_params(length=0)
    for i in range(1, len(order)):
        if order[i][0] != order[i - 1][0]:
            ax.axhline(i - 0.5, color="white", linewidth=2)
    for spine in ax.spines.values():
        spine.set_visible(False)
    # Turned titles reach beyond the last cell: a bar at the side would stand far off.
    if turned:
        figure.colorbar(image, ax=ax, label=label, location="bottom", pad=0.02, aspect=60)
    else:
        figure.colorbar(image, ax=ax, label=label, pad=0.01, aspect=25)
    return figure


_VERDICTS = {
    "supported": ("#0072B2", "supported"),
    "not supported": ("#D55E00", "not supported"),
    "inconclusive": ("#E6C65C", "inconclusive"),
    "control": ("#E3E3E3", "untrained control: no verdict"),
}


def _short(number: float) -> str:
    """A number that fits a small cell."""
    if not np.isfinite(number):
        return "–"
    if abs(number) >= 100:
        return ">99" if number > 0 else "<−99"
    return f"{number:.0f}" if abs(number) >= 10 else f"{number:.2f}".replace("-", "−")


def claims_map(table: pd.DataFrame) -> plt.Figure:
    """Verdict of each claim for each model and effect.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``claim``, ``title``, ``model``, ``pretrained``, ``effect``, ``statistic``, ``verdict``.

    Examples
    --------
    >>> row = {"model": "yamnet", "pretrained": True, "effect": "gain", "claim": "C1"}
    >>> row |= {"title": "sensitive", "statistic": 0.9, "verdict": "supported"}
    >>> figure = claims_map(pd.DataFrame([row]))
    >>> figure.axes[0].get_title()
    'Gain'
    >>> plt.close(figure)
    """
    claims, models, effects = (present(table, name) for name in ("claim", "model", "effect"))
    # Two panels a row: cells wide enough for numbers that are read on a slide.
    across = min(2, len(effects))
    down = -(-len(effects) // across)
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(WIDTH, (0.27 * len(models) + 0.5) * down + 0.9),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for ax in axes.flat[len(effects) :]:
        ax.set_axis_off()
    trained = dict(zip(table["model"], table["pretrained"], strict=True))
    for ax, name in zip(axes.flat, effects, strict=False):
        for row in table[table["effect"] == name].itertuples():
            place = claims.index(row.claim), models.index(row.model)
            colour = _VERDICTS[row.verdict][0]
            ax.add_patch(
                plt.Rectangle((place[0] - 0.48, place[1] - 0.46), 0.96, 0.92, color=colour, linewidth=0)
            )
            dark = row.verdict in ("supported", "not supported")
            text = _short(row.statistic)
            ax.text(*place, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        ax.set(xlim=(-0.5, len(claims) - 0.5), ylim=(len(models) - 0.5, -0.5), title=effect(name).title)
        ax.set_xticks(range(len(claims)), claims)
        ax.tick_params(length=0, labelbottom=True)
        for spine in ax.spines.values():
            spine.set_visible(False)
    axes[0, 0].set_yticks(range(len(models)), [model_row((m, trained[m])) for m in models])
    patches = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour, _ in _VERDICTS.values()]
    figure.legend(patches, [text for _, text in _VERDICTS.values()], loc="outside upper center", ncols=4)
    titles = dict(zip(table["claim"], table["title"], strict=True))
    figure.supxlabel(
        "   ".join(f"{claim}: {titles[claim]}" for claim in claims[:3])
        + "\n"
        + "   ".join(f"{claim}: {titles[claim]}" for claim in claims[3:]),
        fontsize=7,
    )
    return figure
