"""Do two runs agree? Their tables, row by row, against stated tolerances (``tolerances.toml``).

Rows are matched by their texts, truth values and whole numbers, which must be equal; the other columns hold measured
numbers, which may differ a little.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

__all__ = ["Tolerance", "compare_runs", "compare_tables", "tolerance"]

# Decided from numbers, so not part of what names a row.
_OUTCOMES = ("verdict", "significant")
# Whole numbers that are measured, so not part of it either.
_COUNTS = ("component", "components_90", "dimension")


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers may lie apart.

    Attributes
    ----------
    absolute, relative : float or np.ndarray
        ``|x - y| <= absolute + relative * max(|x|, |y|)`` is agreement.
    """

    absolute: float | np.ndarray = 0.0
    relative: float | np.ndarray = 0.0

    def excess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Differences in units of what is allowed: above 1 is disagreement; two missing values agree.

        Examples
        --------
        >>> Tolerance(absolute=0.1).excess(np.array([1.0, np.nan]), np.array([1.2, np.nan])).round(3)
        array([2., 0.])
        """
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):
            allowed = self.absolute + self.relative * np.fmax(np.abs(x), np.abs(y))
            ratio = np.abs(x - y) / np.where(allowed > 0, allowed, np.finfo(float).tiny)
        return np.where(same, 0.0, np.nan_to_num(ratio, nan=np.inf))


@lru_cache(maxsize=1)
def _stated() -> list[dict]:
    text = files(__package__).joinpath("tolerances.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["tolerance"]


def tolerance(table: str, column: str, row: dict | None = None) -> Tolerance:
    """The tolerance stated for a column.

    Parameters
    ----------
    table : str
        File name without ending.
    column : str
    row : dict, optional
        What names the row, by column; entries for some rows only are passed over without it.

    Returns
    -------
    Tolerance

    Examples
    --------
    >>> tolerance("05_global_cca", "p")
    Tolerance(absolute=0.05, relative=0.0)
    >>> tolerance("05_global_cca", "p", {"model": "openl3", "effect": "gain"})
    Tolerance(absolute=0.3, relative=0.1)
    """
    row = row or {}
    entry = next(
        e
        for e in _stated()
        if fnmatchcase(f"{table}.{column}", e["pattern"])
        and all(row.get(key) == value for key, value in e.get("rows", {}).items())
    )
    return Tolerance(entry.get("absolute", 0.0), entry.get("relative", 0.0))


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

    Examples
    --------
    >>> one = pd.DataFrame({"model": ["yamnet"], "value": [0.5]})
    >>> compare_tables("t", one, one.assign(value=0.9))["outcome"]
    'different'
    """

    def result(outcome, what="", largest=0.0, allowed=0.0, cells=0):
        return {
            "table": name,
            "outcome": outcome,
            "what": what,
            "largest": largest,
            "allowed": allowed,
            "cells": cells,
        }

    if list(first.columns) != list(second.columns):
        changed = sorted(set(first.columns) ^ set(second.columns)) or ["order"]
        return result("different", f"columns: {', '.join(changed)}")
    numbers = [c for c in first if c in _COUNTS or "f" in (first[c].dtype.kind, second[c].dtype.kind)]
    numbers = [c for c in numbers if all(pd.api.types.is_numeric_dtype(t[c]) for t in (first, second))]
    keys = [c for c in first if c not in numbers and c not in _OUTCOMES]
    first, second = (_ordered(t, keys) for t in (first, second))
    if len(first) != len(second) or not first[keys].astype(str).equals(second[keys].astype(str)):
        only = set(map(tuple, first[keys].astype(str).to_numpy())) ^ set(
            map(tuple, second[keys].astype(str).to_numpy())
        )
        example = ", ".join(min(only)) if only else "repeated rows"
        return result("different", f"rows: {len(first)} and {len(second)}; e.g. {example}", cells=len(only))
    worst, cells, equal = (0.0, "", 0.0, 0.0), 0, True
    for column in numbers:
        x, y = (t[column].to_numpy(dtype=float) for t in (first, second))
        allowed = _allowed(name, column, first[keys])
        excess = allowed.excess(x, y)
        cells += int((excess > 1).sum())
        equal &= not excess.any()
        if excess.size and excess.max() > worst[0]:
            place = int(excess.argmax())
            reach = allowed.absolute[place] + allowed.relative[place] * np.fmax(abs(x[place]), abs(y[place]))
            worst = (float(excess.max()), column, float(abs(x[place] - y[place])), float(reach))
    for column in (c for c in _OUTCOMES if c in first):
        changed = int((first[column].astype(str) != second[column].astype(str)).sum())
        if changed:
            return result("different", f"{column} changed in {changed} rows", cells=cells + changed)
    outcome = "different" if cells else "equal" if equal else "within tolerance"
    return result(outcome, *worst[1:], cells=cells)


def _allowed(name: str, column: str, rows: pd.DataFrame) -> Tolerance:
    """The tolerances of all rows of a column, as arrays."""
    each = [tolerance(name, column, row) for row in rows.to_dict("records")]
    return Tolerance(*(np.array([getattr(t, kind) for t in each]) for kind in ("absolute", "relative")))


def _ordered(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows in the order of their names, then as they stand."""
    if not keys:
        return table.reset_index(drop=True)
    return table.sort_values(keys, kind="stable", key=lambda c: c.astype(str)).reset_index(drop=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except ValueError as error:  # pandas' errors are such
        raise ValueError(f"{path} cannot be read: {error}") from error


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

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     for run, value in (("first", 0.5), ("second", 0.7)):
    ...         (Path(place) / run).mkdir()
    ...         pd.DataFrame({"value": [value]}).to_csv(Path(place) / run / "table.csv", index=False)
    ...     compare_runs(Path(place) / "first", Path(place) / "second")["outcome"].tolist()
    ['different']
    """
    found = [{path.stem: path for path in sorted(Path(folder).glob("*.csv"))} for folder in (first, second)]
    for folder, tables in zip((first, second), found, strict=True):
        if not tables:
            raise ValueError(f"{folder} holds no tables (csv); run a profile with --out {folder} first")
    rows = []
    for name in sorted(found[0].keys() | found[1].keys()):
        if name in found[0] and name in found[1]:
            rows.append(compare_tables(name, *(_read(tables[name]) for tables in found)))
        elif name in found[1] or not subset:
            place = first if name in found[0] else second
            lone = {"outcome": "different", "what": f"only in {place}", "largest": np.nan, "allowed": np.nan}
            rows.append({"table": name, **lone, "cells": 0})
    return pd.DataFrame(rows)
