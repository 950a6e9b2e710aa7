"""What methods recover of a loss, against scikit-learn, plain loops and cases known by hand."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from synthetic import synthetic_sweep

from aesens import plots, tables
from aesens.analysis.auc import song_resamples
from aesens.analysis.classify import grouped_folds
from aesens.analysis.logistic import COSTS
from aesens.analysis.robustness import LOSS, fit_scores, recovery
from aesens.analysis.statistics import derived_seed

DIMENSION = 12


def study(songs_each=6, strengths=3, seed=0, shift=1.5):
    """Three instruments apart in the first two features; effects move clips along the last, unevenly."""
    rng = np.random.default_rng(seed)
    instruments = np.repeat(["cel", "flu", "pia"], 4 * songs_each)
    songs = np.arange(len(instruments)) // 2
    centre = shift * rng.normal(size=(3, DIMENSION)) * (np.arange(DIMENSION) < 4)
    clean = np.repeat(centre, 4 * songs_each, axis=0) + rng.normal(size=(len(songs), DIMENSION))
    steps = np.arange(1, strengths + 1)[:, None, None] * (1 + rng.normal(size=(len(songs), 1)))
    train = songs // songs_each % 2 == 0
    moved = clean + steps * np.eye(DIMENSION)[0] + 0.1 * rng.normal(size=(strengths, *clean.shape))
    return dict(
        clean=clean, trajectories=moved, instruments=instruments, songs=songs, train=train, test=~train
    )


@pytest.fixture(scope="module")
def example():
    arrays = study()
    rng = np.random.default_rng(1)
    oblique = rng.normal(size=(DIMENSION, 7))
    versions = arrays["trajectories"][:2, arrays["train"]]
    per_instrument = {
        name: np.linalg.qr(rng.normal(size=(DIMENSION, 2)))[0].T for name in ("cel", "flu", "pia")
    }
    methods = {
        "none": None,
        "rows": per_instrument,
        "oblique": SimpleNamespace(transform=lambda x: x @ oblique + 1),
        "mixed": {
            "cel": None,
            "flu": SimpleNamespace(transform=lambda x: 2 * x),
            "pia": SimpleNamespace(transform=lambda x: x),
        },
        "augmented": SimpleNamespace(transform=lambda x: x, versions=versions),
    }
    return arrays, methods, oblique, fit_scores(**arrays, methods=methods, n_refits=3, seed=4)


def plain(x, labels, songs, name):
    regression = LogisticRegression(solver="liblinear", class_weight="balanced", tol=1e-8, max_iter=100_000)
    folds = PredefinedSplit(grouped_folds(labels, songs, name))
    return GridSearchCV(regression, {"C": COSTS}, scoring="roc_auc", cv=folds).fit(x, labels)


def test_scores_are_those_of_scikit_learn(example):
    """All negatives, weighted; on explicitly transformed embeddings; refits on repeated rows at the chosen cost."""
    arrays, methods, oblique, result = example
    train, test, songs = arrays["train"], arrays["test"], arrays["songs"]
    conditions = [arrays["clean"], *arrays["trajectories"]]
    repeats = song_resamples(songs[train], arrays["instruments"][train], 3, derived_seed(4, "training songs"))
    assert dict(result.score.sizes) == {
        "method": 5, "refit": 4, "condition": 4, "instrument": 3, "clip": test.sum()
    }  # fmt: skip
    for i, name in enumerate(("cel", "flu", "pia")):
        rows = methods["rows"][name]
        maps = [
            lambda x: x,
            lambda x, v=rows: x - x @ v.T @ v,
            lambda x: x @ oblique + 1,
            lambda x, factor=1 + (name == "flu"): factor * x,
            lambda x: x,
        ]
        for m, project in enumerate(maps):
            x, labels, song = (
                project(arrays["clean"][train]),
                arrays["instruments"][train] == name,
                songs[train],
            )
            folds, weights = grouped_folds(labels, song, name), repeats
            if m == 4:
                x = np.concatenate([x, *arrays["trajectories"][:2, train]])
                labels, song, folds, weights = (
                    np.tile(labels, 3),
                    None,
                    np.tile(folds, 3),
                    np.tile(repeats, 3),
                )
            regression = LogisticRegression(
                solver="liblinear", class_weight="balanced", tol=1e-9, max_iter=100_000
            )
            search = GridSearchCV(regression, {"C": COSTS}, scoring="roc_auc", cv=PredefinedSplit(folds))
            search.fit(x, labels)
            assert result.cost.values[m, i] == search.best_params_["C"]
            # Six songs, of which five are drawn: 6/5 of a whole number; balanced weights by hand.
            whole = np.rint(weights * 5 / 6).astype(int)
            assert np.allclose(whole * 6 / 5, weights)
            fits = [search.best_estimator_]
            for row in weights:
                balance = row * np.where(
                    labels, row.sum() / 2 / row[labels].sum(), row.sum() / 2 / row[~labels].sum()
                )
                again = LogisticRegression(
                    solver="liblinear", C=search.best_params_["C"], tol=1e-9, max_iter=100_000
                )
                fits.append(again.fit(x, labels, sample_weight=balance))
            for r, fitted in enumerate(fits):
                for c, embeddings in enumerate(conditions):
                    expected = fitted.decision_function(project(embeddings[test]))
                    got = result.score.values[m, r, c, i]
                    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_recovery_is_that_of_plain_loops(example):
    """Every number of the table from scikit-learn's weighted scores, resample by resample."""
    *_, result = example
    table = recovery(result, pooled={"both": ["rows", "oblique"]}, n_resamples=10, seed=2)
    songs, label = result.song.values, result.label.values
    weights = song_resamples(songs, label, 10, derived_seed(2, "test songs"))
    weights = np.concatenate([np.ones((1, len(songs))), weights])
    assert all((weights[:, label == name] > 0).any(axis=1).all() for name in ("cel", "flu", "pia"))

    def values(score, weight):
        """Of one method and fit, score (condition, instrument, clip): {metric: [clean, strengths ..., random]}."""
        found = {"roc_auc": [], "balanced_accuracy": []}
        truth = [label == name for name in result.instrument.values]
        for at in score:
            found["roc_auc"].append(
                np.mean([roc_auc_score(t, s, sample_weight=weight) for t, s in zip(truth, at, strict=True)])
            )
            found["balanced_accuracy"].append(
                np.mean(
                    [
                        balanced_accuracy_score(t, s > 0, sample_weight=weight)
                        for t, s in zip(truth, at, strict=True)
                    ]
                )
            )
        every = [
            roc_auc_score(np.tile(t, 3), score[1:, i].ravel(), sample_weight=np.tile(weight, 3))
            for i, t in enumerate(truth)
        ]
        found["roc_auc"].append(np.mean(every))
        found["balanced_accuracy"].append(np.mean(found["balanced_accuracy"][1:]))
        return found

    ones, names = weights[0], list(result.method.values)
    refits = [[values(one, ones) for one in method[1:]] for method in result.score.values]
    resampled = [[values(method[0], w) for w in weights] for method in result.score.values]
    for metric in ("roc_auc", "balanced_accuracy"):
        drawn = np.array([[v[metric] for v in method] for method in resampled])
        spread = np.array([[v[metric] for v in method] for method in refits])
        spread -= spread.mean(axis=1, keepdims=True)
        for r in range(10):
            drawn[:, r + 1] += spread[:, r % 3]
        both = (drawn[names.index("rows")] + drawn[names.index("oblique")]) / 2
        for name, own in zip([*names, "both"], [*drawn, both], strict=True):
            rows = table.query("method == @name and metric == @metric").set_index(["test", "strength"])
            loss, change = drawn[0][:, [0]] - drawn[0][:, 1:], own[:, 1:] - drawn[0][:, 1:]
            loss, change = (np.where(np.abs(x) < 1e-6, 0, x) for x in (loss, change))
            losing = loss[0, :3] > LOSS
            groups = {("effected", s): ([s], [s] if losing[s] else []) for s in range(3)}
            groups["effected", -1] = (range(3), np.flatnonzero(losing))
            groups["random", -1] = ([3], [3] if loss[0, 3] > LOSS else [])
            for key, (at, lost) in groups.items():
                row, moved = rows.loc[key], change[:, list(at)].mean(axis=1)
                assert np.isclose(row["value"], own[0, 1:][list(at)].mean())
                assert np.isclose(row["change"], moved[0]) and row["losing"] == len(lost)
                # Resamples are summed in float32.
                limits = np.percentile(moved[1:], [2.5, 97.5])
                assert np.allclose([row["change_low"], row["change_high"]], limits, atol=2e-7)
                assert np.isclose(row["visible"], np.ptp(limits) / 2, atol=2e-7)
                cost = drawn[0][:, 0] - own[:, 0]
                assert np.allclose(
                    [row["cost_low"], row["cost_high"]], np.percentile(cost[1:], [2.5, 97.5]), atol=2e-7
                )
                if name == "none":
                    assert row["change"] == 0 and np.isnan(row["p"])
                else:
                    sides = min((moved[1:] <= 0).sum(), (moved[1:] >= 0).sum()) + 1
                    assert np.isclose(row["p"], min(1, 2 * sides / 11))
                if not len(lost):
                    assert np.isnan(row["recovered"])
                    continue
                up, down = change[:, lost].sum(axis=1), loss[:, lost].sum(axis=1)
                assert np.isclose(row["recovered"], up[0] / down[0])
                ordered = [np.sort(np.where(down > 0, up / down, end)[1:]) for end in (-np.inf, np.inf)]
                # 2.5 % of the way along 10 values lies between the first and the second.
                assert np.isclose(row["low"], ordered[0][0]) and np.isclose(row["high"], ordered[1][-1])


