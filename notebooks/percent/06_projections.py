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
# If an effect moves embeddings within a subspace, projecting that out should make them stand still, at the price of whatever
# else lives there.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots, tables
from aesens.analysis.projections import controls
from aesens.plots.frames import shown
from aesens.plots.titles import instrument_title, model_title, projection_title, sweep_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The methods
#
# Each is fitted per instrument, on its training clips only, and gives $V$ with orthonormal rows; the projection is
# $x \mapsto x (I - V^\top V)$.
#
# | method | the subspace |
# | --- | --- |
# | LDA | the linear discriminant direction between clean and effected clips (shrunk covariance) |
# | average displacement | the mean of $e_s - c$ over clips and strengths |
# | PCA, not normalised | the first principal component of the displacements |
# | normalised PCA | the component whose variance is largest in proportion to that of the same-ranked component of the clean embeddings of all training clips |
# | global CCA | the direction of [chapter 5](05_trajectories.ipynb) |
# | sample-wise CCA SVD | the right singular vectors of the stacked sample-wise directions with $s_i/s_1 \ge t$, $t = 0.3, 0.4, 0.5$ |
# | random **[beyond]** | a random direction, and a random subspace as large as each SVD subspace |
#
# Two by hand: the average displacement and the first principal component. What each removes is measured on test songs: of the
# effect, the share of the squared lengths of the displacements; of the music, that of the variance between clean clips.

# %%
import numpy as np

study.require_split()
sweep = study.sweep(study.models[0], study.effects[0])
instrument = min(set(sweep.instruments[sweep.train]) & set(sweep.instruments[sweep.test]))
mine, features = sweep.instruments == instrument, sweep.clean.shape[1]
displacements = (sweep.trajectories - sweep.clean)[:, mine & sweep.train].reshape(-1, features).astype(float)
mean = displacements.mean(axis=0)
directions = {"average": mean[None] / (np.linalg.norm(mean) or 1),
              "pca": np.linalg.svd(displacements - mean, full_matrices=False)[2][:1]}

# %%
def removed_by(V, x):
    """Share of the squared lengths of the rows of x that goes when V is projected out."""
    return 1 - np.square(x - (x @ V.T) @ V).sum() / (np.square(x).sum() or 1)

moved = (sweep.trajectories - sweep.clean)[:, mine & sweep.test].reshape(-1, features).astype(float)
music = sweep.clean[sweep.test].astype(float)
music -= music.mean(axis=0)
shares = {name: (removed_by(V, moved), removed_by(V, music)) for name, V in directions.items()}
for name, share in shares.items():
    print("{}, {}, {}: removes {:.1%} of the effect and {:.1%} of the music".format(
        sweep_title(sweep), instrument_title(instrument).lower(), projection_title(name), *share))

# %% [markdown]
# For every method, instrument, model and effect:

# %%
removed = study.collect(tables.projected, seed=study.seed)
ours = removed.query("model == @sweep.model and pretrained == @sweep.pretrained and effect == @sweep.effect.name "
                     "and instrument == @instrument")
ours = ours.set_index("projection").loc[list(shares), ["effect_removed", "clean_removed"]]
assert np.allclose(ours, list(shares.values()), atol=1e-4) or not moved.any()

# %%
study.table(removed, "06_projections", "Dimension of each projection and what it removes, by instrument.")
sizes = removed.assign(title=[model_title(m, p) for m, p in zip(removed["model"], removed["pretrained"])])
sizes = sizes[sizes["projection"].str.startswith("svd")]
sizes.pivot_table("dimension", "title", ["effect", "projection"], sort=False).rename(
    columns=projection_title, level="projection").rename(columns=plots.effect_column, level="effect").rename_axis(
    index="mean dimension of").round(1)

# %% [markdown]
# Where a subspace has as many dimensions as there are training clips, its bound, the threshold $t$ decides nothing.
#
# Which component the normalised PCA takes, its ratio of variances and the first's, medians over instruments; and for how many it is the
# first, as the PCA's:

# %%
chosen = study.collect(tables.normalised_pca)
study.table(chosen, "06_npca", "Component that the normalised PCA chooses for each instrument, its ratio of variances and the first's.")
pairs = chosen.assign(first=chosen["component"] == 1).groupby(["model", "pretrained", "effect"], sort=False)
shown(pairs.agg(component=("component", "median"), ratio=("ratio", "median"), first_ratio=("first_ratio", "median"),
                same_as_pca=("first", "sum"), instruments=("first", "size")).reset_index(), component="{:g}")

