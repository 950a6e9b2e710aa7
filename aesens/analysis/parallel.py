"""Work spread over the cores, with the same result for any number of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import joblib
from threadpoolctl import ThreadpoolController

__all__ = ["cores", "each"]


def cores() -> int:
    """Cores this process may use, which on a shared machine are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable, items: Iterable, n_jobs: int = 1) -> list:
    """Apply a function to every item, some at a time; results in the order of the items.

    Parameters
    ----------
    work : callable
        Of one argument; heavy in NumPy, which lets other threads run meanwhile. NumPy's error state is a thread's own,
        so that `numpy.errstate` belongs inside.
    items : iterable
    n_jobs : int
        Threads, as in joblib (-1: all cores).

    Notes
    -----
    Linear algebra runs on one thread a job: faster for many problems of middling size than one problem on all cores,
    and the rounding of a result does not depend on `n_jobs`.
    """
    with _libraries().limit(limits=1), ThreadPoolExecutor(joblib.effective_n_jobs(n_jobs)) as pool:
        return list(pool.map(work, items))


@cache
def _libraries() -> ThreadpoolController:
    # Finding the libraries of the process takes longer than a small problem; NumPy's and SciPy's are there by now.
    return ThreadpoolController()
