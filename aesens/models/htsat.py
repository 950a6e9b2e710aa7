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

import math
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
    if waves.device.type == "cpu" and len(waves) > 1:
        # What is computed of one clip stays near the core.
        return torch.cat([decibels(wave, window, mel, hop) for wave in waves.split(1)])
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
    pass a layer some at a time, so that what a layer computes of them stays near a core; moving the windows and cutting
    the image into them is one look-up of rows from one layer to the next; position biases and masks are gathered once;
    biases and GELU are part of the matrix products before them. In other precisions, on other devices and where torch
    has no oneDNN it is transformers' own encoder.

    It is transformers' own too until `fold`.
    """

    def __init__(self, encoder: nn.Module):
        self._own, self._stages = encoder, []

    def fold(self) -> None:
        """Take over the encoder's weights, which are final: matrices are copied in oneDNN's order."""
        if not torch.backends.mkldnn.is_available():
            return
        own = self._own
        self._patches = _Product(own.patch_embed.proj)
        for stage, resolution in zip(own.layers, own.input_resolutions, strict=True):
            # Which row of what a layer is given is a token of the image: those of a window follow one another after it.
            places = torch.arange(math.prod(resolution)).view(resolution)
            layers = []
            for layer in stage.blocks:
                layers.append(_Layer(layer, places))
                places = layers[-1].places_after
            merge = None
            if stage.downsample:
                four = [places[row::2, column::2] for column in (0, 1) for row in (0, 1)]
                merge = torch.stack(four, -1), stage.downsample.norm, _Product(stage.downsample.reduction)
            self._stages.append((layers, merge))

    def __call__(self, logmel: torch.Tensor) -> torch.Tensor:
        image, own = logmel[:, None], self._own
        single = image.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if not self._stages or not single or by_definition():
            return own(image).pooler_output
        image = own.reshape_mel2img(own.batch_norm(image.transpose(1, 3)).transpose(1, 3))
        side = own.patch_embed.patch_stride[0]
        patches = image.unfold(2, side, side).unfold(3, side, side).reshape(-1, side**2)
        x = own.patch_embed.norm(self._patches(patches))
        for layers, merge in self._stages:
            for layer in layers:
                x = layer(x)
            if merge is not None:
                places, norm, product = merge
                x = product(norm(_taken(x, places).view(-1, 4 * x.shape[1])))
        return own.norm(x).view(len(logmel), -1, x.shape[1]).mean(dim=1)


# Tokens at once: products of fewer are slower.
_AT_ONCE = 2048


def _taken(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Rows of each clip of a batch in the order of `places`, which are those of one clip."""
    starts = torch.arange(0, len(x), places.numel())
    return x.index_select(0, (starts[:, None] + places.view(-1)).view(-1))


class _Product:
    """A linear layer as oneDNN computes it fastest, its weights in an order of oneDNN's own; perhaps with GELU."""

    def __init__(self, *layers: nn.Linear, gelu: bool = False):
        # Layers with the same input are one. These are the calls that torch's compiler makes; there are no public ones.
        weight = torch.cat([layer.weight.detach().flatten(1) for layer in layers])
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _AT_ONCE)
        self._bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers])
        self._then = "gelu" if gelu else "none"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, self._then, [], "none")


class _Layer:
    """A layer of ``ClapAudioEncoder`` for images whose tokens are rows at `places` (row, column), see `Encoder`."""

    def __init__(self, layer: nn.Module, places: torch.Tensor):
        resolution = tuple(places.shape)
        layer.set_shift_and_window_size(resolution)
        attention, side = layer.attention.self, layer.window_size
        self.heads, self.tokens = attention.num_attention_heads, side**2
        self.norms = layer.layernorm_before, layer.layernorm_after
        self.attention = _Product(*(getattr(attention, name) for name in _ATTENTION))
        self.mix = _Product(layer.attention.output.dense)
        self.widen = _Product(layer.intermediate.dense, gelu=True)
        self.narrow = _Product(layer.output.dense)

        def windows(image):
            image = image.roll((-layer.shift_size,) * 2, (0, 1))
            return image.unfold(0, side, side).unfold(1, side, side).reshape(-1, self.tokens)

        self.places = windows(places)
        after = windows(torch.arange(places.numel()).view(resolution)).view(-1).argsort()
        self.places_after = after.view(resolution)
        # What is added to the scores of some windows at once, (window, head, query, key).
        self.at_once = max(1, _AT_ONCE // self.tokens)
        table = attention.relative_position_bias_table.detach()
        self.added = table[attention.relative_position_index].permute(2, 0, 1)[None].contiguous()
        mask = layer.get_attn_mask(*resolution, table.dtype, table.device)
        if mask is not None:
            # Not -100, of which the exponential is a number so small that a processor computes with it slowly.
            masks = mask.masked_fill(mask < 0, -torch.inf).repeat(-(-self.at_once // len(mask)), 1, 1)
            self.added = self.added + masks[:, None]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Pass tokens ``(clip * token, feature)`` through the layer."""
        (before, after), width = self.norms, x.shape[1]
        x = _taken(x, self.places)
        for start in range(0, len(x), self.at_once * self.tokens):
            rows = x[start : start + self.at_once * self.tokens]
            heads = self.attention(before(rows)).view(-1, self.tokens, 3, self.heads, width // self.heads)
            added = self.added
            if len(added) > 1:
                # Windows at once are a part of a clip or whole clips.
                first = start // self.tokens % len(self.places)
                added = added[first : first + len(heads)]
            mixed = F.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4), attn_mask=added)
            rows += self.mix(mixed.transpose(1, 2).reshape(rows.shape))
            rows += self.narrow(self.widen(after(rows)))
        return x


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
