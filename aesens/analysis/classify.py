"""How well instruments are recognised from embeddings, before and after an effect direction is projected out.

Conventions
-----------
One binary classifier an instrument: all its n training clips against others, n // k drawn from each of the other k
instruments; L2 logistic regression as in `aesens.analysis.logistic`, its cost chosen by cross-validation with folds
grouped by song. The clips and folds of an instrument are the same for every training condition and every projection.

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

A classifier is trained once per (projection, training condition) and reused in every case. A *projection* is None,
orthonormal rows to remove, of which the features are never formed, or whatever has a `transform`; it is applied to
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
from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr
from sklearn.model_selection import StratifiedGroupKFold

from aesens.analysis.logistic import fit_logistic
from aesens.analysis.parallel import each

__all__ = [
    "by_instrument",
    "check_sides",
    "classifier_weights",
    "classify",
    "draw_random_strengths",
    "draw_training_clips",
    "grouped_folds",
    "is_subspace",
    "transformed",
]

# Numbers of training features fitted at a time: several conditions where they are small.
_CELLS = 2_000_000

# Folds of the cross-validation, and how often their songs are drawn anew before there are fewer.
_FOLDS, _FOLD_DRAWS = 3, 10


def grouped_folds(labels: np.ndarray, songs: np.ndarray, name: str = "the classifier") -> np.ndarray:
    """Three stratified folds that keep each song together and hold both classes each: the fold of each row (n,).

    Fewer (but at least two) are made where a class has fewer songs, or where the songs cannot be spread over so many; a
    ValueError says where even two cannot be. `name` says whose folds they are.
    """
    # As text, so that the order of the songs, which the split depends on, is the same for any kind of label.
    labels, songs = np.asarray(labels, bool), np.asarray(songs).astype(str)
    return _dealt(tuple(labels.tolist()), tuple(songs.tolist()), name).copy()


# The same for every model and effect, and slow where there are few clips.
@lru_cache(maxsize=256)
def _dealt(labels, songs, name):
    labels, songs = np.array(labels), np.array(songs)
    counts = [len(np.unique(songs[side])) for side in (labels, ~labels)]
    for splits in range(min(_FOLDS, *counts), 1, -1):
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
    """Choose the training clips of one instrument's classifier, among those of the mask `train`.

    Returns their positions, ascending, and whether each is of the instrument.
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
    """The strength (clip,) of each clip in the condition ``random``; all zero where there are no strengths."""
    return np.random.default_rng([seed, 1]).integers(max(strengths, 1), size=clips)


def by_instrument(methods: Mapping[str, Any], classes: Sequence[str], dimension: int) -> dict[str, dict]:
    """Methods by name and instrument, checked: None, orthonormal rows (k, dimension), or what has a `transform`."""
    result = {}
    for name, given in methods.items():
        given = given if isinstance(given, Mapping) else dict.fromkeys(classes, given)
        if missing := [c for c in classes if c not in given]:
            raise ValueError(
                f"projection {name!r} has nothing for {', '.join(missing)} (None removes nothing)"
            )
        for c in classes:
            if not is_subspace(given[c]):
                continue
            if given[c] is not None and np.shape(np.atleast_2d(given[c]))[-1] != dimension:
                raise ValueError(
                    f"projection {name!r} of {c} has shape {np.shape(given[c])}, embeddings have {dimension} features"
                )
        result[str(name)] = {c: given[c] for c in classes}
    if not result:
        raise ValueError("no projections: give at least {'none': None}")
    return result


def is_subspace(method: Any) -> bool:
    """Whether a method is rows to remove (None removes nothing), of which the features need not be formed."""
    return not hasattr(method, "transform")


def transformed(method: Any, x: np.ndarray) -> np.ndarray:
    """What a method makes of embeddings (n, feature), float64; of a copy, so that the given ones stay as they are."""
    out = np.asarray(method.transform(x.copy()), np.float64)
    if out.ndim != 2 or len(out) != len(x):
        raise ValueError(f"{type(method).__name__}.transform gave shape {out.shape} for {x.shape}")
    return out


