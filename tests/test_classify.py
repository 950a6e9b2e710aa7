"""Classification in all conditions against the plain way, its metrics and its bootstrap against definitions."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from aesens.analysis.auc import auc, auc_change, metric_table, metrics, song_resamples
from aesens.analysis.classify import (
    classifier_weights,
    classify,
    draw_random_strengths,
    draw_training_clips,
    grouped_folds,
)
from aesens.analysis.logistic import COSTS
from aesens.analysis.statistics import holm


def study(seed=0, songs_each=6, clips=4, d=30, strengths=3, shift=1.0, classes=("cel", "flu", "pia")):
    rng = np.random.default_rng(seed)
    count = songs_each * clips
    instruments = np.repeat(classes, count)
    songs = np.repeat(np.arange(len(classes) * songs_each), clips)
    centre = rng.normal(size=(len(classes), d)) * shift
    clean = np.repeat(centre, count, axis=0) + rng.normal(size=(len(songs), d))
    clean += 0.7 * rng.normal(size=(songs.max() + 1, d))[songs]
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    steps = np.arange(1, strengths + 1)[:, None, None] * direction * (3 + rng.normal(size=(1, len(songs), 1)))
    train = songs % songs_each < songs_each * 2 // 3
    trajectories = clean + steps + 0.2 * rng.normal(size=(strengths, *clean.shape))
    arrays = dict(
        clean=clean.astype(np.float32),
        trajectories=trajectories.astype(np.float32),
        instruments=instruments,
        songs=songs,
        train=train,
        test=~train,
    )
    return arrays, direction[None]


@pytest.fixture(scope="module")
def example():
    arrays, direction = study()
    rng = np.random.default_rng(1)
    names = np.unique(arrays["instruments"])
    subspace = {name: np.linalg.qr(rng.normal(size=(30, 3)))[0].T for name in names}
    projections = {"none": None, "direction": dict.fromkeys(names, direction), "subspace": subspace}
    return arrays, projections, classify(**arrays, projections=projections, seed=5)


def test_every_cell_is_that_of_the_plain_way(example):
    """One GridSearchCV per projection, case and instrument, on explicitly projected embeddings."""
    arrays, projections, result = example
    clean, trajectories = arrays["clean"].astype(float), arrays["trajectories"].astype(float)
    songs, instruments, test = arrays["songs"], arrays["instruments"], np.flatnonzero(arrays["test"])
    drawn = np.random.default_rng([5, 1]).integers(3, size=len(clean))
    assert np.array_equal(result.random_strength, drawn[test])
    assert np.array_equal(draw_random_strengths(len(clean), 3, 5), drawn)
    mixed = trajectories[drawn, np.arange(len(clean))]
    cells = 0
    for p, subspaces in enumerate(projections.values()):
        for i, instrument in enumerate(result.instrument.values):
            v = np.zeros((0, 30)) if subspaces is None else subspaces[instrument]
            clips, labels = draw_training_clips(instruments, instrument, arrays["train"], 5)
            folds = grouped_folds(labels, songs[clips])
            splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
            truth = instruments[test] == instrument

            def project(condition, strength, v=v):
                x = {"clean": clean, "effected": trajectories[strength], "random": mixed}[condition]
                return x - x @ v.T @ v

            for t, (train, at) in enumerate(
                zip(result.condition.values, result.training_strength.values, strict=True)
            ):
                model = LogisticRegression(
                    solver="liblinear", class_weight="balanced", tol=1e-8, max_iter=10_000
                )
                plain = GridSearchCV(model, {"C": COSTS}, scoring="roc_auc", cv=splits)
                plain.fit(project(train, at)[clips], labels)
                assert result.cost.values[p, t, i] == plain.best_params_["C"]
                assert abs(result.cv_auc.values[p, t, i] - plain.best_score_) < 1e-9
                cases = (result.train == train) & ((train != "effected") | (result.strength == at))
                for case in np.flatnonzero(cases):
                    kind, strength = result.test.values[case], result.strength.values[case]
                    expected = plain.decision_function(project(kind, strength)[test])
                    got = result.score.values[p, case, i]
                    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()
                    assert abs(auc(got, truth) - reference.roc_auc_score(truth, expected)) < 0.005
                    cells += 1
    assert cells == result.score[..., 0].size


def test_an_oblique_map_is_scikit_learn_on_the_embeddings_that_it_gives():
    arrays, axis = study(strengths=2)
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(30, 11))
    oblique = SimpleNamespace(transform=lambda x: x @ matrix - 2)
    projections = {"none": None, "oblique": oblique, "mixed": {"cel": axis, "flu": oblique, "pia": None}}
    result = classify(**arrays, projections=projections, seed=5)
    moved = {name: oblique.transform(arrays[name].astype(float)) for name in ("clean", "trajectories")}
    plain = classify(**arrays | moved, seed=5)
    for whole, part in ((slice(None), 1), (slice(1, 2), 2)):
        np.testing.assert_allclose(
            result.score[part, :, whole], plain.score[0, :, whole], rtol=1e-6, atol=1e-9
        )
        assert (result.cost[part, :, whole] == plain.cost[0, :, whole]).all()
    assert (result.score[2, :, 2] == result.score[0, :, 2]).all()
    clips, labels = draw_training_clips(arrays["instruments"], "flu", arrays["train"], 5)
    folds = PredefinedSplit(grouped_folds(labels, arrays["songs"][clips]))
    model = LogisticRegression(solver="liblinear", class_weight="balanced", tol=1e-8, max_iter=10_000)
    search = GridSearchCV(model, {"C": COSTS}, scoring="roc_auc", cv=folds).fit(moved["clean"][clips], labels)
    for case in np.flatnonzero((result.train == "clean") & (result.test == "effected")):
        expected = search.decision_function(
            moved["trajectories"][result.strength.values[case], arrays["test"]]
        )
        np.testing.assert_allclose(result.score[1, case, 1], expected, rtol=1e-4, atol=1e-4)


def test_what_a_map_does_to_its_input_stays_there():
    arrays, _ = study(strengths=2)
    before = arrays["clean"].copy()

    def in_place(x):
        x *= 2
        return x

    double = classify(**arrays, projections={"double": SimpleNamespace(transform=in_place)})
    again = classify(**arrays, projections={"double": SimpleNamespace(transform=lambda x: 2 * x)})
    assert np.array_equal(arrays["clean"], before) and double.identical(again)


def test_cases_and_coordinates(example):
    arrays, _, result = example
    assert dict(result.score.sizes) == {"projection": 3, "case": 16, "instrument": 3, "clip": 24}
    assert result.condition.values.tolist() == ["clean", *["effected"] * 3, "random"]
    assert np.array_equal(result.label, arrays["instruments"][arrays["test"]])
    score = result.score.set_index(case=["train", "test", "strength"])
    for train in ("clean", "random"):
        random = score.sel(train=train, test="random", strength=-1)
        for k, strength in enumerate(result.random_strength.values):
            at_own = score.sel(train=train, test="effected", strength=strength)[..., k]
            assert np.array_equal(random[..., k], at_own)


def test_a_shift_that_all_clips_share_costs_where_strengths_are_mixed():
    """Why the study tests clean classifiers on a random strength a clip; by scikit-learn's search and score."""
    arrays, direction = study(shift=0.5)
    names = np.unique(arrays["instruments"])
    apart = [arrays["clean"][arrays["instruments"] == name].mean(axis=0) for name in names[:2]]
    along = (apart[1] - apart[0]) / np.linalg.norm(apart[1] - apart[0])
    steps = np.array([0.0, 4.0, 8.0], np.float32)
    arrays["trajectories"] = arrays["clean"] + steps[:, None, None] * along
    result = classify(**arrays, seed=5)
    table = (
        metric_table(result).query("train == 'clean' and instrument == 'flu'").set_index(["test", "strength"])
    )
    alike = table.loc["effected", "roc_auc"]
    assert np.allclose(alike, table.loc[("clean", -1), "roc_auc"])
    # The plain way.
    test, drawn = arrays["test"], draw_random_strengths(len(arrays["clean"]), 3, 5)
    mixed = arrays["trajectories"][drawn, np.arange(len(drawn))]
    clips, labels = draw_training_clips(arrays["instruments"], "flu", arrays["train"], 5)
    folds = grouped_folds(labels, arrays["songs"][clips])
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
    model = LogisticRegression(solver="liblinear", class_weight="balanced", tol=1e-8, max_iter=10_000)
    plain = GridSearchCV(model, {"C": COSTS}, scoring="roc_auc", cv=splits).fit(
        arrays["clean"][clips], labels
    )
    expected = reference.roc_auc_score(
        arrays["instruments"][test] == "flu", plain.decision_function(mixed[test])
    )
    assert table.loc[("random", -1), "roc_auc"] == pytest.approx(expected, abs=1e-9)
    assert expected < alike.min() - 0.1


