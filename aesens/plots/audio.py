"""Waveform and spectrogram strips of an effect."""

from __future__ import annotations

import librosa
import matplotlib.pyplot as plt
import numpy as np

from aesens.effects import Effect
from aesens.plots.style import WIDTH

__all__ = ["effect_strip"]


def effect_strip(kind: Effect, versions: list[tuple[str, np.ndarray]], sample_rate: int) -> plt.Figure:
    """Waveforms above spectrograms, one column a version.

    Parameters
    ----------
    kind : Effect
    versions : list of (str, np.ndarray)
        Title and mono float32 audio ``(samples,)``; the clean clip first.
    sample_rate : int
        In Hz.
    """
    figure, axes = plt.subplots(
        2,
        len(versions),
        figsize=(WIDTH, 2.9),
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=(1, 2),
    )
    levels = [np.abs(librosa.stft(audio, n_fft=2048, hop_length=512)) for _, audio in versions]
    for (wave, spectrogram), (title, audio), level in zip(axes.T, versions, levels, strict=True):
        seconds = np.arange(len(audio)) / sample_rate
        wave.plot(seconds, audio, linewidth=0.3, color="#0072B2", rasterized=True)
        wave.set_title(title)
        image = spectrogram.imshow(
            librosa.amplitude_to_db(level, ref=levels[0].max(), top_db=None),
            origin="lower",
            aspect="auto",
            extent=(0, len(audio) / sample_rate, 0, sample_rate / 2000),
            cmap="magma",
            vmin=-90,
            vmax=0,
            rasterized=True,
        )
        spectrogram.set_xlabel("Time (s)")
    axes[0, 0].set_ylabel("Amplitude")
    axes[1, 0].set_ylabel("Frequency (kHz)")
    figure.colorbar(image, ax=axes[1], label="Level (dB)", pad=0.01, aspect=18)
    figure.suptitle(kind.title)
    return figure
