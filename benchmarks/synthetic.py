"""Embeddings of known geometry: what every estimator and every claim is checked against.

Conventions: `synthetic_sweep` returns an `aesens.embeddings.sweep.Sweep`, so whatever measures a real sweep
measures a synthetic one. Lengths are in standard deviations of one feature over the clean clips of one instrument. A
clean embedding is the centre of its instrument plus what its song and the clip itself add, in equal parts; an effected
one adds the displacement of its kind and noise that is independent for every clip and strength. Strength t runs evenly
over (0, 1], the clean clip stands at t = 0. Directions of the effect are orthogonal to those that tell the instruments
apart, but for the two kinds that exist to put them together.

===============  ==================================================================================================
kind             displacement at strength t, with u, v orthonormal, L the `size`
===============  ==================================================================================================
``line``         L t u, for all clips alike
``curve``        half a circle of diameter L in the plane of u and v: bends, yet grows along one diameter
``subspace``     L t a, with a unit vector a for each clip, in a subspace of `dimension` dimensions common to all
``jump``         L u from the middle strength on, nothing before; with `carried` below 1 the jump is that share of
                 the path, the rest even
``onset``        L u at every strength: the effect is felt, its strength is not
``nothing``      none, only the noise, which is too little to count as movement
``still``        none, and no noise: exact copies of the clean clip
``scattered``    L t a, with a unit vector a for each clip, anywhere in embedding space
``walk``         L / sqrt(S) times the sum of S t unit vectors of each clip's own, one a strength, of S in all
``restless``     L a, with a unit vector a anew for each clip and strength: a noise large enough to be movement
``growing``      L (g^(S t) - 1) / (g^S - 1) u with S strengths: smooth, each step g times (`growth`) the one before
``nuisance``     L t g u, with g from 0 to 4 for each clip, where u also tells the instruments apart a little
``carrier``      L t u, where u alone tells the instruments apart
``unordered``    L a, with a unit vector a for each strength, anywhere, the same for all clips: a path in no order
``circle``       once around a circle of diameter L in the plane of u and v, back to the clean clip at full strength
``drift``        as ``walk``, but one walk for all clips
===============  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aesens import tables
from aesens.effects import Effect
from aesens.embeddings.sweep import Sweep
from aesens.tables import claims

__all__ = ["BORDER", "CLAIMS", "DEMO", "KINDS", "TRUTH", "VARIANTS", "errs", "judge", "synthetic_sweep"]

# What `aesens.tables.claims` asks of a table that was not made.
_COLUMNS = ("instrument", "condition", "chosen", "kind", "test", "metric", "method", "p", "change")
_COLUMNS += (
    "spearman",
    "spearman_low",
    "spearman_high",
    "jump",
    "jump_low",
    "jump_high",
    "strengths",
    "moved_low",
)
_COLUMNS += (
    "rho",
    "rho_low",
    "rho_high",
    "r2",
    "low",
    "high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "recovered",
)
_COLUMNS += ("change_low", "change_high", "moved_high", "songs")

#: Claims about one sweep; C7 is one about several effects.
CLAIMS = ("C1", "C2", "C3a", "C3b", "C4", "C5", "C6")

_YES, _NO, _OPEN = "supported", "not supported", "inconclusive"

# Where the construction rules one verdict out and leaves open whether a run of that size can see the other.
_NOT_YES, _NOT_NO = "any but supported", "any but not supported"

#: What is true of each kind at the default sizes and twelve strengths, claim by claim: the verdict that follows from
#: its construction, or None where that decides nothing.
TRUTH: dict[str, dict[str, str | None]] = {
    kind: dict(zip(CLAIMS, verdicts, strict=True))
    for kind, verdicts in {
        # All clips shift alike, which changes no ranking; it may cost a threshold, and then removing it repairs that.
        "line": (_YES, _NO, _YES, _YES, _NO, _NOT_YES, _YES),
        # As the line; the diameter rises with strength all along.
        "curve": (_YES, _NO, _YES, _YES, _NO, _NOT_YES, _YES),
        # Clips move, but to all sides: no common direction. What they move along carries no instrument, and how far a
        # classifier leans on it all the same is chance.
        "subspace": (_YES, _NO, _NO, _NO, _NO, None, None),
        # A step function of strength: distance and projection rise, by Spearman's correlation 0.77 and R^2 of 0.72.
        "jump": (_YES, _YES, _NOT_NO, _YES, _NO, _NOT_YES, _YES),
        # The clips have moved, strength does nothing more.
        "onset": (_NO, _YES, _NO, _NO, _NO, _NOT_YES, _YES),
        # Not enough to speak of movement, whatever the order and the dimension of the noise.
        "nothing": (_NO, _OPEN, _OPEN, _OPEN, _OPEN, _OPEN, _YES),
        "still": (_NO, _OPEN, _OPEN, _OPEN, _OPEN, _OPEN, _YES),
        # As many directions as clips; each clip's own distance grows. What noise costs no projection brings back.
        "scattered": (_YES, _NO, _NO, _NO, _YES, _NOT_NO, _YES),
        # The distance of a random walk grows with the root of its steps.
        "walk": (_YES, _NO, _NO, _NO, _YES, _NOT_NO, None),
        # Independent noise fills all dimensions alike and costs what no projection brings back.
        "restless": (_NO, _NO, _NO, _NO, _YES, _YES, _NOT_NO),
        # Smooth, if fast at the end: each step is twice its neighbour, not five times.
        "growing": (_YES, _NO, _YES, None, _NO, _NOT_YES, _YES),
        # Uneven shifts along what the classifiers use blur the instruments, and removing the direction repairs that:
        # the methods help, the normalised PCA too. Clips move in order along one line, but each at its own pace, so
        # that one embedding does not tell its strength (R^2 at most 0.4).
        "nuisance": (_YES, _NO, _YES, _NO, _NO, _NO, _NO),
        # Removing the direction removes the instruments: not neutral, and no repair.
        "carrier": (_YES, _NO, _YES, _YES, _NO, _YES, _NO),
        # Linear functions of the place give any values in any order: strength can be read, and nothing is monotone.
        "unordered": (_NO, _NO, _NO, _YES, None, None, None),
        # It ends where it began, and along any direction it turns back.
        "circle": (_NO, _NO, _NOT_YES, None, _NO, None, None),
        # A trend is an order, and how much of one a single walk has is chance.
        "drift": (None, _NO, None, None, _NO, None, None),
    }.items()
}

#: The size of the demo: a clip a song, as many training as test songs, few strengths.
DEMO = {"instruments": 11, "songs": 12, "test_songs": 6, "clips_per_song": 1, "strengths": 6}

# What is true at six strengths alone: of a circle many orders are then as good as the true one.
_SIX = {"circle": {"C3a": _NO}}

#: What is true at other sizes: kind, options of the sweep, verdicts by claim.
VARIANTS: tuple[tuple[str, dict, dict[str, str]], ...] = (
    # Movement of the size of rounding, in order or not.
    (
        "nothing",
        {"noise": 1e-5},
        {"C1": _NO, "C2": _OPEN, "C3a": _OPEN, "C3b": _OPEN, "C4": _OPEN, "C5": _OPEN},
    ),
    ("line", {"size": 1e-3, "noise": 1e-5}, {"C1": _NO, "C2": _OPEN, "C3a": _OPEN, "C4": _OPEN, "C5": _OPEN}),
    # Smooth acceleration, of an amplitude and of a power.
    *(("growing", {"growth": growth, "strengths": 12, "noise": 1e-4}, {"C2": _NO}) for growth in (4.0, 16.0)),
    # Thirty equal dimensions beside the 48 of the music are not few.
    ("subspace", {"dimension": 30}, {"C3a": _NO, "C4": _YES}),
    ("scattered", {"size": 20.0}, {"C4": _YES, "C5": _YES}),
    # Shared paths without order.
    ("circle", {}, {"C1": _NO, "C4": _NO} | _SIX["circle"]),
    *(
        (kind, {"strengths": 31}, {"C3a": right})
        for kind, right in (("circle", _NOT_YES), ("unordered", _NO))
    ),
    # Fewer strengths than show a jump, fewer songs than make an interval.
    ("jump", {"strengths": 6}, {"C2": _OPEN}),
    ("line", {"instruments": 2, "songs": 4, "test_songs": 2}, {"C3a": _OPEN, "C3b": _OPEN, "C5": _OPEN}),
    # The demo's own size.
    *(
        (
            kind,
            DEMO | {"features": features},
            {name: (TRUTH[kind] | _SIX.get(kind, {}))[name] for name in names.split()},
        )
        for kind, names in {
            "line": "C1 C3a C3b C4",
            "walk": "C1 C3a C3b C4",
            "scattered": "C1 C3a C3b C4",
            "nuisance": "C1 C3a C4",
            "unordered": "C1 C3a C3b",
            "circle": "C1 C3a C4",
            "onset": "C1 C3a C3b C4",
            "nothing": "C1 C3a C3b C4",
        }.items()
        for features in (200, 1024)
    ),
)

#: Cases at a threshold, claim by claim: kind, options of the sweep and what chance alone can bring, nominally one time
#: in forty. Noise (of C2 the step, of C6 the size) is such that the mean of the statistic over many seeds is the line.
#: Where there is a `share`, songs answer or do not, as many as make the same mean: the least normal of samples.
BORDER: dict[str, tuple[tuple[str, dict, str], ...]] = {
    "C1": (
        *(
            ("line", {"noise": noise, "songs": n}, _NOT_YES)
            for n, noise in ((12, 9.70), (24, 9.63), (48, 9.76))
        ),
        *(("line", {"share": 0.5, "songs": songs}, _NOT_YES) for songs in (12, 24, 48)),
    ),
    "C2": (
        *(("jump", {"carried": 0.281, "strengths": 12, "songs": songs}, _NOT_YES) for songs in (12, 24, 48)),
        *(("jump", {"share": 0.5, "strengths": 12, "songs": songs}, _NOT_YES) for songs in (12, 24, 48)),
    ),
    "C3a": (
        *(
            ("line", {"noise": noise, "songs": n}, _NOT_YES)
            for n, noise in ((12, 17.6), (24, 18.8), (48, 19.85))
        ),
        *(("line", {"share": 0.7, "songs": songs}, _NOT_YES) for songs in (12, 24, 48)),
    ),
    "C3b": (
        *(
            ("line", {"noise": noise, "songs": songs}, _NOT_YES)
            for songs, noise in ((12, 14.15), (24, 15.1), (48, 16.3))
        ),
        *(("line", {"share": 0.84, "size": 50.0, "songs": songs}, _NOT_YES) for songs in (12, 24, 48)),
    ),
    "C4": (("line", {"noise": 3.93}, _NOT_YES), ("line", {"noise": 2.92}, _NOT_NO)),
    "C5": tuple(("nuisance", {"size": 5.0, "noise": 9.7}, rule) for rule in (_NOT_YES, _NOT_NO)),
    "C6": (("nuisance", {"size": 3.2}, _NOT_YES),),
}

#: What `synthetic_sweep` makes.
KINDS = tuple(TRUTH)

_NAMES = ("cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi")


def synthetic_sweep(
    kind: str,
    *,
    seed: int = 0,
    instruments: int = 3,
    songs: int = 24,
    clips_per_song: int = 2,
    test_songs: int | None = None,
    strengths: int = 6,
    features: int = 48,
    size: float = 10.0,
    noise: float = 0.2,
    growth: float = 2.0,
    signal: float = 5.0,
    dimension: int = 3,
    share: float = 1.0,
    carried: float = 1.0,
    model: str = "synthetic",
) -> Sweep:
    """Embeddings of one invented model under one invented effect whose geometry is known.

    Parameters
    ----------
    kind : str
        One of `KINDS`; the module's table says what each is.
    seed : int
        Of everything that is drawn.
    instruments, songs, clips_per_song : int
        Numbers of instruments (up to 11), of songs an instrument and of clips a song.
    test_songs : int, optional
        Songs an instrument on the test side; a third of them by default.
    strengths, features : int
    size : float
        Length L of the displacement at full strength.
    noise : float
        Expected length of the noise vector of each effected embedding.
    growth : float
        Factor from one step to the next of the kind ``growing``.
    signal : float
        Distance between the centres of two instruments.
    dimension : int
        Of the subspace of the kind ``subspace``.
    share : float
        Chance of each song to answer to the effect; the clips of the others have only noise.
    carried : float
        Share of the whole path that the step of the kind ``jump`` makes.
    model : str
        Name under which the sweep goes; some claims speak of certain models only.

    Returns
    -------
    Sweep
        Clean embeddings, shape (clip, feature), and trajectories, shape (strength, clip, feature), float32; marked as
        pretrained, so that claims are decided.

    Raises
    ------
    ValueError
        If the kind is unknown or a size does not fit the others.

    Examples
    --------
    >>> sweep = synthetic_sweep("line", noise=0.0)
    >>> sweep.trajectories.shape, int(sweep.train.sum()), int(sweep.test.sum())
    ((6, 144, 48), 96, 48)
    >>> np.linalg.norm(sweep.displacements[[0, -1]], axis=-1).mean(axis=1).astype(float).round(3).tolist()
    [1.667, 10.0]
    >>> bool((synthetic_sweep("still").displacements == 0).all())
    True
    """
    test_songs = max(1, songs // 3) if test_songs is None else test_songs
    _check(kind, instruments, songs, clips_per_song, test_songs, strengths, features, dimension, share)
    rng = np.random.default_rng([seed, *kind.encode()])
    song = np.repeat(np.arange(instruments * songs), clips_per_song)
    label = song // songs
    clips = len(song)

    needed = instruments + max(dimension, 2)
    basis = np.linalg.qr(rng.standard_normal((features, needed)))[0].T
    apart, along = basis[:instruments], basis[instruments:]
    centres = signal / np.sqrt(2) * apart
    ramp = signal * (np.arange(instruments) - (instruments - 1) / 2)[:, None] * along[0]
    if kind == "carrier":
        centres = ramp
    elif kind == "nuisance":
        centres = centres + ramp
    by_song = rng.standard_normal((instruments * songs, features))
    own = rng.standard_normal((clips, features))
    clean = (centres[label] + (by_song[song] + own) / np.sqrt(2)).astype(np.float32)

    answers = rng.random(instruments * songs) < share
    t = np.arange(1, strengths + 1) / strengths
    moved = _displacement(kind, t, clips, features, along[:dimension], along[:2], growth, carried, rng)
    moved = np.broadcast_to(moved, (strengths, *moved.shape[1:]))
    deviation = 0.0 if kind == "still" else noise / np.sqrt(features)
    trajectories = np.empty((strengths, clips, features), np.float32)
    # One strength at a time: at the study's scale the arrays fill gigabytes.
    for effected, displacement in zip(trajectories, moved, strict=True):
        rng.standard_normal(out=effected, dtype=np.float32)
        effected *= deviation
        effected += size * answers[song, None] * displacement
        effected += clean
    test = song % songs >= songs - test_songs
    table = pd.DataFrame(
        {
            "song": [f"{_NAMES[i]}-{s:04d}" for i, s in zip(label, song, strict=True)],
            "instrument": np.array(_NAMES)[label],
            "split": np.where(test, "test", "train"),
        },
        index=pd.Index([f"clip-{i:05d}" for i in range(clips)], name="clip"),
    )
    parameters = np.arange(1.0, strengths + 1)
    return Sweep(
        model=model,
        pretrained=True,
        effect=Effect(kind, lambda audio, rate, value: audio, parameters, kind.capitalize(), "Strength"),
        parameters=parameters,
        clean=clean,
        trajectories=trajectories,
        clips=table,
        key=f"synthetic-{kind}-{seed}",
    )


def _check(kind, instruments, songs, clips_per_song, test_songs, strengths, features, dimension, share):
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(KINDS)}")
    if not 2 <= instruments <= len(_NAMES):
        raise ValueError(f"instruments={instruments} is not between 2 and {len(_NAMES)}")
    if not 1 <= test_songs < songs or clips_per_song < 1:
        raise ValueError(
            f"songs={songs}, test_songs={test_songs}, clips_per_song={clips_per_song}: each side of the split needs "
            "a song an instrument, and each song a clip"
        )
    if strengths < 2 or dimension < 1:
        raise ValueError(f"strengths={strengths} must be at least 2 and dimension={dimension} at least 1")
    if features < instruments + max(dimension, 2):
        raise ValueError(
            f"features={features} hold no {instruments} centres and {max(dimension, 2)} directions at right angles"
        )
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} is not between 0 and 1")


def _unit_rows(rng, n, d):
    rows = rng.standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _displacement(kind, t, clips, features, subspace, plane, growth, carried, rng):
    """Displacements of size 1, broadcastable to (strength, clip, feature)."""
    u, v = plane
    strength = t[:, None, None]
    if kind in ("line", "carrier"):
        return strength * u
    if kind == "curve":
        return 0.5 * ((1 - np.cos(np.pi * strength)) * u + np.sin(np.pi * strength) * v)
    if kind == "subspace":
        return strength * (_unit_rows(rng, clips, len(subspace)) @ subspace)
    if kind == "jump":
        return (carried * (strength > 0.5) + (1 - carried) * strength) * u
    if kind == "onset":
        return np.ones_like(strength) * u
    if kind == "scattered":
        return strength * _unit_rows(rng, clips, features)
    if kind == "circle":
        return 0.5 * ((1 - np.cos(2 * np.pi * strength)) * u + np.sin(2 * np.pi * strength) * v)
    if kind in ("walk", "restless", "drift", "unordered"):
        paths = 1 if kind in ("drift", "unordered") else clips
        anew = _unit_rows(rng, len(t) * paths, features).reshape(len(t), paths, features)
        return anew if kind in ("restless", "unordered") else anew.cumsum(axis=0) / np.sqrt(len(t))
    if kind == "growing":
        return (growth ** (len(t) * strength) - 1) / (growth ** len(t) - 1) * u
    if kind == "nuisance":
        return strength * rng.uniform(0, 4, (clips, 1)) * u
    return np.zeros((1, 1, features))


def errs(verdict: str, expected: str) -> bool:
    """Whether a verdict is wrong where the truth is known: the opposite, or any where there is nothing to judge.

    Examples
    --------
    >>> errs("supported", "not supported"), errs("inconclusive", "supported"), errs("supported", "inconclusive")
    (True, False, True)
    >>> errs("supported", "any but supported"), errs("not supported", "any but supported")
    (True, False)
    """
    if expected.startswith("any but "):
        return verdict == expected.removeprefix("any but ")
    return verdict not in (expected, _OPEN)


def judge(
    sweep: Sweep,
    which: Sequence[str] = CLAIMS,
    *,
    n_permutations: int = 200,
    n_resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Verdicts on one sweep, by the measures and rules that a study uses.

    Parameters
    ----------
    sweep : Sweep
    which : sequence of str
        Claims; only what they and their gates need is computed.
    n_permutations, n_resamples, seed : int
        As in `aesens.tables`.

    Returns
    -------
    pandas.DataFrame
        Of `aesens.tables.claims.verdicts`. C6 has a row only if the sweep's model is one that the claim speaks of.

    Examples
    --------
    >>> judge(synthetic_sweep("jump", strengths=12), ["C1", "C2"])["verdict"].tolist()
    ['supported', 'supported']
    """
    drawn = {"n_resamples": n_resamples, "seed": seed}
    orders = {"n_permutations": n_permutations, **drawn}
    which = set(which)
    found = {
        "response": which - {"C6"} and tables.response(sweep, **orders),
        "decoding": which & {"C3a", "C3b"} and tables.decoding(sweep, **orders),
        "geometry": which & {"C4"} and tables.geometry(sweep, seed=seed),
        "robustness": which & {"C5", "C6"} and tables.robustness(sweep, pooled=claims.pools(), **drawn),
        "remedies": None,
    }
    about = {"model": sweep.model, "pretrained": sweep.pretrained, "effect": sweep.effect.name}
    empty = pd.DataFrame(columns=[*about, *_COLUMNS])
    found = {
        name: table.assign(**about) if isinstance(table, pd.DataFrame) else empty
        for name, table in found.items()
    }
    verdicts = claims.verdicts(**found)
    return verdicts[verdicts["claim"].isin(which)].reset_index(drop=True)
