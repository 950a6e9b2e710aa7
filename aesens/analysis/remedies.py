"""Linear post-processing that should make embeddings stand still under effects, beyond projections.

Conventions: a remedy is fitted on training clips as a projection is (`trajectories` (strength, clip, feature) and
`clean` (clip, feature)), blind to what a clip holds, and maps any embeddings X of shape (..., feature) to

    scale X + (X R^T) W + offset,

with few rows in R (`read_`) and W (`write_`): oblique and affine maps, where `aesens.analysis.methods` has orthogonal
ones. Everything comes from the eigenvectors of the smaller of Gram and scatter matrix, so that 2 048 features and some
hundred clips take seconds. Lengths are relative: a shrinkage counts in mean variances, a penalty in mean eigenvalues.

`REMEDIES` says which there are and between which settings a study chooses, on training songs alone. `to_npz` and
`from_npz` keep a fitted one as plain arrays, without pickle.

References
----------
A. Hatch, S. Kajarekar, A. Stolcke, "Within-class covariance normalization for SVM-based speaker recognition",
Interspeech 2006 (WCCN).
A. Solomonoff, W. Campbell, I. Boardman, "Advances in channel compensation for SVM speaker recognition", ICASSP 2005
(NAP).
N. Belrose et al., "LEACE: perfect linear concept erasure in closed form", NeurIPS 2023.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.utils.validation import check_is_fitted

from aesens.analysis.methods import Projection, TrainingParts
from aesens.analysis.projections import Entry, fitted_state, restored

__all__ = [
    "LEACE",
    "NAP",
    "REMEDIES",
    "WCCN",
    "Augmentation",
    "Remedy",
    "RidgeMap",
    "Versions",
    "Whitening",
    "from_npz",
    "is_affine",
    "stack_effects",
    "to_npz",
]

# Eigenvalues of a scatter matrix below this share of the largest are what embeddings in float32 leave by rounding.
_ROUNDING = 1e-10


def _spectrum(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (r,) of ``rows.T @ rows``, descending, zeros left out, and its eigenvectors (r, feature)."""
    dual = len(rows) < rows.shape[1]
    values, vectors = eigh(rows @ rows.T if dual else rows.T @ rows)
    keep = np.flatnonzero(values > _ROUNDING * max(values[-1], 0.0))[::-1]
    values, vectors = values[keep], vectors.T[keep]
    return values, (vectors @ rows) / np.sqrt(values)[:, None] if dual else vectors


