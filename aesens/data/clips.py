"""What a dataset is: a table of clips and a way to read one.

Conventions: a clip is one short excerpt with one predominant instrument, cut from a song; the song is the unit
of independence, so its label is unique over the whole dataset and not only within an instrument. Audio is
float32 ``(channels, samples)`` at the file's own rate. All clips of a dataset last equally long: what is longer
is cut to its beginning, what is shorter is padded with zeros at its end. The table is indexed by the clip's name
(unique, sorted) and holds

========== ======= ===================================================================
path       str     absolute path of the audio file
instrument str     code of the predominant instrument or class, e.g. ``"cel"``
song       str     label of the source recording
excerpt    int     number of the excerpt within its song
genre      str     code of the genre, ``""`` where unknown
drums      str     ``"dru"`` with drums, ``"nod"`` without, ``""`` where unknown
========== ======= ===================================================================

and, only where the dataset brings its own split, ``split`` (``"train"``, ``"test"`` or ``"unused"``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile as sf

from aesens.data.remember import file_hashes

__all__ = [
    "COLUMNS",
    "INSTRUMENTS",
    "RESERVED",
    "SIDES",
    "Dataset",
    "Decoded",
    "left_out_table",
    "make_table",
    "read_clip",
    "some",
    "sort_instruments",
    "spread_over_instruments",
]

#: Codes and names of the eleven instruments of IRMAS (Bosch et al., ISMIR 2012), in the order in which they are always
#: shown; other classes follow by name.
INSTRUMENTS = {
    "cel": "Cello",
    "cla": "Clarinet",
    "flu": "Flute",
    "gac": "Acoustic guitar",
    "gel": "Electric guitar",
    "org": "Organ",
    "pia": "Piano",
    "sax": "Saxophone",
    "tru": "Trumpet",
    "vio": "Violin",
    "voi": "Voice",
}

#: What tables call the row of all classes together, and so no class (`aesens.tables.POOLED`).
RESERVED = "all"

#: Columns that every clip table has.
COLUMNS = ("path", "instrument", "song", "excerpt", "genre", "drums")

#: What a split says of a clip.
SIDES = ("train", "test", "unused")

# Bits of the whole numbers that pedalboard's reader scales otherwise than soundfile.
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24}

# What libsndfile says of a chunk that promises more audio than the file holds.
_CUT_OFF = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be \d+\)", re.MULTILINE)


def sort_instruments(codes: Iterable[str]) -> list[str]:
    """Return the distinct codes in canonical order: those of IRMAS first, others by name, numbers in it as numbers."""
    rank = {code: position for position, code in enumerate(INSTRUMENTS)}

    def place(code):
        # Text and numbers take turns.
        parts = [int(part) if at % 2 else part for at, part in enumerate(re.split(r"(\d+)", code))]
        return rank.get(code, len(rank)), parts, code

    return sorted(set(codes), key=place)


def some(values: list[str], n: int = 3) -> str:
    """The first `n` of some texts, and how many more there are."""
    return ", ".join(values[:n]) + (f" and {len(values) - n} more" if len(values) > n else "")


def spread_over_instruments(table: pd.DataFrame, n: int) -> np.ndarray:
    """Choose a few clips, the first of each instrument, then the second of each, and so on.

    Parameters
    ----------
    table : pandas.DataFrame
        A clip a row, with a column ``instrument``.
    n : int
        How many clips; all if there are fewer.

    Returns
    -------
    array of int
        Their positions in the table, ascending.
    """
    turn = table.groupby("instrument", sort=False).cumcount().to_numpy()
    return np.sort(np.argsort(turn, kind="stable")[:n])


def make_table(rows: Iterable[dict]) -> pd.DataFrame:
    """Make the table that the module describes from one dictionary a clip.

    Each has ``clip``, ``path``, ``instrument`` and ``song``; ``excerpt``, ``genre``, ``drums`` and ``split`` if known.
    `ValueError` if there is no row, one lacks what each has, or two are of one name.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        raise ValueError("there are no clips: does what lists them look into the right folder?")
    for column in ("clip", "path", "instrument", "song"):
        if column not in table or table[column].isna().any():
            raise ValueError(f"a row of the clips lacks its {column!r}")
        # Classes and songs may be numbers, and paths be paths.
        table[column] = table[column].astype(str)
    twice = table[table["clip"].duplicated(keep=False)].sort_values("clip")
    if len(twice):
        first, second = twice["path"].iloc[:2]
        raise ValueError(f"two files are the same clip {twice['clip'].iloc[0]!r}: {first} and {second}")
    for column, default in {"excerpt": 1, "genre": "", "drums": ""}.items():
        table[column] = table[column].fillna(default) if column in table else default
    table["excerpt"] = table["excerpt"].astype(int)
    columns = [*COLUMNS, *(["split"] if "split" in table else [])]
    return table.set_index("clip").sort_index()[columns]


