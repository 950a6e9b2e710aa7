"""The batched logistic regression against scikit-learn's liblinear and against its own definition."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from aesens.analysis import logistic, newton
from aesens.analysis.logistic import COSTS, balanced_weights, fit_logistic


def problem(n, d, separation, scale=1.0, offset=0.0, seed=0, positives=0.5):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) < round(positives * n)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.3 + offset * rng.normal(size=d)
    x[labels, : max(1, d // 10)] += separation
    # Folds of unequal size, with both classes in each.
    folds = np.r_[rng.permutation(labels.sum()), rng.permutation((~labels).sum())] % 7 % 3
    return scale * x, labels, folds


def liblinear(x, labels, folds):
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(folds.max() + 1)]
    model = LogisticRegression(solver="liblinear", class_weight="balanced", tol=1e-9, max_iter=100_000)
    return GridSearchCV(model, {"C": COSTS}, scoring="roc_auc", cv=splits).fit(x, labels)


def orthonormal(rng, k, d):
    return np.linalg.qr(rng.normal(size=(d, k)))[0].T


@pytest.mark.parametrize(
    "n, d, separation, scale, offset, positives",
    [
        (24, 200, 1.0, 1.0, 0.0, 0.5),
        (42, 600, 0.5, 1.0, 2.0, 0.5),
        (60, 512, 0.3, 0.1, 1.0, 0.3),
        (48, 100, 4.0, 3.0, 0.0, 0.5),  # separable
        (90, 8, 0.4, 1.0, 1.0, 0.7),  # far from separable
        (150, 20, 0.5, 5.0, 1.0, 0.5),
        (40, 12, 9.0, 1.0, 0.0, 0.5),  # separable, fewer features than rows
    ],
)
def test_grid_search_is_that_of_liblinear(n, d, separation, scale, offset, positives):
    for seed in range(2):
        x, labels, folds = problem(n, d, separation, scale, offset, seed, positives)
        expected = liblinear(x, labels, folds)
        fit = fit_logistic(x[None], labels, folds)
        assert np.allclose(fit.cv_auc[0, 0], expected.cv_results_["mean_test_score"], atol=1e-9)
        assert fit.cost[0, 0] == expected.best_params_["C"]
        scores = x @ fit.coefficients[0, 0] + fit.intercept[0, 0]
        wanted = expected.decision_function(x)
        assert np.abs(scores - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_default_liblinear_gives_the_same_auc():
    # As a user would run it: tolerance 1e-4.
    from sklearn.metrics import roc_auc_score

    x, labels, folds = problem(60, 300, 0.6, seed=3)
    test, truth, _ = problem(200, 300, 0.6, seed=4)
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
    model = LogisticRegression(solver="liblinear", class_weight="balanced")
    plain = GridSearchCV(model, {"C": COSTS}, scoring="roc_auc", cv=splits).fit(x, labels)
    fit = fit_logistic(x[None], labels, folds)
    ours = roc_auc_score(truth, test @ fit.coefficients[0, 0])
    assert abs(ours - roc_auc_score(truth, plain.decision_function(test))) < 0.005


@pytest.mark.parametrize("cost", [1e-8, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("n, d, separation", [(30, 80, 3.0), (200, 5, 0.5)])
def test_solution_is_the_stationary_point_of_the_objective(monkeypatch, cost, n, d, separation):
    x, labels, folds = problem(n, d, separation, positives=0.4)
    monkeypatch.setattr(logistic, "COSTS", np.array([cost]))
    for bound in ("_SEARCHED", "_RETURNED"):
        monkeypatch.setattr(logistic, bound, 1e-7)
    fit = fit_logistic(x[None], labels, folds)
    w, b = fit.coefficients[0, 0], fit.intercept[0, 0]
    y = np.where(labels, 1.0, -1.0)
    pull = cost * balanced_weights(labels) * y / (1.0 + np.exp(y * (x @ w + b)))
    # The intercept is regularised as liblinear does.
    gradient = np.append(w - x.T @ pull, b - pull.sum())
    assert np.linalg.norm(gradient) < 1e-6 * np.linalg.norm(np.append(w, b))


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("offset, bound", [(10.0, 2e-6), (100.0, 2e-3)])  # float64 itself knows no more of K
@pytest.mark.parametrize("n, d", [(40, 20), (40, 200), (200, 20)])
def test_rows_far_from_the_origin_are_fitted_too(monkeypatch, n, d, offset, bound):
    """What they have in common is so much larger than what tells them apart that float32 does not hold both."""
    x, labels, folds = problem(n, d, 1.0, scale=0.1)
    x = x + np.random.default_rng(5).normal(scale=offset, size=d)
    monkeypatch.setattr(logistic, "COSTS", COSTS[-1:])
    fit = fit_logistic(x[None], labels, folds)
    w, b = fit.coefficients[0, 0], fit.intercept[0, 0]
    y = np.where(labels, 1.0, -1.0)
    pull = fit.cost[0, 0] * balanced_weights(labels) * y / (1.0 + np.exp(y * (x @ w + b)))
    gradient = np.append(w - x.T @ pull, b - pull.sum())
    assert np.linalg.norm(gradient) < bound * np.linalg.norm(np.append(w, b))


@pytest.mark.parametrize("n, d", [(36, 120), (100, 12)])
def test_projecting_the_kernel_is_projecting_the_features(n, d):
    rng = np.random.default_rng(1)
    x, labels, folds = problem(n, d, 0.8, offset=1.0)
    subspaces = [None, orthonormal(rng, 1, d), orthonormal(rng, 7, d)]
    fit = fit_logistic(x[None], labels, folds, subspaces=subspaces)
    for k, v in enumerate(subspaces):
        projected = x if v is None else x - x @ v.T @ v
        expected = liblinear(projected, labels, folds)
        assert fit.cost[0, k] == expected.best_params_["C"]
        assert np.allclose(fit.cv_auc[0, k], expected.cv_results_["mean_test_score"], atol=1e-9)
        wanted = expected.decision_function(projected)
        # Unprojected features give the same scores: the subspace is out of the weights.
        assert (
            np.abs(x @ fit.coefficients[0, k] + fit.intercept[0, k] - wanted).max()
            < 1e-4 * np.abs(wanted).max()
        )
        if v is not None:
            assert np.abs(v @ fit.coefficients[0, k]).max() < 1e-12


def test_every_way_of_computing_gives_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    x, labels, folds = problem(40, 30, 1.0)
    x = np.stack([x, x + 0.3 * rng.normal(size=x.shape), 4 * x])
    subspaces = [None, orthonormal(rng, 2, 30), None, orthonormal(rng, 1, 30)]

    def same(one, other):
        assert np.array_equal(one.cost, other.cost)
        assert np.allclose(one.cv_auc, other.cv_auc, atol=1e-12)
        assert np.allclose(one.coefficients, other.coefficients, rtol=1e-6, atol=1e-9)
        assert np.allclose(one.intercept, other.intercept, rtol=1e-6, atol=1e-9)

    for bound in ("_SEARCHED", "_RETURNED"):
        monkeypatch.setattr(logistic, bound, 1e-9)
    reference = fit_logistic(x, labels, folds, subspaces=subspaces)
    for steps in (80, 1):  # nearly everything by dense solves
        monkeypatch.setattr(newton, "_CG_STEPS", steps)
        for rows in (2, 0):  # in terms of rows, and of features
            monkeypatch.setattr(logistic, "_ROWS_PER_FEATURE", rows)
            for cells in (1_000_000, 1000):  # all training sets together, and one at a time
                monkeypatch.setattr(logistic, "_CELLS", cells)
                same(reference, fit_logistic(x, labels, folds, subspaces=subspaces))


@pytest.mark.parametrize("numbers", [60_000, 300])
@pytest.mark.parametrize("d", [60, 12])
def test_tasks_together_are_those_alone(monkeypatch, d, numbers):
    x, labels, folds = problem(42, d, 0.8)
    labels = np.stack([labels, np.arange(42) % 5 == 0, ~labels])
    folds = np.stack([folds, np.arange(42) // 5 % 3, folds[::-1]])
    given = dict(subspaces=[None, orthonormal(np.random.default_rng(3), 2, d)])
    given["resamples"] = np.random.default_rng(4).integers(1, 3, size=(2, 42))
    for bound in ("_SEARCHED", "_RETURNED"):
        monkeypatch.setattr(logistic, bound, 1e-9)
    monkeypatch.setattr(logistic, "_NUMBERS", numbers)  # all tasks in one batch, and one at a time
    together = fit_logistic(np.stack([x, 2 * x]), labels, folds, **given)
    assert together.coefficients.shape == (2, 2, 3, 3, d)
    for task, sides in enumerate(zip(labels, folds, strict=True)):
        alone = fit_logistic(np.stack([x, 2 * x]), *sides, **given)
        for mine, its in zip(together, alone, strict=True):
            np.testing.assert_allclose(mine[:, :, task], its, rtol=1e-6, atol=1e-9)


def test_a_problem_does_not_depend_on_its_companions():
    x, labels, folds = problem(30, 50, 0.7)
    other = np.random.default_rng(5).normal(size=x.shape) * 20
    together, alone = fit_logistic(np.stack([other, x]), labels, folds), fit_logistic(x[None], labels, folds)
    assert together.cost[1, 0] == alone.cost[0, 0]
    assert np.allclose(together.coefficients[1], alone.coefficients[0], rtol=1e-5, atol=1e-12)


def test_equal_auc_takes_the_smallest_cost():
    labels = np.arange(12) % 2 == 0
    x = np.where(labels, 1.0, -1.0)[:, None] + np.zeros((12, 3))
    fit = fit_logistic(x[None], labels, np.arange(12) // 2 % 3)
    assert (fit.cv_auc == 1.0).all()
    assert fit.cost[0, 0] == COSTS[0]


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-6])
def test_rows_that_are_all_but_alike_are_fitted(scale):
    """As a subspace leaves them that holds nearly all there is: the weights are zero, to rounding."""
    rng = np.random.default_rng(0)
    labels = np.arange(8) < 4
    x = rng.normal(size=(6, 8, 3)) @ np.diag([1.0, scale, scale])
    fit = fit_logistic(x, labels, np.arange(8) % 2, subspaces=[None, np.eye(3)[:1], np.eye(3)])
    assert np.isfinite(fit.coefficients).all() and not fit.coefficients[:, 2].any()


def test_features_without_information_are_handled():
    labels, folds = np.arange(12) % 2 == 0, np.arange(12) // 2 % 3
    fit = fit_logistic(np.zeros((1, 12, 4)), labels, folds)
    assert (fit.cv_auc == 0.5).all() and (fit.coefficients == 0).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(features=np.zeros((1, 9, 4))), "shape"),
        (dict(features=np.full((1, 12, 4), np.nan)), "NaN"),
        (dict(subspaces=[np.ones((1, 4))]), "orthonormal"),
        (dict(subspaces=[np.eye(3)[:1]]), "3 features"),
        (dict(folds=np.zeros(12, int)), "two folds"),
        (dict(folds=np.arange(12) % 2), "both classes"),
        (dict(folds=np.arange(5)), "folds must have shape"),
    ],
)
def test_bad_input_is_named(change, message):
    given = dict(
        features=np.random.default_rng(0).normal(size=(1, 12, 4)),
        labels=np.arange(12) % 2 == 0,
        folds=np.arange(12) // 2 % 3,
    )
    with pytest.raises(ValueError, match=message):
        fit_logistic(**(given | change))
    with pytest.raises(ValueError, match="both classes"):
        balanced_weights(np.ones(12, bool))
