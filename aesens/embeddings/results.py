"""Tables and fitted projections, kept in the cache under a hash of what determines them, so that each is computed once.

That is: the sweep, by the addresses of its stores; the options; the measure's own source, see `aesens.sources`; the
source of the package and the versions of those it stands on. How things look or are started counts for nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from aesens.cache import atomic_path, cache_dir
from aesens.embeddings.extract import Plan
from aesens.embeddings.store import Store, address_hash
from aesens.sources import package_versions, source_of

__all__ = ["forget", "name_of", "place", "plan_key", "read_fits", "read_table", "write_fits", "write_table"]

# Folders of the package that no number depends on.
_OUTER = {"plots", "app"}


def name_of(measure: Callable) -> str:
    """Name of a measure; where it is a partial one, of the function within."""
    return measure.__name__ if hasattr(measure, "__name__") else name_of(measure.func)


def plan_key(plans: Iterable[Plan]) -> str:
    """Hash of the addresses of a sweep's stores, of the clean and of the effected clips."""
    return address_hash({"sweeps": [plan.address() for plan in plans]})


@lru_cache(maxsize=1)
def _package() -> str:
    """Hash of the package's source: a result computed by other code is not taken for this one's."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256(json.dumps(package_versions()).encode())
    for path in sorted(folder.rglob("*.py")):
        if not _OUTER & {*path.relative_to(folder).parts}:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def place(measure: Callable, model: str, effect: str, key: str, options: dict, added: dict) -> Path:
    """Where a result is or would be: of a measure with options, of a sweep with the key of `plan_key`.

    `added` holds the sources of the user's projections, on which tables of all projections depend.
    """
    address = {"sweep": key, "options": options, "source": _package(), "measure": source_of(measure)}
    if added:
        address["projections"] = added
    # With the sweep's own hash in its name, by which `forget` finds the results of a sweep.
    return cache_dir("results", name_of(measure)) / f"{model}-{effect}-{key}-{address_hash(address)}.csv"


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Keep a table."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame | None:
    """A table that is kept; None if there is none, or a damaged one, which is removed."""
    try:
        text = path.read_text(encoding="utf-8")
        # Written as a whole, so that one which ends within a line was damaged later.
        if not text.endswith("\n"):
            raise ValueError(f"{path} ends within a line")
        return pd.read_csv(
            io.StringIO(text), float_precision="round_trip", keep_default_na=False, na_values=["", "nan"]
        )
    except FileNotFoundError:
        return None
    except ValueError:  # those of pandas and of the encoding are such
        path.unlink()
        return None


def write_fits(path: Path, fits: dict[str, dict[str, np.ndarray | dict[str, np.ndarray]]]) -> None:
    """Keep what projections have learned, by projection and instrument: rows, or several arrays by name."""
    arrays = {}
    for name, of in fits.items():
        for code, fit in of.items():
            for part, array in (fit if isinstance(fit, dict) else {"": fit}).items():
                arrays[f"{part}/{code}/{name}"] = array
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_fits(path: Path) -> dict[str, dict[str, np.ndarray | dict[str, np.ndarray]]] | None:
    """What `write_fits` kept; None if there is nothing, or something damaged, which is removed."""
    fits: dict[str, dict] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                part, code, name = key.split("/", 2)
                of = fits.setdefault(name, {})
                if part:
                    of.setdefault(code, {})[part] = file[key]
                else:
                    of[code] = file[key]
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, BadZipFile, zlib.error):
        path.unlink()
        return None
    return fits


def forget(plans: Iterable[Plan], pairs: Iterable[tuple[Plan, Plan]]) -> None:
    """Remove the stores of plans, and the results of sweeps, each given by its clean and its effected plan.

    Raises
    ------
    aesens.embeddings.store.StoreError
        If another run is extracting one of the stores; nothing is removed then.
    """
    with ExitStack() as stack:
        # In one order, as in an extraction.
        stores = sorted(path for path in {Store.path_of(plan.address()) for plan in plans} if path.exists())
        for path in stores:
            stack.enter_context(Store(path).held())
        for path in stores:
            shutil.rmtree(path)
    begin = tuple(f"{pair[1].model.name}-{pair[1].effect_name}-{plan_key(pair)}-" for pair in pairs)
    for path in cache_dir("results").glob("*/*"):
        if path.name.startswith(begin):
            path.unlink()
