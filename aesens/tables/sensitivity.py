"""Chapter 4: how far embeddings move, and whether in order of strength."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from aesens.analysis.distances import (
    cosine_distance,
    discontinuity,
    frechet_curve,
    frechet_floor,
    jump_ratio,
    l2_distance,
    monotonicity,
    monotonicity_null,
)
from aesens.analysis.parallel import each
from aesens.analysis.statistics import bootstrap_songs

__all__ = ["distances", "protocols", "response"]


def distances(
    sweep, *, resamples: int, seed: int, measures: Sequence[str] = ("cosine", "l2", "frechet"), jobs: int = 1
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
        ``value``, ``low``, ``high`` (95 %, over songs; the Fréchet distance, one number a set, has none).

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
            interval = bootstrap_songs(values.T, sweep.songs, resamples, seed=seed)
            parts.append(pd.DataFrame({**base, "measure": name, **interval._asdict()}))
    if "frechet" in measures:
        floor = np.median(frechet_floor(sweep.clean, sweep.songs, seed=seed, jobs=jobs))
        curve = frechet_curve(sweep.clean, sweep.trajectories, jobs) / floor
        parts.append(pd.DataFrame({**base, "measure": "frechet", "estimate": curve}))
    return pd.concat(parts, ignore_index=True).rename(columns={"estimate": "value"})


def protocols(sweeps: Iterable[tuple], *, resamples: int, seed: int) -> pd.DataFrame:
    """Distance from the clean clips under each protocol: what the file between effect and network does.

    Parameters
    ----------
    sweeps : iterable of (str, Sweep)
        Protocol and sweep, of `aesens.study.Study.both_protocols`.
    resamples, seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``pretrained``, ``effect``, ``protocol`` and, for the L2 distance, those of `distances`.
    """
    parts = []
    for protocol, sweep in sweeps:
        table = distances(sweep, measures=["l2"], resamples=resamples, seed=seed)
        about = {"model": sweep.model, "pretrained": sweep.pretrained, "effect": sweep.effect.name}
        parts.append(table.assign(**about, protocol=protocol).drop(columns="measure"))
    table, first = pd.concat(parts, ignore_index=True), ["model", "pretrained", "effect", "protocol"]
    return table[[*first, *table.columns.difference(first, sort=False)]]


def response(sweep, *, permutations: int, resamples: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Whether the distance grows with strength, and whether it grows in jumps.

    Returns
    -------
    pandas.DataFrame
        One row: ``moved``, the mean L2 distance from the clean clips at the strength where it is largest, in units of
        the median distance of two clean clips, with its interval; mean Spearman and Kendall correlations of the cosine
        distance with the departure from the identity, the former with its interval, the 95 % quantile of its
        permutation null, its distance from the null's mean (``above_null``) and p-value; medians over clips of the
        longest step and the onset jump in units of the median step; ``jump``, with its interval.

    Notes
    -----
    A clip that never moves counts with a correlation of 0, since its distance does not grow; a clip whose embedding is
    zero somewhere has no cosine distance there and is left out of correlations and null alike. ``jump`` is the median
    over clips of `aesens.analysis.distances.jump_ratio`, in which smooth acceleration is no jump.
    """
    distance = cosine_distance(sweep.clean, sweep.trajectories)
    order = sweep.effect.departure(sweep.parameters)
    paths = sweep.trajectories, sweep.clean, sweep.effect.identity_inside
    places = np.array([np.abs(sweep.effect.grid - value).argmin() for value in sweep.parameters])

    def movement():
        lengths = l2_distance(sweep.clean, sweep.trajectories)
        return bootstrap_songs(lengths[lengths.mean(axis=1).argmax()], sweep.songs, resamples, seed=seed)

    def growth():
        exists = np.isfinite(distance).all(axis=0)
        clips = monotonicity(distance, order).fillna(0.0)[exists].reindex(range(len(exists)))
        return clips, bootstrap_songs(clips["spearman"].to_numpy(), sweep.songs, resamples, seed=seed)

    def jumps():
        jump = jump_ratio(*paths, places)
        interval = bootstrap_songs(
            lambda clip: np.median(jump[clip]), sweep.songs, resamples, seed=seed, by="indices"
        )
        return discontinuity(*paths), interval

    def chance():
        return monotonicity_null(distance, order, permutations, seed)

    parts = each(lambda part: part(), (chance, jumps, growth, movement), jobs)
    (_, null, p_value), (steps, interval), (clips, spearman), moved = parts
    return pd.DataFrame(
        [
            {
                "moved": moved.estimate,
                "moved_low": moved.low,
                "moved_high": moved.high,
                "spearman": spearman.estimate,
                "spearman_low": spearman.low,
                "spearman_high": spearman.high,
                "spearman_null": np.quantile(null, 0.95),
                "above_null": spearman.estimate - null.mean(),
                "p": p_value,
                "kendall": clips["kendall"].mean(),
                "largest_step": steps["largest_over_median"].median(),
                "onset_jump": steps["onset_over_median"].median(),
                "jump": interval.estimate,
                "jump_low": interval.low,
                "jump_high": interval.high,
            }
        ]
    )
