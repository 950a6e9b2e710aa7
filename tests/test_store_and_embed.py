"""Stores find the right embeddings, extraction does each thing once and goes on where it stopped."""

import itertools
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import xarray
from support import PYTHONPATH, ToyModel, all_train, write_clips

from aesens.data import Dataset, load_dataset
from aesens.effects import EFFECTS, Effect, render
from aesens.embeddings import extract as embed
from aesens.embeddings import forward
from aesens.embeddings.extract import Plan, extract
from aesens.embeddings.store import BLOCK, Store, StoreError, address_hash, canonical
from aesens.models import load_model
from aesens.models.base import mono_at_rate


@pytest.fixture
def dataset(own_cache, clip_folder):
    return all_train(load_dataset(clip_folder, seconds=0.5))


def digests(n):
    return [f"digest{i:03d}" for i in range(n)]


def made_store(tmp_path, address, wanted):
    """A new store with room for some clips by parameter, and the chunks to be written."""
    store = Store.at(address, tmp_path)
    store.create(address)
    return store, store.lay(wanted, {"by": "test"})


def test_address_hash_depends_on_content_alone():
    assert address_hash({"a": 1, "b": [1.0, 2.0]}) == address_hash(
        {"b": np.array([1.0, 2.0]), "a": np.int64(1)}
    )
    assert address_hash({"a": 1}) != address_hash({"a": 2})
    with pytest.raises(TypeError, match="cannot be part of an address"):
        canonical({"a": object()})


def test_store_round_trip(tmp_path):
    clips, address = digests(BLOCK + 3), {"model": "m", "effect": "e", "dimension": 5}
    assert Store.at(address, tmp_path).missing([1.0, 2.0], clips).all()
    store, chunks = made_store(tmp_path, address, {1.0: clips, 2.0: clips})
    values = np.random.default_rng(0).standard_normal((2, len(clips), 5)).astype(np.float32)
    assert [len(chunk.clips) for chunk in chunks] == [BLOCK, 3] * 2
    with pytest.raises(StoreError, match=f"lacks {2 * len(clips)}"):
        store.read([1.0, 2.0], clips)
    for chunk in chunks:
        rows = [clips.index(clip) for clip in chunk.clips]
        store.write(chunk, values[int(chunk.parameter) - 1, rows])
    assert np.array_equal(store.read([1.0, 2.0], clips), values)
    # Any rows, in any order.
    assert np.array_equal(store.read([2.0], clips[::-2]), values[1:, ::-2])
    assert not Store.at(address, tmp_path).missing([1.0, 2.0], clips).any()
    assert not store.lay({1.0: clips}, {"by": "test"})
    # As any other program sees it.
    seen = xarray.open_zarr(store.path, consolidated=False)["embedding"]
    assert seen.dims == ("parameter", "row", "feature")
    assert np.array_equal(seen[0, : len(clips), :5], values[0])


def test_what_is_asked_for_beside_what_is_there_is_all_that_is_laid(tmp_path):
    clips, address = digests(70), {"model": "m", "dimension": 2}
    store, chunks = made_store(tmp_path, address, {1.0: clips[:40]})
    for chunk in chunks:
        store.write(chunk, np.zeros((len(chunk.clips), 2), np.float32))
    more = store.lay({1.0: clips[10:70:3], 2.0: clips[:5], 3.0: clips[2:4]}, {"by": "test"})
    laid = {
        parameter: [c for k in more if k.parameter == parameter for c in k.clips] for parameter in (1, 2, 3)
    }
    assert laid == {1: [c for c in clips[10:70:3] if c not in clips[:40]], 2: clips[:5], 3: clips[2:4]}
    # Stopped before anything was written: the same blocks again.
    assert store.lay({1.0: clips[10:70:3], 2.0: clips[:5], 3.0: clips[2:4]}, {"by": "test"}) == more


def test_the_size_of_blocks_is_the_stores_own(tmp_path, monkeypatch):
    clips, address = digests(96), {"model": "m", "dimension": 2}
    store, chunks = made_store(tmp_path, address, {1.0: clips})
    for chunk in chunks[:2]:
        store.write(chunk, np.ones((32, 2), np.float32))
    monkeypatch.setattr("aesens.embeddings.store.BLOCK", 64)
    assert store.missing([1.0], clips).sum() == 32
    (last,) = store.lay({1.0: clips}, {"by": "test"})
    assert last == chunks[2]


