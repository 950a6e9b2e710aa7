"""Sample-wise CCA: a direction for each clip, what of it holds elsewhere, and what chance makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aesens.analysis.cca import CONDITION, CUTOFF, unit
from aesens.analysis.parallel import each
from aesens.analysis.ranks import spearman_rows, standardised_ranks
from aesens.analysis.statistics import (
    check_trajectories,
    permutation_p_value,
    permute_within_clips,
    quantile_rank,
)

__all__ = ["random_walks", "samplewise_directions", "samplewise_report", "transfer"]

# Doubles in the block of clips that is worked on at once: what stays in a core's cache.
_BLOCK = 250_000

# Clips whose directions are tried on the same other clips, and how many those are.
_PANEL, _OTHERS = 100, 50

_EPS = np.finfo(np.float64).eps


def _blocks(trajectories: np.ndarray) -> list[slice]:
    """A few clips at a time."""
    n_strengths, n_clips, n_features = trajectories.shape
    size = max(1, _BLOCK // (n_strengths * n_features))
    return [slice(start, min(start + size, n_clips)) for start in range(0, n_clips, size)]


def _centred(trajectories: np.ndarray) -> np.ndarray:
    """Centred trajectories, array (clip, strength, feature) in float64."""
    x = trajectories.swapaxes(0, 1).astype(np.float64, order="C")
    mean = x.mean(axis=1, keepdims=True)
    x -= mean
    # What the rounding of the mean leaves of a clip that does not move is no movement.
    rounding = len(trajectories) ** 1.5 * _EPS
    ends = np.abs(x[:, 0]).max(axis=1) + np.abs(x[:, -1]).max(axis=1)
    for clip in np.flatnonzero(ends <= rounding * np.abs(mean).max(axis=(1, 2))):
        if np.abs(x[clip]).max() <= rounding * np.abs(mean[clip]).max():
            x[clip] = 0.0
    return x


def _gram_inverse(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pseudo-inverses (clip, strength, strength) of Gram matrices of centred trajectories (clip, strength, feature).

    Also the clips whose rows are not of full rank (or too nearly so for the Gram matrix), done by singular values, and
    the projections on the row space of those; for all others it is the whole centred space.
    """
    n, s, _ = x.shape
    gram = x @ x.swapaxes(1, 2)
    trace = np.trace(gram, axis1=1, axis2=2)
    # Centred rows have the null vector (1, ..., 1): a weight on it makes the matrix invertible and is taken off
    # again. The diagonal at rounding level keeps singular matrices from stopping the whole batch.
    lift = np.where(trace > 0, trace, 1.0) / s**2
    gram += lift[:, None, None]
    diagonal = np.arange(s)
    gram[:, diagonal, diagonal] += np.where(trace > 0, _EPS * trace, 1.0)[:, None]
    inverse = np.linalg.inv(gram)
    inverse -= (1.0 / (lift * s**2))[:, None, None]
    condition = trace * np.trace(inverse, axis1=1, axis2=2)
    special = np.flatnonzero(~((condition < CONDITION) & (condition > 0) & (trace > 0)))
    hat = np.zeros((len(special), s, s))
    for i, clip in enumerate(special):
        # Singular values of the triangular factor are those of the rows, without squaring their condition.
        u, values, _ = np.linalg.svd(np.linalg.qr(x[clip].T, mode="r").T, full_matrices=False)
        u = u[:, values > max(CUTOFF * values[0], np.finfo(np.float64).tiny)]
        values = values[: u.shape[1]]
        inverse[clip] = (u / values**2) @ u.T
        hat[i] = u @ u.T
    return inverse, special, hat


def samplewise_directions(trajectories: np.ndarray, n_jobs: int = 1) -> np.ndarray:
    """Each clip's own direction, in batched solves.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
    n_jobs : int
        Threads, as in joblib; the result does not depend on it.

    Returns
    -------
    array, shape (clip, feature)
        Unit x-weights of each clip's CCA against the quantile rank of the strength, as
        `sklearn.cross_decomposition.CCA` with one component and no scaling finds them; the sign is such that the
        projection grows with strength. Zero for a clip that does not move.

    Examples
    --------
    >>> samplewise_directions([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 3.0], [-1.0, 0.0]]]).round(6).tolist()
    [[0.0, 1.0], [-1.0, 0.0]]
    """
    trajectories, _ = check_trajectories(trajectories)
    target = quantile_rank(len(trajectories))
    centred = target - target.mean()

    def solved(part: slice) -> np.ndarray:
        x = _centred(trajectories[:, part])
        return ((_gram_inverse(x)[0] @ centred)[:, None] @ x)[:, 0]

    return unit(np.concatenate(each(solved, _blocks(trajectories), n_jobs)))


