"""What the study measures of one sweep, as tidy tables.

Each function takes an `aesens.sweep.EffectSweep` (any object with its attributes does) and settings, calls the analysis
modules and returns a DataFrame without the columns that name the model and effect; `aesens.study.Study.collect` adds
those. Nothing here reads or writes a file, and every random draw is seeded by an argument.

Conventions: where there is a p-value, the size of the effect stands beside it, and ``above_null`` says how far it lies
above the mean of its permutation null. `jobs` is a number of threads, on which no result depends. `fitted` is what
`fitted_subspaces` returns, for callers who need it for several measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import chain
from operator import add

import numpy as np
import pandas as pd
from scipy.special import gammaln

from aesens import directions, projections, sensitivity, trajectories
from aesens.classify import auc_change, auc_loss, classifier_weights, classify, metric_table
from aesens.data import sort_instruments, spread_over_instruments
from aesens.parallel import each
from aesens.statistics import bootstrap_songs, derived_seed, holm, permutation_p_value, weighted_spearman

__all__ = [
    "agreement",
    "classification",
    "classifier_cosines",
    "clean_classification",
    "clip_umap",
    "decoding",
    "direction_points",
    "direction_vectors",
    "distances",
    "fitted_subspaces",
    "geometry",
    "global_directions",
    "layout",
    "method_cosines",
    "normalised_pca",
    "projected",
    "random_cosine",
    "response",
    "samplewise",
    "spectra",
]

#: Name of the row of all instruments together.
POOLED = "all"

# What the names of the CCA SVD begin with: one method, of several thresholds.
_THRESHOLDED = "svd-"

# Projections of one dimension whose directions are compared with one another.
_ONE_DIMENSIONAL = ("lda", "average", "pca", "npca", "cca", "random")


def distances(
    sweep, *, resamples: int, seed: int, measures: Sequence[str] = ("cosine", "l2", "frechet"), jobs: int = 1
) -> pd.DataFrame:
    """Distance of the effected from the clean clips at each strength.

    Parameters
    ----------
    sweep : EffectSweep
    resamples : int
        Bootstrap resamples over songs.
    seed, jobs : int
    measures : sequence of str
        Which of them.

    Returns
    -------
    pandas.DataFrame
        Columns ``strength``, ``parameter``, ``measure`` (``cosine``, ``l2`` in units of the median distance of two
        clean clips, ``frechet`` in units of the median distance of two song-disjoint halves of the clean set),
        ``value``, ``low``, ``high`` (95 %, over songs; the Fréchet distance, one number a set, has none).

    Notes
    -----
    The Fréchet distance of the clean set from itself is 0; 1 is that of two halves of other songs. Where clips are
    fewer than features, covariances are rank-deficient and both depend on the number of clips: models and effects
    compare on the same clips, runs of different size do not.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = distances(sweep, resamples=20, seed=0)
    >>> sorted(set(table["measure"])), len(table)
    (['cosine', 'frechet', 'l2'], 12)
    """
    by_clip = {"cosine": sensitivity.cosine_distance, "l2": sensitivity.l2_distance}
    base = {"strength": np.arange(len(sweep.parameters)), "parameter": sweep.parameters}
    parts = []
    for name, distance in by_clip.items():
        if name in measures:
            values = distance(sweep.clean, sweep.trajectories)
            interval = bootstrap_songs(values.T, sweep.songs, resamples, seed=seed)
            parts.append(pd.DataFrame({**base, "measure": name, **interval._asdict()}))
    if "frechet" in measures:
        floor = np.median(sensitivity.frechet_floor(sweep.clean, sweep.songs, seed=seed, jobs=jobs))
        curve = sensitivity.frechet_curve(sweep.clean, sweep.trajectories, jobs) / floor
        parts.append(pd.DataFrame({**base, "measure": "frechet", "estimate": curve}))
    return pd.concat(parts, ignore_index=True).rename(columns={"estimate": "value"})


def response(sweep, *, permutations: int, resamples: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Whether the distance grows with strength, and whether it grows in jumps.

    Parameters
    ----------
    sweep : EffectSweep
    permutations, resamples, seed, jobs : int

    Returns
    -------
    pandas.DataFrame
        One row: ``moved``, the mean L2 distance from the clean clips at the strength where it is largest, in units of
        the median distance of two clean clips, with its interval; mean Spearman and Kendall correlations of the cosine
        distance with the departure from the identity, the former with its interval, the 95 % quantile of its
        permutation null, its distance from the null's mean (``above_null``) and p-value; medians over clips of the
        longest step and the onset jump in units of the median step; ``jump``, with its interval.

    Notes
    -----
    A clip that never moves counts with a correlation of 0, since its distance does not grow; a clip whose embedding is
    zero somewhere has no cosine distance there and is left out of correlations and null alike. ``jump`` is the median
    over clips of `aesens.sensitivity.jump_ratio`, in which smooth acceleration is no jump.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> row = response(sweep, permutations=20, resamples=20, seed=0).iloc[0]
    >>> bool(row["spearman"] > row["spearman_null"]), bool(row["moved_low"] > 1)
    (True, True)
    """
    distance = sensitivity.cosine_distance(sweep.clean, sweep.trajectories)
    order = sweep.effect.departure(sweep.parameters)
    paths = sweep.trajectories, sweep.clean, sweep.effect.identity_inside
    places = np.array([np.abs(sweep.effect.grid - value).argmin() for value in sweep.parameters])

    def movement():
        lengths = sensitivity.l2_distance(sweep.clean, sweep.trajectories)
        return bootstrap_songs(lengths[lengths.mean(axis=1).argmax()], sweep.songs, resamples, seed=seed)

    def growth():
        exists = np.isfinite(distance).all(axis=0)
        clips = sensitivity.monotonicity(distance, order).fillna(0.0)[exists].reindex(range(len(exists)))
        return clips, bootstrap_songs(clips["spearman"].to_numpy(), sweep.songs, resamples, seed=seed)

    def jumps():
        jump = sensitivity.jump_ratio(*paths, places)
        interval = bootstrap_songs(
            lambda clip: np.median(jump[clip]), sweep.songs, resamples, seed=seed, by="indices"
        )
        return sensitivity.discontinuity(*paths), interval

    def chance():
        return sensitivity.monotonicity_null(distance, order, permutations, seed)

    parts = each(lambda part: part(), (chance, jumps, growth, movement), jobs)
    (_, null, p_value), (steps, interval), (clips, spearman), moved = parts
    return pd.DataFrame(
        [
            {
                "moved": moved.estimate,
                "moved_low": moved.low,
                "moved_high": moved.high,
                "spearman": spearman.estimate,
                "spearman_low": spearman.low,
                "spearman_high": spearman.high,
                "spearman_null": np.quantile(null, 0.95),
                "above_null": spearman.estimate - null.mean(),
                "p": p_value,
                "kendall": clips["kendall"].mean(),
                "largest_step": steps["largest_over_median"].median(),
                "onset_jump": steps["onset_over_median"].median(),
                "jump": interval.estimate,
                "jump_low": interval.low,
                "jump_high": interval.high,
            }
        ]
    )


