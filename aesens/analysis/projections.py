"""The registry of projections: what is known of each method by its name, and fitting them all.

An entry carries all that is said of a projection in tables and figures, so that adding one is one call of
`register_projection` and no meaning hides in a name. The methods themselves are in `aesens.analysis.methods`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, clone

from aesens.analysis.methods import (
    AverageDisplacement,
    GlobalCCAProjection,
    LDAProjection,
    NoProjection,
    NormalisedPCAProjection,
    PCAProjection,
    Projection,
    RandomDirection,
    RandomSubspace,
    SampleWiseSubspace,
    TrainingParts,
    remove,
)
from aesens.analysis.statistics import derived_seed

__all__ = [
    "PROJECTIONS",
    "Entry",
    "Projection",
    "added",
    "controls",
    "fit_all",
    "fitted_state",
    "from_states",
    "make_projection",
    "register_projection",
    "remove",
    "removes",
    "restored",
    "states",
]


@dataclass(frozen=True)
class Entry:
    """A projection or remedy of a registry, with what tables and figures say of it.

    Attributes
    ----------
    factory : callable
        Returns an unfitted `Projection`, or another estimator with its `fit` and a `transform`: a class, or a function
        of no arguments.
    title : str
        For legends.
    colour : str, optional
        Hex code; by default the next free one of those for additions.
    family : str, optional
        Entries of one family are one method in several settings: they count once among the methods.
    control : bool
        Whether it removes what was drawn at random: a method must do better than that.
    drawn : bool
        Whether figures of curves show it. They hold about ten, so that the others stay in the tables.
    one_direction : bool, optional
        Whether it finds one direction, to be compared with those of others. By default what is fitted tells.
    settings : tuple of dict
        Parameters that chapter 8 chooses between on training songs, the first in doubt.
    """

    factory: Callable[[], Projection]
    title: str
    colour: str | None = None
    family: str | None = None
    control: bool = False
    drawn: bool = True
    one_direction: bool | None = None
    settings: tuple[dict, ...] = ({},)


#: Name of each projection and its entry; the study's come first.
PROJECTIONS: dict[str, Entry] = {}
_SHIPPED: frozenset[str] = frozenset()


def register_projection(
    name: str, factory: Callable[[], Projection], *, title: str | None = None, **about
) -> None:
    """Enter a projection under a name, by which profiles, tables and figures know it.

    Parameters
    ----------
    name : str
        A new name, or that of an own projection to replace.
    factory : callable
        Returns an unfitted `Projection`, or another estimator that has its `fit` and a `transform` of its own.
    title : str, optional
        The name by default.
    **about
        Further attributes of `Entry`, such as ``colour``, ``family`` and ``control``.

    Raises
    ------
    ValueError
        If the name is that of one of the package's projections.

    Examples
    --------
    >>> register_projection("mine", AverageDisplacement, title="My method")
    >>> make_projection("mine"), PROJECTIONS["mine"].title
    (AverageDisplacement(), 'My method')
    >>> _ = PROJECTIONS.pop("mine")
    """
    if name in _SHIPPED:
        raise ValueError(f"a projection named {name!r} exists already; choose another name")
    PROJECTIONS[name] = Entry(factory, name if title is None else title, **about)


def added() -> dict[str, Entry]:
    """Projections registered from outside the package, in their order."""
    return {name: entry for name, entry in PROJECTIONS.items() if name not in _SHIPPED}


def controls() -> list[str]:
    """Names of the projections that remove what was drawn at random."""
    return [name for name, entry in PROJECTIONS.items() if entry.control]


def make_projection(name: str, seed: int = 0) -> Projection:
    """Make the unfitted projection of a name.

    Parameters
    ----------
    name : str
        A key of `PROJECTIONS`.
    seed : int
        Methods that draw at random get a seed of their own from it and the name; with the same one, the random
        direction would lie in every random subspace.

    Returns
    -------
    Projection

    Examples
    --------
    >>> make_projection("svd-0.4")
    SampleWiseSubspace(threshold=0.4)
    """
    if name not in PROJECTIONS:
        raise ValueError(f"no projection is named {name!r}; there are {', '.join(PROJECTIONS)}")
    projection = clone(PROJECTIONS[name].factory())
    if "seed" in projection.get_params():
        projection.set_params(seed=derived_seed(seed, name))
    return projection


def fit_all(
    trajectories: np.ndarray, clean: np.ndarray, seed: int = 0, reference: np.ndarray | None = None
) -> dict[str, np.ndarray | BaseEstimator]:
    """Fit all projections on the same training clips; what several need is computed once.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
    clean : array, shape (clip, feature)
    seed : int
        Seed of the random controls.
    reference : array, shape (rank,), optional
        As of `TrainingParts`.

    Returns
    -------
    dict of str to array, shape (k, feature), or estimator
        By name, in the order of `PROJECTIONS`: orthonormal rows to `remove`, k being 0 for what removes nothing; or
        what was fitted where it has a `transform` of its own.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.standard_normal((20, 6))
    >>> rows = fit_all(clean + rng.standard_normal((5, 20, 6)), clean)
    >>> {name: rows[name].shape for name in ("none", "average", "random")}
    {'none': (0, 6), 'average': (1, 6), 'random': (1, 6)}
    """
    parts = TrainingParts(trajectories, clean, reference)
    return {name: removes(make_projection(name, seed).fit(parts)) for name in PROJECTIONS}


def removes(fitted: BaseEstimator) -> np.ndarray | BaseEstimator:
    """The orthonormal rows that stand for a fitted method, or itself if its `transform` is its own."""
    return fitted.components_ if getattr(type(fitted), "transform", None) is Projection.transform else fitted


def fitted_state(fitted: BaseEstimator) -> dict[str, np.ndarray]:
    """What an estimator has learned, its attributes that end in ``_``, as arrays; `restored` takes them.

    Raises
    ------
    ValueError
        If one of them is neither an array nor a number.
    """
    state = {
        name: np.asarray(value)
        for name, value in vars(fitted).items()
        if name.endswith("_") and name[0] != "_"
    }
    for name, value in state.items():
        if value.dtype.hasobject:
            raise ValueError(
                f"{type(fitted).__name__}.{name} cannot be kept: "
                "what a method learns must be arrays or numbers"
            )
    return state


def restored(unfitted: BaseEstimator, state: dict[str, np.ndarray]) -> BaseEstimator:
    """An estimator with what another of its kind has learned."""
    for name, value in state.items():
        setattr(unfitted, name, value if value.ndim else value.item())
    return unfitted


def states(fits: dict[str, dict]) -> dict[str, dict]:
    """What methods have learned, by method and instrument, as arrays alone: rows, or a dictionary of `fitted_state`."""
    return {
        name: {code: fit if isinstance(fit, np.ndarray) else fitted_state(fit) for code, fit in of.items()}
        for name, of in fits.items()
    }


def from_states(kept: dict[str, dict], seed: int = 0) -> dict[str, dict]:
    """The methods again whose `states` these are."""
    return {
        name: {
            code: restored(make_projection(name, seed), state) if isinstance(state, dict) else state
            for code, state in of.items()
        }
        for name, of in kept.items()
    }


def _register_shipped() -> None:
    """The study's projections: one hue for the one-direction methods' kin, greys for no projection and the controls."""
    single = {"one_direction": True}
    register_projection("none", NoProjection, title="None", colour="#000000", one_direction=False)
    register_projection("lda", LDAProjection, title="LDA", colour="#D55E00", **single)
    register_projection(
        "average", AverageDisplacement, title="Average displacement", colour="#E69F00", **single
    )
    register_projection("pca", PCAProjection, title="PCA", colour="#0072B2", **single)
    register_projection("npca", NormalisedPCAProjection, title="Normalised PCA", colour="#56B4E9", **single)
    register_projection("cca", GlobalCCAProjection, title="Global CCA", colour="#CC79A7", **single)
    for threshold, colour in ((0.3, "#004D38"), (0.4, "#009E73"), (0.5, "#7CCDB5")):
        register_projection(
            f"svd-{threshold}",
            lambda t=threshold: SampleWiseSubspace(t),
            title=f"CCA SVD, t = {threshold}",
            colour=colour,
            family="CCA SVD",
            drawn=threshold != 0.4,
            one_direction=False,
        )
    register_projection(
        "random", RandomDirection, title="Random direction", colour="#A6A6A6", control=True, **single
    )
    for threshold, colour in ((0.3, "#6E6E6E"), (0.4, "#8A8A8A"), (0.5, "#BFBFBF")):
        register_projection(
            f"random-svd-{threshold}",
            lambda t=threshold: RandomSubspace(t),
            title=f"Random subspace ({threshold})",
            colour=colour,
            control=True,
            drawn=threshold == 0.3,
            one_direction=False,
        )


_register_shipped()
_SHIPPED = frozenset(PROJECTIONS)
