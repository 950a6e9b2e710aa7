"""Stores find the right embeddings, extraction does each thing once and goes on where it stopped."""

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from support import ROOT, ToyModel, all_train, write_clips

from aesens.data import Dataset, load_dataset
from aesens.effects import EFFECTS, render
from aesens.embeddings import extract as embed
from aesens.embeddings.extract import Plan, extract
from aesens.embeddings.store import BLOCK, Store, StoreError, address_hash, canonical
from aesens.models import load_model
from aesens.models.base import mono_at_rate


@pytest.fixture
def dataset(own_cache, clip_folder):
    return all_train(load_dataset(clip_folder, seconds=0.5))


def clips_table(n):
    names = [f"clip{i:03d}" for i in range(n)]
    return pd.DataFrame({"song": names, "instrument": "aaa", "split": "train"}, index=names)


def test_address_hash_depends_on_content_alone():
    assert address_hash({"a": 1, "b": [1.0, 2.0]}) == address_hash(
        {"b": np.array([1.0, 2.0]), "a": np.int64(1)}
    )
    assert address_hash({"a": 1}) != address_hash({"a": 2})
    with pytest.raises(TypeError, match="cannot be part of an address"):
        canonical({"a": object()})


def test_store_round_trip(tmp_path):
    n = BLOCK + 3
    store = Store.at({"model": "m", "effect": "e"}, [1.0, 2.0], clips_table(n), 5, root=tmp_path)
    values = np.random.default_rng(0).standard_normal((2, n, 5)).astype(np.float32)
    assert store.missing().shape == (2, 2) and store.missing().all()
    with pytest.raises(StoreError, match="lacks 4"):
        store.read()
    for strength in range(2):
        for block in range(2):
            store.write(strength, block, values[strength, block * BLOCK : (block + 1) * BLOCK])
    read = store.read()
    assert read.dims == ("strength", "clip", "feature")
    assert np.array_equal(read.values, values)
    assert list(read["parameter"].values) == [1.0, 2.0] and read["song"].dims == ("clip",)
    assert (
        not Store.at({"model": "m", "effect": "e"}, [1.0, 2.0], clips_table(n), 5, root=tmp_path)
        .missing()
        .any()
    )


def test_store_refuses_what_is_not_a_chunk(tmp_path):
    store = Store.at({"model": "m"}, [1.0], clips_table(3), 5, root=tmp_path)
    with pytest.raises(StoreError, match="not finite"):
        store.write(0, 0, np.full((3, 5), np.nan, np.float32))
    with pytest.raises(StoreError, match="expected"):
        store.write(0, 0, np.zeros((2, 5), np.float32))
    assert store.missing().all()


def test_extraction_is_the_plain_computation(dataset, toy_model):
    kind = EFFECTS["lowpass"]
    sweep = Plan(toy_model, kind, kind.parameters(3), dataset)
    (store,) = extract([sweep], progress=False)
    read = store.read()
    for s, value in enumerate(kind.parameters(3)):
        for clip in dataset.clips:
            decoded = dataset.decode(clip)
            audio, rate = render(kind, decoded, value, "study"), decoded.sample_rate
            wave = mono_at_rate(audio, rate, toy_model.sample_rate)
            expected = toy_model.embed(wave[None])[0]
            np.testing.assert_allclose(read.sel(strength=s, clip=clip).values, expected, rtol=1e-5, atol=1e-6)


def test_second_extraction_computes_nothing(dataset, toy_model):
    kind = EFFECTS["gain"]
    plan = [Plan.clean(toy_model, dataset), Plan(toy_model, kind, kind.parameters(3), dataset)]
    extract(plan, progress=False)
    calls = toy_model.calls
    extract(plan, progress=False)
    assert toy_model.calls == calls == 4


