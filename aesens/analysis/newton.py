"""Newton's method for batches of L2 logistic regressions, see `aesens.analysis.logistic` for the problem.

A batch is a grid (set, column): a set is the rows of a training set in a *space*, that of `Kernels` or of `Features`;
columns are its problems, which differ in labels, row weights, cost or subspace.

Newton's method with step halving, each problem started where it is told. The Newton equation is solved by conjugate
gradients in the inner product of w, for all problems in step, and in float32: a direction need not be exact, since
gradients, margins and objectives are float64. One on which they take too long (many rows, hard to separate), or do not
get near, goes over to a dense solve for good. The objective is 1-strongly convex: a gradient norm below
``tolerance * |w|`` bounds the relative error of w.

References
----------
C.-J. Lin, R. Weng, S. Keerthi, "Trust region Newton method for large-scale logistic regression", JMLR 9, 2008.
C. Rasmussen, C. Williams, "Gaussian Processes for Machine Learning", 2006, section 3.4.3 (the dense solve).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

__all__ = ["NEWTON_STEPS", "Features", "Kernels", "newton"]

#: Steps after which a problem counts as failed.
NEWTON_STEPS = 100
_HALVINGS = 40
# The share of a batch that is left at which those that are finished leave it.
_LEFT = 0.7
# Inner steps after which a dense solve is cheaper.
_CG_STEPS = 80
# Newton steps after which float32 is not enough: six will do, but for high costs on rows that are nearly alike.
_COARSE_STEPS = 15
# Accuracy of the Newton direction relative to the gradient: looser costs more Newton steps, tighter more inner ones.
_FORCING = 0.1


def _by_dtype(arrays: tuple, coarse: tuple | None) -> dict:
    """The arrays of a space and the same in float32, by their type."""
    if coarse is None:
        coarse = tuple(array.astype(np.float32) for array in arrays)
    return {np.dtype(np.float64): arrays, np.dtype(np.float32): coarse}


class Kernels:
    """Weights as combinations of training rows: a vector is `a` (set, column, n), with w = X^T a and margins K a.

    ``kernel`` (set, n, n) is that of the features, ``within`` (set, n, k of all subspaces side by side) the rows'
    coordinates in the subspaces, ``owner`` (column, k) is 1 where a column's own are.
    """

    def __init__(self, *arrays: np.ndarray, coarse: tuple | None = None):
        self.kernel, self.within, self.owner = arrays
        self.sets, self.size = self.kernel.shape[:2]
        self._of = _by_dtype(arrays, coarse)

    def apart(self):
        """A set for each subspace, with a K of its own: faster, as long as they stay in the cache."""
        own = [self.within[..., mine > 0] for mine in self.owner]
        kernel = np.stack([self.kernel - part @ part.swapaxes(1, 2) for part in own], axis=1)
        kernel = kernel.reshape(-1, self.size, self.size)
        return Kernels(kernel, np.empty((len(kernel), self.size, 0)), np.empty((1, 0)))

    def take(self, sets, columns):
        """The same for some of the sets and columns."""

        def taken(kernel, within, owner):
            # Large where it is one set alone, so not copied.
            return kernel if len(sets) == self.sets else kernel[sets], within[sets], owner[columns]

        exact, coarse = (taken(*arrays) for arrays in self._of.values())
        return Kernels(*exact, coarse=coarse)

    def margins(self, a):
        """X w of each problem, (set, column, n), in the precision of `a`."""
        kernel, within, owner = self._of[a.dtype]
        out = a @ kernel
        if within.shape[-1]:
            out -= ((a @ within) * owner) @ within.swapaxes(1, 2)
        return out

    def back(self, g):
        """X^T g of each problem, as a vector of this space."""
        return g

    def outside(self, a):
        """Vectors without their part in the column's subspace."""
        return a

    def inner(self, a, fa, b, fb):
        """Inner products of the weights, (set, column); `fa` and `fb` are margins of `a` and `b`."""
        return np.einsum("tcn,tcn->tc", a, fb)

    def weights(self, a, x):
        """Weights (set, column, feature) and intercepts (set, column) of vectors; `x` are the rows."""
        return (a.reshape(len(x), -1, x.shape[1]) @ x).reshape(*a.shape[:-1], -1), a.sum(axis=-1)

    def solve(self, place, curvature, r, fr):
        """(I + X^T W X)^-1 X^T r for one problem, in terms of rows."""
        rows = np.flatnonzero(curvature)
        root = np.sqrt(curvature[rows])
        within = self.within[place[0]][np.ix_(rows, np.flatnonzero(self.owner[place[1]]))]
        b = self.kernel[place[0]][np.ix_(rows, rows)] - within @ within.T
        b *= root[:, None]
        b *= root
        b[np.diag_indices_from(b)] += 1.0
        factor = cho_factor(b, lower=True, overwrite_a=True, check_finite=False)
        solution = r.copy()
        solution[rows] -= root * cho_solve(factor, root * fr[rows], check_finite=False)
        return solution


