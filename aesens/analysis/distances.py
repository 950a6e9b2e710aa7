"""How far an effect moves an embedding, and how regularly.

Conventions: `clean` is (clip, feature), `trajectories` is (strength, clip, feature) with the strengths in order, and
a *step* is the L2 distance between neighbouring strengths of one clip. Distances are computed in float64. A single
distance does not tell how an embedding reacts (S. Srivastava et al., A study on robustness to perturbations for
representations of environmental sound, EUSIPCO 2022), hence cosine, L2 and Fréchet (`aesens.analysis.frechet`) side by
side.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from aesens.analysis.ranks import spearman_rows, standardised_ranks
from aesens.analysis.statistics import check_trajectories

__all__ = [
    "clean_scale",
    "cosine_distance",
    "discontinuity",
    "growth",
    "jump_ratio",
    "l2_distance",
    "monotonicity",
    "visible_jump",
]


def cosine_distance(clean: np.ndarray, trajectories: np.ndarray) -> np.ndarray:
    """Cosine distance of every effected embedding from its clean clip.

    Parameters
    ----------
    clean : array, shape (clip, feature)
    trajectories : array, shape (strength, clip, feature)

    Returns
    -------
    array, shape (strength, clip)
        One minus the cosine, in [0, 2]; NaN where an embedding is zero. It is computed as half the squared
        distance of the unit vectors, which keeps its digits when the two nearly coincide.

    Examples
    --------
    >>> cosine_distance([[1.0, 0.0]], [[[2.0, 0.0]], [[0.0, 3.0]], [[-1.0, 0.0]]]).ravel().tolist()
    [0.0, 1.0, 2.0]
    """
    trajectories, clean = check_trajectories(trajectories, clean)
    reference = _unit(clean.astype(np.float64))
    return np.stack(
        [0.5 * ((_unit(x.astype(np.float64)) - reference) ** 2).sum(axis=-1) for x in trajectories]
    )


def _unit(x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)


def l2_distance(clean: np.ndarray, trajectories: np.ndarray) -> np.ndarray:
    """L2 distance of every effected embedding from its clean clip, in units of `clean_scale`.

    Of clean clips (clip, feature) and trajectories (strength, clip, feature): (strength, clip).

    Examples
    --------
    >>> l2_distance([[0.0, 0.0], [0.0, 2.0]], [[[3.0, 4.0], [0.0, 2.0]]]).tolist()
    [[2.5, 0.0]]
    """
    trajectories, clean = check_trajectories(trajectories, clean)
    scale = clean_scale(clean)
    if not scale > 0:
        raise ValueError(f"the scale of distances must be positive, not {scale}: are all clean clips alike?")
    reference = clean.astype(np.float64)
    return np.stack([np.linalg.norm(x - reference, axis=-1) for x in trajectories]) / scale


def clean_scale(clean: np.ndarray) -> float:
    """Median L2 distance between two different clean clips (clip, feature)."""
    clean = np.asarray(clean, dtype=np.float64)
    if clean.ndim != 2 or len(clean) < 2:
        raise ValueError(
            f"the scale needs at least two clean clips of shape (clip, feature), not {clean.shape}"
        )
    centred = clean - clean.mean(axis=0)
    gram = centred @ centred.T
    rows, columns = np.triu_indices(len(clean), 1)
    squared = np.diag(gram)[rows] + np.diag(gram)[columns] - 2 * gram[rows, columns]
    return float(np.median(np.sqrt(np.maximum(squared, 0.0))))


def kendall_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kendall's tau-b along the last axis, as `scipy.stats.kendalltau` gives it; NaN where an input is constant."""
    x, y = rankdata(x, axis=-1), rankdata(y, axis=-1)
    i, j = np.triu_indices(x.shape[-1], 1)
    a, b = np.sign(x[..., i] - x[..., j]), np.sign(y[..., i] - y[..., j])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def monotonicity(distance: np.ndarray, order: np.ndarray) -> pd.DataFrame:
    """How regularly the distance from the clean clip grows with strength, clip by clip.

    Parameters
    ----------
    distance : array, shape (strength, clip)
        Distances from the clean clip.
    order : array, shape (strength,)
        What the distance should grow with: the strength, or for gain, whose identity lies inside its grid, the
        absolute gain. Ties are allowed.

    Returns
    -------
    DataFrame, one row per clip
        ``spearman`` and ``kendall`` (tau-b); NaN for a clip whose distance is constant.
    """
    distance, order = _check_distance(distance, order)
    return pd.DataFrame(
        {"spearman": spearman_rows(distance.T, order), "kendall": kendall_rows(distance.T, order)}
    ).rename_axis("clip")


