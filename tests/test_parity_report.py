"""The committed parity report: complete, within its bound, and condensed as notebook 03 shows it."""

import pandas as pd
import pytest
from support import ROOT

from aesens.tables import parity

FOLDER = ROOT / "figures" / "parity"


def test_the_committed_report_holds_every_model_within_the_bound():
    table = parity.report(FOLDER)
    assert set(table["model"]) == {"openl3", "panns", "clap", "msclap", "yamnet", "musicnn"}
    embeddings = table[table["stage"] == "embedding"]
    assert (embeddings["cosine_distance"] <= 1e-6).all()
    files = table[table["stage"] == "file"]
    assert set(files["model"]) == {"msclap"} and (files["cosine_distance"] <= 1e-6).all()
    assert {"stereo", "mono"} <= {name.split()[-1] for name in files["signal"]}
    variants = set(table.loc[table["model"] == "openl3", "variant"])
    for part in ("mel128", "mel256", "512", "6144", "music", "env", "kapre", "librosa"):
        assert any(part in variant.split(", ") for variant in variants), part
    assert set(table["stage"]) >= {"waveform", "spectrogram", "embedding", "own resampler"}
    assert {"openl3", "tensorflow-cpu", "numpy"} <= set(parity.versions(FOLDER).index)


def test_the_summary_takes_the_largest_of_each_stage(tmp_path):
    rows = [
        ("yamnet", "a", "graph", "x", "embedding", 1.0, 1e-3, 1e-9),
        ("yamnet", "a", "graph", "y", "embedding", 2.0, 1e-4, 1e-8),
        ("yamnet", "a", "graph", "y", "spectrogram", 5.0, 1.0, 1.0),
        ("openl3", "b", "package", "x", "embedding", 3.0, 1e-2, 1e-7),
        ("openl3", "b", "package", "x", "own resampler", 4.0, 1e-1, 1e-5),
    ]
    columns = ["model", "variant", "reference", "signal", "stage", "max_abs", "max_rel", "cosine_distance"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "parity.csv", index=False)
    found = parity.summary(tmp_path)
    assert list(found.index) == ["openl3", "yamnet"]
    assert list(found["comparisons"]) == [1, 2]
    assert list(found["embedding, rel."]) == [1e-2, 1e-3] and list(found["embedding, cosine"]) == [1e-7, 1e-8]
    assert found.loc["yamnet", "spectrogram, abs."] == 5 and pd.isna(found.loc["openl3", "spectrogram, abs."])
    assert found.loc["openl3", "own resampler, cosine"] == 1e-5


def test_a_missing_report_says_what_writes_it(tmp_path):
    with pytest.raises(ValueError, match=r"tests/parity/run\.sh"):
        parity.summary(tmp_path)
