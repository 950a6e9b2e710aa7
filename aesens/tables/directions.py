"""Chapter 5: one direction an instrument, and what can be read along it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from aesens.analysis.cca import GlobalCCA, global_direction_report
from aesens.analysis.decoding import decode_strength
from aesens.analysis.parallel import each
from aesens.analysis.ranks import weighted_spearman
from aesens.analysis.statistics import (
    bootstrap_songs,
    derived_seed,
    holm,
    joint_orders,
    mean_over_songs,
    permutation_p_value,
    smallest_p_value,
)
from aesens.tables.common import POOLED, instrument_sides

__all__ = ["decoding", "direction_points", "global_directions"]


def global_directions(
    sweep, *, n_permutations: int, seed: int, n_resamples: int = 1000, n_jobs: int = 1
) -> pd.DataFrame:
    """Global CCA direction of each instrument, in-sample and on held-out songs.

    Returns
    -------
    pandas.DataFrame
        One row an instrument: squared Spearman correlations ``in_sample`` and ``held_out``, the latter with ``low`` and
        ``high`` over ``test_songs``, the direction as it is (95 %, BCa; a range below
        `aesens.analysis.statistics.MINIMUM_SONGS`); ``null``, the 95 % quantile over orders of the strengths, the same
        for training and test clips; the predictive ``held_out_r2``; ``p``, the share of orders that reach the true one,
        ``p_floor``, the smallest that it could be, and ``significant``, whether it is below 0.05 after Holm's
        correction over the instruments, which it cannot be where the floor times their number is not.
    """
    orders = _orders(sweep, "global_directions", n_permutations, seed)

    def row(side):
        code, train, test = side
        report = global_direction_report(sweep.trajectories[:, train], sweep.trajectories[:, test], orders)
        interval = bootstrap_songs(
            lambda weights: _squared_spearman(report.projections, sweep.parameters, weights),
            sweep.songs[test],
            n_resamples,
            seed=seed,
        )
        return {
            "instrument": code,
            "train_songs": len(set(sweep.songs[train])),
            "test_songs": interval.songs,
            "in_sample": report.in_sample,
            "held_out": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "null": np.quantile(report.held_out, 0.95),
            "held_out_r2": report.held_out_r2,
            "p": _p_value(report.held_out, orders),
            "p_floor": smallest_p_value(orders),
        }

    table = pd.DataFrame(each(row, instrument_sides(sweep), n_jobs))
    table["significant"] = holm(table["p"].to_numpy()) < 0.05
    return table


def _orders(sweep, name, n_permutations, seed):
    """Orders of the strengths that all instruments share, drawn anew for each model and effect."""
    own = derived_seed(seed, name, sweep.model, sweep.effect.name)
    return joint_orders(len(sweep.parameters), n_permutations, own)


def _p_value(statistic, orders):
    """Share of the orders that reach the first; an order ties with its reverse, whatever rounding makes of it."""
    p = permutation_p_value(statistic[0], statistic[1:])
    return np.maximum(p, smallest_p_value(orders))


def _squared_spearman(projections, parameters, weights):
    """Squared rank correlations (k,) of projections (strength, clip) and parameters, clips weighted (k, clip)."""
    strengths, clips = projections.shape
    rows = projections.ravel(), np.repeat(parameters, clips)
    # A few resamples at a time: each takes a number for every row.
    parts = np.array_split(weights, 1 + weights.shape[0] * projections.size // 2_000_000)
    return np.concatenate([weighted_spearman(*rows, np.tile(part, strengths)) ** 2 for part in parts])


def decoding(sweep, *, n_permutations: int, n_resamples: int, seed: int, n_jobs: int = 1) -> pd.DataFrame:
    """Strength decoded linearly from single embeddings of held-out songs: its order within each clip, and its value.

    Returns
    -------
    pandas.DataFrame
        One row an instrument, whose ridge regression is fitted on its training clips, and a last one
        (``instrument == "all"``) of the same regressions with their test clips pooled. With 95 % intervals over
        ``test_songs`` (a range below `aesens.analysis.statistics.MINIMUM_SONGS`):

        - ``rho``, ``rho_low``, ``rho_high``: mean over clips of the Spearman correlation within the clip of decoded and
          true strength, which asks for their order only; ``rho_null``, its 95 % quantile over orders of the strengths,
          the same for all clips, instruments, training and test; ``p``, the share of orders that reach the true one,
          ``p_floor``, the smallest that it could be, and ``significant``: below 0.05, of an instrument after Holm's
          correction over the instruments;
        - ``share``, ``share_low``, ``share_high``: of the displacement energy, the part along the regression's
          direction;
        - ``r2``, ``low``, ``high``: R^2 of the strength, which asks where a single embedding stands.

    Notes
    -----
    Whether a direction exists is not a question to an estimator without a penalty: with few independent clips for many
    features the CCA fits every wiggle of the training trajectories, and its R^2 on other songs falls far below zero
    even where all clips move along one line in unequal steps. The ridge penalty, chosen by leaving out training songs,
    is what a direction is worth on songs that it has not seen. Where clips start in different places, ``rho`` is high
    and ``r2`` is not.
    """
    sides = list(instrument_sides(sweep))
    orders = _orders(sweep, "decoding", n_permutations, seed)

    def report_of(side):
        _, train, test = side
        parts = sweep.trajectories[:, train], sweep.trajectories[:, test], sweep.clean[test]
        return decode_strength(*parts, sweep.songs[train], orders)

    reports = each(report_of, sides, n_jobs)
    parts = [
        (code, sweep.songs[test], report) for (code, _, test), report in zip(sides, reports, strict=True)
    ]
    joined = {
        name: np.concatenate([getattr(report, name) for report in reports], axis=-1)
        for name in ("rho", "r2", "along", "energy")
    }
    parts.append((POOLED, np.concatenate([songs for _, songs, _ in parts]), SimpleNamespace(**joined)))
    table = pd.DataFrame(_decoding_row(*part, orders, n_resamples, seed) for part in parts)
    corrected = np.append(holm(table["p"].to_numpy()[:-1]), table["p"].iloc[-1])
    return table.assign(significant=corrected < 0.05)


def _decoding_row(name, songs, found, orders, n_resamples, seed):
    statistic = found.rho.mean(axis=1)
    rho, r2 = (
        mean_over_songs(found.rho[0], songs, (-1.0, 1.0)),
        mean_over_songs(found.r2, songs, (-np.inf, 1.0)),
    )

    def share_of(weights):
        # Where nothing moves, the share is undefined.
        with np.errstate(invalid="ignore"):
            return (weights @ found.along) / (weights @ found.energy)

    share = bootstrap_songs(share_of, songs, n_resamples, seed=seed)
    return {
        "instrument": name,
        "test_songs": rho.songs,
        "rho": rho.estimate,
        "rho_low": rho.low,
        "rho_high": rho.high,
        "rho_null": np.quantile(statistic, 0.95),
        "p": _p_value(statistic, orders),
        "p_floor": smallest_p_value(orders),
        "share": share.estimate,
        "share_low": share.low,
        "share_high": share.high,
        "r2": r2.estimate,
        "low": r2.low,
        "high": r2.high,
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
