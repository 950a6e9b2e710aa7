"""Chapter 7: instrument classification in every condition and with every projection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from aesens.analysis import projections
from aesens.analysis.auc import auc_change, metric_table
from aesens.analysis.classify import classify
from aesens.analysis.statistics import holm
from aesens.tables.common import POOLED, instrument_sides
from aesens.tables.projections import fitted_subspaces

__all__ = ["classification", "counted_methods"]


def classification(
    sweep, *, n_resamples: int, seed: int, fitted: Mapping | None = None, n_jobs: int = 1
) -> pd.DataFrame:
    """Instrument classification in every training and test condition and with every projection.

    Returns
    -------
    pandas.DataFrame
        Four kinds of rows. ``kind == "curve"``: ``condition`` (training and test, e.g. ``clean-effected``),
        ``projection``, ``strength`` (-1 where there is none), ``parameter``, the metrics as means over
        instruments, and ``clean_auc`` and ``clean_balanced_accuracy``, those without projection of clean
        clips on both sides. ``kind == "change"``: ``change`` of the ROC-AUC against no projection, mean over
        instruments and strengths, with ``low``, ``high`` (95 %, over test songs) and ``p``; twice the change
        is that of the rank-biserial correlation of scores and labels. The row with ``projection == "all"`` is
        the mean over the methods, controls left out and the thresholds of the CCA SVD averaged first, so that
        each method counts once. It also says how many of the ``methods`` have an interval above 0 (``helps``)
        or below 0 (``harms``), which `counted_methods` corrects over many sweeps, and what the effect costs
        without a projection: ``loss``, the ROC-AUC of clean clips on both sides minus that of the condition,
        with ``loss_low`` and ``loss_high`` over the same songs. ``kind == "family"``: the changes of the
        means over a family's thresholds. ``kind == "instrument"``: for the conditions ``clean-clean``,
        ``clean-effected`` and ``effected-clean``, projection, ``strength``, ``parameter`` and ``instrument``,
        the metrics of that instrument's classifier, and ``folds`` (of the cross-validation: fewer than three
        where an instrument has fewer training songs).
    """
    classes = [code for code, _, _ in instrument_sides(sweep)]
    subspaces = fitted_subspaces(sweep, seed=seed, n_jobs=n_jobs) if fitted is None else fitted
    result = classify(*sweep.labelled, subspaces, classes=classes, seed=seed, n_jobs=n_jobs)
    cells = metric_table(result).drop(columns=["cost"])
    cells.insert(0, "condition", cells.pop("train") + "-" + cells.pop("test"))
    place = ["condition", "projection", "strength"]
    curves = cells.drop(columns="instrument").groupby(place, sort=False).mean()
    clean = curves.loc[("clean-clean", "none", -1)]
    curves = curves.reset_index().assign(
        kind="curve", clean_auc=clean["roc_auc"], clean_balanced_accuracy=clean["balanced_accuracy"]
    )

    drawn = {"n_resamples": n_resamples, "seed": seed, "n_jobs": n_jobs}
    by_strength = [
        table.assign(parameter=np.append(sweep.parameters, np.nan)[table["strength"]])
        for table in (curves, _by_instrument(cells, result))
    ]
    return pd.concat([by_strength[0], _changes(result, subspaces, drawn), by_strength[1]], ignore_index=True)


def _changes(result, names, drawn) -> pd.DataFrame:
    """Change of ROC-AUC by each projection, with what the effect costs and how many methods help in the pooled row."""
    entries = projections.PROJECTIONS
    own = [name for name in names if name != "none" and not entries[name].control]
    single = [name for name in own if entries[name].family is None]
    families: dict[str, list[str]] = {}
    for name in own:
        if (family := entries[name].family) is not None:
            families.setdefault(f"mean of {family}", []).append(name)
    pooled = families | {POOLED: [*single, *families.values()]}
    changes = auc_change(result, pooled=pooled, **drawn).drop(columns=["auc_low", "auc_high"])
    changes = changes.rename(columns={"auc": "roc_auc", "change_low": "low", "change_high": "high"})

    counted = changes[changes["projection"].isin([*single, *families])]
    counts = counted.assign(methods=1, helps=counted["low"] > 0, harms=counted["high"] < 0)
    pair = ["train", "test"]
    counts = counts.groupby(pair)[["methods", "helps", "harms"]].sum().reset_index().assign(projection=POOLED)
    losses = ["loss", "loss_low", "loss_high"]
    changes[losses] = changes[losses].where(changes["projection"] == POOLED)
    changes = changes[changes["projection"] != "none"].merge(counts, on=[*pair, "projection"], how="left")
    # The mean of a family is a step on the way to the pooled row, not a projection.
    changes["kind"] = np.where(changes["projection"].isin(list(families)), "family", "change")
    changes.insert(0, "condition", changes.pop("train") + "-" + changes.pop("test"))
    return changes


def counted_methods(results: pd.DataFrame) -> pd.DataFrame:
    """How many methods help and harm, before and after Holm's correction.

    The family of hypotheses is all pretrained models, effects and methods of one condition; each method counts once,
    controls do not, and untrained models are what to compare with.

    Parameters
    ----------
    results : pandas.DataFrame
        Of `classification`, of all sweeps, with their ``model``, ``pretrained`` and ``effect``.

    Returns
    -------
    pandas.DataFrame
        One row a condition, model and effect: how many ``methods``; ``helps``, ``harms``: how many have an
        interval above or below 0; ``helps_holm``, ``harms_holm``: how many have a corrected p-value below
        0.05 and a change up or down.
    """
    entries = projections.PROJECTIONS
    alone = [name for name, entry in entries.items() if entry.family is None and not entry.control]
    single = (results["kind"] == "change") & results["projection"].isin(alone)
    counted = results[single | (results["kind"] == "family")]
    trained = counted["pretrained"].astype(bool)
    found = counted["p"].where(trained).groupby(counted["condition"]).transform(holm) < 0.05
    counted = counted.assign(
        methods=1,
        helps=counted["low"] > 0,
        harms=counted["high"] < 0,
        helps_holm=found & (counted["change"] > 0),
        harms_holm=found & (counted["change"] < 0),
    )
    columns = ["methods", "helps", "harms", "helps_holm", "harms_holm"]
    place = ["condition", "model", "pretrained", "effect"]
    counts = counted.groupby(place, sort=False)[columns].sum().astype("Int64").reset_index()
    counts.loc[~counts["pretrained"].astype(bool), ["helps_holm", "harms_holm"]] = pd.NA
    return counts


def _by_instrument(cells, result) -> pd.DataFrame:
    """Scores of each instrument's classifier at each strength, for the conditions of the study's figure."""
    kept = cells[cells["condition"].isin(["clean-clean", "clean-effected", "effected-clean"])]
    folds = result["folds"].to_series().rename("folds").reset_index()
    return kept.merge(folds, on="instrument").assign(kind="instrument")
