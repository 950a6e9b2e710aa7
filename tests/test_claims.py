"""Verdicts from intervals, orders and gates, on tables written by hand, and what they come to in words."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from support import ROOT

from aesens import plots
from aesens.effects import effect
from aesens.study import Study
from aesens.tables import claims
from aesens.tables.answers import answers

PAIR = {"model": "panns", "pretrained": True, "effect": "gain"}
ALL = ("C1", "C2", "C3a", "C3b", "C4", "C5", "C6", "C7")
SVD = "svd-0.3 + svd-0.4 + svd-0.5"


def tables_of(pair=PAIR, **changed):
    """The tables of one pair, where every interval lies on the claim's own side, but for what is changed."""
    response = {"moved": 0.5, "moved_low": 0.4, "moved_high": 0.6, "songs": 40, "strengths": 12}
    response |= {"spearman": 0.9, "spearman_low": 0.8, "spearman_high": 1.0, "p": 0.001, "p_floor": 0.001}
    response |= {"jump": 8.0, "jump_low": 7.0, "jump_high": 9.0, "jump_visible": 0.6}
    decoding = {"instrument": "all", "test_songs": 40, "rho": 0.9, "rho_low": 0.8, "rho_high": 1.0}
    decoding |= {"r2": 0.8, "low": 0.7, "high": 0.9, "p": 0.002, "p_floor": 0.002}
    geometry = {"ratio": 0.8, "ratio_low": 0.7, "ratio_high": 0.9, "songs": 40}
    score = {
        "kind": "pooled",
        "test": "effected",
        "loss": 0.1,
        "loss_low": 0.05,
        "loss_high": 0.2,
        "songs": 40,
    }
    score |= {"recovered": 0.1, "low": 0.05, "high": 0.15, "p": 0.5}
    score |= {"change": 0.0, "change_low": -0.005, "change_high": 0.005}
    methods = [{"method": name, "metric": m} for name in METHODS for m in ("roc_auc", "balanced_accuracy")]
    remedy = {"chosen": True, "condition": "transfer", "metric": "balanced_accuracy", "songs": 40}
    remedy |= {"kind": "pooled", "test": "effected"}
    remedy |= {"loss": 0.1, "loss_low": 0.05, "loss_high": 0.2, "recovered": 0.4, "low": 0.3, "high": 0.5}

    def row(about):
        return about | pair | {name: value for name, value in changed.items() if name in about}

    return {
        "response": pd.DataFrame([row(response)]),
        "decoding": pd.DataFrame([row(decoding)]),
        "geometry": pd.DataFrame([row(geometry)]),
        "robustness": pd.DataFrame([row(score) | method for method in methods]),
        # Beside the row that counts, those that do not: other conditions, single strengths, methods not chosen.
        "remedies": pd.DataFrame(
            row(remedy) | other
            for other in (
                {},
                {"condition": "own", "low": 0.9},
                {"kind": "strength", "low": 0.9},
                {"test": "random", "low": 0.9},
                {"chosen": False, "low": 0.9},
                {"metric": "roc_auc", "low": 0.9},
            )
        ),
    }


METHODS = ("lda", "average", "pca", "npca", "cca", "svd-0.3", SVD, "C5")


def joined(*tables):
    return {name: pd.concat([table[name] for table in tables], ignore_index=True) for name in tables[0]}


def judged(pair=PAIR, definitions=None, **changed):
    return claims.verdicts(**tables_of(pair, **changed), definitions=definitions).set_index("claim")


def outcome(table):
    return list(zip(table["verdict"], table["reason"], strict=True))


