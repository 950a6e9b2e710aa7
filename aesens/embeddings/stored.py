"""The rows of a store that somebody asks for, as an array with named dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from aesens.embeddings.store import Store

__all__ = ["Stored", "made_with"]


@dataclass(frozen=True, eq=False)
class Stored:
    """What somebody asks of a store: some parameters by some clips.

    Attributes
    ----------
    store : Store
    parameters : np.ndarray, shape (strength,)
        In order of strength; NaN for the clean clips.
    clips : pandas.DataFrame
        Indexed by clip, with columns ``song``, ``instrument`` and ``split``.
    digests : tuple of str
        Hash of the file of each.
    """

    store: Store
    parameters: np.ndarray
    clips: pd.DataFrame
    digests: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self.store.path

    @property
    def keys(self) -> list[float]:
        """The parameters as the store knows them: the clean clips' is 0."""
        return [float(parameter) for parameter in np.nan_to_num(self.parameters)]

    def missing(self) -> np.ndarray:
        """Which embeddings are not there yet, (strength, clip)."""
        return self.store.missing(self.keys, self.digests)

    def read(self) -> xr.DataArray:
        """Load them, with the dimensions (strength, clip, feature); see `Store.read`."""
        labels = {
            name: ("clip", np.array(self.clips[name], dtype=str)) for name in ("song", "instrument", "split")
        }
        return xr.DataArray(
            self.store.read(self.keys, self.digests),
            dims=("strength", "clip", "feature"),
            coords={
                "strength": np.arange(len(self.parameters)),
                "parameter": ("strength", self.parameters),
                "clip": np.array(self.clips.index, dtype=str),
                **labels,
            },
            name="embedding",
        )

    def _repr_html_(self) -> str:
        rows = {"Store": self.path.name, "Strengths": len(self.parameters), "Clips": len(self.clips)}
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
