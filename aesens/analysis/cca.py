"""Global CCA: the one direction along which the trajectories of many clips move with strength."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, svd
from scipy.linalg.lapack import dpocon
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from aesens.analysis.statistics import (
    check_trajectories,
    permutation_p_value,
    permute_within_clips,
    quantile_rank,
    spearman_rows,
)

__all__ = ["GlobalCCA", "cosine_between", "global_direction_report", "singular_spectrum"]

# Singular values below this share of the largest count as zero, as in scikit-learn's CCA.
CUTOFF = 1e6 * np.finfo(np.float64).eps

# A Gram matrix squares the condition number; up to this bound its solution keeps some four digits in the worst
# component, which moves a direction's cosine by less than 1e-7.
CONDITION = 1e11


class LeastSquares:
    """Minimum-norm least squares on one centred design matrix (n, feature), factorised once for many targets.

    `scatter` is ``rows.T @ rows`` if it is known already.
    """

    def __init__(self, rows: np.ndarray, scatter: np.ndarray | None = None):
        self.rows = rows
        n, d = rows.shape
        self._kind = "dual" if n <= d + 1 else "primal"
        if self._kind == "dual":
            # Centred rows sum to zero; giving that known null vector a weight makes the Gram matrix invertible.
            matrix = rows @ rows.T
            matrix += np.trace(matrix) / n**2
        else:
            scatter = rows.T @ rows if scatter is None else scatter
            # The solution of a full-rank problem does not depend on the scale of the features, its rounding does;
            # features that never move (dead units) get no weight.
            norms = np.sqrt(np.diag(scatter))
            self._used = norms > CUTOFF * norms.max(initial=0.0)
            self._norms = norms[self._used]
            matrix = scatter[np.ix_(self._used, self._used)] / np.outer(self._norms, self._norms)
        if not self._factorise(matrix):
            self._kind = "svd"
            u, s, vt = svd(rows, full_matrices=False, check_finite=False)
            keep = s > CUTOFF * s[0]
            self._u, self._s, self._vt = u[:, keep], s[keep], vt[keep]

    def _factorise(self, matrix: np.ndarray) -> bool:
        if not matrix.size or not np.trace(matrix) > 0:
            return False
        norm = np.abs(matrix).sum(axis=0).max()
        try:
            self._factor = cho_factor(matrix, check_finite=False)
        except LinAlgError:
            return False
        reciprocal, _ = dpocon(self._factor[0], norm, uplo="L" if self._factor[1] else "U")
        return reciprocal * CONDITION > 1

    def solve(self, targets: np.ndarray) -> np.ndarray:
        """Weights (feature,) or (feature, k) for targets (n,) or (n, k); centred rows ignore a constant in them."""
        targets = np.asarray(targets, dtype=np.float64)
        if self._kind == "dual":
            return self.rows.T @ cho_solve(self._factor, targets - targets.mean(axis=0), check_finite=False)
        if self._kind == "svd":
            return self._vt.T @ ((self._u.T @ targets).T / self._s).T
        moments = (self.rows.T @ targets)[self._used]
        weights = np.zeros((self.rows.shape[1], *targets.shape[1:]))
        weights[self._used] = (
            cho_solve(self._factor, (moments.T / self._norms).T, check_finite=False).T / self._norms
        ).T
        return weights


def stack_centred(trajectories: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trajectories as centred rows (strength * clip, feature) in float64, strengths outermost, and their mean.

    Features that differ from their mean by rounding only are exactly zero.
    """
    mean = trajectories.mean(axis=(0, 1), dtype=np.float64)
    rows = trajectories.reshape(-1, trajectories.shape[2]) - mean
    rounding = len(rows) * np.finfo(np.float64).eps * np.abs(mean)
    rows[:, np.maximum(rows.max(axis=0), -rows.min(axis=0)) <= rounding] = 0.0
    return rows, mean


def unit(weights: np.ndarray) -> np.ndarray:
    """Unit vectors along the last axis; a zero vector stays zero."""
    norms = np.linalg.norm(weights, axis=-1, keepdims=True)
    return weights / np.where(norms > 0, norms, 1.0)


