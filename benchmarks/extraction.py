"""How fast embeddings are made: beside the per-file way, beside the machine's own rate, and as the work grows.

Run ``python benchmarks/extraction.py``; ``--parts a,c`` runs some of the parts and replaces their rows alone,
``--quick`` is a smoke run at small sizes. The columns of the file it writes are explained in ``benchmarks/README.md``.
Networks are untrained, which changes no time; clips are synthetic. The per-file way needs the packages openl3,
panns_inference and laion_clap: where they are missing, part a runs in the environment of ``tests/parity/run.sh``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
import torch
from table import Table, folder, machine
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from aesens.analysis.parallel import cores
from aesens.app.plan import PUBLISHED
from aesens.data import Dataset, load_dataset
from aesens.effects import EFFECTS
from aesens.embeddings.extract import Plan, extract
from aesens.embeddings.store import BLOCK
from aesens.models import Embedder, load_model
from aesens.models.precision import PRECISIONS, defining
from aesens.settings import PROFILES

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("openl3", "panns", "clap")
#: Models whose layers are computed in another way than they are defined.
REARRANGED = ("openl3", "clap", "msclap")
DEFINED = "layer by layer as defined"
#: The packages of the per-file way.
PACKAGES = ("openl3", "panns_inference", "laion_clap")
RATE, SECONDS = 44_100, 3.0
CORES = cores()
#: Embeddings of the study an embedding model: clips of the split, clean and under 108 settings of the effects.
STUDY = sum(PUBLISHED.values()) * (1 + sum(len(kind.grid) for kind in EFFECTS.values()))

PARTS = {
    "a": "per-file way",
    "b": "arithmetic",
    "c": "growth",
    "d": "precision",
}


def timed(work: Callable, *args, **options) -> tuple[object, float]:
    """Result and wall time of a call."""
    start = time.perf_counter()
    result = work(*args, **options)
    return result, time.perf_counter() - start


def write_clips(folder: Path, count: int, seed: int = 0) -> Dataset:
    """Clips of 3 s at 44.1 kHz, stereo: decaying harmonic tones in noise."""
    rng = np.random.default_rng(seed)
    moment = np.arange(round(SECONDS * RATE)) / RATE
    (folder / "tones").mkdir(parents=True)
    for clip in range(count):
        audio = 0.01 * rng.standard_normal((len(moment), 2))
        for start in np.arange(0, SECONDS, 0.5):
            since = moment - start
            pitch = 110 * 2 ** rng.uniform(0, 3)
            tone = sum(np.sin(2 * np.pi * pitch * k * since) / k for k in range(1, 8))
            audio += 0.1 * (tone * np.exp(-4 * np.maximum(since, 0)) * (since > 0))[:, None]
        sf.write(folder / "tones" / f"clip{clip:04d}.wav", audio, RATE)
    dataset = load_dataset(folder, seconds=SECONDS)
    object.__setattr__(dataset, "table", dataset.table.assign(split="train"))
    return dataset


def add_spread(table: Table, benchmark: str, metric: str, values: pd.Series) -> None:
    """Rows of the least and the largest of several measurements."""
    table.add(benchmark, f"{metric}: least of {len(values)} turns", values.min(), "")
    table.add(benchmark, f"{metric}: largest of {len(values)} turns", values.max(), "")


def sweeps_of(model: Embedder, clips: Dataset, effects: tuple[str, ...], strengths: int) -> list[Plan]:
    """One sweep an effect."""
    return [Plan(model, EFFECTS[name], EFFECTS[name].parameters(strengths), clips) for name in effects]


def fresh_extract(sweeps: list[Plan], **options) -> tuple[list, float]:
    """Stores and wall time of an extraction into an empty cache; networks are built before."""
    for sweep in sweeps:
        _ = sweep.model.network
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AESENS_CACHE"] = folder
        stores, took = timed(extract, sweeps, progress=False, **options)
        return [store.read().values for store in stores], took


# ---- a: the per-file way --------------------------------------------------------------------------------------------


def official_calls() -> dict[str, Callable[[str], np.ndarray]]:
    """The packages' own calls, from a file to an embedding, with the same untrained weights as aesens's networks."""
    import librosa

    networks = {
        name: load_model(name, backend="reference", weights="untrained", device="cpu").network
        for name in MODELS
    }
    openl3, panns, clap = (networks[name] for name in MODELS)

    def by_openl3(path):
        audio, rate = sf.read(path)
        # The study's settings; the batch is the package's default.
        frames, _ = openl3.package.get_audio_embedding(
            audio,
            rate,
            model=openl3.model,
            input_repr="mel128",
            content_type="music",
            embedding_size=512,
            hop_size=0.1,
            center=True,
            batch_size=32,
            verbose=False,
        )
        return frames.mean(axis=0)

    def by_panns(path):
        audio, _ = librosa.load(path, sr=32_000, mono=True)
        return panns.hidden[0].inference(audio[None])[1][0]

    def by_clap(path):
        return clap.module.get_audio_embedding_from_filelist([path])[0]

    return dict(zip(MODELS, (by_openl3, by_panns, by_clap), strict=True))


def per_file(table: Table, quick: bool) -> None:
    """Effects to wav files on disk, read back, one clip at a time through the packages; and aesens on the same.

    In turns, so that both ways meet the same machine; medians of the turns.
    """
    name = PARTS["a"]
    count, strengths, turns = (2, 2, 1) if quick else (8, 2, 2)
    effects = ("lowpass", "reverb")
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder, "clips"), count)
        calls = official_calls()
        # What is compiled or traced once is not counted, for either way.
        for call in calls.values():
            call(clips.table["path"].iloc[0])
        settings = [
            (EFFECTS[e], s, v) for e in effects for s, v in enumerate(EFFECTS[e].parameters(strengths))
        ]

        def render():
            for kind, strength, value in settings:
                place = Path(folder, kind.name, str(strength))
                place.mkdir(parents=True, exist_ok=True)
                for clip, path in clips.table["path"].items():
                    audio, rate = sf.read(path, dtype="float32")
                    effected = kind(audio.T, rate, value).T
                    sf.write(place / f"{Path(clip).name}.wav", effected, rate, subtype="FLOAT")

        files = [
            str(Path(folder, kind.name, str(strength), f"{Path(clip).name}.wav"))
            for kind, strength, _ in settings
            for clip in clips.clips
        ]
        total = len(settings) * count
        networks = {model: load_model(model, weights="untrained", device="cpu") for model in MODELS}
        took, distance = [], {}
        for _ in range(turns):
            turn = {("files", ""): timed(render)[1]}
            for model, call in calls.items():
                theirs, turn["theirs", model] = timed(lambda call=call: np.stack(list(map(call, files))))
                work = sweeps_of(networks[model], clips, effects, strengths)
                values, turn["ours", model] = fresh_extract(work, n_jobs=CORES)
                ours = np.concatenate([v.reshape(-1, v.shape[-1]) for v in values])
                norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
                distance[model] = (1 - (ours * theirs).sum(axis=1) / norms).max()
            took.append(turn)
        seconds = pd.DataFrame(took)
        seconds.columns = pd.MultiIndex.from_tuples(seconds.columns)
        for model in MODELS:
            theirs, ours = seconds["theirs", model], seconds["ours", model]
            table.add(name, f"{model}: per-file way, an embedding", theirs.median() / total, "s")
            table.add(name, f"{model}: aesens, an embedding, effect included", ours.median() / total, "s")
            table.add(
                name, f"{model}: ratio, without the rendering of the files", (theirs / ours).median(), ""
            )
            table.add(
                name, f"{model}: largest cosine distance of the two (own resamplers)", distance[model], ""
            )
        table.add(
            name, "rendering to files, a clip under one effect", seconds["files", ""].median() / total, "s"
        )
        ratio = (seconds["files", ""] + seconds["theirs"].sum(axis=1)) / seconds["ours"].sum(axis=1)
        what = f"ratio, three models together, {total} clips under effects, {CORES} cores"
        table.add(name, what, ratio.median(), "")
        add_spread(table, name, what, ratio)


# ---- b: arithmetic --------------------------------------------------------------------------------------------------


def rate_of(work: Callable, operations: float, n_jobs: int, seconds: float) -> float:
    """Operations a second, in 1e9, of `n_jobs` threads that repeat `work`, with one thread each inside."""
    work()

    def loop(_):
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end or not count:
            work()
            count += 1
        return count

    # Torch's number of threads is a thread's own until torch, and not a library below it, starts to work there.
    with ThreadPoolExecutor(n_jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        counts, took = timed(lambda: list(pool.map(loop, range(n_jobs))))
    return sum(counts) * operations / took / 1e9


def operations_of(work: Callable) -> int:
    """Floating-point operations of a call by definition of the layers, as torch counts them (not of front ends)."""
    with defining(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def arithmetic(table: Table, quick: bool) -> None:
    """Operations a second of the networks and of plain matrix products and convolutions, in turns."""
    name, seconds, rounds = PARTS["b"], *((1.0, 1) if quick else (5.0, 5))
    rng = np.random.default_rng(0)
    works: dict[str, tuple[Callable, float]] = {}
    for size in (2048, 4096):
        factors = [rng.standard_normal((size, size)).astype(np.float32) for _ in "ab"]
        tensors = [torch.from_numpy(factor) for factor in factors]
        works[f"torch product {size}"] = (partial(torch.mm, *tensors), 2.0 * size**3)
        works[f"numpy product {size}"] = (partial(np.matmul, *factors), 2.0 * size**3)
    for channels, side in ((64, 96), (128, 48), (256, 24)):
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1).requires_grad_(False)
        layer, image = (
            x.to(memory_format=torch.channels_last) for x in (layer, torch.randn(4, channels, side, side))
        )
        works[f"torch convolution {channels}"] = (partial(layer, image), 2.0 * 9 * 4 * (channels * side) ** 2)
    plain = list(works)
    for model in (*MODELS, "msclap"):
        network = load_model(model, weights="untrained", device="cpu")
        count = 1 if model == "openl3" else network.batch_size
        waves = (0.1 * rng.standard_normal((count, round(SECONDS * network.sample_rate)))).astype(np.float32)
        work = partial(network.embed, waves)
        works[model] = (work, operations_of(work))
        table.add(name, f"{model}: operations a clip", works[model][1] / count / 1e9, "GFLOP")
    works |= {f"{model}, {DEFINED}": works[model] for model in REARRANGED}

    def measured() -> dict:
        found = {}
        for key, work in works.items():
            with defining() if key.endswith(DEFINED) else nullcontext():
                found[key] = rate_of(*work, CORES, seconds)
        return found

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            rates = pd.DataFrame(measured() for _ in range(rounds))
    finally:
        torch.set_num_threads(before)
    limit = rates[plain].max(axis=1)
    best = rates[plain].median().idxmax()
    for kind in plain:
        table.add(name, f"{kind}, {CORES} threads", rates[kind].median(), "GFLOP/s")
    table.add(name, f"limit: the best of these ({best})", limit.median(), "GFLOP/s")
    for model in list(works)[len(plain) :]:
        table.add(name, f"{model}: {CORES} threads", rates[model].median(), "GFLOP/s")
        table.add(name, f"{model}: share of the limit", 100 * (rates[model] / limit).median(), "%")
    for model in REARRANGED:
        ratio = rates[model] / rates[f"{model}, {DEFINED}"]
        what = f"{model}: times as fast as {DEFINED}"
        table.add(name, what, ratio.median(), "")
        add_spread(table, name, what, ratio)


# ---- c: growth ------------------------------------------------------------------------------------------------------


def growth(table: Table, quick: bool) -> None:
    """Cost as clips, strengths and workers grow, with CNN14; memory as clips grow."""
    name = PARTS["c"]
    model = load_model("panns", weights="untrained", device="cpu")
    sizes, grids, large = ((16, 32), (2, 4), 64) if quick else ((32, 64, 128), (4, 8, 16), 128)
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder, "clips"), large)
        fresh_extract(sweeps_of(model, clips.select(songs=clips.clips[:4]), ("gain",), 2), n_jobs=CORES)
        for count in sizes:
            some = clips.select(songs=clips.clips[:count])
            _, took = fresh_extract(sweeps_of(model, some, ("reverb",), 4), n_jobs=CORES)
            table.add(name, f"clips grow: {count} of 4 strengths, an embedding", 1e3 * took / count / 4, "ms")
        for strengths in grids:
            some = clips.select(songs=clips.clips[: sizes[0]])
            _, took = fresh_extract(sweeps_of(model, some, ("reverb",), strengths), n_jobs=CORES)
            label = f"strengths grow: {strengths} of {sizes[0]} clips, an embedding"
            table.add(name, label, 1e3 * took / sizes[0] / strengths, "ms")
        work = sweeps_of(model, clips, ("reverb", "gain"), 2)
        local = {n_jobs: fresh_extract(work, n_jobs=n_jobs)[1] for n_jobs in (1, 2)}
        for n_jobs, took in local.items():
            table.add(name, f"{large} clips, two effects of 2 strengths: {n_jobs} thread(s)", took, "s")
        table.add(name, "2 threads: times as fast as one", local[1] / local[2], "")
        turns = dask_turns(
            sweeps_of(model, clips.select(songs=clips.clips[:64]), ("reverb", "gain"), 2), quick
        )
        if turns is not None:
            spread, threads = turns.median()
            table.add(name, "64 clips, two effects of 2 strengths: 2 Dask workers of one thread", spread, "s")
            table.add(
                name, "64 clips, two effects of 2 strengths: 2 threads, in turns with them", threads, "s"
            )
            ratio = turns["workers"] / turns["threads"]
            what = "2 Dask workers: time over that of 2 threads"
            table.add(name, f"{what}, median of turns", ratio.median(), "")
            add_spread(table, name, what, ratio)
    for count in (32, 64, 128) if quick else (128, 256, 512):
        peaks = [peak_memory(count) for _ in range(1 if quick else 3)]
        label = f"peak memory of a process that embeds {count} clips, clean and at 2 strengths (musicnn)"
        table.add(name, f"{label}, median", float(np.median(peaks)), "MB")
        table.add(name, f"{label}, largest", max(peaks), "MB")


def peak_memory(count: int) -> float:
    """Largest resident memory in MB of a fresh process that embeds so many clips."""
    command = [sys.executable, __file__, "--memory-of", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def dask_turns(work: list[Plan], quick: bool) -> pd.DataFrame | None:
    """Wall times of two workers whose networks are built and of two threads, in turns; None without the package."""
    try:
        import dask
        from distributed import LocalCluster
    except ImportError:
        print("distributed is not installed: the part with Dask workers is left out")
        return None
    turns = []
    # As the README has them started.
    ours = dask.config.collect_yaml([str(Path(__file__).parents[1] / "scripts" / "dask.yaml")])
    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set(dask.config.merge(dask.config.config, *ours)),
        LocalCluster(**options, local_directory=folder) as cluster,
    ):
        spread = {"scheduler": cluster.scheduler_address}
        # Several blocks, so that each worker gets one and builds its network.
        fresh_extract([Plan.clean(work[0].model, work[0].clips)], **spread)
        for _ in range(1 if quick else 5):
            _, workers = fresh_extract(work, **spread)
            _, threads = fresh_extract(work, n_jobs=2)
            turns.append({"workers": workers, "threads": threads})
    return pd.DataFrame(turns)


def memory_of(count: int) -> None:
    """Print the largest resident memory in MB of a process that embeds so many clips."""
    # A small network: the memory of a large one would hide that of the clips.
    model = load_model("musicnn", weights="untrained", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder, "clips"), count)
        fresh_extract([Plan.clean(model, clips), *sweeps_of(model, clips, ("gain",), 2)], n_jobs=CORES)
    status = Path("/proc/self/status")
    if status.exists():
        # Not from getrusage, which on Linux starts with the memory of the process that started this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        print(int(line.split()[1]) * 1024e-6)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))


# ---- d: precision and the GPU ---------------------------------------------------------------------------------------


def precision(table: Table, quick: bool) -> None:
    """Speed and error of the arithmetics on a GPU, or their error alone on a CPU."""
    if not torch.cuda.is_available():
        print("no CUDA device: only the error of bf16 is measured, on the CPU")
        cpu_error(table, quick)
        return
    name = f"{PARTS['d']}, {torch.cuda.get_device_name()}"
    count, effects, strengths = (64, ("gain",), 2) if quick else (320, ("lowpass", "reverb"), 4)
    models = PROFILES["paper"].models
    hours = {}
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder, "clips"), count)
        for model in models:
            network = load_model(model, weights="untrained", device="cuda")
            waves = np.random.default_rng(0).standard_normal((BLOCK, round(SECONDS * network.sample_rate)))
            reference = None
            for kind in PRECISIONS:
                network.precision = kind
                # The first run chooses algorithms and grows the memory pool.
                fresh_extract(
                    sweeps_of(network, clips.select(songs=clips.clips[:64]), ("gain",), 2), n_jobs=CORES
                )
                values, took = fresh_extract(sweeps_of(network, clips, effects, strengths), n_jobs=CORES)
                values = np.stack(values)
                reference = values if reference is None else reference
                speed = count * strengths * len(effects) / took
                alone = np.median([timed(network.embed, 0.1 * waves)[1] for _ in range(10)])
                hours[model, kind] = STUDY / speed / 3600
                for metric, value, unit in (
                    ("clips a second, effects and stores included", speed, "1/s"),
                    (f"clips a second, network alone, {BLOCK} at a time", BLOCK / alone, "1/s"),
                    ("median relative error", errors(values, reference)[0], ""),
                    ("largest relative error", errors(values, reference)[1], ""),
                    (f"the study's {STUDY} embeddings, projected", hours[model, kind], "h"),
                ):
                    table.add(name, f"{model}, {kind}: {metric}", value, unit)
    for whose, names in (("the study's", MODELS), ("the paper profile's", models)):
        for kind in PRECISIONS:
            metric = f"{whose} {len(names)} models one after the other, {kind}, projected"
            table.add(name, metric, sum(hours[model, kind] for model in names), "h")


def errors(found: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Median and largest norm of the difference over the norm of the embedding."""
    relative = np.linalg.norm(found - reference, axis=-1) / np.linalg.norm(reference, axis=-1)
    return float(np.median(relative)), float(relative.max())


