"""Metrics of the classifiers, and how a projection changes them, with intervals over test songs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from aesens.analysis.parallel import each
from aesens.analysis.statistics import limit_percentages

__all__ = [
    "auc",
    "auc_change",
    "fewest_songs",
    "limits",
    "metric_table",
    "metrics",
    "pooled_mean",
    "resampled_auc",
    "song_resamples",
    "song_wins",
    "two_sided",
    "without_rounding",
]

# Differences of AUC below this are rounding, of resamples in float32; none that matters is so small.
_ROUNDING = 1e-6

# Resamples worked on at a time.
_RESAMPLES = 1000


def _sorted(scores, labels):
    """Labels in ascending order of the scores, and first and last position of each one's group of equal scores."""
    scores, labels = np.asarray(scores), np.asarray(labels, bool)
    scores = np.broadcast_to(scores, np.broadcast_shapes(scores.shape, labels.shape))
    # In whatever order among equals: what is made of them does not depend on it.
    order = np.argsort(scores, axis=-1)
    alike = labels.ndim == 1
    labels = labels[order] if alike else np.take_along_axis(np.broadcast_to(labels, order.shape), order, -1)
    scores = np.sort(scores, axis=-1)
    n = scores.shape[-1]
    index = np.broadcast_to(np.arange(n), scores.shape)
    same = scores[..., 1:] == scores[..., :-1]
    if not same.any():
        return labels, index, index
    new = np.ones(scores.shape, bool)
    np.logical_not(same, out=new[..., 1:])
    first = np.maximum.accumulate(np.where(new, index, 0), axis=-1)
    ends = np.ones(scores.shape, bool)
    ends[..., :-1] = new[..., 1:]
    last = np.minimum.accumulate(np.where(ends, index, n - 1)[..., ::-1], axis=-1)[..., ::-1]
    return labels, first, last


def _ratio(a, b, empty=np.nan):
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    return np.divide(a, b, out=np.full(a.shape, float(empty)), where=b > 0)


def auc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Of scores (..., n) and labels (n,) or broadcastable to them; NaN where there is one class only.
    """
    labels, first, last = _sorted(scores, labels)
    positives = labels.sum(-1)
    ranks = (0.5 * (first + last) * labels).sum(-1)
    return _ratio(ranks - 0.5 * positives * (positives - 1), positives * (labels.shape[-1] - positives))


def metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The study's figures of merit; those that need decisions decide at score > 0.

    Parameters
    ----------
    scores : array_like, shape (..., n)
        Decision values.
    labels : array_like of bool, shape (n,) or broadcastable to `scores`

    Returns
    -------
    dict of ndarray, float64, shape (...)
        ``roc_auc``, ``average_precision`` (NaN where a class is missing), ``precision``, ``recall``, ``f1`` (0 where
        undefined, as in scikit-learn), ``accuracy``, ``balanced_accuracy`` (the mean of the shares of either class
        decided rightly; NaN where a class is missing).
    """
    ordered, first, _ = _sorted(scores, labels)
    n = ordered.shape[-1]
    positives = ordered.sum(-1)
    # At the threshold of a clip everything from the first of its equals upwards is retrieved.
    above = np.cumsum(ordered[..., ::-1], axis=-1)[..., ::-1]
    precision_at = np.take_along_axis(above, first, -1) / (n - first)
    average_precision = _ratio((precision_at * ordered).sum(-1), np.where(positives < n, positives, 0))
    scores, labels = np.broadcast_arrays(np.asarray(scores), np.asarray(labels, bool))
    decided = scores > 0
    hits, claimed = (decided & labels).sum(-1), decided.sum(-1)
    refused = (~decided & ~labels).sum(-1)
    return {
        "roc_auc": auc(scores, labels),
        "average_precision": average_precision,
        "precision": _ratio(hits, claimed, 0),
        "recall": _ratio(hits, positives, 0),
        "f1": _ratio(2 * hits, claimed + positives, 0),
        "accuracy": (decided == labels).mean(-1),
        "balanced_accuracy": 0.5 * (_ratio(hits, positives) + _ratio(refused, n - positives)),
    }


