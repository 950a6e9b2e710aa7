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
# # 7. Classification: does projecting help?
#
# *Before: [6. Projections](06_projections.ipynb). Next: [9. The claims](09_claims.ipynb)*
#
# The use that counts. An instrument classifier is trained on clean clips and meets effected ones, or the other way
# round. Does a projection make it more robust?

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots, tables
from aesens.analysis.projections import controls
from aesens.analysis.statistics import holm
from aesens.effects import effect
from aesens.plots.frames import shown
from aesens.plots.titles import instrument_title, model_title, projection_title, sweep_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The classifier
#
# One binary logistic regression an instrument: all its $n$ training clips against others, $\lfloor n / k \rfloor$ drawn from
# each of the $k$ other instruments (at least one); L2 penalty, balanced class weights, $C \in \{10^{-8}, \dots, 10^{3}\}$ chosen by 3-fold
# cross-validation on ROC-AUC. **[fix]** The folds keep songs whole, so that an instrument with two training songs gets two
# folds, not three. Test clips are all test songs, scored by ROC-AUC (ranking, so no threshold is involved) and by the threshold
# metrics in the tables. A classifier is trained once for each projection and training condition.
#
# Worked by hand with scikit-learn, for one instrument: trained on clean clips, tested on effected ones at the strong end of
# the sweep, once with the embeddings as they are and once without their first principal component of displacement $V$
# ([chapter 6](06_projections.ipynb)). The package draws the clips and deals the folds.

# %%
import numpy as np

from aesens.analysis.classify import draw_training_clips, grouped_folds

study.require_split()
sweep = study.sweep(study.models[0], study.effects[0])
instrument = min(set(sweep.instruments[sweep.train]) & set(sweep.instruments[sweep.test]))
mine = sweep.train & (sweep.instruments == instrument)
displacements = (sweep.trajectories - sweep.clean)[:, mine].reshape(-1, sweep.clean.shape[1]).astype(float)
V = np.linalg.svd(displacements - displacements.mean(axis=0), full_matrices=False)[2][:1]

clips, is_mine = draw_training_clips(sweep.instruments, instrument, sweep.train, seed=study.seed)
folds = grouped_folds(is_mine, sweep.songs[clips], name=instrument)

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

regression = LogisticRegression(solver="liblinear", class_weight="balanced", tol=1e-6, max_iter=10_000)
search = GridSearchCV(regression, {"C": 10.0 ** np.arange(-8, 4)}, scoring="roc_auc", cv=PredefinedSplit(folds))
auc = {}
for name, project in {"none": lambda x: x, "pca": lambda x: x - (x @ V.T) @ V}.items():
    search.fit(project(sweep.clean[clips].astype(float)), is_mine)
    score = search.decision_function(project(sweep.trajectories[-1, sweep.test].astype(float)))
    auc[name] = roc_auc_score(sweep.instruments[sweep.test] == instrument, score)
    print(f"{sweep_title(sweep)}, {instrument_title(instrument).lower()}, projection {projection_title(name)}: "
          f"ROC-AUC {auc[name]:.3f}")

# %% [markdown]
# The package trains the same classifiers with a solver of its own, all projections and strengths of an instrument at
# once. Both stop near the optimum, not at it. Where two clips have nearly the same score, or two values of $C$ nearly the
# same cross-validated ROC-AUC, that can decide which comes first, so a difference of a hundredth is allowed.

# %%
results = study.collect(tables.classification, resamples=study.profile.resamples, seed=study.seed)
ours = results.query("model == @sweep.model and effect == @sweep.effect.name and kind == 'instrument' "
                     "and condition == 'clean-effected' and instrument == @instrument")
ours = ours[ours["strength"] == len(sweep.parameters) - 1].set_index("projection")["roc_auc"]
assert np.allclose(ours[list(auc)], list(auc.values()), atol=0.01)

# %%
curves = results[results["kind"] == "curve"].dropna(axis=1, how="all")
study.table(curves, "07_curves", "Scores of every projection, condition and parameter, averaged over instruments.")
changes = results[results["kind"] == "change"].dropna(axis=1, how="all")
methods = changes[(changes["projection"] != "all") & ~changes["projection"].isin(controls())]
changes["p_holm"] = methods.groupby(["condition", "pretrained"])["p"].transform(holm)
changes["significant"] = changes["p_holm"] < 0.05
study.table(changes, "07_changes", "Change of ROC-AUC against no projection, with 95 % bootstrap intervals over songs and "
            "p-values after Holm's correction over the models, effects and methods of a condition, controls apart.")
single = results[(results["kind"] == "instrument") & ~results["projection"].isin(controls())]
single = single[["model", "pretrained", "effect", "condition", "projection", "strength", "parameter", "instrument", "roc_auc"]]
study.table(single.round({"roc_auc": 4}), "07_instruments", "ROC-AUC of each instrument's classifier at each strength, trained "
            "and tested on clean clips, and on clean and effected ones either way; random projections left out.");

