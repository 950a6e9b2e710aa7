"""Intervals over songs, permutation tests and multiple testing.

Conventions: a clip belongs to a song (its source recording) and the song is the unit of independence: an interval is
over songs, and below `MINIMUM_SONGS` of them it is none, but the range of what the songs give one by one. Two nulls
answer two questions: shuffles within each clip, whether strength does anything at all; one order for all clips
(`joint_orders`), whether the order of the strengths matters, which only the second does. Arrays follow the store:
strengths first, then clips, then features. Undefined statistics (a constant input) are NaN and are left out of means.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import factorial
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
from scipy.stats import norm, rankdata, t

__all__ = [
    "MINIMUM_SONGS",
    "bootstrap_songs",
    "check_trajectories",
    "derived_seed",
    "holm",
    "joint_orders",
    "limit_percentages",
    "mean_over_songs",
    "permutation_p_value",
    "permute_within_clips",
    "quantile_rank",
    "resample_weights",
    "smallest_p_value",
]

#: Fewest songs that give an interval: those over two would cover half of the time what they promise 95 % for.
MINIMUM_SONGS = 6

# Up to so many orders of the strengths all are taken: six strengths have 720.
_ALL_ORDERS = 1000


class Interval(NamedTuple):
    """A statistic, its 95 % limits and the songs that it rests on (numbers, or arrays of one shape).

    Below `MINIMUM_SONGS` the limits are a range: the statistic's smallest and largest value over single songs, and over
    all of them.
    """

    estimate: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    songs: int | np.ndarray


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


def mean_over_songs(
    values: np.ndarray, songs: np.ndarray, limits: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    r"""Mean over clips with Student's t interval over songs.

    Parameters
    ----------
    values : array, shape (clip,) or (clip, k)
        NaN is left out.
    songs : array, shape (clip,)
        Song label of each clip.
    limits : tuple of float
        Between which values can lie; the interval is cut there.

    Returns
    -------
    Interval
        Of floats, or of arrays of shape (k,).

    Notes
    -----
    With N clips of n songs, the standard error is :math:`\sqrt{n/(n-1) \sum_j (\sum_{i \in j} (x_i - \bar x)/N)^2}`,
    the sums over the songs j and their clips i. Where songs have equally many clips, this is the t interval of the
    songs' means.

    References
    ----------
    W. Cochran, Sampling Techniques, 1977, section 9A.1 (means over clusters of unequal size).

    Examples
    --------
    >>> interval = mean_over_songs([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], list("abcdef"))
    >>> [round(float(x), 3) for x in interval]
    [3.5, 1.537, 5.463, 6.0]
    """
    values, songs = np.asarray(values, dtype=np.float64), np.asarray(songs)
    if values.ndim not in (1, 2) or songs.shape != values.shape[:1]:
        raise ValueError(
            f"values of shape {values.shape} do not fit songs of shape {songs.shape}: give one row per clip"
        )
    known = np.isfinite(values)
    mine = _members(songs).astype(np.float64)
    totals, counts = mine @ np.where(known, values, 0.0), mine @ known.astype(np.float64)
    n, clips = (counts > 0).sum(axis=0), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = totals.sum(axis=0) / clips
        parts = (totals - counts * mean) / clips
        half = t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1) * (parts**2).sum(axis=0))
        single = totals / counts
    few = n < MINIMUM_SONGS
    low = np.where(few, np.where(counts > 0, single, np.inf).min(axis=0), mean - half)
    high = np.where(few, np.where(counts > 0, single, -np.inf).max(axis=0), mean + half)
    none = np.where(n > 0, 0.0, np.nan)
    return Interval(mean[()], np.maximum(low, limits[0]) + none, np.minimum(high, limits[1]) + none, n[()])


def limit_percentages(songs: int) -> tuple[float, float]:
    """Percentages of resamples at which a statistic's limits lie: the first and the last, a range, for few songs."""
    return (2.5, 97.5) if songs >= MINIMUM_SONGS else (0.0, 100.0)


