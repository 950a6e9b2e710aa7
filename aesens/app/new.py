"""Starting a notebook of one's own from the template."""

from __future__ import annotations

import re
from pathlib import Path

from aesens.cache import repository

__all__ = ["new_notebook"]

_TEMPLATE = "90_template"
#: Numbers from here on are for notebooks of one's own; a plain run leaves out all from 90 on.
FIRST = 93


def new_notebook(name: str, root: Path | None = None) -> Path:
    """Start a notebook and its percent script from the template.

    Parameters
    ----------
    name : str
        Some words, e.g. ``"louder is closer"``; the file becomes ``93_louder_is_closer.ipynb``, or the next number that
        is free. With a number in front that number is taken.
    root : pathlib.Path, optional
        The repository; found from the working directory by default.

    Returns
    -------
    pathlib.Path
        The notebook.

    Raises
    ------
    ValueError
        If the name has no letters, is taken, or there is no repository or template.

    Examples
    --------
    >>> import shutil, tempfile
    >>> from aesens.cache import repository
    >>> with tempfile.TemporaryDirectory() as place:
    ...     percent = Path(place) / "notebooks" / "percent"
    ...     percent.mkdir(parents=True)
    ...     _ = shutil.copy(repository() / "notebooks" / "percent" / "90_template.py", percent)
    ...     new_notebook("Louder is closer", Path(place)).name
    '93_louder_is_closer.ipynb'
    """
    import jupytext

    root = root or repository()
    if root is None:
        raise ValueError(
            f"no notebooks/ in {Path.cwd()} or above; call this within a clone of the compendium"
        )
    template = root / "notebooks" / "percent" / f"{_TEMPLATE}.py"
    if not template.exists():
        raise ValueError(f"the template {template} is not there")
    words = re.sub(r"[^0-9a-z]+", "_", name.lower().removesuffix(".ipynb")).strip("_")
    number, _, rest = words.partition("_")
    if not re.fullmatch(r"\d\d", number):
        number, rest = _free_number(root), words
    if not re.search("[a-z]", rest):
        raise ValueError(f"{name!r} is no name for a notebook; give it some words, e.g. 'louder is closer'")
    path = root / "notebooks" / f"{number}_{rest}.ipynb"
    script = root / "notebooks" / "percent" / f"{path.stem}.py"
    for taken in (path, script):
        if taken.exists():
            raise ValueError(f"{taken} exists already; choose another name")
    title = rest.replace("_", " ").capitalize()
    text = re.sub(r"(?m)^# # .*$", f"# # {title}", template.read_text(encoding="utf-8"), count=1)
    script.write_text(text.replace(_TEMPLATE.split("_")[0] + "_", f"{number}_"), encoding="utf-8")
    jupytext.write(jupytext.read(script), path)
    return path


def _free_number(root: Path) -> str:
    taken = {path.name[:2] for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    free = [f"{n:02d}" for n in range(FIRST, 100) if f"{n:02d}" not in taken]
    if not free:
        raise ValueError(f"numbers {FIRST} to 99 are all taken; put a number in front of the name")
    return free[0]
