"""The same stores from the workers of a Dask cluster, also when workers die, and clear words when there is none."""

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from support import PROFILE, PYTHONPATH, ROOT, SlowModel, ToyModel, slow_sweeps, store_bytes, write_clips

from aesens.embeddings import cluster
from aesens.embeddings.extract import extract
from aesens.embeddings.store import StoreError
from aesens.models import load_model

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
    chunk = store.path / "embedding" / "c.0.1.0"
    written = store.path.stat(), chunk.stat().st_mtime_ns
    (store.path / "embedding" / "c.0.0.0").unlink()
    extract(slow_sweeps(clips), progress=False, scheduler=workers.scheduler_address)
    assert store_bytes(tmp_path / "spread") == whole and chunk.stat().st_mtime_ns == written[1]


def missing(stores):
    """How many of the 48 chunks are not there yet."""
    return 48 - sum(len(one.store.there()) for one in stores)


@contextmanager
def meanwhile(sweeps, work):
    """Do something once the first chunks are there; yields a list that then holds how many were missing."""
    # Found once, and not in the thread: a store's address takes parsing source, which pytest may do meanwhile, and two
    # threads cannot at a time (see `aesens.sources`).
    left, stores = [], [sweep.store() for sweep in sweeps]

    def wait():
        while missing(stores) == 48:
            time.sleep(0.02)
        left.append(missing(stores))
        work()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield left
    thread.join()


def test_a_worker_killed_in_the_middle(workers, clips, whole, tmp_path):
    # At two workers, two seconds and more, however fast the machine.
    sweeps = slow_sweeps(clips, seconds=0.1)
    with distributed.Client(workers.scheduler_address) as client:
        victim = next(iter(client.run(os.getpid).values()))
    with meanwhile(sweeps, lambda: os.kill(victim, signal.SIGKILL)) as left:
        extract(sweeps, progress=False, scheduler=workers.scheduler_address)
    assert 20 < left[0] < 48
    with distributed.Client(workers.scheduler_address) as client:
        assert victim not in client.run(os.getpid).values()
    assert store_bytes(tmp_path / "spread") == whole


