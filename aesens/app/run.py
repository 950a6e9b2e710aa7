"""Run a profile: execute the numbered notebooks in order with papermill.

Each notebook gets the run's settings through its tagged parameters cell. Figures and tables go to
``figures/<profile>/``, or to a folder of their own where options change the results; the executed copies go to a folder
below ``runs/`` that no run with other settings or another place of results shares. Small runs execute chapters two at a
time, since much of a chapter is drawing, which one core does; what two of them ask for is computed once. A notebook
that fails stops the run and leaves its copy with the traceback; one that stops because the data cannot be split by song
is reported and the run goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from aesens.cache import atomic_path, cache_dir, repository, runtime_environment, tqdm
from aesens.settings import PROFILES, absolute

__all__ = ["RunError", "clone", "copies", "environment", "notebooks", "run"]


class RunError(RuntimeError):
    """A notebook failed, or there is none to run."""


def clone() -> Path:
    """The folder that holds ``notebooks/``; `RunError` outside a clone."""
    root = repository()
    if root is None:
        raise RunError(f"no notebooks/ in {Path.cwd()} or above; run from within a clone of the compendium")
    return root


def notebooks(root: Path, only: str | None = None, appendices: bool = False) -> list[Path]:
    """Numbered notebooks in order: the story, from 80 on appendices, from 90 on those that are only run when named.

    Of the clone `root`, those that `only` names by comma-separated beginnings, e.g. ``"04,05"`` (`RunError` for one
    that is not there), or else the story, with the `appendices` or without.
    """
    found = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not only:
        return [path for path in found if path.name < ("90" if appendices else "80")]
    chosen = []
    for start in (item.strip() for item in only.split(",") if item.strip()):
        named = [path for path in found if path.name.startswith(start)]
        if not named:
            raise RunError(f"--only {start}: no such notebook; there are {', '.join(p.stem for p in found)}")
        chosen += named
    if not chosen:
        raise RunError(f"--only {only} names no notebook; there are {', '.join(p.stem for p in found)}")
    return sorted(set(chosen))


def copies(root: Path, out: Path) -> Path:
    """Where the executed notebooks of the run lie that a folder of figures and tables is of."""
    from aesens.plots import outputs

    whose = f"{out.resolve()} {outputs.read_manifest(out).get('run')}"
    return root / "runs" / f"{out.name}-{hashlib.sha256(whose.encode()).hexdigest()[:8]}"


# Clips that a run needs: two in each half.
_FEWEST = 4

# Numbers of the largest sweep up to which two chapters at once take no more memory than a laptop has.
_SMALL = 50_000_000

# The chapter after which all embeddings are there, and the one that asks for results of further seeds.
_EMBEDS, _JUDGES = "03_embeddings", "09_claims"

# What computes those, as long as nothing else wants the cores.
_SEEDS = """
import contextlib, json, os, pathlib, sys
os.nice(19)
# Linux may weigh sessions, of which each kernel has one, and processes only within one.
with contextlib.suppress(OSError):
    pathlib.Path("/proc/self/autogroup").write_text("19")
from aesens.study import Study
from aesens.tables import claims
# From the last on: chapter 9 begins with the first, and meets this process in the middle.
for study in reversed(Study(**json.loads(sys.argv[1])).further_seeds()):
    # Embeddings are made by chapters.
    if study.embedded():
        claims.results_of(study, further=True)