class GlobalCCA(BaseEstimator):
    """The one direction along which all clips move with strength.

    All trajectories are stacked, the target is the strength's quantile rank, and one canonical component is taken
    without scaling: the study's global CCA.

    Attributes
    ----------
    direction_ : array, shape (feature,)
        Unit x-weights; the projection grows with the target on the training rows. Zero if nothing moves.
    weights_ : array, shape (feature,)
        The least-squares weights before normalisation.
    mean_ : array, shape (feature,)
        Mean of the training rows.

    References
    ----------
    H. Hotelling, Relations between two sets of variates, Biometrika 28, 1936.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clips = rng.standard_normal((1, 40, 3))
    >>> trajectories = clips + np.linspace(0, 1, 5)[:, None, None] * np.array([0.0, 10.0, 0.0])
    >>> bool(abs(GlobalCCA().fit(trajectories).direction_[1]) > 0.95)
    True
    """

    def fit(self, trajectories: np.ndarray, *, solver: LeastSquares | None = None) -> GlobalCCA:
        """Find the direction of trajectories (strength, clip, feature).

        `solver` is that of the stacked, centred rows (strengths outermost), if it exists already.
        """
        trajectories, _ = check_trajectories(trajectories)
        n_strengths, n_clips, n_features = trajectories.shape
        target = quantile_rank(n_strengths)
        if solver is None:
            rows, self.mean_ = stack_centred(trajectories)
            solver = LeastSquares(rows)
        else:
            self.mean_ = trajectories.mean(axis=(0, 1), dtype=np.float64)
        labels = np.repeat(target - target.mean(), n_clips)
        self.weights_ = solver.solve(labels)
        # A fit at rounding level (clips that do not move) has no direction.
        explained = np.linalg.norm(solver.rows @ self.weights_)
        if explained <= len(labels) * np.finfo(np.float64).eps * np.linalg.norm(labels):
            self.weights_ = np.zeros(n_features)
        self.direction_ = unit(self.weights_)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Project embeddings of shape (..., feature) on the direction, centred on the training mean: (...)."""
        check_is_fitted(self)
        return (np.asarray(x) - self.mean_) @ self.direction_


@dataclass(frozen=True)
class GlobalReport:
    """What `global_direction_report` found. Numbers are NaN where undefined.

    Attributes
    ----------
    in_sample : float
        Squared Spearman correlation on the training clips: the study's number, optimistic.
    held_out : float
        The same on clips of other songs.
    held_out_r2 : float
        Predictive R^2 of the target on those clips.
    p_held_out : float
        One-sided p-value of `held_out`.
    null_held_out : array, shape (permutation,)
        `held_out` when the direction is fitted to strengths shuffled within each training clip.
    projections : array, shape (strength, test clip)
        Held-out clips on the direction.
    """

    in_sample: float
    held_out: float
    held_out_r2: float
    p_held_out: float
    null_held_out: np.ndarray = field(repr=False)
    projections: np.ndarray = field(repr=False)


def global_direction_report(
    train: np.ndarray, test: np.ndarray, n_permutations: int = 199, seed: int = 0
) -> GlobalReport:
    """Fit the global direction and judge it on the training clips, on held-out songs, and against chance.

    Parameters
    ----------
    train : array, shape (strength, clip, feature)
        Trajectories that the direction is fitted on.
    test : array, shape (strength, test clip, feature)
        Trajectories of clips from other songs.
    n_permutations : int
        Refits for the null; 0 leaves it out.
    seed : int

    Returns
    -------
    GlobalReport

    Notes
    -----
    The null fits the direction to shuffled strengths and judges it on the held-out clips as they are. If strength
    meant nothing, training clips would be exchangeable over strengths, so the test is exact; where an effect moves
    embeddings a lot, even a direction fitted to shuffled strengths correlates with strength, and the p-value asks
    whether the fitted one does better. All refits share one factorisation.
    """
    train, test = check_sides(train, test)
    n_strengths, n_clips, n_features = train.shape
    target = quantile_rank(n_strengths)
    rows, mean = stack_centred(train)
    solver = LeastSquares(rows)
    model = GlobalCCA().fit(train, solver=solver)
    truth = np.repeat(target, test.shape[1])
    test_rows = test.reshape(-1, n_features) - mean

    # Weights, not unit vectors: rank correlations are the same, and errors need them.
    values = test_rows @ model.weights_
    errors = (truth - target.mean() - values) ** 2
    sst = ((target - target.mean()) ** 2).sum()
    held_out = float(spearman_rows(values, truth) ** 2)

    shuffles = permute_within_clips(np.arange(n_strengths), n_clips, n_permutations, seed).astype(int)
    null = np.empty(n_permutations)
    block = max(1, 20_000_000 // max(len(rows), len(test_rows), n_features))
    for start in range(0, n_permutations, block):
        shuffle = shuffles[start : start + block].reshape(-1, len(rows))
        weights = solver.solve(target[shuffle].T)
        null[start : start + block] = spearman_rows((test_rows @ weights).T, truth) ** 2
    return GlobalReport(
        in_sample=float(spearman_rows(rows @ model.weights_, np.repeat(target, n_clips)) ** 2),
        held_out=held_out,
        held_out_r2=float(1.0 - errors.sum() / (test.shape[1] * sst)),
        p_held_out=permutation_p_value(held_out, null) if n_permutations else np.nan,
        null_held_out=null,
        projections=model.transform(test),
    )


def check_sides(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trajectories of training and of test clips, checked: as many strengths and features on both sides."""
    train, _ = check_trajectories(train)
    test, _ = check_trajectories(test)
    if test.shape[::2] != train.shape[::2]:
        raise ValueError(f"train {train.shape} and test {test.shape} differ in strengths or features")
    return train, test


def singular_spectrum(rows: np.ndarray, centred: bool = False) -> np.ndarray:
    """Singular values of stacked rows (n, feature), descending, the largest scaled to 1; NaN if all rows are zero.

    `centred` takes the mean row out first: not for directions, but for clean embeddings to compare with.
    """
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"rows must have shape (n, feature), not {rows.shape}")
    values = np.linalg.svd(rows - rows.mean(axis=0) if centred else rows, compute_uv=False)
    with np.errstate(invalid="ignore"):
        return values / values[0]


def cosine_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines (n, m) between directions (n, feature) and (m, feature); NaN for a zero vector.

    A single direction (feature,) has no axis in the result.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    with np.errstate(invalid="ignore"):
        a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return np.clip(a @ b.T, -1.0, 1.0)
