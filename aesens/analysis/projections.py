"""Removing directions and subspaces from embeddings ("desensitising").

Conventions: a projection is fitted on training clips of one effect (`trajectories` (strength, clip, feature) and
`clean` (clip, feature)), learns orthonormal rows V (`components_`) and maps any embeddings X of shape (..., feature)
to ``X - X V^T V``. It follows scikit-learn: `fit`, `transform`, `get_params`, `sklearn.base.clone`.

`PROJECTIONS` maps names to factories. A further method subclasses `Projection`, computes rows from `TrainingParts` in
`learn`, and is entered with `register_projection`; it need not make its rows orthonormal. `fit_all` fits many methods
at once and computes what they share only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh, eigvalsh, lstsq
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from aesens.analysis.cca import GlobalCCA, LeastSquares, stack_centred
from aesens.analysis.samplewise import samplewise_directions
from aesens.analysis.statistics import check_trajectories, derived_seed, quantile_rank
from aesens.sources import source_of

__all__ = [
    "CONTROLS",
    "PROJECTIONS",
    "AverageDisplacement",
    "GlobalCCAProjection",
    "LDAProjection",
    "NoProjection",
    "NormalisedPCAProjection",
    "PCAProjection",
    "Projection",
    "RandomDirection",
    "RandomSubspace",
    "SampleWiseSubspace",
    "TrainingParts",
    "added_names",
    "added_sources",
    "fit_all",
    "make_projection",
    "principal_variances",
    "register_projection",
    "remove",
    "variance_ratios",
]

_EPS = np.finfo(np.float64).eps


def _smaller_product(rows: np.ndarray) -> np.ndarray:
    """Gram or scatter matrix of centred rows, whichever is smaller: both have the same eigenvalues but for zeros."""
    return rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows


def _variances(eigenvalues: np.ndarray, n: int, d: int) -> np.ndarray:
    """Variances, descending, from the ascending eigenvalues of that matrix; no more than `n` centred rows can have."""
    values = np.maximum(eigenvalues[::-1], 0.0)
    # What such a matrix cannot tell from zero is zero.
    values[values <= max(n, d) * _EPS * values[0]] = 0.0
    return values[: n - 1] / max(n - 1, 1)


def principal_variances(x: np.ndarray) -> np.ndarray:
    """Variances of the principal components of embeddings.

    Parameters
    ----------
    x : array, shape (clip, feature)

    Returns
    -------
    array, shape (min(clip - 1, feature),)
        The `explained_variance_` of `sklearn.decomposition.PCA`, in descending order, without the component that
        centred clips cannot fill. Variances of at most max(clip, feature) * 2.2e-16 of the largest are rounding
        and given as zero.

    Raises
    ------
    ValueError
        If `x` is not a finite array of two axes.

    Examples
    --------
    >>> principal_variances(np.array([[0.0, 1.0, 5.0], [2.0, 1.0, 5.0], [4.0, 1.0, 5.0]])).tolist()
    [4.0, 0.0]
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.isfinite(x).all():
        raise ValueError(f"embeddings must be a finite array (clip, feature), not one of shape {x.shape}")
    rows = x - x.mean(axis=0)
    return _variances(eigvalsh(_smaller_product(rows)), *x.shape)


class _Principal:
    """Principal components of rows, with their directions."""

    def __init__(self, rows: np.ndarray):
        self._rows = rows - rows.mean(axis=0)
        self._dual = len(rows) < rows.shape[1]
        values, vectors = eigh(_smaller_product(self._rows))
        self._vectors = vectors[:, ::-1]
        self.variances = _variances(values, *rows.shape)

    def component(self, i: int) -> np.ndarray:
        """Unit vector of the i-th component, zero if it has no variance."""
        if i >= len(self.variances) or not self.variances[i] > 0:
            return np.zeros(self._rows.shape[1])
        vector = self._rows.T @ self._vectors[:, i] if self._dual else self._vectors[:, i]
        return vector / np.linalg.norm(vector)