def test_interrupted_extraction_goes_on_and_ends_the_same(dataset, toy_model, monkeypatch, tmp_path):
    kind = EFFECTS["reverb"]
    sweep = Plan(toy_model, kind, kind.parameters(5), dataset)
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "whole"))
    (whole,) = extract([sweep], progress=False)

    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "parts"))
    write, turn = Store.write, itertools.count()

    def stop_at_third(self, *arguments):
        # Two threads write: each takes its turn in one step, or both might see the same number.
        if next(turn) >= 2:
            raise KeyboardInterrupt
        write(self, *arguments)

    monkeypatch.setattr(Store, "write", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        extract([sweep], progress=False)
    assert sweep.store().missing().sum() == 3
    monkeypatch.setattr(Store, "write", write)
    (parts,) = extract([sweep], progress=False)
    assert parts.path != whole.path and np.array_equal(parts.read().values, whole.read().values)


def test_models_of_other_rates_share_the_effect(dataset, toy_model, monkeypatch):
    other = type("Other", (type(toy_model),), {"name": "other", "sample_rate": 32000})()
    kind = EFFECTS["bitcrush"]
    applied = []
    monkeypatch.setattr(embed, "_waves", lambda *a, f=embed._waves: applied.append(a[0]) or f(*a))
    extract([Plan(model, kind, kind.parameters(3), dataset) for model in (toy_model, other)], progress=False)
    assert len(applied) == 3 * len(dataset)


def test_a_clip_is_decoded_once_for_all_models_effects_and_strengths(
    own_cache, tmp_path, toy_model, monkeypatch
):
    folder = write_clips(tmp_path / "many", songs=35, seconds=0.1)
    data = all_train(load_dataset(folder, seconds=0.1))
    other = type("Other", (type(toy_model),), {"name": "other", "sample_rate": 32000})()
    decoded, load = [], Dataset.decode
    monkeypatch.setattr(Dataset, "decode", lambda self, clip: decoded.append(clip) or load(self, clip))
    kinds = [EFFECTS[name] for name in ("gain", "reverb", "bitcrush")]
    plan = [Plan(model, kind, kind.parameters(3), data) for model in (toy_model, other) for kind in kinds]
    extract([*plan, Plan.clean(toy_model, data)], progress=False, jobs=2)
    assert sorted(decoded) == data.clips


def test_a_block_that_is_being_decoded_holds_up_nobody_else(own_cache, tmp_path, toy_model, monkeypatch):
    folder = write_clips(tmp_path / "many", songs=35, seconds=0.1)
    data = all_train(load_dataset(folder, seconds=0.1))
    tasks = embed._tasks([Plan.clean(toy_model, data)], [Plan.clean(toy_model, data).store()])
    decoded, entered, go = embed._Blocks(), threading.Event(), threading.Event()
    load = Dataset.decode

    def slow(self, clip):
        if clip == tasks[0].clips.clips[0]:
            entered.set()
            assert go.wait(30)
        return load(self, clip)

    monkeypatch.setattr(Dataset, "decode", slow)
    first = threading.Thread(target=decoded.clips, args=(tasks[0],), daemon=True)
    first.start()
    assert entered.wait(30)
    other = threading.Thread(target=decoded.clips, args=(tasks[1],), daemon=True)
    other.start()
    other.join(30)
    assert not other.is_alive() and first.is_alive()
    go.set()
    first.join(30)
    # Whoever wants the same block gets the same arrays.
    assert decoded.clips(tasks[0]) is decoded.clips(tasks[0])


@pytest.mark.parametrize("change", ["grid", "weights", "clips", "effect", "options", "protocol"])
def test_a_changed_setting_reads_another_store(dataset, toy_model, change):
    kind = EFFECTS["gain"]
    before = Plan(toy_model, kind, kind.parameters(3), dataset)
    model, parameters, clips, protocol = toy_model, kind.parameters(3), dataset, "study"
    if change == "grid":
        parameters = parameters + 0.5
    elif change == "weights":
        model = type(toy_model)(seed=1)
    elif change == "clips":
        clips = dataset.select(instruments=["aaa"])
    elif change == "effect":
        kind = EFFECTS["reverb"]
    elif change == "protocol":
        protocol = "float"
    else:
        model = type(toy_model)()
        model.pooling = "max"
    assert Plan(model, kind, parameters, clips, protocol).store().path != before.store().path


def test_a_changed_class_reads_another_store(dataset):
    def model(factor):
        class Own(ToyModel):
            def frames(self, waves):
                return factor * super().frames(waves)

        return Own()

    one, same, other = (Plan.clean(model(factor), dataset).store().path for factor in (1, 1, 2))
    assert one == same != other
    # The package's own are told by its versions: their stores do not depend on a comment in a file.
    shipped = load_model("musicnn", weights="untrained", device="cpu")
    assert "class" not in Plan.clean(shipped, dataset).address()


def test_changed_audio_reads_another_store(own_cache, clip_folder, toy_model):
    def path():
        data = all_train(load_dataset(clip_folder, seconds=0.5))
        return Plan.clean(toy_model, data).store().path

    before = path()
    file = next(clip_folder.rglob("*.wav"))
    file.write_bytes(file.read_bytes()[:-2] + b"\x01\x01")
    assert path() != before


def test_an_effect_that_cannot_be_applied_names_the_clip(own_cache, tmp_path, toy_model):
    folder = write_clips(tmp_path / "slow", rate=16000)
    data = all_train(load_dataset(folder, seconds=0.5))
    kind = EFFECTS["lowpass"]
    with pytest.raises(ValueError, match=r"clip aaa.*16000 Hz"):
        extract([Plan(toy_model, kind, kind.parameters(2), data)], progress=False)


_MEMORY = """
import sys
from pathlib import Path
from support import slow_sweeps
from aesens.embeddings.extract import extract
sweeps = slow_sweeps(Path(sys.argv[1]), strengths=3, clip_seconds=1.0)
extract(sweeps, progress=False, jobs=2)
(line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(len(sweeps[0].clips), int(line.split()[1]) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_clips(tmp_path):
    def peak(name, songs):
        folder = write_clips(tmp_path / name, songs=1, seconds=1.0)
        for first in sorted(folder.rglob("*.wav")):
            audio, rate = soundfile.read(first)
            soundfile.write(first, np.stack([audio, audio], axis=1), rate)
            for song in range(1, songs):
                os.link(first, first.with_name(f"{first.stem[:-1]}{song}.wav"))
        environment = os.environ | {
            "AESENS_CACHE": str(tmp_path / f"cache-{name}"),
            "PYTHONPATH": str(ROOT / "tests"),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", _MEMORY, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        clips, megabytes = map(float, done.stdout.split())
        assert clips == 2 * songs
        return megabytes

    # Decoded at once, the 320 additional clips would be 113 MB; a few blocks of 32 are at work at any time.
    assert peak("many", 192) - peak("few", 32) < 40


def test_mono_at_rate():
    time = np.arange(44100) / 44100
    stereo = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros_like(time)]).astype(np.float32)
    mono = mono_at_rate(stereo, 44100, 32000)
    assert mono.shape == (32000,) and mono.dtype == np.float32
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 32000)
    assert np.abs(mono - expected)[500:-500].max() < 1e-4
    assert np.array_equal(mono_at_rate(stereo, 44100, 44100), stereo.mean(axis=0))
