"""Which weights a model gets: official ones, a file of the user's, or untrained ones, and what is said of them."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from aesens.models.weights import WeightsError, WrongWeightsError, digest, fetch, files_of, verify

__all__ = ["POLICIES", "UntrainedWarning", "WeightsInfo", "given", "resolve"]

#: Which weights may be used; see the README.
POLICIES = ("auto", "pretrained", "untrained")


class UntrainedWarning(UserWarning):
    """A model was built with untrained weights, because its official ones could not be had."""


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a model carries, for tables, legends and the address of a store.

    `pretrained` is False for seeded untrained weights. `source` says where they come from, for people: a file and its
    publisher, or ``"untrained, seed 0"``. `digest`, the hash of the file or ``"untrained-<seed>"``, is part of a
    store's address. `licence` is empty for untrained ones. `word` names them in tables and legends: ``pretrained``,
    ``untrained``, or ``undeclared`` where a module of the user's does not say. `why` says why official ones are not
    there, where they were wanted; `files` are those that were verified, each with its hash.
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

    def verify(self) -> None:
        """Raise `WeightsError` if one of the files is not what it was: what was read of it may be anything."""
        for path, expected in self.files:
            if not path.is_file() or digest(path, expected.partition(":")[0]) != expected:
                raise WrongWeightsError(
                    f"{path} was changed while it was read: expected {expected}. Nothing is computed with it; run again"
                )


def given(path: str | os.PathLike) -> tuple[list[Path], WeightsInfo]:
    """Describe a weight file of the user's own, which a model is to read instead of the official one.

    It counts as pretrained, with its SHA-256 as digest; `WeightsError` if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"the weights file {path} is missing")
    found = digest(path, "sha256")
    return [path], WeightsInfo(True, f"{path.name}, given by the user", found, files=((path, found),))


def resolve(
    key: str, policy: str = "auto", seed: int = 0, file: str | os.PathLike | None = None
) -> tuple[list[Path] | None, WeightsInfo]:
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
    paths : list of pathlib.Path, or None
        Verified files in the order of `WEIGHTS`; None for untrained weights.
    info : WeightsInfo

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
        return None, WeightsInfo.untrained(seed)
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
            return None, WeightsInfo.untrained(seed, error.why)
    digests, first = [one.expected for one in files], files[0]
    together = f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"
    found = digests[0] if len(files) == 1 else together
    source, paths = f"{first.title}, {first.requirement or first.url}", [one.path for one in files]
    verified = tuple(zip(paths, digests, strict=True))
    return paths, WeightsInfo(True, source, found, first.licence, files=verified)
