"""Rank correlations of many rows at once, and of weighted observations."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

__all__ = ["spearman_rows", "standardised_ranks", "weighted_spearman"]


def spearman_rows(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Spearman rank correlations along one axis, ties sharing their average rank; NaN where an input is constant.

    The inputs are broadcast against each other after ranking along `axis`.
    """
    a, b = (
        _centred_ranks(np.moveaxis(np.asarray(x), axis, -1)),
        _centred_ranks(np.moveaxis(np.asarray(y), axis, -1)),
    )
    product = np.einsum("...i,...i->...", a, b)
    # One square root of the product: a perfect correlation is exactly 1.
    norm = np.sqrt(np.einsum("...i,...i->...", a, a) * np.einsum("...i,...i->...", b, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return product / norm


def _centred_ranks(x: np.ndarray) -> np.ndarray:
    ranks = rankdata(x, axis=-1)
    return ranks - (ranks.shape[-1] + 1) / 2


def weighted_spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman rank correlations of the same observations under many sets of whole-number weights.

    Parameters
    ----------
    x, y : arrays, shape (n,)
        The observations.
    weights : array of int, shape (k, n)
        How often each counts, e.g. in a bootstrap resample.

    Returns
    -------
    array, shape (k,)
        What `spearman_rows` gives of the repeated observations. NaN where one of the two is constant.
    """
    weights = np.asarray(weights, dtype=np.float64)
    a, b = (_centred_weighted_ranks(np.asarray(values), weights) for values in (x, y))
    product, first, second = (
        np.einsum("kn,kn,kn->k", weights, left, right) for left, right in ((a, b), (a, a), (b, b))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return product / np.sqrt(first * second)


def _centred_weighted_ranks(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average ranks (k, n) of observations that count `weights` times, less their mean."""
    _, value = np.unique(x, return_inverse=True)
    order = np.argsort(value, kind="stable")
    first = np.searchsorted(value[order], np.arange(value.max() + 1))
    count = np.add.reduceat(weights[:, order], first, axis=1)
    # The ranks of m equal observations after c smaller ones are c + 1 ... c + m, on average c + (m + 1) / 2.
    ranks = np.cumsum(count, axis=1) - (count - 1) / 2
    return ranks[:, value] - (weights.sum(axis=1, keepdims=True) + 1) / 2


def standardised_ranks(x: np.ndarray) -> np.ndarray:
    """Average ranks along the last axis with mean 0 and sum of squares 1; NaN where `x` is constant.

    Products of two sum to Spearman's correlation.
    """
    ranks = _centred_ranks(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ranks / np.sqrt(np.einsum("...i,...i->...", ranks, ranks))[..., None]
