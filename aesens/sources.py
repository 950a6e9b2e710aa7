"""Code that a user adds: files of it, and its source, so that results of other code are never taken for this code's.

A file named in the environment variable ``AESENS_WITH`` (several: separated as in ``PATH``) is executed once a
process, before a study looks into the registries; ``./run_all.sh --with FILE`` sets it. It registers effects, models,
projections or data sets, which every chapter then takes like those of the package.
"""

from __future__ import annotations

import dis
import hashlib
import importlib.util
import inspect
import io
import os
import pickle
import platform
import site
import sys
import sysconfig
import threading
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from uuid import uuid4

from aesens.cache import from_root

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
        If there is no such file, it is no Python file or it ends with an error.

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
    if spec is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as an import does: dataclasses and pickling look there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
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
        See `import_file`.

    Examples
    --------
    >>> execute_additions()
    """
    for place in filter(None, os.environ.get(_VARIABLE, "").split(os.pathsep)):
        if from_root(place).resolve() not in _FILES:
            import_file(place, "with")


def source_of(thing) -> str:
    """Source of a function or class of the user's, followed by a hash of all that it uses.

    Parameters
    ----------
    thing : callable
        A function, class, ``functools.partial`` of one, or an object that can be called.

    Returns
    -------
    str
        Two things with the same text do the same. The hash covers the code, the values of defaults, closures and
        partial arguments, and, recursively, what the code names: functions, classes and values of notebooks, files of
        the user's own, and installed packages by their version. What cannot be written down, such as a lock in a
        closure, gives a hash that no other process repeats.

    Examples
    --------
    >>> from functools import partial
    >>> def shifted(audio, rate, value, by):
    ...     return audio + by
    >>> source_of(partial(shifted, by=1)).splitlines()[0]
    'def shifted(audio, rate, value, by):'
    >>> source_of(partial(shifted, by=1)) == source_of(partial(shifted, by=2))
    False
    """
    written = _Writer()
    try:
        written.dump(thing)
        digest = hashlib.sha256(written.file.getvalue()).hexdigest()[:16]
    except Exception:  # objects refuse to be written in ways of their own
        # Of the object, which is kept, so that its number is not given to another one.
        digest = _UNKNOWN.setdefault(id(thing), (thing, uuid4().hex[:16]))[1]
    return f"{_text(thing)}\n# with what it uses: {digest}"


# Python 3.11 cannot parse in two threads at a time: "SystemError: AST constructor recursion depth mismatch".
_PARSING = threading.Lock()

#: Objects that cannot be written down, and what stands for their content in this process.
_UNKNOWN: dict[int, tuple[object, str]] = {}


def _text(thing) -> str:
    """What a reader is shown: the source where it can be had, else the name."""
    while isinstance(thing, partial):
        thing = thing.func
    with suppress(OSError, TypeError), _PARSING:
        return inspect.getsource(thing)
    # A class of a notebook has no file, its methods have.
    if inspect.isclass(thing) and (methods := [m for m in vars(thing).values() if inspect.isfunction(m)]):
        return "".join(map(_text, methods))
    return getattr(thing, "__qualname__", type(thing).__qualname__)


class _Writer(pickle.Pickler):
    """Pickles values, and code by its content, where pickle itself writes no more than its name."""

    def __init__(self):
        self.file = io.BytesIO()
        super().__init__(self.file, protocol=4)
        # Without references to what was written already: equal values give equal bytes, the same object or not.
        self.fast = True
        self._seen: dict[int, int] = {}

    def persistent_id(self, thing):
        # What is returned is pickled in the place of the thing, and passes through here part by part.
        if isinstance(thing, (set, frozenset)):
            # Their order differs from process to process.
            return "set", sorted(repr(item) for item in thing)
        if isinstance(thing, CodeType):
            return "code", thing.co_code, thing.co_names, thing.co_argcount, thing.co_flags, thing.co_consts
        if not isinstance(thing, (FunctionType, ModuleType, type)):
            return _opened(thing)
        if _installed(thing):
            name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"
            # A function that a package made carries what it was made with.
            return "installed", name, _version(thing), _closed_over(thing)
        if id(thing) in self._seen:
            return "seen", self._seen[id(thing)]
        self._seen[id(thing)] = len(self._seen)
        if isinstance(thing, FunctionType):
            return "function", *_parts_of_function(thing)
        if isinstance(thing, type):
            return "class", thing.__qualname__, thing.__bases__, _members(thing)
        return "module", _file_hash(getattr(thing, "__file__", None)), _own_code(thing)


def _opened(thing):
    """Parts of what wraps a function; None for any other value, which pickle knows how to write."""
    if isinstance(thing, partial):
        return "partial", thing.func, thing.args, thing.keywords
    if isinstance(thing, MethodType):
        return "method", thing.__func__, thing.__self__
    if isinstance(thing, property):
        return "property", thing.fget, thing.fset
    if isinstance(thing, cached_property):
        return "property", thing.func
    # Class and static methods, functools.lru_cache, numba's functions.
    wrapped = getattr(thing, "__wrapped__", None)
    return ("wrapped", wrapped) if isinstance(wrapped, FunctionType) else None


def _closed_over(thing) -> dict:
    """Values of a closure by name; none for what is no function."""
    cells = {}
    if isinstance(thing, FunctionType):
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            with suppress(ValueError):  # not assigned yet
                cells[name] = cell.cell_contents
    return cells


def _parts_of_function(function: FunctionType) -> tuple:
    code, space = function.__code__, function.__globals__
    named = {name: space[name] for name in _names(code) if name in space}
    values = function.__defaults__, function.__kwdefaults__, _closed_over(function), named
    return code, *values, _file_hash(code.co_filename)


def _names(code: CodeType) -> list[str]:
    """Names that code looks up in its module, that of inner functions included, sorted."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    own = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return sorted(own.union(*map(_names, inner)))


