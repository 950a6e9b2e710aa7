"""What projections are: training data in, orthonormal rows to remove out ("desensitising").

Conventions: a projection is fitted on training clips of one effect (`trajectories` (strength, clip, feature) and
`clean` (clip, feature)), learns orthonormal rows V (`components_`) and maps any embeddings X of shape (..., feature)
to ``X - X V^T V``. It follows scikit-learn: `fit`, `transform`, `get_params`, `sklearn.base.clone`. A further method
subclasses `Projection` and computes rows from `TrainingParts` in `learn`; it need not make them orthonormal.
`aesens.analysis.projections` holds the registry.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from aesens.analysis.cca import GlobalCCA, LeastSquares, stack_centred
from aesens.analysis.lda import lda_direction
from aesens.analysis.principal import Principal, principal_variances
from aesens.analysis.samplewise import samplewise_directions
from aesens.analysis.statistics import check_trajectories

__all__ = [
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
    "remove",
    "variance_ratios",
]

_EPS = np.finfo(np.float64).eps


class TrainingParts:
    """Training data of a projection and what methods derive from it, each computed when first asked for.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
    clean : array, shape (clip, feature)
    reference : array, shape (rank,), optional
        What normalised PCA divides by: the `principal_variances` of the clean embeddings of all training clips,
        whatever their instrument. By default those of `clean` alone.
    """

    def __init__(self, trajectories: np.ndarray, clean: np.ndarray, reference: np.ndarray | None = None):
        self.trajectories, self.clean = check_trajectories(trajectories, clean)
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
    def displacement_components(self) -> Principal:
        """Principal components of the displacements."""
        return Principal(self.displacements)

    @cached_property
    def reference(self) -> np.ndarray:
        """Variances of the clean embeddings' principal components that normalised PCA divides by, descending."""
        return principal_variances(self.clean) if self._reference is None else self._reference

    @cached_property
    def samplewise(self) -> tuple[np.ndarray, np.ndarray]:
        """Normalised singular values (k,) and right singular vectors (k, feature) of all clips' directions."""
        directions = samplewise_directions(self.trajectories)
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

    def fit(self, trajectories: np.ndarray | TrainingParts, clean: np.ndarray | None = None) -> Projection:
        """Learn what to remove.

        Parameters
        ----------
        trajectories : array, shape (strength, clip, feature), or TrainingParts
            Training clips' trajectories, or parts that several methods share.
        clean : array, shape (clip, feature)
            Their clean embeddings.
        """
        if not isinstance(trajectories, TrainingParts):
            if clean is None:
                raise ValueError("fit needs the clean embeddings beside the trajectories")
            trajectories = TrainingParts(trajectories, clean)
        self.components_ = _orthonormal(self.learn(trajectories))
        self.n_features_in_ = trajectories.n_features
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Remove the learned directions from embeddings of shape (..., feature)."""
        check_is_fitted(self, "components_")
        return remove(x, self.components_)


class NoProjection(Projection):
    """Removes nothing: the baseline."""

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """No rows."""
        return np.empty((0, parts.n_features))


class LDAProjection(Projection):
    """The direction that tells effected from clean embeddings by linear discriminant analysis.

    That of scikit-learn, see `aesens.analysis.lda`, on clean embeddings against all effected ones.

    On embeddings behind a ReLU the direction can lie almost wholly along units that are hardly ever active: their means
    differ little, but their within-class variance is next to nothing and the shrinkage too small to stop the division
    by it. Removing it then takes away less of the displacements than removing a random direction does. That is so of
    scikit-learn's estimator too and is left as the study has it.
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        clean = parts.clean.astype(np.float64)
        means = np.stack([clean.mean(axis=0), parts.trajectories.mean(axis=(0, 1), dtype=np.float64)])
        scatter = parts.scatter if len(clean) + len(parts.rows) > parts.n_features else None
        return lda_direction(clean - means[0], parts.rows, means, parts.mean_displacement, scatter)


class AverageDisplacement(Projection):
    """The mean displacement over all clips and strengths."""

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return parts.mean_displacement


class PCAProjection(Projection):
    """The first principal component of the displacements.

    Centred on the mean displacement, as `sklearn.decomposition.PCA` is: what varies most, which need not be where
    the average points.
    """

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return parts.displacement_components.component(0)


def variance_ratios(moved: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Ratios (rank,) of the `principal_variances` of displacements to those of clean embeddings, rank by rank.

    A reference variance that is zero up to rounding is none to divide by: neither its rank nor a later one has a ratio.
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
    """The direction of the global CCA, `aesens.analysis.cca.GlobalCCA`."""

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return GlobalCCA().fit(parts.trajectories, solver=parts.solver).direction_


class SampleWiseSubspace(Projection):
    """The subspace that the clips' own directions share.

    Right singular vectors of the stacked sample-wise directions with s_i / s_0 of at least the `threshold` are removed.
    """

    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row or more."""
        values, vectors = parts.samplewise
        return vectors[values >= self.threshold]


class RandomDirection(Projection):
    """Control: a direction drawn at random."""

    def __init__(self, seed: int = 0):
        self.seed = seed

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """One row."""
        return np.random.default_rng(self.seed).standard_normal(parts.n_features)


class RandomSubspace(Projection):
    """Control: a random subspace of the dimension that `SampleWiseSubspace` removes at a threshold."""

    def __init__(self, threshold: float = 0.5, seed: int = 0):
        self.threshold = threshold
        self.seed = seed

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """As many rows as the method has."""
        values, _ = parts.samplewise
        k = int((values >= self.threshold).sum())
        return np.random.default_rng(self.seed).standard_normal((k, parts.n_features))
