"""What a store says of itself: the attributes of its Zarr group, under a checksum, and its array.

The array's own description must be as it was made but for its shape, which grows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from aesens.cache import atomic_path

__all__ = [
    "StoreError",
    "address_hash",
    "cannot_write",
    "canonical",
    "create",
    "describe",
    "open_array",
    "plain",
    "read",
]

# Of this layout; other stores are not read.
_LAYOUT = 3


class StoreError(RuntimeError):
    """A store is incomplete or is not what its address says."""


def canonical(address: dict) -> str:
    """Write an address as JSON that is the same for equal content."""
    return json.dumps(address, sort_keys=True, default=plain)


def plain(value):
    """NumPy's arrays and numbers as Python's, for JSON."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be part of an address or a table that is kept: {value!r}")


def address_hash(address: dict) -> str:
    """First 16 hex digits of the SHA-256 of the canonical address."""
    return hashlib.sha256(canonical(address).encode()).hexdigest()[:16]


def read(path: Path) -> dict:
    """The attributes of the store in a folder; `StoreError` if they are not there or damaged, with the remedy."""
    with _reading(path):
        about = json.loads((path / "zarr.json").read_bytes())["attributes"]
        if about.pop("sha256") != _sum(about) or about["layout"] != _LAYOUT:
            raise ValueError("its checksum differs")
        if address_hash(about["address"]) != path.stem[-16:]:
            raise ValueError("it is another store's")
        return about


def describe(path: Path, about: dict) -> None:
    """Write the attributes, all or nothing."""
    attributes = about | {"sha256": _sum(about)}
    with atomic_path(path / "zarr.json") as temporary:
        temporary.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}))


def create(path: Path, address: dict, block: int, numbers: int) -> None:
    """Make an empty store, unless it is there, with so many clips a block and so many numbers a row."""
    about = {"layout": _LAYOUT, "address": json.loads(canonical(address)), "block": block}
    try:
        with atomic_path(path) as temporary:
            zarr.create_array(
                str(temporary / "embedding"),
                shape=(0, 0, numbers),
                chunks=(1, block, numbers),
                dtype="float32",
                fill_value=np.nan,
                compressors=[ZstdCodec(), Crc32cCodec()],
                chunk_key_encoding={"name": "default", "separator": "."},
                dimension_names=("parameter", "row", "feature"),
                zarr_format=3,
            )
            more = {"array": _array_sum(temporary), "parameters": [], "blocks": [], "made": []}
            describe(temporary, about | more)
    except OSError as error:
        raise cannot_write(path, error) from error


def open_array(path: Path, mode: str = "r") -> zarr.Array:
    """The array of a store, which may be larger than the attributes say; `StoreError` if its description is damaged."""
    about = read(path)
    with _reading(path):
        if _array_sum(path) != about["array"]:
            raise ValueError("its array's checksum differs")
        array = zarr.open_array(str(path / "embedding"), mode=mode)
        least = len(about["parameters"]), len(about["blocks"]) * about["block"]
        if array.shape[0] < least[0] or array.shape[1] < least[1]:
            raise ValueError(f"its array has the shape {array.shape}")
        return array


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say what is to be done about a description that is damaged; what it says then may be anything."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        if path.exists():
            raise _damaged(path, error) from error
        raise StoreError(
            f"{path} is not there: workers must see the same cache folder as the run that sends them work; set "
            "AESENS_CACHE to a folder that all machines share"
        ) from error
    except (OSError, MemoryError, StoreError):
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    said = " ".join(str(error).split())[:200]
    return StoreError(
        f"the description of {path} is damaged ({type(error).__name__}: {said}): remove this folder and run again, its "
        "embeddings are computed anew"
    )


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error of a file system that takes no more, with what to do."""
    return StoreError(
        f"cannot write to {path}: {error.strerror or error}. What is finished is kept: make room, or move the cache "
        "(AESENS_CACHE), and run again"
    )


def _sum(about: dict) -> str:
    return hashlib.sha256(canonical(about).encode()).hexdigest()


def _array_sum(path: Path) -> str:
    """Checksum of what the array's description says, but for its shape, which grows."""
    said = json.loads((path / "embedding" / "zarr.json").read_bytes())
    return _sum({key: value for key, value in said.items() if key != "shape"})
