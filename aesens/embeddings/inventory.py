"""What the cache holds of embeddings and results, by size, and removing it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pandas as pd

from aesens.cache import cache_dir
from aesens.embeddings.store import Store, StoreError

__all__ = ["inventory", "prune"]


def inventory() -> pd.DataFrame:
    """List stores and results, the largest first.

    Returns
    -------
    pandas.DataFrame
        Columns ``kind`` (``store``; ``old store``, which this version does not read or which is damaged; ``results``,
        of one measure), ``name``, ``megabytes`` (1e6 bytes), ``days`` since it was last used, and ``path``.
    """
    rows = []
    for path in sorted(cache_dir("store").glob("*.zarr")):
        try:
            Store(path).about()
            kind = "store"
        except StoreError:
            kind = "old store"
        rows.append((kind, path.name, *_size(path), path))
    for path in sorted(cache_dir("results").iterdir()):
        rows.append(("results", path.name, *_size(path), path))
    table = pd.DataFrame(rows, columns=["kind", "name", "megabytes", "days", "path"])
    return table.sort_values("megabytes", ascending=False, kind="stable", ignore_index=True)


def prune(*, older_than: float | None = None, old: bool = False) -> pd.DataFrame:
    """Remove stores and results: those not used for so many days, old stores alone, or all without either.

    Returns
    -------
    pandas.DataFrame
        What was removed, as `inventory` lists it. A store that a run is extracting stays, and is not listed.
    """
    table = inventory()
    if old:
        table = table[table["kind"] == "old store"]
    if older_than is not None:
        table = table[table["days"] >= older_than]
    removed = []
    for position, row in table.iterrows():
        try:
            if row["kind"] == "results":
                shutil.rmtree(row["path"])
            else:
                with Store(row["path"]).held():
                    shutil.rmtree(row["path"])
        except StoreError:  # held by a run
            continue
        removed.append(position)
    return table.loc[removed]


def _size(path: Path) -> tuple[float, float]:
    """Megabytes, and days since the last use."""
    files = [file.stat() for file in path.rglob("*") if file.is_file()]
    latest = max([os.stat(path).st_mtime, *(file.st_mtime for file in files)])
    return sum(file.st_size for file in files) / 1e6, max(0.0, (time.time() - latest) / 86400)
