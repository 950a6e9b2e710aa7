"""Inputs of the reference vectors: synthetic signals from code, and a few recordings where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RATE = 16000
SAMPLES = 3 * RATE

#: Beside the repository; the tests that use them skip where they are absent.
RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
RECORDED = ("cel/00353774.wav", "sax/2f9c5f62.wav", "vio/0e7cd4eb.wav")


def synthetic() -> dict[str, np.ndarray]:
    """Three mono signals of 3 s at 16 kHz, float32: a chirp, coloured noise in bursts, and notes with harmonics."""
    t = np.arange(SAMPLES) / RATE
    # RandomState is frozen, so the noise is the same under every numpy.
    noise = np.random.RandomState(20250406).standard_normal(SAMPLES)
    chirp = 0.4 * np.sin(2 * np.pi * 80 / np.log(75) * 3 * (75 ** (t / 3) - 1))
    coloured = np.convolve(noise, np.exp(-np.arange(24) / 6), mode="same")
    bursts = 0.05 * coloured * (1 + np.sign(np.sin(2 * np.pi * 2 * t))) + 0.002 * noise
    notes = np.zeros(SAMPLES)
    for start, pitch in ((0.0, 220.0), (0.8, 277.18), (1.5, 329.63), (2.2, 440.0)):
        since = np.clip(t - start, 0, None)
        envelope = np.exp(-3 * since) * (1 - np.exp(-200 * since))
        notes += envelope * sum(0.25 / k * np.sin(2 * np.pi * k * pitch * since) for k in range(1, 9))
    signals = {"chirp": chirp, "bursts": bursts, "notes": notes}
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


def recorded() -> dict[str, np.ndarray]:
    """The recordings of `RECORDED` that are at hand, their first 3 s as mono at 16 kHz."""
    import soundfile
    import soxr

    signals = {}
    for name in RECORDED:
        if (RECORDINGS / name).exists():
            audio, rate = soundfile.read(RECORDINGS / name, dtype="float32", always_2d=True)
            signals[name] = soxr.resample(audio.mean(axis=1), rate, RATE)[:SAMPLES].astype(np.float32)
    return signals