def test_a_shift_that_a_projection_removes_is_recovered_and_what_nothing_helps_is_not():
    """By hand: instruments far apart, on the axis of the shift too, which no one needs; the last feature is empty."""
    arrays = study(shift=0.0)
    place = np.searchsorted(["cel", "flu", "pia"], arrays["instruments"])
    arrays["clean"][:, 1:4] += 12 * np.eye(3)[place]
    arrays["clean"][:, 0], arrays["clean"][:, -1] = 12 * (place == 0), 0
    axis, empty = np.eye(DIMENSION)[:1], np.eye(DIMENSION)[-1:]
    arrays["trajectories"] = arrays["clean"] + np.array([0.0, 20.0, 60.0])[:, None, None] * axis
    result = fit_scores(**arrays, methods={"none": None, "axis": axis, "empty": empty}, n_refits=5)
    table = recovery(result, pooled={"both": ["axis", "empty"]}, n_resamples=100)
    table = table.set_index(["kind", "metric", "test", "method"]).sort_index()
    # One displacement for all clips changes no ranking at one strength, but the threshold and mixed strengths.
    assert (table.loc[("pooled", "roc_auc", "effected"), "loss"] == 0).all()
    for seen in (("balanced_accuracy", "effected"), ("roc_auc", "random")):
        rows = table.loc[("pooled", *seen)]
        assert (rows["loss"] > 0.05).all() and (rows["loss_low"] > 0).all() and (rows["clean"] == 1).all()
        columns = ["recovered", "low", "high"]
        assert (rows.loc["axis", columns] == 1).all() and (rows.loc["empty", columns] == 0).all()
        assert rows.loc["both", columns].tolist() == pytest.approx([0.5] * 3)
        assert rows.loc["empty", "p"] == 1 and rows.loc["axis", "p"] < 0.05
        assert rows.loc["axis", "value"] == 1 and rows.loc["axis", "cost"] == 0
    assert table.loc[("pooled", "balanced_accuracy", "effected"), "losing"].tolist() == [2] * 4
    single = table.loc[("strength", "balanced_accuracy", "effected", "axis")].set_index("strength")[
        "recovered"
    ]
    assert np.isnan(single[0]) and (single[[1, 2]] == 1).all()


