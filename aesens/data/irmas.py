"""IRMAS: its file names, a folder of it, and how to get it.

The training set of IRMAS states everything in its file names::

    [prefix__][instrument][drums?][genre]SONG__EXCERPT.wav      008__[cel][nod][cla]0058__1.wav
                                                                [cla][pop_roc]0310__1.wav

The drum tag is ``dru`` or ``nod`` and may be missing, as may the prefix. SONG is the four digits before the last
``__``. The four digits alone name the song, whatever the instrument before them: that is how the study groups
clips, and no number of mirdata's index (6 660 clips, 2 257 songs) occurs with two instruments.

References
----------
J. J. Bosch, J. Janer, F. Fuhrmann, P. Herrera, "A Comparison of Sound Segregation Techniques for Predominant
Instrument Recognition in Musical Audio Signals", ISMIR 2012. Audio: https://doi.org/10.5281/zenodo.1290750
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from filelock import FileLock

from aesens.cache import atomic_path, cache_dir
from aesens.data.clips import INSTRUMENTS, Dataset, make_table
from aesens.progress import tqdm

__all__ = ["GENRES", "IrmasName", "at_hand", "format_name", "is_irmas", "load_irmas", "parse_name"]

#: Genre tags of IRMAS.
GENRES = ("pop_roc", "jaz_blu", "cla", "cou_fol", "lat_sou")

CITATION = (
    "J. J. Bosch, J. Janer, F. Fuhrmann, P. Herrera, A Comparison of Sound Segregation Techniques for Predominant "
    "Instrument Recognition in Musical Audio Signals, ISMIR 2012, doi:10.5281/zenodo.1290750"
)
LICENCE = "CC BY-NC-SA 3.0, for non-commercial use; not to be redistributed"

_FOLDER = "IRMAS-TrainingData"
_NAME = re.compile(
    r"(?:(?P<prefix>[^\[\]]+)__)?"
    r"\[(?P<instrument>[a-z]{3})\]"
    r"(?:\[(?P<drums>dru|nod)\])?"
    rf"\[(?P<genre>{'|'.join(GENRES)})\]"
    r"(?P<song>[0-9]{4})__(?P<excerpt>[0-9]+)\.wav"
)


class IrmasName(NamedTuple):
    """What an IRMAS file name says; ``prefix`` and ``drums`` are empty where the name has none.

    Examples
    --------
    >>> parse_name("[cla][pop_roc]0310__1.wav").song
    '0310'
    """

    prefix: str
    instrument: str
    drums: str
    genre: str
    song: str
    excerpt: int


def parse_name(name: str | os.PathLike) -> IrmasName:
    """Take an IRMAS file name apart.

    Parameters
    ----------
    name : str or path-like
        File name; folders before it are ignored.

    Returns
    -------
    IrmasName

    Raises
    ------
    ValueError
        If the name does not follow the grammar.

    Examples
    --------
    >>> parse_name("008__[cel][nod][cla]0058__1.wav")
    IrmasName(prefix='008', instrument='cel', drums='nod', genre='cla', song='0058', excerpt=1)
    >>> parse_name("[cla][pop_roc]0310__2.wav")
    IrmasName(prefix='', instrument='cla', drums='', genre='pop_roc', song='0310', excerpt=2)
    """
    match = _NAME.fullmatch(Path(name).name)
    if match is None:
        raise ValueError(
            f"{os.fspath(name)!r} is not an IRMAS file name; expected [prefix__][instrument][dru|nod][genre]"
            f"SONG__EXCERPT.wav with prefix and drum tag optional and genre one of {', '.join(GENRES)}"
        )
    fields = match.groupdict(default="")
    return IrmasName(**{**fields, "excerpt": int(fields["excerpt"])})


def format_name(name: IrmasName) -> str:
    """Put an IRMAS file name together: the inverse of `parse_name`.

    Examples
    --------
    >>> format_name(IrmasName("008", "cel", "nod", "cla", "0058", 1))
    '008__[cel][nod][cla]0058__1.wav'
    """
    prefix = f"{name.prefix}__" if name.prefix else ""
    drums = f"[{name.drums}]" if name.drums else ""
    return f"{prefix}[{name.instrument}]{drums}[{name.genre}]{name.song}__{name.excerpt}.wav"


def _root(folder: Path) -> Path:
    return folder / _FOLDER if (folder / _FOLDER).is_dir() else folder


def _wav_files(folder: Path) -> list[Path]:
    """Audio files of the class folders, sorted; hidden files are none."""
    return sorted(path for path in folder.glob("*/*.wav") if not path.name.startswith("."))


def is_irmas(folder: str | os.PathLike) -> bool:
    """Tell whether a folder is in IRMAS layout.

    That is the case if its class folders carry IRMAS codes and most of the files in them follow the file grammar.
    A folder with a ``metadata.csv`` says for itself what its files are and is not taken for IRMAS.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    bool

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     (Path(place) / "cla").mkdir()
    ...     (Path(place) / "cla" / "[cla][pop_roc]0310__1.wav").touch()
    ...     is_irmas(place)
    True
    """
    root = _root(Path(folder))
    files = _wav_files(root)
    if not files or (root / "metadata.csv").exists() or not {p.parent.name for p in files} <= {*INSTRUMENTS}:
        return False
    return sum(_NAME.fullmatch(path.name) is not None for path in files) > len(files) / 2


def read_layout(folder: Path) -> list[dict]:
    """Rows for `make_table` from the class folders of an IRMAS layout.

    Raises
    ------
    ValueError
        If there are no files, or one of them has a name outside the grammar or lies in another class's folder.
    """
    files = _wav_files(folder)
    if not files:
        raise ValueError(
            f"no IRMAS clips in {folder}: expected class folders ({', '.join(INSTRUMENTS)}) of wav files, as in "
            f"{_FOLDER}"
        )
    rows = []
    for path in files:
        fields = parse_name(path)
        if fields.instrument != path.parent.name:
            raise ValueError(f"{path} is named {fields.instrument!r} but lies in folder {path.parent.name!r}")
        row = fields._asdict()
        del row["prefix"]
        rows.append({"clip": path.stem, "path": str(path.resolve()), **row})
    return rows


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
        6 705 clips of 3 s if complete; song labels are the four digits.

    Raises
    ------
    ValueError
        If there is no such folder, it holds no clips, or a file is misnamed.
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
    return Dataset("irmas", "IRMAS (training set)", make_table(read_layout(folder)), CITATION, LICENCE)


def at_hand() -> bool:
    """Whether the training set is in the cache, so that `load_irmas` downloads nothing.

    Examples
    --------
    >>> at_hand() in (True, False)
    True
    """
    return (cache_dir("data", "irmas") / _FOLDER).is_dir()


def _download() -> Path:
    """The downloaded training set, fetched if it is not in the cache yet."""
    folder = cache_dir("data", "irmas") / _FOLDER
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

    from aesens.weights import WeightFile, WeightsError, fetch

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
        kind="url",
        size=None,
        hash=f"md5:{remote.checksum}",
        licence=LICENCE,
    )
    try:
        return fetch(archive)
    except WeightsError as error:
        raise ConnectionError(str(error)) from error


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack `folder` from an archive that holds nothing else of interest; all of it or nothing."""
    try:
        with zipfile.ZipFile(archive) as packed, atomic_path(folder) as temporary:
            members = [member for member in packed.infolist() if _wanted(member)]
            bar = tqdm(members, desc=f"unpacking {archive.name}", unit="file")
            for member in bar:
                target = temporary.joinpath(*PurePosixPath(member.filename).parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
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


def _wanted(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a clip of the training set; `ValueError` for a path that leads elsewhere."""
    place = PurePosixPath(member.filename)
    if not place.parts:
        return False
    if place.is_absolute() or ".." in place.parts or "\\" in member.filename or ":" in place.parts[0]:
        raise ValueError(f"its member {member.filename!r} would be written outside the folder")
    # What a Mac adds lies in a folder of its own or begins with a dot.
    hidden = any(part.startswith((".", "__MACOSX")) for part in place.parts)
    return place.parts[0] == _FOLDER and place.suffix == ".wav" and not member.is_dir() and not hidden
