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

__all__ = [
    "GlobalCCA",
    "GlobalReport",
    "LeastSquares",
    "cosine_between",
    "global_direction_report",
    "singular_spectrum",
    "stack_centred",
]

# Singular values below this share of the largest count as zero, as in scikit-learn's CCA.
_CUTOFF = 1e6 * np.finfo(np.float64).eps


# A Gram matrix squares the condition number; up to this bound its solution keeps some four digits in the worst
# component, which moves a direction's cosine by less than 1e-7.
_CONDITION = 1e11


class LeastSquares:
    """Minimum-norm least squares on one design matrix and many targets.

    Parameters
    ----------
    rows : array, shape (n, feature)
        Centred design matrix, float64.
    scatter : array, shape (feature, feature), optional
        ``rows.T @ rows`` if it is known already.

    Examples
    --------
    >>> LeastSquares(np.array([[1.0, 1.0], [-1.0, -1.0]])).solve(np.array([2.0, -2.0])).tolist()
    [1.0, 1.0]
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
            self._used = norms > _CUTOFF * norms.max(initial=0.0)
            self._norms = norms[self._used]
            matrix = scatter[np.ix_(self._used, self._used)] / np.outer(self._norms, self._norms)
        if not self._factorise(matrix):
            self._kind = "svd"
            u, s, vt = svd(rows, full_matrices=False, check_finite=False)
            keep = s > _CUTOFF * s[0]
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
        return reciprocal * _CONDITION > 1

    def solve(self, targets: np.ndarray) -> np.ndarray:
        """Weights for each target.

        Parameters
        ----------
        targets : array, shape (n,) or (n, k)
            Need not be centred: centred rows ignore a constant.

        Returns
        -------
        array, shape (feature,) or (feature, k)
        """
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


def _target(target: np.ndarray | None, n_strengths: int) -> np.ndarray:
    target = quantile_rank(n_strengths) if target is None else np.asarray(target, dtype=np.float64)
    if target.shape != (n_strengths,):
        raise ValueError(f"the target must hold one value per strength ({n_strengths}), not {target.shape}")
    if not np.isfinite(target).all():
        raise ValueError("the target holds values that are not finite")
    return target


def stack_centred(trajectories: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stack trajectories into centred rows.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)

    Returns
    -------
    rows : array, shape (strength * clip, feature)
        Strengths outermost, float64. Features that differ from their mean by rounding only are exactly zero.
    mean : array, shape (feature,)

    Examples
    --------
    >>> rows, mean = stack_centred(np.full((3, 7, 1), 0.7))
    >>> float(abs(rows).max())
    0.0
    """
    mean = trajectories.mean(axis=(0, 1), dtype=np.float64)
    rows = trajectories.reshape(-1, trajectories.shape[2]) - mean
    still = np.maximum(rows.max(axis=0), -rows.min(axis=0)) <= len(rows) * np.finfo(np.float64).eps * np.abs(
        mean
    )
    rows[:, still] = 0.0
    return rows, mean


def _unit(weights: np.ndarray) -> np.ndarray:
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
    intercept_ : float
        Mean of the training target.

    References
    ----------
    H. Hotelling, Relations between two sets of variates, Biometrika 28, 1936.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clips = rng.standard_normal((1, 40, 3))
    >>> trajectories = clips + np.linspace(0, 1, 5)[:, None, None] * np.array([0.0, 10.0, 0.0])
    >>> model = GlobalCCA().fit(trajectories)
    >>> bool(abs(model.direction_[1]) > 0.95), bool(model.squared_spearman(trajectories) > 0.9)
    (True, True)
    """

    def fit(
        self, trajectories: np.ndarray, target: np.ndarray | None = None, solver: LeastSquares | None = None
    ) -> GlobalCCA:
        """Find the direction.

        Parameters
        ----------
        trajectories : array, shape (strength, clip, feature)
        target : array, shape (strength,), optional
            By default `quantile_rank` of the strengths.
        solver : LeastSquares, optional
            On the stacked, centred rows (strengths outermost), if it exists already.

        Returns
        -------
        GlobalCCA
        """
        trajectories, _ = check_trajectories(trajectories)
        n_strengths, n_clips, n_features = trajectories.shape
        target = _target(target, n_strengths)
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
        self.direction_ = _unit(self.weights_)
        self.intercept_ = float(target.mean())
        self.n_features_in_ = n_features
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Project embeddings of shape (..., feature) on the direction, centred on the training mean: (...)."""
        check_is_fitted(self)
        return (np.asarray(x) - self.mean_) @ self.direction_

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict the target from embeddings of shape (..., feature): (...)."""
        check_is_fitted(self)
        return (np.asarray(x) - self.mean_) @ self.weights_ + self.intercept_

    def score(self, trajectories: np.ndarray, target: np.ndarray | None = None) -> float:
        """Share of the target's variance that is predicted, 1 - SSE/SST; negative if worse than the mean."""
        trajectories, _ = check_trajectories(trajectories)
        target = _target(target, len(trajectories))
        sse = ((target[:, None] - self.predict(trajectories)) ** 2).sum()
        return float(1.0 - sse / (trajectories.shape[1] * ((target - target.mean()) ** 2).sum()))

    def squared_spearman(self, trajectories: np.ndarray, parameter: np.ndarray | None = None) -> float:
        """Squared Spearman correlation between projections and the parameter over all rows (the study's number)."""
        trajectories, _ = check_trajectories(trajectories)
        parameter = _target(parameter, len(trajectories))
        return float(
            spearman_rows(self.transform(trajectories).ravel(), np.repeat(parameter, trajectories.shape[1]))
            ** 2
        )


