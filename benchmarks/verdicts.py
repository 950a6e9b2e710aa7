"""How often verdicts are right, and what they can see: synthetic embeddings whose truth is known, over many seeds.

``python benchmarks/verdicts.py`` writes ``results/verdicts.csv`` and ``results/power.csv``; see the README beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy.stats import binomtest
from synthetic import BORDER, DEMO, KINDS, TRUTH, VARIANTS, errs, judge, synthetic_sweep
from table import folder
from threadpoolctl import threadpool_limits

from aesens.analysis.parallel import cores

#: Chance that an interval of 95 % lies on one given side of the truth.
NOMINAL = 0.025

_VERDICTS = ("supported", "not supported", "inconclusive")

# Classifiers are trained twenty times a method and instrument for these.
_SLOW = {"C5", "C6"}


def cells(truth: int, border: int) -> Iterator[tuple]:
    """Case, kind, options of the sweep, expected verdicts by claim, and seeds of each cell."""
    for kind in KINDS:
        yield "clear", kind, {"strengths": 12}, {c: v for c, v in TRUTH[kind].items() if v}, truth
    for kind, options, expected in VARIANTS:
        yield "demo's size" if options.get("instruments") == 11 else "clear", kind, options, expected, truth
    for claim, cases in BORDER.items():
        for kind, options, expected in cases:
            case = "songs on or off" if "share" in options else "threshold"
            yield case, kind, options, {claim: expected}, border


def judged(kind: str, seed: int, options: dict, claims: tuple[str, ...]) -> dict[str, tuple[str, float]]:
    """Verdict and statistic of each claim on one data set."""
    with threadpool_limits(1):
        sweep = synthetic_sweep(kind, seed=seed, model="panns", **options)
        found = judge(sweep, claims, n_permutations=1000, seed=seed)
    return {row.claim: (row.verdict, row.statistic) for row in found.itertuples()}


def _all(jobs: list[tuple], n_jobs: int) -> list[dict]:
    return joblib.Parallel(n_jobs, verbose=1)(joblib.delayed(judged)(*job) for job in jobs)


def rates(cases: list[str], truth: int, border: int, slow: float, n_jobs: int) -> pd.DataFrame:
    """Verdicts of every cell of some cases, counted; with classifiers, of the share `slow` of the seeds."""
    jobs, rows = [], []
    for case, kind, options, expected, seeds in cells(truth, border):
        for names in ([c for c in expected if c not in _SLOW], [c for c in expected if c in _SLOW]):
            if names and case in cases:
                n = seeds if names[0] not in _SLOW else max(2, int(slow * seeds))
                rows.append((case, kind, options, {name: expected[name] for name in names}, n))
                jobs += [(kind, seed, options, tuple(names)) for seed in range(n)]
    found, table = iter(_all(jobs, n_jobs)), []
    for case, kind, options, expected, n in rows:
        drawn = [next(found) for _ in range(n)]
        label = ", ".join([kind, *(f"{name} {value:g}" for name, value in options.items())])
        for claim, right in expected.items():
            got = [verdict[claim][0] for verdict in drawn]
            wrong = sum(errs(verdict, right) for verdict in got)
            counts = {name: got.count(name) for name in _VERDICTS}
            about = {"case": case, "kind": label, "claim": claim, "expected": right, "seeds": n}
            p = binomtest(wrong, n, NOMINAL, alternative="greater").pvalue
            table.append(about | counts | {"error_rate": wrong / n, "p": p})
    return pd.DataFrame(table)


# The sizes whose power is drawn: name, options of the sweep.
_SIZES = {
    "C2": {
        "demo's pictures: 11 clips, 16 strengths": DEMO | {"songs": 2, "test_songs": 1, "strengths": 16},
        "paper: 31 strengths": {"strengths": 31},
    },
    "C5": {"demo: 66 test songs": DEMO | {"features": 200, "size": 20.0}},
}


def power(seeds: int, slow: int, n_jobs: int) -> pd.DataFrame:
    """How often C2 and C5 are decided, by the size of the jump and by the share that is recovered."""
    cases = []
    for size, options in _SIZES["C2"].items():
        for carried in np.arange(0.05, 0.41, 0.025).round(3):
            cases.append(("C2", size, "jump", options | {"carried": carried}, carried, seeds))
    for size, options in _SIZES["C5"].items():
        for noise in C5_NOISE:
            cases.append(("C5", size, "nuisance", options | {"noise": noise}, None, slow))
    jobs = [(kind, s, options, (claim,)) for claim, _, kind, options, _, n in cases for s in range(n)]
    found, table = iter(_all(jobs, n_jobs)), []
    for claim, size, _, _, truth, n in cases:
        drawn = [next(found)[claim] for _ in range(n)]
        shares = {name: sum(verdict == name for verdict, _ in drawn) / n for name in _VERDICTS}
        # Of a repair the truth is what it is in the mean over data sets.
        truth = np.nanmedian([value for _, value in drawn]) if truth is None else truth
        table.append({"claim": claim, "size": size, "truth": truth, "seeds": n} | shares)
    return pd.DataFrame(table).sort_values(["claim", "size", "truth"])


#: Noise beside the nuisance, which no projection removes: the more of it, the less is recovered.
C5_NOISE = (2.0, 6.0, 9.0, 12.0, 14.0, 16.0, 20.0)


#: Parts of the work: cells of these cases, and the power curves.
PARTS = ("clear", "demo's size", "threshold", "songs on or off", "power")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="default: all; the rows of the others stay")
    parser.add_argument("--seeds", type=int, default=100, help="data sets a cell; default: 100")
    parser.add_argument("--border", type=int, default=400, help="at the thresholds; default: 400")
    parser.add_argument("--slow", type=float, default=0.25, help="share of them for C5 and C6; default: 0.25")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes; default: all cores")
    parser.add_argument("--out", type=folder, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    if cases := [part for part in parts if part != "power"]:
        path = options.out / "verdicts.csv"
        table = rates(cases, options.seeds, options.border, options.slow, options.jobs)
        if path.exists():
            kept = pd.read_csv(path)
            table = pd.concat([kept[~kept["case"].isin(cases)], table], ignore_index=True)
            table = table.sort_values("case", key=lambda c: c.map(PARTS.index), kind="stable")
        table.to_csv(path, index=False, float_format="%.4g")
        print(pooled(table).to_string())
        print(table.sort_values("error_rate").tail(12).to_string())
    if "power" in parts:
        found = power(options.seeds, max(2, int(options.slow * options.seeds)), options.jobs)
        found.to_csv(options.out / "power.csv", index=False, float_format="%.4g")
        print(found.to_string())


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Errors of each claim over all cells of a case, and how likely so many are at the nominal rate."""
    wrong = table.assign(wrong=(table["error_rate"] * table["seeds"]).round().astype(int))
    sums = wrong.groupby(["case", "claim"])[["seeds", "wrong"]].sum()
    p = [binomtest(row.wrong, row.seeds, NOMINAL, alternative="greater").pvalue for row in sums.itertuples()]
    return sums.assign(rate=sums["wrong"] / sums["seeds"], p=p)


if __name__ == "__main__":
    main()
