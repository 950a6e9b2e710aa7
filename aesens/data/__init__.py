"""The datasets, by name: what there is to analyse.

A dataset is one function that returns an `aesens.data.clips.Dataset` and one entry in `DATASETS`; `register` adds one
from outside the package. A path to a folder is a dataset too: one in IRMAS layout, or any folder of class subfolders.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

from aesens.data.checks import check_clips
from aesens.data.clips import (
    COLUMNS,
    INSTRUMENTS,
    Dataset,
    Decoded,
    make_table,
    sort_instruments,
    spread_over_instruments,
)
from aesens.data.split import SplitError, read_split, split_clips

__all__ = ["DATASETS", "load_dataset", "register"]

#: Name of each dataset and the place of the function that loads it, imported when asked for.
DATASETS: dict[str, str | Callable[..., Dataset]] = {
    "rendered": "aesens.data.rendered.render:render_dataset",
    "irmas": "aesens.data.irmas:load_irmas",
}
_SHIPPED = frozenset(DATASETS)


def register(name: str, loader: str | Callable[..., Dataset]) -> None:
    """Add a dataset, so that every notebook, figure and table takes it by `name`.

    Parameters
    ----------
    name : str
        Registry name; an own entry of that name is replaced.
    loader : callable or str
        Function that returns a `Dataset`, or its place as ``"module:function"``.

    Raises
    ------
    ValueError
        If `name` is that of one of the package's datasets.
    """
    if name in _SHIPPED:
        raise ValueError(f"a dataset named {name!r} is registered already: {DATASETS[name]}")
    DATASETS[name] = loader


def load_dataset(name: str | os.PathLike, **options) -> Dataset:
    """Load a dataset by its name or from a folder.

    Parameters
    ----------
    name : str or path-like
        A key of `DATASETS`, or a folder: in IRMAS layout (class folders of files named by the IRMAS grammar,
        perhaps inside ``IRMAS-TrainingData``) or with one subfolder of audio files a class, see
        `aesens.data.folder`.
    **options
        Passed to the loader, e.g. ``songs`` and ``excerpts`` for ``"rendered"``.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If `name` is neither known nor a folder, or the folder holds no clips, or IRMAS's test part, or IRMAS lies
        deeper in it.
    """
    if isinstance(name, str) and name in DATASETS:
        loader = DATASETS[name]
        return (resolve_name(loader) if isinstance(loader, str) else loader)(**options)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{str(name)!r} is neither a dataset ({', '.join(DATASETS)}) nor an existing folder")
    from aesens.data.folder import load_folder, sides_of
    from aesens.data.irmas import is_irmas, load_irmas, misplaced

    if is_irmas(folder):
        return load_irmas(folder, **options)
    # A metadata.csv says for itself what the files are, and so do folders of the sides.
    if not (folder / "metadata.csv").exists() and not sides_of(folder) and (told := misplaced(folder)):
        raise ValueError(told)
    return load_folder(folder, **options)
