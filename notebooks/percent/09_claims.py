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
# # 9. The claims: what holds?
#
# *Before: [8. Remedies](08_remedies.ipynb). Start: [1. The data](01_data.ipynb)*
#
# The study's conclusions as claims, each with a statistic, a 95 % interval over songs and a line drawn beforehand. *Supported*: the whole
# interval lies on the claim's side. *Not supported*: on the other side, **which is not "false"**. *Inconclusive*: the interval holds the
# line, or this run could not have seen the opposite. Untrained weights never earn a verdict.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

from aesens import plots, tables
from aesens.plots.frames import shown
from aesens.plots.outputs import with_other_runs
from aesens.plots.style import number
from aesens.plots.titles import model_title, sweep_title
from aesens.study import Study
from aesens.tables import claims

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The answers
#
# For someone who uses embeddings, made from the table below.

# %%
from aesens.tables.answers import answers

study.require_split()
verdicts = claims.of_study(study).assign(data=study.source.title)
study.table(verdicts, "09_claims", "Claims under test: statistic, 95 % interval over songs, line, verdict, and the twin.")
lines = answers(verdicts)
Markdown("\n".join(f"- {line}" for line in lines))

# %%
study.figure(plots.claims_map(verdicts), "09_claims",
             "Verdict and statistic of each claim for each model and effect, the untrained twin's in small figures.\n"
             + "\n".join(line.replace("*", "") for line in lines))

# %% [markdown]
# ## The claims and their lines
#
# The study states its conclusions in words. **[fix]** Here each has a number; what its line was before, and why it changed, stands beside
# it. None depends on a run of this study. **[beyond]** C7, the second line of C4, the order of strengths in C1 and C3a, and the twins are ours.

# %%
definitions = claims.definitions()
definitions.style.hide(axis="index").set_properties(**{"text-align": "left", "vertical-align": "top"})

# %% [markdown]
# Before that, is there anything to judge? An embedding that hardly moves still has an order of rounding errors; where nothing is lost
# nothing can be repaired.

# %%
gates = claims.gates()
gates.style.hide(axis="index").set_properties(**{"text-align": "left", "vertical-align": "top"})

# %% [markdown]
# ## One verdict by hand
#
# C1 for the first model and effect. How the distance of each clip grows with strength, and Student's t over songs:

# %%
from scipy.stats import spearmanr, t

sweep = study.sweep(study.models[0], study.effects[0])
unit = [x.astype(float) / np.linalg.norm(x.astype(float), axis=-1, keepdims=True) for x in (sweep.trajectories, sweep.clean)]
distance = 1 - (unit[0] * unit[1]).sum(axis=-1).round(12)  # (strength, clip)
strength = sweep.effect.departure(sweep.parameters)
rho = np.nan_to_num([spearmanr(strength, of_clip).statistic for of_clip in distance.T])  # a clip that never moves: 0

n = len(set(sweep.songs))
parts = pd.Series(rho - rho.mean()).groupby(sweep.songs).sum() / len(rho)  # songs, not clips, are independent
half = t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1) * (parts**2).sum())
low, high = max(rho.mean() - half, -1), min(rho.mean() + half, 1)

# %% [markdown]
# The p-value of the order is worked in [chapter 4](04_sensitivity.ipynb). Holm's correction multiplies the smallest p of the claim's
# pretrained pairs by their number, the next by one less, and so on.

# %%
response = study.collect(tables.response, n_permutations=study.profile.n_permutations,
                         n_resamples=study.profile.n_resamples, seed=study.seed)
row = response.iloc[0]
family = np.sort(response.loc[response["pretrained"].astype(bool), "p"])
corrected = np.minimum(np.maximum.accumulate(family * np.arange(len(family), 0, -1)), 1)
p_holm = corrected[np.searchsorted(family, row["p"])] if row["pretrained"] else np.nan

# %%
# The line, and before it the gates: songs enough, movement enough, an order that matters.
line, alpha = (claims.entries()[0]["C1"][name] for name in ("threshold", "alpha"))
least = claims.entries()[1]["movement"]["threshold"]
if n < 6:
    verdict = "inconclusive"
elif row["moved_high"] < least or high < line:
    verdict = "not supported"
elif row["moved_low"] <= least or row["p_floor"] * len(family) > alpha:
    verdict = "inconclusive"
elif p_holm >= alpha:
    verdict = "not supported"
else:
    verdict = "supported" if low > line else "inconclusive"

# %%
ours = verdicts.query("claim == 'C1' and model == @row.model and effect == @row.effect").iloc[0]
print(f"{sweep_title(sweep)}: {rho.mean():.3f} [{low:.3f}, {high:.3f}] over {n} songs against {line:g}, p = {row['p']:.4f}; "
      f"verdicts of the seeds: {ours['seeds'] or 'none, untrained'}")
assert np.isclose(rho.mean(), ours["statistic"], atol=1e-3)
assert n < 6 or np.allclose([low, high], [ours["low"], ours["high"]], atol=1e-3)
assert ours["verdict"] in (verdict, "control") or ours["reason"] == "seeds"

