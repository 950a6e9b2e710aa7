"""Audio for a page: small players, and the versions of a clip along a sweep."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

import numpy as np
import pandas as pd
import soundfile as sf
from IPython.display import HTML

from aesens.data import Decoded
from aesens.effects import PROTOCOLS, Effect, render

__all__ = ["effect_levels", "player", "protocol_differences", "sweep_versions"]


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


def sweep_versions(kind: Effect, clip: Decoded, n: int, protocol: str) -> list[tuple[str, np.ndarray]]:
    """The clean clip and `n` strengths of an effect, with titles.

    Parameters
    ----------
    kind : Effect
    clip : Decoded
        Of `aesens.data.Dataset.decode`.
    n : int
        How many strengths, at least 2.
    protocol : {"study", "float"}
        See `aesens.effects.render`.

    Returns
    -------
    list of (str, np.ndarray)

    Examples
    --------
    >>> from aesens.effects import effect
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal((1, 4410)).astype(np.float32)
    >>> [title for title, _ in sweep_versions(effect("gain"), Decoded(noise, 44100), 2, "float")]
    ['Clean', 'Gain -40 dB', 'Gain 5 dB']
    """
    unit = f" {kind.unit}" if kind.unit else ""
    return [("Clean", clip.audio)] + [
        (f"{kind.parameter} {p * kind.display:.3g}{unit}", render(kind, clip, p, protocol))
        for p in kind.parameters(n)
    ]


def effect_levels(kind: Effect, clip: Decoded, protocol: str) -> pd.DataFrame:
    """Level of an effect's result and of the change it makes, along its whole grid.

    Parameters
    ----------
    kind, clip, protocol
        As in `sweep_versions`.

    Returns
    -------
    pandas.DataFrame
        Columns ``effect``, ``parameter``, ``level_db`` and ``change_db``, both relative to the clean clip.

    Examples
    --------
    >>> from aesens.effects import effect
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal((1, 4410)).astype(np.float32)
    >>> levels = effect_levels(effect("gain"), Decoded(noise, 44100), "float")
    >>> bool(np.allclose(levels["level_db"], levels["parameter"], atol=0.01))
    True
    """
    audio = clip.audio
    energy = float(np.square(audio, dtype=float).sum())
    rows = []
    for value in kind.grid:
        processed = render(kind, clip, value, protocol)
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


def protocol_differences(
    kinds: Iterable[Effect | None], clips: Iterable[Decoded], strengths: int | None = None
) -> pd.DataFrame:
    """How far the audio of the two protocols lies apart.

    Parameters
    ----------
    kinds : iterable of Effect or None
        None is the bare file, with no effect in between.
    clips : iterable of Decoded
    strengths : int, optional
        Of each effect, see `aesens.effects.Effect.parameters`.

    Returns
    -------
    pandas.DataFrame
        Columns ``effect`` (``"file"`` for the bare one), ``parameter`` (NaN for it), ``difference``, the mean absolute
        difference of the samples in steps of a 16-bit file (2^-15), and ``clipped``, the share of samples beyond full
        scale, which the file cannot hold; means over clips.

    Examples
    --------
    A negative sample loses a step, a positive one none:

    >>> half = np.array([[0.5, -0.5]], dtype=np.float32)
    >>> protocol_differences([None], [Decoded(half, 44100, bits=16)])["difference"].tolist()
    [0.5]
    """
    rows = []
    for clip in clips:
        for kind in kinds:
            for value in [np.nan] if kind is None else kind.parameters(strengths):
                filed, floating = (render(kind, clip, value, protocol) for protocol in PROTOCOLS)
                apart = np.abs(filed - floating).mean(dtype=float)
                clipped = np.mean((floating >= 1) | (floating < -1))
                rows.append(["file" if kind is None else kind.name, value, apart * 2**15, clipped])
    table = pd.DataFrame(rows, columns=["effect", "parameter", "difference", "clipped"])
    return table.groupby(["effect", "parameter"], sort=False, dropna=False).mean().reset_index()