def layout(sweep, *, method: str, clips: int, seed: int) -> pd.DataFrame:
    """Trajectories of a few clips on a plane.

    Parameters
    ----------
    sweep : EffectSweep
    method : {"umap", "pca"}
    clips : int
        How many, spread over the instruments.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``clip``, ``instrument``, ``strength`` (-1 for the clean clip), ``x``, ``y``.

    Raises
    ------
    ValueError
        If there is no such method.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = layout(sweep, method="pca", clips=3, seed=0)
    >>> len(table), sorted(set(table["strength"]))
    (15, [-1, 0, 1, 2, 3])
    """
    layouts = {"umap": lambda x: trajectories.umap_layout(x, seed=seed), "pca": trajectories.pca_layout}
    if method not in layouts:
        raise ValueError(f"method={method!r} is not one of {sorted(layouts)}")
    chosen = spread_over_instruments(sweep.clips, clips)
    points = layouts[method](np.concatenate([sweep.clean[None, chosen], sweep.trajectories[:, chosen]]))
    strengths = np.arange(-1, len(sweep.parameters))
    return pd.DataFrame(
        {
            "clip": np.tile(sweep.clips.index[chosen], len(strengths)),
            "instrument": np.tile(sweep.instruments[chosen], len(strengths)),
            "strength": np.repeat(strengths, len(chosen)),
            "x": points[..., 0].ravel(),
            "y": points[..., 1].ravel(),
        }
    )


def clip_umap(sweep, *, seed: int, instrument: str | None = None) -> pd.DataFrame:
    """UMAP of one clip's trajectory as the study draws it, and of a straight path beside it.

    The layout is fitted to the clip's effected embeddings; its clean one is placed on it afterwards.

    Parameters
    ----------
    sweep : EffectSweep
    seed : int
    instrument : str, optional
        Whose first clip is drawn, one of the training clips if there are any; by default the first instrument's.

    Returns
    -------
    pandas.DataFrame
        Columns ``kind``, ``clip``, ``instrument``, ``strength`` (-1 for the clean clip), ``x``, ``y``, and
        ``longest_step``, the longest step between neighbouring strengths in medians of all steps, of the layout and,
        as ``longest_step_in_space``, of the embeddings. Kinds: ``clip``; ``straight``, as many points in as many
        dimensions on a straight line, a step apart, with noise of a hundredth of a step, which has no clean clip.

    Raises
    ------
    ValueError
        If there is no clip of the instrument.
    """
    code = sort_instruments(sweep.instruments)[0] if instrument is None else instrument
    mine = np.flatnonzero(sweep.instruments == code)
    if not len(mine):
        raise ValueError(
            f"instrument={code!r} has no clip; there are {', '.join(sort_instruments(sweep.instruments))}"
        )
    clip = mine[np.argmax(sweep.train[mine])]
    path = sweep.trajectories[:, clip].astype(np.float64)
    rng = np.random.default_rng(derived_seed(seed, "clip_umap", sweep.model, sweep.effect.name))
    along, *noise = rng.standard_normal((1 + len(path), path.shape[1]))
    straight = np.arange(len(path))[:, None] * along / np.linalg.norm(along)
    straight += 0.01 * np.array(noise) / np.sqrt(path.shape[1])
    drawn = {"clip": (path, sweep.clean[[clip]]), "straight": (straight, straight[:0])}
    parts = []
    for kind, (points, clean) in drawn.items():
        placed = trajectories.path_layout(points, clean, seed=seed)
        table = pd.DataFrame(
            {
                "kind": kind,
                "clip": sweep.clips.index[clip],
                "instrument": code,
                "strength": np.arange(-len(clean), len(points)),
                "x": placed[:, 0],
                "y": placed[:, 1],
            }
        )
        steps = [np.linalg.norm(np.diff(x, axis=0), axis=1) for x in (placed[len(clean) :], points)]
        longest = [step.max() / np.median(step) if np.median(step) > 0 else np.nan for step in steps]
        parts.append(table.assign(longest_step=longest[0], longest_step_in_space=longest[1]))
    return pd.concat(parts, ignore_index=True)


