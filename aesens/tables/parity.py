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

from aesens.models import MODELS
from aesens.paths import from_root
from aesens.plots.titles import model_title

__all__ = ["report", "summary", "versions"]

_FOLDER = Path("figures") / "parity"


def report(folder: str | Path | None = None) -> pd.DataFrame:
    """Read the report.

    Parameters
    ----------
    folder : path-like, optional
        Where ``parity.csv`` lies; ``figures/parity`` of the clone by default.

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``variant``, ``reference``, ``signal``, ``stage``, ``max_abs``, ``max_rel``,
        ``cosine_distance``.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> {"model", "stage", "max_rel"} <= set(report())
    True
    """
    path = from_root(folder or _FOLDER) / "parity.csv"
    if not path.is_file():
        raise ValueError(f"there is no parity report {path}; tests/parity/run.sh writes it")
    return pd.read_csv(path)


def summary(folder: str | Path | None = None) -> pd.DataFrame:
    """Condense the report to one row a model, with the largest difference of each stage.

    Parameters
    ----------
    folder : path-like, optional
        See `report`.

    Returns
    -------
    pandas.DataFrame
        Indexed by the model's title: the package compared with, the number of comparisons of embeddings, the
        largest absolute difference of waveforms and spectrograms (in the spectrogram's unit), the largest
        relative difference and cosine distance of embeddings, the latter of files too, and the cosine distance
        where a package resamples or rounds by itself.

    Raises
    ------
    ValueError
        If there is no report.

    Examples
    --------
    >>> bool((summary()["embedding, cosine"] < 1e-4).all())
    True
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
    return found.loc[order].rename(index=model_title).rename_axis(None)


def versions(folder: str | Path | None = None) -> pd.Series:
    """Versions of the packages that the report was made with, by name; see `report` for the folder.

    Examples
    --------
    >>> "torch" in versions()
    True
    """
    path = from_root(folder or _FOLDER) / "provenance" / "parity.csv.json"
    if not path.is_file():
        raise ValueError(f"there is no {path}; tests/parity/run.sh writes it")
    return pd.Series(json.loads(path.read_text())["packages"], name="version")