def metric_table(result: xr.Dataset) -> pd.DataFrame:
    """All figures of merit of a result as a tidy table.

    Parameters
    ----------
    result : xarray.Dataset
        From `classify`.

    Returns
    -------
    pandas.DataFrame
        One row per projection, case and instrument: columns ``projection, train, test, strength, instrument``, those
        of `metrics`, and the classifier's ``cost`` and ``cv_auc``.
    """
    truth = result.label.values == result.instrument.values[:, None]
    values = metrics(result.score.values, truth)
    p, c, i = (result.sizes[name] for name in ("projection", "case", "instrument"))
    training = {
        key: k
        for k, key in enumerate(zip(result.condition.values, result.training_strength.values, strict=True))
    }
    of_case = [
        training[train, strength if train == "effected" else -1]
        for train, strength in zip(result.train.values, result.strength.values, strict=True)
    ]
    at = np.unravel_index(np.arange(p * c * i), (p, c, i))
    frame = {"projection": result.projection.values[at[0]]}
    frame |= {name: result[name].values[at[1]] for name in ("train", "test", "strength")}
    frame |= {"instrument": result.instrument.values[at[2]]}
    frame |= {name: value.ravel() for name, value in values.items()}
    frame |= {name: result[name].values[:, of_case].ravel() for name in ("cost", "cv_auc")}
    return pd.DataFrame(frame)


def _by_song(songs, clips):
    """Clips with those of a song side by side, and where the first one of each song then stands."""
    _, group = np.unique(songs[clips], return_inverse=True)
    order = np.argsort(group, kind="stable")
    return clips[order], np.flatnonzero(np.diff(group[order], prepend=-1))


