"""What the command line does beside running and planning: each function is the command of that name.

They return the exit status, and raise `ValueError` or a family's own error for what a user can put right.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd

from aesens.app.compare import compare_runs
from aesens.app.run import clone, copies, notebooks, run
from aesens.cache import cache_dir, from_root, repository
from aesens.models import weights as files
from aesens.settings import Settings

__all__ = ["cache", "check", "compare", "new", "new_notebook", "report", "weights"]

_TEMPLATE = "90_template"
# Numbers from here on are for notebooks of one's own; a plain run leaves out all from 90 on.
_FIRST = 93


def report(out: str | None = None) -> int:
    """Build the report of a run again, ``figures/demo`` by default.

    Its executed notebooks are looked for in ``runs/``; the committed ones stand in for those of ``figures/demo``.
    """
    from aesens.app.report import build_report

    folder, root = from_root(out or "figures/demo"), repository()
    if root is None or not folder.is_dir():
        raise ValueError(f"{folder} is no folder of figures and tables; run a profile first")
    executed = sorted(copies(root, folder).glob("[0-9][0-9]_*.ipynb"))
    if not executed and folder.resolve() == (root / "figures" / "demo").resolve():
        executed = notebooks(root)
    print(f"to read: {build_report(folder, executed)}")
    return 0


def compare(first: str, second: str) -> int:
    """Compare the tables in two folders; 0 if all agree within their tolerances."""
    return _show(compare_runs(from_root(first), from_root(second)), first, second)


def _show(table: pd.DataFrame, first: str, second: str) -> int:
    """Print a comparison; 0 if nothing differs beyond its tolerance."""
    shown = table.assign(
        largest=table["largest"].map("{:.3g}".format), allowed=table["allowed"].map("{:.3g}".format)
    )
    shown.loc[table["outcome"] == "equal", ["largest", "allowed"]] = ""
    # What may be long stands last, to the left.
    shown["what"] = shown.pop("what").str.ljust(table["what"].str.len().max())
    print("\n".join(map(str.rstrip, shown.to_string(index=False, justify="left").splitlines())))
    different = list(table.loc[table["outcome"] == "different", "table"])
    print(
        f"{first} and {second}: {len(different)} of {len(table)} tables differ"
        + (f": {', '.join(different)}" if different else "; all others agree within their tolerances")
    )
    return 1 if different else 0


def check(options: dict, kept: str, *, only: str | None = None, fresh: bool = False) -> int:
    """Run into a temporary folder and compare its tables with those in `kept`, by default where the run's would go."""
    kept = kept or os.path.relpath(Settings(**options).folder)
    if not list(from_root(kept).glob("*.csv")):
        raise ValueError(f"{kept} holds no tables to compare with; run the profile first")
    root = clone()
    with tempfile.TemporaryDirectory(prefix="aesens-check-") as temporary:
        out = Path(temporary) / Path(temporary).name
        try:
            run({**options, "out": str(out)}, only=only, fresh=fresh, report=False)
        finally:
            shutil.rmtree(copies(root, out), ignore_errors=True)
        return _show(compare_runs(from_root(kept), out, subset=bool(only)), kept, "this run")


def new(name: str) -> int:
    """Start a notebook from the template and say how to run it."""
    path = new_notebook(name)
    print(
        f"{path} and its script percent/{path.stem}.py; run it with: ./run_all.sh demo --only {path.stem[:2]}"
    )
    return 0


def new_notebook(name: str) -> Path:
    """Start a notebook and its percent script from the template.

    Parameters
    ----------
    name : str
        Some words, e.g. ``"louder is closer"``; the file becomes ``93_louder_is_closer.ipynb``, or the next number that
        is free. With a number in front that number is taken.

    Returns
    -------
    pathlib.Path
        The notebook.

    Raises
    ------
    ValueError
        If the name has no letters or is taken, or there is no template.
    """
    import jupytext

    folder = clone() / "notebooks"
    template = folder / "percent" / f"{_TEMPLATE}.py"
    if not template.exists():
        raise ValueError(f"the template {template} is not there")
    words = re.sub(r"[^0-9a-z]+", "_", name.lower().removesuffix(".ipynb")).strip("_")
    number, _, rest = words.partition("_")
    if not re.fullmatch(r"\d\d", number):
        used = {path.name[:2] for path in folder.glob("[0-9][0-9]_*.ipynb")}
        number, rest = next((f"{n}" for n in range(_FIRST, 100) if f"{n}" not in used), ""), words
    if not number:
        raise ValueError(f"numbers {_FIRST} to 99 are all taken; put a number in front of the name")
    if not re.search("[a-z]", rest):
        raise ValueError(f"{name!r} is no name for a notebook; give it some words, e.g. 'louder is closer'")
    path = folder / f"{number}_{rest}.ipynb"
    script = folder / "percent" / f"{path.stem}.py"
    for taken in (path, script):
        if taken.exists():
            raise ValueError(f"{taken} exists already; choose another name")
    title = rest.replace("_", " ").capitalize()
    text = re.sub(r"(?m)^# # .*$", f"# # {title}", template.read_text(encoding="utf-8"), count=1)
    script.write_text(text.replace(_TEMPLATE.split("_")[0] + "_", f"{number}_"), encoding="utf-8")
    jupytext.write(jupytext.read(script), path)
    return path


def weights(action: str | None = None, model: str | None = None, file: str | None = None) -> int:
    """List, fetch or add weight files; 1 if one of several could not be fetched."""
    if action == "add":
        for path in files.add_to(model, file):
            print(f"{path}: added")
    elif action is None:
        table = files.weights_table()
        print(table[["model", "state", "size", "licence", "file", "source"]].to_string(index=False))
    failed = 0
    for file in files.files_of(model) if action == "fetch" else ():
        try:
            print(f"{files.fetch(file)}: verified")
        except files.WeightsError as error:
            if model:
                raise
            # Of all of them, what can be had is had.
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


def cache(action: str | None = None, older_than: float | None = None, old: bool = False, **_) -> int:
    """List stores and results by size, or remove those that `aesens.embeddings.inventory.prune` is told."""
    from aesens.embeddings.inventory import inventory, prune

    table = prune(older_than=older_than, old=old) if action else inventory()
    shown = table.drop(columns="path").assign(days=table["days"].round().astype(int))
    if len(table):
        print(shown.to_string(index=False, float_format="{:,.1f}".format))
    print(f"{'removed' if action else cache_dir()}: {len(table)} entries, {table['megabytes'].sum():,.1f} MB")
    return 0
