"""OpenL3, PANNs and CLAP: architecture, weight files in the official layouts, front ends, and what an embedding may
depend on. References are the original openl3 (`reference/openl3.npz`), librosa, transformers' feature extractor, and
plain formulations written here.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import h5py
import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from support import ToyModel

from aesens import models
from aesens.models import htsat, load_model, model_class
from aesens.models import weights as weight_files
from aesens.models.base import ModelError, mono_at_rate, seeded
from aesens.models.clap import ClapNetwork
from aesens.models.openl3 import OpenL3Network, read_keras
from aesens.models.panns import Cnn14
from aesens.models.precision import computing, defining

REFERENCE = Path(__file__).parent / "reference"
NAMES = ("openl3", "panns", "clap")
# A coarse hop: these tests are about weights and inputs, not about how many windows there are.
OPTIONS = {"openl3": {"hop": 0.5}, "panns": {}, "clap": {}}


def clips(rate, seconds=1.0, number=3):
    """Noises and decaying tones, float32 (clip, samples)."""
    random = np.random.default_rng(3)
    t = np.arange(int(rate * seconds)) / rate
    tones = [np.exp(-2 * t) * np.sin(2 * np.pi * 220 * 2**k * t) for k in range(number)]
    return (0.3 * np.stack(tones) + 0.03 * random.normal(size=(number, t.size))).astype(np.float32)


def close(found, expected, relative=1e-5):
    """Whether two embeddings agree to within a share of the largest feature."""
    return np.abs(found - expected).max() <= relative * np.abs(expected).max()


@pytest.fixture(scope="module")
def untrained():
    """Each model once, seed 0."""
    return {name: load_model(name, weights="untrained", device="cpu", **OPTIONS[name]) for name in NAMES}


def shaken(network):
    """A network with batch normalisations that do something, as trained ones do."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.copy_(0.5 + torch.rand(shape, generator=generator))
            module.weight.data.copy_(0.5 + torch.rand(shape, generator=generator))
            module.bias.data.normal_(0, 0.1, generator=generator)
    return network.eval()


# --- architecture -----------------------------------------------------------------------------------------------


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts():
    cnn14 = Cnn14()
    # 80 753 615 is the number published with the paper; the mel filters are constants stored as a parameter.
    assert count(cnn14) - cnn14.logmel_extractor.melW.numel() == 80_753_615
    openl3 = OpenL3Network()
    statistics = sum(buffer.numel() for name, buffer in openl3.named_buffers() if "running" in name)
    # Keras' count_params of the original model, running statistics included.
    assert count(openl3) + statistics == 4_689_860
    tower = ClapNetwork().tower
    # HTSAT-tiny's 28 million, of which the tagging head is left out, and the projection 768 -> 512 -> 512.
    assert 27.4e6 < count(tower.audio_model) < 28.5e6
    assert count(tower.audio_projection) == 768 * 512 + 512 + 512 * 512 + 512


