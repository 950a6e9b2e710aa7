"""Signal-processing pieces that the models share, in torch, so that they run on the device and in batches.

Conventions: waveforms are float32 ``(batch, samples)``; spectrograms are ``(batch, frame, bin)`` or ``(batch, frame,
band)``, time before frequency. Nothing here is padded or centred silently: `frames_of` cuts only whole frames, and
what a model adds at the edges stands in the model's own module.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["frames_of", "htk_mel_filters", "spectrum", "take_patches"]


def frames_of(waves: torch.Tensor, length: int, hop: int) -> torch.Tensor:
    """Cut waveforms ``(batch, samples)`` into whole frames ``(batch, frame, length)`` that overlap; a view."""
    return waves.unfold(1, length, hop)


def spectrum(waves: torch.Tensor, window: torch.Tensor, hop: int, n_fft: int) -> torch.Tensor:
    """Magnitudes of the short-time Fourier transform, uncentred.

    ``(batch, samples)`` to ``(batch, frame, n_fft // 2 + 1)``; frames have the length of `window` and are zero-padded
    at their end to `n_fft`.
    """
    return torch.fft.rfft(frames_of(waves, len(window), hop) * window, n=n_fft).abs()


def take_patches(spectrogram: torch.Tensor, length: int, hop: int) -> torch.Tensor:
    """Cut ``(batch, frame, band)`` into whole patches ``(batch, patch, length, band)``, one every `hop` frames."""
    return spectrogram.unfold(1, length, hop).transpose(2, 3)


def htk_mel_filters(sample_rate: int, n_fft: int, bands: int, low: float, high: float) -> np.ndarray:
    """Triangular mel filters of unit height, spaced and linear on the HTK mel scale, as TensorFlow has them.

    `bands` filters ``(bands, n_fft // 2 + 1)`` in float32, from `low` to `high` in Hz; the bin of 0 Hz has no weight.

    References
    ----------
    The HTK Book (S. Young et al.), section 5.4: ``mel = 1127 ln(1 + f / 700)``.
    """

    def mel(frequency):
        return 1127.0 * np.log1p(np.asarray(frequency, dtype=np.float64) / 700.0)

    bins = mel(np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1))
    edges = np.linspace(mel(low), mel(high), bands + 2)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).clip(min=0.0)
    filters[:, 0] = 0.0
    return filters.astype(np.float32)
