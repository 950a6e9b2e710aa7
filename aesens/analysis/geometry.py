"""The shape of trajectories: how crooked a path is and how many dimensions it fills.

Conventions: `trajectories` is (strength, clip, feature); *rows* or *displacements* may have any leading axes, the
last is the feature, and every row counts alike. Variance is about the mean of the rows, energy about the origin
(no displacement). All sums in float64.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from aesens.analysis.parallel import each
from aesens.analysis.statistics import check_trajectories

# Numbers in the block of displacements that is worked on at once.
_BLOCK = 4_000_000

# Random halvings of the songs, of which both halves are looked at.
_HALVINGS = 50

__all__ = [
    "Scatter",
    "dimension_halves",
    "displacement_scatter",
    "energy_along",
    "path_layout",
    "path_over_chord",
    "pca_layout",
    "spectrum_components",
    "spectrum_dimension",
    "umap_layout",
]


def path_over_chord(trajectories: np.ndarray) -> np.ndarray:
    """Length (clip,) of each clip's path (strength, clip, feature) over the distance between its ends.

    1 for a straight line, larger for a crooked one, infinite for one that returns to its start, NaN for a clip that
    never moves.

    Examples
    --------
    >>> path_over_chord([[[0.0, 0.0]], [[3.0, 0.0]], [[3.0, 4.0]]]).tolist()
    [1.4]
    """
    trajectories, _ = check_trajectories(trajectories)
    if len(trajectories) < 2:
        raise ValueError("a path needs at least two strengths")
    pairs = zip(trajectories[:-1], trajectories[1:], strict=True)
    path = sum(np.linalg.norm(after.astype(np.float64) - before, axis=-1) for before, after in pairs)
    chord = np.linalg.norm(trajectories[-1].astype(np.float64) - trajectories[0], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return path / chord


def _rows(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"displacements must have shape (..., feature) with at least one row, not {x.shape}")
    return x.reshape(-1, x.shape[-1])


def spectrum_dimension(spectrum: np.ndarray) -> float:
    r"""Effective number of dimensions of a spectrum of shares, as of `Scatter.spectrum`; NaN if nothing moves.

    The participation ratio :math:`(\sum\lambda)^2 / \sum\lambda^2`: 1 for a line, k for k equally strong directions.

    References
    ----------
    P. Gao et al., A theory of multineuronal dimensionality, dynamics and measurement, bioRxiv 2017, equation 5.
    """
    return float(1.0 / (np.asarray(spectrum) ** 2).sum())


def spectrum_components(spectrum: np.ndarray, fraction: float = 0.9) -> int:
    """Smallest number of components that hold a fraction of a spectrum of shares; 0 if nothing moves."""
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, not {fraction}")
    if np.isnan(spectrum).any():
        return 0
    # Sums of rounded shares may miss the fraction by a few last bits.
    return int(np.searchsorted(np.cumsum(spectrum), fraction - 1e-12) + 1)


@dataclass(frozen=True, eq=False)
class Scatter:
    """Second moments of displacements: how many, their sum (feature,) and the sum of their outer products, not centred.

    Examples
    --------
    >>> scatter = displacement_scatter([[[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]], np.zeros((4, 2)))
    >>> scatter.count, scatter.spectrum().round(3).tolist()
    (4, [0.9, 0.1])
    """

    count: int
    total: np.ndarray = field(repr=False)
    products: np.ndarray = field(repr=False)

    def __add__(self, other: Scatter) -> Scatter:
        return Scatter(self.count + other.count, self.total + other.total, self.products + other.products)

    def spectrum(self) -> np.ndarray:
        """Shares (feature,) of the variance in each principal component, descending; NaN if nothing moves."""
        values = np.linalg.eigvalsh(self.products - np.outer(self.total, self.total / self.count))[::-1]
        # What the subtraction leaves of rows that are all alike is rounding.
        floor = len(values) * np.finfo(np.float64).eps * np.trace(self.products)
        values = np.where(values > floor, values, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return values / values.sum()


def _displacement_blocks(trajectories: np.ndarray, clean: np.ndarray):
    """Clips of a block and their displacements (strength, clip, feature), float64."""
    strengths, clips, features = trajectories.shape
    size = max(1, _BLOCK // (strengths * features))
    for start in range(0, clips, size):
        part = slice(start, start + size)
        yield part, trajectories[:, part].astype(np.float64) - clean[part]


def displacement_scatter(trajectories: np.ndarray, clean: np.ndarray) -> Scatter:
    """Second moments of all displacements in float64, a few clips at a time.

    The displacements themselves, which would fill gigabytes at the study's scale, never exist at once.
    """
    trajectories, clean = check_trajectories(trajectories, clean)
    total, products = np.zeros(clean.shape[1]), np.zeros((clean.shape[1],) * 2)
    for _, moved in _displacement_blocks(trajectories, clean):
        rows = moved.reshape(-1, moved.shape[-1])
        total += rows.sum(axis=0)
        products += rows.T @ rows
    return Scatter(trajectories.shape[0] * trajectories.shape[1], total, products)


def energy_along(
    trajectories: np.ndarray, clean: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Displacement energy of each clip along given directions, and altogether.

    Squared displacements summed over strengths: (clip, k) along the orthonormal rows of the basis (k, feature), and
    (clip,) in all.
    """
    trajectories, clean = check_trajectories(trajectories, clean)
    along, energy = np.empty((len(clean), len(basis))), np.empty(len(clean))
    for part, moved in _displacement_blocks(trajectories, clean):
        along[part] = np.square(moved @ basis.T).sum(axis=0)
        energy[part] = np.einsum("sif,sif->i", moved, moved)
    return along, energy


def dimension_halves(
    trajectories: np.ndarray, clean: np.ndarray, songs: np.ndarray, seed: int = 0, n_jobs: int = 1
) -> np.ndarray:
    r"""Dimensions that hold 90 % of what displacements and clean embeddings spread over, in random halves of the songs.

    Parameters
    ----------
    trajectories : array, shape (strength, clip, feature)
    clean : array, shape (clip, feature)
    songs : array, shape (clip,)
    seed : int
    n_jobs : int
        Threads, as in joblib; the result does not depend on it.

    Returns
    -------
    array, shape (half, 2)
        Principal components of the displacements, about the origin, and of the clean embeddings of the same clips,
        about their mean. Their ratio is near 0 where all clips move along one line, and 1 where displacements fill the
        space as the music does. NaN where a half does not move or is one clip.

    Notes
    -----
    Dimensions grow with the number of vectors, so that each side has one a clip. A clip gives the displacement of one
    strength, drawn with a chance in proportion to its energy :math:`\lVert d_s \rVert^2` and scaled to the energy of
    them all: in the mean over draws, second moments are those of all displacements, and no weak strength makes the
    vectors uneven. Over halves drawn without replacement a statistic varies as that of the whole set does over samples
    (the half-sample jackknife).

    References
    ----------
    J. Shao and C. F. J. Wu, A general theory for jackknife variance estimation, Annals of Statistics 17, 1989.
    """
    trajectories, clean = check_trajectories(trajectories, clean)
    labels, index = np.unique(songs, return_inverse=True)
    energy = np.zeros((len(trajectories), len(clean)))
    for part, moved in _displacement_blocks(trajectories, clean):
        energy[:, part] = np.einsum("sif,sif->si", moved, moved)
    totals, everything = np.cumsum(energy, axis=0), np.arange(len(clean))

    def halving(rng: np.random.Generator) -> list[list[float]]:
        drawn = (totals <= rng.random(len(clean)) * totals[-1]).sum(axis=0).clip(max=len(trajectories) - 1)
        moved = trajectories[drawn, everything].astype(np.float64) - clean
        lengths = np.linalg.norm(moved, axis=1)
        moved *= (np.sqrt(totals[-1]) / np.where(lengths > 0, lengths, 1.0))[:, None]
        first = np.isin(index, rng.permutation(len(labels))[: len(labels) // 2])
        return [[_dimension(moved[half]), _dimension(_centred(clean[half]))] for half in (first, ~first)]

    generators = np.random.default_rng(seed).spawn(_HALVINGS)
    return np.concatenate(each(halving, generators, n_jobs))


def _centred(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x - x.mean(axis=0) if len(x) else x


def _dimension(rows: np.ndarray) -> float:
    """How many of their right singular vectors hold 90 % of the energy of rows (n, feature); NaN if there is none."""
    # The smaller of the two Gram matrices has the same eigenvalues.
    values = np.linalg.eigvalsh(rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows)[::-1]
    if len(rows) < 2 or not values.sum() > 0:
        return np.nan
    return float(spectrum_components(values.clip(min=0.0) / values.clip(min=0.0).sum()))


def pca_layout(x: np.ndarray) -> np.ndarray:
    """Coordinates of embeddings (..., feature) on their first two principal components, (..., 2).

    Each component points to where its largest coordinate is positive; one that the rows cannot fill is zero.
    """
    x = np.asarray(x)
    rows = _rows(x)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    points = np.zeros((len(rows), 2))
    points[:, : len(s)] = (u * s)[:, :2]
    signs = np.sign(points[np.abs(points).argmax(axis=0), [0, 1]])
    return (points * np.where(signs == 0, 1.0, signs)).reshape(*x.shape[:-1], 2)


@cache
def _umap_class():
    """UMAP, whose compiled functions are kept on disk: it would compile them for a quarter of a minute each time.

    numba compiles them again where their file or numba has changed.
    """
    # Imported here: seconds that only those who draw it should pay.
    from numba.core.dispatcher import Dispatcher
    from umap import UMAP, layouts, umap_

    for function in [*vars(layouts).values(), *vars(umap_).values()]:
        if isinstance(function, Dispatcher):
            with suppress(RuntimeError):  # numba found no place to keep it
                function.enable_caching()
    return UMAP


def _umap(rows: np.ndarray, seed: int, init: str):
    """Fitted UMAP with neighbourhoods of three, as in the study, which bring out paths."""
    return _umap_class()(n_neighbors=min(3, len(rows) - 1), random_state=seed, n_jobs=1, init=init).fit(rows)


def path_layout(path: np.ndarray, others: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-dimensional UMAP fitted to one path, with other points placed on it afterwards: the study's picture.

    Parameters
    ----------
    path : array, shape (strength, feature)
        The effected embeddings of one clip, at least three.
    others : array, shape (n, feature)
        What is placed by UMAP's `transform`, such as the clean clip; n may be 0.
    seed : int
        Makes it come out alike every time.

    Returns
    -------
    array, shape (n + strength, 2)
        `others` first.

    Notes
    -----
    The layout starts from the spectral one, UMAP's default, as in the study; with three points there is none, and
    it starts at random.
    """
    path, others = (np.asarray(x, dtype=np.float32) for x in (path, others))
    if len(path) < 3:
        raise ValueError(f"UMAP needs a path of at least three embeddings, not {len(path)}")
    with warnings.catch_warnings():
        # Neighbourhoods of three often leave several components; UMAP lays them out apart and says so.
        warnings.simplefilter("ignore")
        model = _umap(path, seed, "spectral" if len(path) > 3 else "random")
        placed = model.transform(others) if len(others) else np.empty((0, 2))
    return np.concatenate([placed, model.embedding_]).astype(np.float64)


def umap_layout(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-dimensional UMAP (..., 2) of at least four embeddings (..., feature), the same on every run.

    The layout starts from principal components. UMAP's own spectral start draws from numpy's global generator when the
    neighbourhoods form several components, as those of three do, so a seed would not repeat it; it also asks for more
    eigenvectors than a handful of points has.

    References
    ----------
    L. McInnes, J. Healy, J. Melville, UMAP: Uniform Manifold Approximation and Projection, arXiv 1802.03426.
    """
    x = np.asarray(x)
    rows = _rows(x)
    if len(rows) < 4:
        raise ValueError(f"UMAP needs at least four embeddings, not {len(rows)}")
    with warnings.catch_warnings():
        # Neighbourhoods of three often leave several components; UMAP lays them out apart and says so.
        warnings.simplefilter("ignore")
        layout = _umap(rows.astype(np.float32), seed, "pca").embedding_
    return layout.reshape(*x.shape[:-1], 2).astype(np.float64)