def cpu_error(table: Table, quick: bool) -> None:
    name, count = f"{PARTS['d']}, CPU", 2 if quick else 8
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder, "clips"), count)
        for model in MODELS:
            network = load_model(model, weights="untrained", device="cpu")
            plain, slow = fresh_extract([Plan.clean(network, clips)], n_jobs=CORES)
            network.precision = "bf16"
            coarse, fast = fresh_extract([Plan.clean(network, clips)], n_jobs=CORES)
            median, largest = errors(coarse[0], plain[0])
            table.add(name, f"{model}, bf16: median relative error", median, "")
            table.add(name, f"{model}, bf16: largest relative error", largest, "")
            table.add(name, f"{model}, bf16: times as fast as float32", slow / fast, "")


def in_parity_environment(arguments: list[str]) -> None:
    """Run part a where the reference packages are."""
    python = ROOT / ".venv-parity" / "bin" / "python"
    if not python.exists() or Path(sys.prefix).samefile(python.parents[1]):
        print("part a needs openl3, panns_inference and laion_clap: run tests/parity/run.sh once; left out")
        return
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    subprocess.run([str(python), __file__, "--parts", "a", *arguments], check=True, env=os.environ | quiet)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--parts",
        default="a,b,c,d",
        help="a: per-file way, b: arithmetic, c: growth, d: precision and GPU; default: all",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all runs")
    parser.add_argument(
        "--out", type=folder, help="folder of the results; benchmarks/results, or nothing with --quick"
    )
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if options.memory_of:
        memory_of(options.memory_of)
        return
    out = options.out or (None if options.quick else ROOT / "benchmarks" / "results")
    work = {"a": per_file, "b": arithmetic, "c": growth, "d": precision}
    for part in options.parts.split(","):
        table = Table(machine())
        if part == "a" and any(importlib.util.find_spec(name) is None for name in PACKAGES):
            passed = ["--quick"] if options.quick else []
            in_parity_environment([*passed, *(["--out", str(out)] if out else [])])
        else:
            work[part](table, options.quick)
        if out and table.rows:
            table.merge(out / "extraction.csv", PARTS.values())


if __name__ == "__main__":
    main()
