"""Write Binder and Colab badges with this clone's own address into README.md.

Badges have to carry a public address, which nobody knows before a fork is published: run this in a clone whose
`origin` is on GitHub, and commit what it writes. Colab opens a notebook without its repository, so that its badge
leads to `.binder/colab.ipynb`, written here too, which fetches the clone and goes on from there.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

MARKS = "<!-- badges: scripts/badges.py -->", "<!-- /badges -->"
COLAB = ".binder/colab.ipynb"


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def badges(repository: str, branch: str) -> str:
    """Both badges as Markdown."""
    binder = f"https://mybinder.org/v2/gh/{repository}/{branch}?labpath=notebooks/01_data.ipynb"
    colab = f"https://colab.research.google.com/github/{repository}/blob/{branch}/{COLAB}"
    return (
        f"[![Binder](https://mybinder.org/badge_logo.svg)]({binder})\n"
        f"[![Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    )


def colab_notebook(repository: str, branch: str) -> nbformat.NotebookNode:
    """The notebook that Colab opens: it brings the repository and its package, then runs a chapter."""
    address = f"https://github.com/{repository}.git"
    cells = [
        new_markdown_cell(
            "# aesens in Colab\n\nThe first cell brings the compendium (a few minutes). The second executes chapters: "
            "their figures and tables lie in `clone/figures`, the chapters themselves in `clone/notebooks`."
        ),
        new_code_cell(
            f"!git clone --depth 1 --branch {branch} {address} clone && pip install --quiet ./clone\n%cd clone"
        ),
        new_code_cell("!python -m aesens run demo --models yamnet,musicnn"),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"colab-{number}"
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def main(root: Path) -> None:
    """Write the badges and the notebook; run again, they are replaced."""
    origin = git(root, "remote", "get-url", "origin")
    found = re.search(r"github\.com[:/]([^/]+/[^/]+?)(?:\.git)?/?$", origin)
    if not found:
        raise SystemExit(f"origin is {origin}, not a repository on GitHub; see git remote set-url origin")
    repository, branch = found[1], git(root, "branch", "--show-current") or "main"
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    block = "\n".join((MARKS[0], badges(repository, branch), MARKS[1]))
    if MARKS[0] in text:
        text = re.sub(f"{MARKS[0]}.*?{MARKS[1]}", block, text, flags=re.S)
    else:
        title, rest = text.split("\n", 1)
        text = f"{title}\n\n{block}\n{rest}"
    readme.write_text(text, encoding="utf-8")
    nbformat.write(colab_notebook(repository, branch), root / COLAB)
    print(f"README.md and {COLAB} now lead to {repository}, branch {branch}: look at them and commit both")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
