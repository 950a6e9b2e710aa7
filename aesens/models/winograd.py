"""Convolutions of 3 x 3 by Winograd's minimal filtering: the same function with a quarter of the multiplications.

Conventions: images are ``(batch, channel, height, width)``, channels last in memory, float32; the convolution has
stride 1 and one pixel of zeros around the image. On a CPU OpenL3 is bound by arithmetic, so fewer operations are the
only way to make it faster: with these it is 1.15 to 1.6 times as fast, by CPU, which is what this module is worth its
lines for (benchmarks/extraction.py measures it). F(4 x 4, 3 x 3) cuts the image into tiles of 6 x 6 pixels that overlap
by two, transforms each (`_transform`), multiplies the channels in each of the 36 places of a transformed tile (one
matrix product a place), and transforms back to 4 x 4 pixels (`_transform_back`). Its rounding differs from that of the
direct way, by about 1e-6 of the output's norm. On other devices and in other precisions the convolution is torch's own.

References
----------
S. Winograd, "Arithmetic Complexity of Computations", SIAM 1980. A. Lavin, S. Gray, "Fast Algorithms for Convolutional
Neural Networks", CVPR 2016, section 4.3, whose matrices stand here.
"""

from __future__ import annotations

import math
import threading

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import nn

from aesens.models.precision import by_definition

__all__ = ["WinogradConv2d", "with_winograd"]

#: Pixels of the output that a tile gives in each direction, and of the input that it takes.
_GIVES, _TAKES = 4, 6
# Tiles at once: their transforms stay in a core's cache, and the matrix products are still large.
_TILES = 100

# Lavin and Gray's G, from the three taps of a kernel to the six places of a tile.
_KERNEL = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
# Where a constant has to be added to a transformed tile so that it is added to each of its pixels: the second row and
# column, whose factors in the transform back are all 1.
_EVERYWHERE = _TAKES + 1

_TWO, _FOUR, _FIVE, _EIGHT = (np.float32(number) for number in (2, 4, 5, 8))
_MINUS_INFINITY = np.float32(-np.inf)
# Products and sums may be fused, which rounds once and not twice.
_compiled = njit(nogil=True, fastmath={"contract"})


@_compiled
def _transform_line(d0, d1, d2, d3, d4, d5, t0, t1, t2, t3, t4, t5):
    # Lavin and Gray's B transposed; one loop an output, since compilers vectorise those.
    size = t0.size
    for i in range(size):
        t0[i] = _FOUR * d0[i] - _FIVE * d2[i] + d4[i]
    for i in range(size):
        t1[i] = (d4[i] - _FOUR * d2[i]) + (d3[i] - _FOUR * d1[i])
    for i in range(size):
        t2[i] = (d4[i] - _FOUR * d2[i]) - (d3[i] - _FOUR * d1[i])
    for i in range(size):
        t3[i] = (d4[i] - d2[i]) + _TWO * (d3[i] - d1[i])
    for i in range(size):
        t4[i] = (d4[i] - d2[i]) - _TWO * (d3[i] - d1[i])
    for i in range(size):
        t5[i] = _FOUR * d1[i] - _FIVE * d3[i] + d5[i]


@_compiled
def _transform_line_back(m0, m1, m2, m3, m4, m5, y0, y1, y2, y3, least):
    # Lavin and Gray's A transposed. What is not a number is not less than anything and stays.
    size = y0.size
    for i in range(size):
        value = m0[i] + (m1[i] + m2[i]) + (m3[i] + m4[i])
        y0[i] = least if value < least else value
    for i in range(size):
        value = (m1[i] - m2[i]) + _TWO * (m3[i] - m4[i])
        y1[i] = least if value < least else value
    for i in range(size):
        value = (m1[i] + m2[i]) + _FOUR * (m3[i] + m4[i])
        y2[i] = least if value < least else value
    for i in range(size):
        value = (m1[i] - m2[i]) + _EIGHT * (m3[i] - m4[i]) + m5[i]
        y3[i] = least if value < least else value


@_compiled
def _transform(padded, transformed, between, channels):
    """Rows of tiles to their places.

    `padded` is ``(image, 4 * row + 2, 4 * (tile + 1) * channel)``: columns 0, 4, 8, ... of the padded image, then 1, 5,
    9, ... and so on, so that all tiles of a row are transformed in one long loop. `transformed`, ``(36, image * row,
    tile * channel)``, is written, `between`, ``(6, 4 * (tile + 1) * channel)``, overwritten.
    """
    images, rows = padded.shape[0], (padded.shape[1] - 2) // 4
    size = transformed.shape[2]
    step = size + channels
    for image in range(images):
        lines = padded[image]
        for row in range(rows):
            top, place = 4 * row, image * rows + row
            _transform_line(
                *(lines[top], lines[top + 1], lines[top + 2], lines[top + 3], lines[top + 4], lines[top + 5]),
                *(between[0], between[1], between[2], between[3], between[4], between[5]),
            )
            for i in range(6):
                line, first = between[i], 6 * i
                # Columns 4 and 5 of a tile are 0 and 1 of the next.
                _transform_line(
                    line[:size],
                    line[step : step + size],
                    line[2 * step : 2 * step + size],
                    line[3 * step : 3 * step + size],
                    line[channels : channels + size],
                    line[step + channels : step + channels + size],
                    transformed[first, place],
                    transformed[first + 1, place],
                    transformed[first + 2, place],
                    transformed[first + 3, place],
                    transformed[first + 4, place],
                    transformed[first + 5, place],
                )