def test_nothing_lost_is_nothing_to_recover():
    arrays = study(seed=3)
    arrays["trajectories"] = np.repeat(arrays["clean"][None], 2, axis=0)
    table = recovery(
        fit_scores(**arrays, methods={"none": None, "rows": np.eye(DIMENSION)[-1:]}, n_refits=2),
        n_resamples=50,
    )
    effected = table.query("test == 'effected'")
    assert (effected["loss"] == 0).all() and (effected["losing"] == 0).all()
    assert effected["recovered"].isna().all() and effected["low"].isna().all()


def test_scores_do_not_turn_with_the_seed_and_nothing_with_the_threads(example):
    arrays, methods, _, result = example
    again = fit_scores(**arrays, methods=methods, n_refits=3, seed=5, n_jobs=2)
    assert np.array_equal(again.score[:, 0], result.score[:, 0])
    assert not np.array_equal(again.score[:, 1:], result.score[:, 1:])
    options = dict(n_resamples=30, seed=1)
    assert recovery(result, **options).equals(recovery(result, **options, n_jobs=2))


def test_few_songs_have_a_range():
    arrays = study(songs_each=3)
    arrays["trajectories"] = arrays["trajectories"][-1:]
    result = fit_scores(**arrays, methods={"none": None, "rows": np.eye(DIMENSION)[:1]}, n_refits=0)
    table = recovery(result, n_resamples=300)
    assert (table["songs"] == 3).all()
    wide = table.query("method == 'rows' and kind == 'strength' and metric == 'roc_auc'").iloc[0]
    more = recovery(result, n_resamples=1000)
    assert (more.iloc[: len(table)]["change_high"] >= table["change_high"] - 1e-12).all()
    assert wide["change_low"] < wide["change"] < wide["change_high"]