def start(*command):
    # Workers import the toy model by name.
    environment = os.environ | {"PYTHONPATH": PYTHONPATH}
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], stderr=subprocess.DEVNULL, env=environment
    )


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler in a process of its own, without workers: the file that names it, and the process."""
    file = tmp_path / "scheduler.json"
    command = ("--scheduler-file", file, "--no-dashboard", "--port", 0, "--host", "127.0.0.1")
    process = start("distributed.cli.dask_scheduler", *command)
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.1)
    yield str(file), process
    process.kill()
    process.wait()


@pytest.fixture
def one_worker(scheduler, tmp_path):
    """Starts a worker without nanny at the scheduler."""
    started = []

    def run():
        place = ("--scheduler-file", scheduler[0], "--local-directory", tmp_path / "worker")
        options = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--memory-limit", 0)
        started.append(start("distributed.cli.dask_worker", *place, *options))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_no_worker_and_lost_workers_are_said(
    scheduler, one_worker, clips, whole, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cluster, "_LOOK", 0.3)
    sweeps = slow_sweeps(clips, seconds=0.02)
    said = []
    monkeypatch.setattr(cluster, "_say", lambda note, say=cluster._say: said.append(note) or say(note))
    workers, stores = [], [sweep.store() for sweep in sweeps]

    def come_and_go():
        while not said:
            time.sleep(0.05)
        workers.append(one_worker())
        while missing(stores) == 48:
            time.sleep(0.05)
        workers[0].kill()
        while "the last worker has left: waiting for another" not in said:
            time.sleep(0.05)
        workers.append(one_worker())

    thread = threading.Thread(target=come_and_go, daemon=True)
    thread.start()
    extract(sweeps, progress=False, scheduler=scheduler[0])
    thread.join()
    assert "no worker at tcp://" in said[0] and len(workers) == 2
    assert "waiting, start one with `dask worker`" in capsys.readouterr().err
    assert store_bytes(tmp_path / "spread") == whole


def test_a_scheduler_that_is_gone_is_explained(scheduler, one_worker, clips, own_cache):
    sweeps = slow_sweeps(clips, seconds=0.1)
    one_worker()
    with (
        meanwhile(sweeps, scheduler[1].kill),
        pytest.raises(cluster.ClusterError, match=r"scheduler at tcp://.* is gone.*goes on from there"),
    ):
        extract(sweeps, progress=False, scheduler=scheduler[0])


def test_a_run_computes_on_the_device_of_the_workers(workers, own_cache, monkeypatch, tmp_path, capsys):
    from aesens import models
    from aesens.app import run

    with cluster.connect(workers.scheduler_address) as client:
        assert cluster.device_of(client) == "cpu"
        names = iter(["NVIDIA H100", "NVIDIA H100", "NVIDIA H100", ""])
        monkeypatch.setattr(client, "run", lambda work: {f"tcp://{i}": next(names) for i in range(2)})
        assert cluster.device_of(client) == "cuda"
        assert "2 workers: cuda (NVIDIA H100)" in capsys.readouterr().out
        with pytest.raises(cluster.ClusterError, match=r"none \(tcp://1\).*--device"):
            cluster.device_of(client)
    # OpenL3 is there for chapter 4's protocols, whatever the study's models are.
    for name in ("toy", "openl3"):
        monkeypatch.setitem(models.MODELS, name, models.Entry(ToyModel))
    data = write_clips(tmp_path / "clips", songs=8, seconds=3.0, rate=22050)
    for given, expected in [({}, "there"), ({"device": "cpu"}, "cpu")]:
        parameters = {"profile": PROFILE, "data": str(data), **given}
        monkeypatch.setattr(cluster, "device_of", lambda client: "there")
        run._prepare(parameters, workers.scheduler_address, fresh=False)
        assert parameters["device"] == expected


def test_a_worker_keeps_a_network_for_as_long_as_its_recipe_is_the_same(clips, own_cache):
    import pickle

    from aesens.embeddings import extract as embed

    def piece(model):
        plan = embed.Plan.clean(model, data)
        tasks = embed._tasks([plan.store()])
        # As it arrives in a worker.
        return pickle.loads(pickle.dumps(tasks[0].pieces[0]))

    data = slow_sweeps(clips)[0].clips
    first = embed._resident(piece(ToyModel()))
    assert embed._resident(piece(ToyModel())) is first
    larger = ToyModel()
    larger.batch_size = 7
    second = embed._resident(piece(larger))
    assert second is not first and second.batch_size == 7
    slower = SlowModel()
    slower.seconds = 0.5
    third = embed._resident(piece(slower))
    assert third.seconds == 0.5
    # Only the last one is kept.
    assert embed._resident(piece(ToyModel())) is not first

    # The same name and settings, other code: as of a file that was edited between two runs.
    class ToyModel2(ToyModel):
        def frames(self, waves):
            return 2 * super().frames(waves)

    assert embed._recipe(ToyModel2()) != embed._recipe(ToyModel()) == embed._recipe(ToyModel())


def test_batches_are_sized_where_they_are_computed(monkeypatch):
    """What starts a run may have no GPU, or a smaller one."""
    import torch

    model = load_model("panns", weights="untrained", device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert model.batch_size == 64
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    memory = type("Memory", (), {"total_memory": 24e9})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert model.batch_size == 256
    assert load_model("panns", weights="untrained", device="cpu").batch_size == 16


def test_jobs_that_end_are_replaced(monkeypatch):
    import dask_jobqueue

    asked = {}
    fake = type("Cluster", (), {"adapt": lambda self, **options: asked.update(options)})
    monkeypatch.setattr(dask_jobqueue, "SLURMCluster", fake)
    cluster._slurm("slurm:3")
    assert asked == {"minimum_jobs": 3, "maximum_jobs": 3}


def test_an_error_in_a_worker_names_the_clip(workers, clips, whole):
    sweeps = slow_sweeps(clips)
    (clips / "bbb" / "bbb7.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"bbb7\.wav"):
        extract(sweeps, progress=False, scheduler=workers.scheduler_address)


def test_a_real_model_in_a_worker(workers, clips, own_cache):
    import numpy as np

    from aesens.embeddings.extract import Plan

    sweeps = slow_sweeps(clips)
    model = load_model("yamnet", weights="untrained", device="cpu")
    (store,) = extract(
        [Plan.clean(model, sweeps[0].clips)], progress=False, scheduler=workers.scheduler_address
    )
    spread = store.read().values
    for entry in (store.path / "embedding").glob("c.*"):
        entry.unlink()
    (store,) = extract([Plan.clean(model, sweeps[0].clips)], progress=False)
    assert np.array_equal(store.read().values, spread)


def test_other_versions_in_a_worker_are_refused(clips, own_cache, monkeypatch):
    from aesens.embeddings import extract as embed

    sweeps = slow_sweeps(clips)
    shards = embed._shards(embed._tasks([sweep.store() for sweep in sweeps]))
    assert len(shards) == 3 * 4 and sum(map(len, shards)) == 70 * 16
    assert repr(shards[0]) == "bitcrush, clips aaa/aaa0 to aaa/aaa6"
    made = embed._made() | {"source": "another"}
    monkeypatch.setattr(embed, "_made", lambda: made)
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
    assert "#SBATCH --gres=gpu:1" in script and "--nthreads 1" in script and "--lifetime 230m" in script
    path = tmp_path / "job.sh"
    path.write_text(script)
    subprocess.run(["bash", "-n", path], check=True)


def test_settings_for_workers_are_those_that_dask_knows():
    import dask

    (ours,) = dask.config.collect_yaml([str(ROOT / "scripts" / "dask.yaml")])

    def leaves(settings, place=""):
        for key, value in settings.items():
            yield from leaves(value, f"{place}{key}.") if isinstance(value, dict) else [(place + key, value)]

    # Whatever the user's own are.
    defaults = dask.config.merge(*dask.config.defaults)
    for key, value in leaves(ours):
        assert dask.config.get(key, config=defaults) != value, f"{key} is Dask's own setting by now"


_SRUN = """#!/usr/bin/env bash
echo "$1" "$DASK_CONFIG" >srun.txt
shift
trap 'kill $(jobs -p)' TERM
for _ in 1 2; do "$@" & done
wait
"""

_RUN_ALL = """#!/usr/bin/env bash
exec "$VIRTUAL_ENV/bin/python" -c '
import sys
from distributed import Client
with Client(scheduler_file=sys.argv[sys.argv.index("--scheduler") + 1]) as client:
    client.wait_for_workers(2, timeout=60)
    print(list(client.nthreads().values()), *sys.argv[1:])
