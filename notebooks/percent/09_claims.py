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
# *Before: [7. Classification](07_classification.ipynb). Start: [1. The data](01_data.ipynb)*
#
# The study's conclusions as six claims, each with a statistic, an interval, and a threshold that stands in
# `aesens/tables/claims.toml` and does not depend on any run. A verdict is *supported* if the whole 95 % interval lies on the
# claim's side of the threshold, *not supported* if it lies on the other, *inconclusive* if it contains the threshold.
# **Untrained weights never earn a verdict**: they are the control, and their numbers are shown without one.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
import pandas as pd
from IPython.display import Markdown

from aesens import plots, tables
from aesens.cache import from_root
from aesens.effects import effect
from aesens.plots.frames import shown
from aesens.plots.outputs import with_other_runs
from aesens.plots.titles import model_title
from aesens.study import Study
from aesens.tables import claims

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The answers
#
# What the table further down says of each claim, in words, for the networks with pretrained weights:

# %%
study.require_split()
verdicts = claims.of_study(study).assign(data=study.source.title)
study.table(verdicts, "09_claims", "Claims under test: statistic, 95 % interval over songs, threshold and verdict.")
answers = claims.answers(verdicts)
Markdown("\n".join(f"- **{row['claim']}** {row['text']} *{row['answer'][0].upper() + row['answer'][1:]}.*" +
                   (f" ({row['supported pairs']})" if 0 < row["supported"] < row["pretrained pairs"] else "")
                   for row in answers.to_dict("records")))

# %%
study.figure(plots.claims_map(verdicts), "09_claims",
             "Verdict and statistic of each claim for each model and effect; grey cells are untrained controls. "
             + " ".join(f"{row['claim']}: {row['answer']}." for row in answers.to_dict("records")))

# %% [markdown]
# ## The thresholds
#
# **[fix]** The study states its conclusions in words. Here each has a number, chosen so that it says the right thing on
# synthetic embeddings whose geometry is known. C2 asks whether a step is longer than smooth growth would make it, since on
# a coarse grid any response that accelerates ends in a long step. C3 reads strength along a direction fitted with a ridge
# penalty: the unpenalised global CCA of [chapter 5](05_trajectories.ipynb), with more features than independent clips,
# fails on other songs even where a direction exists. The statistics are in the chapters' tables: `04_response`,
# `05_decoding` (rows of all instruments together), `05_geometry` and `07_changes`.

# %%
definitions = claims.definitions()
definitions.style.hide(axis="index").set_properties(**{"text-align": "left"})

# %% [markdown]
# Before a claim is judged, it is asked whether there is anything to judge. An embedding that hardly moves still has an
# order of rounding errors and a dimension of noise; and where an effect costs a classifier nothing, no projection can
# repair it.

# %%
gates = claims.gates()
gates.style.hide(axis="index").set_properties(**{"text-align": "left"})

# %% [markdown]
# ## One verdict by hand
#
# Claim C4 for the first model and effect: the interval of its statistic from [chapter 5](05_trajectories.ipynb), the
# threshold, then the gate, whose statistic is that of [chapter 4](04_sensitivity.ipynb).

# %%
settings = {"resamples": study.profile.resamples, "seed": study.seed}
share = study.collect(tables.geometry, **settings).iloc[0]
movement = study.collect(tables.response, permutations=study.profile.permutations, **settings).iloc[0]
threshold = float(definitions.set_index("claim").loc["C4", "supported if"].removeprefix("<"))
least = float(gates.set_index("gate").loc["movement", "passed if"].removeprefix(">"))

verdict = "inconclusive"
if movement["moved_low"] > least:
    if share["energy_high"] < threshold:
        verdict = "supported"
    elif share["energy_low"] > threshold:
        verdict = "not supported"

# %%
ours = verdicts.query("claim == 'C4' and model == @share.model and effect == @share.effect").iloc[0]
print(f"{model_title(share['model'], share['pretrained'])}, {effect(share['effect']).title.lower()}: "
      f"[{share['energy_low']:.3f}, {share['energy_high']:.3f}] against {threshold:g}; moved at least "
      f"{movement['moved_low']:.3f} of the distance between two clips, {least:g} is asked for: {ours['verdict']}")