def test_cnn14_has_the_names_of_the_official_checkpoint():
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = {"logmel_extractor.melW", "fc1.weight", "fc1.bias", "fc_audioset.weight", "fc_audioset.bias"}
    expected |= {f"bn0.{name}" for name in norm}
    for block in range(1, 7):
        for i in (1, 2):
            expected.add(f"conv_block{block}.conv{i}.weight")
            expected |= {f"conv_block{block}.bn{i}.{name}" for name in norm}
    assert set(Cnn14().state_dict()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_have_the_stated_size_and_a_sound_scale(untrained, name):
    model = untrained[name]
    found = model.embed(clips(model.sample_rate))
    assert found.shape == (3, {"openl3": 512, "panns": 2048, "clap": 512}[name])
    assert found.dtype == np.float32
    # Untrained activations neither vanish nor explode, and different sounds differ.
    assert 1e-4 < found.std(axis=1).min() <= found.std(axis=1).max() < 1e3
    assert np.linalg.norm(found[0] - found[1]) > 1e-3 * np.linalg.norm(found[0])


# --- weight files -----------------------------------------------------------------------------------------------


def write_keras(network, path):
    """Write an OpenL3 network as Keras does: groups by layer, in the order of the graph, kernels (h, w, in, out)."""
    with h5py.File(path, "w") as file:
        names = []
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                arrays = {"kernel:0": module.weight.permute(2, 3, 1, 0), "bias:0": module.bias}
            elif isinstance(module, torch.nn.BatchNorm2d):
                arrays = {"gamma:0": module.weight, "beta:0": module.bias}
                arrays |= {"moving_mean:0": module.running_mean, "moving_variance:0": module.running_var}
            elif isinstance(module, torch.nn.ReLU):
                arrays = {}
            else:
                continue
            # Counters as they come: some files start at 1, others at 25.
            name = f"{type(module).__name__.lower()}_{len(names) + 25}"
            names.append(name)
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{key}".encode() for key in arrays], dtype="S")
            for key, tensor in arrays.items():
                group[f"{name}/{key}"] = tensor.detach().numpy()
        file.attrs["layer_names"] = np.array([name.encode() for name in names], dtype="S")


def official(name, folder):
    """An official-looking file of random weights: the network that it was written from, and its path."""
    if name == "openl3":
        network = shaken(seeded(OpenL3Network, 11))
        write_keras(network, folder / "plain.h5")
        path = folder / "openl3.h5.gz"
        path.write_bytes(gzip.compress((folder / "plain.h5").read_bytes(), compresslevel=1))
    elif name == "panns":
        network = shaken(seeded(Cnn14, 11))
        state = dict(network.state_dict())
        state["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(513, 1, 1024)
        state["spectrogram_extractor.stft.conv_imag.weight"] = torch.zeros(513, 1, 1024)
        path = folder / "panns.pth"
        torch.save({"iteration": 600_000, "model": state}, path)
    else:
        network = ClapNetwork()
        seeded(network.draw, 11)
        shaken(network)
        state = {
            key: tensor for key, tensor in network.tower.state_dict().items() if "position_index" not in key
        }
        state |= {"logit_scale_a": torch.tensor(1.0), "text_model.pooler.dense.weight": torch.zeros(4, 4)}
        path = folder / f"{name}.bin"
        if name == "clap-safetensors":
            path = folder / "clap.safetensors"
            save_file(state, path)
        else:
            torch.save(state, path)
    return network, path


@pytest.mark.parametrize("name", [*NAMES, "clap-safetensors"])
def test_official_layouts_load(monkeypatch, tmp_path, name):
    """A file of the official layout gives the embedding of the network it was written from, folding included."""
    network, path = official(name, tmp_path)
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "cache"))
    model = name.partition("-")[0]
    key = "openl3-mel128-music" if model == "openl3" else model
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (file,) = weight_files.WEIGHTS[key]
    file = dataclasses.replace(file, filename=path.name, size=None, hash=f"sha256:{digest}")
    monkeypatch.setitem(weight_files.WEIGHTS, key, (file,))
    path.rename(file.path)
    embedder = load_model(model, weights="pretrained", seed=99, device="cpu", **OPTIONS[model])
    assert embedder.weights.pretrained and embedder.weights.digest.endswith(digest)
    waves = clips(embedder.sample_rate, number=2)
    with torch.inference_mode():
        batch = torch.from_numpy(waves)
        if model == "openl3":
            expected = torch.stack([network(part).mean(dim=0) for part in embedder.windows(batch)]).numpy()
        else:
            expected = network(batch).numpy()
    assert close(embedder.embed(waves), expected, 2e-5)


def test_files_of_another_network_are_refused(tmp_path):
    write_keras(OpenL3Network(), tmp_path / "good.h5")
    with h5py.File(tmp_path / "good.h5", "a") as file:
        names = list(file.attrs["layer_names"])
        kernel = next(names[i] for i in range(len(names)) if b"conv2d" in names[i]).decode()
        del file[kernel][f"{kernel}/bias:0"]
        file[kernel][f"{kernel}/bias:0"] = np.zeros(63, dtype=np.float32)
    with pytest.raises(ModelError, match="bias.*63"):
        read_keras(tmp_path / "good.h5", OpenL3Network())
    with h5py.File(tmp_path / "good.h5", "a") as file:
        file.attrs["layer_names"] = file.attrs["layer_names"][:-1]
    with pytest.raises(ModelError, match="layers"):
        read_keras(tmp_path / "good.h5", OpenL3Network())


