"""Principal components of embeddings: variances, and the directions of those that are asked for."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

import numpy as np
from scipy.linalg import eigh, eigvalsh
from scipy.sparse.linalg import ArpackError, eigsh

__all__ = ["Principal", "principal_variances"]

_EPS = np.finfo(np.float64).eps

# Of an eigenvector's residual to its eigenvalue: some hundred times rounding, and far below what any table shows.
_RESIDUAL = 1e-12


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
    """Variances of the principal components of embeddings (clip, feature), descending: (min(clip - 1, feature),).

    The `explained_variance_` of `sklearn.decomposition.PCA` without the component that centred clips cannot fill.
    Variances of at most max(clip, feature) * 2.2e-16 of the largest are rounding and given as zero.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.isfinite(x).all():
        raise ValueError(f"embeddings must be a finite array (clip, feature), not one of shape {x.shape}")
    rows = x - x.mean(axis=0)
    return _variances(eigvalsh(_smaller_product(rows)), *x.shape)


def _leading(matrix: np.ndarray) -> np.ndarray:
    """Unit eigenvector of the largest eigenvalue of a symmetric matrix that is not negative."""
    last = len(matrix) - 1
    if last > 100:
        # A start that is orthogonal to no eigenvector, and the same each time.
        start = np.random.default_rng(0).standard_normal(last + 1)
        with suppress(ArpackError):
            return eigsh(matrix, k=1, v0=start, tol=_RESIDUAL)[1][:, 0]
    return eigh(matrix, subset_by_index=[last, last])[1][:, 0]


class Principal:
    """Principal components of rows (n, feature).

    All variances cost the eigenvalues of the scatter or Gram matrix, a direction one eigenvector of it and not all: the
    first by Lanczos's iteration, to a residual of 1e-12 of its variance.
    """

    def __init__(self, rows: np.ndarray):
        self._rows = rows - rows.mean(axis=0)
        self._matrix = _smaller_product(self._rows)

    @cached_property
    def variances(self) -> np.ndarray:
        """Of all components, descending."""
        return _variances(eigvalsh(self._matrix), *self._rows.shape)

    @cached_property
    def _first(self) -> np.ndarray:
        return _leading(self._matrix)

    def component(self, i: int) -> np.ndarray:
        """Unit vector of the i-th component, zero if it has no variance."""
        n, d = self._rows.shape
        if not self._matrix.any() or (i and (i >= len(self.variances) or not self.variances[i] > 0)):
            return np.zeros(d)
        place = len(self._matrix) - 1 - i
        vector = eigh(self._matrix, subset_by_index=[place, place])[1][:, 0] if i else self._first
        vector = self._rows.T @ vector if n < d else vector
        return vector / np.linalg.norm(vector)
