"""Code that a user adds: files of it, and what it is made of, so that results of other code are not taken for its own.

A file named in the environment variable ``AESENS_WITH`` (several: separated as in ``PATH``) is executed once a
process, before a study looks into the registries; ``./run_all.sh --with FILE`` sets it. It registers effects, models,
projections or data sets, which every chapter then takes like those of the package.

By this rule `code_of` tells one code from another. Comments and docstrings count nowhere:

- of the user's own, the file that defines it and every file of theirs that this one imports, at its top, inside a
  function or by `import_module` of a literal name, however deep; of a package, all of its files; of what is installed,
  the version (`aesens.syntax.reached` for this package itself);
- what it was made with, by the same rule: values of defaults and closures, arguments of a ``functools.partial``,
  attributes and base classes of a class, attributes of an object;
- in a notebook, where a cell is no file, what the code names in other cells: functions, classes, values, own modules;
- its attribute ``version``, which says what cannot be seen there, such as the content of a file that is read:
  ``process.version = 2``, or ``version = 2`` in a class.

What cannot be written down, such as a lock in a closure, matches nothing in any other process: it is computed again.
A file that was edited after its import is refused (`aesens.syntax.EditedError`).
"""

from __future__ import annotations

import dis
import hashlib
import importlib.util
import inspect
import os
import pickle
import platform
import site
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from operator import attrgetter
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from uuid import uuid4

import numpy as np

from aesens.cache import from_root
from aesens.syntax import PARSING, file_digest, imported_by, imported_now, modules_of, reached, tree_digest

__all__ = [
    "code_of",
    "commit",
    "execute_additions",
    "import_file",
    "imported_files",
    "module_digest",
    "package_hash",
    "package_versions",
    "source_of",
]

_VARIABLE = "AESENS_WITH"

_FILES: dict[Path, ModuleType] = {}

_PACKAGES = (
    "aesens",
    "librosa",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "pedalboard",
    "scikit-learn",
    "scipy",
    "soundfile",
    "soxr",
    "symusic",
    "torch",
    "transformers",
    "umap-learn",
    "xarray",
    "zarr",
)


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def import_file(path: str | os.PathLike, prefix: str) -> ModuleType:
    """Import a Python file that lies in no package, relative to the clone, as a module ``{prefix}_{name}``.

    As of a script, the modules beside it can be imported; what is installed comes before them.

    Raises
    ------
    ValueError
        If there is no such file, it is no Python file or it ends with an error.
    """
    place = from_root(path)
    if not place.is_file():
        raise ValueError(f"there is no file {path}")
    name = f"{prefix}_{place.stem}"
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    if (beside := str(place.resolve().parent)) not in sys.path:
        sys.path.append(beside)
    # Registered before it runs, as an import does: dataclasses and pickling look there.
    sys.modules[name] = module
    imported_now(name)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    _FILES[place.resolve()] = module
    return module


def imported_files() -> list[ModuleType]:
    """Modules made by `import_file` and those from beside them, which another machine cannot import by name."""
    folders = tuple(os.path.join(place.parent, "") for place in _FILES)
    own = [m for m in list(sys.modules.values()) if isinstance(m, ModuleType) and not _installed(m)]
    return [m for m in own if os.path.realpath(getattr(m, "__file__", None) or "").startswith(folders)]


def execute_additions() -> None:
    """Execute the files named in ``AESENS_WITH`` that this process has not executed yet; see `import_file`."""
    for place in filter(None, os.environ.get(_VARIABLE, "").split(os.pathsep)):
        if from_root(place).resolve() not in _FILES:
            import_file(place, "with")


