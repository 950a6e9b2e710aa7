"""Reading the strength from a single embedding: ridge regression, tested on songs that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aesens.analysis.cca import CUTOFF, centred_ranks, check_sides, stack_centred, unit
from aesens.analysis.geometry import energy_along
from aesens.analysis.ranks import standardised_ranks

__all__ = ["decode_strength"]

# Candidate penalties, in units of the mean variance per feature times the number of rows.
_ALPHAS = np.logspace(-8, 4, 13)

_TINY = np.finfo(np.float64).tiny

# Numbers in the block of decoded strengths that is ranked at once.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class DecodingReport:
    """What is decoded of the strength of clips of held-out songs.

    Attributes
    ----------
    rho : array, shape (order, test clip)
        Spearman correlation within each clip of the decoded strength and the strength, for each order of the strengths:
        that of the regression fitted to this order and judged by it. 0 where what is decoded does not change.
    r2 : array, shape (test clip,)
        1 - SSE/SST of the true order. The mean over clips is the R^2 of all of them: they share their strengths.
    direction : array, shape (feature,)
        Unit weights of the regression to the true order that `rho` is of; zero where nothing moves.
    along, energy : arrays, shape (test clip,)
        Squared displacement along this direction, and altogether, summed over strengths.
    alpha, alpha_r2 : float
        The ridge penalties chosen for `rho` and for `r2`.
    inner_rho, inner_r2 : arrays, shape (alpha,)
        What they are chosen by: the mean correlation and R^2 with one training song left out, for every penalty.
    """

    rho: np.ndarray = field(repr=False)
    r2: np.ndarray = field(repr=False)
    direction: np.ndarray = field(repr=False)
    along: np.ndarray = field(repr=False)
    energy: np.ndarray = field(repr=False)
    alpha: float
    alpha_r2: float
    inner_rho: np.ndarray = field(repr=False)
    inner_r2: np.ndarray = field(repr=False)


def decode_strength(
    train: np.ndarray, test: np.ndarray, clean: np.ndarray, songs: np.ndarray, orders: np.ndarray
) -> DecodingReport:
    """Decode strength from single embeddings with ridge regression, scored on held-out songs.

    Parameters
    ----------
    train : array, shape (strength, clip, feature)
    test : array, shape (strength, test clip, feature)
        Clips of other songs.
    clean : array, shape (test clip, feature)
        Clean embeddings of those, from which their displacements count.
    songs : array, shape (clip,)
        Song of each training clip.
    orders : array of int, shape (order, strength)
        Of `aesens.analysis.statistics.joint_orders`, the true one first.

    Returns
    -------
    DecodingReport

    Raises
    ------
    ValueError
        If shapes do not fit, or all training clips are of one song.

    Notes
    -----
    Penalties are chosen by leaving out one training song at a time, the strengths in their true order, and kept for all
    orders: for `rho` the one with the largest mean correlation within the clips left out, for `r2` the one with the
    smallest error. (By its error, clips that start far apart along the very line on which they move would ask for a
    direction across it.) It takes no refit: with H the smoother of all rows, the errors of a left-out block B are
    ``(I - H_BB)^-1 (y - H y)_B``. (The usual generalised cross-validation leaves out single rows, whose neighbours on
    the same trajectory give the answer away.) Under one order for all clips the target has one value a strength, and
    what is decoded of a test clip is one matrix (strength, strength) for all orders, times those values.

    Examples
    --------
    >>> from aesens.analysis.statistics import joint_orders, permutation_p_value
    >>> rng = np.random.default_rng(0)
    >>> clips = rng.standard_normal((60, 4))
    >>> trajectories = clips + np.linspace(0, 1, 5)[:, None, None] * np.array([0.0, 20.0, 0.0, 0.0])
    >>> train, test = trajectories[:, :40], trajectories[:, 40:]
    >>> report = decode_strength(train, test, clips[40:], np.arange(40), joint_orders(5, 0))
    >>> rho = report.rho.mean(axis=1)
    >>> bool(rho[0] > 0.99), bool(report.r2.mean() > 0.9), round(permutation_p_value(rho[0], rho[1:]) * 120)
    (True, True, 2)
    """
    train, test = check_sides(train, test)
    n_strengths, n_clips, n_features = train.shape
    songs, orders = np.asarray(songs), np.asarray(orders)
    if songs.shape != (n_clips,):
        raise ValueError(f"songs must hold one label per training clip ({n_clips}), not {songs.shape}")
    if len(np.unique(songs)) < 2:
        raise ValueError("choosing the penalty needs at least two songs")

    # Clips outermost, so that the rows of a song lie together.
    order = np.argsort(songs, kind="stable")
    rows, mean = stack_centred(train[:, order].swapaxes(0, 1))
    _, counts = np.unique(songs, return_counts=True)
    edges = np.concatenate([[0], np.cumsum(counts)]) * n_strengths
    u, values, v = _principal(rows)
    alphas = _ALPHAS * max(values.sum(), _TINY) / n_features

    target = centred_ranks(n_strengths)
    sst = (target**2).sum()
    y = np.tile(target, n_clips)
    moments = u.T @ y
    left_out = _left_out_errors(u, values / (values + alphas[:, None]), moments, y, edges)
    inner_r2 = np.array([1.0 - np.square(errors).sum() / (n_clips * sst) for errors in left_out])
    inner_rho = np.array(
        [
            _in_order((y - errors).reshape(n_clips, -1), standardised_ranks(target)).mean()
            for errors in left_out
        ]
    )
    # Of equal penalties the larger; rank correlations that rounding alone tells apart are equal.
    alpha, alpha_r2 = (
        alphas[np.flatnonzero(inner >= inner.max() - 1e-12)[-1]] for inner in (inner_rho, inner_r2)
    )

    test_rows = test.reshape(-1, n_features) - mean
    decoded = test_rows @ (v @ (np.sqrt(values) / (values + alpha_r2) * moments))
    errors = np.square(decoded.reshape(n_strengths, -1) - target[:, None]).sum(axis=0)
    gain = np.sqrt(values) / (values + alpha)
    direction = unit(v @ (gain * moments))
    along, energy = energy_along(test, clean, direction[None])
    # The weights that each strength of the training clips contributes for a unit of its target.
    single = v @ (gain[:, None] * u.reshape(n_clips, n_strengths, -1).sum(axis=0).T)
    return DecodingReport(
        rho=_within_clips(test, single, target, orders),
        r2=1.0 - errors / sst,
        along=along[:, 0],
        energy=energy,
        direction=direction,
        alpha=float(alpha),
        alpha_r2=float(alpha_r2),
        inner_rho=inner_rho,
        inner_r2=inner_r2,
    )


def _within_clips(test: np.ndarray, single: np.ndarray, target: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Spearman correlations (order, clip) of decoded and true strength within each clip, 0 for a constant."""
    strengths, clips, features = test.shape
    # From the weakest strength on: what stands still is then exactly constant.
    moved = test.astype(np.float64) - test[0]
    values = (moved.reshape(-1, features) @ single).reshape(strengths, clips, strengths)
    size = max(1, _BLOCK // (strengths * clips))
    parts = []
    for start in range(0, len(orders), size):
        order = orders[start : start + size]
        decoded = np.einsum("tcs,ns->nct", values, target[order], optimize=True)
        parts.append(_in_order(decoded, standardised_ranks(target)[order][:, None]))
    return np.concatenate(parts)


def _in_order(decoded: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Spearman correlations along the last axis with `standardised_ranks`, 0 for a constant."""
    return (np.nan_to_num(standardised_ranks(decoded)) * wanted).sum(axis=-1)


def _principal(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left singular vectors, squared singular values and right singular vectors of rows, by the smaller product."""
    dual = len(rows) <= rows.shape[1]
    values, vectors = np.linalg.eigh(rows @ rows.T if dual else rows.T @ rows)
    keep = values > CUTOFF * max(values[-1], _TINY)
    values, vectors = values[keep], vectors[:, keep]
    others = (rows.T if dual else rows) @ vectors / np.sqrt(values)
    return (vectors, values, others) if dual else (others, values, vectors)


def _left_out_errors(
    u: np.ndarray, shrinks: np.ndarray, moments: np.ndarray, target: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Leave-one-song-out errors (ridge, n) of several ridges, each by how it shrinks the components (ridge, rank).

    `u` (n, rank) are the left singular vectors of the rows, `moments` (rank,) their products with the target (n,); the
    rows of a song lie between two neighbouring `edges`.
    """
    residuals = target - (shrinks * moments) @ u.T
    errors = np.empty_like(residuals)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        block, own = u[start:stop], slice(start, stop)
        for error, shrink, residual in zip(errors, shrinks, residuals, strict=True):
            smoother = (block * shrink) @ block.T + 1.0 / len(u)
            error[own] = np.linalg.solve(np.eye(stop - start) - smoother, residual[own])
    return errors
