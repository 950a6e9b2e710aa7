"""Resampling, ranks and multiple testing against SciPy, scikit-learn and the definitions."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.preprocessing import QuantileTransformer

from aesens.analysis.statistics import (
    bootstrap_songs,
    check_trajectories,
    derived_seed,
    holm,
    permutation_p_value,
    permute_within_clips,
    quantile_rank,
    resample_weights,
    spearman_rows,
    weighted_spearman,
)


def test_resampling_keeps_songs_whole_and_their_number():
    songs = np.array(["c", "a", "a", "b", "c", "c"])
    weights = resample_weights(songs, 500, seed=3)
    assert weights.shape == (500, 6)
    assert np.issubdtype(weights.dtype, np.integer)
    for song in "abc":
        assert (np.ptp(weights[:, songs == song], axis=1) == 0).all()
    # Of three songs three are drawn, each once on average.
    per_song = weights[:, [1, 3, 0]]
    assert (per_song.sum(axis=1) == 3).all()
    np.testing.assert_allclose(per_song.mean(axis=0), 1.0, atol=0.15)
    np.testing.assert_array_equal(weights, resample_weights(songs, 500, seed=3))


def test_three_ways_of_bootstrap_agree():
    rng = np.random.default_rng(0)
    songs = rng.integers(0, 12, 60)
    values = rng.standard_normal((60, 2))
    fast = bootstrap_songs(values, songs, 400, seed=5)
    weighted = bootstrap_songs(lambda w: (w @ values) / w.sum(axis=1, keepdims=True), songs, 400, seed=5)
    slow = bootstrap_songs(lambda i: values[i].mean(axis=0), songs, 400, seed=5, by="indices")
    for other in (weighted, slow):
        np.testing.assert_allclose(fast, other, rtol=1e-10)
    np.testing.assert_allclose(fast.estimate, values.mean(axis=0))


def test_bootstrap_leaves_missing_values_out():
    values = np.array([1.0, np.nan, 3.0, 5.0])
    interval = bootstrap_songs(values, [0, 1, 2, 3], 200)
    assert interval.estimate == 3.0
    assert interval.low <= 3.0 <= interval.high


def test_interval_covers_a_mean_whose_clips_depend_on_their_song():
    hits = {"songs": 0, "clips": 0}
    n = 200
    for seed in range(n):
        rng = np.random.default_rng(seed)
        songs = np.repeat(np.arange(30), 8)
        values = rng.standard_normal(30)[songs] + 0.3 * rng.standard_normal(240)
        for unit, labels in (("songs", songs), ("clips", np.arange(240))):
            _, low, high = bootstrap_songs(values, labels, 300, seed=seed)
            hits[unit] += low <= 0 <= high
    assert 0.88 * n <= hits["songs"] <= 0.99 * n
    # Clips as the unit would promise far too much.
    assert hits["clips"] < 0.7 * n


def test_bootstrap_rejects_nonsense():
    with pytest.raises(ValueError, match="by must be"):
        bootstrap_songs(lambda w: w.sum(axis=1), [0, 1], by="clips")
    with pytest.raises(ValueError, match="songs"):
        bootstrap_songs(np.zeros(3), [0, 1])


def test_holm_by_its_definition():
    rng = np.random.default_rng(1)
    p = np.append(rng.uniform(size=7) ** 3, 0.9)
    adjusted = holm(p)
    order = np.argsort(p)
    for alpha in (0.01, 0.05, 0.2, 0.5):
        rejected = np.zeros(8, bool)
        for k, i in enumerate(order):
            if p[i] > alpha / (8 - k):
                break
            rejected[i] = True
        np.testing.assert_array_equal(adjusted <= alpha, rejected)
    assert adjusted.max() <= 1
    with_gap = holm([[0.01, np.nan], [0.04, 0.03]])
    np.testing.assert_allclose(with_gap, [[0.03, np.nan], [0.06, 0.06]])
    with pytest.raises(ValueError):
        holm([1.5])


@pytest.mark.parametrize("levels", [4, 1000])
def test_spearman_equals_scipy_with_and_without_ties(levels):
    rng = np.random.default_rng(levels)
    x = rng.integers(0, levels, (20, 31))
    y = rng.integers(0, levels, (20, 31))
    expected = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(spearman_rows(x, y), expected, atol=1e-12)
    np.testing.assert_allclose(spearman_rows(x.T, y.T, axis=0), expected, atol=1e-12)
    assert np.isnan(spearman_rows(np.ones(5), np.arange(5)))
    assert spearman_rows(np.arange(31) ** 3, np.arange(31)) == 1.0


@pytest.mark.parametrize("levels", [3, 1000])
def test_weighted_spearman_is_that_of_repeated_observations(levels):
    rng = np.random.default_rng(levels)
    x, y = rng.integers(0, levels, (2, 40))
    weights = rng.integers(0, 4, (25, 40))
    expected = [spearmanr(np.repeat(x, row), np.repeat(y, row)).statistic for row in weights]
    np.testing.assert_allclose(weighted_spearman(x, y, weights), expected, atol=1e-12)
    assert np.isnan(weighted_spearman(np.ones(5), np.arange(5), np.ones((1, 5)))).all()
    # One of two values only is drawn: constant.
    assert np.isnan(weighted_spearman([1, 1, 2], [1, 2, 3], [[2, 1, 0]])).all()


def test_derived_seeds_differ_by_name_and_are_the_same_everywhere():
    names = [(model, effect) for model in ("panns", "clap") for effect in ("gain", "reverb", "bitcrush")]
    seeds = [derived_seed(20220419, *name) for name in names]
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**32 for seed in seeds)
    assert derived_seed(0, "a", "b") != derived_seed(0, "b", "a")
    # Of one run and another, even on another machine.
    assert seeds[0] == 1609484543


@pytest.mark.parametrize(
    "values", [np.arange(31), np.geomspace(1600, 18000, 31), [3, 1, 1, 2, 5, 5, 2.5], [-4, 7]]
)
def test_quantile_rank_is_the_quantile_transformer(values):
    column = np.asarray(values, float)[:, None]
    expected = QuantileTransformer(n_quantiles=len(column)).fit_transform(column)[:, 0]
    np.testing.assert_allclose(quantile_rank(np.asarray(values)), expected, atol=1e-12)


def test_shuffles_stay_within_clips_and_are_uniform():
    shuffled = permute_within_clips(np.arange(3), 4, 3000, seed=2)
    assert shuffled.shape == (3000, 3, 4)
    np.testing.assert_array_equal(
        np.sort(shuffled, axis=1), np.broadcast_to(np.arange(3)[:, None], shuffled.shape)
    )
    np.testing.assert_allclose(shuffled.mean(axis=0), 1.0, atol=0.08)
    # Clips are shuffled independently.
    assert abs(np.corrcoef(shuffled[:, 0, 0], shuffled[:, 0, 1])[0, 1]) < 0.08


def test_permutation_p_value_counts_the_observed():
    null = np.arange(99.0)
    assert permutation_p_value(1000.0, null) == 0.01
    assert permutation_p_value(-1.0, null) == 1.0
    assert permutation_p_value(98.0 + 1e-15, null) == 0.02
    np.testing.assert_allclose(
        permutation_p_value(np.array([200.0, np.nan]), np.c_[null, null]), [0.01, np.nan]
    )


def test_wrong_arrays_are_named():
    x = np.zeros((3, 4, 5))
    with pytest.raises(ValueError, match="strength, clip, feature"):
        check_trajectories(x[0])
    with pytest.raises(ValueError, match="clean must have shape"):
        check_trajectories(x, np.zeros((5, 5)))
    x[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        check_trajectories(x)
