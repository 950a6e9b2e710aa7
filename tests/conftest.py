"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import shutil

# Workers side by side take one core each; torch and BLAS would take all of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from support import ROOT, ToyModel, aesens, write_clips


# First: xdist reads the groups when its own turn comes.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Share tests out by file, those of the whole run together; what takes longest begins first."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        whole = "tiny" in getattr(item, "fixturenames", ())
        alone = not whole and item.get_closest_marker("notebooks")
        group = "tiny" if whole else item.nodeid if alone else item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group(group.replace("@", "-")))
        item.stash[_ORDER] = 0 if whole else 1 if alone else 2
    items.sort(key=lambda item: item.stash[_ORDER])


_ORDER = pytest.StashKey[int]()


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
