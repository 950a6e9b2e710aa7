"""Any folder of recordings: one subfolder a class, audio files in it.

::

    recordings/
        cel/00353774.wav
        vio/take 2.flac
        metadata.csv        optional
        SOURCES.csv         optional

Each file is one clip, of which the first 3 s are taken, and a song of its own, unless its name follows the IRMAS
grammar (then the grammar says the song) or ``metadata.csv`` says otherwise. That file has a column ``file`` (path
relative to the folder) and any of ``song``, ``split`` (``train``, ``test``, ``unused``), ``genre`` and
``instrument``; empty cells and files that are not listed keep the defaults, and are ``unused`` where others have a
split. Clips that were cut from one recording must be given the same song, or the split cannot keep them together.
``SOURCES.csv`` with a column ``file`` says whose the recordings are and on what terms: those of its columns whose
headings speak of title, author, licence or source are shown where a clip is heard, and ``freesound_id`` as the address
of its page.
The class folders may also lie in folders ``train`` and ``test``, which are then the split.

Hidden files and folders are none of it. What else is no clip is left out and listed, see `aesens.data.clips.Dataset`:
files in no class folder or with a name that is not UTF-8, and byte-identical copies, which would stand on both sides of
a split. Names are compared and kept in Unicode's composed form, however the file system spells them.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from unicodedata import normalize

import pandas as pd

from aesens.data.clips import SIDES, Dataset, left_out_table, make_table, some
from aesens.data.irmas import parse_name
from aesens.data.remember import file_hashes

__all__ = ["AUDIO_SUFFIXES", "composed", "load_folder", "read_texts", "sides_of"]

#: Files that are taken for audio. Whether one can be read shows when it is read: of the second line, few can.
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"),
    *(".m4a", ".aac", ".mp4", ".wma", ".opus", ".caf", ".au", ".w64", ".ape", ".wv", ".webm", ".amr"),
)
_SOURCES = AUDIO_SUFFIXES[6:]

# In the heading of a column of SOURCES.csv that credits somebody; others may be sampling rates.
_CREDIT = re.compile(
    "title|name|author|artist|creator|performer|composer|user|uploader|owner|credit|attribution|copyright|rights|"
    "licen|source|url|link|page|citation|doi"
)

_METADATA_COLUMNS = ("song", "split", "genre", "instrument")

# Folders above the class folders, and what others of their kind are called whose side is not known.
_SIDE_FOLDERS = {"train": "train", "training": "train", "test": "test", "testing": "test", "unused": "unused"}
_OTHER_SIDES = ("val", "valid", "validation", "dev", "eval", "evaluation", "holdout")


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
        If there is no such folder, it has no class subfolders or no audio files, a class would have none that is not
        left out, two files differ in their suffix only, or ``metadata.csv`` is malformed or names a file that is not
        there.
    """
    folder = Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"there is no folder {_shown(folder)}")
    if _shown(folder) != str(folder):
        raise ValueError(f"the name of the folder {_shown(folder)} is not UTF-8: rename it")
    sides = sides_of(folder) or {folder: ""}
    classes = [(place, side) for above, side in sides.items() for place in _visible(above) if place.is_dir()]
    if not classes:
        raise ValueError(f"{folder} has no subfolders; put the audio files into one subfolder a class")
    rows, left_out = (
        {},
        [(path, "lies in no class folder") for path in _audio(_visible(folder)) if not path.is_dir()],
    )
    for place, side in classes:
        found = _audio(path for path in place.rglob("*") if not _hidden(path.relative_to(place)))
        if not found:
            left_out.append((place, "a folder without audio files"))
        for path in found:
            if _shown(path) != str(path):
                left_out.append((path, "its name is not UTF-8: rename it"))
            else:
                key = composed(path.relative_to(folder).as_posix())
                rows[key] = _row(path, folder, place.name) | ({"split": side} if side else {})
    if not rows and len(left_out) == len(classes):
        raise ValueError(f"no audio files ({' '.join(AUDIO_SUFFIXES)}) in the subfolders of {folder}")
    metadata = [path for path in _visible(folder) if path.name.lower() == "metadata.csv"]
    for path in metadata[:1]:
        _add_metadata(rows, path)
    copies = _copies(rows)
    left_out += [(Path(rows[key]["path"]), problem) for key, problem in copies.items()]
    kept = {key: row for key, row in rows.items() if key not in copies}
    _check_classes(classes, {row["path"] for row in kept.values()}, left_out)
    problems = [(Path(_shown(path)), problem) for path, problem in left_out]
    table = make_table(kept.values())
    return Dataset(
        folder.name,
        f"Folder {folder.name}",
        table,
        seconds=seconds,
        credits=_credits(folder, rows, table),
        left_out=left_out_table(problems, folder),
    )