def test_result_does_not_depend_on_threads_or_repetition(example):
    arrays, projections, result = example
    again = classify(**arrays, projections=projections, seed=5, n_jobs=2)
    assert again.identical(result)
    other = classify(**arrays, projections=projections, seed=6)
    assert not np.array_equal(other.score, result.score)


def test_nothing_of_the_test_side_enters_training(example):
    arrays, projections, result = example
    poisoned = {k: v.copy() for k, v in arrays.items()}
    test = arrays["test"]
    poisoned["clean"][test] = 1e3
    poisoned["trajectories"][:, test] = -1e3
    other = classify(**poisoned, projections=projections, seed=5)
    assert other.cost.identical(result.cost) and other.cv_auc.identical(result.cv_auc)
    for name in result.instrument.values:
        clips, labels = draw_training_clips(arrays["instruments"], name, arrays["train"], 5)
        songs = arrays["songs"][clips]
        assert not set(songs) & set(arrays["songs"][test])
        folds = grouped_folds(labels, songs)
        assert all(len(np.unique(folds[songs == song])) == 1 for song in songs)


def test_negatives_are_drawn_evenly():
    """n // k of each of the k other instruments, as in the study: 288 // 10 = 28."""
    names = [f"i{k:02d}" for k in range(11)]
    for n, each in ((288, 28), (25, 2), (10, 1), (4, 1)):
        instruments = np.repeat(names, n)
        clips, labels = draw_training_clips(instruments, "i03", np.ones(11 * n, bool), 0)
        assert len(set(clips)) == len(clips) and (np.diff(clips) > 0).all()
        assert np.array_equal(labels, instruments[clips] == "i03") and labels.sum() == n
        counts = {name: (instruments[clips] == name).sum() for name in names if name != "i03"}
        assert set(counts.values()) == {each}

    instruments = np.repeat(["a", "b", "c", "d"], [20, 40, 30, 3])
    train = np.ones(93, bool)
    train[:2] = False
    clips, labels = draw_training_clips(instruments, "a", train, 0)
    assert labels.sum() == 18 and (clips >= 2).all()
    # d has only three, and the others do not make up for it.
    assert [(instruments[clips] == name).sum() for name in "abcd"] == [18, 6, 6, 3]
    assert np.array_equal(clips, draw_training_clips(instruments, "a", train, 0)[0])
    assert not np.array_equal(clips, draw_training_clips(instruments, "a", train, 1)[0])


