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
# # A new effect: distortion
#
# *The study: [2. The effects](02_effects.ipynb). See also [a new projection](92_new_projection.ipynb)*
#
# An effect is one entry in a registry: what it does to a clip, and the grid of its parameter from nearly clean to
# strongest. Here pedalboard's `Distortion`, $y = \tanh(10^{g/20} x)$ with drive $g$ in dB, stands beside reverberation
# through the study's own measures and figures. Nothing in the package is touched.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
import numpy as np
import pedalboard
from IPython.display import display

from aesens import plots, tables
from aesens.effects import Effect, effect, register
from aesens.plots.frames import shown
from aesens.plots.player import player, sweep_versions
from aesens.plots.titles import model_title
from aesens.study import Study

plots.use_style()

# %% [markdown]
# ## The effect

# %%
def distort(audio, sample_rate, drive):
    return pedalboard.Distortion(drive_db=drive)(audio, sample_rate, reset=True)

distortion = register(Effect(
    "distortion", distort, grid=np.linspace(0.0, 40.0, 21), title="Distortion", parameter="Drive", unit="dB",
    limits=(-60.0, 80.0), settings={"pedalboard": pedalboard.__version__}))

# %%
study = Study(profile, **{"effects": "reverb,distortion", **options})
study

# %% [markdown]
# ## Seen and heard

# %%
clip = study.source.decode(study.source.clips[0])
versions = sweep_versions(distortion, clip, 3, study.protocol)
display(study.figure(plots.effect_strip(distortion, [(title, x.mean(axis=0)) for title, x in versions], clip.sample_rate),
                     "91_distortion", "Distortion: waveform and spectrogram of one clip, clean and at three strengths."))
for title, version in versions:
    display(player(version, clip.sample_rate, title=title))

# %% [markdown]
# ## Through the study
#
# Distances and their growth with strength, as in [chapter 4](04_sensitivity.ipynb). The embeddings of the new effect are
# stored like all others.

# %%
distances = study.collect(tables.distances, seed=study.seed)
study.table(distances, "91_distances", "Distance from the clean clips under reverberation and distortion.")
study.figure(plots.sensitivity_curves(distances), "91_distances",
             "Distance from the clean clips against the parameter, under reverberation and distortion.")

# %%
response = study.collect(tables.response, n_permutations=study.profile.n_permutations,
                         n_resamples=study.profile.n_resamples, seed=study.seed)
study.table(response, "91_response", "Monotonicity and jumps under reverberation and distortion.")
columns = ["model", "pretrained", "effect", "spearman", "spearman_low", "spearman_high", "jump", "jump_low", "jump_high"]
shown(response, columns)

# %%
trained = response[response["pretrained"]]
for row in trained.loc[trained.groupby("effect", sort=False)["spearman"].idxmax()].itertuples():
    print(f"{effect(row.effect).title}: most monotone in {model_title(row.model, row.pretrained)}, rank correlation "
          f"{row.spearman:.2f} [{row.spearman_low:.2f}, {row.spearman_high:.2f}]")

# %% [markdown]
# ## What this shows and what it does not
#
# The new effect went through measures that know nothing of it. The strengths of two effects have no common unit, so the
# curves compare models under one effect, not distortion with reverberation. To have it in every chapter, register it in
# their first cells and name it in `effects`; the grid above decides what "strongest" means, so choose it by ear first.
