"""YAMNet: MobileNetV1 trained on AudioSet, 1024 features, read from its 8-bit TensorFlow Lite file.

Conventions: 16 kHz mono. A log-mel spectrogram (Hann window of 25 ms every 10 ms, FFT of 512, 64 HTK mel bands
between 125 and 7500 Hz applied to magnitudes, ``log(x + 0.001)``) is cut into patches of 96 frames (0.96 s) every 48
frames (0.48 s). The embedding of a patch is the spatial mean of the last convolution; a clip's is the mean over
patches. As in the original, a clip is padded with zeros at its end until the last patch is full: 3 s (48 000 samples)
become 54 000 samples, 336 frames and 6 patches, the last of which is silent for its final 0.375 s.

The file holds the network with batch norms folded, 8-bit weights with one scale an output channel and 32-bit biases.
They are turned back into float32 here, so activations are not rounded to 8 bits as the original runtime does: a
trajectory over effect strengths then moves with the signal and not with the steps of the quantiser.

References
----------
M. Plakal, D. Ellis, "YAMNet", TensorFlow Model Garden, research/audioset/yamnet.
A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv 1704.04861, table 1.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aesens.models.base import Embedder, ModelError, reads
from aesens.models.frontend import htk_mel_filters, spectrum, take_patches
from aesens.models.precision import in_float32

__all__ = ["YAMNet"]

_WINDOW, _HOP, _FFT, _BANDS, _LOW, _HIGH, _OFFSET = 400, 160, 512, 64, 125.0, 7500.0, 0.001
_PATCH, _PATCH_HOP = 96, 48
_CLASSES = 521

#: Depthwise stride and output channels of the 13 separable blocks after the first convolution of 32 channels.
_BLOCKS = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512), (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024)),
)


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, where the odd row or column goes to the end, and ReLU6."""

    def forward(self, x):
        kernel, stride, pads = self.kernel_size[0], self.stride[0], []
        for size in (x.shape[3], x.shape[2]):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.relu6(super().forward(F.pad(x, pads) if any(pads) else x), inplace=True)


class _Network(nn.Module):
    """Front end, convolutions and the classifier of YAMNet."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(_WINDOW, periodic=True))
        self.register_buffer("mel", torch.from_numpy(htk_mel_filters(16000, _FFT, _BANDS, _LOW, _HIGH)))
        self.register_buffer("offset", torch.full((_BANDS,), _OFFSET))
        layers, channels = [_SameConv(1, 32, 3, stride=2)], 32
        for stride, width in _BLOCKS:
            layers += [
                _SameConv(channels, channels, 3, stride=stride, groups=channels),
                _SameConv(channels, width, 1),
            ]
            channels = width
        # A fifth faster on CPUs than the default order of dimensions.
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.classifier = nn.Linear(channels, _CLASSES)

    @in_float32
    def log_mel(self, waves):
        """(batch, samples) -> (batch, frame, band)."""
        return torch.log(F.linear(spectrum(waves, self.window, _HOP, _FFT), self.mel, self.offset))

    def forward(self, patches):
        """(patch, 96, 64) -> (patch, 1024)."""
        return self.layers(patches[:, None]).mean(dim=(2, 3))


def _untrained() -> _Network:
    """The network with He initialisation."""
    network = _Network()
    for layer in network.layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    # Log-mel values are about 2 to 4 in root mean square; without batch norms this keeps ReLU6 off its ceiling.
    with torch.no_grad():
        network.layers[0].weight /= 2.0
    return network


@reads("a TensorFlow Lite file of YAMNet")
def _read_tflite(path: Path) -> _Network:
    """The network with the weights, mel matrix and window of a YAMNet TensorFlow Lite file."""
    import tflite

    content = path.read_bytes()
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    types = {
        tflite.TensorType.FLOAT32: np.dtype("<f4"),
        tflite.TensorType.INT32: np.dtype("<i4"),
        tflite.TensorType.INT8: np.dtype("i1"),
    }

    def constant(index: int) -> torch.Tensor:
        tensor = graph.Tensors(index)
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        value = np.frombuffer(raw.tobytes(), types[tensor.Type()]).reshape(tensor.ShapeAsNumpy())
        quantisation = tensor.Quantization()
        if quantisation is None or quantisation.ScaleLength() == 0:
            return torch.tensor(value)
        scale = quantisation.ScaleAsNumpy().astype(np.float64)
        zero = quantisation.ZeroPointAsNumpy().astype(np.float64)
        shape = [1] * value.ndim
        shape[quantisation.QuantizedDimension() if scale.size > 1 else 0] = scale.size
        return torch.tensor((value - zero.reshape(shape)) * scale.reshape(shape), dtype=torch.float32)

    inputs_of: dict[int, list] = {}
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Old files write the kind into the narrower field, with the other one left at 0.
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        inputs_of.setdefault(kind, []).append((position, operator.InputsAsNumpy()))
    kinds = tflite.BuiltinOperator
    (_, mel), (_, classes) = inputs_of[kinds.FULLY_CONNECTED]
    ((_, window),) = inputs_of[kinds.MUL]
    convolutions = sorted(
        inputs_of[kinds.CONV_2D] + inputs_of[kinds.DEPTHWISE_CONV_2D], key=lambda entry: entry[0]
    )

    network = _Network()
    state = {
        "window": constant(window[1]),
        "mel": constant(mel[1]),
        "offset": constant(mel[2]),
        "classifier.weight": constant(classes[1]),
        "classifier.bias": constant(classes[2]),
    }
    for position, (_, (_, weight, bias)) in enumerate(convolutions):
        # Stored as (out, height, width, in); depthwise ones as (1, height, width, channel).
        kernel = constant(weight)
        depthwise = network.layers[position].groups > 1
        state[f"layers.{position}.weight"] = kernel.permute((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        state[f"layers.{position}.bias"] = constant(bias)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} is not the YAMNet graph that aesens knows: {error}") from error
    return network


class YAMNet(Embedder):
    """YAMNet with its front end; see the module's text for what it computes."""

    name = "yamnet"
    sample_rate = 16000
    dimension = 1024
    default_batch_size = 8

    def build(self, files, seed):
        return _untrained() if files is None else _read_tflite(*files)

    def patches(self, waves: torch.Tensor) -> torch.Tensor:
        """Log-mel patches of a batch, ``(batch, samples) -> (batch, patch, 96, 64)``."""
        first, hop = _WINDOW + (_PATCH - 1) * _HOP, _PATCH_HOP * _HOP
        wanted = first + hop * max(0, math.ceil((waves.shape[1] - first) / hop))
        padded = F.pad(waves, (0, wanted - waves.shape[1]))
        return take_patches(self.network.log_mel(padded), _PATCH, _PATCH_HOP)

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(batch, patch, 1024)`` of 0.96 s patches every 0.48 s."""
        patches = self.patches(waves)
        return self.network(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])

    def scores(self, frames: torch.Tensor) -> torch.Tensor:
        """Probabilities ``(..., 521)`` of the AudioSet classes, of `frames` ``(..., 1024)``."""
        return torch.sigmoid(self.network.classifier(frames))