def source_of(thing) -> str:
    """Source of a function, class or other callable, followed by `code_of` it.

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
    inner = thing
    while isinstance(inner, partial):
        inner = inner.func
    shown = _text(inner) or getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{shown}\n# with what it uses: {code_of(thing)}"


def code_of(thing) -> str:
    """Hash of all that the module's rule counts: two things with the same one do the same."""
    # With their lengths, so that the end of one part cannot begin the next.
    said = "".join(f"{len(part)}:{part}" for part in _parts(thing, {}))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def module_digest(module: ModuleType) -> str:
    """Hash of a module with all files of its package and of the user's that it imports, installed or not."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    begin = [str(path) for folder in getattr(top, "__path__", ()) for path in Path(folder).rglob("*.py")]
    said = repr((_files(*begin, module.__file__), getattr(module, "version", None)))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


# Folders of the package that no number depends on.
_OUTER = {"plots", "app"}


def package_hash() -> str:
    """Hash of the package's source: a result computed by other code is not taken for this one's.

    `EditedError` if one that this process has imported was edited since.
    """
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        if not _OUTER & {*path.relative_to(folder).parts}:
            digest.update(file_digest(str(path), tree=False).encode())
    return digest.hexdigest()


# What a commit says of how numbers were made; outputs that a run itself puts there do not count.
_CODE = (":/aesens", ":/notebooks/percent", ":/pyproject.toml", ":/requirements.lock")


@lru_cache(maxsize=1)
def commit() -> dict:
    """The git commit of the package, ``hash``, and whether the code is as it was committed, ``clean``; or empty."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    with suppress(OSError, subprocess.SubprocessError):
        return {"hash": git("rev-parse", "HEAD"), "clean": not git("status", "--porcelain", "--", *_CODE)}
    return {}


def _parts(thing, seen: dict) -> Iterator[str]:
    """Texts that say what a value is."""
    if thing is None or isinstance(thing, (bool, int, float, complex, str, bytes, np.generic)):
        yield repr(thing)
    elif isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        yield f"{thing.dtype} {thing.shape} {hashlib.sha256(thing.tobytes()).hexdigest()}"
    elif isinstance(thing, (list, tuple, dict, set, frozenset)):
        items = list(thing.items() if isinstance(thing, dict) else thing)
        if isinstance(thing, (set, frozenset)):
            items.sort(key=repr)  # their order differs from process to process
        yield f"{type(thing).__name__} {len(items)}"
        for item in items:
            yield from _parts(item, seen)
    elif id(thing) in seen:
        yield f"seen {seen[id(thing)][0]}"
    else:
        # With the thing, whose number must not be given to another one meanwhile.
        seen[id(thing)] = len(seen), thing
        yield from _parts(_made_of(thing, seen), seen)


# What holds functions: partial, methods, properties, class and static methods, caches and compiled functions.
_WRAPPED = ("func", "args", "keywords", "__func__", "__self__", "fget", "fset", "__wrapped__")


