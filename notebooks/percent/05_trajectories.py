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
# # 5. Trajectories: is there a direction?
#
# *Before: [4. Sensitivity](04_sensitivity.ipynb). Next: [6. Projections](06_projections.ipynb)*
#
# The embeddings of one clip over all strengths of an effect form a *trajectory*. If all ran along one direction, that could be
# removed.
#
# What is measured here, and which of it decides what in [chapter 9](09_claims.ipynb)
# ([ten words](01_data.ipynb#Ten-words) are explained in chapter 1):
#
# | quantity | its question | decides |
# | --- | --- | --- |
# | pictures: UMAP, PCA | how do paths look? | nothing |
# | path over chord, participation ratio | how crooked, in how many dimensions? | nothing |
# | **ratio of dimensions** | as many as the music fills? | **claim C4** |
# | sample-wise CCA | has each clip its direction, and do others share it? | nothing: it fits noise too |
# | spectra, agreement of directions | do clips, instruments and effects share directions? | nothing |
# | global CCA | does the study's direction hold for unseen songs? | nothing: asterisks |
# | **order within clips** | do unseen clips move in order along one direction? | **claim C3a** |
# | **held-out $R^2$** | does a single embedding tell the strength? | **claim C3b** |

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots, tables
from aesens.plots.frames import shown
from aesens.plots.titles import instrument_title, sweep_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## What they look like
#
# As the study draws them: UMAP (McInnes et al., 2018; `n_neighbors=3`) of the first training clip; the clean embedding, an orange cross,
# is placed on the result; colour is strength. UMAP gives up distances: the last row **[beyond]** is what it makes of a straight, evenly
# spaced line. A gap there is UMAP's own, so one above is no evidence of a jump.

# %%
single = study.collect(tables.clip_umap, pictured=True, seed=study.seed)
study.figure(plots.clip_umap(single), "05_umap_study", "UMAP fitted to the effected embeddings of one clip "
             f"({instrument_title(single['instrument'].iloc[0])}), the clean one placed on it; last row: UMAP of straight, evenly "
             "spaced paths.")

# %%
steps = single[single["pretrained"]].groupby(["kind", "model", "effect"])[["longest_step", "longest_step_in_space"]].first()
for kind, title in (("clip", "Clip"), ("straight", "Straight path")) if len(steps) else ():
    ends = steps.loc[kind].agg(["min", "max"])
    print("{}: longest step over the median step, pretrained models: {:.1f} to {:.1f} in the pictures, {:.1f} to {:.1f} "
          "between embeddings".format(title, *ends["longest_step"], *ends["longest_step_in_space"]))

# %% [markdown]
# **[beyond]** One clip an instrument, by UMAP and then by PCA, which keeps distances and hides what does not fit a plane. Paths start at
# the clean clip, except under gain.

# %%
umap = study.collect(tables.layout, pictured=True, method="umap", clips=study.profile.picture_clips, seed=study.seed)
study.figure(plots.trajectory_grid(umap, ("UMAP 1", "UMAP 2")), "05_umap",
             "UMAP of the trajectories of one clip an instrument, models down and effects across.")

# %%
pca = study.collect(tables.layout, pictured=True, method="pca", clips=study.profile.picture_clips, seed=study.seed)
study.figure(plots.trajectory_grid(pca, ("PC 1", "PC 2")), "05_pca",
             "The same trajectories on their first two principal components.")

# %% [markdown]
# One clip at a time, with its sound: in JupyterLab with menus, on a page one choice.

# %%
from aesens.plots.explorer import explore

explore(study)

# %% [markdown]
# ## Their shape, measured [beyond]
#
# With displacements $d_s = e_s - c$: **path over chord** of a trajectory (1 if straight), and **participation ratio**
# $(\sum\lambda_i)^2/\sum\lambda_i^2$ of the displacements' covariance, an effective number of dimensions.
#
# Claim C4 takes the **ratio** of the dimensions that hold 90 % of the displacements' energy to those that hold 90 % of the clean clips'
# spread: near 0 for a line common to all clips, near 1 where displacements fill the space as the music does. Each clip gives one vector
# to either side, for both grow with their number; the interval is the range over random halves of the songs.

