"""Which clips can be analysed: each is read once, and what is wrong with it is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from aesens.data.clips import Dataset, read_clip
from aesens.data.remember import remembered

__all__ = ["check_clips"]

# Raised when `check_clips` comes to another judgement of the same file.
_CHECK = 3

# Of 16 bits: channels that cancel may leave half of it, since whole numbers are not rounded alike on both sides of 0.
_STEP = 2.0**-15


def check_clips(dataset: Dataset, *, admits: Callable[[int], None] | None = None) -> pd.DataFrame:
    """Read every clip and list those that should not be analysed.

    Which files of a large collection are in order is remembered by path, size and time of modification in
    ``cache_dir("data")``.

    Parameters
    ----------
    dataset : Dataset
    admits : callable, optional
        ``admits(sample_rate)`` raises `ValueError` if clips of that rate in Hz cannot be used.

    Returns
    -------
    pandas.DataFrame
        Index ``clip``, columns ``problem`` and ``path``; empty when all is well. A clip is listed when its
        file cannot be read, is cut off or empty, holds values that are not finite, or is silent (varies by less
        than a step of 16 bits, once its channels are averaged as for every model), or has a sample rate that is
        not admitted.
    """
    paths = list(dataset.table["path"])
    judged = remembered(
        "checks.json",
        paths,
        lambda path: _judge(path, dataset.seconds),
        suffix=f"|{dataset.seconds!r}|{_CHECK}",
        # A faulty one may be repaired without a trace, say by its permissions; there are few of them.
        worth=lambda judgement: not judgement[1],
        label="checking clips",
    )
    refused = dict.fromkeys({rate for rate, _ in judged} - {None}, "")
    for rate in refused if admits else ():
        try:
            admits(rate)
        except ValueError as error:
            refused[rate] = str(error)
    problems = [problem or refused[rate] for rate, problem in judged]
    table = pd.DataFrame({"problem": problems, "path": paths}, index=dataset.table.index)
    return table[table["problem"] != ""]


def _judge(path: str, seconds: float) -> tuple[int | None, str]:
    """Sample rate of a file, None if it has none, and what is wrong with it, empty if nothing."""
    # Of a pipe or a device nobody knows the end.
    if os.path.exists(path) and not os.path.isfile(path):
        return None, "cannot read it: it is no file"
    try:
        audio, rate, _ = read_clip(path, seconds)
    except ValueError as error:
        # The path stands in a column of its own.
        return None, str(error).replace(str(path), Path(path).name)
    if np.ptp(audio.mean(axis=0)) >= _STEP:
        return rate, ""
    heard = (np.ptp(audio, axis=1) >= _STEP).any()
    return rate, "silent as mono: its channels cancel" if heard else "silent"
