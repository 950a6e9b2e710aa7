"""Strip from notebooks what differs from machine to machine: times of cells, papermill's notes, the Python version.

    python scripts/strip_metadata.py notebooks/*.ipynb

Outputs stay: the committed notebooks are meant to be read. Exits with 1 if a file was changed, as pre-commit expects.
"""

import sys
from pathlib import Path

import nbformat

_BOOK = ("papermill", "widgets", "language_info")
_CELL = ("papermill", "execution", "collapsed", "scrolled", "ExecuteTime")


def strip(path: Path) -> bool:
    """Strip one notebook in place; whether it changed."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    for name in _BOOK:
        notebook.metadata.pop(name, None)
    for cell in notebook.cells:
        for name in _CELL:
            cell.metadata.pop(name, None)
    after = nbformat.writes(notebook) + "\n"
    if nbformat.reads(before, as_version=4) == notebook:
        return False
    path.write_text(after, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(any([strip(Path(name)) for name in sys.argv[1:]]))
