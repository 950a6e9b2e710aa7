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
# # 1. The data: clips, songs and a split that keeps them apart
#
# *Next: [2. The effects](02_effects.ipynb)*
#
# Pre-trained audio embeddings are used as if they described what is *in* a recording and not how it was recorded. Does that hold?
# Apply an audio effect to clips of instruments, a little and then more, embed every version, and look at how the embeddings move.
# This reproduces V. Deng, C. Wang, G. Richard and B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to Common
# Effects" (ICASSP 2025, [arXiv:2501.15900](https://arxiv.org/abs/2501.15900)); what goes beyond it is marked **[beyond]**, what
# corrects it **[fix]**.
#
# [Ten words](01_data.ipynb#Ten-words) that all chapters use are explained at the end of this one.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from IPython.display import display

from aesens import plots
from aesens.plots.titles import instrument_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## Clips and songs
#
# A *clip* is a short excerpt with one predominant instrument, cut from a *song*. Clips of a song share players, room and mix, so
# only songs are independent. The study uses the training part of IRMAS (J. Bosch et al., ISMIR 2012), 6 705 clips. This run:

# %%
study.source.summary().rename(index=instrument_title).rename_axis(index=None)

# %%
if study.source.name == "rendered":
    print("These clips have the shape and names of IRMAS but are rendered, each song a random melody on its instrument with "
          "accompaniment,\ndrums and a mix that vary by song. Rendered music is far more uniform than recorded music: results "
          "on it show that\nthe method works, not what IRMAS would show.")
elif study.source.name != "irmas":
    print(f"{study.source.title}: where no metadata.csv says otherwise, each file is a song of its own. Clips cut from one "
          "recording\nmust be given the same song there, or the split cannot keep them together.")

# %% [markdown]
# Left out: clips that cannot be read, are empty, cut off, silent or not finite, have too low a sample rate for an effect, stand in
# no class or the wrong one, or are a copy of another.

# %%
excluded = study.table(study.excluded.reset_index(), "01_excluded", "Clips left out of the study, and why.")
display(excluded) if len(excluded) else print("Every clip is in order; none is left out.")

# %% [markdown]
# Some of the instruments to listen to:

# %%
from aesens.plots.player import player

for instrument in study.source.instruments[:3]:
    clip = study.source.select(instruments=[instrument], per_song=1).clips[0]
    display(player(*study.source.load(clip), f"{instrument_title(instrument)}: {clip}", study.source.credits.get(clip, "")))

# %% [markdown]
# ## The split
#
# As in the study: clips of the genre `lat_sou` are dropped; songs are dealt into folds, even over the instruments; the first fold is
# the test side; the training side is drawn down to its smallest class. IRMAS is dealt as by the study's scikit-learn, which with four
# folds gives the published test set; other data as by later versions **[fix]**. The published *training* clips follow no rule:
# `--split FILE` takes the authors' list.

# %%
print("; ".join(f"{key}: {value}" for key, value in study.split_origin.items()))
if not study.has_split:
    print(f"These data cannot be split: {study.split_error}")

# %%
clips = study.source.table.assign(split=study.split)
sides = clips.groupby(["instrument", "split"], sort=False).agg(clips=("path", "size"), songs=("song", "nunique"))
sides = study.table(sides.reset_index(), "01_split", "Clips and songs an instrument on each side of the split.")
counts = sides.pivot_table("clips", "instrument", "split", fill_value=0).astype(int)
counts = counts.loc[study.source.instruments, sorted(counts, key=["train", "test", "unused", "none"].index)]
counts.rename(index=instrument_title).rename_axis(index=None, columns=None)

# %%
study.figure(plots.clips_per_instrument(sides), "01_clips_per_instrument",
             "Clips (left) and songs (right) of each instrument on each side of the split; "
             "clips not used are those of the dropped genre and those drawn out to balance the training side.")

# %% [markdown]
# ## Worked by hand
#
# No song has clips on both sides; where the rule deals, the test side is scikit-learn's first fold.

# %%
from sklearn.model_selection import StratifiedGroupKFold

crossing = clips[clips["split"].isin(["train", "test"])].groupby("song")["split"].nunique().gt(1).sum()
print(f"{crossing} of {clips['song'].nunique()} songs stand on both sides of the split")
assert crossing == 0

if "rule" in study.split_origin and study.source.name != "irmas" and not len(study.excluded):
    kept = clips[clips["genre"] != "lat_sou"]
    folds = StratifiedGroupKFold(study.split_origin["folds"], shuffle=True, random_state=study.seed)
    first = kept.iloc[next(folds.split(kept, kept["instrument"], kept["song"]))[1]]
    print(f"{first['song'].nunique()} songs in the first of {folds.n_splits} folds")
    assert set(first.index) == set(clips.index[clips["split"] == "test"])

# %% [markdown]
# Of IRMAS: how this split agrees with the published one, and a given split with the rule.

# %%
overlap = study.split_overlap()
if overlap is not None:
    overlap = overlap.rename_axis("what").reset_index()
    display(study.table(overlap, "01_published", "This run's split beside the published one."))

# %% [markdown]
# Only the training side is balanced, so accuracy on the test side is not balanced accuracy.
#
# ## Ten words
#
# | word | meaning |
# | --- | --- |
# | clip, song | a short excerpt with one predominant instrument; the recording that it was cut from, which is never split |
# | embedding | the vector that a network makes of a clip |
# | effect, strength | what is done to a clip; the place of its parameter in a sweep from nearly clean to strongest |
# | trajectory | the embeddings of one clip over all strengths of an effect |
# | displacement | the embedding of an effected clip minus that of the clean one |
# | direction, subspace | a unit vector in the space of embeddings, or several at right angles, estimated from training clips |
# | projection | taking a direction or subspace out of embeddings; the study's word is *desensitising* |
# | twin | the same network with random weights on the same clips: what it does too is not owed to training |
# | interval | a range that would hold the truth for 95 % of the choices of songs; below six songs it is a range and no more |
# | verdict | *supported* or *not supported*: the interval lies on one side of a line drawn beforehand; else *inconclusive*, or open |
#
# *Next: [2. The effects](02_effects.ipynb)*