@dataclass(frozen=True)
class SampleWiseReport:
    """What `samplewise_report` found.

    Attributes
    ----------
    in_sample : array, shape (clip,)
        Squared Spearman correlation of the clip's projections and the strength: 1 by construction unless strengths
        outnumber features.
    held_out, held_out_rho : arrays, shape (clip,)
        R^2 on strengths left out, and the Spearman correlation of predicted and true deviations.
    null, null_rho : arrays, shape (permutation, clip)
        The same with shuffled strengths.
    p_value, p_rho : float
        One-sided, of the medians over clips of `held_out` and `held_out_rho`; NaN without permutations.
    """

    in_sample: np.ndarray = field(repr=False)
    held_out: np.ndarray = field(repr=False)
    held_out_rho: np.ndarray = field(repr=False)
    null: np.ndarray = field(repr=False)
    null_rho: np.ndarray = field(repr=False)
    p_value: float
    p_rho: float


def samplewise_report(trajectories: np.ndarray, n_permutations: int = 199, seed: int = 0) -> SampleWiseReport:
    r"""Judge every clip's own direction in sample, on strengths left out, and against chance.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
        At least three strengths.
    n_permutations : int
        Shuffles of the strengths within each clip; 0 leaves the null out.
    seed : int

    Returns
    -------
    SampleWiseReport

    Notes
    -----
    Each strength s is left out in turn, the direction is fitted to the others (centred on their own means), and

    .. math:: R^2 = 1 - \frac{\sum_s (y_s - \bar y_{-s} - w_{-s}\cdot(x_s - \bar x_{-s}))^2}
                          {\sum_s (y_s - \bar y_{-s})^2}.

    The baseline is the mean of the strengths that were kept. That mean falls as the value left out rises, so a
    *correlation* between held-out predictions and the target would be -1 for a model that predicts just the mean;
    against this baseline, a direction that knows nothing scores about 0 and a wrong one below.

    R^2 has no lower bound: where two strengths give nearly the same embedding (a low-pass filter above what the model
    hears), fitting both makes the weights explode along their rounding, and the predictions of all other strengths with
    them. The rank correlation stands beside it, between the predicted deviations
    :math:`w_{-s}\cdot(x_s - \bar x_{-s})` and the true ones :math:`y_s - \bar y_{-s}`, so that the baseline does not
    enter; it lies between -1 and 1, about 0 for a direction that knows nothing, and is NaN for a clip that does not
    move.

    Neither tells a direction from a smooth path, nor does their permutation null, which is not smooth: see
    `random_walks` and `transfer`.

    No refit is needed: with G the centred Gram matrix of a clip, the error at s is
    :math:`(G^+ y)_s / (G^+)_{ss}` where the fit interpolates s, and the residual over one minus the leverage where
    it does not. Shuffled strengths reuse :math:`G^+`.

    References
    ----------
    D. Allen, The relationship between variable selection and data augmentation and a method for prediction,
    Technometrics 16, 1974 (leave-one-out residuals). T. Hastie et al., Surprises in high-dimensional ridgeless least
    squares interpolation, Annals of Statistics 50, 2022, section 7 (their interpolating limit).
    """
    trajectories, _ = check_trajectories(trajectories)
    n_strengths, n_clips, _ = trajectories.shape
    if n_strengths < 3:
        raise ValueError(f"leaving one strength out needs at least three strengths, not {n_strengths}")
    target = quantile_rank(n_strengths)
    centred = target - target.mean()
    baseline = (centred**2).sum() * (n_strengths / (n_strengths - 1)) ** 2
    rng = np.random.default_rng(seed)
    ranks = standardised_ranks(target)
    r2, rho = np.empty((2, 1 + n_permutations, n_clips))
    in_sample = np.empty(n_clips)
    for part in _blocks(trajectories):
        x = _centred(trajectories[:, part])
        inverse, special, hat = _gram_inverse(x)
        size = len(x)
        # (clip, strength, permutation), the strengths as they are first.
        orders = np.concatenate(
            [
                np.broadcast_to(np.arange(n_strengths)[:, None, None], (n_strengths, 1, size)),
                permute_within_clips(np.arange(n_strengths), size, n_permutations, rng).swapaxes(0, 1),
            ],
            axis=1,
        ).transpose(2, 0, 1)
        orders = orders.astype(np.intp)
        y = centred[orders]
        dual = inverse @ y
        diagonal = np.diagonal(inverse, axis1=1, axis2=2)
        error = dual / np.maximum(diagonal, np.finfo(np.float64).tiny)[:, :, None]
        for i, clip in enumerate(special):
            leverage = np.diag(hat[i]) + 1.0 / n_strengths
            loose = leverage < 1 - 1e-8
            residual = y[clip] - hat[i] @ y[clip]
            error[clip, loose] = residual[loose] / (1.0 - leverage[loose])[:, None]
        r2[:, part] = 1.0 - (error**2).sum(axis=1).T / baseline
        predicted = y * (n_strengths / (n_strengths - 1)) - error
        rho[:, part] = _rank_correlation(predicted, ranks[orders]).T
        # Where nothing moves, what is predicted is the baseline.
        rho[:, part][:, ~x.any(axis=(1, 2))] = np.nan
        weights = dual[:, None, :, 0] @ x
        in_sample[part] = spearman_rows((x @ weights.swapaxes(1, 2))[..., 0], target) ** 2

    medians = np.median(r2, axis=1)
    moving = np.isfinite(in_sample)
    medians_rho = np.median(rho[:, moving], axis=1) if moving.any() else np.full(len(rho), np.nan)
    p_value, p_rho = (
        permutation_p_value(values[0], values[1:]) if n_permutations else np.nan
        for values in (medians, medians_rho)
    )
    return SampleWiseReport(in_sample, r2[0], rho[0], r2[1:], rho[1:], p_value, p_rho)


