"""What was found out of files, remembered between runs by path, size and time of change where there is much to read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from aesens.cache import atomic_path, cache_dir, tqdm

__all__ = ["file_hashes", "hash_of", "remembered"]

# From this many bytes together on.
_LARGE = 500_000_000


def file_hashes(paths: Iterable[str]) -> list[str]:
    """SHA-256 of each file, in hexadecimal digits; `ValueError` if one is missing.

    They are remembered by path, size and time of modification: by this process, and those of large collections in
    ``cache_dir("data")``.
    """
    return remembered("hashes.json", [str(path) for path in paths], _known_hash, label="hashing")


def _known_hash(path: str) -> str:
    stat = _stat(path)
    return _hash_as_of(path, stat.st_size, stat.st_mtime_ns) if stat else hash_of(path)


@cache
def _hash_as_of(path: str, size: int, modified: int) -> str:
    return hash_of(path)


def hash_of(path: str) -> str:
    """SHA-256 of a file as it is now; `ValueError` if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read the audio file {path}: {error.strerror}") from error


def remembered(name: str, paths: list[str], find: Callable, *, label: str, suffix="", worth=bool) -> list:
    """``find(path)`` of every file; of many bytes together, what is `worth` it is kept in the cache's file `name`."""
    stats = [_stat(path) for path in paths]
    large = sum(stat.st_size for stat in stats if stat) >= _LARGE
    memory = cache_dir("data") / name if large else None
    known = _read_json(memory) if memory else {}
    found, fresh = [], {}
    bar = tqdm(paths, desc=label, disable=not large, leave=False)
    for path, stat in zip(bar, stats, strict=True):
        key = f"{path}|{stat.st_size}|{stat.st_mtime_ns}{suffix}" if stat else None
        if key in known:
            found.append(known[key])
            continue
        found.append(find(path))
        if key and worth(found[-1]):
            fresh[key] = found[-1]
    if memory and fresh:
        with atomic_path(memory) as temporary:
            temporary.write_text(json.dumps(known | fresh))
    return found


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _read_json(path: Path) -> dict:
    """Content of a file of remembered things; a missing or damaged one is as good as none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
