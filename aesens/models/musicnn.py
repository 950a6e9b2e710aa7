"""musicnn: musically motivated convolutions trained on the tags of the Million Song Dataset, 200 features.

Conventions: 16 kHz mono. A power mel spectrogram (centred Hann windows of 512 samples every 256, reflected at the
edges; 96 Slaney mel bands up to 8 kHz with Slaney's normalisation) goes through half precision once, as the training
data did, then ``log10(10000 x + 1)``. Patches have 187 frames (3 s) and do not overlap, frames after the last whole
patch are dropped; a shorter clip is repeated until it fills one patch, as in training. The embedding of a patch is
the pre-activation of the penultimate dense layer (``model/dense/BiasAdd``); a clip's is the mean over patches.

Where this differs from the package: the logarithm is taken in single precision. The package takes it in half
precision, where ``10000 x`` overflows to infinity beyond ``x = 6.55``, which a loud clip or a gain of a few dB
reaches.

The weights are read from the TensorFlow V2 checkpoint itself: its index is a sorted-string table whose values are
``BundleEntryProto`` messages that point into the data file of raw little-endian numbers.

References
----------
J. Pons, X. Serra, "musicnn: Pre-trained convolutional neural networks for music audio tagging", late-breaking demo,
ISMIR 2019 (arXiv 1909.06654).
J. Pons et al., "End-to-end learning for music audio tagging at scale", ISMIR 2018, section 3.
"""

from __future__ import annotations

import struct
from pathlib import Path

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aesens.models.base import Embedder, ModelError
from aesens.models.frontend import spectrum, take_patches
from aesens.models.precision import in_float32

__all__ = ["Musicnn", "read_checkpoint"]

_FFT, _HOP, _BANDS, _PATCH = 512, 256, 96, 187
_HALF_MAX = 65504.0

#: Filters and (time, frequency) kernels of the front end: timbral shapes cover 40 % and 70 % of the bands.
_TIMBRAL = ((204, (7, 38)), (204, (7, 67)))
_TEMPORAL = ((51, 128), (51, 64), (51, 32))
_MIDDLE, _DENSE, _TAGS = 64, 200, 50

_TABLE_MAGIC = 0xDB4775248B80FB57
_TYPES = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode a base-128 number; return it and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, at


def _handle(data: bytes, at: int = 0) -> tuple[int, int, int]:
    """Decode a block's offset and size; return them and the position after them."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _table_block(data: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    """Keys and values of one block of a sorted-string table."""
    if data[offset + size] != 0:
        raise ValueError("a block is compressed")
    block = data[offset : offset + size]
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end, at, key, entries = size - 4 - 4 * restarts, 0, b"", []
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        entries.append((key, block[at + fresh : at + fresh + length]))
        at += fresh + length
    return entries


def _message(data: bytes) -> dict[int, list]:
    """Fields of a protocol-buffer message by number, each a list of numbers or bytes."""
    fields: dict[int, list] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
        elif tag & 7 == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        elif tag & 7 == 5:
            value, at = data[at : at + 4], at + 4
        else:
            raise ValueError(f"field {tag >> 3} has the unexpected wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def read_checkpoint(index: Path, data: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a single-shard TensorFlow V2 checkpoint, without TensorFlow.

    `index` and `data` are the files ``*.index`` and ``*.data-00000-of-00001``; `ModelError` if they are others.
    """
    table, content = index.read_bytes(), data.read_bytes()
    tensors = {}
    try:
        if struct.unpack("<Q", table[-8:])[0] != _TABLE_MAGIC:
            raise ValueError("it does not end with the magic number of a table")
        _, _, at = _handle(table, len(table) - 48)
        offset, size, _ = _handle(table, at)
        for _, place in _table_block(table, offset, size):
            for key, value in _table_block(table, *_handle(place)[:2]):
                if not key:  # the header
                    continue
                entry = _message(value)
                dimensions = _message(entry.get(2, [b""])[0]).get(2, [])
                shape = [_message(dimension).get(1, [0])[0] for dimension in dimensions]
                start, length = entry.get(4, [0])[0], entry[5][0]
                raw = content[start : start + length]
                tensors[key.decode()] = np.frombuffer(raw, _TYPES[entry[1][0]]).reshape(shape)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise ModelError(f"{index} with {data} is not a TensorFlow V2 checkpoint: {error}") from error
    return tensors


