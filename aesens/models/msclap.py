"""CLAP 2023 (Microsoft): the audio half of the study's own CLAP, HTSAT with a projection of 1 024 features.

Conventions: float32 at 44.1 kHz, 7 s: a shorter clip is repeated, and of a longer one the first 7 s are taken **[fix]**
(the package ``msclap`` takes 7 s from a random place). The package lays the channels of a file end to end before that,
so that it hears a stereo clip of 3 s as its left channel, its right channel and a second of the left one again; so does
the protocol ``study`` here, while ``float`` takes the mean of the channels **[fix]**. Log-mel spectrogram of 64 bands,
frames of 1 024 samples every 320 with a periodic Hann window, centred with reflection, ``10 log10`` of the power with a
floor of 1e-10. The embedding is the output of the projection, one vector a clip, as the package returns it.

The mel filters are those of the checkpoint. They were made for 32 kHz and up to 14 kHz, whatever the configuration of
the package says, so on audio at 44.1 kHz they lie at 1.378 times the frequencies they are named after; an untrained
network gets the same.

References
----------
B. Elizalde, S. Deshmukh, H. Wang, "Natural Language Supervision for General-Purpose Audio Representations",
ICASSP 2024 (arXiv 2309.05767).
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aesens.models import htsat
from aesens.models.base import Embedder, mono_at_rate, reads, seeded
from aesens.models.checkpoints import read_tensors
from aesens.models.precision import in_float32

__all__ = ["MSCLAP", "MsclapNetwork", "read_checkpoint"]

_RATE = 44_100
_SAMPLES = 7 * _RATE
_N_FFT = 1024
_HOP = 320
_FEATURES = 1024
_HTSAT, _PROJECTION = "audio_encoder.base.htsat.", "audio_encoder.projection."
_CHECKPOINT = "a checkpoint of Microsoft's CLAP 2023"


class _Projection(nn.Module):
    """A linear layer, a second one after GELU added to it, and a normalisation over features."""

    def __init__(self, width: int):
        super().__init__()
        self.linear1 = nn.Linear(width, _FEATURES, bias=False)
        self.linear2 = nn.Linear(_FEATURES, _FEATURES, bias=False)
        self.layer_norm = nn.LayerNorm(_FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear1(x)
        return self.layer_norm(x + self.linear2(F.gelu(x)))


class MsclapNetwork(nn.Module):
    """Waveforms in, embeddings out."""

    def __init__(self):
        super().__init__()
        # Imported here: it takes seconds, and only these models need it.
        from transformers import ClapAudioModel

        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)
        filters = librosa.filters.mel(sr=32_000, n_fft=_N_FFT, n_mels=64, fmin=50, fmax=14_000)
        self.register_buffer("mel", torch.from_numpy(filters), persistent=False)
        configuration = htsat.configuration("tiny")
        self.tower = ClapAudioModel(configuration)
        self.encoder = htsat.Encoder(self.tower.audio_encoder)
        self.projection = _Projection(configuration.hidden_size)

    def draw(self) -> None:
        """Draw new weights from torch's generator."""
        htsat.draw(self.tower)
        for module in self.projection.children():
            module.reset_parameters()

    @in_float32
    def logmel(self, waves: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrograms ``(batch, 965, 64)`` of clips ``(batch, samples)`` repeated to 7 s."""
        waves = waves.repeat(1, -(-_SAMPLES // waves.shape[1]))[:, :_SAMPLES]
        return htsat.decibels(waves, self.window, self.mel, _HOP)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed waveforms ``(batch, samples)`` as ``(batch, 1024)``."""
        return self.projection(self.encoder(self.logmel(waves)))


@reads(_CHECKPOINT)
def read_checkpoint(path: Path, network: MsclapNetwork) -> None:
    """Copy the audio tensors of ``CLAP_weights_2023.pth`` into a network, in place.

    `ModelError` if the file holds anything but tensors and numbers, or not the network's parameters.
    """
    state = read_tensors(path, _CHECKPOINT)
    encoder = htsat.to_transformers(state, _HTSAT)
    tensors = {f"tower.audio_encoder.{name}": x for name, x in encoder.items()}
    for name, x in state.items():
        if name.startswith(_PROJECTION):
            tensors[f"projection.{name.removeprefix(_PROJECTION)}"] = x
    htsat.load(network, tensors, path)
    network.mel.copy_(state[f"{_HTSAT}logmel_extractor.melW"].T)


class MSCLAP(Embedder):
    """Microsoft's CLAP 2023, one embedding a clip; there is one frame, so `pooling` changes nothing."""

    name = "msclap"
    sample_rate = _RATE
    dimension = _FEATURES
    default_batch_size = 64

    def build(self, files, seed):
        network = MsclapNetwork()
        if files is None:
            seeded(network.draw, seed)
        else:
            read_checkpoint(*files, network)
        # Asked of the device that was chosen once, as in OpenL3.
        if self.device.type == "cpu":
            network.encoder.fold()
        return network

    def prepare(self, audio: np.ndarray, sample_rate: int, protocol: str) -> np.ndarray:
        """Make 7 s of a clip, as the package reads it from a file or from the mean of its channels.

        See `Embedder.prepare`. Under the protocol ``study`` the channels follow one another, each resampled; under
        ``float`` their mean is taken. Repeated as often as it takes, and cut; of more than 7 s the first **[fix]**.

        Examples
        --------
        >>> model = MSCLAP.load(weights="untrained")
        >>> stereo = np.array([[1.0], [2.0]], np.float32).repeat(3 * 44100, axis=1)
        >>> model.prepare(stereo, 44100, "study")[::44100].tolist()
        [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0]
        >>> model.prepare(stereo, 44100, "float")[::44100].tolist()
        [1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]
        """
        parts = audio[:, None] if protocol == "study" else [audio]
        return np.resize(np.concatenate([mono_at_rate(part, sample_rate, _RATE) for part in parts]), _SAMPLES)

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, 1, 1024)``."""
        if waves.shape[1] > _SAMPLES:
            raise ValueError(
                f"msclap takes clips of 7 s ({_SAMPLES} samples) at most, got {waves.shape[1]}: `prepare` cuts them"
            )
        return self.network(waves)[:, None]
