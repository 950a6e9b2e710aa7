"""The store at the study's scale: embeddings written by two Dask workers and read back as the chapters read them.

Run ``python benchmarks/store.py``; ``--clips N`` takes fewer clips than the study's 4 834, ``--quick`` is a smoke run.
Of each pair of model and effect the same embeddings go into a store and into one plain NumPy file, in turns, and are
read from both: a whole sweep, one strength, one clip. With all clips that is 1.6 million embeddings, and 7.6 GB on disk
twice. What it writes is explained in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from analysis import seconds
from distributed import Client, LocalCluster
from paper_shape import address, digests, stored_bytes
from table import Table, folder, machine

from aesens.data.irmas import PUBLISHED
from aesens.effects import EFFECTS
from aesens.embeddings.store import Store

NAME = "store"
#: The study's models and the parameters of its effects; clean clips have one, 0.
FEATURES = {"openl3": 512, "panns": 2048, "msclap": 1024}
SWEEPS = {"clean": [0.0]} | {name: [float(p) for p in kind.grid] for name, kind in EFFECTS.items()}
WORKERS = 2


def content(place: tuple[int, int], clips: int, features: int) -> np.ndarray:
    """Embeddings (clip, feature) of a chunk: as hard to compress as noise, cheap, and others in each chunk."""
    parameter, block = place
    noise = np.random.default_rng(features).standard_normal((clips, features), dtype=np.float32)
    return noise + np.float32(parameter + block / 1024)


def write_chunks(path: Path, chunks: list, features: int) -> None:
    """What a worker does for the store."""
    for chunk in chunks:
        Store(path).write(chunk, content(chunk.place, len(chunk.clips), features))


def write_rows(path: Path, chunks: list, features: int, size: int) -> None:
    """What a worker does for a NumPy file."""
    array = np.lib.format.open_memmap(path, mode="r+")
    for chunk in chunks:
        parameter, block = chunk.place
        rows = slice(block * size, block * size + len(chunk.clips))
        array[parameter, rows] = content(chunk.place, len(chunk.clips), features)


def shards(chunks: list) -> list[list]:
    """Chunks of one block, as the extraction deals them to workers."""
    found = defaultdict(list)
    for chunk in chunks:
        found[chunk.place[1]].append(chunk)
    return list(found.values())


def write(client: Client, store: Store, made_for: dict, parameters: list, clips: list, file: Path) -> dict:
    """Wall times of both ways."""
    features, took = made_for["dimension"], {}

    def spread(work, path, chunks, *more):
        client.gather([client.submit(work, path, some, *more, pure=False) for some in shards(chunks)])

    def by_store():
        with store.held():
            store.create(made_for)
            chunks = store.lay(dict.fromkeys(parameters, clips), {"packages": {}, "source": ""})
            spread(write_chunks, store.path, chunks, features)
            return chunks

    def by_numpy():
        np.lib.format.open_memmap(file, "w+", np.float32, (len(parameters), len(clips), features))
        spread(write_rows, file, chunks, features, size)

    chunks, took["store"] = seconds(by_store)
    size = store.about()["block"]
    _, took["numpy"] = seconds(by_numpy)
    return took


def patterns(parameters: list, clips: list) -> dict[str, tuple]:
    """What chapters ask of a sweep: name, and places of the strengths and clips."""
    strengths, everyone = np.arange(len(parameters)), np.arange(len(clips))
    return {
        "a sweep": (strengths, everyone),
        "one strength": (strengths[len(strengths) // 2 :][:1], everyone),
        "one clip": (strengths, everyone[len(everyone) // 2 :][:1]),
    }


def read(store: Store, file: Path, parameters: list, clips: list, first: str) -> list[tuple]:
    """Rows of pattern, way, seconds and bytes; `RuntimeError` if the two ways differ."""
    rows = []
    for pattern, (strengths, chosen) in patterns(parameters, clips).items():
        ways = {
            "store": lambda s=strengths, c=chosen: store.read(
                [parameters[i] for i in s], [clips[i] for i in c]
            ),
            "numpy": lambda s=strengths, c=chosen: np.load(file, mmap_mode="r")[
                s[0] : s[-1] + 1, c[0] : c[-1] + 1
            ].copy(),
        }
        found = {}
        for way in sorted(ways, key=lambda way: way != first):
            found[way], took = seconds(ways[way])
            rows.append((pattern, way, took, found[way].nbytes))
        if not np.array_equal(found["store"], found["numpy"]):
            raise RuntimeError(
                f"{store.path.name}, {pattern}: the store gave other embeddings than were written"
            )
    return rows


def run(table: Table, count: int, quick: bool, root: Path) -> None:
    """Write and read everything, and add the rows."""
    clips = digests(count)
    sweeps = {name: parameters[:2] if quick else parameters for name, parameters in SWEEPS.items()}
    wrote, rows, sizes, opened = defaultdict(float), [], defaultdict(int), 0.0
    pairs = [(model, effect) for model in FEATURES for effect in sweeps]
    places = {}
    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        client.gather(client.map(lambda _: Store.__name__, range(8 * WORKERS), pure=False))
        for model, effect in pairs:
            made_for = address(FEATURES[model], effect, model)
            store, file = Store.at(made_for, root), root / f"{model}-{effect}.npy"
            for way, took in write(client, store, made_for, sweeps[effect], clips, file).items():
                wrote[way] += took
            places[model, effect] = made_for, file
            sizes["store"] += stored_bytes(store)
            sizes["numpy"] += file.stat().st_size
    for turn, (model, effect) in enumerate(pairs):
        made_for, file = places[model, effect]
        # Address, description and what is missing of it: what every call asks before it reads.
        missing, took = seconds(lambda: Store.at(made_for, root).missing(sweeps[effect], clips).any())  # noqa: B023
        if missing:
            raise RuntimeError(f"the store of {model} and {effect} lacks what was written")
        opened += took
        rows += read(Store.at(made_for, root), file, sweeps[effect], clips, ("store", "numpy")[turn % 2])
    embeddings = len(FEATURES) * count * sum(map(len, sweeps.values()))
    table.add(
        NAME, f"embeddings, of {len(FEATURES)} models, {len(sweeps)} sweeps and {count} clips", embeddings, ""
    )
    table.add(NAME, f"opening and addressing all {len(pairs)} stores", opened, "s")
    for way in ("store", "numpy"):
        table.add(NAME, f"{way}: on disk", sizes[way] / 1e9, "GB")
        table.add(
            NAME, f"{way}: written by {WORKERS} Dask workers", sizes["numpy"] / wrote[way] / 1e6, "MB/s"
        )
    table.add(NAME, "writing: time over that of NumPy files", wrote["store"] / wrote["numpy"], "")
    for pattern in patterns([0], clips):
        spent = {}
        for way in ("store", "numpy"):
            own = [(took, size) for name, by, took, size in rows if (name, by) == (pattern, way)]
            spent[way] = sum(took for took, _ in own)
            rate = sum(size for _, size in own) / spent[way] / 1e6
            table.add(NAME, f"{way}: {pattern}, {len(own)} reads", rate, "MB/s")
            table.add(NAME, f"{way}: {pattern}, median", np.median([took for took, _ in own]), "s")
        table.add(NAME, f"{pattern}: time over that of NumPy files", spent["store"] / spent["numpy"], "")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=sum(PUBLISHED.values()), help="default: %(default)s")
    parser.add_argument(
        "--quick", action="store_true", help="64 clips and two strengths, to see that all runs"
    )
    parser.add_argument("--scratch", type=Path, help="folder to write into and clear; default: the system's")
    parser.add_argument(
        "--out", type=folder, help="folder of the results; benchmarks/results, or nothing with --quick"
    )
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else Path(__file__).parent / "results")
    table = Table(machine())
    with tempfile.TemporaryDirectory(dir=options.scratch) as root:
        run(table, 64 if options.quick else options.clips, options.quick, Path(root))
    if out:
        table.merge(out / "store.csv", [NAME])


if __name__ == "__main__":
    main()
