"""What is to be embedded, what determines it (the address of a store), and the rows that are asked of that store."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from aesens.data import Dataset
from aesens.data.remember import file_hashes
from aesens.effects import Effect
from aesens.embeddings.forward import CLEAN
from aesens.embeddings.store import Store
from aesens.models import Embedder
from aesens.sources import code_of, package_versions
from aesens.syntax import reached

__all__ = ["Plan", "Stored", "made_with"]

# Packages whose versions may decide an embedding, where its code uses them.
_DECIDE = ("librosa", "numba", "pedalboard", "scipy", "soundfile", "soxr", "torch", "transformers")


@dataclass(frozen=True, eq=False)
class Plan:
    """What one model is to make of one set of clips under one effect.

    Parameters
    ----------
    model : Embedder
    effect : Effect or None
        None for the clean clips.
    parameters : np.ndarray, shape (strength,)
        In order of strength; one NaN for the clean clips.
    clips : Dataset
        Its table has a column ``split``.
    protocol : {"study", "float"}
        See `aesens.effects.render`.
    """

    model: Embedder
    effect: Effect | None
    parameters: np.ndarray
    clips: Dataset
    protocol: str = "study"

    @classmethod
    def clean(cls, model: Embedder, clips: Dataset, protocol: str = "study") -> Plan:
        """The plan of the clean clips."""
        return cls(model, None, np.array([np.nan]), clips, protocol)

    @classmethod
    def of(
        cls, model: Embedder, effects: Iterable[Effect], strengths: int | None, clips: Dataset, protocol: str
    ) -> list[Plan]:
        """A plan of the clean clips, and one of each effect at so many strengths."""
        effected = [cls(model, kind, kind.parameters(strengths), clips, protocol) for kind in effects]
        return [cls.clean(model, clips, protocol), *effected]

    @property
    def effect_name(self) -> str:
        """Name of the effect, or ``"clean"``."""
        return self.effect.name if self.effect else CLEAN

    def address(self) -> dict:
        """Everything that determines the embedding of a given clip under a given parameter.

        Raises
        ------
        aesens.syntax.EditedError
            If its code was edited after this process had imported it.
        """
        kind = type(self.model)
        roots = [("aesens.data.clips", "read_clip"), ("aesens.embeddings.forward", "embed")]
        for one in kind.__mro__:
            # A class that was made as the package went has no name in it; its bases have.
            name = one.__qualname__.partition(".")[0]
            if one.__module__.startswith("aesens.") and hasattr(sys.modules[one.__module__], name):
                roots.append((one.__module__, name))
        # Only where they say something: the plain case keeps its short address.
        more = {} if self.model.precision == "float32" else {"precision": self.model.precision}
        if self.effect:
            roots.append(("aesens.embeddings.forward", "waves"))
            process = self.effect.process
            if (getattr(process, "__module__", None) or "").startswith("aesens."):
                roots.append((process.__module__, process.__qualname__.partition(".")[0]))
            # As it is now: what was registered may have been edited since.
            settings = {key: value for key, value in self.effect.describe().items() if key != "source"}
            more["process"] = settings | {"code": code_of(process)}
        # Clean clips are the same under both protocols, unless the model itself makes a difference.
        if self.effect or kind.prepare is not Embedder.prepare:
            more["protocol"] = self.protocol
        if not kind.__module__.startswith("aesens."):
            more["class"] = code_of(kind)
        code, packages = reached(*roots)
        versions = package_versions()
        return more | {
            "model": self.model.name,
            "effect": self.effect_name,
            "weights": self.model.weights.digest,
            "options": self.model.options(),
            "device": self.model.device.type,
            "dimension": self.model.dimension,
            "seconds": self.clips.seconds,
            "code": code,
            "versions": {name: versions[name] for name in _DECIDE if name in packages and name in versions},
        }

    def rows(self) -> dict:
        """The address with what is asked of the store: what determines a table that is made of it."""
        return self.address() | {
            "parameters": [float(p) for p in self.parameters if np.isfinite(p)],
            "data": self.clips.fingerprint,
            "clips": list(self.clips.table.index),
            "split": list(self.clips.table["split"]),
        }

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """Hash of the file of each clip."""
        return tuple(file_hashes(self.clips.table["path"]))

    def store(self) -> Stored:
        """What it asks of its store, which need not be there."""
        return Stored(Store.at(self.address()), self)


@dataclass(frozen=True, eq=False)
class Stored:
    """The store of a plan's address as it was when it was asked for, and what the plan asks of it."""

    store: Store
    plan: Plan

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self.store.path

    @property
    def keys(self) -> list[float]:
        """The parameters as the store knows them: the clean clips' is 0."""
        return [float(parameter) for parameter in np.nan_to_num(self.plan.parameters)]

    def missing(self) -> np.ndarray:
        """Which embeddings are not there yet, (strength, clip)."""
        return self.store.missing(self.keys, self.plan.digests)

    def read(self) -> xr.DataArray:
        """Load them, with the dimensions (strength, clip, feature); see `Store.read`."""
        table, parameters = self.plan.clips.table, self.plan.parameters
        labels = {
            name: ("clip", np.array(table[name], dtype=str)) for name in ("song", "instrument", "split")
        }
        return xr.DataArray(
            self.store.read(self.keys, self.plan.digests),
            dims=("strength", "clip", "feature"),
            coords={
                "strength": np.arange(len(parameters)),
                "parameter": ("strength", parameters),
                "clip": np.array(table.index, dtype=str),
                **labels,
            },
            name="embedding",
        )

    def _repr_html_(self) -> str:
        rows = {"Store": self.path.name, "Strengths": len(self.keys), "Clips": len(self.plan.clips)}
        return pd.Series(rows, name="").to_frame().to_html(header=False)


def made_with(asked: Iterable[Stored]) -> list[dict]:
    """With what the embeddings of some stores were made: each different ``packages``, ``source`` and ``commit`` once.

    Empty where nothing is stored yet.
    """
    found = []
    for store in dict.fromkeys(one.store for one in asked):
        if store.path.exists():
            found += [made for made in store.about()["made"] if made not in found]
    return found