def geometry(sweep, *, resamples: int, seed: int, subspace: int = 5) -> pd.DataFrame:
    """Shape of the trajectories and dimension of the displacements.

    Parameters
    ----------
    sweep : EffectSweep
    resamples, seed : int
    subspace : int
        Dimension of the subspace whose share of the held-out energy gets an interval.

    Returns
    -------
    pandas.DataFrame
        One row: median path over chord, participation ratio, components for 90 % of the displacement variance, and,
        where there is a split, the share of the test songs' displacement energy in the best 1, 3, ... dimensions of
        the training songs, the one for `subspace` with its interval over songs; ``dimensions_90_held_out``, the number
        of the training songs' best dimensions that hold 90 % of that energy, and beside it ``dimensions_90_clean``,
        the same for the differences between clean clips (deviations from their mean).

    Notes
    -----
    Training clips span no more dimensions than their rank, so that the numbers of dimensions are at most that; they
    are infinite where even the whole span holds less than 90 %, and NaN where nothing moves.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> bool(geometry(sweep, resamples=20, seed=0)["participation_ratio"].iloc[0] < 2)
    True
    """
    train, test = sweep.train, sweep.test
    sides = [side for side in (train, test, ~(train | test)) if side.any()]
    parts = [
        trajectories.displacement_scatter(sweep.trajectories[:, side], sweep.clean[side]) for side in sides
    ]
    spectrum = reduce(add, parts).spectrum()
    row = {
        "path_over_chord": pd.Series(trajectories.path_over_chord(sweep.trajectories)).median(),
        "participation_ratio": trajectories.spectrum_dimension(spectrum),
        "components_90": trajectories.spectrum_components(spectrum, 0.9),
    }
    if train.any() and test.any():
        axes = parts[0].leading(sweep.clean.shape[1])
        captured, energy = trajectories.energy_along(
            sweep.trajectories[:, test], sweep.clean[test], axes[:20]
        )
        held = captured[:, :subspace].sum(axis=1)
        # Where nothing moves, the share is undefined.
        with np.errstate(invalid="ignore"):
            for k in (1, 3, 10, 20):
                row[f"energy_{k}"] = captured[:, :k].sum() / energy.sum()
            share = bootstrap_songs(
                lambda weights: (weights @ held) / (weights @ energy), sweep.songs[test], resamples, seed=seed
            )
        row |= {"energy": share.estimate, "energy_low": share.low, "energy_high": share.high}
        clean, held_out = (sweep.clean[side] - sweep.clean[side].mean(axis=0) for side in (train, test))
        along = held_out @ trajectories.leading_directions(clean).T
        # Of the second moments, which are at hand: the displacements along all axes would take as long as all the rest.
        moved = np.einsum("kd,kd->k", axes @ parts[1].products, axes)
        row["dimensions_90_held_out"] = _dimensions_for(moved, energy.sum(), 0.9)
        differing = np.square(along).sum(axis=0), np.square(held_out).sum()
        row["dimensions_90_clean"] = _dimensions_for(*differing, 0.9)
    return pd.DataFrame([row])


def _dimensions_for(captured: np.ndarray, energy: float, fraction: float) -> float:
    """How many of the axes hold a fraction of the energy; infinite if all together do not, NaN if there is none."""
    if not energy > 0:
        return np.nan
    enough = np.cumsum(captured) >= fraction * energy
    return float(enough.argmax() + 1) if enough.any() else np.inf


