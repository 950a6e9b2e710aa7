"""PANNs, LAION's CLAP and Microsoft's CLAP against their packages' own inference paths."""

import importlib
import re
from importlib.metadata import version
from unittest.mock import MagicMock

import numpy as np
import pytest
import soundfile
import torch
import transformers
from compare import SIGNALS, TOLERANCE, Comparison, at_rate, shake
from safetensors.torch import save_file

from aesens.models import clap, htsat, load_model, panns
from aesens.models.base import seeded
from aesens.models.msclap import MsclapNetwork, read_checkpoint
from aesens.models.reference import placeholders
from aesens.models.weights import WEIGHTS, state


def librosa_path(name, rate):
    """How panns_inference's and laion_clap's users load a file: librosa's downmix and resampling."""
    import librosa

    audio, own = SIGNALS[name]
    return librosa.resample(librosa.to_mono(audio), orig_sr=own, target_sr=rate)


def compare(about, ours, theirs, spectrograms):
    for name in SIGNALS:
        waves = at_rate(name, ours.sample_rate)
        own = librosa_path(name, ours.sample_rate)
        count = min(len(own), waves.shape[1])
        about.measure(name, "waveform", waves[0, :count].numpy(), own[:count])
        with torch.inference_mode():
            about.measure(name, "spectrogram", *(x.numpy() for x in spectrograms(waves)))
            frames = ours.frames(waves)[0].numpy()
            result = about.measure(name, "embedding", frames, theirs(waves)[0].numpy())
            assert result["cosine_distance"] <= TOLERANCE and result["max_rel"] < 1e-4, result
            if ours.name != "msclap":
                about.measure(name, "own resampler", frames, theirs(torch.from_numpy(own)[None])[0].numpy())


def of_panns(about, options):
    ours = load_model("panns", **options)
    theirs = load_model("panns", backend="reference", **options)
    model = theirs.network.hidden[0].model

    def spectrograms(waves):
        expected = model.logmel_extractor(model.spectrogram_extractor(waves))[:, 0]
        return ours.network.logmel_extractor(waves), expected

    compare(about, ours, theirs.frames, spectrograms)


def of_clap(about, options):
    ours = load_model("clap", **options)
    theirs = load_model("clap", backend="reference", **options)
    module, data = theirs.network.module, theirs.network.data
    branch = module.model.audio_branch

    def spectrograms(waves):
        quantised = torch.from_numpy(data.int16_to_float32(data.float32_to_int16(waves[0].numpy()))).float()
        kinds = {"data_truncating": "rand_trunc", "data_filling": "repeatpad"}
        padded = data.get_audio_features(
            {}, quantised, 480_000, audio_cfg=module.model_cfg["audio_cfg"], **kinds
        )
        expected = branch.logmel_extractor(branch.spectrogram_extractor(padded["waveform"][None]))[:, 0]
        return ours.network.logmel(waves), expected

    compare(about, ours, theirs.frames, spectrograms)
    # The package's one public call, whose result is scaled to unit length.
    waves = at_rate("chord and noise 3 s 44.1 kHz stereo", 48_000).numpy()
    unit = module.get_audio_embedding_from_data(waves)
    found = ours.embed(waves)
    assert np.abs(found / np.linalg.norm(found, axis=1, keepdims=True) - unit).max() < 1e-6


def options_for(path):
    return {"weights": "pretrained", "weights_file": path, "device": "cpu"}


def test_panns(tmp_path):
    network = seeded(panns.Cnn14, 11)
    shake(network, network.bn0)
    # The file must look like the official one to the package: with its Fourier matrices.
    template = (
        load_model("panns", backend="reference", weights="untrained", device="cpu").network.hidden[0].model
    )
    torch.save(
        {"iteration": 1, "model": template.state_dict() | network.state_dict()}, tmp_path / "cnn14.pth"
    )
    of_panns(Comparison("panns", "Cnn14", "panns-inference 0.1.1"), options_for(tmp_path / "cnn14.pth"))


