"""Spreading work over the workers of a Dask cluster.

Conventions: a *scheduler* is named as ``tcp://host:port``, by the path of the file that ``dask scheduler
--scheduler-file`` wrote, or as ``slurm`` or ``slurm:N``, which starts N workers as SLURM jobs through dask-jobqueue
with the settings of the user's Dask configuration (an example: scripts/jobqueue.yaml). Client and workers share the
file system that holds the cache folder. A worker that dies gives its work back to the scheduler, which sends it to
another; what it wrote stays. Without workers a run waits, and says so. Networks run on the workers' device, which need
not be that of the machine where the run was started (`device_of`).
"""

from __future__ import annotations

import ctypes
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path

from aesens.cache import tqdm
from aesens.sources import imported_files

__all__ = ["ClusterError", "connect", "device_of", "spread"]

# To wait for a scheduler, and between two looks at the workers.
_SECONDS, _LOOK = 30, 10
# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class ClusterError(RuntimeError):
    """The cluster cannot be reached, or lost a piece of work several times."""


@contextmanager
def connect(scheduler: str) -> Iterator:
    """Connect to a scheduler, or start one where it is ``slurm``; gives a ``distributed.Client``.

    Raises
    ------
    ClusterError
        If a package is missing or the scheduler does not answer within half a minute.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            f"a scheduler needs the package distributed ({error}): pip install distributed"
        ) from error
    if scheduler.partition(":")[0] == "slurm":
        with _slurm(scheduler) as cluster, Client(cluster) as client:
            yield client
        return
    place = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**place, timeout=_SECONDS)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler` and workers with "
            "`dask worker`, and give the address it prints"
        ) from error
    with client:
        yield client


def _slurm(scheduler: str):
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ClusterError(
            f"scheduler={scheduler!r} needs dask-jobqueue ({error}): pip install dask-jobqueue"
        ) from error
    number = scheduler.partition(":")[2] or "1"
    if not number.isdigit() or int(number) < 1:
        raise ClusterError(f"scheduler={scheduler!r}: expected slurm:N with N workers")
    try:
        cluster = SLURMCluster()
    except (ValueError, TypeError, OSError) as error:
        raise ClusterError(
            f"no SLURM cluster from your Dask configuration ({error}); see scripts/jobqueue.yaml for an example"
        ) from error
    # Not scale(): a job that ends at its time limit is to be followed by another.
    cluster.adapt(minimum_jobs=int(number), maximum_jobs=int(number))
    return cluster


def device_of(client) -> str:
    """Return the device that a client's workers have, ``"cuda"`` or ``"cpu"``, waiting for the first of them.

    Raises
    ------
    ClusterError
        If some workers have a GPU and others have none, or the scheduler is gone.
    """
    with _reaching(client):
        _await_workers(client)
        found = client.run(_device)
    kind, *more = {"cuda" if name else "cpu" for name in found.values()}
    if more:
        without = ", ".join(sorted(worker for worker, name in found.items() if not name))
        raise ClusterError(
            f"of {len(found)} workers some have a GPU and some have none ({without}): embeddings of the two differ in "
            "their last digits. Choose with --device cuda or --device cpu, or end the workers of one kind"
        )
    titles = ", ".join(sorted(set(filter(None, found.values()))))
    print(f"device of the {len(found)} workers: {kind}" + (f" ({titles})" if titles else ""), flush=True)
    return kind


def _device() -> str:
    """Name of this process's GPU, empty if there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _await_workers(client) -> None:
    from distributed import TimeoutError as NoWorkers

    while True:
        try:
            client.wait_for_workers(1, timeout=_LOOK)
            return
        except NoWorkers:
            _say(f"no worker at {client.scheduler.address} yet: waiting, start one with `dask worker`")


@contextmanager
def _watching(client) -> Iterator[None]:
    """Wait for a worker; then say when the last one has left, and when there is one again."""
    _await_workers(client)
    ended = threading.Event()

    def watch():
        before = True
        while not ended.wait(_LOOK):
            try:
                now = bool(client.nthreads())
            except Exception:
                # Who waits for the results learns of it.
                return
            if now != before:
                _say("workers are back" if now else "the last worker has left: waiting for another")
            before = now

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _say(note: str) -> None:
    tqdm.write(note, file=sys.stderr)


@contextmanager
def _reaching(client) -> Iterator[None]:
    """Explain what comes of a scheduler that is gone."""
    try:
        yield
    except (CancelledError, OSError) as error:
        if isinstance(error, OSError) and client.status == "running":
            # Not of the connection: what a worker's disk said.
            raise
        raise ClusterError(
            f"the scheduler at {client.scheduler.address} is gone ({type(error).__name__}). What is finished is kept: "
            "start it and its workers again, the same command goes on from there"
        ) from error


def spread(
    compute: Callable[..., None], shards: Sequence, scheduler: str, tell: Callable[[int, str], None]
) -> None:
    """Compute shards on the workers of a cluster, calling ``tell(clips, note)`` here as they are finished.

    In a worker ``compute(shard)`` writes what it computes, and may be called again for the same shard; a shard can be
    pickled, and has a length and a representation for people.

    Raises
    ------
    ClusterError
        If the scheduler cannot be reached or is lost, or a shard's workers died several times.
    Exception
        What `compute` raised, at the first shard that fails; what is not begun is cancelled.
    """
    with connect(scheduler) as client, _reaching(client), _watching(client):
        import cloudpickle
        from distributed import KilledWorker, as_completed

        for module in imported_files():
            cloudpickle.register_pickle_by_value(module)

        # Not pure: the same shard sent again is work again if a chunk went missing meanwhile.
        futures = {
            client.submit(_unpacked, cloudpickle.dumps((compute, shard)), pure=False): shard
            for shard in shards
        }
        try:
            for future in as_completed(list(futures)):
                future.result()
                shard = futures.pop(future)
                tell(len(shard), repr(shard))
        except KilledWorker as error:
            raise ClusterError(
                f"workers died several times at {error.task!s}: see their logs (often too little memory). What is "
                "finished is kept; the same command goes on from there"
            ) from error
        finally:
            client.cancel(list(futures))


def _unpacked(packed: bytes) -> None:
    # Packed by us: Dask would send what a user's file defines as a name, which a worker cannot import.
    compute, shard = pickle.loads(packed)
    _keep_freed_memory()
    compute(shard)


def _keep_freed_memory() -> None:
    """Give a worker back the thresholds that glibc would find for large arrays by itself.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``. Every activation of a network is then mapped anew, which
    costs a fifth of the time (benchmarks/extraction.py, part c). The numbers are the ends of glibc's own adjustment:
    mallopt(3), under M_MMAP_THRESHOLD.
    """
    # Other systems have no mallopt, and no such setting.
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)
