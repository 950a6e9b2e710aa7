"""Extraction: every (model, effect, strength, clip) once, in batches, with no audio written to disk.

A block of clips is decoded once for all strengths; the effect is applied at the clips' native rate and channel count;
the mean over channels is resampled to each model's rate (libsoxr, high quality) unless a model wants it otherwise
(`Embedder.prepare`). What is finished stands in the store, so a stopped extraction goes on where it was, and memory
does not grow with the number of clips.

The unit of work is a `_Task`: one block of clips under one effect and parameter, through all models that want it. On a
CPU each thread takes one task on one core, since many small independent tasks use the cores better than one network
spread over them. On a GPU one network runs at a time while the other threads decode, apply effects and resample. No
forward pass reaches beyond a block, however large the GPU: which clips share a pass may decide the last bit of their
embeddings, and must not depend on what an earlier run left to compute. With a scheduler, tasks travel in shards to the
workers of a Dask cluster (`aesens.embeddings.cluster`), which write into the same stores.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, islice

import numpy as np
import soxr
import torch

from aesens import __version__
from aesens.analysis.parallel import cores
from aesens.cache import tqdm
from aesens.data import Dataset, Decoded
from aesens.effects import Effect, render
from aesens.embeddings.store import BLOCK, Store, StoreError
from aesens.models import Embedder, ModelError
from aesens.sources import source_of

__all__ = ["CLEAN", "Plan", "extract"]

#: Effect name of the clean clips.
CLEAN = "clean"

# Raised when the code below changes what an embedding is; part of every address.
_EXTRACTION = 4

# Seconds after which to look again for chunks that workers wrote: other machines may see them late.
_PATIENCE = (0, 1, 3, 10)


def _versions() -> dict:
    """Versions that may change an embedding."""
    return {
        "aesens": __version__,
        "extraction": _EXTRACTION,
        "soxr": soxr.__version__,
        "torch": torch.__version__,
    }


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
        """Everything that determines the embeddings."""
        # Only where they say something: the plain case keeps its short address. What a shipped class computes is
        # told by the versions; a class of the user's can change under the same name.
        more = {} if self.model.precision == "float32" else {"precision": self.model.precision}
        if type(self.model).__module__.partition(".")[0] != "aesens":
            more["class"] = source_of(type(self.model))
        # Clean clips are the same under both protocols, unless the model itself makes a difference.
        if self.effect or type(self.model).prepare is not Embedder.prepare:
            more["protocol"] = self.protocol
        return more | {
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
            "versions": _versions(),
        }

    def store(self) -> Store:
        """Its store, created empty if there is none."""
        return Store.at(self.address(), self.parameters, self.clips.table, self.model.dimension)


def extract(
    plans: Sequence[Plan], *, jobs: int = 2, progress: bool = True, scheduler: str | None = None
) -> list[Store]:
    """Embed whatever the stores of some plans lack.

    Parameters
    ----------
    plans : sequence of Plan
        Those that share their clips and an effect share its computation.
    jobs : int
        Threads. With a scheduler the workers' own numbers count instead.
    progress : bool
        Whether to show a bar.
    scheduler : str, optional
        Spread the work over a Dask cluster, see `aesens.embeddings.cluster.connect`.

    Returns
    -------
    list of Store
        In the order of `plans`, complete.

    Raises
    ------
    ValueError
        If a clip cannot be read or an effect cannot be applied to it; the message names the clip. What was finished
        before stays in the stores.
    aesens.models.ModelError
        If a network fails; the message names the model, the effect and the clips.
    aesens.embeddings.store.StoreError
        If another run is extracting one of the stores, or they cannot be written or are not seen by all workers.
    aesens.embeddings.cluster.ClusterError
        If the scheduler cannot be reached or its workers are lost.
    """
    stores = [plan.store() for plan in plans]
    lacking = [store for store in stores if store.missing().any()]
    if not lacking:
        return stores
    with ExitStack() as stack:
        # In one order, so that two runs cannot each hold what the other waits for. Two plans may be one store.
        for store in sorted(set(lacking), key=lambda store: store.path):
            stack.enter_context(store.held())
        tasks = _tasks(plans, stores)
        total = sum(len(task.clips) * len(task.chunks) for task in tasks)
        bar = stack.enter_context(
            tqdm(total=total, desc="Embedding", unit="clip", disable=not progress, mininterval=0.5)
        )

        def tell(clips: int, note: str) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(clips)

        if scheduler:
            from aesens.embeddings import cluster

            cluster.spread(compute_shard, _shards(tasks), scheduler, tell)
        else:
            _compute(tasks, jobs, tell)
    _check_complete(lacking)
    return stores


def _check_complete(stores: list[Store]) -> None:
    for pause in _PATIENCE:
        time.sleep(pause)
        lacking = [store for store in stores if store.missing().any()]
        if not lacking:
            return
    raise StoreError(
        f"all work is done, but {lacking[0].path} lacks {lacking[0].missing().sum()} chunks: do all workers see the "
        "same cache folder (AESENS_CACHE)? Run again for what is missing"
    )


@dataclass(frozen=True)
class _Chunk:
    """Where the embeddings of a task's clips by one model belong."""

    model: Embedder
    recipe: str
    store: Store
    strength: int
    block: int


