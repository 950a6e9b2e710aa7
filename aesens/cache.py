"""Where things lie: the folder of what aesens can make again, the clone, and the one progress bar.

Everything aesens writes outside a run's output folder lies below ``cache_dir()``: downloaded weights, rendered
clips, embedding stores, cached results and the runtime files of Jupyter and matplotlib. The folder is
``$AESENS_CACHE`` if set, else the platform's user cache folder (on Linux ``~/.cache/aesens``). It can be deleted
at any time; nothing is made before it is asked for.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path

import platformdirs

# A widget in a live notebook, text in a terminal. A widget would leave a hole in a saved notebook, so what executes
# notebooks asks for text, which it passes through to its own terminal.
if os.environ.get("AESENS_PLAIN_PROGRESS"):
    from tqdm import tqdm
else:
    from tqdm.auto import tqdm

__all__ = [
    "atomic_path",
    "cache_dir",
    "from_root",
    "read_only",
    "remove_unfinished",
    "repository",
    "runtime_environment",
    "tqdm",
]


_DAY = 24 * 3600


def cache_dir(*parts: str) -> Path:
    """Return a folder of the cache, made if it is missing, e.g. of ``"weights"``."""
    folder = _root().joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _root() -> Path:
    root = os.environ.get("AESENS_CACHE") or platformdirs.user_cache_dir("aesens", appauthor=False)
    # Relative to where the command was given, which run_all.sh says.
    return Path(os.environ.get("AESENS_FROM", ""), os.path.expanduser(root)).resolve()


def read_only() -> str:
    """Why nothing can be written to the cache, which then gives what it has; empty where it can be written.

    Raises
    ------
    ValueError
        If it has nothing either.
    """
    try:
        with tempfile.TemporaryFile(dir=cache_dir()):
            return ""
    except OSError as error:
        reason = f"the cache folder {_root()} cannot be written: {error.strerror}"
    with suppress(OSError):
        if any(_root().iterdir()):
            return reason
    raise ValueError(f"{reason}; set AESENS_CACHE to a folder that can be written")


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file or folder so that readers see all of it or nothing.

    Parameters
    ----------
    path : path-like
        The final place. An existing file is replaced; an existing folder is kept as it is, since another
        process finished the same content first.

    Yields
    ------
    pathlib.Path
        A fresh path in the same folder, to be created as a file or a folder. It is moved to `path` when the
        block ends and removed when the block raises; what a process left there that was killed is removed a day
        later.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent, f".{path.stem}-")
    # The suffix is kept: writers such as soundfile and matplotlib choose the format by it.
    place = {"prefix": f".{path.stem}-", "dir": path.parent, "ignore_cleanup_errors": True}
    with tempfile.TemporaryDirectory(**place) as holder:
        temporary = Path(holder, path.name)
        yield temporary
        if not (temporary.is_dir() and path.is_dir()):
            os.replace(temporary, path)


def remove_unfinished(folder: Path, prefix: str) -> None:
    """Remove temporary folders that `tempfile` made and a process left that was killed a day ago or earlier."""
    for unfinished in folder.glob(f"{escape(prefix)}{'?' * 8}"):
        with suppress(OSError):
            # A younger one may be at work.
            if unfinished.stat().st_mtime < time.time() - _DAY:
                shutil.rmtree(unfinished, ignore_errors=True)


def runtime_environment() -> dict[str, str]:
    """Environment variables that keep the caches of other packages below ``cache_dir()``.

    Jupyter, IPython, matplotlib, numba and the Hugging Face client each write to the home directory unless told
    otherwise. The executor of notebooks sets these; a variable the user has set is left as it is. Where the cache
    cannot be written, they are below a temporary folder, which ends with this process.
    """
    places = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "jupyter/config",
        "JUPYTER_DATA_DIR": "jupyter/data",
        "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
        "MPLCONFIGDIR": "matplotlib",
        "NUMBA_CACHE_DIR": "numba",
        "HF_HOME": "huggingface",
    }
    unset = {name: place for name, place in places.items() if not os.environ.get(name)}
    # Only named here: each tool makes its own folder when it has something to put there.
    root = _runtime() if unset else None
    return {name: str(root / unset[name]) if name in unset else os.environ[name] for name in places}


def _runtime() -> Path:
    root = existing = _root() / "runtime"
    while not os.path.exists(existing):  # the path's own method raises where it may not look
        existing = existing.parent
    return root if existing.is_dir() and os.access(existing, os.W_OK) else Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="aesens-", ignore_cleanup_errors=True)


def repository() -> Path | None:
    """The folder that holds ``notebooks/``: the working directory or one above it; None outside a clone."""
    here = Path.cwd().resolve()
    return next(
        (folder for folder in (here, *here.parents) if (folder / "notebooks" / "percent").is_dir()), None
    )


def from_root(path: str | Path) -> Path:
    """A path of the user's, relative to the clone where it is relative and there is one.

    A notebook opened in JupyterLab runs in ``notebooks/``, papermill runs it from the top: both must mean the same.
    """
    return (repository() or Path.cwd()) / path