# %% [markdown]
# ## What is removed of the effect, and of the music? [beyond]
#
# On test songs: a good method removes much of the effect and little of the music, beside a random subspace of equal size.

# %%
mean = removed.groupby(["model", "pretrained", "effect", "projection"], sort=False)[["effect_removed", "clean_removed"]].mean().reset_index()
study.figure(plots.heatmap(mean, "effect_removed", rows=["model", "pretrained", "effect"], column="projection", limits=(0, 1),
                           label="Share of displacement energy removed", height=0.2, row_title=plots.model_effect_row,
                           column_title=projection_title),
             "06_effect_removed", "Share of the displacement energy of test songs that each projection removes.")

# %%
study.figure(plots.heatmap(mean, "clean_removed", rows=["model", "pretrained", "effect"], column="projection", limits=(0, 1),
                           label="Share of clean variance removed", height=0.2,
                           row_title=plots.model_effect_row, column_title=projection_title),
             "06_clean_removed", "Share of the variance between clean test clips that each projection removes.")

# %%
trained = mean[mean["pretrained"] & ~mean["projection"].isin(controls())]
twice = trained.assign(twice=trained["effect_removed"] > 2 * trained["clean_removed"])
shares = twice.groupby("projection", sort=False).agg(effect_removed=("effect_removed", "median"), music_removed=(
    "clean_removed", "median"), twice_as_much_effect=("twice", "sum"), of_pairs=("twice", "size")).reset_index()
shown(shares, precision=0, effect_removed="{:.1%}", music_removed="{:.1%}")

# %% [markdown]
# Medians over the pretrained models and effects, and in how many of these pairs a method removes more than twice as large a share of the
# effect as of the music.
#
# LDA and global CCA are *filters*: directions that tell strength best and avoid whatever else varies, be it the movement's own axis, the
# *pattern* (S. Haufe et al., NeuroImage 87, 2014). Removing a filter may take less of the movement than a random direction does.
#
# ## Do the methods find the same direction? [beyond]
#
# Absolute cosines between the one-dimensional methods, averaged over instruments, models and effects. Methods that agree should do alike
# in chapter 7.

# %%
cosines = study.collect(tables.method_cosines, seed=study.seed)
study.table(cosines, "06_method_cosines", "Absolute cosine between the directions of two methods, by model and effect.")
overall = cosines.groupby(["pretrained", "first", "second"], sort=False)["cosine"].mean().reset_index()
overall = overall.sort_values("pretrained", ascending=False, kind="stable")
title = lambda key: f"{'Pretrained' if key[0] else 'Untrained'}: {projection_title(key[1])}"
study.figure(plots.heatmap(overall, "cosine", rows=["pretrained", "first"], column="second", limits=(0, 1),
                           label="Mean |cosine|", width=5.4, row_title=title, column_title=projection_title),
             "06_method_cosines", "Mean absolute cosine between the directions that the methods find, over pretrained models "
             "and over their untrained twins.")

# %% [markdown]
# ## Do they lie along the classifiers' own weights? [beyond]
#
# Movement at right angles to the weights of an instrument's clean classifier ([chapter 7](07_classification.ipynb)) does not disturb it,
# and removing it does not help. *Random direction* is chance.

# %%
own = study.collect(tables.classifier_cosines, seed=study.seed)
study.table(own, "06_classifier_cosines", "Absolute cosine between effect directions and the weights of the instrument's own "
            "classifier, by method, with the value expected of a random direction.")
mean = own.groupby(["model", "pretrained", "effect", "projection"], sort=False)["cosine"].mean().reset_index()
study.figure(plots.heatmap(mean, "cosine", rows=["model", "pretrained", "effect"], column="projection", limits=(0, 1),
                           label="Mean |cosine| with classifier", height=0.2, row_title=plots.model_effect_row,
                           column_title=projection_title),
             "06_classifier_cosines", "Mean absolute cosine of each method's direction with the instrument's own classifier.")

# %%
ratio = own.assign(ratio=own["cosine"] / own["expected"]).groupby(["pretrained", "projection"], sort=False)["ratio"].median()
for trained, part in ratio.sort_index(level="pretrained", ascending=False, sort_remaining=False).groupby(
        "pretrained", sort=False):
    print(f"{'Pretrained' if trained else 'Untrained'}: median |cosine| in units of what a random direction has:",
          ", ".join(f"{projection_title(name)} {value:.1f}" for (_, name), value in part.items()))

# %% [markdown]
# ## What this shows and what it does not
#
# Removing a large share of the movement is neither necessary nor sufficient to help a classifier, which only movement across its own
# boundary disturbs.
#
# *Next: [7. Classification](07_classification.ipynb)*