def _made_of(thing, seen: dict) -> tuple:
    """What code or an object is made of."""
    if isinstance(thing, (FunctionType, type, ModuleType)) and _installed(thing):
        name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", thing.__name__)
        ours = not isinstance(thing, ModuleType) and str(name[0]).partition(".")[0] == "aesens"
        top = name[1].partition(".")[0]
        # Of what has no name in its module, such as a lambda, the whole module.
        top = top if hasattr(sys.modules.get(name[0]), top) else None
        # What a package makes by `exec` may have no module.
        place = thing.__name__ if isinstance(thing, ModuleType) else name[0] or "builtins"
        says = reached((name[0], top))[0] if ours else _version_of(place.partition(".")[0])
        # A function that a package made carries what it was made with.
        return *name, says, _closed_over(thing)
    if isinstance(thing, ModuleType):
        return thing.__name__, _files(thing.__file__)
    if isinstance(thing, FunctionType):
        code, space = thing.__code__, thing.__globals__
        made = thing.__defaults__, thing.__kwdefaults__, _closed_over(thing), getattr(thing, "version", None)
        looked_up = {step.argval for step in _steps(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        named = {name: space[name] for name in sorted(looked_up) if name in space}
        if os.path.isfile(code.co_filename):
            place = os.path.realpath(code.co_filename)
            if place not in seen:
                seen[place] = _files(place)
            # What it takes of this package by name; the rest of what it names stands in the files.
            taken = {n: x for n, x in named.items() if isinstance(x, (FunctionType, type))}
            ours = {n: x for n, x in taken.items() if str(x.__module__).startswith("aesens.")}
            own = code if thing.__name__ == "<lambda>" else thing.__qualname__
            return own, seen[place], made, ours
        text = _text(thing)
        return tree_digest(text) if text else code, _imported_by(thing, text), made, named
    if isinstance(thing, type):
        # Each method comes with its own source and file.
        kept = {name: m for name, m in vars(thing).items() if isinstance(m, FunctionType) or name[:2] != "__"}
        methods = {name: kept[name] for name in sorted(kept) if name[:4] != "_abc"}
        return thing.__qualname__, thing.__bases__, methods
    if isinstance(thing, CodeType):
        return thing.co_code, thing.co_names, thing.co_argcount, thing.co_consts
    wrapped = {name: getattr(thing, name) for name in _WRAPPED if hasattr(thing, name)}
    if wrapped and not inspect.isbuiltin(thing):
        return "wrapper", wrapped
    if hasattr(thing, "__dict__") and not _installed(type(thing)):
        return "object", type(thing), vars(thing)
    try:
        return (pickle.dumps(thing, protocol=4),)
    except Exception:  # objects refuse to be pickled in ways of their own
        return (_UNKNOWN.setdefault(id(thing), (thing, uuid4().hex))[1],)


#: Objects that cannot be written down, kept lest their numbers are given to others, and what stands for them.
_UNKNOWN: dict[int, tuple[object, str]] = {}


def _closed_over(thing) -> list:
    """Values of a function's closure."""
    found = []
    for cell in getattr(thing, "__closure__", None) or ():
        with suppress(ValueError):  # not assigned yet
            found.append(cell.cell_contents)
    return found


def _steps(code: CodeType) -> Iterator[dis.Instruction]:
    """Instructions of code, those of inner functions included."""
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _steps(constant)


def _imported_by(thing: FunctionType, text: str) -> list[str]:
    """What code that is no file imports itself, by `_files`."""
    names = {(0, step.argval) for step in _steps(thing.__code__) if step.opname == "IMPORT_NAME"}
    names |= imported_by(textwrap.dedent(text))
    return _files(*(place for level, name in names if not level for place in modules_of(Path(), 0, name)))


def _text(thing) -> str:
    """The source, where it can be had."""
    with suppress(OSError, TypeError), PARSING:
        return inspect.getsource(thing)
    # A class of a notebook has no file, its methods have.
    methods = [m for m in vars(thing).values() if inspect.isfunction(m)] if inspect.isclass(thing) else []
    return "".join(map(_text, methods))


def _files(*begin: str) -> list[str]:
    """Hashes of files and of all files of the user's own that they import, and versions of what else these import."""
    first = {os.path.realpath(path) for path in begin if path}
    found, waiting = {}, sorted(first)
    while waiting:
        place = waiting.pop()
        if place in found or not os.path.isfile(place):
            continue
        if place.startswith(_folders()) and place not in first:
            continue
        found[place] = file_digest(place)
        if os.path.basename(place) == "__init__.py":
            # Of a package all, whatever way it takes to import it.
            waiting += map(os.path.realpath, Path(place).parent.rglob("*.py"))
        for level, name in imported_by(Path(place).read_bytes()):
            top = name.partition(".")[0]
            inner = [os.path.realpath(path) for path in modules_of(Path(place), level, name)]
            waiting += inner
            installed = inner and all(path.startswith(_folders()) for path in inner)
            if installed and not level and top not in {*sys.stdlib_module_names, "aesens"}:
                found[top] = f"{top} {_version_of(top)}"
    return sorted(found.values())


@lru_cache(maxsize=1)
def _folders() -> tuple[str, ...]:
    """Folders of what is installed, this package among it."""
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {site.getusersitepackages(), os.path.dirname(__file__)}
    return tuple(os.path.join(os.path.realpath(place), "") for place in places)


def _installed(thing: FunctionType | ModuleType | type) -> bool:
    """Whether code comes from a package, which its version describes, and not from the user."""
    if isinstance(thing, FunctionType):
        return os.path.realpath(thing.__code__.co_filename).startswith(_folders())
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(thing.__module__)
    if isinstance(thing, type) and not _defines(module, thing.__qualname__, thing):
        return False
    if module is None or module.__name__ == "__main__":
        return False
    # Built-in modules have no file, those that packages make as they go one that is none.
    file = getattr(module, "__file__", None) or ""
    return not os.path.isabs(file) or os.path.realpath(file).startswith(_folders())


def _defines(module: ModuleType | None, name: str, kind: type) -> bool:
    """Whether a class is that of its module: made in a doctest or by `exec`, it only says so."""
    with suppress(AttributeError):
        return attrgetter(name)(module) is kind
    return False


@lru_cache(maxsize=256)
def _version_of(name: str) -> str:
    """Version of the distribution that a top-level module comes from."""
    for distribution in (name, *_distributions().get(name, ())):
        with suppress(PackageNotFoundError):
            return version(distribution)
    return str(getattr(sys.modules.get(name), "__version__", platform.python_version()))


_distributions = lru_cache(maxsize=1)(packages_distributions)
