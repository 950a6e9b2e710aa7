"""Audio for a page: small players, and the versions of a clip along a sweep."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from itertools import product

import numpy as np
import pandas as pd
import soundfile as sf
from IPython.display import HTML

from aesens.data import Decoded
from aesens.effects import PROTOCOLS, Effect, render
from aesens.plots.style import number

__all__ = ["effect_levels", "player", "protocol_differences", "sweep_versions"]


def player(audio: np.ndarray, sample_rate: int, title: str = "", credit: str = "") -> HTML:
    """An audio element with the sound inside, as mp3.

    Parameters
    ----------
    audio : np.ndarray, shape (channels, samples), float32
        Played at its own level: differences of gain are heard. Values beyond full scale are clipped.
    sample_rate : int
        In Hz.
    title, credit : str
        Shown beside the player: what is heard, and whose it is (`aesens.data.clips.Dataset.credits`).
    """
    buffer = io.BytesIO()
    # A page holds a dozen of these: a bit rate that keeps it small.
    sf.write(buffer, np.clip(audio.T, -1, 1), sample_rate, format="MP3", compression_level=0.8)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    caption = escape(title) + (f" <small>({escape(credit)})</small>" if credit else "")
    return HTML(
        f'<figure style="margin:0.3em 0"><figcaption>{caption}</figcaption>'
        f'<audio controls preload="none" aria-label="{escape(title)}" src="data:audio/mpeg;base64,{encoded}"></audio>'
        "</figure>"
    )


def sweep_versions(kind: Effect, clip: Decoded, n: int, protocol: str) -> list[tuple[str, np.ndarray]]:
    """The clean clip and `n` strengths of an effect (at least 2), with titles; `protocol` as in `effects.render`.

    Examples
    --------
    >>> from aesens.effects import effect
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal((1, 4410)).astype(np.float32)
    >>> [title for title, _ in sweep_versions(effect("gain"), Decoded(noise, 44100), 2, "float")]
    ['Clean', 'Gain −40 dB', 'Gain 5 dB']
    """
    unit = f" {kind.unit}" if kind.unit else ""
    return [("Clean", clip.audio)] + [
        (f"{kind.parameter} {number(p * kind.display, '{:.3g}')}{unit}", render(kind, clip, p, protocol))
        for p in kind.parameters(n)
    ]


def effect_levels(kind: Effect, clip: Decoded, protocol: str) -> pd.DataFrame:
    """Level of an effect's result and of the change it makes, along its whole grid.

    Returns
    -------
    pandas.DataFrame
        Columns ``effect``, ``parameter``, ``level_db`` and ``change_db``, both in dB relative to the clean clip.
    """
    versions = [render(kind, clip, value, protocol) for value in kind.grid]
    clean, level, change = (
        np.array([np.square(audio, dtype=float).sum() for audio in several])
        for several in ([clip.audio], versions, [version - clip.audio for version in versions])
    )
    # A change of nothing is minus infinity.
    with np.errstate(divide="ignore"):
        columns = {"level_db": 10 * np.log10(level / clean), "change_db": 10 * np.log10(change / clean)}
    return pd.DataFrame({"effect": kind.name, "parameter": kind.grid, **columns})


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
    for clip, kind in product(clips, kinds):
        for value in [np.nan] if kind is None else kind.parameters(strengths):
            filed, floating = (render(kind, clip, value, protocol) for protocol in PROTOCOLS)
            apart = np.abs(filed - floating).mean(dtype=float)
            clipped = np.mean((floating >= 1) | (floating < -1))
            rows.append(["file" if kind is None else kind.name, value, apart * 2**15, clipped])
    table = pd.DataFrame(rows, columns=["effect", "parameter", "difference", "clipped"])
    return table.groupby(["effect", "parameter"], sort=False, dropna=False).mean().reset_index()