# %% [markdown]
# ## How often are verdicts right?
#
# On synthetic embeddings whose truth is known (`benchmarks/verdicts.py`). *Clear*: the truth lies far from the line; *demo's size*: the
# same, of the demo's songs and strengths. *Threshold*: on a line, where one verdict in forty should be wrong; p is the chance of so many
# at that rate. *Songs on or off*: so too, each song answering fully or not at all.

# %%
from scipy.stats import binomtest

from aesens.cache import from_root

truth = pd.read_csv(from_root("benchmarks/results/verdicts.csv"))
truth["wrong"] = (truth["error_rate"] * truth["seeds"]).round().astype(int)
rates = truth.groupby(["case", "claim"]).agg(cells=("kind", "size"), verdicts=("seeds", "sum"), wrong=("wrong", "sum"),
                                             worst=("error_rate", "max"))
rates["p"] = [binomtest(r.wrong, r.verdicts, 0.025, alternative="greater").pvalue for r in rates.itertuples()]
rates.rename(columns={"worst": "largest rate of a cell"}).style.format({"largest rate of a cell": "{:.1%}", "p": "{:.2f}"})

# %%
shared = truth[(truth["claim"] == "C3a") & truth["kind"].str.match("unordered|circle")]
shared[["case", "kind", "seeds", "supported", "not supported", "inconclusive"]].style.hide(axis="index")

# %% [markdown]
# ## What could have been seen?
#
# How often C2 and C5 are decided as the truth grows:

# %%
power = pd.read_csv(from_root("benchmarks/results/power.csv"))
study.figure(plots.power_curves(power), "09_power",
             "Share of synthetic data sets for which C2 and C5 are supported (lines) and not supported (dots), by the share "
             "of the path that one step carries and by the share of the loss that is recovered.")

# %% [markdown]
# In this run: half of the interval of each statistic; for C2 the share of the path that one step must carry to show.

# %%
seen = verdicts[verdicts["verdict"] != claims.CONTROL].pivot_table(
    index=["model", "effect"], columns="claim", values="visible", sort=False)
seen = seen.rename(index=model_title, level="model").rename(index=plots.effect_column, level="effect")
seen.rename_axis(columns=None).style.format(number, na_rep="")

# %% [markdown]
# ## Every verdict
#
# *Reason*, where it was not the interval alone: see the key. *Twin*: the same of the untrained network. *Seeds*: verdicts of runs that
# differ in every draw; where they do not agree, nothing is decided.

# %%
columns = ["claim", "model", "pretrained", "effect", "statistic", "low", "high", "songs", "p_holm", "verdict", "reason",
           "seeds", "twin", "twin_low", "twin_high", "visible"]
shown(verdicts, columns, p_holm="{:.3g}", songs="{:.0f}")

# %%
met = set(verdicts["reason"])
Markdown("\n".join(f"- *{name}*: {text}" for name, text in claims.REASONS.items() if name in met))

# %%
methods = verdicts.dropna(subset="methods")
shown(methods, ["model", "pretrained", "effect", "methods", "helps", "harms"], methods="{:.0f}", helps="{:.0f}", harms="{:.0f}")

# %% [markdown]
# The last table: how many of the methods that C5 pools change balanced accuracy for better and for worse, after Holm's correction.
#
# ## Do they hold on other data? [beyond]
#
# Beside this run every other whose tables lie under `figures/`.

# %%
runs = with_other_runs(study.out, "09_claims", verdicts)
runs = runs[runs["verdict"] != claims.CONTROL]
runs["found"] = [r.verdict + (": {} [{}, {}]".format(*map(number, (r.statistic, r.low, r.high))) if np.isfinite(r.statistic) else "")
                 for r in runs.itertuples()]
beside = runs.pivot_table(index=["claim", "model", "effect"], columns="data", values="found", aggfunc="first", sort=False)
beside = beside.rename(index=model_title, level="model").rename(index=plots.effect_column, level="effect")
beside.rename_axis(columns=None).style.format(na_rep="")

# %%
both = beside.dropna().map(lambda found: found.partition(":")[0])
print(f"{(both.nunique(axis=1) == 1).sum()} of {len(both)} verdicts are the same on {' and on '.join(both.columns)}"
      if both.shape[1] > 1 else "There is no other run to compare with.")

# %% [markdown]
# ## Your own line
#
# A dictionary away; nothing is computed again. Here C3a asks for more, and C5 and C7 are judged by ROC-AUC, as the study judges. What
# changes:

# %%
mine = {"C3a": {"threshold": 0.9}, "C5": {"metric": "roc_auc"}, "C7": {"metric": "roc_auc"}}
own = claims.of_study(study, mine)
changed = own[(own["verdict"] != verdicts["verdict"]) & (own["verdict"] != claims.CONTROL)]
shown(changed.assign(before=verdicts.loc[changed.index, "verdict"]),
      ["claim", "model", "pretrained", "effect", "statistic", "low", "high", "before", "verdict"])

# %% [markdown]
# ## What this shows and what it does not
#
# A verdict speaks of this run's data, models and strengths. The study's own question is answered by the profile `paper` on IRMAS with
# OpenL3, PANNs and Microsoft's CLAP; other networks are **[beyond]** it. Where the truth lies on a line, one verdict in forty falls on the
# wrong side of it.
