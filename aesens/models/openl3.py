"""OpenL3: the audio network of look, listen and learn more, without TensorFlow.

Conventions: mono float32 at 48 kHz, cut into windows of 1 s. Each window becomes a mel spectrogram in decibels
below its own maximum, an image ``(1, mel, frame)``; eight convolutions and one max-pooling over patches of the last,
linear one give its embedding. The front end is the one of openl3 0.4.2 with kapre: magnitudes (not powers) of
frames of 2 048 samples every 242, the end padded with zeros; Slaney mel filters; ``10 log10`` with a floor of
1e-10; 80 dB below the window's maximum. With librosa instead of kapre, openl3's other front end, frames are centred:
1 024 zeros stand before the window, the rest behind it. The study used kapre, the default. Since the maximum is taken
off, a gain leaves an embedding as it is, up to the rounding of float32.

The official weights are one Keras HDF5 file, read here with h5py.
"""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path

import h5py
import librosa
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from aesens.models.base import Embedder, ModelError, reads
from aesens.models.precision import in_float32
from aesens.models.winograd import with_winograd

__all__ = ["OpenL3", "OpenL3Network", "read_keras"]

#: Mel bands of each input representation.
INPUT_REPRS = {"mel128": 128, "mel256": 256}
#: Zeros before a window in the front end with kapre and in the one with librosa; the rest of them stands behind it.
FRONTENDS = {"kapre": 0, "librosa": 1024}
#: Time pooling of the last map (frequency pooling leaves one or four bands), by embedding size.
EMBEDDING_SIZES = {512: (1, 24), 6144: (4, 8)}

_RATE = 48_000
_N_FFT = 2048
_HOP = 242
_FRAMES = math.ceil(_RATE / _HOP)
_CHANNELS = (64, 128, 256, 512)
# Standard deviation of a unit normal cut at two: Keras divides by it so that `he_normal` has the variance it names.
_TRUNCATED_STD = 0.87962566103423978


class OpenL3Network(nn.Module):
    """Windows of 1 s in, embeddings out.

    Parameters
    ----------
    input_repr : {"mel128", "mel256"}
        Number of mel bands.
    embedding_size : {512, 6144}
        How finely the last map is pooled.
    frontend : {"kapre", "librosa"}
        Which of the original's two spectrograms; they differ in where the frames lie.

    Notes
    -----
    The weights are those of a new network: ``he_normal`` kernels as in the original, zero biases, batch
    normalisation at identity.

    References
    ----------
    J. Cramer, H.-H. Wu, J. Salamon, J. P. Bello, "Look, Listen and Learn More: Design Choices for Deep Audio
    Embeddings", ICASSP 2019, section 3.
    """

    def __init__(self, input_repr: str = "mel128", embedding_size: int = 512, frontend: str = "kapre"):
        super().__init__()
        mels = INPUT_REPRS[input_repr]
        self.before = FRONTENDS[frontend]
        # 80 dB of magnitude reach below the rounding of a Fourier transform in single precision, kapre's; librosa's
        # is computed in double precision.
        self.precision = torch.float64 if frontend == "librosa" else torch.float32
        bands, self.pool_time = EMBEDDING_SIZES[embedding_size]
        self.pool_mel = mels // 8 // bands
        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)
        filters = librosa.filters.mel(sr=_RATE, n_fft=_N_FFT, n_mels=mels)
        self.register_buffer("mel", torch.from_numpy(filters), persistent=False)
        self.norm = nn.BatchNorm2d(1, eps=1e-3)
        layers: list[nn.Module] = []
        width = 1
        for block, channels in enumerate(_CHANNELS):
            if block:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [
                    nn.Conv2d(width, channels, 3, padding=1),
                    nn.BatchNorm2d(channels, eps=1e-3),
                    nn.ReLU(),
                ]
                width = channels
        # The embedding layer is the last convolution itself: neither normalised nor rectified.
        self.layers = nn.Sequential(*layers[:-2])
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                std = math.sqrt(2 / layer.weight[0].numel()) / _TRUNCATED_STD
                nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
                nn.init.zeros_(layer.bias)

    @in_float32
    def decibels(self, windows: torch.Tensor) -> torch.Tensor:
        """Mel spectrograms in decibels below each window's maximum.

        ``(window, 48000)`` to ``(window, mel, 199)``, values in [-80, 0].
        """
        padding = (_FRAMES - 1) * _HOP + _N_FFT - windows.shape[-1]
        padded = F.pad(windows, (self.before, padding - self.before))
        window = self.window.to(self.precision)
        stft = torch.stft(
            padded.to(self.precision), _N_FFT, _HOP, window=window, center=False, return_complex=True
        )
        decibels = 10 * torch.log10((self.mel @ stft.abs().float()).clamp(min=1e-10))
        return (decibels - decibels.amax(dim=(1, 2), keepdim=True)).clamp(min=-80)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Embed windows ``(window, 48000)`` as ``(window, embedding_size)``."""
        image = self.norm(self.decibels(windows)[:, None])
        image = self.layers(image.contiguous(memory_format=torch.channels_last))
        # Keras flattens (mel, time, channel) in this order.
        return F.max_pool2d(image, (self.pool_mel, self.pool_time)).permute(0, 2, 3, 1).flatten(1)

    def fold(self) -> OpenL3Network:
        """Fold each batch normalisation into the convolution before it: the same function, faster."""
        layers = list(self.layers.eval())
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.BatchNorm2d):
                layers[i - 1] = fuse_conv_bn_eval(layers[i - 1], layer)
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.BatchNorm2d)))
        return self.to(memory_format=torch.channels_last)


#: Keras' names of a layer's arrays and torch's.
KERAS_NAMES = {
    nn.Conv2d: {"kernel": "weight", "bias": "bias"},
    nn.BatchNorm2d: {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
}


@reads("an HDF5 file of Keras weights of OpenL3")
def read_keras(path: Path, network: OpenL3Network) -> None:
    """Copy the weights of a Keras HDF5 file into a network, in place.

    Names of layers carry counters that differ between files, so layers are matched in the file's own order (the
    order of the graph, as Keras does), and each array by its name within the layer.

    `path` was written by Keras' ``save_weights``, gzipped or not; `network` is not folded yet. `ModelError` if it is no
    such file, or layers or shapes are not the network's.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    targets = [module for module in network.modules() if type(module) in KERAS_NAMES]
    with h5py.File(io.BytesIO(content), "r") as file, torch.no_grad():
        layers = [file[name] for name in file.attrs["layer_names"]]
        layers = [layer for layer in layers if len(layer.attrs["weight_names"])]
        if len(layers) != len(targets):
            raise ModelError(f"{path} has {len(layers)} layers with weights, OpenL3 has {len(targets)}")
        for layer, target in zip(layers, targets, strict=True):
            arrays = {}
            for name in layer.attrs["weight_names"]:
                name = name.decode() if isinstance(name, bytes) else name
                arrays[name.rsplit("/", 1)[-1].split(":")[0]] = np.asarray(layer[name], dtype=np.float32)
            wanted = KERAS_NAMES[type(target)]
            if arrays.keys() != wanted.keys():
                raise ModelError(f"layer {layer.name} of {path} holds {sorted(arrays)}, not {sorted(wanted)}")
            if "kernel" in arrays:  # (height, width, in, out) to (out, in, height, width)
                arrays["kernel"] = arrays["kernel"].transpose(3, 2, 0, 1)
            for name, array in arrays.items():
                tensor = getattr(target, wanted[name])
                if tensor.shape != array.shape:
                    raise ModelError(
                        f"{name} of layer {layer.name} of {path} has shape {array.shape}, "
                        f"not {tuple(tensor.shape)}"
                    )
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


