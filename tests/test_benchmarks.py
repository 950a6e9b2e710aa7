"""What benchmarks keep, and that those of the study's shape run."""

import numpy as np
import pandas as pd
import paper_shape
import store
from table import OVERRIDES, UNKNOWN, Table, machine

from aesens.analysis.parallel import cores
from aesens.embeddings.store import Chunk, Store


def test_results_of_other_machines_are_kept(tmp_path):
    path = tmp_path / "results.csv"

    def measured(value, on=None, benchmark="rate"):
        table = Table(on)
        table.add(benchmark, "speed", value, "s")
        table.merge(path, ["rate", "growth"])

    measured(1)
    measured(5, benchmark="growth")
    measured(2, "first")
    measured(3, "second")
    measured(4, "first")
    found = pd.read_csv(path).set_index(["machine", "benchmark"])["value"]
    assert found.to_dict() == {
        ("first", "rate"): 4,
        (UNKNOWN, "rate"): 1,
        (UNKNOWN, "growth"): 5,
        ("second", "rate"): 3,
    }


def test_a_machine_is_named_with_what_overrides_its_kernels(monkeypatch):
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    plain = machine()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert f"{cores()} cores" in plain and machine() == f"{plain}; OPENBLAS_CORETYPE=Haswell"


def test_the_analysis_at_the_studys_shape_runs(tmp_path):
    paper_shape.main(["--quick", "--features", "512", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "paper_shape.csv").set_index("metric")["value"]
    measured = [name for name in table.index if name.endswith(", peak memory")]
    parts = sum(table[name.removesuffix(", peak memory")] for name in measured)
    whole = table["512 features: whole analysis, reading included"]
    assert np.isclose(parts + table["512 features: reading them"], whole, rtol=1e-3)


def test_workers_write_the_same_into_a_store_and_a_file(tmp_path):
    made_for, clips, parameters = store.address(8, "gain"), store.digests(40), [0.5, 1.0]
    kept, file = Store.at(made_for, tmp_path), tmp_path / "gain.npy"

    class Client:
        def submit(self, work, *arguments, pure):
            return work(*arguments)

        def gather(self, results):
            return list(results)

    store.write(Client(), kept, made_for, parameters, clips, file)
    rows = store.read(kept, file, parameters, clips, "numpy")
    sizes = {(pattern, way): size for pattern, way, _, size in rows}
    assert sizes == {
        (pattern, way): count * 8 * 4
        for pattern, count in (("a sweep", 80), ("one strength", 40), ("one clip", 2))
        for way in ("store", "numpy")
    }
    assert [len(shard) for shard in store.shards([Chunk(0.5, ("a",), (0, b)) for b in (0, 1, 1)])] == [1, 2]