class TrainingParts:
    """Training data of a projection and what methods derive from it, each computed when first asked for.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
    clean : array, shape (clip, feature)
    target : array, shape (strength,), optional
        What directions are fitted to; by default the quantile rank of the strength.
    reference : array, shape (rank,), optional
        What normalised PCA divides by: the `principal_variances` of the clean embeddings of all training clips,
        whatever their instrument. By default those of `clean` alone.

    Attributes
    ----------
    trajectories, clean, target : arrays
        As given, checked.
    displacements : array, shape (strength * clip, feature)
        Effected minus clean, strengths outermost, float64.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> TrainingParts(moved, clean).mean_displacement.round(6).tolist()
    [2.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        trajectories: np.ndarray,
        clean: np.ndarray,
        target: np.ndarray | None = None,
        reference: np.ndarray | None = None,
    ):
        self.trajectories, self.clean = check_trajectories(trajectories, clean)
        self.target = (
            quantile_rank(len(self.trajectories)) if target is None else np.asarray(target, dtype=float)
        )
        if reference is not None:
            reference = np.asarray(reference, dtype=float)
            if reference.ndim != 1 or not (np.diff(reference) <= 0).all() or not (reference >= 0).all():
                raise ValueError(
                    "the reference must be variances in descending order (rank,), as of principal_variances, "
                    f"not an array of shape {reference.shape}"
                )
        self._reference = reference

    @property
    def n_features(self) -> int:
        """Length of an embedding."""
        return self.clean.shape[1]

    @property
    def displacements(self) -> np.ndarray:
        """Effected minus clean embeddings, shape (strength * clip, feature), float64."""
        clean = self.clean.astype(np.float64)
        return (self.trajectories - clean).reshape(-1, self.n_features)

    @cached_property
    def mean_displacement(self) -> np.ndarray:
        """Average of the displacements, shape (feature,)."""
        clean = self.clean.mean(axis=0, dtype=np.float64)
        difference = self.trajectories.mean(axis=(0, 1), dtype=np.float64) - clean
        # What the rounding of the two means leaves is no displacement.
        n = self.trajectories.shape[0] * self.trajectories.shape[1]
        return np.where(np.abs(difference) <= n * _EPS * np.abs(self.clean).max(axis=0), 0.0, difference)

    @cached_property
    def rows(self) -> np.ndarray:
        """Stacked trajectories, centred, shape (strength * clip, feature), float64."""
        return stack_centred(self.trajectories)[0]

    @cached_property
    def scatter(self) -> np.ndarray:
        """``rows.T @ rows``, shape (feature, feature)."""
        return self.rows.T @ self.rows

    @cached_property
    def solver(self) -> LeastSquares:
        """Least squares on the stacked trajectories."""
        wide = len(self.rows) <= self.n_features + 1
        return LeastSquares(self.rows, scatter=None if wide else self.scatter)

    @cached_property
    def displacement_components(self) -> _Principal:
        """Principal components of the displacements."""
        return _Principal(self.displacements)

    @cached_property
    def reference(self) -> np.ndarray:
        """Variances of the clean embeddings' principal components that normalised PCA divides by, descending."""
        return principal_variances(self.clean) if self._reference is None else self._reference

    @cached_property
    def samplewise(self) -> tuple[np.ndarray, np.ndarray]:
        """Normalised singular values (k,) and right singular vectors (k, feature) of all clips' directions."""
        directions = samplewise_directions(self.trajectories, self.target)
        _, values, vectors = np.linalg.svd(directions, full_matrices=False)
        keep = values > max(directions.shape) * _EPS * values[0]
        return values[keep] / (values[0] if values[0] > 0 else 1.0), vectors[keep]