"""

# What a kernel executes before any cell.
_FIRST = "import aesens.study; del aesens"

# Of an object without a representation of its own, and of a pandas Styler, which draws it.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+(?=>)")
_TABLE_ID = re.compile(r"\bT_[0-9a-f]{5}(?=[_\"\s])")


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables for the time of a block, at whose end all are as they were before."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(
    parameters: dict, *, only: str | None = None, keep: bool = False, fresh: bool = False, report: bool = True
) -> None:
    """Execute notebooks.

    Parameters
    ----------
    parameters : dict
        ``profile`` and options of the run (`aesens.settings.OPTIONS`); None counts as not given. Relative paths are
        relative to the clone. Without ``out`` results go to `aesens.settings.Settings.folder`.
    only : str, optional
        See `notebooks`.
    keep : bool
        Whether to put the executed copies in the place of the notebooks, outputs included, for a commit.
    fresh : bool
        Whether to forget the embeddings and results of these settings first. Those of others, downloads and rendered
        clips are kept.
    report : bool
        Whether to build the report (`aesens.app.report`) from the notebooks executed so far with these settings.

    Raises
    ------
    RunError
        If a notebook fails; names it and the cell. If the report cannot be built; the results are kept.
    """
    root = clone()
    chosen = notebooks(root, only, PROFILES[parameters["profile"]].appendices)
    parameters = {key: value for key, value in parameters.items() if value is not None}
    scheduler = parameters.pop("scheduler", None)
    # The kernels inherit these: nothing is written outside the cache, and bars are text that reaches this terminal.
    with (
        TemporaryDirectory() as turns,
        environment(
            **runtime_environment(), AESENS_PLAIN_PROGRESS="1", AESENS_TURN=str(Path(turns, "embedding"))
        ),
    ):
        _quieten_kernels(Path(os.environ["IPYTHONDIR"]))
        out, at_once = _prepare(parameters, scheduler, fresh)
        # Embeddings, made in turns, have all cores; in an analysis threads of several chapters would be in each other's
        # way, most of all in products of matrices.
        os.environ["AESENS_AT_ONCE"] = str(at_once)
        if at_once > 1:
            os.environ["OPENBLAS_NUM_THREADS"] = "1"
        # As it is seen from where notebooks run, and from where the command was given.
        parameters["out"], shown = os.path.relpath(out, root), _as_seen(out)
        executed = copies(root, out)
        executed.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        numbers = {path: f"[{number}/{len(chosen)}]" for number, path in enumerate(chosen, 1)}

        def chapter(path: Path, kernel) -> None:
            _say(f"{numbers[path]} {path.stem}")
            begun = time.monotonic()
            stopped = _execute(path, executed / path.name, parameters, root, kernel)
            _say(f"      {path.stem} {stopped or 'done'} ({time.monotonic() - begun:.0f} s)")
            if keep:
                _keep(executed / path.name, path)
            if report:
                pages.submit(_render_ahead, executed / path.name)

        had, judged = _in_cache(), _JUDGES in {path.stem for path in chosen}
        with ThreadPoolExecutor(1) as pages, ExitStack() as beside:
            for group, side_by_side in _groups(chosen):
                _each_in_a_kernel(chapter, group, root, at_once if side_by_side else 1)
                # Where nothing had to be made so far, nothing will be.
                if group[-1].stem == _EMBEDS and judged and _in_cache() > had:
                    beside.enter_context(_further_seeds(parameters, root))
        print(f"{len(chosen)} notebooks in {time.monotonic() - started:.0f} s; figures and tables: {shown}")
        if report:
            _report(out, executed, shown)


def _in_cache() -> int:
    """How many stores and results the cache holds."""
    return sum(len(list(cache_dir(folder).glob("*/*"))) for folder in ("store", "results"))


def _say(line: str) -> None:
    """Print a line above the bars, of which two chapters have one each."""
    tqdm.write(line)
    sys.stdout.flush()


def _as_seen(path: Path) -> str:
    """A path from where the command was given."""
    return os.path.relpath(path, absolute(""))


def _render_ahead(copy: Path) -> None:
    """Render a chapter's page, which the report then finds; what fails here fails there again, and is told."""
    import nbformat

    from aesens.app.report.cells import notebook_html

    with suppress(Exception):
        notebook_html(nbformat.read(copy, as_version=4), set())


def _report(out: Path, executed: Path, shown: str) -> None:
    from aesens.app.report import build_report

    try:
        build_report(out, sorted(executed.glob("[0-9][0-9]_*.ipynb")))
    except Exception as error:
        raise RunError(
            f"figures, tables and notebooks are complete, but the report was not built: "
            f"{type(error).__name__}: {error}\nTo try again: aesens report --out {shown}"
        ) from error
    print(f"to read: {shown}/report/index.html")


