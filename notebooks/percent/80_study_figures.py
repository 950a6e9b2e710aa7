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
# # Appendix: the study's figures, panel by panel
#
# *The story: [1. The data](01_data.ipynb) to [9. The claims](09_claims.ipynb).*
#
# Every figure that the notebooks of V. Deng et al. (ICASSP 2025) make, each panel with its model, effect, instrument and axes, on which
# the parameter grows to the right; effected audio through 16-bit files, whatever the run's protocol. Data, split, clips and strengths
# are the run's: the profile `paper` has the study's. A panel is drawn from official weights or not at all: an untrained network would
# pass for the study's here.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
import pandas as pd

from aesens import plots, tables
from aesens.plots.frames import shown
from aesens.plots.titles import model_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %%
study.require_split()
# Models and effects that were chosen for the run hold here too; those of its profile do not.
asked = [plots.STUDY_MODELS if study.models == [*study.profile.models] else study.models,
         plots.STUDY_EFFECTS if study.effects == [*study.profile.effects] else study.effects]
official = study.pretrained(name for name in plots.STUDY_MODELS if name in asked[0])
ours = study.variant(models=official, effects=[name for name in plots.STUDY_EFFECTS if name in asked[1]], protocol="study", twins="no")
missing = {name: "official weights\nnot at hand" for name in asked[0] if name not in official}
missing |= {name: "not in this run" for name in [*plots.STUDY_MODELS, *plots.STUDY_EFFECTS] if name not in [*asked[0], *asked[1]]}
trained = set(ours.dataset.table.query("split == 'train'")["instrument"])
if official:
    ours.extract()
print(f"{ours.source.title}: {len(ours.dataset)} clips. Official weights: {', '.join(map(model_title, official)) or 'none'}")


# %%
def collected(function, figure, **options):
    """What a measure says of a figure's panels, of those that can be drawn."""
    parts = []
    for model, effect, instrument in plots.STUDY_PANELS[figure]:
        if not {model, effect} & {*missing} and (instrument is None or instrument in trained):
            part = ours.variant(models=[model], effects=[effect]).collect(function, **options)
            parts.append(part if instrument is None or "instrument" not in part else part[part["instrument"] == instrument])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["model", "effect", "split"])


# %% [markdown]
# ## Trajectories of one clip
#
# UMAP with `n_neighbors=3`, fitted to the effected embeddings of one flute clip, its clean one placed on the plane afterwards. The study's
# notebook lets its user pick the clip, without a seed; here it is the first training clip, with one. Gaps are no evidence of jumps:
# UMAP tears a straight path apart too.

# %%
umap = collected(tables.clip_umap, "umap", instrument="flu", seed=study.seed)
ours.figure(plots.study_umap(umap, missing), "80_umap",
            "UMAP of the trajectory of one flute clip, models down and effects across; the cross is the clean clip.")

# %% [markdown]
# ## One direction for an instrument
#
# The cello's training clips on their global CCA direction $u$, against the rank of the parameter among the $S$ values, from 0
# in steps of $1/S$. In each title the squared Spearman correlation $\rho^2$ of projection and parameter on those clips, to
# which $u$ was fitted, as in the study; the table has it on held-out songs too **[fix]**. The sign of $u$ is free.

# %%
points = collected(tables.direction_points, "directions", instrument="cel")
fits = pd.DataFrame([(*key, part["parameter"].corr(part["projection"], "spearman") ** 2)
                     for key, part in points.groupby(["model", "effect", "split"], sort=False)],
                    columns=["model", "effect", "split", "squared"])
ours.table(fits, "80_global_cca", "Squared Spearman correlation of projection and parameter: cello, training and test songs.")
ours.figure(plots.study_directions(points, fits, missing), "80_global_cca",
            "Rank of the parameter against the projection on the cello's global CCA direction, training clips.")

# %%
shown(fits.pivot(index=["model", "effect"], columns="split", values="squared").reset_index())

# %% [markdown]
# ## One direction for a clip
#
# The same correlation on each training clip's own direction, its range in each title. With fewer strengths than features the fit is
# perfect on anything, noise included: see [chapter 5](05_trajectories.ipynb).

# %%
samplewise = collected(tables.samplewise, "histograms", n_permutations=study.profile.n_permutations, seed=study.seed)
ours.figure(plots.study_histograms(samplewise, missing), "80_samplewise",
            "Squared Spearman correlation of each training clip's projections on its own direction: clips by value.")

# %% [markdown]
# ## How many directions?
#
# Singular values of the stacked directions of the cello's training clips, over the largest, beside those of its centred
# clean embeddings. The subspace that is projected out has the directions with $s_i / s_1 \ge t$; the study's figure lacks the
# lines of the three thresholds.

# %%
spectra = collected(tables.spectra, "spectra", seed=study.seed)
ours.figure(plots.study_spectra(spectra, missing), "80_spectra",
            "Normalised singular values of the cello's sample-wise CCA directions and of its centred clean embeddings.")

# %% [markdown]
# ## Does a projection help?
#
# ROC-AUC of one instrument's classifier against the parameter, trained on clean and tested on effected clips and the other
# way round: without a projection, with three methods, and with the three thresholds of one. The curves include the clean
# clips, trained and tested, where the study's axis has them: 0 dB, 22.5 kHz, and for reverberation a room size of 0, which is
# no identity, since the wet part of the mix stays. Shaded: as much as the study's panel shows.
# Folds are grouped by song **[fix]**.

# %%
scores = collected(tables.classification, "auc", n_resamples=study.profile.n_resamples, seed=study.seed)
columns = ["model", "effect", "instrument", "condition", "projection", "parameter", "roc_auc"]
ours.table(scores.reindex(columns=columns), "80_auc", "ROC-AUC of the three classifiers by condition, projection and parameter.")
ours.figure(plots.study_auc(scores, missing), "80_auc",
            "ROC-AUC of one instrument's classifier against the parameter: OpenL3, reverberation, cello; PANNs, gain, organ; "
            "CLAP, low-pass filtering, acoustic guitar.")