def test_checkpoints_are_never_unpickled(tmp_path, untrained):
    from aesens.models import clap, panns

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"model": Payload()}, tmp_path / "bad.pth")
    with pytest.raises(ModelError, match=r"bad\.pth"):
        panns.read_checkpoint(tmp_path / "bad.pth", untrained["panns"].network)
    with pytest.raises(ModelError, match=r"bad\.pth"):
        clap.read_checkpoint(tmp_path / "bad.pth", untrained["clap"].network)
    assert not (tmp_path / "ran").exists()
    torch.save({"model": {}}, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match="bn0"):
        panns.read_checkpoint(tmp_path / "empty.pth", untrained["panns"].network)
    torch.save({}, tmp_path / "empty.bin")
    with pytest.raises(ModelError, match="missing"):
        clap.read_checkpoint(tmp_path / "empty.bin", untrained["clap"].network)


# --- OpenL3 -----------------------------------------------------------------------------------------------------


def load_reference():
    spec = importlib.util.spec_from_file_location("make_openl3", REFERENCE / "make_openl3.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("input_repr", "size"), [("mel128", 512), ("mel128", 6144), ("mel256", 512)])
def test_openl3_equals_the_original(tmp_path, input_repr, size):
    make = load_reference()
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for i, arrays in enumerate(make.draw_weights()):
            group = file.create_group(f"layer_{i}")
            group.attrs["weight_names"] = list(arrays)
            for name, array in arrays.items():
                group[name] = array
        file.attrs["layer_names"] = [f"layer_{i}" for i in range(len(file))]
    network = OpenL3Network(input_repr, size).eval()
    read_keras(tmp_path / "weights.h5", network)
    windows = torch.from_numpy(make.draw_windows())
    with np.load(REFERENCE / "openl3.npz") as reference, torch.inference_mode():
        decibels = network.decibels(windows)[:, :, :: make.STEP].numpy()
        np.testing.assert_allclose(decibels, reference[f"{input_repr}_decibels"], atol=2e-3)
        expected = reference[f"{input_repr}_{size}"]
        assert close(network.fold()(windows[: len(expected)]).numpy(), expected)


def test_openl3_spectrogram_in_double_precision():
    """The definition, computed by librosa in float64: magnitudes, Slaney filters, 80 dB below the maximum."""
    window = clips(48_000, number=1)
    padded = np.pad(window[0].astype(np.float64), (0, 198 * 242 + 2048 - 48_000))
    magnitude = np.abs(librosa.stft(padded, n_fft=2048, hop_length=242, center=False))
    mel = librosa.feature.melspectrogram(S=magnitude, sr=48_000, n_mels=128)
    expected = 10 * np.log10(np.maximum(mel, 1e-10))
    expected = np.maximum(expected - expected.max(), -80)
    found = OpenL3Network().decibels(torch.from_numpy(window))[0].numpy()
    assert found.shape == (128, 199)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("hop", [0.1, 0.37])
@pytest.mark.parametrize("samples", [1, 30_000, 48_000, 48_001, 144_000])
def test_openl3_windows(untrained, samples, hop, center):
    """Every sample lies in a window, the last window is full, and window i starts i hops in."""
    model = load_window_cutter(untrained["openl3"], hop, center)
    wave = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    found = model.windows(torch.from_numpy(wave)[None])[0].numpy()
    step = int(hop * 48_000)
    signal = np.concatenate([np.zeros(24_000 if center else 0, np.float32), wave])
    number = 1 + max(0, int(np.ceil((len(signal) - 48_000) / step)))
    assert found.shape == (number, 48_000)
    signal = np.pad(signal, (0, (number - 1) * step + 48_000 - len(signal)))
    for i in range(number):
        np.testing.assert_array_equal(found[i], signal[i * step : i * step + 48_000])


def load_window_cutter(model, hop, center):
    """The same network with another framing."""
    return type(model)(model.network, model.weights, hop=hop, center=center, device="cpu")


def test_openl3_computes_as_its_device_was_chosen_wherever_it_is_built(monkeypatch):
    """Winograd's convolutions are for CPUs: a model chosen for one keeps them in a worker that has a GPU."""
    from aesens.models import base
    from aesens.models.winograd import WinogradConv2d

    chosen = []
    choose = base.choose_device
    with monkeypatch.context() as patch:
        patch.setattr(base, "choose_device", lambda device, here: chosen.append(device) or choose("cpu"))
        model = load_model("openl3", weights="untrained", hop=0.5)
    monkeypatch.setattr(base, "choose_device", lambda device, here=True: torch.device("cuda"))
    assert chosen == [None] and model.device.type == "cpu"
    assert any(isinstance(module, WinogradConv2d) for module in model.network.modules())


def test_openl3_takes_no_notice_of_gain(untrained):
    waves = clips(48_000)
    loud = untrained["openl3"].embed(waves)
    assert close(untrained["openl3"].embed(waves * np.float32(0.1)), loud, 1e-4)
    # The other two do, so that the test above says something.
    panns = untrained["panns"]
    waves = clips(32_000)
    assert not close(panns.embed(waves * np.float32(0.1)), panns.embed(waves), 1e-2)


# --- PANNs ------------------------------------------------------------------------------------------------------


def test_panns_logmel():
    wave = clips(32_000, number=1)
    power = librosa.feature.melspectrogram(
        y=wave[0].astype(np.float64), sr=32_000, n_fft=1024, hop_length=320, pad_mode="reflect", n_mels=64, fmin=50,
        fmax=14_000,
    )  # fmt: skip
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T
    found = Cnn14().logmel_extractor(torch.from_numpy(wave))[0].numpy()
    assert found.shape == (101, 64)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_panns_equals_a_plain_formulation():
    """CNN14 written out from its state dictionary; the class is folded and keeps channels last."""
    network = shaken(seeded(Cnn14, 4))
    waves = torch.from_numpy(clips(32_000, number=2))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    with torch.inference_mode():
        logmel = network.logmel_extractor(waves)
        scale = state["bn0.weight"] / (state["bn0.running_var"] + 1e-5).sqrt()
        x = ((logmel - state["bn0.running_mean"]) * scale + state["bn0.bias"])[:, None]
        for block in range(1, 7):
            for i in (1, 2):
                x = F.conv2d(x, state[f"conv_block{block}.conv{i}.weight"], padding=1)
                x = norm(x, f"conv_block{block}.bn{i}").clamp(min=0)
            if block < 6:
                x = F.avg_pool2d(x, 2)
        x = x.mean(3)
        x = x.max(2).values + x.mean(2)
        expected = (x @ state["fc1.weight"].T + state["fc1.bias"]).clamp(min=0).numpy()
        assert close(network.fold()(waves).numpy(), expected)


# --- CLAP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.7, 3.0, 4.0, 10.0])
def test_clap_logmel_equals_the_feature_extractor(untrained, seconds):
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="repeatpad")
    waves = 4 * clips(48_000, seconds, number=2)  # beyond full scale in places
    # The original preprocessing, in its own words: clip, scale, cast.
    pcm = (np.clip(waves, -1.0, 1.0) * 32767.0).astype(np.int16)
    for int16, heard in ((True, (pcm / 32767.0).astype(np.float32)), (False, waves)):
        network = untrained["clap"].network
        network.int16, before = int16, network.int16
        found = network.logmel(torch.from_numpy(waves)).numpy()
        network.int16 = before
        expected = extractor(list(heard), sampling_rate=48_000, return_tensors="np")["input_features"][:, 0]
        assert found.shape == expected.shape == (2, 1001, 64)
        np.testing.assert_allclose(found, expected, atol=5e-3)


