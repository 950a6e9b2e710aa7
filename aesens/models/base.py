"""What every embedding model offers, whatever network is inside.

Conventions: waveforms are mono float32 ``(batch, samples)`` in [-1, 1] at the model's own ``sample_rate``; all
clips of a batch have the same length. A model gives time-resolved embeddings ``(batch, frame, feature)``; the clip
embedding pools the frames (mean, as in the study) and is float32 ``(batch, feature)``. Models that see the clip as
a whole give one frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, wraps
from typing import ClassVar

import numpy as np
import soxr
import torch

from aesens.models.policies import Content, WeightsInfo, resolve
from aesens.models.precision import PRECISIONS, computing

__all__ = [
    "POOLINGS",
    "Embedder",
    "ModelError",
    "NoUntrainedWeights",
    "choose_device",
    "mono_at_rate",
    "reads",
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


def choose_device(device: str | torch.device | None = None, *, here: bool = True) -> torch.device:
    """Return the device to compute on: the one asked for, else CUDA where there is one, else the CPU.

    Apple's MPS is used only when asked for by name, since its float32 results differ from the CPU's.

    `here` says whether a GPU must be one of this machine, and not of a worker elsewhere. `ValueError` names the devices
    that there are if this one is not among them.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    names += ["mps"] if torch.backends.mps.is_available() else []
    known = {(one.type, one.index or 0) for one in map(torch.device, names)}
    with suppress(RuntimeError):  # torch's message lists all kinds of devices, and not those that there are
        chosen = torch.device(device)
        if (chosen.type == "cuda" and not here) or (chosen.type, chosen.index or 0) in known:
            return chosen
    raise ValueError(f"device={str(device)!r} is not here; there are {', '.join(names)}")


def reads(expected: str) -> Callable:
    """Decorate a function that reads the weights file given first, so that any other file is named in its error.

    Whatever the function raises becomes a `ModelError`, which says that the file is not `expected`.
    """

    def decorate(read):
        @wraps(read)
        def checked(path, *arguments):
            try:
                return read(path, *arguments)
            except ModelError:
                raise
            # The readers of these formats raise almost anything when they are given another one.
            except Exception as error:
                raise ModelError(f"{path} is not {expected} ({type(error).__name__}: {error})") from error

        return checked

    return decorate


def mono_at_rate(audio: np.ndarray, sample_rate: int, target: int) -> np.ndarray:
    """Mean over channels, resampled (libsoxr, high quality).

    Parameters
    ----------
    audio : np.ndarray, shape (channels, samples), float32
    sample_rate, target : int
        In Hz.

    Returns
    -------
    np.ndarray, shape (samples,), float32
        ``round(samples * target / sample_rate)`` samples.
    """
    mono = audio.mean(axis=0, dtype=np.float32)
    if sample_rate == target:
        return mono
    resampled = soxr.resample(mono, sample_rate, target, quality="HQ")
    # libsoxr may end a sample early or late; clips of one batch must be equally long.
    length = round(len(mono) * target / sample_rate)
    return np.pad(resampled, (0, max(0, length - len(resampled))))[:length].astype(np.float32, copy=False)


