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
import torch.nn.functional as F
from torch import nn

from aesens.models.base import ModelError
from aesens.models.precision import by_definition

__all__ = ["RENAMED", "Encoder", "configuration", "decibels", "draw", "load", "to_transformers"]

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
    parts = torch.view_as_real(stft).square()
    # Not `sum`, which is slow over an axis of two.
    power = parts[..., 0] + parts[..., 1]
    return 10 * torch.log10((mel @ power).clamp(min=1e-10)).transpose(1, 2)


class Encoder:
    """The same function as a ``ClapAudioEncoder``, faster on a CPU in float32.

    Called with log-mel spectrograms ``(batch, frame, band)``, returns the pooled features ``(batch, feature)``. Windows
    pass a layer a few at a time, so that what a layer computes of them stays in a core's cache; moving the windows and
    cutting the image into them is one look-up of rows; position biases and masks are gathered once; biases and GELU are
    part of the matrix products before them. In other precisions, on other devices and where torch has no oneDNN it is
    transformers' own encoder.

    It is transformers' own too until `fold`.
    """

    def __init__(self, encoder: nn.Module):
        self._own, self._stages = encoder, []

    def fold(self) -> None:
        """Take over the encoder's weights, which are final: matrices are copied in oneDNN's order."""
        if not torch.backends.mkldnn.is_available():
            return
        encoder = self._own
        for stage, resolution in zip(encoder.layers, encoder.input_resolutions, strict=True):
            layers = [_Layer(layer, resolution) for layer in stage.blocks]
            merge = stage.downsample and (stage.downsample.norm, _Product(stage.downsample.reduction))
            self._stages.append((layers, resolution, merge))

    def __call__(self, logmel: torch.Tensor) -> torch.Tensor:
        image, own = logmel[:, None], self._own
        single = image.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if not self._stages or not single or by_definition():
            return own(image).pooler_output
        image = own.batch_norm(image.transpose(1, 3)).transpose(1, 3)
        x = own.patch_embed(own.reshape_mel2img(image))
        batch, _, width = x.shape
        for layers, (height, breadth), merge in self._stages:
            x = x.reshape(-1, width)
            for layer in layers:
                layer(x)
            if merge is not None:
                norm, product = merge
                x = x.view(batch, height, breadth, width)
                x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=-1)
                x = product(norm(x).view(-1, 4 * width))
                width *= 2
        return own.norm(x).view(batch, -1, width).mean(dim=1)


# Tokens at once: at a width of 96 their widest activations take 768 KiB.
_AT_ONCE = 512


class _Product:
    """A linear layer as oneDNN computes it fastest, its weights in an order of oneDNN's own; perhaps with GELU."""

    def __init__(self, *layers: nn.Linear, gelu: bool = False):
        # Layers with the same input are one. These are the calls that torch's compiler makes; there are no public ones.
        weight = torch.cat([layer.weight.detach() for layer in layers])
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _AT_ONCE)
        self._bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers])
        self._then = "gelu" if gelu else "none"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, self._then, [], "none")


class _Layer:
    """A layer of ``ClapAudioEncoder`` for images of a resolution (rows, columns), see `Encoder`."""

    def __init__(self, layer: nn.Module, resolution: tuple[int, int]):
        layer.set_shift_and_window_size(resolution)
        attention, (height, width), side = layer.attention.self, resolution, layer.window_size
        self.heads, self.tokens, self.size = attention.num_attention_heads, side**2, height * width
        self.norms = layer.layernorm_before, layer.layernorm_after
        self.attention = _Product(*(getattr(attention, name) for name in _ATTENTION))
        self.mix = _Product(layer.attention.output.dense)
        self.widen = _Product(layer.intermediate.dense, gelu=True)
        self.narrow = _Product(layer.output.dense)
        # Which tokens of the image each window takes, (window, token).
        places = torch.arange(self.size).view(resolution).roll((-layer.shift_size,) * 2, (0, 1))
        self.places = places.unfold(0, side, side).unfold(1, side, side).reshape(-1, self.tokens)
        # What is added to the scores of some windows at once, (window, head, query, key).
        self.at_once = max(1, _AT_ONCE // self.tokens)
        table = attention.relative_position_bias_table.detach()
        mask = layer.get_attn_mask(height, width, table.dtype, table.device)
        masks = torch.zeros(len(self.places), 1, 1) if mask is None else mask
        masks = masks.repeat(-(-self.at_once // len(masks)), 1, 1)[:, None]
        self.added = masks + table[attention.relative_position_index].permute(2, 0, 1)

    def __call__(self, x: torch.Tensor) -> None:
        """Pass tokens ``(clip * token, feature)`` through the layer, in place."""
        before, after = self.norms
        clips = torch.arange(0, len(x), self.size)[:, None, None]
        windows = (clips + self.places).view(-1, self.tokens)
        for start in range(0, len(windows), self.at_once):
            where = windows[start : start + self.at_once]
            rows = x.index_select(0, where.view(-1))
            heads = self.attention(before(rows)).view(*where.shape, 3, self.heads, -1)
            # Windows at once are a part of a clip or whole clips.
            first = start % len(self.places)
            added = self.added[first : first + len(where)]
            mixed = F.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4), attn_mask=added)
            rows += self.mix(mixed.transpose(1, 2).reshape(rows.shape))
            rows += self.narrow(self.widen(after(rows)))
            x.index_copy_(0, where.view(-1), rows)


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
