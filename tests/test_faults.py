"""Whatever stops an extraction: what is finished stays, the next run computes the rest, and the end is the same."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from support import ROOT, SlowModel, ToyModel, slow_sweeps, store_bytes

from aesens.embed import extract
from aesens.store import Store, StoreError


def python(*arguments, cache, command=(sys.executable,)):
    environment = os.environ | {"AESENS_CACHE": str(cache), "PYTHONPATH": str(ROOT / "tests")}
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300
    )


def test_ten_kills_at_random_points(clips, whole, tmp_path):
    done = python(ROOT / "tests" / "killed.py", clips, 10, cache=tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    missing = [int(line) for line in done.stdout.split()]
    assert len(missing) == 10 and missing == sorted(missing, reverse=True)
    # Most of the kills met a run at work: some chunks were there, others not.
    assert sum(0 < left < 48 for left in missing) >= 5, missing
    assert store_bytes(tmp_path / "killed") == whole


def test_what_a_killed_write_leaves_is_removed_and_never_read(clips, own_cache):
    sweep = slow_sweeps(clips)[1]
    unfinished = sweep.store().path / "embedding" / "0.1.0123.partial"
    unfinished.write_bytes(b"half")
    # A run that was killed while it made the store.
    begun = sweep.store().path.with_name(f".{sweep.store().path.stem}-abcd")
    begun.mkdir()
    assert sweep.store().missing().all()
    extract([sweep], progress=False)
    assert not unfinished.exists() and not begun.exists()


def test_only_what_is_missing_is_computed_again(clips, own_cache):
    sweeps = slow_sweeps(clips)
    extract(sweeps, progress=False)
    for name in ("0.1.0", "3.2.0"):
        (sweeps[2].store().path / "embedding" / name).unlink()
    model = sweeps[0].model
    model.calls = 0
    extract(sweeps, progress=False)
    # 32 clips in one and 6 in the other, in one batch each.
    assert model.calls == 2


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
            from aesens.embed import extract
            from aesens.store import StoreError
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


def test_a_second_run_is_told_who_holds_the_store(clips, own_cache):
    sweeps = slow_sweeps(clips)
    script = (
        "import sys, support, aesens.embed as e; e.extract(support.slow_sweeps(sys.argv[1]), progress=False)"
    )
    with sweeps[2].store().held():
        done = python("-c", script, clips, cache=own_cache)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert f"another run is extracting {sweeps[2].store().path.name}" in message
    assert f"process {os.getpid()} on" in message
    # Held no more: the same run goes through, and finds the store complete without holding it the next time.
    assert python("-c", script, clips, cache=own_cache).returncode == 0
    with sweeps[2].store().held():
        extract(sweeps, progress=False)


def test_a_store_that_vanished_is_explained(clips, own_cache):
    store = slow_sweeps(clips)[0].store()
    shutil.rmtree(store.path)
    with pytest.raises(StoreError, match="same cache folder"):
        store.write(0, 0, np.zeros((32, 8), np.float32))


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
    np.testing.assert_array_equal(small.embed(waves), toy_model.embed(waves))
    assert small.batch_size == 4
    small.frames = lambda waves: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all"))
    with pytest.raises(torch.OutOfMemoryError):
        small.embed(waves)


def test_a_store_says_where_it_is(tmp_path):
    assert Store.path_of({"model": "a/b", "effect": "gain"}, tmp_path).name.startswith("a-b-gain-")
