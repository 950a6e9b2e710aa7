"""Which weights a model gets: official ones, a file of the user's, or untrained ones, and what is said of them."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from aesens.models.weights import WeightsError, WrongWeightsError, digest, fetch, files_of, hashed, verify

__all__ = ["POLICIES", "Content", "UntrainedWarning", "WeightsInfo", "given", "resolve"]

#: Which weights may be used; see the README.
POLICIES = ("auto", "pretrained", "untrained")


class Content:
    """What a weight file held when it was verified: stands where a path is only read, and for it in messages.

    The file is read once, and what was read is hashed: nobody can change it in between. `WeightsError` if that is not
    the hash that is `expected`.
    """

    def __init__(self, path: Path, expected: str):
        self.path, self.suffix = path, path.suffix
        self._bytes = path.read_bytes() if path.is_file() else b""
        if hashed(io.BytesIO(self._bytes), expected.partition(":")[0], len(self._bytes)) != expected:
            raise WrongWeightsError(
                f"{path} was changed since it was verified: expected {expected}. Nothing is computed with it; run again"
            )

    def read_bytes(self) -> bytes:
        """The verified bytes."""
        return self._bytes

    def __str__(self) -> str:
        return str(self.path)


class UntrainedWarning(UserWarning):
    """A model was built with untrained weights, because its official ones could not be had."""


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a model carries, for tables, legends and the address of a store.

    `pretrained` is False for seeded untrained weights. `source` says where they come from, for people: a file and its
    publisher, or ``"untrained, seed 0"``. `digest`, the hash of the file or ``"untrained-<seed>"``, is part of a
    store's address. `licence` is empty for untrained ones. `word` names them in tables and legends: ``pretrained``,
    ``untrained``, or ``undeclared`` where a module of the user's does not say. `why` says why official ones are not
    there, where they were wanted; `files` are those that were verified, each with its hash, and are verified again in
    memory when they are read (`read`).
    """

    pretrained: bool
    source: str
    digest: str
    licence: str = ""
    word: str = ""
    why: str = ""
    files: tuple[tuple[Path, str], ...] = ()

    def __post_init__(self):
        if not self.word:
            # The one way to set a field of a frozen class.
            object.__setattr__(self, "word", "pretrained" if self.pretrained else "untrained")

    @classmethod
    def untrained(cls, seed: int, why: str = "") -> WeightsInfo:
        """The description of weights drawn with `seed`."""
        return cls(False, f"untrained, seed {seed}", f"untrained-{seed}", why=why)

    def read(self) -> list[Content]:
        """The content of the files, verified; `WeightsError` if one of them is no longer what it was."""
        return [Content(path, expected) for path, expected in self.files]


def given(path: str | os.PathLike) -> WeightsInfo:
    """Describe a weight file of the user's own, which a model is to read instead of the official one.

    It counts as pretrained, with its SHA-256 as digest; `WeightsError` if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"the weights file {path} is missing")
    found = digest(path, "sha256")
    return WeightsInfo(True, f"{path.name}, given by the user", found, files=((path, found),))


def resolve(
    key: str, policy: str = "auto", seed: int = 0, file: str | os.PathLike | None = None
) -> WeightsInfo:
    """Decide which weights a model gets.

    Parameters
    ----------
    key : str
        Of `WEIGHTS`, e.g. ``"panns"`` or ``"openl3-mel128-music"``.
    policy : {"auto", "pretrained", "untrained"}
        ``auto``: the verified cached files, else a download, else untrained ones with an `UntrainedWarning`, whose
        reason stays in ``info.why``;
        ``pretrained``: the official ones or an error; ``untrained``: none, on purpose.
    seed : int
        Of untrained weights.
    file : path-like, optional
        Weights of the user's own instead of the official ones, see `given`; not for ``untrained``.

    Returns
    -------
    WeightsInfo
        Its files are in the order of `WEIGHTS`.

    Raises
    ------
    ValueError
        If there is no such key or policy.
    WeightsError
        If a cached file or what was downloaded is not the official one (under ``auto`` too: to go on untrained would
        hide it), or if ``pretrained`` weights cannot be had.
    """
    files = files_of(key)
    if policy not in POLICIES:
        raise ValueError(f"weights={policy!r} is not one of {', '.join(POLICIES)}")
    if policy == "untrained":
        return WeightsInfo.untrained(seed)
    if file is not None:
        if len(files) > 1:
            raise ValueError(f"{key} has {len(files)} weight files; one file cannot stand for them")
        return given(file)
    present = {one for one in files if one.path.exists()}
    for one in present:
        verify(one, one.path)
    for one in files:
        if one in present:
            continue
        try:
            fetch(one)
        except WrongWeightsError:
            raise
        except WeightsError as error:
            if policy == "pretrained":
                raise WeightsError(
                    f"weights='pretrained' asks for the official weights, but {error}", error.why
                ) from error
            warnings.warn(
                f"{one.title}: the official weights ({one.filename}) are not at hand, so the network has "
                f"UNTRAINED weights, seed {seed}, and its results are a control only. Reason: {error}",
                UntrainedWarning,
                stacklevel=3,
            )
            return WeightsInfo.untrained(seed, error.why)
    digests, first = [one.expected for one in files], files[0]
    together = f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"
    found = digests[0] if len(files) == 1 else together
    source = f"{first.title}, {first.requirement or first.url}"
    verified = tuple((one.path, one.expected) for one in files)
    return WeightsInfo(True, source, found, first.licence, files=verified)