@dataclass(frozen=True)
class GlobalReport:
    """What `global_direction_report` found. Numbers are NaN where undefined.

    Attributes
    ----------
    direction : array, shape (feature,)
    in_sample : float
        Squared Spearman correlation on the training clips: the study's number, optimistic.
    held_out : float
        The same on clips of other songs.
    held_out_signed : float
        Spearman correlation on those with its sign: negative if the held-out clips move the other way.
    held_out_r2 : float
        Predictive R^2 of the target on those clips.
    null_in_sample, null_held_out, null_held_out_r2 : arrays, shape (permutation,)
        The three numbers when the direction is fitted to strengths shuffled within each training clip; the first is
        NaN where it was left out.
    p_held_out, p_held_out_r2 : float
        One-sided p-values of the held-out numbers.
    projections : array, shape (strength, test clip)
        Held-out clips on the direction.
    sse, sst : arrays, shape (test clip,)
        Per-clip sums of squares: ``held_out_r2 = 1 - sse.sum() / sst.sum()``, for a bootstrap over songs.
    """

    direction: np.ndarray = field(repr=False)
    in_sample: float
    held_out: float
    held_out_signed: float
    held_out_r2: float
    p_held_out: float
    p_held_out_r2: float
    null_in_sample: np.ndarray = field(repr=False)
    null_held_out: np.ndarray = field(repr=False)
    null_held_out_r2: np.ndarray = field(repr=False)
    projections: np.ndarray = field(repr=False)
    sse: np.ndarray = field(repr=False)
    sst: np.ndarray = field(repr=False)

    def row(self) -> dict[str, float]:
        """Return the scalars, with the nulls' means and 95th percentiles, as one row of a table."""
        out = {
            name: getattr(self, name)
            for name in (
                "in_sample",
                "held_out",
                "held_out_signed",
                "held_out_r2",
                "p_held_out",
                "p_held_out_r2",
            )
        }
        for name in ("null_in_sample", "null_held_out", "null_held_out_r2"):
            null = getattr(self, name)
            known = null[np.isfinite(null)]
            out[name] = float(known.mean()) if known.size else np.nan
            out[f"{name}_p95"] = float(np.percentile(known, 95)) if known.size else np.nan
        return out


