"""Extraction: every (model, effect, strength, clip) once, in batches, with no audio written to disk.

A block of clips is decoded once for all strengths; the effect is applied at the clips' native rate and channel count;
the mean over channels is resampled to each model's rate (libsoxr, high quality) unless a model wants it otherwise
(`Embedder.prepare`). What is finished stands in the store, so a stopped extraction goes on where it was, and memory
does not grow with the number of clips.

The unit of work is a `_Task`: one block of clips under one effect and parameter, through all models that want it. On a
CPU each thread takes one task on one core, since many small independent tasks use the cores better than one network
spread over them. On a GPU one network runs at a time while the other threads decode, apply effects and resample. No
forward pass reaches beyond a block, however large the GPU: which clips share a pass may decide the last bit of their
embeddings, and must not depend on where an earlier run was stopped. With a scheduler, tasks travel in shards to the
workers of a Dask cluster (`aesens.embeddings.cluster`), which write into the same stores.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from aesens.analysis.parallel import cores
from aesens.cache import tqdm
from aesens.data import Dataset, Decoded
from aesens.effects import Effect
from aesens.embeddings import forward
from aesens.embeddings.forward import CLEAN
from aesens.embeddings.plan import Plan, Stored
from aesens.embeddings.store import PATIENCE, Chunk, Store, StoreError
from aesens.models import Embedder
from aesens.sources import code_of, commit, package_hash, package_versions
from aesens.syntax import EditedError, read_so_far, unedited

__all__ = ["CLEAN", "Plan", "extract", "one_thread_each"]


def _made() -> dict:
    """With what embeddings are made in this process."""
    return {"packages": package_versions(), "source": package_hash()}


def extract(
    plans: Sequence[Plan], *, n_jobs: int = 2, progress: bool = True, scheduler: str | None = None
) -> list[Stored]:
    """Embed whatever the stores of some plans lack.

    Parameters
    ----------
    plans : sequence of Plan
        Those that share their clips and an effect share its computation.
    n_jobs : int
        Threads. With a scheduler the workers' own numbers count instead.
    progress : bool
        Whether to show a bar.
    scheduler : str, optional
        Spread the work over a Dask cluster, see `aesens.embeddings.cluster.connect`.

    Returns
    -------
    list of Stored
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
    aesens.syntax.EditedError
        If the code of an effect or a model was edited meanwhile; what was made of it is removed.
    """
    asked = [plan.store() for plan in plans]
    code = read_so_far()
    lacking = [one for one in asked if one.missing().any()]
    if not lacking:
        return asked
    with ExitStack() as stack:
        # Chapters of one run (`aesens.app.run`) wait for each other, where two runs are told to.
        if turn := os.environ.get("AESENS_TURN"):
            stack.enter_context(FileLock(turn))
        # In one order, so that two runs cannot each hold what the other waits for. Two plans may be of one store.
        for store in sorted({one.store for one in lacking}, key=lambda store: store.path):
            stack.enter_context(store.held())
        tasks = _tasks(asked)
        total = sum(len(task.names) * len(task.pieces) for task in tasks)
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
            _compute(tasks, n_jobs, tell)
        _check_code(plans, code, tasks)
    _check_complete(lacking)
    return asked


def _check_code(plans: Sequence[Plan], code: dict[tuple, str], tasks: list[_Task]) -> None:
    """Remove what this run made where its code is another by now: an import may have come after the edit."""
    try:
        for plan in plans:
            plan.address()
        unedited(code)
    except EditedError:
        for task in tasks:
            for piece in task.pieces:
                piece.store.file(piece.chunk).unlink(missing_ok=True)
        raise


def _check_complete(lacking: list[Stored]) -> None:
    for pause in PATIENCE:
        time.sleep(pause)
        left = [one for one in lacking if one.missing().any()]
        if not left:
            return
    raise StoreError(
        f"all work is done, but {left[0].path} lacks {left[0].missing().sum()} embeddings: do all workers see the "
        "same cache folder (AESENS_CACHE)? Run again for what is missing"
    )


@dataclass(frozen=True)
class _Piece:
    """A chunk that one model makes of a task's clips, and where it belongs."""

    model: Embedder
    recipe: str
    store: Store
    chunk: Chunk


