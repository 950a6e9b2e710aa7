"""Embeddings of known geometry: the generator is what it says, and estimators and verdicts find it."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import verdicts
from sklearn.decomposition import PCA
from synthetic import BORDER, CLAIMS, DEMO, KINDS, TRUTH, VARIANTS, errs, judge, synthetic_sweep
from threadpoolctl import threadpool_limits

from aesens import tables
from aesens.analysis import distances as sensitivity
from aesens.analysis import geometry as trajectories
from aesens.analysis import methods, projections
from aesens.tables import claims


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


# ---- the generator ---------------------------------------------------------------------------------------------------


def test_a_sweep_repeats_with_its_seed_and_keeps_songs_on_one_side():
    one, same, other = (synthetic_sweep("curve", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.trajectories, same.trajectories)
    assert not np.array_equal(one.clean, other.clean)
    assert one.trajectories.dtype == one.clean.dtype == np.float32
    assert not set(one.songs[one.train]) & set(one.songs[one.test])
    assert one.clips.groupby("song")["instrument"].nunique().eq(1).all()
    assert one.clips.groupby(["instrument", "split"])["song"].nunique().unstack()["test"].eq(8).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "spiral"}, "spiral"),
        ({"instruments": 1}, "instruments=1"),
        ({"songs": 4, "test_songs": 4}, "test_songs=4"),
        ({"features": 5}, "features=5"),
        ({"strengths": 1}, "strengths=1"),
        ({"share": 1.5}, "share=1.5"),
    ],
)
def test_sizes_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        synthetic_sweep(**{"kind": "line"} | options)


def test_noise_size_and_signal_have_the_lengths_asked_for():
    nothing = synthetic_sweep("nothing", noise=0.3, songs=60)
    assert np.sqrt(np.square(nothing.displacements).sum(axis=-1).mean()) == pytest.approx(0.3, rel=0.02)
    centres = pd.DataFrame(nothing.clean).groupby(nothing.instruments).mean().to_numpy()
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)[np.triu_indices(3, 1)]
    assert apart == pytest.approx(5.0, rel=0.15)
    within = nothing.clean - centres[pd.factorize(nothing.instruments)[0]]
    assert within.std() == pytest.approx(1.0, rel=0.05)
    half = synthetic_sweep("line", noise=0.0, share=0.5, songs=60)
    still = (half.displacements == 0).all(axis=(0, 2))
    assert 0.4 < still.mean() < 0.6
    assert half.clips[still]["song"].nunique() * 2 == still.sum()


# ---- the estimators --------------------------------------------------------------------------------------------------


def test_a_line_is_straight_and_of_one_dimension():
    sweep = synthetic_sweep("line", noise=0.0)
    np.testing.assert_allclose(trajectories.path_over_chord(sweep.trajectories), 1, rtol=1e-5)
    row = tables.geometry(sweep, seed=0).iloc[0]
    assert row["participation_ratio"] == pytest.approx(1, abs=1e-4)
    assert row["components_90"] == 1
    assert row["dimensions_90"] == 1
    removed = tables.projected(sweep, seed=0).set_index(["projection", "instrument"])["effect_removed"]
    for method in ("average", "pca", "npca"):
        np.testing.assert_allclose(removed[method], 1, atol=1e-4)
    # These fit even the rounding of the embeddings, since they can.
    np.testing.assert_allclose(removed["svd-0.5"], 1, atol=0.05)
    assert removed["random"].max() < 0.3


def test_a_curve_is_half_a_circle():
    sweep = synthetic_sweep("curve", noise=0.0, strengths=10)
    path = 9 * 2 * 5 * np.sin(np.pi / 20)
    chord = 2 * 5 * np.sin(np.pi * 9 / 20)
    np.testing.assert_allclose(trajectories.path_over_chord(sweep.trajectories), path / chord, rtol=1e-4)
    spectrum = trajectories.displacement_scatter(sweep.trajectories, sweep.clean).spectrum()
    assert trajectories.spectrum_components(spectrum, 0.999) == 2


@pytest.mark.parametrize("dimension", [2, 4, 7])
def test_a_subspace_has_its_dimension(dimension):
    sweep = synthetic_sweep("subspace", noise=0.0, dimension=dimension, songs=60)
    row = tables.geometry(sweep, seed=0).iloc[0]
    assert row["participation_ratio"] == pytest.approx(dimension, rel=0.1)
    # Of a few equal dimensions all are needed for nine tenths, and the music fills nearly all 48.
    assert row["dimensions_90"] == dimension
    assert 30 < row["dimensions_90_clean"] < 45
    assert row["ratio"] == pytest.approx(dimension / row["dimensions_90_clean"], rel=0.05)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]


def test_scattered_paths_are_straight_and_fill_the_space():
    sweep = synthetic_sweep("scattered", noise=0.0, songs=100)
    np.testing.assert_allclose(trajectories.path_over_chord(sweep.trajectories), 1, rtol=1e-5)
    row = tables.geometry(sweep, seed=0).iloc[0]
    assert row["participation_ratio"] > 0.8 * 48
    assert row["ratio"] == pytest.approx(1, abs=0.15)


def test_a_jump_and_an_onset_are_found_where_they_are():
    jump = synthetic_sweep("jump")
    steps = sensitivity.discontinuity(jump.trajectories, jump.clean)
    assert (steps["position"] == 2).all()
    assert (steps["largest_over_median"] > 10).all()
    onset = synthetic_sweep("onset")
    steps = sensitivity.discontinuity(onset.trajectories, onset.clean)
    assert (steps["onset_over_median"] > 10).all()
    assert (steps["largest_over_median"] < 5).all()


def test_a_walk_has_no_common_direction_and_restless_clips_no_order():
    walk = synthetic_sweep("walk", noise=0.0, strengths=12, songs=30)
    steps = np.diff(walk.trajectories, axis=0)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=-1), 10 / np.sqrt(12), rtol=1e-4)
    length = np.linalg.norm(walk.displacements, axis=-1)
    assert np.sqrt(np.square(length[-1]).mean()) == pytest.approx(10, rel=0.05)
    assert np.linalg.norm(walk.displacements[-1].mean(axis=0)) < 2
    restless = synthetic_sweep("restless", noise=0.0, songs=30)
    np.testing.assert_allclose(np.linalg.norm(restless.displacements, axis=-1), 10, rtol=1e-4)
    first, last = restless.displacements[[0, -1]]
    assert abs(np.einsum("cd,cd->c", first, last).mean()) < 5


@pytest.mark.parametrize("growth", [2.0, 4.0, 16.0])
@pytest.mark.parametrize("strengths", [4, 6, 12])
def test_steps_that_grow_smoothly_are_no_jump(growth, strengths):
    sweep = synthetic_sweep("growing", strengths=strengths, growth=growth, noise=0.0)
    row = tables.response(sweep, n_permutations=5, n_resamples=20, seed=0).iloc[0]
    # By the median alone it would be: the longest of eleven steps that double is 32 times the median.
    if growth ** ((strengths - 2) // 2) < 300:
        assert row["largest_step"] == pytest.approx(growth ** ((strengths - 2) / 2), rel=0.5)
    assert row["jump"] == pytest.approx(1, abs=0.1)


def test_where_nothing_else_moves_a_jump_is_as_large_as_can_be_and_finite_in_a_table():
    row = tables.response(synthetic_sweep("jump", noise=0.0), n_permutations=5, n_resamples=20, seed=0).iloc[
        0
    ]
    assert row["jump"] == row["jump_low"] == 1e6


def test_a_step_counts_by_its_place_in_the_grid():
    whole = synthetic_sweep("line", noise=0.0, strengths=12)
    some = np.array([0, 1, 2, 11])
    few = replace(whole, parameters=whole.parameters[some], trajectories=whole.trajectories[some])
    row = tables.response(few, n_permutations=5, n_resamples=20, seed=0).iloc[0]
    assert row["largest_step"] == pytest.approx(9, rel=0.01)
    assert row["jump"] == pytest.approx(1, abs=0.01)


def test_movement_is_the_largest_mean_distance_in_units_of_two_clean_clips():
    sweep = synthetic_sweep("line", noise=0.0)
    row = tables.response(sweep, n_permutations=5, n_resamples=50, seed=0).iloc[0]
    unit = sensitivity.clean_scale(sweep.clean)
    np.testing.assert_allclose(row[["moved", "moved_low", "moved_high"]].astype(float), 10 / unit, rtol=1e-4)
    # Not at the strongest setting: where the mean over clips is largest.
    back = replace(sweep, trajectories=sweep.trajectories[::-1])
    assert tables.response(back, n_permutations=5, n_resamples=50, seed=0)["moved"].item() == row["moved"]
    part = tables.response(
        synthetic_sweep("line", share=0.5), n_permutations=5, n_resamples=200, seed=0
    ).iloc[0]
    assert part["moved_low"] < part["moved"] < part["moved_high"] < row["moved"]


def test_clips_that_never_move_count_as_not_growing():
    sweep = synthetic_sweep("line", share=0.5, noise=0.0)
    moving = (sweep.displacements != 0).any(axis=(0, 2)).mean()
    assert 0.2 < moving < 0.8
    row = tables.response(sweep, n_permutations=50, n_resamples=50, seed=0).iloc[0]
    assert row["spearman"] == pytest.approx(moving)
    # And so under the null, which has the mean over the same clips.
    whole = tables.response(synthetic_sweep("line", noise=0.0), n_permutations=50, n_resamples=50, seed=0)
    assert row["spearman_null"] == pytest.approx(moving * whole["spearman_null"].item())


def test_clips_without_a_cosine_distance_count_neither_in_the_estimate_nor_in_the_null():
    sweep = synthetic_sweep("line", noise=0.0)
    silent = sweep.trajectories.copy()
    silent[2, ::2] = 0.0
    rows = [
        tables.response(s, n_permutations=50, n_resamples=50, seed=0).iloc[0]
        for s in (replace(sweep, trajectories=silent), sweep.take(np.arange(len(sweep.clips)) % 2 == 1))
    ]
    for column in ("spearman", "spearman_null", "p", "kendall"):
        assert rows[0][column] == rows[1][column]


def test_noise_fits_in_sample_and_not_on_strengths_left_out():
    kinds = {
        kind: synthetic_sweep(kind, features=200, noise=0.5) for kind in ("nothing", "line", "scattered")
    }
    found = {
        kind: tables.samplewise(sweep, n_permutations=20, seed=0).groupby("kind")["value"].median()
        for kind, sweep in kinds.items()
    }
    for medians in found.values():
        assert medians["in-sample"] == pytest.approx(1)
        assert medians["noise in-sample"] == pytest.approx(1)
        assert abs(medians["noise held-out"]) < 0.1
        assert medians["null"] < 0.1
    assert abs(found["nothing"]["held-out"]) < 0.1
    # Each clip's own direction exists where clips share none, too.
    assert found["line"]["held-out"] > 0.8
    assert found["scattered"]["held-out"] > 0.8


def test_a_direction_that_exists_is_found_with_more_features_than_clips():
    def pooled(kind):
        sweep = synthetic_sweep(kind, songs=18, features=200, size=20)
        table = tables.decoding(sweep, n_permutations=19, n_resamples=50, seed=0)
        return sweep, table.set_index("instrument").loc["all"]

    for kind in ("line", "curve", "jump"):
        sweep, row = pooled(kind)
        assert row["low"] > 0.5 and row["rho_low"] > 0.7 and row["p"] < 0.05
        assert row["share"] > 0.5
    # Without a penalty the same embeddings say the opposite.
    assert tables.global_directions(sweep, n_permutations=1, seed=0)["held_out_r2"].mean() < -1
    for kind in ("nothing", "onset", "scattered", "subspace"):
        assert pooled(kind)[1]["high"] < 0.1


def test_a_shared_path_is_read_in_any_order_and_in_order_only_if_it_has_one():
    """All 720 orders of six strengths: a line beats them, points in no order and a circle do not."""
    for kind, reads in (("line", True), ("unordered", True), ("circle", None)):
        row = tables.decoding(synthetic_sweep(kind), n_permutations=1000, n_resamples=50, seed=0).iloc[-1]
        assert reads is None or (row["r2"] > 0.5) == reads
        # An order and its reverse tie.
        assert row["p_floor"] == pytest.approx(2 / 720)
        assert (row["p"] < 0.05) == (kind == "line")


def test_the_null_of_the_global_direction_holds_what_is_nothing():
    table = pd.concat(
        tables.global_directions(synthetic_sweep("nothing", seed=seed), n_permutations=99, seed=seed)
        for seed in range(10)
    )
    assert (table["p"] < 0.05).mean() <= 0.15
    line = tables.global_directions(synthetic_sweep("line"), n_permutations=99, seed=0)
    assert line["significant"].all()
    assert line["held_out"].min() > 0.5


def test_subspaces_that_are_given_are_those_that_are_fitted():
    sweep = synthetic_sweep("curve", songs=9)
    fitted = tables.fitted_subspaces(sweep, seed=2, n_jobs=2)
    assert set(fitted["cca"]) == set(sweep.instruments)
    for name in ("projected", "method_cosines", "classifier_cosines"):
        work = getattr(tables, name)
        pd.testing.assert_frame_equal(work(sweep, seed=2, fitted=fitted, n_jobs=2), work(sweep, seed=2))
    own, given = tables.direction_vectors(sweep), tables.direction_vectors(sweep, fitted=fitted)
    for code in own:
        np.testing.assert_allclose(own[code], given[code], atol=1e-12)


def test_the_classifier_lies_along_what_carries_the_instruments():
    cosines = {}
    for kind in ("carrier", "line"):
        sweep = synthetic_sweep(kind, features=60)
        table = tables.classifier_cosines(sweep, seed=0)
        assert table["expected"].unique() == pytest.approx(np.sqrt(2 / (np.pi * 60)), rel=0.01)
        cosines[kind] = table.pivot(index="instrument", columns="projection", values="cosine")["average"]
    # Of three instruments on a line the outer two are told by which side they are on.
    assert np.sort(cosines["carrier"])[1:].min() > 0.6
    assert cosines["line"].max() < 0.4


def test_agreement_of_directions():
    carrier, line, scattered = (synthetic_sweep(kind, noise=0.1) for kind in ("carrier", "line", "scattered"))
    same = tables.agreement([line, line], seed=0)
    assert same["between_effects"] == pytest.approx(1)
    assert same["random"] == pytest.approx(np.sqrt(2 / (np.pi * 48)), rel=0.02)
    alone = tables.agreement([carrier], seed=0)
    assert np.isnan(alone["between_effects"])
    assert alone["with_own_classifier"] > 3 * tables.agreement([line], seed=0)["with_own_classifier"]
    # Least squares finds the line as far as the noise makes it cross what else varies.
    assert same["between_instruments"] > 0.3
    assert tables.agreement([scattered], seed=0)["between_instruments"] < 0.2


def test_every_measure_takes_embeddings_that_do_not_move():
    sweep = synthetic_sweep("still")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distances = tables.distances(sweep, seed=0)
        response = tables.response(sweep, n_permutations=5, n_resamples=20, seed=0)
        geometry = tables.geometry(sweep, seed=0)
        removed = tables.projected(sweep, seed=0)
        cosines = tables.method_cosines(sweep, seed=0)
    assert distances.query("measure != 'frechet'")["value"].eq(0).all()
    assert response["spearman"].item() == response["moved"].item() == 0
    assert response["jump"].item() == response["p"].item() == 1
    assert geometry[["ratio", "ratio_low", "ratio_high", "dimensions_90"]].isna().all(axis=None)
    assert removed["effect_removed"].isna().all()
    assert len(cosines) == 36
    assert cosines.query("first == 'random' and second == 'random'")["cosine"].item() == pytest.approx(1)


def test_instruments_are_told_apart_and_the_carrier_carries_them():
    for kind in ("line", "carrier"):
        sweep = synthetic_sweep(kind)
        table = tables.classification(sweep, n_resamples=50, seed=0)
        curves = table[table["kind"] == "curve"].set_index(["condition", "projection"])["roc_auc"]
        clean, without = (curves["clean-clean", name].item() for name in ("none", "average"))
        if kind == "line":
            assert clean > 0.98
            assert without == pytest.approx(clean, abs=0.01)
        else:
            # Of three instruments on a line two have a side of their own.
            assert clean > 0.75
            assert without == pytest.approx(0.5, abs=0.15)


def test_each_instrument_has_its_row():
    sweep = synthetic_sweep("nuisance", songs=9)
    # Two training songs of one instrument leave two folds.
    few = sweep.take(
        ~(sweep.train & (sweep.instruments == "cla") & ~np.isin(sweep.songs, sweep.songs[18:22]))
    )
    table = tables.classification(few, n_resamples=20, seed=0)
    rows = table[table["kind"] == "instrument"].dropna(axis=1, how="all")
    assert set(rows["condition"]) == {"clean-clean", "clean-effected", "effected-clean"}
    place = ["condition", "projection", "strength"]
    assert rows.groupby(place)["instrument"].agg(list).map(len).eq(3).all()
    strengths = rows.groupby("condition")["strength"].unique().map(list).to_dict()
    assert strengths == {"clean-clean": [-1], "clean-effected": [*range(6)], "effected-clean": [*range(6)]}
    parameters = rows.dropna(subset="parameter").groupby("strength")["parameter"].unique().map(list)
    assert parameters.to_dict() == {k: [few.parameters[k]] for k in range(6)}
    assert rows.loc[rows["strength"] < 0, "parameter"].isna().all()
    assert rows.groupby("instrument")["folds"].unique().map(list).to_dict() == {
        "cel": [3],
        "cla": [2],
        "flu": [3],
    }
    # Their means are the curves.
    curves = table[table["kind"] == "curve"].set_index(place)
    for name in ("roc_auc", "f1"):
        ours = rows.groupby(place)[name].mean()
        np.testing.assert_allclose(ours, curves.loc[ours.index, name], rtol=1e-12)


def test_normalised_pca_of_a_sweep_divides_by_all_training_clips():
    """By scikit-learn's PCA, of clips whose instruments differ more than the clips of any one."""
    sweep = synthetic_sweep("restless", songs=12, clips_per_song=1, features=20, signal=9.0, noise=2.0)
    moves = (sweep.trajectories - sweep.clean) * np.geomspace(3, 0.3, 20, dtype=np.float32)
    sweep = replace(sweep, trajectories=sweep.clean + moves)
    fitted = tables.fitted_subspaces(sweep, seed=0)["npca"]
    table = tables.normalised_pca(sweep, n_jobs=2).set_index("instrument")
    reference = PCA().fit(sweep.clean[sweep.train].astype(float)).explained_variance_
    own = []
    for code, found in fitted.items():
        mine = sweep.train & (sweep.instruments == code)
        moved = PCA().fit((sweep.trajectories - sweep.clean)[:, mine].reshape(-1, 20).astype(float))
        ratios = moved.explained_variance_ / reference
        assert table.loc[code, "component"] == ratios.argmax() + 1
        np.testing.assert_allclose(
            table.loc[code, ["ratio", "first_ratio"]].astype(float), [ratios.max(), ratios[0]], rtol=1e-5
        )
        assert abs(found[0] @ moved.components_[ratios.argmax()]) > 1 - 1e-6
        # One instrument's own clips would have chosen otherwise.
        alone = PCA().fit(sweep.clean[mine].astype(float)).explained_variance_[: mine.sum() - 1]
        own.append((moved.explained_variance_[: len(alone)] / alone).argmax() + 1)
    assert (table["component"] > 1).all() and (table["component"] != own).all()
    still = tables.normalised_pca(synthetic_sweep("still"))
    assert still[["component", "ratio", "first_ratio"]].isna().all(axis=None)


