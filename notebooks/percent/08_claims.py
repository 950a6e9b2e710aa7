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
# # 8. The claims: what holds?
#
# *Before: [7. Classification](07_classification.ipynb). Start: [1. The data](01_data.ipynb)*
#
# The study's conclusions as six claims, each with a statistic, an interval, and a threshold that was written down in
# `aesens/claims.toml` before the statistic was computed. A verdict is *supported* if the whole 95 % interval lies on the
# claim's side of the threshold, *not supported* if it lies on the other, *inconclusive* if it holds the threshold.
# **Untrained weights never earn a verdict**: they are the control, and their numbers are shown without one.

# %% tags=["parameters"]
# Set by ./run_all.sh; None takes the profile's own value.
profile = "demo"
models = None
effects = None
instruments = None
weights = None
data = None
seed = None
jobs = None
device = None
backend = None
pooling = None
precision = None
weights_file = None
out = None

# %%
from aesens import claims, plots
from aesens.effects import effect
from aesens.names import model_title
from aesens.study import Study

plots.use_style()
study = Study(profile, models=models, effects=effects, instruments=instruments, weights=weights,
              data=data, seed=seed, jobs=jobs, device=device, out=out,
              backend=backend, pooling=pooling, precision=precision, weights_file=weights_file)
study

# %% [markdown]
# ## The thresholds
#
# **[fix]** Two statistics were chosen so that they say the right thing on synthetic embeddings whose geometry is known
# (`aesens/synthetic.py`, error rates in `benchmarks/results/synthetic_truth.csv`). C3 reads strength along a direction
# fitted with a ridge penalty: the unpenalised global CCA of [chapter 5](05_trajectories.ipynb), with more features than
# independent clips, fails on other songs even where a direction exists. C2 compares the longest step with its
# neighbours too, so that smooth acceleration does not pass for a jump. Both statistics are in the chapters' tables:
# `05_decoding`, rows of all instruments together, and `04_response`.

# %%
claims.definitions().style.hide(axis="index").set_properties(**{"text-align": "left"})

# %% [markdown]
# ## The verdicts

# %%
study.require_split()
verdicts = study.claims()
study.table(verdicts, "08_claims", "Claims under test: statistic, 95 % interval over songs, threshold and verdict.")
study.figure(plots.claims_map(verdicts), "08_claims",
             "Verdict and statistic of each claim for each model and effect; grey cells are untrained controls.")

# %%
counted = verdicts.groupby(["claim", "title", "verdict"]).size().unstack(fill_value=0)
counted

# %% [markdown]
# ## Every number

# %%
shown = verdicts.drop(columns=["title"]).style.format(precision=3, na_rep="–").hide(axis="index")
shown

# %% [markdown]
# ## Which responses are discontinuous
#
# Claim C2 asks for names:

# %%
jumps = verdicts[(verdicts["claim"] == "C2") & (verdicts["verdict"] == "supported")]
for row in jumps.itertuples():
    print(f"{model_title(row.model)}, {effect(row.effect).title.lower()}: "
          f"longest step {row.statistic:.1f} typical steps [{row.low:.1f}, {row.high:.1f}]")
print(f"{len(jumps)} of {(verdicts['claim'] == 'C2').sum()} model and effect pairs")

# %% [markdown]
# ## What this shows and what it does not
#
# A verdict speaks of this run's data, models and strengths, named in the first cell. On rendered clips it tests the
# method; the study's own question is answered by the profile `paper` on IRMAS with pre-trained OpenL3, PANNs and CLAP.
# "Not supported" is not "false": it says that this run's interval lies on the other side of a line that someone drew.
# The line stands in `aesens/claims.toml`; draw your own and run this chapter again.
