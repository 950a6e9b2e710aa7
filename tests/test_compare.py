"""Comparing runs: what counts as a difference, and what the exit status says."""

import shutil

import numpy as np
import pandas as pd
import pytest
from support import ROOT, aesens

from aesens.app.cli import main
from aesens.app.compare import Tolerance, compare_runs, compare_tables, tolerance

TABLE = pd.DataFrame(
    {
        "model": ["yamnet", "musicnn"],
        "pretrained": [True, False],
        "value": [0.5, np.nan],
        "p": [0.01, 0.2],
        "components_90": [3, 4],
        "verdict": ["supported", "control"],
    }
)


@pytest.mark.parametrize(
    ("change", "outcome", "what"),
    [
        ({}, "equal", ""),
        ({"value": [0.505, np.nan]}, "within tolerance", "value"),
        ({"value": [0.53, np.nan]}, "different", "value"),
        ({"value": [0.5, 0.0]}, "different", "value"),
        ({"p": [0.05, 0.2]}, "within tolerance", "p"),
        ({"p": [0.07, 0.2]}, "different", "p"),
        ({"components_90": [3, 5]}, "within tolerance", "components_90"),
        ({"components_90": [3, 6]}, "different", "components_90"),
        ({"verdict": ["inconclusive", "control"]}, "different", "verdict changed in 1 rows"),
        (
            {"model": ["yamnet", "clap"]},
            "different",
            "rows: 2 and 2; only in the first: model musicnn, only in the second: model clap; 1 in both: equal",
        ),
        (
            {"pretrained": [True, True], "value": [0.9, np.nan]},
            "different",
            "rows: 2 and 2; only in the first: pretrained False, only in the second: musicnn, True; 1 in both: "
            "largest difference in value",
        ),
        ({"extra": 1}, "different", "columns: extra"),
    ],
)
def test_outcome(change, outcome, what):
    result = compare_tables("t", TABLE, TABLE.assign(**change))
    assert (result["outcome"], result["what"]) == (outcome, what)


@pytest.mark.parametrize(
    ("column", "outcome"), [("dimensions_90", "within tolerance"), ("test_songs", "different")]
)
def test_whole_numbers_follow_what_is_stated_for_their_column(column, outcome):
    """Whether a count happens to be written as whole numbers in both runs, in one or in none."""
    one = pd.DataFrame({"model": ["clap", "yamnet"], column: [120, 121]})
    other = one.assign(**{column: [121, 121]})
    assert compare_tables("05_geometry", one, other)["outcome"] == outcome
    if outcome == "within tolerance":
        assert compare_tables("05_geometry", one.astype({column: float}), other)["outcome"] == outcome
    worse = one.assign(**{column: [129, 121]})
    assert compare_tables("05_geometry", one, worse)["what"] == column


def test_rows_are_matched_by_their_strength_and_classes_whatever_they_are_called():
    one = pd.DataFrame({"instrument": [1, 2], "strength": [0, 1], "value": [0.1, 0.2]})
    assert compare_tables("t", one, one[::-1])["outcome"] == "equal"
    found = compare_tables("t", one, one.assign(strength=[0, 2]))
    assert found["outcome"] == "different" and found["what"] == (
        "rows: 2 and 2; only in the first: strength 1, only in the second: strength 2; 1 in both: equal"
    )


def test_missing_texts_and_repeated_rows():
    one = pd.DataFrame({"model": ["clap", None, "clap"], "value": [0.1, 0.2, 0.3]})
    assert compare_tables("t", one, one)["outcome"] == "equal"
    assert (
        compare_tables("t", one, one[:2])["what"]
        == "rows: 3 and 2; only in the first: clap; 2 in both: equal"
    )
    assert compare_tables("t", one[["value"]], one[["value"]][:2])["what"] == (
        "rows: 3 and 2; only in the first: repeated rows; 2 in both: equal"
    )


def test_runs_of_other_data_are_compared_without_an_error():
    table = compare_runs(ROOT / "figures" / "demo", ROOT / "figures" / "recordings").set_index("table")
    assert "different" in set(table["outcome"])
    assert "only in the first: instrument " in table.loc["01_split", "what"]


@pytest.mark.parametrize("column", ["seeds", "reason", "chosen", "data"])
def test_what_a_run_decided_names_no_row(column):
    one, other = (TABLE.assign(**{column: [said, "same"]}) for said in ("5 supported", "4 supported"))
    found = compare_tables("09_claims", one, other)
    assert (found["outcome"], found["what"], found["cells"]) == (
        "different",
        f"{column} changed in 1 rows",
        1,
    )
    lacking = compare_tables("09_claims", one, other[:1])
    assert lacking["what"].endswith(f"1 in both: {column} changed in 1 rows")


