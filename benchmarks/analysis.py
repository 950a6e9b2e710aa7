"""How fast the analysis is, beside the plain way and at the study's scale.

Run ``python benchmarks/analysis.py``; ``--parts a`` runs some of the parts and replaces their rows alone, ``--quick``
is a smoke run of all parts at small sizes. The columns of the files it writes are explained in
``benchmarks/README.md``. All embeddings are synthetic, of `synthetic`.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from synthetic import synthetic_sweep
from table import Table, folder, machine

from aesens import tables
from aesens.analysis.auc import auc_change, metric_table
from aesens.analysis.cca import GlobalCCA
from aesens.analysis.classify import classify, draw_random_strengths, draw_training_clips, grouped_folds
from aesens.analysis.frechet import frechet_floor
from aesens.analysis.logistic import COSTS
from aesens.analysis.parallel import cores
from aesens.analysis.principal import Principal
from aesens.analysis.projections import remove
from aesens.analysis.samplewise import samplewise_directions

#: Strengths of the four effects and features of the three models at the study's scale.
STRENGTHS = (31, 31, 34, 12)
FEATURES = {"openl3": 512, "panns": 2048, "clap": 512}
PERMUTATIONS, RESAMPLES, PICTURE_CLIPS, INSTRUMENTS = 1000, 10_000, 11, 11
CORES = cores()
BENCHMARKS = ("machine", "directions", "full grids", "classification", "whole analysis")


def seconds(work, *args, **options):
    """Result and wall time of a call."""
    start = time.perf_counter()
    result = work(*args, **options)
    return result, time.perf_counter() - start


def both_seconds(work, *args, **options):
    """Wall and processor time of a call, as an array: the latter does not depend on what else runs."""
    start = np.array([time.perf_counter(), time.process_time()])
    work(*args, **options)
    return np.array([time.perf_counter(), time.process_time()]) - start


@contextmanager
def peak_memory():
    """Largest resident memory of this process within the block, in GB, as the only element of a list."""
    page, peak, done = os.sysconf("SC_PAGE_SIZE"), [0.0], threading.Event()

    def look():
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * page / 1e9
        peak[0] = max(peak[0], resident)

    def watch():
        while not done.wait(0.02):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def study_sweep(features: int, quick: bool, strengths: int = 31):
    """A sweep of the study's shape: 3 168 training and 1 666 test clips of 11 instruments."""
    shape = (
        {"instruments": 3, "songs": 12}
        if quick
        else {"instruments": INSTRUMENTS, "songs": 147, "test_songs": 51}
    )
    sweep = synthetic_sweep(
        "nuisance",
        strengths=5 if quick else strengths,
        clips_per_song=3,
        features=32 if quick else features,
        size=0.5 * np.sqrt(features),
        noise=0.2 * np.sqrt(features),
        signal=4.0,
        **shape,
    )
    if quick:
        return sweep
    surplus = np.flatnonzero(sweep.test)[1666:]
    return sweep.take(~np.isin(np.arange(len(sweep.clips)), surplus))


def _one_by_one(trajectories):
    """The plain way: scikit-learn's CCA for one clip after the other."""
    rank = np.linspace(0, 1, len(trajectories))[:, None]
    clips = range(trajectories.shape[1])
    return np.array([CCA(1, scale=False).fit(trajectories[:, i], rank).x_weights_[:, 0] for i in clips])


