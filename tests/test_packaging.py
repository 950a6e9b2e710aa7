"""The files that describe the environment agree with one another, and importing aesens is harmless."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DESIGN = {
    *("jupyterlab", "papermill", "numpy", "scipy", "pandas", "seaborn", "librosa", "pedalboard"),
    *("openl3", "panns-inference", "laion-clap", "scikit-learn", "jupytext"),
}


@pytest.fixture(scope="module")
def required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parsed = map(Requirement, project["dependencies"])
    here = {"python_version": "3.11"}
    return {canonicalize_name(r.name): r for r in parsed if not r.marker or r.marker.evaluate(here)}


@pytest.fixture(scope="module")
def conda():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    parsed = [Requirement(entry) for entry in pip if not entry.startswith("--")]
    return {canonicalize_name(r.name): r for r in parsed}


def test_environment_holds_what_the_design_names(conda):
    assert set(conda) >= DESIGN


def test_environment_and_pyproject_agree(required, conda):
    assert set(required) <= set(conda)
    for name, requirement in required.items():
        # numpy is narrower in the conda environment: laion-clap needs it below 2.
        assert set(map(str, requirement.specifier)) <= set(map(str, conda[name].specifier)), name


def test_lock_holds_the_closure(required):
    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"
    ]
    locked = {canonicalize_name(Requirement(line).name) for line in lines}
    assert set(required) - {"torch"} <= locked
    assert not [name for name in locked if re.match(r"(torch|nvidia|triton|cuda)\b", name)]


def test_lock_versions_satisfy_pyproject(required):
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        locked = Requirement(line)
        wanted = required.get(canonicalize_name(locked.name))
        here = not locked.marker or locked.marker.evaluate(
            {"python_version": "3.11", "python_full_version": "3.11.7"}
        )
        if wanted and here:
            assert wanted.specifier.contains(next(iter(locked.specifier)).version), line


# Declared without an import: the notebooks' front end and kernel, and the package that brings the SoundFont.
NOT_IMPORTED = {"jupyterlab", "ipykernel", "pretty-midi"}


def imported() -> set[str]:
    """Distributions that the package imports, anywhere in its code."""
    modules = set()
    for path in (ROOT / "aesens").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.partition(".")[0])
    homes = packages_distributions()
    own = modules - set(sys.stdlib_module_names) - {"aesens"}
    return {canonicalize_name((homes.get(name) or [name])[0]) for name in own}


def test_what_is_imported_is_declared_and_the_other_way_round():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {canonicalize_name(Requirement(entry).name) for entry in project["dependencies"]}
    cluster = {canonicalize_name(Requirement(e).name) for e in project["optional-dependencies"]["cluster"]}
    assert imported() - named - cluster == set()
    assert (named | cluster) - imported() == NOT_IMPORTED


def test_importing_touches_neither_home_nor_network(tmp_path):
    # Sockets are made to fail: an import that tried to connect would raise.
    code = """
import importlib, os, pathlib, socket, sys
def refuse(*a, **k): raise AssertionError("network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import aesens
package = pathlib.Path(aesens.__file__).parent
files = [path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py")]
names = {".".join(path.parts).removesuffix(".__init__") for path in files} - {"aesens.__main__"}
below = ("aesens.data", "aesens.effects", "aesens.models", "aesens.settings")
for name in names:
    if name.startswith(below):
        importlib.import_module(name)
assert not os.listdir(os.environ["HOME"]), os.listdir(os.environ["HOME"])
for name in names:
    importlib.import_module(name)
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("XDG", "MPL", "NUMBA", "HF", "AESENS"))
    }
    # The default place of the cache, which lies in the home directory.
    environment |= {"HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=tmp_path)
    # matplotlib lists the fonts of the machine when it is imported, in the folder it is given.
    written = [path for path in home.rglob("*") if path.is_file()]
    assert {path.parent.relative_to(home).as_posix() for path in written} <= {
        ".cache/aesens/runtime/matplotlib"
    }
