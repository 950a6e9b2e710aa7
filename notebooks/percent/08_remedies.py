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
# # 8. Remedies: what does help? [beyond]
#
# *Before: [7. Classification](07_classification.ipynb). Next: [9. The claims](09_claims.ipynb)*
#
# The study asks whether projecting a direction out makes classifiers robust. Its reader asks what does. Remedies, all linear or
# simpler, beside the study's methods and on the same terms.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots, tables
from aesens.plots.frames import shown
from aesens.plots.titles import projection_title, sweep_title
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The remedies
#
# | remedy | what it does | settings |
# | --- | --- | --- |
# | augmentation | the classifier is trained on effected versions of its clips too | |
# | WCCN (Hatch et al., Interspeech 2006) | whitens by the covariance of a clip's versions about their mean: what moves becomes small | shrinkage |
# | NAP (Solomonoff et al., ICASSP 2005) | projects the leading $k$ directions of that covariance out | $k$ |
# | LEACE (Belrose et al., NeurIPS 2023) | the least change after which no linear reader of a concept (strength, or clean against effected) beats the mean | shrinkage |
# | ridge map | predicts by ridge regression how far a clip has moved and takes that away | penalty |
# | whitening, the control | whitens by the covariance of the clean clips, knowing of no effect | shrinkage |
#
# Each by hand, for one model and effect, from the clean embeddings `c` and the effected ones `e` of the training clips.

# %%
import numpy as np

from aesens.analysis import remedies
from aesens.analysis.linearity import linear_predictions

study.require_split()
sweep = study.sweep(study.models[0], study.effects[0])
c = sweep.clean[sweep.train].astype(float)
e = sweep.trajectories[:, sweep.train].astype(float)
x = sweep.trajectories[-1, sweep.test].astype(float)
versions = np.concatenate([c[None], e])
rows, features = versions.reshape(-1, c.shape[1]), c.shape[1]
print(f"{sweep_title(sweep)}: {len(c)} training clips in {len(versions)} versions, {features} features")

# %% [markdown]
# **WCCN**: the inverse square root of the covariance within clips, shrunk towards a multiple of the identity. **NAP**: its leading
# eigenvectors, projected out. **Whitening**: as WCCN, by the covariance of the clean clips.

# %%
def inverse_root(S, shrinkage):
    values, vectors = np.linalg.eigh((1 - shrinkage) * S + shrinkage * np.trace(S) / len(S) * np.eye(len(S)))
    return vectors / np.sqrt(values) @ vectors.T

about = (versions - versions.mean(axis=0)).reshape(rows.shape)
within = about.T @ about / (len(rows) - len(c))
k = np.linalg.eigh(within)[1][:, -5:].T
assert np.allclose(x @ inverse_root(within, 0.1), remedies.WCCN(0.1).fit(e, c).transform(x), rtol=1e-3, atol=1e-3) or not about.any()
assert np.allclose(x @ inverse_root(np.cov(c.T), 0.1), remedies.Whitening(0.1).fit(e, c).transform(x), rtol=1e-3, atol=1e-3)
assert np.allclose(x - x @ k.T @ k, remedies.NAP(5).fit(e, c).transform(x), atol=1e-3 * np.abs(x).max()) or not about.any()

# %% [markdown]
# **LEACE**: with $\Sigma$ the shrunk covariance of all embeddings, $z$ the concept and $W = \Sigma^{-1/2}$, the map
# $x \mapsto x - W^{+} \Pi W (x - \bar x)$, where $\Pi$ projects onto $W \operatorname{cov}(x, z)$: nothing linear in $x$ stays correlated
# with $z$.

# %%
z = np.repeat(np.arange(len(versions)) / len(e), len(c))
centred = rows - rows.mean(axis=0)
cross = centred.T @ (z - z.mean())
sigma = 0.9 * centred.T @ centred + 0.1 * np.square(centred).sum() / features * np.eye(features)
values, vectors = np.linalg.eigh(sigma)
W = vectors / np.sqrt(values) @ vectors.T
P = np.linalg.inv(W) @ np.outer(W @ cross, W @ cross) @ W / ((W @ cross) @ (W @ cross) or 1)
leace = remedies.LEACE("rank", 0.1).fit(e, c)
assert np.allclose(x - (x - rows.mean(axis=0)) @ P.T, leace.transform(x), atol=1e-3 * np.abs(x).max()) or not about.any()
left = leace.transform(rows)
print(f"largest covariance of a feature with the rank: {np.abs(cross).max() / len(z):.2g} before, "
      f"{np.abs((left - left.mean(axis=0)).T @ (z - z.mean())).max() / len(z):.2g} after")

# %% [markdown]
# **Ridge map**: ridge regression from any version of a clip to its way back, $c - e$.

# %%
from sklearn.linear_model import Ridge

