"""Where the compendium lies."""

from __future__ import annotations

from pathlib import Path

__all__ = ["from_root", "repository"]


def repository() -> Path | None:
    """The folder that holds ``notebooks/``: the working directory or one above it; None outside a clone.

    Examples
    --------
    >>> root = repository()
    >>> root is None or (root / "notebooks").is_dir()
    True
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks" / "percent").is_dir():
            return folder
    return None


def from_root(path: str | Path) -> Path:
    """A path of the user's, relative to the clone where it is relative and there is one.

    A notebook opened in JupyterLab runs in ``notebooks/``, papermill runs it from the top: both must mean the same.

    Examples
    --------
    >>> from_root("figures") == (repository() or Path.cwd()) / "figures"
    True
    """
    return (repository() or Path.cwd()) / path
