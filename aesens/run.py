"""Run a profile: execute the numbered notebooks in order with papermill.

Each notebook gets the run's settings through its tagged parameters cell. The executed copies go to
``runs/<profile>/``, figures and tables to ``figures/<profile>/``. A notebook that fails stops the run and leaves its
copy with the traceback; one that stops because the data cannot be split by song is reported and the run goes on.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from aesens.cache import atomic_path, cache_dir, runtime_environment
from aesens.paths import repository

__all__ = ["RunError", "notebooks", "run"]


class RunError(RuntimeError):
    """A notebook failed, or there is none to run."""


def notebooks(root: Path, only: str | None = None) -> list[Path]:
    """Numbered notebooks in order, without those from 90 on unless they are named.

    Parameters
    ----------
    root : pathlib.Path
        The repository.
    only : str, optional
        Comma-separated beginnings of names, e.g. ``"04,05"``.

    Raises
    ------
    RunError
        If `only` names a notebook that is not there.

    Examples
    --------
    >>> from aesens.paths import repository
    >>> [path.stem for path in notebooks(repository(), "01,08")]
    ['01_data', '08_claims']
    """
    found = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not only:
        return [path for path in found if path.name < "90"]
    chosen = []
    for start in (item.strip() for item in only.split(",") if item.strip()):
        named = [path for path in found if path.name.startswith(start)]
        if not named:
            raise RunError(f"--only {start}: no such notebook; there are {', '.join(p.stem for p in found)}")
        chosen += named
    return sorted(set(chosen))


@dataclass
class _Outcome:
    """What became of one notebook."""

    name: str
    seconds: float
    stopped: str = field(default="")


def run(
    parameters: dict, *, only: str | None = None, keep: bool = False, fresh: bool = False, report: bool = True
) -> list[_Outcome]:
    """Execute notebooks.

    Parameters
    ----------
    parameters : dict
        For the parameters cells: ``profile`` and, where they differ from it, ``models``, ``effects``,
        ``instruments``, ``weights``, ``data``, ``seed``, ``jobs``, ``device``, ``out``, ``backend``, ``pooling``,
        ``precision``, ``weights_file``, ``scheduler``.
    only : str, optional
        See `notebooks`.
    keep : bool
        Whether to put the executed copies in the place of the notebooks, outputs included, for a commit.
    fresh : bool
        Whether to forget stored embeddings and results first. Downloads and rendered clips are kept.
    report : bool
        Whether to build the report (`aesens.report`) from the notebooks executed so far.

    Returns
    -------
    list
        One entry a notebook, with its name, its time in seconds and why it stopped early, if it did.

    Raises
    ------
    RunError
        If a notebook fails; names it and the cell. If the report cannot be built; the results are kept.
    """
    root = repository()
    if root is None:
        raise RunError(f"no notebooks/ in {Path.cwd()} or above; run from within a clone of the compendium")
    chosen = notebooks(root, only)
    parameters = {key: value for key, value in parameters.items() if value is not None}
    scheduler = parameters.pop("scheduler", None)
    profile = parameters["profile"]
    out = Path(parameters.get("out") or root / "figures" / profile).resolve()
    parameters["out"] = os.path.relpath(out, root)
    # Notebooks run from the top of the clone, wherever the command was given.
    if parameters.get("data"):
        parameters["data"] = _seen_from(root, parameters["data"])
    for name, mark in (("models", ":"), ("weights_file", "=")):
        if parameters.get(name):
            parameters[name] = ",".join(_seen_from(root, part, mark) for part in parameters[name].split(","))
    if fresh:
        for name in ("store", "results"):
            shutil.rmtree(cache_dir(name))
    copies = root / "runs" / out.name
    copies.mkdir(parents=True, exist_ok=True)

    # The kernel inherits these: nothing is written outside the cache, and bars are text that reaches this terminal.
    os.environ.update(runtime_environment(), AESENS_PLAIN_PROGRESS="1")
    _quieten_kernels(Path(os.environ["IPYTHONDIR"]))
    _prepare(parameters, scheduler)
    started = time.monotonic()
    outcomes = []
    for number, path in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {path.stem}", flush=True)
        outcomes.append(_execute(path, copies / path.name, parameters, root))
        last = outcomes[-1]
        print(f"      {last.stopped or 'done'} ({last.seconds:.0f} s)", flush=True)
        if keep:
            _keep(copies / path.name, path)
    print(
        f"{len(outcomes)} notebooks in {time.monotonic() - started:.0f} s; figures and tables: {parameters['out']}"
    )
    if report:
        _report(out, copies, parameters["out"])
    return outcomes


def _seen_from(root: Path, text: str, mark: str = "") -> str:
    """A path as it is written from `root`, with what stands before `mark` kept; what is no path stays as it is."""
    before, _, path = text.strip().rpartition(mark) if mark and not Path(text).exists() else ("", "", text)
    if not path or not Path(path).exists() or (mark == ":" and not before):
        return text
    return (before and before + mark) + os.path.relpath(Path(path).resolve(), root)


def _report(out: Path, copies: Path, shown: str) -> None:
    from aesens.report import build_report

    try:
        build_report(out, sorted(copies.glob("[0-9][0-9]_*.ipynb")))
    except Exception as error:
        raise RunError(
            f"figures, tables and notebooks are complete, but the report was not built: "
            f"{type(error).__name__}: {error}\nTo try again: aesens report --out {shown}"
        ) from error
    print(f"to read: {shown}/report/index.html")


def _prepare(parameters: dict, scheduler: str | None) -> None:
    """Check the settings and fetch weights and data here, where bars are seen and an error is one line.

    With a scheduler all embeddings are made here too: one connection, and the notebooks find them.
    """
    from aesens.study import Study

    study = Study(**parameters)
    untrained = [name for name in study.models if not study.model(name).weights.pretrained]
    if len(study.excluded):
        print(f"clips left out as faulty: {len(study.excluded)}, see the table 01_excluded")
    for name in untrained:
        if name.startswith("hear-"):
            print(
                f"{name}: untrained, since no weights file was given and the module does not say it brings its own"
            )
        elif study.weights == "auto":
            print(
                f"{name}: untrained control; its official weights are neither cached nor reachable (see README.md)"
            )
    if untrained:
        # What could be fetched is there by now; every notebook would try the others again.
        os.environ["AESENS_OFFLINE"] = "1"
    if scheduler:
        study.scheduler = scheduler
        study.extract_all()


def _quieten_kernels(folder: Path) -> None:
    """Let kernels say errors only: their notes on transport would stand between the bars."""
    config = folder / "profile_default" / "ipython_kernel_config.json"
    if not config.exists():
        with atomic_path(config) as temporary:
            temporary.write_text('{"IPKernelApp": {"log_level": 40}}\n')


def _execute(path: Path, copy: Path, parameters: dict, root: Path) -> _Outcome:
    # Slow to import, and only wanted once the environment above is set: jupyter reads it when imported.
    import nbformat
    import papermill

    started = time.monotonic()
    stopped = ""
    try:
        papermill.execute_notebook(
            path,
            copy,
            parameters=parameters,
            cwd=root,
            kernel_name="python3",
            progress_bar={"desc": "      cells", "leave": False, "file": sys.stderr},
            stderr_file=sys.stderr,
        )
    except papermill.PapermillExecutionError as error:
        if error.ename != "NeedsSplit":
            raise RunError(
                f"{path.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"The executed copy with the traceback: {os.path.relpath(copy, root)}"
            ) from None
        stopped = f"stopped early: {error.evalue}"
    notebook = nbformat.read(copy, as_version=4)
    _clean(notebook)
    nbformat.write(notebook, copy)
    return _Outcome(path.stem, time.monotonic() - started, stopped)


def _keep(copy: Path, path: Path) -> None:
    """Write an executed copy over its notebook, as if that had been run in Jupyter.

    The cell that the executor added is not of the text: jupytext would carry it into the percent script. The kernel's
    description of its Python differs from machine to machine.
    """
    import nbformat

    notebook = nbformat.read(copy, as_version=4)
    notebook.cells = [
        cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    notebook.metadata.pop("language_info", None)
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for count, cell in enumerate(code, 1):
        for part in (cell, *cell.outputs):
            if part.get("execution_count") is not None:
                part["execution_count"] = count
    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)


def _clean(notebook) -> None:
    """Drop what differs from run to run and tells a reader nothing: bars, times, papermill's notes."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.metadata.get("tags"):
            cell.metadata.tags = [tag for tag in cell.metadata.tags if tag != "papermill-error-cell-tag"]
        if cell.cell_type == "code":
            cell.outputs = [
                out for out in cell.outputs if not (out.output_type == "stream" and out.name == "stderr")
            ]