def test_classes_called_by_numbers_match_whatever_the_other_run_has(tmp_path):
    """Of one run the column reads as whole numbers, of the other as texts; one has more classes."""
    for name, classes in (("one", ["01", "2"]), ("two", ["01", "2", "nan", "all"])):
        (tmp_path / name).mkdir()
        table = pd.DataFrame({"instrument": classes, "clip": "1", "value": 0.5})
        table.to_csv(tmp_path / name / "t.csv", index=False)
    (row,) = compare_runs(tmp_path / "one", tmp_path / "two").to_dict("records")
    assert row["what"] == "rows: 2 and 4; only in the second: instrument all, nan; 2 in both: equal"
    (tmp_path / "one" / "t.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"one/t.csv cannot be read"):
        compare_runs(tmp_path / "one", tmp_path / "two")


def test_largest_difference_is_told_and_row_order_does_not_matter():
    other = TABLE.assign(value=[0.6, np.nan])[::-1]
    result = compare_tables("t", TABLE, other)
    assert result["largest"] == pytest.approx(0.1) and result["cells"] == 1
    assert result["allowed"] == pytest.approx(0.01 + 0.02 * 0.6)


def test_a_tolerance_for_some_rows_leaves_the_others_alone():
    rows = {"model": ["openl3", "openl3", "panns"], "effect": ["gain", "reverb", "gain"]}
    one = pd.DataFrame(rows | {"held_out": [0.1, 0.1, 0.1]})
    for place, outcome in enumerate(("within tolerance", "different", "different")):
        other = one.copy()
        other.loc[place, "held_out"] += 0.2
        found = compare_tables("05_global_cca", one, other)
        assert found["outcome"] == outcome and found["cells"] == (outcome == "different")


def test_tolerance_is_the_first_that_fits():
    assert tolerance("06_method_cosines", "cosine") == Tolerance(0.05, 0.0)
    assert tolerance("04_distances", "value") == Tolerance(0.01, 0.02)


def test_infinite_values():
    infinite = np.array([-np.inf, -np.inf, np.inf])
    assert list(Tolerance(1.0).excess(infinite, np.array([-np.inf, 0.0, -np.inf])) > 1) == [False, True, True]


@pytest.fixture
def runs(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        TABLE.to_csv(folder / "04_a.csv", index=False)
        TABLE.to_csv(folder / "05_b.csv", index=False)
    return folders


def test_exit_status(runs, capsys):
    assert main(["compare", *map(str, runs)]) == 0
    assert "0 of 2 tables differ" in capsys.readouterr().out
    TABLE.assign(value=[0.9, np.nan]).to_csv(runs[1] / "05_b.csv", index=False)
    assert main(["compare", *map(str, runs)]) == 1
    out = capsys.readouterr().out
    assert "1 of 2 tables differ: 05_b" in out and "0.4" in out


def test_a_table_of_one_run_only(runs):
    (runs[1] / "05_b.csv").unlink()
    assert list(compare_runs(*runs)["outcome"]) == ["equal", "different"]
    assert list(compare_runs(*runs, subset=True)["table"]) == ["04_a"]
    assert list(compare_runs(*runs[::-1], subset=True)["outcome"]) == ["equal", "different"]


def test_folders_without_tables_are_explained(tmp_path, capsys):
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert "holds no tables" in capsys.readouterr().err
    assert main(["run", "tiny", "--check", str(tmp_path)]) == 1
    assert "no tables to compare with" in capsys.readouterr().err
    assert main(["run", "tiny", "--check", str(tmp_path), "--out", "x"]) == 1
    assert "leave out --out" in capsys.readouterr().err


@pytest.mark.notebooks
def test_check_makes_the_tables_again(tiny, tmp_path):
    arguments = ["tiny", "--only", "01,04", "--check", tiny["out"]]
    done = aesens(*arguments, home=tiny["home"], cache=tiny["cache"])
    assert "0 of 5 tables differ" in done.stdout
    kept = tmp_path / "kept"
    shutil.copytree(tiny["out"], kept, ignore=shutil.ignore_patterns("report", "*.p*"))
    split = pd.read_csv(kept / "01_split.csv")
    split.assign(clips=split["clips"] + 1).to_csv(kept / "01_split.csv", index=False)
    arguments = ["tiny", "--only", "01", "--check", kept]
    done = aesens(*arguments, home=tiny["home"], cache=tiny["cache"], check=False)
    assert done.returncode == 1 and "1 of 2 tables differ: 01_split" in done.stdout