def test_clap_is_the_projection_before_normalisation(untrained):
    model = untrained["clap"]
    waves = torch.from_numpy(clips(48_000, number=2))
    with torch.inference_mode():
        tower = model.network.tower
        pooled = tower.audio_model(input_features=model.network.logmel(waves)[:, None]).pooler_output
        projection = tower.audio_projection
        hidden = F.relu(F.linear(pooled, projection.linear1.weight, projection.linear1.bias))
        expected = F.linear(hidden, projection.linear2.weight, projection.linear2.bias).numpy()
    found = model.embed(waves.numpy())
    assert close(found, expected)
    assert not np.allclose(np.linalg.norm(found, axis=1), 1, atol=0.05)


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_folded_htsat_equals_transformers(size):
    from transformers import ClapAudioModel

    torch.manual_seed(3)
    tower = ClapAudioModel(htsat.configuration(size))
    htsat.draw(tower)
    shaken(tower)
    for name, parameter in tower.named_parameters():
        if name.endswith(("bias", "bias_table")):
            parameter.data.normal_(0, 0.3)
    encoder = htsat.Encoder(tower.audio_encoder)
    logmel = torch.randn(3, 1001, 64)
    with torch.inference_mode():
        expected = tower(input_features=logmel[:, None]).pooler_output
        assert torch.equal(encoder(logmel), expected)
        encoder.fold()
        found, alone = encoder(logmel), encoder(logmel[:1])
        with defining():
            assert torch.equal(encoder(logmel), expected)
        with computing("bf16", torch.device("cpu")):
            coarse = encoder(logmel)
            assert torch.equal(coarse, tower(input_features=logmel[:, None]).pooler_output)
    errors = (found - expected).norm(dim=1) / expected.norm(dim=1)
    # Not the same roundings: else this would not have been another way.
    assert 0 < errors.max() < 1e-5
    assert (alone - expected[:1]).norm() < 1e-5 * expected[:1].norm()


