"""Whatever stops an extraction: what is finished stays, the next run computes the rest, and the end is the same."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock
from support import PROFILE, PYTHONPATH, ROOT, SlowModel, ToyModel, slow_sweeps, store_bytes, write_clips

from aesens import effects
from aesens.embeddings import description
from aesens.embeddings import extract as embed
from aesens.embeddings.extract import extract
from aesens.embeddings.store import Store, StoreError
from aesens.models import ModelError


def python(*arguments, cache, command=(sys.executable,)):
    environment = os.environ | {"AESENS_CACHE": str(cache), "PYTHONPATH": PYTHONPATH}
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300
    )


def test_ten_kills_at_random_points(clips, whole, tmp_path):
    done = python(ROOT / "tests" / "killed.py", clips, 10, cache=tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    missing = [int(line) for line in done.stdout.split()]
    assert len(missing) == 10 and missing == sorted(missing, reverse=True)
    # Most of the kills met a run at work: some embeddings were there, others not.
    assert sum(0 < left < 70 * 16 for left in missing) >= 5, missing
    assert store_bytes(tmp_path / "killed") == whole


def test_what_a_killed_write_leaves_is_removed_and_never_read(clips, own_cache):
    sweep = slow_sweeps(clips)[1]
    (found,) = extract([sweep], progress=False)
    unfinished = found.path / "embedding" / "c.0.1.0123.partial"
    unfinished.write_bytes(b"half")
    # A run that was killed while it made the store, or wrote down what it holds.
    begun = found.path.with_name(f".{found.path.stem}-abcd"), found.path / ".zarr-abcd"
    for folder in begun:
        folder.mkdir()
    (found.path / "embedding" / "c.0.1.0").unlink()
    extract([sweep], progress=False)
    assert not unfinished.exists() and not any(folder.exists() for folder in begun)


def test_only_what_is_missing_is_computed_again(clips, own_cache):
    sweeps = slow_sweeps(clips)
    extract(sweeps, progress=False)
    for name in ("c.0.1.0", "c.3.2.0"):
        (sweeps[2].store().path / "embedding" / name).unlink()
    model = sweeps[0].model
    model.calls = 0
    extract(sweeps, progress=False)
    # 32 clips in one and 6 in the other, in one batch each.
    assert model.calls == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "folder", "link"])
def test_a_chunk_that_lost_power_damaged_is_computed_again(clips, own_cache, damage):
    sweep = slow_sweeps(clips)[1]
    (store,) = extract([sweep], progress=False)
    whole = store_bytes(own_cache)
    chunk = store.path / "embedding" / "c.3.1.0"
    content = chunk.read_bytes()
    chunk.unlink()
    if damage == "folder":
        (chunk / "inner").mkdir(parents=True)
    elif damage == "link":
        chunk.symlink_to(chunk.with_name("nowhere"))
    else:
        kinds = {"empty": b"", "cut": content[: len(content) // 2], "zeros": bytes(len(content))}
        chunk.write_bytes(kinds[damage])
    if damage in ("cut", "zeros"):
        with pytest.raises(StoreError, match=r"c\.3\.1\.0.*run again, and they alone"):
            store.read()
        assert not chunk.exists()
    assert store.missing().sum() == 32
    extract([sweep], progress=False)
    assert store_bytes(own_cache) == whole and store.read().shape == (5, 70, 8)


def test_a_failing_disk_removes_nothing(clips, own_cache, monkeypatch):
    (found,) = extract(slow_sweeps(clips)[:1], progress=False)
    array = description.open_array(found.path)

    class Broken:
        shape, chunks = array.shape, array.chunks

        def __getitem__(self, key):
            # At first as if a chunk could not be decoded, then the disk fails.
            raise ValueError("no such codec") if isinstance(key, int) else OSError("stale file handle")

    monkeypatch.setattr(description, "open_array", lambda *_: Broken())
    with pytest.raises(OSError, match="stale"):
        found.read()
    assert not found.missing().any()


def test_a_folder_that_cannot_be_written_is_explained(clips, own_cache, monkeypatch):
    import filelock

    def refused(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(own_cache))

    sweeps = slow_sweeps(clips)
    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    with pytest.raises(StoreError, match=r"cannot write to .*store: Permission denied"):
        extract(sweeps, progress=False)


def test_chunks_that_do_not_show_are_not_taken_for_done(clips, own_cache, monkeypatch):
    monkeypatch.setattr(embed, "PATIENCE", (0, 0.01))
    monkeypatch.setattr(Store, "write", lambda self, *arguments: None)
    sweep = slow_sweeps(clips)[0]
    with pytest.raises(StoreError, match=f"{sweep.store().path.name} lacks 70 embeddings.*same cache folder"):
        extract([sweep], progress=False)


def test_chunks_that_show_late_are_waited_for(clips, own_cache, monkeypatch):
    monkeypatch.setattr(embed, "PATIENCE", (0, 0.01, 0.01))
    missing, looks = Store.missing, []

    def late(self, *asked):
        looks.append(self)
        # As if missing: before the extraction, and at the first look after it.
        return missing(self, *asked) | (2 <= len(looks) <= 3)

    sweep = slow_sweeps(clips)[0]
    monkeypatch.setattr(Store, "missing", late)
    (store,) = extract([sweep], progress=False)
    assert len(looks) == 4 and not missing(store.store, store.keys, store.plan.digests).any()


def test_a_clip_that_breaks_in_the_middle_can_be_mended(clips, own_cache):
    sweeps = slow_sweeps(clips)
    _ = [sweep.digests for sweep in sweeps]
    path = clips / "bbb" / "bbb9.wav"  # in the last of the three blocks
    content = path.read_bytes()
    path.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"clip bbb/bbb9: .*Mend or replace the file and run again"):
        extract(sweeps, progress=False, n_jobs=1)
    missing = sum(int(sweep.store().missing().sum()) for sweep in sweeps)
    assert missing == 16 * 6
    path.write_bytes(content)
    # As a run that is started anew sees them.
    again = slow_sweeps(clips)
    extract(again, progress=False)
    assert again[0].model.calls == 16
    assert not any(sweep.store().missing().any() for sweep in sweeps)


def test_an_error_of_a_network_names_model_effect_and_clip(clips, own_cache):
    class Fragile(ToyModel):
        def frames(self, waves):
            loud = waves.abs().amax(dim=1) > 0.9
            return super().frames(waves).masked_fill(loud[:, None, None], float("nan"))

    class Broken(ToyModel):
        def frames(self, waves):
            raise RuntimeError("no kernel image")

    import soundfile as sf

    sf.write(clips / "aaa" / "aaa3.wav", np.full(4410, 0.99), 44100)
    data = slow_sweeps(clips)[1]
    for model, message in [
        (Fragile(), r"toy failed under gain 0\.5 at aaa/aaa3: .*not finite"),
        (Broken(), r"toy failed under gain 0\.5 at aaa/aaa0 to aaa/aaa6: RuntimeError: no kernel image"),
    ]:
        sweep = embed.Plan(model, data.effect, np.array([0.5]), data.clips)
        with pytest.raises(ModelError, match=message):
            extract([sweep], progress=False, n_jobs=1)


def test_an_error_of_an_effect_names_it(clips, own_cache):
    data = slow_sweeps(clips)[1]
    for process, message in [
        (lambda audio, rate, value: audio[99], r"own 2 failed: IndexError: index 99"),
        (lambda audio, rate, value: audio / {}[value], r"own 2 failed: KeyError: 2\.0"),
        (lambda audio, rate, value: None, r"clip aaa/aaa0: own changed the shape"),
        (
            lambda audio, rate, value: np.nan * audio,
            r"clip aaa/aaa0: own gave values that are not finite at Value = 2",
        ),
    ]:
        kind = effects.Effect("own", process, [2.0, 3.0], "Own", "Value")
        sweep = embed.Plan(data.model, kind, np.array([2.0]), data.clips)
        with pytest.raises(ValueError, match=message):
            extract([sweep], progress=False, n_jobs=1)


_FULL = """
set -e
mount -t tmpfs -o size=192k tmpfs "$AESENS_CACHE"
if "$0" "$1" "$2"; then echo "there was room"; exit 9; fi
mount -o remount,size=64m "$AESENS_CACHE"
"$0" "$1" "$2"
cp -r "$AESENS_CACHE/store" "$3"
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    ).returncode,
    reason="mounting a small file system is not allowed here",
)
def test_a_full_file_system(clips, whole, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from support import slow_sweeps
            from aesens.embeddings.extract import extract
            from aesens.embeddings.store import StoreError
            try:
                extract(slow_sweeps(sys.argv[1]), progress=False)
            except StoreError as error:
                sys.exit(str(error))
            """
        )
    )
    (tmp_path / "small").mkdir()
    command = ("unshare", "-rm", "bash", "-c", _FULL, sys.executable)
    done = python(script, clips, tmp_path / "kept", cache=tmp_path / "small", command=command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No space left on device" in done.stderr and "What is finished is kept" in done.stderr
    kept = {f"store/{path.relative_to(tmp_path / 'kept')}" for path in (tmp_path / "kept").rglob("*")}
    assert whole.keys() <= kept
    for name, content in whole.items():
        assert (tmp_path / "kept" / name.removeprefix("store/")).read_bytes() == content, name


def test_forgetting_a_study_leaves_others_alone(own_cache, tmp_path, monkeypatch):
    from aesens import models, tables
    from aesens.study import Study

    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))
    monkeypatch.setattr(effects, "EFFECTS", dict(effects.EFFECTS))
    data = write_clips(tmp_path / "clips", songs=8, seconds=0.5, rate=22050)
    # Names of a user's effects may hold anything.
    odd = effects.register(replace(effects.effect("gain"), name="wow/../$1$ *"))
    one, other = (Study(PROFILE, data=data, effects=[odd.name], weights_seed=seed) for seed in (0, 1))
    for study in (one, other):
        study.collect(tables.response, n_permutations=20, n_resamples=50, seed=0)
        study.fitted(study.sweep("toy", odd.name))

    def kept():
        return {p for p in own_cache.rglob("*") if p.is_file() and p.suffix not in (".lock", ".holder")}

    both = kept()
    with (
        one._plans()[1].store().store.held(),
        pytest.raises(StoreError, match="another run is extracting"),
    ):
        one.forget()
    one.forget()
    after = kept()
    assert {path.relative_to(own_cache).parts[0] for path in both - after} == {"store", "results"}
    assert not any(sweep.store().path.exists() for sweep in one._plans())
    assert not any(sweep.store().missing().any() for sweep in other._plans())
    # The other one finds all that it had, and the first one makes its own again.
    other.collect(tables.response, n_permutations=20, n_resamples=50, seed=0)
    assert kept() == after
    one.collect(tables.response, n_permutations=20, n_resamples=50, seed=0)
    one.fitted(one.sweep("toy", odd.name))
    assert kept() == both


def test_chapters_of_one_run_embed_in_turns(clips, own_cache, tmp_path, monkeypatch):
    """Where a second run would be told that the store is held, a chapter waits for the one beside it."""
    sweeps, turn = slow_sweeps(clips), tmp_path / "turn"
    monkeypatch.setenv("AESENS_TURN", str(turn))
    begun = threading.Event()

    def chapter_beside():
        with FileLock(turn), sweeps[2].store().store.held():
            begun.set()
            time.sleep(1)

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(chapter_beside)
        begun.wait()
        extract(sweeps, progress=False)
        beside.result()
    assert not any(plan.store().missing().any() for plan in sweeps)


def test_a_second_run_is_told_who_holds_the_store(clips, own_cache):
    sweeps = slow_sweeps(clips)
    script = (
        "import sys, support; from aesens.embeddings.extract import extract; "
        "extract(support.slow_sweeps(sys.argv[1]), progress=False)"
    )
    with sweeps[2].store().store.held():
        done = python("-c", script, clips, cache=own_cache)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert f"another run is extracting {sweeps[2].store().path.name}" in message
    assert f"process {os.getpid()} on" in message
    # Held no more: the same run goes through, and finds the store complete without holding it the next time.
    assert python("-c", script, clips, cache=own_cache).returncode == 0
    with sweeps[2].store().store.held():
        extract(sweeps, progress=False)


def test_a_store_that_another_run_makes_meanwhile_is_taken(clips, own_cache, monkeypatch):
    sweep, describe = slow_sweeps(clips)[0], description.describe
    store = sweep.store().store

    def slower(path, about):
        monkeypatch.setattr(description, "describe", describe)
        store.create(sweep.address())
        describe(path, about)

    monkeypatch.setattr(description, "describe", slower)
    store.create(sweep.address())
    assert store.about()["blocks"] == [] and len(list(store.path.parent.iterdir())) == 1


def test_a_store_that_vanished_is_explained(clips, own_cache):
    sweep = slow_sweeps(clips)[0]
    store = sweep.store().store
    store.create(sweep.address())
    chunk = store.lay({0.0: sweep.digests}, {})[0]
    shutil.rmtree(store.path)
    with pytest.raises(StoreError, match="same cache folder"):
        store.write(chunk, np.zeros((32, 8), np.float32))


def test_a_model_travels_without_its_network(toy_model):
    import pickle

    model = SlowModel()
    assert model.network is not None and "network" in model.__dict__
    copy = pickle.loads(pickle.dumps(model))
    assert "network" not in copy.__dict__
    waves = np.random.default_rng(0).standard_normal((3, 1600)).astype(np.float32)
    assert np.array_equal(copy.embed(waves), model.embed(waves))


def test_a_batch_that_does_not_fit_is_halved(toy_model):
    import torch

    class Small(ToyModel):
        def frames(self, waves):
            if len(waves) > 5:
                raise torch.OutOfMemoryError("too many")
            return super().frames(waves)

    waves = np.random.default_rng(0).standard_normal((40, 1600)).astype(np.float32)
    small = Small()
    # As on a large GPU: what is halved is the batch that did not fit, not the number that was hoped for.
    small.batch_size = 906
    sizes = []
    small.frames = lambda waves: sizes.append(len(waves)) or Small.frames(small, waves)
    np.testing.assert_array_equal(small.embed(waves), toy_model.embed(waves))
    assert sizes[:5] == [40, 20, 10, 5, 5] and small.batch_size == 5
    small.frames = lambda waves: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all"))
    with pytest.raises(ModelError, match="memory of cpu does not hold toy with a single clip.*--device"):
        small.embed(waves)


def test_openl3_takes_fewer_windows_where_batches_were_halved():
    import torch

    from aesens.models.openl3 import OpenL3

    model = OpenL3.load(weights="untrained", device="cpu", hop=0.1)
    model.device = torch.device("meta")  # any but a CPU
    sizes = []
    model.__dict__["network"] = lambda windows: sizes.append(len(windows)) or windows[:, :512]
    for batch_size in (100, 8, 1):
        model.batch_size = batch_size
        model.frames(torch.zeros(6, 3 * 48000, device="meta"))
    assert sizes == [128, 28, *[32] * 4, 28, *[4] * 39]


def test_a_store_says_where_it_is(tmp_path):
    assert Store.at({"model": "a/b", "effect": "gain"}, tmp_path).path.name.startswith("a-b-gain-")
