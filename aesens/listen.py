"""Audio for a page: small players, and the versions of a clip along a sweep."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
import pandas as pd
import soundfile as sf
from IPython.display import HTML

from aesens.effects import Effect

__all__ = ["effect_levels", "player", "sweep_versions"]


def player(audio: np.ndarray, sample_rate: int, title: str = "") -> HTML:
    """An audio element with the sound inside, as mp3.

    Parameters
    ----------
    audio : np.ndarray, shape (channels, samples), float32
        Played at its own level: differences of gain are heard. Values beyond full scale are clipped.
    sample_rate : int
        In Hz.
    title : str
        Shown beside the player.

    Returns
    -------
    IPython.display.HTML

    Examples
    --------
    >>> "<audio controls" in player(np.zeros((1, 4410), np.float32), 44100, "Silence").data
    True
    """
    buffer = io.BytesIO()
    # A page holds a dozen of these: a bit rate that keeps it small.
    sf.write(buffer, np.clip(audio.T, -1, 1), sample_rate, format="MP3", compression_level=0.8)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return HTML(
        f'<figure style="margin:0.3em 0"><figcaption>{escape(title)}</figcaption>'
        f'<audio controls preload="none" aria-label="{escape(title)}" src="data:audio/mpeg;base64,{encoded}"></audio>'
        "</figure>"
    )


def sweep_versions(kind: Effect, audio: np.ndarray, sample_rate: int, n: int) -> list[tuple[str, np.ndarray]]:
    """The clean clip and `n` strengths of an effect, with titles.

    Parameters
    ----------
    kind : Effect
    audio : np.ndarray, shape (channels, samples), float32
    sample_rate : int
        In Hz.
    n : int
        How many strengths, at least 2.

    Returns
    -------
    list of (str, np.ndarray)

    Examples
    --------
    >>> from aesens.effects import effect
    >>> noise = np.random.default_rng(0).standard_normal((1, 4410)).astype(np.float32)
    >>> [title for title, _ in sweep_versions(effect("gain"), noise, 44100, n=2)]
    ['Clean', 'Gain -40 dB', 'Gain 5 dB']
    """
    unit = f" {kind.unit}" if kind.unit else ""
    return [("Clean", audio)] + [
        (f"{kind.parameter} {p * kind.display:.3g}{unit}", kind(audio, sample_rate, p))
        for p in kind.parameters(n)
    ]


def effect_levels(kind: Effect, audio: np.ndarray, sample_rate: int) -> pd.DataFrame:
    """Level of an effect's result and of the change it makes, along its whole grid.

    Parameters
    ----------
    kind, audio, sample_rate
        As in `sweep_versions`.

    Returns
    -------
    pandas.DataFrame
        Columns ``effect``, ``parameter``, ``level_db`` and ``change_db``, both relative to the clean clip.

    Examples
    --------
    >>> from aesens.effects import effect
    >>> noise = np.random.default_rng(0).standard_normal((1, 4410)).astype(np.float32)
    >>> levels = effect_levels(effect("gain"), noise, 44100)
    >>> bool(np.allclose(levels["level_db"], levels["parameter"], atol=0.01))
    True
    """
    energy = float(np.square(audio, dtype=float).sum())
    rows = []
    for value in kind.grid:
        processed = kind(audio, sample_rate, value)
        changed = float(np.square(processed - audio, dtype=float).sum())
        rows.append(
            {
                "effect": kind.name,
                "parameter": value,
                "level_db": 10 * np.log10(float(np.square(processed, dtype=float).sum()) / energy),
                "change_db": 10 * np.log10(changed / energy) if changed else -np.inf,
            }
        )
    return pd.DataFrame(rows)
