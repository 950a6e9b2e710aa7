"""How often the chosen remedy passes for one where there is nothing to remove, and where there is.

    python benchmarks/remedies.py [--seeds 40] [--out FILE]

Synthetic embeddings of the same clips under two effects of one kind, see `synthetic`; the method is chosen on training
songs and fitted on the other effect. Of a removable ``nuisance`` the lower limit of the recovered share should pass the
threshold; of noise that is independent for every clip and strength (``restless``), of movements that no two clips share
(``scattered``) and of none (``nothing``) in at most 5 % of seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import pandas as pd
from synthetic import synthetic_sweep

from aesens import tables
from aesens.analysis.parallel import cores

#: Of claim C7: what the lower limit of the recovered share must exceed.
THRESHOLD = 0.25

KINDS = ("nuisance", "restless", "scattered", "nothing")


def chosen(kind: str, seed: int, size: float = 10.0) -> pd.DataFrame:
    """Rows of the chosen methods, fitted on the other effect; the second is half as strong."""
    about = {"seed": seed, "songs": 12, "test_songs": 6, "clips_per_song": 1, "strengths": 3, "features": 16}
    first, second = (synthetic_sweep(kind, size=length, **about) for length in (size, size / 2))
    second = replace(second, effect=replace(second.effect, name="other"))
    table = tables.remedies([first, second], n_resamples=300, seed=seed, n_jobs=cores())
    pooled = table[(table["kind"] == "pooled") & (table["test"] == "effected") & table["chosen"]]
    return pooled[pooled["condition"] == "transfer"].assign(kind=kind, seed=seed)


def rates(seeds: int) -> pd.DataFrame:
    """Share of seeds and effects in which the lower limit passes the threshold, by kind and metric."""
    rows = pd.concat([chosen(kind, seed) for kind in KINDS for seed in range(seeds)])
    rows["supported"] = rows["low"] > THRESHOLD
    said = {"cases": ("supported", "size"), "supported": ("supported", "mean")}
    said |= {"loss": ("loss", "mean"), "recovered": ("recovered", "median")}
    return rows.groupby(["kind", "metric"], sort=False).agg(**said).reset_index()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--out", help="CSV file to write")
    arguments = parser.parse_args()
    found = rates(arguments.seeds)
    print(found.round(3).to_string(index=False))
    if arguments.out:
        found.round(4).to_csv(arguments.out, index=False)
