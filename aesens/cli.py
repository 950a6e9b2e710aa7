"""The command line: ``aesens run`` (what run_all.sh calls) and ``aesens weights``."""

from __future__ import annotations

import argparse
import sys

from aesens.profiles import PROFILES

__all__ = ["main"]

_EXAMPLES = """
examples:
  ./run_all.sh                                   the default run: profile demo, no download needed
  ./run_all.sh test                              set up and run the tests
  ./run_all.sh demo --models yamnet,musicnn      only the models named
  ./run_all.sh demo --only 04,05 --seed 7        two notebooks, another seed
  ./run_all.sh demo --data my_recordings/        your own clips: a folder of class folders
  ./run_all.sh paper --data IRMAS-TrainingData/  the study on IRMAS as you have it
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
    add("--models", metavar="A,B", help="models instead of the profile's")
    add("--effects", metavar="A,B", help="effects instead of the profile's")
    add("--instruments", metavar="A,B", help="classes instead of all of them")
    add(
        "--weights",
        choices=("auto", "pretrained", "untrained"),
        help="see the README; default: the profile's",
    )
    add("--data", metavar="PATH", help="rendered, irmas, or a folder (IRMAS layout, or one folder a class)")
    add("--only", metavar="04,05", help="only these notebooks")
    add("--seed", type=int, help="of the split, the untrained weights and every random draw")
    add("--jobs", type=int, help="threads; default: all cores")
    add("--device", help="torch device, e.g. cuda; default: CUDA where there is one, else the CPU")
    add("--out", metavar="PATH", help="folder of figures and tables; default: figures/PROFILE")
    add("--fresh", action="store_true", help="forget stored embeddings and results first")
    add(
        "--keep-outputs",
        action="store_true",
        help="put executed notebooks in the place of the committed ones",
    )


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
    commands.add_parser("weights", help="list the official weights and whether they are at hand")
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    try:
        if command == "weights":
            from aesens.weights import weights_table

            print(weights_table().to_string(index=False))
            return 0
        from aesens.run import run

        only, fresh, keep = (options.pop(name) for name in ("only", "fresh", "keep_outputs"))
        run(options, only=only, fresh=fresh, keep=keep)
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except Exception as error:
        from aesens.run import RunError
        from aesens.weights import WeightsError

        if not isinstance(error, RunError | ValueError | WeightsError):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
