"""How well instruments are recognised from embeddings, before and after an effect direction is projected out.

Conventions
-----------
One binary classifier an instrument: all its n training clips against others, n // k drawn from each of the other k
instruments; L2 logistic regression as in `aesens.logistic`, its cost chosen by cross-validation with folds grouped by
song. The clips and folds of an instrument are the same for every training condition and every projection.

*Training conditions*: ``clean``; ``effected`` at one strength; ``random``, where each clip has a strength of its own,
drawn once. *Cases* are the pairs of a training and a test condition that the study looks at:

==========  ==========  =====================================================
train       test        strength
==========  ==========  =====================================================
clean       clean       none (-1)
clean       effected    of the test clips
clean       random      none (-1): each test clip at its own random strength
effected    clean       of the training clips
effected    effected    of both alike
random      clean       none (-1)
random      effected    of the test clips
random      random      none (-1): each test clip at its own random strength
==========  ==========  =====================================================

A classifier is trained once per (projection, training condition) and reused in every case. Projections are applied to
training and to test embeddings. Scores are decision values: positive means the instrument.

Beyond the published study: folds are grouped by song (no song on both sides of a fold), and changes of AUC carry
bootstrap intervals over test songs and Holm-corrected p-values.

References
----------
V. Deng, C. Wang, G. Richard, B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to Common
Effects", ICASSP 2025, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import pandas as pd
import xarray as xr
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from aesens.logistic import COSTS, fit_logistic
from aesens.parallel import each
from aesens.progress import tqdm
from aesens.statistics import holm, resample_weights

__all__ = [
    "auc",
    "auc_change",
    "auc_loss",
    "classifier_weights",
    "classify",
    "draw_random_strengths",
    "draw_training_clips",
    "grouped_folds",
    "metric_table",
    "metrics",
]

#: What `metrics` returns, in order.
METRICS = ("roc_auc", "average_precision", "precision", "recall", "f1", "accuracy")

# Numbers of training features handed to one job: several conditions where they are small.
_JOB_CELLS = 2_000_000
_FOLD_DRAWS = 10
_ROUNDING = 1e-12
# Resamples worked on at a time.
_RESAMPLES = 1000


def grouped_folds(
    labels: np.ndarray, songs: np.ndarray, n_splits: int = 3, name: str = "the classifier"
) -> np.ndarray:
    """Stratified folds that keep each song together and hold both classes each.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    songs : array_like, shape (n,)
        Song of each row.
    n_splits : int
        Number of folds. Fewer (but at least two) are made where a class has fewer songs, or where the songs cannot be
        spread over so many folds.
    name : str
        Whose folds they are, for the error message.

    Returns
    -------
    ndarray of int, shape (n,)
        The fold in which each row is held out.

    Raises
    ------
    ValueError
        If a class has fewer than two songs, or no two folds hold both classes.

    Examples
    --------
    >>> labels = [True, True, True, True, False, False, False, False]
    >>> folds = grouped_folds(labels, ["a", "a", "b", "b", "c", "c", "d", "d"])
    >>> int(folds.max()) + 1, bool(folds[0] == folds[1] != folds[2])
    (2, True)
    """
    # As text, so that the order of the songs, which the split depends on, is the same for any kind of label.
    labels, songs = np.asarray(labels, bool), np.asarray(songs).astype(str)
    counts = [len(np.unique(songs[side])) for side in (labels, ~labels)]
    for splits in range(min(n_splits, *counts), 1, -1):
        # The unshuffled split first; its greedy choice can leave a fold without a class, so shuffled ones follow.
        for draw in (None, *range(_FOLD_DRAWS)):
            splitter = StratifiedGroupKFold(splits, shuffle=draw is not None, random_state=draw)
            folds = np.empty(len(labels), int)
            for fold, (_, held) in enumerate(splitter.split(labels, labels, songs)):
                folds[held] = fold
            both = (len(np.unique(folds[side])) == splits for side in (labels, ~labels))
            if all(both):
                return folds
    raise ValueError(
        f"{name}: {labels.sum()} clips from {counts[0]} song(s) against {(~labels).sum()} clips from {counts[1]} "
        "song(s) cannot be split into folds that keep songs together and hold both classes: "
        "at least two songs on each side are needed"
    )


def draw_training_clips(
    instruments: np.ndarray, instrument: str, train: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the training clips of one instrument's classifier.

    Parameters
    ----------
    instruments : array_like of str, shape (clip,)
    instrument : str
    train : array_like of bool, shape (clip,)
        The clips to choose from.
    seed : int
        Seed of the draw.

    Returns
    -------
    clips : ndarray of int, shape (n,)
        Positions in ascending order: all n clips of the instrument, and of each of the k other instruments n // k,
        but at least one and at most all that there are.
    labels : ndarray of bool, shape (n,)
        True for the instrument's own clips.

    Raises
    ------
    ValueError
        If there are no clips of the instrument or no others.

    Examples
    --------
    >>> clips, labels = draw_training_clips(["a"] * 5 + ["b"] * 9 + ["c"] * 3, "a", np.ones(17, bool))
    >>> clips[:5].tolist(), int((clips >= 14).sum()), len(clips)
    ([0, 1, 2, 3, 4], 2, 9)
    """
    instruments, train = np.asarray(instruments), np.asarray(train, bool)
    own = np.flatnonzero(train & (instruments == instrument))
    other = np.flatnonzero(train & (instruments != instrument))
    if not len(own) or not len(other):
        raise ValueError(
            f"{instrument}: {len(own)} training clips of its own and {len(other)} of other instruments: "
            "a classifier needs both"
        )
    rng = np.random.default_rng([seed, *str(instrument).encode()])
    codes = np.unique(instruments[other])
    count = max(1, len(own) // len(codes))
    chosen = [rng.permutation(other[instruments[other] == code])[:count] for code in codes]
    clips = np.sort(np.concatenate([own, *chosen]))
    return clips, instruments[clips] == instrument


def draw_random_strengths(clips: int, strengths: int, seed: int = 0) -> np.ndarray:
    """The strength of each clip in the condition ``random``.

    Parameters
    ----------
    clips, strengths : int
        Numbers of clips and of strengths.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray of int, shape (clip,)
        All zero where there are no strengths.

    Examples
    --------
    >>> drawn = draw_random_strengths(100, 3)
    >>> drawn.shape, sorted(set(drawn.tolist()))
    ((100,), [0, 1, 2])
    """
    return np.random.default_rng([seed, 1]).integers(max(strengths, 1), size=clips)


def _subspaces(projections, classes, dimension):
    """{name: {instrument: (k, d) or None}}, checked."""
    result = {}
    for name, given in projections.items():
        if given is None:
            given = dict.fromkeys(classes)
        elif not isinstance(given, Mapping):
            if len(given) != len(classes):
                raise ValueError(
                    f"projection {name!r} holds {len(given)} subspaces for {len(classes)} instruments: give one each, "
                    "or a mapping from instrument to subspace"
                )
            given = dict(zip(classes, given, strict=True))
        missing = [c for c in classes if c not in given]
        if missing:
            raise ValueError(
                f"projection {name!r} has no subspace for {', '.join(missing)} (None removes nothing)"
            )
        for c in classes:
            if given[c] is not None and np.shape(np.atleast_2d(given[c]))[-1] != dimension:
                raise ValueError(
                    f"projection {name!r} of {c} has shape {np.shape(given[c])}, embeddings have {dimension} features"
                )
        result[str(name)] = {c: given[c] for c in classes}
    if not result:
        raise ValueError("no projections: give at least {'none': None}")
    return result


def _check(clean, trajectories, instruments, songs, train, test):
    clean = np.asarray(clean)
    trajectories = (
        np.empty((0, *clean.shape), clean.dtype) if trajectories is None else np.asarray(trajectories)
    )
    instruments, songs = np.asarray(instruments).astype(str), np.asarray(songs).astype(str)
    train, test = np.asarray(train), np.asarray(test)
    clips = len(clean)
    if clean.ndim != 2 or trajectories.ndim != 3 or trajectories.shape[1:] != clean.shape:
        raise ValueError(
            "clean must have shape (clip, feature) and trajectories (strength, clip, feature), "
            f"got {clean.shape} and {trajectories.shape}"
        )
    for name, values in dict(instruments=instruments, songs=songs, train=train, test=test).items():
        if values.shape != (clips,):
            raise ValueError(f"{name} must have shape ({clips},), one a clip, got {values.shape}")
    if train.dtype != bool or test.dtype != bool:
        raise ValueError("train and test must be boolean masks over clips")
    if not train.any() or not test.any():
        raise ValueError(f"{train.sum()} training and {test.sum()} test clips: both are needed")
    crossing = np.intersect1d(songs[train], songs[test])
    if len(crossing):
        raise ValueError(
            f"songs in training and test: {', '.join(crossing[:5])}{' ...' if len(crossing) > 5 else ''}: "
            "split by song"
        )
    return clean, trajectories, instruments, songs, train, test


def classify(
    clean: np.ndarray,
    trajectories: np.ndarray | None,
    instruments: np.ndarray,
    songs: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    projections: Mapping[str, Any] | None = None,
    *,
    classes: Sequence[str] | None = None,
    costs: Sequence[float] = COSTS,
    n_splits: int = 3,
    seed: int = 0,
    n_jobs: int = 1,
    progress: bool = False,
) -> xr.Dataset:
    """Train and test the instrument classifiers of one model and effect, in all cases and for all projections.

    Parameters
    ----------
    clean : array_like, shape (clip, feature)
        Embeddings of the clean clips.
    trajectories : array_like, shape (strength, clip, feature), or None
        Embeddings of the effected clips. None: the clean case only.
    instruments, songs : array_like of str, shape (clip,)
    train, test : array_like of bool, shape (clip,)
        Masks of training and test clips. No song may be in both.
    projections : mapping, optional
        Name -> subspaces to remove: None (nothing), a mapping from instrument to (k, feature) orthonormal rows or None,
        or a sequence of those in the order of `classes`. Default ``{"none": None}``.
    classes : sequence of str, optional
        Instruments to make classifiers for, in order. Default: those of the training clips, sorted.
    costs : sequence of float
        Candidates of C, ascending.
    n_splits : int
        Folds of the cross-validation, see `grouped_folds`.
    seed : int
        Seed of the drawn training clips and random strengths.
    n_jobs : int
        Threads, as in joblib (-1: all cores). The result does not depend on it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``score`` (projection, case, instrument, clip): float64 decision values of the test clips.
        ``cost``, ``cv_auc`` (projection, training, instrument): the chosen C and its cross-validated ROC-AUC.
        ``train_clips``, ``folds`` (instrument): numbers of training clips and of folds.
        Coordinates: ``train``, ``test``, ``strength`` of each case (see the module's table); ``condition``,
        ``training_strength`` of each training; ``label``, ``song``, ``position`` (among all clips) and
        ``random_strength`` of each test clip.

    Raises
    ------
    ValueError
        If shapes disagree, a song is on both sides, a subspace is not orthonormal, embeddings are not finite, or an
        instrument has too few songs to cross-validate.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> instruments = np.repeat(["flu", "pia"], 20)
    >>> songs = np.arange(40) // 2
    >>> clean = rng.normal(size=(40, 6)) + 2.0 * (instruments == "pia")[:, None]
    >>> result = classify(clean, np.stack([clean, clean + 1]), instruments, songs, songs % 2 == 0, songs % 2 == 1)
    >>> dict(result.score.sizes)
    {'projection': 1, 'case': 12, 'instrument': 2, 'clip': 20}
    >>> table = metric_table(result)
    >>> bool(table.query("train == 'clean' and test == 'clean'").roc_auc.min() > 0.9)
    True
    """
    clean, trajectories, instruments, songs, train, test = _check(
        clean, trajectories, instruments, songs, train, test
    )
    classes = [str(c) for c in (np.unique(instruments[train]) if classes is None else classes)]
    projections = _subspaces({"none": None} if projections is None else projections, classes, clean.shape[1])
    strengths = len(trajectories)
    random_strength = draw_random_strengths(len(clean), strengths, seed)
    # Training condition -1 is clean, 0 ... S-1 a strength, S the random strengths.
    conditions = list(range(-1, strengths + 1 if strengths else 0))

    def embeddings(condition, clips):
        if condition < 0:
            return clean[clips]
        return trajectories[random_strength[clips] if condition == strengths else condition, clips]

    chosen, folds, jobs = [], [], []
    for i, name in enumerate(classes):
        clips, labels = draw_training_clips(instruments, name, train, seed)
        chosen.append((clips, labels))
        folds.append(grouped_folds(labels, songs[clips], n_splits, name))
        length = max(1, _JOB_CELLS // (len(clips) * clean.shape[1]))
        jobs += [(i, slice(s, s + length)) for s in range(0, len(conditions), length)]

    def run(job):
        i, part = job
        clips, labels = chosen[i]
        features = np.stack([embeddings(c, clips) for c in conditions[part]]).astype(np.float64)
        subspaces = [subspace[classes[i]] for subspace in projections.values()]
        try:
            return fit_logistic(features, labels, folds[i], subspaces=subspaces, costs=costs)
        except ValueError as error:
            raise ValueError(f"{classes[i]} (projections {', '.join(projections)}): {error}") from error

    shape = (len(conditions), len(projections), len(classes))
    weights, intercepts = np.empty((*shape, clean.shape[1])), np.empty(shape)
    cost, cv_auc = np.empty(shape), np.empty(shape)
    # One BLAS thread a worker: faster for many small problems, and results do not depend on the number of workers.
    with threadpool_limits(1), ThreadPoolExecutor(joblib.effective_n_jobs(n_jobs)) as pool:
        fits = tqdm(pool.map(run, jobs), total=len(jobs), desc="classifiers", disable=not progress)
        for (i, part), fit in zip(jobs, fits, strict=True):
            weights[part, :, i], intercepts[part, :, i] = fit.coefficients, fit.intercept
            cost[part, :, i], cv_auc[part, :, i] = fit.cost, fit.cv_auc.max(axis=-1)
        clips = np.flatnonzero(test)
        cases, score = _score(embeddings, clips, random_strength[clips], strengths, weights, intercepts)

    names = np.array(["clean"] + ["effected"] * strengths + ["random"] * (strengths > 0))
    order = ("projection", "training", "instrument")
    return xr.Dataset(
        {
            "score": (("projection", "case", "instrument", "clip"), score),
            "cost": (order, cost.swapaxes(0, 1)),
            "cv_auc": (order, cv_auc.swapaxes(0, 1)),
            "train_clips": ("instrument", np.array([len(clips) for clips, _ in chosen])),
            "folds": ("instrument", np.array([f.max() + 1 for f in folds])),
        },
        coords={
            "projection": list(projections),
            "instrument": classes,
            "train": ("case", np.array([case[0] for case in cases])),
            "test": ("case", np.array([case[1] for case in cases])),
            "strength": ("case", np.array([case[2] for case in cases])),
            "condition": ("training", names),
            "training_strength": ("training", np.where(names == "effected", conditions, -1)),
            "label": ("clip", instruments[clips]),
            "song": ("clip", songs[clips]),
            "position": ("clip", clips),
            "random_strength": ("clip", random_strength[clips]),
        },
        attrs={"seed": seed},
    )


def classifier_weights(
    clean: np.ndarray,
    instruments: np.ndarray,
    songs: np.ndarray,
    train: np.ndarray,
    *,
    classes: Sequence[str] | None = None,
    costs: Sequence[float] = COSTS,
    n_splits: int = 3,
    seed: int = 0,
    n_jobs: int = 1,
) -> dict[str, np.ndarray]:
    """Weights of the instrument classifiers trained on clean clips, those of `classify` without a projection.

    Parameters
    ----------
    clean : array_like, shape (clip, feature)
    instruments, songs : array_like of str, shape (clip,)
    train : array_like of bool, shape (clip,)
    classes, costs, n_splits, seed, n_jobs
        As in `classify`.

    Returns
    -------
    dict of str to ndarray, shape (feature,)
        By instrument; the score grows along the weights.

    Examples
    --------
    >>> instruments, songs = np.repeat(["flu", "pia"], 20), np.arange(40) // 2
    >>> clean = np.random.default_rng(0).normal(size=(40, 3))
    >>> clean[instruments == "pia", 1] += 5
    >>> weights = classifier_weights(clean, instruments, songs, np.ones(40, bool))
    >>> {name: int(np.abs(w).argmax()) for name, w in weights.items()}, bool(weights["pia"][1] > 0)
    ({'flu': 1, 'pia': 1}, True)
    """
    clean, train = np.asarray(clean), np.asarray(train, bool)
    instruments, songs = np.asarray(instruments).astype(str), np.asarray(songs).astype(str)
    classes = [str(c) for c in (np.unique(instruments[train]) if classes is None else classes)]

    def weights(name):
        clips, labels = draw_training_clips(instruments, name, train, seed)
        folds = grouped_folds(labels, songs[clips], n_splits, name)
        return fit_logistic(clean[None, clips], labels, folds, costs=costs).coefficients[0, 0]

    return dict(zip(classes, each(weights, classes, n_jobs), strict=True))


def _score(embeddings, clips, random_strength, strengths, weights, intercepts):
    """Decision values (projection, case, instrument, clip) of the test clips, and the cases."""
    cases = [("clean", "clean", -1)]
    if strengths:
        every = range(strengths)
        cases += [("clean", "effected", s) for s in every]
        cases += [("clean", "random", -1)]
        cases += [("effected", "clean", s) for s in every]
        cases += [("effected", "effected", s) for s in every]
        cases += [("random", "clean", -1)]
        cases += [("random", "effected", s) for s in every]
        cases += [("random", "random", -1)]
    place = {case: k for k, case in enumerate(cases)}
    _, p, i, d = weights.shape
    score = np.empty((p, len(cases), i, len(clips)))
    # Each test condition is read once, for all classifiers that are tested on it.
    for test_strength in range(-1, strengths):
        x = embeddings(test_strength, clips).astype(np.float64)
        test = "clean" if test_strength < 0 else "effected"
        for case in cases:
            train, kind, strength = case
            if kind != test or (kind == "effected" and strength != test_strength):
                continue
            training = {"clean": 0, "effected": strength + 1, "random": strengths + 1}[train]
            value = weights[training].reshape(-1, d) @ x.T + intercepts[training].reshape(-1, 1)
            score[:, place[case]] = value.reshape(p, i, -1)
    for train in ("clean", "random") if strengths else ():
        first = place[train, "effected", 0]
        for s in range(strengths):
            at = random_strength == s
            score[:, place[train, "random", -1], :, at] = score[:, first + s, :, at]
    return cases, score


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

    Parameters
    ----------
    scores : array_like, shape (..., n)
    labels : array_like of bool, shape (n,) or broadcastable to `scores`

    Returns
    -------
    ndarray, float64, shape (...)
        NaN where there is one class only.

    Examples
    --------
    >>> auc([[0.1, 0.4, 0.35, 0.8], [1, 1, 1, 1]], [False, False, True, True]).tolist()
    [0.75, 0.5]
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

    Examples
    --------
    >>> values = metrics([-2.0, 0.5, 1.0, 3.0], [False, True, False, True])
    >>> {name: round(float(value), 3) for name, value in values.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'roc_auc': 0.75, 'average_precision': 0.833, 'precision': 0.667, 'recall': 1.0, 'f1': 0.8, 'accuracy': 0.75}
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
    values = (
        auc(scores, labels),
        average_precision,
        _ratio(hits, claimed, 0),
        _ratio(hits, positives, 0),
        _ratio(2 * hits, claimed + positives, 0),
        (decided == labels).mean(-1),
    )
    return dict(zip(METRICS, values, strict=True))


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

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> instruments = np.repeat(["flu", "pia"], 20)
    >>> songs = np.arange(40) // 2
    >>> clean = rng.normal(size=(40, 6)) + 2.0 * (instruments == "pia")[:, None]
    >>> result = classify(clean, None, instruments, songs, songs % 2 == 0, songs % 2 == 1)
    >>> bool(metric_table(result)["roc_auc"].min() > 0.9)
    True
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
    reference: str = "none",
    strengths: Sequence[int] | None = None,
    by_strength: bool = False,
    pooled: Mapping[str, Sequence[str | Sequence[str]]] | None = None,
    n_resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """ROC-AUC of each projection against no projection, with bootstrap intervals over test songs.

    Parameters
    ----------
    result : xarray.Dataset
        From `classify`.
    reference : str
        The projection to compare with.
    strengths : sequence of int, optional
        Strengths to take. Default: all. Cases without a strength always stay.
    by_strength : bool
        One row a strength instead of the mean over strengths.
    pooled : mapping, optional
        Further rows by name: the mean over the projections listed, where a list in the list is averaged first and
        counts as one, e.g. ``{"all": ["pca", "lda", ["svd-0.3", "svd-0.5"]]}``.
    n_resamples : int
        Bootstrap resamples of the test songs, the same for every row. No p-value is below 2 / (n_resamples + 1), so
        that the family's size times this should stay below the level aimed at.
    confidence : float
        Level of the percentile intervals.
    seed : int
        Seed of the resamples.
    n_jobs : int
        Threads, as in `classify`.

    Returns
    -------
    pandas.DataFrame
        One row per pair of training and test condition and projection: ``train``, ``test``, ``strength`` (only with
        `by_strength`; -1: none), ``projection``, ``auc``, ``auc_low``, ``auc_high``, ``change``, ``change_low``,
        ``change_high`` (means over instruments; a resample without any clip of an instrument leaves it out), ``p``
        (two-sided bootstrap p-value of no change) and ``p_holm`` (Holm-corrected over all rows of the table). The
        reference itself has a row with change 0 and no p-value.

    Raises
    ------
    ValueError
        If the reference or the strengths are not in the result.

    References
    ----------
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, sections 13.3 and 15.4.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> instruments = np.repeat(["flu", "pia"], 20)
    >>> songs = np.arange(40) // 2
    >>> clean = rng.normal(size=(40, 6)) + 2.0 * (instruments == "pia")[:, None]
    >>> sides = songs % 2 == 0, songs % 2 == 1
    >>> subspaces = {"none": None, "first": [np.eye(1, 6)] * 2}
    >>> result = classify(clean, np.stack([clean, clean + 1]), instruments, songs, *sides, subspaces)
    >>> table = auc_change(result, n_resamples=20)
    >>> sorted(set(table["projection"])), bool((table["change_low"] <= table["change_high"]).all())
    (['first', 'none'], True)
    """
    names = [str(name) for name in result.projection.values]
    parts = list((pooled or {}).values())
    base = _reference(result, reference)
    strength = result.strength.values
    if strengths is not None:
        unknown = sorted(set(strengths) - set(strength[strength >= 0].tolist()))
        if unknown or not len(strengths):
            raise ValueError(f"strengths {unknown or 'none'}: choose from 0 ... {strength.max()}")
    keep = (strength < 0) | (True if strengths is None else np.isin(strength, strengths))
    rows = []
    for key, value in _drawn_auc(
        result, _groups(result, keep, by_strength), n_resamples, seed, n_jobs
    ).items():
        change = value - value[:, [base]]
        # Rounding must not turn "the same ranking" into a change.
        change[np.abs(change) < _ROUNDING] = 0.0
        value, change = (
            np.column_stack([x, *(_pooled(x, part, names) for part in parts)]) for x in (value, change)
        )
        for k, name in enumerate([*names, *(pooled or {})]):
            drawn = np.stack([value[1:, k], change[1:, k]])
            low, high = _limits(drawn, confidence)
            drawn = drawn[:, np.isfinite(drawn[0])]
            rows.append(
                {
                    "train": key[0],
                    "test": key[1],
                    "strength": key[2],
                    "projection": name,
                    "auc": value[0, k],
                    "auc_low": low[0],
                    "auc_high": high[0],
                    "change": change[0, k],
                    "change_low": low[1],
                    "change_high": high[1],
                    "p": np.nan if k == base or not drawn.size else _two_sided(drawn[1]),
                }
            )
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy())
    return table if by_strength else table.drop(columns="strength")


def auc_loss(
    result: xr.Dataset,
    *,
    reference: str = "none",
    n_resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """What each pair of training and test condition costs in ROC-AUC against clean clips on both sides.

    Parameters
    ----------
    result : xarray.Dataset
        From `classify`.
    reference : str
        The projection to look at; without one by default.
    n_resamples, confidence, seed, n_jobs
        As in `auc_change`, and with the same resamples.

    Returns
    -------
    pandas.DataFrame
        One row per pair: ``train``, ``test``, ``loss`` (ROC-AUC of clean on clean minus that of the pair, means over
        strengths and instruments; positive where the effect hurts), ``loss_low``, ``loss_high``.

    Raises
    ------
    ValueError
        If the reference is not in the result.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> instruments = np.repeat(["flu", "pia"], 20)
    >>> songs = np.arange(40) // 2
    >>> clean = rng.normal(size=(40, 6)) + 2.0 * (instruments == "pia")[:, None]
    >>> noise = rng.normal(size=(3, 40, 6))
    >>> result = classify(clean, clean + 20 * noise, instruments, songs, songs % 2 == 0, songs % 2 == 1)
    >>> losses = auc_loss(result, n_resamples=20).set_index(["train", "test"])["loss"]
    >>> float(losses["clean", "clean"]), bool(losses["clean", "effected"] > 0.2)
    (0.0, True)
    """
    alone = result.isel(projection=[_reference(result, reference)])
    values = _drawn_auc(alone, _groups(alone, slice(None), False), n_resamples, seed, n_jobs)
    clean = values["clean", "clean", -1][:, 0]
    rows = []
    for (train, test, _), value in values.items():
        loss = clean - value[:, 0]
        # The same ranking summed in another order is no loss.
        loss[np.abs(loss) < _ROUNDING] = 0.0
        low, high = _limits(loss[None, 1:], confidence)
        rows.append({"train": train, "test": test, "loss": loss[0], "loss_low": low[0], "loss_high": high[0]})
    return pd.DataFrame(rows)


def _reference(result, name):
    """Place of the projection to compare with."""
    names = [str(projection) for projection in result.projection.values]
    if name not in names:
        raise ValueError(f"no projection {name!r} to compare with: the result has {', '.join(names)}")
    return names.index(name)


def _groups(result, keep, by_strength):
    """Cases that are averaged, by (train, test, strength or -1)."""
    train, test, strength = (result[name].values for name in ("train", "test", "strength"))
    groups: dict[tuple, list[int]] = {}
    for case in np.arange(len(strength))[keep]:
        key = (str(train[case]), str(test[case]), int(strength[case]) if by_strength else -1)
        groups.setdefault(key, []).append(case)
    return groups


def _drawn_auc(result, groups, n_resamples, seed, n_jobs):
    """ROC-AUC (1 + resample, projection) of each group of cases, that of the test songs as they are first."""
    clips = result.sizes["clip"]
    weights = np.concatenate([np.ones((1, clips)), resample_weights(result.song.values, n_resamples, seed)])
    parts = [(key, i) for key in groups for i in range(result.sizes["instrument"])]
    wins = each(lambda part: _wins(result, groups[part[0]], part[1]), parts, n_jobs)
    of_group = {
        key: [w for part, w in zip(parts, wins, strict=True) if part[0] == key and w] for key in groups
    }
    blocks = [(key, start) for key in groups for start in range(0, len(weights), _RESAMPLES)]
    values = each(
        lambda block: _resampled_auc(of_group[block[0]], weights[block[1] : block[1] + _RESAMPLES]),
        blocks,
        n_jobs,
    )
    return {
        key: np.concatenate([v for block, v in zip(blocks, values, strict=True) if block[0] == key])
        for key in groups
    }


def _pooled(values, members, names):
    """Mean (n,) of the columns of (n, projection) that go by the names; a list of names counts as one."""
    columns = [
        values[:, names.index(member)] if isinstance(member, str) else _pooled(values, member, names)
        for member in members
    ]
    return np.mean(columns, axis=0)


def _limits(drawn, confidence):
    """Percentile limits, each (k,), of (k, resample); resamples on which the first is undefined are left out."""
    drawn = drawn[:, np.isfinite(drawn[0])]
    tail = 50.0 * (1.0 - confidence)
    return (
        np.percentile(drawn, [tail, 100.0 - tail], axis=1) if drawn.size else np.full((2, len(drawn)), np.nan)
    )


def _two_sided(change: np.ndarray) -> float:
    """Twice the smaller share of resamples on either side of zero, the observed one counted in; at most 1."""
    below, above = (change <= 0).sum() + 1, (change >= 0).sum() + 1
    return min(1.0, 2.0 * min(below, above) / (len(change) + 1))
