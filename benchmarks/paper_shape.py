"""The whole analysis of one pair of model and effect at the study's shape, measured and not projected.

Run ``python benchmarks/paper_shape.py``; ``--features 2048`` measures one width alone, ``--quick`` is a smoke run at a
small size. Synthetic embeddings of 3 168 training and 1 666 test clips at 31 strengths go through the real store, and
from there through every measure of the chapters, whole; twins and chapter 8's remedies are left out. What it writes is
explained in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import inspect
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from analysis import CORES, RESAMPLES, peak_memory, seconds, study_sweep
from table import Table, folder, machine

from aesens import tables
from aesens.embeddings.store import Store

NAME = "paper shape"
#: Strengths of the four effects and features of the three models at the study's scale.
STRENGTHS = (31, 31, 34, 12)
FEATURES = {"openl3": 512, "panns": 2048, "clap": 512}
PERMUTATIONS, PICTURE_CLIPS = 1000, 11


def both_seconds(work, *args, **options):
    """Wall and processor time of a call, as an array: the latter does not depend on what else runs."""
    start = np.array([time.perf_counter(), time.process_time()])
    work(*args, **options)
    return np.array([time.perf_counter(), time.process_time()]) - start


def address(features: int, effect: str, salt: str = "") -> dict:
    """An address with what a store's name and shape are made of."""
    return {"model": "synthetic", "effect": effect, "dimension": features, "salt": salt}


def digests(count: int) -> list[str]:
    """As long as the hashes of files, which clips are known by."""
    return [f"{clip:064x}" for clip in range(count)]


def keep(root: Path, effect: str, parameters, values: np.ndarray) -> Store:
    """Write embeddings (parameter, clip, feature) into a new store as the extraction does, chunk by chunk."""
    made_for = address(values.shape[2], effect)
    store, clips = Store.at(made_for, root), digests(values.shape[1])
    keys, places = [float(p) for p in parameters], {clip: place for place, clip in enumerate(clips)}
    with store.held():
        store.create(made_for)
        for chunk in store.lay(dict.fromkeys(keys, clips), {"packages": {}, "source": ""}):
            rows = [places[clip] for clip in chunk.clips]
            store.write(chunk, values[keys.index(chunk.parameter), rows])
    return store


def stored_bytes(store: Store) -> int:
    """What a store takes on disk."""
    return sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())


def through_store(table: Table, label: str, sweep, root: Path):
    """The same sweep, read from stores that it was written into."""
    values = {"clean": ([0.0], sweep.clean[None]), sweep.effect.name: (sweep.parameters, sweep.trajectories)}
    stores, wrote = seconds(lambda: [keep(root, name, *one) for name, one in values.items()])
    clips = digests(len(sweep.clips))
    found, read = seconds(
        lambda: [
            store.read([float(p) for p in parameters], clips)
            for store, (parameters, _) in zip(stores, values.values(), strict=True)
        ]
    )
    table.add(NAME, f"{label}: embeddings", sweep.trajectories.nbytes + sweep.clean.nbytes, "bytes")
    table.add(NAME, f"{label}: stores on disk", sum(map(stored_bytes, stores)), "bytes")
    table.add(NAME, f"{label}: writing the stores", wrote, "s")
    table.add(NAME, f"{label}: reading them", read, "s")
    if not all(np.array_equal(a, b) for a, (_, b) in zip(found, values.values(), strict=True)):
        raise RuntimeError("the stores gave other embeddings than were written")
    return replace(sweep, clean=found[0][0], trajectories=found[1]), read