# %% [markdown]
# ## Trained on clean clips, tested on effected ones
#
# The broad black line is the classifier without a projection; the dashed grey line is the same classifier on clean test
# clips. Where black falls away from grey, the effect hurts; where a coloured line lies above black, the projection
# helps; dotted grey lines are random projections. Chance, 0.5, is dotted.

# %%
clean_to_effected = curves[curves["condition"] == "clean-effected"]
study.figure(plots.auc_curves(clean_to_effected), "07_auc_clean_effected",
             "ROC-AUC against the parameter: trained on clean clips, tested on effected ones, for each projection.")

# %%
plain = curves[curves["projection"] == "none"]
cost = plain[plain["pretrained"] & (plain["condition"] == "clean-effected")]
for (model, name), part in cost.groupby(["model", "effect"], sort=False):
    worst, kind = part.loc[part["roc_auc"].idxmin()], effect(name)
    print(f"{model_title(model)}, {kind.title.lower()}: {worst['clean_auc']:.3f} on clean clips, lowest {worst['roc_auc']:.3f} "
          f"at {worst['parameter'] * kind.display:.3g} {kind.unit or '(' + kind.parameter.lower() + ')'}")

# %% [markdown]
# ## Trained on effected clips, tested on clean ones
#
# The other way round: a classifier that has only heard the effected clips of one strength judges clean ones. It can use
# only what the effect has left, so the two ways need not cost the same.

# %%
effected_to_clean = curves[curves["condition"] == "effected-clean"]
study.figure(plots.auc_curves(effected_to_clean), "07_auc_effected_clean",
             "ROC-AUC against the parameter: trained on effected clips, tested on clean ones, for each projection.")

# %% [markdown]
# ## How much the effect itself costs
#
# Without a projection: the mean ROC-AUC over strengths for each way of training and testing. "Random" draws a strength
# for each clip. ROC-AUC ranks the clips of one test set: at one strength it cannot see a displacement that all clips share,
# which is what most projections remove. Where test clips have strengths of their own (clean → random), that displacement
# differs from clip to clip and does change their ranking.

# %%
cost = plain.groupby(["model", "pretrained", "effect", "condition"], sort=False)["roc_auc"].mean().reset_index()
study.figure(plots.heatmap(cost, "roc_auc", rows=["model", "pretrained", "effect"], column="condition", label="Mean ROC-AUC",
                           height=0.2, row_title=plots.model_effect_row, column_title=plots.condition_title),
             "07_conditions", "Mean ROC-AUC over strengths without a projection, by training and test condition.")

# %% [markdown]
# ## What a projection changes [beyond]
#
# Change of the mean ROC-AUC over strengths against no projection, in hundredths, trained on clean and tested on
# effected clips. An asterisk marks changes whose bootstrap p-value over songs stays below 0.05 after Holm's correction
# over the models, effects and methods shown, pretrained networks and controls each a family of their own; random
# projections are what to compare with, not hypotheses, and are not tested.

# %%
forward = changes[(changes["condition"] == "clean-effected") & (changes["projection"] != "all")]
forward = forward.assign(points=100 * forward["change"])
study.figure(plots.heatmap(forward, "points", rows=["model", "pretrained", "effect"], column="projection",
                           centre=0, mark="significant", label="Change of ROC-AUC (hundredths)", form="{:+.1f}", height=0.2,
                           row_title=plots.model_effect_row, column_title=projection_title),
             "07_auc_change", "Change of ROC-AUC in hundredths by each projection, trained on clean, tested on effected clips.")

# %%
tested = forward[~forward["projection"].isin(controls())]
for trained, part in tested.sort_values("pretrained", ascending=False).groupby("pretrained", sort=False):
    gains, losses = part["significant"] & (part["change"] > 0), part["significant"] & (part["change"] < 0)
    print(f"{'Pretrained' if trained else 'Untrained controls'}: {gains.sum()} of {len(part)} changes are significant gains, "
          f"{losses.sum()} significant losses; 95 % intervals leave out 0 above it in {(part['low'] > 0).sum()} and below it in "
          f"{(part['high'] < 0).sum()}; median {part['points'].median():+.2f} hundredths, range "
          f"{part['points'].min():+.1f} to {part['points'].max():+.1f}")

# %% [markdown]
# What there was to repair, and what came of it: the ROC-AUC that the effect costs on average over the strengths, the mean
# change over the six methods (the CCA SVD counts once, its thresholds averaged first), and how many of them have an
# interval above 0 (*helps*) and below 0 (*harms*).

# %%
repaired = changes[(changes["condition"] == "clean-effected") & (changes["projection"] == "all")]
shown(repaired, ["model", "pretrained", "effect", "loss", "loss_low", "loss_high", "change", "low", "high", "helps", "harms"],
      precision=3, helps="{:.0f}", harms="{:.0f}")

# %% [markdown]
# ## What this shows and what it does not
#
# The projections are fitted per instrument and applied to training and test clips alike, as in the study; a user who
# does not know the instrument cannot do so. The intervals resample test songs and keep the trained classifiers, so they
# leave out how much the training songs matter.
#
# *Next: [9. The claims](09_claims.ipynb)*