# %%
geometry = study.collect(tables.geometry, seed=study.seed)
study.table(geometry, "05_geometry", "Shape of the trajectories: straightness, and dimensions of the displacements and of the clean clips.")
shown(geometry, ["model", "pretrained", "effect", "path_over_chord", "participation_ratio", "ratio", "ratio_low", "ratio_high"],
      participation_ratio="{:.1f}")

# %% [markdown]
# ## One clip at a time: the trap
#
# *Sample-wise CCA* looks for the direction $u$ that best orders one clip's trajectory by strength. With one target that is least
# squares: $u \propto X^+ y$, with $X$ the centred trajectory, $y$ the strength's rank and $X^+$ the pseudo-inverse.
#
# **[fix]** With fewer strengths than features this fits *any* trajectory, white noise included. Strengths left out say more, but a
# *random walk*, which has no direction, may be interpolated as well. What smoothness does not pass is **transfer**: how a clip's direction
# orders clips of *other songs*. By hand for one clip and for white noise:

# %%
import numpy as np
from scipy.stats import spearmanr

sweep = study.sweep(study.models[0], study.effects[0])
clip = sweep.train.argmax()  # the first training clip; the first of all where there is no split
name = sweep.clips.index[clip]
path = sweep.trajectories[:, clip].astype(float)  # (strength, feature)
noise = np.random.default_rng(study.seed).standard_normal(path.shape)

# %%
def fit(x, y):
    """Least squares on centred rows; singular values below 2e-10 of the largest count as zero."""
    return np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(), rcond=2.2e-10)[0]

def judge(x):
    """Squared Spearman correlation in-sample, and R² on strengths left out, of one path."""
    y = np.linspace(0, 1, len(x))
    error, baseline = np.zeros((2, len(x)))
    for s in range(len(x)):
        kept = np.arange(len(x)) != s
        baseline[s] = y[s] - y[kept].mean()
        error[s] = baseline[s] - (x[s] - x[kept].mean(axis=0)) @ fit(x[kept], y[kept])
    return spearmanr(x @ fit(x, y), y).statistic ** 2, 1 - np.square(error).sum() / np.square(baseline).sum()

# %%
for what, x in {f"{sweep_title(sweep)}, {name}": path, "White noise": noise}.items():
    print("{}: in-sample {:.3f}, on strengths left out {:.3f}".format(what, *judge(x)))

# %% [markdown]
# For every training clip, beside random walks and noise:

# %%
samplewise = study.collect(tables.samplewise, n_permutations=study.profile.n_permutations, seed=study.seed)
medians = samplewise.groupby(["model", "pretrained", "effect", "kind"], sort=False)["value"].median().unstack().reset_index()
study.table(medians, "05_samplewise", "Median over training clips of the sample-wise fits, in-sample, on strengths left out "
            "and on other training songs, for clips, random walks and noise; p-values of the medians.")
this = "model == @sweep.model and pretrained == @sweep.pretrained and effect == @sweep.effect.name"
ours = samplewise.query(f"{this} and clip == @name").set_index("kind")["value"]
assert np.allclose(judge(path), ours[["in-sample", "held-out"]], rtol=1e-3, atol=1e-6, equal_nan=True)
assert judge(noise)[0] > 0.999 or len(noise) > noise.shape[1]

# %%
study.figure(plots.correlation_boxes(samplewise), "05_samplewise",
             "Fit of each clip's own direction: to the strengths it was fitted on, to strengths left out, and to clips of "
             "other songs; for clips, random walks and noise. Boxes over training clips; values below -1 are drawn at -1.")

# %%
for trained, part in medians.groupby("pretrained", sort=False):
    said = ", ".join(f"{name} {part[name].min():.2f} to {part[name].max():.2f}" for name in ("in-sample", "transfer", "walk transfer"))
    walks = (part["walk held-out"] > 0.5).sum()
    print(f"{'Pretrained' if trained else 'Untrained'}: {said}; on strengths left out, random walks reach an R² above 0.5 in {walks} of {len(part)} pairs")

