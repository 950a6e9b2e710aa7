# ---
# jupyter:
#   jupytext:
#     formats: notebooks///ipynb,notebooks/percent///py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A new method: two of one's own
#
# *The study: [6. Projections](06_projections.ipynb), [8. Remedies](08_remedies.ipynb). See also
# [a new effect](91_new_effect.ipynb)*
#
# A projection is one class with a method `learn` that gets the training clips of one instrument and effect and returns
# the directions to remove, as rows. A method that does something else to embeddings has a `transform` of its own, which every
# chapter then uses. Here one of each: the average displacement *at the strongest strength only*,
# $v \propto \frac{1}{N} \sum_i (e_{S,i} - c_i)$; and WCCN, which removes nothing but makes small what moves within clips. Nothing
# in the package is touched; once registered they stand in every table and figure of projections, those of chapter 8 too.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from aesens import plots, tables
from aesens.analysis.projections import Projection, register_projection
from aesens.plots.titles import projection_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The methods

# %%
class StrongestDisplacement(Projection):
    """The mean displacement at the strongest strength."""

    def learn(self, parts):
        return (parts.trajectories[-1] - parts.clean).mean(axis=0)

register_projection("strongest", StrongestDisplacement)

# %% [markdown]
# The second is a scikit-learn transformer: `fit` gets the training parts and sets attributes that end in an underscore, arrays or
# numbers; `transform` maps embeddings of shape (..., feature).

# %%
class WithinClips(TransformerMixin, BaseEstimator):
    """Embeddings times the inverse root of the covariance within clips, half of it a multiple of the identity."""

    def fit(self, parts):
        versions = np.concatenate([parts.clean[None], parts.trajectories]).astype(float)
        rows = (versions - versions.mean(axis=0)).reshape(-1, parts.n_features)
        values, vectors = np.linalg.eigh(rows.T @ rows)
        mean = values.mean() or 1
        self.root_ = vectors / np.sqrt((values + mean) / (2 * mean)) @ vectors.T
        return self

    def transform(self, x):
        return x @ self.root_.astype(x.dtype)

register_projection("within", WithinClips)

# %% [markdown]
# ## What they remove
#
# Of the effect and of the music, on test songs, as in [chapter 6](06_projections.ipynb). A share below zero: what was there has grown.

# %%
study.require_split()
removed = study.collect(tables.projected, seed=study.seed)
shown = ["average", "strongest", "within", "pca", "random"]
mean = removed[removed["projection"].isin(shown)].groupby(["model", "pretrained", "effect", "projection"], sort=False)[
    ["dimension", "effect_removed", "clean_removed"]].mean().reset_index()
study.table(mean, "92_projections", "What the new methods and three of the study's remove, mean over instruments.")
study.figure(plots.heatmap(mean, "effect_removed", rows=["model", "pretrained", "effect"], column="projection", limits=(0, 1),
                           label="Share of displacement energy removed", row_title=plots.model_effect_row,
                           column_title=projection_title),
             "92_effect_removed", "Share of the displacement energy of test songs that each method removes.")

# %% [markdown]
# ## Do they help?
#
# The classifiers of [chapter 7](07_classification.ipynb): trained on clean clips, tested on effected ones.

# %%
results = study.collect(tables.classification, n_resamples=study.profile.n_resamples, seed=study.seed)
curves = results[(results["kind"] == "curve") & (results["condition"] == "clean-effected")]
study.figure(plots.auc_curves(curves, ["none", *shown[:3], "random"]), "92_auc",
             "ROC-AUC against the parameter with the new methods, trained on clean clips and tested on effected ones.")

# %%
change = results[(results["kind"] == "change") & (results["condition"] == "clean-effected") & results["projection"].isin(shown)]
change = change[["model", "pretrained", "effect", "projection", "change", "low", "high"]]
study.table(change, "92_changes", "Change of the ROC-AUC against no projection, with 95 % intervals over songs.")
change = change.assign(points=100 * change["change"], clear=(change["low"] > 0) | (change["high"] < 0))
study.figure(plots.heatmap(change, "points", rows=["model", "pretrained", "effect"], column="projection",
                           centre=0, mark="clear", label="Change of ROC-AUC (hundredths)", form="{:+.1f}",
                           row_title=plots.model_effect_row, column_title=projection_title),
             "92_changes", "Change of ROC-AUC in hundredths; an asterisk marks 95 % intervals over songs that leave out 0.")

# %%
for name in ("strongest", "within"):
    new = change[change["projection"] == name]
    print(f"{name}: {(new['clear'] & (new['change'] > 0)).sum()} of {len(new)} changes are gains whose interval leaves out 0, "
          f"{(new['clear'] & (new['change'] < 0)).sum()} losses; median {100 * new['change'].median():+.2f} hundredths")

# %% [markdown]
# ## What this shows and what it does not
#
# A method that removes more of the displacement need not help a classifier ([chapter 6](06_projections.ipynb) says why).
# The intervals here are not corrected for the number of comparisons, as those of chapter 7 are: with many models and
# effects some leave out 0 by chance. [Chapter 8](08_remedies.ipynb) asks the harder question, of methods fitted on other effects.