def remove(x: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Remove a subspace from embeddings.

    Parameters
    ----------
    x : array, shape (..., feature)
    components : array, shape (k, feature)
        Orthonormal rows; k may be 0.

    Returns
    -------
    array, shape of `x`
        ``x - x V^T V`` in the precision of `x`.

    Examples
    --------
    >>> remove(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0.0, 1.0]])).tolist()
    [[1.0, 2.0, 0.0]]
    """
    x = np.asarray(x)
    x = x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float64)
    components = np.asarray(components)
    if components.ndim != 2 or x.shape[-1] != components.shape[1]:
        raise ValueError(f"components {components.shape} do not fit embeddings of shape {x.shape}")
    if not len(components):
        return x.copy()
    components = components.astype(x.dtype, copy=False)
    # A matrix product over all rows at once; numpy would loop over the leading axes.
    rows = x.reshape(-1, x.shape[-1])
    return (rows - (rows @ components.T) @ components).reshape(x.shape)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """Orthonormal rows spanning the same space; zero rows and repetitions drop out."""
    rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    norms = np.linalg.norm(rows, axis=1)
    rows = rows[norms > 0] / norms[norms > 0, None]
    if not np.isfinite(rows).all():
        raise ValueError("a projection learned directions that are not finite")
    if len(rows) < 2 or np.allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-12):
        return rows
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > max(rows.shape) * _EPS * values[0]]


class Projection(TransformerMixin, BaseEstimator):
    """Base of all projections: subclasses say in `learn` what to remove.

    Attributes
    ----------
    components_ : array, shape (k, feature)
        Orthonormal rows of what `transform` removes; k may be 0.
    n_features_in_ : int

    Examples
    --------
    >>> class FirstFeature(Projection):
    ...     def learn(self, parts):
    ...         return np.eye(1, parts.n_features)
    >>> FirstFeature().fit(np.ones((4, 5, 3)), np.zeros((5, 3))).transform([1.0, 2.0, 3.0]).tolist()
    [0.0, 2.0, 3.0]
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """Directions to remove, as rows (k, feature) or one vector; they need not be orthonormal."""
        raise NotImplementedError(f"{type(self).__name__} must define learn(parts)")

    def fit(
        self,
        trajectories: np.ndarray | TrainingParts,
        clean: np.ndarray | None = None,
        target: np.ndarray | None = None,
    ) -> Projection:
        """Learn what to remove.

        Parameters
        ----------
        trajectories : array, shape (strength, clip, feature), or TrainingParts
            Training clips' trajectories, or parts that several methods share.
        clean : array, shape (clip, feature)
            Their clean embeddings.
        target : array, shape (strength,), optional
            By default the quantile rank of the strength.

        Returns
        -------
        Projection
        """
        if not isinstance(trajectories, TrainingParts):
            if clean is None:
                raise ValueError("fit needs the clean embeddings beside the trajectories")
            trajectories = TrainingParts(trajectories, clean, target)
        self.components_ = _orthonormal(self.learn(trajectories))
        self.n_features_in_ = trajectories.n_features
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Remove the learned directions from embeddings of shape (..., feature)."""
        check_is_fitted(self, "components_")
        return remove(x, self.components_)


class NoProjection(Projection):
    """Removes nothing: the baseline.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> NoProjection().fit(moved, clean).components_.shape
    (0, 5)
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """No rows."""
        return np.empty((0, parts.n_features))


