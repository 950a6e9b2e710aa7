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
# # A template: one hypothesis against the stored embeddings
#
# *The study: [1. The data](01_data.ipynb). Adding things: [an effect](91_new_effect.ipynb), [a projection](92_new_projection.ipynb)*
#
# Start your own with `aesens new "some words"`, which copies this page. The example asks: **do louder clips move less?**
# A clip's level is known before any network sees it; if embeddings answered to level only, the distance under an effect
# should depend on it.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
import numpy as np
import pandas as pd

from aesens import plots
from aesens.analysis.distances import cosine_distance
from aesens.analysis.statistics import bootstrap_songs
from aesens.plots.frames import shown
from aesens.study import Study

plots.use_style()
study = Study(profile, **options)
study

# %% [markdown]
# ## The measure
#
# A measure is a function of one sweep (`.clean` (clip, feature), `.trajectories` (strength, clip, feature), `.songs`,
# `.instruments`, `.train`, `.test`) that returns a table. `study.collect` applies it to every model and effect and keeps
# the results; they are computed again when the function's text, its options or the embeddings change. Embeddings that
# earlier chapters stored are not computed again.

# %%
level = {clip: float(20 * np.log10(study.source.load(clip)[0].std())) for clip in study.dataset.table.index}

def louder_moves_less(sweep, *, level: dict, n_resamples: int, seed: int) -> pd.DataFrame:
    """Rank correlation between level and distance at the strongest end, with its 95 % interval over songs."""
    table = pd.DataFrame({"level": [level[clip] for clip in sweep.clips.index],
                          "distance": cosine_distance(sweep.clean, sweep.trajectories)[-1]})
    rho = lambda clips: table.iloc[clips].rank().corr().iloc[0, 1]
    interval = bootstrap_songs(rho, sweep.songs, n_resamples, seed=seed, by="indices")
    return pd.DataFrame([interval._asdict()]).rename(columns={"estimate": "rho"})

result = study.collect(louder_moves_less, level=level, n_resamples=min(1000, study.profile.n_resamples), seed=study.seed)
study.table(result, "90_louder", "Rank correlation between a clip's level and how far it moves.")
shown(result)

# %% [markdown]
# ## The figure
#
# The package's figures take tables with the columns `model`, `pretrained` and `effect` in front, as `collect` gives
# them.

# %%
study.figure(plots.heatmap(result, "rho", rows=["model", "pretrained"], column="effect", centre=0,
                           label="Rank correlation", row_title=plots.model_row, column_title=plots.effect_column),
             "90_louder", "Rank correlation between a clip's level and how far it moves, models down and effects across.")

# %% [markdown]
# ## What it means
#
# State here what was found, what it does not show, and what would decide it. An interval that holds 0 decides nothing.
