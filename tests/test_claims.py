"""Verdicts from intervals and gates, on tables written by hand, and what they come to in words."""

import numpy as np
import pandas as pd
import pytest

from aesens.tables import claims

PAIR = {"model": "panns", "pretrained": True, "effect": "gain"}
WIDE = {"loss": 0.05, "loss_low": 0.03, "loss_high": 0.07, "helps": 1.0, "harms": 2.0, "methods": 6.0}


def judged(pair=PAIR, definitions=None, **changed):
    """Verdicts where every interval lies on the claim's own side, but for what is changed."""
    response = {"moved": 0.5, "moved_low": 0.4, "moved_high": 0.6}
    response |= {"spearman": 0.9, "spearman_low": 0.8, "spearman_high": 1.0, "spearman_null": 0.1}
    response |= {"jump": 8.0, "jump_low": 7.0, "jump_high": 9.0}
    decoding = {"instrument": "all", "r2": 0.8, "low": 0.7, "high": 0.9}
    geometry = {"energy": 0.5, "energy_low": 0.4, "energy_high": 0.6}
    change = {"condition": "clean-effected", "change": 0.0, "low": -0.005, "high": 0.005}
    pooled = change | {"projection": "all"} | WIDE
    rows = [response, decoding, geometry, pooled]
    for row in rows:
        row |= pair | {name: value for name, value in changed.items() if name in row}
    changes = [rows.pop(), change | pair | {"projection": "npca"}]
    tables = [*(pd.DataFrame([row]) for row in rows), pd.DataFrame(changes)]
    return claims.verdicts(*tables, definitions).set_index("claim")


def test_with_all_intervals_on_their_side_and_open_gates_all_claims_hold():
    table = judged()
    assert table["verdict"].to_dict() == dict.fromkeys(("C1", "C2", "C3", "C4", "C5", "C6"), "supported")
    assert (table["gate"] == "").all()
    assert table.loc["C5", ["helps", "harms"]].tolist() == [1, 2]
    assert table.drop(index="C5")[["helps", "harms"]].isna().all(axis=None)


def test_embeddings_that_do_not_move_decide_nothing_but_that():
    table = judged(moved_low=0.001, moved_high=0.049)
    assert table["verdict"].tolist() == ["not supported", *["inconclusive"] * 4, "supported"]
    assert table["gate"].tolist() == [*["movement"] * 5, ""]


@pytest.mark.parametrize("low", [0.01, 0.05, np.nan])
def test_where_movement_is_in_doubt_nothing_is_supported(low):
    table = judged(moved_low=low)
    assert table["verdict"].tolist() == [*["inconclusive"] * 5, "supported"]
    assert table["gate"].tolist() == [*["movement"] * 5, ""]
    # What does not grow is not sensitive, whether it moves or not.
    table = judged(moved_low=low, spearman_low=-0.1, spearman_high=0.1)
    assert table.loc["C1", ["verdict", "gate"]].tolist() == ["not supported", ""]


def test_a_null_that_reaches_the_interval_leaves_sensitivity_open():
    assert judged(spearman_null=0.79).loc["C1", "verdict"] == "supported"
    for null in (0.8, 0.95):
        table = judged(spearman_null=null)
        assert table.loc["C1", ["verdict", "gate"]].tolist() == ["inconclusive", "null"]
        assert (table.drop(index="C1")["verdict"] == "supported").all()
    # It cannot make anything of what is not supported.
    assert (
        judged(spearman_null=0.9, spearman_low=0.2, spearman_high=0.4).loc["C1", "verdict"] == "not supported"
    )


@pytest.mark.parametrize("low", [-0.01, 0.01, np.nan])
def test_where_nothing_is_lost_there_is_nothing_to_repair(low):
    for change in ({}, {"low": 0.02, "high": 0.03}):
        table = judged(loss_low=low, **change)
        assert table.loc["C5", ["verdict", "gate"]].tolist() == ["inconclusive", "loss"]
    assert judged(loss_low=low).drop(index="C5")["gate"].eq("").all()
    assert judged(low=0.02, high=0.03).loc["C5", "verdict"] == "not supported"


