"""How tables look to a reader: titles for codes, units of p-values, no index; and text from outside within Markdown.

Tables are computed and saved with codes (`openl3`, `lowpass`), which are stable and short; only what a notebook shows
goes through here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import pandas as pd
from pandas.io.formats.style import Styler

from aesens.effects import effect
from aesens.plots import titles as names
from aesens.plots.style import number

__all__ = ["in_markdown", "shown"]

_TITLES = {
    "effect": lambda code: effect(code).title,
    "instrument": names.instrument_title,
    "method": names.projection_title,
    "metric": lambda code: names.METRICS.get(code, code),
    "projection": names.projection_title,
}
_P_VALUES = ("p", "p_holm", "p_floor", "p rho")
# Words of headings that are written otherwise.
_WORDS = {"r2": "R²", "rho": "ρ", "pca": "PCA", "holm": "(Holm)", "90": "(90\u00a0%)"}


def in_markdown(text: str) -> str:
    """A text from outside as a piece of Markdown that shows it as it is.

    Examples
    --------
    >>> print(in_markdown("5$ | <b>_x_"))
    5&#36; &#124; &#60;b&#62;&#95;x&#95;
    """
    return "".join(f"&#{ord(c)};" if c in "&<>\\`*_{}[]()#+-!|$~" else c for c in text)


def shown(
    table: pd.DataFrame, columns: Sequence[str] | None = None, *, precision: int = 2, **formats: str
) -> Styler:
    """Dress a table for a reader.

    Parameters
    ----------
    table : pandas.DataFrame
        With any of the columns ``model`` and ``pretrained`` (joined into one title), ``effect``, ``instrument``,
        ``projection``, ``method`` or ``metric``, and p-values (``p``, ``p_holm``); others are only formatted. An
        interval, ``x_low`` and ``x_high`` or a plain ``low`` and ``high`` behind their statistic, joins the statistic's
        column.
    columns : sequence of str, optional
        Which, and in which order; all by default.
    precision : int
        Decimals of numbers. A p-value that would round to 0 is shown as less than the smallest that would not.
    **formats
        Format of single columns instead, e.g. ``jump="{:.1f}"``.

    Examples
    --------
    >>> row = {"model": "panns", "pretrained": False, "effect": "lowpass", "r2": 0.9, "low": 0.8, "high": 1, "p": 0.002}
    >>> print(shown(pd.DataFrame([row])).to_string(delimiter=" | ").replace("\\xa0", " "))
    model | effect | R² | p
    PANNs (untrained) | Low-pass filtering | 0.90 [0.80, 1.00] | < 0.01
    <BLANKLINE>
    """
    dressed = table[list(columns)].copy() if columns is not None else table.copy()
    if {"model", "pretrained"} <= set(dressed):
        trained = dressed.pop("pretrained").astype(bool)
        dressed["model"] = [names.model_title(m, t) for m, t in zip(dressed["model"], trained, strict=True)]
    elif "model" in dressed:
        dressed["model"] = dressed["model"].map(names.model_title)
    for column, title in _TITLES.items():
        if column in dressed:
            dressed[column] = [code if code == "all" else title(code) for code in dressed[column]]
    for low in [name for name in dressed if name == "low" or name.endswith("_low")]:
        _join_interval(dressed, low, formats.pop(_statistic(dressed, low), f"{{:.{precision}f}}"))
    least, form = 10.0**-precision, f"{{:.{precision}f}}"
    forms = {column: partial(number, form=form) for column in dressed.select_dtypes("float")}
    for column in forms.keys() & _P_VALUES:
        forms[column] = lambda p: f"<\u00a0{least:g}" if p < least else number(p, form)
    labels = {column: _heading(column) for column in dressed}
    forms = {labels[column]: form for column, form in (forms | formats).items()}
    dressed = dressed.rename(columns=labels)
    return dressed.style.format(forms, precision=precision, na_rep="", escape="html").hide(axis="index")


def _heading(column: str) -> str:
    words = re.split("[_ ]", column)
    return names.METRICS.get(column, " ".join(_WORDS.get(word, word) for word in words))


def _statistic(table: pd.DataFrame, low: str) -> str:
    """The column that an interval's lower end belongs to."""
    return low.removesuffix("_low") if low != "low" else table.columns[table.columns.get_loc("low") - 1]


def _join_interval(table: pd.DataFrame, low: str, form: str) -> None:
    """Put a statistic and the columns of its interval into one, in place."""
    name = _statistic(table, low)
    ends = zip(table[name], table.pop(low), table.pop(low.removesuffix("low") + "high"), strict=True)
    table[name] = [
        "" if pd.isna(value) else number(value, form) + _brackets(form, *interval)
        for value, *interval in ends
    ]


def _brackets(form: str, low: float, high: float) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f" [{number(low, form)},\u00a0{number(high, form)}]"