def song_resamples(songs: np.ndarray, instruments: np.ndarray, n_resamples: int, seed: int = 0) -> np.ndarray:
    """Weight of each clip in each bootstrap resample of the songs of each instrument: (n_resamples, clip).

    Of n songs of an instrument n - 1 are drawn with replacement, with all their clips, and count n / (n - 1) times:
    with n drawn, means over songs would vary by (n - 1) / n of what they should, and n is small. An instrument never
    loses all its songs; one with a single song keeps it. Songs of several instruments are drawn among their like.

    References
    ----------
    J. N. K. Rao, C. F. J. Wu, "Resampling inference with complex survey data", JASA 83, 1988.

    Examples
    --------
    >>> weights = song_resamples(["a", "a", "b", "c"], ["flu", "flu", "flu", "pia"], 100)
    >>> sorted(set(map(tuple, weights.tolist())))
    [(0.0, 0.0, 2.0, 1.0), (2.0, 2.0, 0.0, 1.0)]
    """
    names, index = np.unique(np.asarray(songs), return_inverse=True)
    played: list[set[str]] = [set() for _ in names]
    for song, instrument in zip(index, np.asarray(instruments).astype(str), strict=True):
        played[song].add(str(instrument))
    strata = np.array(["\n".join(sorted(codes)) for codes in played])
    rng = np.random.default_rng(seed)
    weights = np.empty((n_resamples, len(names)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        drawn = max(len(members) - 1, 1)
        counts = rng.multinomial(drawn, np.full(len(members), 1 / len(members)), size=n_resamples)
        weights[:, members] = counts * (len(members) / drawn)
    return weights[:, index]


def song_wins(score: np.ndarray, mine: np.ndarray, songs: np.ndarray) -> tuple | None:
    """What the weighted AUCs of one instrument are made of; None if there are not both classes.

    With w_i the weight of clip i, AUC = sum w_i w_j M_ij / sum w_i w_j over positive i and negative j, where M_ij is 1
    if i scores above j and 1/2 if they tie. Several versions share the clips, hence M can be averaged over them; the
    clips of a song share a weight, hence M can be summed over pairs of songs: a small quadratic form for any number of
    versions.

    Parameters
    ----------
    score : array, shape (k, version, clip)
    mine : array of bool, shape (clip,)
    songs : array, shape (clip,)

    Returns
    -------
    tuple
        Positive clip of each song, negative clip of each song, M (song, k, song) in float32, number of pairs (song,
        song); for `resampled_auc`.
    """
    positive, negative = np.flatnonzero(mine), np.flatnonzero(~mine)
    if not len(positive) or not len(negative):
        return None
    (positive, own), (negative, other) = (_by_song(songs, clips) for clips in (positive, negative))
    sizes = [np.diff(starts, append=len(clips)) for clips, starts in ((positive, own), (negative, other))]
    song = np.repeat(np.arange(len(own)), sizes[0])
    wins = np.zeros((len(score), len(other), len(own)))
    # How many positive clips of each song score no lower than the m-th of all positive ones, for each m and none.
    count = np.zeros((len(positive) + 1, len(own)))
    for k, versions in enumerate(score):
        for version in versions:
            order = np.argsort(version[positive])
            count[:-1] = song[order, None] == np.arange(len(own))
            np.cumsum(count[-2::-1], axis=0, out=count[-2::-1])
            ranked = version[positive[order]]
            # Positive clips above each negative one, and at or above it: a tie is half of either.
            above, beside = (np.searchsorted(ranked, version[negative], side) for side in ("right", "left"))
            won = count[above]
            won += won if np.array_equal(above, beside) else count[beside]
            wins[k] += np.add.reduceat(won, other)
    wins *= 0.5 / score.shape[1]
    wins = np.ascontiguousarray(wins.transpose(2, 0, 1), np.float32)
    return positive[own], negative[other], wins, np.outer(*sizes)


def resampled_auc(parts: Sequence[tuple], weights: np.ndarray) -> np.ndarray:
    """Weighted AUC (resample, k), averaged over the instruments, each given by its `song_wins`."""
    total = 0.0
    for own, other, wins, size in parts:
        positive, negative = weights[:, own], weights[:, other]
        # The many songs of the others first: what is left then is small.
        won = (negative.astype(np.float32) @ wins.reshape(-1, len(other)).T).reshape(
            len(weights), len(own), -1
        )
        pairs = np.einsum("rn,rn->r", positive @ size, negative)
        total = total + np.einsum("ro,rok->rk", positive, won) / pairs[:, None]
    return total / len(parts)


def auc_change(
    result: xr.Dataset,
    *,
    pooled: Mapping[str, Sequence[str | Sequence[str]]] | None = None,
    n_resamples: int = 5000,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """ROC-AUC of each projection against no projection, with bootstrap intervals over each instrument's test songs.

    Parameters
    ----------
    result : xarray.Dataset
        From `classify`, with the projection ``none``.
    pooled : mapping, optional
        Further rows by name: the mean over the projections listed, where a list in the list is averaged first and
        counts as one, e.g. ``{"all": ["pca", "lda", ["svd-0.3", "svd-0.5"]]}``.
    n_resamples : int
        Bootstrap resamples of the test songs, the same for every row. No p-value is below 2 / (n_resamples + 1), so
        that the family's size times this should stay below the level aimed at.
    seed : int
        Seed of the resamples.
    n_jobs : int
        Threads, as in `classify`.

    Returns
    -------
    pandas.DataFrame
        One row per pair of training and test condition and projection, all of it means over strengths and instruments:
        ``train``, ``test``, ``projection``, ``auc``,
        ``auc_low``, ``auc_high``, ``change``, ``change_low``, ``change_high`` (95 %), ``p`` (two-sided bootstrap
        p-value of no change); and, the same for all projections of a pair, ``loss``, ``loss_low``, ``loss_high``: what
        the pair costs without a projection, the ROC-AUC of clean clips on both sides minus its own; and ``songs``, test
        songs of the instrument with fewest: below six the limits are the range of the resamples and no
        interval. ``none`` itself has rows with change 0 and no p-value.

    Raises
    ------
    ValueError
        If the result has no projection ``none``.

    References
    ----------
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, sections 13.3 and 15.4.
    """
    names = [str(name) for name in result.projection.values]
    if "none" not in names:
        raise ValueError(f"no projection 'none' to compare with: the result has {', '.join(names)}")
    base, pooled = names.index("none"), pooled or {}
    drawn = _drawn_auc(result, n_resamples, seed, n_jobs)
    songs = fewest_songs(result.song.values, result.label.values)
    clean = drawn["clean", "clean"][:, base]
    rows = []
    for (train, test), value in drawn.items():
        loss = without_rounding(clean - value[:, base])
        change = without_rounding(value - value[:, [base]])
        value, change = (
            np.column_stack([x, *(pooled_mean(x, members, names) for members in pooled.values())])
            for x in (value, change)
        )
        for k, name in enumerate([*names, *pooled]):
            row = {"train": train, "test": test, "projection": name}
            for column, x in (("auc", value[:, k]), ("change", change[:, k]), ("loss", loss)):
                row |= limits(column, x, songs)
            row["p"] = np.nan if k == base else two_sided(change[1:, k])
            rows.append(row | {"songs": songs})
    return pd.DataFrame(rows)


def without_rounding(difference: np.ndarray) -> np.ndarray:
    """Differences of AUC, with those that rounding makes at 0."""
    return np.where(np.abs(difference) < _ROUNDING, 0.0, difference)


def _drawn_auc(result, n_resamples, seed, n_jobs):
    """ROC-AUC (1 + resample, projection) of each pair of conditions, that of the test songs as they are first."""
    pairs: dict[tuple[str, str], list[int]] = {}
    for case, pair in enumerate(zip(result.train.values, result.test.values, strict=True)):
        pairs.setdefault((str(pair[0]), str(pair[1])), []).append(case)
    songs, label, score = result.song.values, result.label.values, result.score.values
    weights = song_resamples(songs, label, n_resamples, seed)
    truth = label == result.instrument.values[:, None]
    blocks = [weights[start : start + _RESAMPLES] for start in range(0, n_resamples, _RESAMPLES)]

    def drawn(cases):
        def of(i):
            return auc(score[:, cases, i], truth[i]).mean(axis=-1), song_wins(
                score[:, cases, i], truth[i], songs
            )

        found = [one for one in each(of, range(len(truth)), n_jobs) if one[1] is not None]
        values, wins = zip(*found, strict=True)
        resampled = each(lambda block: resampled_auc(wins, block), blocks, n_jobs)
        return np.concatenate([np.mean(values, axis=0)[None], *resampled])

    return {pair: drawn(cases) for pair, cases in pairs.items()}


def pooled_mean(values: np.ndarray, members: Sequence, names: Sequence[str]) -> np.ndarray:
    """Mean (n,) of the columns of (n, name) that go by the names; a list of names counts as one."""
    columns = [
        values[:, names.index(member)] if isinstance(member, str) else pooled_mean(values, member, names)
        for member in members
    ]
    return np.mean(columns, axis=0)


def fewest_songs(songs: np.ndarray, instruments: np.ndarray) -> int:
    """Number of songs of the instrument with fewest, of the song and the instrument of each clip."""
    return min(len(np.unique(songs[instruments == name])) for name in np.unique(instruments))


def limits(name: str, drawn: np.ndarray, songs: int) -> dict[str, float]:
    """A statistic, of the songs as they are, and its limits, of their resamples after it: a range with few songs."""
    low, high = np.percentile(drawn[1:], limit_percentages(songs)) if len(drawn) > 1 else [np.nan] * 2
    return {name: drawn[0], f"{name}_low": low, f"{name}_high": high}


def two_sided(change: np.ndarray) -> float:
    """Twice the smaller share of resamples on either side of zero, the observed one counted in; at most 1."""
    below, above = (change <= 0).sum() + 1, (change >= 0).sum() + 1
    return min(1.0, 2.0 * min(below, above) / (len(change) + 1)) if len(change) else np.nan