def test_store_refuses_what_is_not_a_chunk(tmp_path):
    clips = digests(3)
    store, (chunk,) = made_store(tmp_path, {"model": "m", "dimension": 5}, {1.0: clips})
    with pytest.raises(StoreError, match="not finite"):
        store.write(chunk, np.full((3, 5), np.nan, np.float32))
    with pytest.raises(StoreError, match="expected"):
        store.write(chunk, np.zeros((2, 5), np.float32))
    assert store.missing([1.0], clips).all()


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


def test_networks_on_another_device_are_called_by_one_thread(dataset):
    class Elsewhere(ToyModel):
        network = torch.nn.Identity()

        def __init__(self):
            super().__init__()
            self.device, self.threads = torch.device("mps"), set()

        def embed(self, waves):
            self.threads.add(threading.get_ident())
            return ToyModel().embed(waves)

    models, kind = [Elsewhere(), Elsewhere()], EFFECTS["gain"]
    for parameters in (kind.parameters(5), kind.parameters(7)):
        plans = [Plan(model, kind, parameters, dataset) for model in models]
        for plan in plans:
            plan.model.name = f"toy{models.index(plan.model)}"
        extract(plans, progress=False, n_jobs=4)
    # Of two runs too: whatever a device's library keeps for a thread is kept.
    assert len(models[0].threads | models[1].threads) == 1


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
    assert sweep.store().missing().sum() == 3 * len(dataset)
    monkeypatch.setattr(Store, "write", write)
    (parts,) = extract([sweep], progress=False)
    assert parts.path != whole.path and np.array_equal(parts.read().values, whole.read().values)


def test_models_of_other_rates_share_the_effect(dataset, toy_model, monkeypatch):
    other = type("Other", (type(toy_model),), {"name": "other", "sample_rate": 32000})()
    kind = EFFECTS["bitcrush"]
    applied = []
    monkeypatch.setattr(forward, "waves", lambda *a, f=forward.waves: applied.append(a[0]) or f(*a))
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
    extract([*plan, Plan.clean(toy_model, data)], progress=False, n_jobs=2)
    assert sorted(decoded) == data.clips


def test_a_block_that_is_being_decoded_holds_up_nobody_else(own_cache, tmp_path, toy_model, monkeypatch):
    folder = write_clips(tmp_path / "many", songs=35, seconds=0.1)
    data = all_train(load_dataset(folder, seconds=0.1))
    plan = Plan.clean(toy_model, data)
    tasks = embed._tasks([plan.store()])
    decoded, entered, go = embed._Blocks(), threading.Event(), threading.Event()
    load = Dataset.decode

    def slow(self, clip):
        if clip == tasks[0].names[0]:
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


@pytest.mark.parametrize("change", ["weights", "seconds", "effect", "options", "protocol"])
def test_a_changed_setting_reads_another_store(dataset, toy_model, change):
    kind = EFFECTS["gain"]
    before = Plan(toy_model, kind, kind.parameters(3), dataset)
    model, parameters, clips, protocol = toy_model, kind.parameters(3), dataset, "study"
    if change == "weights":
        model = type(toy_model)(seed=1)
    elif change == "seconds":
        clips = replace(dataset, seconds=0.4)
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
    shipped = load_model("musicnn", weights="untrained", device="cpu")
    assert "class" not in Plan.clean(shipped, dataset).address()


def chosen(data, sides, seed):
    """Some of the clips, on other sides."""
    rng = np.random.default_rng(seed)
    table = data.table[rng.random(len(data)) < 0.7]
    return replace(data, table=table.assign(split=rng.choice(sides, len(table))))


def test_another_choice_of_clips_or_parameters_costs_what_is_not_there(dataset, toy_model):
    kind = EFFECTS["gain"]
    extract([Plan.clean(toy_model, dataset), Plan(toy_model, kind, kind.grid, dataset)], progress=False)
    calls = toy_model.calls
    for seed in range(3):
        data = chosen(dataset, ["train", "test"], seed)
        plan = Plan(toy_model, kind, kind.parameters(3 + seed), data)
        (found,) = extract([plan], progress=False)
        read = found.read()
        assert list(read["clip"].values) == data.clips and list(read["split"].values) == list(
            data.table["split"]
        )
        whole = Plan(toy_model, kind, kind.parameters(3 + seed), dataset).store().read()
        assert np.array_equal(read.values, whole.sel(clip=data.clips).values)
        # What is made of them is another thing all the same.
        assert plan.rows() != Plan(toy_model, kind, kind.parameters(3 + seed), dataset).rows()
    assert toy_model.calls == calls
    extract([Plan(toy_model, kind, np.array([0.25, *kind.grid]), dataset)], progress=False)
    assert toy_model.calls == calls + 1


