"""What every embedding model offers, whatever network is inside.

Conventions: waveforms are mono float32 ``(batch, samples)`` in [-1, 1] at the model's own ``sample_rate``; all
clips of a batch have the same length. A model gives time-resolved embeddings ``(batch, frame, feature)``; the clip
embedding pools the frames (mean, as in the study) and is float32 ``(batch, feature)``. Models that see the clip as
a whole give one frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch

from aesens.models.precision import check_precision, computing

__all__ = [
    "POOLINGS",
    "Embedder",
    "ModelError",
    "NoUntrainedWeights",
    "WeightsInfo",
    "choose_device",
    "seeded",
]

#: Ways to pool the frame embeddings of a clip, ``(batch, frame, feature) -> (batch, feature)``.
POOLINGS = {
    "mean": lambda frames: frames.mean(dim=1),
    "max": lambda frames: frames.amax(dim=1),
}


class ModelError(RuntimeError):
    """A model cannot be built or gave something that is not an embedding."""


class NoUntrainedWeights(ModelError):
    """There is no untrained counterpart of a model that brings its own weights."""


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a model carries, for tables, legends and the address of a store.

    Attributes
    ----------
    pretrained : bool
        False for seeded untrained weights.
    source : str
        Where they come from, for people: a file and its publisher, or ``"untrained, seed 0"``.
    digest : str
        Hash of the weight file, or ``"untrained-<seed>"``; part of a store's address.
    licence : str
        Licence of the weights, empty for untrained ones.

    Examples
    --------
    >>> WeightsInfo.untrained(7)
    WeightsInfo(pretrained=False, source='untrained, seed 7', digest='untrained-7', licence='')
    """

    pretrained: bool
    source: str
    digest: str
    licence: str = ""

    @classmethod
    def untrained(cls, seed: int) -> WeightsInfo:
        """The description of weights drawn with `seed`."""
        return cls(False, f"untrained, seed {seed}", f"untrained-{seed}")


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device to compute on: the one asked for, else CUDA where there is one, else the CPU.

    Apple's MPS is used only when asked for by name, since its float32 results differ from the CPU's.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _batch_size(device: torch.device, for_6_gb: int) -> int:
    if device.type == "cpu":
        # Small activations are faster: below 32 MiB the C library reuses their memory.
        return 4
    if device.type == "cuda" and torch.cuda.is_available():
        # By the size of the memory and not by what is free, so that a run and its continuation use the same.
        return max(1, int(for_6_gb * torch.cuda.get_device_properties(device).total_memory / 6e9))
    return for_6_gb