def seeded(build, seed: int):
    """Call `build()` with torch's generator seeded, leaving the caller's generator as it was.

    Untrained weights are thus the same on every run and independent of what was drawn before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class Embedder(ABC):
    """A network with its front end: waveforms in, embeddings out.

    A new model sets the class data and implements `frames`. Either it implements `build` too, and `load` gives it the
    official weights that `weights_key` names, or it has a `load` of its own that hands over its network.

    Parameters
    ----------
    network : torch.nn.Module, callable or None
        The network, with every parameter and buffer that must travel to the device, front end included where it runs
        there; or a function that builds it, called when the first clip is embedded, so that reading stored embeddings
        costs no network. None where `load` lets `build` make it.
    weights : WeightsInfo
        What its weights are.
    device : str or torch.device, optional
        See `choose_device`. It need not be here before the network is built.
    pooling : {"mean", "max"}
        How frame embeddings become a clip embedding.
    batch_size : int, optional
        Clips a forward pass. By default few on a CPU; on a GPU as many as its memory holds, by the class's number for
        6 GB. A batch that does not fit after all is halved.
    **settings
        The class's own, see `defaults`.

    Attributes
    ----------
    name, sample_rate, dimension
        Registry name, e.g. ``"openl3"``; rate in Hz of the waveforms it takes; number of features of an embedding.
    otherwise : str
        What its weights are called where they are not pretrained.
    defaults, choices : dict
        Settings of the class with what they are by default, which change an embedding; and the values they may have,
        where these can be listed.
    settings : dict
        Those of this model.
    """

    name: ClassVar[str]
    sample_rate: ClassVar[int]
    dimension: int
    otherwise: ClassVar[str] = "untrained"
    defaults: ClassVar[Mapping[str, object]] = {}
    choices: ClassVar[Mapping[str, tuple]] = {}
    default_batch_size: ClassVar[int] = 32
    # Small activations are faster on a CPU: below 32 MiB the C library reuses their memory.
    cpu_batch_size: ClassVar[int] = 4

    def __init__(self, network, weights, *, device=None, pooling="mean", batch_size=None, **settings):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not one of {sorted(POOLINGS)}")
        if unknown := [name for name in settings if name not in self.defaults]:
            raise ValueError(f"model {self.name} does not take these options ({str(unknown)[1:-1]})")
        self.settings = {**self.defaults, **settings}
        for name, values in self.choices.items():
            value = self.settings[name]
            # By type too: 1 is not True.
            if not any(type(value) is type(one) and value == one for one in values):
                raise ValueError(f"{name}={value!r} is not one of {', '.join(map(str, values))}")
        self.device = choose_device(device, here=False)
        self._source = network
        self.weights = weights
        self.pooling = pooling
        self._precision = "float32"
        self._batch_size = int(batch_size) if batch_size else None

    @classmethod
    def load(cls, weights="auto", seed=0, device=None, *, weights_file=None, **options) -> Embedder:
        """Make the model with its weights; its network is built when the first clip is embedded.

        See `aesens.models.load_model` for `weights`, `seed` and what is raised. `weights_file` holds weights of the
        same network, to be read instead of the official ones; `options` are those of the class.
        """
        model = cls(None, WeightsInfo.untrained(seed), device=device, **options)
        model.weights, model._seed = resolve(model.weights_key, weights, seed, weights_file), seed
        return model

    @property
    def weights_key(self) -> str:
        """Which of `aesens.models.weights.WEIGHTS` are this model's."""
        return self.name

    def build(self, files: list[Content] | None, seed: int) -> torch.nn.Module:
        """The network with the weights of files, whose verified content is given, or with new ones where there is None.

        Torch's generator has been seeded with `seed` before.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither a network nor a way to build one")

    @property
    def batch_size(self) -> int:
        """Clips a forward pass; may be set."""
        # Asked of the device where the network runs: what starts a run on a cluster may have none like it.
        return self._batch_size or self._usual_batch_size()

    @batch_size.setter
    def batch_size(self, clips: int) -> None:
        self._batch_size = int(clips)

    def _usual_batch_size(self) -> int:
        if self.device.type == "cpu":
            return self.cpu_batch_size
        if self.device.type == "cuda" and torch.cuda.is_available():
            # By the size of the memory and not by what is free, so that a run and its continuation use the same.
            memory = torch.cuda.get_device_properties(self.device).total_memory
            return max(1, int(self.default_batch_size * memory / 6e9))
        return self.default_batch_size

    @property
    def precision(self) -> str:
        """Arithmetic of the network, one of `aesens.models.precision.PRECISIONS`; may be set."""
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision!r} is not one of {', '.join(PRECISIONS)}")
        if precision == "tf32" and self.device.type != "cuda":
            raise ValueError(
                f"precision='tf32' needs a CUDA device, not {self.device.type}; use float32 or bf16"
            )
        self._precision = precision

    def __getstate__(self) -> dict:
        # A model travels to another process as the recipe of its network, which is built there.
        return {key: value for key, value in self.__dict__.items() if key != "network"}

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network, in evaluation mode on the device."""
        try:
            choose_device(self.device)
        except ValueError as error:
            raise ModelError(
                f"{self.name} cannot be built: {error}. Choose another --device, or workers that have this one"
            ) from None
        # Built on first use, which may lie within inference mode: its tensors must be ordinary ones all the same.
        with torch.inference_mode(False):
            if self._source is None:
                files = self.weights.read() or None
                built = seeded(lambda: self.build(files, self._seed), self._seed)
            else:
                built = self._source if isinstance(self._source, torch.nn.Module) else self._source()
            return built.to(self.device).eval().requires_grad_(False)

    def prepare(self, audio: np.ndarray, sample_rate: int, protocol: str) -> np.ndarray:
        """Make of a clip the waveform that this model hears: here the mean over channels, resampled.

        Parameters
        ----------
        audio : np.ndarray, shape (channels, samples), float32
        sample_rate : int
            Of `audio`, in Hz.
        protocol : {"study", "float"}
            See `aesens.effects.PROTOCOLS`.

        Returns
        -------
        np.ndarray, shape (samples,), float32
            At ``self.sample_rate``. Clips equally long at one rate must come out equally long, whatever their number
            of channels, so that they can share a batch.
        """
        return mono_at_rate(audio, sample_rate, self.sample_rate)

    @abstractmethod
    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed a batch on the device.

        ``(batch, samples)`` to ``(batch, frame, feature)``, both float32 and on ``self.device``.
        """

    def options(self) -> dict:
        """Settings beyond the weights that change an embedding; part of a store's address."""
        return {"pooling": self.pooling, **self.settings}

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
            If the network gives values that are not finite or of the wrong shape, or the device's memory does not hold
            it with a single clip.
        """
        waves = np.ascontiguousarray(waves, dtype=np.float32)
        if waves.ndim != 2 or waves.shape[1] == 0:
            raise ValueError(f"waves must be (clip, samples) with samples > 0, got shape {waves.shape}")
        if not np.isfinite(waves).all():
            raise ValueError(f"waves hold values that are not finite; {self.name} was not run")
        staged = torch.from_numpy(waves)
        if self.device.type == "cuda":
            _ = self.network  # which says so where there is no GPU
            # From pinned memory the GPU fetches them itself, while the network is being called.
            staged = staged.pin_memory()
        found = self._in_batches(staged)
        if found.shape != (len(waves), self.dimension) or not np.isfinite(found).all():
            raise ModelError(
                f"{self.name} gave embeddings of shape {found.shape} "
                f"(expected {self.dimension} features) or values that are not finite"
            )
        return found

    @torch.inference_mode()
    def _in_batches(self, waves: torch.Tensor) -> np.ndarray:
        parts: list[np.ndarray] = []
        start = 0
        while start < len(waves):
            batch = waves[start : start + self.batch_size]
            try:
                parts.append(self._pooled(batch))
                start += len(batch)
                continue
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise ModelError(
                        f"the memory of {self.device} does not hold {self.name} with a single clip: end what else runs "
                        "there, or choose another --device"
                    ) from error
            # What else is on the device decides how much fits. By now the traceback, and with it what the failed pass
            # held, is gone.
            self.batch_size = -(-len(batch) // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)

    def _pooled(self, batch: torch.Tensor) -> np.ndarray:
        with computing(self.precision, self.device):
            # A copy: a network that works in place changes neither another's input nor, after a halving, its own.
            frames = self.frames(batch.to(self.device, non_blocking=True, copy=True))
        return POOLINGS[self.pooling](frames.float()).cpu().numpy()

    def __repr__(self) -> str:
        kind, state = type(self).__name__, self.weights.word
        return f"<{kind} {self.dimension}-d at {self.sample_rate} Hz, {state}, on {self.device}>"