def check_sides(clean, trajectories, instruments, songs, train, test):
    """What `classify` takes, as arrays; `ValueError` if shapes disagree or a song is on both sides."""
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
    seed: int = 0,
    n_jobs: int = 1,
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
        Name -> projection, or instrument -> projection: None (nothing), (k, feature) orthonormal rows to remove, or an
        object with ``transform(X (n, feature)) -> (n, feature')``. Default ``{"none": None}``.
    classes : sequence of str, optional
        Instruments to make classifiers for, in order. Default: those of the training clips, sorted.
    seed : int
        Seed of the drawn training clips and random strengths.
    n_jobs : int
        Threads, as in joblib (-1: all cores). The result does not depend on it.

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
    """
    clean, trajectories, instruments, songs, train, test = check_sides(
        clean, trajectories, instruments, songs, train, test
    )
    classes = [str(c) for c in (np.unique(instruments[train]) if classes is None else classes)]
    projections = by_instrument(
        {"none": None} if projections is None else projections, classes, clean.shape[1]
    )
    strengths = len(trajectories)
    random_strength = draw_random_strengths(len(clean), strengths, seed)
    # Training condition -1 is clean, 0 ... S-1 a strength, S the random strengths.
    conditions = list(range(-1, strengths + 1 if strengths else 0))

    def embeddings(condition, clips, moved):
        if condition < 0:
            x = clean[clips]
        else:
            x = trajectories[random_strength[clips] if condition == strengths else condition, clips]
        x = x.astype(np.float64)
        return x if moved is None else transformed(moved, x)

    chosen, folds, jobs = [], [], []
    for i, name in enumerate(classes):
        chosen.append(draw_training_clips(instruments, name, train, seed))
        folds.append(grouped_folds(chosen[i][1], songs[chosen[i][0]], name))
        methods = [given[name] for given in projections.values()]
        removing = [p for p, method in enumerate(methods) if is_subspace(method)]
        jobs.append((i, removing, [methods[p] for p in removing], None))
        jobs += [(i, [p], None, method) for p, method in enumerate(methods) if p not in removing]

    clips, cases = np.flatnonzero(test), _cases(strengths)
    shape = (len(projections), len(conditions), len(classes))
    score = np.empty((len(projections), len(cases), len(classes), len(clips)))
    cost, cv_auc = np.empty(shape), np.empty(shape)

    def run(job):
        i, places, subspaces, moved = job
        rows, labels = chosen[i]
        length = max(1, _CELLS // (len(rows) * clean.shape[1]))
        fits = []
        for start in range(0, len(conditions) if places else 0, length):
            features = np.stack([embeddings(c, rows, moved) for c in conditions[start : start + length]])
            try:
                fits.append(fit_logistic(features, labels, folds[i], subspaces=subspaces))
            except ValueError as error:
                raise ValueError(f"{classes[i]} (projections {', '.join(projections)}): {error}") from error
        if fits:
            weights, intercepts, cost[places, :, i], grid = (
                np.concatenate([getattr(fit, name) for fit in fits]).swapaxes(0, 1)
                for name in ("coefficients", "intercept", "cost", "cv_auc")
            )
            cv_auc[places, :, i] = grid.max(axis=-1)
            read = partial(embeddings, clips=clips, moved=moved)
            score[places, :, i] = _score(read, cases, random_strength[clips], weights, intercepts)

    each(run, jobs, n_jobs)
    names = np.array(["clean"] + ["effected"] * strengths + ["random"] * (strengths > 0))
    order = ("projection", "training", "instrument")
    return xr.Dataset(
        {
            "score": (("projection", "case", "instrument", "clip"), score),
            "cost": (order, cost),
            "cv_auc": (order, cv_auc),
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
    seed: int = 0,
    n_jobs: int = 1,
) -> dict[str, np.ndarray]:
    """Weights of the instrument classifiers trained on clean clips, those of `classify` without a projection.

    Takes what `classify` takes and returns the weights (feature,) by instrument; the score grows along them.
    """
    clean, train = np.asarray(clean), np.asarray(train, bool)
    instruments, songs = np.asarray(instruments).astype(str), np.asarray(songs).astype(str)
    classes = [str(c) for c in (np.unique(instruments[train]) if classes is None else classes)]

    def weights(name):
        clips, labels = draw_training_clips(instruments, name, train, seed)
        folds = grouped_folds(labels, songs[clips], name)
        return fit_logistic(clean[None, clips], labels, folds).coefficients[0, 0]

    return dict(zip(classes, each(weights, classes, n_jobs), strict=True))


def _cases(strengths):
    """Training condition, test condition and strength of each case."""
    if not strengths:
        return [("clean", "clean", -1)]

    def by_strength(*pair):
        return [(*pair, s) for s in range(strengths)]

    return [
        ("clean", "clean", -1),
        *by_strength("clean", "effected"),
        ("clean", "random", -1),
        *by_strength("effected", "clean"),
        *by_strength("effected", "effected"),
        ("random", "clean", -1),
        *by_strength("random", "effected"),
        ("random", "random", -1),
    ]


def _score(read, cases, random_strength, weights, intercepts):
    """Decision values (projection, case, clip) of the test clips, by weights (projection, condition, feature)."""
    p, conditions, d = weights.shape
    strengths = max(conditions - 2, 0)
    place = {case: k for k, case in enumerate(cases)}
    score = np.empty((p, len(cases), len(random_strength)))
    # Each test condition is read once, for all classifiers that are tested on it.
    for test_strength in range(-1, strengths):
        x, test = read(test_strength), "clean" if test_strength < 0 else "effected"
        at = [
            (place[case], {"clean": 0, "effected": case[2] + 1, "random": strengths + 1}[case[0]])
            for case in cases
            if case[1] == test and (test == "clean" or case[2] == test_strength)
        ]
        columns, training = map(list, zip(*at, strict=True))
        value = weights[:, training].reshape(-1, d) @ x.T
        score[:, columns] = value.reshape(p, len(at), -1) + intercepts[:, training, None]
    for train in ("clean", "random") if strengths else ():
        first = place[train, "effected", 0]
        for s in range(strengths):
            at = random_strength == s
            score[:, place[train, "random", -1]][:, at] = score[:, first + s][:, at]
    return score