def test_with_all_intervals_on_their_side_and_open_gates_all_claims_hold():
    table = judged()
    assert table["verdict"].to_dict() == dict.fromkeys(ALL, "supported")
    assert (table["reason"] == "").all() and (table["songs"] == 40).all()
    assert table.loc["C5", ["methods", "helps", "harms"]].tolist() == [6, 0, 0]
    assert table.drop(index="C5")[["methods", "helps", "harms"]].isna().all(axis=None)
    # Half of the interval, and of a jump the share of the path.
    assert table.loc[["C1", "C2", "C5"], "visible"].tolist() == pytest.approx([0.1, 0.6, 0.05])


def test_every_claim_says_how_its_line_came_about():
    found = claims.definitions().set_index("claim")
    assert tuple(found.index) == ALL
    assert found["history"].str.startswith("1. ").all() and found["why"].str.len().gt(20).all()
    assert found.loc["C4", ["supported if", "not supported if"]].tolist() == ["> 0.5", "< 0.25"]
    assert found.loc["C3a", "supported if"] == "> 0.7, p < 0.05"
    assert claims.pools() == {SVD: SVD.split(" + "), "C5": [*METHODS[:5], SVD.split(" + ")]}


@pytest.mark.parametrize(
    ("claim", "ends", "supported", "refuted", "between"),
    [
        ("C1", ("spearman_low", "spearman_high"), (0.51, 0.9), (0.1, 0.49), (0.4, 0.6)),
        ("C2", ("jump_low", "jump_high"), (5.1, np.inf), (1, 4.9), (4, 6)),
        ("C3a", ("rho_low", "rho_high"), (0.71, 0.9), (0.1, 0.69), (0.6, 0.8)),
        ("C3b", ("low", "high"), (0.51, 0.9), (-2, 0.49), (0.4, 0.6)),
        ("C4", ("ratio_low", "ratio_high"), (0.51, 0.9), (0.1, 0.24), (0.26, 0.49)),
        ("C5", ("low", "high"), (-2, 0.24), (0.26, 0.9), (0.2, 0.3)),
        ("C6", ("change_low", "change_high"), (-0.009, 0.009), (-0.03, -0.011), (-0.02, 0.005)),
        ("C7", ("low", "high"), (0.26, 0.9), (-2, 0.24), (0.2, 0.3)),
    ],
)
def test_each_claim_has_the_line_that_the_study_draws(claim, ends, supported, refuted, between):
    expected = [(supported, ("supported", "")), (refuted, ("not supported", ""))]
    for interval, found in [*expected, (between, ("inconclusive", "interval"))]:
        table = judged(**dict(zip(ends, interval, strict=True)))
        assert tuple(table.loc[claim, ["verdict", "reason"]]) == found


def test_too_few_songs_are_no_interval():
    for songs in (5, 1, 0):
        table = judged(songs=songs, test_songs=songs)
        assert outcome(table) == [("inconclusive", "songs")] * 8
    assert judged(songs=6, test_songs=6)["verdict"].eq("supported").all()


def test_a_jump_needs_twelve_strengths_of_whichever_sweep_has_them():
    few = tables_of(strengths=6, jump_low=1.0, jump_high=2.0)
    assert claims.verdicts(**few).set_index("claim").loc["C2", "reason"] == "strengths"
    drawn = tables_of(strengths=16, songs=11)["response"]
    found = claims.verdicts(**few, pictured=drawn).set_index("claim")
    assert found.loc["C2", ["verdict", "songs", "low"]].tolist() == ["supported", 11, 7.0]
    # Only C2 looks at it, and only where the measured sweep is too coarse.
    assert found.drop(index="C2").equals(claims.verdicts(**few).set_index("claim").drop(index="C2"))
    enough = tables_of(jump_low=1.0, jump_high=2.0)
    assert (
        claims.verdicts(**enough, pictured=drawn).set_index("claim").loc["C2", "verdict"] == "not supported"
    )


