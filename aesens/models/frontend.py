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
    """Cut waveforms into overlapping frames, whole frames only.

    Parameters
    ----------
    waves : torch.Tensor, shape (batch, samples)
    length, hop : int
        In samples.

    Returns
    -------
    torch.Tensor, shape (batch, frame, length)
        A view; ``frame = (samples - length) // hop + 1``.

    Examples
    --------
    >>> frames_of(torch.arange(6.0)[None], length=3, hop=2)[0].tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    """
    return waves.unfold(1, length, hop)


def spectrum(waves: torch.Tensor, window: torch.Tensor, hop: int, n_fft: int) -> torch.Tensor:
    """Magnitudes of the short-time Fourier transform, uncentred.

    Parameters
    ----------
    waves : torch.Tensor, shape (batch, samples)
    window : torch.Tensor, shape (length,)
        Frames have its length and are zero-padded at their end to `n_fft`.
    hop, n_fft : int
        In samples.

    Returns
    -------
    torch.Tensor, shape (batch, frame, n_fft // 2 + 1)

    Examples
    --------
    >>> spectrum(torch.ones(1, 16), torch.ones(8), hop=4, n_fft=8)[0, 0, :2].tolist()
    [8.0, 0.0]
    """
    return torch.fft.rfft(frames_of(waves, len(window), hop) * window, n=n_fft).abs()


def take_patches(spectrogram: torch.Tensor, length: int, hop: int) -> torch.Tensor:
    """Cut spectrograms into patches of `length` frames every `hop` frames, whole patches only.

    Parameters
    ----------
    spectrogram : torch.Tensor, shape (batch, frame, band)
    length, hop : int
        In frames.

    Returns
    -------
    torch.Tensor, shape (batch, patch, length, band)

    Examples
    --------
    >>> take_patches(torch.zeros(1, 10, 64), length=4, hop=2).shape
    torch.Size([1, 4, 4, 64])
    """
    return spectrogram.unfold(1, length, hop).transpose(2, 3)


def htk_mel_filters(sample_rate: int, n_fft: int, bands: int, low: float, high: float) -> np.ndarray:
    """Triangular mel filters of unit height, spaced and linear on the HTK mel scale, as TensorFlow has them.

    Parameters
    ----------
    sample_rate, n_fft : int
        In Hz and samples.
    bands : int
        Number of filters.
    low, high : float
        Edges of the first and the last filter in Hz.

    Returns
    -------
    np.ndarray, shape (bands, n_fft // 2 + 1), float32
        The bin of 0 Hz has no weight.

    References
    ----------
    The HTK Book (S. Young et al.), section 5.4: ``mel = 1127 ln(1 + f / 700)``.

    Examples
    --------
    >>> htk_mel_filters(16000, 512, 64, 125.0, 7500.0).shape
    (64, 257)
    """

    def mel(frequency):
        return 1127.0 * np.log1p(np.asarray(frequency, dtype=np.float64) / 700.0)

    bins = mel(np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1))
    edges = np.linspace(mel(low), mel(high), bands + 2)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).clip(min=0.0)
    filters[:, 0] = 0.0
    return filters.astype(np.float32)
