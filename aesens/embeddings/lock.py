"""One run a store: who writes to it holds it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from aesens.embeddings.description import StoreError, cannot_write

__all__ = ["hold"]


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the store for writing, against a second run on it; the lock ends with the process at the latest.

    Raises
    ------
    StoreError
        If another run holds it; names its process, machine and since when. If its folder cannot be written.
    """
    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    holder = path.with_suffix(".holder")
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"another run is extracting {path.name} ({_read(holder)}): wait until it ends, or stop it; this "
            "run then goes on with what is missing"
        ) from None
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    try:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        try:
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}")
        except OSError as error:
            raise cannot_write(holder, error) from error
        # Nobody else writes now: what is unfinished was left by a run that was killed.
        for unfinished in (path / "embedding").glob("*.partial"):
            unfinished.unlink(missing_ok=True)
        for unfinished in [*path.parent.glob(f".{path.stem}-*"), *path.glob(".zarr-*")]:
            shutil.rmtree(unfinished, ignore_errors=True)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read(holder: Path) -> str:
    try:
        return holder.read_text() or "unknown"
    except OSError:
        return "unknown"