# %% [markdown]
# ## Do the clips share their directions?
#
# Singular values of the stacked unit directions of one instrument's clips, over the largest; beside them those of clean embeddings and,
# dotted, of random directions. If all clips agreed, the second would be near 0. [Chapter 6](06_projections.ipynb) cuts these curves at a
# threshold.

# %%
spectra = study.collect(tables.spectra, seed=study.seed)
study.table(spectra, "05_spectra", "Normalised singular values of each instrument's sample-wise directions and clean embeddings.")
study.figure(plots.spectra(spectra), "05_spectra", "Normalised singular value spectra of one instrument "
             f"({instrument_title(spectra['instrument'].iloc[0])}), models down and effects across.")

# %% [markdown]
# ## One direction for an instrument
#
# *Global CCA* fits one direction to all training trajectories of an instrument. The study reports the squared Spearman correlation of
# projection and parameter on those clips. **[fix]** Beside it stands that on *held-out songs*: with fewer points than features the fit is
# perfect by construction.
#
# **[beyond]** The null is chapter 4's, all clips in the same other order: shuffles within clips would call any path that clips share a
# direction. An order and its reverse tie, hence $p \ge 2 / S!$. An asterisk means $p < 0.05$ after Holm's correction over instruments:
# that the order matters, not how much. By hand, for one instrument:

# %%
study.require_split()
sweep = study.sweep(study.models[0], study.effects[0])
instrument = min(set(sweep.instruments[sweep.train]) & set(sweep.instruments[sweep.test]))
mine = sweep.instruments == instrument
train, test = (sweep.trajectories[:, mine & side].astype(float) for side in (sweep.train, sweep.test))

rank = np.linspace(0, 1, len(train))
u = fit(train.reshape(-1, train.shape[2]), np.repeat(rank, train.shape[1]))  # all strengths of all training clips
squared = [spearmanr((x @ u).ravel(), np.repeat(rank, x.shape[1])).statistic ** 2 for x in (train, test)]
print("{}, {}: squared Spearman correlation {:.3f} on the clips it was fitted to, {:.3f} on other songs".format(
    sweep_title(sweep), instrument_title(instrument).lower(), *squared))

# %% [markdown]
# For every instrument, model and effect (in-sample numbers compared roughly, for in a perfect fit projections tie up to rounding):

# %%
directions = study.collect(tables.global_directions, n_permutations=study.profile.n_permutations,
                           n_resamples=study.profile.n_resamples, seed=study.seed)
ours = directions.query(f"{this} and instrument == @instrument")
assert np.allclose(squared, ours[["in_sample", "held_out"]].iloc[0], rtol=0, atol=[0.1, 1e-3], equal_nan=True)
study.table(directions, "05_global_cca", "Global CCA an instrument: in-sample and held-out correlations, joint null, p-value.");

# %%
def floor_of(table):
    """What no corrected p-value can be below, if that is too much to be significant."""
    floor = (table["p_floor"] * table.groupby(["model", "pretrained", "effect"])["p"].transform("size")).max()
    return f"With so few strengths no corrected p can be below {min(floor, 1):.2f}: nothing can be significant." if floor > 0.05 else ""

print(floor_of(directions) or "The smallest p that there can be leaves room for Holm's correction.")

# %%
study.figure(plots.heatmap(directions, "held_out", rows=["model", "pretrained", "effect"], column="instrument", limits=(0, 1),
                           mark="significant", label="Squared Spearman correlation, held-out songs", height=0.2,
                           row_title=plots.model_effect_row, column_title=instrument_title),
             "05_global_cca", "Squared correlation of projection and parameter on held-out songs; an asterisk marks p < 0.05 "
             "against other orders of the strengths, after Holm's correction.")

# %% [markdown]
# One instrument, a line a clip: training songs grey, test songs blue; in each panel, last, what 95 % of the orders stay below.

# %%
first = directions["instrument"].iloc[0]
points = study.collect(tables.direction_points, instrument=first)
study.figure(plots.correlation_grid(points, directions[directions["instrument"] == first]), "05_direction_points",
             f"Projection on the global CCA direction against the parameter: {instrument_title(first)}.")