def test_what_other_orders_do_as_well_is_not_in_order():
    table = judged(p=0.06)
    assert tuple(table.loc["C3a", ["verdict", "reason"]]) == ("not supported", "order")
    assert tuple(table.loc["C1", ["verdict", "reason"]]) == ("not supported", "order")
    assert table.drop(index=["C1", "C3a"])["verdict"].eq("supported").all()
    # An interval that holds the line does not save it.
    assert judged(p=0.06, rho_low=0.5).loc["C3a", "verdict"] == "not supported"


def test_p_values_are_corrected_over_the_pretrained_pairs_of_a_claim_and_their_floor_is_respected():
    pairs = [PAIR, PAIR | {"effect": "reverb"}, PAIR | {"model": "clap"}]
    untrained = [PAIR | {"pretrained": False}, PAIR | {"model": "openl3", "pretrained": False}]
    table = claims.verdicts(**joined(*(tables_of(pair, p=0.016) for pair in [*pairs, *untrained])))
    found = table[(table["claim"] == "C3a") & table["pretrained"]]
    assert found["p_holm"].tolist() == pytest.approx([0.048] * 3) and found["verdict"].eq("supported").all()
    table = claims.verdicts(**joined(*(tables_of(pair, p=0.02) for pair in pairs)))
    assert table.loc[table["claim"] == "C3a", "reason"].eq("order").all()
    # Four strengths: 2 / 4! for each, so that three pairs together could never be significant.
    table = claims.verdicts(**joined(*(tables_of(pair, p=0.02, p_floor=0.02) for pair in pairs)))
    assert outcome(table[table["claim"] == "C3a"]) == [("inconclusive", "floor")] * 3
    assert judged(p=0.02, p_floor=0.02).loc["C3a", "verdict"] == "supported"
    # What lies below the line needs no null.
    assert judged(p=0.1, p_floor=0.1, rho_low=0.3, rho_high=0.5).loc["C3a", "verdict"] == "not supported"


def test_embeddings_that_do_not_move_decide_nothing_but_that():
    table = judged(moved_low=0.001, moved_high=0.049)
    assert table["verdict"].tolist() == ["not supported", *["inconclusive"] * 5, "supported", "inconclusive"]
    assert table.drop(index="C6")["reason"].eq("movement").all()


@pytest.mark.parametrize("low", [0.01, 0.05, np.nan])
def test_where_movement_is_in_doubt_nothing_is_supported(low):
    table = judged(moved_low=low)
    assert table.drop(index="C6")["verdict"].eq("inconclusive").all()
    assert table.drop(index="C6")["reason"].eq("movement").all()
    # What does not grow is not sensitive, whether it moves or not.
    table = judged(moved_low=low, spearman_low=-0.1, spearman_high=0.1)
    assert table.loc["C1", ["verdict", "reason"]].tolist() == ["not supported", ""]


@pytest.mark.parametrize("low", [-0.01, 0.01, np.nan])
def test_where_nothing_is_lost_there_is_nothing_to_repair(low):
    for change in ({}, {"low": 0.5, "high": 0.6}):
        table = judged(loss_low=low, **change)
        assert outcome(table.loc[["C5", "C7"]]) == [("inconclusive", "loss")] * 2
    assert judged(loss_low=low).drop(index=["C5", "C7"])["reason"].eq("").all()


def test_a_twin_stands_beside_its_model_and_earns_nothing():
    twin = PAIR | {"pretrained": False}
    both = claims.verdicts(
        **joined(tables_of(), tables_of(twin, rho=0.5, rho_low=0.4, rho_high=0.6, jump=3.0))
    )
    assert both["pretrained"].all() and len(both) == 8
    found = both.set_index("claim")
    assert found.loc["C3a", ["twin", "twin_low", "twin_high"]].tolist() == [0.5, 0.4, 0.6]
    assert found.loc["C2", "twin"] == 3.0
    # The model's own are as they were without it.
    alone = judged()
    columns = alone.columns.difference(["twin", "twin_low", "twin_high"])
    pd.testing.assert_frame_equal(found[columns], alone[columns])
    assert alone[["twin", "twin_low", "twin_high"]].isna().all(axis=None)


