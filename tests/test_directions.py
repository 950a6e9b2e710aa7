"""Directions against scikit-learn's CCA, brute-force refits and synthetic truth."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, spearmanr, t
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from synthetic import synthetic_sweep

from aesens import tables
from aesens.analysis import samplewise
from aesens.analysis.cca import (
    GlobalCCA,
    LeastSquares,
    cosine_between,
    global_direction_report,
    singular_spectrum,
)
from aesens.analysis.decoding import decode_strength
from aesens.analysis.samplewise import random_walks, samplewise_directions, samplewise_report, transfer
from aesens.analysis.statistics import (
    joint_orders,
    permutation_p_value,
    permute_within_clips,
    quantile_rank,
)


def cca_direction(rows, target):
    """Unit x-weights of scikit-learn's CCA, pointing where the target grows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        w = CCA(n_components=1, scale=False).fit(rows, target[:, None]).x_weights_[:, 0]
    return w * np.sign(np.cov(rows @ w, target)[0, 1]) / np.linalg.norm(w)


def noise(n_strengths, n_clips, n_features, seed=0):
    return np.random.default_rng(seed).standard_normal((n_strengths, n_clips, n_features))


def linear(n_strengths, n_clips, n_features, size=3.0, seed=0, scatter=1.0):
    """One direction for all clips, on top of clips that differ and of noise."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(n_features)
    u /= np.linalg.norm(u)
    x = scatter * rng.standard_normal((n_clips, n_features)) + 0.05 * noise(
        n_strengths, n_clips, n_features, seed + 1
    )
    return x + size * quantile_rank(n_strengths)[:, None, None] * u, u


def smooth(n_strengths, n_clips, n_features, seed=0, roughness=1e-3):
    """Curved float32 paths far from the origin: badly conditioned, as real trajectories of many strengths are."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, n_strengths)
    basis = np.stack([np.exp(-0.5 * ((t - c) / 0.2) ** 2) for c in np.linspace(0, 1, 9)], axis=1)
    x = np.einsum("sk,kcf->scf", basis, rng.standard_normal((9, n_clips, n_features))) + 5
    return (x + roughness * rng.standard_normal(x.shape)).astype(np.float32)


@pytest.mark.parametrize("n_features", [512, 2048])
@pytest.mark.parametrize("kind", ["noise", "linear", "smooth", "rounded"])
def test_samplewise_directions_equal_sklearn(kind, n_features):
    x = {
        "noise": noise(31, 6, n_features),
        "linear": linear(31, 6, n_features)[0],
        "smooth": smooth(31, 6, n_features),
        "rounded": smooth(31, 6, n_features, roughness=0.0),  # all but nine dimensions are float32 rounding
    }[kind]
    y = quantile_rank(31)
    expected = np.array([cca_direction(x[:, i].astype(float), y) for i in range(6)])
    found = samplewise_directions(x)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    assert (found * expected).sum(axis=1).min() >= 0.999999


def test_samplewise_directions_of_more_strengths_than_features():
    x, y = noise(31, 5, 12), quantile_rank(31)
    expected = np.array([cca_direction(x[:, i], y) for i in range(5)])
    np.testing.assert_allclose((samplewise_directions(x) * expected).sum(axis=1), 1)


def test_samplewise_directions_of_degenerate_clips():
    x = noise(6, 4, 20)
    x[:, 1] = x[0, 1]  # does not move
    x[3:, 2] = x[:3, 2]  # visits each place twice
    found = samplewise_directions(x)
    assert not found[1].any()
    y = quantile_rank(6)
    expected = np.linalg.pinv(x[:, 2] - x[:, 2].mean(axis=0)) @ (y - y.mean())
    np.testing.assert_allclose(found[2], expected / np.linalg.norm(expected), atol=1e-10)
    np.testing.assert_allclose(found[3], cca_direction(x[:, 3], y), atol=1e-8)


@pytest.mark.parametrize(
    "shape",
    [
        *[(31, 4, 512), (31, 40, 64), (12, 10, 119), (12, 10, 120), (12, 10, 121)],
        pytest.param((31, 20, 512), id="openl3"),
        pytest.param((31, 8, 2048), id="panns"),
    ],
)
def test_global_direction_equals_sklearn(shape):
    x, _ = linear(*shape, seed=shape[2])
    model = GlobalCCA().fit(x)
    expected = cca_direction(x.reshape(-1, shape[2]), np.repeat(quantile_rank(shape[0]), shape[1]))
    assert model.direction_ @ expected >= 0.999999
    projections = x @ model.direction_
    assert np.corrcoef(projections.ravel(), np.repeat(np.arange(shape[0]), shape[1]))[0, 1] > 0