' "$@"
"""


def test_the_job_starts_its_workers_and_ends_with_the_run(tmp_path):
    for name, text in {"bin/srun": _SRUN, "run_all.sh": _RUN_ALL}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "3",
        "AESENS_CACHE": str(tmp_path),
    }
    command = ["bash", str(ROOT / "scripts" / "slurm.sh"), "tiny", "--seed", "7"]
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, env=environment, **options)
    assert done.returncode == 0, done.stderr
    scheduler = tmp_path / "scheduler-7.json"
    expected = f"[1, 1] tiny --seed 7 --device cuda --scheduler {scheduler} --only 01"
    assert done.stdout.splitlines()[-1] == expected and not scheduler.exists()
    assert (tmp_path / "srun.txt").read_text() == f"--cpus-per-task=3 {tmp_path}/scripts/dask.yaml\n"
    # A scheduler that cannot start ends the job and does not let it wait for the file.
    environment["AESENS_CACHE"] = str(tmp_path / "nowhere")
    done = subprocess.run(command, env=environment, **options)
    assert done.returncode == 1 and "the Dask scheduler did not start" in done.stderr, done.stderr


def test_a_study_makes_all_its_embeddings_on_the_cluster(workers, own_cache, tmp_path, monkeypatch):
    from aesens import models, study, tables
    from aesens.embeddings import study as embeddings

    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))
    data = write_clips(tmp_path / "clips", songs=8, seconds=3.0, rate=22050)
    made = study.Study(PROFILE, data=data, scheduler=workers.scheduler_address)
    made.extract(made.all_plans())
    # Whatever is asked for later is there.
    monkeypatch.setattr(embeddings, "extract", lambda plans, **_: [plan.store() for plan in plans])
    assert made.sweep("toy", "gain").trajectories.shape == (4, 16, 8)
    assert len(tables.clean_classification(made)) == 1


def test_an_effect_from_a_file_reaches_the_workers(workers, clips, own_cache, tmp_path):
    from aesens.embeddings.extract import Plan
    from aesens.sources import import_file

    path = tmp_path / "half.py"
    path.write_text(
        "from aesens.effects import Effect\n"
        "def apply(audio, rate, times):\n    return audio / times\n"
        "HALF = Effect('half', apply, grid=[1.0, 2.0], title='Half', parameter='Times', unit='')\n"
    )
    effect = import_file(path, "with").HALF
    clean = slow_sweeps(clips)[0]
    sweep = Plan(clean.model, effect, effect.parameters(2), clean.clips)
    (store,) = extract([sweep], progress=False, scheduler=workers.scheduler_address)
    assert not store.missing().any() and not (store.read()[0] == store.read()[1]).all()


_REUSE = """
import pickle, resource, sys
import numpy as np
from aesens.embeddings import cluster

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