def test_controls_without_a_pretrained_counterpart_have_neither_verdict_nor_reason():
    table = judged(PAIR | {"pretrained": False}, moved_high=0.01, moved_low=0.0)
    assert (table["verdict"] == claims.CONTROL).all() and (table["reason"] == "").all()


def test_methods_that_help_and_harm_are_counted_after_correction():
    found = tables_of()
    score = found["robustness"]
    mine = score["metric"] == "balanced_accuracy"
    for name, p, change in (
        ("lda", 0.008, 0.1),
        ("pca", 0.008, -0.1),
        ("cca", 0.02, -0.1),
        ("svd-0.3", 1e-9, 0.1),
    ):
        score.loc[mine & (score["method"] == name), ["p", "change"]] = p, change
    row = claims.verdicts(**found).set_index("claim").loc["C5"]
    assert row[["methods", "helps", "harms"]].tolist() == [6, 1, 1]
    # Two pairs, twice as many tests.
    both = joined(found, tables_of(PAIR | {"effect": "reverb"}))
    rows = claims.verdicts(**both).query("claim == 'C5'")
    assert rows["helps"].tolist() == rows["harms"].tolist() == [0, 0]


def test_a_metric_is_part_of_the_line():
    found = tables_of()
    auc = found["robustness"]["metric"] == "roc_auc"
    found["robustness"].loc[auc, ["low", "high"]] = 0.3, 0.4
    assert claims.verdicts(**found).set_index("claim").loc["C5", "verdict"] == "supported"
    other = claims.verdicts(**found, definitions={"C5": {"metric": "roc_auc"}}).set_index("claim")
    assert other.loc["C5", "verdict"] == "not supported" and other.loc["C6", "verdict"] == "supported"


def test_an_interval_without_end_decides_and_an_undefined_one_does_not():
    assert claims.decide(np.inf, np.inf, "above", 5) == "supported"
    assert claims.decide(2.0, np.inf, "above", 5) == "inconclusive"
    assert claims.decide(np.nan, np.nan, "above", 5) == "inconclusive"
    with pytest.raises(ValueError, match="side='beside'"):
        claims.decide(0, 1, "beside", 5)


def test_a_reader_draws_lines_of_their_own():
    table = judged(
        definitions={"C1": {"threshold": 0.95}, "C2": {"side": "below"}, "loss": {"threshold": 0.1}}
    )
    expected = dict.fromkeys(ALL, "supported")
    expected |= {"C1": "inconclusive", "C2": "not supported", "C5": "inconclusive", "C7": "inconclusive"}
    assert table["verdict"].to_dict() == expected
    assert table.loc["C1", "threshold"] == 0.95 and table.loc["C5", "reason"] == "loss"
    # The file's own stay as they are.
    assert judged().loc["C1", "threshold"] == 0.5
    with pytest.raises(ValueError, match="no claim or gate 'C9'"):
        judged(definitions={"C9": {"threshold": 1}})


def test_every_gate_is_of_claims_that_exist():
    gates = claims.gates().set_index("gate")
    assert set(gates.index) == {"movement", "loss"} and gates["why"].str.len().gt(20).all()
    assert set(", ".join(gates["claims"]).split(", ")) == set(ALL) - {"C6"}


def test_seeds_that_do_not_agree_leave_a_claim_open_and_are_counted():
    own, other = (judged(low=low, high=high).reset_index() for low, high in ((0.6, 0.7), (0.2, 0.3)))
    table = claims.agreed([own, other, other]).set_index("claim")
    assert table.loc["C3b", ["verdict", "reason", "low"]].tolist() == ["inconclusive", "seeds", 0.6]
    assert table.loc["C3b", "seeds"] == "1 supported, 2 not supported"
    assert table.loc["C1", ["verdict", "seeds"]].tolist() == ["supported", "3 supported"]
    alone = claims.agreed([own])
    assert alone["verdict"].equals(own["verdict"]) and alone["reason"].equals(own["reason"])


