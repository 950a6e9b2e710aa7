"""Many L2 logistic regressions at once, exactly those of liblinear, with the cost chosen by cross-validation.

scikit-learn's ``GridSearchCV(LogisticRegression(solver="liblinear"))`` takes one training set at a time, and for
the 18 000 cells of a model and effect (projection x case x instrument) some 130 times as long
(``benchmarks/results/analysis.csv``): for the study more than a day of two cores instead of twenty minutes.

Conventions
-----------
A *problem* is one training set: rows ``x_i`` (n, d), labels ``y_i`` in {-1, +1}, a cost C and row weights ``c_i``
(``class_weight="balanced"``: n / (2 n_class), counted on the rows that are trained on). The model is
``w . x + b`` and minimises liblinear's primal objective (``solver="liblinear", penalty L2``)

    1/2 |w|^2 + 1/2 b^2 + C sum_i c_i log(1 + exp(-y_i (w . x_i + b))),

in which the intercept is the weight of a constant feature 1 and is regularised like every other weight.

Reduction. The optimum lies in the span of the training rows, ``w = X^T a``, so that everything is determined by the
Gram matrix ``K = X X^T + 1`` (n, n): the features are touched once, margins are ``K a`` and inner products of two w are
``a . K b``. Removing a subspace with orthonormal rows V turns K into ``K - (X V^T)(X V^T)^T``; projected features are
never formed. Several labellings of the same rows, one an instrument, share its K. Where rows are more than twice as
many as features, K says little about the directions that it lacks, and the same iteration runs on w itself.

Iteration. `aesens.analysis.newton`, along C from small to large, each cost started at the solution of the one before.

References
----------
R.-E. Fan et al., "LIBLINEAR: a library for large linear classification", JMLR 9, 2008, appendix A.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from aesens.analysis.auc import auc
from aesens.analysis.newton import NEWTON_STEPS, Features, Kernels, newton

__all__ = ["COSTS", "balanced_weights", "fit_logistic"]

#: The study's grid of costs: 12 decades.
COSTS = np.array([float(f"1e{k}") for k in range(-8, 4)])

# Numbers in the kernels of one batch, and in one of its vectors: what stays in the processor's cache.
_CELLS, _NUMBERS = 1_000_000, 60_000
# Up to so many times as many rows as features, problems are solved in terms of rows.
_ROWS_PER_FEATURE = 2
# Bounds of the relative error of the weights: of the folds', which are only asked for rankings, and of those returned.
_SEARCHED, _RETURNED = 1e-4, 1e-6
# Mean AUCs closer than this are ties: far above rounding, far below 1 / (positives x negatives).
_TIE = 1e-10


class LogisticFit(NamedTuple):
    """Classifiers fitted by `fit_logistic`, float64.

    Coefficients (batch, projection, feature) are for *unprojected* features: the removed subspace is out of them, so
    that ``x @ w`` is the same for x and for its projection. Intercepts and the chosen ``cost`` are (batch, projection);
    ``cv_auc`` (batch, projection, cost) is the mean ROC-AUC of the held-out folds. Several tasks stand after the
    projections.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    cost: np.ndarray
    cv_auc: np.ndarray