def _prepare(parameters: dict, scheduler: str | None, fresh: bool) -> tuple[Path, int]:
    """Check the settings and fetch weights and data here, where bars are seen and an error is one line.

    Returns the folder of results, made that of this run, and how many chapters can be executed at once.

    With a scheduler all embeddings are made here too: one connection, and the notebooks find them. If no device is
    given it is that of the workers, which is added to `parameters`: on another one the notebooks would look for other
    embeddings.
    """
    from aesens.embeddings import cluster
    from aesens.plots import fonts, outputs
    from aesens.plots.titles import instrument_title
    from aesens.study import NeedsSplit, Study

    study = Study(**parameters)
    out = study.out or study.settings.folder
    if out.exists() and not out.is_dir():
        raise ValueError(f"{_as_seen(out)} is a file: give a folder for figures and tables with --out")
    if len(study.excluded):
        print(f"clips left out as faulty: {len(study.excluded)}, see the table 01_excluded")
    if len(study.source) < _FEWEST:
        raise ValueError(
            f"{study.source.title} has {len(study.source)} clips that can be used: distances are measured by those "
            f"between two halves of the clips, which takes {_FEWEST}"
        )
    # Said here, it is not said again in every chapter.
    fonts.cover(
        "".join(
            [study.source.title, *study.source.table.index, *map(instrument_title, study.source.instruments)]
        )
    )
    try:
        study.require_split()
    except NeedsSplit as error:
        print(f"chapters that fit on training songs and test on others stop early: {error}")
    with cluster.connect(scheduler) if scheduler else nullcontext() as client:
        if scheduler and study.device is None:
            study.device = parameters["device"] = cluster.device_of(client)
        _look_at_weights(study)
        # Files of the user's may hold anything, which shows when a network is built; workers build their own.
        for name in [] if scheduler else study.weights_file:
            _ = study.model(name).network
        if fresh:
            study.forget()
        if others := outputs.claim(out, study.manifest):
            print(f"{_as_seen(out)} holds {others}")
        if scheduler:
            study.scheduler = client.scheduler.address
            study.extract(study.all_plans())
    numbers = (study.scale(name).strengths * study.model(name).dimension for name in study.models)
    small = len(study.source) * max(numbers) <= _SMALL
    return out.resolve(), min(2, study.jobs) if small else 1


def _look_at_weights(study) -> None:
    names = [*study.models, *study.beside]
    untrained = [name for name in names if not study.model(name).weights.pretrained]
    for name in untrained:
        weights = study.model(name).weights
        if weights.word == "undeclared":
            print(
                f"{name}: undeclared; let the module say pretrained = True or False, or give a weights file"
            )
        elif weights.why:
            print(f"{name}: untrained control; its official weights: {weights.why} (see README.md)")
    if untrained:
        # What could be fetched is there by now; every notebook would try the others again.
        os.environ["AESENS_OFFLINE"] = "1"


def _quieten_kernels(folder: Path) -> None:
    """Let kernels say errors only: their notes on transport would stand between the bars."""
    config = folder / "profile_default" / "ipython_kernel_config.json"
    if not config.exists():
        with atomic_path(config) as temporary:
            temporary.write_text('{"IPKernelApp": {"log_level": 40}}\n')


def _groups(paths: list[Path]) -> Iterator[tuple[list[Path], bool]]:
    """Notebooks one after the other, in groups, and whether those of a group can be executed side by side.

    Those before the chapter that makes the embeddings ask for none, those after it find nearly all of them and make
    others in turns; without it all may want to make the same ones, which one process can. So may appendices, which have
    embeddings of their own.
    """
    stems = [path.stem for path in paths]
    if _EMBEDS not in stems:
        yield paths, False
        return
    after, story = stems.index(_EMBEDS) + 1, sum(stem < "80" for stem in stems)
    parts = (paths[:after], True), (paths[after:story], True), (paths[story:], False)
    yield from ((part, side_by_side) for part, side_by_side in parts if part)


