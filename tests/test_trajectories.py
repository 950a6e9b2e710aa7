"""Shape of trajectories against scikit-learn's PCA and constructed geometry."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from synthetic import synthetic_sweep

from aesens import tables
from aesens.analysis import geometry as module
from aesens.analysis.geometry import (
    displacement_scatter,
    energy_along,
    leading_directions,
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


def held_out_energy(train, test, k):
    """Share of the energy of rows in the k leading right singular vectors of others."""
    _, _, vt = np.linalg.svd(train, full_matrices=False)
    return (((test @ vt[:k].T) @ vt[:k]) ** 2).sum() / (test**2).sum()


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
    train, test, clean = x[:, :250], x[:, 250:], np.zeros((250, 200))
    along, energy = energy_along(test, clean, displacement_scatter(train, clean).leading(k + 1))
    curve = np.cumsum(along.sum(axis=0)) / energy.sum()
    # The subspace has no further direction.
    assert len(curve) == k and curve[-1] == pytest.approx(1.0)
    assert k == 1 or curve[-2] < 1 - 0.3 / k


def test_displacements_that_do_not_move():
    still = np.zeros((1, 5, 4))
    assert spectrum_components(spectrum_of(still)) == 0
    assert np.isnan(spectrum_dimension(spectrum_of(still)))
    assert leading_directions(still).shape == (0, 4)


@pytest.mark.parametrize("n", [20, 300])
def test_leading_directions_are_the_right_singular_vectors(n):
    rows = np.random.default_rng(n).standard_normal((n, 50)) + 1
    _, _, vt = np.linalg.svd(rows, full_matrices=False)
    found = leading_directions(rows)
    np.testing.assert_allclose(np.abs(found @ vt.T), np.eye(len(vt)), atol=1e-9)


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
    basis = parts[0].leading(5)
    expected = leading_directions(moved[:, :10])[:5]
    np.testing.assert_allclose(np.abs((basis * expected).sum(axis=1)), 1, atol=1e-9)
    along, energy = energy_along(effected[:, 10:], clean[10:], basis)
    assert along.shape == (15, 5)
    rows = (moved[:, side].reshape(-1, features) for side in (slice(0, 10), slice(10, 25)))
    share = held_out_energy(*rows, 5)
    assert along.sum() / energy.sum() == pytest.approx(share, rel=1e-9)


def test_scatter_of_what_moves_alike_or_not_at_all():
    clean = np.random.default_rng(0).standard_normal((9, 5))
    alike = displacement_scatter(clean + np.full((4, 1, 5), 2.0), clean)
    assert alike.leading(3).shape == (1, 5)
    assert np.isnan(alike.spectrum()).all()
    still = displacement_scatter(np.stack([clean] * 3), clean)
    assert np.isnan(still.spectrum()).all() and still.leading(3).shape == (0, 5)
    assert spectrum_components(still.spectrum()) == 0
