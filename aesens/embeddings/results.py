"""Tables and fitted projections, kept in the cache under a hash of what determines them, so that each is computed once.

That is: the sweep, by the addresses of its stores; the options; the measure's own source, see `aesens.sources`; the
source of the package and the versions of those it stands on. How things look or are started counts for nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from aesens.cache import atomic_path, cache_dir
from aesens.embeddings import description
from aesens.embeddings.description import cannot_write
from aesens.embeddings.plan import Plan
from aesens.embeddings.store import Store, address_hash
from aesens.sources import code_of, package_hash, package_versions
from aesens.syntax import read_so_far, unedited

__all__ = [
    "forget",
    "kept",
    "name_of",
    "place",
    "plan_key",
    "read_fits",
    "read_table",
    "write_fits",
    "write_table",
]


def name_of(measure: Callable) -> str:
    """Name of a measure; where it is a partial one, of the function within."""
    return measure.__name__ if hasattr(measure, "__name__") else name_of(measure.func)


def plan_key(plans: Iterable[Plan]) -> str:
    """Hash of the addresses of a sweep's stores, of the clean and of the effected clips."""
    return address_hash({"sweeps": [plan.rows() for plan in plans]})


def place(measure: Callable, model: str, effect: str, key: str, options: dict, added: dict) -> Path:
    """Where a result is or would be: of a measure with options, of a sweep with the key of `plan_key`.

    `added` holds the sources of the user's projections, on which tables of all projections depend.
    """
    address = {"sweep": key, "options": options, "source": [package_hash(), package_versions()]}
    address["measure"] = code_of(measure)
    if added:
        address["projections"] = added
    # With the sweep's own hash in its name, by which `forget` finds the results of a sweep.
    name = f"{_begin(model, effect, key)}{address_hash(address)}.json"
    path = cache_dir("results", name_of(measure)) / name
    _CODE[path] = measure, read_so_far()
    return path


# Of each place that was asked for: the measure, and its files as they were.
_CODE: dict[Path, tuple[Callable, dict]] = {}


def _begin(model: str, effect: str, key: str) -> str:
    """How the names of a sweep's results begin; names of the user's own may hold anything."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{model}-{effect}-{key}-")


def kept(path: Path, read: Callable, make: Callable):
    """What `read` finds at a path, made by `make` if there is nothing; what one process makes, others wait for."""
    if (found := read(path)) is not None:
        return found
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire()
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        if read(path) is None:
            make()
        # Read back even when just made: a cached and a fresh result are then the same to the last digit.
        return read(path)
    finally:
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Keep a table, each column with its type, without its index."""
    columns = {str(name): table[name] for name in table}
    # Missing ones of any kind come back as their column's type has them.
    values = {n: column.astype(object).where(column.notna(), None).tolist() for n, column in columns.items()}
    kept = {"types": {n: str(column.dtype) for n, column in columns.items()}, "values": values}
    _seal(path, json.dumps(kept, default=description.plain).encode())


def read_table(path: Path) -> pd.DataFrame | None:
    """A table that is kept; None if there is none, or a damaged one, which is removed."""
    if (content := _unsealed(path)) is None:
        return None
    kept = json.loads(content)
    series = {name: pd.Series(kept["values"][name], dtype=kind) for name, kind in kept["types"].items()}
    return pd.DataFrame(series)


def write_fits(path: Path, fits: dict[str, dict[str, np.ndarray | dict[str, np.ndarray]]]) -> None:
    """Keep what projections have learned, by projection and instrument: rows, or several arrays by name."""
    arrays, buffer = {}, io.BytesIO()
    for name, of in fits.items():
        for code, fit in of.items():
            for part, array in (fit if isinstance(fit, dict) else {"": fit}).items():
                arrays[json.dumps([name, code, part])] = array
    np.savez(buffer, **arrays)
    _seal(path, buffer.getvalue())


def read_fits(path: Path) -> dict[str, dict[str, np.ndarray | dict[str, np.ndarray]]] | None:
    """What `write_fits` kept; None if there is nothing, or something damaged, which is removed."""
    if (content := _unsealed(path)) is None:
        return None
    fits: dict[str, dict] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        for key in file.files:
            name, code, part = json.loads(key)
            of = fits.setdefault(name, {})
            if part:
                of.setdefault(code, {})[part] = file[key]
            else:
                of[code] = file[key]
    return fits


def _seal(path: Path, content: bytes) -> None:
    """Write a file that begins with the hash of its place and the rest.

    `aesens.syntax.EditedError` if what it was made of is not what its place says.
    """
    if (asked := path.with_suffix(".json")) in _CODE:
        measure, before = _CODE[asked]
        _ = package_hash(), code_of(measure)
        unedited(before)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(_sum(path, content) + b"\n" + content)
    except OSError as error:
        raise cannot_write(path, error) from error


def _sum(path: Path, content: bytes) -> bytes:
    """Hash that tells damage, and a result that lies in another's place."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode() + content).hexdigest().encode()


def _unsealed(path: Path) -> bytes | None:
    """What `_seal` wrote; None if there is nothing, or something else, which is removed."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        shutil.rmtree(path)
        return None
    if digest == _sum(path, content):
        with suppress(OSError):
            os.utime(path)  # the last use, by which it may be pruned
        return content
    path.unlink()
    return None


def forget(plans: Iterable[Plan], pairs: Iterable[tuple[Plan, Plan]]) -> None:
    """Remove the stores of plans, and the results of sweeps, each given by its clean and its effected plan.

    Raises
    ------
    aesens.embeddings.store.StoreError
        If another run is extracting one of the stores; nothing is removed then.
    """
    with ExitStack() as stack:
        # In one order, as in an extraction.
        stores = sorted(path for path in {plan.store().path for plan in plans} if path.exists())
        for path in stores:
            stack.enter_context(Store(path).held())
        for path in stores:
            shutil.rmtree(path)
    begin = tuple(_begin(pair[1].model.name, pair[1].effect_name, plan_key(pair)) for pair in pairs)
    for path in cache_dir("results").glob("*/*"):
        if path.name.startswith(begin):
            path.unlink()
