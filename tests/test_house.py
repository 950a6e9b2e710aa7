"""The house of the package: what may import what."""

import ast

import pytest
from support import ROOT

ANALYSIS = sorted((ROOT / "aesens" / "analysis").glob("*.py"))


def imported(path):
    """Names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: write imports in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", ANALYSIS, ids=lambda path: path.name)
def test_the_analysis_imports_nothing_else_of_the_package(path):
    own = [name for name in imported(path) if name.split(".")[0] == "aesens"]
    assert not [name for name in own if name != "aesens" and not name.startswith("aesens.analysis")]