def test_methods_count_once_in_the_pooled_change_and_those_that_help_are_counted():
    sweep = synthetic_sweep("nuisance")
    table = tables.classification(sweep, n_resamples=100, seed=0)
    changes = table[(table["kind"] == "change") & (table["condition"] == "clean-effected")].set_index(
        "projection"
    )
    methods = ["lda", "average", "pca", "npca", "cca"]
    svd = changes.loc[["svd-0.3", "svd-0.4", "svd-0.5"], "change"].mean()
    assert changes.loc["all", "change"] == pytest.approx(np.mean([*changes.loc[methods, "change"], svd]))
    assert set(changes.index) == {*tables.fitted_subspaces(sweep, seed=0), "all"} - {"none"}
    helps, harms = (changes.loc[methods, "low"] > 0).sum(), (changes.loc[methods, "high"] < 0).sum()
    pooled = changes.loc["all"]
    assert pooled["methods"] == 6 and helps >= 3
    assert helps <= pooled["helps"] <= helps + 1 and harms <= pooled["harms"] <= harms + 1
    assert changes.drop(index="all")[["helps", "harms", "methods", "loss"]].isna().all(axis=None)
    curves = (
        table[table["kind"] == "curve"].query("projection == 'none'").groupby("condition")["roc_auc"].mean()
    )
    assert pooled["loss"] == pytest.approx(curves["clean-clean"] - curves["clean-effected"])
    assert 0.01 < pooled["loss_low"] < pooled["loss"] < pooled["loss_high"]


