"""What code says, whatever its comments: hashes of syntax trees, of files and of what the package's own code reaches.

A process computes with the code that it imported, and a file may be edited meanwhile, as in JupyterLab every day. So
each file that is hashed here must be as old as its import: of one that was edited since, nothing is said but that
(`EditedError`), lest results of the old code be kept under the new one's name.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = [
    "EditedError",
    "file_digest",
    "imported_by",
    "imported_now",
    "modules_of",
    "reached",
    "read_so_far",
    "tree_digest",
    "unedited",
]

# Python 3.11 cannot parse in two threads at a time: "SystemError: AST constructor recursion depth mismatch".
PARSING = threading.Lock()

_PACKAGE = Path(__file__).parent
# Of the package, what no embedding depends on but through what is hashed otherwise (weights) or told elsewhere.
_ASIDE = {"aesens.cache", "aesens.sources", "aesens.syntax"}
_ASIDE |= {f"aesens.models.{name}" for name in ("downloads", "policies", "weights")}


class EditedError(ValueError):
    """A file was edited after this process had imported it."""


class _Clock:
    """When modules were imported: asked first by every import, it notes the time and finds nothing."""

    def __init__(self):
        self.times: dict[str, float] = {}

    def find_spec(self, name, path=None, target=None):
        self.times[name] = time.time()


_STARTED, _CLOCK = time.time(), _Clock()
sys.meta_path.insert(0, _CLOCK)

# Of files as this process has them: digest by place, time of import, and whether it is that of the tree.
_KNOWN: dict[tuple, str] = {}
_LATEST: dict[tuple, tuple] = {}


def imported_now(name: str) -> None:
    """Note that a module is imported in a way of its own, not by an import statement."""
    _CLOCK.times[name] = time.time()


def _since(place: str) -> float | None:
    """When this process imported a file, None if it has not."""
    name = _imported(len(sys.modules), next(reversed(sys.modules))).get(place)
    return None if name is None else _CLOCK.times.get(name, _STARTED)


@lru_cache(maxsize=1)
def _imported(*state) -> dict[str, str]:
    """Modules by their files, but for those that are installed; `state` changes with what is imported."""
    files = ((name, getattr(one, "__dict__", {}).get("__file__")) for name, one in list(sys.modules.items()))
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib"))
    return {
        os.path.realpath(file): name
        for name, file in files
        if isinstance(file, str) and not file.startswith(installed)
    }


def file_digest(place: str, *, tree: bool = True) -> str:
    """Hash of a file's syntax tree, or of its bytes, as this process has imported it.

    Raises
    ------
    EditedError
        If it was edited since.
    """
    place = os.path.realpath(place)
    stat, since = os.stat(place), _since(place)
    state = stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, since
    before, digest = _LATEST.get((place, tree), (None, ""))
    if state == before:
        return digest
    content = Path(place).read_bytes()
    digest = tree_digest(content) if tree else hashlib.sha256(content).hexdigest()
    if since is not None:
        known = _KNOWN.get((place, since, tree))
        # Later than now: the clock of another machine, which says nothing.
        edited = since < max(stat.st_mtime, stat.st_ctime) <= time.time()
        if digest != known if known else edited:
            raise EditedError(
                f"{place} was edited after this process had imported it: restart the kernel (or the run), so that "
                "results are not kept under the name of code that did not make them"
            )
        _KNOWN[place, since, tree] = digest
    _LATEST[place, tree] = state, digest
    return digest


def read_so_far() -> dict[tuple, str]:
    """Digest of each file that was hashed, for `unedited`."""
    return {key: digest for key, (_, digest) in _LATEST.items()}


def unedited(before: dict[tuple, str]) -> None:
    """Raise `EditedError` if a file that was hashed before (`read_so_far`) has been hashed anew as another."""
    now = read_so_far()
    if edited := [place for (place, tree), digest in before.items() if now[place, tree] != digest]:
        raise EditedError(f"{edited[0]} was edited during the run: run again, of it nothing is kept")


@lru_cache(maxsize=512)
def tree_digest(content: bytes | str) -> str:
    """Hash of the syntax tree of code without its docstrings; of the content itself, where it is no Python."""
    if isinstance(content, str):
        # As of a method, whose class stands around it.
        content = textwrap.dedent(content).encode()
    try:
        with PARSING:
            said = ast.dump(_plain(ast.parse(content)))
    except (SyntaxError, ValueError):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(said.encode()).hexdigest()


def _plain(tree: ast.AST) -> ast.AST:
    """The tree without docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = body[1:] or [ast.Pass()]
    return tree


