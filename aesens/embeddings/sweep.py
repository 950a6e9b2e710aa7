"""One sweep as the analysis sees it: plain arrays, and what is known of their clips.

Conventions: strengths first, then clips, then features; embeddings in float32, as the models give them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from aesens.effects import Effect

__all__ = ["Sweep"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """The embeddings of one model under one effect, with what is known of the clips.

    Attributes
    ----------
    model : str
    pretrained : bool
    effect : Effect
    parameters : np.ndarray, shape (strength,)
    clean : np.ndarray, shape (clip, feature), float32
    trajectories : np.ndarray, shape (strength, clip, feature), float32
    clips : pandas.DataFrame
        Indexed by clip, columns ``song``, ``instrument``, ``split``.
    key : str
        Hash of the addresses of both stores.
    """

    model: str
    pretrained: bool
    effect: Effect
    parameters: np.ndarray = field(repr=False)
    clean: np.ndarray = field(repr=False)
    trajectories: np.ndarray = field(repr=False)
    clips: pd.DataFrame = field(repr=False)
    key: str = field(repr=False)

    @property
    def songs(self) -> np.ndarray:
        """Song of each clip."""
        return self.clips["song"].to_numpy(dtype=str)

    @property
    def instruments(self) -> np.ndarray:
        """Instrument code of each clip."""
        return self.clips["instrument"].to_numpy(dtype=str)

    @property
    def train(self) -> np.ndarray:
        """Mask of the training clips."""
        return self.clips["split"].to_numpy(dtype=str) == "train"

    @property
    def test(self) -> np.ndarray:
        """Mask of the test clips."""
        return self.clips["split"].to_numpy(dtype=str) == "test"

    @property
    def displacements(self) -> np.ndarray:
        """Effected minus clean embeddings, (strength, clip, feature)."""
        return self.trajectories - self.clean[None]

    @property
    def labelled(self) -> tuple[np.ndarray, ...]:
        """What classifiers are trained and tested on: clean, trajectories, instruments, songs, train and test."""
        return self.clean, self.trajectories, self.instruments, self.songs, self.train, self.test

    def take(self, mask: np.ndarray) -> Sweep:
        """The same sweep with fewer clips, by a mask or by their places."""
        return replace(
            self, clean=self.clean[mask], trajectories=self.trajectories[:, mask], clips=self.clips[mask]
        )

    def _repr_html_(self) -> str:
        shown = {
            "Model": self.model if self.pretrained else f"{self.model} (untrained)",
            "Effect": self.effect.title,
            self.effect.label: ", ".join(f"{p * self.effect.display:.3g}" for p in self.parameters),
            "Clips": f"{len(self.clips)} ({self.train.sum()} training, {self.test.sum()} test)",
            "Features": self.clean.shape[1],
        }
        return pd.Series(shown).to_frame("").to_html(header=False)