@dataclass(frozen=True)
class _Task:
    """One block of clips under one effect and parameter, and the chunks that are made of its audio."""

    clips: Dataset
    block: tuple[str, int]
    effect: Effect | None
    parameter: float
    protocol: str
    chunks: tuple[_Chunk, ...]

    @property
    def effect_name(self) -> str:
        return self.effect.name if self.effect else CLEAN


@dataclass(frozen=True)
class Shard:
    """Work for one worker: the missing tasks of one block of clips under one effect, whose audio it decodes once."""

    tasks: tuple[_Task, ...]
    versions: dict

    def __len__(self) -> int:
        return sum(len(task.clips) * len(task.chunks) for task in self.tasks)

    def __repr__(self) -> str:
        first = self.tasks[0]
        return f"{first.effect_name}, clips {first.clips.clips[0]} to {first.clips.clips[-1]}"


def _tasks(plans: Sequence[Plan], stores: Sequence[Store]) -> list[_Task]:
    """What is missing, in the order of blocks."""
    chunks, places = defaultdict(list), {}
    recipes = {key: _recipe(model) for key, model in {id(p.model): p.model for p in plans}.items()}
    for plan, store in zip(plans, stores, strict=True):
        # The clean clips have no parameter; a number that equals itself lets their tasks be sorted and found.
        parameters = np.nan_to_num(plan.parameters)
        for strength, block in zip(*np.nonzero(store.missing()), strict=True):
            place = plan.clips.fingerprint, int(block), plan.effect_name
            key = (*place, float(parameters[strength]), plan.protocol)
            chunk = _Chunk(plan.model, recipes[id(plan.model)], store, int(strength), int(block))
            if all(chunk.store != other.store or strength != other.strength for other in chunks[key]):
                chunks[key].append(chunk)
            places[key] = plan
    blocks: dict[tuple[str, int], Dataset] = {}
    for key, plan in places.items():
        if key[:2] not in blocks:
            blocks[key[:2]] = _block(plan.clips, key[1])
    return [
        _Task(blocks[key[:2]], key[:2], places[key].effect, *key[3:], tuple(chunks[key]))
        for key in sorted(chunks)
    ]


def _block(clips: Dataset, block: int) -> Dataset:
    return replace(clips, table=clips.table.iloc[block * BLOCK : (block + 1) * BLOCK])


def _shards(tasks: list[_Task]) -> list[Shard]:
    """Tasks by block and effect, in which order they come."""
    groups = groupby(tasks, key=lambda task: (task.block, task.effect_name))
    return [Shard(tuple(group), _versions()) for _, group in groups]


def compute_shard(shard: Shard) -> None:
    """Compute a shard in a worker process, without what was written before the worker took it over.

    Raises
    ------
    aesens.embeddings.store.StoreError
        If the worker's packages are not those of the run, so that its embeddings would differ, or it does not see the
        stores.
    """
    if shard.versions != _versions():
        raise StoreError(
            f"this worker has {_versions()}, the run has {shard.versions}; use one environment for both"
        )
    tasks = []
    for task in shard.tasks:
        missing = [
            replace(chunk, model=_resident(chunk))
            for chunk in task.chunks
            if not chunk.store.has(chunk.strength, chunk.block)
        ]
        if missing:
            tasks.append(replace(task, chunks=tuple(missing)))
    devices = {chunk.model.device.type for task in tasks for chunk in task.chunks}
    # A worker on a CPU is one thread among the workers' threads; on a GPU its other cores prepare the audio.
    _compute(tasks, jobs=1 if devices == {"cpu"} else min(8, cores()), tell=lambda clips, note: None)


# Of a process: the models of a worker with their recipes, and what its threads must do one at a time.
_RESIDENT: dict[tuple[str, str], tuple[str, Embedder]] = {}
_BUILDING, _ON_DEVICE = threading.Lock(), threading.Lock()


def _recipe(model: Embedder) -> str:
    """Text that differs where a model or its code does; written where its source is at hand, by who starts a run."""
    settings = {
        name: value
        for name, value in sorted(model.__getstate__().items())
        if isinstance(value, (int, float, str, type(None)))
    }
    return repr((model.weights.digest, model.options(), str(model.device), settings, source_of(type(model))))


