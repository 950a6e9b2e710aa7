"""The shape of trajectories: how crooked a path is and how many dimensions it fills.

Conventions: `trajectories` is (strength, clip, feature); *rows* or *displacements* may have any leading axes, the
last is the feature, and every row counts alike. Variance is about the mean of the rows, energy about the origin
(no displacement). All sums in float64.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh

from aesens.analysis.statistics import check_trajectories

# Numbers in the block of displacements that is worked on at once.
_BLOCK = 4_000_000

__all__ = [
    "Scatter",
    "displacement_scatter",
    "energy_along",
    "leading_directions",
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

    Spectra and leading directions follow from them.

    Examples
    --------
    >>> scatter = displacement_scatter([[[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]], np.zeros((4, 2)))
    >>> scatter.count, scatter.spectrum().round(3).tolist(), np.abs(scatter.leading(1)).tolist()
    (4, [0.9, 0.1], [[1.0, 0.0]])
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

    def leading(self, k: int) -> np.ndarray:
        """The at most k directions of most energy, orthonormal rows (k, feature), strongest first."""
        d = len(self.products)
        values, vectors = eigh(self.products, subset_by_index=[max(d - k, 0), d - 1])
        keep = values > d * np.finfo(np.float64).eps * max(values[-1], 0.0)
        return vectors[:, keep][:, ::-1].T


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


def leading_directions(displacements: np.ndarray) -> np.ndarray:
    """Right singular vectors (k, feature) of displacements (..., feature), not centred, of as many as their rank.

    An orthonormal basis of their span, the direction that holds most energy first.

    Examples
    --------
    >>> np.abs(leading_directions([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    rows = _rows(displacements)
    # The smaller of the two Gram matrices has the same eigenvalues.
    wide = len(rows) < rows.shape[1]
    values, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    keep = values > len(values) * np.finfo(float).eps * max(values[-1], 0.0)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    return (rows.T @ (vectors / np.sqrt(values))).T if wide else vectors.T


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


def _umap(rows: np.ndarray, seed: int, init: str):
    """Fitted UMAP with neighbourhoods of three, as in the study, which bring out paths."""
    from umap import UMAP  # compiles with numba: seconds that only those who draw it should pay

    return UMAP(n_neighbors=min(3, len(rows) - 1), random_state=seed, n_jobs=1, init=init).fit(rows)


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