assert ours["verdict"] == (verdict if share["pretrained"] else "control")

# %% [markdown]
# ## How often are the verdicts right?
#
# On synthetic embeddings whose truth is known, over many seeds: the share of verdicts as expected,
# and the share of the opposite verdict. The last rows are the hardest: the truth lies exactly at the threshold, where
# *supported* should come out in at most one case in twenty. For C3 it comes out a little more often where songs are few,
# since a bootstrap over few songs gives intervals that are a little short. Made by `benchmarks/analysis.py`.

# %%
truth = pd.read_csv(from_root("benchmarks/results/synthetic_truth.csv"))
truth["case"] = truth["expected"].eq("any but supported").map({True: "truth at the threshold", False: "truth is clear"})
rates = truth.groupby(["case", "claim"], sort=True).agg(
    cases=("kind", "size"), seeds=("seeds", "sum"), correct=("correct", "sum"), worst=("error_rate", "max"))
rates = rates.assign(correct=rates["correct"] / rates["seeds"]).sort_index(level="case", ascending=False, sort_remaining=False)
rates.rename(columns={"correct": "as expected", "worst": "largest error rate"}).style.format(
    {"as expected": "{:.1%}", "largest error rate": "{:.1%}"})

# %% [markdown]
# ## Do they hold on other data? [beyond]
#
# Runs on other data whose tables lie under `figures/`, such as the real recordings of `figures/recordings`, beside this
# one: pairs whose verdict is not the same.

# %%
runs = with_other_runs(study.out, "09_claims", verdicts)
runs = runs[runs["pretrained"].astype(bool) & runs["effect"].isin(study.effects)]
beside = runs.pivot(index=["claim", "model", "effect"], columns="data", values="verdict").dropna()
beside = beside.rename(index=model_title, level="model").rename(index=plots.effect_column, level="effect")
differs = beside[beside.nunique(axis=1) > 1]
print(f"{len(differs)} of {len(beside)} verdicts differ between {' and '.join(beside.columns)}"
      if len(beside.columns) > 1 else "There is no other run to compare with.")
differs.rename_axis(columns=None)

# %% [markdown]
# ## Which responses are discontinuous
#
# Claim C2 asks for names:

# %%
jumps = verdicts[(verdicts["claim"] == "C2") & (verdicts["verdict"] == "supported")]
for row in jumps.itertuples():
    print(f"{model_title(row.model)}, {effect(row.effect).title.lower()}: one step is {row.statistic:.1f} "
          f"[{row.low:.1f}, {row.high:.1f}] times what smooth growth leads to")
print(f"{len(jumps)} of {((verdicts['claim'] == 'C2') & verdicts['pretrained']).sum()} pairs of a pretrained model and an effect")

# %% [markdown]
# ## Every number
#
# *Gate* names what kept a verdict open; *helps* and *harms* count the methods whose interval leaves out 0.

# %%
shown(verdicts.drop(columns=["title", "data"]), precision=3, threshold="{:g}", helps="{:.0f}", harms="{:.0f}")

# %% [markdown]
# ## What this shows and what it does not
#
# A verdict speaks of this run's data, models and strengths, named in the first cell. On rendered clips it tests the
# method; the study's own question is answered by the profile `paper` on IRMAS with pre-trained OpenL3, PANNs and
# Microsoft's CLAP 2023. Verdicts on LAION's CLAP, YAMNet and musicnn are **[beyond]** it, and C6 is asked of the
# study's models only ([chapter 3](03_embeddings.ipynb)). "Not supported" is not "false": it says that this run's
# interval lies on the other side of a line that someone drew. The verdicts are many and each stands at its own 95 %:
# of twenty that hold at the edge one may be wrong. The lines stand in `aesens/tables/claims.toml`; draw your own
# with `claims.of_study(study, {"C1": {"threshold": 0.7}})` and run this chapter again.
