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
# An embedding that only described the instrument would stand still under every effect. How far do these move, and smoothly or in
# jumps?

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from IPython.display import Markdown

from aesens import plots, tables
from aesens.analysis.statistics import holm
from aesens.effects import effect
from aesens.plots.frames import shown
from aesens.plots.titles import model_title, sweep_title
from aesens.study import PROTOCOLS_SHOWN, Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## Three distances
#
# For a clip with clean embedding $c$ and embedding $e_s$ at strength $s$:
#
# - **cosine distance** $1 - \langle c, e_s\rangle / (\lVert c\rVert \lVert e_s\rVert)$;
# - **L2 distance** $\lVert e_s - c\rVert$, in units of the median distance between two clean clips;
# - **Fréchet distance [beyond]** between the *sets* of clean and of effected clips, $\lVert\mu_c - \mu_s\rVert^2 +
#   \operatorname{tr}(\Sigma_c + \Sigma_s - 2 R)$ with $R = (\Sigma_c \Sigma_s)^{1/2}$, in units of the distance between two
#   halves of the clean set. It compares within one run only.
#
# By hand, for the first model at the strong end of the first effect; a row of `clean` and of `moved` is a clip:

# %%
import numpy as np
from scipy.spatial.distance import pdist

sweep = study.sweep(study.models[0], study.effects[0])
clean, moved = sweep.clean.astype(float), sweep.trajectories[-1].astype(float)

with np.errstate(invalid="ignore"):
    cosine = 1 - (clean * moved).sum(axis=1) / (np.linalg.norm(clean, axis=1) * np.linalg.norm(moved, axis=1))
l2 = np.linalg.norm(moved - clean, axis=1) / np.median(pdist(clean))
by_hand = {"cosine": np.nanmean(cosine), "l2": l2.mean()}

# %% [markdown]
# $\operatorname{tr} R$ is the sum of the singular values of $A B^\top$, with $A$ the centred clean clips over $\sqrt{n - 1}$ and $B$
# the same of the moved ones; their triangular factors (`qr`) will do.

# %%
def frechet(a, b):
    roots = [np.linalg.qr((x - x.mean(axis=0)) / np.sqrt(len(x) - 1), mode="r") for x in (a, b)]
    cross = np.linalg.norm(roots[0] @ roots[1].T, "nuc")
    return np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + sum(np.square(root).sum() for root in roots) - 2 * cross

