"""Reading published checkpoints: the tensors of a file, and nothing in it is ever run.

Conventions: files of ``torch.save`` are pickles, which may name any function of any package. They are read by torch's
restricted reader, which knows tensors and plain Python data. Published ones hold NumPy's numbers and arrays besides
(the state of an optimiser, of a sampler), named as NumPy 1 or NumPy 2 has them: these names, and no others, stand here
for `_Unread`, so that NumPy reads nothing of the file either. What other packages have allowed torch to read does not
count.
"""

from __future__ import annotations

import io
import pickle
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load

from aesens.models.base import ModelError, reads
from aesens.models.policies import Content

__all__ = ["read_tensors"]


class _Refused(Exception):
    """What a file holds and must not."""


class _Unread:
    """In the place of a NumPy array or number."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


class _Kind(_Unread):
    """In the place of a NumPy dtype, of numbers and booleans only: other arrays may hold anything."""

    def __init__(self, kind, *_):
        if not (isinstance(kind, str) and re.fullmatch(r"[<>=|]?[biufc]\d+", kind)):
            raise _Refused(f"a NumPy array of kind {kind!r}")


_ALLOWED = [
    (_Kind, "numpy.dtype"),
    (_Unread, "numpy.ndarray"),
    # As an empty array is written.
    (_Unread, "builtins.bytes"),
    *(
        (_Unread, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
]

# What torch may read is a setting of the process.
_ALLOWING = threading.Lock()


@contextmanager
def _only_allowed() -> Iterator[None]:
    with _ALLOWING:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(_ALLOWED)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def read_tensors(
    path: Path | Content, expected: str = "a checkpoint of torch or safetensors"
) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint, whatever they are wrapped in.

    Parameters
    ----------
    path : pathlib.Path or Content
        A safetensors file if it is named so, else a file of ``torch.save`` of any age: a state dictionary, or one under
        ``"state_dict"`` or ``"model"``. A prefix ``module.``, which training on several devices leaves, is dropped.
    expected : str
        What the file should be, for the error.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU.

    Raises
    ------
    ModelError
        If the file is of another kind, or holds anything but tensors, plain Python data and NumPy's numbers; the
        message names it, and nothing of it was run.
    """
    return reads(expected)(_read)(path)


def _read(path: Path | Content) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load(path.read_bytes())
    try:
        with _only_allowed():
            state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    # Neither is chained: torch's message advises to read the file without restriction, which would run what it holds.
    except (pickle.UnpicklingError, _Refused) as error:
        raise _explained(path, error) from None
    for wrapping in ("state_dict", "model"):
        state = state.get(wrapping, state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping):
        raise TypeError(f"it does not hold tensors by name, but a {type(state).__name__}")
    return {str(name).removeprefix("module."): x for name, x in state.items() if isinstance(x, torch.Tensor)}


def _explained(path: Path, error: Exception) -> Exception:
    """An error in our words: what the file holds, and what to do."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if not named and not isinstance(error, _Refused):
        return ValueError("no file of torch.save, or one that cannot be read without running what it holds")
    held = named[1] if named else str(error)
    return ModelError(
        f"{path} holds {held}, which is neither a tensor nor a plain number, and was not read: reading it could run "
        "what somebody put there. Take the official file (`aesens weights`), or let whoever made this one save its "
        "tensors alone, as a state dictionary or with safetensors"
    )
