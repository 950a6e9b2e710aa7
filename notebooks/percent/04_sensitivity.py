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
# # 4. Sensitivity: how far do the embeddings move?
#
# *Before: [3. The embeddings](03_embeddings.ipynb). Next: [5. Trajectories](05_trajectories.ipynb)*
#
# An embedding that only described the instrument would stand still under every effect. This chapter measures how far
# each model's embeddings move from the clean clip, whether they move further with every step, and whether they move
# smoothly or in jumps.

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
import pandas as pd
from IPython.display import display

from aesens import measure, plots
from aesens.study import Study

plots.use_style()
study = Study(profile, models=models, effects=effects, instruments=instruments, weights=weights,
              data=data, seed=seed, jobs=jobs, device=device, out=out,
              backend=backend, pooling=pooling, precision=precision, weights_file=weights_file)
study

# %% [markdown]
# ## Three distances
#
# For a clip with clean embedding $c$ and embedding $e_s$ at strength $s$:
#
# - **cosine distance** $1 - \langle c, e_s\rangle / (\lVert c\rVert \lVert e_s\rVert)$;
# - **L2 distance** $\lVert e_s - c\rVert$, in units of the median distance between two clean clips: at 1, an effect
#   moves a clip as far as another clip is;
# - **Fréchet distance [beyond]** between the *sets* of clean and of effected clips,
#   $\lVert\mu_c - \mu_s\rVert^2 + \operatorname{tr}(\Sigma_c + \Sigma_s - 2 R)$ with
#   $R = (\Sigma_c \Sigma_s)^{1/2}$. No single distance suffices to judge sensitivity (S. Srivastava et al., 2022). It
#   is shown in units of the distance between two halves of the clean set that share no song, so that 1 is what
#   sampling alone gives.
#
# Lines are means over clips, bands 95 % bootstrap intervals over songs; dashed lines are untrained controls. The grey
# line at 1 is the unit where a measure has one: two clean clips, two halves of the clean set.

# %%
distances = study.collect(measure.distances, resamples=study.profile.resamples, seed=study.seed)
study.table(distances, "04_distances", "Distance from the clean clips for each model, effect and parameter.")
study.figure(plots.sensitivity_curves(distances), "04_distances",
             "Distance between effected and clean embeddings against the effect's parameter, three measures by four effects.")

# %% [markdown]
# The strongest end of each sweep in L2 distance, as a number:

# %%
far = distances[distances["measure"] == "l2"].groupby(["model", "pretrained", "effect"], sort=False)["value"].max().reset_index()
study.figure(plots.heatmap(far, "value", rows=["model", "pretrained"], column="effect", label="Largest mean L2 distance",
                           row_title=plots.model_row, column_title=plots.effect_column),
             "04_largest_distance", "Largest mean L2 distance of each model and effect (1 = two different clean clips).")

# %% [markdown]
# ## Does the distance grow with strength?
#
# For each clip, Spearman's $\rho$ between the distance and the strength (for gain: $|g|$), averaged over clips. The
# null shuffles the strengths within each clip; its 95 % quantile is the value that chance exceeds once in twenty runs.
# `above_null` is how far $\rho$ lies above the null's mean, the size of the effect that belongs to the p-value.

# %%
response = study.collect(measure.response, permutations=study.profile.permutations,
                         resamples=study.profile.resamples, seed=study.seed)
study.table(response, "04_response", "Monotonicity, discontinuity and onset of the response, with intervals and nulls.")
columns = ["model", "pretrained", "effect", "spearman", "spearman_low", "spearman_high", "spearman_null", "above_null", "p",
           "kendall"]
response[columns].style.format(precision=2).hide(axis="index")

# %%
study.figure(plots.against_null(response, "spearman", low="spearman_low", high="spearman_high", null="spearman_null",
                                label="Mean Spearman correlation"),
             "04_monotonicity", "Mean Spearman correlation over clips of the distance from clean with strength, "
             "with 95 % intervals over songs and the 95 % quantile of its permutation null.")

# %% [markdown]
# ## Smooth or in jumps? [beyond]
#
# A response is *discontinuous* where one step between neighbouring strengths is much longer than the others. For each
# clip: the longest step over the median step. The *onset jump* is the step from the clean clip to the weakest strength,
# in the same unit; it does not exist for gain, whose clean setting lies inside the sweep. A straight, even path gives 1.

# %%
steps = response.melt(["model", "pretrained", "effect"], ["largest_step", "onset_jump"], "kind", "ratio")
steps["column"] = [f"{plots.effect_column(e)}\n{k.replace('_', ' ')}" for e, k in zip(steps["effect"], steps["kind"])]
steps = steps.sort_values("effect", key=lambda e: e.map(study.effects.index), kind="stable").dropna(subset="ratio")
study.figure(plots.heatmap(steps, "ratio", rows=["model", "pretrained"], column="column", cmap="magma_r",
                           label="Median over clips, in typical steps", form="{:.1f}", row_title=plots.model_row),
             "04_discontinuity", "Longest step and onset jump, in units of the clip's median step.")

# %% [markdown]
# ## Invariances by construction
#
# Some networks cannot see some effects. OpenL3 divides each window's spectrogram by its maximum before the first
# layer, so a change of gain is gone before the network begins; what is left comes from the floor of its decibel scale.
# The largest L2 distance under gain, beside the mean over the other effects:

# %%
by_effect = far.pivot_table("value", ["model", "pretrained"], "effect", sort=False)
if "gain" in by_effect and len(by_effect.columns) > 1:
    others = by_effect.drop(columns="gain").mean(axis=1).rename("mean of the other effects")
    display(pd.concat([by_effect["gain"], others], axis=1).round(3))

# %% [markdown]
# ## What this shows and what it does not
#
# Distances of different models are put on one scale by the spread of their clean clips, which makes them comparable but
# not equal in meaning: a model that keeps clean clips close together looks more sensitive. And sensitivity is no fault
# as such; a network may be asked to hear reverberation. Whether movement *hurts* is the question of
# [chapter 7](07_classification.ipynb). First: what shape does it have?
#
# *Next: [5. Trajectories](05_trajectories.ipynb)*