ridge = remedies.RidgeMap(penalty=1.0).fit(e, c)
regression = Ridge(alpha=ridge.alpha_).fit(rows, (c - versions).reshape(rows.shape)) if ridge.alpha_ else None
assert regression is None or np.allclose(x + regression.predict(x), ridge.transform(x), atol=1e-3 * np.abs(x).max())

# %% [markdown]
# **Augmentation**, and with it what all are scored by: an instrument's classifier, on the clean clips and here their strongest versions.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from aesens.analysis.classify import grouped_folds
from aesens.analysis.robustness import fit_scores

instrument = min(set(sweep.instruments[sweep.train]) & set(sweep.instruments[sweep.test]))
mine, truth = sweep.instruments[sweep.train] == instrument, sweep.instruments[sweep.test] == instrument
folds = PredefinedSplit(np.tile(grouped_folds(mine, sweep.songs[sweep.train], instrument), 2))
regression = LogisticRegression(solver="liblinear", class_weight="balanced", tol=1e-6, max_iter=10_000)
search = GridSearchCV(regression, {"C": 10.0 ** np.arange(-8, 4)}, scoring="roc_auc", cv=folds)
search.fit(np.concatenate([c, e[-1]]), np.tile(mine, 2))
by_hand = roc_auc_score(truth, search.decision_function(x))

# %%
ours = fit_scores(sweep.clean, sweep.trajectories, sweep.instruments, sweep.songs, sweep.train, sweep.test,
                  {"augmentation": remedies.Augmentation(1).fit(e, c)}, classes=[instrument], n_refits=0)
package = roc_auc_score(truth, ours.score.values[0, 0, -1, 0])
print(f"augmented, tested at the strong end: ROC-AUC {by_hand:.3f} by hand, {package:.3f} by the package")
assert abs(by_hand - package) < 0.02

# %% [markdown]
# ## All of them, on the same terms
#
# - *Blind*: fitted on all instruments together, for a user does not know which is playing; the study's methods too.
# - *Own*: fitted on the effect that is tested. *Transfer*: on all other effects.
# - Settings, and the method of each pair of model and effect, are chosen on training songs; for transfer the tested effect has no say.
# - *Change*: against no method, on effected clips, mean over strengths. *Cost*: the same on clean ones. Shares recovered and
#   intervals: as in chapter 7.

# %%
results = study.collect(tables.remedies, together=True, n_resamples=study.profile.n_resamples, seed=study.seed)
pooled = results[(results["kind"] == "pooled") & (results["test"] == "effected")]
study.table(pooled.drop(columns=["kind", "test", "strength"]), "08_remedies", "Every method fitted on the tested effect or on the "
            "others: change on effected clips, cost on clean ones, share of the loss recovered, chosen settings and methods.")
by_strength = results[(results["kind"] == "strength") & results["chosen"]]
study.table(by_strength[["model", "pretrained", "effect", "condition", "method", "metric", "strength", "loss", "change", "recovered",
                         "low", "high"]], "08_by_strength", "The chosen methods at each strength.")
scores = {"roc_auc": "ROC-AUC", "balanced_accuracy": "balanced accuracy"}
order = pooled[pooled["pretrained"] & ~pooled["control"]].groupby("method")["change"].mean().sort_values(ascending=False).index
order = [*(order if len(order) else pooled.loc[~pooled["control"], "method"].unique()), *pooled.loc[pooled["control"], "method"].unique()]

# %% [markdown]
# Fitted on *other* effects than the one tested. An arrow a model and effect: up is better on effected clips, left is worse on
# clean ones.

# %%
transfer = pooled[pooled["condition"] == ("transfer" if (pooled["condition"] == "transfer").any() else "own")]
ranked = transfer.assign(place=transfer["method"].map(order.index)).sort_values("place", kind="stable")
study.figure(plots.gain_and_cost(ranked[ranked["metric"] == "balanced_accuracy"], label="balanced accuracy"), "08_balanced_accuracy",
             "Change of balanced accuracy on effected clips against that on clean clips, for methods fitted on other effects.")

# %%
study.figure(plots.gain_and_cost(ranked[ranked["metric"] == "roc_auc"], label="ROC-AUC"), "08_roc_auc",
             "Change of ROC-AUC on effected clips against that on clean clips, for methods fitted on other effects.")

# %% [markdown]
# Means over the pretrained models and effects, in hundredths, and in how many pairs the gain is beyond chance after Holm's correction:

# %%
trained = pooled[pooled["pretrained"] & ~pooled["control"]]
trained = trained.assign(gain=100 * trained["change"], clean=-100 * trained["cost"],
                         beyond_chance=(trained["p_holm"] < 0.05) & (trained["change"] > 0))
summary = trained.groupby(["condition", "method", "metric"], sort=False).agg(
    gain=("gain", "mean"), clean=("clean", "mean"), beyond_chance=("beyond_chance", "sum"), of_pairs=("gain", "size"))