def test_what_a_projection_counts_as_stands_in_its_entry_and_not_in_its_name(monkeypatch):
    monkeypatch.setattr(projections, "PROJECTIONS", dict(projections.PROJECTIONS))
    projections.register_projection("random-of-mine", methods.AverageDisplacement)
    projections.register_projection("svd-of-mine", methods.AverageDisplacement)
    projections.register_projection("chance", methods.RandomDirection, control=True)
    sweep = synthetic_sweep("nuisance")
    fitted = tables.fitted_subspaces(sweep, seed=0)

    def pooled(names):
        few = {name: fitted[name] for name in names}
        table = tables.classification(sweep, n_resamples=20, seed=0, fitted=few)
        assert set(table.loc[table["kind"] == "change", "projection"]) == {*few, "all"} - {"none"}
        return set(table.loc[(table["kind"] == "change") & (table["projection"] == "all"), "methods"])

    mine = ("random-of-mine", "svd-of-mine", "chance")
    assert pooled(("none", "pca", *mine, "random")) == {3}
    assert pooled(("none", "pca", *mine, "svd-0.3", "svd-0.5")) == {4}
    # What finds one direction is compared with the others, the controls last.
    cosines = tables.method_cosines(sweep, seed=0, fitted=fitted)
    single = ["lda", "average", "pca", "npca", "cca", "random-of-mine", "svd-of-mine", "random", "chance"]
    assert list(cosines["first"].unique()) == single