def test_global_direction_with_dead_and_repeated_features():
    x, _ = linear(12, 30, 20)
    plain = GlobalCCA().fit(x)
    dead = np.concatenate([x, np.full((12, 30, 3), 0.7), x[..., :2]], axis=2)
    model = GlobalCCA().fit(dead)
    assert not model.direction_[20:23].any()
    # The smallest solution shares a repeated feature's weight between its copies.
    np.testing.assert_allclose(model.weights_[:2], plain.weights_[:2] / 2, rtol=1e-6)
    np.testing.assert_allclose(model.weights_[23:], plain.weights_[:2] / 2, rtol=1e-6)
    np.testing.assert_allclose(
        (dead - model.mean_) @ model.weights_, (x - plain.mean_) @ plain.weights_, atol=1e-9
    )
    still = GlobalCCA().fit(np.ones((4, 3, 5)))
    assert not still.direction_.any()


@pytest.mark.parametrize("shape", [(40, 100), (100, 40), (40, 40), (41, 40)])
def test_least_squares_with_many_targets_is_the_pseudo_inverse(shape):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal(shape)
    rows -= rows.mean(axis=0)
    targets = rng.standard_normal((shape[0], 5)) + 3
    expected = np.linalg.pinv(rows, rcond=1e-10) @ targets
    np.testing.assert_allclose(
        LeastSquares(rows).solve(targets), expected, atol=1e-7 * np.abs(expected).max()
    )
    np.testing.assert_allclose(
        LeastSquares(rows).solve(targets[:, 0]), expected[:, 0], atol=1e-7 * np.abs(expected).max()
    )


def test_the_weights_are_those_of_linear_regression():
    x, _ = linear(10, 50, 20)
    y = np.repeat(quantile_rank(10), 25)
    train, test = x[:, :25], x[:, 25:]
    reference = LinearRegression().fit(train.reshape(-1, 20), y)
    np.testing.assert_allclose(GlobalCCA().fit(train).weights_, reference.coef_, atol=1e-9)
    report = global_direction_report(train, test, joint_orders(10, 0))
    assert report.held_out_r2 == pytest.approx(reference.score(test.reshape(-1, 20), y))


def p_of(statistic):
    return permutation_p_value(statistic[0], statistic[1:])


@pytest.mark.parametrize("n_features", [30, 400])
@pytest.mark.parametrize("n_strengths", [4, 8])
def test_global_report_equals_plain_refits_to_other_orders(n_strengths, n_features):
    x, _ = linear(n_strengths, 30, n_features, size=1.0)
    train, test = x[:, :18], x[:, 18:]
    # As an effect's own parameter that falls as the strength grows: no squared correlation depends on it.
    y, parameter = quantile_rank(n_strengths), np.geomspace(9000, 100, n_strengths)
    orders = joint_orders(n_strengths, 6, seed=4)
    report = global_direction_report(train, test, orders)
    rows = train.reshape(-1, n_features)
    mean = rows.mean(axis=0)
    assert len(report.held_out) == len(orders) == {4: 24, 8: 7}[n_strengths]
    for k, order in enumerate(orders):
        # Training and test clips alike have their strengths in this order.
        w = np.linalg.pinv(rows - mean) @ (np.repeat(y[order], 18) - y.mean())
        values = (test - mean) @ w
        rho = spearmanr(values.ravel(), np.repeat(parameter[order], 12)).statistic
        assert report.held_out[k] == pytest.approx(rho**2, abs=1e-6)
        if k == 0:
            r2 = 1 - ((y[:, None] - y.mean() - values) ** 2).sum() / (12 * ((y - y.mean()) ** 2).sum())
            assert report.held_out_r2 == pytest.approx(r2)
            inside = spearmanr((rows - mean) @ w, np.repeat(parameter, 18)).statistic ** 2
            assert report.in_sample == pytest.approx(inside, abs=2e-3)
    np.testing.assert_allclose(report.projections, GlobalCCA().fit(train).transform(test))


def test_global_report_on_synthetic_truth():
    x, u = linear(11, 300, 32, scatter=0.02)
    report = global_direction_report(x[:, :200], x[:, 200:], joint_orders(11, 99))
    assert GlobalCCA().fit(x[:, :200]).direction_ @ u > 0.95
    assert report.held_out_r2 > 0.85
    assert report.held_out[0] > 0.85 and p_of(report.held_out) == 0.01
    nothing = global_direction_report(noise(11, 6, 400), noise(11, 6, 400, seed=9), joint_orders(11, 0))
    assert nothing.in_sample > 0.98  # fewer rows than features: anything fits
    assert nothing.held_out[0] < 0.2
    assert nothing.held_out_r2 < 0.1
    still = global_direction_report(np.ones((4, 3, 5)), np.ones((4, 2, 5)), joint_orders(4, 0))
    assert np.isnan(still.held_out).all() and np.isnan(still.in_sample)


