"""Fréchet distance between sets of embeddings, in float64."""

from __future__ import annotations

import numpy as np
from scipy.linalg import svdvals

from aesens.analysis.parallel import each
from aesens.analysis.statistics import check_trajectories

__all__ = ["frechet_curve", "frechet_distance", "frechet_floor"]

# Random halvings of the clean set that the distance's unit is the median of.
_HALVINGS = 10


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    r"""Fréchet distance between two sets of embeddings, each taken as a normal distribution.

    Parameters
    ----------
    a : array, shape (n, feature)
    b : array, shape (m, feature)
        Two sets of at least two embeddings each.

    Returns
    -------
    float
        The squared distance :math:`|\mu_a-\mu_b|^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})`, in squared units
        of the embedding, with unbiased covariances.

    Notes
    -----
    With centred data :math:`C_a = A^T A`, the trace of the matrix square root is the sum of singular values of
    :math:`A B^T`: no square root of a rank-deficient matrix is needed. Where clips outnumber features, these are the
    roots of the eigenvalues of :math:`Y^T Y` with :math:`Y = B V D`, V the principal axes of `a` and D its standard
    deviations along them. The columns of Y descend as D does, which keeps the digits of the small eigenvalues that
    squaring would lose otherwise.

    A set is at distance 0 from itself, but two finite sets of one distribution are a positive distance apart, see
    `frechet_floor`. A covariance of fewer clips than features is rank-deficient, and then the distance depends on the
    number of clips as well as on the distributions: compare values of sets of one size only.

    References
    ----------
    D. Dowson and B. Landau, The Fréchet distance between multivariate normal distributions, J. Multivariate
    Analysis 12, 1982, equation 4. M. Heusel et al., GANs trained by a two time-scale update rule converge to a local
    Nash equilibrium, NeurIPS 2017, equation 6.

    Examples
    --------
    >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
    9.0
    """
    return _frechet(_reference(a), b)


def frechet_curve(clean: np.ndarray, trajectories: np.ndarray, n_jobs: int = 1) -> np.ndarray:
    """`frechet_distance` of the effected set from the clean set at every strength, (strength,)."""
    trajectories, clean = check_trajectories(trajectories, clean)
    (reference,) = each(_reference, [clean])
    return np.array(each(lambda x: _frechet(reference, x), trajectories, n_jobs))


def frechet_floor(clean: np.ndarray, songs: np.ndarray, seed: int = 0, n_jobs: int = 1) -> np.ndarray:
    """Fréchet distances (10,) between random halves of the clean set that share no song.

    The distance that chance alone makes between two sets of half the size, of *other* songs. Effected sets are as large
    as the clean set and hold the same clips, so that their own floor is 0, the distance of the clean set from itself:
    the halves are a unit, not a zero. With fewer clips than features the covariances are rank-deficient and the unit
    depends on the number of clips.
    """
    clean, songs = np.asarray(clean), np.asarray(songs)
    labels = np.unique(songs)
    if len(labels) < 2 or len(songs) != len(clean):
        raise ValueError("the floor needs one song label per clip and at least two songs")
    rng = np.random.default_rng(seed)
    halves = [np.isin(songs, rng.permutation(labels)[: len(labels) // 2]) for _ in range(_HALVINGS)]
    if min(min(half.sum(), (~half).sum()) for half in halves) < 2:
        raise ValueError("each half of the clean set needs at least two clips: use more songs")
    return np.array(each(lambda half: frechet_distance(clean[half], clean[~half]), halves, n_jobs))


def _root(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and a root R with R^T R the covariance."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(
            f"a set of embeddings must have shape (clip, feature) with two or more clips, not {x.shape}"
        )
    mean = x.mean(axis=0)
    return mean, (x - mean) / np.sqrt(len(x) - 1)


def _reference(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, a root (k, feature) with k at most the clips or the features, and the trace of the covariance."""
    mean, root = _root(x)
    trace = float(np.einsum("ij,ij->", root, root))
    if len(root) > root.shape[1]:
        axes = np.linalg.eigh(root.T @ root)[1][:, ::-1]
        # Lengths along the axes, not roots of eigenvalues: those of nothing but rounding are far too long.
        root = (axes * np.linalg.norm(root @ axes, axis=0)).T
    return mean, root, trace


def _frechet(reference: tuple[np.ndarray, np.ndarray, float], x: np.ndarray) -> float:
    mean, root = _root(x)
    if mean.shape != reference[0].shape:
        raise ValueError(f"the sets have {len(reference[0])} and {len(mean)} features")
    product = root @ reference[1].T
    if len(product) > product.shape[1] == len(mean):
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh(product.T @ product), 0.0)).sum()
    else:
        cross = svdvals(product).sum()
    traces = reference[2] + np.einsum("ij,ij->", root, root)
    return float(max(((reference[0] - mean) ** 2).sum() + traces - 2 * cross, 0.0))
