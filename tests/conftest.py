"""Fixtures shared by the tests."""

from __future__ import annotations

import shutil

import pytest
from support import ROOT, ToyModel, aesens, write_clips


@pytest.fixture
def toy_model():
    return ToyModel()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache for this test alone."""
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def clip_folder(tmp_path):
    return write_clips(tmp_path / "clips")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A whole run of the tiny profile: its folder of figures, executed copies, home and cache."""
    base = tmp_path_factory.mktemp("tiny")
    (base / "home").mkdir()
    name = f"tiny-{base.name}"
    done = aesens("tiny", "--out", base / name, home=base / "home", cache=base / "cache")
    yield {
        "out": base / name,
        "copies": ROOT / "runs" / name,
        "home": base / "home",
        "cache": base / "cache",
        "log": done,
    }
    shutil.rmtree(ROOT / "runs" / name, ignore_errors=True)