class Recorded:
    """A study whose results are tables written by hand, by seed."""

    def __init__(self, by_seed, seed=5, twins=True):
        self.by_seed, self.seed, self.twins, self.asked = by_seed, seed, twins, []
        self.effects = ["gain", "reverb"]
        self.profile = SimpleNamespace(seeds=len(by_seed), n_resamples=100, n_permutations=50)

    def variant(self, *, seed, twins):
        other = Recorded(self.by_seed, seed, twins)
        other.asked = self.asked
        return other

    further_seeds = Study.further_seeds

    def collect(self, measure, *, pictured=False, together=False, seed, **options):
        self.asked.append((measure.__name__, seed, self.twins, pictured, together))
        table = self.by_seed[seed - 5][measure.__name__]
        return table if self.twins else table[table["pretrained"].astype(bool)]


def test_a_study_is_judged_over_its_seeds_and_its_twins_by_its_own():
    twin = tables_of(PAIR | {"pretrained": False}, r2=0.3)
    seeds = [joined(tables_of(r2=r2, low=r2 - 0.1, high=r2 + 0.1), twin) for r2 in (0.8, 0.9, 0.5)]
    study = Recorded(seeds)
    found = claims.of_study(study).set_index("claim")
    assert found.loc["C3b", ["statistic", "twin", "verdict"]].tolist() == [0.8, 0.3, "inconclusive"]
    assert found.loc["C3b", "seeds"] == "2 supported, 1 inconclusive"
    assert found.loc["C1", ["verdict", "seeds"]].tolist() == ["supported", "3 supported"]
    # Finer sweeps are those of the run; remedies see all effects of a network at once.
    assert [call for call in study.asked if call[3]] == [("response", 5, True, True, False)]
    assert [call[1:3] for call in study.asked if call[4]] == [(5, True), (6, False), (7, False)]
    # A line of the reader's own, from the same results.
    own = claims.of_study(Recorded(seeds), {"C3b": {"threshold": 0.3}}).set_index("claim")
    assert own.loc["C3b", ["verdict", "seeds"]].tolist() == ["supported", "3 supported"]


