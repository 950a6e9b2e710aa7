"""CLAP (LAION): the audio half of a network trained on pairs of audio and text, HTSAT without fusion.

Conventions: mono float32 at 48 kHz, clips of 10 s at most; a shorter clip is repeated as often as it fits into 10 s
and the rest is zeros. Log-mel spectrogram of 64 bands from 50 to 14 000 Hz (Slaney's scale and normalisation, as for
all checkpoints without fusion), frames of 1 024 samples every 480 with a periodic Hann window, centred with
reflection, ``10 log10`` of the power with a floor of 1e-10. The embedding is the output of the audio projection, 512
features, one vector a clip, *before* it is scaled to unit length.

The network is ``transformers.ClapAudioModelWithProjection`` (see `aesens.models.htsat`). Weights are the tensors
``audio_model.*`` and ``audio_projection.*`` of the hub's checkpoint, or ``audio_branch.*`` and
``audio_projection.*`` of an original one, renamed; the text half of either is left alone.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import torch
import torch.nn.functional as F
from torch import nn

from aesens.models import htsat
from aesens.models.base import Embedder, ModelError, reads, seeded
from aesens.models.checkpoints import read_tensors
from aesens.models.precision import in_float32

__all__ = ["CHECKPOINTS", "CLAP", "ClapNetwork", "read_checkpoint"]

_RATE = 48_000
_SAMPLES = 10 * _RATE
_N_FFT = 1024
_HOP = 480
# So many frames on either side of a place see what is there.
_NEAR = -(-_N_FFT // 2 // _HOP)

#: The checkpoints that can be chosen: the key of their weights and the size of their HTSAT.
CHECKPOINTS = {
    "unfused": ("clap", "tiny"),
    "630k-audioset": ("clap-630k", "tiny"),
    "music": ("clap-music", "base"),
}
_ENCODER = "audio_model.audio_encoder."
#: Parts of names of the projection: the authors' and transformers'.
PROJECTION = {
    "audio_projection.0": "audio_projection.linear1",
    "audio_projection.2": "audio_projection.linear2",
}
_CHECKPOINT = "a checkpoint of CLAP"


class ClapNetwork(nn.Module):
    """Waveforms in, embeddings out.

    Parameters
    ----------
    int16 : bool
        Clip to [-1, 1] and round towards zero to 16 bits first, as the original preprocessing does.
    size : {"tiny", "base"}
        Of the transformer.

    Notes
    -----
    The weights are those of a new network, drawn as in the original: linear layers and position biases from a
    normal distribution of standard deviation 0.02 cut at two units, zero biases, normalisations at identity; the
    patch embedding and the projection as torch draws them.

    References
    ----------
    Y. Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
    Augmentation", ICASSP 2023. K. Chen et al., "HTS-AT", ICASSP 2022.
    """

    def __init__(self, int16: bool = True, size: str = "tiny"):
        super().__init__()
        # Imported here: it takes seconds, and only these models need it.
        from transformers import ClapAudioModelWithProjection

        self.int16 = int16
        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)
        filters = librosa.filters.mel(sr=_RATE, n_fft=_N_FFT, n_mels=64, fmin=50, fmax=14_000)
        self.register_buffer("mel", torch.from_numpy(filters), persistent=False)
        self.tower = ClapAudioModelWithProjection(htsat.configuration(size))
        self.encoder = htsat.Encoder(self.tower.audio_model.audio_encoder)

    def draw(self) -> None:
        """Draw new weights from torch's generator as in the original, see `htsat.draw`; the projection's as torch."""
        htsat.draw(self.tower.audio_model)
        for module in self.tower.audio_projection.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    @in_float32
    def logmel(self, waves: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrograms of clips repeated to 10 s.

        ``(batch, samples)``, at most 480 000 of them, to decibels ``(batch, 1001, 64)``.
        """
        if self.int16:
            waves = (waves.clamp(-1, 1) * 32767).trunc() / 32767
        copies, samples = _SAMPLES // waves.shape[1], waves.shape[1]
        if copies > 1 and samples % _HOP == 0 and samples >= 2 * _NEAR * _HOP:
            return self._periodic(waves, copies)
        waves = waves.repeat(1, copies)
        waves = F.pad(waves, (0, _SAMPLES - waves.shape[1]))
        return htsat.decibels(waves, self.window, self.mel, _HOP)

    def _periodic(self, waves: torch.Tensor, copies: int) -> torch.Tensor:
        """The same where a clip is a whole number of hops long, so that its frames come again with each copy.

        Computed are the first copy with the beginning of the second, and the end of the last one with zeros after it.
        """
        period, lead = waves.shape[1] // _HOP, 2 * _NEAR - 1
        end = copies * period
        zeros = min(_SAMPLES // _HOP - end, 2 * _NEAR)
        first, last = waves[:, : lead * _HOP], waves[:, -2 * _NEAR * _HOP :]
        parts = torch.cat([waves, first, last, waves.new_zeros(len(waves), zeros * _HOP)], dim=1)
        frame = torch.arange(_SAMPLES // _HOP + 1, device=waves.device)
        # The first frames see the reflected beginning, those near the end the zeros, those after it nothing else.
        inside = torch.where(frame < _NEAR, frame, _NEAR + (frame - _NEAR) % period)
        outside = period + lead + (frame - end + 2 * _NEAR).clamp(max=3 * _NEAR)
        frame = torch.where(frame <= end - _NEAR, inside, outside)
        return htsat.decibels(parts, self.window, self.mel, _HOP).index_select(1, frame)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed waveforms ``(batch, samples)`` as ``(batch, 512)``."""
        return self.tower.audio_projection(self.encoder(self.logmel(waves)))


@reads(_CHECKPOINT)
def read_checkpoint(path: Path, network: ClapNetwork) -> None:
    """Copy the audio tensors of a CLAP checkpoint into a network, in place.

    `path` holds the state dictionary of transformers' ``ClapModel``, or a checkpoint of ``laion_clap`` without fusion,
    which is translated. `ModelError` if it holds anything but tensors and numbers, or not the network's parameters.
    """
    state = read_tensors(path, _CHECKPOINT)
    mel = state.get("audio_branch.logmel_extractor.melW")
    if any(name.startswith("audio_branch.") for name in state):
        state = from_laion(state)
    parts = ("audio_model.", "audio_projection.")
    htsat.load(network.tower, {name: x for name, x in state.items() if name.startswith(parts)}, path)
    if mel is not None:
        network.mel.copy_(mel.T)


def from_laion(state: dict) -> dict:
    """The audio tensors of a ``laion_clap`` checkpoint by transformers' names."""
    if any(".fusion_model." in name or ".mel_conv2d." in name for name in state):
        raise ModelError("this CLAP checkpoint is one with feature fusion; take one without")
    found = {_ENCODER + name: x for name, x in htsat.to_transformers(state, "audio_branch.").items()}
    for old, new in PROJECTION.items():
        for kind in ("weight", "bias"):
            if (name := f"{old}.{kind}") in state:
                found[f"{new}.{kind}"] = state[name]
    return found


class CLAP(Embedder):
    """CLAP's audio tower, one embedding a clip; there is one frame, so `pooling` changes nothing.

    Settings: `int16`, see `ClapNetwork`, and `checkpoint`, which of LAION's: the hub's conversion of the first release,
    ``"unfused"``, or the original files ``630k-audioset-best.pt`` and ``music_audioset_epoch_15_esc_90.14.pt`` (a
    larger HTSAT), ``"630k-audioset"`` and ``"music"``.
    """

    name = "clap"
    sample_rate = _RATE
    dimension = 512
    default_batch_size = 64
    defaults = {"int16": True, "checkpoint": "unfused"}
    choices = {"int16": (True, False), "checkpoint": tuple(CHECKPOINTS)}

    @property
    def weights_key(self):
        return CHECKPOINTS[self.settings["checkpoint"]][0]

    def build(self, files, seed):
        _, size = CHECKPOINTS[self.settings["checkpoint"]]
        network = ClapNetwork(self.settings["int16"], size)
        if files is None:
            seeded(network.draw, seed)
        else:
            read_checkpoint(*files, network)
        # Asked of the device that was chosen once, as in OpenL3.
        if self.device.type == "cpu":
            network.encoder.fold()
        return network

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, 1, 512)``."""
        if waves.shape[1] > _SAMPLES:
            raise ValueError(
                f"clap takes clips of 10 s ({_SAMPLES} samples) at most, got {waves.shape[1]}: the original crops "
                "longer ones at random; cut them first"
            )
        return self.network(waves)[:, None]
