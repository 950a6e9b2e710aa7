"""Every public thing is documented, and the files for the next developer say what is true."""

import inspect
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest
import yaml
from support import ROOT

from aesens.app.report.api import modules

MODULES = modules()


def defined(module):
    """Public things that a module defines itself, by name: each with its docstring or the comment above it."""
    source = inspect.getsource(module)
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isclass(thing) or callable(thing):
            if getattr(thing, "__module__", None) == module.__name__:
                yield name, thing, thing.__doc__ or ""
        elif found := re.search(rf"((?:^#:.*\n)*)^{name}\b.*=", source, flags=re.M):
            yield name, thing, found[1]


THINGS = [
    (f"{module.__name__}.{name}", thing, text) for module in MODULES for name, thing, text in defined(module)
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_a_module_says_what_it_is(module):
    assert module.__doc__ and len(module.__doc__.split()) >= 4
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name}, which is not there"


def test_a_public_thing_has_a_docstring():
    missing = [name for name, _, text in THINGS if not text.strip()]
    assert not missing, f"document {missing} (a constant with a comment '#: ...')"


def methods(cls):
    """Public methods and properties that a class defines itself."""
    for name, member in vars(cls).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            yield name, member


def test_a_class_documents_its_public_methods():
    missing = []
    for place, thing, _ in THINGS:
        for name, member in methods(thing) if inspect.isclass(thing) else ():
            above = [getattr(getattr(base, name, None), "__doc__", None) for base in thing.__mro__[1:]]
            if not (member.__doc__ or any(above)):
                missing.append(f"{place}.{name}")
    assert not missing


def test_a_parameter_that_is_described_is_there():
    wrong = []
    for place, thing, _ in THINGS:
        parts = [(place, thing)]
        if inspect.isclass(thing):
            parts += [(f"{place}.{name}", member) for name, member in methods(thing) if callable(member)]
        for where, part in parts:
            section = re.search(
                r"^Parameters\n-+\n(.*?)(?=^\w.*\n---|\Z)", inspect.getdoc(part) or "", re.M | re.S
            )
            if section and callable(part):
                heads = re.findall(r"^[*\w][^:\n]*", section[1], flags=re.M)
                named = {name.strip(" *") for head in heads for name in head.split(",")}
                if unknown := named - set(inspect.signature(part).parameters):
                    wrong.append((where, sorted(unknown)))
    assert not wrong


def test_no_code_cell_is_long():
    for path in sorted((ROOT / "notebooks" / "percent").glob("*.py")):
        for cell in jupytext.read(path).cells:
            if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
                assert len(cell.source.splitlines()) <= 15, f"{path.name}: {cell.source.splitlines()[0]}"


def test_a_chapter_works_its_method_in_the_open():
    for path in sorted((ROOT / "notebooks" / "percent").glob("0*.py")):
        code = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
        if path.name[:2] not in ("01", "03"):
            assert any("assert " in source for source in code), (
                f"{path.name} compares nothing with the package"
            )


def test_results_in_the_text_come_from_a_run():
    # What looks like a result: two digits after the point and no unit, or a share in per cent. Levels are settings.
    allowed = {"95 %", "90 %", "0.05"}
    for path in sorted((ROOT / "notebooks" / "percent").glob("*.py")):
        for cell in jupytext.read(path).cells:
            if cell.cell_type == "markdown":
                prose = re.sub(r"\$[^$]*\$|`[^`]*`|arXiv:\S+|abs/\S+|doi\S+", "", cell.source)
                found = re.findall(r"\d+\.\d{2,}(?!\d| ?s\b| ?k?Hz)|\d+(?:\.\d+)? %", prose)
                assert not set(found) - allowed, f"{path.name}: print {set(found) - allowed} in a cell"


