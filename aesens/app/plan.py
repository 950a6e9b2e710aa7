"""What a run would compute, and about how long: counted without downloading or embedding anything.

Conventions: an embedding is one clip under one condition by one model; a condition is an effect at one strength, or
clean. Operations are those of the layers' definitions, front end excepted, counted on one clip; bytes are those of the
embeddings, uncompressed. Times come from a calibration of seconds on this machine and this load: the network on its
device, in batches as the run makes them and with as many threads as it has on a CPU; and the effects with the
resampling, which are computed once for all models that lack them, and which a CPU adds to the network's time and a GPU
does meanwhile. Left out, since it is little: decoding, writing, the clean clips once more by the untrained controls,
and the finer grids of the few clips that are drawn.

What is not at hand is not fetched: without IRMAS the published split is counted, and a model without its weights is
calibrated untrained. Rendered clips are rendered and kept, since nothing is known of them before.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from timeit import timeit

import numpy as np
import pandas as pd
from torch.utils.flop_counter import FlopCounterMode

from aesens.app.run import environment
from aesens.data import irmas
from aesens.data.irmas import PUBLISHED
from aesens.data.split import read_list
from aesens.effects import Effect, effect
from aesens.embeddings.extract import CLEAN, Plan, one_thread_each
from aesens.embeddings.store import BLOCK
from aesens.models import Embedder
from aesens.models.precision import defining
from aesens.models.weights import WeightsError
from aesens.plots import titles as names
from aesens.study import Study

__all__ = ["dry_run", "plan", "summary"]

_SECONDS, _RATE = 3.0, 44_100


def plan(study: Study, *, calibrate: bool = True, fresh: bool = False) -> pd.DataFrame:
    """Count what a study's embeddings take.

    Parameters
    ----------
    study : Study
        Nothing is fetched for it or embedded; rendered clips are rendered, and kept for the run.
    calibrate : bool
        Whether to measure; without it, ``gflop`` and ``seconds`` are missing.
    fresh : bool
        Count as if nothing were stored.

    Returns
    -------
    pandas.DataFrame
        One row a network and effect (first ``clean``): ``model``, ``pretrained`` (whether its pretrained weights are at
        hand), ``effect``, ``strengths``, ``clips``, ``embeddings`` and how many of them are ``stored`` and
        ``missing``, ``gflop`` (1e9 operations) and ``megabytes`` (1e6) of all its embeddings, ``seconds`` for those
        that are missing. ``attrs`` holds ``data``, ``sides`` (clips a side), ``device`` and ``notes`` (list of str).
    """
    at_hand = study.data != "irmas" or irmas.at_hand()
    data, sides, notes = _clips(study) if at_hand else _published(study)
    rows, audio, devices, untrained = [], {}, [], []
    kinds = [None, *map(effect, study.effects)]
    with environment(AESENS_OFFLINE="1"):
        for name, model, ready, twin in _networks(study):
            if study.weights != "untrained" and not model.weights.pretrained and not twin:
                untrained.append(names.model_title(name))
            devices.append(str(model.device))
            clips = study.clips(name) if at_hand else None
            seconds, count = (clips.seconds, len(clips)) if at_hand else (_SECONDS, sum(sides.values()))
            operations, network = _network(model, seconds, study.jobs) if calibrate else (np.nan, np.nan)
            for kind in kinds:
                parameters = kind.parameters(study.scale(name).strengths) if kind else np.array([np.nan])
                embeddings = missing = len(parameters) * count
                if at_hand and ready and not fresh:
                    planned = Plan(model, kind, parameters, clips, study.protocol)
                    missing = int(planned.store().missing().sum())
                shared = kind, model.sample_rate
                if shared not in audio:
                    audio[shared] = _audio(kind, parameters, seconds, model, study) if calibrate else np.nan
                rows.append(
                    {
                        "model": f"{name}, untrained" if twin else name,
                        "pretrained": model.weights.pretrained,
                        "effect": kind.name if kind else CLEAN,
                        "strengths": len(parameters),
                        "clips": count,
                        "embeddings": embeddings,
                        "stored": embeddings - missing,
                        "missing": missing,
                        "gflop": operations * embeddings / 1e9,
                        "megabytes": embeddings * model.dimension * 4e-6,
                        "network": network,
                        "audio": audio[shared],
                        "on_cpu": model.device.type == "cpu",
                    }
                )
    if untrained:
        notes.append(
            f"The pretrained weights of {', '.join(untrained)} are not at hand: counted and timed untrained"
            + (", as a run without a network computes them." if study.weights == "auto" else ".")
        )
    table = pd.DataFrame(rows)
    network, audio, on_cpu = (table.pop(name) for name in ("network", "audio", "on_cpu"))
    # The audio of an effect is shared by the models that lack embeddings of it.
    shared = audio / (table["missing"] > 0).groupby(table["effect"]).transform("sum").clip(lower=1)
    each = (network + shared).where(on_cpu, np.maximum(network, shared))
    table["seconds"] = table["missing"] * each
    table.attrs = {"data": data, "sides": sides, "device": ", ".join(dict.fromkeys(devices)), "notes": notes}
    return table


def _clips(study: Study) -> tuple[str, dict[str, int], list[str]]:
    """What the data are called, their clips a side, and what to say of them."""
    sides, notes = study.dataset.table["split"].value_counts().to_dict(), []
    if study.source.name == "irmas":
        notes.append(_beside_published(sides, len(study.source)))
        if (overlap := study.split_overlap()) is not None:
            clips, here = overlap.loc["published test clips", ["in all", "this run"]]
            notes.append(f"Of the {clips} clips of the published test set {here} are on the test side.")
    if len(study.excluded):
        notes.append(f"Clips left out as faulty: {len(study.excluded)}.")
    return study.source.title, sides, notes


def _published(study: Study) -> tuple[str, dict[str, int], list[str]]:
    """`_clips` of IRMAS, before it is at hand."""
    counted, whose = PUBLISHED, "published"
    if study.settings.split:
        counted, whose = read_list(study.settings.split)["split"].value_counts(), "given"
    note = (
        f"IRMAS is not at hand: counted with the {whose} split; a run downloads about 3 GB first, and takes 7 GB while "
        "it unpacks them."
    )
    return "IRMAS (training set)", {side: int(counted.get(side, 0)) for side in PUBLISHED}, [note]


def summary(table: pd.DataFrame) -> str:
    """A plan in words and one line a model."""
    # The model with the finest grids stands for all.
    totals = table.groupby("model", sort=False)["strengths"].sum()
    first = table[table["model"] == totals.idxmax()]
    sides = ", ".join(f"{count} {side}" for side, count in table.attrs["sides"].items())
    kinds = ", ".join(
        row.effect if row.effect == CLEAN else f"{row.strengths} {row.effect}" for row in first.itertuples()
    )
    fewer = f" (some models fewer: {totals.min()})" if totals.min() < totals.max() else ""
    # Sums of what was not measured are missing too.
    units = {"embeddings": 1, "stored": 1, "missing": 1, "gflop": 1e3, "megabytes": 1, "seconds": 3600}
    shown = table.groupby("model", sort=False)[list(units)].sum(min_count=1) / pd.Series(units)
    shown = shown.rename(columns={"gflop": "TFLOP", "megabytes": "MB", "seconds": "hours left"})
    shown.insert(0, "clips", table.groupby("model", sort=False)["clips"].first())
    total = shown.sum(min_count=1)
    total["clips"] = shown["clips"].max()
    shown.loc["all"] = total
    whole = ["clips", "embeddings", "stored", "missing"]
    shown[whole] = shown[whole].astype(int)
    lines = [
        f"Data        {table.attrs['data']}: {sum(table.attrs['sides'].values())} clips of the split ({sides})",
        f"Conditions  {totals.max()}: {kinds}{fewer}",
        f"Device      {table.attrs['device']}",
        "",
        shown.rename_axis(None).to_string(float_format=_short),
        "",
        *table.attrs["notes"],
    ]
    return "\n".join(lines).rstrip()


def dry_run(options: dict, *, fresh: bool = False) -> None:
    """Print the plan of a run, given as to `aesens.app.run.run`."""
    given = {key: value for key, value in options.items() if value is not None}
    # Nobody is asked: without --device the workers' own is known only when they are there.
    scheduler = given.pop("scheduler", None)
    study = Study(**given)
    rendered = "; its clips are rendered, and kept for the run" if study.data == "rendered" else ""
    print(f"Plan of the profile {study.profile.name}: nothing is downloaded or embedded{rendered}.\n")
    print(summary(plan(study, fresh=fresh)))
    print("Times are those of this machine as busy as it is now; a run goes on from what is stored.")
    if scheduler and study.device is None:
        print("Workers compute on their own device: give it with --device to count what is stored for it.")


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def _networks(study: Study) -> Iterator[tuple[str, Embedder, bool, bool]]:
    """Each network, by its model's name; whether its weights are those of a run from here; whether it is a twin."""
    for name in study.models:
        try:
            model, ready = study.model(name), True
        except WeightsError:
            model, ready = study.model(name, "untrained"), False
        yield name, model, ready, False
        if study.twins and not (ready and len(study.policies(name)) == 1):
            yield name, study.model(name, "untrained"), True, True


