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
# *Before: [6. Projections](06_projections.ipynb). Next: [8. Remedies](08_remedies.ipynb)*
#
# An instrument classifier is trained on clean clips and meets effected ones, or the other way round. What is lost, and does a projection
# give it back?

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots, tables
from aesens.analysis.projections import controls
from aesens.analysis.statistics import MINIMUM_SONGS, holm
from aesens.effects import effect
from aesens.plots.frames import shown
from aesens.plots.titles import METRICS, instrument_title, model_title, projection_title, sweep_title
from aesens.study import Study
from aesens.tables.claims import pools

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The classifier
#
# One logistic regression an instrument: its $n$ training clips against $\lfloor n / k \rfloor$ of each of the $k$ other instruments; L2
# penalty, balanced class weights, $C$ by 3-fold cross-validation on ROC-AUC. **[fix]** Folds keep songs whole. **[beyond]** Where a number
# is judged, *all* other clips are negatives. By hand with scikit-learn, with and without the first principal component of displacement
# $V$ ([chapter 6](06_projections.ipynb)):

# %%
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from aesens.analysis.classify import draw_training_clips, grouped_folds

study.require_split()
sweep = study.sweep(study.models[0], study.effects[0])
instrument = min(set(sweep.instruments[sweep.train]) & set(sweep.instruments[sweep.test]))
mine = sweep.instruments == instrument
displacements = (sweep.trajectories - sweep.clean)[:, mine & sweep.train].reshape(-1, sweep.clean.shape[1]).astype(float)
V = np.linalg.svd(displacements - displacements.mean(axis=0), full_matrices=False)[2][:1]

# %%
projections = {"none": lambda x: x, "pca": lambda x: x - (x @ V.T) @ V}
versions = np.concatenate([sweep.clean[None], sweep.trajectories])[:, sweep.test].astype(float)  # clean, then by strength
truth = mine[sweep.test]

def classifier(clips, project):
    """The instrument's classifier, trained on some clean clips."""
    regression = LogisticRegression(solver="liblinear", class_weight="balanced", tol=1e-8, max_iter=10_000)
    folds = PredefinedSplit(grouped_folds(mine[clips], sweep.songs[clips], name=instrument))
    search = GridSearchCV(regression, {"C": 10.0 ** np.arange(-8, 4)}, scoring="roc_auc", cv=folds)
    return search.fit(project(sweep.clean[clips].astype(float)), mine[clips])

# %%
drawn, _ = draw_training_clips(sweep.instruments, instrument, sweep.train, seed=study.seed)
auc = {name: roc_auc_score(truth, classifier(drawn, project).decision_function(project(versions[-1])))
       for name, project in projections.items()}
print(f"{sweep_title(sweep)}, {instrument_title(instrument).lower()}, strongest:", ", ".join(
    f"projection {projection_title(name)}: ROC-AUC {value:.3f}" for name, value in auc.items()))

# %% [markdown]
# The package has a solver of its own. Both stop near the optimum: where scores or values of $C$ nearly tie that can decide, so a difference
# of a hundredth is allowed.

# %%
results = study.collect(tables.classification, n_resamples=study.profile.n_resamples, seed=study.seed)
ours = results.query("model == @sweep.model and pretrained == @sweep.pretrained and effect == @sweep.effect.name "
                     "and kind == 'instrument' and condition == 'clean-effected' and instrument == @instrument")
ours = ours[ours["strength"] == len(sweep.parameters) - 1].set_index("projection")["roc_auc"]
assert np.allclose(ours[list(auc)], list(auc.values()), atol=0.01)

# %% [markdown]
# ## Two questions: the ranking and the operating point [beyond]
#
# ROC-AUC ranks the clips of one strength. A displacement that all of them share changes no ranking: **ROC-AUC at one strength cannot see
# it**, and it is what most projections remove. A user keeps the threshold that the classifier was trained with: *balanced accuracy at the
# trained threshold* (the mean of the shares of either class decided rightly) stands beside it. The proof: take the mean displacement of
# the test clips out again.

# %%
everyone = np.flatnonzero(sweep.train)  # all others are negatives, weighted
fits = {name: classifier(everyone, project) for name, project in projections.items()}
shared = (versions[-1] - versions[0]).mean(axis=0)
before, undone = (fits["none"].decision_function(x).round(9) for x in (versions[-1], versions[-1] - shared))
for name, score in {"strongest": before, "shared displacement undone": undone}.items():
    print(f"{sweep_title(sweep)}, {instrument_title(instrument).lower()}, {name}: ROC-AUC {roc_auc_score(truth, score):.3f}, "
          f"balanced accuracy {balanced_accuracy_score(truth, score > 0):.3f}")
assert np.allclose(before - undone, (before - undone).mean(), atol=1e-6)  # all scores shift alike: the same ranking

# %% [markdown]
# What a method is worth is the *share of the loss that it recovers*,
#
# $$ \text{recovered} = \frac{\sum_s (m_s - b_s)}{\sum_s (b_{\text{clean}} - b_s)}, $$
#
# with $b$ the score without and $m$ with it, over the strengths $s$ that lose more than a hundredth. By hand, of balanced accuracy:

# %%
b, m = (np.array([balanced_accuracy_score(truth, fits[name].decision_function(project(x)) > 0) for x in versions])
        for name, project in projections.items())
loses = b[0] - b[1:] > 0.01
recovered = (m - b)[1:][loses].sum() / (b[0] - b[1:])[loses].sum() if loses.any() else np.nan
print(f"{sweep_title(sweep)}, {instrument_title(instrument).lower()}: {loses.sum()} of {len(loses)} strengths lose, by "
      f"{(b[0] - b[1:])[loses].sum() / max(loses.sum(), 1):.3f} on average; without V {recovered:.0%} of it is recovered")

# %%
from aesens.analysis.robustness import fit_scores, recovery

sides = sweep.clean, sweep.trajectories, sweep.instruments, sweep.songs, sweep.train, sweep.test
one = recovery(fit_scores(*sides, {"none": None, "pca": V}, classes=[instrument], n_refits=0), n_resamples=10)
one = one.query("metric == 'balanced_accuracy' and method == 'pca'")
assert np.allclose(one[one["kind"] == "strength"]["value"], m[1:], atol=0.01)
ours = one.query("kind == 'pooled' and test == 'effected'")["recovered"].item()
assert np.isclose(ours, recovered, atol=0.1, equal_nan=True)

# %% [markdown]
# For every model, effect, projection and strength, with intervals over test songs *and* training songs, on which the classifiers are
# fitted again:

# %%
robust = study.collect(tables.robustness, n_resamples=study.profile.n_resamples, seed=study.seed, pooled=pools())
study.table(robust, "07_robustness", "Loss and recovered share of it by projection, strength and metric, with 95 % intervals over "
            "test and training songs (a range below six test songs an instrument).")
curves = results[results["kind"] == "curve"].dropna(axis=1, how="all")
study.table(curves, "07_curves", "Scores of every projection, condition and parameter, averaged over instruments.")
changes = results[results["kind"] == "change"].dropna(axis=1, how="all")
methods = changes[(changes["projection"] != "all") & ~changes["projection"].isin(controls()) & changes["pretrained"]]
changes["p_holm"] = methods.groupby("condition")["p"].transform(holm)
changes["significant"] = changes["p_holm"] < 0.05
study.table(changes, "07_changes", "Change of ROC-AUC against no projection, with 95 % bootstrap intervals over songs and "
            "p-values after Holm's correction over the pretrained models, effects and methods of a condition, controls apart.")
single = results[(results["kind"] == "instrument") & ~results["projection"].isin(controls())]
single = single[["model", "pretrained", "effect", "condition", "projection", "strength", "parameter", "instrument", "roc_auc"]]
study.table(single.round({"roc_auc": 4}), "07_instruments", "ROC-AUC of each instrument's classifier at each strength, trained "
            "and tested on clean clips, and on clean and effected ones either way; random projections left out.");

# %% [markdown]
# ## What the effect costs
#
# Without a projection, trained on clean clips: blue the ranking, orange the operating point, dashed the same on clean test clips.

# %%
study.figure(plots.operating_curves(robust), "07_operating_point", "ROC-AUC and balanced accuracy at the trained threshold against "
             "the parameter, without a projection, trained on clean clips; dashed: on clean test clips.")

# %%
pooled = robust[(robust["kind"] == "pooled") & (robust["method"] == "none")]
for (model, pretrained, name), part in pooled.groupby(["model", "pretrained", "effect"], sort=False):
    loss = part.set_index(["metric", "test"])["loss"]
    print(f"{model_title(model, pretrained)}, {effect(name).title.lower()}: costs {loss['roc_auc', 'effected']:.3f} of the ROC-AUC at "
          f"one strength, {loss['roc_auc', 'random']:.3f} where strengths are mixed, "
          f"{loss['balanced_accuracy', 'effected']:.3f} of the balanced accuracy")

# %% [markdown]
# *Mixed* is the study's condition clean → random: each test clip has a strength of its own, so that the displacement is no longer shared.
#
# The study's figure, mean over instruments. Black: no projection; dashed grey: the same on clean test clips; dotted grey: random
# projections. Where a coloured line lies above black, a projection helps.

# %%
clean_to_effected = curves[curves["condition"] == "clean-effected"]
study.figure(plots.auc_curves(clean_to_effected), "07_auc_clean_effected",
             "ROC-AUC against the parameter: trained on clean clips, tested on effected ones, for each projection.")

# %% [markdown]
# The same classifiers at their trained threshold **[beyond]**:

# %%
study.figure(plots.auc_curves(clean_to_effected, metric="balanced_accuracy"), "07_balanced_clean_effected",
             "Balanced accuracy at the trained threshold against the parameter: trained on clean clips, tested on effected ones.")

# %% [markdown]
# ## The other conditions
#
# Trained on the effected clips of one strength, tested on clean ones:

# %%
effected_to_clean = curves[curves["condition"] == "effected-clean"]
study.figure(plots.auc_curves(effected_to_clean), "07_auc_effected_clean",
             "ROC-AUC against the parameter: trained on effected clips, tested on clean ones, for each projection.")

# %% [markdown]
# Every way of training and testing, mean over strengths, without a projection (augmentation: [chapter 8](08_remedies.ipynb)).

# %%
plain = curves[curves["projection"] == "none"]
cost = plain.groupby(["model", "pretrained", "effect", "condition"], sort=False)["roc_auc"].mean().reset_index()
study.figure(plots.heatmap(cost, "roc_auc", rows=["model", "pretrained", "effect"], column="condition", label="Mean ROC-AUC",
                           height=0.2, row_title=plots.model_effect_row, column_title=plots.condition_title),
             "07_conditions", "Mean ROC-AUC over strengths without a projection, by training and test condition.")

# %% [markdown]
# ## What a projection gives back [beyond]
#
# The recovered share of the balanced accuracy: 1 is all of what was lost, below 0 the projection costs more. Where nothing is lost there
# is no point.

# %%
study.figure(plots.recovered_curves(robust[~robust["method"].isin(pools())]), "07_recovered", "Share of the lost balanced accuracy that each projection recovers, "
             "by strength, at the strengths that lose.")

# %% [markdown]
# Mean over the study's methods and the strengths that lose. `visible`: the smallest change that this run could have seen; `songs`: test
# songs of the instrument with fewest, below six of which the limits are a range. An infinite limit: too little is lost to bound the share.

# %%
together = robust[(robust["kind"] == "pooled") & (robust["method"] == "C5")]
columns = ["model", "pretrained", "effect", "metric", "test", "loss", "change", "visible", "losing", "recovered", "low", "high", "songs"]
shown(together[(together["metric"] == "roc_auc") | (together["test"] == "effected")], columns, precision=3)

# %%
judged = robust[(robust["kind"] == "pooled") & (robust["test"] == "effected") & robust["pretrained"] & robust["recovered"].notna()
                & ~robust["method"].isin(["none", *controls(), *pools()])]
limits = "an interval" if robust["songs"].min() >= MINIMUM_SONGS else "a range (no interval: too few test songs)"
for metric, part in judged.groupby("metric", sort=False):
    best = part.loc[part["recovered"].idxmax()]
    print(f"{METRICS[metric]}: of {len(part)} projections of pretrained models where something is lost, {(part['low'] > 0).sum()} have "
          f"{limits} above 0, {(part['high'] < 0).sum()} below; median share {part['recovered'].median():.0%}; most "
          f"{best['recovered']:.0%} ({projection_title(best['method'])}, {model_title(best['model'])}, "
          f"{effect(best['effect']).title.lower()}, at the strengths that lose: {best['losing']:.0f})")

# %% [markdown]
# ## The change of ROC-AUC by method
#
# Against no projection, in hundredths, on the study's draw of negatives. An asterisk: p < 0.05 after Holm's correction over pretrained
# models, effects and methods. Twins and random projections are not tested.

# %%
forward = changes[(changes["condition"] == "clean-effected") & (changes["projection"] != "all")]
forward = forward.assign(points=100 * forward["change"])
study.figure(plots.heatmap(forward, "points", rows=["model", "pretrained", "effect"], column="projection",
                           centre=0, mark="significant", label="Change of ROC-AUC (hundredths)", form="{:+.1f}", height=0.2,
                           row_title=plots.model_effect_row, column_title=projection_title),
             "07_auc_change", "Change of ROC-AUC in hundredths by each projection, trained on clean, tested on effected clips.")

# %%
tested = forward[~forward["projection"].isin(controls())]
for trained, part in tested.groupby("pretrained", sort=False):
    counted = (f"{(part['significant'] & (part['change'] > 0)).sum()} of {len(part)} changes are significant gains, "
               f"{(part['significant'] & (part['change'] < 0)).sum()} significant losses; " if trained else "")
    print(f"{'Pretrained' if trained else 'Untrained'}: {counted}95 % intervals leave out 0 above it in {(part['low'] > 0).sum()} and "
          f"below it in {(part['high'] < 0).sum()} of {len(part)}; median {part['points'].median():+.2f} hundredths, range "
          f"{part['points'].min():+.1f} to {part['points'].max():+.1f}")

# %% [markdown]
# How many methods help and harm, by their own 95 % intervals, of which one in forty lies above 0 by chance, and corrected.

# %%
counted = tables.counted_methods(results).query("condition == 'clean-effected'").drop(columns="condition")
loss = changes[(changes["condition"] == "clean-effected") & (changes["projection"] == "all")]
place = ["model", "pretrained", "effect"]
shown(loss[[*place, "loss", "loss_low", "loss_high", "change", "low", "high"]].merge(counted, on=place), precision=3)

# %% [markdown]
# ## What this shows and what it does not
#
# Projections are fitted per instrument, as in the study; a user who does not know the instrument cannot do so. They are not fitted again on
# the resampled training songs.
#
# *Next: [8. Remedies](08_remedies.ipynb), fitted without knowing the instrument*