# ---- the verdicts ----------------------------------------------------------------------------------------------------

# Those that train classifiers are tried on a few kinds here; benchmarks/verdicts.py has all of them, over many seeds.
_QUICK = [claim for claim in CLAIMS if claim not in ("C5", "C6")]


def check(verdicts, expected):
    found = verdicts.set_index("claim")["verdict"]
    for claim, right in expected.items():
        if right is not None:
            assert not errs(found[claim], right), claim
            assert right.startswith("any") or found[claim] == right, claim


def test_the_table_of_truth_is_complete():
    assert set(TRUTH) == set(KINDS)
    assert all(tuple(row) == CLAIMS for row in TRUTH.values())
    # Each claim is true of something and false of something.
    known = [*TRUTH.values(), *(expected for *_, expected in VARIANTS)]
    for claim in CLAIMS:
        assert {"supported", "not supported"} <= {row.get(claim) for row in known}
    assert set(BORDER) == set(CLAIMS)
    # The demo's own size is among the cases, for as many features as its networks have.
    sizes = [options for _, options, _ in VARIANTS if DEMO.items() <= options.items()]
    assert {options["features"] for options in sizes} == {200, 1024}


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_are_right(kind):
    check(judge(synthetic_sweep(kind, strengths=12), _QUICK), {c: TRUTH[kind][c] for c in _QUICK})


