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
# # 2. The effects: what is done to a clip, and how strongly
#
# *Before: [1. The data](01_data.ipynb). Next: [3. The embeddings](03_embeddings.ipynb)*
#
# An effect has one parameter, swept from nearly clean to strongest; the place in the sweep is the *strength*.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
import pandas as pd
from IPython.display import display

from aesens import plots
from aesens.effects import effect
from aesens.plots.player import effect_levels, player, protocol_differences, sweep_versions
from aesens.plots.titles import model_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## Definitions
#
# With $x[n]$ the clip at its own sample rate and channel count, the study's four:
#
# | effect | definition | grid of the study |
# | --- | --- | --- |
# | gain | $y = 10^{g/20} x$ | $g = -40, -38.5, \dots, 5$ dB (31 values) |
# | low-pass | Chebyshev type II: at most 3 dB lost up to $f/1.1$, at least 80 dB from $1.1 f$ on | $f$ from 18.3 to 1.6 kHz, geometric (31) |
# | reverberation | pedalboard's `Reverb`, `room_size` $r$, other settings as they come | $r = 0.01, 0.04, \dots, 1$ (34) |
# | bitcrushing | samples rounded to multiples of $2^{-b}$, which is to $b + 1$ bits | $b = 15, 14, \dots, 4$ (12) |
#
# Gain has two strong ends: its sweep is ordered by decibels, a distance from the clean clip by $|g|$. Reverberation mixes wet
# sound in even in the smallest room. **[fix]** Every clip starts from a reset effect, so no tail leaks into the next.
#
# ## The file between effect and network
#
# The study wrote effected clips to 16-bit wav files: samples are rounded down to multiples of $2^{-15}$ and clipped at full
# scale. Protocol `study` keeps that: an effect is given whole numbers over 32 767, as pedalboard reads, a network those over
# 32 768; clean clips stay as they are. Protocol `float` **[fix]** leaves the file out.
#
# ## Worked by hand
#
# Three of the definitions and the file, at the strong end of each sweep. A sample exactly on a step may come out one lower:
# pedalboard writes by way of 32 bits.

# %%
import numpy as np
from scipy import signal

first = study.source.decode(study.source.clips[0])

def lowpass(x, f):
    order, edge = signal.cheb2ord(f / 1.1, f * 1.1, 3, 80, fs=first.sample_rate)
    return signal.sosfilt(signal.cheby2(order, 80, edge, output="sos", fs=first.sample_rate), x)

by_hand = {"gain": lambda x, g: 10 ** (g / 20) * x, "lowpass": lowpass, "bitcrush": lambda x, b: np.round(x * 2**b) / 2**b}

def through_file(y):
    return np.clip(np.floor(y * 2**15), -(2**15), 2**15 - 1) / 2**15

# %%
from aesens.effects import render

for name in [name for name in study.effects if name in by_hand]:
    strongest = float(effect(name).grid[-1])
    if study.protocol == "study":
        y = through_file(by_hand[name](first.dry, strongest))  # dry: what pedalboard reads
    else:
        y = by_hand[name](first.audio, strongest)
    steps = 2**15 * np.abs(y - render(effect(name), first, strongest, study.protocol))
    shown_as = f"{strongest * effect(name).display:g} {effect(name).unit}"
    print(f"{effect(name).title}, {effect(name).parameter.lower()} {shown_as}: {(steps < 0.05).mean():.2%} of the samples are the "
          "same by hand and by the package, the others one step apart")
    assert steps.max() < 1.05 and (steps > 0.05).mean() < 0.01

# %% [markdown]
# ## How much the file changes
#
# The difference between the two protocols, mean over one clip an instrument, in steps of the file, and the share of samples that it
# clips. The first row is the bare file, which takes a step from every negative sample.

# %%
clips = [study.source.select(instruments=[code], per_song=1) for code in study.source.instruments]
decoded = [part.decode(part.clips[0]) for part in clips]
apart = protocol_differences([None, *map(effect, study.effects)], decoded, study.scale(study.models[0]).strengths)
study.table(apart, "02_protocols", "Mean absolute difference of the audio of both protocols, in steps of a 16-bit file, "
            "and share of the samples that the file clips, for each effect and parameter; means over clips.")
shown_in = {name: effect(name).display for name in study.effects}
titles = ["Bare file" if name == "file" else effect(name).title for name in apart["effect"]]
apart.assign(effect=titles, parameter=apart["parameter"] * apart["effect"].map(shown_in)).rename(columns={"difference": "difference (steps)"}).style.format(
    {"parameter": "{:.4g}", "difference (steps)": "{:.2f}", "clipped": "{:.2%}"}, na_rep="", escape="html").hide()

# %% [markdown]
# What the file does to an embedding: [chapter 4](04_sensitivity.ipynb).
#
# ## The grids of this run

# %%
pd.DataFrame({"effect": kind.title, "parameter": kind.label,
              "values, in order of strength": ", ".join(f"{p * kind.display:.4g}" for p in kind.parameters(scale.strengths)),
              "for": ", ".join(model_title(m) for m in study.models if study.scale(m) == scale)}
             for scale in dict.fromkeys(map(study.scale, study.models)) for kind in map(effect, study.effects))

# %% [markdown]
# ## Seen and heard
#
# One clip, clean and at three strengths of each effect; levels are relative to its loudest point.

# %%
clip = study.source.clips[0]
decoded = study.source.decode(clip)
sample_rate = decoded.sample_rate
print(f"{clip}: {len(decoded.audio)} channels, {sample_rate} Hz")
credit = study.source.credits.get(clip, "")
display(player(decoded.audio, sample_rate, "Clean", credit))

# %%
for kind in map(effect, study.effects):
    versions = sweep_versions(kind, decoded, 3, study.protocol)
    shown = [(title, version.mean(axis=0)) for title, version in versions]
    display(study.figure(plots.effect_strip(kind, shown, sample_rate), f"02_{kind.name}",
                         f"{kind.title}: waveform and spectrogram of one clip, clean and at three strengths."))
    for title, version in versions[1:]:
        display(player(version, sample_rate, title if kind.title in title else f"{kind.title}: {title}", credit))

# %% [markdown]
# ## How much signal is left
#
# Before any network, in dB: the level of the result, and of what was changed, $20 \log_{10} (\lVert y - x\rVert / \lVert
# x\rVert)$. A change above 0 dB where the level stays is a shift in time: a filter delays what it lets pass.

# %%
levels = pd.concat([effect_levels(effect(name), decoded, study.protocol) for name in study.effects], ignore_index=True)
study.table(levels, "02_levels", "Level of the result and of the change of one clip, for each effect and parameter.")
ends = levels.drop(columns="parameter").groupby("effect", sort=False).agg(["min", "max"])
ends = ends.rename(columns={"level_db": "level (dB)", "change_db": "change (dB)"}, level=0)
ends.rename(index=lambda name: effect(name).title).rename_axis(None).style.format("{:.1f}").format_index(escape="html")

# %%
weakest = levels.loc[levels.groupby("effect", sort=False)["change_db"].idxmin()]
for row in weakest.to_dict("records"):
    kind = effect(row["effect"])
    print(f"{kind.title} changes least at {kind.parameter.lower()} {row['parameter'] * kind.display:.4g} {kind.unit}: "
          f"{row['change_db']:.1f} dB of the clip")

# %% [markdown]
# Strengths of different effects have no common unit. The following chapters compare models under the same sweep, not effects.
#
# *Next: [3. The embeddings](03_embeddings.ipynb)*
