"""What several tests share besides fixtures: a toy model, clips on disk, the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from aesens.models import Embedder, WeightsInfo

ROOT = Path(__file__).parents[1]


class ToyModel(Embedder):
    """Eight band energies: quick, deterministic, and answering to every effect."""

    name = "toy"
    sample_rate = 16000
    dimension = 8

    def __init__(self, seed=0):
        super().__init__(torch.nn.Identity(), WeightsInfo.untrained(seed), device="cpu", batch_size=32)
        self.calls = 0

    @classmethod
    def load(cls, weights="auto", seed=0, device=None, **options):
        return cls(seed)

    def frames(self, waves):
        self.calls += 1
        spectrum = torch.fft.rfft(waves).abs()
        bands = torch.stack([band.mean(dim=1) for band in spectrum.chunk(self.dimension, dim=1)], dim=1)
        return torch.log1p(bands)[:, None]


def write_clips(folder: Path, classes=("aaa", "bbb"), songs=4, seconds=0.5, rate=44100, seed=0) -> Path:
    """A folder of class folders with tones in noise; each file is a song of its own."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    for position, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for song in range(songs):
            tone = np.sin(2 * np.pi * (220 * 2**position + 30 * song) * time)
            audio = 0.2 * tone + 0.02 * rng.standard_normal(len(time))
            sf.write(folder / name / f"{name}{song}.wav", audio.astype(np.float32), rate)
    return folder


def aesens(*arguments, cwd=ROOT, home=None, cache=None, check=True):
    """Run the command line in a process of its own, as run_all.sh does."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "JUPYTER", "IPYTHON", "MPL", "HF_"))
    }
    environment |= {"AESENS_CACHE": str(cache)} if cache else {}
    environment |= {"HOME": str(home)} if home else {}
    command = [sys.executable, "-m", "aesens", "run", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