def _credits(folder: Path, rows: dict[str, dict], table: pd.DataFrame) -> dict[str, str]:
    """Attribution of the clips that ``SOURCES.csv`` lists."""
    path = folder / "SOURCES.csv"
    if not path.is_file():
        return {}
    found = {}
    for row in read_texts(path, ["file"]).to_dict("records"):
        clip = rows.get(composed(row.pop("file")), {}).get("clip")
        row = {name.replace("_", " ").replace("-", " "): text for name, text in row.items() if text}
        if number := row.pop("freesound id", ""):
            row["page"] = f"freesound.org/s/{number}"
        said = [
            f"{name}: {text}" for name, text in row.items() if _CREDIT.search(name) and "file" not in name
        ]
        if said and clip in table.index:
            found[clip] = ", ".join(said)
    return found


def composed(text: str) -> str:
    """A text in Unicode's composed form: a Mac spells the umlaut of a name as two characters, others as one."""
    return normalize("NFC", text)


def sides_of(folder: Path) -> dict[Path, str]:
    """Folders ``train``, ``test`` and ``unused`` that class folders of audio lie in, with their sides; else empty.

    `ValueError` if beside them is one such as ``validation``, of which is not known what it is to be.
    """
    places = [path for path in _visible(folder) if path.is_dir()]
    names = [path.name.lower() for path in places]
    if not set(names) & {*_SIDE_FOLDERS} or not set(names) <= {*_SIDE_FOLDERS, *_OTHER_SIDES}:
        return {}
    for place in places:
        inner = _visible(place)
        if any(not path.is_dir() for path in _audio(inner)) or not any(path.is_dir() for path in inner):
            return {}  # they are classes themselves
    if unknown := [path.name for path, name in zip(places, names, strict=True) if name in _OTHER_SIDES]:
        others = ", ".join(path.name for path in places if path.name not in unknown)
        raise ValueError(
            f"{folder} has a folder {unknown[0]!r} beside {others}: call it train, test or unused, or take it away"
        )
    return {place: _SIDE_FOLDERS[name] for place, name in zip(places, names, strict=True)}


def _hidden(path: Path) -> bool:
    """Whether a file is hidden, by its name or that of a folder, or lies in one that a Mac or a NAS adds."""
    return any(part.startswith((".", "__MACOSX", "@eaDir")) for part in path.parts)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not _hidden(Path(path.name)))


def _audio(paths: Iterable[Path]) -> list[Path]:
    """The audio files of some paths, sorted, without those that were converted to a file beside them."""
    found = sorted(path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES and not path.is_dir())
    read = {path.with_suffix("") for path in found if path.suffix.lower() not in _SOURCES}
    return [path for path in found if path.suffix.lower() not in _SOURCES or path.with_suffix("") not in read]


