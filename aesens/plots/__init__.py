"""Figures. Functions take arrays or tidy tables and return a matplotlib figure; none computes a result.

Conventions: strength grows to the right on every axis (so cutoff and bit depth fall), colour from light to dark is
strength, models and effects come in the same order and colour everywhere, and untrained weights are named, in grey, in
every legend or panel title, panels of their own on a grey ground. In heat maps dark is high, and of changes blue is a
gain and red a loss. Text of figures across the page is 8 pt and more; those that sum up a chapter are narrower, for one
column of a journal.
"""

from aesens.plots.audio import effect_strip
from aesens.plots.curves import (
    against_null,
    agreement,
    auc_curves,
    protocol_curves,
    sensitivity_curves,
    spectra,
)
from aesens.plots.data import clean_classification, clean_map, clips_per_instrument
from aesens.plots.maps import condition_title, effect_column, heatmap, model_effect_row, model_row
from aesens.plots.paths import clip_umap, correlation_boxes, correlation_grid, trajectory_grid
from aesens.plots.remedies import gain_and_cost, linearity_curves
from aesens.plots.robustness import operating_curves, recovered_curves
from aesens.plots.study import (
    STUDY_EFFECTS,
    STUDY_MODELS,
    STUDY_PANELS,
    study_auc,
    study_directions,
    study_histograms,
    study_spectra,
    study_umap,
)
from aesens.plots.style import grid, use_style
from aesens.plots.verdicts import claims_map, power_curves