class Features:
    """Weights as they are: a vector is w itself (set, column, d + 1), outside its column's subspace.

    ``rows`` (set, n, d + 1) are features and the constant 1; ``bases`` (k of all subspaces, d + 1) and ``owner`` as
    above.
    """

    def __init__(self, *arrays: np.ndarray, coarse: tuple | None = None):
        self.rows, self.bases, self.owner = arrays
        self.sets, self.size = len(self.rows), self.rows.shape[-1]
        self._of = _by_dtype(arrays, coarse)

    def take(self, sets, columns):
        """The same for some of the sets and columns."""

        def taken(rows, bases, owner):
            return rows if len(sets) == self.sets else rows[sets], bases, owner[columns]

        exact, coarse = (taken(*arrays) for arrays in self._of.values())
        return Features(*exact, coarse=coarse)

    def margins(self, w):
        """X w of each problem, (set, column, n), in the precision of `w`."""
        return w @ self._of[w.dtype][0].swapaxes(-1, -2)

    def back(self, g):
        """X^T g of each problem, as a vector of this space."""
        return self.outside(g @ self._of[g.dtype][0])

    def outside(self, w):
        """Vectors without their part in the column's subspace."""
        _, bases, owner = self._of[w.dtype]
        return w - ((w @ bases.T) * owner) @ bases

    def inner(self, a, fa, b, fb):
        """Inner products of the weights, (set, column); `fa` and `fb` are margins of `a` and `b`."""
        return np.einsum("tcn,tcn->tc", a, b)

    def weights(self, a, x):
        """Weights (set, column, feature) and intercepts (set, column) of vectors; `x` are the rows."""
        return a[..., :-1], a[..., -1]

    def solve(self, place, curvature, r, fr):
        """(I + X^T W X)^-1 r for one problem, outside its subspace."""
        x, own = self.rows[place[0]], self.bases[self.owner[place[1]] > 0]
        x = x - (x @ own.T) @ own
        hessian = (x * curvature[:, None]).T @ x
        hessian[np.diag_indices_from(hessian)] += 1.0
        return cho_solve(cho_factor(hessian, lower=True, check_finite=False), r, check_finite=False)


def _conjugate_gradients(space, curvature, r, fr, rr, target):
    """Solve H d = -r with H = I + X^T W X for a batch, in float32; returns d and where `target` was missed."""
    # Of a residual of unit length: squares of small ones would be none in float32.
    unit = np.sqrt(np.where(rr > 0, rr, 1.0))
    target = (target / unit**2).astype(np.float32)
    curvature = curvature.astype(np.float32)
    r, fr = ((-x / unit[..., None]).astype(np.float32) for x in (r, fr))
    d, p, fp = np.zeros_like(r), r.copy(), fr.copy()
    rr = space.inner(r, fr, r, fr)
    solved, missed, columns = np.empty_like(d), np.empty(rr.shape, bool), np.arange(rr.shape[1])
    for _ in range(_CG_STEPS):
        running = rr > target
        if not running.any():
            break
        slow = running.any(axis=0)
        if slow.sum() < _LEFT * slow.size:
            solved[:, columns], missed[:, columns] = d, running
            columns, space = columns[slow], space.take(np.arange(space.sets), slow)
            d, p, fp, r, curvature = (x[:, slow] for x in (d, p, fp, r, curvature))
            rr, target, running = rr[:, slow], target[:, slow], running[:, slow]
        curved = curvature * fp
        pp = space.inner(p, fp, p, fp) + np.einsum("tcn,tcn->tc", fp, curved)
        step = np.divide(rr, pp, out=np.zeros_like(rr), where=running & (pp > 0))[..., None]
        d += step * p
        # In place: on small problems new arrays take as long as the sums.
        change = space.back(curved)
        change += p
        change *= step
        r = np.subtract(r, change, out=change)
        fr = space.margins(r)
        new = np.where(running, space.inner(r, fr, r, fr), rr)
        beta = np.divide(new, rr, out=np.zeros_like(rr), where=running & (rr > 0))[..., None]
        for along, residual in ((p, r), (fp, fr)):
            along *= beta
            along += residual
        rr = new
    solved[:, columns], missed[:, columns] = d, rr > target
    return unit[..., None] * solved, missed


