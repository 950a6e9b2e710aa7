"""How fast parts of the analysis are, beside the plain way.

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
from aesens.analysis.logistic import COSTS
from aesens.analysis.parallel import cores
from aesens.analysis.principal import Principal
from aesens.analysis.projections import remove
from aesens.analysis.samplewise import samplewise_directions

RESAMPLES = 10_000
CORES = cores()
BENCHMARKS = ("machine", "directions", "full grids", "classification")


def seconds(work, *args, **options):
    """Result and wall time of a call."""
    start = time.perf_counter()
    result = work(*args, **options)
    return result, time.perf_counter() - start


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
    shape = {"instruments": 3, "songs": 12} if quick else {"instruments": 11, "songs": 147, "test_songs": 51}
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


def _scattered(clips: int, features: int):
    """Paths of 31 strengths in every direction, each with noise of its own."""
    shape = {"songs": clips // 2, "clips_per_song": 1, "strengths": 31, "features": features}
    return synthetic_sweep("scattered", noise=2.0, instruments=2, **shape)


def _one_by_one(trajectories):
    """The plain way: scikit-learn's CCA for one clip after the other."""
    rank = np.linspace(0, 1, len(trajectories))[:, None]
    clips = range(trajectories.shape[1])
    return np.array([CCA(1, scale=False).fit(trajectories[:, i], rank).x_weights_[:, 0] for i in clips])


def directions(table: Table, quick: bool) -> None:
    """(a) All clips' own directions in one batched solve against scikit-learn's CCA clip by clip."""
    clips = 4 if quick else 256
    for features in (512, 2048):
        sweep = _scattered(clips, features)
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
        sweep = _scattered(clips, features)
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
            table.add(
                "full grids",
                f"{name}: ours, median of {len(ratio)} rounds in turns",
                np.median(fast[1:]),
                "s",
            )
            table.add("full grids", f"{name}: scikit-learn, median", np.median(slow[1:]), "s")
            table.add("full grids", f"{name}: ratio, median", np.median(ratio), "x")
            table.add("full grids", f"{name}: ratio, smallest", ratio.min(), "x")
            table.add("full grids", f"{name}: |cosine| between the two", cosine, "")
        # What both ways make at least, unless scikit-learn decomposes the rows: it bounds the ratio.
        smaller = displacements.T if len(displacements) > features else displacements
        products = [seconds(lambda x=smaller: x @ x.T)[1] for _ in range(2 if quick else 7)][1:]
        name = f"31 strengths of {clips} clips, {features} features: scatter or Gram matrix alone, median"
        table.add("full grids", name, np.median(products), "s")


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


def classification(table: Table, quick: bool) -> None:
    """(b) Classification of one model and effect against the plain way."""
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

    def scoring():
        metric_table(result)
        auc_change(result, n_resamples=100 if quick else RESAMPLES, pooled={"all": ["pca"]}, n_jobs=CORES)

    table.add("classification", "ours, metrics and bootstrap", seconds(scoring)[1], "s")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--parts",
        default="a,b,c",
        help="a: directions, b: classification, c: full grids; default: all",
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
        classification(table, options.quick)
    if out:
        table.merge(out / "analysis.csv", BENCHMARKS)


if __name__ == "__main__":
    main()
