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
# The embeddings of one clip over all strengths of an effect form a *trajectory*. If the trajectories of all clips ran
# along one common direction, that direction could be removed. This chapter looks at the trajectories, measures their
# shape, and searches for the direction. It also shows a trap on the way: a measure of fit that reaches 1 on noise.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots, tables
from aesens.plots.frames import shown
from aesens.plots.titles import instrument_title, model_title, sweep_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## What they look like
#
# First as the study draws them: one clip, the first training clip of the first instrument. UMAP (McInnes et al., 2018;
# `n_neighbors=3`) keeps neighbourhoods and gives up distances; it is fitted to the effected embeddings, and the clean one,
# an orange cross, is placed on the result. Colour is strength. For the pictures of this section the demo embeds YAMNet's and
# musicnn's clips at more strengths than it measures with.
#
# **[beyond]** The last row is what UMAP makes of nothing: as many points on a straight line, evenly spaced, with noise of a
# hundredth of a step. A gap or a turn there is UMAP's own, so one above is no evidence of a jump.

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
# **[beyond]** One clip an instrument, each panel laid out on its own: by UMAP, fitted to the clean clips too and started from
# the principal components, then by PCA, which keeps distances and hides what does not fit a plane. A path starts at its clean
# clip, except under gain, where that lies inside the sweep.

# %%
umap = study.collect(tables.layout, pictured=True, method="umap", clips=study.profile.picture_clips, seed=study.seed)
study.figure(plots.trajectory_grid(umap, ("UMAP 1", "UMAP 2")), "05_umap",
             "UMAP of the trajectories of one clip an instrument, models down and effects across.")

# %%
pca = study.collect(tables.layout, pictured=True, method="pca", clips=study.profile.picture_clips, seed=study.seed)
study.figure(plots.trajectory_grid(pca, ("PC 1", "PC 2")), "05_pca",
             "The same trajectories on their first two principal components.")

# %% [markdown]
# Where paths run side by side, clips answer an effect alike, and one direction might do for all. Where they end in one
# place, the effect wins over the music. Where each goes its own way, no common direction can be expected. A plane shows
# two of hundreds of dimensions, so what it suggests has to be measured.
#
# One clip at a time, with its sound: in JupyterLab the cell below has menus for model, effect, instrument, clip and
# strength; on a page it shows one choice.

# %%
from aesens.plots.explorer import explore

explore(study)

# %% [markdown]
# ## Their shape, measured [beyond]
#
# With displacements $d_s = e_s - c$: the **path over chord** of a trajectory (1 if straight); the **participation
# ratio** $(\sum\lambda_i)^2/\sum\lambda_i^2$ of the displacements' covariance, an effective number of dimensions; the
# number of **components that hold 90 %** of their variance; the share of the displacement energy of *test songs* that the
# best $k$ dimensions of the training songs capture; and how many of those dimensions hold 90 % of it, beside the same
# number for the differences between clean clips (no more than the training clips span; infinite where even those hold
# less).

# %%
geometry = study.collect(tables.geometry, resamples=study.profile.resamples, seed=study.seed)
study.table(geometry, "05_geometry", "Shape of the trajectories: straightness and dimension of the displacements.")
counts = geometry.filter(regex="_90").columns
shown(geometry, ["model", "pretrained", "effect", "path_over_chord", "participation_ratio",
                 *geometry.filter(regex=r"energy_1$|energy_10$").columns, *counts],
      participation_ratio="{:.1f}", **dict.fromkeys(counts, "{:.0f}"))

# %% [markdown]
# ## One clip at a time: the trap
#
# *Sample-wise CCA* looks for the direction $u$ that best orders one training clip's trajectory by strength. With one target,
# canonical correlation analysis is least squares: $u \propto X^+ y$, with $X$ the centred trajectory, $y$ the
# strength's quantile rank and $X^+$ the pseudo-inverse (of minimum norm).
#
# **[fix]** With fewer strengths than features this fits *any* trajectory perfectly, white noise included, so the
# in-sample correlation says nothing. Prediction says more: leave one strength out, fit $u$ on the others, predict the
# one left out; $R^2 = 1 - \mathrm{SSE}/\mathrm{SST}$ against the mean of the others. The same statistic on trajectories
# with shuffled strengths is the null, and on white noise of equal shape the proof.
#
# That is not the whole trap. A strength left out between its neighbours is interpolated, and whatever is smooth
# interpolates well: a *random walk* with the clip's own step lengths, which has no direction, may pass too. What smoothness
# alone does not pass is **transfer**: how the clip's direction orders clips of *other songs*, as their mean Spearman
# correlation with its sign. It is near 0 for walks, 1 for a shared line or curve, and near 0 too where each clip goes a
# way of its own.
#
# Worked by hand for one clip, the first that the study fits, and for white noise of the same shape:

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
    """Squared Spearman correlation in-sample, and R^2 on strengths left out, of one path."""
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
# The package takes the inverse of a small matrix a clip in place of one fit for each strength left out, and repeats it for
# shuffled strengths, for every clip, model and effect:

