"""Every public thing is documented, and the files for the next developer say what is true."""

import inspect
import pydoc
import re
import runpy
import subprocess
import sys

import nbformat
import pytest
import yaml
from support import ROOT

import aesens
from aesens.report import reference

MODULES = reference.modules()
ENTRIES = [(module, entry) for module in MODULES for entry in reference.public_entries(module)]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_a_module_says_what_it_is(module):
    assert module.__doc__ and len(module.__doc__.split()) >= 4
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name}, which is not there"


def test_a_public_thing_has_a_docstring():
    missing = [f"{module.__name__}.{entry.name}" for module, entry in ENTRIES if not entry.text.strip()]
    assert not missing, f"document {missing} (a constant with a comment '#: ...')"


def test_a_class_documents_its_public_methods():
    missing = []
    for module, entry in ENTRIES:
        thing = getattr(module, entry.name)
        if not inspect.isclass(thing) or thing.__module__ != module.__name__:
            continue
        for name, member in vars(thing).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                above = [getattr(getattr(base, name, None), "__doc__", None) for base in thing.__mro__[1:]]
                if not (member.__doc__ or any(above)):
                    missing.append(f"{module.__name__}.{entry.name}.{name}")
    assert not missing


def test_help_answers():
    text = pydoc.plain(pydoc.render_doc(aesens))
    for module in MODULES:
        parts = module.__name__.split(".")
        if len(parts) == 2:
            assert parts[1] in text


def test_docstrings_become_html():
    html = reference.docstring_html(inspect.cleandoc(reference.docstring_html.__doc__))
    assert "<h5>Parameters</h5><dl><dt><code>text</code> : str</dt>" in html and "<pre>&gt;&gt;&gt;" in html


def test_the_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    runs = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert runs == ["./.ci/run"]
    assert "run_all.sh test" in (ROOT / ".ci" / "run").read_text()


def test_hooks_name_files_that_are_there():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {
        "ruff-check",
        "ruff-format",
        "jupytext-sync",
        "notebook-metadata",
    }
    for hook in hooks:
        for word in hook["entry"].split():
            assert "/" not in word or (ROOT / word).is_file(), word
        if "files" in hook:
            assert re.search(hook["files"], "notebooks/01_data.ipynb")
    assert not re.search(hooks[-1]["files"], "notebooks/percent/01_data.py")


def test_run_metadata_is_stripped_once(tmp_path):
    cell = nbformat.v4.new_code_cell("1", metadata={"tags": ["x"], "execution": {"a": "b"}, "papermill": {}})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(
        cells=[cell], metadata={"kernelspec": kernel, "papermill": {"duration": 1}}
    )
    nbformat.write(book, tmp_path / "n.ipynb")
    strip = runpy.run_path(str(ROOT / "scripts" / "strip_metadata.py"))["strip"]
    assert [strip(tmp_path / "n.ipynb") for _ in range(2)] == [True, False]
    stripped = nbformat.read(tmp_path / "n.ipynb", as_version=4)
    assert stripped.cells[0].metadata == {"tags": ["x"]} and set(stripped.metadata) == {"kernelspec"}


def test_binder_builds_from_the_lock():
    post = (ROOT / ".binder" / "postBuild").read_text()
    assert "requirements.lock" in post and "--editable ." in post
    wanted = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())["dependencies"]
    assert any(str(entry).startswith("pytorch-cpu") for entry in wanted)


def test_commands_in_the_guide_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(r"`((?:notebooks|scripts|aesens)/[\w./-]+\.\w+)`", text):
        assert "NN_" in path or (ROOT / path).exists(), path
    usage = subprocess.run([sys.executable, "-m", "aesens", "--help"], capture_output=True, text=True).stdout
    for command in ("run", "report", "compare", "new", "weights"):
        assert command in usage
