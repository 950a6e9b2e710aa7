"""Extraction: every (model, effect, strength, clip) once, in batches, with no audio written to disk.

A clip is decoded once a run; the effect is applied at its native rate and channel count; the mean over channels is
resampled to each model's rate (libsoxr, high quality). What is finished stands in the store, so a stopped extraction
goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import soxr
import torch

from aesens import __version__
from aesens.data import Dataset
from aesens.effects import Effect
from aesens.models import Embedder
from aesens.progress import tqdm
from aesens.store import BLOCK, Store

__all__ = ["CLEAN", "Sweep", "extract", "mono_at_rate"]

#: Effect name of the clean clips.
CLEAN = "clean"

# Raised when the code below changes what an embedding is; part of every address.
_EXTRACTION = 1


@dataclass(frozen=True, eq=False)
class Sweep:
    """What one model is to make of one set of clips under one effect.

    Parameters
    ----------
    model : Embedder
    effect : Effect or None
        None for the clean clips.
    parameters : np.ndarray, shape (strength,)
        Values in order of strength; one NaN for the clean clips.
    clips : Dataset
        Its table has a column ``split``.
    """

    model: Embedder
    effect: Effect | None
    parameters: np.ndarray
    clips: Dataset

    @classmethod
    def clean(cls, model: Embedder, clips: Dataset) -> Sweep:
        """The sweep of the clean clips."""
        return cls(model, None, np.array([np.nan]), clips)

    @property
    def effect_name(self) -> str:
        """Name of the effect, or ``"clean"``."""
        return self.effect.name if self.effect else CLEAN

    def address(self) -> dict:
        """Everything that determines the embeddings."""
        return {
            "model": self.model.name,
            "effect": self.effect_name,
            "process": self.effect.describe() if self.effect else {},
            "parameters": [float(p) for p in self.parameters if np.isfinite(p)],
            "weights": self.model.weights.digest,
            "options": self.model.options(),
            "device": self.model.device.type,
            "data": self.clips.fingerprint,
            "clips": list(self.clips.table.index),
            "split": list(self.clips.table["split"]),
            "versions": {
                "aesens": __version__,
                "extraction": _EXTRACTION,
                "soxr": soxr.__version__,
                "torch": torch.__version__,
            },
        }

    def store(self) -> Store:
        """Its store, created empty if there is none."""
        return Store.at(self.address(), self.parameters, self.clips.table, self.model.dimension)


def mono_at_rate(audio: np.ndarray, sample_rate: int, target: int) -> np.ndarray:
    """Mean over channels, resampled.

    Parameters
    ----------
    audio : np.ndarray, shape (channels, samples), float32
    sample_rate, target : int
        In Hz.

    Returns
    -------
    np.ndarray, shape (samples,), float32
        ``round(samples * target / sample_rate)`` samples.

    Examples
    --------
    >>> mono_at_rate(np.ones((2, 44100), np.float32), 44100, 16000).shape
    (16000,)
    """
    mono = audio.mean(axis=0, dtype=np.float32)
    if sample_rate == target:
        return mono
    resampled = soxr.resample(mono, sample_rate, target, quality="HQ")
    # libsoxr may end a sample early or late; clips of one batch must be equally long.
    length = round(len(mono) * target / sample_rate)
    return np.pad(resampled, (0, max(0, length - len(resampled))))[:length].astype(np.float32, copy=False)


def extract(sweeps: Sequence[Sweep], *, jobs: int = 2, progress: bool = True) -> list[Store]:
    """Embed whatever the stores of these sweeps lack.

    Parameters
    ----------
    sweeps : sequence of Sweep
        Those that share their clips and an effect share its computation.
    jobs : int
        Threads. Each takes one block of clips under one effect and parameter through all models that want it, on one
        core: many small independent jobs use the cores better than one network spread over them.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    list of Store
        In the order of `sweeps`, complete.

    Raises
    ------
    ValueError
        If a clip cannot be read or an effect cannot be applied to it; the message names the clip. What was finished
        before stays in the stores.
    """
    stores = [sweep.store() for sweep in sweeps]
    # The clean clips have no parameter; a number that equals itself lets their tasks be sorted and grouped.
    parameters = [np.nan_to_num(sweep.parameters) for sweep in sweeps]
    tasks = sorted(
        (
            _Task(sweep.clips.fingerprint, int(block), sweep.effect_name, float(parameters[i][s]), int(s), i)
            for i, (sweep, store) in enumerate(zip(sweeps, stores, strict=True))
            for s, block in zip(*np.nonzero(store.missing()), strict=True)
        ),
        key=_Task.order,
    )
    if not tasks:
        return stores
    for task in tasks:
        # Built here, once: a network is made on first use, and threads would race for it.
        _ = sweeps[task.sweep].model.network

    decoded = _Decoded()
    total = sum(len(_block(sweeps[task.sweep].clips, task.block)) for task in tasks)
    bar = tqdm(total=total, desc="Embedding", unit="clip", disable=not progress, mininterval=0.5)

    def run(group: list[_Task]) -> None:
        first = sweeps[group[0].sweep]
        names = _block(first.clips, group[0].block)
        rates = {sweeps[task.sweep].model.sample_rate for task in group}
        clips = zip(names, decoded.block(first.clips, group[0].block), strict=True)
        waves = [_waves(name, *clip, first.effect, group[0].parameter, rates) for name, clip in clips]
        batches = {rate: np.stack([wave[rate] for wave in waves]) for rate in rates}
        for task in group:
            model = sweeps[task.sweep].model
            stores[task.sweep].write(task.strength, task.block, model.embed(batches[model.sample_rate]))
            bar.set_postfix_str(f"{model.name}, {task.effect}", refresh=False)
            bar.update(len(names))

    groups = [list(group) for _, group in groupby(tasks, key=_Task.audio)]
    with bar, _one_thread_each(), ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        running = [pool.submit(run, group) for group in groups]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:
            # An error or an interruption ends the run at the next chunk; what is written stays.
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return stores


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Decoded:
    """The clips of the blocks at work: decoded once a run, dropped when later blocks have begun."""

    def __init__(self):
        self._lock = threading.Lock()
        self._blocks: dict[tuple[str, int], list[tuple[np.ndarray, int]]] = {}

    def block(self, clips: Dataset, block: int) -> list[tuple[np.ndarray, int]]:
        place = (clips.fingerprint, block)
        with self._lock:
            if place not in self._blocks:
                # Tasks come in the order of blocks: two are at work where one ends and the next begins.
                while len(self._blocks) > 1:
                    del self._blocks[next(iter(self._blocks))]
                self._blocks[place] = [clips.load(name) for name in _block(clips, block)]
            return self._blocks[place]


@dataclass(frozen=True)
class _Task:
    """One missing chunk."""

    data: str
    block: int
    effect: str
    parameter: float
    strength: int
    sweep: int

    def order(self):
        return (*self.audio(), self.sweep)

    def audio(self):
        """Chunks of equal audio share its computation."""
        return (self.data, self.block, self.effect, self.parameter)


def _block(clips: Dataset, block: int) -> list[str]:
    return list(clips.table.index[block * BLOCK : (block + 1) * BLOCK])


def _waves(clip, audio, sample_rate, effect, parameter, rates):
    try:
        processed = effect(audio, sample_rate, parameter) if effect else audio
    except ValueError as error:
        raise ValueError(f"clip {clip}: {error}") from error
    return {rate: mono_at_rate(processed, sample_rate, rate) for rate in rates}