def _beside_published(sides: dict[str, int], clips: int) -> str:
    """The split's counts beside those of the study."""
    here, there = (
        f"{counts.get('train', 0)} training and {counts.get('test', 0)} test" for counts in (sides, PUBLISHED)
    )
    rest = ", as many as published" if sides == PUBLISHED else f"; the published one of 6705: {there}"
    return f"The split of {clips} clips: {here}{rest}."


def _network(model: Embedder, seconds: float, n_jobs: int) -> tuple[int, float]:
    """Operations of one clip by definition, and seconds a clip with `n_jobs` threads at work where it runs on a CPU."""
    rng = np.random.default_rng(0)
    samples = round(seconds * model.sample_rate)
    # No forward pass of a run reaches beyond a block.
    size = min(model.batch_size, BLOCK)
    clips = (0.1 * rng.standard_normal((size, samples))).astype(np.float32)
    n_jobs = n_jobs if model.device.type == "cpu" else 1
    with one_thread_each():
        with defining(), FlopCounterMode(display=False) as counter:
            model.embed(clips[:1])
        took = timeit(lambda: model.embed(clips[:1]), number=1)
        # A batch if that takes seconds; the first one on a GPU only prepares it.
        batch = clips if model.device.type != "cpu" or took * len(clips) < 2 else clips[:1]
        if model.device.type != "cpu":
            model.embed(batch)
        with ThreadPoolExecutor(n_jobs) as pool:
            took = timeit(lambda: list(pool.map(model.embed, [batch] * n_jobs)), number=1)
    return counter.get_total_flops(), took / (n_jobs * len(batch))


def _audio(
    kind: Effect | None, parameters: np.ndarray, seconds: float, model: Embedder, study: Study
) -> float:
    """Seconds a clip for an effect at a middle strength and the resampling, with all threads at work."""
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal((2, round(seconds * _RATE)))).astype(np.float32)

    def process(_=None):
        processed = kind(audio, _RATE, parameters[len(parameters) // 2]) if kind else audio
        model.prepare(processed, _RATE, study.protocol)

    process()
    count = 4 * study.jobs
    with ThreadPoolExecutor(study.jobs) as pool:
        took = timeit(lambda: list(pool.map(process, range(count))), number=1)
    return took / count
