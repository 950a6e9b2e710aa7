"""Embeddings on disk: one xarray/Zarr store a sweep, found by a hash of what determines it.

A sweep is what one model makes of one set of clips under one effect. Its store holds the variable ``embedding`` with
dimensions ``(strength, clip, feature)``, float32, and the coordinates ``parameter`` (strength), ``song``,
``instrument`` and ``split`` (clip). The clean clips are a sweep of their own with a single strength.

The store's folder name ends in a hash of its `address`, a dictionary of everything that changes an embedding, and the
address itself stands in the store's attributes. A changed setting therefore leads to another folder, never to stale
embeddings. A chunk holds one strength and one block of clips and is written as a whole by an atomic rename, so a
chunk that exists is complete whatever became of its writer: a run that was stopped goes on with those that are missing.
Only a machine that lost its power can leave a chunk that is empty, which counts as missing, or cut off, which is found
and removed when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from filelock import FileLock, Timeout

from aesens.cache import atomic_path, cache_dir

__all__ = ["BLOCK", "Store", "StoreError", "address_hash", "canonical"]

#: Clips a chunk.
BLOCK = 32


class StoreError(RuntimeError):
    """A store is incomplete or is not what its address says."""


def canonical(address: dict) -> str:
    """Write an address as JSON that is the same for equal content."""

    def plain(value):
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"{type(value).__name__} cannot be part of an address: {value!r}")

    return json.dumps(address, sort_keys=True, default=plain)


def address_hash(address: dict) -> str:
    """First 16 hex digits of the SHA-256 of the canonical address."""
    return hashlib.sha256(canonical(address).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Store:
    """The store of one sweep, in the folder of a Zarr group."""

    path: Path

    @classmethod
    def at(cls, address: dict, parameters, clips: pd.DataFrame, dimension: int, root=None) -> Store:
        """Return the store of an address, created empty if there is none.

        Parameters
        ----------
        address : dict
            Everything that determines the embeddings.
        parameters : array-like, shape (strength,)
        clips : pandas.DataFrame
            Indexed by clip, with columns ``song``, ``instrument`` and ``split``.
        dimension : int
            Features of an embedding.
        root : path-like, optional
            Folder of all stores; by default ``store`` in the cache.
        """
        path = cls.path_of(address, root)
        if not path.exists():
            try:
                _create(path, address, np.asarray(parameters, dtype=float), clips, dimension)
            except OSError as error:
                # Unless another run was faster: it has the store, and has cleared away what was unfinished.
                if not path.exists():
                    raise _cannot_write(path, error) from error
        return cls(path)

    @staticmethod
    def path_of(address: dict, root=None) -> Path:
        """Where the store of an address is or would be, see `at`."""
        parts = (str(address[key]) for key in ("model", "effect") if isinstance(address.get(key), str))
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))
        root = Path(root) if root is not None else cache_dir("store")
        return root / f"{stem}-{address_hash(address)}.zarr"

    def missing(self) -> np.ndarray:
        """Which chunks are not there yet, (strength, block)."""
        strengths, clips, _ = zarr.open_array(str(self.path / "embedding"), mode="r").shape
        blocks = -(-clips // BLOCK)
        with os.scandir(self.path / "embedding") as entries:
            there = {entry.name for entry in entries if entry.stat().st_size}
        return np.array([[f"{s}.{b}.0" not in there for b in range(blocks)] for s in range(strengths)])

    def has(self, strength: int, block: int) -> bool:
        """Whether one chunk is there."""
        try:
            return self._chunk(strength, block).stat().st_size > 0
        except FileNotFoundError:
            return False

    def _chunk(self, strength: int, block: int) -> Path:
        return self.path / "embedding" / f"{strength}.{block}.0"

    def write(self, strength: int, block: int, embeddings: np.ndarray) -> None:
        """Write one chunk, the embeddings (clip of the block, feature) of one strength.

        Raises
        ------
        StoreError
            If a value is not finite, which would look like a missing one; if the shape is not that of the chunk; or
            if the file system takes no more, in which case the chunk is as if it had never been begun.
        """
        if not np.isfinite(embeddings).all():
            raise StoreError(
                f"{self.path.name}: embeddings of strength {strength}, block {block} are not finite"
            )
        try:
            array = zarr.open_array(str(self.path / "embedding"), mode="r+")
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.path} is not there: workers must see the same cache folder as the run that sends them "
                "work; set AESENS_CACHE to a folder that all machines share"
            ) from error
        start = block * BLOCK
        expected = (min(BLOCK, array.shape[1] - start), array.shape[2])
        if embeddings.shape != expected:
            raise StoreError(f"{self.path.name}: chunk of shape {embeddings.shape}, expected {expected}")
        try:
            array[strength, start : start + expected[0]] = embeddings
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the store for writing, against a second run on it; the lock ends with the process at the latest.

        Raises
        ------
        StoreError
            If another run holds it; names its process, machine and since when. If its folder cannot be written.
        """
        lock = FileLock(self.path.with_suffix(".lock"), timeout=0)
        holder = self.path.with_suffix(".holder")
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(
                f"another run is extracting {self.path.name} ({_read(holder)}): wait until it ends, or stop it; this "
                "run then goes on with what is missing"
            ) from None
        except OSError as error:
            raise _cannot_write(self.path.parent, error) from error
        try:
            since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            try:
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}")
            except OSError as error:
                raise _cannot_write(holder, error) from error
            # Nobody else writes now: what is unfinished was left by a run that was killed.
            for unfinished in (self.path / "embedding").glob("*.partial"):
                unfinished.unlink(missing_ok=True)
            for unfinished in self.path.parent.glob(f".{self.path.stem}-*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def read(self) -> xr.DataArray:
        """Load all embeddings, with the dimensions (strength, clip, feature).

        Raises
        ------
        StoreError
            If chunks are missing, or damaged, which are removed.
        """
        missing = int(self.missing().sum())
        if missing:
            raise StoreError(f"{self.path.name} lacks {missing} of its chunks; run the extraction again")
        try:
            return self.open().load()["embedding"]
        except Exception as error:
            # What the decoder raises depends on what the damage looks like.
            damaged = self._remove_damaged()
            if not damaged:
                raise
            raise StoreError(
                f"{len(damaged)} of the chunks of {self.path.name} were damaged, the first of them "
                f"{damaged[0]} ({error}). They are removed: run again, and they alone are computed"
            ) from error

    def _remove_damaged(self) -> list[Path]:
        """Remove the chunks that cannot be decoded."""
        array = zarr.open_array(str(self.path / "embedding"), mode="r")
        damaged = []
        for strength, block in np.ndindex(self.missing().shape):
            try:
                array[strength, block * BLOCK : (block + 1) * BLOCK]
            except (OSError, MemoryError):
                # No fault of the chunk's.
                raise
            except Exception:
                damaged.append(self._chunk(strength, block))
        for chunk in damaged:
            chunk.unlink(missing_ok=True)
        return damaged

    def open(self) -> xr.Dataset:
        """Open the store without reading the embeddings."""
        return xr.open_zarr(self.path, consolidated=False, chunks=None)

    def _repr_html_(self) -> str:
        return self.open()._repr_html_()


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write to {path}: {error.strerror or error}. What is finished is kept: make room, or move the cache "
        "(AESENS_CACHE), and run again"
    )


def _read(holder: Path) -> str:
    try:
        return holder.read_text() or "unknown"
    except OSError:
        return "unknown"


def _create(path, address, parameters, clips, dimension):
    shape = (len(parameters), len(clips), dimension)
    text = {name: ("clip", np.array(clips[name], dtype=str)) for name in ("song", "instrument", "split")}
    template = xr.Dataset(
        # A broadcast scalar takes no memory; chunks of nothing but the fill value are not written.
        {"embedding": (("strength", "clip", "feature"), np.broadcast_to(np.float32(np.nan), shape))},
        coords={
            "strength": np.arange(shape[0]),
            "parameter": ("strength", parameters),
            "clip": np.array(clips.index, dtype=str),
            **text,
        },
        attrs={"address": canonical(address)},
    )
    encoding = {"embedding": {"chunks": (1, BLOCK, dimension), "_FillValue": np.float32(np.nan)}}
    with atomic_path(path) as temporary:
        template.to_zarr(
            temporary, zarr_format=2, encoding=encoding, consolidated=False, write_empty_chunks=False
        )