def test_prose_and_captions_hold_for_other_data_and_other_networks():
    number = "three|four|five|six|seven|eight|eleven"
    told = re.compile(rf"\b(rendered|recordings|({number}) (networks|models|effects|instruments))\b", re.I)
    for path in sorted((ROOT / "notebooks" / "percent").glob("0*.py")):
        for cell in jupytext.read(path).cells:
            if cell.cell_type == "markdown" or re.search(r"study\.(figure|table)\(", cell.source):
                assert not told.search(cell.source), (
                    f"{path.name}: {told.search(cell.source)[0]!r} is the run's to say"
                )


def test_chapter_1_explains_ten_words_and_chapter_5_leads_there():
    first, fifth = (
        (ROOT / "notebooks" / "percent" / f"{name}.py").read_text() for name in ("01_data", "05_trajectories")
    )
    table = first.partition("## Ten words")[2].partition("*Next")[0]
    words = re.findall(r"^# \| ([\w, ]+) \|", table, flags=re.M)[1:]
    assert len(words) == 10 and {"twin", "verdict", "trajectory"} <= set(words)
    assert "01_data.ipynb#Ten-words" in fifth


def test_the_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    runs = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert runs == ["./.ci/run"]
    assert "run_all.sh test" in (ROOT / ".ci" / "run").read_text()


def command_of(hook) -> list[str]:
    """What a hook runs, after the part that finds the environment."""
    words = shlex.split(hook["entry"])
    return words[words.index("--") + 1 :]


