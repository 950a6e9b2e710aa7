"""Training and test clips such that no song stands on both sides.

The rule of the study: clips of the dropped genres are set aside; songs are dealt by scikit-learn's
``StratifiedGroupKFold`` (stratified by instrument, grouped by song), and the first fold is the test set; the
remaining clips are then down-sampled at random to the size of the smallest instrument among them, which
balances training. The test set stays as it falls. What was dropped or left over is ``"unused"``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from aesens.data.clips import sort_instruments

__all__ = ["SEED", "SplitError", "split_clips"]

#: The study's seed.
SEED = 20220419

_SIDES = ("train", "test", "unused")


class SplitError(ValueError):
    """The clips cannot be divided as asked: too few songs, or a song on both sides."""


def split_clips(
    table: pd.DataFrame,
    *,
    seed: int = SEED,
    n_splits: int = 4,
    drop_genres: Iterable[str] = ("lat_sou",),
    balance: bool = True,
) -> pd.Series:
    """Assign each clip to training, test or neither.

    Parameters
    ----------
    table : pandas.DataFrame
        Clip table with columns ``instrument``, ``song`` and ``genre``. If it has a column ``split``, that
        assignment is checked and used; `seed`, `n_splits` and `drop_genres` then play no part, and `balance`
        applies to its training clips.
    seed : int
        Of the folds and of the down-sampling.
    n_splits : int
        The test set is about ``1 / n_splits`` of the clips.
    drop_genres : iterable of str
        Genres left out. The study leaves out ``lat_sou``, which two instruments lack almost wholly.
    balance : bool
        Down-sample the training clips to the smallest instrument.

    Returns
    -------
    pandas.Series of str
        ``"train"``, ``"test"`` or ``"unused"`` for each clip, with the table's index, named ``split``.

    Raises
    ------
    SplitError
        If an instrument has fewer songs than `n_splits`, or has no clip on one of the sides, or a given split
        puts a song on both sides.

    Notes
    -----
    Which songs fall into the first fold depends on scikit-learn: up to 1.7 its shuffling mixed up the groups'
    counts, which made the folds less even than they are since. The order of the rows plays no part. The study's own
    script (2A.3_train_test_split.py of its repository vdng9338/audio-embedding-sensitivity) down-samples names taken
    from a Python set, whose order changes from run to run, so that no rule gives its training clips again. Its list,
    train_test_split.csv there, can be had exactly by giving it as the column ``split``.

    References
    ----------
    V. Deng, C. Wang, G. Richard, B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to
    Common Effects", ICASSP 2025, section on data (arXiv 2501.15900).

    Examples
    --------
    >>> table = pd.DataFrame({"instrument": ["cel", "vio"] * 8, "genre": "cla",
    ...                       "song": [f"{n:04d}" for n in range(16)]})
    >>> split_clips(table).value_counts().to_dict()
    {'train': 12, 'test': 4}
    """
    split = pd.Series("unused", index=table.index, name="split", dtype=object)
    if "split" in table:
        split[:] = _given(table)
    else:
        kept = ~table["genre"].isin(list(drop_genres))
        _check_songs(table, kept, n_splits)
        rows = table[kept]
        folds = StratifiedGroupKFold(n_splits=n_splits, shuffle=True, random_state=seed)
        train, test = next(folds.split(rows, rows["instrument"], groups=rows["song"]))
        split[rows.index[train]] = "train"
        split[rows.index[test]] = "test"
    _check_sides(table, split)
    if balance:
        split[_surplus(table.loc[split == "train", "instrument"], seed)] = "unused"
    return split


def _given(table: pd.DataFrame) -> pd.Series:
    """The split that the table brings, checked."""
    given = table["split"]
    if not given.isin(_SIDES).all():
        clip = given.index[~given.isin(_SIDES)][0]
        raise SplitError(
            f"clip {clip!r} has the split {given[clip]!r}; it must be one of {', '.join(_SIDES)}"
        )
    sides = {side: set(table.loc[given == side, "song"]) for side in ("train", "test")}
    if both := sorted(sides["train"] & sides["test"]):
        shown = ", ".join(map(repr, both[:5])) + (f" and {len(both) - 5} more" if len(both) > 5 else "")
        raise SplitError(f"the given split has clips of the same song in train and in test: song {shown}")
    return given


def _counts(values: pd.Series) -> str:
    return ", ".join(f"{code} {values[code]}" for code in sort_instruments(values.index))


def _check_songs(table: pd.DataFrame, kept: pd.Series, n_splits: int) -> None:
    """Raise unless each instrument keeps at least `n_splits` songs once genres are dropped."""
    songs = table[kept].groupby("instrument")["song"].nunique()
    songs = songs.reindex(table["instrument"].unique(), fill_value=0)
    few = songs[songs < n_splits]
    if len(few) or not len(songs):
        dropped = int((~kept).sum())
        raise SplitError(
            f"too few songs to split into {n_splits} folds: {_counts(few) or 'no clips'} (songs an "
            f"instrument, after dropping {dropped} clips by genre); each instrument needs {n_splits}: add "
            "songs, leave these instruments out, or ask for fewer folds"
        )


def _check_sides(table: pd.DataFrame, split: pd.Series) -> None:
    """Raise unless each instrument has clips on both sides."""
    counts = pd.crosstab(table["instrument"], split).reindex(columns=["train", "test"], fill_value=0)
    for side in counts:
        if (counts[side] == 0).any():
            codes = ", ".join(sort_instruments(counts.index[counts[side] == 0]))
            raise SplitError(
                f"no {side} clips for {codes}: there are too few songs, or another seed is needed"
            )


def _surplus(instruments: pd.Series, seed: int) -> pd.Index:
    """Clips to leave out so that each instrument has as many as the smallest."""
    size = instruments.value_counts().min()
    rng = np.random.default_rng(seed)
    surplus = []
    for code in sort_instruments(instruments):
        clips = instruments.index[instruments == code]
        surplus.extend(clips[rng.permutation(len(clips))[size:]])
    return pd.Index(surplus)
