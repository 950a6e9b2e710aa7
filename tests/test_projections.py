"""Projections against scikit-learn's LDA, PCA and CCA, their definitions, and the estimator contract."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from aesens.analysis import projections
from aesens.analysis.methods import TrainingParts, variance_ratios
from aesens.analysis.principal import Principal, principal_variances
from aesens.analysis.projections import (
    PROJECTIONS,
    Projection,
    fit_all,
    make_projection,
    register_projection,
    remove,
)

NAMES = [
    *("none", "lda", "average", "pca", "npca", "cca", "svd-0.3", "svd-0.4", "svd-0.5"),
    *("random", "random-svd-0.3", "random-svd-0.4", "random-svd-0.5"),
]


def make(n_strengths=12, n_clips=15, n_features=64, seed=0, own=0.5):
    """Clean embeddings with unequal variances, displaced along a few directions."""
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((n_clips, n_features)) * np.geomspace(1, 0.05, n_features) + 1
    t = np.linspace(0.05, 1, n_strengths)[:, None, None]
    common, curve = rng.standard_normal((2, n_features))
    each = rng.standard_normal((n_clips, n_features))
    moved = clean + t * common + np.sin(3 * t) * curve + own * t * each
    return moved + 0.05 * rng.standard_normal(moved.shape), clean


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return abs(a @ b) / np.sqrt((a @ a) * (b @ b))


@pytest.mark.parametrize(
    "shape",
    [
        *[(12, 30, 20), (5, 6, 200), (3, 10, 40), (3, 10, 41)],
        pytest.param((12, 20, 512), id="demo"),
        pytest.param((31, 4, 2048), id="panns"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lda_equals_sklearn(shape, dtype):
    trajectories, clean = make(*shape)
    trajectories, clean = trajectories.astype(dtype), clean.astype(dtype)
    rows = np.concatenate([clean, trajectories.reshape(-1, shape[2])]).astype(np.float64)
    labels = np.repeat([0, 1], [shape[1], shape[0] * shape[1]])
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(rows, labels)
    found = make_projection("lda").fit(trajectories, clean).components_
    assert found.shape == (1, shape[2])
    assert cosine(found, reference.coef_) > 1 - 1e-8


def test_lda_with_dead_features():
    trajectories, clean = make(6, 30, 10)
    trajectories[..., 3] = clean[:, 3] = 0.7
    rows = np.concatenate([clean, trajectories.reshape(-1, 10)])
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(
        rows, np.arange(len(rows)) >= 30
    )
    assert cosine(make_projection("lda").fit(trajectories, clean).components_, reference.coef_) > 1 - 1e-8


def test_lda_of_rarely_active_units_equals_sklearn_and_removes_next_to_nothing():
    """Behind a ReLU, some units that are active in one embedding of a hundred."""
    rng = np.random.default_rng(0)
    level = np.repeat([1.0, -2.5], [40, 20])
    before = rng.standard_normal((60, 60)) + level
    moved = np.linspace(0.1, 1, 12)[:, None, None] * rng.standard_normal(60)
    moved = before + moved + 0.3 * rng.standard_normal((12, 60, 60))
    clean, trajectories = np.maximum(before, 0), np.maximum(moved, 0)
    assert 0 < (trajectories[..., 40:] > 0).mean() < 0.03
    rows = np.concatenate([clean, trajectories.reshape(-1, 60)])
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(
        rows, np.arange(len(rows)) >= 60
    )
    found = make_projection("lda").fit(trajectories, clean).components_
    assert cosine(found, reference.coef_) > 1 - 1e-8
    assert np.square(found[0, 40:]).sum() > 0.99
    # A random direction removes one part in sixty.
    displacements = (trajectories - clean).reshape(-1, 60)
    share = np.square(displacements @ found.T).sum() / np.square(displacements).sum()
    assert share < 0.1 / 60


@pytest.mark.parametrize(
    "shape", [(12, 15, 64), (12, 15, 400), (31, 40, 512), pytest.param((31, 12, 2048), id="panns")]
)
def test_average_and_principal_components(shape):
    trajectories, clean = make(*shape)
    displacements = (trajectories - clean).reshape(-1, shape[2])
    moved, still = PCA().fit(displacements), PCA().fit(clean)
    fitted = {name: make_projection(name).fit(trajectories, clean) for name in ("average", "pca", "npca")}
    assert cosine(fitted["average"].components_, displacements.mean(axis=0)) == pytest.approx(1)
    assert cosine(fitted["pca"].components_, moved.components_[0]) == pytest.approx(1)
    # Without others, fifteen centred clips have fourteen components with variance. In the fifteenth it is rounding, and
    # the ratio to it would win.
    n = shape[1] - 1
    literal = moved.explained_variance_[: n + 1] / still.explained_variance_[: n + 1]
    assert literal.argmax() == n
    ratios = moved.explained_variance_[:n] / still.explained_variance_[:n]
    np.testing.assert_allclose(fitted["npca"].ratios_, ratios, rtol=1e-6)
    assert fitted["npca"].rank_ == ratios.argmax()
    assert cosine(fitted["npca"].components_, moved.components_[ratios.argmax()]) == pytest.approx(1)


@pytest.mark.parametrize("n_features", [20, 200])
def test_normalised_pca_divides_by_all_training_clips(n_features):
    """As the study: one PCA of the clean training clips of all instruments, one of an instrument's displacements."""
    trajectories, clean = make(9, 12, n_features)
    rng = np.random.default_rng(1)
    others = rng.standard_normal((60, n_features)) * np.geomspace(0.05, 4, n_features)[::-1] - 3
    everyone = np.concatenate([clean, others])
    moved, still = PCA().fit((trajectories - clean).reshape(-1, n_features)), PCA().fit(everyone)
    ranks = min(len(moved.explained_variance_), len(everyone) - 1)
    expected = moved.explained_variance_[:ranks] / still.explained_variance_[:ranks]
    reference = principal_variances(everyone)
    np.testing.assert_allclose(reference, still.explained_variance_[: len(reference)], rtol=1e-9)

    projection = make_projection("npca").fit(TrainingParts(trajectories, clean, reference=reference))
    np.testing.assert_allclose(projection.ratios_, expected[: len(projection.ratios_)], rtol=1e-6)
    assert projection.rank_ == expected.argmax() and len(projection.ratios_) == ranks
    assert cosine(projection.components_, moved.components_[expected.argmax()]) == pytest.approx(1)
    np.testing.assert_array_equal(
        fit_all(trajectories, clean, reference=reference)["npca"], projection.components_
    )
    # The instrument's own clips say something else.
    alone = make_projection("npca").fit(trajectories, clean)
    assert not np.allclose(alone.ratios_[:11], projection.ratios_[:11], rtol=0.1)