def _each_in_a_kernel(work: Callable, paths: list[Path], root: Path, at_once: int) -> None:
    """Call a function with each path and a kernel of its own, some at a time; the first failure ends the others."""
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync

    running: list[AsyncKernelManager] = []
    ending = threading.Event()

    def in_a_kernel(path):
        kernel = AsyncKernelManager(kernel_name="python3")
        arguments = [f"--IPKernelApp.exec_lines={_FIRST}", "--HistoryManager.hist_file=:memory:"]
        variables = os.environ | {"AESENS_NOTEBOOK": path.stem}
        run_sync(kernel.start_kernel)(extra_arguments=arguments, cwd=str(root), env=variables)
        running.append(kernel)
        try:
            if not ending.is_set():
                work(path, kernel)
        finally:
            running.remove(kernel)
            # By itself a shutdown begins with an interruption, of which a busy kernel would tell.
            if kernel.has_kernel:
                run_sync(kernel.signal_kernel)(signal.SIGKILL)
            run_sync(kernel.shutdown_kernel)(now=True)

    with ThreadPoolExecutor(at_once) as pool:
        try:
            for done in as_completed([pool.submit(in_a_kernel, path) for path in paths]):
                done.result()
        except BaseException:
            ending.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for kernel in list(running):
                kernel.provisioner.process.kill()
            raise


@contextmanager
def _further_seeds(parameters: dict, root: Path) -> Iterator[None]:
    """Compute the results of further seeds beside the chapters, which leave a core idle while they draw.

    Chapter 9 computes what is missing: whatever happens here is of no consequence.
    """
    command = [sys.executable, "-c", _SEEDS, json.dumps(parameters | {"jobs": 1})]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(command, cwd=root, start_new_session=True, **quiet)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _execute(path: Path, copy: Path, parameters: dict, root: Path, kernel) -> str:
    """Execute a notebook into its copy; why it stopped early, empty if it did not."""
    # Slow to import, and only wanted once the environment above is set: jupyter reads it when imported.
    import nbformat
    import papermill

    stopped = ""
    options = {name: value for name, value in parameters.items() if name != "profile"}
    try:
        papermill.execute_notebook(
            path,
            copy,
            parameters={"profile": parameters["profile"], "options": options},
            cwd=root,
            kernel_name="python3",
            km=kernel,
            start_timeout=600,  # packages on a slow disk, on a machine with much else to do
            progress_bar={
                "desc": f"      {path.stem}, cells",
                "leave": False,
                "file": sys.stderr,
                "position": 0,
            },
            stderr_file=sys.stderr,
        )
    except papermill.PapermillExecutionError as error:
        if error.ename != "NeedsSplit":
            raise RunError(
                f"{path.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"The executed copy with the traceback: {os.path.relpath(copy, root)}"
            ) from None
        stopped = f"stopped early: {error.evalue}"
    except RuntimeError as error:
        # Of nbclient, or of jupyter_client where it died before its first cell.
        if not str(error).startswith("Kernel died"):
            raise
        raise RunError(
            f"{path.name}: its Python process was killed, most likely for want of memory. What is finished is kept: "
            "try again with fewer --models or --jobs, or on a machine with more memory"
        ) from error
    notebook = nbformat.read(copy, as_version=4)
    _clean(notebook)
    nbformat.write(notebook, copy)
    return stopped


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
    """Drop what differs from run to run and tells a reader nothing: bars, times, addresses, papermill's notes."""
    notebook.metadata.pop("papermill", None)
    for place, cell in enumerate(notebook.cells):
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.metadata.get("tags"):
            cell.metadata.tags = [tag for tag in cell.metadata.tags if tag != "papermill-error-cell-tag"]
        if cell.cell_type == "code":
            cell.outputs = [
                out for out in cell.outputs if not (out.output_type == "stream" and out.name == "stderr")
            ]
            for number, out in enumerate(cell.outputs):
                data = out.get("data", {})
                if "text/plain" in data:
                    data["text/plain"] = _ADDRESS.sub("", data["text/plain"])
                if "text/html" in data:
                    data["text/html"] = _TABLE_ID.sub(f"T_{place}_{number}", data["text/html"])
