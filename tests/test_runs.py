"""A run's folder knows its settings: where it lies, what in it is of the run, what is shown of other runs."""

import json
import os
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from support import PROFILE, ROOT, ToyModel, write_clips

from aesens import models
from aesens.app import run as runner
from aesens.app.cli import main
from aesens.app.report import build_report
from aesens.plots import outputs
from aesens.settings import OPTIONS, PROFILES, Settings, absolute
from aesens.study import Study

TABLE = pd.DataFrame({"instrument": ["01", "nan"], "value": [0.5, None]})


@pytest.fixture
def toy(monkeypatch, own_cache):
    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips", songs=8, seconds=0.2, rate=44100)


def test_every_option_says_whether_results_depend_on_it():
    assert {name for name, option in OPTIONS.items() if not option.counts} == {
        "jobs",
        "scheduler",
        "device",
        "out",
    }


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_plain_run_has_the_folder_of_its_profile(own_cache, profile):
    plain = {
        "models": PROFILES[profile].models,
        "seed": PROFILES[profile].seed,
        "jobs": 1,
        "protocol": "study",
    }
    for options in ({}, {"jobs": 1}, {"device": "cpu"}, plain):
        settings = Settings(profile, **options)
        assert settings.folder == ROOT / "figures" / profile and settings.out is None and not settings.changed


def test_each_changed_setting_has_a_folder_of_its_own(own_cache, tmp_path, clips, monkeypatch):
    listed = tmp_path / "list.csv"
    listed.write_text("file_name,split\naaa0,train\n")
    options = [
        {},
        {"models": "yamnet"},
        {"models": "musicnn,yamnet"},
        {"effects": "gain"},
        {"instruments": "cel,pia"},
        {"weights": "untrained"},
        {"data": clips},
        {"split": listed},
        {"protocol": "float"},
        {"models": "yamnet", "weights_file": listed},
        {"pooling": "max"} if "max" in OPTIONS["pooling"].flag["choices"] else {"seed": 8},
        {"seed": 7},
    ]
    folders = [Settings("tiny", **given).folder for given in options]
    added = tmp_path / "added.py"
    for content in ("one = 1", "one = 2"):
        added.write_text(content)
        monkeypatch.setenv("AESENS_WITH", str(added))
        folders.append(Settings("tiny").folder)
    assert len(set(folders)) == len(folders)
    # Where they lie, git does not look; the default one is committed for the demo alone.
    for folder in folders[1:]:
        assert not subprocess.run(["git", "-C", ROOT, "check-ignore", "-q", folder]).returncode, folder
    monkeypatch.delenv("AESENS_WITH")
    assert Settings("tiny", seed="7", jobs=1).folder == Settings("tiny", seed=7).folder


def test_without_out_a_notebook_shows_and_saves_nothing(toy, clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*.*"))
    study = Study(PROFILE, data=clips)
    figure, _ = plt.subplots()
    assert study.figure(figure, "f", "A figure.").data.startswith(b"\x89PNG")
    assert study.table(TABLE, "t", "A table.") is TABLE
    outside = [path for path in tmp_path.rglob("*.*") if path not in before and "cache" not in path.parts]
    assert study.out is None and outside == []
    saving = Study(PROFILE, data=clips, out=tmp_path / "mine")
    saving.table(TABLE, "t", "A table.")
    # Of a variant too it is the same run.
    saving.variant(effects=["gain"]).table(TABLE, "u", "Another.")
    assert all(outputs.of_run(tmp_path / "mine", tmp_path / "mine" / name) for name in ("t.csv", "u.csv"))
    read = outputs.read_table(tmp_path / "mine" / "t.csv")
    assert list(read["instrument"]) == ["01", "nan"] and read["value"].isna().tolist() == [False, True]


def test_provenance_names_commit_notebook_and_run(toy, clips, tmp_path, monkeypatch):
    monkeypatch.setenv("AESENS_NOTEBOOK", "04_sensitivity")
    study = Study(PROFILE, data=clips, out=tmp_path / "mine")
    about = study.provenance()
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert about["commit"].get("hash", "") == head.stdout.strip() and about["notebook"] == "04_sensitivity"
    assert about["run"] == study.manifest["run"]
    monkeypatch.delenv("AESENS_NOTEBOOK")
    monkeypatch.setenv("JPY_SESSION_NAME", "/a/notebooks/93_mine.ipynb")
    assert study.provenance()["notebook"] == "93_mine"


def changes(clips, tmp_path):
    """Studies of the same folder, of which no two are the same run."""
    whole = {"data": clips, "out": tmp_path / "mine"}
    yield Study(PROFILE, **whole)
    yield Study(PROFILE, **whole, effects="gain")
    yield Study(PROFILE, **whole, seed=7)
    yield Study(PROFILE, **whole, protocol="float")
    write_clips(clips, classes=["ccc"], songs=8, seconds=0.2, seed=1)
    yield Study(PROFILE, **whole)


def test_leftovers_of_other_settings_are_told_and_never_shown(toy, clips, tmp_path):
    out, page = tmp_path / "mine", tmp_path / "01_page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page")]), page)
    seen = set()
    for number, study in enumerate(changes(clips, tmp_path)):
        told = outputs.claim(out, study.manifest)
        assert told.endswith(f"kept and not shown: {number}") if number else told == ""
        study.table(TABLE, f"t{number}", f"Table {number}.")
        build_report(out, [page])
        gallery = (out / "report" / "gallery.html").read_text()
        assert [n for n in range(number + 1) if f"Table {n}." in gallery] == [number]
        joined = outputs.with_other_runs(tmp_path / "here", f"t{number}", TABLE.assign(data="Here"))
        assert len(joined) == len(TABLE)
        seen.add(runner.copies(tmp_path, out))
        assert runner.copies(tmp_path, out) != runner.copies(tmp_path, tmp_path / "elsewhere" / "mine")
    assert len(seen) == 5