@pytest.mark.parametrize("kind", ["line", "nuisance", "carrier", "restless", "still"])
def test_verdicts_on_repairs_are_right(kind):
    verdicts = judge(synthetic_sweep(kind, strengths=12, model="panns"), ["C5", "C6"])
    check(verdicts, {c: TRUTH[kind][c] for c in ("C5", "C6")})


@pytest.mark.parametrize(
    ("kind", "options", "expected"), [case for case in VARIANTS if case[1].get("features") != 1024]
)
def test_verdicts_are_right_at_other_sizes(kind, options, expected):
    check(judge(synthetic_sweep(kind, **options), list(expected), n_permutations=1000), expected)


@pytest.mark.parametrize("kind", ["unordered", "circle"])
def test_shared_paths_without_order_are_not_in_order(kind):
    verdicts = [
        judge(synthetic_sweep(kind, seed=seed), ["C3a"], n_permutations=1000)["verdict"].item()
        for seed in range(12)
    ]
    # Of unrelated points one order in twenty is among the best twentieth.
    assert verdicts.count("not supported") >= 11 and "inconclusive" not in verdicts


def test_untrained_weights_and_other_models_earn_no_verdict():
    sweep = synthetic_sweep("line")
    assert set(judge(replace(sweep, pretrained=False), ["C1", "C2", "C4"])["verdict"]) == {claims.CONTROL}
    assert judge(sweep, ["C6"]).empty and not judge(replace(sweep, model="panns"), ["C6"]).empty


