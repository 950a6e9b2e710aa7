"""Chapter 6: what projections remove, and how their directions lie to one another."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, groupby

import numpy as np
import pandas as pd
from scipy.special import gammaln

from aesens.analysis import projections
from aesens.analysis.cca import GlobalCCA, cosine_between
from aesens.analysis.classify import classifier_weights
from aesens.analysis.methods import variance_ratios
from aesens.analysis.parallel import each
from aesens.analysis.principal import principal_variances
from aesens.analysis.statistics import derived_seed
from aesens.tables.common import instrument_sides

__all__ = [
    "agreement",
    "agreements",
    "classifier_cosines",
    "direction_vectors",
    "fitted_subspaces",
    "method_cosines",
    "normalised_pca",
    "projected",
    "random_cosine",
]


def fitted_subspaces(sweep, *, seed: int, n_jobs: int = 1) -> dict[str, dict]:
    """Every projection of every instrument, fitted on the instrument's training clips.

    Normalised PCA alone looks at other instruments too: the variances that it divides by are those of the clean
    embeddings of all training clips.

    Parameters
    ----------
    seed : int
        Of the random controls, which are drawn anew for each model, effect and instrument.

    Returns
    -------
    dict of dict of np.ndarray, shape (k, feature), or estimator
        Orthonormal rows by projection and instrument; what was fitted where its `transform` is its own.
    """
    sides = list(instrument_sides(sweep))
    reference = _reference(sweep)

    def fitted(side):
        code, train, _ = side
        own = derived_seed(seed, sweep.model, sweep.effect.name, code)
        clips = sweep.trajectories[:, train], sweep.clean[train]
        return projections.fit_all(*clips, seed=own, reference=reference)

    found = each(fitted, sides, n_jobs)
    codes = [code for code, _, _ in sides]
    return {
        name: {code: rows[name] for code, rows in zip(codes, found, strict=True)}
        for name in dict.fromkeys(chain.from_iterable(found))
    }


def _reference(sweep) -> np.ndarray:
    """Variances of the clean embeddings of all training clips, whatever their instrument."""
    # As one job: its linear algebra runs on one thread, like that of the instruments.
    (variances,) = each(principal_variances, [sweep.clean[sweep.train]])
    return variances


def normalised_pca(sweep, *, n_jobs: int = 1) -> pd.DataFrame:
    """Which component the normalised PCA chooses for each instrument, and by how much.

    Returns
    -------
    pandas.DataFrame
        One row an instrument: ``component``, the rank of the chosen one, from 1 (missing where nothing moves);
        ``ratio``, its variance over that of the same-ranked component of all clean training clips; and
        ``first_ratio``, that of the first component, which the PCA takes.
    """
    reference = _reference(sweep)

    def row(side):
        code, train, _ = side
        moved = (sweep.trajectories[:, train] - sweep.clean[train]).reshape(-1, sweep.clean.shape[1])
        ratios = variance_ratios(principal_variances(moved), reference)
        found = bool(ratios.size and ratios.max() > 0)
        return {
            "instrument": code,
            "component": ratios.argmax() + 1 if found else None,
            "ratio": ratios.max() if found else np.nan,
            "first_ratio": ratios[0] if found else np.nan,
        }

    return pd.DataFrame(each(row, instrument_sides(sweep), n_jobs)).astype({"component": "Int64"})


def direction_vectors(sweep, *, fitted: Mapping | None = None) -> dict[str, np.ndarray]:
    """Global CCA direction of each instrument, fitted on training clips.

    Returns
    -------
    dict of str to np.ndarray, shape (feature,)
        Unit vectors; zero where nothing moves.
    """
    if fitted is not None:
        nothing = np.zeros(sweep.clean.shape[1])
        return {code: rows[0] if len(rows) else nothing for code, rows in fitted["cca"].items()}
    return {
        code: GlobalCCA().fit(sweep.trajectories[:, train]).direction_
        for code, train, _ in instrument_sides(sweep)
    }


def projected(sweep, *, seed: int, fitted: Mapping | None = None, n_jobs: int = 1) -> pd.DataFrame:
    """Dimension of each projection and what it removes on test songs.

    Returns
    -------
    pandas.DataFrame
        Columns ``instrument``, ``projection``, ``dimension``, ``effect_removed`` (share of the displacement energy of
        the instrument's test clips) and ``clean_removed`` (share of the variance between all clean test clips). Of a
        method with a `transform` of its own all three are those of what it changes: the dimension is the rank of its
        changes of these embeddings, and a share is negative where lengths grow.
    """
    fitted = fitted_subspaces(sweep, seed=seed, n_jobs=n_jobs) if fitted is None else fitted
    clean = sweep.clean[sweep.test]
    centred = clean - clean.mean(axis=0)

    def rows(side):
        code, _, test = side
        moved = (sweep.trajectories[:, test] - sweep.clean[test]).reshape(-1, clean.shape[1])
        energies = np.square(moved).sum() or np.nan, np.square(centred).sum() or np.nan

        def shares(fit):
            if isinstance(fit, np.ndarray):
                removed = (np.square(x @ fit.T).sum() for x in (moved, centred))
                return len(fit), *(part / energy for part, energy in zip(removed, energies, strict=True))
            music, before, after = map(fit.transform, (clean, sweep.clean[test], sweep.trajectories[:, test]))
            kept = np.square(after - before).sum(), np.square(music - music.mean(axis=0)).sum()
            changes = np.concatenate(
                [(after - before).reshape(moved.shape) - moved, music - music.mean(axis=0) - centred]
            )
            rank = np.linalg.matrix_rank(
                changes, tol=1e-5 * max(np.linalg.norm(moved), np.linalg.norm(centred))
            )
            return rank, *(1 - part / energy for part, energy in zip(kept, energies, strict=True))

        columns = "instrument", "projection", "dimension", "effect_removed", "clean_removed"
        return [
            dict(zip(columns, (code, name, *shares(found[code])), strict=True))
            for name, found in fitted.items()
            if name != "none"
        ]

    return pd.DataFrame(chain.from_iterable(each(rows, instrument_sides(sweep), n_jobs)))


def _one_dimensional(fitted) -> list[str]:
    """Methods that find one direction, the controls among them last."""

    def finds_one(name):
        known, fits = projections.PROJECTIONS[name].one_direction, fitted[name].values()
        # A map has no direction to compare.
        if not all(isinstance(fit, np.ndarray) for fit in fits):
            return False
        return all(len(rows) <= 1 for rows in fits) if known is None else known

    found = [name for name in projections.PROJECTIONS if name in fitted and finds_one(name)]
    return sorted(found, key=lambda name: projections.PROJECTIONS[name].control)


def _stacked(fitted, methods, code) -> np.ndarray:
    """Directions (method, feature) of one instrument; NaN for a method that finds none, because nothing moves."""
    found = [fitted[name][code] for name in methods]
    nothing = np.full((1, found[0].shape[1]), np.nan)
    return np.concatenate([rows if len(rows) else nothing for rows in found])


def method_cosines(sweep, *, seed: int, fitted: Mapping | None = None, n_jobs: int = 1) -> pd.DataFrame:
    """Absolute cosine between the directions of the one-dimensional methods, averaged over instruments.

    Methods that were registered from outside the package and find one direction are among them.

    Returns
    -------
    pandas.DataFrame
        Columns ``first``, ``second``, ``cosine``.
    """
    fitted = fitted_subspaces(sweep, seed=seed, n_jobs=n_jobs) if fitted is None else fitted
    methods = _one_dimensional(fitted)
    stacks = [_stacked(fitted, methods, code) for code in fitted[methods[0]]]
    cosine = np.mean([np.abs(cosine_between(x, x)) for x in stacks], axis=0)
    first, second = np.meshgrid(methods, methods, indexing="ij")
    return pd.DataFrame({"first": first.ravel(), "second": second.ravel(), "cosine": cosine.ravel()})


def _classifiers(sweep, seed, n_jobs) -> dict[str, np.ndarray]:
    """Weights of each instrument's classifier of clean clips."""
    classes = [code for code, _, _ in instrument_sides(sweep)]
    return classifier_weights(
        sweep.clean, sweep.instruments, sweep.songs, sweep.train, classes=classes, seed=seed, n_jobs=n_jobs
    )


def random_cosine(features: int) -> float:
    r"""Mean absolute cosine of two random directions.

    Parameters
    ----------
    features : int
        Dimensions of the space.

    Returns
    -------
    float
        :math:`\Gamma(D/2) / (\sqrt\pi\, \Gamma((D+1)/2))`, about :math:`\sqrt{2 / (\pi D)}`.

    Examples
    --------
    >>> round(random_cosine(2), 3), round(random_cosine(512), 4)
    (0.637, 0.0353)
    """
    return float(np.exp(gammaln(features / 2) - gammaln((features + 1) / 2)) / np.sqrt(np.pi))


def classifier_cosines(sweep, *, seed: int, fitted: Mapping | None = None, n_jobs: int = 1) -> pd.DataFrame:
    """Absolute cosine between an instrument's effect directions and the weights of its own classifier.

    Returns
    -------
    pandas.DataFrame
        Columns ``instrument``, ``projection`` (the one-dimensional methods and the random control), ``cosine`` with the
        weights of the instrument's logistic regression on clean training clips, and ``expected``, what a random
        direction has on average.

    Notes
    -----
    Removing a direction takes from a classifier's score what its weights have along it, so that a direction at right
    angles to the weights can neither disturb that classifier nor help it.
    """
    fitted = fitted_subspaces(sweep, seed=seed, n_jobs=n_jobs) if fitted is None else fitted
    expected = random_cosine(sweep.clean.shape[1])
    methods, rows = _one_dimensional(fitted), []
    for code, weights in _classifiers(sweep, seed, n_jobs).items():
        cosines = np.abs(cosine_between(_stacked(fitted, methods, code), weights))
        rows += [
            {"instrument": code, "projection": name, "cosine": cosine, "expected": expected}
            for name, cosine in zip(methods, cosines, strict=True)
        ]
    return pd.DataFrame(rows)


def agreement(sweeps, *, seed: int, vectors=direction_vectors, n_jobs: int = 1) -> dict[str, float]:
    """How alike the global CCA directions of one model are, and how they lie to its instrument classifiers.

    Parameters
    ----------
    sweeps : iterable of Sweep
        One an effect, all of the same clips.
    vectors : callable
        Gives the directions of a sweep by instrument.

    Returns
    -------
    dict
        Means of absolute cosines: ``between_instruments`` (two instruments, the same effect), ``between_effects`` (two
        effects, the same instrument), ``with_own_classifier``, ``with_other_classifiers`` (an instrument's direction
        and the weights of its own and of the others' logistic regressions on clean clips), ``random`` (what random
        directions have); NaN where there is no such pair.
    """
    stack, weights = [], None
    for sweep in sweeps:
        stack.append(list(vectors(sweep).values()))
        if weights is None:
            weights = list(_classifiers(sweep, seed, n_jobs).values())
    stack = np.array(stack)
    effects, instruments, features = stack.shape
    across = np.abs(np.einsum("eid,ejd->eij", stack, stack))
    between = np.abs(np.einsum("eid,fid->efi", stack, stack))
    weights = np.array(weights)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    classifiers = np.abs(np.einsum("eid,jd->eij", stack, weights))
    own = np.broadcast_to(np.eye(instruments, dtype=bool), classifiers.shape)

    def mean(values):
        return values.mean() if values.size else np.nan

    return {
        "between_instruments": mean(across[(slice(None), *np.triu_indices(instruments, 1))]),
        "between_effects": mean(between[np.triu_indices(effects, 1)]),
        "with_own_classifier": mean(classifiers[own]),
        "with_other_classifiers": mean(classifiers[~own]),
        "random": random_cosine(features),
    }


def agreements(sweeps, *, fitted, seed: int, n_jobs: int = 1) -> pd.DataFrame:
    """The agreement of several models, one row each.

    Parameters
    ----------
    sweeps : iterable of Sweep
        Those of a model one after the other, as `aesens.study.Study.sweeps` gives them.
    fitted : callable
        ``fitted(sweep)`` gives what `fitted_subspaces` does.
    seed, n_jobs : int

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``pretrained`` and those of `agreement`.
    """

    def vectors(sweep):
        return direction_vectors(sweep, fitted=fitted(sweep))

    groups = groupby(sweeps, key=lambda sweep: (sweep.model, sweep.pretrained))
    return pd.DataFrame(
        {
            "model": model,
            "pretrained": pretrained,
            **agreement(own, seed=seed, vectors=vectors, n_jobs=n_jobs),
        }
        for (model, pretrained), own in groups
    )
