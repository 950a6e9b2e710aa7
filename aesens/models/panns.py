"""PANNs CNN14: a convolutional network trained on the tags of AudioSet.

Conventions: mono float32 at 32 kHz; log-mel spectrogram of 64 bands from 50 to 14 000 Hz, frames of 1 024 samples
every 320 with a periodic Hann window, centred with reflection, ``10 log10`` of the power with a floor of 1e-10; the
network sees an image ``(1, frame, mel)``. The embedding is the input of the classifier: 2 048 features, one vector a
clip.

Names of parameters are those of the official checkpoint, ``Cnn14_mAP=0.431.pth``, which holds the mel filters too.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from aesens.models.base import Embedder, ModelError, reads
from aesens.models.checkpoints import read_tensors
from aesens.models.precision import in_float32

__all__ = ["Cnn14", "PANNs", "read_checkpoint"]

_RATE = 32_000
_N_FFT = 1024
_HOP = 320
# Five poolings by two: fewer frames than this leave nothing to pool.
_MIN_SAMPLES = (2**5 - 1) * _HOP
# The checkpoint's Fourier matrix is a windowed DFT; torch.stft takes its place.
_FOURIER = ("spectrogram_extractor.stft.conv_real.weight", "spectrogram_extractor.stft.conv_imag.weight")
_CHECKPOINT = "a PANNs checkpoint of CNN14"


class LogMel(nn.Module):
    """Log-mel spectrogram, ``(batch, samples)`` to ``(batch, frame, 64)``."""

    def __init__(self):
        super().__init__()
        filters = librosa.filters.mel(sr=_RATE, n_fft=_N_FFT, n_mels=64, fmin=50, fmax=14_000)
        self.melW = nn.Parameter(torch.from_numpy(filters.T.copy()), requires_grad=False)
        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)

    @in_float32
    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        stft = torch.stft(
            waves, _N_FFT, _HOP, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )
        power = torch.view_as_real(stft).square().sum(-1)
        return 10 * torch.log10((power.transpose(1, 2) @ self.melW).clamp(min=1e-10))


class ConvBlock(nn.Module):
    """Two convolutions, each normalised and rectified, then average pooling."""

    def __init__(self, width: int, channels: int, pool: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = F.relu(self.bn1(self.conv1(image)), inplace=True)
        image = F.relu(self.bn2(self.conv2(image)), inplace=True)
        return F.avg_pool2d(image, self.pool) if self.pool > 1 else image

    def fold(self) -> None:
        self.conv1, self.bn1 = fuse_conv_bn_eval(self.conv1, self.bn1), nn.Identity()
        self.conv2, self.bn2 = fuse_conv_bn_eval(self.conv2, self.bn2), nn.Identity()


class TwoBandBlock(nn.Module):
    """A folded block without pooling on an image of two bands, as two matrix products.

    Of the three columns of a 3 x 3 kernel two fall on each band of so narrow an image, the third on padding. With the
    bands side by side as channels, a convolution is a product over three frames that leaves the padding out: a third
    less to compute, in a form that processors compute at their full rate. The block is a folded one with ``pool=1``.
    """

    def __init__(self, block: ConvBlock):
        super().__init__()
        self.linear1, self.linear2 = map(self._product, (block.conv1, block.conv2))

    @staticmethod
    def _product(conv: nn.Conv2d) -> nn.Linear:
        channels, width = conv.weight.shape[:2]
        # (band out, channel out, frame, band in, channel in)
        weight = torch.empty(2, channels, 3, 2, width)
        for out in range(2):
            for band in range(2):
                weight[out, :, :, band] = conv.weight.detach()[..., band - out + 1].transpose(1, 2)
        linear = nn.utils.skip_init(nn.Linear, 6 * width, 2 * channels)
        linear.weight.data = weight.reshape(2 * channels, 6 * width)
        linear.bias.data = conv.bias.detach().repeat(2)
        return linear

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        batch, _, frames, _ = image.shape
        rows = image.permute(0, 2, 3, 1).reshape(batch, frames, -1)
        for linear in (self.linear1, self.linear2):
            # Each frame beside the one before and the one after it; all clips in one product.
            rows = F.pad(rows, (0, 0, 1, 1)).unfold(1, 3, 1).transpose(2, 3).reshape(batch * frames, -1)
            rows = F.relu(linear(rows), inplace=True).view(batch, frames, -1)
        return rows.view(batch, frames, 2, -1).permute(0, 3, 1, 2)


class Cnn14(nn.Module):
    """Waveforms in, embeddings out.

    Notes
    -----
    The weights are those of a new network, drawn as in the original: Xavier uniform kernels, zero biases, batch
    normalisation at identity. The classifier, ``fc_audioset``, is part of the checkpoint; the embedding stands
    before it.

    References
    ----------
    Q. Kong, Y. Cao, T. Iqbal, Y. Wang, W. Wang, M. D. Plumbley, "PANNs: Large-Scale Pretrained Audio Neural
    Networks for Audio Pattern Recognition", IEEE/ACM TASLP 28, 2020, table I.
    """

    def __init__(self):
        super().__init__()
        self.logmel_extractor = LogMel()
        self.bn0 = nn.BatchNorm2d(64)
        widths = (1, 64, 128, 256, 512, 1024, 2048)
        for i in range(1, 7):
            self.add_module(f"conv_block{i}", ConvBlock(widths[i - 1], widths[i], pool=2 if i < 6 else 1))
        self.fc1 = nn.Linear(2048, 2048)
        self.fc_audioset = nn.Linear(2048, 527)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def blocks(self) -> list[ConvBlock]:
        """The six convolution blocks in order."""
        return [getattr(self, f"conv_block{i}") for i in range(1, 7)]

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed waveforms ``(batch, samples)`` as ``(batch, 2048)``."""
        logmel = self.logmel_extractor(waves)
        # One normalisation a mel band.
        image = self.bn0(logmel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
        image = image.contiguous(memory_format=torch.channels_last)
        large, small = self.blocks()[:2], self.blocks()[2:]
        # On a CPU a few clips at a time keep the large images of the first blocks in its caches, while the many weights
        # of the last ones are read once for the whole batch.
        at_once = 2 if image.device.type == "cpu" else len(image)
        image = torch.cat([_through(large, part) for part in image.split(at_once)])
        image = _through(small, image)
        over_time = image.mean(dim=3)
        return F.relu(self.fc1(over_time.amax(dim=2) + over_time.mean(dim=2)))

    def fold(self) -> Cnn14:
        """Fold each batch normalisation into the convolution before it and the last block into products.

        The network computes the same function, faster, and cannot be folded again.
        """
        self.eval()
        for block in self.blocks():
            block.fold()
        # Five poolings leave two of the 64 bands to the last block.
        self.conv_block6 = TwoBandBlock(self.conv_block6)
        return self.to(memory_format=torch.channels_last)


def _through(blocks: list[nn.Module], image: torch.Tensor) -> torch.Tensor:
    for block in blocks:
        image = block(image)
    return image


@reads(_CHECKPOINT)
def read_checkpoint(path: Path, network: Cnn14) -> None:
    """Copy the weights of the official checkpoint into a network, in place.

    `ModelError` if the file holds anything but tensors and numbers, or not the parameters of the network, which is not
    folded yet.
    """
    state = read_tensors(path, _CHECKPOINT)
    for name in _FOURIER:
        state.pop(name, None)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} does not hold the parameters of CNN14: {error}") from error


class PANNs(Embedder):
    """PANNs CNN14, one embedding a clip; there is one frame, so `pooling` changes nothing."""

    name = "panns"
    sample_rate = _RATE
    dimension = 2048
    default_batch_size = 64
    # More than elsewhere: see `Cnn14.forward`.
    cpu_batch_size = 16

    def build(self, files, seed):
        network = Cnn14()
        if files is not None:
            read_checkpoint(*files, network)
        return network.fold()

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, 1, 2048)``."""
        if waves.shape[1] < _MIN_SAMPLES:
            raise ValueError(
                f"panns needs clips of {_MIN_SAMPLES} samples ({_MIN_SAMPLES / _RATE:.2f} s) or more, "
                f"got {waves.shape[1]}"
            )
        return self.network(waves)[:, None]
