"""Whatever happens to files on the disk, they are read as they were written, or it is told, and they are made again."""

import errno
import json
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import PROFILE, ToyModel, slow_sweeps, write_clips

from aesens.app.cli import main
from aesens.embeddings import results
from aesens.embeddings.extract import extract
from aesens.embeddings.inventory import inventory, prune
from aesens.embeddings.plan import made_with
from aesens.embeddings.store import StoreError


@pytest.fixture
def stored(clips, own_cache):
    """Extracted sweeps, and what they hold."""
    sweeps = slow_sweeps(clips)
    return sweeps, [one.read().values for one in extract(sweeps, progress=False)]


def outcome(sweeps, values) -> str:
    """Of a run over a store that something happened to: what it says, or that all is as before."""
    try:
        found = [one.read().values for one in extract(sweeps, progress=False)]
    except StoreError as error:
        assert "\n" not in str(error)
        return "told"
    return "the same" if all(map(np.array_equal, found, values)) else "silent"


def mended(sweeps, values) -> bool:
    """Whether doing as told, at most some times, gives all that there was."""
    for _ in range(4):
        try:
            found = [one.read().values for one in extract(sweeps, progress=False)]
            return all(map(np.array_equal, found, values))
        except StoreError as error:
            for sweep in sweeps:
                if "remove this folder" in str(error) and str(sweep.store().path) in str(error):
                    shutil.rmtree(sweep.store().path)
    return False


def flip(chance, file) -> None:
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def fuzz(sweeps, values, number, seed=0) -> dict[str, int]:
    """Flip single bits, one at a time; counts the outcomes, and checks that each is mended."""
    chance, counts = random.Random(seed), {}
    folder = sweeps[0].store().path.parent
    shutil.copytree(folder, folder.with_name("kept"))
    for _ in range(number):
        file = chance.choice(sorted(folder.rglob("c.*")) + 4 * sorted(folder.rglob("zarr.json")))
        flip(chance, file)
        said = outcome(sweeps, values)
        counts[said] = counts.get(said, 0) + 1
        assert said != "silent" and mended(sweeps, values), file
        shutil.rmtree(folder)
        shutil.copytree(folder.with_name("kept"), folder)
    return counts


def test_a_flipped_bit_is_told(stored):
    counts = fuzz(*stored, number=20)
    assert counts["told"] >= 15


def test_every_bit_of_a_chunk_counts(stored):
    sweeps, values = stored
    store = sweeps[1].store()
    chunk = store.path / "embedding" / "c.1.2.0"
    content = chunk.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 25)):
        chunk.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(StoreError, match=r"c\.1\.2\.0"):
            store.read()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, "c.0.0.0"), (1, "c.1.0.0")),  # of another parameter
        ((1, "c.2.0.0"), (1, "c.2.1.0")),  # of other clips
        ((1, "c.2.1.0"), (2, "c.2.1.0")),  # of another effect
        ((0, "c.0.2.0"), (3, "c.4.2.0")),  # clean clips
    ],
)
def test_swapped_chunks_are_told(stored, one, other):
    sweeps, values = stored
    first, second = (sweeps[n].store().path / "embedding" / name for n, name in (one, other))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert outcome(sweeps, values) == "told" and mended(sweeps, values)