rng, songs = np.random.default_rng(study.seed), np.unique(sweep.songs)
halves = [np.isin(sweep.songs, rng.permutation(songs)[: len(songs) // 2]) for _ in range(10)]
unit = np.median([frechet(clean[half], clean[~half]) for half in halves])
by_hand["frechet"] = frechet(clean, moved) / unit
print(sweep_title(sweep), {name: f"{value:.3f}" for name, value in by_hand.items()})

# %% [markdown]
# At every strength. Lines are means over clips, bands 95 % intervals over songs (below six a range), dashed lines untrained networks;
# above the grey line, at 1, the axes of the last two rows are logarithmic.

# %%
distances = study.collect(tables.distances, seed=study.seed)
this = "model == @sweep.model and pretrained == @sweep.pretrained and effect == @sweep.effect.name"
ours = distances.query(this).groupby("measure")["value"].last()
assert np.allclose([ours[name] for name in by_hand], list(by_hand.values()), rtol=1e-4, atol=1e-6, equal_nan=True)

# %%
study.table(distances, "04_distances", "Distance from the clean clips for each model, effect and parameter.")
study.figure(plots.sensitivity_curves(distances), "04_distances",
             "Distance between effected and clean embeddings against the parameter, measures down and effects across.")

# %%
far = distances[distances["measure"] == "l2"].groupby(["model", "pretrained", "effect"], sort=False)["value"].max().reset_index()
study.figure(plots.heatmap(far, "value", rows=["model", "pretrained"], column="effect", label="Largest mean L2 distance",
                           row_title=plots.model_row, column_title=plots.effect_column),
             "04_largest_distance", "Largest mean L2 distance of each model and effect (1 = two different clean clips).")

# %% [markdown]
# ## Does the distance grow with strength?
#
# For each clip, Spearman's $\rho$ between cosine distance and strength (for gain: $|g|$), averaged over clips. **[beyond]** Does the
# *order* of the strengths matter? All clips are given the same other order: $p$ is the share of all orders (or of a thousand) that reach
# the true one, at least $1/S!$ with $S$ strengths. By hand, with at most six:

# %%
from itertools import permutations

import pandas as pd
from scipy.stats import rankdata

from aesens.analysis.distances import cosine_distance, growth

some = np.unique(np.linspace(0, len(sweep.parameters) - 1, 6).astype(int))

def ranks(x):
    """Centred ranks of unit length along the last axis: sums of products of two are Spearman correlations."""
    x = rankdata(x, axis=-1) - (np.shape(x)[-1] + 1) / 2
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

# %%
distance, strength = cosine_distance(sweep.clean, sweep.trajectories[some]), sweep.effect.departure(sweep.parameters[some])
known = np.isfinite(distance).all(axis=0)  # a clip whose embedding is zero somewhere has no distance
with np.errstate(invalid="ignore"):
    mean_ranks = np.nan_to_num(ranks(distance.T[known])).mean(axis=0)  # a clip that never moves does not grow: 0
orders = np.array(list(permutations(range(len(some)))))  # the true one first
rho = ranks(strength)[orders] @ mean_ranks
p = np.mean(rho >= rho[0] - 1e-12)
print(f"{sweep_title(sweep)}: mean Spearman correlation {rho[0]:.3f}; {p * len(orders):.0f} of {len(orders)} orders reach it, p = {p:.4f}")
assert np.allclose(rho, growth(distance, strength, orders), equal_nan=True)

# %% [markdown]
# For every model and effect. *Moved* is the largest mean L2 distance, its strength chosen on the other half of the songs: where it
# is next to nothing, an order is one of rounding errors. Holm's correction is over all pairs.

# %%
response = study.collect(tables.response, n_permutations=study.profile.n_permutations,
                         n_resamples=study.profile.n_resamples, seed=study.seed)
response["p_holm"] = response.groupby("pretrained")["p"].transform(holm)
if len(some) == len(sweep.parameters):
    assert np.isclose(response.query(this)["p"].item(), p, equal_nan=True)
study.table(response, "04_response", "Size, monotonicity, discontinuity and onset of the response, with intervals and the joint null.")
shown(response, ["model", "pretrained", "effect", "songs", "moved", "moved_low", "moved_high", "spearman", "spearman_low",
                 "spearman_high", "spearman_null", "p", "p_floor", "p_holm", "kendall"], precision=3)

# %%
for trained, part in response.groupby("pretrained", sort=False):
    print(f"{'Pretrained' if trained else 'Untrained'}: mean correlations from {part['spearman'].min():.2f} to "
          f"{part['spearman'].max():.2f}; the order matters (p < 0.05 after Holm's correction) in {(part['p_holm'] < 0.05).sum()} of {len(part)} pairs")
    if (floor := part["p_floor"].max() * len(part)) > 0.05:
        print(f"  with so few strengths no corrected p can be below {min(floor, 1):.2f}: that none is small says nothing")

# %%
study.figure(plots.against_null(response, "spearman", low="spearman_low", high="spearman_high", null="spearman_null",
                                label="Mean Spearman correlation"),
             "04_monotonicity", "Mean Spearman correlation over clips of the distance from clean with strength, "
             "with 95 % intervals over songs and the 95 % quantile over other orders of the strengths.")

# %% [markdown]
# ## Smooth or in jumps? [beyond]
#
# Three numbers a clip, all 1 on an even path: the **longest step** between neighbouring strengths over the median step; the **onset**,
# from the clean clip to the weakest strength, over the median step (none for gain); and the **jump**, of claim C2: how many times longer
# the most sudden step is than the steps beside it (at the ends, their growth) let expect, all over their distance in the effect's grid.
# By hand for one clip, `points` its path, `places` where they stand in the grid:

# %%
clip = 0
points, places = sweep.trajectories[:, clip].astype(float), [np.abs(sweep.effect.grid - p).argmin() for p in sweep.parameters]
if not sweep.effect.identity_inside:
    points, places = np.vstack([sweep.clean[clip], points]), [2 * places[0] - places[1], *places]
steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
steps[steps <= np.finfo("float32").eps * np.linalg.norm(points, axis=1).max()] = 0  # within rounding: no step
steps, places = steps / np.diff(places), np.array(places)
middles = (places[1:] + places[:-1]) / 2

def continued(s, at):
    """What follows on two steps if they go on growing."""
    return s[1] * np.fmax(s[1] / s[0], 1) ** ((at[2] - at[1]) / (at[1] - at[0]))

# %%
from aesens.analysis.distances import jump_ratio

with np.errstate(invalid="ignore", divide="ignore"):
    # What the step before and the step after let expect; beyond the ends, growth that goes on.
    before = [continued(steps[2:0:-1], middles[2::-1]), *steps[:-1]]
    after = [*steps[1:], continued(steps[-3:-1], middles[-3:])]
    expected = np.maximum(np.maximum(before, after), np.median(steps))
    jump = np.clip(np.nan_to_num(steps / expected).max(), 1, 1e6)
print(f"{sweep_title(sweep)}, {sweep.clips.index[clip]}: the longest step is {jump:.2f} times what its neighbours let expect")
assert np.isclose(jump, jump_ratio(sweep.trajectories, sweep.clean, sweep.effect.identity_inside, places[-len(sweep.parameters):])[clip])

# %% [markdown]
# A coarse grid sees large jumps only:

# %%
for count, part in response.groupby("strengths"):
    print(f"With {count} strengths, a step stands out by the factor of claim C2 where it carries {part['jump_visible'].max():.0%} of an "
          "otherwise even path, or more")

# %% [markdown]
# Medians over clips:

# %%
kinds = {"largest_step": "longest step", "onset_jump": "onset", "jump": "jump"}
steps = response.melt(["model", "pretrained", "effect"], list(kinds), "kind", "ratio").dropna(subset="ratio")
steps["column"] = [f"{plots.effect_column(e)}: {kinds[k]}" for e, k in zip(steps["effect"], steps["kind"])]
steps = steps.sort_values("effect", key=lambda e: e.map(study.effects.index), kind="stable")
steps = steps.sort_values(["model"], key=lambda m: m.map(study.models.index), kind="stable")
study.figure(plots.heatmap(steps, "ratio", rows=["model", "pretrained"], column="column", log=True,
                           label="Median over clips", form="{:.1f}", row_title=plots.model_row),
             "04_discontinuity", "Longest step and onset in units of the clip's median step, and the jump: the longest of "
             "them over what its neighbours let expect.")

# %% [markdown]
# ## Invariances by construction
#
# No network hears what a low-pass filter takes away above half of its own sample rate.

# %%
lines = []
cutoffs = distances[(distances["effect"] == "lowpass") & (distances["measure"] == "l2")]
for model, part in cutoffs.groupby("model", sort=False):
    limit = study.model(model).sample_rate / 2
    deaf = part[part["parameter"] >= limit]
    if len(deaf):
        lines.append(f"- {model_title(model)} hears up to {limit / 1000:g} kHz: {len(deaf)} of its {len(part)} cutoffs lie "
                     f"above, largest mean L2 distance there {deaf['value'].max():.4f}")
Markdown("\n".join(lines) or "All cutoffs of this run lie within what its networks hear.")

# %% [markdown]
# ## What the file does to gain [fix]
#
# OpenL3 subtracts the maximum of each window's decibel spectrogram and cuts 80 dB below it: in floating point a gain is gone before
# the network begins. The steps of the study's 16-bit files ([chapter 2](02_effects.ipynb)) may lie within those 80 dB, and full scale
# clips. Mean L2 distances under both protocols, of one clip an instrument, for OpenL3 with any weights, its front end alone, and the
# others:

# %%
import torch

from aesens.effects import render
from aesens.models import load_model

options = study.profile.model_options.get("openl3", {})
openl3 = load_model("openl3", weights="untrained", device="cpu", **options)  # of which only the front end is used

def front_end(clip, value=None, protocol="study"):
    audio = clip.audio if value is None else render(kind, clip, value, protocol)
    wave = torch.from_numpy(openl3.prepare(audio, clip.sample_rate, protocol)[None])
    return openl3.network.decibels(openl3.windows(wave)[0]).mean(0).flatten().numpy()

# %%
kind, clips = effect("gain"), study.pictured()
decoded = [clips.decode(clip) for clip in clips.clips]
clean = np.stack([front_end(clip) for clip in decoded])
unit = np.median(pdist(clean))
moved = [[p, g, np.mean([np.linalg.norm(front_end(clip, g, p) - c) for clip, c in zip(decoded, clean)]) / unit]
         for p in ("study", "float") for g in kind.parameters(9)]
front = pd.DataFrame(moved, columns=["protocol", "parameter", "value"]).assign(model="front end", pretrained=False, effect="gain")

# %%
rest = tables.protocols(study.both_protocols(*PROTOCOLS_SHOWN), seed=study.seed)
both = pd.concat([front, rest], ignore_index=True)
study.table(both, "04_protocols", "Mean L2 distance under gain with and without the study's 16-bit file, of one clip an instrument.")
study.figure(plots.protocol_curves(both), "04_protocols", "Mean L2 distance from the clean clips against gain, through a "
             "16-bit file as in the study and in floating point, for OpenL3's front end alone and for each model.")

# %%
ends = both[both["parameter"].isin([kind.grid[0], kind.grid[-1]])].pivot_table("value", ["model", "pretrained"], ["parameter", "protocol"], sort=False)
for (model, pretrained), row in ends.iterrows():
    quiet, loud = (row[end] for end in (kind.grid[0], kind.grid[-1]))
    title = "OpenL3's front end" if model == "front end" else model_title(model, pretrained)
    print(f"{title}: {quiet['float']:.3f} in floating point and {quiet['study']:.3f} through the file at {kind.grid[0]:g} dB; "
          f"{loud['float']:.3f} and {loud['study']:.3f} at {kind.grid[-1]:+g} dB")

# %% [markdown]
# ## What this shows and what it does not
#
# Distances are in units of the spread of clean clips: a model that keeps those close together looks more sensitive for that alone.
# Between two strengths nobody looked. And sensitivity is no fault: whether movement *hurts* is asked in
# [chapter 7](07_classification.ipynb).
#
# *Next: [5. Trajectories](05_trajectories.ipynb)*
