"""CLAP (LAION): the audio half of a network trained on pairs of audio and text, HTSAT-tiny without fusion.

Conventions: mono float32 at 48 kHz, clips of 10 s at most; a shorter clip is repeated as often as it fits into 10 s
and the rest is zeros. Log-mel spectrogram of 64 bands from 50 to 14 000 Hz (Slaney's scale and normalisation, as for
all checkpoints without fusion), frames of 1 024 samples every 480 with a periodic Hann window, centred with
reflection, ``10 log10`` of the power with a floor of 1e-10. The embedding is the output of the audio projection, 512
features, one vector a clip, *before* it is scaled to unit length.

The network is ``transformers.ClapAudioModelWithProjection``; its configuration stands here, nothing is asked of a
hub. Weights are the tensors ``audio_model.*`` and ``audio_projection.*`` of the checkpoint; its text half is left
alone.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import librosa
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from aesens import weights as weight_files
from aesens.models.base import Embedder, ModelError, choose_device, seeded

__all__ = ["CLAP", "ClapNetwork", "read_checkpoint"]

_RATE = 48_000
_SAMPLES = 10 * _RATE
_N_FFT = 1024
_HOP = 480

#: Configuration of the audio tower of laion/clap-htsat-unfused.
CONFIG = {
    "spec_size": 256,
    "num_mel_bins": 64,
    "window_size": 8,
    "patch_size": 4,
    "patch_stride": [4, 4],
    "patch_embed_input_channels": 1,
    "patch_embeds_hidden_size": 96,
    "enable_patch_layer_norm": True,
    "flatten_patch_embeds": True,
    "depths": [2, 2, 6, 2],
    "num_attention_heads": [4, 8, 16, 32],
    "num_hidden_layers": 4,
    "hidden_size": 768,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "num_classes": 527,
    "enable_fusion": False,
    "fusion_type": None,
    "projection_dim": 512,
    "projection_hidden_act": "relu",
}
# Made from the configuration, so a checkpoint may leave them out.
_DERIVED = ("relative_position_index", "num_batches_tracked")


class ClapNetwork(nn.Module):
    """Waveforms in, embeddings out.

    Parameters
    ----------
    int16 : bool
        Clip to [-1, 1] and round towards zero to 16 bits first, as the original preprocessing does.

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

    def __init__(self, int16: bool = True):
        super().__init__()
        # Imported here: it takes seconds, and only this model needs it.
        from transformers import ClapAudioConfig, ClapAudioModelWithProjection

        self.int16 = int16
        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)
        filters = librosa.filters.mel(sr=_RATE, n_fft=_N_FFT, n_mels=64, fmin=50, fmax=14_000)
        self.register_buffer("mel", torch.from_numpy(filters), persistent=False)
        self.tower = ClapAudioModelWithProjection(ClapAudioConfig(**CONFIG))

    def draw(self) -> None:
        """Draw new weights from torch's generator; what transformers drew may differ between its versions."""
        for module in self.tower.audio_model.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d)):
                module.reset_parameters()
        for name, table in self.tower.named_parameters():
            if name.endswith("relative_position_bias_table"):
                nn.init.trunc_normal_(table, std=0.02)
        for module in self.tower.audio_projection.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def logmel(self, waves: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrograms of clips repeated to 10 s.

        Parameters
        ----------
        waves : torch.Tensor, shape (batch, samples), float32
            At most 480 000 samples.

        Returns
        -------
        torch.Tensor, shape (batch, 1001, 64), float32
            Decibels.
        """
        if self.int16:
            waves = (waves.clamp(-1, 1) * 32767).trunc() / 32767
        waves = waves.repeat(1, _SAMPLES // waves.shape[1])
        waves = F.pad(waves, (0, _SAMPLES - waves.shape[1]))
        stft = torch.stft(
            waves, _N_FFT, _HOP, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )
        power = torch.view_as_real(stft).square().sum(-1)
        return 10 * torch.log10((self.mel @ power).clamp(min=1e-10)).transpose(1, 2)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed waveforms ``(batch, samples)`` as ``(batch, 512)``."""
        return self.tower(input_features=self.logmel(waves)[:, None]).audio_embeds


def read_checkpoint(path: Path, network: ClapNetwork) -> None:
    """Copy the audio tensors of a CLAP checkpoint into a network, in place.

    Parameters
    ----------
    path : path-like
        The state dictionary of transformers' ``ClapModel``: a safetensors file if it is named so, else a file of
        ``torch.save``.
    network : ClapNetwork

    Raises
    ------
    ModelError
        If the file holds anything but tensors, or not the network's parameters.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        state = {
            name: x for name, x in state.items() if name.startswith(("audio_model.", "audio_projection."))
        }
        missing, unexpected = network.tower.load_state_dict(state, strict=False)
    except (SafetensorError, pickle.UnpicklingError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{path} is not a CLAP checkpoint: {error}") from error
    missing = [name for name in missing if not name.endswith(_DERIVED)]
    if missing or unexpected:
        raise ModelError(
            f"{path} does not fit the CLAP network of the installed transformers: "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}"
        )


class CLAP(Embedder):
    """CLAP's audio tower, one embedding a clip."""

    name = "clap"
    sample_rate = _RATE
    dimension = 512
    default_batch_size = 64

    def __init__(self, network, weights, *, int16=True, **settings):
        super().__init__(network, weights, **settings)
        self.int16 = int16

    @classmethod
    def load(
        cls, weights="auto", seed=0, device=None, pooling="mean", batch_size=None, *, int16=True
    ) -> CLAP:
        """Build CLAP's audio tower with its weights.

        Parameters
        ----------
        weights : {"auto", "pretrained", "untrained"}
            See `aesens.models.load_model`.
        seed : int
            Of untrained weights.
        device, pooling, batch_size
            See `Embedder`. There is one frame a clip, so `pooling` changes nothing.
        int16 : bool
            See `ClapNetwork`.

        Returns
        -------
        CLAP

        Raises
        ------
        ValueError
            If an option has no such value.
        """
        if not isinstance(int16, bool):
            raise ValueError(f"int16={int16!r} is neither True nor False")
        files, info = weight_files.resolve("clap", weights, seed)

        def build():
            network = seeded(lambda: ClapNetwork(int16), seed)
            if files is None:
                seeded(network.draw, seed)
            else:
                (path,) = files.values()
                read_checkpoint(path, network)
            return network

        if batch_size is None and choose_device(device).type == "cpu":
            # Keeps every activation below 32 MiB, the size from which the C library maps fresh memory each time.
            batch_size = 4
        return cls(build, info, int16=int16, device=device, pooling=pooling, batch_size=batch_size)

    def options(self) -> dict:
        """Settings beyond the weights that change an embedding."""
        return super().options() | {"int16": self.int16}

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, 1, 512)``."""
        if waves.shape[1] > _SAMPLES:
            raise ValueError(
                f"clap takes clips of 10 s ({_SAMPLES} samples) at most, got {waves.shape[1]}: the original crops "
                "longer ones at random; cut them first"
            )
        return self.network(waves)[:, None]
