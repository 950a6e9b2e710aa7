"""Chapter 7: what an effect costs the classifiers of clean clips, and how much of it each projection recovers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from aesens.analysis.robustness import fit_scores, recovery
from aesens.tables.common import instrument_sides
from aesens.tables.projections import fitted_subspaces

__all__ = ["robustness"]


def robustness(
    sweep,
    *,
    n_resamples: int,
    seed: int,
    pooled: Mapping[str, Sequence] | None = None,
    fitted: Mapping | None = None,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Loss and recovered share of it, by ROC-AUC and by balanced accuracy at the trained threshold.

    All negatives, weighted, so that no number hangs on a draw; intervals over test songs and training songs together.

    Parameters
    ----------
    pooled : mapping, optional
        Rows of several projections together, by name: the mean over those listed, resample by resample, where a list in
        the list counts as one. No projection enters one that is not listed.

    Returns
    -------
    pandas.DataFrame
        Rows and columns of `aesens.analysis.robustness.recovery`, with ``parameter`` (NaN where strengths are pooled).
    """
    subspaces = fitted_subspaces(sweep, seed=seed, n_jobs=n_jobs) if fitted is None else fitted
    result = fit_scores(
        *sweep.labelled,
        subspaces,
        classes=[code for code, _, _ in instrument_sides(sweep)],
        seed=seed,
        n_jobs=n_jobs,
    )
    table = recovery(result, pooled=pooled, n_resamples=n_resamples, seed=seed, n_jobs=n_jobs)
    return table.assign(parameter=np.append(sweep.parameters, np.nan)[table["strength"]])