def sides(kind, seed, n_train=16, n_test=10, n_strengths=6, n_features=30, wobble=0.3):
    """Training and test trajectories of clips that share a path: on a line, in no order, round a circle, or none."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_strengths)
    shared = np.zeros((n_strengths, 1, n_features))
    if kind == "line":
        shared[:, 0, 0] = 3 * t / n_strengths
    elif kind == "points":
        shared[:, 0] = rng.standard_normal((n_strengths, n_features))
    elif kind == "circle":
        angle = 2 * np.pi * t / (n_strengths - 1)
        shared[:, 0, :2] = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return [
        shared
        + 0.2 * rng.standard_normal((1, n, n_features))
        + wobble * rng.standard_normal((n_strengths, n, n_features))
        for n in (n_train, n_test)
    ]


def decoded(train, test, orders):
    return decode_strength(train, test, test[0], np.arange(train.shape[1]), orders)


def test_a_shared_path_without_order_is_read_in_any_order_and_gives_no_small_p():
    """In-sample fit, held-out R^2 and correlation within clips are high; only other orders of all clips tell."""
    orders = joint_orders(6, 0)
    found = {kind: decoded(*sides(kind, 0, wobble=0.05), orders) for kind in ("line", "points", "circle")}
    rho = {kind: report.rho.mean(axis=1) for kind, report in found.items()}
    assert rho["line"][0] > 0.99 and rho["points"][0] > 0.95 and found["points"].r2.mean() > 0.8
    # At the floor, where only the reverse ties; well above it for what has no order.
    assert p_of(rho["line"]) == 2 / 720
    assert p_of(rho["points"]) > 0.2 and p_of(rho["circle"]) > 0.2
    for kind, low, high in (("line", 0, 0.003), ("points", 0.05, 1), ("circle", 0.05, 1)):
        held_out = global_direction_report(*sides(kind, 0, wobble=0.05), orders).held_out
        assert low < p_of(held_out) < high


@pytest.mark.parametrize("kind", ["points", "nothing"])
def test_p_values_over_orders_are_honest_for_what_has_none(kind):
    """At most their level, within three standard errors, for clips that share a path or none."""
    n, orders = 300, joint_orders(4, 0)
    p = []
    for seed in range(n):
        train, test = sides(kind, seed, 8, 6, 4, wobble=3.0)
        decoding = decoded(train, test, orders).rho.mean(axis=1)
        p.append([p_of(decoding), p_of(global_direction_report(train, test, orders).held_out)])
    for level in (0.1, 0.25, 0.5):
        rates = (np.array(p) <= level).mean(axis=0)
        # Twelve pairs of an order and its reverse: p moves in twelfths.
        reached = np.floor(level * 12) / 12
        assert (rates < reached + 3 * np.sqrt(reached * (1 - reached) / n)).all()
        assert (rates > reached - 0.1).all()


def brute_force_held_out(x, y):
    """Leave each strength out, fit the pseudo-inverse to the others: R^2 and the predicted deviations' correlation."""
    predicted, baseline = [], []
    for s in range(len(y)):
        keep = np.arange(len(y)) != s
        mean, centre = x[keep].mean(axis=0), y[keep].mean()
        w = np.linalg.pinv(x[keep] - mean, rcond=1e-9) @ (y[keep] - centre)
        predicted.append((x[s] - mean) @ w)
        baseline.append(y[s] - centre)
    r2 = 1 - np.square(np.subtract(baseline, predicted)).sum() / np.square(baseline).sum()
    return r2, spearmanr(predicted, y).statistic


@pytest.mark.parametrize("n_features", [4, 29, 30, 31, 200, 512, 2048])
def test_samplewise_held_out_equals_refits(n_features):
    x, y = noise(31, 3, n_features, seed=n_features), quantile_rank(31)
    x[:, 1] += 5 * y[:, None]
    report = samplewise_report(x, n_permutations=3, seed=0)
    for i in range(3):
        r2, rho = brute_force_held_out(x[:, i], y)
        assert report.held_out[i] == pytest.approx(r2, rel=1e-5)
        assert report.held_out_rho[i] == pytest.approx(rho)
        d = cca_direction(x[:, i], y) if n_features != 30 else samplewise_directions(x)[i]
        rho = spearmanr(x[:, i] @ d, y).statistic
        assert report.in_sample[i] == pytest.approx(rho**2, abs=1e-6)
    if n_features >= 30:
        np.testing.assert_allclose(report.in_sample, 1.0)


