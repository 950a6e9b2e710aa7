"""Any folder of recordings: one subfolder a class, audio files in it.

::

    recordings/
        cel/00353774.wav
        vio/take 2.flac
        metadata.csv        optional

Each file is one clip, of which the first 3 s are taken, and a song of its own, unless its name follows the IRMAS
grammar (then the grammar says the song) or ``metadata.csv`` says otherwise. That file has a column ``file`` (path
relative to the folder) and any of ``song``, ``split`` (``train``, ``test``, ``unused``), ``genre`` and
``instrument``; empty cells and files that are not listed keep the defaults, and are ``unused`` where others have a
split. Clips that were cut from one recording must be given the same song, or the split cannot keep them together.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd

from aesens.data.clips import SIDES, Dataset, make_table
from aesens.data.irmas import parse_name

__all__ = ["AUDIO_SUFFIXES", "load_folder", "read_texts"]

#: Files that are taken for audio.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")

_METADATA_COLUMNS = ("song", "split", "genre", "instrument")


def load_folder(folder: str | os.PathLike, *, seconds: float = 3.0) -> Dataset:
    """Load a folder of class subfolders.

    Parameters
    ----------
    folder : path-like
    seconds : float
        Length of every clip: longer files are cut to their beginning, shorter ones padded with zeros.

    Returns
    -------
    Dataset
        Clips are named by their path below `folder` without suffix, e.g. ``"cel/00353774"``.

    Raises
    ------
    ValueError
        If there is no such folder, it has no class subfolders or no audio files, two files differ in their
        suffix only, or ``metadata.csv`` is malformed or names a file that is not there.
    """
    folder = Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} has no subfolders; put the audio files into one subfolder a class")
    rows = {}
    for class_folder in classes:
        for path in sorted(class_folder.rglob("*")):
            if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and not path.is_dir():
                rows[path.relative_to(folder).as_posix()] = _row(path, folder, class_folder.name)
    if not rows:
        raise ValueError(f"no audio files ({' '.join(AUDIO_SUFFIXES)}) in the subfolders of {folder}")
    if (folder / "metadata.csv").exists():
        _add_metadata(rows, folder / "metadata.csv")
    table = make_table(rows.values())
    return Dataset(folder.name, f"Folder {folder.name}", table, seconds=seconds)


def _row(path: Path, folder: Path, instrument: str) -> dict:
    """What is known of a file by its place and name."""
    clip = path.relative_to(folder).with_suffix("").as_posix()
    row = {"clip": clip, "path": str(path), "instrument": instrument, "song": clip}
    try:
        fields = parse_name(path)
    except ValueError:
        return row
    return {
        **row,
        "song": fields.song,
        "excerpt": fields.excerpt,
        "genre": fields.genre,
        "drums": fields.drums.strip("-"),
    }


def read_texts(path: Path) -> pd.DataFrame:
    """Read the texts of a csv file, without the spaces around them, indexed by row as a spreadsheet numbers them.

    Empty lines are left out. `ValueError` if the file cannot be read, is empty, has two columns of one name or a row
    longer than its header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[text.strip() for text in line] for line in csv.reader(file, skipinitialspace=True)]
    except (ValueError, OSError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not lines:
        raise ValueError(f"cannot read {path}: it is empty")
    if len(set(lines[0])) < len(lines[0]):
        raise ValueError(f"{path} has two columns of one name: {', '.join(lines[0])}")
    header, filled = lines[0], {row: line for row, line in enumerate(lines[1:], 2) if any(line)}
    for row, line in filled.items():
        if len(line) > len(header):
            raise ValueError(
                f"{path}, row {row} has {len(line)} fields, the header has {len(header)}: put quotes around a text "
                "that holds a comma"
            )
    full = [line + [""] * (len(header) - len(line)) for line in filled.values()]
    return pd.DataFrame(full, index=list(filled), columns=header, dtype=str)


def _add_metadata(rows: dict[str, dict], path: Path) -> None:
    """Put what ``metadata.csv`` says into the rows, which are keyed by relative path."""
    metadata = read_texts(path)
    columns = [column for column in _METADATA_COLUMNS if column in metadata]
    if "file" not in metadata or not columns:
        raise ValueError(
            f"{path} needs a column 'file' and at least one of {', '.join(_METADATA_COLUMNS)}; it has "
            f"{', '.join(metadata.columns)}"
        )
    if "split" in columns:
        wrong = metadata.loc[~metadata["split"].isin(("", *SIDES)), "split"]
        if len(wrong):
            raise ValueError(
                f"{path}, row {wrong.index[0]}: split={wrong.iloc[0]!r} is not one of {', '.join(SIDES)}"
            )
    metadata["file"] = [Path(name).as_posix() for name in metadata["file"]]
    if unknown := [name for name in metadata["file"] if name not in rows]:
        shown = ", ".join(map(repr, unknown[:3])) + (
            f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        )
        raise ValueError(f"{path} names files that are not among the audio files of {path.parent}: {shown}")
    if metadata["file"].duplicated().any():
        twice = metadata.loc[metadata["file"].duplicated(), "file"].iloc[0]
        raise ValueError(f"{path} has more than one row for {twice!r}")
    if "split" in columns:
        for row in rows.values():
            row["split"] = "unused"
    seen: dict[str, int] = {}
    for entry in metadata.sort_values("file").to_dict("records"):
        row = rows[entry["file"]]
        row.update({column: entry[column] for column in columns if entry[column]})
        if entry.get("song"):
            # Excerpts of a song are numbered in the order of their files.
            seen[row["song"]] = row["excerpt"] = seen.get(row["song"], 0) + 1