def _members(kind: type) -> dict:
    """Methods and values of a class, without what Python itself adds."""
    return {
        name: member
        for name, member in sorted(vars(kind).items())
        if name != "_abc_impl" and (not name.startswith("__") or isinstance(member, FunctionType))
    }


def _own_code(module: ModuleType) -> list:
    """Modules, functions and classes of the user's that a module of the user's has imported or made."""
    found = [value for _, value in sorted(vars(module).items())]
    return [v for v in found if isinstance(v, (FunctionType, ModuleType, type)) and not _installed(v)]


@lru_cache(maxsize=1)
def _packages() -> tuple[str, ...]:
    """Folders of what is installed, this package among it."""
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {site.getusersitepackages(), os.path.dirname(__file__)}
    return tuple(os.path.join(os.path.realpath(place), "") for place in places)


def _installed(thing: FunctionType | ModuleType | type) -> bool:
    """Whether code comes from a package, which its version describes, and not from the user."""
    if isinstance(thing, FunctionType) and os.path.isabs(thing.__code__.co_filename):
        return os.path.realpath(thing.__code__.co_filename).startswith(_packages())
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(thing.__module__ or "")
    if module is None or module.__name__ == "__main__":
        return False
    # Built-in modules have no file, those that packages make as they go one that is none.
    file = getattr(module, "__file__", None) or ""
    if os.path.isabs(file) and not os.path.realpath(file).startswith(_packages()):
        return False
    if isinstance(thing, ModuleType):
        return True
    # Made elsewhere, in a doctest or by exec, it only says that it is of that module.
    found = module
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _version(thing) -> str:
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    package = sys.modules.get(name.partition(".")[0])
    return str(getattr(package, "__version__", platform.python_version()))


def _file_hash(path: str | None) -> str:
    """Hash of a file of the user's: what cannot be followed through names is noticed there."""
    if path is None or not os.path.isfile(path):
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