def to_original(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Translate transformers' names of HTSAT's tensors into the authors': the inverse of `htsat.to_transformers`."""
    found = {}
    for name, tensor in state.items():
        if name.endswith("relative_position_index"):
            continue
        for old, new in htsat.RENAMED:
            # From the start of a part or of the name; "output.dense" alone is not that of the attention.
            name = re.sub(rf"(^|(?<!attention)\.){re.escape(new)}(?=\.|$)", rf"\1{old}", name)
        if ".attention.self.query." in name:
            parts = [state[name.replace("query", part)] for part in ("query", "key", "value")]
            found[prefix + name.replace("attention.self.query", "attn.qkv")] = torch.cat(parts)
        elif ".attention.self." not in name:
            found[prefix + name] = tensor
    return found


def to_laion(network):
    """The tensors of one of our CLAP networks by the names of ``laion_clap``'s checkpoints."""
    state, start = network.tower.state_dict(), "audio_model.audio_encoder."
    encoder = {name.removeprefix(start): x for name, x in state.items() if name.startswith(start)}
    found = to_original(encoder, "audio_branch.")
    for old, new in clap.PROJECTION.items():
        found |= {f"{old}.{kind}": state[f"{new}.{kind}"] for kind in ("weight", "bias")}
    return found


def laion_file(path, size):
    """A checkpoint as LAION's training wrote it, numbers and prefixes included."""
    network = seeded(lambda: clap.ClapNetwork(size=size), 11)
    seeded(network.draw, 11)
    shake(network, network.tower.audio_model.audio_encoder.batch_norm)
    state = {f"module.{name}": x for name, x in to_laion(network).items()}
    state["module.audio_branch.logmel_extractor.melW"] = network.mel.T.contiguous()
    state["module.text_branch.embeddings.position_ids"] = torch.arange(4)
    torch.save({"epoch": 15, "name": "x", "loss": np.float64(0.5), "state_dict": state}, path)
    return network


@pytest.mark.parametrize(("checkpoint", "size"), [("630k-audioset", "tiny"), ("music", "base")])
def test_clap(tmp_path, checkpoint, size):
    laion_file(tmp_path / "clap.pt", size)
    about = Comparison("clap", f"HTSAT-{size}, original checkpoint", "laion-clap 1.1.7")
    of_clap(about, options_for(tmp_path / "clap.pt") | {"checkpoint": checkpoint})


def test_the_hubs_layout_and_the_original_one_are_the_same_network(tmp_path):
    network = laion_file(tmp_path / "clap.pt", "tiny")
    save_file(
        {n: x.contiguous() for n, x in network.tower.state_dict().items()}, tmp_path / "clap.safetensors"
    )
    waves = at_rate("chord and noise 3 s 44.1 kHz stereo", 48_000).numpy()
    found = [
        load_model("clap", **options_for(tmp_path / name)).embed(waves)
        for name in ("clap.pt", "clap.safetensors")
    ]
    np.testing.assert_array_equal(*found)
    of_clap(
        Comparison("clap", "HTSAT-tiny, the hub's layout", "laion-clap 1.1.7"),
        options_for(tmp_path / "clap.safetensors"),
    )


def test_the_key_map_is_complete_and_invertible():
    reference = load_model("clap", backend="reference", weights="untrained", device="cpu")
    reference = reference.network.module.model
    theirs = {n: x for n, x in reference.state_dict().items() if n.startswith("audio_branch.")}
    there = htsat.to_transformers(theirs, "audio_branch.")
    back = to_original(there, "audio_branch.")
    assert set(there) == {
        name.removeprefix("audio_model.audio_encoder.")
        for name in clap.ClapNetwork().tower.state_dict()
        if name.startswith("audio_model.") and not name.endswith("relative_position_index")
    }
    assert all(torch.equal(theirs[name], tensor) for name, tensor in back.items())
    left = {name.removeprefix("audio_branch.").split(".")[0] for name in set(theirs) - set(back)}
    assert left <= {"spectrogram_extractor", "logmel_extractor", "tscam_conv", "head", "layers"}


@pytest.fixture
def msclap(monkeypatch):
    """The module of ``msclap.CLAP`` without what it fetches for texts; torchaudio's reader by soundfile."""
    with placeholders("torchaudio", "torchaudio.transforms"):
        module = importlib.import_module("msclap.CLAPWrapper")
    # Called for texts only.
    for name in ("AutoModel", "AutoTokenizer"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", MagicMock())

    def load(path):
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(audio.T.copy()), rate

    monkeypatch.setattr(module.torchaudio, "load", load)
    # Of more than 7 s the package takes a stretch at random, aesens the first one.
    monkeypatch.setattr(module.random, "randrange", lambda stop: 0)
    return module


def test_msclap(tmp_path, msclap):
    with placeholders("torchaudio", "torchaudio.transforms"):
        from msclap.models.clap import AudioEncoder
    torch.manual_seed(11)
    drawn = AudioEncoder("HTSAT", 768, 1024, 44_100, 1024, 320, 64, 50, 8_000, 527)
    shake(drawn, drawn.base.htsat.bn0)
    state = {f"audio_encoder.{name}": x for name, x in drawn.state_dict().items()}
    torch.save({"model": state | {"caption_encoder.x": torch.zeros(2)}}, tmp_path / "msclap.pth")
    ours = load_model("msclap", **options_for(tmp_path / "msclap.pth"))
    theirs = msclap.CLAPWrapper(str(tmp_path / "msclap.pth"), version="2023")
    reference = theirs.clap.audio_encoder
    assert all(torch.equal(x, state[f"audio_encoder.{name}"]) for name, x in reference.state_dict().items())

    def repeated(waves):
        return torch.from_numpy(ours.prepare(waves.numpy(), 44_100, "float"))[None]

    def spectrograms(waves):
        front = reference.base.htsat
        expected = front.logmel_extractor(front.spectrogram_extractor(repeated(waves)))[:, 0]
        return ours.network.logmel(waves), expected

    about = Comparison("msclap", "2023", f"msclap {version('msclap')}")
    compare(about, ours, lambda waves: reference(repeated(waves))[0][:, None], spectrograms)
    network = MsclapNetwork()
    read_checkpoint(tmp_path / "msclap.pth", network)
    assert torch.equal(network.mel, state["audio_encoder.base.htsat.logmel_extractor.melW"].T)
    for name, audio in at_44100().items():
        soundfile.write(tmp_path / "clip.wav", audio.T, 44_100, subtype="PCM_16")
        expected = theirs.get_audio_embeddings([str(tmp_path / "clip.wav")]).numpy()
        heard, rate = soundfile.read(tmp_path / "clip.wav", dtype="float32", always_2d=True)
        found = ours.embed(ours.prepare(heard.T, rate, "study")[None])
        result = about.measure(name, "file", found, expected)
        assert result["cosine_distance"] <= TOLERANCE and result["max_rel"] < 1e-4, result


def at_44100():
    """Signals that need no resampling, which is torchaudio's in the package, and two stereo ones more."""
    found = {name: audio for name, (audio, rate) in SIGNALS.items() if rate == 44_100}
    found["chord and noise twice, 6 s 44.1 kHz stereo"] = np.tile(
        found["chord and noise 3 s 44.1 kHz stereo"], 2
    )
    if recordings := [audio for name, audio in found.items() if name.startswith("recording")]:
        found["two recordings, 2 ch., 44.1 kHz"] = np.concatenate(recordings[:2])
    return found


@pytest.mark.parametrize(
    ("key", "function", "options"),
    [
        ("panns", of_panns, {}),
        ("clap", of_clap, {}),
        ("clap-630k", of_clap, {"checkpoint": "630k-audioset"}),
        ("clap-music", of_clap, {"checkpoint": "music"}),
    ],
)
def test_official_weights(key, function, options):
    if state(WEIGHTS[key][0]) != "verified":
        pytest.skip(f"the official weights {key} are not in the cache")
    package = "panns-inference 0.1.1" if key == "panns" else "laion-clap 1.1.7"
    function(
        Comparison(key.partition("-")[0], f"{key}, official weights", package),
        {"weights": "pretrained", "device": "cpu"} | options,
    )