# %%
samplewise = study.collect(tables.samplewise, permutations=study.profile.permutations, seed=study.seed)
medians = samplewise.groupby(["model", "pretrained", "effect", "kind"], sort=False)["value"].median().unstack().reset_index()
study.table(medians, "05_samplewise", "Median over training clips of the sample-wise fits, in-sample, on strengths left out "
            "and on other training songs, for clips, random walks and noise; p-values of the medians.")
ours = samplewise.query("model == @sweep.model and effect == @sweep.effect.name and clip == @name").set_index("kind")["value"]
assert np.allclose(judge(path), ours[["in-sample", "held-out"]], rtol=1e-3, atol=1e-6, equal_nan=True)
assert judge(noise)[0] > 0.999 or len(noise) > noise.shape[1]
shown(medians, ["model", "pretrained", "effect", "in-sample", "held-out", "held-out rho", "p rho", "transfer",
                "walk held-out", "walk transfer", "noise held-out"])

# %%
study.figure(plots.correlation_boxes(samplewise), "05_samplewise",
             "Fit of each clip's own direction: to the strengths it was fitted on (1 for data and noise alike), to strengths "
             "left out, and to clips of other songs (about 0 for a random walk). Boxes over training clips; values below -1 "
             "are drawn at -1.")

# %%
means = medians[medians["pretrained"]][["in-sample", "held-out rho", "transfer", "walk held-out", "walk transfer"]].median()
print("Medians over pretrained models and effects: in-sample {:.2f}; strengths left out, rank correlation {:.2f}; other songs "
      "{:.2f}. Random walks: left out, R^2 {:.2f}; other songs {:.2f}".format(*means))

# %% [markdown]
# A very low held-out $R^2$ is a property of the estimator, not of the clip: where two strengths give nearly the same
# embedding, as cutoffs above what a network hears do, the minimum-norm weights that tell them apart are huge and ruin
# every prediction. The *held-out rho*, the rank correlation of predicted and true strength, is bounded and says the same
# with less noise; *p rho* is the share of shuffles whose median reaches the observed one.
#
# ## Do the clips share their directions?
#
# The unit directions of one instrument's training clips, stacked, and their singular values $s_i / s_1$, beside the spectrum
# of its centred clean embeddings. If all its clips agreed, the second value would be near 0; random directions fall off as
# the dotted line does. The subspace method of [chapter 6](06_projections.ipynb) keeps the dimensions up to where a threshold
# meets the curve. The figure shows the first instrument, in IRMAS the study's own, the cello; the table holds all.

# %%
spectra = study.collect(tables.spectra, seed=study.seed)
study.table(spectra, "05_spectra", "Normalised singular values of each instrument's sample-wise directions and clean embeddings.")
study.figure(plots.spectra(spectra), "05_spectra", "Normalised singular value spectra of one instrument "
             f"({instrument_title(spectra['instrument'].iloc[0])}), models down and effects across.")

# %% [markdown]
# ## One direction for an instrument
#
# *Global CCA* stacks the trajectories of all training clips of an instrument and fits one direction. The study reports
# the squared Spearman correlation between the projections on $u$ and the parameter on the clips it was fitted to.
# **[fix]** Beside it stand the same number on *held-out songs*, the 95 % quantile of its permutation null, and how far it
# lies above the null's mean; `significant` is the share of instruments with p < 0.05 after Holm's correction over the
# instruments of a model and effect. Where a class has fewer training points than features, as here in the demo, the
# in-sample fit is perfect by construction (its correlation stays a little below 1 only because equal parameters tie and
# projections do not). The table holds means over instruments, for the held-out $R^2$, which has no lower bound, the median;
# the saved one has each instrument's 95 % interval over test songs.
#
# Worked by hand for one instrument that has clips on both sides:

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
# And for every instrument, with its null and interval. Where the fit is perfect, training clips of one strength all have
# the same projection up to rounding, and which of them tie exactly is chance: the in-sample number is compared roughly.

# %%
directions = study.collect(tables.global_directions, permutations=study.profile.permutations,
                           resamples=study.profile.resamples, seed=study.seed)
