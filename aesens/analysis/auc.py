"""Metrics of the classifiers, and how a projection changes them, with intervals over test songs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from aesens.analysis.parallel import each
from aesens.analysis.statistics import resample_weights

__all__ = ["auc", "auc_change", "metric_table", "metrics"]

# Differences of AUC below this are rounding: the same ranking summed in another order.
_ROUNDING = 1e-12

# Resamples worked on at a time.
_RESAMPLES = 1000


def _sorted(scores, labels):
    """Scores in ascending order with labels, and first and last position of each one's group of equal scores."""
    scores, labels = np.broadcast_arrays(np.asarray(scores), np.asarray(labels, bool))
    order = np.argsort(scores, axis=-1, kind="stable")
    scores, labels = np.take_along_axis(scores, order, -1), np.take_along_axis(labels, order, -1)
    n = scores.shape[-1]
    index = np.broadcast_to(np.arange(n), scores.shape)
    new = np.ones(scores.shape, bool)
    new[..., 1:] = scores[..., 1:] != scores[..., :-1]
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
        undefined, as in scikit-learn), ``accuracy``.
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
    return {
        "roc_auc": auc(scores, labels),
        "average_precision": average_precision,
        "precision": _ratio(hits, claimed, 0),
        "recall": _ratio(hits, positives, 0),
        "f1": _ratio(2 * hits, claimed + positives, 0),
        "accuracy": (decided == labels).mean(-1),
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
    """Of some clips: the first one of each song, and the indicator matrix (song, clip)."""
    unique, first, group = np.unique(songs[clips], return_index=True, return_inverse=True)
    return clips[first], (group == np.arange(len(unique))[:, None]).astype(float)


def _wins(result, cases, instrument):
    """For one instrument, what its weighted AUCs over `cases` are made of; None if it has not both classes.

    With w_i the weight of clip i, AUC = sum w_i w_j M_ij / sum w_i w_j over positive i and negative j, where M_ij is 1
    if i scores above j and 1/2 if they tie. The cases share clips, hence M can be averaged over them; the clips of a
    song share a weight, hence M can be summed over pairs of songs: a small quadratic form for any number of cases.

    Returns (positive clip of each song, negative clip of each song, M (song, projection, song), number of pairs (song,
    song)).
    """
    score = result.score.values[:, cases, instrument]
    label, song = result.label.values, result.song.values
    mine = label == result.instrument.values[instrument]
    positive, negative = np.flatnonzero(mine), np.flatnonzero(~mine)
    if not len(positive) or not len(negative):
        return None
    own, own_songs = _by_song(song, positive)
    other, other_songs = _by_song(song, negative)
    wins = np.empty((len(own), len(score), len(other)))
    won = np.empty((len(positive), len(negative)), bool)
    for k in range(len(score)):
        # Wins and wins or ties, each counted half; few enough to count in two bytes.
        above = np.zeros(won.shape, np.int16)
        for values in score[k]:
            for beats in (np.greater, np.greater_equal):
                above += beats(values[positive][:, None], values[negative], out=won)
        wins[:, k] = own_songs @ (0.5 / len(cases) * above) @ other_songs.T
    return own, other, wins, np.outer(own_songs.sum(1), other_songs.sum(1))


def _resampled_auc(parts, weights):
    """Weighted AUC (resample, projection), averaged over the instruments that a resample has both classes of."""
    total, instruments = 0.0, np.zeros(len(weights))
    for own, other, wins, size in parts:
        positive, negative = weights[:, own].astype(float), weights[:, other].astype(float)
        won = (positive @ wins.reshape(len(own), -1)).reshape(len(weights), -1, len(other))
        pairs = np.einsum("rn,rn->r", positive @ size, negative)
        total = total + _ratio(np.einsum("rpn,rn->rp", won, negative), pairs[:, None], 0)
        instruments += pairs > 0
    return _ratio(total, instruments[:, None])


def auc_change(
    result: xr.Dataset,
    *,
    pooled: Mapping[str, Sequence[str | Sequence[str]]] | None = None,
    n_resamples: int = 5000,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """ROC-AUC of each projection against no projection, with bootstrap intervals over test songs.

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
        One row per pair of training and test condition and projection, all of it means over strengths and instruments
        (a resample without any clip of an instrument leaves it out): ``train``, ``test``, ``projection``, ``auc``,
        ``auc_low``, ``auc_high``, ``change``, ``change_low``, ``change_high`` (95 %), ``p`` (two-sided bootstrap
        p-value of no change); and, the same for all projections of a pair, ``loss``, ``loss_low``, ``loss_high``: what
        the pair costs without a projection, the ROC-AUC of clean clips on both sides minus its own. ``none`` itself
        has rows with change 0 and no p-value.

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
    clean = drawn["clean", "clean"][:, base]
    rows = []
    for (train, test), value in drawn.items():
        loss = _without_rounding(clean - value[:, base])
        loss_low, loss_high = _limits(loss[None, 1:])
        change = _without_rounding(value - value[:, [base]])
        value, change = (
            np.column_stack([x, *(_pooled(x, members, names) for members in pooled.values())])
            for x in (value, change)
        )
        for k, name in enumerate([*names, *pooled]):
            resampled = np.stack([value[1:, k], change[1:, k]])
            low, high = _limits(resampled)
            resampled = resampled[:, np.isfinite(resampled[0])]
            rows.append(
                {
                    "train": train,
                    "test": test,
                    "projection": name,
                    "auc": value[0, k],
                    "auc_low": low[0],
                    "auc_high": high[0],
                    "change": change[0, k],
                    "change_low": low[1],
                    "change_high": high[1],
                    "p": np.nan if k == base or not resampled.size else _two_sided(resampled[1]),
                    "loss": loss[0],
                    "loss_low": loss_low[0],
                    "loss_high": loss_high[0],
                }
            )
    return pd.DataFrame(rows)


def _without_rounding(difference):
    return np.where(np.abs(difference) < _ROUNDING, 0.0, difference)


def _drawn_auc(result, n_resamples, seed, n_jobs):
    """ROC-AUC (1 + resample, projection) of each pair of conditions, that of the test songs as they are first."""
    pairs: dict[tuple[str, str], list[int]] = {}
    for case, pair in enumerate(zip(result.train.values, result.test.values, strict=True)):
        pairs.setdefault((str(pair[0]), str(pair[1])), []).append(case)
    clips = result.sizes["clip"]
    weights = np.concatenate([np.ones((1, clips)), resample_weights(result.song.values, n_resamples, seed)])
    parts = [(pair, i) for pair in pairs for i in range(result.sizes["instrument"])]
    wins = each(lambda part: _wins(result, pairs[part[0]], part[1]), parts, n_jobs)
    of_pair = {
        pair: [w for part, w in zip(parts, wins, strict=True) if part[0] == pair and w] for pair in pairs
    }
    blocks = [(pair, start) for pair in pairs for start in range(0, len(weights), _RESAMPLES)]
    values = each(
        lambda block: _resampled_auc(of_pair[block[0]], weights[block[1] : block[1] + _RESAMPLES]),
        blocks,
        n_jobs,
    )
    return {
        pair: np.concatenate([v for block, v in zip(blocks, values, strict=True) if block[0] == pair])
        for pair in pairs
    }


def _pooled(values, members, names):
    """Mean (n,) of the columns of (n, projection) that go by the names; a list of names counts as one."""
    columns = [
        values[:, names.index(member)] if isinstance(member, str) else _pooled(values, member, names)
        for member in members
    ]
    return np.mean(columns, axis=0)


def _limits(drawn):
    """95 % limits, each (k,), of (k, resample); resamples on which the first is undefined are left out."""
    drawn = drawn[:, np.isfinite(drawn[0])]
    return np.percentile(drawn, [2.5, 97.5], axis=1) if drawn.size else np.full((2, len(drawn)), np.nan)


def _two_sided(change: np.ndarray) -> float:
    """Twice the smaller share of resamples on either side of zero, the observed one counted in; at most 1."""
    below, above = (change <= 0).sum() + 1, (change >= 0).sum() + 1
    return min(1.0, 2.0 * min(below, above) / (len(change) + 1))