def _resident(chunk: _Chunk) -> Embedder:
    """The chunk's model with its network, built once in a worker process for as long as its recipe stays the same."""
    place = chunk.model.name, chunk.model.weights.digest
    with _BUILDING:
        recipe, model = _RESIDENT.get(place, ("", None))
        if recipe != chunk.recipe:
            # In the place of the other one: a worker that lives long keeps no network that nobody asks for any more.
            model = chunk.model
            _RESIDENT[place] = chunk.recipe, model
    return model


def _compute(tasks: list[_Task], jobs: int, tell: Callable[[int, str], None]) -> None:
    """Compute tasks on this machine, calling ``tell(clips, note)`` after each chunk."""
    for model in {id(chunk.model): chunk.model for task in tasks for chunk in task.chunks}.values():
        # Built here, once: a network is made on first use, and threads would race for it.
        with _BUILDING:
            _ = model.network
    decoded = _Blocks()

    def run(task: _Task) -> None:
        # Models that want the same waves share them.
        wanted = {(chunk.model.sample_rate, type(chunk.model).prepare): chunk.model for chunk in task.chunks}
        clips = zip(task.clips.clips, decoded.clips(task), strict=True)
        waves = [_waves(name, clip, task, wanted) for name, clip in clips]
        batches = {key: np.stack([wave[key] for wave in waves]) for key in wanted}
        del waves
        for chunk in task.chunks:
            batch = batches[chunk.model.sample_rate, type(chunk.model).prepare]
            embeddings = _embed(chunk.model, batch, task)
            chunk.store.write(chunk.strength, chunk.block, embeddings)
            tell(len(task.clips), f"{chunk.model.name}, {task.effect_name}")

    jobs, waiting = max(1, jobs), iter(tasks)
    with _one_thread_each(), ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            # A few more than there are threads: memory must not grow with the number of tasks.
            running = {pool.submit(run, task) for task in islice(waiting, 2 * jobs)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                running |= {pool.submit(run, task) for task in islice(waiting, len(done))}
        except BaseException:
            # An error or an interruption ends the run at the next chunk; what is written stays.
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _embed(model: Embedder, waves: np.ndarray, task: _Task) -> np.ndarray:
    # Two networks on one GPU would only wait for each other and need the memory of both.
    alone = None if model.device.type == "cpu" else _ON_DEVICE
    try:
        return model.embed(waves, alone=alone)
    except Exception as error:
        setting = f"{task.effect_name} {task.parameter:g}" if task.effect else CLEAN
        clips = ", ".join(_failing(model, waves, task.clips.clips, alone))
        problem = error if isinstance(error, (ModelError, ValueError)) else f"{type(error).__name__}: {error}"
        raise ModelError(f"{model.name} failed under {setting} at {clips}: {problem}") from error


def _failing(model, waves, names, alone) -> list[str]:
    """Clips at which a model fails alone, or the first and the last if it only fails at all of them together."""
    found = []
    for name, wave in zip(names, waves, strict=True):
        try:
            model.embed(wave[None], alone=alone)
        except Exception:
            found.append(name)
    return found if 0 < len(found) < len(names) else [f"{names[0]} to {names[-1]}"]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Blocks:
    """The clips of the blocks at work: decoded once, dropped when later blocks have begun."""

    def __init__(self):
        self._lock = threading.Lock()
        self._blocks: dict[tuple[str, int], Future] = {}

    def clips(self, task: _Task) -> list[Decoded]:
        with self._lock:
            block = self._blocks.get(task.block)
            first = block is None
            if first:
                # Tasks come in the order of blocks: two are at work where one ends and the next begins.
                while len(self._blocks) > 1:
                    del self._blocks[next(iter(self._blocks))]
                block = self._blocks[task.block] = Future()
        # Who comes first decodes; who wants the same block waits for it, who wants another does not.
        if first:
            try:
                block.set_result([_load(task.clips, name) for name in task.clips.clips])
            except BaseException as error:
                block.set_exception(error)
        return block.result()


def _load(clips: Dataset, name: str) -> Decoded:
    try:
        return clips.decode(name)
    except ValueError as error:
        # Clips were checked before, so this one was in order when the run began.
        raise ValueError(
            f"clip {name}: {error}. Mend or replace the file and run again: what is finished is kept. Without the clip "
            "the split is another one, and these embeddings start anew"
        ) from error


def _waves(name: str, clip: Decoded, task: _Task, models: dict) -> dict:
    """What each model is given of a clip, under the keys of `models`."""
    audio = clip.audio
    if task.effect:
        try:
            audio = render(task.effect, clip, task.parameter, task.protocol)
        except ValueError as error:
            raise ValueError(f"clip {name}: {error}") from error
    return {key: model.prepare(audio, clip.sample_rate, task.protocol) for key, model in models.items()}