def test_samplewise_held_out_of_degenerate_clips():
    x, y = noise(9, 4, 30), quantile_rank(9)
    x[:, 0] = x[0, 0]  # does not move
    x[5:, 1] = x[5, 1]  # stops moving: repeated rows
    x[:, 2, 4:] = 0.0  # a few features only
    report = samplewise_report(x, n_permutations=0)
    assert report.held_out[0] == pytest.approx(0)
    assert np.isnan(report.in_sample[0]) and np.isnan(report.held_out_rho[0])
    for i in (1, 2, 3):
        expected = pytest.approx(brute_force_held_out(x[:, i], y), rel=1e-6)
        assert (report.held_out[i], report.held_out_rho[i]) == expected
    assert report.null.shape == (0, 4)
    assert np.isnan(report.p_value) and np.isnan(report.p_rho)


def test_the_held_out_correlation_stays_bounded_where_strengths_are_the_same():
    """Two strengths apart by rounding, as a low-pass filter's above what a model hears, make the weights explode."""
    rng = np.random.default_rng(0)
    x = linear(9, 20, 100)[0]
    x[1] = x[0] * (1 + 1e-6 * rng.standard_normal(x[0].shape))
    report = samplewise_report(x, n_permutations=19)
    assert np.median(report.in_sample) == pytest.approx(1)
    assert np.median(report.held_out) < -1000
    assert abs(np.median(report.held_out_rho)) < 0.5 and report.p_rho > 0.05
    assert np.abs(report.held_out_rho).max() <= 1 and np.abs(report.null_rho).max() <= 1


def test_the_p_values_of_the_medians_count_all_shuffles():
    report = samplewise_report(noise(8, 5, 30), n_permutations=99)
    for p, observed, null in (
        (report.p_value, report.held_out, report.null),
        (report.p_rho, report.held_out_rho, report.null_rho),
    ):
        reached = np.median(null, axis=1) >= np.median(observed)
        assert 0 < reached.sum() < 99
        assert p == (1 + reached.sum()) / 100


def test_samplewise_null_reuses_the_fit_correctly():
    """A shuffled target gives what refits to that target give."""
    x = noise(10, 1, 50)
    shuffled = permute_within_clips(quantile_rank(10) - 0.5, 1, 4, np.random.default_rng(7))[:, :, 0]
    report = samplewise_report(x, n_permutations=4, seed=7)
    expected = [brute_force_held_out(x[:, 0], y) for y in shuffled]
    np.testing.assert_allclose(np.stack([report.null[:, 0], report.null_rho[:, 0]], axis=1), expected)


def test_samplewise_report_on_noise_and_on_a_line():
    nothing = samplewise_report(noise(31, 40, 512), n_permutations=99)
    assert (nothing.in_sample == 1.0).all()
    assert abs(np.median(nothing.held_out)) < 0.1
    assert abs(np.median(nothing.held_out) - np.median(nothing.null, axis=1).mean()) < 0.1
    line = samplewise_report(linear(31, 40, 512)[0], n_permutations=99)
    assert (line.in_sample == 1.0).all()
    assert np.median(line.held_out) > 0.8
    assert line.p_value == 0.01
    assert (line.held_out > 0).all()


def test_samplewise_p_values_are_honest_under_the_null():
    reports = [samplewise_report(noise(8, 5, 30, s), n_permutations=39, seed=s) for s in range(300)]
    for name in ("p_value", "p_rho"):
        assert 0.01 <= np.mean([getattr(report, name) <= 0.05 for report in reports]) <= 0.085


def path(kind, n_strengths, n_features, n_clips=40, seed=0):
    """Trajectories of clips that start apart: along one line, round half a circle, each its own way, or nowhere."""
    rng = np.random.default_rng(seed)
    u, v = np.linalg.qr(rng.standard_normal((n_features, 2)))[0].T
    t = np.linspace(1 / n_strengths, 1, n_strengths)[:, None, None]
    own = rng.standard_normal((n_clips, n_features)) / np.sqrt(n_features)
    moved = {
        "line": t * u,
        "curve": (1 - np.cos(np.pi * t)) / 2 * u + np.sin(np.pi * t) / 2 * v,
        "scattered": t * own,
        "nothing": 0.0,
    }[kind]
    wobble = 0.2 / np.sqrt(n_features) * rng.standard_normal((n_strengths, n_clips, n_features))
    return rng.standard_normal((n_clips, n_features)) + moved + wobble


@pytest.mark.parametrize("shape", [(31, 512), (6, 1024), (4, 512)], ids=str)
def test_only_the_transfer_tells_a_direction_from_a_walk(shape):
    songs = np.repeat(np.arange(20), 2)
    walks = random_walks(path("line", *shape))
    report = samplewise_report(walks, n_permutations=39)
    # What is smooth passes the strengths left out and their permutation null ...
    assert np.median(report.held_out) > (0.7 if shape[0] == 4 else 0.9) and report.p_value <= 0.05
    # ... and not the transfer, in which no single walk comes far from 0 either.
    of_walks = transfer(walks, songs)
    assert abs(np.median(of_walks)) < 0.06 and np.abs(of_walks).max() < 0.45
    for kind in ("line", "curve"):
        assert np.median(transfer(path(kind, *shape), songs)) > 0.9
    for kind in ("scattered", "nothing"):
        assert abs(np.median(transfer(path(kind, *shape), songs))) < 0.06


