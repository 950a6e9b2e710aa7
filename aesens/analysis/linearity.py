"""Whether an effect is a linear map of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

__all__ = ["linear_predictions"]


def linear_predictions(
    clean: np.ndarray,
    trajectories: np.ndarray,
    train: np.ndarray,
    folds: np.ndarray,
    penalties: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
) -> tuple[np.ndarray, np.ndarray]:
    r"""Predict each strength's displacement from the clean embedding: is the effect a linear map of embeddings?

    One map a strength, ``e_s - c = A_s c + b_s``, by ridge regression. Without the clean embedding, ``A = 0``, every
    clip would shift alike.

    Parameters
    ----------
    clean : array, shape (clip, feature)
    trajectories : array, shape (strength, clip, feature)
    train : array of bool, shape (clip,)
    folds : array of int, shape (training clip,)
        Whichever keep songs whole: the penalty is the one with the least squared error of the held-out folds.
    penalties : sequence of float
        In units of the mean eigenvalue of the scatter matrix of clean training clips.

    Returns
    -------
    shift, linear : array, shape (strength, clip, feature)
        Displacements of all clips as the mean of the training clips and as the maps predict them.
    """
    x = np.asarray(clean, dtype=np.float64)
    moved = (trajectories - x).transpose(1, 0, 2)
    y = moved.reshape(len(x), -1)
    centred = x[train] - x[train].mean(axis=0)
    unit = np.square(centred).sum() / max(min(len(centred) - 1, x.shape[1]), 1) or 1.0

    def predictor(known, asked):
        """A function of the penalty: what the regression on clips `known` predicts for clips `asked`."""
        # One decomposition for all penalties, of the smaller of Gram and scatter matrix; no map is formed.
        centre, mean = x[known].mean(axis=0), y[known].mean(axis=0)
        rows, new, wanted = x[known] - centre, x[asked] - centre, y[known] - mean
        dual = len(rows) < rows.shape[1]
        values, vectors = eigh(rows @ rows.T if dual else rows.T @ rows)
        left = new @ (rows.T @ vectors if dual else vectors)
        right = vectors.T @ (wanted if dual else rows.T @ wanted)
        return lambda penalty: left / (values + penalty * unit) @ right + mean

    clips = np.flatnonzero(train)
    errors = np.zeros(len(penalties))
    for fold in np.unique(folds):
        held = clips[folds == fold]
        predicted = predictor(clips[folds != fold], held)
        errors += [np.square(predicted(penalty) - y[held]).sum() for penalty in penalties]
    linear = predictor(clips, np.arange(len(x)))(penalties[errors.argmin()])
    linear = linear.reshape(moved.shape).transpose(1, 0, 2)
    return np.broadcast_to(moved[train].mean(axis=0)[:, None], linear.shape), linear
