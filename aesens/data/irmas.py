"""IRMAS: its file names, a folder of it, and how to get it.

The training set of IRMAS states everything in its file names::

    [prefix__][instrument][drums?][genre]SONG__EXCERPT.wav      008__[cel][nod][cla]0058__1.wav
                                                                [cla][pop_roc]0310__1.wav

The drum tag is ``dru``, ``nod`` or, in twelve names, ``---`` (not known) and may be missing, as may the prefix. SONG
is the four digits before the last ``__``. The four digits alone name the song, whatever stands before them: that is
how the study groups clips. No number occurs with two instruments, and eleven occur with two prefixes, which mirdata's
index, keyed by number and excerpt, takes for one: with the twelve it lacks 45 of the 6 705 clips.

References
----------
J. J. Bosch, J. Janer, F. Fuhrmann, P. Herrera, "A Comparison of Sound Segregation Techniques for Predominant
Instrument Recognition in Musical Audio Signals", ISMIR 2012. Audio: https://doi.org/10.5281/zenodo.1290750
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from filelock import FileLock

from aesens.cache import atomic_path, cache_dir, tqdm
from aesens.data.clips import INSTRUMENTS, Dataset, left_out_table, make_table

__all__ = [
    "PUBLISHED",
    "TEST_SONGS",
    "IrmasName",
    "at_hand",
    "format_name",
    "is_irmas",
    "load_irmas",
    "misplaced",
    "parse_name",
    "published_overlap",
]

# Genre tags.
_GENRES = ("pop_roc", "jaz_blu", "cla", "cou_fol", "lat_sou")

CITATION = (
    "J. J. Bosch, J. Janer, F. Fuhrmann, P. Herrera, A Comparison of Sound Segregation Techniques for Predominant "
    "Instrument Recognition in Musical Audio Signals, ISMIR 2012, doi:10.5281/zenodo.1290750"
)
LICENCE = "CC BY-NC-SA 3.0, for non-commercial use; not to be redistributed"

_FOLDER = "IRMAS-TrainingData"

# Bit n says whether song n is of the published test set (train_test_split.csv of vdng9338/audio-embedding-sensitivity).
_TEST_BITS = int(
    "a6108414246818902094090020900e248088a038848288111202a12807031000403009291190a00208880240a8021a22"
    "0222708124511013160040110284414090220d0140842415426042620204251400d0220800000000000000080000000c"
    "05100a0a24026a001284304402a0934280882248230404208303204000001004912144a05004850240120882830a2110"
    "a0814a411228081944221022045820040d08480a90d003018a0881180504202884510812402460142228c08450122480"
    "6030182a01038010a08a1027022421220089082088023040480c040c0468c410451024220a5090188051842840030c90"
    "284810c8211414282202c2091040001415900902212010c2009108829034039222008a00000420530820210a08446005"
    "028a0a406083110c110484440902080542800814950880520888a10468c20",
    16,
)

#: The 562 songs of the study's published test set; its 1 666 clips are theirs, without those of ``lat_sou``.
TEST_SONGS = frozenset(f"{n:04d}" for n in range(_TEST_BITS.bit_length()) if _TEST_BITS >> n & 1)

#: Clips on the two sides of the published split (Deng et al., ICASSP 2025, section 3).
PUBLISHED = {"train": 3168, "test": 1666}
_NAME = re.compile(
    r"(?:(?P<prefix>[^\[\]]+)__)?"
    r"\[(?P<instrument>[a-z]{3})\]"
    r"(?:\[(?P<drums>dru|nod|---)\])?"
    rf"\[(?P<genre>{'|'.join(_GENRES)})\]"
    r"(?P<song>[0-9]{4})__(?P<excerpt>[0-9]+)\.(?i:wav)"
)


class IrmasName(NamedTuple):
    """What an IRMAS file name says; ``prefix`` and ``drums`` are empty where the name has none.

    ``drums`` is ``dru``, ``nod`` or, where the name says that it is not known, ``---``.
    """

    prefix: str
    instrument: str
    drums: str
    genre: str
    song: str
    excerpt: int


def parse_name(name: str | os.PathLike) -> IrmasName:
    """Take an IRMAS file name apart, whatever folders stand before it; `ValueError` if it is outside the grammar.

    Examples
    --------
    >>> parse_name("008__[cel][nod][cla]0058__1.wav")
    IrmasName(prefix='008', instrument='cel', drums='nod', genre='cla', song='0058', excerpt=1)
    """
    match = _NAME.fullmatch(Path(name).name)
    if match is None:
        raise ValueError(
            f"{os.fspath(name)!r} is not an IRMAS file name; expected [prefix__][instrument][dru|nod|---][genre]"
            f"SONG__EXCERPT.wav with prefix and drum tag optional and genre one of {', '.join(_GENRES)}"
        )
    fields = match.groupdict(default="")
    return IrmasName(**{**fields, "excerpt": int(fields["excerpt"])})


def format_name(name: IrmasName) -> str:
    """Put an IRMAS file name together: the inverse of `parse_name`, with the ending in lower case."""
    prefix = f"{name.prefix}__" if name.prefix else ""
    drums = f"[{name.drums}]" if name.drums else ""
    return f"{prefix}[{name.instrument}]{drums}[{name.genre}]{name.song}__{name.excerpt}.wav"


def _root(folder: Path) -> Path:
    return folder / _FOLDER if (folder / _FOLDER).is_dir() else folder


def _wav_files(folder: Path) -> list[Path]:
    """Audio files of the class folders, sorted; hidden files and those of hidden folders are none."""
    return sorted(
        path
        for path in folder.glob("*/*")
        if path.suffix.lower() == ".wav" and not any(part.startswith(".") for part in path.parts[-2:])
    )


def is_irmas(folder: str | os.PathLike) -> bool:
    """Tell whether a folder is in IRMAS layout.

    That is the case if its class folders carry IRMAS codes and most of the files in them follow the file grammar.
    A folder with a ``metadata.csv`` says for itself what its files are and is not taken for IRMAS.
    """
    root = _root(Path(folder))
    files = _wav_files(root)
    if not files or (root / "metadata.csv").exists() or not {p.parent.name for p in files} <= {*INSTRUMENTS}:
        return False
    return sum(_NAME.fullmatch(path.name) is not None for path in files) > len(files) / 2


def misplaced(folder: str | os.PathLike) -> str:
    """What of IRMAS a folder is that is not its training set, in a sentence that says which folder to give.

    Empty if the folder is nothing of IRMAS.
    """
    folder = Path(folder)
    below = [*_folders(folder), *(inner for outer in _folders(folder) for inner in _folders(outer))]
    if found := list(dict.fromkeys(_root(place) for place in below if is_irmas(place))):
        return f"{folder} holds IRMAS clips further down: give {' or '.join(map(str, found))}"
    if any(map(_is_test_part, (folder, *below))):
        return (
            f"{folder} holds clips of IRMAS's test part, several instruments a clip as txt files say, of which the "
            f"study uses nothing: give the folder {_FOLDER}"
        )
    return ""


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_test_part(folder: Path) -> bool:
    """Whether a folder holds wav files beside text files of instrument codes."""
    for path in folder.glob("*.txt"):
        if any(path.with_suffix(ending).exists() for ending in (".wav", ".WAV")):
            codes = path.read_text(errors="replace").split()
            return bool(codes) and set(codes) <= {*INSTRUMENTS}
    return False


def read_layout(folder: Path) -> tuple[list[dict], pd.DataFrame]:
    """Rows for `make_table` from the class folders of an IRMAS layout, and a table of the files left out.

    A file is left out if its name is outside the grammar or says another class than its folder; `ValueError` if none
    belongs.
    """
    rows, left_out = [], []
    for path in _wav_files(folder):
        try:
            fields = parse_name(path.name)
        except ValueError as error:
            left_out.append((path, str(error)))
            continue
        if fields.instrument != path.parent.name:
            problem = f"named {fields.instrument!r} but in the folder {path.parent.name!r}"
            left_out.append((path, problem))
            continue
        row = fields._asdict() | {"drums": fields.drums.strip("-")}
        del row["prefix"]
        rows.append({"clip": path.stem, "path": str(path.resolve()), **row})
    if not rows:
        seen = f"; {len(left_out)} wav files are none, the first: {left_out[0][1]}" if left_out else ""
        raise ValueError(
            f"no IRMAS clips in {folder}: expected class folders ({', '.join(INSTRUMENTS)}) of wav files, as in "
            f"{_FOLDER}{seen}"
        )
    return rows, left_out_table(left_out, folder)


def load_irmas(path: str | os.PathLike | None = None) -> Dataset:
    """Load the training set of IRMAS.

    Parameters
    ----------
    path : path-like, optional
        Folder with the class folders, or the one that holds ``IRMAS-TrainingData``. By default the data are
        downloaded (about 3 GB, once, resumed where it stopped) from where mirdata says, and checked against its
        checksum, into ``cache_dir("data")``. While they are unpacked, archive and clips take about 7 GB.

    Returns
    -------
    Dataset
        6 705 clips of 3 s if complete; song labels are the four digits. Files that are misnamed are left out, see
        `Dataset.left_out`.

    Raises
    ------
    ValueError
        If there is no such folder, or it holds no clips.
    ConnectionError
        If the data have to be downloaded and cannot be, or are not what they should be.
    OSError
        If they cannot be unpacked for want of room or permission; the archive is kept for the next attempt.
    """
    if path is None:
        folder = _download()
    else:
        folder = _root(Path(path).expanduser())
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
    rows, left_out = read_layout(folder)
    return Dataset("irmas", "IRMAS (training set)", make_table(rows), CITATION, LICENCE, left_out=left_out)


def published_overlap(table: pd.DataFrame, sides: dict[str, pd.Series]) -> pd.DataFrame:
    """Count how much of the published test set lies on the test side of some splits.

    Parameters
    ----------
    table : pandas.DataFrame
        Of the clips at hand, with columns ``song`` and ``genre``.
    sides : dict of pandas.Series
        By name, ``train``, ``test`` or ``unused`` of each clip.

    Returns
    -------
    pandas.DataFrame
        Rows ``published test clips`` and ``published test songs``; columns ``in all``, ``at hand``, and for each split
        how many of those at hand are on its test side.
    """
    published = table["song"].isin(TEST_SONGS) & (table["genre"] != "lat_sou")
    found = {"at hand": published} | {name: published & (split == "test") for name, split in sides.items()}
    counts = {name: [int(mask.sum()), table.loc[mask, "song"].nunique()] for name, mask in found.items()}
    whole = {"in all": [PUBLISHED["test"], len(TEST_SONGS)]}
    return pd.DataFrame(whole | counts, index=["published test clips", "published test songs"])


def at_hand() -> bool:
    """Whether the training set is in the cache, so that `load_irmas` downloads nothing."""
    return (cache_dir("data", "irmas") / _FOLDER).is_dir()


def _download() -> Path:
    """The downloaded training set, fetched if it is not in the cache yet."""
    folder = cache_dir("data", "irmas") / _FOLDER
    if folder.is_dir():
        return folder
    # A second process waits, then finds the folder; the archive is gone by then.
    with FileLock(folder.parent / f".{_FOLDER}.lock"):
        if not folder.is_dir():
            archive = _fetch()
            _unpack(archive, folder)
            archive.unlink()
    return folder


_BY_HAND = (
    f"get {_FOLDER}.zip from https://zenodo.org/record/1290750, unpack it and pass its folder "
    "instead of the name 'irmas'"
)


def _fetch() -> Path:
    """The verified archive: downloaded with a bar, resumed where an earlier attempt stopped."""
    # mirdata knows where the archive is and what its checksum must be. It is slow to import, hence here. Its index
    # is not used, since it lacks 45 of the 6 705 clips.
    from mirdata.datasets.irmas import REMOTES

    from aesens.models.weights import WeightFile, WeightsError, fetch

    class Archive(WeightFile):
        """A file of the data, kept beside what is unpacked from it."""

        path = cache_dir("data", "irmas") / REMOTES["training_data"].filename
        by_hand = _BY_HAND

    remote = REMOTES["training_data"]
    archive = Archive(
        model="irmas",
        title="IRMAS (training set)",
        filename=remote.filename,
        url=remote.url,
        hash=f"md5:{remote.checksum}",
        licence=LICENCE,
    )
    try:
        return fetch(archive)
    except WeightsError as error:
        raise ConnectionError(str(error)) from error


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the wav files of `folder` from an archive; all of them or nothing, and `zipfile` writes nowhere else."""
    try:
        with zipfile.ZipFile(archive) as packed, atomic_path(folder) as temporary:
            members = re.findall(rf"(?im)^{folder.name}/.*\.wav$", "\n".join(packed.namelist()))
            for member in tqdm(members, desc=f"unpacking {archive.name}", unit="file"):
                packed.extract(member, temporary.parent)
            if not members:
                raise ValueError(f"there is no wav file below {folder.name}/ in it")
    except (zipfile.BadZipFile, ValueError) as error:
        raise ValueError(
            f"{archive} cannot be unpacked ({error}): move it away, then try again, or {_BY_HAND}"
        ) from error
    except OSError as error:
        raise OSError(
            f"cannot unpack {archive} into {folder.parent}: {error.strerror or error}. The clips take about 4 GB "
            "beside the archive, which is kept: make room, or move the cache (AESENS_CACHE), and run again"
        ) from error