class LDAProjection(Projection):
    """The direction that tells effected from clean embeddings by linear discriminant analysis.

    Equal to the `coef_` of `sklearn.discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen",
    shrinkage="auto")` on clean embeddings against all effected ones: the within-class covariance, Ledoit-Wolf shrunk
    class by class on standardised features, is solved for the difference of means. That is one linear system instead
    of a generalised eigenproblem, whose vectors cancel from the direction.

    On embeddings behind a ReLU the direction can lie almost wholly along units that are hardly ever active: their means
    differ little, but their within-class variance is next to nothing and the shrinkage too small to stop the division
    by it. Removing it then takes away less of the displacements than removing a random direction does. That is so of
    scikit-learn's estimator too and is left as the study has it.

    References
    ----------
    O. Ledoit and M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices, J. Multivariate
    Analysis 88, 2004, section 3.3.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> bool(abs(LDAProjection().fit(moved, clean).components_[0, 0]) > 0.9)
    True
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        clean = parts.clean.astype(np.float64)
        means = np.stack([clean.mean(axis=0), parts.trajectories.mean(axis=(0, 1), dtype=np.float64)])
        return _lda_direction(
            clean - means[0], parts.rows, means, parts.mean_displacement, lambda: parts.scatter
        )


def _lda_direction(
    clean: np.ndarray,
    effected: np.ndarray,
    means: np.ndarray,
    difference: np.ndarray,
    scatter: Callable[[], np.ndarray],
) -> np.ndarray:
    """Solve Sw w = difference of means; rows centred per class; `scatter` gives that of `effected` when needed."""
    n = len(clean) + len(effected)
    if len(clean) < 2 or len(effected) < 2:
        raise ValueError("LDA needs at least two clean and two effected embeddings")
    n_features = clean.shape[1]
    dual = n < n_features
    diagonal = np.zeros(n_features)
    factors, within = [], np.zeros((0, 0) if dual else (n_features, n_features))
    for rows, mean in zip((clean, effected), means, strict=True):
        size, prior = len(rows), len(rows) / n
        variance = np.einsum("ij,ij->j", rows, rows) / size
        # As scikit-learn's StandardScaler: a feature that is constant up to rounding keeps its scale.
        constant = variance <= size * _EPS * variance + (size * _EPS * mean) ** 2
        scale = np.sqrt(np.where(constant, 1.0, variance))
        if dual:
            product = None
            standard = rows / scale
            gram = standard @ standard.T
            norm = np.einsum("ij,ij->", gram, gram)
        else:
            product = scatter() if rows is effected else rows.T @ rows
            inverse = 1.0 / scale**2
            norm = inverse @ (product**2) @ inverse
        shrinkage, level = _ledoit_wolf(rows, scale, norm)
        diagonal += prior * shrinkage * level * scale**2
        weight = prior * (1.0 - shrinkage) / size
        if dual:
            factors.append(np.sqrt(weight) * rows)
        else:
            within += weight * product
    try:
        if not dual:
            within[np.diag_indices(n_features)] += diagonal
            return cho_solve(cho_factor(within, check_finite=False), difference, check_finite=False)
        # Woodbury: a diagonal plus a matrix of rank n is inverted through an n x n system.
        u = np.concatenate(factors)
        solved = u / diagonal
        core = np.eye(n) + solved @ u.T
        return difference / diagonal - solved.T @ cho_solve(cho_factor(core), solved @ difference)
    except (LinAlgError, ValueError):
        # No shrinkage on a feature that never moves: the smallest solution.
        if dual:
            u = np.concatenate(factors)
            within = u.T @ u + np.diag(diagonal)
        return lstsq(within, difference)[0]


def _ledoit_wolf(rows: np.ndarray, scale: np.ndarray, norm: float) -> tuple[float, float]:
    """Shrinkage and target level of centred rows divided by `scale`; `norm` = squared norm of their scatter.

    The sum over all pairs of features of the fourth moments is the sum of the rows' squared lengths squared, so no
    second matrix product is needed.
    """
    n, p = rows.shape
    lengths = (rows**2) @ (1.0 / scale**2)
    level = lengths.sum() / (n * p)
    delta_ = norm / n**2
    beta = ((lengths**2).sum() / n - delta_) / (p * n)
    delta = (delta_ - 2.0 * level * lengths.sum() / n + p * level**2) / p
    beta = min(beta, delta)
    return (0.0 if beta == 0 else beta / delta), level


class AverageDisplacement(Projection):
    """The mean displacement over all clips and strengths.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> bool(abs(AverageDisplacement().fit(moved, clean).components_[0, 0]) > 0.9)
    True
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return parts.mean_displacement


