"""Chapter 4: how far embeddings move, and whether in order of strength."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from aesens.analysis.distances import (
    cosine_distance,
    discontinuity,
    growth,
    jump_ratio,
    l2_distance,
    monotonicity,
    visible_jump,
)
from aesens.analysis.frechet import frechet_curve, frechet_floor
from aesens.analysis.parallel import each
from aesens.analysis.statistics import (
    bootstrap_songs,
    derived_seed,
    joint_orders,
    mean_over_songs,
    permutation_p_value,
    smallest_p_value,
)

__all__ = ["distances", "protocols", "response"]


def distances(
    sweep, *, seed: int, measures: Sequence[str] = ("cosine", "l2", "frechet"), n_jobs: int = 1
) -> pd.DataFrame:
    """Distance of the effected from the clean clips at each strength.

    Parameters
    ----------
    measures : sequence of str
        Which of them.

    Returns
    -------
    pandas.DataFrame
        Columns ``strength``, ``parameter``, ``measure`` (``cosine``, ``l2`` in units of the median distance of two
        clean clips, ``frechet`` in units of the median distance of two song-disjoint halves of the clean set),
        ``value``, ``low``, ``high``, ``songs`` (95 %, Student's t over songs; the Fréchet distance, one number a set,
        has no interval).

    Notes
    -----
    The Fréchet distance of the clean set from itself is 0; 1 is that of two halves of other songs. Where clips are
    fewer than features, covariances are rank-deficient and both depend on the number of clips: models and effects
    compare on the same clips, runs of different size do not.
    """
    by_clip = {"cosine": cosine_distance, "l2": l2_distance}
    base = {"strength": np.arange(len(sweep.parameters)), "parameter": sweep.parameters}
    parts = []
    for name, distance in by_clip.items():
        if name in measures:
            values = distance(sweep.clean, sweep.trajectories)
            interval = mean_over_songs(values.T, sweep.songs, (0.0, np.inf))
            parts.append(pd.DataFrame({**base, "measure": name, **interval._asdict()}))
    if "frechet" in measures:
        floor = np.median(frechet_floor(sweep.clean, sweep.songs, seed=seed, n_jobs=n_jobs))
        curve = frechet_curve(sweep.clean, sweep.trajectories, n_jobs) / floor
        parts.append(
            pd.DataFrame({**base, "measure": "frechet", "estimate": curve, "songs": len(set(sweep.songs))})
        )
    return pd.concat(parts, ignore_index=True).rename(columns={"estimate": "value"})


def protocols(sweeps: Iterable[tuple], *, seed: int) -> pd.DataFrame:
    """Distance from the clean clips under each protocol: what the file between effect and network does.

    Parameters
    ----------
    sweeps : iterable of (str, Sweep)
        Protocol and sweep, of `aesens.study.Study.both_protocols`.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``protocol`` and, for the L2 distance, those of `distances`.
    """
    parts = []
    for protocol, sweep in sweeps:
        table = distances(sweep, measures=["l2"], seed=seed)
        about = {"model": sweep.model, "pretrained": sweep.pretrained, "effect": sweep.effect.name}
        parts.append(table.assign(**about, protocol=protocol).drop(columns="measure"))
    table, first = pd.concat(parts, ignore_index=True), ["model", "pretrained", "effect", "protocol"]
    return table[[*first, *table.columns.difference(first, sort=False)]]


def response(sweep, *, n_permutations: int, n_resamples: int, seed: int, n_jobs: int = 1) -> pd.DataFrame:
    """Whether the distance grows with strength, and whether it grows in jumps.

    Returns
    -------
    pandas.DataFrame
        One row, with intervals over ``songs`` (a range below `aesens.analysis.statistics.MINIMUM_SONGS`) and the number
        of ``strengths``:

        - ``moved``, ``moved_low``, ``moved_high``: mean L2 distance from the clean clips at the strength where it is
          largest on the *other* half of the songs, in units of the median distance of two clean clips;
        - ``spearman`` with limits: mean over clips of the Spearman correlation of cosine distance and departure from
          the identity; ``spearman_null``, the 95 % quantile over all orders of the strengths, one for all clips (or
          `n_permutations` of them), ``p``, the share of orders that reach the true one, and ``p_floor``, the smallest
          that it could be;
        - ``kendall``, its mean over clips;
        - ``largest_step``, ``onset_jump``: medians over clips of the longest step and the onset in median steps;
        - ``jump`` with limits: the median over clips of `aesens.analysis.distances.jump_ratio`, in which smooth
          acceleration is no jump; ``jump_visible``, the share of an otherwise even path that a step must carry for its
          ratio to be that of claim C2, five.

    Notes
    -----
    The strongest strength of the same clips would be the largest of several noisy means. A clip that never moves counts
    with a correlation of 0, since its distance does not grow; one whose embedding is zero somewhere has no cosine
    distance there and is left out of correlations and null alike.
    """
    distance = cosine_distance(sweep.clean, sweep.trajectories)
    order = sweep.effect.departure(sweep.parameters)
    inside = sweep.effect.identity_inside
    paths = sweep.trajectories, sweep.clean, inside
    places = np.array([np.abs(sweep.effect.grid - value).argmin() for value in sweep.parameters])

    def jumps():
        jump = jump_ratio(*paths, places)
        interval = bootstrap_songs(
            lambda clip: np.median(jump[clip]), sweep.songs, n_resamples, seed=seed, by="indices"
        )
        return discontinuity(*paths), interval

    def movement():
        return mean_over_songs(_movement(sweep), sweep.songs, (0.0, np.inf))

    (steps, jump), moved = each(lambda part: part(), (jumps, movement), n_jobs)
    clips = monotonicity(distance, order).fillna(0.0)
    clips[~np.isfinite(distance).all(axis=0)] = np.nan
    spearman = mean_over_songs(clips["spearman"], sweep.songs, (-1.0, 1.0))
    own = derived_seed(seed, "response", sweep.model, sweep.effect.name)
    orders = joint_orders(len(order), n_permutations, own)
    null = growth(distance, order, orders)
    return pd.DataFrame(
        [
            {
                "songs": moved.songs,
                "strengths": len(order),
                "moved": moved.estimate,
                "moved_low": moved.low,
                "moved_high": moved.high,
                "spearman": spearman.estimate,
                "spearman_low": spearman.low,
                "spearman_high": spearman.high,
                "spearman_null": np.quantile(null, 0.95),
                "p": permutation_p_value(null[0], null[1:]),
                "p_floor": smallest_p_value(orders, order),
                "kendall": clips["kendall"].mean(),
                "largest_step": steps["largest_over_median"].median(),
                "onset_jump": steps["onset_over_median"].median(),
                "jump": jump.estimate,
                "jump_low": jump.low,
                "jump_high": jump.high,
                "jump_visible": visible_jump(places, inside),
            }
        ]
    )


def _movement(sweep) -> np.ndarray:
    """L2 distance of each clip (clip,) at the strength where that of the other half of the songs is largest."""
    lengths = l2_distance(sweep.clean, sweep.trajectories)
    # Every other song, so that both halves have all instruments where songs are in their order.
    half = np.unique(sweep.songs, return_inverse=True)[1] % 2 == 0
    if half.all():
        return lengths[lengths.mean(axis=1).argmax()]
    first, second = (lengths[:, side].mean(axis=1).argmax() for side in (half, ~half))
    return np.where(half, lengths[second], lengths[first])