def balanced_weights(labels: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Row weights (..., n) of ``class_weight="balanced"`` for rows (..., n) that count so often each; 0 leaves one out.

    Examples
    --------
    >>> balanced_weights([True, False, False, False]).round(3).tolist()
    [2.0, 0.667, 0.667, 0.667]
    """
    labels = np.asarray(labels, bool)
    rows = np.ones(labels.shape) if rows is None else np.asarray(rows, float)
    positive, negative = (np.sum(rows * side, axis=-1, keepdims=True) for side in (labels, ~labels))
    if not positive.all() or not negative.all():
        raise ValueError(
            f"both classes are needed, got {positive.min():g} and {negative.min():g} rows of them"
        )
    total = positive + negative
    return rows * np.where(labels, total / (2 * positive), total / (2 * negative))


def _checked(features, labels, folds, subspaces):
    features, labels, folds = np.asarray(features, np.float64), np.asarray(labels, bool), np.asarray(folds)
    if features.ndim != 3 or features.shape[1] != labels.shape[-1]:
        raise ValueError(
            f"features must have shape (batch, {labels.shape[-1]}, feature), got {features.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values: leave such clips out before classifying")
    if folds.shape != labels.shape:
        raise ValueError(f"folds must have shape {labels.shape}, got {folds.shape}")
    labels, folds, count = np.atleast_2d(labels), np.atleast_2d(folds), int(folds.max()) + 1
    for own, dealt in zip(labels, folds, strict=True):
        for fold in range(count):
            held = own[dealt == fold]
            if count < 2 or held.all() or not held.any():
                raise ValueError(
                    f"fold {fold} of {count} holds {held.sum()} positive and {(~held).sum()} negative rows: "
                    "at least two folds are needed, and both classes in each"
                )
    checked = [np.zeros((0, features.shape[2])) if v is None else np.atleast_2d(v) for v in subspaces]
    for k, v in enumerate(checked):
        if v.shape[1] != features.shape[2]:
            raise ValueError(
                f"subspace {k} has {v.shape[1]} features, the embeddings have {features.shape[2]}"
            )
        v = v.astype(np.float64)
        error = np.abs(v @ v.T - np.eye(len(v))).max(initial=0)
        if not error < 1e-4:
            raise ValueError(f"the rows of subspace {k} are not orthonormal (off by {error:.1e})")
        # float32 directions are orthonormal to 1e-7 only; the Gram identity wants it exact.
        checked[k] = np.linalg.qr(v.T)[0].T
    return features, labels, folds, checked


def fit_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    *,
    subspaces: Sequence[np.ndarray | None] | None = None,
    resamples: np.ndarray | None = None,
) -> LogisticFit:
    """Fit balanced L2 logistic regressions, each with the cost that its folds choose.

    As scikit-learn's ``GridSearchCV(LogisticRegression(solver="liblinear", class_weight="balanced"), {"C": costs},
    scoring="roc_auc", cv=folds)``, run to a relative error of the weights of 1e-6, and of 1e-4 in the folds, once for
    every training set and every subspace.

    Parameters
    ----------
    features : array_like, shape (batch, n, feature)
        Training sets that share their labels and folds.
    labels : array_like of bool, shape (n,) or (task, n)
        Several tasks have an axis of their own in the result, after the projections.
    folds : array_like of int, shape of `labels`
        The fold 0 ... F-1 in which a row is held out. Every fold of every task holds both classes.
    subspaces : sequence of (ndarray of shape (k, feature) or None), optional
        Subspaces to remove from the features, orthonormal rows; None removes nothing. Default: one None.
    resamples : array_like, shape (resample, n), optional
        How often each row counts in further fits, at the costs chosen on all rows. They follow that on all rows along
        an axis of their own: ``coefficients`` (batch, projection, [task,] 1 + resample, feature).

    Returns
    -------
    LogisticFit

    Raises
    ------
    ValueError
        If shapes disagree, values are not finite, rows of a subspace are not orthonormal, or a fold lacks a class.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 12, 5))
    >>> labels = np.arange(12) % 2 == 0
    >>> x[:, labels] += 2
    >>> fit = fit_logistic(x, labels, np.arange(12) // 2 % 3, subspaces=[None, np.eye(5)[:2]])
    >>> fit.coefficients.shape, fit.cost.shape
    ((2, 2, 5), (2, 2))
    """
    several = np.ndim(labels) > 1
    features, labels, folds, subspaces = _checked(features, labels, folds, subspaces or [None])
    sign = np.where(labels, 1.0, -1.0)
    batch, n, d = features.shape
    rows = np.vstack([np.ones(n), *([] if resamples is None else resamples)])
    weights = balanced_weights(labels[:, None], folds[:, None] != np.arange(folds.max() + 1)[:, None])
    final = balanced_weights(labels[:, None], np.broadcast_to(rows, (len(labels), *rows.shape)))
    owner = np.repeat(np.eye(len(subspaces)), [len(v) for v in subspaces], axis=1)
    bases = np.concatenate(subspaces)
    # By size alone, so that results do not depend on how the work is spread.
    of_task = len(subspaces) * n * weights.shape[1]
    length = max(1, min(_CELLS // (len(subspaces) * n * n), _NUMBERS // (of_task * len(labels))))
    tasks = max(1, _NUMBERS // (of_task * length))
    parts, failures = [], 0
    for start in range(0, batch, length):
        x = features[start : start + length]
        if n <= _ROWS_PER_FEATURE * (d + 1):
            space = Kernels(np.stack([one @ one.T for one in x]) + 1.0, x @ bases.T, owner)
            if len(subspaces) > 1 and len(subspaces) * n * n <= _CELLS:
                space = space.apart()
        else:
            padded = np.pad(x, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
            space = Features(padded, np.pad(bases, ((0, 0), (0, 1))), owner)
        shape, found = (len(x), len(subspaces)), []
        for first in range(0, len(labels), tasks):
            own = slice(first, first + tasks)
            *fits, missed = _search(space, shape, sign[own], weights[own], final[own], folds[own])
            found.append(fits)
            failures += missed
        a, *chosen = (np.concatenate(part, axis=2) for part in zip(*found, strict=True))
        coefficients, intercept = space.weights(a, x)
        for k, v in enumerate(subspaces):
            coefficients[:, k] -= (coefficients[:, k] @ v.T) @ v
        parts.append((coefficients, intercept, *chosen))
    if failures:
        text = f"{failures} logistic regressions did not reach the tolerance in {NEWTON_STEPS} Newton steps"
        warnings.warn(text, ConvergenceWarning, stacklevel=2)
    coefficients, intercept, *chosen = map(np.concatenate, zip(*parts, strict=True))
    first = 0 if resamples is None else slice(None)
    found = coefficients[:, :, :, first], intercept[:, :, :, first], *chosen
    return LogisticFit(*(found if several else (part[:, :, 0] for part in found)))


def _search(space, shape, sign, weights, final, folds):
    """Cross-validate all subspaces of the training sets of one space, then fit each with every row of `final`.

    Of ``shape`` (training set, subspace); ``sign`` and ``folds`` (task, n), ``weights`` (task, fold, n).
    """
    labels, (count, n), fits = sign > 0, weights.shape[1:], final.shape[1]
    shape, owners = (*shape, len(sign)), len(space.owner)

    def spread(columns):
        """Columns (task, k, n), for each subspace that has no set of its own."""
        return np.tile(columns.reshape(-1, n), (owners, 1))

    def of_columns(k):
        """The owners and the signs of k columns for each task."""
        signs = spread(np.repeat(sign[:, None], k, axis=1))
        return np.repeat(np.arange(owners), len(signs) // owners), signs

    # A column for each task and fold.
    columns, signs = of_columns(count)
    split = space.take(np.arange(space.sets), columns)
    weights = spread(weights)
    a, f = (np.zeros((space.sets, len(weights), size)) for size in (space.size, n))
    start, start_f = (np.zeros((*shape, size)) for size in (space.size, n))
    stubborn = np.zeros(a.shape[:2], bool)
    cv_auc = np.empty((*shape, len(COSTS)))
    best, chosen = np.full(shape, -np.inf), np.zeros(shape)
    failures = 0
    for k, cost in enumerate(COSTS):
        failures += newton(split, signs, np.broadcast_to(cost * weights, f.shape), a, f, stubborn, _SEARCHED)
        by_fold, margins = (x.reshape(*shape, count, -1) for x in (a, f))
        for task, (own, dealt) in enumerate(zip(labels, folds, strict=True)):
            sides = [dealt == fold for fold in range(count)]
            held = [auc(margins[:, :, task, fold, side], own[side]) for fold, side in enumerate(sides)]
            cv_auc[:, :, task, k] = np.mean(held, axis=0)
        # Of equal AUCs the smallest cost wins.
        better = cv_auc[..., k] > best + _TIE
        best[better], chosen[better] = cv_auc[better, k], cost
        # The mean of the folds' solutions is where the fit on all rows starts.
        start[better], start_f[better] = by_fold[better].mean(axis=1), margins[better].mean(axis=1)
    columns, signs = of_columns(fits)
    start, start_f, bound = (
        np.repeat(x.reshape(space.sets, len(signs) // fits, -1), fits, axis=1)
        for x in (start, start_f, chosen)
    )
    final = spread(final)
    # Some columns at a time: they are many.
    length = max(_NUMBERS // (space.sets * n), n)
    for first in range(0, len(signs), length):
        own = slice(first, first + length)
        part = space.take(np.arange(space.sets), columns[own])
        fresh = np.zeros(start[:, own].shape[:2], bool)
        failures += newton(
            part, signs[own], bound[:, own] * final[own], start[:, own], start_f[:, own], fresh, _RETURNED
        )
    return start.reshape(*shape, fits, -1), chosen, cv_auc, failures