def measures(sweep, quick: bool) -> list[tuple]:
    """Every measure of chapters 4 to 9 on one pair: name, function, options."""
    seed, n_jobs = {"seed": 0}, {"n_jobs": CORES}
    draws = {"n_permutations": 20 if quick else PERMUTATIONS}
    boot = {"n_resamples": 50 if quick else RESAMPLES}
    drawn = {"clips": 3 if quick else PICTURE_CLIPS} | seed
    return [
        ("distances", tables.distances, seed | n_jobs),
        ("response", tables.response, draws | boot | seed | n_jobs),
        *([] if quick else [("clip_umap", tables.clip_umap, seed)]),
        *([] if quick else [("layout (umap)", tables.layout, drawn | {"method": "umap"})]),
        ("layout (pca)", tables.layout, drawn | {"method": "pca"}),
        ("geometry", tables.geometry, seed | n_jobs),
        ("samplewise", tables.samplewise, draws | seed | n_jobs),
        ("spectra", tables.spectra, seed | n_jobs),
        ("global_directions", tables.global_directions, draws | seed | n_jobs),
        ("direction_points", tables.direction_points, {"instrument": sweep.instruments[0]}),
        ("decoding", tables.decoding, draws | boot | seed | n_jobs),
        ("fitted_subspaces", tables.fitted_subspaces, seed | n_jobs),
        ("projected", tables.projected, seed | n_jobs),
        ("normalised_pca", tables.normalised_pca, n_jobs),
        ("method_cosines", tables.method_cosines, seed | n_jobs),
        ("classifier_cosines", tables.classifier_cosines, seed | n_jobs),
        ("agreements", _agreements, seed | n_jobs),
        ("classification", tables.classification, boot | seed | n_jobs),
        ("robustness", tables.robustness, boot | seed | n_jobs),
    ]


def _agreements(sweep, *, fitted, seed, n_jobs):
    return tables.agreements([sweep], fitted=lambda _: fitted, seed=seed, n_jobs=n_jobs)


def pair(table: Table, features: int, quick: bool) -> tuple[float, float]:
    """Wall time in seconds and peak memory in GB of the whole analysis of one pair."""
    label = f"{features} features"
    sweep = study_sweep(features, quick)
    with tempfile.TemporaryDirectory() as root:
        sweep, total = through_store(table, label, sweep, Path(root))
    processor, peaks, fitted = total, [], None
    for name, measure, options in measures(sweep, quick):
        # As in a run, projections are fitted once a pair and given to those that take them.
        if fitted is not None and "fitted" in inspect.signature(measure).parameters:
            options = options | {"fitted": fitted}
        found = []
        with peak_memory() as memory, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            took = both_seconds(lambda: found.append(measure(sweep, **options)))  # noqa: B023
        if measure is tables.fitted_subspaces:
            fitted = found[0]
        total, processor = total + took[0], processor + took[1]
        peaks.append(memory[0])
        table.add(NAME, f"{label}: {name}", took[0], "s")
        table.add(NAME, f"{label}: {name}, peak memory", memory[0], "GB")
    table.add(NAME, f"{label}: whole analysis, reading included", total, "s")
    table.add(NAME, f"{label}: whole analysis, processor time", processor, "s")
    table.add(NAME, f"{label}: peak memory, the embeddings included", max(peaks), "GB")
    return total, max(peaks)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    widths = sorted(set(FEATURES.values()))
    parser.add_argument(
        "--features", default=",".join(map(str, widths)), help="widths of embeddings; default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="a small size, to see that all runs")
    parser.add_argument(
        "--out", type=folder, help="folder of the results; benchmarks/results, or nothing with --quick"
    )
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else Path(__file__).parent / "results")
    table = Table(machine())
    # UMAP compiles once a process, as in a run: not a part of any pair.
    tables.clip_umap(study_sweep(32, quick=True), seed=0)
    found = {width: pair(table, width, options.quick) for width in map(int, options.features.split(","))}
    # Time grows with strengths; a width that was not measured counts as the next larger one, or the largest.
    own = [min((w for w in found if w >= width), default=max(found)) for width in FEATURES.values()]
    minutes = sum(found[width][0] for width in own) * sum(STRENGTHS) / STRENGTHS[0] / 60
    pairs = len(STRENGTHS) * len(FEATURES)
    table.add(NAME, f"{pairs} pairs projected from these, {CORES} cores", minutes, "min")
    table.add(NAME, "peak memory", max(peak for _, peak in found.values()), "GB")
    if out:
        table.merge(out / "paper_shape.csv", [NAME])


if __name__ == "__main__":
    main()
