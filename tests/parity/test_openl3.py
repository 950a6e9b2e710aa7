"""OpenL3 against the package openl3 on TensorFlow: both front ends, all sizes, both contents."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from compare import SIGNALS, TOLERANCE, Comparison, at_rate, shake

from aesens.models import load_model
from aesens.models.base import seeded
from aesens.models.openl3 import OpenL3Network
from aesens.models.reference import write_keras
from aesens.models.weights import WEIGHTS, state

HOP = 0.5
VARIANTS = list(itertools.product(("mel128", "mel256"), (512, 6144), ("music", "env"), ("kapre", "librosa")))
STUDY = ("mel128", 512, "music", "kapre")
FEW = ("chord 0.5 s 16 kHz mono", "chord and noise 3 s 44.1 kHz stereo")


def spectrogram(reference, waves):
    """The package's own spectrogram of its own windows, ``(window, mel, frame)``."""
    import tensorflow as tf

    keras = reference.network
    settings = {key: keras.settings[key] for key in ("hop_size", "center")}
    if keras.settings["frontend"] == "librosa":
        settings["input_repr"] = keras.settings["input_repr"]
        return keras.package.preprocess_audio(waves, 48_000, **settings)[..., 0]
    windows = keras.package.preprocess_audio(waves, 48_000, **settings)
    front = tf.keras.Model(keras.model.inputs, keras.model.layers[1].output)
    return front.predict(windows, verbose=0)[..., 0]


def compare(about, ours, theirs, signals, own_resampler):
    for name in signals:
        waves = at_rate(name, 48_000)
        expected = spectrogram(theirs, waves[0].numpy())
        with torch.inference_mode():
            found = ours.network.decibels(ours.windows(waves)[0]).numpy()
            frames = ours.frames(waves)[0].numpy()
        # Over time frames, features last.
        about.measure(name, "spectrogram", found.swapaxes(1, 2), expected.swapaxes(1, 2))
        result = about.measure(name, "embedding", frames, theirs.frames(waves)[0].numpy())
        # Silence and what lies 80 dB down is the rounding noise of either Fourier transform, in decibels.
        assert result["cosine_distance"] <= TOLERANCE and result["max_rel"] < 1e-2, result
        audio, rate = SIGNALS[name]
        if own_resampler and rate != 48_000:
            settings = theirs.network.settings
            whole, _ = theirs.network.package.get_audio_embedding(
                audio.T, rate, model=theirs.network.model, **settings
            )
            # Its resampler may round a length up where ours rounds it down: compare the windows that both have.
            count = min(len(whole), len(frames))
            about.measure(name, "own resampler", frames[:count], whole[:count])


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v)))
def test_openl3(tmp_path, variant):
    input_repr, size, content, frontend = variant
    network = seeded(lambda: OpenL3Network(input_repr, size), 11 if content == "music" else 12)
    write_keras(tmp_path / "weights.h5", shake(network, network.norm))
    options = {
        **{"weights": "pretrained", "weights_file": tmp_path / "weights.h5", "device": "cpu", "hop": HOP},
        **{"input_repr": input_repr, "embedding_size": size, "content_type": content, "frontend": frontend},
    }
    ours = load_model("openl3", **options)
    theirs = load_model("openl3", backend="reference", **options)
    about = Comparison("openl3", f"{input_repr}, {size}, {content}, {frontend}", "openl3 0.4.2")
    compare(about, ours, theirs, SIGNALS if variant == STUDY else FEW, own_resampler=variant == STUDY)


@pytest.mark.parametrize("key", [key for key in WEIGHTS if key.startswith("openl3")])
def test_official_weights(key):
    if state(WEIGHTS[key][0]) != "verified":
        pytest.skip(f"the official weights {key} are not in the cache")
    _, input_repr, content = key.split("-")
    options = {"weights": "pretrained", "device": "cpu", "hop": HOP}
    options |= {"input_repr": input_repr, "content_type": content}
    about = Comparison("openl3", f"{input_repr}, 512, {content}, kapre, official weights", "openl3 0.4.2")
    theirs = load_model("openl3", backend="reference", **options)
    compare(about, load_model("openl3", **options), theirs, SIGNALS, own_resampler=True)


@pytest.mark.parametrize("frontend", ["kapre", "librosa"])
def test_published_regression_vectors(frontend):
    """``tests/data`` of the openl3 repository, in the folder that AESENS_OPENL3_TESTS names, if it is there."""
    folder = Path(os.environ.get("AESENS_OPENL3_TESTS") or "absent")
    vectors = folder / "regression" / f"chirp_44k_{frontend}.npz"
    if not vectors.exists():
        pytest.skip("set AESENS_OPENL3_TESTS to tests/data of a clone of the openl3 repository")
    if state(WEIGHTS["openl3-mel256-music"][0]) != "verified":
        pytest.skip("the official weights openl3-mel256-music are not in the cache")
    import resampy
    import soundfile

    audio, rate = soundfile.read(folder / "audio" / "chirp_44k.wav")
    waves = resampy.resample(audio, rate, 48_000, filter="kaiser_best").astype(np.float32)
    ours = load_model(
        "openl3",
        weights="pretrained",
        device="cpu",
        input_repr="mel256",
        embedding_size=6144,
        frontend=frontend,
    )
    with torch.inference_mode():
        frames = ours.frames(torch.from_numpy(waves)[None])[0].numpy()
    about = Comparison(
        "openl3", f"mel256, 6144, music, {frontend}, official weights", "openl3's published vectors"
    )
    # They were computed with older TensorFlow and resampy.
    assert (
        about.measure("chirp_44k.wav", "embedding", frames, np.load(vectors)["embedding"])["cosine_distance"]
        < 1e-4
    )