def test_clap_int16_changes_the_embedding():
    waves = 1e-4 * clips(48_000, number=1)
    models = [load_model("clap", weights="untrained", device="cpu", int16=int16) for int16 in (True, False)]
    first, second = (model.embed(waves) for model in models)
    assert not close(first, second, 1e-4)
    assert [model.options()["int16"] for model in models] == [True, False]


# --- what a model hears of a clip ---


def spoken(channels, rate, seconds):
    """Noise of a colour of its own in each channel, float32 (channels, samples)."""
    random = np.random.default_rng(5)
    noise = random.normal(size=(channels, round(rate * seconds)))
    return (0.1 * np.cumsum(noise, axis=1) % 0.7).astype(np.float32)


@pytest.mark.parametrize("protocol", ["study", "float"])
@pytest.mark.parametrize("name", ["openl3", "panns", "clap", "yamnet"])
def test_the_other_models_hear_the_mean_of_the_channels(name, protocol):
    model = load_model(name, weights="untrained")
    audio = spoken(2, 22_050, 0.5)
    expected = mono_at_rate(audio, 22_050, model.sample_rate)
    np.testing.assert_array_equal(model.prepare(audio, 22_050, protocol), expected)


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.4, 3.0, 3.5, 5.0, 9.0])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_msclap_hears_seven_seconds(channels, seconds, rate):
    """Channels end to end or their mean, resampled, again and again, the first 7 s of it."""
    model, audio = load_model("msclap", weights="untrained"), spoken(channels, rate, seconds)
    parts = [mono_at_rate(audio[c : c + 1], rate, 44_100) for c in range(channels)]
    for protocol, once in (
        ("study", [x for part in parts for x in part]),
        ("float", mono_at_rate(audio, rate, 44_100)),
    ):
        found = model.prepare(audio, rate, protocol)
        assert found.shape == (7 * 44_100,) and found.dtype == np.float32
        expected = np.tile(once, 7 * 44_100 // len(once) + 1)[: 7 * 44_100]
        np.testing.assert_array_equal(found, expected.astype(np.float32))
    same = np.array_equal(*(model.prepare(audio, rate, protocol) for protocol in ("study", "float")))
    assert same == (channels == 1)


def test_msclap_tells_a_pair_of_channels_from_their_mean():
    model = load_model("msclap", weights="untrained", device="cpu")
    stereo, mono = spoken(2, 44_100, 3.0), spoken(1, 44_100, 3.0)
    waves = [model.prepare(audio, 44_100, protocol) for audio, protocol in (
        (stereo, "study"), (stereo, "float"), (stereo[::-1], "study"), (stereo[::-1], "float"), (mono, "study"),
    )]  # fmt: skip
    study, both, swapped, both_swapped, alone = model.embed(np.stack(waves))
    assert not close(study, both, 1e-3) and not close(study, swapped, 1e-3)
    assert close(both, both_swapped)
    # A clip that is repeated by the network itself, as before 7 s were made of it.
    assert close(model.embed(mono)[0], alone)
    with pytest.raises(ValueError, match="7 s"):
        model.embed(np.zeros((1, 7 * 44_100 + 1), np.float32))


# --- what an embedding may depend on ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_batch_mates_do_not_matter(untrained, name):
    model = untrained[name]
    waves = clips(model.sample_rate, number=5)
    together = model.embed(waves)
    alone = np.concatenate([model.embed(wave[None]) for wave in waves])
    assert close(alone, together)
    assert close(model.embed(waves[::-1])[::-1], together)


@pytest.mark.parametrize("name", NAMES)
def test_seed_alone_decides_untrained_weights(untrained, name):
    waves = clips(untrained[name].sample_rate, number=2)
    first = untrained[name].embed(waves)
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    again = load_model(name, weights="untrained", seed=0, device="cpu", **OPTIONS[name])
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(again.embed(waves), first)
    assert not again.weights.pretrained and again.weights.digest == "untrained-0"
    other = load_model(name, weights="untrained", seed=1, device="cpu", **OPTIONS[name])
    assert not close(other.embed(waves), first, 1e-2)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("openl3", {"input_repr": "linear"}),
        ("openl3", {"embedding_size": 128}),
        ("openl3", {"hop": 0}),
        ("openl3", {"hop": float("nan")}),
        ("openl3", {"hop": "0.1"}),
        ("openl3", {"center": 1}),
        ("openl3", {"pooling": "median"}),
        ("clap", {"int16": "yes"}),
        ("panns", {"weights": "random"}),
    ],
)
def test_wrong_options_are_named(name, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        model_class(name).load(**({"weights": "untrained", "device": "cpu"} | option))


def test_an_error_within_a_model_keeps_its_name(monkeypatch):
    class Own(ToyModel):
        @classmethod
        def load(cls, weights="auto", seed=0, device=None):
            raise TypeError("a fault of the model's own")

    monkeypatch.setitem(models.MODELS, "own", models.Entry(Own))
    with pytest.raises(TypeError, match="a fault of the model's own"):
        load_model("own")
    with pytest.raises(ValueError, match=r"model own does not take these options .*'pooling'"):
        load_model("own", pooling="max")
    for name in ("yamnet", "musicnn", "panns"):
        with pytest.raises(ValueError, match=f"model {name} does not take these options .*'hop'"):
            load_model(name, weights="untrained", hop=1.0)


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    for device in ("abacus", "cuda:99", "cpu cuda"):
        with pytest.raises(ValueError, match=f"device='{device}' is not here; there are cpu"):
            models.choose_device(device)
    assert models.choose_device("cpu") == models.choose_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert models.choose_device("cuda").type == "cuda" and models.choose_device("cuda:1").index == 1
    with pytest.raises(ValueError, match=r"'cuda:2' is not here; there are cpu, cuda:0, cuda:1"):
        models.choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="'cuda' is not here"):
        models.choose_device("cuda")
    # A cluster's workers may have what the machine that sends them work has not.
    assert models.choose_device("cuda:3", here=False).index == 3
    with pytest.raises(ValueError, match="'abacus' is not here"):
        models.choose_device("abacus", here=False)


