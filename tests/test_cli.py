"""The command line: what a user can put right is one line, what is at fault a traceback; where paths are looked for."""

import os
import runpy
import subprocess
import sys
from types import ModuleType

import nbformat
import numpy as np
import pytest
from support import PYTHONPATH, aesens, write_clips

from aesens import cache
from aesens.app import plan
from aesens.app import run as runner
from aesens.app.cli import main

FEW = ["run", "tiny", "--models", "musicnn", "--weights", "untrained"]


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "foo"], "device='foo' is not here; there are cpu"),
        (["--device", "cuda:77"], "device='cuda:77' is not here"),
        (["--models", "vggish"], "no model named 'vggish'"),
        (["--effects", "flanger"], "no effect named 'flanger'"),
        (["--jobs", "0"], "jobs=0 is less than one"),
        (["--seed", "-1"], "seed=-1 is not between"),
        (["--data", "nowhere"], "is neither a dataset"),
        (["--out", __file__], "test_cli.py is a file: give a folder"),
        (["--dry-run", "--only", "04"], "leave out --only"),
        (["--dry-run", "--check"], "leave out --only"),
        (["--dry-run", "--keep-outputs"], "leave out --only"),
    ],
)
def test_wrong_settings_are_one_line(options, message, capsys):
    assert main([*FEW, *options]) == 1
    told = capsys.readouterr().err
    # A kernel of the test before may still say goodbye here.
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert message in line and "Traceback" not in told


def test_a_cache_that_cannot_be_used_is_explained(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    os.environ["AESENS_CACHE"] = str(tmp_path / "file" / "cache")
    assert main(FEW) == 1
    assert "set AESENS_CACHE to a folder that can be written" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_read(own_cache, monkeypatch, capsys):
    def refused(dir):
        raise PermissionError(13, "Permission denied", f"{dir}/tmp")

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refused)
    refused_here = f"the cache folder {own_cache} cannot be written: Permission denied"
    assert main([*FEW, "--dry-run", "--check"]) == 1
    assert (
        capsys.readouterr().err
        == f"error: {refused_here}; set AESENS_CACHE to a folder that can be written\n"
    )
    (own_cache / "data").mkdir()
    assert main([*FEW, "--dry-run", "--check"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{refused_here}. What it holds is read") and "leave out" in second
    # What other packages write there lies elsewhere then.
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert cache.runtime_environment()["NUMBA_CACHE_DIR"] == str(own_cache / "runtime" / "numba")
    monkeypatch.setattr(cache.os, "access", lambda *_: False)
    assert str(own_cache) not in cache.runtime_environment()["NUMBA_CACHE_DIR"]


def test_a_relative_cache_is_looked_for_where_the_command_is_given(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AESENS_FROM", str(tmp_path))
    monkeypatch.setenv("AESENS_CACHE", "own")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    # Asked for when the package is imported, before the command line is read.
    assert cache.runtime_environment()["NUMBA_CACHE_DIR"] == str(tmp_path / "own" / "runtime" / "numba")
    assert main(["cache"]) == 0
    assert f"{tmp_path / 'own'}: 0 entries" in capsys.readouterr().out


def test_an_interruption_of_the_import_is_no_traceback(monkeypatch, capsys):
    class Interrupted(ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "aesens.app.cli", Interrupted("aesens.app.cli"))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("aesens", run_name="__main__")
    assert ended.value.code == 130 and not capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("own.py", "import not_a_package", "own.py cannot be imported: ModuleNotFoundError"),
        ("own.py", "1 / 0", "ZeroDivisionError"),
        ("own.txt", "", "is no Python file"),
    ],
)
def test_a_file_of_additions_with_an_error_is_named(tmp_path, capsys, name, code, message):
    (tmp_path / name).write_text(code)
    assert main([*FEW, "--with", str(tmp_path / name)]) == 1
    assert message in capsys.readouterr().err


def test_faults_of_the_code_are_shown(monkeypatch):
    def fault(options, fresh):
        return np.ones(2) + np.ones(3)

    monkeypatch.setattr(plan, "dry_run", fault)
    with pytest.raises(ValueError, match="broadcast"):
        main([*FEW, "--dry-run"])


@pytest.mark.parametrize(("option", "variable"), [(["--debug"], "0"), ([], "1")])
def test_debugging_shows_every_traceback(option, variable):
    os.environ["AESENS_DEBUG"] = variable
    with pytest.raises(ValueError, match="no model named"):
        main(["run", "tiny", "--models", "vggish", *option])


def test_paths_are_those_of_the_working_directory(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(runner, "run", lambda options, **others: given.update(options))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rendered").mkdir()
    (tmp_path / "a=b.pt").write_bytes(b"")
    paths = [
        "--data",
        "mine",
        "--out",
        "figures",
        "--weights-file",
        "hear:own.py=w.pt,yamnet=y.tflite,a=b.pt",
    ]
    assert main(["run", "tiny", "--models", "hear:own.py,yamnet", *paths]) == 0
    here = str(tmp_path)
    assert given["data"] == f"{here}/mine" and given["out"] == f"{here}/figures"
    assert given["models"] == f"hear:{here}/own.py,yamnet"
    assert given["weights_file"] == f"hear:{here}/own.py={here}/w.pt,yamnet={here}/y.tflite,{here}/a=b.pt"
    # A data set's name is no path, whatever folders there are.
    assert main(["run", "tiny", "--data", "rendered"]) == 0
    assert given["data"] == "rendered"


def test_a_plan_counts_the_folder_beside_the_user(tmp_path, monkeypatch, capsys):
    write_clips(tmp_path / "mine", songs=8, seconds=0.2)
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    assert main([*FEW, "--effects", "gain", "--data", "mine", "--dry-run"]) == 0
    assert dict(os.environ) == before
    out = capsys.readouterr().out
    assert "Folder mine" in out and "nothing is downloaded or embedded." in out


def test_reports_and_comparisons_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "figures" / "demo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "figures/demo", "figures/demo"]) == 1
    assert f"{tmp_path}/figures/demo holds no tables" in capsys.readouterr().err
    assert main(["report", "--out", "nowhere"]) == 1
    assert f"{tmp_path}/nowhere is no folder" in capsys.readouterr().err


def test_weights_of_another_kind_fail_before_the_notebooks(tmp_path, capsys):
    (tmp_path / "weights.pth").write_text("no weights")
    arguments = ["run", "tiny", "--models", "panns", "--weights-file", str(tmp_path / "weights.pth")]
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert f"{tmp_path}/weights.pth is not a PANNs checkpoint" in told.err and "[1/" not in told.out


def write_notebook(root, name, code):
    folder = root / "notebooks"
    (folder / "percent").mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(code)]
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, folder / f"{name}.ipynb")