def test_folds_shrink_with_the_songs_and_then_say_so():
    labels = np.repeat([True, False], 12)
    songs = np.r_[np.repeat(["a", "b"], 6), np.repeat(["c", "d", "e", "f"], 3)]
    folds = grouped_folds(labels, songs)
    assert folds.max() == 1
    assert all(0 < labels[folds == k].sum() < (folds == k).sum() for k in range(2))
    songs[labels] = "a"
    with pytest.raises(ValueError, match=r"org: 12 clips from 1 song\(s\) against 12 clips from 4 song\(s\)"):
        grouped_folds(labels, songs, name="org")


def test_too_few_songs_names_the_instrument():
    arrays, _ = study()
    arrays["songs"] = np.where((arrays["instruments"] == "flu") & arrays["train"], 6, arrays["songs"])
    with pytest.raises(ValueError, match="flu: 16 clips from 1 song"):
        classify(**arrays)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: dict(songs=np.arange(72) % 7), "songs in training and test: 0, 1"),
        (lambda a: dict(train=a["train"].astype(int)), "boolean"),
        (lambda a: dict(test=np.zeros(72, bool)), "0 test clips"),
        (lambda a: dict(trajectories=a["trajectories"][:, 1:]), "trajectories"),
        (lambda a: dict(trajectories=a["trajectories"] * np.nan), "cel.*NaN"),
        (lambda a: dict(instruments=a["instruments"][1:]), "instruments must have shape"),
        (lambda a: dict(projections={}), "no projections"),
        (lambda a: dict(projections={"x": {"cel": None}}), "'x' has nothing for flu, pia"),
        (
            lambda a: dict(projections={"x": dict.fromkeys(["cel", "flu", "pia"], np.eye(4)[:1])}),
            "'x' of cel",
        ),
        (lambda a: dict(classes=["cel", "tru"]), "tru: 0 training clips"),
    ],
)
def test_bad_input_is_named(change, message):
    arrays, _ = study()
    with pytest.raises(ValueError, match=message):
        classify(**(arrays | change(arrays)))