class Versions(TrainingParts):
    """Training clips and their effected versions, with the decompositions that several remedies share.

    Parameters
    ----------
    trajectories, clean, reference
        As of `TrainingParts`.
    n_effects : int
        Of how many effects the clips' trajectories are: those of all clips under the first effect come first, see
        `stack_effects`.
    """

    def __init__(self, trajectories, clean, reference=None, *, n_effects: int = 1):
        super().__init__(trajectories, clean, reference)
        self.n_effects = n_effects

    @cached_property
    def all_rows(self) -> np.ndarray:
        """Clean, then effected embeddings, float64, shape (clip + strength * clip, feature)."""
        return np.concatenate(
            [self.clean, self.trajectories.reshape(-1, self.n_features)],
            dtype=np.float64,
            casting="same_kind",
        )

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all rows about their mean."""
        return _spectrum(self.all_rows - self.all_rows.mean(axis=0))

    @cached_property
    def within(self) -> np.ndarray:
        """All rows about the mean of their clip's versions, shape of `all_rows`."""
        # From the displacements, so that what does not move is zero without rounding.
        rows = self.all_rows.reshape(-1, *self.clean.shape) - self.clean
        return (rows - rows.mean(axis=0)).reshape(self.all_rows.shape)

    @cached_property
    def within_spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the rows of `within`."""
        return _spectrum(self.within)


def stack_effects(trajectories: Sequence[np.ndarray], clean: np.ndarray) -> Versions:
    """The same clips under several effects, as training data of one remedy.

    Parameters
    ----------
    trajectories : sequence of array, shape (strength, clip, feature)
        One an effect, of equally many strengths.
    clean : array, shape (clip, feature)
    """
    repeated = np.concatenate([clean] * len(trajectories))
    return Versions(np.concatenate(trajectories, axis=1), repeated, n_effects=len(trajectories))


def _versions(trajectories, clean=None) -> Versions:
    if isinstance(trajectories, Versions):
        return trajectories
    if isinstance(trajectories, TrainingParts):
        trajectories, clean = trajectories.trajectories, trajectories.clean
    if clean is None:
        raise ValueError("fit needs the clean embeddings beside the trajectories")
    return Versions(trajectories, clean)


class Remedy(TransformerMixin, BaseEstimator):
    """Base of the remedies that are affine maps: subclasses set the map in `learn`.

    Attributes
    ----------
    scale_ : float
    read_, write_ : array, shape (k, feature)
    offset_ : array, shape (feature,)
    """

    def fit(self, trajectories: np.ndarray | TrainingParts, clean: np.ndarray | None = None) -> Remedy:
        """Learn the map from training clips: trajectories (strength, clip, feature), clean (clip, feature).

        Both, or the `Versions` that hold them.
        """
        versions = _versions(trajectories, clean)
        nothing = np.empty((0, versions.n_features))
        self._set(1.0, nothing, nothing)
        self.learn(versions)
        return self

    def learn(self, versions: Versions) -> None:
        """Set the map, which is the identity so far."""
        raise NotImplementedError(f"{type(self).__name__} must define learn(versions)")

    def _set(self, scale, read, write, mean=0.0, target=None) -> None:
        """``scale x + ((x - mean) @ read.T) @ write``, and `target` added."""
        self.scale_, self.read_, self.write_ = float(scale), read, write
        offset = -(np.broadcast_to(mean, read.shape[1]) @ read.T) @ write
        self.offset_ = offset if target is None else offset + target

    def transform(self, x: np.ndarray) -> np.ndarray:
        """The remedied embeddings, of the shape (..., feature) and the precision of `x`."""
        check_is_fitted(self, "offset_")
        x = np.asarray(x)
        x = x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float64)
        if x.shape[-1:] != self.offset_.shape:
            raise ValueError(
                f"embeddings of shape {x.shape} do not fit a {type(self).__name__} of {len(self.offset_)} features"
            )
        rows = x.reshape(-1, x.shape[-1])
        read, write, offset = (a.astype(x.dtype, copy=False) for a in (self.read_, self.write_, self.offset_))
        return (x.dtype.type(self.scale_) * rows + (rows @ read.T) @ write + offset).reshape(x.shape)

    def pull_back(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (..., feature) that score embeddings as the given ones score remedied ones, and what to add (...)."""
        check_is_fitted(self, "offset_")
        return self.scale_ * weights + (weights @ self.write_.T) @ self.read_, weights @ self.offset_


def is_affine(method: object) -> bool:
    """Whether a method maps embeddings as `Remedy` does, so that `Remedy.pull_back` says the same of it."""
    return isinstance(method, Remedy) and type(method).transform is Remedy.transform


class NAP(Projection):
    """Nuisance attribute projection: the leading directions in which versions of a clip differ are projected out.

    Parameters
    ----------
    k : int
        How many; those that do not differ at all are never among them.
    """

    def __init__(self, k: int = 5):
        self.k = k

    def learn(self, parts: TrainingParts) -> np.ndarray:
        """At most k rows."""
        return _versions(parts).within_spectrum[1][: self.k]


class _Whitener(Remedy):
    """The inverse square root of a shrunk covariance S: ``(1 - a) S + a tr(S) / d I``."""

    def __init__(self, shrinkage: float | str = "ledoit-wolf"):
        self.shrinkage = shrinkage

    def _whiten(self, rows, spectrum, freedom) -> None:
        values, vectors = spectrum
        if not len(values):
            return
        d = rows.shape[1]
        auto = self.shrinkage == "ledoit-wolf"
        self.shrinkage_ = float(ledoit_wolf_shrinkage(rows, assume_centered=True) if auto else self.shrinkage)
        if not 0 <= self.shrinkage_ <= 1:
            raise ValueError(f"shrinkage={self.shrinkage!r} is neither 'ledoit-wolf' nor between 0 and 1")
        if self.shrinkage_ == 0 and len(values) < d:
            raise ValueError(
                f"{type(self).__name__} without shrinkage needs a covariance of full rank: this one has rank "
                f"{len(values)} of {d}"
            )
        mean = values.sum() / freedom / d
        # Where the data say nothing, in the directions that the eigenvectors leave out, the shrinkage alone speaks.
        base = self.shrinkage_ * mean or mean
        spread = (1 - self.shrinkage_) * values / freedom + self.shrinkage_ * mean
        self._set(base**-0.5, vectors, (spread**-0.5 - base**-0.5)[:, None] * vectors)