@pytest.mark.parametrize("name", ["zarr.json", "embedding/zarr.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "another's", "folder"])
def test_damaged_descriptions_are_told_with_the_remedy(stored, name, damage):
    sweeps, values = stored
    store = sweeps[2].store()
    file = store.path / name
    content = file.read_bytes()
    if damage == "another's":
        shutil.copy(sweeps[0].store().path / name, file)
    elif damage in ("gone", "folder"):
        file.unlink()
        if damage == "folder":
            file.mkdir()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    # Descriptions of arrays are alike, but for their shapes: the clean clips' has one parameter.
    assert outcome(sweeps, values) == "told" and mended(sweeps, values)


def test_parameters_and_clips_of_the_description_are_checked(stored):
    sweeps, values = stored
    file = sweeps[1].store().path / "zarr.json"
    about = json.loads(file.read_text())
    about["attributes"]["parameters"].reverse()
    file.write_text(json.dumps(about))
    assert outcome(sweeps, values) == "told" and mended(sweeps, values)


TABLE = pd.DataFrame(
    {
        "instrument": ["01", "1", "nan", "all", ""],
        "clip": ["a,b", 'c"d', "e\nf", "g", None],
        "number": [1, 2, 3, 4, 2**60],
        "value": [0.1 + 0.2, np.nan, np.inf, -0.0, 5e-324],
        "single": np.array([1 / 3, 0, 1, 2, np.nan], dtype=np.float32),
        "kept": [True, False, True, False, True],
        "fold": pd.array([1, None, 3, 4, 5], dtype="Int64"),
        "mixed": [1, "1", 1.5, None, True],
    }
)


def test_tables_keep_their_types(tmp_path):
    path = tmp_path / "table.json"
    for table in (TABLE, TABLE[:0], TABLE[["value"]]):
        results.write_table(path, table)
        again = results.read_table(path)
        pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert np.signbit(results.read_table(path)["value"][3])


def test_what_several_ask_for_is_made_once(tmp_path):
    path, made, both = tmp_path / "table.json", [], threading.Barrier(2)

    def make():
        made.append(1)
        time.sleep(0.3)  # the other one asks meanwhile
        results.write_table(path, TABLE)

    def asked(_):
        both.wait()
        return results.kept(path, results.read_table, make)

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(asked, range(2)):
            pd.testing.assert_frame_equal(found, TABLE, check_exact=True)
    assert made == [1] and list(tmp_path.iterdir()) == [path]

    def fails():
        raise RuntimeError("no")

    path.unlink()
    with pytest.raises(RuntimeError, match="no"):
        results.kept(path, results.read_table, fails)
    assert results.kept(path, results.read_table, make) is not None and made == [1, 1]


def fits():
    rng = np.random.default_rng(0)
    return {
        "a/b": {"01": rng.standard_normal((2, 5))},
        "lda": {"5$": rng.standard_normal((1, 5)), "c": np.eye(5)},
    }


@pytest.mark.parametrize("kind", ["table", "fits"])
def test_damaged_results_are_none(tmp_path, kind):
    path = tmp_path / "result"
    write, read, value = {
        "table": (results.write_table, results.read_table, TABLE),
        "fits": (results.write_fits, results.read_fits, fits()),
    }[kind]
    write(path, value)
    content = path.read_bytes()
    chance = random.Random(1)
    for _ in range(40):
        flip(chance, path)
        assert read(path) is None and not path.exists()
        path.write_bytes(content)
    for cut in (0, 1, 64, 65, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        assert read(path) is None and not path.exists()
    other = tmp_path / "other"
    other.write_bytes(content)
    assert read(other) is None and not other.exists()
    path.mkdir()
    assert read(path) is None and read(path) is None
    write(path, value)
    assert read(path) is not None


def test_results_that_find_no_room_are_told_with_the_remedy(tmp_path, monkeypatch):
    path = tmp_path / "results" / "table.json"
    results.write_table(path, TABLE)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        StoreError, match=r"cannot write to .*table\.json: No space left on device.*make room"
    ):
        results.write_table(path, TABLE[:1])
    # What was there stays, and nothing is left beside it.
    assert len(results.read_table(path)) == len(TABLE) and os.listdir(path.parent) == ["table.json"]


def test_fits_come_back_exactly(tmp_path):
    results.write_fits(tmp_path / "fits", fits())
    again = results.read_fits(tmp_path / "fits")
    assert {name: set(of) for name, of in again.items()} == {"a/b": {"01"}, "lda": {"5$", "c"}}
    assert all(
        np.array_equal(again[name][code], rows) for name, of in fits().items() for code, rows in of.items()
    )


def test_another_seed_computes_no_embedding(own_cache, tmp_path, monkeypatch):
    from aesens import models
    from aesens.study import Study

    model = ToyModel()
    monkeypatch.setattr("aesens.models.study.load_model", lambda *_, **__: model)
    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))
    data = write_clips(tmp_path / "clips", songs=8, seconds=3.0, rate=8000)
    Study(PROFILE, data=data, effects="gain").extract()
    calls = model.calls
    assert calls > 0
    for options in ({"seed": 7}, {"seed": 8}, {"instruments": "bbb,aaa"}, {"data_seed": 3}):
        study = Study(PROFILE, data=data, effects="gain", **options)
        assert study.sweep("toy", "gain").trajectories.shape == (4, 16, 8)
    assert model.calls == calls
    keys = {Study(PROFILE, data=data, effects="gain", seed=seed).sweep("toy", "gain").key for seed in (7, 8)}
    assert len(keys) == 2


def test_the_cache_is_listed_and_pruned(stored, own_cache, capsys):
    sweeps, _ = stored
    path = results.place(len, "toy", "gain", "0" * 16, {}, {})
    results.write_table(path, TABLE)
    old = own_cache / "store" / "toy-gain-0123456789abcdef.zarr"
    old.mkdir()
    (old / ".zgroup").write_text('{"zarr_format": 2}')
    table = inventory()
    assert table["kind"].value_counts().to_dict() == {"store": 4, "old store": 1, "results": 1}
    assert table["megabytes"].is_monotonic_decreasing and (table["days"] < 1).all()
    assert main(["cache"]) == 0
    assert "old store" in capsys.readouterr().out
    assert main(["cache", "prune", "--old"]) == 0
    assert not old.exists() and len(inventory()) == 5
    assert main(["cache", "prune", "--older-than", "30"]) == 0 and len(inventory()) == 5
    with sweeps[1].store().store.held():
        assert len(prune()) == 4
    assert list(inventory()["path"]) == [sweeps[1].store().path]
    assert "removed: 0 entries" in capsys.readouterr().out


def test_what_embeddings_were_made_with_is_kept(stored, monkeypatch):
    sweeps, _ = stored
    (made,) = made_with(sweep.store() for sweep in sweeps)
    assert {"torch", "soxr", "librosa", "soundfile"} <= set(made["packages"]) and made["source"]
    # Later, with another version of something that decides no embedding.
    from aesens.embeddings import extract as module

    monkeypatch.setattr(module, "_made", lambda: made | {"packages": made["packages"] | {"pandas": "9"}})
    (sweeps[1].store().path / "embedding" / "c.0.0.0").unlink()
    extract(sweeps, progress=False)
    assert [one["packages"]["pandas"] for one in made_with([sweeps[1].store()])] == [
        made["packages"]["pandas"],
        "9",
    ]
    assert made_with([sweeps[0].store()]) == [made]


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path):
    from aesens.cache import atomic_path

    def left(name, days):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "table.csv").write_text("half")
        os.utime(folder, (time.time() - days * 86400,) * 2)
        return folder

    old, young = left(".table-abcd1234", 1.5), left(".table-efgh5678", 0.5)
    others = left(".other-abcd1234", 3), left("table-abcd1234", 3), left(".table-named-by-people", 3)
    with atomic_path(tmp_path / "table.csv") as temporary:
        temporary.write_text("whole")
    assert not old.exists() and young.exists() and all(other.exists() for other in others)
    assert (tmp_path / "table.csv").read_text() == "whole"
