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
# # 3. The embeddings: networks and their weights
#
# *Before: [2. The effects](02_effects.ipynb). Next: [4. Sensitivity](04_sensitivity.ipynb)*
#
# A claim about pre-trained embeddings needs pre-trained weights. This chapter says which were used, embeds every version of every
# clip, and asks whether the embeddings behave like those of trained networks.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots, tables
from aesens.plots.frames import shown
from aesens.plots.outputs import with_other_runs
from aesens.plots.titles import model_title
from aesens.study import Study
from aesens.tables import parity

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The networks
#
# | model | input | embedding | a clip's embedding |
# | --- | --- | --- | --- |
# | OpenL3 (Cramer et al., ICASSP 2019), music, 128 mel bands | 48 kHz, 1 s windows | 512 | mean over windows |
# | PANNs CNN14 (Kong et al., TASLP 2020) | 32 kHz | 2 048 | as the network gives it |
# | CLAP 2023 (Microsoft; Elizalde et al., ICASSP 2024), HTSAT-tiny | 44.1 kHz, 7 s | 1 024 | as the network gives it |
# | CLAP (LAION; Wu et al., ICASSP 2023), HTSAT-tiny **[beyond]** | 48 kHz, repeated to 10 s | 512, before normalisation | as the network gives it |
# | YAMNet (Plakal & Ellis, 2020) **[beyond]** | 16 kHz, 0.96 s patches | 1 024 | mean over patches |
# | musicnn (Pons & Serra, ISMIR 2019) **[beyond]** | 16 kHz, 3 s | 200, the layer before the last | mean over windows |
#
# The first three are the study's. Weights of YAMNet and musicnn travel inside packages, so that a run without any download site
# still has pretrained networks. Each hears the mean of a clip's channels; Microsoft's CLAP under the protocol `study` hears them end
# to end, as its package does, and of more than 7 s the first, not a random stretch **[fix]**.
#
# A *twin* is a pretrained model's architecture with random weights, on the same clips, effects and strengths. What both do is owed to
# effect and architecture; training is where they part. It is named *untrained*, drawn muted, and decides no claim. Models without
# weights at hand are shown in this chapter alone, unless a run names them.

# %%
everyone = study.variant(models=[*study.models, *study.beside])
study.table(tables.model_table(everyone), "03_models", "Networks of this run: weights, where they come from, and their licence.")

# %% [markdown]
# ## Are these really those networks?
#
# They are computed by code of this compendium, so that one environment holds them all. Their distance from the authors' packages,
# given the same weights and audio ([appendix](81_parity.ipynb)):

# %%
differences = parity.summary()
for model, row in differences.iterrows():
    print(f"{model_title(model)} and {row['compared with']}: cosine distance of {row['comparisons']:.0f} pairs of embeddings at "
          f"most {row['embedding, cosine']:.0e}")

# %% [markdown]
# ## Every version of every clip, once
#
# Embeddings go to a store whose address is a hash of all that determines them: a changed setting never reads old ones. Few clips at
# many strengths are for the pictures of [chapter 5](05_trajectories.ipynb).

# %%
stored = study.extract()
table = stored.pivot_table("strengths", ["model", "pretrained", "clips", "features"], "effect", sort=False)
table.rename(index=model_title, level="model").astype(int)

# %% [markdown]
# A sweep as the later chapters see it, plain arrays of embeddings:

# %%
study.sweep(study.models[0], study.effects[0])

# %% [markdown]
# ## The models shown here alone
#
# Mean distance from the clean clips at the farther end of each grid, in units of the median distance between two of them; of the few
# clips that pictures draw. Untrained weights tell of effects and architectures only.

# %%
if study.beside:
    ends = study.variant(models=study.beside, twins="no").collect(
        tables.distances, pictured=True, measures=["l2"], seed=study.seed)
    far = ends.groupby(["model", "pretrained", "effect"], sort=False)["value"].max().reset_index()
    figure = plots.heatmap(far, "value", rows=["model", "pretrained"], column="effect", label="Larger mean L2 distance",
                           row_title=plots.model_row, column_title=plots.effect_column)
    caption = "Mean L2 distance from the clean clips at the farther end of each effect's grid, for models shown in this chapter alone."
    display(study.figure(figure, "03_beside", caption))

# %% [markdown]
# ## The clean clips on two axes
#
# On the first two principal components. A network that has learned about instruments should set some apart, unasked.

# %%
layout = tables.clean_layout(everyone)
study.figure(plots.clean_map(layout), "03_clean_map",
             "Clean clips on the first two principal components of each network's embeddings, coloured by instrument.")

# %% [markdown]
# ## Do they behave like trained networks?
#
# The test that the rest leans on: a logistic regression an instrument, on clean training songs, scored by ROC-AUC on test songs
# (chance: 0.5), with 95 % intervals over songs (of fewer than six a range, of one none). Runs on other data below `figures/`
# stand beside this one.

# %%
study.require_split()
here = tables.clean_classification(everyone)
study.table(here, "03_clean_classification", "Instrument classification on clean clips, pretrained and untrained.")
runs = with_other_runs(study.out, "03_clean_classification", here)
shown(runs, precision=3)

# %%
study.figure(plots.clean_classification(runs), "03_clean_classification",
             "Mean ROC-AUC over instruments on clean test clips: pretrained weights against the same network untrained.",
             sources=runs.attrs["sources"])

# %%
paired = runs.pivot_table("roc_auc", ["data", "model"], "pretrained", sort=False).reindex(columns=[True, False]).dropna()
for (data, name), row in paired.iterrows():
    order = "above" if row[True] > row[False] else "below"
    print(f"{data}: {model_title(name)} pretrained {row[True]:.3f}, {order} its untrained twin ({row[False]:.3f}); chance 0.500")

# %% [markdown]
# ## What this shows and what it does not
#
# An untrained network is not blind: random convolutions keep a picture of the spectrum, and a classifier of timbre goes far with that
# (J. Pons and X. Serra, ICASSP 2019). Where network and twin overlap, this test cannot tell training from architecture.
#
# *Next: [4. Sensitivity](04_sensitivity.ipynb)*
