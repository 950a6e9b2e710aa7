"""How tables look to a reader: titles for codes, units of p-values, no index.

Tables are computed and saved with codes (`openl3`, `lowpass`), which are stable and short; only what a notebook shows
goes through here.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from aesens import names
from aesens.effects import effect

__all__ = ["shown"]

_TITLES = {
    "effect": lambda code: effect(code).title,
    "instrument": names.instrument_title,
    "projection": names.projection_title,
}
_P_VALUES = ("p", "p_holm")


def shown(
    table: pd.DataFrame, columns: Sequence[str] | None = None, *, precision: int = 2, **formats: str
) -> Styler:
    """Dress a table for a reader.

    Parameters
    ----------
    table : pandas.DataFrame
        With any of the columns ``model`` and ``pretrained`` (joined into one title), ``effect``, ``instrument``,
        ``projection``, ``p`` and ``p_holm``; others are only formatted.
    columns : sequence of str, optional
        Which, and in which order; all by default.
    precision : int
        Decimals of numbers. A p-value that would round to 0 is shown as less than the smallest that would not.
    **formats
        Format of single columns instead, e.g. ``jump="{:.1f}"``.

    Returns
    -------
    pandas.io.formats.style.Styler

    Examples
    --------
    >>> row = {"model": "panns", "pretrained": False, "effect": "lowpass", "above_null": 0.912, "p": 0.002}
    >>> print(shown(pd.DataFrame([row])).to_string(delimiter=" | "))
    model | effect | above null | p
    PANNs (untrained) | Low-pass filtering | 0.91 | < 0.01
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
    least = 10.0**-precision

    def p_value(value: float) -> str:
        return "" if pd.isna(value) else f"< {least:g}" if value < least else f"{value:.{precision}f}"

    forms = {column: p_value for column in _P_VALUES if column in dressed} | formats
    labels = {column: names.METRICS.get(column, column.replace("_", " ")) for column in dressed}
    forms = {labels[column]: form for column, form in forms.items()}
    dressed = dressed.rename(columns=labels)
    return dressed.style.format(forms, precision=precision, na_rep="").hide(axis="index")
