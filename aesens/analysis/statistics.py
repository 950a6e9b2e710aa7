"""Resampling, ranks and multiple testing.

Conventions: a clip belongs to a song (its source recording) and the song is the unit of independence, so every
interval resamples songs with all their clips. Permutation tests shuffle strengths within each clip, which keeps
what clips share (their place in embedding space) and destroys only the order. Arrays follow the store: strengths
first, then clips, then features. Undefined statistics (a constant input) are NaN and are left out of means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
from scipy.stats import rankdata

__all__ = [
    "bootstrap_songs",
    "check_trajectories",
    "derived_seed",
    "holm",
    "permutation_p_value",
    "permute_within_clips",
    "quantile_rank",
    "resample_weights",
    "spearman_rows",
    "standardised_ranks",
    "weighted_spearman",
]


class Interval(NamedTuple):
    """A statistic with its confidence limits (floats, or arrays of one shape)."""

    estimate: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray


def check_trajectories(
    trajectories: np.ndarray, clean: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Trajectories (strength, clip, feature) and the clean embeddings (clip, feature) of the same clips, checked.

    As floating-point arrays; `clean` is empty if it was not given. A wrong shape or a value that is not finite is a
    ValueError.
    """
    trajectories = _floating(trajectories)
    if trajectories.ndim != 3 or 0 in trajectories.shape:
        raise ValueError(f"trajectories must have shape (strength, clip, feature), not {trajectories.shape}")
    if not np.isfinite(trajectories).all():
        raise ValueError("trajectories hold values that are not finite; leave those clips out first")
    if clean is None:
        return trajectories, np.empty((0, trajectories.shape[2]))
    clean = _floating(clean)
    if clean.shape != trajectories.shape[1:]:
        raise ValueError(
            f"clean must have shape (clip, feature) = {trajectories.shape[1:]} like the trajectories, "
            f"not {clean.shape}"
        )
    if not np.isfinite(clean).all():
        raise ValueError("clean embeddings hold values that are not finite; leave those clips out first")
    return trajectories, clean


def _floating(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    return x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float64)


def derived_seed(seed: int, *names: str) -> int:
    """Seed of a random stream of its own for each thing that draws.

    With one seed for all, the shuffles of two instruments with equally many clips are the same shuffles, and the random
    direction is one direction for all models of one width.

    Parameters
    ----------
    seed : int
        Of the run.
    *names : str
        What draws: a model, an effect, an instrument, a method.

    Returns
    -------
    int
        32 bits that depend on nothing else: neither on the order of the work nor on the machine.
    """
    # The seed in 32-bit words of its own, as SeedSequence takes it, then a word a name.
    words = [seed, *(crc32(name.encode()) for name in names)]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def resample_weights(songs: np.ndarray, n_resamples: int, seed: int = 0) -> np.ndarray:
    """How often each clip occurs in each bootstrap resample of the songs: whole numbers (n_resamples, clip).

    Each resample draws as many songs as there are, with replacement, with all their clips: the clips of one song share
    a weight.
    """
    songs = np.asarray(songs)
    if songs.ndim != 1 or not songs.size:
        raise ValueError(f"songs must be one label per clip, not an array of shape {songs.shape}")
    _, index = np.unique(songs, return_inverse=True)
    n_songs = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_songs, np.full(n_songs, 1.0 / n_songs), size=n_resamples)
    return counts[:, index]


def bootstrap_songs(
    values: np.ndarray | Callable[[np.ndarray], np.ndarray],
    songs: np.ndarray,
    n_resamples: int = 1000,
    seed: int = 0,
    by: Literal["weights", "indices"] = "weights",
) -> Interval:
    """95 % percentile bootstrap interval over songs.

    Parameters
    ----------
    values : array, shape (clip,) or (clip, k), or callable
        An array: the statistic is the mean over clips of each column, NaN left out. A callable computes any
        statistic, see `by`.
    songs : array, shape (clip,)
        Song label of each clip. Songs are resampled with replacement, each with all its clips.
    n_resamples : int
        Number of resamples.
    seed : int
        Seed of the resampling. The same seed and songs give the same resamples, so differences can be paired.
    by : {"weights", "indices"}
        What a callable takes. ``"weights"``: all resamples at once, as weights of shape (n, clip), returning
        (n,) or (n, k); fast for whatever is made of weighted sums. ``"indices"``: the clip indices of one
        resample, with repeats, returning a float or (k,); for statistics on ranks and the like.

    Returns
    -------
    Interval
        ``estimate`` on the clips as they are, ``low`` and ``high``; floats, or arrays of shape (k,). The limits
        are percentiles of the resamples on which the statistic is defined.

    References
    ----------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3 (percentile interval).

    Examples
    --------
    >>> interval = bootstrap_songs([1.0, 1.2, 3.0, 3.2], ["a", "a", "b", "b"], seed=0)
    >>> [round(float(x), 2) for x in interval]
    [2.1, 1.1, 3.1]

    The ratio of two sums over clips:

    >>> error, total = np.array([1.0, 2.0, 1.0]), np.array([4.0, 4.0, 4.0])
    >>> round(float(bootstrap_songs(lambda w: 1 - (w @ error) / (w @ total), [0, 1, 2]).estimate), 3)
    0.667
    """
    songs = np.asarray(songs)
    weights = resample_weights(songs, n_resamples, seed)
    whole = np.ones((1, len(songs)), dtype=weights.dtype)
    if callable(values) and by == "indices":
        everything = np.arange(len(songs))
        estimate = np.asarray(values(everything), dtype=np.float64)
        resampled = np.array([values(np.repeat(everything, row)) for row in weights], dtype=np.float64)
    elif callable(values) and by == "weights":
        estimate = np.asarray(values(whole), dtype=np.float64)[0]
        resampled = np.asarray(values(weights), dtype=np.float64)
    elif callable(values):
        raise ValueError(f'by must be "weights" or "indices", not {by!r}')
    else:
        values = np.asarray(values, dtype=np.float64)
        if values.ndim not in (1, 2) or len(values) != len(songs):
            raise ValueError(
                f"values of shape {values.shape} do not fit {len(songs)} songs: give one row per clip"
            )
        estimate = _weighted_mean(whole, values)[0]
        resampled = _weighted_mean(weights, values)
    low, high = _percentiles(resampled, [2.5, 97.5])
    return Interval(estimate[()], low[()], high[()])