INTERRUPTED = """
import asyncio, os, pathlib, signal, sys, threading, time
from jupyter_client.manager import AsyncKernelManager
from aesens.app.cli import main

shutdown = AsyncKernelManager.shutdown_kernel

async def slowly(self, **options):
    await shutdown(self, **options)
    await asyncio.sleep(1.5)  # nbclient looks every second whether the kernel is alive

def interrupt():
    while not pathlib.Path("begun").exists():
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)

AsyncKernelManager.shutdown_kernel = slowly
threading.Thread(target=interrupt, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.notebooks
def test_an_interrupted_run_ends_in_one_line(tmp_path):
    code = "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)"
    write_notebook(tmp_path, "01_slow", code)
    environment = os.environ | {"AESENS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": PYTHONPATH}
    command = [sys.executable, "-c", INTERRUPTED, *FEW]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 130 and "01_slow" in done.stdout
    bar, *said = done.stderr.rpartition("%|")[2].replace("\r", "\n").split("\n")
    assert [line for line in said if line.strip()] == [
        "interrupted; what is finished is kept, the same command goes on from there"
    ]


@pytest.mark.notebooks
def test_the_first_chapter_that_fails_ends_the_one_beside_it(tmp_path):
    """The other one would take five minutes; and what stands after them is not begun."""
    waits = "import pathlib, time\nwhile not pathlib.Path('begun').exists():\n    time.sleep(0.05)\n"
    write_notebook(tmp_path, "01_fails", f"{waits}raise KeyError('lost')")
    for name in ("02_slow", "03_embeddings", "04_later"):
        write_notebook(tmp_path, name, "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(300)")
    done = aesens(*FEW[1:], "--jobs", "2", cwd=tmp_path, cache=tmp_path / "cache", check=False)
    assert done.returncode == 1 and "01_fails.ipynb failed in cell" in done.stderr
    assert "lost" in done.stderr and "[2/4] 02_slow" in done.stdout and "04_later" not in done.stdout


KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.notebooks
@pytest.mark.parametrize("at_the_start", [False, True])
def test_a_killed_kernel_is_explained(tmp_path, monkeypatch, at_the_start):
    write_notebook(tmp_path, "01_greedy", KILL)
    if at_the_start:
        (tmp_path / "sitecustomize.py").write_text(
            KILL.replace("\n", "\n'AESENS_NOTEBOOK' in os.environ and ")
        )
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{PYTHONPATH}")
    done = aesens(*FEW[1:], cwd=tmp_path, cache=tmp_path / "cache", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "01_greedy.ipynb: its Python process was killed, most likely for want of memory" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["compare", "a", "b"], ["report", "--out", "a"], ["new", "..."], ["weights"]]
)
def test_every_command_can_show_its_errors(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, RuntimeError)):
        main([*arguments, "--debug", *(["fetch", "nothing"] if arguments == ["weights"] else [])])
