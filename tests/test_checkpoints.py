"""Published checkpoints are read whatever they hold beside tensors, and nothing in a file is ever run."""

import io
import os
import pickle
import random
import re
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from aesens.models.base import ModelError
from aesens.models.checkpoints import read_tensors

STATE = OrderedDict(weight=torch.arange(6.0).reshape(2, 3), bias=torch.tensor([1.5, -2.0]))


def panns():
    """As PANNs' training writes: the state of its sampler is NumPy arrays and plain lists."""
    indexes = [np.arange(5), np.array([7, 3], np.int64), np.empty(0, np.int64)]
    sampler = {"indexes_per_class": indexes, "queue": [2, 0, 1], "pointers_of_classes": [0] * 3}
    sampler |= {"indexes": np.arange(8).reshape(2, 4).T, "pointer": np.int64(4), "used": np.array([True])}
    return {"iteration": 600_000, "model": STATE, "sampler": sampler}


def laion():
    """As LAION's training writes: the state of an optimiser and of the mean loss, prefixes of several devices."""
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-4)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = np.float64(1e-5)
    state = {f"module.{name}": tensor for name, tensor in STATE.items()}
    kinds = ("float32", "float16", "int32", "uint8", "bool")
    numbers = {np.int64(3): np.float64(0.25)} | {kind: np.dtype(kind).type(1) for kind in kinds}
    return {
        "epoch": 15,
        "name": "HTSAT",
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "numbers": numbers,
    }


def renamed(path, core):
    """Write NumPy's module as NumPy 1 or 2 names it, in a checkpoint of either of torch's formats."""

    def swap(content):
        return re.sub(rb"cnumpy\.(_core|core)\.multiarray\n", f"cnumpy.{core}.multiarray\n".encode(), content)

    if not zipfile.is_zipfile(path):
        path.write_bytes(swap(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, swap(content) if name.endswith("data.pkl") else content)


@pytest.mark.parametrize("make", [panns, laion])
@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_published_shapes_are_read(tmp_path, make, core, zipped):
    path = tmp_path / "checkpoint.pth"
    torch.save(make(), path, _use_new_zipfile_serialization=zipped)
    renamed(path, core)
    found = read_tensors(path)
    assert set(found) == set(STATE) and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_safetensors_and_plain_dictionaries_are_read(tmp_path):
    save_file(dict(STATE), tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        found = read_tensors(tmp_path / name)
        assert set(found) == set(STATE) and all(torch.equal(found[key], STATE[key]) for key in STATE)


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# By name: what is called, as a function of a path that it would leave behind.
ATTACKS = {
    "os.system": lambda path: Call(os.system, f"touch {path}"),
    "os.mkdir": lambda path: Call(os.mkdir, str(path)),
    "builtins.eval": lambda path: Call(eval, f"open({str(path)!r}, 'w')"),
    "builtins.getattr": lambda path: Call(getattr, path, "touch"),
    "numpy.save": lambda path: Call(np.save, str(path), 1),
    "numpy.load": lambda path: Call(np.load, str(path), None, True),
    "numpy.frombuffer": lambda path: Call(np.frombuffer, b"12345678"),
    "numpy.str_": lambda path: np.str_("a"),
    "numpy.strings": lambda path: np.array(["a", "b"]),
    "numpy.records": lambda path: np.zeros(2, [("a", "i8"), ("b", "O")]),
    "numpy.objects": lambda path: np.array([1, "a"], dtype=object),
    "numpy.objects.call": lambda path: np.array([Call(os.mkdir, str(path))], dtype=object),
    "numpy.random": lambda path: np.random.RandomState(1),
    "numpy.dtype": lambda path: np.dtype("O"),
    "random.Random": lambda path: random.Random(1),
    "module": lambda path: torch.nn.Linear(1, 1),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_anything_else_is_refused_and_not_run(tmp_path, attack, zipped):
    path, ran = tmp_path / "checkpoint.pth", tmp_path / "ran"
    held = ATTACKS[attack](ran)
    torch.save(panns() | {"extra": [held]}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"checkpoint\.pth holds .*tensors alone") as told:
        read_tensors(path)
    assert not ran.exists() and not ran.with_suffix(".npy").exists()
    # Neither the message nor a traceback advises to read it all the same.
    error = told.value
    while error:
        assert "weights_only" not in str(error) and "add_safe_globals" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_what_is_refused_is_named(tmp_path):
    for held, name in (
        (Call(os.system, "true"), rf"{os.system.__module__}\.system"),
        (Call(eval, "1"), "eval"),
        (np.array([None]), "a NumPy array of kind 'O8'"),
    ):
        torch.save({"model": STATE, "extra": held}, tmp_path / "a.pth")
        with pytest.raises(ModelError, match=f"a.pth holds {name}, which is neither"):
            read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"noise" * 99, pickle.dumps({"model": 1}, protocol=5)])
def test_files_of_another_kind_are_refused_without_bad_advice(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.pth is not a checkpoint of torch") as told:
        read_tensors(tmp_path / "a.pth")
    assert "weights_only" not in str(told.value)
    torch.save([1.0], tmp_path / "a.pth")
    with pytest.raises(
        ModelError, match=r"a\.pth is not a PANNs checkpoint .*not hold tensors by name, but a list"
    ):
        read_tensors(tmp_path / "a.pth", "a PANNs checkpoint")


def test_what_torch_may_read_elsewhere_neither_counts_nor_changes(tmp_path):
    torch.save(panns(), tmp_path / "good.pth")
    torch.save(panns() | {"extra": Call(os.path.join, "a")}, tmp_path / "bad.pth")
    place = f"{os.path.join.__module__}.join"
    with torch.serialization.safe_globals(
        [(os.path.join, place), (os.getcwd, "numpy.core.multiarray.scalar")]
    ):
        before = set(torch.serialization.get_safe_globals())

        def read(_):
            assert set(read_tensors(tmp_path / "good.pth")) == set(STATE)
            with pytest.raises(ModelError, match="join"):
                read_tensors(tmp_path / "bad.pth")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read, range(32)))
        assert set(torch.serialization.get_safe_globals()) == before
    buffer = io.BytesIO()
    torch.save({"a": np.float64(1)}, buffer)
    buffer.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(buffer, weights_only=True)
