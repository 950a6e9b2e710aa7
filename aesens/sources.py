"""Code that a user adds: files of it, and its source, so that results of other code are never taken for this code's.

A file named in the environment variable ``AESENS_WITH`` (several: separated as in ``PATH``) is executed once a
process, before a study looks into the registries; ``./run_all.sh --with FILE`` sets it. It registers effects, models,
projections or data sets, which every chapter then takes like those of the package.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType

from aesens.paths import from_root

__all__ = ["execute_additions", "import_file", "imported_files", "source_of"]

#: Environment variable that names files of additions.
_VARIABLE = "AESENS_WITH"

_FILES: dict[Path, ModuleType] = {}


def import_file(path: str | os.PathLike, prefix: str) -> ModuleType:
    """Import a Python file that lies in no package.

    Parameters
    ----------
    path : path-like
        Relative to the clone where it is relative.
    prefix : str
        Begins the module's name, which ends in the file's.

    Returns
    -------
    module

    Raises
    ------
    ValueError
        If there is no such file.

    Examples
    --------
    >>> import_file("nowhere.py", "own")
    Traceback (most recent call last):
        ...
    ValueError: there is no file nowhere.py
    """
    place = from_root(path)
    if not place.is_file():
        raise ValueError(f"there is no file {path}")
    name = f"{prefix}_{place.stem}"
    spec = importlib.util.spec_from_file_location(name, place)
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as an import does: dataclasses and pickling look there.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    _FILES[place.resolve()] = module
    return module


def imported_files() -> list[ModuleType]:
    """Modules made by `import_file`, which another machine cannot import by name.

    Examples
    --------
    >>> all(module.__file__ for module in imported_files())
    True
    """
    return list(_FILES.values())


def execute_additions() -> None:
    """Execute the files named in ``AESENS_WITH`` that this process has not executed yet.

    Raises
    ------
    ValueError
        If there is no such file.

    Examples
    --------
    >>> execute_additions()
    """
    for place in filter(None, os.environ.get(_VARIABLE, "").split(os.pathsep)):
        if from_root(place).resolve() not in _FILES:
            import_file(place, "with")


def source_of(thing) -> str:
    """Source of a function or class, wherever it was written; only its name if that is nowhere.

    Parameters
    ----------
    thing : callable
        Values that a function takes from its surroundings are not part of its source.

    Returns
    -------
    str

    Examples
    --------
    >>> source_of(source_of).startswith("def source_of(thing)")
    True
    """
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        pass
    # A class of a notebook has no file, its methods have.
    if inspect.isclass(thing):
        methods = [member for member in vars(thing).values() if inspect.isfunction(member)]
        if methods:
            return "".join(map(source_of, methods))
    return getattr(thing, "__qualname__", type(thing).__qualname__)
