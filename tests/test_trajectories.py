"""Shape of trajectories against scikit-learn's PCA and constructed geometry."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from synthetic import synthetic_sweep

from aesens import tables
from aesens.analysis import geometry as module
from aesens.analysis.geometry import (
    dimension_halves,
    displacement_scatter,
    energy_along,
    path_layout,
    path_over_chord,
    pca_layout,
    spectrum_components,
    spectrum_dimension,
    umap_layout,
)


def test_path_over_chord_of_line_arc_and_loop():
    angle = np.linspace(0, np.pi, 200)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    line = np.stack([np.linspace(-1, 3, 200), np.zeros(200)], axis=1)
    loop = np.stack([np.cos(2 * angle).round(12), np.sin(2 * angle).round(12)], axis=1)
    still = np.zeros((200, 2))
    ratio = path_over_chord(np.stack([arc, line, loop, still], axis=1))
    np.testing.assert_allclose(ratio[:2], [np.pi / 2, 1.0], rtol=1e-4)
    assert np.isinf(ratio[2])
    assert np.isnan(ratio[3])


def spectrum_of(x):
    """Shares of variance of displacements (strength, clip, feature)."""
    return displacement_scatter(x, np.zeros(x.shape[1:])).spectrum()


@pytest.mark.parametrize("shape", [(31, 8, 64), (31, 2, 100)])
def test_spectrum_equals_pca(shape):
    x = np.random.default_rng(0).standard_normal(shape) * np.linspace(1, 5, shape[-1])
    pca = PCA().fit(x.reshape(-1, shape[-1]))
    values, shares = pca.explained_variance_, pca.explained_variance_ratio_
    spectrum = spectrum_of(x)
    np.testing.assert_allclose(spectrum[: len(shares)], shares, atol=1e-12)
    assert not spectrum[len(shares) :].any()
    assert spectrum_dimension(spectrum) == pytest.approx(values.sum() ** 2 / (values**2).sum())
    for fraction in (0.3, 0.9, 1.0):
        expected = np.searchsorted(np.cumsum(shares), fraction - 1e-12) + 1
        assert spectrum_components(spectrum, fraction) == expected


@pytest.mark.parametrize("k", [1, 3, 10])
def test_dimension_of_a_known_subspace(k):
    rng = np.random.default_rng(k)
    basis = np.linalg.qr(rng.standard_normal((200, k)))[0]
    coordinates = np.linalg.qr(rng.standard_normal((500, k)) - 0.0)[0]
    coordinates -= coordinates.mean(axis=0)
    u, _, vt = np.linalg.svd(coordinates, full_matrices=False)
    x = ((u @ vt) @ basis.T)[None]
    assert spectrum_dimension(spectrum_of(x)) == pytest.approx(k)
    assert spectrum_components(spectrum_of(x), 1 - 0.5 / k) == k
    along, energy = energy_along(x, np.zeros((500, 200)), basis.T)
    np.testing.assert_allclose(along.sum(axis=1), energy)


def test_displacements_that_do_not_move():
    still = np.zeros((1, 5, 4))
    assert spectrum_components(spectrum_of(still)) == 0
    assert np.isnan(spectrum_dimension(spectrum_of(still)))


def test_pca_layout_equals_sklearn_up_to_sign():
    x = np.random.default_rng(0).standard_normal((7, 5, 20))
    expected = PCA(2).fit_transform(x.reshape(-1, 20))
    layout = pca_layout(x)
    assert layout.shape == (7, 5, 2)
    np.testing.assert_allclose(np.abs(layout.reshape(-1, 2)), np.abs(expected), atol=1e-10)
    assert pca_layout(np.ones((1, 3))).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("shape", [(4, 2, 10), (12, 5, 30)])
def test_umap_layout_is_quiet_and_repeats(shape):
    rng = np.random.default_rng(0)
    x = 20 * rng.standard_normal((1, *shape[1:])) + np.linspace(0, 9, shape[0])[:, None, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = umap_layout(x, seed=1), umap_layout(x, seed=1)
    assert first.shape == (*shape[:2], 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
    flat = x.reshape(-1, shape[-1])
    assert trustworthiness(flat, first.reshape(-1, 2), n_neighbors=3) > 0.8


def test_what_umap_compiles_is_kept_on_disk():
    umap_layout(np.random.default_rng(0).standard_normal((4, 2, 10)))
    from umap import layouts, umap_

    for function in (umap_.smooth_knn_dist, layouts._nb_optimize_layout_euclidean_single_epoch):
        kept = function.stats
        assert Path(kept.cache_path).is_relative_to(os.environ["NUMBA_CACHE_DIR"])
        assert list(Path(kept.cache_path).glob(f"*{function.__name__}*.nbc"))


@pytest.mark.parametrize("strengths", [3, 4, 31])
def test_a_path_is_laid_out_as_umap_does_and_its_clean_clip_is_placed_on_it(strengths):
    from umap import UMAP

    rng = np.random.default_rng(0)
    path = np.cumsum(rng.standard_normal((strengths, 40)), axis=0).astype(np.float32)
    path[strengths // 2 :] += 20
    clean = path[:1] - 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = path_layout(path, clean, seed=3)
        np.random.seed(1)  # noqa: NPY002 - the generator that UMAP might draw from
        np.testing.assert_array_equal(found, path_layout(path, clean, seed=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        init = {} if strengths > 3 else {"init": "random"}
        model = UMAP(n_neighbors=min(3, strengths - 1), random_state=3, **init).fit(path)
        np.testing.assert_allclose(found[1:], model.embedding_, rtol=1e-6)
        np.testing.assert_allclose(found[:1], model.transform(clean), rtol=1e-6)
    # The clean clip has no part in the fit.
    np.testing.assert_array_equal(path_layout(path, clean[:0], seed=3), found[1:])
    with pytest.raises(ValueError, match="at least three"):
        path_layout(path[:2], clean)


def test_one_clip_is_laid_out_beside_a_straight_path():
    sweep = synthetic_sweep("jump", songs=6, strengths=31, features=60)
    table = tables.clip_umap(sweep, seed=0, instrument="flu")
    clip, straight = (table[table["kind"] == kind] for kind in ("clip", "straight"))
    first = sweep.clips[(sweep.clips["instrument"] == "flu") & (sweep.clips["split"] == "train")].index[0]
    assert set(table["clip"]) == {first} and set(table["instrument"]) == {"flu"}
    assert clip["strength"].tolist() == list(range(-1, 31)) and straight["strength"].tolist() == list(
        range(31)
    )
    place = sweep.clips.index.get_loc(first)
    path = sweep.trajectories[:, place]
    np.testing.assert_allclose(clip[["x", "y"]], path_layout(path, sweep.clean[[place]], seed=0), rtol=1e-9)
    # What the picture shows of even steps, and what is there.
    assert straight["longest_step_in_space"].max() < 1.1 and straight["longest_step"].min() > 2
    steps = np.linalg.norm(np.diff(path.astype(float), axis=0), axis=1)
    assert clip["longest_step_in_space"].iloc[0] == pytest.approx(steps.max() / np.median(steps))
    assert set(tables.clip_umap(sweep, seed=0)["instrument"]) == {"cel"}
    with pytest.raises(ValueError, match="no clip; there are cel, cla, flu"):
        tables.clip_umap(sweep, seed=0, instrument="pia")


@pytest.mark.parametrize("features", [12, 300])
def test_scatter_in_blocks_says_the_same_as_all_rows_at_once(monkeypatch, features):
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((25, features)).astype(np.float32)
    moves = rng.standard_normal((6, 25, features)) * np.linspace(0.1, 3, features) + 1
    effected = (clean + moves).astype(np.float32)
    # Blocks of a few clips, the last one shorter.
    monkeypatch.setattr(module, "_BLOCK", 6 * features * 4)
    moved = effected.astype(float) - clean
    parts = [displacement_scatter(effected[:, side], clean[side]) for side in (slice(0, 10), slice(10, 25))]
    scatter = parts[0] + parts[1]
    pca, spectrum = PCA().fit(moved.reshape(-1, features)), scatter.spectrum()
    shares = pca.explained_variance_ratio_
    np.testing.assert_allclose(spectrum[: len(shares)], shares, atol=1e-12)
    assert not spectrum[len(shares) :].any()
    assert spectrum_dimension(spectrum) == pytest.approx(1 / (shares**2).sum())
    basis = np.linalg.qr(rng.standard_normal((features, 5)))[0].T
    along, energy = energy_along(effected[:, 10:], clean[10:], basis)
    np.testing.assert_allclose(along, np.square(moved[:, 10:] @ basis.T).sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(energy, np.square(moved[:, 10:]).sum(axis=(0, 2)), rtol=1e-9)


def test_scatter_of_what_moves_alike_or_not_at_all():
    clean = np.random.default_rng(0).standard_normal((9, 5))
    alike = displacement_scatter(clean + np.full((4, 1, 5), 2.0), clean)
    assert np.isnan(alike.spectrum()).all()
    still = displacement_scatter(np.stack([clean] * 3), clean)
    assert np.isnan(still.spectrum()).all()
    assert spectrum_components(still.spectrum()) == 0


def halves_of(moves, clean, songs=None, **options):
    """`dimension_halves` of displacements (strength, clip, feature)."""
    songs = np.arange(len(clean)) if songs is None else songs
    return dimension_halves(clean + moves, clean, songs, **options)


def test_a_line_has_no_dimension_beside_the_music_and_noise_has_them_all():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((120, 50))
    t = np.linspace(0.1, 1, 8)[:, None, None]
    own, u = rng.standard_normal((1, 120, 50)), np.eye(50)[0]
    ratios = {
        name: np.divide(*halves_of(moves, clean).T)
        for name, moves in {
            "line": t * u,
            "uneven line": t * u * rng.exponential(size=(120, 1)),
            "own lines": t * own,
            "noise": rng.standard_normal((8, 120, 50)),
            "three": t * rng.standard_normal((1, 120, 3)) @ np.eye(3, 50),
        }.items()
    }
    for name, (low, high) in {
        "line": (0, 0.05),
        "uneven line": (0, 0.05),
        "three": (0.05, 0.12),
        "own lines": (0.9, 1.1),
        "noise": (0.9, 1.1),
    }.items():
        assert low < np.median(ratios[name]) < high, name
    # Also with more features than clips, and whatever their scale.
    wide = rng.standard_normal((40, 300))
    found = np.divide(*halves_of(7 * rng.standard_normal((3, 40, 300)), wide).T)
    assert 0.9 < np.median(found) < 1.15


def test_dimensions_of_a_half_are_those_of_scikit_learn(monkeypatch):
    """With one strength nothing is drawn but the songs."""
    monkeypatch.setattr(module, "_HALVINGS", 4)
    rng = np.random.default_rng(1)
    clean = rng.standard_normal((30, 20)) * np.geomspace(3, 0.1, 20)
    moves = rng.standard_normal((1, 30, 20)) * np.geomspace(1, 0.01, 20) + 0.5
    songs = np.repeat(np.arange(10), 3)
    found = halves_of(moves, clean, songs, seed=5)
    assert found.shape == (8, 2)
    for k, generator in enumerate(np.random.default_rng(5).spawn(4)):
        generator.random(30)
        chosen = np.isin(songs, generator.permutation(10)[:5])
        for half, row in ((chosen, found[2 * k]), (~chosen, found[2 * k + 1])):
            shares = np.linalg.svd(moves[0, half], compute_uv=False) ** 2
            assert row[0] == 1 + np.searchsorted(np.cumsum(shares) / shares.sum(), 0.9)
            shares = PCA().fit(clean[half]).explained_variance_ratio_
            assert row[1] == 1 + np.searchsorted(np.cumsum(shares), 0.9)
    np.testing.assert_array_equal(found, halves_of(moves, clean, songs, seed=5, n_jobs=2))


def test_displacements_are_drawn_by_their_energy(monkeypatch):
    """Strengths of equal direction but for one that is ten times as long: the mean over draws is the whole scatter."""
    monkeypatch.setattr(module, "_HALVINGS", 300)
    drawn = []
    monkeypatch.setattr(module, "_dimension", lambda rows: drawn.append(rows.T @ rows) or 1.0)
    rng = np.random.default_rng(2)
    clean = np.zeros((6, 5))
    moves = rng.standard_normal((4, 6, 5)) * np.array([1, 1, 10, 0])[:, None, None]
    halves_of(moves, clean)
    # Displacements and clean clips of either half in turn.
    mean = 2 * np.mean(drawn[::2], axis=0)
    rows = moves.reshape(-1, 5)
    np.testing.assert_allclose(mean, rows.T @ rows, atol=0.03 * np.trace(rows.T @ rows))


def test_halves_that_do_not_move_are_left_out():
    clean = np.random.default_rng(0).standard_normal((8, 5))
    still = halves_of(np.zeros((3, 8, 5)), clean)
    assert np.isnan(still[:, 0]).all() and np.isfinite(still[:, 1]).all()
    one = halves_of(np.ones((3, 8, 5)), clean, np.zeros(8))
    assert np.isnan(one[::2]).all() and np.isfinite(one[1::2]).all()
    row = tables.geometry(synthetic_sweep("still"), seed=0).iloc[0]
    assert row[["ratio", "ratio_low", "ratio_high", "dimensions_90"]].isna().all()


def test_the_ratio_of_a_table_has_an_interval_over_halves():
    sweep = synthetic_sweep("subspace", dimension=8, noise=5.0, songs=12)
    row = tables.geometry(sweep, seed=0).iloc[0]
    assert row["songs"] == 36 and row["ratio_low"] < row["ratio"] < row["ratio_high"]
    assert 0.2 < row["ratio"] < 0.9 and row["dimensions_90"] < row["dimensions_90_clean"]
    few = tables.geometry(sweep.take(np.isin(sweep.songs, np.unique(sweep.songs)[:5])), seed=0).iloc[0]
    assert few["songs"] == 5


def test_intervals_of_the_ratio_cover_that_of_other_songs():
    """Half-sampling: the mean ratio over many samples lies in the interval of one in about 95 of a hundred."""

    def moved(seed, n=40):
        rng = np.random.default_rng(seed)
        clean = rng.standard_normal((n, 20)) * np.geomspace(3, 0.3, 20)
        moves = rng.standard_normal((3, n, 20)) * np.geomspace(1, 0.2, 20)
        return halves_of(moves, clean, seed=seed)

    ratios = [np.divide(*moved(seed).T) for seed in range(150)]
    truth = np.mean(ratios)
    covered = [np.quantile(r, 0.025) <= truth <= np.quantile(r, 0.975) for r in ratios]
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 150)