def test_a_reference_variance_of_rounding_is_not_divided_by():
    """Units that are dead on clean clips, as behind a ReLU, and come alive under an effect."""
    rng = np.random.default_rng(0)
    clean = np.maximum(rng.standard_normal((400, 30)), 0) * np.geomspace(1, 0.1, 30)
    clean[:, 20:] = 0.7
    trajectories = clean[:20] + rng.standard_normal((50, 20, 30)) * 0.3
    reference = principal_variances(clean)
    assert (reference[:20] > 0).all() and (reference[20:] == 0).all() and len(reference) == 30
    # Taken literally, the ratio to what rounding leaves is the largest.
    with np.errstate(divide="ignore"):
        literal = (
            PCA().fit(trajectories.reshape(-1, 30)).explained_variance_ / PCA().fit(clean).explained_variance_
        )
    assert literal.argmax() >= 20
    projection = make_projection("npca").fit(TrainingParts(trajectories, clean[:20], reference=reference))
    assert len(projection.ratios_) == 20 > projection.rank_
    assert variance_ratios(reference, np.zeros(3)).shape == (0,)


def test_wrong_references_are_named():
    trajectories, clean = make()
    for wrong in (clean, [1.0, 2.0], [1.0, np.nan], [1.0, -1.0]):
        with pytest.raises(ValueError, match="variances in descending order"):
            TrainingParts(trajectories, clean, reference=wrong)
    for wrong in (clean[0], clean[:0], clean * np.nan):
        with pytest.raises(ValueError, match="finite array"):
            principal_variances(wrong)


@pytest.mark.parametrize("n, d", [(300, 150), (90, 400), (40, 20), (3, 5)])
def test_principal_components_are_scikit_learns(n, d):
    # Without a gap behind the first component, which is the hard case of an iteration.
    x = np.random.default_rng(n).normal(size=(n, d)) + 3.0
    expected, found = PCA(svd_solver="full").fit(x), Principal(x)
    ranks = min(n - 1, d)
    np.testing.assert_allclose(found.variances, expected.explained_variance_[:ranks], rtol=1e-9)
    for i in (0, 1, ranks - 1):
        assert abs(found.component(i) @ expected.components_[i]) > 1 - 1e-9
    assert not found.component(ranks).any()
    assert not Principal(np.ones((n, d))).component(0).any()


def test_normalised_pca_is_not_just_the_first_component():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((200, 3)) * [10, 1, 0.1]
    trajectories = clean + rng.standard_normal((9, 200, 3)) * [0.5, 3.0, 2.0]
    # Ranked variances 9, 4, 0.25 against 100, 1, 0.01: the last stands out although it is the smallest.
    projection = make_projection("npca").fit(trajectories, clean)
    assert projection.rank_ == 2
    assert abs(projection.components_[0, 0]) > 0.99