def test_transfer_equals_its_definition(monkeypatch):
    x = path("line", 7, 30, n_clips=12) + 0.5 * noise(7, 12, 30)
    x[:, 3] = x[0, 3]
    songs = np.array(list("aabbccddeeff"))
    found = transfer(x, songs)
    own = samplewise_directions(x)
    for i in range(12):
        others = [j for j in range(12) if songs[j] != songs[i] and j != 3]
        if i != 3:
            rho = [spearmanr(x[:, j] @ own[i], np.arange(7)).statistic for j in others]
            assert found[i] == pytest.approx(np.mean(rho))
    assert np.isnan(found[3])
    assert np.isnan(transfer(x, np.zeros(12))).all()
    # Few others, drawn anew for every hundred clips: noisier, about the same, and the same for any number of threads.
    many, label = path("line", 6, 40, n_clips=230) + 0.1 * noise(6, 230, 40), np.arange(230) // 2
    few = transfer(many, label, seed=1)
    np.testing.assert_array_equal(few, transfer(many, label, seed=1, n_jobs=2))
    assert (few != transfer(many, label, seed=2)).any()
    monkeypatch.setattr(samplewise, "_OTHERS", 230)
    assert np.median(few) == pytest.approx(np.median(transfer(many, label)), abs=0.02)
    with pytest.raises(ValueError, match="one label per clip"):
        transfer(x, songs[:4])


def test_random_walks_keep_the_steps_lengths_and_nothing_else():
    x = path("line", 9, 400).astype(np.float32)
    x[:, 2] = x[0, 2]
    walks = random_walks(x, seed=3)
    assert walks.dtype == np.float32
    np.testing.assert_array_equal(walks[0], x[0])
    np.testing.assert_array_equal(walks[:, 2], x[:, 2])
    steps, walked = np.diff(x, axis=0), np.diff(walks, axis=0)
    np.testing.assert_allclose(np.linalg.norm(walked, axis=2), np.linalg.norm(steps, axis=2), rtol=1e-4)
    one, other = np.delete(walked, 2, axis=1)[:2]
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert np.abs(cosines).max() < 0.25 and abs(cosines.mean()) < 0.03
    np.testing.assert_array_equal(walks, random_walks(x, seed=3))
    assert (walks != random_walks(x, seed=4)).any()


def test_the_table_of_sample_wise_fits_shows_what_fools_them():
    def medians(kind):
        table = tables.samplewise(
            synthetic_sweep(kind, features=200, strengths=8), n_permutations=39, seed=0, n_jobs=2
        )
        # A row a clip for what has a value for each, one row for a sweep's p-values.
        counts = table.groupby("kind").size()
        assert set(counts[counts == 1].index) == {"p", "p rho"} and set(counts) == {1, 96}
        assert set(table.loc[table["clip"] == "all", "kind"]) == {"p", "p rho"}
        return table.groupby("kind")["value"].median()

    line, scattered, nothing = (medians(kind) for kind in ("line", "scattered", "nothing"))
    for found in (line, scattered, nothing):
        assert found["noise in-sample"] == found["walk in-sample"] == pytest.approx(1)
        assert abs(found["noise held-out"]) < 0.1 and abs(found["walk transfer"]) < 0.05
        assert found["walk held-out"] > 0.9
    for found in (line, scattered):
        assert found["held-out rho"] > 0.9 and found["p"] == found["p rho"] == 1 / 40
    assert line["transfer"] > 0.95 and abs(scattered["transfer"]) < 0.05 and abs(nothing["transfer"]) < 0.05
    assert min(nothing["p"], nothing["p rho"]) > 0.05


def test_sample_wise_fits_are_those_of_the_training_clips():
    sweep = synthetic_sweep("walk", songs=6, features=6, strengths=9)
    table = tables.samplewise(sweep, n_permutations=1, seed=0)
    found = table[table["kind"] == "in-sample"].set_index("clip")["value"]
    train = np.flatnonzero(sweep.train)
    assert list(found.index) == list(sweep.clips.index[train]) and len(found) < len(sweep.clips)
    y = np.linspace(0, 1, 9)
    for clip, value in zip(train, found, strict=True):
        x = sweep.trajectories[:, clip].astype(float)
        assert value == pytest.approx(spearmanr(x @ cca_direction(x, y), y).statistic ** 2, abs=1e-9)
    # Other songs are training songs too: nothing of the test side enters.
    moved = sweep.trajectories.copy()
    moved[:, sweep.test] = 1e3
    pd.testing.assert_frame_equal(
        tables.samplewise(replace(sweep, trajectories=moved), n_permutations=1, seed=0), table
    )


