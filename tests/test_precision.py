"""Arithmetic of the networks: what changes with it, what does not, and that stores tell them apart."""

import numpy as np
import pytest
import torch
from support import ToyModel, all_train, write_clips

from aesens.data import load_dataset
from aesens.effects import EFFECTS
from aesens.embeddings.extract import Plan
from aesens.models import ModelError, load_model
from aesens.models.precision import computing
from aesens.study import Study

WAVES = {
    rate: (0.1 * np.random.default_rng(0).standard_normal((2, 3 * rate))).astype(np.float32)
    for rate in (16000, 32000, 48000)
}


@pytest.mark.parametrize("name", ["openl3", "panns", "clap", "yamnet", "musicnn"])
def test_bf16_is_coarser_and_close(name):
    options = {"hop": 1.0} if name == "openl3" else {}
    model = load_model(name, weights="untrained", device="cpu", **options)
    waves = WAVES[model.sample_rate]
    exact = model.embed(waves)
    model.precision = "bf16"
    coarse = model.embed(waves)
    error = np.linalg.norm(coarse - exact) / np.linalg.norm(exact)
    assert 1e-6 < error < 0.1, error
    assert coarse.dtype == np.float32
    model.precision = "float32"
    assert np.array_equal(model.embed(waves), exact)


@pytest.mark.parametrize(
    ("name", "spectrogram"),
    [
        ("openl3", lambda model, waves: model.network.decibels(waves[:, :48000])),
        ("panns", lambda model, waves: model.network.logmel_extractor(waves)),
        ("clap", lambda model, waves: model.network.logmel(waves)),
        ("yamnet", lambda model, waves: model.network.log_mel(waves)),
        ("musicnn", lambda model, waves: model.network.log_mel(waves)),
    ],
)
def test_front_ends_stay_in_float32(name, spectrogram):
    model = load_model(name, weights="untrained", device="cpu")
    waves = torch.from_numpy(WAVES[model.sample_rate])
    exact = spectrogram(model, waves)
    with computing("bf16", torch.device("cpu")):
        assert torch.equal(spectrogram(model, waves), exact)


def test_arithmetic_of_a_gpu_is_set_and_restored():
    cudnn = torch.backends.cudnn

    def flags():
        return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()

    with cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        before = flags()
        for precision, expected in [
            ("tf32", (True, False, True, "high")),
            ("float32", (True, False, False, "highest")),
        ]:
            with pytest.raises(KeyError), computing(precision, torch.device("cuda")):
                assert flags() == expected
                raise KeyError
            assert flags() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("name", ["openl3", "panns", "clap", "yamnet", "musicnn"])
def test_a_gpu_gives_the_same_bits_again_and_is_close_to_a_cpu(name, precision):
    model = load_model(name, weights="untrained", device="cuda")
    model.precision = precision
    waves = WAVES[model.sample_rate]
    found = model.embed(waves)
    again = load_model(name, weights="untrained", device="cuda")
    again.precision = precision
    assert np.array_equal(again.embed(waves), found)
    exact = load_model(name, weights="untrained", device="cpu").embed(waves)
    limit = {"float32": 1e-4, "tf32": 1e-2, "bf16": 0.1}[precision]
    assert np.linalg.norm(found - exact) <= limit * np.linalg.norm(exact)


def test_what_a_device_does_not_offer_is_explained(own_cache):
    model = ToyModel()
    with pytest.raises(ValueError, match="needs a CUDA device, not cpu"):
        model.precision = "tf32"
    with pytest.raises(ValueError, match="not one of float32, tf32, bf16"):
        model.precision = "fp8"
    with pytest.raises(ValueError, match="not one of float32, tf32, bf16"):
        Study("tiny", precision="fp8")
    with pytest.raises(ValueError, match="leave the precision out"):
        Study("tiny", backend="reference", precision="bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_network_whose_gpu_is_elsewhere_is_not_built_here():
    model = load_model("yamnet", weights="untrained", device="cuda")
    with pytest.raises(
        ModelError, match="yamnet cannot be built: device='cuda' is not here; there are cpu.* workers"
    ):
        model.embed(WAVES[16000])


def test_a_study_hands_its_precision_on(own_cache):
    study = Study("tiny", models="musicnn", weights="untrained", precision="bf16")
    assert study.model("musicnn").precision == "bf16"
    assert study.provenance()["models"]["musicnn"]["precision"] == "bf16"


def test_another_precision_is_another_store(own_cache, tmp_path):
    data = all_train(load_dataset(write_clips(tmp_path / "clips"), seconds=0.5))
    kind = EFFECTS["gain"]
    exact, coarse = ToyModel(), ToyModel()
    coarse.precision = "bf16"
    paths = {Plan(model, kind, kind.parameters(3), data).store().path for model in (exact, coarse)}
    assert len(paths) == 2
