"""Distances, monotonicity and discontinuity against SciPy and constructed trajectories."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from scipy.stats import kendalltau, spearmanr
from synthetic import synthetic_sweep

from aesens import tables
from aesens.analysis.distances import (
    clean_scale,
    cosine_distance,
    discontinuity,
    growth,
    jump_ratio,
    kendall_rows,
    l2_distance,
    monotonicity,
    visible_jump,
)
from aesens.analysis.frechet import frechet_curve, frechet_distance, frechet_floor
from aesens.analysis.statistics import joint_orders, permutation_p_value
from aesens.effects import EFFECTS


def make(n_strengths=7, n_clips=9, n_features=12, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((n_clips, n_features))
    return clean, clean + rng.standard_normal((n_strengths, n_clips, n_features))


def test_distances_equal_scipy():
    clean, trajectories = make()
    expected = np.array([np.diag(cdist(x, clean, "cosine")) for x in trajectories])
    np.testing.assert_allclose(cosine_distance(clean, trajectories), expected, atol=1e-12)
    expected = np.array([np.diag(cdist(x, clean)) for x in trajectories])
    np.testing.assert_allclose(clean_scale(clean), np.median(pdist(clean)))
    np.testing.assert_allclose(l2_distance(clean, trajectories), expected / np.median(pdist(clean)))


def test_cosine_distance_keeps_digits_and_flags_zero():
    clean = np.array([[1.0, 0.0], [0.0, 0.0]])
    distance = cosine_distance(clean, np.array([[[1.0, 1e-6], [1.0, 0.0]]]))
    np.testing.assert_allclose(distance[0, 0], 0.5e-12, rtol=1e-6)
    assert np.isnan(distance[0, 1])
    with pytest.raises(ValueError, match="scale"):
        l2_distance(np.ones((3, 2)), np.ones((2, 3, 2)))


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 6), (12, 15, 30), (20, 20, 20), (50, 8, 12)])
def test_frechet_distance_equals_the_matrix_square_root(n, m, d):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    b = rng.standard_normal((m, d)) @ rng.standard_normal((d, d)) + 1
    ca, cb = np.cov(a.T), np.cov(b.T)
    # The symmetric form of the trace exists for singular covariances too, where sqrtm(ca @ cb) does not.
    values, vectors = np.linalg.eigh(ca)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cb @ root), 0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * cross
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(frechet_distance(b, a), frechet_distance(a, b))
    if min(n, m) > d:
        product = np.trace(sqrtm(ca @ cb).real)
        np.testing.assert_allclose(cross, product, rtol=1e-6)


def test_frechet_distance_of_known_transforms():
    clean, _ = make(n_clips=30, n_features=50)
    assert frechet_distance(clean, clean) < 1e-9
    np.testing.assert_allclose(frechet_distance(clean, clean + 2.0), 4.0 * 50)
    # Twice the spread: tr(C + 4C - 2 * 2C) = tr C.
    centred = clean - clean.mean(axis=0)
    np.testing.assert_allclose(frechet_distance(centred, 2 * centred), np.trace(np.cov(centred.T)))
    curve = frechet_curve(clean, np.stack([clean, clean + 2.0]))
    np.testing.assert_allclose(curve, [0.0, 200.0], atol=1e-9)


@pytest.mark.parametrize("decades", [0, 6, 14])
@pytest.mark.parametrize("dead", [0, 20])
def test_frechet_distance_keeps_small_differences_of_uneven_features(decades, dead):
    rng = np.random.default_rng(decades)
    axes = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    spread = np.logspace(0, -decades, 60) * (np.arange(60) < 60 - dead)
    clean = rng.standard_normal((200, 60)) * spread @ axes
    for noise in (0.0, 1e-3, 1.0):
        effected = clean + noise * rng.standard_normal(clean.shape) * spread @ axes
        a, b = ((x - x.mean(axis=0)) / np.sqrt(199) for x in (clean, effected))
        cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
        expected = ((clean.mean(0) - effected.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross
        tolerance = 1e-9 * (a**2).sum()
        assert frechet_distance(clean, effected) == pytest.approx(max(expected, 0), abs=tolerance)


def test_threads_change_no_frechet_distance():
    clean, trajectories = make(5, 40, 7)
    songs = np.arange(40) // 2
    np.testing.assert_array_equal(
        frechet_curve(clean, trajectories), frechet_curve(clean, trajectories, n_jobs=3)
    )
    np.testing.assert_array_equal(frechet_floor(clean, songs), frechet_floor(clean, songs, n_jobs=3))


def ratio_of(steps, **options):
    """`jump_ratio` of one path of given steps, the onset first."""
    path = np.cumsum(steps, dtype=float)[:, None, None]
    return jump_ratio(path, np.zeros((1, 1)), **options).item()


@pytest.mark.parametrize(
    ("steps", "ratio"),
    [
        ([1, 1, 1, 1, 1], 1),
        ([1, 1, 12, 1, 1], 12),
        ([7, 1, 1, 1, 1], 7),
        ([1, 1, 1, 1, 7], 7),
        ([1, 7, 1], 7),
        ([1, 1, 7], 7),
        # Beside one as long it stands out from one neighbour only.
        ([1, 1, 12, 12, 1], 1),
        # Growth by a factor goes on at the end, and backwards at the onset; a jump is what exceeds it.
        ([1, 4, 16, 64, 256], 1),
        ([256, 64, 16, 4, 1], 1),
        ([1, 2, 4, 8, 16 * 6], 6),
        ([16 * 6, 8, 4, 2, 1], 6),
        # Out of nothing: at this resolution a jump, unless it may be the second step of an acceleration.
        ([0, 0, 5, 0, 0], 1e6),
        ([0, 0, 0, 0, 5], 1e6),
        ([5, 0, 0, 0, 0], 1e6),
        ([0, 0, 0, 1, 5], 1),
        ([5, 1, 0, 0, 0], 1),
        ([0, 0, 1, 1, 6], 6),
        ([0] * 5, 1),
    ],
)
def test_a_jump_is_measured_against_smooth_growth(steps, ratio):
    assert ratio_of(steps) == pytest.approx(ratio)


def test_where_the_clean_setting_lies_inside_the_sweep_the_onset_is_no_step():
    assert ratio_of([7, 1, 1, 1, 1], identity_inside=True) == 1
    assert ratio_of([1, 7, 1, 1, 1], identity_inside=True) == 7


def test_steps_between_strengths_far_apart_are_long():
    places = np.array([0, 4, 7, 11])
    # As far apart as their places; then with growth by 4 a place, which the steps' own growth (16, 64) falls short of.
    assert ratio_of([4, 4, 3, 4], places=places) == pytest.approx(1)
    path = np.append(0.0, 4.0 ** (1 + places))
    assert ratio_of(np.diff(path, prepend=0)[1:], places=places) == pytest.approx(2.3, abs=0.05)
    assert ratio_of(np.diff(path, prepend=0)[1:]) == pytest.approx(4.1, abs=0.05)
    assert ratio_of([4, 4, 3, 24], places=places) == pytest.approx(6)
    for wrong in ([0, 1, 2], [0, 2, 1, 3]):
        with pytest.raises(ValueError, match="ascending numbers"):
            ratio_of([4, 4, 3, 4], places=wrong)


def test_too_few_steps_show_no_jump():
    assert np.isnan(ratio_of([1, 5]))
    assert np.isnan(ratio_of([1, 1, 5], identity_inside=True))
    with pytest.raises(ValueError, match="two or more strengths"):
        ratio_of([1])


def test_steps_that_rounding_makes_are_none():
    path = np.full((6, 1, 40), 100, np.float32)
    path[2:] = np.nextafter(path[2:], np.float32(200))
    assert jump_ratio(path, path[0]).item() == 1
    # The same step in numbers that hold more digits is one.
    assert jump_ratio(path.astype(np.float64), path[0].astype(np.float64)).item() == 1e6
    # And before a step that is one, it is not the beginning of an acceleration.
    path[-1] += 1
    assert jump_ratio(path, path[0]).item() == 1e6


SMOOTH = {
    "bitcrush": {
        "amplitude": lambda bits: 2.0 ** (16 - bits) - 1,
        "power": lambda bits: 4.0 ** (16 - bits) - 1,
        "even": lambda bits: 16 - bits,
        "square": lambda bits: (16 - bits) ** 2,
    },
    "gain": {
        "amplitude": lambda db: 10 ** (db / 20),
        "power": lambda db: 10 ** (db / 10),
        "even": lambda db: db,
    },
    "lowpass": {
        "reciprocal": lambda hz: 1 / hz,
        "square": lambda hz: hz**-2.0,
        "fourth power": lambda hz: hz**-4.0,
    },
    "reverb": {"exponential": lambda r: np.expm1(10 * r), "square": lambda r: r**2, "even": lambda r: r},
}
SHAPES = {
    "even": lambda t: t,
    "cube": lambda t: t**3,
    "root": np.sqrt,
    "exponential": lambda t: np.expm1(6 * t),
    "logarithm": lambda t: np.log1p(20 * t),
    "saturation": lambda t: np.tanh(2 * t),
    "sigmoid": lambda t: 1 / (1 + np.exp(4 - 8 * t)) - 1 / (1 + np.exp(4)),
}


@pytest.mark.parametrize("strengths", [4, 6, 12, 31, 34])
@pytest.mark.parametrize("name", EFFECTS)
def test_smooth_paths_have_no_jump_on_any_grid_and_jumps_are_found_on_all(name, strengths):
    effect = EFFECTS[name]
    parameters = effect.parameters(strengths)
    # The clean clip stands at zero, the strengths where they lie in the whole grid.
    where = 1 + np.array([np.flatnonzero(effect.grid == value).item() for value in parameters])
    paths = {f"{kind} of the parameter": shape(parameters) for kind, shape in SMOOTH[name].items()}
    paths |= {kind: shape(where / len(effect.grid)) for kind, shape in SHAPES.items()}

    def ratio(path):
        return jump_ratio(path[:, None, None], np.zeros((1, 1)), effect.identity_inside, where).item()

    for kind, path in paths.items():
        assert ratio(path) < 3.6, kind
    last, first = len(path) - 1, int(effect.identity_inside)
    for place in (first, len(path) // 2, last):
        jump = 9.0 * np.diff(where).max() * (np.arange(len(path)) >= place)
        assert ratio(where + jump) > 5, place


def test_frechet_floor_is_of_song_disjoint_halves():
    rng = np.random.default_rng(0)
    songs = np.repeat(np.arange(10), 6)
    clean = 5 * rng.standard_normal((10, 4))[songs] + 0.01 * rng.standard_normal((60, 4))
    together = frechet_distance(clean[::2], clean[1::2])
    floor = frechet_floor(clean, songs)
    assert floor.shape == (10,)
    assert floor.min() > 50 * together
    np.testing.assert_array_equal(floor, frechet_floor(clean, songs))
    with pytest.raises(ValueError, match="song"):
        frechet_floor(clean, np.zeros(60))


def test_monotonicity_equals_scipy():
    rng = np.random.default_rng(3)
    distance = rng.integers(0, 8, (31, 10)).astype(float)
    order = np.abs(np.arange(-40, 6.1, 1.5))
    order[0] = order[1]
    table = monotonicity(distance, order)
    for i in range(10):
        assert table.spearman[i] == pytest.approx(spearmanr(distance[:, i], order).statistic, abs=1e-12)
        assert table.kendall[i] == pytest.approx(kendalltau(distance[:, i], order).statistic, abs=1e-12)
    assert monotonicity(np.ones((4, 1)), np.arange(4)).isna().all(axis=None)
    assert np.isnan(kendall_rows([1, 1, 1], [1, 2, 3]))
    with pytest.raises(ValueError, match="do not fit"):
        monotonicity(distance, order[:-1])


def test_growth_under_other_orders_equals_scipy():
    rng = np.random.default_rng(0)
    distance = rng.integers(0, 8, (4, 15)).astype(float)
    distance[:, 2] = 3.0  # does not grow, under no order of the strengths
    distance[1, 5] = np.nan  # does not exist: left out of all of them
    order, orders = np.array([3.0, 1.0, 0.0, 1.0]), joint_orders(4, 0)
    found = growth(distance, order, orders)
    for k, permuted in enumerate(orders):
        clips = [
            0 if i == 2 else spearmanr(distance[:, i], order[permuted]).statistic for i in range(15) if i != 5
        ]
        assert found[k] == pytest.approx(np.mean(clips), abs=1e-12)
    # Over all orders the mean is none; equal strengths may change places.
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert np.sum(found >= found[0] - 1e-12) >= 2
    assert np.isnan(growth(np.full((4, 3), np.nan), order, orders)).all()


def test_a_profile_that_clips_share_is_no_growth_though_clips_are_many():
    """One random profile common to all clips: shuffles within clips reject it in almost half of the cases."""
    n, orders = 400, joint_orders(5, 0)
    p = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        distance = rng.standard_normal((5, 1)) + 0.3 * rng.standard_normal((5, 12))
        null = growth(distance, np.arange(5), orders)
        p.append(permutation_p_value(null[0], null[1:]))
    for level in (0.05, 0.1, 0.25, 0.5):
        assert abs(np.mean(np.array(p) <= level + 1e-9) - level) < 3 * np.sqrt(level * (1 - level) / n)
    growing = growth(np.arange(5.0)[:, None] + 0.3 * rng.standard_normal((5, 12)), np.arange(5), orders)
    assert permutation_p_value(growing[0], growing[1:]) == 1 / 120


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("places", [np.arange(6), np.arange(16), np.array([0, 5, 9, 14, 20, 30])], ids=str)
def test_a_step_of_the_visible_share_passes_wherever_it_lies(places, inside):
    share = visible_jump(places, inside)
    gaps = np.diff(places if inside else np.insert(places, 0, 2 * places[0] - places[1])).astype(float)

    def ratio(step, carried):
        """Of a path of even pace, one step of which carries a share of the whole."""
        steps = gaps * (1 - carried) / (gaps.sum() - gaps[step])
        steps[step] = carried
        path = np.cumsum(np.insert(steps, 0, 0.0))
        clean, path = (path[:1], path) if inside else (path[:1], path[1:])
        return jump_ratio(path[:, None, None], clean[None], inside, places).item()

    assert all(ratio(step, share + 1e-6) > 5 for step in range(len(gaps)))
    assert min(ratio(step, share - 1e-6) for step in range(len(gaps))) < 5


def test_few_steps_show_no_jump_and_places_ascend():
    assert np.isnan(visible_jump(np.arange(2))) and np.isnan(visible_jump(np.arange(3), True))
    assert visible_jump(np.arange(6), ratio=2.0) == pytest.approx(2 / 7)
    with pytest.raises(ValueError, match="ascending"):
        visible_jump(np.array([0, 2, 1]))


def test_intervals_and_p_of_the_response_by_hand():
    sweep = synthetic_sweep("jump", noise=4.0, songs=8)
    row = tables.response(sweep, n_permutations=0, n_resamples=200, seed=0).iloc[0]
    assert row["songs"] == 24 and row["strengths"] == 6 and row["jump_visible"] == 0.5
    rho = monotonicity(cosine_distance(sweep.clean, sweep.trajectories), np.arange(6))["spearman"].to_numpy()
    means = rho.reshape(24, 2).mean(axis=1)
    expected = stats.t.interval(0.95, 23, means.mean(), stats.sem(means))
    assert (row["spearman_low"], row["spearman_high"]) == pytest.approx(expected)
    null = growth(cosine_distance(sweep.clean, sweep.trajectories), np.arange(6), joint_orders(6, 0))
    assert row["p_floor"] == 1 / 720 and row["p"] == (null >= null[0] - 1e-12).mean()
    assert row["spearman_null"] == np.quantile(null, 0.95)
    assert row["jump_low"] <= row["jump"] <= row["jump_high"]


def test_movement_is_not_that_of_the_largest_of_noisy_means():
    """Strengths that differ by chance only: the strongest is chosen on other songs, so that the mean is honest."""
    rng = np.random.default_rng(0)
    sweep = synthetic_sweep("restless", songs=2, instruments=3, strengths=8, clips_per_song=1)
    found, largest = [], []
    for _ in range(200):
        lengths = rng.exponential(size=(8, 6))
        steps = lengths[..., None] * np.eye(48)[0]
        moved = replace(sweep, trajectories=(sweep.clean + steps * clean_scale(sweep.clean)))
        found.append(tables.response(moved, n_permutations=0, n_resamples=1, seed=0)["moved"].item())
        largest.append(lengths.mean(axis=1).max())
    assert np.mean(largest) > 1.4
    assert np.mean(found) == pytest.approx(1, abs=3 * np.std(found) / np.sqrt(200))


def test_discontinuity_finds_a_jump_and_the_onset():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((6, 16))
    direction = np.eye(16)[0]
    position = np.arange(10.0)
    position[6:] += 30
    trajectories = clean + (5 + position)[:, None, None] * direction
    table = discontinuity(trajectories, clean)
    np.testing.assert_allclose(table.largest_over_median, 31)
    np.testing.assert_array_equal(table.position, 5)
    np.testing.assert_allclose(table.onset_over_median, 5)
    assert discontinuity(trajectories, clean, identity_inside=True).onset_over_median.isna().all()
    smooth = discontinuity(clean + np.arange(10.0)[:, None, None] * direction, clean)
    np.testing.assert_allclose(smooth.largest_over_median, 1)


def test_discontinuity_of_clips_that_hardly_move():
    clean = np.zeros((2, 3))
    trajectories = np.zeros((6, 2, 3))
    trajectories[4:, 1] = 1.0
    table = discontinuity(trajectories, clean)
    assert np.isnan(table.largest_over_median[0])
    assert table.position[0] == -1
    assert np.isinf(table.largest_over_median[1])
    assert table.position[1] == 3
