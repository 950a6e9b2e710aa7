"""Linear discriminant analysis of clean against effected embeddings, by one linear system.

Equal to the `coef_` of `sklearn.discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")`:
the within-class covariance, Ledoit-Wolf shrunk class by class on standardised features, is solved for the difference
of means. That takes the place of a generalised eigenproblem, whose vectors cancel from the direction; the scatter of
the effected embeddings, which other methods need too, serves for all of it.

References
----------
O. Ledoit and M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices, J. Multivariate
Analysis 88, 2004, section 3.3.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lstsq

__all__ = ["lda_direction"]

_EPS = np.finfo(np.float64).eps


def lda_direction(
    clean: np.ndarray,
    effected: np.ndarray,
    means: np.ndarray,
    difference: np.ndarray,
    scatter: np.ndarray,
) -> np.ndarray:
    """Solve Sw w = difference of means.

    Rows `clean` and `effected` (n, feature) are centred per class, on `means` (2, feature); `scatter` is
    ``effected.T @ effected``.
    """
    n = len(clean) + len(effected)
    if len(clean) < 2 or len(effected) < 2:
        raise ValueError("LDA needs at least two clean and two effected embeddings")
    within = np.zeros_like(scatter)
    for rows, mean, product in zip((clean, effected), means, (clean.T @ clean, scatter), strict=True):
        size, prior = len(rows), len(rows) / n
        variance = np.diag(product) / size
        # As scikit-learn's StandardScaler: a feature that is constant up to rounding keeps its scale.
        constant = variance <= size * _EPS * variance + (size * _EPS * mean) ** 2
        scale = np.sqrt(np.where(constant, 1.0, variance))
        shrinkage, level = _ledoit_wolf(rows, scale, scale**-2 @ (product**2) @ scale**-2)
        within += prior * (1.0 - shrinkage) / size * product
        within[np.diag_indices_from(within)] += prior * shrinkage * level * scale**2
    try:
        return cho_solve(cho_factor(within, check_finite=False), difference, check_finite=False)
    except LinAlgError:
        # No shrinkage on a feature that never moves: the smallest solution.
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
