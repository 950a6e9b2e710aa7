"""HTSAT, the audio transformer inside both CLAPs: its network, and its names in checkpoints of every origin.

Conventions: the network is ``transformers.ClapAudioModel``; its configurations stand here, nothing is asked of a hub.
Its parameters go by transformers' names. The authors' own checkpoints (LAION, Microsoft) name the same tensors
otherwise and keep query, key and value of an attention layer in one matrix: `to_transformers` translates, by the table
`RENAMED`. Tensors of the classifier that HTSAT was first trained with, of spectrograms and of
text are not part of an embedding and are left alone; the mel filters of a checkpoint are not, since they decide what
the network sees.

References
----------
K. Chen et al., "HTS-AT: A Hierarchical Token-Semantic Audio Transformer for Sound Classification and Detection",
ICASSP 2022.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from aesens.models.base import ModelError

__all__ = ["RENAMED", "configuration", "decibels", "draw", "load", "to_transformers"]

#: What the authors' "tiny" and "base" differ in.
_SIZES = {
    "tiny": {"patch_embeds_hidden_size": 96, "depths": [2, 2, 6, 2], "hidden_size": 768},
    "base": {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024},
}

_CONFIG = {
    "spec_size": 256,
    "num_mel_bins": 64,
    "window_size": 8,
    "patch_size": 4,
    "patch_stride": [4, 4],
    "patch_embed_input_channels": 1,
    "enable_patch_layer_norm": True,
    "flatten_patch_embeds": True,
    "num_attention_heads": [4, 8, 16, 32],
    "num_hidden_layers": 4,
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

#: Parts of names: the authors' and transformers'.
RENAMED = (
    ("bn0", "batch_norm"),
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("attn.relative_position_bias_table", "attention.self.relative_position_bias_table"),
    ("attn.proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
)
_ATTENTION = ("query", "key", "value")
#: Tensors of the authors' network that its embedding needs; the rest is of other uses or made from the configuration.
_KEPT = re.compile(r"(patch_embed|layers|norm|bn0)\.(?!.*(relative_position_index|attn_mask))")


def configuration(size: str = "tiny"):
    """The ``transformers.ClapAudioConfig`` of a size, ``"tiny"`` or ``"base"``."""
    # Imported here: it takes seconds, and only these models need it.
    from transformers import ClapAudioConfig

    return ClapAudioConfig(**_CONFIG, **_SIZES[size])


def draw(tower: nn.Module) -> None:
    """Draw new weights from torch's generator; what transformers drew may differ between its versions.

    Linear layers and position biases from a normal distribution of standard deviation 0.02 cut at two units, zero
    biases, normalisations at identity; the patch embedding as torch draws it.
    """
    for module in tower.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d)):
            module.reset_parameters()
    for name, table in tower.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.trunc_normal_(table, std=0.02)


def decibels(waves: torch.Tensor, window: torch.Tensor, mel: torch.Tensor, hop: int) -> torch.Tensor:
    """Log-mel spectrograms ``(batch, frame, band)`` of waveforms, centred with reflection, above a floor of 1e-10."""
    stft = torch.stft(
        waves, len(window), hop, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    power = torch.view_as_real(stft).square().sum(-1)
    return 10 * torch.log10((mel @ power).clamp(min=1e-10)).transpose(1, 2)


def load(network: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Copy tensors into a network; `ModelError` names the file if they are not its own."""
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    # Made from the configuration, so a checkpoint may leave them out.
    derived = ("relative_position_index", "num_batches_tracked")
    missing = [name for name in missing if not name.endswith(derived)]
    if missing or unexpected:
        raise ModelError(
            f"{path} does not fit the CLAP network of the installed transformers: "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}"
        )


def to_transformers(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Translate the authors' names of HTSAT's tensors.

    `prefix` stands before HTSAT's names in `state`, e.g. ``"audio_branch."``; other tensors are left out. The names are
    those of ``ClapAudioModel.audio_encoder``; parts of a tensor share its memory.

    Examples
    --------
    >>> qkv = {"htsat.layers.0.blocks.1.attn.qkv.bias": torch.arange(6), "text.x": torch.zeros(1)}
    >>> for name, part in to_transformers(qkv, "htsat.").items():
    ...     print(name, part.tolist())
    layers.0.blocks.1.attention.self.query.bias [0, 1]
    layers.0.blocks.1.attention.self.key.bias [2, 3]
    layers.0.blocks.1.attention.self.value.bias [4, 5]
    """
    found = {}
    for name, tensor in state.items():
        if not name.startswith(prefix) or not _KEPT.match(name := name.removeprefix(prefix)):
            continue
        for old, new in RENAMED:
            name = re.sub(rf"(^|\.){re.escape(old)}(?=\.|$)", rf"\1{new}", name)
        if ".attn.qkv." in name:
            for part, piece in zip(_ATTENTION, tensor.chunk(3), strict=True):
                found[name.replace("attn.qkv", f"attention.self.{part}")] = piece
        else:
            found[name] = tensor
    return found