def test_spectra_are_those_of_one_instrument_at_a_time():
    """scikit-learn's CCA for each training clip of an instrument, stacked; the clean clips of the same, centred."""
    sweep = synthetic_sweep("curve", songs=9, features=60, strengths=7)
    table = tables.spectra(sweep, seed=0, n_jobs=2).set_index(["instrument", "kind"])["value"]
    assert list(table.index.unique("instrument")) == ["cel", "cla", "flu"]
    y = np.linspace(0, 1, 7)
    fitted = tables.fitted_subspaces(sweep, seed=0)
    for code in ("cel", "flu"):
        mine = np.flatnonzero(sweep.train & (sweep.instruments == code))
        rows = [cca_direction(sweep.trajectories[:, clip].astype(float), y) for clip in mine]
        clean = sweep.clean[mine].astype(float)
        stacks = {"directions": np.array(rows), "clean": clean - clean.mean(axis=0)}
        for kind, stack in stacks.items():
            values = np.linalg.svd(stack, compute_uv=False)
            np.testing.assert_allclose(table[code, kind], values / values[0], atol=1e-6)
        # Hence the dimension of the subspace method can be read off.
        for threshold in (0.3, 0.4, 0.5):
            count = (table[code, "directions"] >= threshold).sum()
            assert count == len(fitted[f"svd-{threshold}"][code])
    one, other = (table[code, "random"].to_numpy() for code in ("cel", "flu"))
    assert (one[1:] != other[1:]).all()


def test_spectrum_and_cosines():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 50)) + 4
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(singular_spectrum(x, centred=True), values / values[0], atol=1e-12)
    same = np.tile(rng.standard_normal(50), (8, 1))
    np.testing.assert_allclose(singular_spectrum(same), np.eye(8)[0], atol=1e-12)
    a, b = rng.standard_normal((4, 50)), rng.standard_normal((3, 50))
    expected = [[u @ v / np.sqrt((u @ u) * (v @ v)) for v in b] for u in a]
    np.testing.assert_allclose(cosine_between(a, b), expected)
    assert np.isnan(cosine_between(np.zeros(50), b)).all()


