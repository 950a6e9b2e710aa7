"""The API reference: a page a module, by pdoc from signatures and numpydoc docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import aesens

__all__ = ["api_pages", "modules"]

# What is said of a constant stands above it, in lines that begin with "#:".
_CONSTANT = re.compile(r"((?:^#:.*\n)+)^(\w+)\b", flags=re.M)


def modules() -> list[ModuleType]:
    """All public modules of the package, by name."""
    names = ["aesens", *(info.name for info in pkgutil.walk_packages(aesens.__path__, "aesens."))]
    return [importlib.import_module(name) for name in names if "._" not in name]


@lru_cache(maxsize=1)
def api_pages() -> dict[str, str]:
    """HTML of each module's page by its place, e.g. ``aesens/analysis/cca.html``; nothing is fetched to read it."""
    from pdoc import doc, render

    render.configure(
        docformat="numpy",
        show_source=False,
        search=False,
        template_directory=Path(__file__).parent / "templates" / "pdoc",
    )
    documented = {module.__name__: doc.Module(module) for module in modules()}
    pages = {}
    for name, module in documented.items():
        for comment, constant in _CONSTANT.findall(inspect.getsource(module.obj)):
            if constant in module.members:
                module.members[constant].docstring = re.sub(r"^#: ?", "", comment, flags=re.M)
        with warnings.catch_warnings():
            # Annotations that name packages imported for type checkers alone are shown as they are written.
            warnings.simplefilter("ignore", UserWarning)
            pages[f"{name.replace('.', '/')}.html"] = render.html_module(module, documented)
    return pages
