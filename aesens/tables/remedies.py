"""Chapter 8: what remedies give on effected clips and cost on clean ones, and whether effects are linear maps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedGroupKFold

from aesens.analysis import projections
from aesens.analysis.linearity import linear_predictions
from aesens.analysis.parallel import each
from aesens.analysis.remedies import REMEDIES, stack_effects
from aesens.analysis.robustness import fit_scores, ranking_and_threshold, recovery
from aesens.analysis.statistics import bootstrap_songs, derived_seed, holm
from aesens.tables.common import instrument_sides

__all__ = ["linearity", "remedies"]

# Strengths of each effect, evenly over the sweep: those of the demo, and all that remedies are fitted and tested on.
_STRENGTHS = 6

# Folds over training songs, and how often they are dealt anew until each can be trained without.
_FOLDS, _DEALS = 3, 20

# Training songs an instrument that choices are made on: with thousands of clips hundreds of fits would take days.
_SONGS = 30

# Resamples of test songs: of many methods, so that more would take long.
_RESAMPLES = 1000


def remedies(
    sweeps: Iterable, *, n_resamples: int, seed: int, transferred: bool = False, n_jobs: int = 1
) -> pd.DataFrame:
    """Every remedy and projection on the same terms, all settings and the best method chosen on training songs.

    All are fitted blind: on the training clips of all instruments, whatever they hold. Of an effect with more than six
    strengths six are taken, evenly.

    Parameters
    ----------
    sweeps : iterable of Sweep
        Of one model and the same clips, one an effect.
    n_resamples : int
        Over test songs, a thousand at most.
    seed : int
    transferred : bool
        Only the method chosen for transfer, which is all that claim C7 asks of further seeds.

    Returns
    -------
    pandas.DataFrame
        Rows of `aesens.analysis.robustness.recovery`, without those of no method, for each ``effect`` that is tested,
        ``condition`` (``own``: fitted on this effect; ``transfer``: on all others) and ``method`` (a key of
        `REMEDIES` or `PROJECTIONS`, or a family of the latter), with ``setting`` (as JSON), ``selection``, ``control``
        and ``p_holm``, corrected over the methods and effects of the model.

        ``selection`` is what the choice rests on: the mean of ROC-AUC and balanced accuracy on effected clips of
        training songs (30 an instrument at most) that neither method nor classifier was fitted on, three folds. For
        ``own`` the effect's; for ``transfer`` that of methods fitted on one of the other effects and tested on another:
        the tested effect has no part in it. ``chosen`` is the method with the highest, controls left out; where there
        are fewer than three training songs an instrument, nothing can be held out, first settings are taken and the
        first method stands.
    """
    sweeps = list(sweeps)
    first, effects = sweeps[0], [sweep.effect.name for sweep in sweeps]
    if any(not sweep.clips.index.equals(first.clips.index) for sweep in sweeps):
        raise ValueError("remedies are fitted across effects and need sweeps of the same clips")
    strengths = min(_STRENGTHS, *(len(sweep.parameters) for sweep in sweeps))
    thinned = [_thinned(sweep.trajectories, strengths) for sweep in sweeps]
    classes = [code for code, _, _ in instrument_sides(first)]
    how = {"classes": classes, "seed": seed, "n_jobs": n_jobs}
    candidates = _candidates(seed)
    found = _held_out(first, thinned, candidates, how)
    controls = {name for name, entry in _entries().items() if entry.control}

    tables = []
    for tested, effect in enumerate(effects):
        others = [x for x in range(len(effects)) if x != tested]
        pairs = [(x, y) for x in others for y in others if x != y] or [(x, x) for x in others]
        methods, chosen = {"none": None}, []
        for condition, fitted_on, seen in (
            ("own", [tested], [(tested, tested)]),
            ("transfer", others, pairs),
        ):
            if not fitted_on or (transferred and condition == "own"):
                continue
            best = _choose(candidates, np.mean([found[:, x, y] for x, y in seen], axis=0))
            versions = stack_effects(
                [thinned[x][:, first.train] for x in fitted_on], first.clean[first.train]
            )
            open_to_choice = best[~best["method"].isin(controls)]
            name = best.loc[open_to_choice["selection"].fillna(-1).idxmax(), "method"]
            best = best.assign(effect=effect, condition=condition, chosen=best["method"] == name)
            best = best[best["chosen"]] if transferred else best
            fits = each(lambda place, v=versions: _fit(candidates[place][2], v), best["place"], n_jobs)
            best["key"] = condition + "/" + best["method"]
            methods |= dict(zip(best["key"], fits, strict=True))
            chosen.append(best)
        if not chosen:
            raise ValueError("a method is transferred from other effects, of which there are none")
        scored = fit_scores(*replace(first, trajectories=thinned[tested]).labelled, methods, **how)
        drawn = {"n_resamples": min(n_resamples, _RESAMPLES), "seed": derived_seed(seed, effect)}
        table = recovery(scored, **drawn, n_jobs=n_jobs).rename(columns={"method": "key"})
        tables.append(pd.concat(chosen).merge(table, on="key").drop(columns=["key", "place"]))
    table = pd.concat(tables, ignore_index=True)
    table["control"] = table["method"].isin(controls)
    family = ["condition", "metric", "kind", "test", "strength"]
    table["p_holm"] = table[~table["control"]].groupby(family)["p"].transform(holm)
    front = ["effect", "condition", "method", "setting", "selection", "chosen", "control"]
    return table[[*front, *(name for name in table if name not in front)]]


def linearity(sweep, *, n_resamples: int, seed: int) -> pd.DataFrame:
    """Is the effect a linear map of embeddings? What ridge maps fitted on training songs predict on test songs.

    Returns
    -------
    pandas.DataFrame
        One row a ``strength`` and ``parameter``, and one of all strengths (-1): ``shift`` and ``linear``, the shares of
        the test clips' displacement energy that the mean displacement and the map from the clean embedding predict
        (a held-out R^2 about no movement; missing where nothing moves), with ``low`` and ``high`` of the latter over
        the ``songs``; and ``r2``, that of the embeddings about their mean: high wherever clips hardly move, and below
        zero where they all but fall together and nothing is told of what is left.
    """
    train, test, songs = sweep.train, sweep.test, sweep.songs
    folds = np.unique(songs[train], return_inverse=True)[1] % _FOLDS
    # As one job: its linear algebra runs on one thread.
    ((shift, linear),) = each(
        lambda t: linear_predictions(sweep.clean, t, train, folds), [sweep.trajectories]
    )
    moved = (sweep.trajectories - sweep.clean)[:, test].astype(np.float64)
    centres = sweep.trajectories[:, train].mean(axis=1, dtype=np.float64)
    sums = {
        "energy": moved,
        "shift": moved - shift[:, test],
        "linear": moved - linear[:, test],
        "spread": sweep.trajectories[:, test] - centres[:, None],
    }
    sums = {name: np.square(values).sum(axis=-1) for name, values in sums.items()}
    places = [*range(len(moved)), -1]
    rows = []
    for s, parameter in zip(places, [*sweep.parameters, np.nan], strict=True):
        error, energy, offset, spread = (
            (sums[name].sum(axis=0) if s < 0 else sums[name][s])
            for name in ("linear", "energy", "shift", "spread")
        )
        row = {"strength": s, "parameter": parameter, "songs": len(np.unique(songs[test]))}
        if energy.sum() > 0:
            share = lambda w, e=error, all_of_it=energy: 1 - (w @ e) / np.maximum(w @ all_of_it, 1e-300)
            found = bootstrap_songs(share, songs[test], n_resamples=n_resamples, seed=seed)
            row |= {"shift": 1 - offset.sum() / energy.sum(), "linear": found.estimate, "low": found.low}
            row |= {"high": found.high, "r2": 1 - error.sum() / spread.sum()}
        rows.append(row)
    columns = ["strength", "parameter", "shift", "linear", "low", "high", "r2", "songs"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _thinned(trajectories, strengths):
    return trajectories[np.linspace(0, len(trajectories) - 1, strengths).round().astype(int)]


def _entries() -> dict[str, projections.Entry]:
    return {**{name: e for name, e in projections.PROJECTIONS.items() if name != "none"}, **REMEDIES}


def _candidates(seed) -> list[tuple[str, str, BaseEstimator]]:
    """Method, setting and unfitted estimator of all that is compared; settings of one family are one method."""
    found = []
    for name, entry in _entries().items():
        if entry.control and name in projections.PROJECTIONS:
            continue
        for setting in entry.settings:
            own = REMEDIES.get(name) is entry
            made = clone(entry.factory()) if own else projections.make_projection(name, seed)
            made.set_params(**setting)
            shown = setting or ({"projection": name} if entry.family else {})
            found.append((entry.family or name, json.dumps(shown), made))
    return found


def _fit(unfitted, versions):
    return projections.removes(clone(unfitted).fit(versions))


def _choose(candidates, values) -> pd.DataFrame:
    """The place of the best setting of each method, in the order of the methods."""
    table = pd.DataFrame([name[:2] for name in candidates], columns=["method", "setting"])
    table = table.assign(selection=values, place=np.arange(len(candidates)))
    best = table["selection"].fillna(-1).groupby(table["method"], sort=False).idxmax()
    return table.loc[best]


def _deal(instruments, songs, classes) -> np.ndarray | None:
    """Folds (n,) of whole songs, each leaving two songs of every class; None where there are too few."""
    of = [instruments == code for code in classes]
    if min(len(np.unique(songs[mine])) for mine in of) < _FOLDS:
        return None
    for deal in range(_DEALS):
        folds = np.empty(len(songs), int)
        splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=deal)
        for fold, (_, held) in enumerate(splitter.split(songs, instruments, songs)):
            folds[held] = fold
        sides = ((folds == fold, mine) for fold in range(_FOLDS) for mine in of)
        if all((held & mine).any() and len(np.unique(songs[mine & ~held])) > 1 for held, mine in sides):
            return folds
    return None


def _held_out(sweep, thinned: Sequence[np.ndarray], candidates, about) -> np.ndarray:
    """Scores (candidate, effect fitted on, effect tested on) of held-out training songs, mean over folds."""
    effects, rng = len(thinned), np.random.default_rng(about["seed"])
    kept = [
        rng.permutation(np.unique(sweep.songs[sweep.train & (sweep.instruments == c)]))[:_SONGS]
        for c in about["classes"]
    ]
    train = (
        sweep.train
        & np.isin(sweep.songs, np.concatenate(kept))
        & np.isin(sweep.instruments, about["classes"])
    )
    found = np.full((_FOLDS, len(candidates), effects, effects), np.nan)
    instruments, songs, clean = sweep.instruments[train], sweep.songs[train], sweep.clean[train]
    folds = _deal(instruments, songs, about["classes"])
    if folds is None:
        return found[0]
    everything = np.concatenate([trajectories[:, train] for trajectories in thinned])
    for fold in range(_FOLDS):
        held = folds == fold
        methods = {}
        for x in range(effects):
            versions = stack_effects([thinned[x][:, train][:, ~held]], clean[~held])
            fits = each(lambda made, v=versions: _fit(made[2], v), candidates, about["n_jobs"])
            methods |= {f"{x}/{place}": fit for place, fit in enumerate(fits)}
        scored = fit_scores(clean, everything, instruments, songs, ~held, held, methods, n_refits=0, **about)
        truth = scored.label.values == scored.instrument.values[:, None]
        value = ranking_and_threshold(scored.score.values[:, 0, 1:], truth).mean(axis=(0, -1))
        value = value.reshape(effects, len(candidates), effects, -1).mean(axis=-1)
        found[fold] = value.swapaxes(0, 1)
    return found.mean(axis=0)
