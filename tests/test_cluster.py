"""The same stores from the workers of a Dask cluster, also when workers die, and clear words when there is none."""

import os
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest
from support import PROFILE, ROOT, ToyModel, slow_sweeps, store_bytes, write_clips

from aesens import cluster
from aesens.embed import extract
from aesens.models import load_model
from aesens.store import StoreError

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two worker processes of one thread."""
    place = str(tmp_path_factory.mktemp("dask"))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=place
    ) as two:
        yield two


def test_workers_make_the_same_stores(workers, clips, whole, tmp_path):
    (store, *_) = extract(slow_sweeps(clips), progress=False, scheduler=workers.scheduler_address)
    assert store_bytes(tmp_path / "spread") == whole
    chunk = store.path / "embedding" / "0.1.0"
    written = store.path.stat(), chunk.stat().st_mtime_ns
    (store.path / "embedding" / "0.0.0").unlink()
    extract(slow_sweeps(clips), progress=False, scheduler=workers.scheduler_address)
    assert store_bytes(tmp_path / "spread") == whole and chunk.stat().st_mtime_ns == written[1]


def test_a_worker_killed_in_the_middle(workers, clips, whole, tmp_path):
    sweeps = slow_sweeps(clips, seconds=0.05)
    killed = []

    def kill():
        while sweeps[1].store().missing().all():
            time.sleep(0.02)
        with distributed.Client(workers.scheduler_address) as client:
            victim = next(iter(client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        killed.append(sum(int(sweep.store().missing().sum()) for sweep in sweeps))

    killer = threading.Thread(target=kill)
    killer.start()
    extract(sweeps, progress=False, scheduler=workers.scheduler_address)
    killer.join()
    assert 0 < killed[0] < 48
    assert store_bytes(tmp_path / "spread") == whole


def test_an_error_in_a_worker_names_the_clip(workers, clips, whole):
    sweeps = slow_sweeps(clips)
    (clips / "bbb" / "bbb7.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"bbb7\.wav"):
        extract(sweeps, progress=False, scheduler=workers.scheduler_address)


def test_a_real_model_in_a_worker(workers, clips, own_cache):
    import numpy as np

    from aesens.embed import Sweep

    sweeps = slow_sweeps(clips)
    model = load_model("yamnet", weights="untrained", device="cpu")
    (store,) = extract(
        [Sweep.clean(model, sweeps[0].clips)], progress=False, scheduler=workers.scheduler_address
    )
    spread = store.read().values
    for entry in (store.path / "embedding").glob("[0-9]*"):
        entry.unlink()
    (store,) = extract([Sweep.clean(model, sweeps[0].clips)], progress=False)
    assert np.array_equal(store.read().values, spread)


def test_other_versions_in_a_worker_are_refused(clips, own_cache, monkeypatch):
    from aesens import embed

    sweeps = slow_sweeps(clips)
    shards = embed._shards(embed._tasks(sweeps, [sweep.store() for sweep in sweeps]))
    assert len(shards) == 3 * 4 and sum(map(len, shards)) == 70 * 16
    assert repr(shards[0]) == "bitcrush, clips aaa/aaa0 to aaa/aaa6"
    monkeypatch.setattr(embed, "_EXTRACTION", 99)
    with pytest.raises(StoreError, match="one environment"):
        embed.compute_shard(shards[0])


def test_no_scheduler_is_explained(clips, own_cache, monkeypatch):
    monkeypatch.setattr(cluster, "_SECONDS", 1)
    with pytest.raises(cluster.ClusterError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        extract(slow_sweeps(clips), progress=False, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(cluster.ClusterError, match="slurm:N"):
        extract(slow_sweeps(clips), progress=False, scheduler="slurm:many")


def test_scripts_of_jobs_are_sound(tmp_path):
    import dask
    from dask_jobqueue import SLURMCluster

    subprocess.run(["bash", "-n", ROOT / "scripts" / "slurm.sh"], check=True)
    (settings,) = dask.config.collect_yaml([str(ROOT / "scripts" / "jobqueue.yaml")])
    ours = {f"jobqueue.slurm.{key}": value for key, value in settings["jobqueue"]["slurm"].items()}
    with dask.config.set(ours), SLURMCluster(scheduler_options={"dashboard_address": ":0"}) as jobs:
        script = jobs.job_script()
    assert "#SBATCH --gres=gpu:1" in script and "--nthreads 1" in script
    path = tmp_path / "job.sh"
    path.write_text(script)
    subprocess.run(["bash", "-n", path], check=True)


def test_a_study_makes_all_its_embeddings_on_the_cluster(workers, own_cache, tmp_path, monkeypatch):
    from aesens import models, study

    monkeypatch.setitem(models.MODELS, "toy", ToyModel)
    data = write_clips(tmp_path / "clips", songs=8, seconds=3.0, rate=22050)
    made = study.Study(PROFILE, data=data, scheduler=workers.scheduler_address)
    made.extract_all()
    # Whatever is asked for later is there.
    monkeypatch.setattr(study, "extract", lambda sweeps, **_: [s.store() for s in sweeps])
    assert made.sweep("toy", "gain").trajectories.shape == (4, 16, 8)
    assert len(made.clean_classification()) == 1


def test_an_effect_from_a_file_reaches_the_workers(workers, clips, own_cache, tmp_path):
    from aesens.embed import Sweep
    from aesens.sources import import_file

    path = tmp_path / "half.py"
    path.write_text(
        "from aesens.effects import Effect\n"
        "def apply(audio, rate, times):\n    return audio / times\n"
        "HALF = Effect('half', apply, grid=[1.0, 2.0], title='Half', parameter='Times', unit='')\n"
    )
    effect = import_file(path, "with").HALF
    clean = slow_sweeps(clips)[0]
    sweep = Sweep(clean.model, effect, effect.parameters(2), clean.clips)
    (store,) = extract([sweep], progress=False, scheduler=workers.scheduler_address)
    assert not store.missing().any() and not (store.read()[0] == store.read()[1]).all()


_REUSE = """
import pickle, resource, sys
import numpy as np
from aesens import cluster

def use():
    for _ in range(20):
        np.ones(8 << 20, dtype=np.uint8)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

as_dask_starts = faults()
cluster._unpacked(pickle.dumps((len, ())))
use()
print(as_dask_starts, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_worker_uses_freed_memory_again():
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", _REUSE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    as_dask_starts, worker = map(int, done.stdout.split())
    assert worker < as_dask_starts / 10
