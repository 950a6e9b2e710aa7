"""What the study measures of one sweep, as tidy tables.

Each function takes an `aesens.study.EffectSweep` (any object with its attributes does) and settings, calls the analysis
modules and returns a DataFrame without the columns that name the model and effect; `aesens.study.Study.collect` adds
those. Nothing here reads or writes a file, and every random draw is seeded by an argument.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from aesens import directions, projections, sensitivity, trajectories
from aesens.classify import auc_change, classify, metric_table
from aesens.data import sort_instruments
from aesens.statistics import bootstrap_songs, holm

__all__ = [
    "classification",
    "clean_classification",
    "direction_points",
    "direction_vectors",
    "distances",
    "geometry",
    "global_directions",
    "layout",
    "method_cosines",
    "pooled_direction",
    "projected",
    "response",
    "samplewise",
    "spectra",
]

# Projections of one dimension whose directions are compared with one another.
_ONE_DIMENSIONAL = ("lda", "average", "pca", "npca", "cca", "random")


def distances(sweep, *, resamples: int, seed: int) -> pd.DataFrame:
    """Distance of the effected from the clean clips at each strength.

    Parameters
    ----------
    sweep : EffectSweep
    resamples : int
        Bootstrap resamples over songs.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``strength``, ``parameter``, ``measure`` (``cosine``, ``l2`` in units of the median distance of two
        clean clips, ``frechet`` in units of the median distance of two song-disjoint halves of the clean set),
        ``value``, ``low``, ``high`` (95 %, over songs; the Fréchet distance, one number a set, has none).
    """
    by_clip = {
        "cosine": sensitivity.cosine_distance(sweep.clean, sweep.trajectories),
        "l2": sensitivity.l2_distance(sweep.clean, sweep.trajectories),
    }
    base = {"strength": np.arange(len(sweep.parameters)), "parameter": sweep.parameters}
    parts = []
    for name, values in by_clip.items():
        interval = bootstrap_songs(values.T, sweep.songs, resamples, seed=seed)
        parts.append(pd.DataFrame({**base, "measure": name, **interval._asdict()}))
    floor = np.median(sensitivity.frechet_floor(sweep.clean, sweep.songs, seed=seed))
    curve = sensitivity.frechet_curve(sweep.clean, sweep.trajectories) / floor
    parts.append(pd.DataFrame({**base, "measure": "frechet", "estimate": curve}))
    return pd.concat(parts, ignore_index=True).rename(columns={"estimate": "value"})


def response(sweep, *, permutations: int, resamples: int, seed: int) -> pd.DataFrame:
    """Whether the distance grows with strength, and whether it grows in jumps.

    Parameters
    ----------
    sweep : EffectSweep
    permutations, resamples, seed : int

    Returns
    -------
    pandas.DataFrame
        One row: mean Spearman and Kendall correlations of the cosine distance with the departure from the identity,
        the former with its interval, the 95 % quantile of its permutation null and p-value (a clip that never moves
        counts with a correlation of 0: its distance does not grow); medians over clips of the longest step and the
        onset jump in units of the median step; ``jump``, the median over clips of the longest step or onset in units of
        the median step or of its longer neighbour, whichever is longer, with its interval.

    Notes
    -----
    A path whose steps grow smoothly, each twice the one before, has a longest step far above the median, but no jump:
    hence the neighbours. ``jump`` is at least 1, the value of a clip that never moves, and at most 1e6, where nothing
    else moves.
    """
    distance = sensitivity.cosine_distance(sweep.clean, sweep.trajectories)
    order = sweep.effect.departure(sweep.parameters)
    clips = sensitivity.monotonicity(distance, order).fillna(0.0)
    spearman = bootstrap_songs(clips["spearman"].to_numpy(), sweep.songs, resamples, seed=seed)
    _, null, p_value = sensitivity.monotonicity_null(distance, order, permutations, seed)
    steps = sensitivity.discontinuity(sweep.trajectories, sweep.clean, sweep.effect.identity_inside)
    jump = _jump(sweep)
    interval = bootstrap_songs(
        lambda clip: np.median(jump[clip]), sweep.songs, resamples, seed=seed, by="indices"
    )
    return pd.DataFrame(
        [
            {
                "spearman": spearman.estimate,
                "spearman_low": spearman.low,
                "spearman_high": spearman.high,
                "spearman_null": np.quantile(null, 0.95),
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


def _jump(sweep) -> np.ndarray:
    """Longest step of each clip in units of its median step or its longer neighbour, the onset counted as a step."""
    points = [sweep.clean, *sweep.trajectories]
    pairs = zip(points[:-1], points[1:], strict=True)
    steps = np.stack([np.linalg.norm(after.astype(float) - before, axis=-1) for before, after in pairs])
    typical = np.median(steps[1:], axis=0)
    if sweep.effect.identity_inside:
        steps = steps[1:]
    around = np.pad(steps, ((1, 1), (0, 0)))
    beside = np.maximum(np.maximum(around[:-2], around[2:]), typical)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.fmin(np.nan_to_num(steps / beside, nan=1.0).max(axis=0), 1e6)


def _picture_clips(sweep, n: int) -> np.ndarray:
    """Indices of clips to draw: the first of each instrument, then the second, and so on."""
    turn = sweep.clips.groupby("instrument", sort=False).cumcount().to_numpy()
    return np.sort(np.argsort(turn, kind="stable")[:n])


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
    """
    layouts = {"umap": lambda x: trajectories.umap_layout(x, seed=seed), "pca": trajectories.pca_layout}
    if method not in layouts:
        raise ValueError(f"method={method!r} is not one of {sorted(layouts)}")
    chosen = _picture_clips(sweep, clips)
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
        the training songs, the one for `subspace` with its interval over songs.
    """
    moved = sweep.displacements
    row = {
        "path_over_chord": pd.Series(trajectories.path_over_chord(sweep.trajectories)).median(),
        "participation_ratio": trajectories.participation_ratio(moved),
        "components_90": trajectories.components_for(moved, 0.9),
    }
    if sweep.train.any() and sweep.test.any():
        basis = trajectories.leading_directions(moved[:, sweep.train], 20)
        captured = np.square(moved[:, sweep.test] @ basis.T).sum(axis=0)
        energy = np.square(moved[:, sweep.test]).sum(axis=(0, 2))
        held = captured[:, :subspace].sum(axis=1)
        songs = sweep.songs[sweep.test]
        # Where nothing moves, the share is undefined.
        with np.errstate(invalid="ignore"):
            for k in (1, 3, 10, 20):
                row[f"energy_{k}"] = captured[:, :k].sum() / energy.sum()
            share = bootstrap_songs(
                lambda weights: (weights @ held) / (weights @ energy), songs, resamples, seed=seed
            )
        row |= {"energy": share.estimate, "energy_low": share.low, "energy_high": share.high}
    return pd.DataFrame([row])


def samplewise(sweep, *, permutations: int, seed: int) -> pd.DataFrame:
    """Fit of the sample-wise directions: in-sample, held out, under the null, and on noise.

    Parameters
    ----------
    sweep : EffectSweep
    permutations, seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``clip``, ``kind`` (``in-sample``, ``held-out``, ``null``, ``noise in-sample``, ``noise held-out``) and
        ``value``. The noise is white, of the same shape as the trajectories.
    """
    noise = np.random.default_rng(seed).standard_normal(sweep.trajectories.shape).astype(np.float32)
    parts = []
    for prefix, values in (("", sweep.trajectories), ("noise ", noise)):
        report = directions.samplewise_report(
            values, n_permutations=0 if prefix else permutations, seed=seed, parameter=sweep.parameters
        )
        columns = {"in-sample": report.clips["in_sample"], "held-out": report.clips["held_out_r2"]}
        if not prefix:
            # One draw a clip: its spread is then that of single clips, as the data's is.
            columns["null"] = report.null[0]
        for kind, value in columns.items():
            parts.append(
                pd.DataFrame({"clip": sweep.clips.index, "kind": prefix + kind, "value": np.asarray(value)})
            )
    return pd.concat(parts, ignore_index=True)


def spectra(sweep, *, seed: int) -> pd.DataFrame:
    """Normalised singular values of sample-wise directions, clean embeddings and random unit vectors.

    Parameters
    ----------
    sweep : EffectSweep
        Its training clips are used; all clips where there is no split.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``kind``, ``rank`` (from 1), ``value``.
    """
    chosen = sweep.train if sweep.train.any() else np.ones(len(sweep.clips), bool)
    found = directions.samplewise_directions(sweep.trajectories[:, chosen])
    noise = np.random.default_rng(seed).standard_normal(found.shape)
    stacks = {
        "directions": directions.singular_spectrum(found),
        "clean": directions.singular_spectrum(sweep.clean[chosen], centred=True),
        "random": directions.singular_spectrum(noise / np.linalg.norm(noise, axis=1, keepdims=True)),
    }
    return pd.concat(
        [
            pd.DataFrame({"kind": kind, "rank": np.arange(1, len(s) + 1), "value": s})
            for kind, s in stacks.items()
        ],
        ignore_index=True,
    )


def _instruments(sweep):
    """Instruments with clips on both sides of the split, with their masks."""
    for code in sort_instruments(sweep.instruments):
        mine = sweep.instruments == code
        if (mine & sweep.train).any() and (mine & sweep.test).any():
            yield code, mine & sweep.train, mine & sweep.test


def global_directions(sweep, *, permutations: int, seed: int) -> pd.DataFrame:
    """Global CCA direction of each instrument, in-sample and on held-out songs.

    Parameters
    ----------
    sweep : EffectSweep
    permutations, seed : int

    Returns
    -------
    pandas.DataFrame
        One row an instrument: squared Spearman correlations ``in_sample`` and ``held_out``, the 95 % quantile of the
        latter's null, the predictive ``held_out_r2``, p-value, and whether it is below 0.05 after Holm's correction
        over the instruments.
    """
    rows = []
    for code, train, test in _instruments(sweep):
        report = directions.global_direction_report(
            sweep.trajectories[:, train],
            sweep.trajectories[:, test],
            parameter=sweep.parameters,
            n_permutations=permutations,
            seed=seed,
        )
        rows.append(
            {
                "instrument": code,
                "train_songs": len(set(sweep.songs[train])),
                "test_songs": len(set(sweep.songs[test])),
                "in_sample": report.in_sample,
                "held_out": report.held_out,
                "null": np.quantile(report.null_held_out, 0.95),
                "held_out_r2": report.held_out_r2,
                "p": report.p_held_out,
            }
        )
    table = pd.DataFrame(rows)
    table["significant"] = holm(table["p"].to_numpy()) < 0.05
    return table


def pooled_direction(sweep, *, resamples: int, seed: int) -> pd.DataFrame:
    """How well one direction an instrument predicts strength on held-out songs, all instruments together.

    Parameters
    ----------
    sweep : EffectSweep
    resamples, seed : int

    Returns
    -------
    pandas.DataFrame
        One row: ``r2``, ``low``, ``high`` (95 %, over test songs) of the ridge-regression directions, and ``cca_r2`` of
        the global CCA directions.

    Notes
    -----
    Whether a direction exists is not a question to an estimator without a penalty: with few independent clips for many
    features the CCA fits every wiggle of the training trajectories, and its R^2 on other songs falls far below zero
    even where all clips move along one line in unequal steps. The ridge penalty, chosen by leaving out training songs,
    is what a direction is worth on songs that it has not seen.
    """
    errors, totals, plain, songs = [], [], [], []
    for _, train, test in _instruments(sweep):
        both = sweep.trajectories[:, train], sweep.trajectories[:, test]
        report = directions.decode_strength(*both, sweep.songs[train])
        errors.append(report.sse)
        totals.append(report.sst)
        plain.append(directions.global_direction_report(*both, n_permutations=0).sse)
        songs.append(sweep.songs[test])
    error, total = np.concatenate(errors), np.concatenate(totals)
    r2 = bootstrap_songs(
        lambda weights: 1 - (weights @ error) / (weights @ total), np.concatenate(songs), resamples, seed=seed
    )
    cca = 1 - np.concatenate(plain).sum() / total.sum()
    return pd.DataFrame([{"r2": r2.estimate, "low": r2.low, "high": r2.high, "cca_r2": cca}])


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


def direction_vectors(sweep) -> dict[str, np.ndarray]:
    """Global CCA direction of each instrument, fitted on training clips.

    Returns
    -------
    dict of str to np.ndarray, shape (feature,)
    """
    return {
        code: directions.GlobalCCA().fit(sweep.trajectories[:, train]).direction_
        for code, train, _ in _instruments(sweep)
    }


def projected(sweep, *, seed: int) -> pd.DataFrame:
    """Dimension of each projection and what it removes on test songs.

    Parameters
    ----------
    sweep : EffectSweep
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``instrument``, ``projection``, ``dimension``, ``effect_removed`` (share of the displacement energy of
        the instrument's test clips) and ``clean_removed`` (share of the variance between all clean test clips).
    """
    clean = sweep.clean[sweep.test] - sweep.clean[sweep.test].mean(axis=0)
    rows = []
    for code, train, test in _instruments(sweep):
        moved = sweep.displacements[:, test].reshape(-1, sweep.clean.shape[1])
        energy = np.square(moved).sum() or np.nan
        found = projections.fit_all(sweep.trajectories[:, train], sweep.clean[train], seed=seed)
        for name, basis in found.items():
            if name == "none":
                continue
            rows.append(
                {
                    "instrument": code,
                    "projection": name,
                    "dimension": len(basis),
                    "effect_removed": np.square(moved @ basis.T).sum() / energy,
                    "clean_removed": np.square(clean @ basis.T).sum() / np.square(clean).sum(),
                }
            )
    return pd.DataFrame(rows)


def method_cosines(sweep, *, seed: int) -> pd.DataFrame:
    """Absolute cosine between the directions of the one-dimensional methods, averaged over instruments.

    Parameters
    ----------
    sweep : EffectSweep
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``first``, ``second``, ``cosine``.
    """
    total, count = 0.0, 0
    for _, train, _ in _instruments(sweep):
        found = projections.fit_all(
            sweep.trajectories[:, train], sweep.clean[train], _ONE_DIMENSIONAL, seed=seed
        )
        # A method that finds no direction, because nothing moves, has no cosine.
        nothing = np.full((1, sweep.clean.shape[1]), np.nan)
        stacked = np.concatenate([found[name] if len(found[name]) else nothing for name in _ONE_DIMENSIONAL])
        total, count = total + np.abs(directions.cosine_between(stacked, stacked)), count + 1
    first, second = np.meshgrid(_ONE_DIMENSIONAL, _ONE_DIMENSIONAL, indexing="ij")
    return pd.DataFrame({"first": first.ravel(), "second": second.ravel(), "cosine": (total / count).ravel()})


def _subspaces(sweep, seed):
    """Projections of each instrument, fitted on its training clips: name -> instrument -> rows."""
    fitted = {
        code: projections.fit_all(sweep.trajectories[:, train], sweep.clean[train], seed=seed)
        for code, train, _ in _instruments(sweep)
    }
    names = next(iter(fitted.values()))
    return {name: {code: rows[name] for code, rows in fitted.items()} for name in names}


def classification(sweep, *, resamples: int, seed: int, jobs: int = 1) -> pd.DataFrame:
    """Instrument classification in every training and test condition and with every projection.

    Parameters
    ----------
    sweep : EffectSweep
    resamples : int
        Bootstrap resamples over test songs.
    seed : int
    jobs : int
        Threads; the result does not depend on them.

    Returns
    -------
    pandas.DataFrame
        Two kinds of rows. ``kind == "curve"``: ``condition`` (training and test, e.g. ``clean-effected``),
        ``projection``, ``strength`` (-1 where there is none), ``parameter``, the metrics as means over instruments, and
        ``clean_auc``, the ROC-AUC without projection of clean clips on both sides. ``kind == "change"``: ``change`` of
        the ROC-AUC against no projection, mean over instruments and strengths, with ``low``, ``high`` (95 %, over test
        songs) and ``p``; the row with ``projection == "all"`` is the mean over the methods, controls left out.
    """
    classes = [code for code, _, _ in _instruments(sweep)]
    subspaces = _subspaces(sweep, seed)
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
    curves = metric_table(result).drop(columns=["cost"])
    curves.insert(0, "condition", curves.pop("train") + "-" + curves.pop("test"))
    curves = (
        curves.drop(columns="instrument").groupby(["condition", "projection", "strength"], sort=False).mean()
    )
    clean = curves.loc[("clean-clean", "none", -1), "roc_auc"]
    curves = curves.reset_index().assign(kind="curve", clean_auc=clean)
    curves["parameter"] = np.append(sweep.parameters, np.nan)[curves["strength"]]

    methods = [name for name in subspaces if name != "none" and not name.startswith("random")]
    changes = auc_change(result, n_resamples=resamples, seed=seed, pooled={"all": methods})
    changes = changes[changes["projection"] != "none"]
    changes.insert(0, "condition", changes.pop("train") + "-" + changes.pop("test"))
    changes = changes.rename(columns={"auc": "roc_auc", "change_low": "low", "change_high": "high"})
    changes = changes.drop(columns=["auc_low", "auc_high", "p_holm"]).assign(kind="change")
    return pd.concat([curves, changes], ignore_index=True)


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
    """
    train, test = (clips["split"].to_numpy(dtype=str) == side for side in ("train", "test"))
    instruments, songs = (clips[name].to_numpy(dtype=str) for name in ("instrument", "song"))
    result = classify(clean, None, instruments, songs, train, test, seed=seed, n_jobs=jobs)
    row = auc_change(result, n_resamples=resamples, seed=seed).iloc[0]
    return {"roc_auc": row["auc"], "low": row["auc_low"], "high": row["auc_high"]}
