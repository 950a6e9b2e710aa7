"""Where aesens keeps what it can make again: one folder, movable by one environment variable.

Everything aesens writes outside a run's output folder lies below ``cache_dir()``: downloaded weights, rendered
clips, embedding stores, cached results and the runtime files of Jupyter and matplotlib. The folder is
``$AESENS_CACHE`` if set, else the platform's user cache folder (on Linux ``~/.cache/aesens``). It can be deleted
at any time; nothing is made before it is asked for.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

__all__ = ["atomic_path", "cache_dir", "runtime_environment"]


def cache_dir(*parts: str) -> Path:
    """Return a folder of the cache, made if it is missing.

    Parameters
    ----------
    *parts : str
        Names of nested folders, e.g. ``"weights"``.

    Returns
    -------
    pathlib.Path
        Absolute path of the existing folder.

    Examples
    --------
    >>> cache_dir("weights").name
    'weights'
    """
    folder = _root().joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _root() -> Path:
    root = os.environ.get("AESENS_CACHE") or platformdirs.user_cache_dir("aesens", appauthor=False)
    return Path(root).expanduser().resolve()


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
        block ends and removed when the block raises.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "note.txt") as temporary:
    ...     _ = temporary.write_text("done")
    >>> [p.name for p in folder.iterdir()]
    ['note.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: writers such as soundfile and matplotlib choose the format by it.
    holder = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    temporary = holder / path.name
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(temporary)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def runtime_environment() -> dict[str, str]:
    """Environment variables that keep third-party caches below ``cache_dir()``.

    Jupyter, IPython, matplotlib, numba and the Hugging Face client each write to the home directory unless told
    otherwise. The executor of notebooks sets these; a variable the user has set is left as it is.

    Returns
    -------
    dict of str
        Variable names and folders.

    Examples
    --------
    >>> "MPLCONFIGDIR" in runtime_environment()
    True
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
    # Only named here: each tool makes its own folder when it has something to put there.
    root = _root() / "runtime"
    return {name: os.environ.get(name) or str(root / place) for name, place in places.items()}