def samplewise(sweep, *, permutations: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Fit of the sample-wise directions: in-sample, on strengths left out, on other songs, and of what has none.

    Parameters
    ----------
    sweep : EffectSweep
        Its training clips are used, as in the study; all clips where there is no split.
    permutations, seed, jobs : int

    Returns
    -------
    pandas.DataFrame
        Columns ``clip``, ``kind`` and ``value``. Kinds, a row a clip: ``in-sample`` (squared Spearman correlation),
        ``held-out`` (R^2 on strengths left out), ``held-out rho`` (their Spearman correlation, which is bounded),
        ``null`` (``held-out`` of one shuffle of the strengths), ``transfer`` (mean Spearman correlation, with its sign,
        over training clips of other songs on the clip's direction); ``in-sample`` and ``held-out`` of white noise of
        the same shape, as ``noise in-sample`` and so on; these and the transfer of random walks with the clips' own
        step lengths, as ``walk in-sample`` and so on. Two kinds with one row (``clip == "all"``): ``p`` and ``p rho``,
        the share of shuffles whose median over clips reaches that of ``held-out`` and of ``held-out rho``, the
        observed order counted among them.

    Notes
    -----
    The in-sample numbers of few strengths are 1 for anything, those on strengths left out for anything smooth, with a
    small p: shuffled strengths are not smooth. Only the transfer tells a direction from a walk; it is that of a
    direction which clips share, and 0 where each has one of its own.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> table = samplewise(synthetic_sweep("line", features=200, strengths=8), permutations=19, seed=0)
    >>> median = table.groupby("kind")["value"].median()
    >>> [bool(median[kind] > 0.9) for kind in ("in-sample", "noise in-sample", "walk held-out", "transfer")]
    [True, True, True, True]
    >>> bool(abs(median["walk transfer"]) < 0.1), float(median["p"])
    (True, 0.05)
    """

    sweep = sweep.take(_fitted_on(sweep))

    def seed_of(name):
        return derived_seed(seed, "samplewise", sweep.model, sweep.effect.name, name)

    def values_of(prefix):
        """Values by kind, an array (clip,) or a number."""
        x = sweep.trajectories
        # Made in here: only what is worked on is in memory.
        if prefix == "noise ":
            x, rng = np.empty(x.shape, np.float32), np.random.default_rng(seed_of("noise"))
            for strength in x:
                strength[:] = rng.standard_normal(strength.shape)
        elif prefix == "walk ":
            x = directions.random_walks(x, seed_of("walk"))
        report = directions.samplewise_report(
            x,
            n_permutations=0 if prefix else permutations,
            seed=seed_of("shuffles"),
            parameter=sweep.parameters,
        )
        values = {"in-sample": report.clips["in_sample"], "held-out": report.clips["held_out_r2"]}
        if not prefix:
            # One shuffle a clip: its spread is then that of single clips, as the data's is.
            values |= {"held-out rho": report.clips["held_out_rho"], "null": report.null[0]}
            values |= {"p": report.summary["p_value"], "p rho": report.summary["p_rho"]}
        if prefix != "noise ":
            values["transfer"] = directions.transfer(x, sweep.songs, seed=seed_of("others"))
        return {prefix + kind: value for kind, value in values.items()}

    found = each(values_of, ("", "noise ", "walk "), jobs)
    parts = [
        pd.DataFrame({"clip": sweep.clips.index, "kind": kind, "value": np.asarray(value)})
        if np.ndim(value)
        else pd.DataFrame({"clip": [POOLED], "kind": kind, "value": value})
        for kind, value in chain.from_iterable(values.items() for values in found)
    ]
    return pd.concat(parts, ignore_index=True)


def _fitted_on(sweep) -> np.ndarray:
    """Mask of the clips that directions are fitted to one at a time: training clips, or all without a split."""
    return sweep.train if sweep.train.any() else np.ones(len(sweep.clips), bool)


def spectra(sweep, *, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Normalised singular values of each instrument's sample-wise directions, clean embeddings and random unit vectors.

    Parameters
    ----------
    sweep : EffectSweep
        Its training clips are used; all clips where there is no split.
    seed, jobs : int

    Returns
    -------
    pandas.DataFrame
        Columns ``instrument``, ``kind`` (``directions``; ``clean``, of the embeddings centred on their mean;
        ``random``, as many unit vectors), ``rank`` (from 1), ``value``. The values of ``directions`` are those that
        `aesens.projections.SampleWiseSubspace` compares with its threshold.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = spectra(sweep, seed=0)
    >>> set(table.loc[table["rank"] == 1, "value"].round(6)), table["instrument"].nunique()
    ({1.0}, 3)
    """
    chosen = _fitted_on(sweep)

    def of_one(code):
        mine = chosen & (sweep.instruments == code)
        found = directions.samplewise_directions(sweep.trajectories[:, mine])
        own = derived_seed(seed, "spectra", sweep.model, sweep.effect.name, code)
        noise = np.random.default_rng(own).standard_normal(found.shape)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        stacks = {"directions": found, "clean": sweep.clean[mine], "random": noise}
        parts = []
        for kind, rows in stacks.items():
            values = directions.singular_spectrum(rows, kind == "clean")
            ranks = np.arange(1, len(values) + 1)
            parts.append(pd.DataFrame({"instrument": code, "kind": kind, "rank": ranks, "value": values}))
        return pd.concat(parts)

    codes = [str(code) for code in sort_instruments(sweep.instruments[chosen])]
    return pd.concat(each(of_one, codes, jobs), ignore_index=True)


def _instruments(sweep):
    """Instruments with clips on both sides of the split, with their masks."""
    for code in sort_instruments(sweep.instruments):
        mine = sweep.instruments == code
        if (mine & sweep.train).any() and (mine & sweep.test).any():
            yield str(code), mine & sweep.train, mine & sweep.test


def global_directions(
    sweep, *, permutations: int, seed: int, resamples: int = 1000, jobs: int = 1
) -> pd.DataFrame:
    """Global CCA direction of each instrument, in-sample and on held-out songs.

    Parameters
    ----------
    sweep : EffectSweep
    permutations, seed : int
    resamples : int
        Bootstrap resamples over test songs.
    jobs : int

    Returns
    -------
    pandas.DataFrame
        One row an instrument: squared Spearman correlations ``in_sample`` and ``held_out``, the latter with ``low`` and
        ``high`` (95 %, over test songs, the direction as it is), the 95 % quantile of its null and the distance from
        the null's mean, the predictive ``held_out_r2``, p-value, and whether it is below 0.05 after Holm's correction
        over the instruments. Instruments have shuffles of their own.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = global_directions(sweep, permutations=19, seed=0)
    >>> table["instrument"].is_unique and {"in_sample", "held_out"} <= set(table)
    True
    """

    def row(side):
        code, train, test = side
        report = directions.global_direction_report(
            sweep.trajectories[:, train],
            sweep.trajectories[:, test],
            parameter=sweep.parameters,
            n_permutations=permutations,
            seed=derived_seed(seed, "global_directions", sweep.model, sweep.effect.name, code),
            in_sample_null=False,
        )
        interval = bootstrap_songs(
            lambda weights: _squared_spearman(report.projections, sweep.parameters, weights),
            sweep.songs[test],
            resamples,
            seed=seed,
        )
        return {
            "instrument": code,
            "train_songs": len(set(sweep.songs[train])),
            "test_songs": len(set(sweep.songs[test])),
            "in_sample": report.in_sample,
            "held_out": report.held_out,
            "low": interval.low,
            "high": interval.high,
            "null": np.quantile(report.null_held_out, 0.95),
            "above_null": report.held_out - report.null_held_out.mean(),
            "held_out_r2": report.held_out_r2,
            "p": report.p_held_out,
        }

    table = pd.DataFrame(each(row, _instruments(sweep), jobs))
    table["significant"] = holm(table["p"].to_numpy()) < 0.05
    return table


def _squared_spearman(projections, parameters, weights):
    """Squared rank correlations (k,) of projections (strength, clip) and parameters, clips weighted (k, clip)."""
    strengths, clips = projections.shape
    rows = projections.ravel(), np.repeat(parameters, clips)
    # A few resamples at a time: each takes a number for every row.
    parts = np.array_split(weights, 1 + weights.shape[0] * projections.size // 2_000_000)
    return np.concatenate([weighted_spearman(*rows, np.tile(part, strengths)) ** 2 for part in parts])


def decoding(sweep, *, permutations: int, resamples: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """How well strength is decoded linearly from single embeddings of held-out songs.

    Parameters
    ----------
    sweep : EffectSweep
    permutations, resamples, seed, jobs : int

    Returns
    -------
    pandas.DataFrame
        One row an instrument, whose ridge regression is fitted on its training clips, and a last one
        (``instrument == "all"``) of the same regressions with their test clips pooled: ``test_songs``, ``r2`` with
        ``low`` and ``high`` (95 %, over test songs), ``spearman`` of decoded and true strength (the instruments' mean
        in the last row), ``r2_null`` and ``spearman_null``, the 95 % quantiles of their permutation nulls,
        ``above_null`` (R^2 less the mean of its null), ``p``, and ``significant``, whether the instrument's is below
        0.05 after Holm's correction over the instruments (of the last row, whether its only one is). Instruments have
        shuffles of their own, so that those of the last row are independent from one to the next.

    Notes
    -----
    Whether a direction exists is not a question to an estimator without a penalty: with few independent clips for many
    features the CCA fits every wiggle of the training trajectories, and its R^2 on other songs falls far below zero
    even where all clips move along one line in unequal steps. The ridge penalty, chosen by leaving out training songs,
    is what a direction is worth on songs that it has not seen.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> table = decoding(synthetic_sweep("line"), permutations=19, resamples=50, seed=0)
    >>> table["instrument"].tolist(), bool(table["r2"].min() > 0.8), table["p"].tolist()
    (['cel', 'cla', 'flu', 'all'], True, [0.05, 0.05, 0.05, 0.05])
    """
    sides = list(_instruments(sweep))

    def report_of(side):
        code, train, test = side
        return directions.decode_strength(
            sweep.trajectories[:, train],
            sweep.trajectories[:, test],
            sweep.songs[train],
            n_permutations=permutations,
            seed=derived_seed(seed, "decoding", sweep.model, sweep.effect.name, code),
        )

    reports = each(report_of, sides, jobs)
    joined = {name: np.concatenate([getattr(r, name) for r in reports]) for name in ("sse", "sst")}
    whole = {
        "null_r2": 1 - np.sum([r.null_sse for r in reports], axis=0) / joined["sst"].sum(),
        "null_spearman": np.mean([r.null_spearman for r in reports], axis=0),
        "spearman": np.mean([r.spearman for r in reports]),
    }
    parts = [
        (code, sweep.songs[test], vars(report))
        for (code, _, test), report in zip(sides, reports, strict=True)
    ]
    parts.append((POOLED, np.concatenate([songs for _, songs, _ in parts]), joined | whole))
    table = pd.DataFrame(_decoding_row(name, songs, found, resamples, seed) for name, songs, found in parts)
    corrected = np.append(holm(table["p"].to_numpy()[:-1]), table["p"].iloc[-1])
    return table.assign(significant=corrected < 0.05)


def _decoding_row(name, songs, found, resamples, seed):
    error, total = found["sse"], found["sst"]
    r2 = bootstrap_songs(
        lambda weights: 1 - (weights @ error) / (weights @ total), songs, resamples, seed=seed
    )
    null, draws = found["null_r2"], len(found["null_r2"])
    return {
        "instrument": name,
        "test_songs": len(set(songs)),
        "r2": r2.estimate,
        "low": r2.low,
        "high": r2.high,
        "spearman": found["spearman"],
        "r2_null": np.quantile(null, 0.95) if draws else np.nan,
        "spearman_null": np.quantile(found["null_spearman"], 0.95) if draws else np.nan,
        "above_null": r2.estimate - null.mean() if draws else np.nan,
        "p": permutation_p_value(r2.estimate, null) if draws else np.nan,
    }


def direction_points(sweep, *, instrument: str) -> pd.DataFrame:
    """Clips of one instrument on its global CCA direction.

    Parameters
    ----------
    sweep : EffectSweep
    instrument : str

    Returns
    -------
    pandas.DataFrame
        Columns ``clip``, ``split``, ``parameter``, ``projection``.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = direction_points(sweep, instrument=sweep.instruments[0])
    >>> sorted(set(table["split"])), len(table) % 4
    (['test', 'train'], 0)
    """
    mine = sweep.take(sweep.instruments == instrument)
    fitted = directions.GlobalCCA().fit(mine.trajectories[:, mine.train])
    values = fitted.transform(mine.trajectories)
    strengths, clips = values.shape
    return pd.DataFrame(
        {
            "clip": np.tile(mine.clips.index, strengths),
            "split": np.tile(mine.clips["split"], strengths),
            "parameter": np.repeat(mine.parameters, clips),
            "projection": values.ravel(),
        }
    )


def fitted_subspaces(sweep, *, seed: int, jobs: int = 1) -> dict[str, dict[str, np.ndarray]]:
    """Every projection of every instrument, fitted on the instrument's training clips.

    Normalised PCA alone looks at other instruments too: the variances that it divides by are those of the clean
    embeddings of all training clips.

    Parameters
    ----------
    sweep : EffectSweep
    seed : int
        Of the random controls, which are drawn anew for each model, effect and instrument.
    jobs : int

    Returns
    -------
    dict of dict of np.ndarray, shape (k, feature)
        Orthonormal rows by projection and instrument.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> fitted = fitted_subspaces(synthetic_sweep("line"), seed=0)
    >>> {code: rows.shape for code, rows in fitted["pca"].items()}
    {'cel': (1, 48), 'cla': (1, 48), 'flu': (1, 48)}
    """
    sides = list(_instruments(sweep))
    reference = _reference(sweep)

    def fitted(side):
        code, train, _ = side
        own = derived_seed(seed, sweep.model, sweep.effect.name, code)
        clips = sweep.trajectories[:, train], sweep.clean[train]
        return projections.fit_all(*clips, seed=own, reference=reference)

    found = each(fitted, sides, jobs)
    codes = [code for code, _, _ in sides]
    return {
        name: {code: rows[name] for code, rows in zip(codes, found, strict=True)}
        for name in dict.fromkeys(chain.from_iterable(found))
    }


def _reference(sweep) -> np.ndarray:
    """Variances of the clean embeddings of all training clips, whatever their instrument."""
    # As one job: its linear algebra runs on one thread, like that of the instruments.
    (variances,) = each(projections.principal_variances, [sweep.clean[sweep.train]])
    return variances


def normalised_pca(sweep, *, jobs: int = 1) -> pd.DataFrame:
    """Which component the normalised PCA chooses for each instrument, and by how much.

    Parameters
    ----------
    sweep : EffectSweep
    jobs : int

    Returns
    -------
    pandas.DataFrame
        One row an instrument: ``component``, the rank of the chosen one, from 1 (missing where nothing moves);
        ``ratio``, its variance over that of the same-ranked component of all clean training clips; and
        ``first_ratio``, that of the first component, which the PCA takes.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> table = normalised_pca(synthetic_sweep("line"))
    >>> table["component"].tolist(), bool((table["ratio"] >= table["first_ratio"]).all())
    ([1, 1, 1], True)
    """
    reference = _reference(sweep)

    def row(side):
        code, train, _ = side
        moved = (sweep.trajectories[:, train] - sweep.clean[train]).reshape(-1, sweep.clean.shape[1])
        ratios = projections.variance_ratios(projections.principal_variances(moved), reference)
        found = bool(ratios.size and ratios.max() > 0)
        return {
            "instrument": code,
            "component": ratios.argmax() + 1 if found else None,
            "ratio": ratios.max() if found else np.nan,
            "first_ratio": ratios[0] if found else np.nan,
        }

    return pd.DataFrame(each(row, _instruments(sweep), jobs)).astype({"component": "Int64"})


def direction_vectors(sweep, *, fitted: Mapping | None = None) -> dict[str, np.ndarray]:
    """Global CCA direction of each instrument, fitted on training clips.

    Parameters
    ----------
    sweep : EffectSweep
    fitted : mapping, optional
        Of `fitted_subspaces`.

    Returns
    -------
    dict of str to np.ndarray, shape (feature,)
        Unit vectors; zero where nothing moves.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> vectors = direction_vectors(sweep)
    >>> [round(float(np.linalg.norm(vector)), 6) for vector in vectors.values()]
    [1.0, 1.0, 1.0]
    """
    if fitted is not None:
        nothing = np.zeros(sweep.clean.shape[1])
        return {code: rows[0] if len(rows) else nothing for code, rows in fitted["cca"].items()}
    return {
        code: directions.GlobalCCA().fit(sweep.trajectories[:, train]).direction_
        for code, train, _ in _instruments(sweep)
    }


def projected(sweep, *, seed: int, fitted: Mapping | None = None, jobs: int = 1) -> pd.DataFrame:
    """Dimension of each projection and what it removes on test songs.

    Parameters
    ----------
    sweep : EffectSweep
    seed : int
    fitted : mapping, optional
        Of `fitted_subspaces` with the same seed.
    jobs : int

    Returns
    -------
    pandas.DataFrame
        Columns ``instrument``, ``projection``, ``dimension``, ``effect_removed`` (share of the displacement energy of
        the instrument's test clips) and ``clean_removed`` (share of the variance between all clean test clips).

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = projected(sweep, seed=0).groupby("projection")["effect_removed"].mean()
    >>> bool(table["average"] > 0.9 > table["random"])
    True
    """
    fitted = fitted_subspaces(sweep, seed=seed, jobs=jobs) if fitted is None else fitted
    clean = sweep.clean[sweep.test] - sweep.clean[sweep.test].mean(axis=0)
    variance = np.square(clean).sum()

    def rows(side):
        code, _, test = side
        moved = (sweep.trajectories[:, test] - sweep.clean[test]).reshape(-1, clean.shape[1])
        energy = np.square(moved).sum() or np.nan
        return [
            {
                "instrument": code,
                "projection": name,
                "dimension": len(found[code]),
                "effect_removed": np.square(moved @ found[code].T).sum() / energy,
                "clean_removed": np.square(clean @ found[code].T).sum() / variance,
            }
            for name, found in fitted.items()
            if name != "none"
        ]

    return pd.DataFrame(chain.from_iterable(each(rows, _instruments(sweep), jobs)))


def _one_dimensional(fitted) -> list[str]:
    """Methods that find one direction, those of the user's own included, the random control last."""
    own = [name for name in projections.added_names() if name in fitted]
    single = [name for name in own if all(len(rows) <= 1 for rows in fitted[name].values())]
    return [name for name in (*_ONE_DIMENSIONAL[:-1], *single, _ONE_DIMENSIONAL[-1]) if name in fitted]


def _stacked(fitted, methods, code) -> np.ndarray:
    """Directions (method, feature) of one instrument; NaN for a method that finds none, because nothing moves."""
    found = [fitted[name][code] for name in methods]
    nothing = np.full((1, found[0].shape[1]), np.nan)
    return np.concatenate([rows if len(rows) else nothing for rows in found])


def method_cosines(sweep, *, seed: int, fitted: Mapping | None = None, jobs: int = 1) -> pd.DataFrame:
    """Absolute cosine between the directions of the one-dimensional methods, averaged over instruments.

    Methods that were registered from outside the package and find one direction are among them.

    Parameters
    ----------
    sweep : EffectSweep
    seed : int
    fitted : mapping, optional
        Of `fitted_subspaces` with the same seed.
    jobs : int

    Returns
    -------
    pandas.DataFrame
        Columns ``first``, ``second``, ``cosine``.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = method_cosines(sweep, seed=0).set_index(["first", "second"])["cosine"]
    >>> bool(table["average", "pca"] > 0.9)
    True
    """
    fitted = fitted_subspaces(sweep, seed=seed, jobs=jobs) if fitted is None else fitted
    methods = _one_dimensional(fitted)
    stacks = [_stacked(fitted, methods, code) for code in fitted[methods[0]]]
    cosine = np.mean([np.abs(directions.cosine_between(x, x)) for x in stacks], axis=0)
    first, second = np.meshgrid(methods, methods, indexing="ij")
    return pd.DataFrame({"first": first.ravel(), "second": second.ravel(), "cosine": cosine.ravel()})


def _classifiers(sweep, seed, jobs) -> dict[str, np.ndarray]:
    """Weights of each instrument's classifier of clean clips."""
    classes = [code for code, _, _ in _instruments(sweep)]
    return classifier_weights(
        sweep.clean, sweep.instruments, sweep.songs, sweep.train, classes=classes, seed=seed, n_jobs=jobs
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


def classifier_cosines(sweep, *, seed: int, fitted: Mapping | None = None, jobs: int = 1) -> pd.DataFrame:
    """Absolute cosine between an instrument's effect directions and the weights of its own classifier.

    Parameters
    ----------
    sweep : EffectSweep
    seed : int
    fitted : mapping, optional
        Of `fitted_subspaces` with the same seed.
    jobs : int

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

    Examples
    --------
    An effect along the line on which the instruments stand, and one across it:

    >>> from aesens.synthetic import synthetic_sweep
    >>> for kind in ("carrier", "line"):
    ...     table = classifier_cosines(synthetic_sweep(kind), seed=0)
    ...     print(kind, bool(table[table["projection"] == "average"]["cosine"].max() > 0.5))
    carrier True
    line False
    """
    fitted = fitted_subspaces(sweep, seed=seed, jobs=jobs) if fitted is None else fitted
    expected = random_cosine(sweep.clean.shape[1])
    methods, rows = _one_dimensional(fitted), []
    for code, weights in _classifiers(sweep, seed, jobs).items():
        cosines = np.abs(directions.cosine_between(_stacked(fitted, methods, code), weights))
        rows += [
            {"instrument": code, "projection": name, "cosine": cosine, "expected": expected}
            for name, cosine in zip(methods, cosines, strict=True)
        ]
    return pd.DataFrame(rows)


def agreement(sweeps, *, seed: int, vectors=direction_vectors, jobs: int = 1) -> dict[str, float]:
    """How alike the global CCA directions of one model are, and how they lie to its instrument classifiers.

    Parameters
    ----------
    sweeps : iterable of EffectSweep
        One an effect, all of the same clips.
    seed : int
    vectors : callable
        Gives the directions of a sweep by instrument.
    jobs : int

    Returns
    -------
    dict
        Means of absolute cosines: ``between_instruments`` (two instruments, the same effect), ``between_effects`` (two
        effects, the same instrument), ``with_own_classifier``, ``with_other_classifiers`` (an instrument's direction
        and the weights of its own and of the others' logistic regressions on clean clips), ``random`` (what random
        directions have); NaN where there is no such pair.

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> found = agreement([synthetic_sweep("line"), synthetic_sweep("line")], seed=0)
    >>> round(float(found["between_effects"]), 6), round(found["random"], 3)
    (1.0, 0.116)
    """
    stack, weights = [], None
    for sweep in sweeps:
        stack.append(list(vectors(sweep).values()))
        if weights is None:
            weights = list(_classifiers(sweep, seed, jobs).values())
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


def classification(
    sweep, *, resamples: int, seed: int, fitted: Mapping | None = None, jobs: int = 1
) -> pd.DataFrame:
    """Instrument classification in every training and test condition and with every projection.

    Parameters
    ----------
    sweep : EffectSweep
    resamples : int
        Bootstrap resamples over test songs.
    seed : int
    fitted : mapping, optional
        Of `fitted_subspaces` with the same seed.
    jobs : int

    Returns
    -------
    pandas.DataFrame
        Three kinds of rows. ``kind == "curve"``: ``condition`` (training and test, e.g. ``clean-effected``),
        ``projection``, ``strength`` (-1 where there is none), ``parameter``, the metrics as means over instruments, and
        ``clean_auc``, the ROC-AUC without projection of clean clips on both sides. ``kind == "change"``: ``change`` of
        the ROC-AUC against no projection, mean over instruments and strengths, with ``low``, ``high`` (95 %, over test
        songs) and ``p``; twice the change is that of the rank-biserial correlation of scores and labels. The row with
        ``projection == "all"`` is the mean over the methods, controls left out and the thresholds of the CCA SVD
        averaged first, so that each method counts once. It also says how many of the ``methods`` have an interval
        above 0 (``helps``) or below 0 (``harms``), and what the effect costs without a projection: ``loss``, the
        ROC-AUC of clean clips on both sides minus that of the condition, with ``loss_low`` and ``loss_high`` over the
        same songs. ``kind == "instrument"``: for the conditions ``clean-clean``, ``clean-effected`` and
        ``effected-clean``, projection, ``strength``, ``parameter`` and ``instrument``, the metrics of that
        instrument's classifier, and ``folds`` (of the cross-validation: fewer than three where an instrument has
        fewer training songs).

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> table = classification(sweep, resamples=20, seed=0)
    >>> sorted(set(table["kind"]))
    ['change', 'curve', 'instrument']
    >>> table.set_index("projection").query("kind == 'change'").loc["all", "methods"].unique().tolist()
    [6.0]
    """
    classes = [code for code, _, _ in _instruments(sweep)]
    subspaces = fitted_subspaces(sweep, seed=seed, jobs=jobs) if fitted is None else fitted
    result = classify(
        sweep.clean,
        sweep.trajectories,
        sweep.instruments,
        sweep.songs,
        sweep.train,
        sweep.test,
        subspaces,
        classes=classes,
        seed=seed,
        n_jobs=jobs,
    )
    cells = metric_table(result).drop(columns=["cost"])
    cells.insert(0, "condition", cells.pop("train") + "-" + cells.pop("test"))
    place = ["condition", "projection", "strength"]
    curves = cells.drop(columns="instrument").groupby(place, sort=False).mean()
    clean = curves.loc[("clean-clean", "none", -1), "roc_auc"]
    curves = curves.reset_index().assign(kind="curve", clean_auc=clean)

    drawn = {"n_resamples": resamples, "seed": seed, "n_jobs": jobs}
    by_strength = [
        table.assign(parameter=np.append(sweep.parameters, np.nan)[table["strength"]])
        for table in (curves, _by_instrument(cells, result))
    ]
    return pd.concat([by_strength[0], _changes(result, subspaces, drawn), by_strength[1]], ignore_index=True)


def _changes(result, names, drawn) -> pd.DataFrame:
    """Change of ROC-AUC by each projection, with what the effect costs and how many methods help in the pooled row."""
    own = [name for name in names if name not in ("none", *projections.CONTROLS)]
    single = [name for name in own if not name.startswith(_THRESHOLDED)]
    family = [name for name in own if name.startswith(_THRESHOLDED)]
    methods = single + [_THRESHOLDED] * bool(family)
    pooled = {_THRESHOLDED: family} if family else {}
    pooled[POOLED] = [*single, *pooled.values()]
    changes = auc_change(result, pooled=pooled, **drawn).drop(columns=["auc_low", "auc_high", "p_holm"])
    changes = changes.rename(columns={"auc": "roc_auc", "change_low": "low", "change_high": "high"})

    counted = changes[changes["projection"].isin(methods)]
    counts = counted.assign(methods=1, helps=counted["low"] > 0, harms=counted["high"] < 0)
    pair = ["train", "test"]
    counts = counts.groupby(pair)[["methods", "helps", "harms"]].sum().reset_index()
    of_all = auc_loss(result, **drawn).merge(counts, on=pair).assign(projection=POOLED)
    # The mean of the thresholds is a step on the way to the pooled row, not a projection.
    changes = changes[~changes["projection"].isin(["none", _THRESHOLDED])]
    changes = changes.merge(of_all, on=[*pair, "projection"], how="left").assign(kind="change")
    changes.insert(0, "condition", changes.pop("train") + "-" + changes.pop("test"))
    return changes


def _by_instrument(cells, result) -> pd.DataFrame:
    """Scores of each instrument's classifier at each strength, for the conditions of the study's figure."""
    kept = cells[cells["condition"].isin(["clean-clean", "clean-effected", "effected-clean"])]
    folds = result["folds"].to_series().rename("folds").reset_index()
    return kept.merge(folds, on="instrument").assign(kind="instrument")


def clean_classification(
    clean: np.ndarray, clips: pd.DataFrame, *, resamples: int, seed: int, jobs: int = 1
) -> dict:
    """Instrument classification on clean clips, without a projection.

    Parameters
    ----------
    clean : np.ndarray, shape (clip, feature)
    clips : pandas.DataFrame
        Columns ``song``, ``instrument``, ``split``.
    resamples, seed, jobs : int

    Returns
    -------
    dict
        ``roc_auc`` (mean over instruments) with ``low`` and ``high`` (95 %, over test songs).

    Examples
    --------
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=6, features=8, strengths=4)
    >>> scores = clean_classification(sweep.clean, sweep.clips, resamples=20, seed=0)
    >>> bool(scores["low"] <= scores["roc_auc"] <= scores["high"])
    True
    """
    train, test = (clips["split"].to_numpy(dtype=str) == side for side in ("train", "test"))
    instruments, songs = (clips[name].to_numpy(dtype=str) for name in ("instrument", "song"))
    result = classify(clean, None, instruments, songs, train, test, seed=seed, n_jobs=jobs)
    row = auc_change(result, n_resamples=resamples, seed=seed, n_jobs=jobs).iloc[0]
    return {"roc_auc": row["auc"], "low": row["auc_low"], "high": row["auc_high"]}