@pytest.mark.parametrize("n_features", [64, 512, 2048])
def test_cca_and_samplewise_subspaces_equal_sklearn(n_features):
    trajectories, clean = make(12, 15, n_features, own=1.5)
    y = np.linspace(0, 1, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cca = CCA(n_components=1, scale=False).fit(
            trajectories.reshape(-1, n_features), np.repeat(y, 15)[:, None]
        )
        own = []
        for i in range(15):
            w = CCA(n_components=1, scale=False).fit(trajectories[:, i], y[:, None]).x_weights_[:, 0]
            # Directions point where the strength grows. The right singular vectors do not depend on the rows' signs.
            own.append(w * np.sign(w @ (trajectories[-1, i] - trajectories[0, i])))
    fitted = fit_all(trajectories, clean)
    assert cosine(fitted["cca"], cca.x_weights_) > 1 - 1e-6
    _, s, vt = np.linalg.svd(own, full_matrices=False)
    dimensions = []
    for t in (0.3, 0.4, 0.5):
        expected = vt[s / s[0] >= t]
        found = fitted[f"svd-{t}"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.T @ found, expected.T @ expected, atol=1e-6)
        assert fitted[f"random-svd-{t}"].shape == expected.shape
        dimensions.append(len(expected))
    assert dimensions[0] > dimensions[-1] >= 1


def test_every_projection_follows_the_contract():
    assert list(PROJECTIONS)[: len(NAMES)] == NAMES
    trajectories, clean = make()
    shared = fit_all(trajectories, clean, seed=3)
    for name in NAMES:
        projection = make_projection(name, seed=3)
        again = clone(projection)
        assert again.get_params() == projection.get_params()
        again.fit(trajectories, clean)
        v = again.components_
        np.testing.assert_array_equal(v, shared[name])
        np.testing.assert_allclose(v @ v.T, np.eye(len(v)), atol=1e-10)
        x = again.transform(trajectories)
        assert x.shape == trajectories.shape
        np.testing.assert_allclose(x @ v.T, 0, atol=1e-10)
        np.testing.assert_allclose(again.transform(x), x, atol=1e-10)
        np.testing.assert_allclose(x, trajectories @ (np.eye(64) - v.T @ v), atol=1e-10)
        assert again.transform(clean.astype(np.float32)).dtype == np.float32
        if name == "none":
            np.testing.assert_array_equal(x, trajectories)
        else:
            assert len(v) >= 1


def test_a_fitted_projection_works_in_a_pipeline():
    trajectories, clean = make()
    projection = make_projection("average").fit(trajectories, clean)
    pipeline = make_pipeline(FunctionTransformer(projection.transform), PCA(2))
    assert pipeline.fit_transform(clean).shape == (15, 2)


def test_known_direction_is_removed():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((600, 30))
    u = np.linalg.qr(rng.standard_normal((30, 1)))[0][:, 0]
    t = np.linspace(0, 1, 9)[:, None, None]
    trajectories = clean + (2 + 8 * t) * u + 0.01 * rng.standard_normal((9, 600, 30))
    for name in ("lda", "average", "pca", "svd-0.5"):
        v = make_projection(name).fit(trajectories, clean).components_
        assert np.linalg.norm(v @ u) > 0.95, name
        left = np.linalg.norm(remove(trajectories - clean, v)) / np.linalg.norm(trajectories - clean)
        assert left < 0.35, name
    left = remove(trajectories - clean, make_projection("random").fit(trajectories, clean).components_)
    assert np.linalg.norm(left) > 0.8 * np.linalg.norm(trajectories - clean)


def test_random_controls_follow_their_seed():
    trajectories, clean = make()
    first, again, other = (fit_all(trajectories, clean, seed=s) for s in (1, 1, 2))
    for name in ("random", "random-svd-0.3"):
        np.testing.assert_array_equal(first[name], again[name])
        assert cosine(first[name][0], other[name][0]) < 0.6


def test_an_effect_that_does_nothing_removes_nothing():
    _, clean = make()
    still = np.repeat(clean[None], 5, axis=0)
    fitted = fit_all(still, clean)
    for name, v in fitted.items():
        assert v.shape == ((1 if name == "random" else 0), 64), name


def test_registering_and_wrong_use(monkeypatch):
    monkeypatch.setattr("aesens.analysis.projections.PROJECTIONS", dict(PROJECTIONS))

    class TwoTimesTheSame(Projection):
        def learn(self, parts):
            assert isinstance(parts, TrainingParts)
            return np.stack(
                [parts.mean_displacement, 2 * parts.mean_displacement, 0 * parts.mean_displacement]
            )

    register_projection("twice", TwoTimesTheSame)
    trajectories, clean = make()
    fitted = fit_all(trajectories, clean)
    assert fitted["twice"].shape == (1, 64)
    assert cosine(fitted["twice"], fitted["average"]) == pytest.approx(1)
    with pytest.raises(ValueError, match="exists already"):
        register_projection("lda", TwoTimesTheSame)
    assert list(projections.added()) == ["twice"] and projections.PROJECTIONS["twice"].title == "twice"
    register_projection("twice", TwoTimesTheSame, title="Two times", control=True)
    assert projections.PROJECTIONS["twice"].title == "Two times"
    shipped = ["random", "random-svd-0.3", "random-svd-0.4", "random-svd-0.5"]
    assert projections.controls() == [*shipped, "twice"]
    with pytest.raises(ValueError, match="no projection is named"):
        make_projection("thrice")
    with pytest.raises(ValueError, match="clean"):
        make_projection("average").fit(trajectories)
    with pytest.raises(ValueError, match="do not fit"):
        remove(clean, np.eye(3))
