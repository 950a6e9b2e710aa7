"""What the parity tests share: signals, networks whose normalisations do something, and the report."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aesens.models.base import mono_at_rate
from aesens.plots import outputs

ROOT = Path(__file__).parents[2]
OUT = ROOT / "figures" / "parity"
RECORDINGS = ROOT.parent / "shared" / "recordings"

#: Largest cosine distance between embeddings of the same waveform.
TOLERANCE = 1e-6

#: The models that a complete report holds.
MODELS = {"openl3", "panns", "clap", "msclap", "yamnet", "musicnn"}

_PACKAGES = (
    *(
        "aesens",
        "numpy",
        "torch",
        "transformers",
        "librosa",
        "soxr",
        "resampy",
        "openl3",
        "tensorflow-cpu",
        "keras",
    ),
    *("kapre", "panns-inference", "torchlibrosa", "laion-clap", "msclap", "ai-edge-litert"),
)

_ROWS: list[dict] = []


def _tone(seconds, rate):
    """A decaying chord over a little noise."""
    t = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * f * t) / k for k, f in enumerate((220.0, 277.18, 329.63, 1760.0), 1))
    return 0.2 * chord * np.exp(-1.5 * t) + 0.003 * np.random.RandomState(1).standard_normal(len(t))


def _noise(seconds, rate):
    """Coloured noise in bursts, one channel unlike the other."""
    count = round(seconds * rate)
    t, random = np.arange(count) / rate, np.random.RandomState(2)
    coloured = np.convolve(random.standard_normal(count), np.exp(-np.arange(24) / 6), mode="same")
    return 0.08 * coloured * (1 + np.sign(np.sin(2 * np.pi * 2 * t)))


def synthetic() -> dict[str, tuple[np.ndarray, int]]:
    """Audio ``(channels, samples)`` and its rate, by name: several lengths, rates and channel counts."""

    def signal(rate, *channels):
        # Rounded to 16 bits, as files are: what lies below is nobody's sound but each program's own rounding.
        return (np.round(np.stack(channels) * 32767) / 32768).astype(np.float32), rate

    t = np.arange(3 * 44_100) / 44_100
    sweep = 0.9 * np.sin(2 * np.pi * 60 / np.log(300) * 3 * (300 ** (t / 3) - 1))
    return {
        "chord 0.5 s 16 kHz mono": signal(16_000, _tone(0.5, 16_000)),
        "noise 1 s 22.05 kHz mono": signal(22_050, _noise(1.0, 22_050)),
        "chord and noise 3 s 44.1 kHz stereo": signal(44_100, _tone(3.0, 44_100), _noise(3.0, 44_100)),
        "sweep 3 s 44.1 kHz mono": signal(44_100, sweep),
        "chord and noise 5 s 48 kHz stereo": signal(48_000, _tone(5.0, 48_000), _noise(5.0, 48_000)),
    }


def recorded() -> dict[str, tuple[np.ndarray, int]]:
    """The first 3 s of three recordings, where they are at hand."""
    import soundfile

    found = {}
    for name in ("cel", "sax", "vio"):
        for path in sorted((RECORDINGS / name).glob("*.wav"))[:1]:
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True, stop=3 * 48_000)
            found[f"recording of {name}, {audio.shape[1]} ch., {rate / 1000:g} kHz"] = (
                audio[: 3 * rate].T,
                rate,
            )
    return found


SIGNALS = synthetic() | recorded()


def at_rate(name: str, rate: int) -> torch.Tensor:
    """A signal as aesens hands it to a model, ``(1, samples)``."""
    return torch.from_numpy(mono_at_rate(*SIGNALS[name], rate))[None]


class Comparison:
    """Measures differences of one model and variant from its reference, and keeps them for the report."""

    def __init__(self, model: str, variant: str, reference: str):
        self.about = {"model": model, "variant": variant, "reference": reference}

    def measure(self, signal: str, stage: str, found, expected) -> dict:
        """Compare arrays of equal shape, features last.

        The relative difference is the largest absolute one over the largest absolute value of the reference; the
        cosine distance is the largest over all vectors of features.
        """
        found, expected = (np.asarray(x, dtype=np.float64) for x in (found, expected))
        assert found.shape == expected.shape, (found.shape, expected.shape)
        largest = np.abs(found - expected).max()
        a, b = (x.reshape(-1, x.shape[-1]) for x in (found, expected))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = (1 - (a * b).sum(axis=1)[norms > 0] / norms[norms > 0]).max(initial=0.0)
        row = {
            **self.about,
            "signal": signal,
            "stage": stage,
            "max_abs": largest,
            "max_rel": largest / max(np.abs(expected).max(), 1e-30),
            "cosine_distance": max(cosine, 0.0),
        }
        _ROWS.append(row)
        return row


def shake(network: torch.nn.Module, first: torch.nn.Module, seed: int = 5) -> torch.nn.Module:
    """Give every normalisation statistics and weights that do something; `first` sees decibels."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=random))
                module.bias.copy_(0.1 * torch.randn(module.bias.shape, generator=random))
                module.running_mean.copy_(0.1 * torch.randn(module.bias.shape, generator=random))
                module.running_var.copy_(0.5 + 1.5 * torch.rand(module.bias.shape, generator=random))
            elif isinstance(module, torch.nn.LayerNorm):
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=random))
                module.bias.copy_(0.1 * torch.randn(module.bias.shape, generator=random))
        first.running_mean.add_(-40.0)
        first.running_var.mul_(400.0)
    return network


def write_report() -> None:
    """Write the report, if every model was compared."""
    if {row["model"] for row in _ROWS} != MODELS:
        return
    provenance = {
        "caption": "Largest differences between aesens's networks and the packages they come from, same weights.",
        "command": "tests/parity/run.sh",
        "weights": "random ones from a seed, with normalisations that do something; official ones where a variant says "
        "so; YAMNet and musicnn: their trained weights",
        "packages": {name: version(name) for name in _PACKAGES},
        "recordings": any(name.startswith("recording") for name in SIGNALS),
    }
    table = pd.DataFrame(_ROWS).sort_values(["model", "variant", "signal", "stage"], kind="stable")
    figures = ["max_abs", "max_rel", "cosine_distance"]
    table[figures] = table[figures].map(lambda value: float(f"{value:.2e}"))
    outputs.save_table(table, OUT, "parity", provenance)