class _ReluNorm(nn.BatchNorm2d):
    """ReLU and then batch norm, in this order, as in the original."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-3)

    def forward(self, x):
        return super().forward(F.relu(x))


class _Strongest(nn.Module):
    """A convolution, ReLU and batch norm, and the maximum over frequency: (..., frame, band) to (..., frame, channel).

    ReLU and batch norm are monotonic in each channel, falling where the norm's scale is negative. So the extreme value
    is taken first and both run on it alone. And it is taken while the convolution is made, as one matrix product for
    each place of the filters on the frequency axis: the network's largest arrays are never there as a whole.
    """

    def __init__(self, filters, kernel, padding):
        super().__init__()
        self.padding = padding
        self.convolution = nn.Conv2d(1, filters, kernel)
        self.norm = _ReluNorm(filters)

    def forward(self, x):
        patches, _, frames, bands = x.shape
        taps, width = self.convolution.kernel_size
        windows = F.pad(x[:, 0].permute(2, 0, 1), self.padding).unfold(2, taps, 1).permute(0, 3, 1, 2)
        if width > 1:  # a band is read as often as filters lie over it
            windows = windows.contiguous()
        # Of a channel whose norm falls, the least value is wanted: the largest of its negative.
        sign = torch.where(self.norm.weight >= 0, 1.0, -1.0)[:, None]
        filters = self.convolution.weight[:, 0].transpose(1, 2).flatten(1) * sign
        places = (windows[low : low + width].reshape(width * taps, -1) for low in range(bands - width + 1))
        largest = filters @ next(places)
        for place in places:
            torch.maximum(largest, filters @ place, out=largest)
        extreme = largest * sign + self.convolution.bias[:, None]
        return self.norm(extreme.view(-1, patches, frames, 1).transpose(0, 1))[..., 0].transpose(1, 2)


class _Dense(nn.Module):
    """A convolution over time of all columns at once, ReLU and batch norm: (..., frame, column) to (..., frame, 64)."""

    def __init__(self, columns):
        super().__init__()
        self.convolution = nn.Conv2d(1, _MIDDLE, (7, columns), padding=(3, 0))
        self.norm = _ReluNorm(_MIDDLE)

    def forward(self, x):
        return self.norm(self.convolution(x[:, None]))[..., 0].transpose(1, 2)


class _Network(nn.Module):
    """Front end, convolutions, pooling and dense layers of MSD_musicnn."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(_FFT, periodic=True))
        mel = librosa.filters.mel(sr=16000, n_fft=_FFT, n_mels=_BANDS, htk=False, norm="slaney")
        self.register_buffer("mel", torch.from_numpy(np.asarray(mel, dtype=np.float32)))
        self.input_norm = nn.BatchNorm2d(1, eps=1e-3)
        # An even kernel under TensorFlow's SAME padding has its extra zero at the end.
        self.front = nn.ModuleList(
            [
                *(_Strongest(filters, kernel, (3, 3)) for filters, kernel in _TIMBRAL),
                *(_Strongest(filters, (n, 1), ((n - 1) // 2, n // 2)) for filters, n in _TEMPORAL),
            ]
        )
        width = sum(filters for filters, _ in _TIMBRAL + _TEMPORAL)
        self.middle = nn.ModuleList(_Dense(columns) for columns in (width, _MIDDLE, _MIDDLE))
        self.pool_norm = nn.BatchNorm1d(2 * (width + 3 * _MIDDLE), eps=1e-3)
        self.dense = nn.Linear(2 * (width + 3 * _MIDDLE), _DENSE)
        self.dense_norm = nn.BatchNorm1d(_DENSE, eps=1e-3)
        self.tags = nn.Linear(_DENSE, _TAGS)

    @in_float32
    def log_mel(self, waves):
        """(batch, samples) -> (batch, frame, band)."""
        padded = F.pad(waves[:, None], (_FFT // 2, _FFT // 2), mode="reflect")[:, 0]
        power = F.linear(spectrum(padded, self.window, _HOP, _FFT).square(), self.mel)
        return torch.log10(10000 * power.clamp(max=_HALF_MAX).half().float() + 1)

    def forward(self, patches):
        """(patch, 187, 96) -> (patch, 200)."""
        x = self.input_norm(patches[:, None])
        levels = [torch.cat([block(x) for block in self.front], dim=2)]
        for position, block in enumerate(self.middle):
            out = block(levels[-1])
            levels.append(out + levels[-1] if position else out)
        features = torch.cat(levels, dim=2)
        # Maximum and mean of a channel stand side by side.
        pooled = torch.stack([features.amax(dim=1), features.mean(dim=1)], dim=2).flatten(1)
        return self.dense(self.pool_norm(pooled))

    def probabilities(self, dense):
        """(patch, 200) -> (patch, 50)."""
        return torch.sigmoid(self.tags(self.dense_norm(F.relu(dense))))


def _untrained() -> _Network:
    """The network as TensorFlow's layers, which the original is made of, begin: Glorot uniform, batch norms neutral."""
    network = _Network()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


def _read(index: Path, data: Path) -> _Network:
    """The network with the weights of a checkpoint, whose layers are numbered in the order they were built."""
    network, tensors = _Network(), read_checkpoint(index, data)
    blocks = [*network.front, *network.middle]
    convolutions = [block.convolution for block in blocks]
    norms = [network.input_norm, *(block.norm for block in blocks), network.pool_norm, network.dense_norm]

    def numbered(base: str, layers) -> dict:
        return {f"{base}_{place}" if place else base: layer for place, layer in enumerate(layers)}

    pairs = []
    for name, layer in numbered("conv2d", convolutions).items():
        # (height, width, in, out) to (out, in, height, width)
        pairs += [(layer.weight, f"{name}/kernel", (3, 2, 0, 1)), (layer.bias, f"{name}/bias", (0,))]
    for name, layer in numbered("dense", (network.dense, network.tags)).items():
        pairs += [(layer.weight, f"{name}/kernel", (1, 0)), (layer.bias, f"{name}/bias", (0,))]
    for name, layer in numbered("batch_normalization", norms).items():
        pairs += [(layer.weight, f"{name}/gamma", (0,)), (layer.bias, f"{name}/beta", (0,))]
        pairs += [(layer.running_mean, f"{name}/moving_mean", (0,))]
        pairs += [(layer.running_var, f"{name}/moving_variance", (0,))]
    with torch.no_grad():
        for target, name, order in pairs:
            value = tensors.get(name)
            if value is None or value.transpose(order).shape != target.shape:
                found = "missing" if value is None else f"of shape {value.shape}"
                raise ModelError(f"{index} is not the checkpoint of MSD_musicnn: {name} is {found}")
            target.copy_(torch.tensor(value.transpose(order)))
    return network


class Musicnn(Embedder):
    """musicnn with its front end; see the module's text for what it computes."""

    name = "musicnn"
    sample_rate = 16000
    dimension = _DENSE
    default_batch_size = 8

    def build(self, files, seed):
        return _untrained() if files is None else _read(*files)

    def patches(self, waves: torch.Tensor) -> torch.Tensor:
        """Log-mel patches of a batch, ``(batch, samples) -> (batch, patch, 187, 96)``."""
        # A centred spectrogram has samples // 256 + 1 frames; reflection needs more than half a window.
        needed = (_PATCH - 1) * _HOP
        if waves.shape[1] < needed:
            waves = waves.repeat(1, -(-needed // waves.shape[1]))[:, :needed]
        return take_patches(self.network.log_mel(waves), _PATCH, _PATCH)

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(batch, patch, 200)`` of consecutive 3 s patches."""
        patches = self.patches(waves)
        return self.network(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])

    def scores(self, frames: torch.Tensor) -> torch.Tensor:
        """Probabilities ``(..., 50)`` of the tags, of `frames` ``(..., 200)``."""
        flat = self.network.probabilities(frames.reshape(-1, _DENSE))
        return flat.reshape(*frames.shape[:-1], _TAGS)