def directions(table: Table, quick: bool) -> None:
    """(a) All clips' own directions in one batched solve against scikit-learn's CCA clip by clip."""
    clips = 4 if quick else 256
    for features in (512, 2048):
        # Paths in every direction, each with noise of its own.
        shape = {
            "instruments": 2,
            "songs": clips // 2,
            "clips_per_song": 1,
            "strengths": 31,
            "features": features,
        }
        sweep = synthetic_sweep("scattered", noise=2.0, **shape)
        for way in (samplewise_directions, _one_by_one):
            way(sweep.trajectories[:, :2])
        fast, slow = [], []
        for _ in range(2 if quick else 7):
            # The first of them share the cores with BLAS threads that still wait for more of the other way's work.
            runs = [seconds(samplewise_directions, sweep.trajectories, n_jobs=CORES) for _ in range(15)]
            ours = runs[0][0]
            fast.append(np.median([run[1] for run in runs]))
            plain, took = seconds(_one_by_one, sweep.trajectories.astype(float))
            slow.append(took)
        ratio = np.divide(slow, fast)
        cosine = np.abs((ours * plain).sum(axis=1) / np.linalg.norm(plain, axis=1))
        name, rounds = f"{clips} clips of 31 x {features}", f"{len(ratio)} rounds in turns"
        table.add("directions", f"{name}: batched, median of {rounds}", np.median(fast), "s")
        table.add(
            "directions", f"{name}: scikit-learn CCA for each clip, median of {rounds}", np.median(slow), "s"
        )
        table.add("directions", f"{name}: ratio, median of {rounds}", np.median(ratio), "x")
        table.add("directions", f"{name}: ratio, smallest of {rounds}", ratio.min(), "x")
        table.add("directions", f"{name}: smallest |cosine| between the two", cosine.min(), "")


def full_grids(table: Table, quick: bool) -> None:
    """(c) One direction of many clips, whose rows outnumber the features, against scikit-learn's estimators.

    As the study calls them: ``CCA(1, scale=False)`` on stacked trajectories, and ``PCA()`` of displacements with all
    components, of which the first is taken. What scikit-learn then does depends on the shape: the covariance matrix
    and its eigenvectors where rows are ten times as many as features, else a singular value decomposition.
    """
    for clips, features in ((4, 64),) if quick else ((36, 512), (36, 2048), (288, 512)):
        shape = {"instruments": 2, "songs": clips // 2, "clips_per_song": 1, "strengths": 31, "features": features}
        sweep = synthetic_sweep("scattered", noise=2.0, **shape)
        trajectories = sweep.trajectories.astype(float)
        rows, rank = trajectories.reshape(-1, features), np.repeat(np.linspace(0, 1, 31), clips)
        displacements = (trajectories - sweep.clean).reshape(-1, features)
        ways = {
            "global CCA": (
                lambda x=trajectories: GlobalCCA().fit(x).direction_,
                lambda x=rows, y=rank: CCA(1, scale=False).fit(x, y).x_weights_[:, 0],
            ),
            "PCA": (
                lambda x=displacements: Principal(x).component(0),
                lambda x=displacements: PCA().fit(x).components_[0],
            ),
        }
        for method, (ours, plain) in ways.items():
            fast, slow = [], []
            for _ in range(2 if quick else 7):
                found, took = seconds(ours)
                fast.append(took)
                expected, took = seconds(plain)
                slow.append(took)
            # The first round warms both up.
            ratio = np.divide(slow, fast)[1:]
            cosine = abs(found @ expected) / np.linalg.norm(found) / np.linalg.norm(expected)
            name = f"{method}, 31 strengths of {clips} clips, {features} features"
            table.add("full grids", f"{name}: ours, median of {len(ratio)} rounds in turns", np.median(fast[1:]), "s")
            table.add("full grids", f"{name}: scikit-learn, median", np.median(slow[1:]), "s")
            table.add("full grids", f"{name}: ratio, median", np.median(ratio), "x")
            table.add("full grids", f"{name}: ratio, smallest", ratio.min(), "x")
            table.add("full grids", f"{name}: |cosine| between the two", cosine, "")


def _imported():
    return GridSearchCV.__name__


def _plain_scores(sweep, case, basis, drawn, **options):
    """The plain way: one grid search for one instrument, training and test condition; scores of the test clips."""

    def embeddings(condition, clips):
        if condition == "random":
            x = sweep.trajectories[drawn[clips], clips]
        else:
            x = sweep.clean[clips] if condition == "clean" else sweep.trajectories[int(case.strength), clips]
        return remove(x.astype(float), basis)

    train, labels = draw_training_clips(sweep.instruments, str(case.instrument.values), sweep.train)
    folds = grouped_folds(labels, sweep.songs[train])
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(folds.max() + 1)]
    model = LogisticRegression(solver="liblinear", class_weight="balanced", **options)
    search = GridSearchCV(model, {"C": COSTS}, scoring="roc_auc", cv=splits, n_jobs=CORES)
    search.fit(embeddings(str(case.train.values), train), labels)
    return search.decision_function(embeddings(str(case.test.values), np.flatnonzero(sweep.test)))


