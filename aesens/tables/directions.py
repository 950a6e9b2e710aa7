"""Chapter 5: one direction an instrument, and what can be read along it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aesens.analysis.cca import GlobalCCA, global_direction_report
from aesens.analysis.decoding import decode_strength
from aesens.analysis.parallel import each
from aesens.analysis.statistics import (
    bootstrap_songs,
    derived_seed,
    holm,
    permutation_p_value,
    weighted_spearman,
)
from aesens.tables.common import POOLED, instrument_sides

__all__ = ["decoding", "direction_points", "global_directions"]


def global_directions(
    sweep, *, permutations: int, seed: int, resamples: int = 1000, jobs: int = 1
) -> pd.DataFrame:
    """Global CCA direction of each instrument, in-sample and on held-out songs.

    Returns
    -------
    pandas.DataFrame
        One row an instrument: squared Spearman correlations ``in_sample`` and ``held_out``, the latter with ``low`` and
        ``high`` (95 %, over test songs, the direction as it is), the 95 % quantile of its null and the distance from
        the null's mean, the predictive ``held_out_r2``, p-value, and whether it is below 0.05 after Holm's correction
        over the instruments. Instruments have shuffles of their own.
    """

    def row(side):
        code, train, test = side
        report = global_direction_report(
            sweep.trajectories[:, train],
            sweep.trajectories[:, test],
            n_permutations=permutations,
            seed=derived_seed(seed, "global_directions", sweep.model, sweep.effect.name, code),
        )
        interval = bootstrap_songs(
            lambda weights: _squared_spearman(report.projections, sweep.parameters, weights),
            sweep.songs[test],
            resamples,
            seed=seed,
        )
        return {
            "instrument": code,
            "train_songs": len(set(sweep.songs[train])),
            "test_songs": len(set(sweep.songs[test])),
            "in_sample": report.in_sample,
            "held_out": report.held_out,
            "low": interval.low,
            "high": interval.high,
            "null": np.quantile(report.null_held_out, 0.95),
            "above_null": report.held_out - report.null_held_out.mean(),
            "held_out_r2": report.held_out_r2,
            "p": report.p_held_out,
        }

    table = pd.DataFrame(each(row, instrument_sides(sweep), jobs))
    table["significant"] = holm(table["p"].to_numpy()) < 0.05
    return table


def _squared_spearman(projections, parameters, weights):
    """Squared rank correlations (k,) of projections (strength, clip) and parameters, clips weighted (k, clip)."""
    strengths, clips = projections.shape
    rows = projections.ravel(), np.repeat(parameters, clips)
    # A few resamples at a time: each takes a number for every row.
    parts = np.array_split(weights, 1 + weights.shape[0] * projections.size // 2_000_000)
    return np.concatenate([weighted_spearman(*rows, np.tile(part, strengths)) ** 2 for part in parts])


def decoding(sweep, *, permutations: int, resamples: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """How well strength is decoded linearly from single embeddings of held-out songs.

    Returns
    -------
    pandas.DataFrame
        One row an instrument, whose ridge regression is fitted on its training clips, and a last one
        (``instrument == "all"``) of the same regressions with their test clips pooled: ``test_songs``, ``r2`` with
        ``low`` and ``high`` (95 %, over test songs), ``spearman`` of decoded and true strength (the instruments' mean
        in the last row), ``r2_null`` and ``spearman_null``, the 95 % quantiles of their permutation nulls,
        ``above_null`` (R^2 less the mean of its null), ``p``, and ``significant``, whether the instrument's is below
        0.05 after Holm's correction over the instruments (of the last row, whether its only one is). Instruments have
        shuffles of their own, so that those of the last row are independent from one to the next.

    Notes
    -----
    Whether a direction exists is not a question to an estimator without a penalty: with few independent clips for many
    features the CCA fits every wiggle of the training trajectories, and its R^2 on other songs falls far below zero
    even where all clips move along one line in unequal steps. The ridge penalty, chosen by leaving out training songs,
    is what a direction is worth on songs that it has not seen.
    """
    sides = list(instrument_sides(sweep))

    def report_of(side):
        code, train, test = side
        return decode_strength(
            sweep.trajectories[:, train],
            sweep.trajectories[:, test],
            sweep.songs[train],
            n_permutations=permutations,
            seed=derived_seed(seed, "decoding", sweep.model, sweep.effect.name, code),
        )

    reports = each(report_of, sides, jobs)
    joined = {name: np.concatenate([getattr(r, name) for r in reports]) for name in ("sse", "sst")}
    whole = {
        "null_r2": 1 - np.sum([r.null_sse for r in reports], axis=0) / joined["sst"].sum(),
        "null_spearman": np.mean([r.null_spearman for r in reports], axis=0),
        "spearman": np.mean([r.spearman for r in reports]),
    }
    parts = [
        (code, sweep.songs[test], vars(report))
        for (code, _, test), report in zip(sides, reports, strict=True)
    ]
    parts.append((POOLED, np.concatenate([songs for _, songs, _ in parts]), joined | whole))
    table = pd.DataFrame(_decoding_row(name, songs, found, resamples, seed) for name, songs, found in parts)
    corrected = np.append(holm(table["p"].to_numpy()[:-1]), table["p"].iloc[-1])
    return table.assign(significant=corrected < 0.05)


def _decoding_row(name, songs, found, resamples, seed):
    error, total = found["sse"], found["sst"]
    r2 = bootstrap_songs(
        lambda weights: 1 - (weights @ error) / (weights @ total), songs, resamples, seed=seed
    )
    null, draws = found["null_r2"], len(found["null_r2"])
    return {
        "instrument": name,
        "test_songs": len(set(songs)),
        "r2": r2.estimate,
        "low": r2.low,
        "high": r2.high,
        "spearman": found["spearman"],
        "r2_null": np.quantile(null, 0.95) if draws else np.nan,
        "spearman_null": np.quantile(found["null_spearman"], 0.95) if draws else np.nan,
        "above_null": r2.estimate - null.mean() if draws else np.nan,
        "p": permutation_p_value(r2.estimate, null) if draws else np.nan,
    }


def direction_points(sweep, *, instrument: str) -> pd.DataFrame:
    """Clips of one instrument on its global CCA direction.

    Parameters
    ----------
    instrument : str

    Returns
    -------
    pandas.DataFrame
        Columns ``clip``, ``split``, ``parameter``, ``projection``.
    """
    mine = sweep.take(sweep.instruments == instrument)
    fitted = GlobalCCA().fit(mine.trajectories[:, mine.train])
    values = fitted.transform(mine.trajectories)
    strengths, clips = values.shape
    return pd.DataFrame(
        {
            "clip": np.tile(mine.clips.index, strengths),
            "split": np.tile(mine.clips["split"], strengths),
            "parameter": np.repeat(mine.parameters, clips),
            "projection": values.ravel(),
        }
    )
