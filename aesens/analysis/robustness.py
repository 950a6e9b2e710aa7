"""What an effect costs the instrument classifiers of clean clips, and how much of it a method recovers.

Conventions
-----------
`aesens.analysis.classify` follows the study: negatives drawn, one fit. Here nothing hangs on a draw: one binary
classifier an instrument, *all* training clips of the other instruments its negatives, ``class_weight="balanced"``,
trained on clean clips, its cost chosen by folds of whole songs; then fitted again, at that cost, on resampled training
songs. A *method* is None (nothing), orthonormal rows to project out, or whatever has a `transform`.

Two questions of each: the *ranking* of the clips of one test set (ROC-AUC), and the *operating point*, the balanced
accuracy at the trained threshold. At one strength ROC-AUC cannot see a displacement that all clips share: no ranking
changes. Balanced accuracy sees it, and so does ROC-AUC where each test clip has a strength of its own (test condition
``random``). Its expectation over all draws of strengths needs none: two clips draw independently, so that it is the
ROC-AUC of the clips at all their strengths in one ranking; that of balanced accuracy is the mean over strengths.

Intervals hold test songs and training songs together. Both are resampled within each instrument, so that none is ever
lost, by drawing one song less than there are (with as many as there are, n songs would vary by (n - 1) / n of what they
should). The deviation of one refit from the mean of the refits, taken in turn, is added to each resample of the test
songs of the fit on all training songs.

References
----------
J. N. K. Rao, C. F. J. Wu, "Resampling inference with complex survey data", JASA 83, 1988 (one less than there are).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from aesens.analysis.auc import (
    auc,
    fewest_songs,
    limits,
    pooled_mean,
    resampled_auc,
    song_resamples,
    song_wins,
    two_sided,
    without_rounding,
)
from aesens.analysis.classify import by_instrument, check_sides, grouped_folds, is_subspace, transformed
from aesens.analysis.logistic import fit_logistic
from aesens.analysis.parallel import each
from aesens.analysis.remedies import is_affine
from aesens.analysis.statistics import derived_seed, limit_percentages

__all__ = ["LOSS", "fit_scores", "ranking_and_threshold", "recovery"]

#: A strength loses where it costs more than this without a method: there is something to recover.
LOSS = 0.01

_METRICS = ("roc_auc", "balanced_accuracy")

# Numbers of training features fitted at a time, and methods.
_CELLS, _METHODS = 8_000_000, 32

# Resamples worked on at a time.
_RESAMPLES = 500


def fit_scores(
    clean: np.ndarray,
    trajectories: np.ndarray,
    instruments: np.ndarray,
    songs: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    methods: Mapping[str, Any],
    *,
    classes: Sequence[str] | None = None,
    n_refits: int = 20,
    seed: int = 0,
    n_jobs: int = 1,
) -> xr.Dataset:
    """Train the classifiers of clean clips with each method and score the test clips, clean and at every strength.

    Parameters
    ----------
    clean : array_like, shape (clip, feature)
    trajectories : array_like, shape (strength, clip, feature)
    instruments, songs : array_like of str, shape (clip,)
    train, test : array_like of bool, shape (clip,)
        Masks of training and test clips. No song may be in both.
    methods : mapping
        Name -> method, or instrument -> method. A method is None, orthonormal rows (k, feature), or an object with
        ``transform(X (n, feature)) -> (n, feature')``. Its attribute ``versions`` (version, training clip, feature), if
        there, is more of the training clips, in their order, which the classifier is trained on as well (augmentation).
    classes : sequence of str, optional
        Instruments to make classifiers for, in order. Default: those of the training clips, sorted.
    n_refits : int
        Further fits on resampled training songs.
    seed : int
        Of those resamples; the first fit does not depend on it.
    n_jobs : int
        Threads, as in joblib (-1: all cores). The result does not depend on it.

    Returns
    -------
    xarray.Dataset
        ``score`` (method, refit, condition, instrument, clip): float64 decision values of the test clips; refit 0 is
        that on all training songs. ``cost`` (method, instrument): the chosen C. Coordinates ``condition`` (clean,
        effected, ...) and ``strength`` (-1 for clean), ``label`` and ``song`` of each clip.

    Raises
    ------
    ValueError
        If shapes disagree, a song is on both sides, rows are not orthonormal, embeddings are not finite, or an
        instrument has too few songs to cross-validate.
    """
    clean, trajectories, instruments, songs, train, test = check_sides(
        clean, trajectories, instruments, songs, train, test
    )
    classes = [str(c) for c in (np.unique(instruments[train]) if classes is None else classes)]
    methods = by_instrument(methods, classes, clean.shape[1])
    conditions = 1 + len(trajectories)
    resamples = song_resamples(
        songs[train], instruments[train], n_refits, derived_seed(seed, "training songs")
    )
    score = np.empty((len(methods), 1 + n_refits, conditions, len(classes), test.sum()))
    cost = np.empty((len(methods), len(classes)))
    labels = np.stack([instruments[train] == c for c in classes])
    folds = np.stack([grouped_folds(mine, songs[train], c) for c, mine in zip(classes, labels, strict=True)])

    def fit(members, i):
        """Cost, weights and intercept (method, instrument, ...) of methods of one kind, for instruments `i`."""
        if is_subspace(members[0]):  # their features need not be formed
            sets, subspaces = np.asarray(clean[None, train], np.float64), members
        else:
            sets, subspaces = np.stack([mapped(method) for method in members]), None
        weights, *sides = (np.tile(x, sets.shape[1] // train.sum()) for x in (resamples, labels[i], folds[i]))
        try:
            found = fit_logistic(sets, *sides, subspaces=subspaces, resamples=weights)
        except ValueError as error:
            raise ValueError(f"{', '.join(classes[k] for k in i)}: {error}") from error
        parts = found.cost, found.coefficients, found.intercept
        return (part[0] if subspaces else part[:, 0] for part in parts)

    def mapped(method):
        """Training rows of a method that maps embeddings."""
        rows = np.concatenate([clean[train][None], *_versions(method, clean[train])], dtype=np.float64)
        return transformed(method, rows.reshape(-1, clean.shape[1]))

    def enter(part):
        """Fit methods of one kind and fill in their scores."""
        places, members, i = part
        chosen, weights, bias = fit(members, i)
        cost[np.ix_(places, i)] = chosen
        # An affine map is made part of the weights: test clips need not be mapped, one method after the other.
        affine = all(map(is_affine, members))
        if affine:
            pulled = [method.pull_back(w) for method, w in zip(members, weights, strict=True)]
            weights, bias = np.stack([w for w, _ in pulled]), bias + np.stack([shift for _, shift in pulled])
        p, r, c = np.ix_(places, range(1 + n_refits), i)
        for k in range(conditions):
            x = np.asarray(trajectories[k - 1, test] if k else clean[test], np.float64)
            if affine or is_subspace(members[0]):
                value = (weights.reshape(-1, x.shape[1]) @ x.T).reshape(*bias.shape, -1)
            else:
                own = [transformed(method, x) for method in members]
                value = np.stack([w @ x.T for w, x in zip(weights, own, strict=True)])
            score[p, r, k, c] = (value + bias[..., None]).swapaxes(1, 2)

    # Methods that are alike are fitted at once, for all instruments that they are the same object for: one after the
    # other takes ten times as long where clips are few.
    objects: dict[tuple[int, int, int], tuple[int, Any, list[int]]] = {}
    for p, given in enumerate(methods.values()):
        for i, c in enumerate(classes):
            objects.setdefault((p, id(given[c]), folds[i].max()), (p, given[c], []))[2].append(i)
    alike: dict[tuple, list[tuple[int, Any]]] = {}
    for p, method, i in objects.values():
        kind = ()
        if not is_subspace(method):
            kind = sum(map(len, _versions(method, clean[train]))), transformed(method, clean[:1]).shape[1]
        alike.setdefault((tuple(i), kind), []).append((p, method))
    parts = []
    for (i, kind), group in alike.items():
        cells = (1 + kind[0]) * train.sum() * kind[1] if kind else 1
        length = max(1, min(_METHODS, _CELLS // cells))
        for start in range(0, len(group), length):
            parts.append((*map(list, zip(*group[start : start + length], strict=True)), list(i)))
    each(enter, parts, n_jobs)
    return xr.Dataset(
        {
            "score": (("method", "refit", "condition", "instrument", "clip"), score),
            "cost": (("method", "instrument"), cost),
        },
        coords={
            "method": list(methods),
            "instrument": classes,
            "condition": ["clean"] + ["effected"] * (conditions - 1),
            "strength": ("condition", np.arange(-1, conditions - 1)),
            "label": ("clip", instruments[test]),
            "song": ("clip", songs[test]),
        },
    )


def _versions(method, clean):
    """Further versions of the training clips, as a list of none or one array (version, clip, feature)."""
    versions = getattr(method, "versions", None)
    if versions is None:
        return []
    versions = np.asarray(versions)
    if versions.ndim != 3 or versions.shape[1:] != clean.shape:
        raise ValueError(
            f"versions of {type(method).__name__} must have shape (version, {clean.shape[0]} training clips, "
            f"{clean.shape[1]}), not {versions.shape}"
        )
    return [versions]


def ranking_and_threshold(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """ROC-AUC and balanced accuracy (metric, ...) of scores (..., clip) against truth, broadcastable to them."""
    right = (score > 0) == truth
    sides = (np.where(side, right, 0).sum(axis=-1) / side.sum(axis=-1) for side in (truth, ~truth))
    return np.stack([auc(score, truth), 0.5 * sum(sides)])


def _refit_values(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Metrics (refit, metric, method, column) of the clean clips, each strength and, last, random strengths.

    Of score (method, refit, condition, instrument, clip) and truth (instrument, clip); means over instruments.
    """
    values = ranking_and_threshold(score, truth).mean(axis=-1)
    every = np.concatenate(list(np.moveaxis(score[:, :, 1:], 2, 0)), axis=-1)
    ranking = auc(every, np.tile(truth, score.shape[2] - 1)).mean(axis=-1)
    random = np.stack([ranking, values[1, :, :, 1:].mean(axis=-1)])
    return np.moveaxis(np.concatenate([values, random[..., None]], axis=-1), 2, 0)


def _won(score: np.ndarray, mine: np.ndarray, songs: np.ndarray) -> tuple:
    """What the ROC-AUCs of one instrument are made of, score (method, condition, clip): columns as above."""
    methods, conditions, clips = score.shape
    own, other, single, size = song_wins(score.reshape(-1, 1, clips), mine, songs)
    # Each clip at every strength in one ranking.
    strengths = conditions - 1
    every = score[:, 1:].reshape(methods, 1, -1)
    crossed = song_wins(every, *(np.tile(of, strengths) for of in (mine, songs)))[2] / strengths**2
    single = single.reshape(len(own), methods, conditions, -1)
    wins = np.concatenate([single, crossed[:, :, None]], axis=2)
    return own, other, wins.reshape(len(own), -1, len(other)), size


def _song_values(score: np.ndarray, truth: np.ndarray, parts: list, weights: np.ndarray) -> np.ndarray:
    """The same (resample, metric, method, column) of one fit (method, condition, instrument, clip), clips weighted."""
    methods, conditions, _, clips = score.shape
    shape = len(weights), methods, -1
    accuracy = np.zeros((len(weights), methods, conditions))
    for i, mine in enumerate(truth):
        right = ((score[:, :, i] > 0) == mine).reshape(-1, clips).astype(float)
        for side in (mine, ~mine):
            share = weights[:, side] @ right[:, side].T / weights[:, side].sum(axis=1, keepdims=True)
            accuracy += 0.5 * share.reshape(shape)
    accuracy /= len(truth)
    accuracy = np.concatenate([accuracy, accuracy[..., 1:].mean(axis=-1, keepdims=True)], axis=-1)
    return np.stack([resampled_auc(parts, weights).reshape(shape), accuracy], axis=1)


def recovery(
    result: xr.Dataset,
    *,
    pooled: Mapping[str, Sequence[str | Sequence[str]]] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """What an effect costs, what each method gives back of it, and what that costs on clean clips.

    Parameters
    ----------
    result : xarray.Dataset
        From `fit_scores`, with the method ``none``, which the others are compared with.
    pooled : mapping, optional
        Further methods by name: the mean over those listed, resample by resample; a list in the list counts as one.
    n_resamples : int
        Bootstrap resamples of the test songs, the same for every row.
    seed : int
        Of the resamples.
    n_jobs : int
        Threads, as in `fit_scores`.

    Returns
    -------
    pandas.DataFrame
        One row a ``metric`` (``roc_auc``, ``balanced_accuracy``), ``test`` condition and ``method``, all of it means
        over instruments. ``kind == "strength"``: at one ``strength``. ``kind == "pooled"`` (strength -1): where test is
        ``effected``, means over all strengths, but ``recovered`` over those that lose more than `LOSS`, of which there
        are ``losing``; where it is ``random``, a random strength a clip. Columns, limits being ``_low`` and ``_high``:

        ``value``, ``clean`` : of the method there, and of no method on clean clips
        ``loss`` : what the effect costs without a method, from ``clean``
        ``change`` : of the method against none; ``p`` is the two-sided p-value of no change, and ``visible`` half
            the width of its interval, the smallest change that could have been seen
        ``recovered`` (limits ``low``, ``high``) : change over loss, each summed over the strengths that lose; NaN where
            none does, and without a bound on the side where resamples have no loss to recover
        ``cost`` : of the method on clean clips

        ``songs`` : test songs of the instrument with fewest. Below six the limits are the range of the resamples and no
        interval.

    Raises
    ------
    ValueError
        If ``none`` or a method of `pooled` is not in the result.

    Examples
    --------
    A shift that all clips share costs no ranking, but the threshold; a projection removes it:

    >>> rng = np.random.default_rng(0)
    >>> songs, axis = np.arange(48), np.eye(6)[:1]
    >>> clean = rng.normal(size=(48, 6)) + 2 * (songs % 2)[:, None] * [1, 1, 1, 0, 0, 0]
    >>> instruments, train = np.array(["flu", "pia"])[songs % 2], songs < 24
    >>> methods = {"none": None, "axis": axis}
    >>> result = fit_scores(clean, clean[None] + 9 * axis, instruments, songs, train, ~train, methods)
    >>> table = recovery(result).query("kind == 'strength'").set_index(["metric", "method"])
    >>> float(table.loc[("roc_auc", "none"), "loss"]), float(table.loc[("balanced_accuracy", "none"), "loss"]) > 0.1
    (0.0, True)
    >>> bool(table.loc[("balanced_accuracy", "axis"), "recovered"] > 0.8)
    True
    """
    names = [str(name) for name in result.method.values]
    pooled = pooled or {}
    if missing := sorted({"none", *_flat(pooled.values())} - set(names)):
        raise ValueError(f"no method {', '.join(missing)} among {', '.join(names)}")
    score, label, songs = result.score.values, result.label.values, result.song.values
    truth = label == result.instrument.values[:, None]
    if not truth.any(axis=1).all():
        raise ValueError(f"{result.instrument.values[truth.any(axis=1).argmin()]}: no test clips")
    fewest = fewest_songs(songs, label)
    weights = song_resamples(songs, label, n_resamples, derived_seed(seed, "test songs"))
    blocks = [weights[start : start + _RESAMPLES] for start in range(0, len(weights), _RESAMPLES)]
    parts = each(lambda i: _won(score[:, 0, :, i], truth[i], songs), range(len(truth)), n_jobs)
    resampled = each(lambda block: _song_values(score[:, 0], truth, parts, block), blocks, n_jobs)
    drawn = np.concatenate([_refit_values(score[:, [0]], truth), *resampled])
    if score.shape[1] > 1:
        refits = np.concatenate(
            each(lambda k: _refit_values(score[:, [k]], truth), range(1, score.shape[1]), n_jobs)
        )
        deviation = refits - refits.mean(axis=0)
        drawn[1:] += deviation[np.arange(len(drawn) - 1) % len(deviation)]
    base = names.index("none")
    drawn = np.moveaxis(drawn, 2, -1)
    shape = drawn.shape[:-1]
    flat = drawn.reshape(-1, len(names))
    extra = [pooled_mean(flat, members, names).reshape(shape) for members in pooled.values()]
    drawn = np.concatenate([drawn, *(x[..., None] for x in extra)], axis=-1)
    rows = []
    for m, metric in enumerate(_METRICS):
        for k, name in enumerate([*names, *pooled]):
            own, none = drawn[:, m, :, k], drawn[:, m, :, base]
            about = {"method": name, "metric": metric, "songs": fewest}
            about |= limits("cost", without_rounding(none[:, 0] - own[:, 0]), fewest)
            rows += [about | row for row in _rows(own, none, fewest, k == base)]
    return pd.DataFrame(rows)


def _rows(own: np.ndarray, none: np.ndarray, songs: int, same: bool):
    """Rows of one method and metric, from values (resample, column) with it and without: strengths, then pooled."""
    strengths = own.shape[1] - 2
    loss, change = without_rounding(none[:, [0]] - none[:, 1:]), without_rounding(own[:, 1:] - none[:, 1:])
    value, losing = own[0, 1:], loss[0] > LOSS
    every = np.arange(strengths)
    places = [("strength", "effected", s, every[[s]]) for s in every]
    places += [("pooled", "effected", -1, every), ("pooled", "random", -1, np.array([strengths]))]
    for kind, test, strength, at in places:
        lost = at[losing[at]]
        moved = change[:, at].mean(axis=1)
        row = {
            "kind": kind,
            "test": test,
            "strength": strength,
            "value": value[at].mean(),
            "clean": none[0, 0],
        }
        row |= limits("loss", loss[:, at].mean(axis=1), songs) | limits("change", moved, songs)
        row["visible"] = (row["change_high"] - row["change_low"]) / 2
        row["p"] = np.nan if same else two_sided(moved[1:])
        row["losing"] = len(lost)
        yield row | _share(change[:, lost].sum(axis=1), loss[:, lost].sum(axis=1), songs)


def _share(change: np.ndarray, loss: np.ndarray, songs: int) -> dict[str, float]:
    """What is recovered of a loss; a resample that has none to recover bounds it on neither side."""
    if not loss[0] > 0:
        return {"recovered": np.nan, "low": np.nan, "high": np.nan}
    loss = without_rounding(loss)
    lost = loss > 0
    share = np.divide(change, loss, out=np.zeros(len(loss)), where=lost)
    at = limit_percentages(songs)
    # Whole order statistics, since nothing lies between a number and infinity.
    low = np.percentile(np.where(lost, share, -np.inf)[1:], at[0], method="lower")
    high = np.percentile(np.where(lost, share, np.inf)[1:], at[1], method="higher")
    return {"recovered": share[0], "low": low, "high": high}


def _flat(members) -> list[str]:
    return [m for member in members for m in ([member] if isinstance(member, str) else _flat(member))]