def _spread(result, n, rng):
    """Cells (pair of conditions, case, projection, instrument), evenly over pairs, projections and instruments."""
    pairs: dict[tuple, list[int]] = {}
    for case, pair in enumerate(zip(result.train.values, result.test.values, strict=True)):
        pairs.setdefault(tuple(map(str, pair)), []).append(case)
    order = [rng.permutation(result.sizes[name]) for name in ("projection", "instrument")]
    for k in range(n):
        pair = list(pairs)[k % len(pairs)]
        yield pair, rng.choice(pairs[pair]), *(int(places[k % len(places)]) for places in order)


def classification(table: Table, quick: bool) -> np.ndarray:
    """(b) Classification of one model and effect against the plain way; returns both times of its scoring."""
    sweep = study_sweep(512, quick)
    strengths, codes = len(sweep.parameters), list(dict.fromkeys(sweep.instruments))
    subspaces, fitted = seconds(tables.fitted_subspaces, sweep, seed=0, n_jobs=CORES)
    with peak_memory() as memory:
        result, trained = seconds(classify, *sweep.labelled, subspaces, classes=codes, n_jobs=CORES)
    part = f"all {len(codes)} instruments, {strengths} strengths and {len(subspaces)} projections"
    table.add("classification", f"ours, measured: {part}, {CORES} threads", trained, "s")
    table.add("classification", f"ours, peak memory: {part}", memory[0], "GB")

    rng = np.random.default_rng(0)
    truth = sweep.instruments[sweep.test]
    # The same draw for both ways, so that classifiers trained at random strengths compare too.
    drawn = draw_random_strengths(len(sweep.clips), strengths)
    # As a user would call it; and to the optimum, which liblinear's own tolerance stops short of where C is large.
    settings = {"default": {"max_iter": 1000}, "converged": {"max_iter": 100_000, "tol": 1e-8}}
    differences, times = {name: [] for name in settings}, {}
    # Its worker processes start before the clock does.
    joblib.Parallel(CORES)(joblib.delayed(_imported)() for _ in range(CORES))
    for pair, c, p, i in _spread(result, 7 if quick else 77, rng):
        case = result.isel(projection=p, case=c, instrument=i)
        own = truth == str(case.instrument.values)
        basis = subspaces[str(case.projection.values)][str(case.instrument.values)]
        ours = roc_auc_score(own, case.score.values)
        for name, options in settings.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores, took = seconds(_plain_scores, sweep, case, basis, drawn, **options)
            differences[name].append(abs(roc_auc_score(own, scores) - ours))
            if name == "default":
                times.setdefault(pair, []).append(took)
    cells = pd.Series(list(zip(result.train.values, result.test.values, strict=True))).value_counts()
    each = result.sizes["projection"] * len(codes)
    theirs = sum(np.mean(took) * cells[pair] * each for pair, took in times.items())
    sample = (
        f"{sum(map(len, times.values()))} cells spread over pairs of conditions, projections and instruments"
    )
    table.add(
        "classification",
        f"plain way (GridSearchCV, liblinear), measured: {sample}",
        sum(map(sum, times.values())),
        "s",
    )
    table.add(
        "classification",
        f"plain way, projected to {cells.sum() * each} cells (projection x case x instrument)",
        theirs,
        "s",
    )
    table.add("classification", "ratio of the plain way's projected time to ours", theirs / trained, "x")
    name = "largest difference of ROC-AUC over the sampled cells"
    table.add("classification", f"{name}, liblinear converged", max(differences["converged"]), "")
    table.add(
        "classification", f"{name}, liblinear at its default tolerance", max(differences["default"]), ""
    )
    table.add(
        "classification",
        "sampled cells that differ by more than 0.005, liblinear at its default tolerance",
        sum(difference > 0.005 for difference in differences["default"]),
        "",
    )
    table.add("classification", "projections fitted, in neither time", fitted, "s")
    scored = both_seconds(
        lambda: (
            metric_table(result),
            auc_change(
                result, n_resamples=100 if quick else RESAMPLES, pooled={"all": ["pca"]}, n_jobs=CORES
            ),
        )
    )
    table.add("classification", "ours, metrics and bootstrap", scored[0], "s")
    return scored