def test_a_mended_clip_costs_its_own_embeddings(own_cache, clip_folder, toy_model):
    kind, seen = EFFECTS["gain"], []
    toy_model.frames = lambda waves: seen.append(len(waves)) or type(toy_model).frames(toy_model, waves)

    def stored():
        data = all_train(load_dataset(clip_folder, seconds=0.5))
        return extract([Plan(toy_model, kind, kind.parameters(3), data)], progress=False)[0].read()

    before, name = stored(), "aaa/aaa1"
    file = clip_folder / f"{name}.wav"
    file.write_bytes(file.read_bytes()[:-2000] + bytes(2000))
    del seen[:]
    after = stored()
    assert seen == [1, 1, 1]
    others = [clip for clip in before["clip"].values if clip != name]
    assert np.array_equal(before.sel(clip=others), after.sel(clip=others))
    assert not (before.sel(clip=name) == after.sel(clip=name)).all()
    # Under another name it is the same clip.
    file.rename(file.with_name("zzz.wav"))
    del seen[:]
    renamed = stored()
    assert seen == [] and np.array_equal(renamed.sel(clip="aaa/zzz"), after.sel(clip=name))


def test_a_clip_that_changes_during_the_run_is_not_taken_for_another(own_cache, clip_folder, toy_model):
    data = all_train(load_dataset(clip_folder, seconds=0.5))
    plan = Plan.clean(toy_model, data)
    assert plan.store().missing().all()
    file = clip_folder / "bbb" / "bbb2.wav"
    file.write_bytes(file.read_bytes()[:-2000] + bytes(2000))
    with pytest.raises(ValueError, match=r"clip bbb/bbb2: .*was changed while the run"):
        extract([plan], progress=False)


def in_place(audio, rate, value):
    audio *= np.float32(value)
    return audio


class Greedy(ToyModel):
    """Changes all that it is given."""

    name = "greedy"

    def prepare(self, audio, sample_rate, protocol):
        wave = super().prepare(audio, sample_rate, protocol)
        audio *= 0
        return wave

    def frames(self, waves):
        waves /= waves.abs().max()
        return super().frames(waves)


class Grasping(Greedy):
    """Takes the same waves as the others."""

    name, prepare = "grasping", ToyModel.prepare


@pytest.mark.parametrize("protocol", ["study", "float"])
@pytest.mark.parametrize("first", [Greedy, Grasping])
def test_nobody_changes_what_another_is_given(own_cache, clip_folder, first, protocol):
    data = all_train(load_dataset(clip_folder, seconds=0.5))
    own = Effect("own", in_place, np.array([0.5, 0.25, 0.125]), "Own", "Factor")
    pure = replace(own, process=lambda audio, rate, value: audio * np.float32(value))
    models = [first(), ToyModel()]

    def plans(models, kind):
        clean = [Plan.clean(model, data, protocol) for model in models]
        return [*clean, *(Plan(model, kind, kind.grid, data, protocol) for model in models)]

    for model in models:
        model.batch_size = 3
    together = extract(plans(models, own), progress=False, n_jobs=1)
    for number, model in enumerate(models):
        alone = extract(plans([model], pure), progress=False, n_jobs=1)
        for found, expected in zip(together[number::2], alone, strict=True):
            assert np.array_equal(found.read(), expected.read())


def test_a_batch_that_is_halved_is_given_as_it_was(toy_model):
    class Small(Grasping):
        def frames(self, waves):
            waves *= 0.5
            if len(waves) > 2:
                raise torch.OutOfMemoryError("too many")
            return ToyModel.frames(self, 2 * waves)

    waves = np.random.default_rng(0).standard_normal((7, 1600)).astype(np.float32)
    given = waves.copy()
    np.testing.assert_array_equal(Small().embed(waves), toy_model.embed(given))
    assert np.array_equal(waves, given)


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
extract(sweeps, progress=False, n_jobs=2)
(line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(len(sweeps[0].clips), int(line.split()[1]) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_clips(tmp_path):
    def peak(name, songs):
        folder = write_clips(tmp_path / name, songs=1, seconds=1.0)
        for first in sorted(folder.rglob("*.wav")):
            audio, rate = soundfile.read(first)
            for song in range(songs):
                # None is a copy of another, which would be left out.
                audio[0] = song / 1000
                soundfile.write(
                    first.with_name(f"{first.stem[:-1]}{song}.wav"), np.stack([audio, audio], axis=1), rate
                )
        environment = os.environ | {
            "AESENS_CACHE": str(tmp_path / f"cache-{name}"),
            "PYTHONPATH": PYTHONPATH,
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
