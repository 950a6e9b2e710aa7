"""What the command line does with a run's results: build its report, compare runs, check the committed tables."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pandas as pd

from aesens.app.compare import compare_runs
from aesens.app.new import new_notebook
from aesens.app.report import build_report
from aesens.app.run import RunError, notebooks, run
from aesens.cache import from_root, repository

__all__ = ["check", "compare", "new", "report"]


def report(out: str | None = None) -> int:
    """Build the report of a run again.

    Parameters
    ----------
    out : str, optional
        The run's folder of figures and tables; ``figures/demo`` of the clone by default. Its executed notebooks are
        looked for in ``runs/``; the committed ones stand in for those of ``figures/demo``.

    Returns
    -------
    int
        Exit status.
    """
    folder, root = from_root(out or "figures/demo"), repository()
    if root is None or not folder.is_dir():
        raise ValueError(f"{folder} is no folder of figures and tables; run a profile first")
    executed = sorted((root / "runs" / folder.name).glob("[0-9][0-9]_*.ipynb"))
    if not executed and folder.resolve() == (root / "figures" / "demo").resolve():
        executed = notebooks(root)
    print(f"to read: {build_report(folder, executed)}")
    return 0


def _show(table: pd.DataFrame, first: str, second: str) -> int:
    """Print a comparison; 0 if nothing differs beyond its tolerance."""
    shown = table.assign(
        largest=table["largest"].map("{:.3g}".format), allowed=table["allowed"].map("{:.3g}".format)
    )
    shown.loc[table["outcome"] == "equal", ["largest", "allowed"]] = ""
    print(shown.to_string(index=False))
    different = list(table.loc[table["outcome"] == "different", "table"])
    print(
        f"{first} and {second}: {len(different)} of {len(table)} tables differ"
        + (f": {', '.join(different)}" if different else "; all others agree within their tolerances")
    )
    return 1 if different else 0


def compare(first: str, second: str) -> int:
    """Compare the tables of two runs.

    Parameters
    ----------
    first, second : str
        Folders of figures and tables.

    Returns
    -------
    int
        Exit status: 0 if all tables agree within their tolerances.
    """
    return _show(compare_runs(from_root(first), from_root(second)), first, second)


def check(options: dict) -> int:
    """Run a profile into a temporary folder and compare its tables with those kept.

    Parameters
    ----------
    options : dict
        Of the command line; ``check`` is the folder to compare with, that of the profile if empty.

    Returns
    -------
    int
        Exit status: 0 if all tables agree within their tolerances.

    Raises
    ------
    ValueError
        If there are no tables to compare with, or the options ask for another folder or for outputs to be kept.
    """
    options = dict(options)
    kept = options.pop("check") or f"figures/{options['profile']}"
    only, fresh = options.pop("only"), options.pop("fresh")
    if options.pop("keep_outputs") or options.get("out"):
        raise ValueError("--check makes its own folder: leave out --out and --keep-outputs")
    if not list(from_root(kept).glob("*.csv")):
        raise ValueError(f"{kept} holds no tables to compare with; run the profile first")
    root = repository()
    if root is None:
        raise RunError(f"no notebooks/ in {Path.cwd()} or above; run from within a clone of the compendium")
    with tempfile.TemporaryDirectory(prefix="aesens-check-") as temporary:
        out = Path(temporary) / Path(temporary).name
        try:
            run({**options, "out": str(out)}, only=only, fresh=fresh, report=False)
        finally:
            shutil.rmtree(root / "runs" / out.name, ignore_errors=True)
        return _show(compare_runs(from_root(kept), out, subset=bool(only)), kept, "this run")


def new(name: str) -> int:
    """Start a notebook from the template.

    Parameters
    ----------
    name : str
        See `aesens.app.new.new_notebook`.

    Returns
    -------
    int
        Exit status.
    """
    path = new_notebook(name)
    print(
        f"{path} and its script percent/{path.stem}.py; run it with: ./run_all.sh demo --only {path.stem[:2]}"
    )
    return 0