def global_direction_report(
    train: np.ndarray,
    test: np.ndarray,
    target: np.ndarray | None = None,
    parameter: np.ndarray | None = None,
    n_permutations: int = 199,
    seed: int = 0,
    in_sample_null: bool = True,
) -> GlobalReport:
    """Fit the global direction and judge it on the training clips, on held-out songs, and against chance.

    Parameters
    ----------
    train : array, shape (strength, clip, feature)
        Trajectories that the direction is fitted on.
    test : array, shape (strength, test clip, feature)
        Trajectories of clips from other songs.
    target : array, shape (strength,), optional
        What is fitted; by default the quantile rank of the strength.
    parameter : array, shape (strength,), optional
        What projections are correlated with; by default `target`. Squared rank correlations do not change if it
        falls with strength; ``held_out_signed`` changes its sign.
    n_permutations : int
        Refits for the null; 0 leaves it out.
    seed : int
    in_sample_null : bool
        Whether to compute the null of the in-sample number too: a ranking of all training rows for each refit.

    Returns
    -------
    GlobalReport

    Notes
    -----
    The null fits the direction to shuffled strengths and judges it on the held-out clips as they are. If strength
    meant nothing, training clips would be exchangeable over strengths, so the test is exact; where an effect moves
    embeddings a lot, even a direction fitted to shuffled strengths correlates with strength, and the p-value asks
    whether the fitted one does better. All refits share one factorisation.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> line = np.linspace(0, 1, 5)[:, None, None] * rng.normal(size=6)
    >>> train, test = (line + 0.01 * rng.normal(size=(5, 20, 6)) for _ in range(2))
    >>> report = global_direction_report(train, test, n_permutations=19)
    >>> bool(report.held_out > 0.9), float(report.p_held_out)
    (True, 0.05)
    """
    train, _ = check_trajectories(train)
    test, _ = check_trajectories(test)
    if test.shape[::2] != train.shape[::2]:
        raise ValueError(f"train {train.shape} and test {test.shape} differ in strengths or features")
    n_strengths, n_clips, n_features = train.shape
    target = _target(target, n_strengths)
    parameter = target if parameter is None else _target(parameter, n_strengths)
    rows, mean = stack_centred(train)
    solver = LeastSquares(rows)
    model = GlobalCCA().fit(train, target, solver=solver)

    labels = np.repeat(target, n_clips)
    names = np.repeat(parameter, n_clips)
    test_names = np.repeat(parameter, test.shape[1])
    test_rows = test.reshape(-1, n_features) - mean
    centre = target.mean()
    sst = ((target - centre) ** 2).sum()

    def held_out(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Signed correlations (k,), errors (k, test clip), projections (k, rows) of weights (feature, k)."""
        values = (test_rows @ weights).T
        errors = (np.repeat(target - centre, test.shape[1]) - values) ** 2
        return (
            spearman_rows(values, test_names),
            errors.reshape(len(values), n_strengths, -1).sum(axis=1),
            values,
        )

    signed, sse, _ = held_out(model.weights_[:, None])
    r2 = 1.0 - sse.mean() / sst

    # The order of strengths and of parameters is one, so both are shuffled by the same permutation.
    shuffles = permute_within_clips(np.arange(n_strengths), n_clips, n_permutations, seed).astype(int)
    null = np.full((3, n_permutations), np.nan)
    block = max(1, 20_000_000 // max(len(rows), len(test_rows), n_features))
    for start in range(0, n_permutations, block):
        shuffle = shuffles[start : start + block].reshape(-1, len(labels))
        weights = solver.solve(target[shuffle].T)
        signed_null, sse_null, _ = held_out(weights)
        null[1:, start : start + block] = signed_null**2, 1.0 - sse_null.mean(axis=1) / sst
        if in_sample_null:
            null[0, start : start + block] = spearman_rows((rows @ weights).T, parameter[shuffle]) ** 2
    held = float(signed[0] ** 2)
    return GlobalReport(
        direction=model.direction_,
        in_sample=float(spearman_rows(rows @ model.weights_, names) ** 2),
        held_out=held,
        held_out_signed=float(signed[0]),
        held_out_r2=float(r2),
        p_held_out=permutation_p_value(held, null[1]) if n_permutations else np.nan,
        p_held_out_r2=permutation_p_value(r2, null[2]) if n_permutations else np.nan,
        null_in_sample=null[0],
        null_held_out=null[1],
        null_held_out_r2=null[2],
        projections=model.transform(test),
        sse=sse[0],
        sst=np.full(test.shape[1], sst),
    )


def singular_spectrum(rows: np.ndarray, centred: bool = False) -> np.ndarray:
    """Singular values of stacked rows, the largest scaled to 1.

    Parameters
    ----------
    rows : array, shape (n, feature)
        Stacked directions, or clean embeddings to compare with.
    centred : bool
        Whether to take the mean row out first: no for directions, yes for clean embeddings.

    Returns
    -------
    array, shape (min(n, feature),)
        s_i / s_0 in descending order; NaN if all rows are zero.

    Examples
    --------
    >>> singular_spectrum([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]).tolist()
    [1.0, 0.5]
    """
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"rows must have shape (n, feature), not {rows.shape}")
    values = np.linalg.svd(rows - rows.mean(axis=0) if centred else rows, compute_uv=False)
    with np.errstate(invalid="ignore"):
        return values / values[0]


def cosine_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines between two lists of directions.

    Parameters
    ----------
    a : array, shape (n, feature) or (feature,)
    b : array, shape (m, feature) or (feature,)

    Returns
    -------
    array, shape (n, m), without the axis of an input that is a single direction
        NaN for a zero vector.

    Examples
    --------
    >>> cosine_between([[1.0, 0.0], [3.0, 4.0]], [0.0, 2.0]).tolist()
    [0.0, 0.8]
    """

    def unit(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return x / np.linalg.norm(x, axis=-1, keepdims=True)

    return np.clip(unit(a) @ unit(b).T, -1.0, 1.0)
