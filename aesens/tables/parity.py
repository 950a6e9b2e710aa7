"""The parity report: how far aesens's networks are from the packages they come from, with the same weights.

``tests/parity/run.sh`` writes ``figures/parity/parity.csv``: one row a model, variant, signal and stage. Stages are the
``waveform`` at the model's rate, the ``spectrogram`` and the ``embedding``, each computed by both sides from the same
input; ``file`` is the embedding of a wav file that Microsoft's CLAP package reads by itself, here under the protocol
``study``; ``own resampler`` is the embedding that the package gives from the clip at its native rate, with its own
resampling, and ``own 8-bit arithmetic`` what YAMNet's graph gives with its activations rounded to 8 bits.

Conventions: ``max_rel`` is the largest absolute difference over the largest absolute value of the reference;
``cosine_distance`` is the largest over all frames.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from aesens.cache import from_root
from aesens.models import MODELS

__all__ = ["report", "summary", "versions"]


def report(folder: str | Path | None = None) -> pd.DataFrame:
    """Read ``parity.csv`` of a folder, by default ``figures/parity`` of the clone.

    Raises
    ------
    ValueError
        If there is none.
    """
    return pd.read_csv(_made(folder, "parity.csv"))


def summary(folder: str | Path | None = None) -> pd.DataFrame:
    """Condense the report to one row a model, with the largest difference of each stage.

    Returns
    -------
    pandas.DataFrame
        Indexed by the model's name: the package compared with, the number of comparisons of embeddings, the
        largest absolute difference of waveforms and spectrograms (in the spectrogram's unit), the largest
        relative difference and cosine distance of embeddings, the latter of files too, and the cosine distance
        where a package resamples or rounds by itself.
    """
    table = report(folder)
    order = [name for name in MODELS if name in set(table["model"])]
    groups = table.groupby("model")
    by_stage = table.pivot_table(
        index="model", columns="stage", values=["max_abs", "max_rel", "cosine_distance"], aggfunc="max"
    )
    columns = {
        "waveform, abs.": ("max_abs", "waveform"),
        "spectrogram, abs.": ("max_abs", "spectrogram"),
        "embedding, rel.": ("max_rel", "embedding"),
        "embedding, cosine": ("cosine_distance", "embedding"),
        "file, cosine": ("cosine_distance", "file"),
        "own resampler, cosine": ("cosine_distance", "own resampler"),
        "own 8-bit arithmetic, cosine": ("cosine_distance", "own 8-bit arithmetic"),
    }
    found = pd.DataFrame(
        {
            "compared with": groups["reference"].first(),
            "comparisons": (table["stage"] == "embedding").groupby(table["model"]).sum(),
            **{title: by_stage[key] for title, key in columns.items() if key in by_stage},
        }
    )
    return found.loc[order].rename_axis(None)


def versions(folder: str | Path | None = None) -> pd.Series:
    """Versions of the packages that the report was made with, by name."""
    about = json.loads(_made(folder, "provenance/parity.csv.json").read_text())
    return pd.Series(about["packages"], name="version")


def _made(folder: str | Path | None, name: str) -> Path:
    path = from_root(folder or Path("figures") / "parity") / name
    if not path.is_file():
        raise ValueError(f"there is no parity report {path}; tests/parity/run.sh writes it")
    return path