@_compiled
def _transform_back(products, pixels, between, least):
    """Products in the places of tiles to pixels.

    `products` is ``(36, row, tile * channel)``; `pixels`, ``(row, 4, 4, tile * channel)``, is written, by rows of
    tiles, row and column of the tile; `between`, ``(4, 6, tile * channel)``, overwritten. Pixels are raised to `least`:
    0 rectifies them.
    """
    for row in range(products.shape[1]):
        for j in range(6):
            _transform_line_back(
                products[j, row],
                products[6 + j, row],
                products[12 + j, row],
                products[18 + j, row],
                products[24 + j, row],
                products[30 + j, row],
                *(between[0, j], between[1, j], between[2, j], between[3, j]),
                _MINUS_INFINITY,
            )
        for i in range(4):
            line, pixel = between[i], pixels[row, i]
            _transform_line_back(
                *(line[0], line[1], line[2], line[3], line[4], line[5]),
                *(pixel[0], pixel[1], pixel[2], pixel[3]),
                least,
            )


# Of each thread: memory that is used again by every block of tiles of every layer.
_OF_THREAD = threading.local()


def _memory(name: str, *shape: int) -> torch.Tensor:
    held, size = _OF_THREAD.__dict__, math.prod(shape)
    if name not in held or held[name].numel() < size:
        held[name] = torch.empty(size)
    return held[name][:size].view(shape)


class WinogradConv2d(nn.Module):
    """A convolution of 3 x 3, with Winograd's algorithm where that is faster, for inference.

    The convolution is 3 x 3 of stride 1, with one pixel of zeros around the image and a bias, and its weights are
    final; `ValueError` for another one. `rectify` says whether a rectifier (ReLU) follows, which costs nothing here.
    """

    def __init__(self, convolution: nn.Conv2d, rectify: bool = False):
        super().__init__()
        if not _fits(convolution):
            raise ValueError(f"{convolution} is no 3 x 3 convolution of stride 1 and padding 1 with a bias")
        self.convolution = convolution
        self.rectify = rectify
        weight = convolution.weight.detach().double()
        transformed = torch.einsum("ij,kcjl,ml->imck", _KERNEL, weight, _KERNEL).flatten(0, 1)
        self.register_buffer("kernel", transformed.float().contiguous(), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Filter images ``(batch, channel, height, width)`` into images of the same height and width."""
        single = image.device.type == "cpu" and image.dtype == torch.float32
        if by_definition() or not single or torch.is_autocast_enabled("cpu"):
            filtered = self.convolution(image)
            return F.relu(filtered) if self.rectify else filtered
        batch, channels, height, width = image.shape
        tall, wide = -(-height // _GIVES), -(-width // _GIVES)
        rows = min(tall, max(1, _TILES // wide))
        together = max(1, _TILES // (tall * wide))
        source = image.permute(0, 2, 3, 1)
        found = torch.empty(batch, height, width, self.kernel.shape[2])
        for part, result in zip(source.split(together), found.split(together), strict=True):
            for top in range(0, tall, rows):
                self._rows(part, result, _GIVES * top, min(rows, tall - top), wide)
        return found.permute(0, 3, 1, 2)

    def _rows(self, source, result, top: int, rows: int, wide: int) -> None:
        """Filter `rows` rows of `wide` tiles each, from the line `top` on."""
        images, height, _, channels = source.shape
        filters = self.kernel.shape[2]
        lines = _GIVES * rows
        padded = _memory("padded", images, lines + 2, _GIVES, wide + 1, channels).zero_()
        first, last = max(0, top - 1), min(height, top + lines + 1)
        for phase in range(_GIVES):
            # A column of zeros stands before the image's first.
            columns = source[:, first:last, (phase - 1) % _GIVES :: _GIVES]
            start, above = int(phase == 0), first - (top - 1)
            where = padded[:, above : above + last - first, phase, start : start + columns.shape[2]]
            where.copy_(columns)
        transformed = _memory("tiles", 36, images * rows, wide * channels)
        between = _memory("between", 6, _GIVES * (wide + 1) * channels)
        _transform(padded.view(images, lines + 2, -1).numpy(), transformed.numpy(), between.numpy(), channels)
        products = _memory("products", 36, images * rows * wide, filters)
        torch.bmm(transformed.view(36, -1, channels), self.kernel, out=products)
        products[_EVERYWHERE].add_(self.convolution.bias)
        pixels = _memory("tiles", images * rows, _GIVES, _GIVES, wide * filters)
        _transform_back(
            products.view(36, images * rows, -1).numpy(),
            pixels.numpy(),
            _memory("between", _GIVES, _TAKES, wide * filters).numpy(),
            np.float32(0) if self.rectify else _MINUS_INFINITY,
        )
        where = result[:, top : top + lines]
        pixels = pixels.view(images, lines, _GIVES, wide, filters)[:, : where.shape[1]]
        for phase in range(_GIVES):
            columns = where[:, :, phase::_GIVES]
            columns.copy_(pixels[:, :, phase, : columns.shape[2]])


def _fits(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        == ((3, 3), (1, 1), (1, 1), (1, 1))
        and layer.padding_mode == "zeros"
        and layer.groups == 1
        and layer.bias is not None
    )


def with_winograd(layers: nn.Sequential, channels: int = 16) -> nn.Sequential:
    """The same layers with `WinogradConv2d` in place of the convolutions it can compute, and of their rectifiers.

    The convolutions become parts of the new layers and are not copied. Those of fewer `channels` stay as they are:
    their tiles cost more than the products they spare.
    """
    found: list[nn.Module] = []
    for layer in layers:
        if _fits(layer) and layer.in_channels >= channels:
            found.append(WinogradConv2d(layer))
        elif isinstance(layer, nn.ReLU) and found and isinstance(found[-1], WinogradConv2d):
            found[-1].rectify = True
        else:
            found.append(layer)
    return nn.Sequential(*found)
