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
# # 6. Projections: what does removing a direction take away?
#
# *Before: [5. Trajectories](05_trajectories.ipynb). Next: [7. Classification](07_classification.ipynb)*
#
# If an effect moves embeddings within a subspace, projecting that subspace out should make them stand still, at the
# price of whatever else lives there. Six ways to estimate the subspace, two controls, and a look at what each removes.

# %% tags=["parameters"]
# Set by ./run_all.sh; None takes the profile's own value.
profile = "demo"
models = None
effects = None
instruments = None
weights = None
data = None
seed = None
jobs = None
device = None
backend = None
pooling = None
precision = None
weights_file = None
out = None

# %%
from aesens import measure, plots
from aesens.names import projection_title
from aesens.study import Study

plots.use_style()
study = Study(profile, models=models, effects=effects, instruments=instruments, weights=weights,
              data=data, seed=seed, jobs=jobs, device=device, out=out,
              backend=backend, pooling=pooling, precision=precision, weights_file=weights_file)
study

# %% [markdown]
# ## The methods
#
# Each is fitted per instrument on training clips only and gives $V$ with orthonormal rows; the projection is
# $x \mapsto x (I - V^\top V)$.
#
# | method | the subspace |
# | --- | --- |
# | LDA | the linear discriminant direction between clean and effected clips (shrunk covariance) |
# | average displacement | the mean of $e_s - c$ over clips and strengths |
# | PCA, not normalised | the first principal component of the displacements |
# | normalised PCA | the component whose variance is largest in proportion to that of the clean embeddings' component of the same rank |
# | global CCA | the direction of [chapter 5](05_trajectories.ipynb) |
# | sample-wise CCA SVD | the right singular vectors of the stacked sample-wise directions with $s_i/s_1 \ge t$, $t = 0.3, 0.4, 0.5$ |
# | random **[beyond]** | a random direction, and a random subspace as large as each SVD subspace |

# %%
study.require_split()
removed = study.collect(measure.projected, seed=study.seed)
study.table(removed, "06_projections", "Dimension of each projection and what it removes, by instrument.")
dimension = removed.groupby(["model", "pretrained", "effect", "projection"], sort=False)["dimension"].mean().reset_index()
dimension.pivot_table("dimension", ["model", "effect"], "projection", sort=False).round(1)

# %% [markdown]
# ## What is removed of the effect, and of the music
#
# On *test songs*: the share of the displacements' energy that the projection removes (high is good), and the share of
# the variance between clean clips that goes with it (low is good). A projection worth its name removes far more of the
# first than of the second, and more than a random subspace of equal size.

# %%
mean = removed.groupby(["model", "pretrained", "effect", "projection"], sort=False)[["effect_removed", "clean_removed"]].mean().reset_index()
study.figure(plots.heatmap(mean, "effect_removed", rows=["model", "pretrained", "effect"], column="projection", limits=(0, 1),
                           label="Share of displacement energy removed", height=0.2, row_title=plots.model_effect_row,
                           column_title=projection_title),
             "06_effect_removed", "Share of the displacement energy of test songs that each projection removes.")

# %%
study.figure(plots.heatmap(mean, "clean_removed", rows=["model", "pretrained", "effect"], column="projection", limits=(0, 1),
                           label="Share of clean variance removed", height=0.2, cmap="magma_r",
                           row_title=plots.model_effect_row, column_title=projection_title),
             "06_clean_removed", "Share of the variance between clean test clips that each projection removes.")

# %% [markdown]
# ## Do the methods find the same direction?
#
# The absolute cosine between the directions of the one-dimensional methods, averaged over instruments, models and
# effects of this run. Methods that agree should also do alike in chapter 7.

# %%
cosines = study.collect(measure.method_cosines, seed=study.seed)
study.table(cosines, "06_method_cosines", "Absolute cosine between the directions of two methods, by model and effect.")
overall = cosines.groupby(["first", "second"], sort=False)["cosine"].mean().reset_index()
study.figure(plots.heatmap(overall, "cosine", rows=["first"], column="second", limits=(0, 1), label="Mean |cosine|", width=4.6,
                           row_title=lambda key: projection_title(key[0]), column_title=projection_title),
             "06_method_cosines", "Mean absolute cosine between the directions that the methods find.")

# %% [markdown]
# ## Do they lie along the classifiers' own weights? [beyond]
#
# Each instrument has a classifier of its own, the logistic regression of [chapter 7](07_classification.ipynb) trained on
# clean clips. A direction at right angles to its weights carries nothing of its score: the effect's movement along it
# does not disturb that classifier, and removing it does not help. The absolute cosine between each method's direction and
# the weights, averaged over instruments; the control *random direction* and the expectation show what chance gives.

# %%
own = study.collect(measure.classifier_cosines, seed=study.seed)
study.table(own, "06_classifier_cosines", "Absolute cosine between effect directions and the weights of the instrument's own "
            "classifier, by method, with the value expected of a random direction.")
mean = own.groupby(["model", "pretrained", "effect", "projection"], sort=False)["cosine"].mean().reset_index()
study.figure(plots.heatmap(mean, "cosine", rows=["model", "pretrained", "effect"], column="projection", limits=(0, 1),
                           label="Mean |cosine| with classifier", height=0.2, row_title=plots.model_effect_row,
                           column_title=projection_title),
             "06_classifier_cosines", "Mean absolute cosine of each method's direction with the instrument's own classifier.")

# %%
ratio = own.assign(ratio=own["cosine"] / own["expected"]).groupby("projection", sort=False)["ratio"].median()
print("Median |cosine| in units of what a random direction has:",
      ", ".join(f"{projection_title(name)} {value:.1f}" for name, value in ratio.items()))

# %% [markdown]
# ## What this shows and what it does not
#
# Removing a large share of the movement is neither necessary nor sufficient for a classifier to be helped: a classifier
# is disturbed only by movement across its own decision boundary. So the last word is the task itself.
#
# *Next: [7. Classification](07_classification.ipynb)*
