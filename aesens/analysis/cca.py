"""Global CCA: the one direction along which the trajectories of many clips move with strength."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, svd
from scipy.linalg.lapack import dpocon
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from aesens.analysis.ranks import spearman_rows
from aesens.analysis.statistics import check_trajectories, quantile_rank

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


def centred_ranks(n_strengths: int) -> np.ndarray:
    """Quantile ranks (strength,) less their mean, antisymmetric to the last bit: an order and its reverse tie."""
    if n_strengths < 2:
        raise ValueError(f"a direction needs at least two strengths, not {n_strengths}")
    return (np.arange(n_strengths) - (n_strengths - 1) / 2) / (n_strengths - 1)


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
    held_out : array, shape (order,)
        The same on clips of other songs, for each order of the strengths: of the direction fitted to this order,
        judged by it.
    held_out_r2 : float
        Predictive R^2 of the target on those clips.
    projections : array, shape (strength, test clip)
        Held-out clips on the direction.
    """

    in_sample: float
    held_out: np.ndarray = field(repr=False)
    held_out_r2: float
    projections: np.ndarray = field(repr=False)


def global_direction_report(train: np.ndarray, test: np.ndarray, orders: np.ndarray) -> GlobalReport:
    """Fit the global direction and judge it on the training clips, on held-out songs, and against other orders.

    Parameters
    ----------
    train : array, shape (strength, clip, feature)
        Trajectories that the direction is fitted on.
    test : array, shape (strength, test clip, feature)
        Trajectories of clips from other songs.
    orders : array of int, shape (order, strength)
        Of `aesens.analysis.statistics.joint_orders`, the true one first.

    Returns
    -------
    GlobalReport

    Notes
    -----
    Where all clips share a path, a direction reads its strengths in any order as soon as there are as many dimensions
    as strengths. So the strengths of training and test clips alike are put in other orders, by which the direction is
    fitted and judged anew; an order and its reverse give the same. All refits share one factorisation: weights are
    sums over strengths.
    """
    train, test = check_sides(train, test)
    n_strengths, n_clips, n_features = train.shape
    target = centred_ranks(n_strengths)
    rows, mean = stack_centred(train)
    solver = LeastSquares(rows)
    model = GlobalCCA().fit(train, solver=solver)
    test_rows = test.reshape(-1, n_features) - mean

    # Weights, not unit vectors: rank correlations are the same, and errors need them.
    values = test_rows @ model.weights_
    errors = (np.repeat(target, test.shape[1]) - values) ** 2
    single = test_rows @ solver.solve(np.repeat(np.eye(n_strengths), n_clips, axis=0))
    orders, held_out = np.asarray(orders), []
    size = max(1, 4_000_000 // len(test_rows))
    for start in range(0, len(orders), size):
        wanted = target[orders[start : start + size]]
        # Columns, so that an order and its reverse are sums of the same terms.
        found = (single @ wanted.T).T
        held_out.append(spearman_rows(found, np.repeat(wanted, test.shape[1], axis=1)) ** 2)
    held_out = np.concatenate(held_out)
    # Where nothing moves, the weights are rounding.
    held_out[:] = held_out if model.direction_.any() else np.nan
    return GlobalReport(
        in_sample=float(spearman_rows(rows @ model.weights_, np.repeat(target, n_clips)) ** 2),
        held_out=held_out,
        held_out_r2=float(1.0 - errors.sum() / (test.shape[1] * (target**2).sum())),
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
