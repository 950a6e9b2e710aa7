"""Remedies against independent computations, what defines each of them, and synthetic truth."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge

from aesens.analysis.projections import apply, from_states, removes, states
from aesens.analysis.remedies import (
    LEACE,
    NAP,
    REMEDIES,
    WCCN,
    Augmentation,
    RidgeMap,
    Versions,
    Whitening,
    from_npz,
    linear_predictions,
    stack_effects,
    to_npz,
)


def make(strengths=5, clips=30, features=8, seed=0):
    """Clips that move along two directions, at a pace of their own, and a little to all sides."""
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((clips, features)) * np.geomspace(3, 0.5, features) + 2
    t = np.linspace(0.2, 1, strengths)[:, None, None]
    along = rng.standard_normal((2, features))
    moved = clean + t * along[0] + t * rng.standard_normal((clips, 1)) * along[1]
    return moved + 0.1 * rng.standard_normal(moved.shape), clean


def rows_of(trajectories, clean):
    """Clean, then effected rows, and the clip of each."""
    rows = np.concatenate([clean[None], trajectories]).reshape(-1, clean.shape[1])
    return rows, np.tile(np.arange(len(clean)), len(trajectories) + 1)


def covariance_within(trajectories, clean):
    """As it is defined: clip by clip."""
    versions = np.concatenate([clean[None], trajectories])
    return np.mean([np.cov(versions[:, i].T) for i in range(len(clean))], axis=0)


WIDE = {"clips": 6, "features": 60}


@pytest.mark.parametrize("size", [{}, WIDE])
@pytest.mark.parametrize("shrinkage", [0.2, 1.0])
def test_wccn_is_the_inverse_root_of_the_shrunk_covariance_within_clips(size, shrinkage):
    moved, clean = make(**size)
    within = covariance_within(moved, clean)
    d = len(within)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)
    wccn = WCCN(shrinkage).fit(moved, clean)
    np.testing.assert_allclose(wccn.transform(clean), clean @ np.linalg.inv(sqrtm(shrunk).real), rtol=1e-6)


def test_wccn_makes_the_covariance_within_clips_the_identity():
    moved, clean = make()
    wccn = WCCN(shrinkage=0).fit(moved, clean)
    np.testing.assert_allclose(
        covariance_within(wccn.transform(moved), wccn.transform(clean)), np.eye(8), atol=1e-8
    )
    with pytest.raises(ValueError, match="rank 30 of 60"):
        WCCN(shrinkage=0).fit(*make(**WIDE))
    with pytest.raises(ValueError, match="shrinkage=2"):
        WCCN(shrinkage=2).fit(moved, clean)


def test_whitening_is_sklearns_and_knows_of_no_effect():
    moved, clean = make()
    white = Whitening(shrinkage=0).fit(moved, clean).transform(clean)
    np.testing.assert_allclose(np.cov(white.T), np.eye(8), atol=1e-8)
    # The same up to a rotation as the whitening of scikit-learn, which centres and goes along the components.
    reference = PCA(whiten=True).fit(clean).transform(clean)
    centred = white - white.mean(axis=0)
    np.testing.assert_allclose(centred @ centred.T, reference @ reference.T, atol=1e-8)
    other = Whitening(shrinkage=0).fit(3 * moved + 1, clean).transform(clean)
    np.testing.assert_array_equal(white, other)
    auto = Whitening().fit(moved, clean)
    assert auto.shrinkage_ == pytest.approx(LedoitWolf().fit(clean).shrinkage_)


@pytest.mark.parametrize("size", [{}, WIDE])
def test_nap_takes_the_leading_directions_within_clips(size):
    moved, clean = make(**size)
    values, vectors = np.linalg.eigh(covariance_within(moved, clean))
    rows = NAP(k=2).fit(moved, clean).components_
    np.testing.assert_allclose(rows.T @ rows, vectors[:, -2:] @ vectors[:, -2:].T, atol=1e-8)
    all_of_them = NAP(k=10_000).fit(moved, clean)
    assert len(all_of_them.components_) == np.sum(values > 1e-10 * values.max())
    gone = all_of_them.transform(moved) - all_of_them.transform(clean)
    assert np.abs(gone).max() < 1e-6 * np.abs(moved - clean).max()
    # What is orthogonal to all displacements stays.
    left = np.linalg.norm(all_of_them.transform(clean)) / np.linalg.norm(clean)
    assert (left > 0.5) if size else (left < 1e-6)


@pytest.mark.parametrize("concept", ["rank", "effected"])
@pytest.mark.parametrize(("size", "shrinkage"), [({}, 0.0), ({}, 0.3), (WIDE, 0.3)])
def test_after_leace_no_linear_reader_beats_the_mean(concept, size, shrinkage):
    moved, clean = make(**size)
    leace = LEACE(concept, shrinkage).fit(moved, clean)
    rows, _ = rows_of(leace.transform(moved), leace.transform(clean))
    z = np.repeat([0, *([1] * 5 if concept == "effected" else [0.2, 0.4, 0.6, 0.8, 1])], len(clean))
    # Where a reader is worth anything at all its gradient at the mean is the covariance: there is none.
    covariance = (z - z.mean()) @ (rows - rows.mean(axis=0)) / len(z)
    assert np.abs(covariance).max() < 1e-9
    before, _ = rows_of(moved, clean)
    if not size:
        assert LinearRegression().fit(rows, z).score(rows, z) < 1e-9
        assert LinearRegression().fit(before, z).score(before, z) > 0.2


def test_leace_is_the_published_formula_and_changes_least():
    moved, clean = make()
    rows, _ = rows_of(moved, clean)
    z = np.repeat(np.arange(6) / 5, len(clean))[:, None]
    centred = rows - rows.mean(axis=0)
    sigma, cross = centred.T @ centred, centred.T @ (z - z.mean())
    w = np.linalg.inv(sqrtm(sigma).real)
    onto = w @ cross @ np.linalg.pinv(w @ cross)
    p = np.linalg.inv(w) @ onto @ w
    leace = LEACE(shrinkage=0).fit(moved, clean)
    np.testing.assert_allclose(leace.transform(rows), rows - centred @ p.T, atol=1e-8)
    # Any other map that guards as well moves the data more: the orthogonal one, and oblique ones.
    least = np.square(leace.transform(rows) - rows).sum()
    rng = np.random.default_rng(0)
    for reader in [cross, *(cross + 0.3 * np.linalg.norm(cross) * rng.standard_normal((20, 8, 1)) / 8**0.5)]:
        other = centred @ reader @ cross.T / (reader.T @ cross)
        assert np.abs((z - z.mean()).T @ (centred - other)).max() < 1e-6
        assert np.square(other).sum() > least


@pytest.mark.parametrize("size", [{}, WIDE])
def test_the_ridge_map_is_sklearns(size):
    moved, clean = make(**size)
    rows, clip = rows_of(moved, clean)
    fitted = RidgeMap(penalty=0.3).fit(moved, clean)
    centred = rows - rows.mean(axis=0)
    rank = np.linalg.matrix_rank(centred)
    assert fitted.alpha_ == pytest.approx(0.3 * np.square(centred).sum() / rank)
    reference = Ridge(alpha=fitted.alpha_).fit(rows, clean[clip] - rows)
    asked = np.random.default_rng(1).standard_normal((7, clean.shape[1]))
    np.testing.assert_allclose(fitted.transform(asked), asked + reference.predict(asked), atol=1e-8)
    # A strict penalty leaves the mean shift.
    np.testing.assert_allclose(
        RidgeMap(1e12).fit(moved, clean).transform(asked),
        asked + (clean[clip] - rows).mean(axis=0),
        atol=1e-8,
    )


def test_the_ridge_map_brings_back_what_was_linear():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((200, 6))
    moved = (clean @ (np.eye(6) + 0.3 * rng.standard_normal((6, 6))) + 1)[None]
    only = np.vstack([moved[0][None]])
    fitted = RidgeMap(1e-9).fit(only, clean)
    # Blind to whether a clip is effected, it is a compromise between both; still nearer than nothing done.
    assert np.square(fitted.transform(moved) - clean).sum() < 0.5 * np.square(moved - clean).sum()


def test_linear_predictions_are_sklearns_and_tell_a_linear_effect_from_another():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((90, 5))
    a = 0.5 * rng.standard_normal((5, 5))
    linear = np.stack([clean + clean @ a + 1, clean + 2 * clean @ a])
    bent = clean + np.stack([np.cos(4 * clean), np.sin(4 * clean[:, ::-1])])
    train, folds = np.arange(90) < 60, np.arange(60) // 4 % 3
    for trajectories, good in ((linear, True), (bent, False)):
        shift, predicted = linear_predictions(clean, trajectories, train, folds)
        moved = trajectories - clean
        np.testing.assert_allclose(shift[:, 0], moved[:, train].mean(axis=1))
        left = np.square(moved - predicted)[:, ~train].sum() / np.square(moved)[:, ~train].sum()
        assert left < 1e-3 if good else left > 0.5
    unit = np.square(clean[:60] - clean[:60].mean(axis=0)).sum() / 5
    reference = Ridge(alpha=0.01 * unit).fit(clean[:60], linear[0, :60] - clean[:60])
    np.testing.assert_allclose(
        linear_predictions(clean, linear, train, folds, [0.01])[1][0], reference.predict(clean)
    )


def test_augmentation_gives_versions_clip_by_clip():
    first, clean = make(strengths=6)
    second, _ = make(strengths=6, seed=1)
    np.testing.assert_array_equal(Augmentation(3).fit(first, clean).versions, first[[1, 3, 5]])
    both = Augmentation(2).fit(stack_effects([first, second], clean))
    np.testing.assert_array_equal(both.versions, np.stack([first[2], second[2], first[5], second[5]]))
    np.testing.assert_array_equal(both.transform(clean), clean)


def test_several_effects_are_one_set_of_versions():
    first, clean = make()
    second, _ = make(seed=1)
    both = NAP(10_000).fit(stack_effects([first, second + clean * 0], clean))
    for moved in (first, second):
        gone = both.transform(moved) - both.transform(clean)
        assert np.abs(gone).max() < 1e-5
    with pytest.raises(ValueError, match="clean embeddings"):
        LEACE().fit(first)


@pytest.mark.parametrize("name", list(REMEDIES))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_remedy_survives_its_file_and_the_cache(name, dtype, tmp_path, monkeypatch):
    moved, clean = (x.astype(dtype) for x in make(**WIDE))
    entry = REMEDIES[name]
    for setting in entry.settings:
        unfitted = entry.factory().set_params(**setting)
        assert clone(unfitted).get_params() == unfitted.get_params()
    fitted = unfitted.fit(moved, clean)
    assert fitted.transform(moved).dtype == dtype and fitted.transform(moved).shape == moved.shape
    to_npz(fitted, tmp_path / "remedy.npz")
    again = from_npz(tmp_path / "remedy.npz")
    assert type(again) is type(fitted) and again.get_params() == fitted.get_params()
    np.testing.assert_array_equal(again.transform(moved), fitted.transform(moved))
    monkeypatch.setattr("aesens.analysis.projections.PROJECTIONS", {name: entry})
    kept = from_states(states({name: {"pia": removes(fitted)}}))[name]["pia"]
    np.testing.assert_array_equal(apply(kept, moved), fitted.transform(moved))


def test_wrong_use_is_named(tmp_path):
    moved, clean = make()
    with pytest.raises(ValueError, match="8 features"):
        LEACE().fit(moved, clean).transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="concept='speed'"):
        LEACE("speed").fit(moved, clean)
    with pytest.raises(ValueError, match="PCA is no remedy"):
        to_npz(PCA().fit(clean), tmp_path / "pca.npz")
    np.savez(tmp_path / "other.npz", rows=clean)
    with pytest.raises(ValueError, match="holds no remedy"):
        from_npz(tmp_path / "other.npz")


@pytest.mark.parametrize("name", list(REMEDIES))
def test_where_nothing_moves_nothing_is_done(name):
    _, clean = make()
    still = np.repeat(clean[None], 4, axis=0)
    after = REMEDIES[name].factory().fit(still, clean).transform(clean)
    if name != "whitening":
        np.testing.assert_allclose(after, clean, atol=1e-8)


def test_versions_share_their_decompositions():
    versions = Versions(*make())
    assert versions.within_spectrum is versions.within_spectrum
    a, b = NAP(3).fit(versions), NAP(3).fit(*make())
    np.testing.assert_array_equal(a.components_, b.components_)