@pytest.mark.parametrize("strengths, n_features", [(6, 15), (6, 150), (31, 200), (31, 2048)])
def test_decoding_equals_grouped_ridge(strengths, n_features):
    x, _ = linear(strengths, 24, n_features, size=1.0)
    songs = np.random.default_rng(1).integers(0, 7, 14)
    train, test, clean = x[:, :14], x[:, 14:], x[0, 14:] + 0.1
    report = decode_strength(train, test, clean, songs, joint_orders(strengths, 2))
    rows, y = train.reshape(-1, n_features), np.repeat(quantile_rank(strengths), 14)
    spread = ((rows - rows.mean(axis=0)) ** 2).sum() / n_features
    for i in (2, 6, 9):
        ridge = Ridge(alpha=np.logspace(-8, 4, 13)[i] * spread)
        predicted = cross_val_predict(ridge, rows, y, groups=np.tile(songs, strengths), cv=LeaveOneGroupOut())
        inner = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert report.inner_r2[i] == pytest.approx(inner, rel=1e-6, abs=1e-8)
        rho = [spearmanr(clip, np.arange(strengths)).statistic for clip in predicted.reshape(strengths, 14).T]
        assert report.inner_rho[i] == pytest.approx(np.mean(rho), abs=1e-3)
    penalties = np.logspace(-8, 4, 13) * spread
    assert report.alpha_r2 == pytest.approx(penalties[report.inner_r2.argmax()])
    assert report.alpha == pytest.approx(penalties[12 - report.inner_rho.round(9)[::-1].argmax()])
    best = Ridge(alpha=report.alpha_r2).fit(rows, y)
    truth = np.repeat(quantile_rank(strengths), 10)
    values = best.predict(test.reshape(-1, n_features))
    assert report.r2.mean() == pytest.approx(best.score(test.reshape(-1, n_features), truth), abs=1e-6)
    errors = np.square(values - truth).reshape(strengths, 10).sum(axis=0)
    sst = np.square(quantile_rank(strengths) - 0.5).sum()
    np.testing.assert_allclose(report.r2, 1 - errors / sst, atol=1e-6)
    # The part of the displacements along the regression's weights.
    u = Ridge(alpha=report.alpha).fit(rows, y).coef_
    u /= np.linalg.norm(u)
    np.testing.assert_allclose(report.direction, u, atol=1e-6)
    np.testing.assert_allclose(report.along, np.square((test - clean) @ u).sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(report.energy, np.square(test - clean).sum(axis=(0, 2)), rtol=1e-9)


def test_decoding_of_other_orders_equals_refits_at_the_penalty_of_the_true_one():
    x, _ = linear(4, 24, 40, size=0.5)
    songs = np.random.default_rng(1).integers(0, 7, 14)
    train, test = x[:, :14], x[:, 14:].copy()
    test[:, 3] = test[0, 3]  # does not move
    test[2, 4] = test[1, 4]  # nor from one strength to the next
    orders = joint_orders(4, 0)
    report = decode_strength(train, test, test[0], songs, orders)
    assert report.rho.shape == (24, 10)
    for k, order in enumerate(orders):
        ridge = Ridge(alpha=report.alpha).fit(train.reshape(-1, 40), np.repeat(order, 14))
        values = ridge.predict(test.reshape(-1, 40)).reshape(4, 10).round(9)
        for clip in range(10):
            expected = 0.0 if clip == 3 else spearmanr(values[:, clip], order).statistic
            assert report.rho[k, clip] == pytest.approx(expected, abs=1e-9)
    # The reverse of an order says the same.
    backwards = [orders.tolist().index((3 - order).tolist()) for order in orders]
    np.testing.assert_allclose(report.rho[backwards], report.rho, atol=1e-12)


def test_decoding_of_a_line_and_of_nothing():
    x, _ = linear(8, 60, 40, scatter=0.2)
    line = decoded(x[:, :40], x[:, 40:], joint_orders(8, 19))
    assert line.r2.mean() > 0.9 and line.rho[0].mean() > 0.95 and p_of(line.rho.mean(axis=1)) == 0.05
    assert (line.along / line.energy).mean() > 0.9
    found = [decoded(noise(8, 40, 60, k), noise(8, 20, 60, k + 50), joint_orders(8, 0)) for k in range(12)]
    assert np.abs([nothing.r2.mean() for nothing in found]).max() < 0.1
    assert np.abs([nothing.rho.mean() for nothing in found]).max() < 0.4
    still = decoded(np.ones((4, 3, 5)), np.ones((4, 2, 5)), joint_orders(4, 0))
    assert (still.r2 == 0).all() and (still.rho == 0).all() and p_of(still.rho.mean(axis=1)) == 1
    assert not still.direction.any() and not still.energy.any()


def test_clips_that_start_apart_are_in_order_though_strength_cannot_be_read_from_one():
    """Along one line, but from places far apart: what separates C3a from C3b."""
    rng = np.random.default_rng(0)
    x = 10 * rng.standard_normal((40, 1)) * np.eye(20)[0] + 0.05 * noise(6, 40, 20)
    x = x + np.linspace(0, 1, 6)[:, None, None] * np.eye(20)[0]
    report = decoded(x[:, :25], x[:, 25:], joint_orders(6, 0))
    assert report.rho[0].mean() > 0.99 and p_of(report.rho.mean(axis=1)) == 2 / 720
    assert report.r2.mean() < 0.1
    assert report.direction[0] > 0.99 and (report.along / report.energy).mean() > 0.8


def test_tables_of_directions_pool_instruments_under_one_order():
    sweep = synthetic_sweep("nuisance", songs=18, strengths=4, noise=20.0)
    table = tables.decoding(sweep, n_permutations=0, n_resamples=200, seed=0).set_index("instrument")
    orders = joint_orders(4, 0)
    rho, r2, energy, songs = [], [], [], []
    for code in ("cel", "cla", "flu"):
        train, test = (side & (sweep.instruments == code) for side in (sweep.train, sweep.test))
        parts = sweep.trajectories[:, train], sweep.trajectories[:, test], sweep.clean[test]
        report = decode_strength(*parts, sweep.songs[train], orders)
        rho.append(report.rho)
        r2.append(report.r2)
        energy.append([report.along.sum(), report.energy.sum()])
        songs.append(pd.Series(report.rho[0]).groupby(sweep.songs[test]).mean())
        assert table.loc[code, "rho"] == pytest.approx(report.rho[0].mean())
        assert table.loc[code, "share"] == pytest.approx(energy[-1][0] / energy[-1][1])
    whole = table.loc["all"]
    pooled = np.concatenate(rho, axis=1).mean(axis=1)
    assert whole["p"] == max(p_of(pooled), 2 / 24) and whole["p_floor"] == 2 / 24
    assert whole["rho"] == pytest.approx(pooled[0]) and whole["rho_null"] == np.quantile(pooled, 0.95)
    assert whole["r2"] == pytest.approx(np.concatenate(r2).mean())
    assert whole["share"] == pytest.approx(np.divide(*np.sum(energy, axis=0)))
    assert whole["share_low"] < whole["share"] < whole["share_high"]
    means = pd.concat(songs)
    assert whole["test_songs"] == len(means) == 18 and table["test_songs"].tolist() == [6, 6, 6, 18]
    low, high = t.interval(0.95, 17, means.mean(), means.std() / np.sqrt(18))
    assert (whole["rho_low"], whole["rho_high"]) == pytest.approx((low, min(high, 1)))
    # Four strengths have twelve pairs of orders: no p-value can be below 0.05, let alone after a correction.
    cca = tables.global_directions(sweep, n_permutations=0, n_resamples=50, seed=0)
    assert not table["significant"].any() and not cca["significant"].any()
    assert (cca["p_floor"] == 2 / 24).all() and (cca["p"] >= 2 / 24).all()


def test_few_test_songs_give_ranges():
    sweep = synthetic_sweep("line", songs=9, noise=3.0)
    table = tables.decoding(sweep, n_permutations=0, n_resamples=50, seed=0).set_index("instrument")
    train, test = (side & (sweep.instruments == "cla") for side in (sweep.train, sweep.test))
    parts = sweep.trajectories[:, train], sweep.trajectories[:, test], sweep.clean[test]
    rho = decode_strength(*parts, sweep.songs[train], joint_orders(6, 0)).rho[0]
    means = pd.Series(rho).groupby(sweep.songs[test]).mean()
    row = table.loc["cla"]
    assert row["test_songs"] == 3 and (row["rho_low"], row["rho_high"]) == (means.min(), means.max())


def test_instruments_share_orders_and_effects_and_models_have_their_own(monkeypatch):
    from aesens.tables import directions

    given = []
    for name in ("global_direction_report", "decode_strength"):
        whole = getattr(directions, name)

        def recorded(*arrays, whole=whole):
            given.append(arrays[-1].tobytes())
            return whole(*arrays)

        monkeypatch.setattr(directions, name, recorded)
    rows = []
    for kind, model in (("line", "one"), ("line", "other"), ("curve", "one")):
        sweep = synthetic_sweep(kind, songs=6, model=model, strengths=8)
        tables.global_directions(sweep, n_permutations=5, n_resamples=5, seed=0)
        tables.decoding(sweep, n_permutations=5, n_resamples=5, seed=0)
        fitted = tables.fitted_subspaces(sweep, seed=0)
        rows += [found[0] for found in fitted["random"].values()]
        for code, found in fitted["random"].items():
            subspace = fitted["random-svd-0.3"][code]
            assert np.linalg.norm(subspace @ found[0]) < 0.9
    assert len(given) == 3 * 3 * 2 and len(set(given)) == 3 * 2
    assert np.abs(np.triu(cosine_between(rows, rows), 1)).max() < 0.6
    again = tables.fitted_subspaces(sweep, seed=0, n_jobs=2)
    np.testing.assert_array_equal(again["random"]["cla"][0], rows[-2])
    assert (tables.fitted_subspaces(sweep, seed=1)["random"]["cla"][0] != rows[-2]).all()


def test_held_out_correlations_of_global_directions_have_intervals_over_songs():
    """SciPy's BCa over songs, for one instrument."""
    sweep = synthetic_sweep("line", songs=30, noise=2.0)
    table = tables.global_directions(sweep, n_permutations=1, n_resamples=2000, seed=0)
    assert (table["low"] < table["held_out"]).all() and (table["held_out"] < table["high"]).all()
    assert (table["test_songs"] == 10).all() and ((table["high"] - table["low"]) < 0.3).all()
    mine = sweep.take(sweep.instruments == "cel")
    model = GlobalCCA().fit(mine.trajectories[:, mine.train])
    values, songs = model.transform(mine.trajectories[:, mine.test]), mine.songs[mine.test]
    place = {song: np.flatnonzero(songs == song) for song in np.unique(songs)}

    def squared(drawn):
        clips = np.concatenate([place[song] for song in drawn])
        return spearmanr(values[:, clips].ravel(), np.repeat(np.arange(6), len(clips))).statistic ** 2

    expected = bootstrap(
        (np.array(list(place)),), squared, n_resamples=2000, vectorized=False, rng=np.random.default_rng(0)
    ).confidence_interval
    row = table.set_index("instrument").loc["cel"]
    np.testing.assert_allclose([row["low"], row["high"]], expected, atol=0.02)


def test_wrong_inputs_are_named():
    orders = joint_orders(5, 0)
    with pytest.raises(ValueError, match="three strengths"):
        samplewise_report(noise(2, 3, 4))
    with pytest.raises(ValueError, match="differ"):
        global_direction_report(noise(5, 3, 4), noise(6, 3, 4), orders)
    for work in (global_direction_report, decoded):
        with pytest.raises(ValueError, match="at least two strengths"):
            work(noise(1, 3, 4), noise(1, 2, 4), joint_orders(1, 0))
    train, test = noise(5, 3, 4), noise(5, 2, 4)
    with pytest.raises(ValueError, match="one label per training clip"):
        decode_strength(train, test, test[0], [1, 1], orders)
    with pytest.raises(ValueError, match="two songs"):
        decode_strength(train, test, test[0], [1, 1, 1], orders)