@dataclass(frozen=True)
class _Task:
    """One block of clips under one effect and parameter, and the chunks that are made of its audio.

    `names` and `digests` are in the order of the block, which need not be that of the table in `clips`.
    """

    clips: Dataset
    names: tuple[str, ...]
    digests: tuple[str, ...]
    effect: Effect | None
    parameter: float
    protocol: str
    pieces: tuple[_Piece, ...]

    @property
    def block(self) -> tuple:
        """What its clips are told by."""
        return self.digests, self.clips.seconds

    @property
    def effect_name(self) -> str:
        return self.effect.name if self.effect else CLEAN


@dataclass(frozen=True)
class Shard:
    """Work for one worker: the missing tasks of one block of clips under one effect, whose audio it decodes once."""

    tasks: tuple[_Task, ...]
    made: dict

    def __len__(self) -> int:
        return sum(len(task.names) * len(task.pieces) for task in self.tasks)

    def __repr__(self) -> str:
        first = self.tasks[0]
        return f"{first.effect_name}, clips {first.names[0]} to {first.names[-1]}"


def _tasks(asked: Sequence[Stored]) -> list[_Task]:
    """What is missing, in the order of blocks; makes the stores that are not there, and room in them."""
    wanted, whose = defaultdict(dict), {}
    for one in asked:
        whose.setdefault(one.store, one.plan)
        for parameter in one.keys:
            wanted[one.store].setdefault(parameter, {}).update(dict.fromkeys(one.plan.digests))
    # Clips by their content, which two plans may know by other names.
    known = pd.concat([one.plan.clips.table.assign(digest=one.plan.digests) for one in asked])
    known = known.drop_duplicates("digest")
    recipes = {id(model): _recipe(model) for model in {one.plan.model for one in asked}}
    made = _made() | {"commit": commit()}
    pieces, order = defaultdict(list), {}
    for store, plan in whose.items():
        store.create(plan.address())
        for chunk in store.lay(wanted[store], made):
            order.setdefault(chunk.clips, len(order))
            key = (order[chunk.clips], plan.effect_name, chunk.parameter, plan.protocol, plan.clips.seconds)
            pieces[key, id(plan.effect)].append(
                (plan, _Piece(plan.model, recipes[id(plan.model)], store, chunk))
            )
    tasks, blocks = [], {}
    for place in sorted(pieces):
        plan, first = pieces[place][0]
        clips = first.chunk.clips
        if clips not in blocks:
            rows = known.set_index("digest", append=True).reset_index(0).loc[list(clips)]
            names = tuple(rows.iloc[:, 0])
            table = known.loc[sorted(names)].drop(columns="digest")
            blocks[clips] = replace(plan.clips, table=table), names
        parameter, own = first.chunk.parameter, tuple(piece for _, piece in pieces[place])
        tasks.append(_Task(*blocks[clips], clips, plan.effect, parameter, plan.protocol, own))
    return tasks


def _shards(tasks: list[_Task]) -> list[Shard]:
    """Tasks by block and effect, in which order they come."""
    groups = groupby(tasks, key=lambda task: (task.block, task.effect_name))
    made = _made()
    return [Shard(tuple(group), made) for _, group in groups]


def compute_shard(shard: Shard) -> None:
    """Compute a shard in a worker process, without what was written before the worker took it over.

    Raises
    ------
    aesens.embeddings.store.StoreError
        If the worker's packages are not those of the run, so that its embeddings would differ, or it does not see the
        stores.
    """
    if shard.made != (here := _made()):
        raise StoreError(f"this worker has {here}, the run has {shard.made}; use one environment for both")
    there = {store: store.there() for store in {piece.store for task in shard.tasks for piece in task.pieces}}
    tasks = []
    for task in shard.tasks:
        missing = [piece for piece in task.pieces if piece.chunk.place not in there[piece.store]]
        if missing:
            missing = tuple(replace(piece, model=_resident(piece)) for piece in missing)
            tasks.append(replace(task, pieces=missing))
    devices = {piece.model.device.type for task in tasks for piece in task.pieces}
    # A worker on a CPU is one thread among the workers' threads; on a GPU its other cores prepare the audio.
    _compute(tasks, n_jobs=1 if devices == {"cpu"} else min(8, cores()), tell=lambda clips, note: None)