summary = summary.reindex(order, level="method").unstack("metric")
words = {"gain": "gain, effected", "clean": "change, clean", "beyond_chance": "gains beyond chance", "of_pairs": "of pairs"}
summary.rename(index=projection_title, level="method").rename(columns=scores, level="metric").rename(columns=words, level=0).round(1)

# %% [markdown]
# ## What a user gets who chooses on training songs
#
# One method for each model and effect, chosen without the test songs and, in rows of `transfer`, without the tested effect:

# %%
chosen = pooled[pooled["chosen"] & pooled["pretrained"]]
shown(chosen, ["model", "pretrained", "effect", "condition", "method", "metric", "loss", "change", "change_low", "change_high", "cost",
               "recovered", "low", "high", "p_holm"], precision=3)

# %%
def share(condition, metric):
    """Loss recovered over all strengths that lose more than a hundredth, of all pairs."""
    lost = by_strength.query("pretrained and condition == @condition and metric == @metric and loss > 0.01")
    return lost["change"].sum() / lost["loss"].sum() if len(lost) else np.nan

for (condition, metric), part in chosen.groupby(["condition", "metric"], sort=False):
    clear = ((part["change"] > 0) & (part["p_holm"] < 0.05)).sum()
    print(f"{condition}, {scores[metric]}: the chosen method recovers {share(condition, metric):.0%} of what the effects cost over "
          f"{part['recovered'].notna().sum()} pairs that lose, a gain beyond chance in {clear} of {len(part)} pairs, "
          f"and clean clips change by {-100 * part['cost'].mean():+.1f} hundredths on average; "
          f"chosen: {', '.join(map(projection_title, part['method'].unique()))}")

# %% [markdown]
# ## Is an effect a linear map of embeddings?
#
# If it were, one map a strength would foresee where a clip goes: $e_s - c = A_s c + b_s$, fitted by ridge regression on training songs. How
# much of the test clips' movement it foresees; dots: the mean displacement alone, $A_s = 0$.

# %%
linear = study.collect(tables.linearity, n_resamples=study.profile.n_resamples, seed=study.seed)
study.table(linear, "08_linearity", "Share of the test clips' displacement energy that ridge maps of the clean embedding and the mean "
            "displacement foresee, by strength and (strength -1) over all.")
study.figure(plots.linearity_curves(linear[linear["strength"] >= 0]), "08_linearity",
             "Share of the movement of test clips that a linear map of the clean embedding foresees.")

# %%
def foreseen(s):
    """The same by hand, at one strength and penalty."""
    alpha = np.square(c - c.mean(axis=0)).sum() / min(len(c) - 1, features) or 1
    moved = (sweep.trajectories[s] - sweep.clean)[sweep.test].astype(float)
    fitted = Ridge(alpha=alpha).fit(c, e[s] - c).predict(sweep.clean[sweep.test].astype(float))
    return 1 - np.square(moved - fitted).sum() / (np.square(moved).sum() or 1)

folds = np.unique(sweep.songs[sweep.train], return_inverse=True)[1] % 3
_, package = linear_predictions(sweep.clean, sweep.trajectories, sweep.train, folds, penalties=[1.0])
moved = (sweep.trajectories - sweep.clean)[-1, sweep.test]
assert np.isclose(foreseen(-1), 1 - np.square(moved - package[-1, sweep.test]).sum() / (np.square(moved).sum() or 1), atol=1e-3)

# %%
for trained, part in linear[linear["strength"] < 0].groupby("pretrained", sort=False):
    print(f"{'Pretrained' if trained else 'Untrained'}: linear maps foresee {part['linear'].median():.0%} of the movement (median over "
          f"{len(part)} pairs, {part['linear'].min():.0%} to {part['linear'].max():.0%}), the mean displacement alone "
          f"{part['shift'].median():.0%}")

# %% [markdown]
# ## Use it on embeddings of your own
#
# A remedy is a scikit-learn transformer of clean embeddings `c` (clip, feature) and effected ones `e` (strength, clip, feature), kept as
# plain arrays, without pickle.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

with TemporaryDirectory() as folder:
    remedies.to_npz(remedies.WCCN().fit(e, c), Path(folder, "wccn.npz"))
    wccn = remedies.from_npz(Path(folder, "wccn.npz"))
print(wccn, "maps", sweep.clean.shape, "to", wccn.transform(sweep.clean).shape)

# %% [markdown]
# ## What this shows and what it does not
#
# The classifiers are linear and see one data set; transfer is asked once an effect. A gain that the control shares owes nothing to the
# effects. Claim C7 of [chapter 9](09_claims.ipynb) rests on the chosen method's share of the loss under transfer.
#
# *Next: [9. The claims](09_claims.ipynb)*
