"""Chapter 3: the models of a study, and what their clean embeddings tell apart.

These tables are of models and not of sweeps, so they take the study itself.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from aesens.analysis.auc import auc_change
from aesens.analysis.classify import classify
from aesens.analysis.geometry import pca_layout

__all__ = ["clean_classification", "clean_layout", "model_table"]


def model_table(study) -> pd.DataFrame:
    """Networks of a study with their weights, where those come from and their licence."""
    return pd.DataFrame(
        {
            "model": name,
            "rate (Hz)": model.sample_rate,
            "features": model.dimension,
            "weights": model.weights.word,
            "source": model.weights.source,
            "licence": model.weights.licence,
            "clips": len(study.clips(name)),
            "strengths": study.scale(name).strengths or "all",
        }
        for name, model in ((name, study.model(name, weights)) for name, weights in study.networks)
    )


def clean_layout(study) -> pd.DataFrame:
    """Clean clips of each model on their first two principal components.

    Parameters
    ----------
    study : aesens.study.Study

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``pretrained``, ``clip``, ``instrument``, ``x``, ``y``, ``explained`` (the share of variance
        of the two).
    """
    parts = []
    for name, weights in study.networks:
        clean, clips = study.clean(name, weights)
        points = pca_layout(clean)
        spread = np.square(points).sum() / np.square(clean - clean.mean(axis=0, dtype=float)).sum()
        parts.append(
            pd.DataFrame(
                {
                    "model": name,
                    "pretrained": study.model(name, weights).weights.pretrained,
                    "clip": clips.index,
                    "instrument": clips["instrument"].to_numpy(),
                    "x": points[:, 0],
                    "y": points[:, 1],
                    "explained": spread,
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    order = study.source.instruments.index
    return table.sort_values("instrument", key=lambda codes: codes.map(order), kind="stable")


def clean_classification(study) -> pd.DataFrame:
    """Instrument classification on clean clips: each pretrained network beside the same network untrained.

    Parameters
    ----------
    study : aesens.study.Study

    Returns
    -------
    pandas.DataFrame
        Columns ``data``, ``model``, ``pretrained``, ``clips``, ``roc_auc`` (mean over instruments) with ``low`` and
        ``high`` (95 %, over test songs; a range below `aesens.analysis.statistics.MINIMUM_SONGS`, NaN where an
        instrument has one alone).
    """
    rows = []
    for name in study.models:
        for policy in study.policies(name):
            clean, clips = study.clean(name, policy)
            scores = _scores(
                clean, clips, n_resamples=study.profile.n_resamples, seed=study.seed, n_jobs=study.threads
            )
            pretrained = study.model(name, policy).weights.pretrained
            about = {"data": study.source.title, "model": name, "pretrained": pretrained}
            rows.append({**about, "clips": len(clips), **scores})
    return pd.DataFrame(rows)


def _scores(clean: np.ndarray, clips: pd.DataFrame, *, n_resamples: int, seed: int, n_jobs: int) -> dict:
    """Mean ROC-AUC over instruments with its 95 % interval over test songs, without a projection."""
    train, test = (clips["split"].to_numpy(dtype=str) == side for side in ("train", "test"))
    instruments, songs = (clips[name].to_numpy(dtype=str) for name in ("instrument", "song"))
    result = classify(clean, None, instruments, songs, train, test, seed=seed, n_jobs=n_jobs)
    row = auc_change(result, n_resamples=n_resamples, seed=seed, n_jobs=n_jobs).iloc[0]
    # A song that is alone is drawn again in every resample.
    low, high = row[["auc_low", "auc_high"]] if row["songs"] > 1 else (np.nan, np.nan)
    return {"roc_auc": row["auc"], "low": low, "high": high}