class OpenL3(Embedder):
    """OpenL3, one embedding a window of 1 s.

    Settings
    --------
    input_repr : {"mel128", "mel256"}
        The mel resolution.
    embedding_size : {512, 6144}
        The number of features.
    hop : float
        Seconds from one window to the next.
    center : bool
        Put half a window of silence before the clip, so that the first window is centred on its first sample.
    content_type : {"music", "env"}
        What the weights were trained on; the network is the same.
    frontend : {"kapre", "librosa"}
        The spectrogram.

    The study uses the default values. A batch counts clips, not windows.
    """

    name = "openl3"
    sample_rate = _RATE
    default_batch_size = 8
    defaults = {
        "input_repr": "mel128",
        "embedding_size": 512,
        "hop": 0.1,
        "center": True,
        "content_type": "music",
        "frontend": "kapre",
    }
    choices = {
        "input_repr": tuple(INPUT_REPRS),
        "embedding_size": tuple(EMBEDDING_SIZES),
        "center": (True, False),
        "content_type": ("music", "env"),
        "frontend": tuple(FRONTENDS),
    }

    def __init__(self, network, weights, **settings):
        super().__init__(network, weights, **settings)
        hop = self.settings["hop"]
        if isinstance(hop, bool) or not isinstance(hop, (int, float)) or not 1 / _RATE <= hop < math.inf:
            raise ValueError(f"hop={hop!r} is not a time in seconds of one sample (1/48000 s) or more")
        self.settings["hop"] = float(hop)
        self.dimension = self.settings["embedding_size"]

    @property
    def weights_key(self):
        return "openl3-{input_repr}-{content_type}".format(**self.settings)

    def build(self, files, seed):
        settings = self.settings
        network = OpenL3Network(settings["input_repr"], settings["embedding_size"], settings["frontend"])
        if files is not None:
            read_keras(*files, network)
        network.fold()
        # Asked of the device that was chosen once: the network may be built in another process, that has a GPU.
        if self.device.type == "cpu":
            network.layers = with_winograd(network.layers)
        return network

    def windows(self, waves: torch.Tensor) -> torch.Tensor:
        """Cut clips into windows of 1 s, padded with zeros as openl3 does.

        ``(batch, samples)`` to ``(batch, window, 48000)``, a view of the padded clips.
        """
        hop = int(self.settings["hop"] * _RATE)
        before = _RATE // 2 if self.settings["center"] else 0
        rest = waves.shape[1] + before - _RATE
        after = -rest if rest < 0 else -rest % hop
        return F.pad(waves, (before, after)).unfold(1, _RATE, hop)

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, window, feature)``."""
        windows = self.windows(waves)
        # On a CPU four windows keep every activation below 32 MiB, the size from which the C library maps fresh
        # memory for each allocation. On a GPU 128, above 1e12 operations, are enough to occupy it; fewer where batches
        # had to be halved.
        at_once = 4 if self.device.type == "cpu" else 4 * min(self.batch_size, 32)
        flat = windows.reshape(-1, _RATE)
        embedded = torch.cat([self.network(part) for part in flat.split(at_once)])
        return embedded.view(*windows.shape[:2], -1)
