"""Answer ``./run_all.sh --help`` and wrong options at once, with any Python and before there is an environment.

The parser is the command line's own: `aesens.app.cli` and `aesens.settings` are imported as they are. What they import
needs packages that may not be there yet, so stand-ins are imported for it. A stand-in gives the words of a registry,
such as ``PROTOCOLS``, as they are read from its source, and a function that does nothing for anything else.

Ends with the status of the parser, or with `FINE` where there is nothing to say.
"""

import ast
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REAL = ("aesens.app.cli", "aesens.settings")
#: Exit status of options that the command line takes; run_all.sh goes on.
FINE = 100


def words(path, name):
    """The literal, or the keys of the dictionary, that a file assigns to a name at its top; None if to neither."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = node.value
            return ast.literal_eval(ast.Tuple(value.keys) if isinstance(value, ast.Dict) else value)
    return None


class StandIn(types.ModuleType):
    """What is imported in the place of a module of the package."""

    def __getattr__(self, name):
        here = Path(self.__spec__.origin)
        if name.startswith("__") or (here.parent / f"{name}.py").exists() or (here.parent / name).is_dir():
            raise AttributeError(name)
        found = words(here, name) if name.isupper() else None
        return (lambda *_, **__: None) if found is None else found


class Finder:
    """Finds stand-ins for all modules of the package but the `REAL` ones."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] != "aesens" or name in REAL:
            return None
        place = ROOT.joinpath(*name.split("."))
        package = place.is_dir()
        origin = place / "__init__.py" if package else place.with_suffix(".py")
        if not origin.exists():
            return None
        spec = importlib.machinery.ModuleSpec(name, Finder, origin=str(origin), is_package=package)
        if package:
            spec.submodule_search_locations = [str(place)]
        return spec

    @staticmethod
    def create_module(spec):
        return StandIn(spec.name)

    @staticmethod
    def exec_module(module):
        pass


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, Finder)
    from aesens.app import cli

    cli.parser().parse_args(["run", *sys.argv[1:]])
    sys.exit(FINE)