def _some_strengths(sweep, n):
    chosen = np.unique(np.linspace(0, len(sweep.parameters) - 1, n).astype(int))
    return replace(sweep, parameters=sweep.parameters[chosen], trajectories=sweep.trajectories[chosen])


class Parts:
    """Measured parts of the analysis of one pair, and what they come to for the whole pair: wall and processor time."""

    def __init__(self, table: Table, name: str):
        self.table, self.name, self.total, self.peak = table, name, np.zeros(2), 0.0

    def measure(self, name, work, *args, factor=1.0, share="whole", fixed=0.0, counts=True, **options):
        """Time `work` on a share of the pair; `factor` leads to the whole, but for `fixed` seconds."""
        with peak_memory() as memory:
            took = both_seconds(work, *args, **options)
        self.peak = max(self.peak, memory[0])
        self.add(f"{name}, measured: {share}", took[0], "s")
        self.add(f"{name}, measured: {share}, processor time", took[1], "s")
        self.add(f"{name}, peak memory", memory[0], "GB")
        if counts:
            projected = fixed + np.maximum(took - fixed, 0) * factor
            self.total += projected
            if factor != 1:
                self.add(f"{name}, projected to the pair", projected[0], "s")

    def add(self, metric, value, unit):
        self.table.add("whole analysis", f"{self.name}: {metric}", value, unit)


def _train(sweep, code, fitted):
    """Train and test the classifiers of one instrument, with every projection."""
    classify(
        sweep.clean,
        sweep.trajectories,
        sweep.instruments,
        sweep.songs,
        sweep.train,
        sweep.test,
        {name: {code: rows[code]} for name, rows in fitted.items()},
        classes=[code],
        n_jobs=CORES,
    )