def _rank_correlation(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Spearman correlations along the middle axis of (clip, strength, k), given the others' `standardised_ranks`.

    Equal values count in any order: predictions of different strengths agree only by chance. Seven times as fast as
    average ranks, which counts for a thousand permutations of all clips.
    """
    order = np.argsort(values, axis=1)
    n = values.shape[1]
    places = standardised_ranks(np.arange(n))
    return np.einsum("s,csk->ck", places, np.take_along_axis(ranks, order, axis=1))


def random_walks(trajectories: np.ndarray, seed: int = 0) -> np.ndarray:
    """Control for smoothness: walks with the clips' own step lengths, each step in a random direction.

    Of the shape and type of the trajectories (strength, clip, feature). Each walk starts where its clip does; its steps
    are as long, and independent of one another and of the strength.

    References
    ----------
    S. Durlauf and P. Phillips, Trends versus random walks in time series analysis, Econometrica 56, 1988: a random walk
    correlates with time though it has no trend.

    Examples
    --------
    >>> line = np.arange(6.0)[:, None, None] * np.ones((1, 3, 200))
    >>> walks = random_walks(line)
    >>> np.allclose(np.linalg.norm(np.diff(walks, axis=0), axis=2), np.sqrt(200))
    True
    >>> bool((samplewise_report(walks, n_permutations=0).held_out > 0.8).all())
    True
    """
    trajectories, _ = check_trajectories(trajectories)
    rng = np.random.default_rng(seed)
    walks = np.empty_like(trajectories)
    walks[0] = trajectories[0]
    place = trajectories[0].astype(np.float64)
    for before, after, walk in zip(trajectories[:-1], trajectories[1:], walks[1:], strict=True):
        step = unit(rng.standard_normal(place.shape))
        step *= np.linalg.norm(after.astype(np.float64) - before, axis=1)[:, None]
        place += step
        walk[:] = place
    return walks


def transfer(trajectories: np.ndarray, songs: np.ndarray, seed: int = 0, n_jobs: int = 1) -> np.ndarray:
    """How well each clip's own direction orders the strengths of clips of other songs.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
    songs : array, shape (clip,)
        Song of each clip.
    seed : int
        Of the draw of the other clips that a direction is tried on, where there are more than fifty.
    n_jobs : int
        Threads; the result does not depend on it.

    Returns
    -------
    array, shape (clip,)
        Mean over clips of other songs of the Spearman correlation, with its sign, of their projections on the clip's
        direction and the strength: 1 if all share the direction, about 0 if each clip goes its own way. NaN for a clip
        that does not move or has no clip of another song to go with.

    Notes
    -----
    The sign is what makes it honest. A path that is merely smooth, projected on any direction, correlates with
    strength: the *squared* correlation of a random walk has a median of about 0.42, as often of either sign. Signed
    correlations average out over other clips, to within 0.1 for a single direction and 0.01 for the median over many.
    Predicting the strongest strengths from the weaker ones is blind to smoothness too, and needs no other clip; but it
    fails on a path that bends (half a circle scores 0), and with four strengths it is a matter of two points.
    """
    trajectories, _ = check_trajectories(trajectories)
    n_strengths, n_clips, n_features = trajectories.shape
    songs = np.asarray(songs)
    if songs.shape != (n_clips,):
        raise ValueError(f"songs must hold one label per clip ({n_clips}), not {songs.shape}")
    found = samplewise_directions(trajectories, n_jobs)
    rng = np.random.default_rng(seed)
    # Other clips anew for every few: all clips are heard, and each gather serves many directions.
    panels = [
        (slice(start, start + _PANEL), rng.choice(n_clips, min(_OTHERS, n_clips), replace=False))
        for start in range(0, n_clips, _PANEL)
    ]

    def tried(panel: tuple[slice, np.ndarray]) -> np.ndarray:
        mine, others = panel
        # From the weakest strength on: what stands still is then exactly constant.
        moved = trajectories[:, others].astype(np.float64) - trajectories[0, others]
        values = moved.reshape(-1, n_features) @ found[mine].T
        values = values.reshape(n_strengths, len(others), -1)
        rho = spearman_rows(values, np.arange(n_strengths)[:, None, None], axis=0)
        rho[songs[others][:, None] == songs[mine]] = np.nan
        known = np.isfinite(rho)
        with np.errstate(invalid="ignore"):
            return np.where(known, rho, 0.0).sum(axis=0) / known.sum(axis=0)

    return np.concatenate(each(tried, panels, n_jobs))