def test_a_sweep_has_its_rows_and_pools_the_methods_named():
    sweep = synthetic_sweep("nuisance")
    fitted = tables.fitted_subspaces(sweep, seed=0)
    mine = {
        "none": fitted["none"],
        "average": fitted["average"],
        "pca": fitted["pca"],
        "mine": fitted["random"],
    }
    options = dict(n_resamples=60, seed=0, pooled={"two": ["average", "pca"]}, fitted=mine)
    table = tables.robustness(sweep, **options).set_index(["kind", "metric", "test", "method"]).sort_index()
    assert set(table.index.get_level_values("method")) == {*mine, "two"}
    rows = table.loc[("pooled", "roc_auc", "effected")]
    # The nuisance lies on what these two remove, and an interval of a mean lies within its members'.
    assert (rows.loc[["average", "pca", "two"], "recovered"] > 0.9).all() and abs(
        rows.loc["mine", "recovered"]
    ) < 0.1
    assert rows.loc["two", "change"] == pytest.approx(rows.loc[["average", "pca"], "change"].mean())
    assert (rows["songs"] == 8).all() and rows["parameter"].isna().all()
    parameters = table.loc[("strength", "roc_auc", "effected", "none"), "parameter"]
    assert parameters.tolist() == list(sweep.parameters)
    # A seed moves the resamples and nothing else.
    other = tables.robustness(sweep, **options | dict(seed=1)).set_index(["kind", "metric", "test", "method"])
    other = other.sort_index().loc[("pooled", "roc_auc", "effected")]
    columns = ["value", "loss", "change", "recovered", "cost"]
    assert other[columns].equals(rows[columns]) and not other["low"].equals(rows["low"])