# %% [markdown]
# ## In order along one direction? Readable from one embedding? [beyond]
#
# The fair reader of few clips is ridge regression of the strength's rank, its penalty chosen by leaving out training songs. On *test
# songs* it is asked for
#
# - **order** (claim C3a): the mean over clips of Spearman's correlation *within the clip* of decoded and true strength, against other
#   orders. A random walk that all clips share may pass: hence, beside it, the `share` of the displacement energy along the direction;
# - **value** (claim C3b): $R^2$ of the strength read from a single embedding.
#
# Both by hand, for the instrument above, at the penalties that the package chooses:

# %%
from sklearn.linear_model import Ridge

from aesens.analysis.decoding import decode_strength

rows, strengths = train.reshape(-1, train.shape[2]), np.repeat(rank, train.shape[1])  # a row a version of a training clip

def read(penalty):
    """Rank of the strength, read from every version of the test clips: (strength, clip)."""
    reader = Ridge(alpha=penalty, solver="svd").fit(rows, strengths)
    return reader.predict(test.reshape(-1, test.shape[2])).reshape(test.shape[:2])

# %%
true_order = np.arange(len(rank))[None]
package = decode_strength(train, test, sweep.clean[mine & sweep.test], sweep.songs[mine & sweep.train], true_order)
order = np.nan_to_num([spearmanr(rank, of_clip).statistic for of_clip in read(package.alpha).T.round(9)])
errors = np.square(read(package.alpha_r2) - rank[:, None]).sum(axis=0)
value = 1 - errors / np.square(rank - rank.mean()).sum()
print(f"{sweep_title(sweep)}, {instrument_title(instrument).lower()}: order {order.mean():.3f}, R² {value.mean():.3f}")
assert np.allclose([order.mean(), value.mean()], [package.rho.mean(), package.r2.mean()], rtol=1e-3, atol=0.02)

# %% [markdown]
# For every model and effect, all instruments together, as the claims take it:

# %%
decoding = study.collect(tables.decoding, n_permutations=study.profile.n_permutations,
                         n_resamples=study.profile.n_resamples, seed=study.seed)
study.table(decoding, "05_decoding", "Strength decoded on held-out songs: order within clips with its joint null, share of the "
            "displacement energy along the direction, R².")
pooled, single = decoding[decoding["instrument"] == "all"], decoding[decoding["instrument"] != "all"]
shown(pooled.drop(columns=["instrument", "significant"]))

# %%
study.figure(plots.against_null(pooled, "rho", low="rho_low", high="rho_high", null="rho_null", points=single, limits=(-0.5, 1),
                                label="Order within unseen clips"),
             "05_decoding", "Mean Spearman correlation within clips of decoded and true strength on held-out songs, with 95 % "
             "intervals over songs and the 95 % quantile over other orders of the strengths; small dots are instruments, values "
             "below -0.5 drawn there.")

# %%
study.figure(plots.heatmap(pooled, "r2", rows=["model", "pretrained"], column="effect", limits=(0, 1), label="Held-out R²",
                           row_title=plots.model_row, column_title=plots.effect_column),
             "05_decoding_r2", "R² of strength read from a single embedding of a held-out song, all instruments.")

# %% [markdown]
# ## Do directions agree across instruments and effects? [beyond]
#
# Mean absolute cosines between global CCA directions of two instruments, of two effects, and of a direction with the weights of its own
# or another instrument's classifier ([chapter 7](07_classification.ipynb)): an effect along those would push clips over the boundary. The
# bar is chance; directions fitted to the same few clips lie a little above it without agreeing.

# %%
agreement = tables.agreements(study.sweeps(), fitted=study.fitted, seed=study.seed, n_jobs=study.threads)
study.table(agreement, "05_agreement", "Mean absolute cosine between global CCA directions, within and across effects, and "
            "with the weights of instrument classifiers.")
study.figure(plots.agreement(agreement), "05_agreement", "Mean absolute cosines of effect directions with one another and with "
             "instrument classifiers; the bar is what random directions have.")

# %% [markdown]
# ## What this shows and what it does not
#
# Order along a direction says that strength can be *told* along one line; whether the effect *moves* the embedding along it only, the
# share of the energy says. What does removing a direction take away?
#
# *Next: [6. Projections](06_projections.ipynb)*