def test_without_trajectories_there_is_the_clean_case():
    arrays, _ = study()
    whole = classify(**arrays)
    arrays["trajectories"] = None
    result = classify(**arrays)
    assert result.sizes["case"] == result.sizes["training"] == 1
    assert np.allclose(result.score[0, 0], whole.score[0, 0], rtol=1e-4, atol=1e-10)


def test_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 5, 60))
    scores[1] = scores[1].round()  # ties
    scores[2] -= 10  # nothing decided positive
    labels = rng.random((5, 60)) < 0.3
    ours = metrics(scores, labels)
    for i in range(4):
        for j in range(5):
            s, t = scores[i, j], labels[j]
            expected = dict(
                roc_auc=reference.roc_auc_score(t, s),
                average_precision=reference.average_precision_score(t, s),
                precision=reference.precision_score(t, s > 0, zero_division=0),
                recall=reference.recall_score(t, s > 0),
                f1=reference.f1_score(t, s > 0, zero_division=0),
                accuracy=reference.accuracy_score(t, s > 0),
                balanced_accuracy=reference.balanced_accuracy_score(t, s > 0),
            )
            assert list(ours) == list(expected)
            for name, value in expected.items():
                assert np.isclose(ours[name][i, j], value, atol=1e-12), name
    assert np.isnan(auc([1.0, 2.0], [True, True])) and np.isnan(auc([1.0, 2.0], [False, False]))


def test_metric_table_is_one_row_a_cell(example):
    arrays, _, result = example
    table = metric_table(result)
    assert len(table) == 3 * 16 * 3
    row = table.query(
        "projection == 'subspace' and train == 'effected' and test == 'clean' and strength == 1"
    )
    row = row[row.instrument == "pia"].iloc[0]
    truth = arrays["instruments"][arrays["test"]] == "pia"
    case = np.flatnonzero((result.train == "effected") & (result.test == "clean") & (result.strength == 1))[0]
    assert np.isclose(row.roc_auc, reference.roc_auc_score(truth, result.score.values[2, case, 2]))
    assert row.cost == result.cost.values[2, 2, 2]


def weighted_auc(scores, truth, weights):
    won = total = 0.0
    for i in np.flatnonzero(truth):
        pairs = weights[i] * weights[~truth]
        won += (pairs * ((scores[i] > scores[~truth]) + 0.5 * (scores[i] == scores[~truth]))).sum()
        total += pairs.sum()
    return won / total if total else np.nan


def test_the_loop_below_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, truth, weights = rng.normal(size=30).round(1), rng.random(30) < 0.4, rng.integers(0, 4, 30)
    assert np.isclose(
        weighted_auc(scores, truth, weights), reference.roc_auc_score(truth, scores, sample_weight=weights)
    )