def newton(space, sign, bound, a, f, stubborn, tolerance):
    """Minimise in place from (a, f), with C c_i = ``bound`` (set, column, n); returns how many did not converge.

    ``sign`` (column, n) are the labels; ``stubborn`` (set, column) marks, also for later calls, what conjugate
    gradients are too slow for; ``tolerance`` bounds the relative error of the weights.
    """
    finished = np.zeros(bound.shape[:2], bool)
    sets, columns = map(np.arange, finished.shape)
    local, at, x, fx, top, y = space, np.ix_(sets, columns), a, f, bound, sign

    def evaluate(x, fx, top):
        margin = y * fx
        e = np.exp(-np.abs(margin))
        objective = 0.5 * local.inner(x, fx, x, fx)
        objective += np.einsum("tcn,tcn->tc", top, np.log1p(e) + np.maximum(-margin, 0.0))
        return objective, np.where(margin > 0, e, 1.0) / (1.0 + e)

    objective, slope = evaluate(x, fx, top)
    for steps in range(NEWTON_STEPS):
        # Gradient of the objective, as a vector of the space; its margins are needed for its norm.
        r = x - local.back(top * y * slope)
        fr = local.margins(r)
        # Rounding may leave a negative square of weights that are zero, as of rows that are all alike.
        rr, ww = local.inner(r, fr, r, fr), np.abs(local.inner(x, fx, x, fx))
        done = finished[at] | (rr <= tolerance**2 * ww)
        finished[at] = done
        if done.all():
            break
        slow = np.ix_(~done.all(axis=1), ~done.all(axis=0))
        if done[slow].size < _LEFT * done.size:
            # Converged problems leave the batch, so that the slow ones do not keep them busy.
            a[at], f[at] = x, fx
            sets, columns = sets[slow[0].ravel()], columns[slow[1].ravel()]
            local, at, y = space.take(sets, columns), np.ix_(sets, columns), sign[columns]
            x, fx, top, r, fr = x[slow], fx[slow], top[slow], r[slow], fr[slow]
            objective, slope, rr, ww, done = objective[slow], slope[slow], rr[slow], ww[slow], done[slow]
        curvature = top * slope * (1.0 - slope)
        target = np.maximum(_FORCING**2 * rr, (0.3 * tolerance) ** 2 * ww)
        dense = (stubborn[at] | (steps >= _COARSE_STEPS)) & ~done
        target = np.where(done | dense, np.inf, target)
        d, missed = _conjugate_gradients(local, curvature, r, fr, rr, target)
        dense |= missed & ~done
        stubborn[at] |= dense
        for place in zip(*np.nonzero(dense), strict=True):
            d[place] = -local.solve(place, curvature[place], r[place], fr[place])
        # Outside the subspace as float64 has it.
        d = local.outside(d)
        fd = local.margins(d)
        descent = local.inner(r, fr, d, fd)
        length = np.where(done, 0.0, 1.0)
        for _ in range(_HALVINGS):
            new = x + length[..., None] * d, fx + length[..., None] * fd
            new_objective, new_slope = evaluate(*new, top)
            # The slack is rounding: near the optimum the objective no longer tells two points apart.
            slack = 1e-13 * np.abs(objective)
            failed = new_objective > objective + 1e-4 * length * descent + slack
            if not failed.any():
                break
            length = np.where(failed, 0.5 * length, length)
        (x, fx), objective, slope = new, new_objective, new_slope
    a[at], f[at] = x, fx
    return int((~finished).sum())