def growth(distance: np.ndarray, order: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Mean Spearman correlation of distance and strength, for the true order of the strengths and for others.

    Parameters
    ----------
    distance : array, shape (strength, clip)
        NaN where a distance does not exist.
    order : array, shape (strength,)
        As in `monotonicity`.
    orders : array of int, shape (k, strength)
        Of `aesens.analysis.statistics.joint_orders`: one order for all clips, the true one first.

    Returns
    -------
    array, shape (k,)
        Mean over clips. A clip whose distance is constant counts with 0: it does not grow. One without a distance at
        some strength is left out. NaN if there is no other.
    """
    distance, order = _check_distance(distance, order)
    ranks = np.nan_to_num(standardised_ranks(distance.T[np.isfinite(distance).all(axis=0)]))
    wanted = standardised_ranks(order)[np.asarray(orders)]
    return wanted @ ranks.mean(axis=0) if len(ranks) else np.full(len(wanted), np.nan)


def _check_distance(distance: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distance, order = np.asarray(distance, dtype=np.float64), np.asarray(order, dtype=np.float64)
    if distance.ndim != 2 or order.shape != distance.shape[:1] or len(order) < 2:
        raise ValueError(
            f"distance (strength, clip) and order (strength,) do not fit: {distance.shape} and {order.shape}"
        )
    return distance, order


def discontinuity(trajectories: np.ndarray, clean: np.ndarray, identity_inside: bool = False) -> pd.DataFrame:
    """Largest step of a trajectory and the jump onto it, against its typical step.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
        At least two strengths, in order.
    clean : array, shape (clip, feature)
    identity_inside : bool
        Whether the effect does nothing somewhere inside the grid, as gain does at 0 dB. The jump from the clean clip
        to the first strength means nothing then.

    Returns
    -------
    DataFrame, one row per clip
        ``largest_over_median`` (at least 1), ``position`` (the largest step leads from this strength to the next) and
        ``onset_over_median`` (the distance from the clean clip to the weakest strength against the median step; NaN if
        `identity_inside`). Where more than half of the steps are zero, the ratios of a moving clip are infinite; a clip
        that never moves has NaN and position -1.

    Examples
    --------
    >>> table = discontinuity([[[1.0]], [[2.0]], [[3.0]], [[8.0]]], [[-1.0]])
    >>> table[["largest_over_median", "position", "onset_over_median"]].to_numpy().tolist()
    [[5.0, 2.0, 2.0]]
    """
    trajectories, clean = check_trajectories(trajectories, clean)
    if len(trajectories) < 2:
        raise ValueError("discontinuity needs at least two strengths")
    pairs = zip(trajectories[:-1], trajectories[1:], strict=True)
    steps = np.stack([np.linalg.norm(after.astype(np.float64) - before, axis=-1) for before, after in pairs])
    largest, median = steps.max(axis=0), np.median(steps, axis=0)
    onset = np.linalg.norm(trajectories[0].astype(np.float64) - clean, axis=-1)
    if identity_inside:
        onset = np.full_like(onset, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "largest_over_median": largest / median,
            "position": np.where(largest > 0, steps.argmax(axis=0), -1),
            "onset_over_median": onset / median,
        }
    return pd.DataFrame(columns).rename_axis("clip")


def jump_ratio(
    trajectories: np.ndarray,
    clean: np.ndarray,
    identity_inside: bool = False,
    places: np.ndarray | None = None,
) -> np.ndarray:
    r"""Longest step of each clip against what smooth growth would lead one to expect there.

    The onset from the clean clip counts as a step, and what counts as one step is the grid's matter: a jump is one at
    the resolution of these strengths.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
        At least two strengths, in order.
    clean : array, shape (clip, feature)
    identity_inside : bool
        As in `discontinuity`: the onset does not count then.
    places : array, shape (strength,), optional
        Where the strengths stand in the effect's grid, ascending; evenly by default. A step counts by its length over
        the distance of its ends. The clean clip is taken to stand as far before the first strength as the second
        stands behind it.

    Returns
    -------
    array, shape (clip,)
        The largest, over steps, of a step's length in units of the longest of: the clip's median step; the step's
        neighbours; and for the first and the last step, which have one neighbour only, their geometric extrapolation
        (Notes). At least 1, the value of a clip that never moves, and at most 1e6, where nothing else moves. NaN where
        there are fewer than three steps: too few for one to stand out.

    Notes
    -----
    A path whose steps grow smoothly has a longest step far above the median, the more so the coarser the grid, but no
    jump. Inside the sweep such a step has a neighbour that is longer still; at the end it has not. So the last of K
    steps is expected to be as long as its neighbour times the growth that led there,
    :math:`s_{K-2} \max(1, s_{K-2}/s_{K-3})` on an even grid, and the first step likewise backwards; on an uneven one,
    growth is exponential in place. Where the one step that follows on no movement at all is the last but one, the last
    cannot be told from acceleration and does not count. Steps shorter than what rounding the embeddings to their
    precision can make are taken as none.

    Examples
    --------
    Steps of 1, 1, 6, 1; steps that grow by a factor of 4; and even ones before one of 24:

    >>> jump_ratio([[[1.0]], [[2.0]], [[8.0]], [[9.0]]], [[0.0]]).tolist()
    [6.0]
    >>> jump_ratio([[[1.0]], [[5.0]], [[21.0]], [[85.0]]], [[0.0]]).tolist()
    [1.0]
    >>> jump_ratio([[[1.0]], [[2.0]], [[3.0]], [[27.0]]], [[0.0]]).tolist()
    [24.0]
    """
    trajectories, clean = check_trajectories(trajectories, clean)
    places = _with_onset(np.arange(len(trajectories)) if places is None else places, identity_inside)
    if len(places) != len(trajectories) + (not identity_inside):
        raise ValueError(f"places must be {len(trajectories)} ascending numbers, one a strength")
    points = trajectories if identity_inside else [clean, *trajectories]
    pairs = zip(points[:-1], points[1:], strict=True)
    steps = np.stack([np.linalg.norm(after.astype(np.float64) - before, axis=-1) for before, after in pairs])
    if len(steps) < 3:
        return np.full(steps.shape[1], np.nan)
    # Each coordinate is stored to half a unit in the last place: a step is wrong by this much at most.
    longest = np.max([np.linalg.norm(x.astype(np.float64), axis=-1) for x in points], axis=0)
    steps[steps <= np.finfo(trajectories.dtype).eps * longest] = 0.0
    steps /= np.diff(places)[:, None]
    middles = (places[:-1] + places[1:]) / 2
    around = [_next_step(steps[2:0:-1], middles[2::-1]), *steps, _next_step(steps[-3:-1], middles[-3:])]
    expected = np.maximum(np.maximum(around[:-2], around[2:]), np.median(steps, axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(np.nan_to_num(steps / expected, nan=0.0).max(axis=0), 1.0, 1e6)


def visible_jump(places: np.ndarray, identity_inside: bool = False, ratio: float = 5.0) -> float:
    """The share of its whole path that one step of an otherwise even path must carry to have a `jump_ratio`.

    Parameters
    ----------
    places : array, shape (strength,)
    identity_inside : bool
        As in `jump_ratio`.
    ratio : float

    Returns
    -------
    float
        A step of a larger share is found wherever it lies. NaN where there are fewer than three steps.

    Examples
    --------
    >>> round(visible_jump(np.arange(6)), 2), round(visible_jump(np.arange(31)), 2)
    (0.5, 0.14)
    """
    steps = np.diff(_with_onset(places, identity_inside))
    return float((ratio * steps / (steps.sum() + (ratio - 1) * steps)).max()) if len(steps) > 2 else np.nan


def _with_onset(places: np.ndarray, identity_inside: bool) -> np.ndarray:
    """Places of the strengths, and that of the clean clip in front unless it lies among them."""
    places = np.asarray(places, dtype=np.float64)
    if places.ndim != 1 or len(places) < 2 or not (np.diff(places) > 0).all():
        raise ValueError(
            f"places must be ascending numbers, one for each of two or more strengths, not {places}"
        )
    return places if identity_inside else np.insert(places, 0, 2 * places[0] - places[1])


def _next_step(steps: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """What follows two steps (2, clip) if their growth goes on; `middles` has the places of the two and the next."""
    with np.errstate(invalid="ignore", divide="ignore"):
        # From none to none is no growth, hence fmax.
        growth = np.fmax(steps[1] / steps[0], 1.0) ** ((middles[2] - middles[1]) / (middles[1] - middles[0]))
        return np.where(steps[1] > 0, steps[1] * growth, 0.0)