class PCAProjection(Projection):
    """The first principal component of the displacements.

    Centred on the mean displacement, as `sklearn.decomposition.PCA` is: what varies most, which need not be where
    the average points.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> bool(abs(PCAProjection().fit(moved, clean).components_[0, 0]) > 0.9)
    True
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return parts.displacement_components.component(0)


def variance_ratios(moved: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Ratios of the variances of components of the same rank.

    Parameters
    ----------
    moved, reference : array, shape (rank,)
        `principal_variances` of the displacements and of the clean embeddings.

    Returns
    -------
    array, shape (rank,)
        Of the ranks that both have. A reference variance that is zero up to rounding is none to divide by: neither its
        rank nor a later one has a ratio.

    Examples
    --------
    >>> variance_ratios(np.array([4.0, 3.0, 2.0]), np.array([8.0, 1.0, 0.0])).tolist()
    [0.5, 3.0]
    """
    n = min(len(moved), int((reference > 0).sum()))
    return moved[:n] / reference[:n]


class NormalisedPCAProjection(Projection):
    """The displacements' component that stands out most against the clean embeddings' variance.

    Of the principal components of the displacements, the one with the largest ratio of its variance to the variance
    of the component of the same rank of the clean embeddings: of all training clips, whatever their instrument, as
    in the study, where `TrainingParts` are given those as their `reference`; else of the clips that are fitted.

    Attributes
    ----------
    rank_ : int
        Rank of the chosen component, from 0; -1 if nothing moves.
    ratios_ : array
        Of `variance_ratios`.

    Examples
    --------
    Four clips of one instrument move along their second axis, which varies little among all clips:

    >>> rng = np.random.default_rng(0)
    >>> clips = rng.normal(size=(200, 3)) * [10, 1, 5]
    >>> moved = clips[:4] + rng.normal(size=(30, 4, 3)) * [2, 1.5, 0.1]
    >>> parts = TrainingParts(moved, clips[:4], reference=principal_variances(clips))
    >>> projection = NormalisedPCAProjection().fit(parts)
    >>> projection.rank_, projection.ratios_.round(2).tolist()
    (1, [0.03, 0.08, 0.01])
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        moved = parts.displacement_components
        self.ratios_ = variance_ratios(moved.variances, parts.reference)
        if not self.ratios_.size or not self.ratios_.max() > 0:
            self.rank_ = -1
            return np.empty((0, parts.n_features))
        self.rank_ = int(self.ratios_.argmax())
        return moved.component(self.rank_)


class GlobalCCAProjection(Projection):
    """The direction of the global CCA, `aesens.analysis.cca.GlobalCCA`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> bool(abs(GlobalCCAProjection().fit(moved, clean).components_[0, 0]) > 0.9)
    True
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return GlobalCCA().fit(parts.trajectories, parts.target, solver=parts.solver).direction_


class SampleWiseSubspace(Projection):
    """The subspace that the clips' own directions share.

    Parameters
    ----------
    threshold : float
        Right singular vectors of the stacked sample-wise directions with s_i / s_0 at least this are removed.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> SampleWiseSubspace(threshold=0.5).fit(moved, clean).components_.shape
    (1, 5)
    """

    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row or more."""
        values, vectors = parts.samplewise
        return vectors[values >= self.threshold]


class RandomDirection(Projection):
    """Control: a direction drawn at random.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> RandomDirection(seed=1).fit(moved, clean).components_.shape
    (1, 5)
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return np.random.default_rng(self.seed).standard_normal(parts.n_features)


class RandomSubspace(Projection):
    """Control: a random subspace of the dimension that `SampleWiseSubspace` removes.

    Parameters
    ----------
    threshold : float
        Threshold of the method it is a control for.
    seed : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(12, 5))
    >>> moved = clean + np.array([1.0, 2.0, 3.0])[:, None, None] * np.eye(1, 5)[0]
    >>> RandomSubspace(threshold=0.5, seed=1).fit(moved, clean).components_.shape
    (1, 5)
    """

    def __init__(self, threshold: float = 0.5, seed: int = 0):
        self.threshold = threshold
        self.seed = seed

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """As many rows as the method has."""
        values, _ = parts.samplewise
        k = int((values >= self.threshold).sum())
        return np.random.default_rng(self.seed).standard_normal((k, parts.n_features))


#: The registry: name of each projection and what makes it unfitted.
PROJECTIONS: dict[str, Callable[[], Projection]] = {}
_SHIPPED: frozenset[str] = frozenset()