@pytest.mark.parametrize(
    "change, message",
    [
        (
            dict(methods={"none": None, "x": SimpleNamespace(transform=lambda x: x[:3])}),
            r"gave shape \(3, 12\)",
        ),
        (
            dict(methods={"x": SimpleNamespace(transform=lambda x: x, versions=np.zeros((2, 3, 4)))}),
            "versions",
        ),
        (dict(methods={"x": {"cel": None}}), "'x' has nothing for flu, pia"),
        (dict(methods={"x": np.ones((1, DIMENSION))}), "cel.*orthonormal"),
        (dict(methods={}), "no projections"),
    ],
)
def test_bad_methods_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        fit_scores(**(study() | change))


def test_unknown_methods_are_named(example):
    *_, result = example
    with pytest.raises(ValueError, match="no method nil among none, rows"):
        recovery(result, pooled={"all": ["rows", ["nil"]]})


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_eleven_models_with_long_names_keep_their_names_apart():
    found = pd.DataFrame(
        {"model": [f"hear-a_rather_long_module_name_{k}" for k in range(11)], "effect": "gain"}
    )
    strengths = pd.DataFrame({"strength": range(3), "parameter": [-30.0, -20.0, -10.0]})
    table = found.merge(pd.DataFrame({"pretrained": [True]}), how="cross").merge(strengths, how="cross")
    numbers = dict(value=0.8, clean=0.9, loss=0.1, loss_low=0.0, loss_high=0.2, recovered=0.5, songs=6)
    table = table.assign(kind="strength", method="none", metric="roc_auc", **numbers)
    table = pd.concat([table, table.assign(metric="balanced_accuracy", songs=3)])
    for figure in (plots.operating_curves(table), plots.recovered_curves(table.assign(method="pca"))):
        figure.draw_without_rendering()
        names = [
            text for ax in figure.axes for text in ax.texts if "module" in text.get_text().replace("\n", "")
        ]
        boxes = sorted(text.get_window_extent().intervaly.tolist() for text in names)
        assert len(boxes) == 11
        assert all(below[1] <= above[0] for below, above in zip(boxes, boxes[1:], strict=False))
        assert min(ax.get_window_extent().height for ax in figure.axes) > 40
        plt.close(figure)


def test_changes_of_nothing_are_drawn_on_a_scale_that_says_so():
    table = pd.DataFrame({"model": ["yamnet"], "projection": ["pca"], "points": [0.0]})
    figure = plots.heatmap(table, "points", rows=["model"], column="projection", centre=0, label="Change")
    figure.draw_without_rendering()
    assert figure.axes[0].collections[0].get_clim() == (-1, 1)
    plt.close(figure)


def test_methods_that_help_are_counted_after_holm_too():
    """Two pretrained pairs, six methods: by hand, p = 0.004 times 12 is below 0.05 and 0.005 times 11 is not."""
    names = ["lda", "average", "pca", "npca", "cca"]
    p = {"yamnet": [0.004, 0.005, 0.03, 0.5, 0.9], "musicnn": [0.6] * 5}
    rows = [
        dict(kind="change", model=m, projection=name, p=value, change=0.1, low=0.1 - 4 * value, high=0.3)
        for m, values in p.items()
        for name, value in zip(names, values, strict=True)
    ]
    rows += [
        dict(kind="family", model=m, projection="mean of CCA SVD", p=0.7, change=0.0, low=-1, high=1)
        for m in p
    ]
    rows += [
        dict(kind="change", model=m, projection="random", p=0.001, change=0.1, low=0.1, high=0.2) for m in p
    ]
    table = pd.DataFrame(rows).assign(condition="clean-effected", effect="gain", pretrained=True)
    twins = table.assign(pretrained=False, p=0.001)
    counts = tables.counted_methods(pd.concat([table, twins])).set_index(["model", "pretrained"])
    row = counts.loc[("yamnet", True)]
    assert row[["methods", "helps", "harms", "helps_holm", "harms_holm"]].tolist() == [6, 2, 0, 1, 0]
    assert (
        counts.loc[("yamnet", False), "helps_holm"] is pd.NA and counts.loc[("yamnet", False), "methods"] == 6
    )