# ---- the benchmark ---------------------------------------------------------------------------------------------------


def test_the_benchmark_runs(tmp_path):
    script = Path(__file__).parents[1] / "benchmarks" / "analysis.py"
    subprocess.run(
        [sys.executable, script, "--quick", "--out", tmp_path], check=True, capture_output=True, timeout=400
    )
    speed = pd.read_csv(tmp_path / "analysis.csv")
    assert list(speed.columns) == ["machine", "benchmark", "metric", "value", "unit"]
    assert set(speed["benchmark"]) == {"machine", "directions", "full grids", "classification"}
    values = speed.set_index("metric")["value"]
    assert values[values.index.str.contains("smallest |cosine|", regex=False)].min() >= 0.999999
    assert values["largest difference of ROC-AUC over the sampled cells, liblinear converged"] <= 0.005


def test_rates_are_counted_and_pooled(monkeypatch):
    cells = [
        ("clear", "line", {"strengths": 12}, {"C1": "supported", "C2": "not supported"}, 2),
        ("threshold", "line", {}, {"C1": "any but supported"}, 3),
    ]
    monkeypatch.setattr(verdicts, "cells", lambda truth, border: cells)
    table = verdicts.rates(["clear", "threshold"], 2, 3, 1.0, 1)
    assert table["supported"].tolist() == [2, 0, 3] and table["not supported"].tolist() == [0, 2, 0]
    assert table["error_rate"].tolist() == [0, 0, 1]
    # A line is no case at the threshold: three of three are wrong, at a rate of one in forty.
    pooled = verdicts.pooled(table)
    assert pooled.loc[("threshold", "C1"), "p"] == pytest.approx(0.025**3)
    assert verdicts.rates(["clear"], 2, 3, 1.0, 1)["case"].unique().tolist() == ["clear"]