def test_options_hold_what_changes_an_embedding(untrained):
    assert untrained["openl3"].options() == {
        "pooling": "mean",
        "input_repr": "mel128",
        "embedding_size": 512,
        "hop": 0.5,
        "center": True,
        "content_type": "music",
        "frontend": "kapre",
    }
    assert untrained["panns"].options() == {"pooling": "mean"}
    assert untrained["clap"].options() == {"pooling": "mean", "int16": True, "checkpoint": "unfused"}


def test_clip_lengths_are_checked(untrained):
    with pytest.raises(ValueError, match="0.31 s"):
        untrained["panns"].embed(clips(32_000, 0.3))
    assert untrained["panns"].embed(clips(32_000, 0.31)).shape == (3, 2048)
    with pytest.raises(ValueError, match="10 s"):
        untrained["clap"].embed(np.zeros((1, 480_001), np.float32))


def test_loading_touches_neither_network_nor_home(tmp_path):
    program = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("a connection was tried")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from aesens.models import load_model
import aesens.models.openl3, aesens.models.panns
load_model("clap", weights="untrained", device="cpu")
unwanted = {"torchvision", "torchaudio", "tensorflow", "keras"} & {name.split(".")[0] for name in sys.modules}
assert not unwanted, unwanted
"""
    kept = {
        name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ
    }
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=kept | home, check=True, timeout=300)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not left, left