def _weighted_mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted means of the columns of (clip, ...) `values`, NaN left out: (n, ...)."""
    known = np.isfinite(values)
    weights = weights.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ np.where(known, values, 0.0)) / (weights @ known.astype(np.float64))


def _percentiles(resampled: np.ndarray, q: list[float]) -> np.ndarray:
    if np.isfinite(resampled).all():
        return np.percentile(resampled, q, axis=0)
    columns = resampled.reshape(len(resampled), -1)
    out = np.full((len(q), columns.shape[1]), np.nan)
    for j, column in enumerate(columns.T):
        if (known := column[np.isfinite(column)]).size:
            out[:, j] = np.percentile(known, q)
    return out.reshape(len(q), *resampled.shape[1:])


def holm(p: np.ndarray) -> np.ndarray:
    """Holm-adjusted p-values of a family of tests: rejecting those at most alpha keeps the family-wise error at alpha.

    Parameters
    ----------
    p : array, any shape
        p-values; NaN marks a test that was not made and does not count.

    Returns
    -------
    array, same shape

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.size, np.nan)
    known = np.flatnonzero(np.isfinite(p.ravel()))
    if np.any((p.ravel()[known] < 0) | (p.ravel()[known] > 1)):
        raise ValueError("p-values must lie between 0 and 1")
    order = known[np.argsort(p.ravel()[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p.ravel()[order] * factors), 1.0)
    return adjusted.reshape(p.shape)


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


def quantile_rank(values: int | np.ndarray) -> np.ndarray:
    """The study's target: the quantile rank of each strength, from 0 to 1.

    Parameters
    ----------
    values : int or array, shape (strength,)
        The number of strengths, or what orders them (the weakest smallest).

    Returns
    -------
    array, shape (strength,)
        As `sklearn.preprocessing.QuantileTransformer` maps these values: ties at their middle, but the smallest at 0
        and the largest at 1.

    Examples
    --------
    >>> quantile_rank([1, 10, 1000]).tolist()
    [0.0, 0.5, 1.0]
    """
    values = np.arange(values) if np.ndim(values) == 0 else np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError("a quantile rank needs at least two strengths")
    rank = (rankdata(values) - 1) / (len(values) - 1)
    rank[values == values.max()] = 1.0
    rank[values == values.min()] = 0.0
    return rank


def permute_within_clips(target: np.ndarray, n_clips: int, n_permutations: int, seed: int = 0) -> np.ndarray:
    """Shuffle the strengths of every clip, independently of the other clips.

    Returns a copy of `target` (strength,) for each permutation and clip, (n_permutations, strength, clip). `seed` may
    be a generator.
    """
    target = np.asarray(target, dtype=np.float64)
    rng = np.random.default_rng(seed)
    copies = np.broadcast_to(target, (n_permutations, n_clips, len(target)))
    return rng.permuted(copies, axis=-1).swapaxes(1, 2)


def permutation_p_value(observed: float | np.ndarray, null: np.ndarray) -> float | np.ndarray:
    """One-sided p-value: how often chance reaches at least the observed statistic.

    Parameters
    ----------
    observed : float or array, shape (k,)
        The statistic; large values speak against the null.
    null : array, shape (n_permutations,) or (n_permutations, k)
        The statistic under permutations.

    Returns
    -------
    float or array, shape (k,)
        ``(1 + #{null >= observed}) / (1 + n)``: the observed arrangement is one of the possible ones, hence never 0 (B.
        Phipson and G. Smyth, Permutation p-values should never be zero, SAGMB 9, 2010). NaN where `observed` is NaN.
    """
    observed, null = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    known = np.isfinite(null)
    # A statistic recomputed after a shuffle that changes nothing may differ in the last bits: count it as reached.
    reached = known & (null >= observed - 1e-12 * np.maximum(1.0, np.abs(observed)))
    p = (1.0 + reached.sum(axis=0)) / (1.0 + known.sum(axis=0))
    p = np.where(np.isnan(observed), np.nan, p)
    return float(p) if p.ndim == 0 else p