class Decoded(NamedTuple):
    """A clip as it is read, for networks and for effects.

    Attributes
    ----------
    audio : np.ndarray, shape (channels, samples), float32
        The clean clip: whole numbers of b bits divided by ``2**(b - 1)``, as soundfile, librosa and torchaudio do.
    sample_rate : int
        In Hz.
    bits : int or None
        b where the file holds 8, 16 or 24; None for other files, which all readers scale alike.
    """

    audio: np.ndarray
    sample_rate: int
    bits: int | None = None

    @property
    def dry(self) -> np.ndarray:
        """What the study's effects were given: the whole numbers divided by ``2**(b - 1) - 1``, as by pedalboard."""
        if self.bits is None:
            return self.audio
        whole = self.audio * np.float32(2 ** (self.bits - 1))
        # In single precision, as pedalboard has it: the last bit counts where bitcrushing rounds.
        return whole * np.float32(1 / (2 ** (self.bits - 1) - 1))


def left_out_table(problems: Iterable[tuple[Path, str]], folder: Path = Path()) -> pd.DataFrame:
    """Make the table `Dataset.left_out` from files below a folder and what is wrong with each."""
    rows = [
        (path.relative_to(folder).with_suffix("").as_posix(), problem, str(path))
        for path, problem in problems
    ]
    return pd.DataFrame(rows, columns=["clip", "problem", "path"], dtype=str).set_index("clip")


