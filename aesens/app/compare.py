"""Do two runs agree? Their tables, row by row, against stated tolerances (``tolerances.toml``).

Rows are matched by their texts, their truth values and the columns of `NAMES`. The other columns hold numbers, which
may differ by what is stated for them. Where one run has rows that the other lacks, since it has other models or
classes, it is told which, and the rows of both are compared.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from aesens.data.clips import some
from aesens.plots.outputs import read_table

__all__ = ["NAMES", "Tolerance", "compare_runs", "compare_tables", "tolerance"]

#: Columns that name a row even where they hold numbers.
NAMES = ("clip", "instrument", "song", "strength", "rank")
# Decided from numbers, or said of the whole run, so not part of what names a row.
_OUTCOMES = ("verdict", "significant", "seeds", "reason", "chosen", "data")
_TOLERANCES = files(__package__).joinpath("tolerances.toml").read_text(encoding="utf-8")
_STATED = tomllib.loads(_TOLERANCES)["tolerance"]


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may lie apart: ``|x - y| <= absolute + relative * max(|x|, |y|)`` is agreement."""

    absolute: float | np.ndarray = 0.0
    relative: float | np.ndarray = 0.0

    def allowed(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The largest differences that are agreement."""
        with np.errstate(invalid="ignore"):  # nothing of infinity
            return self.absolute + self.relative * np.fmax(np.abs(x), np.abs(y))

    def excess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Differences in units of what is allowed: above 1 is disagreement; two missing values agree."""
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore", over="ignore"):
            ratio = np.abs(x - y) / np.maximum(self.allowed(x, y), np.finfo(float).tiny)
        return np.where(same, 0.0, np.nan_to_num(ratio, nan=np.inf))


def tolerance(table: str, column: str, rows: pd.DataFrame | None = None, *, whole: bool = False) -> Tolerance:
    """The tolerance stated for a column of a table, given by its file name without ending.

    It holds arrays where an entry is for some `rows` only, whose names these are; without them it is passed over.
    Numbers that are `whole` must be equal where nothing is stated for the column.
    """
    found = Tolerance()
    for entry in reversed(_STATED):  # the first that fits counts
        if not fnmatchcase(f"{table}.{column}", entry["pattern"]) or (whole and entry["pattern"] == "*"):
            continue
        absolute, relative = entry.get("absolute", 0.0), entry.get("relative", 0.0)
        if wanted := entry.get("rows"):
            if rows is None:
                continue
            fits = (rows.reindex(columns=list(wanted)) == pd.Series(wanted)).all(axis=1).to_numpy()
            absolute = np.where(fits, absolute, found.absolute)
            relative = np.where(fits, relative, found.relative)
        found = Tolerance(absolute, relative)
    return found


def compare_tables(name: str, first: pd.DataFrame, second: pd.DataFrame) -> dict:
    """Compare two versions of a table.

    Parameters
    ----------
    name : str
        File name without ending; chooses the tolerances.
    first, second : pandas.DataFrame

    Returns
    -------
    dict
        ``table``; ``outcome`` (``equal``, ``within tolerance`` or ``different``); ``what``, the column that is furthest
        off or the reason in words; ``largest``, the largest difference there; ``allowed``, the difference allowed
        at that place; ``cells``, the number of cells that disagree.
    """
    found = {"table": name, "outcome": "different", "what": "", "largest": 0.0, "allowed": 0.0, "cells": 0}
    if list(first.columns) != list(second.columns):
        changed = sorted(set(first.columns) ^ set(second.columns)) or ["order"]
        return found | {"what": f"columns: {', '.join(changed)}"}
    kinds = {column: first[column].dtype.kind + second[column].dtype.kind for column in first}
    numbers = [c for c in first if set(kinds[c]) <= set("iuf") and c not in NAMES]
    keys = [c for c in first if c not in numbers and c not in _OUTCOMES]
    first, second = (_by_name(table, keys) for table in (first, second))
    rows, only = "", set(first.index) ^ set(second.index)
    if only:
        rows = f"rows: {len(first)} and {len(second)}; {_lone(first, second, keys)}"
        found["cells"] = len(only)
    first = first.loc[[name in second.index for name in first.index]]
    second = second.loc[first.index]
    worst = 0.0
    for column in numbers:
        x, y = (table[column].to_numpy(dtype=float) for table in (first, second))
        stated = tolerance(name, column, first[keys], whole="f" not in kinds[column])
        excess = stated.excess(x, y)
        found["cells"] += int((excess > 1).sum())
        if excess.size and excess.max() > worst:
            place, worst = int(excess.argmax()), float(excess.max())
            allowed = float(stated.allowed(x, y)[place])
            found |= {"what": column, "largest": float(abs(x[place] - y[place])), "allowed": allowed}
    for column in (c for c in _OUTCOMES if c in first):
        if changed := int((first[column].map(str) != second[column].map(str)).sum()):
            found |= {"what": f"{column} changed in {changed} rows", "largest": 0.0, "allowed": 0.0}
            found["cells"] += changed
            break
    outcome = "different" if found["cells"] else "within tolerance" if worst else "equal"
    if rows:
        rest = found["what"] or "equal"
        rest = f"largest difference in {rest}" if rest in numbers else rest
        found["what"] = f"{rows}; {len(first)} in both" + (f": {rest}" if len(first) else "")
    return found | {"outcome": outcome}


def _lone(first: pd.DataFrame, second: pd.DataFrame, keys: list[str]) -> str:
    """Which rows only one of two tables has: by what no row of the other is called, or else an example."""
    told = []
    for which, table, other in (("first", first, second), ("second", second, first)):
        if not (lone := set(table.index) - set(other.index)):
            continue
        values = [sorted({*table.index.unique(key)} - {*other.index.unique(key)}) for key in keys]
        named = [f"{key} {some(found)}" for key, found in zip(keys, values, strict=True) if found]
        told.append(
            f"only in the {which}: {'; '.join(named) or ', '.join(min(lone)[:-1]) or 'repeated rows'}"
        )
    return ", ".join(told)


def _by_name(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The table indexed by what names its rows; those of one name are counted as they stand."""
    names = table[keys].astype(object).where(table[keys].notna(), "").astype(str)
    names["nth"] = names.groupby(keys).cumcount() if keys else np.arange(len(table))
    return table.set_axis(pd.MultiIndex.from_frame(names))


def compare_runs(first: Path, second: Path, *, subset: bool = False) -> pd.DataFrame:
    """Compare the tables of two runs.

    Parameters
    ----------
    first, second : pathlib.Path
        Folders of figures and tables.
    subset : bool
        Whether `second` may lack tables, as a run of some of the notebooks does.

    Returns
    -------
    pandas.DataFrame
        One row a table, see `compare_tables`; a table that only one run has is ``different``.

    Raises
    ------
    ValueError
        If a folder holds no table, or one that cannot be read.
    """
    found = [{path.stem: path for path in sorted(Path(folder).glob("*.csv"))} for folder in (first, second)]
    for folder, tables in zip((first, second), found, strict=True):
        if not tables:
            raise ValueError(f"{folder} holds no tables (csv); run a profile with --out {folder} first")
    rows = []
    for name in sorted(found[0].keys() | found[1].keys()):
        if name in found[0] and name in found[1]:
            rows.append(compare_tables(name, *(read_table(tables[name]) for tables in found)))
        elif name in found[1] or not subset:
            place = first if name in found[0] else second
            lone = {"outcome": "different", "what": f"only in {place}", "largest": np.nan, "allowed": np.nan}
            rows.append({"table": name, **lone, "cells": 0})
    return pd.DataFrame(rows)
