"""Embeddings on disk: one Zarr store for all that one model makes under one effect, found by what determines it.

A store holds the variable ``embedding`` with the dimensions ``(parameter, row, feature)``, float32. A row belongs to
a clip, known by the hash of its file, and not to a data set, a split or a seed: these choose rows when a store is
read, and whoever asks for other clips or parameters adds to it what it lacks. Rows are written in blocks: a chunk
holds the embeddings of one block of clips under one parameter, with a checksum (Zarr's crc32c), and behind the
features of each row four numbers of 16 bits that say whose it is, so that a chunk in another's place is noticed. It is
written as a whole by an atomic rename: a chunk that exists is complete whatever became of its writer, and a run that
was stopped goes on with those that are missing. What is damaged is found when it is read, removed and told.

The store's folder name ends in a hash of its address, a dictionary of everything that determines an embedding of a
given clip: a changed setting leads to another folder, never to stale embeddings. Address, parameters, blocks, their
size and the software that made them stand in the store's attributes, under a checksum too.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import zarr
from filelock import FileLock, Timeout

from aesens.cache import cache_dir
from aesens.embeddings import description
from aesens.embeddings.description import StoreError, address_hash, cannot_write, canonical

__all__ = ["BLOCK", "PATIENCE", "Chunk", "Store", "StoreError", "address_hash", "canonical"]

#: Clips a chunk of a new store; one that is there keeps its own.
BLOCK = 32

#: Seconds after which to look again for what another machine wrote, which may show late.
PATIENCE = (0, 1, 3, 10)

# Numbers behind the features of a row.
_KEY = 4


@dataclass(frozen=True)
class Chunk:
    """What is written at a time: the clips of a block under one parameter, and its place in the array."""

    parameter: float
    clips: tuple[str, ...]
    place: tuple[int, int]


@dataclass(frozen=True)
class Store:
    """A store, in the folder of a Zarr group; see `at`."""

    path: Path

    @classmethod
    def at(cls, address: dict, root=None) -> Store:
        """Return the store of an address, whether it is there or not.

        Parameters
        ----------
        address : dict
            Everything that determines the embedding of a clip; ``dimension`` is the number of its features.
        root : path-like, optional
            Folder of all stores; by default ``store`` in the cache.
        """
        parts = (str(address[key]) for key in ("model", "effect") if isinstance(address.get(key), str))
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))
        root = Path(root) if root is not None else cache_dir("store")
        return cls(root / f"{stem}-{address_hash(address)}.zarr")

    def about(self) -> dict:
        """The store's attributes: ``parameters``, ``blocks`` (clips of each), ``made`` (with what) and others."""
        return description.read(self.path)

    def create(self, address: dict) -> None:
        """Make it empty, unless it is there."""
        if not self.path.exists():
            description.create(self.path, address, BLOCK, address["dimension"] + _KEY)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the store for writing, against a second run on it; the lock ends with the process at the latest.

        `StoreError` if another run holds it, which names its process, machine and since when; or if its folder cannot
        be written.
        """
        lock, holder = FileLock(self.path.with_suffix(".lock"), timeout=0), self.path.with_suffix(".holder")
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(
                f"another run is extracting {self.path.name} ({_read(holder)}): wait until it ends, or stop it; this "
                "run then goes on with what is missing"
            ) from None
        except OSError as error:
            raise cannot_write(self.path.parent, error) from error
        try:
            since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            try:
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}")
            except OSError as error:
                raise cannot_write(holder, error) from error
            # Nobody else writes now: what is unfinished was left by a run that was killed.
            for unfinished in (self.path / "embedding").glob("*.partial"):
                unfinished.unlink(missing_ok=True)
            for unfinished in [*self.path.parent.glob(f".{self.path.stem}-*"), *self.path.glob(".zarr-*")]:
                shutil.rmtree(unfinished, ignore_errors=True)
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def there(self) -> set[tuple[int, int]]:
        """Places of the chunks that are there; an empty file or a folder is none."""
        found = set()
        with suppress(FileNotFoundError), os.scandir(self.path / "embedding") as entries:
            for entry in entries:
                place = re.fullmatch(r"c\.(\d+)\.(\d+)\.0", entry.name)
                # One that vanishes meanwhile, or a link that leads nowhere, is not there.
                with suppress(FileNotFoundError):
                    if place and entry.is_file() and entry.stat().st_size:
                        found.add((int(place[1]), int(place[2])))
        return found

    def file(self, chunk: Chunk | tuple[int, int]) -> Path:
        """Where a chunk lies."""
        parameter, block = chunk.place if isinstance(chunk, Chunk) else chunk
        return self.path / "embedding" / f"c.{parameter}.{block}.0"

    def missing(self, parameters: Sequence[float], clips: Sequence[str]) -> np.ndarray:
        """Which rows are not there yet, (parameter, clip)."""
        if not self.path.exists():
            return np.ones((len(parameters), len(clips)), dtype=bool)
        stored = _stored(self.about(), self.there())
        return np.array([[c not in stored.get(p, ()) for c in clips] for p in map(float, parameters)])

    def lay(self, wanted: Mapping[float, Sequence[str]], made: dict) -> list[Chunk]:
        """Deal the clips that are missing under each parameter to blocks; the store must be `held`.

        Parameters
        ----------
        wanted : mapping
            The clips that are asked for, by parameter.
        made : dict
            With what they will be made; kept in the attributes.

        Returns
        -------
        list of Chunk
            To be written. Blocks that are there are taken where all of their clips are missing, so that a run which
            was stopped goes on with the same ones: which clips share a pass may decide an embedding's last bit.
        """
        about = self.about()
        chunks = _deal(wanted, about, _stored(about, self.there()))
        if chunks:
            about["made"] += [made] if made not in about["made"] else []
            shape = (len(about["parameters"]), len(about["blocks"]) * about["block"])
            try:
                array = description.open_array(self.path, "r+")
                # The array first: it may be larger than the attributes say, not smaller.
                if array.shape[:2] != shape:
                    array.resize((*shape, array.shape[2]))
                description.describe(self.path, about)
                for chunk in chunks:
                    if self.file(chunk).is_dir():
                        shutil.rmtree(self.file(chunk))
            except OSError as error:
                raise cannot_write(self.path, error) from error
        return chunks

    def write(self, chunk: Chunk, embeddings: np.ndarray) -> None:
        """Write one chunk, the embeddings (clip of the block, feature) of one parameter.

        Raises
        ------
        StoreError
            If a value is not finite; if the shape is not that of the chunk; or if the file system takes no more, in
            which case the chunk is as if it had never been begun.
        """
        if not np.isfinite(embeddings).all():
            raise StoreError(f"{self.path.name}: embeddings under {chunk.parameter:g} are not finite")
        parameter, block = chunk.place
        for pause in PATIENCE:
            time.sleep(pause)
            array = description.open_array(self.path, "r+")
            rows = slice(block * array.chunks[1], (block + 1) * array.chunks[1])
            # It was enlarged by who sends the work, maybe on another machine.
            if array.shape[0] > parameter and array.shape[1] >= rows.stop:
                break
        expected = (len(chunk.clips), array.shape[2] - _KEY)
        if embeddings.shape != expected:
            raise StoreError(f"{self.path.name}: chunk of shape {embeddings.shape}, expected {expected}")
        content = np.full((array.chunks[1], array.shape[2]), np.nan, dtype=np.float32)
        content[: len(chunk.clips), :-_KEY] = embeddings
        content[: len(chunk.clips), -_KEY:] = self._keys(chunk.parameter, chunk.clips)
        try:
            array[parameter, rows] = content
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _keys(self, parameter: float, clips: Sequence[str]) -> np.ndarray:
        """What says whose a row is, (clip, 4): a hash of store, parameter and clip, in numbers that float32 holds."""
        begin = f"{self.path.stem[-16:]} {parameter!r} "
        rows = (hashlib.blake2b((begin + clip).encode(), digest_size=2 * _KEY).digest() for clip in clips)
        return np.frombuffer(b"".join(rows), dtype="<u2").reshape(-1, _KEY).astype(np.float32)

    def read(self, parameters: Sequence[float], clips: Sequence[str]) -> np.ndarray:
        """Load the embeddings of some clips under some parameters, (parameter, clip, feature).

        Raises
        ------
        StoreError
            If rows are missing; or if chunks are damaged or not those of their place, which are removed.
        """
        if lacking := int(self.missing(parameters, clips).sum()):
            raise StoreError(
                f"{self.path.name} lacks {lacking} of these embeddings; run the extraction again"
            )
        about, there, array = self.about(), self.there(), description.open_array(self.path)
        values = np.empty((len(parameters), len(clips), array.shape[2] - _KEY), dtype=np.float32)
        wanted, damaged = set(clips), []
        for position, parameter in enumerate(map(float, parameters)):
            row, found = about["parameters"].index(parameter), {}
            blocks = {
                n: b for n, b in enumerate(about["blocks"]) if (row, n) in there and wanted.intersection(b)
            }
            content, first = _content(array, row, blocks), min(blocks, default=0)
            for number, block in blocks.items():
                start = (number - first) * about["block"]
                keys = content[start : start + len(block), -_KEY:]
                if np.array_equal(keys, self._keys(parameter, block)):
                    found |= {clip: start + place for place, clip in enumerate(block)}
                else:
                    damaged.append(self.file((row, number)))
            if not damaged:
                values[position] = content[[found[clip] for clip in clips], :-_KEY]
        for chunk in damaged:
            chunk.unlink(missing_ok=True)
        if damaged:
            raise StoreError(
                f"{len(damaged)} of the chunks of {self.path.name} were damaged or not their own, the first of them "
                f"{damaged[0]}. They are removed: run again, and they alone are computed"
            )
        with suppress(OSError):
            os.utime(self.path)  # the last use, by which it may be pruned
        return values


def _read(holder: Path) -> str:
    """Who holds a store."""
    with suppress(OSError):
        return holder.read_text() or "unknown"
    return "unknown"


def _stored(about: dict, there: set[tuple[int, int]]) -> dict[float, set[str]]:
    """The clips whose embeddings are there, by parameter."""
    stored: dict[float, set[str]] = {}
    for row, block in there:
        # A chunk beyond what the attributes say was begun by a run that was killed.
        if row < len(about["parameters"]) and block < len(about["blocks"]):
            stored.setdefault(about["parameters"][row], set()).update(about["blocks"][block])
    return stored


def _content(array: zarr.Array, row: int, blocks) -> np.ndarray:
    """Rows under one parameter, from the first of the blocks to the last; what cannot be decoded is as not there."""
    size = array.chunks[1]
    rows = slice(min(blocks, default=0) * size, (max(blocks, default=-1) + 1) * size)
    try:
        return array[row, rows]
    except (OSError, MemoryError):
        # No fault of the chunks'.
        raise
    except Exception:  # what the decoder raises depends on what the damage looks like
        content = np.full((rows.stop - rows.start, array.shape[2]), np.nan, dtype=np.float32)
    for number in blocks:
        own = slice(number * size, (number + 1) * size)
        try:
            content[own.start - rows.start : own.stop - rows.start] = array[row, own]
        except (OSError, MemoryError):
            raise
        except Exception:
            continue
    return content


def _deal(wanted: Mapping[float, Sequence[str]], about: dict, stored: dict[float, set[str]]) -> list[Chunk]:
    """Chunks of what is wanted and not stored; new parameters and blocks are added to `about`."""
    blocks, chunks = about["blocks"], []
    # Only those of the clips that are asked for can be of use.
    asked = {clip for clips in wanted.values() for clip in clips}
    usable = {number: block for number, block in enumerate(blocks) if asked.issuperset(block)}
    for parameter, clips in wanted.items():
        left = dict.fromkeys(clip for clip in clips if clip not in stored.get(parameter, ()))
        if left and parameter not in about["parameters"]:
            about["parameters"].append(parameter)
        found = []
        for number, block in usable.items():
            if all(clip in left for clip in block):
                found.append(number)
                for clip in block:
                    del left[clip]
        rest = list(left)
        for start in range(0, len(rest), about["block"]):
            found.append(len(blocks))
            usable[len(blocks)] = rest[start : start + about["block"]]
            blocks.append(usable[len(blocks)])
        if found:
            row = about["parameters"].index(parameter)
            chunks += [Chunk(parameter, tuple(blocks[number]), (row, number)) for number in found]
    return chunks
