"""Winograd's convolutions against direct ones in double precision, alone and inside OpenL3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aesens.models import load_model
from aesens.models.precision import computing, defining
from aesens.models.winograd import WinogradConv2d, with_winograd


def convolution(channels=5, filters=7, seed=0, **options):
    torch.manual_seed(seed)
    options = {"padding": 1} | options
    return nn.Conv2d(channels, filters, options.pop("kernel_size", 3), **options)


def image(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_definition(layer, pixels, rectify=False):
    with torch.inference_mode():
        filtered = F.conv2d(pixels.double(), layer.weight.double(), layer.bias.double(), padding=1)
        return F.relu(filtered) if rectify else filtered


def distance(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(
    "height, width", [(1, 1), (1, 9), (2, 3), (4, 4), (5, 8), (13, 7), (33, 401), (16, 24)]
)
@pytest.mark.parametrize("number", [1, 5])
def test_equals_the_definition(height, width, number, rectify):
    layer, pixels = convolution(), image(number, 5, height, width)
    with torch.inference_mode():
        found = WinogradConv2d(layer, rectify)(pixels)
    assert found.shape == (number, 7, height, width) and found.dtype == torch.float32
    # Ten times what the roundings of float32 come to.
    assert distance(found, by_definition(layer, pixels, rectify)) < 1e-5


def test_many_channels_in_either_order_of_memory():
    layer, pixels = convolution(256, 64), image(2, 256, 12, 20)
    with torch.inference_mode():
        found = WinogradConv2d(layer)(pixels)
        last = WinogradConv2d(layer)(pixels.contiguous(memory_format=torch.channels_last))
    assert distance(found, by_definition(layer, pixels)) < 1e-5
    assert torch.equal(found, last) and found.is_contiguous(memory_format=torch.channels_last)


def test_each_pixel_depends_on_its_neighbours_alone():
    layer = convolution(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    pixels = torch.zeros(1, 1, 11, 10)
    pixels[0, 0, 5, 4] = 1
    with torch.inference_mode():
        found = WinogradConv2d(layer)(pixels)
    expected = torch.zeros_like(pixels)
    expected[0, 0, 4:7, 3:6] = 1
    assert (found - expected).abs().max() < 1e-5


def test_threads_do_not_share_their_memory():
    layers = [WinogradConv2d(convolution(8, 8, seed=s)) for s in range(4)]
    images = [image(3, 8, 30, 30 + s, seed=s) for s in range(4)]

    def work(place):
        with torch.inference_mode():
            return [layers[place](images[place]) for _ in range(20)]

    alone = [work(place)[0] for place in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for place, found in enumerate(pool.map(work, range(4))):
            assert all(torch.equal(each, alone[place]) for each in found)


def test_what_is_not_a_number_is_not_rectified_away():
    pixels = image(1, 5, 8, 8)
    pixels[0, 0, 3, 3] = np.nan
    with torch.inference_mode():
        assert WinogradConv2d(convolution(), rectify=True)(pixels).isnan().any()


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"padding": 0},
        {"kernel_size": 5},
        {"dilation": 2},
        {"bias": False},
        {"padding_mode": "reflect"},
    ],
)
def test_other_convolutions_are_refused_and_left_alone(options):
    layer = convolution(**options)
    with pytest.raises(ValueError, match="3 x 3 convolution"):
        WinogradConv2d(layer)
    assert with_winograd(nn.Sequential(layer), channels=1)[0] is layer


def test_layers_and_their_rectifiers_are_replaced():
    layers = nn.Sequential(
        convolution(1, 16), nn.ReLU(), convolution(16, 16), nn.ReLU(), nn.MaxPool2d(2), convolution(16, 4)
    )
    quick = with_winograd(layers)
    assert [type(layer) for layer in quick] == [
        nn.Conv2d,
        nn.ReLU,
        WinogradConv2d,
        nn.MaxPool2d,
        WinogradConv2d,
    ]
    assert quick[2].rectify and not quick[4].rectify
    pixels = image(2, 1, 21, 18)
    with torch.inference_mode():
        assert distance(quick(pixels), layers.double()(pixels.double())) < 1e-5


def test_openl3_embeds_as_with_defining():
    model = load_model("openl3", weights="untrained", device="cpu", hop=0.5)
    assert sum(isinstance(layer, WinogradConv2d) for layer in model.network.layers) == 7
    waves = np.random.default_rng(0).normal(0, 0.1, (2, 48_000)).astype(np.float32)
    found = model.embed(waves)
    with defining():
        direct = model.embed(waves)
    error = np.linalg.norm(found - direct) / np.linalg.norm(direct)
    # Not the same roundings: else this would not have been another way.
    assert 0 < error < 1e-5


def test_other_precisions_are_torchs_own():
    layer, pixels = convolution(16, 16), image(1, 16, 8, 8)
    quick = WinogradConv2d(layer)
    with torch.inference_mode(), computing("bf16", torch.device("cpu")):
        found = quick(pixels)
        assert found.dtype == torch.bfloat16 and torch.equal(found, layer(pixels))