@dataclass(frozen=True)
class Dataset:
    """Clips with their labels, and how to read them.

    Attributes
    ----------
    name : str
        Registry name or folder name.
    title : str
        What to call it in text.
    table : pandas.DataFrame
        One row a clip, see the module.
    citation, licence : str
        How to cite the audio and on what terms it comes; empty where unknown.
    seconds : float
        Length of every clip as `load` returns it.
    credits : dict of str
        Attribution of single clips, shown wherever they are heard.
    left_out : pandas.DataFrame
        Files that are not in the table since it is not known what they are: columns ``problem`` and ``path``,
        indexed by ``clip``, the file's place below the data set's folder.

    Examples
    --------
    >>> table = make_table([{"clip": c, "path": f"{c}.wav", "instrument": "cel", "song": "1"} for c in "ab"])
    >>> dataset = Dataset("own", "Two takes of a song", table)
    >>> len(dataset), dataset.select(per_song=1).clips
    (2, ['a'])
    """

    name: str
    title: str
    table: pd.DataFrame = field(repr=False)
    citation: str = field(default="", repr=False)
    licence: str = field(default="", repr=False)
    seconds: float = 3.0
    credits: dict[str, str] = field(default_factory=dict, repr=False)
    left_out: pd.DataFrame = field(default_factory=lambda: left_out_table([]), repr=False)

    def __post_init__(self):
        if missing := [column for column in COLUMNS if column not in self.table]:
            raise ValueError(f"the table of dataset {self.name!r} lacks the columns {', '.join(missing)}")
        if not self.table.index.is_unique or not self.table.index.is_monotonic_increasing:
            raise ValueError(f"the clips of dataset {self.name!r} must be unique and sorted; see make_table")
        if not len(self.table):
            raise ValueError(f"dataset {self.name!r} has no clips")
        if (self.table["instrument"] == RESERVED).any():
            raise ValueError(
                f"dataset {self.name!r} has a class {RESERVED!r}, which is what tables call all classes together: give "
                "it another name"
            )
        if not self.seconds > 0:
            raise ValueError(f"seconds must be positive, got {self.seconds}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in the order of the table."""
        return list(self.table.index)

    @property
    def instruments(self) -> list[str]:
        """Codes of the instruments in canonical order."""
        return sort_instruments(self.table["instrument"])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the audio files' content, labels and length; it does not depend on where the files lie."""
        labels = self.table.drop(columns="path").astype(str)
        digest = hashlib.sha256(f"seconds={self.seconds!r}".encode())
        hashes = file_hashes(self.table["path"])
        for clip, file_hash, values in zip(labels.index, hashes, labels.to_numpy(), strict=True):
            digest.update(json.dumps([clip, file_hash, *values]).encode())
        return digest.hexdigest()

    def load(self, clip: str) -> tuple[np.ndarray, int]:
        """Read one clip at its native rate and channel count.

        Parameters
        ----------
        clip : str
            A label of the table's index.

        Returns
        -------
        audio : np.ndarray, shape (channels, samples), float32
            Exactly ``round(seconds * sample_rate)`` samples: the beginning of a longer file, or the whole of
            a shorter one followed by zeros.
        sample_rate : int
            In Hz.

        Raises
        ------
        ValueError
            If there is no such clip, or its file cannot be read, is empty, ends before its clip and its own header
            say, or holds values that are not finite.
        """
        decoded = self.decode(clip)
        return decoded.audio, decoded.sample_rate

    def decode(self, clip: str) -> Decoded:
        """Read one clip as by `load`, for networks and for effects."""
        if clip not in self.table.index:
            raise ValueError(f"dataset {self.name!r} has no clip {clip!r}")
        return read_clip(self.table.at[clip, "path"], self.seconds)

    def select(self, instruments=None, per_song: int | None = None, songs=None) -> Dataset:
        """Return the dataset of some of the clips.

        Parameters
        ----------
        instruments : iterable of str, optional
            Codes to keep; all by default.
        per_song : int, optional
            Keep the first so many excerpts of each song.
        songs : iterable of str, optional
            Labels of the songs to keep; all by default.

        Returns
        -------
        Dataset

        Raises
        ------
        ValueError
            If an instrument or song is unknown, `per_song` is not positive, or nothing is left.
        """
        table = self.table
        if instruments is not None:
            table = table[_known(table, "instrument", instruments, self.name)]
        if songs is not None:
            table = table[_known(table, "song", songs, self.name)]
        if per_song is not None:
            if per_song < 1:
                raise ValueError(f"per_song must be at least 1, got {per_song}")
            ordered = table.sort_values(["song", "excerpt"], kind="stable")
            table = table.loc[ordered.groupby("song").head(per_song).index].sort_index()
        return replace(self, table=table)

    def without(self, excluded: pd.DataFrame) -> Dataset:
        """The dataset of the clips that are in order, `excluded` being those that `check_clips` lists.

        `ValueError` if an instrument would have no clip left: it names what is wrong with its clips, and what to do.
        """
        left = self.table.drop(index=excluded.index)
        gone = [code for code in self.instruments if code not in set(left["instrument"])]
        if gone:
            lost = excluded[self.table.loc[excluded.index, "instrument"].isin(gone).to_numpy()]
            example = f"{lost.index[0]}: {lost['problem'].iloc[0]}"
            others = ",".join(sort_instruments(left["instrument"]))
            raise ValueError(
                f"dataset {self.name!r} has no clip of {', '.join(gone)} that can be used; the first of {len(lost)} is "
                f"{example}. Mend or replace the files"
                + (f", or leave the class out (--instruments {others})" if others else "")
            )
        return replace(self, table=left)

    def summary(self) -> pd.DataFrame:
        """Count ``clips``, ``songs`` and ``seconds`` of each instrument in canonical order, then of ``"all"``."""
        counts = self.table.groupby("instrument")["song"].agg(clips="size", songs="nunique")
        counts = counts.reindex(pd.Index(self.instruments, name="instrument"))
        counts.loc["all"] = [len(self.table), self.table["song"].nunique()]
        return counts.assign(seconds=counts["clips"] * self.seconds)

    def _repr_html_(self) -> str:
        notes = "".join(
            f"<p><small>{escape(text)}</small></p>" for text in (self.citation, self.licence) if text
        )
        return f"<p><b>{escape(self.title)}</b> ({len(self)} clips)</p>{self.summary().to_html()}{notes}"


def _known(table: pd.DataFrame, column: str, wanted, name: str) -> pd.Series:
    """Rows whose `column` is among `wanted`, after checking that each of these occurs."""
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    if not wanted:
        raise ValueError(f"no {column} was chosen from dataset {name!r}")
    if unknown := [value for value in wanted if value not in set(table[column])]:
        there = some(sort_instruments(table[column]), 20)
        raise ValueError(
            f"dataset {name!r} has no {column} {', '.join(map(repr, unknown))}; there are {there}"
        )
    return table[column].isin(wanted)


def read_clip(path: str, seconds: float) -> Decoded:
    """Read a file as `Dataset.decode` reads a clip."""
    try:
        with sf.SoundFile(path) as file:
            rate, samples = file.samplerate, round(seconds * file.samplerate)
            audio = file.read(samples, dtype="float32", always_2d=True).T
            promised, bits = _CUT_OFF.search(file.extra_info), _BITS.get(file.subtype)
    except (sf.SoundFileError, OSError) as error:
        raise ValueError(f"cannot read the audio file {path}: {error}") from error
    # A program that writes to a pipe cannot know the length and puts the largest number.
    if promised and audio.shape[1] < samples and int(promised[1]) < 0x7FFFFFFF - 4096:
        raise ValueError(f"the audio file {path} is cut off: its header promises more audio than it holds")
    if audio.shape[1] == 0:
        raise ValueError(f"the audio file {path} is empty")
    if not np.isfinite(audio).all():
        raise ValueError(f"the audio file {path} holds values that are not finite (NaN or infinity)")
    padding = samples - audio.shape[1]
    return Decoded(np.ascontiguousarray(np.pad(audio, ((0, 0), (0, padding)))), rate, bits)