def _shown(path: Path) -> str:
    """A path as text that can be written, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "replace")


def _row(path: Path, folder: Path, instrument: str) -> dict:
    """What is known of a file by its place and name."""
    clip = composed(path.relative_to(folder).with_suffix("").as_posix())
    row = {"clip": clip, "path": str(path), "instrument": composed(instrument), "song": clip}
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


def _copies(rows: dict[str, dict]) -> dict[str, str]:
    """Files with the same bytes as another one, and what is wrong with each: of one class all but the first."""
    sizes: dict[int, list[str]] = {}
    for key, row in rows.items():
        # What cannot be read is told later, clip by clip.
        if os.path.isfile(row["path"]) and os.access(row["path"], os.R_OK):
            sizes.setdefault(os.path.getsize(row["path"]), []).append(key)
    alike = sorted(key for keys in sizes.values() if len(keys) > 1 for key in keys)
    contents: dict[str, list[str]] = {}
    for key, content in zip(alike, file_hashes(rows[key]["path"] for key in alike), strict=True):
        contents.setdefault(content, []).append(key)
    problems = {}
    for first, *others in contents.values():
        if len({rows[key]["instrument"] for key in (first, *others)}) > 1:
            problems |= {key: f"the same file as {first}, of another class" for key in others}
            problems[first] = f"the same file as {others[0]}, of another class"
        else:
            problems |= {key: f"the same file as {first}" for key in others}
    return problems


def _check_classes(classes: list[tuple[Path, str]], kept: set[str], left_out: list[tuple[Path, str]]) -> None:
    """Raise unless each class folder with audio has a clip."""
    for place, _ in classes:
        lost = [(path, problem) for path, problem in left_out if place in path.parents]
        if lost and not any(place in Path(path).parents for path in kept):
            path, problem = lost[0]
            raise ValueError(
                f"no file of the class folder {_shown(place)} can be used; the first of {len(lost)} is "
                f"{_shown(path).rpartition('/')[2]}: {problem}"
            )


def read_texts(path: Path, needed: Collection[str], sides: Collection[str] = ()) -> pd.DataFrame:
    """Read the texts of a csv file, without the spaces around them, indexed by row as a spreadsheet numbers them.

    Fields are separated by commas, semicolons or tabs, whichever the header has most of. Headings are in small letters,
    and so is what a column ``split`` holds, which must be one of `sides`. Empty lines and columns without a heading are
    left out. `ValueError` if the file cannot be read, is empty, lacks a column that is `needed`, has two of one name, a
    row longer than its header or another side.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            lines = [[text.strip() for text in line] for line in reader]
    except UnicodeError as error:
        raise ValueError(f"cannot read {path}: it is not in UTF-8, save it so ({error})") from error
    except (ValueError, OSError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not lines:
        raise ValueError(f"cannot read {path}: it is empty")
    header = [text.lower() for text in lines[0]]
    named = [text for text in header if text]
    if len(set(named)) < len(named):
        raise ValueError(f"{path} has two columns of one name: {', '.join(lines[0])}")
    filled = {row: line for row, line in enumerate(lines[1:], 2) if any(line)}
    for row, line in filled.items():
        while len(line) > len(header) and not line[-1]:
            line.pop()  # a spreadsheet ends its rows with as many commas as its widest has
        if len(line) > len(header):
            raise ValueError(
                f"{path}, row {row} has {len(line)} fields, the header has {len(header)}: put quotes around a text "
                f"that holds {separator!r}"
            )
    if missing := [column for column in needed if column not in named]:
        raise ValueError(f"{path} has no column {missing[0]!r}, only {', '.join(named)}")
    full = [line + [""] * (len(header) - len(line)) for line in filled.values()]
    texts = pd.DataFrame(full, index=list(filled), columns=header, dtype=str)[named]
    if sides and "split" in texts:
        texts["split"] = texts["split"].str.lower()
        for row, side in texts.loc[~texts["split"].isin(sides), "split"].items():
            raise ValueError(f"{path}, row {row}: split={side!r} is not one of {', '.join(SIDES)}")
    return texts


def _add_metadata(rows: dict[str, dict], path: Path) -> None:
    """Put what ``metadata.csv`` says into the rows, which are keyed by relative path."""
    metadata = read_texts(path, [], ("", *SIDES))
    columns = [column for column in _METADATA_COLUMNS if column in metadata]
    for column in metadata:
        missing = [name for name in ("file", *_METADATA_COLUMNS) if name not in metadata]
        if column not in ("file", *_METADATA_COLUMNS) and (meant := get_close_matches(column, missing, 1)):
            raise ValueError(f"{path} has a column {column!r}; if it is the {meant[0]}, call it {meant[0]!r}")
    if "file" not in metadata or not columns:
        raise ValueError(
            f"{path} needs a column 'file' and at least one of {', '.join(_METADATA_COLUMNS)}; it has "
            f"{', '.join(metadata.columns)}"
        )
    names = [composed(name) for name in metadata["file"]]
    # Windows separates folders otherwise.
    names = [name if name in rows else Path(name.replace("\\", "/")).as_posix() for name in names]
    metadata["file"] = names
    if unknown := [name for name in names if name not in rows]:
        shown = some(list(map(repr, unknown)))
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
        # On one line each: they are printed, and written into tables.
        row.update({column: composed(" ".join(entry[column].split())) for column in columns if entry[column]})
        if entry.get("song"):
            # Excerpts of a song are numbered in the order of their files.
            seen[row["song"]] = row["excerpt"] = seen.get(row["song"], 0) + 1
