"""Fixtures shared by the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

# Workers side by side take one core each; torch and BLAS would take all of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from filelock import FileLock
from support import ROOT, ToyModel, aesens, slow_sweeps, store_bytes, write_clips

from aesens.app.run import copies
from aesens.embeddings.extract import extract

# Embeddings of known geometry (synthetic.py), which the benchmarks judge by too.
sys.path.append(str(ROOT / "benchmarks"))


def pytest_collection_modifyitems(items):
    """What takes longest begins first, so that a second process finds enough to take over at the end."""

    def order(item):
        if "tiny" in getattr(item, "fixturenames", ()):
            return 0
        return 1 if item.get_closest_marker("notebooks") else 2

    items.sort(key=order)


def pytest_configure():
    """Name the whole run that the processes of these tests share."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ[_RUN] = f"tiny-{os.getpid()}"


def pytest_unconfigure():
    """Remove its executed copies."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for executed in (ROOT / "runs").glob(f"{os.environ[_RUN]}-*"):
            shutil.rmtree(executed)


_RUN = "AESENS_TESTS_RUN"


@pytest.fixture(autouse=True)
def environment():
    """No variable that a test sets, or what it calls, outlives the test."""
    before = os.environ.copy()
    yield
    for name in os.environ.keys() | before.keys():
        # Pytest's own one changes between here and there.
        if name != "PYTEST_CURRENT_TEST" and os.environ.get(name) != before.get(name):
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})


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


@pytest.fixture
def clips(tmp_path):
    """Three blocks of clips."""
    return write_clips(tmp_path / "clips", songs=35, seconds=0.1)


@pytest.fixture
def whole(clips, tmp_path, monkeypatch):
    """The stores of an extraction of `clips` that nothing interrupted; the cache is another, empty one afterwards."""
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "whole"))
    extract(slow_sweeps(clips), progress=False)
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "spread"))
    return store_bytes(tmp_path / "whole")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A whole run of the tiny profile: its folder of figures, executed copies, home and cache."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    base, name = shared / "tiny", os.environ[_RUN]
    with FileLock(shared / "tiny.lock"):
        if not base.exists():
            (base / "home").mkdir(parents=True)
            done = aesens("tiny", "--out", base / name, home=base / "home", cache=base / "cache")
            (base / "log.json").write_text(json.dumps([done.stdout, done.stderr]))
    stdout, stderr = json.loads((base / "log.json").read_text())
    return {
        "out": base / name,
        "copies": copies(ROOT, base / name),
        "home": base / "home",
        "cache": base / "cache",
        "log": subprocess.CompletedProcess("aesens", 0, stdout, stderr),
    }
