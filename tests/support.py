"""What several tests share besides fixtures: a toy model, clips on disk, the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from aesens.data import Dataset, load_dataset
from aesens.effects import EFFECTS
from aesens.embeddings.extract import Plan
from aesens.models import Embedder, WeightsInfo
from aesens.settings import Profile, Scale

ROOT = Path(__file__).parents[1]

#: Of a process that a test starts: this package, and what tests share.
PYTHONPATH = os.pathsep.join([str(ROOT), str(ROOT / "tests")])

#: A study of the toy model, which a test registers as "toy".
PROFILE = Profile(
    "toy",
    "for these tests",
    models=("toy",),
    effects=("gain", "reverb"),
    model_options={"openl3": {"hop": 1.5}},  # of the figure of protocols
    scale=Scale(strengths=4),
    n_permutations=20,
    n_resamples=50,
)


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


class SlowModel(ToyModel):
    """The toy, taking its time, so that a test can interrupt it."""

    seconds = 0.0

    def frames(self, waves):
        time.sleep(self.seconds)
        return super().frames(waves)


def all_train(data: Dataset) -> Dataset:
    """A data set with all its clips on the training side."""
    return replace(data, table=data.table.assign(split="train"))


def slow_sweeps(
    folder: Path, seconds: float = 0.0, strengths: int = 5, clip_seconds: float = 0.1
) -> list[Plan]:
    """Sweeps of a slow model over the clips of a folder: clean and three effects."""
    data = all_train(load_dataset(folder, seconds=clip_seconds))
    model = SlowModel()
    model.seconds = seconds
    kinds = [EFFECTS[name] for name in ("gain", "reverb", "bitcrush")]
    return [Plan.clean(model, data), *(Plan(model, k, k.parameters(strengths), data) for k in kinds)]


def store_bytes(root: Path) -> dict[str, bytes]:
    """Content of every file of the stores below a cache folder, without locks and their holders."""
    files = (path for path in sorted((root / "store").rglob("*")) if path.is_file())
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if path.suffix not in (".lock", ".holder")
    }


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