def register_projection(name: str, factory: Callable[[], Projection]) -> None:
    """Enter a projection under a name, by which profiles, tables and figures know it.

    Parameters
    ----------
    name : str
        A new name, or that of an own projection to replace.
    factory : callable
        Returns an unfitted `Projection`: a class, or a function of no arguments.

    Raises
    ------
    ValueError
        If the name is that of one of the package's projections.

    Examples
    --------
    >>> register_projection("mine", AverageDisplacement)
    >>> make_projection("mine")
    AverageDisplacement()
    >>> _ = PROJECTIONS.pop("mine")
    """
    if name in _SHIPPED:
        raise ValueError(f"a projection named {name!r} exists already; choose another name")
    PROJECTIONS[name] = factory


def added_names() -> list[str]:
    """Names of the projections registered from outside the package, in their order.

    Examples
    --------
    >>> added_names()
    []
    """
    return [name for name in PROJECTIONS if name not in _SHIPPED]


def added_sources() -> dict[str, str]:
    """Source of the projections registered from outside the package, by name.

    Examples
    --------
    >>> added_sources()
    {}
    """
    return {name: source_of(PROJECTIONS[name]) for name in added_names()}


def make_projection(name: str, seed: int = 0) -> Projection:
    """Make the unfitted projection of a name.

    Parameters
    ----------
    name : str
        A key of `PROJECTIONS`.
    seed : int
        Methods that draw at random get a seed of their own from it and the name; with the same one, the random
        direction would lie in every random subspace.

    Returns
    -------
    Projection

    Examples
    --------
    >>> make_projection("svd-0.4")
    SampleWiseSubspace(threshold=0.4)
    """
    if name not in PROJECTIONS:
        raise ValueError(f"no projection is named {name!r}; there are {', '.join(PROJECTIONS)}")
    projection = clone(PROJECTIONS[name]())
    if "seed" in projection.get_params():
        projection.set_params(seed=derived_seed(seed, name))
    return projection


def fit_all(
    trajectories: np.ndarray,
    clean: np.ndarray,
    names: Iterable[str] | None = None,
    seed: int = 0,
    target: np.ndarray | None = None,
    reference: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Fit several projections on the same training clips.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
    clean : array, shape (clip, feature)
    names : iterable of str, optional
        Keys of `PROJECTIONS`; by default all.
    seed : int
        Seed of the random controls.
    target : array, shape (strength,), optional
        By default the quantile rank of the strength.
    reference : array, shape (rank,), optional
        As of `TrainingParts`.

    Returns
    -------
    dict of str to array, shape (k, feature)
        Orthonormal rows to `remove`, by name, in the order of `names`; k is 0 for what removes nothing.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.standard_normal((20, 6))
    >>> rows = fit_all(clean + rng.standard_normal((5, 20, 6)), clean, ["none", "average", "random"])
    >>> {name: v.shape for name, v in rows.items()}
    {'none': (0, 6), 'average': (1, 6), 'random': (1, 6)}
    """
    parts = TrainingParts(trajectories, clean, target, reference)
    names = list(PROJECTIONS) if names is None else list(names)
    return {name: make_projection(name, seed).fit(parts).components_ for name in names}


register_projection("none", NoProjection)
register_projection("lda", LDAProjection)
register_projection("average", AverageDisplacement)
register_projection("pca", PCAProjection)
register_projection("npca", NormalisedPCAProjection)
register_projection("cca", GlobalCCAProjection)
for _threshold in (0.3, 0.4, 0.5):
    register_projection(f"svd-{_threshold}", lambda t=_threshold: SampleWiseSubspace(t))
register_projection("random", RandomDirection)
for _threshold in (0.3, 0.4, 0.5):
    register_projection(f"random-svd-{_threshold}", lambda t=_threshold: RandomSubspace(t))
_SHIPPED = frozenset(PROJECTIONS)

#: Shipped projections that remove what was drawn at random: a method must do better than they.
CONTROLS = tuple(name for name in PROJECTIONS if name.startswith("random"))