def test_controls_have_neither_verdict_nor_gate():
    table = judged(PAIR | {"pretrained": False}, moved_high=0.01, moved_low=0.0)
    assert (table["verdict"] == claims.CONTROL).all() and (table["gate"] == "").all()


def test_an_interval_without_end_decides_and_an_undefined_one_does_not():
    assert claims.decide(np.inf, np.inf, "above", 5) == "supported"
    assert claims.decide(2.0, np.inf, "above", 5) == "inconclusive"
    assert claims.decide(np.nan, np.nan, "above", 5) == "inconclusive"
    assert judged(jump=np.nan, jump_low=np.nan, jump_high=np.nan).loc["C2", "verdict"] == "inconclusive"


def test_a_reader_draws_lines_of_their_own():
    table = judged(
        definitions={"C1": {"threshold": 0.95}, "C2": {"side": "below"}, "loss": {"threshold": 0.1}}
    )
    assert table["verdict"].tolist() == [
        "inconclusive",
        "not supported",
        *["supported"] * 2,
        "inconclusive",
        "supported",
    ]
    assert table.loc["C1", "threshold"] == 0.95 and table.loc["C5", "gate"] == "loss"
    # The file's own stay as they are.
    assert judged().loc["C1", "threshold"] == 0.5
    with pytest.raises(ValueError, match="no claim or gate 'C9'"):
        judged(definitions={"C9": {"threshold": 1}})


def test_every_gate_is_of_claims_that_exist():
    gates = claims.gates().set_index("gate")
    known = set(claims.definitions()["claim"])
    assert set(gates.index) == {"movement", "loss"} and gates["why"].str.len().gt(20).all()
    assert set(", ".join(gates["claims"]).split(", ")) == known - {"C6"}


def test_answers_count_pretrained_pairs_alone(tmp_path):
    pairs = [
        (PAIR, {}),
        (PAIR | {"effect": "reverb"}, {"jump": 2.0, "jump_low": 1.5, "jump_high": 2.5}),
        (PAIR | {"model": "musicnn", "effect": "lowpass"}, {"jump": 6.0, "jump_low": 4.0}),
        (PAIR | {"model": "musicnn", "effect": "theremin"}, {}),
        (PAIR | {"model": "openl3", "pretrained": False}, {"jump": 99.0, "spearman": -1.0}),
    ]
    verdicts = pd.concat(judged(pair, **changed).reset_index() for pair, changed in pairs)
    for table in (verdicts, read_back(verdicts, tmp_path)):
        found = claims.answers(table).set_index("claim")
        assert list(found.index) == list(claims.definitions()["claim"])
        c2 = found.loc["C2"]
        assert c2[["pretrained pairs", "supported", "not supported", "inconclusive"]].tolist() == [4, 2, 1, 1]
        assert c2["statistic"] == "2 to 8" and found.loc["C1", "statistic"] == "0.9"
        assert c2["supported pairs"] == "PANNs: gain; musicnn: theremin"
        assert c2["answer"] == (
            "supported for 2 of 4 pairs of model and effect, not supported for 1, inconclusive for 1"
        )
        assert found.loc["C1", "supported pairs"] == (
            "PANNs: gain, reverberation; musicnn: low-pass filtering, theremin"
        )
        assert found.loc["C6", "pretrained pairs"] == 2


def read_back(table, folder):
    table.to_csv(folder / "claims.csv", index=False)
    return pd.read_csv(folder / "claims.csv")


def test_what_only_controls_speak_of_is_not_decided():
    controls = judged(PAIR | {"pretrained": False}).reset_index()
    found = claims.answers(controls).set_index("claim")
    assert found["pretrained pairs"].eq(0).all() and found["statistic"].eq("").all()
    assert found.loc["C1", "answer"] == "not decided in this run: no pretrained weights"
    assert (
        found.loc["C6", "answer"]
        == "not decided in this run: no pretrained weights of PANNs or CLAP (Microsoft)"
    )
    assert found[["supported", "not supported", "inconclusive"]].eq(0).all(axis=None)
    assert found["supported pairs"].eq("").all()
