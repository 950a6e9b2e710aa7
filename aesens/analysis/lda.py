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
    clean: np.ndarray, effected: np.ndarray, means: np.ndarray, difference: np.ndarray, scatter=None
) -> np.ndarray:
    """Solve Sw w = difference of means.

    Rows `clean` and `effected` (n, feature) are centred per class, on `means` (2, feature); `scatter` is
    ``effected.T @ effected``, or None where features outnumber rows: then Sw is not formed.
    """
    n = len(clean) + len(effected)
    if len(clean) < 2 or len(effected) < 2:
        raise ValueError("LDA needs at least two clean and two effected embeddings")
    products = (None, None) if scatter is None else (clean.T @ clean, scatter)
    parts, diagonal = [], np.zeros(clean.shape[1])
    for rows, mean, product in zip((clean, effected), means, products, strict=True):
        size, prior = len(rows), len(rows) / n
        variance = np.einsum("nd,nd->d", rows, rows) / size
        # As scikit-learn's StandardScaler: a feature that is constant up to rounding keeps its scale.
        constant = variance <= size * _EPS * variance + (size * _EPS * mean) ** 2
        scale = np.sqrt(np.where(constant, 1.0, variance))
        if product is None:
            norm = np.square((rows / scale**2) @ rows.T).sum()
        else:
            norm = scale**-2 @ (product**2) @ scale**-2
        shrinkage, level = _ledoit_wolf(rows, scale, norm)
        parts.append((prior * (1.0 - shrinkage) / size, rows, product))
        diagonal += prior * shrinkage * level * scale**2
    if scatter is None and diagonal.all():
        # Sw = D + R^T R with few rows R, by Woodbury's identity.
        root = np.sqrt(diagonal)
        rows = np.concatenate([np.sqrt(weight) * rows for weight, rows, _ in parts]) / root
        inner = rows @ rows.T
        inner[np.diag_indices_from(inner)] += 1.0
        wanted = difference / root
        factor = cho_factor(inner, check_finite=False)
        return (wanted - rows.T @ cho_solve(factor, rows @ wanted, check_finite=False)) / root
    within = sum(w * (rows.T @ rows if product is None else product) for w, rows, product in parts)
    within[np.diag_indices_from(within)] += diagonal
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