def bootstrap_songs(
    statistic: Callable[[np.ndarray], np.ndarray],
    songs: np.ndarray,
    n_resamples: int = 1000,
    seed: int = 0,
    by: Literal["weights", "indices"] = "weights",
) -> Interval:
    """95 % bootstrap interval over songs of what is no mean over clips: BCa, with the jackknife over songs.

    Parameters
    ----------
    statistic : callable
        See `by`.
    songs : array, shape (clip,)
        Song label of each clip. Songs are resampled with replacement, each with all its clips.
    n_resamples : int
    seed : int
        Seed of the resampling. The same seed and songs give the same resamples, so differences can be paired.
    by : {"weights", "indices"}
        What the statistic is a function of. ``"weights"``: many resamples at once, as weights of shape (n, clip),
        returning (n,); fast for whatever is made of weighted sums. ``"indices"``: the clip indices of one resample,
        with repeats, returning a float; for statistics on ranks and the like.

    Returns
    -------
    Interval
        Of floats, from the resamples on which the statistic is defined.

    Notes
    -----
    In simulations such an interval for a ratio covers 85 % with six songs, 90 % with twelve and 93 % with thirty.

    References
    ----------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, section 14.3 (bias-corrected and accelerated).

    Examples
    --------
    The ratio of two sums over clips:

    >>> error, total = np.array([1.0, 2.0, 1.0, 3.0, 2.0, 1.0]), np.full(6, 4.0)
    >>> interval = bootstrap_songs(lambda w: 1 - (w @ error) / (w @ total), np.arange(6))
    >>> round(float(interval.estimate), 3), bool(interval.low < interval.estimate < interval.high), interval.songs
    (0.583, True, 6)
    """
    if by not in ("weights", "indices"):
        raise ValueError(f'by must be "weights" or "indices", not {by!r}')
    songs = np.asarray(songs)
    weights, mine = resample_weights(songs, n_resamples, seed), _members(songs)
    everything, n = np.arange(len(songs)), len(mine)

    def of(weights: np.ndarray) -> np.ndarray:
        if by == "weights":
            return np.asarray(statistic(weights), dtype=np.float64)
        return np.array([statistic(np.repeat(everything, row)) for row in weights], dtype=np.float64)

    estimate = float(of(np.ones((1, len(songs)), dtype=weights.dtype))[0])
    if n < MINIMUM_SONGS:
        single = np.append(of(mine.astype(weights.dtype)), estimate)
        known = single[np.isfinite(single)]
        low, high = (known.min(), known.max()) if known.size else (np.nan, np.nan)
    else:
        low, high = _bca(estimate, of((~mine).astype(weights.dtype)), of(weights))
    return Interval(estimate, float(low), float(high), n)


def _members(songs: np.ndarray) -> np.ndarray:
    """Which clips are of each song: boolean (song, clip)."""
    return np.unique(songs)[:, None] == songs


def _bca(estimate: float, left_out: np.ndarray, resampled: np.ndarray) -> np.ndarray:
    """Limits (2,) from the estimate, its values with each song left out, and those of the resamples."""
    left_out, resampled = (x[np.isfinite(x)] for x in (left_out, resampled))
    if not len(resampled) or not np.isfinite(estimate):
        return np.full(2, np.nan)
    below = ((resampled < estimate).sum() + (resampled == estimate).sum() / 2) / len(resampled)
    bias = norm.ppf(np.clip(below, 0.5 / len(resampled), 1 - 0.5 / len(resampled)))
    deviations = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = (deviations**2).sum() ** 1.5
    acceleration = (deviations**3).sum() / (6 * spread) if spread > 0 else 0.0
    ends = bias + norm.ppf([0.025, 0.975])
    return np.quantile(resampled, norm.cdf(bias + ends / (1 - acceleration * ends)))


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


def joint_orders(n_strengths: int, n_permutations: int, seed: int = 0) -> np.ndarray:
    """Orders of the strengths that all clips share, (order, strength), the true one first.

    A path that all clips share can be read in any order by as many dimensions as there are strengths, so that only a
    null of other orders, of training and test clips alike, speaks of *the* order. All orders where there are at most a
    thousand (six strengths), else the true one and `n_permutations` drawn ones.

    Examples
    --------
    >>> joint_orders(3, 100).tolist()
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """
    if factorial(n_strengths) <= _ALL_ORDERS:
        return np.array(list(permutations(range(n_strengths))))
    first = np.arange(n_strengths)
    drawn = np.random.default_rng(seed).permuted(np.tile(first, (n_permutations, 1)), axis=1)
    return np.concatenate([first[None], drawn])


def smallest_p_value(orders: np.ndarray, target: np.ndarray | None = None) -> float:
    """The smallest p-value that a test over `joint_orders` can have: the share of orders that tie with the true one.

    Without a `target`, for a direction, which reads an order as well as its reverse; else for growth with the target
    (strength,), whose equal values may change places.

    Examples
    --------
    >>> orders = joint_orders(4, 0)
    >>> round(smallest_p_value(orders), 3), round(smallest_p_value(orders, [1.0, 2.0, 3.0, 4.0]), 3)
    (0.083, 0.042)
    """
    if target is None:
        same = (orders == orders[0]).all(axis=1) | (orders == orders[0][::-1]).all(axis=1)
    else:
        same = (np.asarray(target)[orders] == np.asarray(target)).all(axis=1)
    return float(same.mean())


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