# ---- as a picture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("models", [["yamnet"], [f"hear-a_rather_long_module_name_{i}" for i in range(11)]])
def test_the_map_holds_one_pair_and_many_with_long_names(models):
    effects = ["gain"] if len(models) == 1 else ["gain", "lowpass", "reverb", "bitcrush"]
    pairs = [{"model": model, "effect": name} for model in models for name in effects]
    tables = [tables_of(pair | {"pretrained": own}) for pair in pairs for own in (True, False)]
    figure = plots.claims_map(claims.agreed([claims.verdicts(**joined(*tables))]))
    figure.canvas.draw()
    edge = figure.bbox.x1
    for row in np.array_split(figure.axes, -(-len(figure.axes) // 2)):
        ends = [ax._left_title.get_window_extent() for ax in row if ax.get_title(loc="left")]
        assert all(end.x1 <= edge for end in ends)
        assert all(one.x1 <= other.x0 for one, other in zip(ends, ends[1:], strict=False))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["0.90"] * 2 * len(pairs)
    plt.close(figure)


# ---- in words --------------------------------------------------------------------------------------------------------


def words(*tables, seeds=1):
    return answers(claims.agreed([claims.verdicts(**joined(*tables))] * seeds))


def read_back(table, folder):
    table.to_csv(folder / "claims.csv", index=False)
    return pd.read_csv(folder / "claims.csv")


def test_a_line_says_what_was_found_and_what_it_means(tmp_path):
    pairs = [
        tables_of(),
        tables_of(
            PAIR | {"effect": "reverb"}, jump=2.0, jump_low=1.5, jump_high=2.5, low=0.1, high=0.2, r2=-0.2
        ),
        tables_of(PAIR | {"model": "musicnn", "effect": "theremin"}, jump=6.0, jump_low=4.0),
        tables_of(PAIR | {"pretrained": False}, spearman=0.7, ratio=0.1, ratio_low=0.05, ratio_high=0.2),
        tables_of(PAIR | {"model": "openl3", "pretrained": False}, jump=99.0),
    ]
    verdicts = claims.agreed([claims.verdicts(**joined(*pairs))] * 5).assign(data="Clips")
    lines = answers(verdicts)
    assert answers(read_back(verdicts, tmp_path)) == lines
    assert len(lines) == 10 and all(line.startswith("**") and line.endswith(".") for line in lines)
    scope, c1, c2, _, c3b, c4, c5, c6, _, last = lines
    assert "PANNs and musicnn, pretrained, under gain, reverberation and theremin." in scope
    assert "for each of five seeds" in scope
    assert c1.startswith("**C1** The stronger the effect, the further the embedding moves, in every pair")
    assert "(rank correlation 0.90). Twins do the same. *For you:* compare recordings that" in c1
    assert c2.startswith(
        "**C2** The embedding jumps between two neighbouring strengths, but only under gain for PANNs; open"
    )
    assert "open under theremin for musicnn (longest step 2.0 to 8.0 times" in c2 and "99" not in c2
    assert "except under reverberation for PANNs (held-out R² −0.20 to 0.80)." in c3b
    assert "Twins do not do the same." in c4 and "0.1" not in c4
    assert "(10 % of the loss recovered)" in c5
    # Normalised PCA is asked of PANNs alone.
    assert "under both effects for PANNs" in c6
    assert (
        "It says nothing of other data than *Clips*" in last
        and "C" not in last.partition("say:**")[2].partition("It says")[0]
    )


@pytest.mark.parametrize(
    ("changed", "said", "means"),
    [
        ({}, "One direction an instrument puts", "a linear reader trained on other songs sorts"),
        ({"rho_low": 0.1, "rho_high": 0.2}, "No one direction an instrument puts", "do not count on"),
        (
            {"rho_low": 0.6},
            "This run cannot tell whether one direction",
            "neither rely on it nor rule it out",
        ),
    ],
)
def test_a_sentence_and_its_advice_turn_with_the_verdict(changed, said, means):
    line = words(tables_of(**changed))[3]
    assert line.startswith(f"**C3a** {said}") and f"*For you:* {means}" in line
    # Beside a pair where the claim holds.
    mixed = words(tables_of(), tables_of(PAIR | {"effect": "reverb"}, **changed))[3]
    assert mixed.startswith("**C3a** One direction an instrument puts")
    place = {
        0.1: "but only under gain for PANNs",
        0.6: "under gain for PANNs; open under reverberation for PANNs",
    }
    assert place.get(changed.get("rho_low"), "under both effects for PANNs") in mixed
    assert ("try your effect before" in mixed) == (changed.get("rho_low") == 0.1)
    # Beside one where it does not.
    against = words(tables_of(rho_low=0.1, rho_high=0.2), tables_of(PAIR | {"effect": "reverb"}, **changed))[
        3
    ]
    assert ("for PANNs; open under reverberation" in against) == (changed.get("rho_low") == 0.6)
    assert against.startswith("**C3a** No one direction") == bool(changed)


def test_a_no_in_spite_of_its_figures_says_why():
    c1, _, c3a = words(tables_of(p=0.5), tables_of(PAIR | {"effect": "reverb"}))[1:4]
    other = "but only under reverberation for PANNs; under gain for PANNs other orders of the strengths do as well ("
    assert other in c1 and other in c3a
    still = words(tables_of(moved=0.01, moved_low=0.0, moved_high=0.02))[1]
    assert "further, under gain for PANNs; under gain for PANNs the embeddings hardly move (rank" in still


def test_twins_are_told_by_what_their_networks_have_an_answer_to():
    def twins(*further, high=0.4, **changed):
        twin = tables_of(PAIR | {"pretrained": False}, rho=0.3, rho_low=0.2, rho_high=high)
        return words(tables_of(**changed), twin, *further)[3].partition(" *For")[0].rpartition(". ")[2]

    assert twins() == "Twins do not do the same."
    assert twins(rho_low=0.1, rho_high=0.2) == "Twins do the same."
    assert twins(rho_low=0.6) == "Twins: 0.30."
    # A twin whose own interval holds the line does neither; nor is more than its interval known.
    assert twins(high=0.8) == "Twins: 0.30."
    assert twins(p=0.5) == "Twins: 0.30."
    reverb = PAIR | {"effect": "reverb"}
    both = [tables_of(reverb), tables_of(reverb | {"pretrained": False})]
    assert twins(*both, high=0.8) == "Twins do the same; open under gain for PANNs."
    assert twins(*both) == "Twins do the same, except under gain for PANNs."


def test_many_scattered_pairs_are_counted():
    effects = ("gain", "lowpass", "reverb", "bitcrush")
    yes = {("panns", "gain"), ("musicnn", "lowpass"), ("yamnet", "reverb")}
    tables = [
        tables_of(
            {"model": model, "pretrained": True, "effect": name},
            **{} if (model, name) in yes else {"r2": 0, "low": 0, "high": 0},
        )
        for model in ("panns", "musicnn", "yamnet")
        for name in effects
    ]
    assert "the strength, but only in 3 of 12 pairs of network and effect" in words(*tables)[4]


@pytest.mark.parametrize("run", ["demo", "recordings"])
def test_the_lines_of_the_committed_runs_say_what_their_tables_hold(run):
    table = pd.read_csv(ROOT / "figures" / run / "09_claims.csv")
    lines = {line[2:].partition("**")[0]: line for line in answers(table)}
    assert len(lines) <= 10 and max(len(line.split()) for line in lines.values()) < 75
    judged = table[table["verdict"] != claims.CONTROL]
    assert set(lines) - {"Asked:", "What this run cannot say:"} == set(judged["claim"])
    for key, rows in judged.groupby("claim"):
        said, figures = lines[key].partition(" (")[::2]
        held, open_ = said.partition("; open ")[::2]
        by = {verdict: set(part["effect"]) for verdict, part in rows.groupby("verdict")}
        titles = {name: effect(name).title.lower() for name in rows["effect"]}
        if set(by) == {"inconclusive"}:
            assert "cannot tell" in said and key in lines["What this run cannot say:"]
        elif len(by) == 1:
            assert said.endswith("for both networks and all four effects")
        for name, title in titles.items():
            if "inconclusive" in by and len(by) > 1:
                assert (title in open_) == (name in by["inconclusive"])
            if "but only" in held:
                assert (title in held) == (name in by["supported"])
        scale, form = (100, "{:.0f}") if key in ("C5", "C7") else (1, "{:.1f}" if key == "C2" else "{:.2f}")
        known = scale * rows["statistic"][np.isfinite(rows["statistic"])]
        for end in (known.min(), known.max()):
            assert form.format(end).replace("-", "−") in figures.partition(").")[0]


def test_with_one_effect_nothing_is_transferred():
    alone = tables_of()
    alone["remedies"] = alone["remedies"].query("condition == 'own'")
    lines = words(alone)
    assert "C7: needs a second effect" in lines[-1] and not any(line.startswith("**C7**") for line in lines)


def test_what_only_controls_speak_of_is_not_decided():
    asked, last = words(tables_of(PAIR | {"pretrained": False}))
    assert "nothing is decided" in asked
    assert "C1, C2, C3a, C3b, C4, C5 and C7: no pretrained weights" in last
    assert "C6: no pretrained weights of PANNs or CLAP (Microsoft)" in last
