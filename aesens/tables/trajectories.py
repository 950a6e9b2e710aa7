"""Chapter 5: the shape of trajectories, and directions of single clips."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd

from aesens.analysis import geometry as trajectories
from aesens.analysis.cca import singular_spectrum
from aesens.analysis.parallel import each
from aesens.analysis.samplewise import random_walks, samplewise_directions, samplewise_report, transfer
from aesens.analysis.statistics import derived_seed, limit_percentages
from aesens.data import sort_instruments, spread_over_instruments
from aesens.tables.common import POOLED

__all__ = ["clip_umap", "geometry", "layout", "samplewise", "spectra"]


def layout(sweep, *, method: str, clips: int, seed: int) -> pd.DataFrame:
    """Trajectories of a few clips on a plane.

    Parameters
    ----------
    method : {"umap", "pca"}
    clips : int
        How many, spread over the instruments.

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


def geometry(sweep, *, seed: int, n_jobs: int = 1) -> pd.DataFrame:
    """Shape of the trajectories and dimension of the displacements.

    Returns
    -------
    pandas.DataFrame
        One row of all clips: ``songs``; median ``path_over_chord``; ``participation_ratio`` and ``components_90``, the
        components that hold 90 % of the displacements' variance; ``dimensions_90`` and ``dimensions_90_clean``, the
        dimensions that hold 90 % of the displacements' energy, one displacement a clip, and of the clean clips' spread
        about their mean, and their ``ratio``: medians over random halves of the songs; ``ratio_low`` and
        ``ratio_high``, its 2.5 and 97.5 % quantiles over those, an interval for the whole (below
        `aesens.analysis.statistics.MINIMUM_SONGS` songs its range). NaN where nothing moves.

    Notes
    -----
    See `aesens.analysis.geometry.dimension_halves`.
    """
    spectrum = trajectories.displacement_scatter(sweep.trajectories, sweep.clean).spectrum()
    own = derived_seed(seed, "geometry", sweep.model, sweep.effect.name)
    found = trajectories.dimension_halves(sweep.trajectories, sweep.clean, sweep.songs, own, n_jobs)
    found = pd.DataFrame(found, columns=["dimensions_90", "dimensions_90_clean"])
    ratio = found["dimensions_90"] / found["dimensions_90_clean"]
    songs = len(set(sweep.songs))
    ends = np.divide(limit_percentages(songs), 100)
    row = {
        "songs": songs,
        "path_over_chord": pd.Series(trajectories.path_over_chord(sweep.trajectories)).median(),
        "participation_ratio": trajectories.spectrum_dimension(spectrum),
        "components_90": trajectories.spectrum_components(spectrum, 0.9),
        **found.median(),
        "ratio": ratio.median(),
        "ratio_low": ratio.quantile(ends[0]),
        "ratio_high": ratio.quantile(ends[1]),
    }
    return pd.DataFrame([row])


def samplewise(sweep, *, n_permutations: int, seed: int, n_jobs: int = 1) -> pd.DataFrame:
    """Fit of the sample-wise directions: in-sample, on strengths left out, on other songs, and of what has none.

    Parameters
    ----------
    sweep : Sweep
        Its training clips are used, as in the study; all clips where there is no split.

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
            x = random_walks(x, seed_of("walk"))
        report = samplewise_report(x, 0 if prefix else n_permutations, seed_of("shuffles"))
        values = {"in-sample": report.in_sample, "held-out": report.held_out}
        if not prefix:
            # One shuffle a clip: its spread is then that of single clips, as the data's is.
            values |= {"held-out rho": report.held_out_rho, "null": report.null[0]}
            values |= {"p": report.p_value, "p rho": report.p_rho}
        if prefix != "noise ":
            values["transfer"] = transfer(x, sweep.songs, seed=seed_of("others"))
        return {prefix + kind: value for kind, value in values.items()}

    found = each(values_of, ("", "noise ", "walk "), n_jobs)
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


def spectra(sweep, *, seed: int, n_jobs: int = 1) -> pd.DataFrame:
    """Normalised singular values of each instrument's sample-wise directions, clean embeddings and random unit vectors.

    Parameters
    ----------
    sweep : Sweep
        Its training clips are used; all clips where there is no split.

    Returns
    -------
    pandas.DataFrame
        Columns ``instrument``, ``kind`` (``directions``; ``clean``, of the embeddings centred on their mean;
        ``random``, as many unit vectors), ``rank`` (from 1), ``value``. The values of ``directions`` are those that
        `aesens.analysis.projections.SampleWiseSubspace` compares with its threshold.
    """
    chosen = _fitted_on(sweep)

    def of_one(code):
        mine = chosen & (sweep.instruments == code)
        found = samplewise_directions(sweep.trajectories[:, mine])
        own = derived_seed(seed, "spectra", sweep.model, sweep.effect.name, code)
        noise = np.random.default_rng(own).standard_normal(found.shape)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        stacks = {"directions": found, "clean": sweep.clean[mine], "random": noise}
        parts = []
        for kind, rows in stacks.items():
            values = singular_spectrum(rows, kind == "clean")
            ranks = np.arange(1, len(values) + 1)
            parts.append(pd.DataFrame({"instrument": code, "kind": kind, "rank": ranks, "value": values}))
        return pd.concat(parts)

    codes = [str(code) for code in sort_instruments(sweep.instruments[chosen])]
    return pd.concat(each(of_one, codes, n_jobs), ignore_index=True)