def test_hooks_do_what_they_say(tmp_path):
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = {hook["id"]: shlex.split(hook["entry"]) for hook in hooks}
    for folder in ("notebooks/percent", "scripts"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("pyproject.toml", "scripts/strip_metadata.py", "notebooks/percent/90_template.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bad.py").write_text("import os\nx = (1,\n  2)\n")
    # As git runs hooks: from the top of the clone, the environment not active.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def hook(name, *files):
        command = [*entries[name], *files]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        assert done.returncode in (0, 1), done.stderr
        return done.returncode

    assert hook("ruff-check", "bad.py") == 0 and hook("ruff-format", "bad.py") == 0
    assert (tmp_path / "bad.py").read_text() == "x = (1, 2)\n"
    (tmp_path / "worse.py").write_text("print(unknown)\n")
    assert hook("ruff-check", "worse.py") == 1
    assert hook("jupytext-sync", "notebooks/percent/90_template.py") == 0
    book = tmp_path / "notebooks" / "90_template.ipynb"
    assert "louder_moves_less" in book.read_text()
    made = nbformat.read(book, as_version=4)
    made.metadata["papermill"] = {"duration": 1}
    nbformat.write(made, book)
    assert hook("notebook-metadata", "notebooks/90_template.ipynb") == 1
    assert hook("notebook-metadata", "notebooks/90_template.ipynb") == 0


@pytest.mark.parametrize("newer", ["notebooks", "notebooks/percent"])
def test_a_clean_clone_passes_the_notebooks_hooks(tmp_path, newer):
    """Whichever of a pair git wrote last, neither is changed."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    before = {path: path.read_text() for path in (tmp_path / "notebooks").rglob("*.*")}
    for path in before:
        os.utime(path, (1e9, 1e9 + 100 * (path.parent == tmp_path / newer)))
    command = [sys.executable, "-m", "jupytext", "--sync", *map(str, sorted(before))]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    strip = runpy.run_path(str(ROOT / "scripts" / "strip_metadata.py"))["strip"]
    assert not any([strip(path) for path in before if path.suffix == ".ipynb"])
    assert {path: path.read_text() for path in before} == before


def test_hooks_name_files_that_are_there():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {
        "ruff-check",
        "ruff-format",
        "jupytext-sync",
        "notebook-metadata",
    }
    for hook in hooks:
        for word in command_of(hook):
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
    least = re.search(r'"torch(>=[\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert f"pytorch-cpu{least}" in wanted
    # The lock is installed without dependencies: it has to hold what mybinder.org starts.
    lock = (ROOT / "requirements.lock").read_text()
    assert all(
        re.search(rf"^{name}==", lock, flags=re.M) for name in ("jupyterlab", "ipykernel", "ipywidgets")
    )


@pytest.mark.parametrize(
    "remote", ["git@github.com:someone/their-fork.git", "https://github.com/someone/their-fork"]
)
def test_badges_lead_to_the_forkers_repository(tmp_path, remote):
    (command,) = re.findall(
        r"^\.venv/bin/python (scripts/badges\.py)", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / ".binder").mkdir()
    for words in (["init", "-q", "-b", "trunk"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    texts = []
    for _ in range(2):
        subprocess.run([sys.executable, ROOT / command, tmp_path], check=True, capture_output=True)
        texts.append((tmp_path / "README.md").read_text())
    assert texts[0] == texts[1] and texts[0].startswith("# aesens")
    binder, colab = re.findall(r"^\[!\[\w+\]\([^)]+\)\]\((https://[^)]+)\)$", texts[0], flags=re.M)
    assert binder.startswith("https://mybinder.org/v2/gh/someone/their-fork/trunk?")
    assert (ROOT / "notebooks" / re.search(r"notebooks/(\S+\.ipynb)", binder)[1]).is_file()
    assert "/github/someone/their-fork/blob/trunk/" in colab
    opened = nbformat.read(tmp_path / colab.split("/trunk/")[1], as_version=4)
    nbformat.validate(opened)
    assert "https://github.com/someone/their-fork.git clone" in opened.cells[1].source


def test_badges_need_an_address(tmp_path):
    shutil.copy(ROOT / "README.md", tmp_path)
    for words in (["init", "-q"], ["remote", "add", "origin", str(tmp_path)]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "badges.py", tmp_path], capture_output=True, text=True
    )
    assert done.returncode and "not a repository on GitHub" in done.stderr


def test_the_readme_says_what_the_demo_found(tmp_path):
    for path in ("README.md", "figures/demo/09_claims.csv", "benchmarks/results/extraction.csv"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    subprocess.run([sys.executable, ROOT / "scripts" / "answers.py", tmp_path], check=True)
    found = (tmp_path / "README.md").read_text()
    assert 5 <= len(re.findall("^- [*][*]", found.partition("<!-- answers -->")[2], re.M)) <= 10
    assert found == (ROOT / "README.md").read_text(), (
        "after a new demo or benchmark: python scripts/answers.py"
    )
    assert len(found.splitlines()) <= 150


def test_the_speed_in_the_readme_names_its_processors():
    speed = runpy.run_path(str(ROOT / "scripts" / "answers.py"))["speed"]
    rows = [
        (
            "A CPU; 2 cores; torch AVX2",
            "ratio, three models together, 32 clips, 2 cores: least of 2 turns",
            2.04,
        ),
        (
            "A CPU; 2 cores; torch AVX2",
            "ratio, three models together, 32 clips, 2 cores: largest of 2 turns",
            2.5,
        ),
        ("B; 16 cores", "ratio, three models together, 32 clips, 16 cores: least of 2 turns", 3.0),
        ("B; 16 cores", "ratio, three models together, 32 clips, 16 cores: largest of 2 turns", 3.16),
        ("B; 16 cores", "openl3: ratio, without the rendering of the files", 9.0),
    ]
    said = speed(pd.DataFrame(rows, columns=["machine", "metric", "value"]).assign(benchmark="per-file way"))
    assert "2.0 to 3.2 times as fast" in said and "(A CPU, 2 cores; B, 16 cores; from" in said


def test_commands_in_the_guide_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(r"`((?:notebooks|scripts|aesens)/[\w./-]+\.\w+)`", text):
        assert "NN_" in path or (ROOT / path).exists(), path
    usage = subprocess.run([sys.executable, "-m", "aesens", "--help"], capture_output=True, text=True).stdout
    for command in ("run", "report", "compare", "new", "weights"):
        assert command in usage