class WCCN(_Whitener):
    """Within-class covariance normalisation, a class being a clip with all its versions.

    What moves under effects is made small and what does not is made large: the within-clip covariance of the training
    clips, clean versions included, becomes the identity where nothing is shrunk.

    Parameters
    ----------
    shrinkage : float or "ledoit-wolf"
        Weight of a multiple of the identity in the covariance.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(50, 3))
    >>> moved = clean + rng.normal(size=(9, 50, 3)) * [5, 1, 0.2]
    >>> wccn = WCCN(shrinkage=0).fit(moved, clean)
    >>> within = Versions(wccn.transform(moved), wccn.transform(clean)).within
    >>> (within.T @ within / (9 * 50)).round(6).tolist() == np.eye(3).tolist()
    True
    """

    def learn(self, versions: Versions) -> None:
        """As many rows as there are directions that differ."""
        clips = len(versions.clean)
        self._whiten(versions.within, versions.within_spectrum, len(versions.within) - clips)


class Whitening(_Whitener):
    """Whitening by the covariance of the clean clips, which knows of no effect: the control of `WCCN`."""

    def learn(self, versions: Versions) -> None:
        """As many rows as clips have principal components."""
        rows = versions.clean[: len(versions.clean) // versions.n_effects].astype(np.float64)
        rows -= rows.mean(axis=0)
        self._whiten(rows, _spectrum(rows), max(len(rows) - 1, 1))


class LEACE(Remedy):
    """Least-squares concept erasure: the smallest change after which no linear reader does better than the mean.

    With rows X about their mean and a concept Z, of covariance S = cov(X) and C = cov(X, Z), it is
    ``x - C (C^T S^+ C)^+ C^T S^+ (x - mean)``, the same as with the whitening W = S^(-1/2) of the source
    ``P = W^+ Pi W``, Pi onto the columns of W C.

    Parameters
    ----------
    concept : {"rank", "effected"}
        What is erased: the rank of the strength in (0, 1], 0 for clean clips; or whether a clip is effected at all.
    shrinkage : float
        Weight of a multiple of the identity in S, by which smallness is judged: of fewer rows than features a reader
        can tell anything. Z is guarded against on the training clips whatever it is.
    """

    def __init__(self, concept: str = "rank", shrinkage: float = 0.1):
        self.concept = concept
        self.shrinkage = shrinkage

    def learn(self, versions: Versions) -> None:
        """One row."""
        strengths, clips = versions.trajectories.shape[:2]
        concepts = {"rank": np.arange(1, strengths + 1) / strengths, "effected": np.ones(strengths)}
        if self.concept not in concepts:
            raise ValueError(f"concept={self.concept!r} is neither of {', '.join(concepts)}")
        z = np.repeat(np.concatenate([[0.0], concepts[self.concept]]), clips)
        rows, mean, (values, vectors) = versions.all_rows, versions.all_rows.mean(axis=0), versions.spectrum
        if not len(values) or not len(versions.within_spectrum[0]):
            return
        covariance = (z - z.mean()) @ (rows - mean)
        along = vectors @ covariance
        spread = (1 - self.shrinkage) * values + self.shrinkage * values.sum() / rows.shape[1]
        reader = (along / spread) @ vectors
        self._set(1.0, reader[None], -covariance[None] / (along @ (along / spread)), mean)


class RidgeMap(Remedy):
    """Ridge regression from embeddings, clean or effected, to the clean embedding of the same clip.

    It predicts how far a clip has moved, ``e - c``, and takes that away, so that a strict penalty leaves embeddings as
    they are but for the mean displacement. Blind to the strength.

    Parameters
    ----------
    penalty : float
        In units of the mean eigenvalue of the scatter matrix; `alpha_` is it as scikit-learn's Ridge counts.
    """

    def __init__(self, penalty: float = 1.0):
        self.penalty = penalty

    def learn(self, versions: Versions) -> None:
        """As many rows as the data have dimensions."""
        rows, (values, vectors) = versions.all_rows, versions.spectrum
        mean, clean = rows.mean(axis=0), versions.clean.astype(np.float64)
        back = (clean - rows.reshape(-1, *clean.shape)).reshape(rows.shape)
        self.alpha_ = self.penalty * float(values.mean()) if len(values) else 0.0
        shift = back.mean(axis=0)
        coordinates = (rows - mean) @ vectors.T
        write = coordinates.T @ (back - shift) / (values + self.alpha_)[:, None]
        self._set(1.0, vectors, write, mean, shift)


class Augmentation(Remedy):
    """Classifiers are trained on effected versions of their clips too; embeddings stay as they are.

    Parameters
    ----------
    n_versions : int
        Strengths of each effect, the strongest among them, beside the clean version.
    """

    def __init__(self, n_versions: int = 2):
        self.n_versions = n_versions

    def learn(self, versions: Versions) -> None:
        """Pick the strengths, evenly over the sweep."""
        strengths, _, features = versions.trajectories.shape
        k = min(self.n_versions, strengths)
        chosen = np.ceil(np.arange(1, k + 1) * strengths / k).astype(int) - 1
        self.versions_ = versions.trajectories[chosen].reshape(k * versions.n_effects, -1, features)

    @property
    def versions(self) -> np.ndarray:
        """Further versions of the training clips, in their order, shape (version, clip, feature)."""
        check_is_fitted(self, "versions_")
        return self.versions_


_SHRUNK = tuple({"shrinkage": value} for value in (0.1, 0.01, 0.6))
_DIRECTIONS = tuple({"k": k} for k in (5, 1, 20))
_PENALTIES = tuple({"penalty": value} for value in (0.1, 0.01, 1.0))

#: Name of each remedy and its entry; of its settings a study chooses one on training songs, the first in doubt.
REMEDIES: dict[str, Entry] = {
    "augmentation": Entry(Augmentation, "Augmentation", "#D55E00"),
    "wccn": Entry(WCCN, "WCCN", "#0072B2", settings=_SHRUNK),
    "whitening": Entry(Whitening, "Whitening", "#8A8A8A", control=True, settings=_SHRUNK),
    "nap": Entry(NAP, "NAP", "#56B4E9", settings=_DIRECTIONS),
    "leace-rank": Entry(LEACE, "LEACE (strength)", "#009E73", settings=_SHRUNK),
    "leace-effected": Entry(lambda: LEACE("effected"), "LEACE (effected)", "#7CCDB5", settings=_SHRUNK),
    "ridge": Entry(RidgeMap, "Ridge map", "#CC79A7", settings=_PENALTIES),
}

_KINDS = {kind.__name__: kind for kind in (LEACE, NAP, WCCN, Augmentation, RidgeMap, Whitening)}


def to_npz(remedy: BaseEstimator, path: str | os.PathLike) -> None:
    """Write a fitted remedy of this module as plain arrays, see `from_npz`.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> clean, path = np.eye(4), mkdtemp() + "/nap.npz"
    >>> nap = NAP(k=1).fit(clean + np.ones((3, 4, 4)), clean)
    >>> to_npz(nap, path)
    >>> bool((from_npz(path).transform(clean) == nap.transform(clean)).all())
    True
    """
    kind = type(remedy).__name__
    if _KINDS.get(kind) is not type(remedy):
        raise ValueError(f"{kind} is no remedy of this module; there are {', '.join(_KINDS)}")
    about = {"kind": kind, "settings": json.dumps(remedy.get_params(), default=lambda number: number.item())}
    with open(path, "wb") as file:
        np.savez(file, **about, **fitted_state(remedy))


def from_npz(path: str | os.PathLike) -> BaseEstimator:
    """Read a fitted remedy; nothing in the file is executed, and another file is a ValueError."""
    with np.load(path, allow_pickle=False) as file:
        state = {name: file[name] for name in file.files}
    kind = str(state.pop("kind", ""))
    if kind not in _KINDS:
        raise ValueError(f"{path} holds no remedy of {', '.join(_KINDS)}")
    return restored(_KINDS[kind](**json.loads(str(state.pop("settings")))), state)