@pytest.mark.parametrize("songs_each", [6, 18])  # two test songs an instrument: a range; six: an interval
def test_bootstrap_is_that_of_a_plain_loop(songs_each):
    arrays, axis = study(songs_each=songs_each, clips=3 - songs_each // 9, strengths=2)
    result = classify(**arrays, projections={"none": None, "axis": axis})
    ends = [0, 100] if songs_each == 6 else [2.5, 97.5]
    clips = arrays["test"].sum()
    table = auc_change(result, n_resamples=30, seed=3)
    weights = np.concatenate(
        [np.ones((1, clips)), song_resamples(result.song.values, result.label.values, 30, 3)]
    )
    truth = result.label.values == result.instrument.values[:, None]
    assert all(w[t].any() for w in weights for t in truth)  # no resample lacks an instrument
    loop = np.array(
        [
            [
                [[weighted_auc(*cell, w) for cell in zip(case, truth, strict=True)] for case in p]
                for p in result.score.values
            ]
            for w in weights
        ]
    )
    loop = loop.mean(axis=-1)  # (resample, projection, case)
    for _, row in table.iterrows():
        cases = ((result.train == row.train) & (result.test == row.test)).values
        p = result.projection.values.tolist().index(row.projection)
        values = loop[:, p, cases].mean(axis=-1)
        change = values - loop[:, 0, cases].mean(axis=-1)
        assert row.songs == songs_each // 3 and np.isclose(row.auc, values[0])
        assert np.isclose(row.change, change[0], atol=1e-12)
        assert np.allclose([row.auc_low, row.auc_high], np.percentile(values[1:], ends))
        assert np.allclose([row.change_low, row.change_high], np.percentile(change[1:], ends), atol=1e-12)
        if row.projection == "none":
            assert np.isnan(row.p) and row.change == 0
        else:
            change = change[1:].round(12)
            share = min((change <= 0).sum() + 1, (change >= 0).sum() + 1) / 31
            assert np.isclose(row.p, min(1.0, 2 * share))


def test_resamples_keep_instruments_and_vary_as_they_should():
    """By brute force: the variance of a mean over n songs is that of a song over n, not over n * n / (n - 1)."""
    songs, instruments = (
        np.repeat(np.arange(9), 2),
        np.repeat(["a", "a", "a", "b", "b", "b", "b", "c", "both"], 2),
    )
    instruments[-2:] = "a", "b"  # one song of two instruments, which is a stratum of its own
    weights = song_resamples(songs, instruments, 20_000, 1)
    assert (weights[:, ::2] == weights[:, 1::2]).all() and np.allclose(weights.mean(axis=0), 1, atol=0.02)
    for stratum in (slice(0, 6), slice(6, 14), slice(14, 16), slice(16, 18)):
        assert np.allclose(weights[:, stratum].mean(axis=1), 1)
    values = np.random.default_rng(0).normal(size=9)
    for place in (slice(0, 3), slice(3, 7)):
        means = (weights[:, ::2][:, place] * values[place]).mean(axis=1)
        n = len(values[place])
        assert means.var() == pytest.approx(values[place].var(ddof=1) / n, rel=0.05)


def test_change_finds_the_help_there_is_and_no_other():
    # A large shift along one axis, and clips that differ by instrument elsewhere and in that axis by chance.
    arrays, _ = study(seed=2, songs_each=12, strengths=2, shift=0.6)
    rng = np.random.default_rng(0)
    axis = np.eye(30)[:1]
    arrays["trajectories"] = arrays["clean"] + 0.1 * rng.normal(size=(2, *arrays["clean"].shape))
    arrays["trajectories"] += 40 * rng.normal(size=(2, len(arrays["clean"]), 1)) * axis
    names = np.unique(arrays["instruments"])
    projections = {"none": None, "axis": dict.fromkeys(names, axis), "same": None}
    table = auc_change(classify(**arrays, projections=projections), n_resamples=1000)
    table = table.assign(p_holm=holm(table["p"])).set_index(["train", "test", "projection"])
    helped, same = table.loc["clean", "effected", "axis"], table.xs("same", level="projection")
    assert helped.change > 0.1 and helped.change_low > 0 and helped.p_holm < 0.05
    assert (same.change == 0).all() and (same.p == 1).all()


def test_change_needs_a_result_without_projection(example):
    _, _, result = example
    with pytest.raises(ValueError, match="no projection 'none'"):
        auc_change(result.isel(projection=[1, 2]))


def test_a_pooled_row_is_the_mean_over_its_projections(example):
    _, _, result = example
    names = [str(name) for name in result.projection.values]
    table = auc_change(result, n_resamples=50, pooled={"both": names[1:3]}).set_index(
        ["train", "test", "projection"]
    )
    for pair in {index[:2] for index in table.index}:
        rows = table.loc[pair]
        assert rows.loc["both", "change"] == pytest.approx(rows.loc[names[1:3], "change"].mean(), abs=1e-12)
        low, high = rows.loc[names[1:3], "change_low"].min(), rows.loc[names[1:3], "change_high"].max()
        assert (
            low - 1e-12 <= rows.loc["both", "change_low"] <= rows.loc["both", "change_high"] <= high + 1e-12
        )
    single = auc_change(result, n_resamples=50, pooled={"alone": names[1:2]}).set_index(
        ["train", "test", "projection"]
    )
    columns = ["auc", "change", "change_low", "change_high"]
    for pair in {index[:2] for index in single.index}:
        np.testing.assert_array_equal(
            single.loc[(*pair, "alone"), columns], single.loc[(*pair, names[1]), columns]
        )


def test_a_list_within_a_pooled_row_counts_as_one(example):
    _, _, result = example
    one, two = (str(name) for name in result.projection.values[1:])
    pooled = {"nested": [one, [one, two]], "flat": [one, one, one, two]}
    table = auc_change(result, n_resamples=50, pooled=pooled).set_index("projection")
    columns = ["auc", "change", "change_low", "change_high"]
    np.testing.assert_allclose(table.loc["nested", columns], table.loc["flat", columns], atol=1e-12)


def test_loss_is_the_difference_of_the_conditions_over_the_same_songs(example):
    _, _, result = example
    table = auc_change(result, n_resamples=40, seed=3)
    losses = ["loss", "loss_low", "loss_high"]
    assert table.groupby(["train", "test"])[losses].nunique().eq(1).all(axis=None)
    table = table.query("projection == 'none'").set_index(["train", "test"])[["auc", *losses]]
    np.testing.assert_allclose(table["loss"], table["auc"]["clean", "clean"] - table["auc"], atol=1e-12)
    assert (table.loc[("clean", "clean"), losses] == 0).all()
    weights = song_resamples(result.song.values, result.label.values, 40, 3)
    truth = result.label.values == result.instrument.values[:, None]

    def mean_auc(w, cases):
        score = result.score.values[0][cases]
        cells = [[weighted_auc(*cell, w) for cell in zip(case, truth, strict=True)] for case in score]
        return np.nanmean(cells, axis=-1).mean()

    clean, effected = (((result.train == "clean") & (result.test == t)).values for t in ("clean", "effected"))
    loop = [mean_auc(w, clean) - mean_auc(w, effected) for w in weights]
    row = table.loc[("clean", "effected")]
    # Two test songs an instrument: a range.
    # Resamples are summed in float32.
    np.testing.assert_allclose(row[["loss_low", "loss_high"]], [min(loop), max(loop)], atol=2e-7)
    assert row["loss_low"] < row["loss"] < row["loss_high"]


def test_classifier_weights_are_those_of_the_plain_way(example):
    arrays, _, _ = example
    clean, songs, train = arrays["clean"].astype(float), arrays["songs"], arrays["train"]
    found = classifier_weights(clean, arrays["instruments"], songs, train, seed=5, n_jobs=2)
    assert list(found) == ["cel", "flu", "pia"]
    for name, weights in found.items():
        clips, labels = draw_training_clips(arrays["instruments"], name, train, 5)
        folds = grouped_folds(labels, songs[clips])
        splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(folds.max() + 1)]
        model = LogisticRegression(solver="liblinear", class_weight="balanced", max_iter=10_000, tol=1e-8)
        search = GridSearchCV(model, {"C": COSTS}, scoring="roc_auc", cv=splits).fit(clean[clips], labels)
        np.testing.assert_allclose(weights, search.best_estimator_.coef_[0], rtol=1e-3, atol=1e-6)


def test_threads_change_no_interval(example):
    _, _, result = example
    options = {
        "n_resamples": 2500,
        "seed": 1,
        "pooled": {"all": ["direction", "subspace"]},
    }
    one, three = (auc_change(result, n_jobs=n_jobs, **options) for n_jobs in (1, 3))
    assert one.equals(three)