def test_leftovers_are_no_other_run(toy, clips, tmp_path):
    about, here = {"run": "now"}, TABLE.assign(data="Here")
    for name, run in (("fresh", "now"), ("stale", "before")):
        folder = tmp_path / name
        outputs.claim(folder, about)
        outputs.save_table(TABLE.assign(data="There"), folder, "t", {"run": run})
    assert outputs.with_other_runs(tmp_path / "here", "t", here).attrs["sources"][0]["run"] == "fresh"
    # Made by an older version, which wrote no manifest.
    (tmp_path / "older").mkdir()
    TABLE.assign(data="Elsewhere").to_csv(tmp_path / "older" / "t.csv", index=False)
    joined = outputs.with_other_runs(tmp_path / "here", "t", here)
    assert [source["run"] for source in joined.attrs["sources"]] == ["fresh", "older"]
    (tmp_path / "fresh" / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json cannot be read: .*; remove it"):
        outputs.with_other_runs(tmp_path / "here", "t", here)


def test_two_other_runs_on_the_same_data_stay_apart(tmp_path):
    rows = {"model": ["musicnn"], "effect": ["gain"], "value": [1.0]}
    for run, data in (("a", "There"), ("b", "There"), ("c", "Elsewhere"), ("d", "Here")):
        outputs.save_table(pd.DataFrame(rows).assign(data=data), tmp_path / run, "t", {})
    here = pd.DataFrame(rows).assign(data="Here")
    joined = outputs.with_other_runs(tmp_path / "here", "t", here)
    assert list(joined["data"]) == ["Here", "There (a)", "There (b)", "Elsewhere"]
    assert [source["data"] for source in joined.attrs["sources"]] == [["There"], ["There"], ["Elsewhere"]]
    # What chapters 3 and 9 do with it.
    assert joined.pivot(index=["model", "effect"], columns="data", values="value").shape == (1, 4)


def small_clone(root):
    """A clone of one notebook, which saves a table and says where."""
    (root / "notebooks" / "percent").mkdir(parents=True)
    settings = nbformat.v4.new_code_cell("profile = options = None")
    settings.metadata["tags"] = ["parameters"]
    code = (
        "import pandas as pd\nfrom aesens.study import Study\nstudy = Study(profile, **options)\n"
        "study.table(pd.DataFrame({'x': [1]}), '01_table', 'A table.');"
    )
    cells = [settings, nbformat.v4.new_code_cell(code), nbformat.v4.new_markdown_cell("# A page")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        nbformat.v4.new_notebook(metadata=kernel, cells=cells), root / "notebooks" / "01_page.ipynb"
    )


@pytest.mark.notebooks
def test_runs_of_other_settings_do_not_meet(own_cache, tmp_path, monkeypatch, capsys):
    clone, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    small_clone(clone)
    write_clips(elsewhere / "mine", classes=["01", "nan"], songs=8, seconds=0.2)
    monkeypatch.chdir(clone)
    few = ["run", "tiny", "--models", "musicnn", "--weights", "untrained", "--effects", "gain"]
    # As run_all.sh calls it, which goes to the clone: paths mean the folder where it was called.
    monkeypatch.setenv("AESENS_FROM", str(elsewhere))
    assert absolute("mine") == str(elsewhere / "mine")
    assert main([*few, "--data", "mine"]) == 0
    (folder,) = (clone / "figures").iterdir()
    assert (
        folder.name.startswith("tiny-")
        and f"to read: ../clone/figures/{folder.name}/" in capsys.readouterr().out
    )
    about = json.loads((folder / "provenance" / "01_table.csv.json").read_text())
    assert (
        about["notebook"] == "01_page"
        and about["data"]["name"] == "mine"
        and outputs.of_run(folder, folder / "01_table.csv")
    )
    assert str(elsewhere) not in (folder / "run.json").read_text()
    for out in ("a/same", "b/same"):
        assert main([*few, "--data", "mine", "--out", out]) == 0
        assert (elsewhere / out / "report" / "01_page.html").exists()
    assert len(os.listdir(clone / "runs")) == 3
    capsys.readouterr()
    assert main([*few, "--data", "mine", "--out", "a/same", "--seed", "7"]) == 0
    told = capsys.readouterr().out
    assert "a/same holds results of another run (other settings), kept and not shown: 1\n" in told
    assert main(["report", "--out", "a/same"]) == 0


def test_chapters_are_executed_side_by_side_where_one_makes_embeddings():
    def groups(*numbers):
        paths = [Path(f"{n:02}_{'embeddings' if n == 3 else 'x'}.ipynb") for n in numbers]
        return [([int(path.name[:2]) for path in group], at_once) for group, at_once in runner._groups(paths)]

    assert groups(1, 2, 3, 4, 5, 9, 80, 81) == [
        ([1, 2, 3], True),
        ([4, 5, 9], True),
        ([80, 81], False),
    ]
    assert groups(3, 9) == [([3], True), ([9], True)]
    assert groups(4, 5, 80) == [([4, 5, 80], False)]