def seeded(build, seed: int):
    """Call `build()` with torch's generator seeded, leaving the caller's generator as it was.

    Untrained weights are thus the same on every run and independent of what was drawn before.

    Examples
    --------
    >>> draw = lambda: torch.rand(1).item()
    >>> seeded(draw, 3) == seeded(draw, 3) != seeded(draw, 4)
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class Embedder(ABC):
    """A network with its front end: waveforms in, embeddings out.

    A new model sets the class data, passes on its network (a ``torch.nn.Module`` with every parameter and buffer that
    must travel to the device) and implements `frames`.

    Parameters
    ----------
    network : torch.nn.Module or callable
        The network, front end included where it runs on the device; or a function that builds it, called when the
        first clip is embedded. Reading stored embeddings then costs no network.
    weights : WeightsInfo
        What its weights are.
    device : str or torch.device, optional
        See `choose_device`.
    pooling : {"mean", "max"}
        How frame embeddings become a clip embedding.
    batch_size : int, optional
        Clips a forward pass. By default few on a CPU; on a GPU as many as its memory holds, by the class's number for
        6 GB. A batch that does not fit after all is halved.

    Attributes
    ----------
    name : str
        Registry name, e.g. ``"openl3"``.
    sample_rate : int
        Rate in Hz of the waveforms it takes.
    dimension : int
        Number of features of an embedding.
    batch_size : int
        Clips a forward pass.

    Examples
    --------
    >>> class Loudness(Embedder):
    ...     name, sample_rate, dimension = "loudness", 16000, 1
    ...
    ...     @classmethod
    ...     def load(cls, weights="auto", seed=0, device=None, **options):
    ...         return cls(torch.nn.Identity(), WeightsInfo.untrained(seed), device="cpu", **options)
    ...
    ...     def frames(self, waves):
    ...         return waves.square().mean(dim=1)[:, None, None]
    >>> Loudness.load().embed(np.full((2, 16000), 0.5, np.float32)).tolist()
    [[0.25], [0.25]]
    """

    name: ClassVar[str]
    sample_rate: ClassVar[int]
    dimension: int
    default_batch_size: ClassVar[int] = 32

    def __init__(self, network, weights, *, device=None, pooling="mean", batch_size=None):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not one of {sorted(POOLINGS)}")
        self.device = choose_device(device)
        self._source = network
        self.weights = weights
        self.pooling = pooling
        self._precision = "float32"
        self.batch_size = int(batch_size or _batch_size(self.device, self.default_batch_size))

    @property
    def precision(self) -> str:
        """Arithmetic of the network, one of `aesens.models.precision.PRECISIONS`; may be set."""
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        self._precision = check_precision(precision, self.device)

    def __getstate__(self) -> dict:
        # A model travels to another process as the recipe of its network, which is built there.
        return {key: value for key, value in self.__dict__.items() if key != "network"}

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network, in evaluation mode on the device."""
        # Built on first use, which may lie within inference mode: its tensors must be ordinary ones all the same.
        with torch.inference_mode(False):
            built = self._source if isinstance(self._source, torch.nn.Module) else self._source()
        return built.to(self.device).eval().requires_grad_(False)

    @abstractmethod
    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed a batch on the device.

        Parameters
        ----------
        waves : torch.Tensor, shape (batch, samples), float32, on ``self.device``

        Returns
        -------
        torch.Tensor, shape (batch, frame, feature), float32
        """

    def options(self) -> dict:
        """Settings beyond the weights that change an embedding; part of a store's address."""
        return {"pooling": self.pooling}

    @torch.inference_mode()
    def embed(self, waves: np.ndarray) -> np.ndarray:
        """Embed mono clips of equal length.

        Parameters
        ----------
        waves : np.ndarray, shape (clip, samples), float32
            Mono waveforms at ``self.sample_rate``.

        Returns
        -------
        np.ndarray, shape (clip, feature), float32

        Raises
        ------
        ValueError
            If `waves` is not two-dimensional, is empty, or holds values that are not finite.
        ModelError
            If the network gives values that are not finite or of the wrong shape.
        """
        waves = np.ascontiguousarray(waves, dtype=np.float32)
        if waves.ndim != 2 or waves.shape[1] == 0:
            raise ValueError(f"waves must be (clip, samples) with samples > 0, got shape {waves.shape}")
        if not np.isfinite(waves).all():
            raise ValueError(f"waves hold values that are not finite; {self.name} was not run")
        out = np.empty((len(waves), self.dimension), dtype=np.float32)
        start = 0
        while start < len(waves):
            batch = waves[start : start + self.batch_size]
            try:
                pooled = self._pooled(batch)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                # What else is on the device decides how much fits.
                self.batch_size = -(-self.batch_size // 2)
                continue
            if pooled.shape != (len(batch), self.dimension) or not np.isfinite(pooled).all():
                raise ModelError(
                    f"{self.name} gave embeddings of shape {pooled.shape} "
                    f"(expected {self.dimension} features) or values that are not finite"
                )
            out[start : start + len(batch)] = pooled
            start += len(batch)
        return out

    def _pooled(self, batch: np.ndarray) -> np.ndarray:
        with computing(self.precision, self.device):
            frames = self.frames(torch.from_numpy(batch).to(self.device))
        return POOLINGS[self.pooling](frames.float()).cpu().numpy()

    def __repr__(self) -> str:
        state = "pretrained" if self.weights.pretrained else "untrained"
        return (
            f"<{type(self).__name__} {self.dimension}-d at {self.sample_rate} Hz, {state}, on {self.device}>"
        )