def _pair(table: Table, features: int, quick: bool, scoring: np.ndarray) -> Parts:
    """Every measure on one pair of model and effect."""
    draws = {"n_permutations": 20 if quick else PERMUTATIONS, "seed": 0}
    cores = {"n_jobs": CORES}
    sweep = study_sweep(features, quick)
    strengths, codes = len(sweep.parameters), list(dict.fromkeys(sweep.instruments))
    parts = Parts(table, f"{features} features")

    few = 4
    # The floor of ten halvings costs the same for any number of strengths.
    fixed = both_seconds(frechet_floor, sweep.clean, sweep.songs, **cores)
    share = {"factor": strengths / few, "share": f"{few} of {strengths} strengths", "fixed": fixed}
    parts.measure("distances", tables.distances, _some_strengths(sweep, few), seed=0, **cores, **share)
    n_resamples = 50 if quick else RESAMPLES
    parts.measure("response", tables.response, sweep, **draws, n_resamples=n_resamples, **cores)
    if not quick:
        # UMAP compiles itself once a process, not once a pair.
        tables.layout(sweep, method="umap", clips=PICTURE_CLIPS, seed=0)
        parts.measure("clip_umap", tables.clip_umap, sweep, seed=0)
    for method in ("pca",) if quick else ("pca", "umap"):
        parts.measure(f"layout ({method})", tables.layout, sweep, method=method, clips=PICTURE_CLIPS, seed=0)
    parts.measure("geometry", tables.geometry, sweep, seed=0, **cores)
    tenth = sweep.take(np.arange(len(sweep.clips)) % 10 == 0)
    share = {"factor": len(sweep.clips) / len(tenth.clips), "share": "a tenth of the clips"}
    parts.measure("samplewise", tables.samplewise, tenth, **draws, **cores, **share)
    name = "samplewise with one permutation, for its memory"
    parts.measure(name, tables.samplewise, sweep, n_permutations=1, seed=0, counts=False, **cores)
    parts.measure("spectra", tables.spectra, sweep, seed=0, **cores)

    # As many instruments as cores at a time; a classifier needs two.
    group = min(max(CORES, 2), len(codes))
    some = sweep.take(np.isin(sweep.instruments, codes[:group]))
    share = {"factor": -(-len(codes) // group), "share": f"{group} of {len(codes)} instruments"}
    parts.measure("global_directions", tables.global_directions, some, **draws, **cores, **share)
    parts.measure("decoding", tables.decoding, some, **draws, n_resamples=n_resamples, **cores, **share)
    parts.measure("direction_points", tables.direction_points, some, instrument=codes[0])
    parts.measure("fitted_subspaces", tables.fitted_subspaces, some, seed=0, **cores, **share)
    fitted = tables.fitted_subspaces(some, seed=0, **cores)
    parts.measure("normalised_pca", tables.normalised_pca, some, **cores, **share)
    known = {"seed": 0, "fitted": fitted, **cores}
    parts.measure("projected", tables.projected, some, **known, **share)
    parts.measure("method_cosines", tables.method_cosines, some, **known, **share)
    parts.measure("classifier_cosines", tables.classifier_cosines, some, **known, **share)
    known = {"seed": 0, "vectors": partial(tables.direction_vectors, fitted=fitted), **cores}
    parts.measure("agreement", tables.agreement, [some], **known, **share)
    # With all its strengths: what is prepared once for an instrument would count for each strength otherwise.
    share = {"factor": len(codes), "share": f"1 of {len(codes)} instruments"}
    name = "classification, training and scoring"
    parts.measure(name, _train, sweep, codes[0], fitted, **share)
    parts.total += scoring
    parts.add("classification, metrics and bootstrap, as measured above", scoring[0], "s")
    parts.add(f"one pair of {strengths} strengths, projected", parts.total[0], "s")
    parts.add(f"one pair of {strengths} strengths, projected, processor time", parts.total[1], "s")
    return parts


def whole(table: Table, quick: bool, scoring: np.ndarray) -> None:
    """(c) Every measure of a study at its scale, from parts of one pair of each width."""
    found = {d: _pair(table, d, quick, scoring) for d in sorted(set(FEATURES.values()))}
    pairs = len(STRENGTHS) * len(FEATURES)
    hours = sum(found[d].total for d in FEATURES.values()) * sum(STRENGTHS) / STRENGTHS[0] / 3600
    largest = max(STRENGTHS) * 4834 * max(FEATURES.values()) * 4e-9
    name = f"{pairs} pairs of model and effect, projected"
    table.add("whole analysis", f"{name} ({CORES} cores)", hours[0], "h")
    table.add("whole analysis", f"{name}, processor time", hours[1], "h")
    peak = max(parts.peak for parts in found.values())
    table.add("whole analysis", "peak memory, the embeddings of one pair included", peak, "GB")
    table.add(
        "whole analysis", "embeddings of the largest pair, of which a run holds two at most", largest, "GB"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--parts",
        default="a,b,c",
        help="a: directions, b: classification and the whole analysis, c: full grids; default: all",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, under a minute, to see that all runs"
    )
    parser.add_argument(
        "--out", type=folder, help="folder of the results; benchmarks/results, or nothing with --quick"
    )
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else Path(__file__).parent / "results")
    table, parts = Table(machine()), options.parts.split(",")
    table.add("machine", "cores", CORES, "")
    if "a" in parts:
        directions(table, options.quick)
    if "c" in parts:
        full_grids(table, options.quick)
    if "b" in parts:
        whole(table, options.quick, classification(table, options.quick))
    if out:
        table.merge(out / "analysis.csv", BENCHMARKS)


if __name__ == "__main__":
    main()
