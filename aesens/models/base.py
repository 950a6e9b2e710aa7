"""What every embedding model offers, whatever network is inside.

Conventions: waveforms are mono float32 ``(batch, samples)`` in [-1, 1] at the model's own ``sample_rate``; all
clips of a batch have the same length. A model gives time-resolved embeddings ``(batch, frame, feature)``; the clip
embedding pools the frames (mean, as in the study) and is float32 ``(batch, feature)``. Models that see the clip as
a whole give one frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch

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
    """
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seeded(build, seed: int):
    """Call `build()` with torch's generator seeded, leaving the caller's generator as it was.

    Untrained weights are thus the same on every run and independent of what was drawn before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _full_precision(device: torch.device):
    """On a GPU, keep float32 convolutions from being rounded to TF32, cuDNN's default, unlike a CPU's."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


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
        Clips a forward pass; the class default suits 6 GB of memory.

    Attributes
    ----------
    name : str
        Registry name, e.g. ``"openl3"``.
    sample_rate : int
        Rate in Hz of the waveforms it takes.
    dimension : int
        Number of features of an embedding.
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
        # On a CPU small activations are faster: below 32 MiB the C library reuses their memory.
        self.batch_size = int(batch_size or (4 if self.device.type == "cpu" else self.default_batch_size))

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
        pool = POOLINGS[self.pooling]
        out = np.empty((len(waves), self.dimension), dtype=np.float32)
        for start in range(0, len(waves), self.batch_size):
            batch = torch.from_numpy(waves[start : start + self.batch_size]).to(self.device)
            with _full_precision(self.device):
                pooled = pool(self.frames(batch)).float().cpu().numpy()
            if pooled.shape[1] != self.dimension or not np.isfinite(pooled).all():
                raise ModelError(
                    f"{self.name} gave embeddings of shape {pooled.shape} "
                    f"(expected {self.dimension} features) or values that are not finite"
                )
            out[start : start + len(pooled)] = pooled
        return out

    def __repr__(self) -> str:
        state = "pretrained" if self.weights.pretrained else "untrained"
        return (
            f"<{type(self).__name__} {self.dimension}-d at {self.sample_rate} Hz, {state}, on {self.device}>"
        )
