"""Training and test clips such that no song stands on both sides: by the study's rule, or as a list gives them.

The rule: clips of the dropped genre are set aside; songs are dealt into folds, each as even over the instruments as
can be, and the first fold is the test set; the remaining clips are then down-sampled at random to the size of the
smallest instrument among them, which balances training. The test set stays as it falls. What was dropped or left over
is ``"unused"``.

Songs are dealt as scikit-learn's ``StratifiedGroupKFold(shuffle=True)`` does. Up to 1.7, with which the study was made,
it shuffled the songs' counts but not the songs: a song goes where another one's counts are sent, and folds are less
even. On the names of IRMAS that gives the published test set, clip for clip; with eight songs an instrument it leaves
one of eleven instruments without test songs for every fifth seed, so other data are dealt as they should be.

The published training clips cannot be had by any rule: the study's script (2A.3_train_test_split.py of the repository
vdng9338/audio-embedding-sensitivity) draws them from a Python set, whose order changes from run to run. Its list,
train_test_split.csv there, is read by `read_split`.

A given split is taken as it is and never down-sampled.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from aesens.data.clips import INSTRUMENTS, SIDES, some, sort_instruments
from aesens.data.folder import AUDIO_SUFFIXES, composed, read_texts

__all__ = ["DROPPED", "SEED", "SplitError", "read_list", "read_split", "split_clips"]

#: The study's seed.
SEED = 20220419

#: The genre that the study leaves out: two instruments lack it almost wholly.
DROPPED = "lat_sou"

#: Codes of what the authors' list writes out.
_SPELLINGS = {
    "instrument": {name.lower(): code for code, name in INSTRUMENTS.items()}
    | {"guitar_acc": "gac", "guitar_ele": "gel"},
    "genre": {"classical": "cla", "country_folk": "cou_fol", "jazz_blue": "jaz_blu", "latin_soul": "lat_sou"},
}


class SplitError(ValueError):
    """The clips cannot be divided as asked: too few songs, a song on both sides, or a list that does not fit."""


def split_clips(
    table: pd.DataFrame,
    *,
    seed: int = SEED,
    n_folds: int = 4,
    published: bool = True,
    left_out: Collection[str] = (),
) -> pd.Series:
    """Assign each clip to training, test or neither.

    Parameters
    ----------
    table : pandas.DataFrame
        Clip table, in any order, with columns ``instrument``, ``song`` and ``genre``. If it has a column ``split``,
        that assignment is checked and used as it is; `seed`, `n_folds` and `published` then play no part.
    seed : int
        Of the folds and of the down-sampling.
    n_folds : int
        The test set is about ``1 / n_folds`` of the clips.
    published : bool
        Deal songs as the study's scikit-learn did, which on the whole of IRMAS gives its test set; as it does now, more
        evenly, where False. `Study` deals so where the data are not IRMAS, since of a few songs an instrument the old
        way may leave it none to test.
    left_out : collection of str
        Clips that are not to be used. They count when their song is dealt, as long as another clip of it is used: so
        songs fall as they would without the fault.

    Returns
    -------
    pandas.Series of str
        ``"train"``, ``"test"`` or ``"unused"`` for each clip, with the table's index, named ``split``.

    Raises
    ------
    SplitError
        If an instrument has fewer songs than `n_folds`, or has no clip on one of the sides, or a given split
        puts a song on both sides.

    References
    ----------
    V. Deng, C. Wang, G. Richard, B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to
    Common Effects", ICASSP 2025, section on data (arXiv 2501.15900).

    Examples
    --------
    >>> table = pd.DataFrame({"instrument": ["cel", "vio"] * 8, "genre": "cla",
    ...                       "song": [f"{n:04d}" for n in range(16)]})
    >>> split_clips(table).value_counts().to_dict()
    {'train': 10, 'test': 4, 'unused': 2}
    """
    split = pd.Series("unused", index=table.index, name="split", dtype=object)
    given, used = "split" in table, ~table.index.isin(list(left_out))
    if given:
        split[:] = _given(table)
    else:
        if n_folds < 2:
            raise SplitError(f"n_folds={n_folds}: a training and a test side need at least 2 folds")
        kept = table["genre"] != DROPPED
        _check_songs(table[used], kept[used], n_folds)
        rows = table[kept & table["song"].isin(table.loc[kept & used, "song"])]
        fold = _deal(rows["instrument"], rows["song"], n_folds, seed, published)
        split[rows.index] = np.where(fold == 0, "test", "train")
    split[~used] = "unused"
    _check_sides(table[used], split[used], given)
    if not given:
        # Each instrument is left with as many training clips as the smallest has.
        instruments = table.loc[split == "train", "instrument"]
        size, rng = instruments.value_counts().min(), np.random.default_rng(seed)
        for code in sort_instruments(instruments):
            clips = instruments.index[instruments == code]
            split[clips[rng.permutation(len(clips))[size:]]] = "unused"
    return split


def read_list(path: Path) -> pd.DataFrame:
    """Read a list of clips and their sides, as text, indexed by row as a spreadsheet numbers them.

    It is a csv file with the columns ``file_name`` and ``split`` (``train``, ``test`` or ``unused``), and perhaps
    ``instrument`` and ``genre``, such as the authors' ``train_test_split.csv``; others are ignored. `SplitError` if it
    cannot be read, lacks a column, or holds another word in ``split``.
    """
    try:
        listed = read_texts(path, ["file_name", "split"], SIDES)
    except ValueError as error:
        raise SplitError(f"the given split: {error}") from error
    return listed[["file_name", "split", *(column for column in _SPELLINGS if column in listed)]]


def read_split(path: Path, table: pd.DataFrame, *, left_out: Collection[str] = ()) -> pd.Series:
    """Read a split from a list of clips, for `split_clips` to take as it is.

    Parameters
    ----------
    path : pathlib.Path
        See `read_list`. ``file_name`` is a clip's name, with or without the file's ending: alone, or behind its
        folder, as ``class/name``, where several classes have one of that name. ``instrument`` and ``genre`` are
        checked where there, in the authors' spelling or in codes.
    table : pandas.DataFrame
        Of all clips of the data set.
    left_out : collection of str
        Names of files of the data that are not in `table`, see `Dataset.left_out`; they may be listed.

    Returns
    -------
    pandas.Series of str
        ``"train"``, ``"test"`` or ``"unused"`` for each clip, with the table's index, named ``split``; clips that are
        not listed are unused.

    Raises
    ------
    SplitError
        If the list cannot be read, names a clip that is not there, or could be several, or twice, or of another
        instrument or genre, or has a song on both sides.
    """
    listed = read_list(path)
    places = _places(table, left_out)
    split = pd.Series("unused", index=table.index, name="split", dtype=object)
    rows: dict[str, int] = {}
    missing = []
    for entry in listed.reset_index(names="row").to_dict("records"):
        where = f"{path}, row {entry['row']}"
        found = _find(entry["file_name"], places)
        if not found:
            missing.append(entry["file_name"])
            continue
        if len(found) > 1:
            could = " or ".join(sorted(found)[:3])
            raise SplitError(f"{where}: {entry['file_name']!r} may be {could}: write class/name")
        (clip,) = found
        if clip in rows:
            raise SplitError(f"{where} names the clip {clip!r} a second time, after row {rows[clip]}")
        rows[clip] = entry["row"]
        if clip in table.index:
            _check_labels(where, entry, table.loc[clip])
            split[clip] = entry["split"]
    if missing:
        raise SplitError(
            f"{path}: {len(missing)} of the {len(listed)} clips listed are not among the {len(table)} of the data: "
            f"{some(list(map(repr, missing)))}. Give the data that the list is of, or take these rows out"
        )
    return _given(table.assign(split=split))


def _places(table: pd.DataFrame, left_out: Collection[str]) -> dict[str, set[str]]:
    """Clips by what a list may call them: each end of the path that begins with their class."""
    places: dict[str, set[str]] = {}
    whole = [
        (clip, clip if "/" in clip else f"{table.at[clip, 'instrument']}/{clip}") for clip in table.index
    ]
    for clip, path in [*whole, *((name, name) for name in left_out)]:
        parts = path.split("/")
        for start in range(len(parts)):
            places.setdefault("/".join(parts[start:]), set()).add(clip)
    for clip in table.index:
        places[clip] = {clip}
    return places


def _find(name: str, places: dict[str, set[str]]) -> set[str]:
    """The clips that a name of a list can mean."""
    name = composed(name).replace("\\", "/").removeprefix("./")
    stem, dot, ending = name.rpartition(".")
    without = stem if (dot + ending).lower() in AUDIO_SUFFIXES else name
    return places.get(name) or places.get(without, set())


def _check_labels(where: str, entry: dict, clip: pd.Series) -> None:
    """Raise unless a row of a list says of a clip what the data say, as far as both say something."""
    for column, spellings in _SPELLINGS.items():
        said, known = (
            spellings.get(text.lower(), text.lower()) for text in (entry.get(column, ""), clip[column])
        )
        if said and known and said != known:
            raise SplitError(
                f"{where}: {column}={entry[column]!r}, but the data have {clip[column]!r} for the clip {clip.name!r}"
            )


def _given(table: pd.DataFrame) -> pd.Series:
    """The split that the table brings, checked."""
    given = table["split"]
    if not given.isin(SIDES).all():
        clip = given.index[~given.isin(SIDES)][0]
        raise SplitError(f"clip {clip!r} has the split {given[clip]!r}; it must be one of {', '.join(SIDES)}")
    sides = {side: set(table.loc[given == side, "song"]) for side in ("train", "test")}
    if both := sorted(sides["train"] & sides["test"]):
        shown = some(list(map(repr, both)), 5)
        raise SplitError(f"the given split has clips of the same song in train and in test: song {shown}")
    return given


def _deal(classes: pd.Series, songs: pd.Series, n_folds: int, seed: int, published: bool) -> np.ndarray:
    """Fold of each clip, songs kept whole."""
    # Both are numbered in sorted order, so that the clips' own order plays no part.
    class_of, song_of = (np.unique(labels, return_inverse=True)[1] for labels in (classes, songs))
    counts = np.zeros((song_of.max() + 1, class_of.max() + 1))
    np.add.at(counts, (song_of, class_of), 1)
    totals = counts.sum(axis=0)
    # The generator that scikit-learn takes.
    order = np.random.RandomState(seed).permutation(len(counts))
    counts = counts[order]
    folds = np.zeros((n_folds, len(totals)))
    fold_of = np.empty(len(counts), dtype=int)
    # The least even rows first: they are the hardest to place.
    for row in np.argsort(-counts.std(axis=1), kind="stable"):
        best, least, fewest = 0, np.inf, np.inf
        for fold in range(n_folds):
            tried = folds.copy()
            tried[fold] += counts[row]
            uneven, clips = (tried / totals).std(axis=0).mean(), folds[fold].sum()
            # A smaller value wins by however little, and of values that are close the fold with fewer clips.
            if uneven < least or (np.isclose(uneven, least) and clips < fewest):
                best, least, fewest = fold, uneven, clips
        folds[best] += counts[row]
        # The old way took the row's place after shuffling for the song's number.
        fold_of[row if published else order[row]] = best
    return fold_of[song_of]


def _check_songs(table: pd.DataFrame, kept: pd.Series, n_folds: int) -> None:
    """Raise unless each instrument keeps at least `n_folds` songs once genres are dropped."""
    songs = table[kept].groupby("instrument")["song"].nunique()
    songs = songs.reindex(table["instrument"].unique(), fill_value=0)
    few = songs[songs < n_folds]
    if len(few) or not len(songs):
        counts = ", ".join(f"{code} {few[code]}" for code in sort_instruments(few.index))
        raise SplitError(
            f"too few songs to split into {n_folds} folds: {counts or 'no clips'} (songs an "
            f"instrument, after dropping {(~kept).sum()} clips by genre); each instrument needs {n_folds}: add "
            "songs, or leave these instruments out (--instruments names those that stay)"
        )


def _check_sides(table: pd.DataFrame, split: pd.Series, given: bool) -> None:
    """Raise unless each instrument has clips on both sides."""
    counts = pd.crosstab(table["instrument"], split).reindex(columns=["train", "test"], fill_value=0)
    for side in counts:
        if (counts[side] == 0).any():
            codes = ", ".join(sort_instruments(counts.index[counts[side] == 0]))
            raise SplitError(
                f"no {side} clips for {codes} in the given split: add some, or leave these instruments out"
                if given
                else f"no {side} clips for {codes}: there are too few songs, or another seed is needed"
            )