@lru_cache(maxsize=256)
def imported_by(content: bytes | str) -> frozenset[tuple[int, str]]:
    """Names that code imports anywhere, by a statement or by `import_module` of a text, each with its dots."""
    found = set()
    try:
        with PARSING:
            tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return frozenset()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = f"{node.module}." if node.module else ""
            found |= {(node.level, above + alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            name = node.args[0].value
            if called in ("import_module", "__import__") and isinstance(name, str):
                found.add((len(name) - len(name.lstrip(".")), name.lstrip(".")))
    return frozenset(found)


def modules_of(place: Path, level: int, name: str) -> Iterator[str]:
    """Files that importing a name in a file runs; the last part of the name may be no module."""
    folders = sys.path
    if level:
        folders = [str(place.parents[level - 1])]
        yield os.path.join(*folders, "__init__.py")
    for part in name.split("."):
        spec = PathFinder.find_spec(part, folders)
        if spec is None:
            return
        folders = list(spec.submodule_search_locations or ())
        if spec.origin:
            yield spec.origin


class _Parsed:
    """What the statements of a module of the package define and use."""

    def __init__(self, name: str, tree: ast.Module):
        self.statements: dict[str, list[tuple[str, set[str]]]] = {}
        self.bound: dict[str, tuple[str, str | None]] = {}
        package = name if _file_of(name).name == "__init__.py" else name.rpartition(".")[0]
        for node in _plain(tree).body:
            own = getattr(node, "name", None)
            defined, used = {own} if own else set(), set()
            for part in ast.walk(node):
                if isinstance(part, ast.Name):
                    (used if own or isinstance(part.ctx, ast.Load) else defined).add(part.id)
                elif isinstance(part, ast.Import):
                    for alias in part.names:
                        self.bound[alias.asname or alias.name.partition(".")[0]] = alias.name, None
                elif isinstance(part, ast.ImportFrom):
                    above = ".".join(package.split(".")[: len(package.split(".")) - part.level + 1])
                    module = ".".join(filter(None, [above if part.level else "", part.module]))
                    for alias in part.names:
                        self.bound[alias.asname or alias.name] = module, alias.name
                        used.add(alias.asname or alias.name)
                # What only a reader is told of a function's arguments.
                if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    part.returns = None
                elif isinstance(part, ast.arg):
                    part.annotation = None
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                for one in defined:
                    self.statements.setdefault(one, []).append((ast.dump(node), used))


@lru_cache(maxsize=4096)
def _file_of(module: str) -> Path | None:
    """The file of a module of the package; None if there is no such module."""
    place = _PACKAGE.joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return file if file.is_file() else None


@lru_cache(maxsize=256)
def _parsed(name: str, digest: str, file: Path) -> _Parsed:
    content = file.read_bytes()
    with PARSING:
        return _Parsed(name, ast.parse(content))


def reached(*roots: tuple[str, str]) -> tuple[str, frozenset[str]]:
    """What definitions of the package say, with all of the package that they name, however deep.

    Parameters
    ----------
    *roots : tuple of str
        Module and name, e.g. ``("aesens.effects", "render")``.

    Returns
    -------
    digest : str
        Hash of their syntax trees without docstrings.
    packages : frozenset of str
        The other packages that they import.

    Examples
    --------
    >>> digest, packages = reached(("aesens.effects", "chebyshev_lowpass"))
    >>> "scipy" in packages, "torch" in packages
    (True, False)
    """
    said, packages, seen, opened = {}, set(), set(), {}
    waiting: list[tuple[str, str | None]] = list(roots)
    while waiting:
        place = module, name = waiting.pop()
        if place in seen or module in _ASIDE:
            continue
        seen.add(place)
        if module.partition(".")[0] != "aesens":
            packages.add(module.partition(".")[0])
            continue
        if name and _file_of(f"{module}.{name}"):
            module, name = f"{module}.{name}", None
        if module not in opened:
            file = _file_of(module)
            opened[module] = _parsed(module, file_digest(str(file)), file)
        parsed = opened[module]
        names = [name] if name else list(parsed.statements)
        if name and place in roots and name not in parsed.statements | parsed.bound:
            raise LookupError(
                f"{module} has no {name}: what an embedding is made of must be named as it is now"
            )
        for one in names:
            if one in parsed.bound:
                waiting.append(parsed.bound[one])
            for number, (text, used) in enumerate(parsed.statements.get(one, ())):
                said[f"{module}:{one}:{number}"] = text
                waiting += [
                    (module, other) for other in used if other in parsed.statements or other in parsed.bound
                ]
    together = "\n".join(f"{key} {said[key]}" for key in sorted(said))
    return hashlib.sha256(together.encode()).hexdigest()[:16], frozenset(packages)