ours = directions.query("model == @sweep.model and effect == @sweep.effect.name and instrument == @instrument")
assert np.allclose(squared, ours[["in_sample", "held_out"]].iloc[0], rtol=0, atol=[0.1, 1e-3], equal_nan=True)
study.table(directions, "05_global_cca", "Global CCA an instrument: in-sample and held-out correlations, null, p-value.")
columns = {name: "mean" for name in ["in_sample", "held_out", "null", "above_null", "significant"]} | {"held_out_r2": "median"}
summary = directions.groupby(["model", "pretrained", "effect"], sort=False).agg(columns).reset_index()
shown(summary)

# %%
study.figure(plots.heatmap(directions, "held_out", rows=["model", "pretrained", "effect"], column="instrument", limits=(0, 1),
                           mark="significant", label="Squared Spearman correlation, held-out songs", height=0.2,
                           row_title=plots.model_effect_row, column_title=instrument_title),
             "05_global_cca", "Squared correlation of projection and parameter on held-out songs; "
             "an asterisk marks p < 0.05 after Holm's correction.")

# %% [markdown]
# What such a direction does, for one instrument: each line a clip, training songs grey, test songs blue. The last number
# in each panel is what chance reaches on the test songs.

# %%
instrument = directions["instrument"].iloc[0]
points = study.collect(tables.direction_points, instrument=instrument)
study.figure(plots.correlation_grid(points, directions[directions["instrument"] == instrument]), "05_direction_points",
             f"Projection on the global CCA direction against the parameter: {instrument_title(instrument)}.")

# %% [markdown]
# ## How well can strength be read from one embedding? [beyond]
#
# The fair question to a linear reader: ridge regression of the strength's quantile rank on single embeddings, one an
# instrument, its penalty chosen by leaving out training songs, judged by $R^2$ on *test songs*. The null shuffles the
# strengths within each training clip, chooses the penalty and fits again, exactly as for the real order. Spearman's correlation of decoded and true strength stands beside it. Claim C3 of [chapter 9](09_claims.ipynb) rests
# on the rows of all instruments together, shown here.

# %%
decoding = study.collect(tables.decoding, permutations=study.profile.permutations,
                         resamples=study.profile.resamples, seed=study.seed)
study.table(decoding, "05_decoding", "Strength decoded linearly on held-out songs: R^2, interval, Spearman, nulls, p-value.")
pooled, single = decoding[decoding["instrument"] == "all"], decoding[decoding["instrument"] != "all"]
shown(pooled.drop(columns=["instrument", "significant"]))

# %%
study.figure(plots.against_null(pooled, "r2", low="low", high="high", null="r2_null", points=single, limits=(-0.5, 1),
                                label="Held-out $R^2$"),
             "05_decoding", "R^2 of strength decoded by ridge regression on held-out songs, with 95 % intervals over songs "
             "and the 95 % quantile of its permutation null; small dots are instruments, values below -0.5 drawn there.")

# %% [markdown]
# One instrument at a time, p < 0.05 after Holm's correction over the instruments of a model and effect. A null needs many
# different orders of the strengths to be beaten clearly; few strengths of few training clips, which is all that the
# untrained controls get in the demo, hardly have enough.

# %%
clear = single.groupby(["model", "pretrained"], sort=False)["significant"].agg(["sum", "size"])
print("\n".join(f"{model_title(model, trained)}: strength is decoded above chance for {row['sum']} of {row['size']} pairs "
                "of effect and instrument" for (model, trained), row in clear.iterrows()))

# %% [markdown]
# ## Do directions agree across instruments and effects? [beyond]
#
# The mean absolute cosine between the global CCA directions of two instruments under one effect and of two effects for
# one instrument; and between an instrument's direction and the weights of an instrument classifier, the logistic
# regression of [chapter 7](07_classification.ipynb) trained on clean clips: its own or another instrument's. An effect
# whose direction lay along a classifier's weights would push clips straight over its boundary. Two random directions in
# $D$ dimensions have about $\sqrt{2 / (\pi D)}$. Directions estimated from the same few clips share the span of those
# clips, so that lying a little above that bar is not yet agreement.

# %%
agreement = tables.agreements(study.sweeps(), fitted=study.fitted, seed=study.seed, jobs=study.jobs)
study.table(agreement, "05_agreement", "Mean absolute cosine between global CCA directions, within and across effects, and "
            "with the weights of instrument classifiers.")
shown(agreement, precision=3)

# %%
study.figure(plots.agreement(agreement), "05_agreement", "Mean absolute cosines of effect directions with one another and with "
             "instrument classifiers; the bar is what random directions have.")

# %% [markdown]
# ## What this shows and what it does not
#
# A high held-out correlation says that strength can be *read* from the embedding along one line. It does not say that
# the effect *moves* the embedding along that line only: the least-squares direction needs to see a fraction of the
# movement to read the strength from it. The next chapter asks what removing a direction takes away.
#
# *Next: [6. Projections](06_projections.ipynb)*
