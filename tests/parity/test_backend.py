"""``backend="reference"`` through the extraction: the same trajectories from the packages themselves."""

import numpy as np
import pytest
import soundfile
from compare import SIGNALS, TOLERANCE

from aesens.data import load_dataset
from aesens.effects import effect
from aesens.embeddings.extract import Plan, extract
from aesens.models import load_model


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Two clips of a second in a class folder each."""
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "cache"))
    audio, rate = SIGNALS["chord and noise 3 s 44.1 kHz stereo"]
    for place, name in enumerate(("aaa", "bbb")):
        (tmp_path / "clips" / name).mkdir(parents=True)
        start = place * rate
        soundfile.write(tmp_path / "clips" / name / "one.wav", audio[:, start : start + rate].T, rate)
    dataset = load_dataset(str(tmp_path / "clips"))
    dataset.table["split"] = "none"
    return dataset


@pytest.mark.parametrize("name", ["openl3", "panns", "clap"])
def test_a_sweep_through_the_package_itself(clips, name):
    options = {"hop": 0.5} if name == "openl3" else {}
    stores = []
    for backend in ("aesens", "reference"):
        model = load_model(name, weights="untrained", seed=3, device="cpu", backend=backend, **options)
        bitcrush = effect("bitcrush")
        stores += extract([Plan(model, bitcrush, bitcrush.parameters(3), clips)], n_jobs=2, progress=False)
    assert stores[0].path != stores[1].path
    ours, theirs = (store.read().values.astype(float) for store in stores)
    assert ours.shape == (3, 2, {"openl3": 512, "panns": 2048, "clap": 512}[name])
    norms = np.linalg.norm(ours, axis=2) * np.linalg.norm(theirs, axis=2)
    assert (1 - (ours * theirs).sum(axis=2) / norms).max() <= TOLERANCE
    # The trajectory itself, not only its place: steps between strengths agree. Bins that crushing has emptied hold the
    # rounding noise of either Fourier transform, in decibels.
    steps = np.diff(ours, axis=0)
    assert np.abs(steps - np.diff(theirs, axis=0)).max() < 1e-2 * np.abs(steps).max()


def test_numpy_1():
    assert np.__version__.startswith("1.26.")


def test_a_model_without_a_package_is_named():
    with pytest.raises(ValueError, match="openl3, panns, clap"):
        load_model("yamnet", weights="untrained", backend="reference")