# Of a process: the models of a worker with their recipes, and what its threads must do one at a time.
_RESIDENT: dict[tuple[str, str], tuple[str, Embedder]] = {}
_BUILDING = threading.Lock()
# The thread that calls a GPU: two networks there would only wait for each other and need the memory of both, and each
# thread that calls one has cuDNN plan all its convolutions anew, a second and more of YAMNet's.
_ON_DEVICE = ThreadPoolExecutor(max_workers=1)


def _recipe(model: Embedder) -> str:
    """Text that differs where a model or its code does; written where its source is at hand, by who starts a run."""
    settings = {
        name: value
        for name, value in sorted(model.__getstate__().items())
        if isinstance(value, (int, float, str, type(None)))
    }
    return repr((model.weights.digest, model.options(), str(model.device), settings, code_of(type(model))))


def _resident(piece: _Piece) -> Embedder:
    """The piece's model with its network, built once in a worker process for as long as its recipe stays the same."""
    place = piece.model.name, piece.model.weights.digest
    with _BUILDING:
        recipe, model = _RESIDENT.get(place, ("", None))
        if recipe != piece.recipe:
            # In the place of the other one: a worker that lives long keeps no network that nobody asks for any more.
            model = piece.model
            _RESIDENT[place] = piece.recipe, model
    return model


def _compute(tasks: list[_Task], n_jobs: int, tell: Callable[[int, str], None]) -> None:
    """Compute tasks on this machine, calling ``tell(clips, note)`` after each chunk."""
    for model in {id(piece.model): piece.model for task in tasks for piece in task.pieces}.values():
        # Built here, once: a network is made on first use, and threads would race for it.
        with _BUILDING:
            _ = model.network
    decoded = _Blocks()

    def run(task: _Task) -> None:
        # Models that want the same waves share them.
        wanted = {(piece.model.sample_rate, type(piece.model).prepare): piece.model for piece in task.pieces}
        clips = zip(task.names, decoded.clips(task), strict=True)
        given = task.effect, task.parameter, task.protocol, wanted
        setting = f"{task.effect_name} {task.parameter:g}" if task.effect else CLEAN
        try:
            waves = [forward.waves(name, clip, *given) for name, clip in clips]
        except (ArithmeticError, AttributeError, LookupError, NameError, RuntimeError, TypeError) as error:
            # Of an effect that the user wrote, or of a model's own `prepare`.
            raise ValueError(f"{setting} failed: {type(error).__name__}: {error}") from error
        batches = {key: np.stack([wave[key] for wave in waves]) for key in wanted}
        del waves
        for piece in task.pieces:
            batch = batches[piece.model.sample_rate, type(piece.model).prepare]
            embed = partial(forward.embed, piece.model, batch, setting, task.names)
            on_cpu = piece.model.device.type == "cpu"
            piece.store.write(piece.chunk, embed() if on_cpu else _ON_DEVICE.submit(embed).result())
            tell(len(task.names), f"{piece.model.name}, {task.effect_name}")

    with one_thread_each(), ThreadPoolExecutor(max(1, n_jobs)) as pool:
        # An error or an interruption ends the run at the next chunk; what is written stays.
        list(pool.map(run, tasks))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let each thread compute networks by itself."""
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
        self._blocks: dict[tuple, Future] = {}

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
                names = zip(task.names, task.digests, strict=True)
                block.set_result([forward.decode(task.clips, name, digest) for name, digest in names])
            except BaseException as error:
                block.set_exception(error)
        return block.result()
