"""The embedded dataset: clips in IRMAS's shape, rendered here from sampled instruments.

Nothing is downloaded. Each song of `aesens.data.rendered.songs` is rendered once, a track at a time, by symusic with
the SoundFont that pretty_midi ships; tracks get vibrato and swells (lead), level and place (all), then the mix gets a
room, a tuning and a loudness, and excerpts of 3 s are cut from it at different times, so that excerpts of a song
share their sound as in IRMAS. Files are 44.1 kHz, stereo, 16 bit, named by the IRMAS grammar.

A song depends on the seed, its instrument and its index alone: asking for more songs, excerpts or instruments
changes none. Clips are kept in ``cache_dir("data")`` under a hash of all that determines them.

These are synthetic clips: they exercise every step of the study and show how its methods behave, but conclusions
about music recordings need IRMAS.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import soundfile as sf
from scipy.signal import lfilter, oaconvolve

from aesens.cache import atomic_path, cache_dir, tqdm
from aesens.data.clips import INSTRUMENTS, Dataset, make_table, sort_instruments
from aesens.data.irmas import IrmasName, format_name, read_layout
from aesens.data.remember import file_hashes
from aesens.data.rendered.songs import LEADS, SECONDS, Part, Song, compose
from aesens.data.split import SEED

__all__ = ["MAX_EXCERPTS", "MAX_SONGS", "SAMPLE_RATE", "find_soundfont", "render_dataset", "render_song"]

#: Rate of the rendered clips in Hz, as in IRMAS.
SAMPLE_RATE = 44_100
#: Clips that a song has room for.
MAX_EXCERPTS = 4
#: Songs an instrument, at most.
MAX_SONGS = 800

# Instruments that have one ``lat_sou`` song beyond those asked for, for the study's rule that drops the genre.
_LATIN = ("gac", "tru", "voi")

#: Changed whenever the sound of a song changes.
_VERSION = 2
#: Seconds of an excerpt, and from one excerpt to the next on average; `SECONDS` holds `MAX_EXCERPTS` of them.
_CLIP = 3.0
_SLOT = 3.6
_SOUNDFONT = "TimGM6mb.sf2"
# What the clips' hashes were when they had been rendered.
_HASHES = "hashes.json"
_SOUNDFONT_SHA256 = "82475b91a76de15cb28a104707d3247ba932e228bada3f47bba63c6b31aaf7a1"

CITATION = (
    "Rendered on this machine from random scores with the SoundFont TimGM6mb by Tim Brechbill, which pretty_midi "
    "distributes; shaped after IRMAS (J. J. Bosch et al., ISMIR 2012)"
)
LICENCE = "SoundFont: GNU GPL 2; the rendered clips are not distributed"


def find_soundfont() -> Path:
    """The SoundFont that pretty_midi ships; `ValueError` if it is missing or is not the expected file."""
    spec = importlib.util.find_spec("pretty_midi")  # not imported: that takes a second
    path = Path(spec.origin).with_name(_SOUNDFONT) if spec else Path(_SOUNDFONT)
    if not path.is_file():
        raise ValueError(f"{_SOUNDFONT} was not found: install pretty_midi")
    if (found := _sha256(path)) != _SOUNDFONT_SHA256:
        raise ValueError(f"{path} has SHA-256 {found}, expected {_SOUNDFONT_SHA256}: reinstall pretty_midi")
    return path


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def render_dataset(
    seed: int = SEED,
    songs: int = 8,
    excerpts: int = 3,
    instruments: Iterable[str] | None = None,
) -> Dataset:
    """Render the embedded dataset, or find it in the cache.

    Parameters
    ----------
    seed : int
        Non-negative.
    songs : int
        Songs an instrument, at most `MAX_SONGS`; three instruments have one more, of genre ``lat_sou``.
    excerpts : int
        Excerpts a song, at most `MAX_EXCERPTS`.
    instruments : iterable of str, optional
        IRMAS codes; all eleven by default.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If a number is out of range, an instrument unknown or the SoundFont missing.
    """
    codes = sort_instruments(INSTRUMENTS if instruments is None else instruments)
    if unknown := [code for code in codes if code not in LEADS] or (not codes and ["none"]):
        raise ValueError(f"cannot render {', '.join(unknown)}; instruments are {', '.join(LEADS)}")
    for name, value, most in (("songs", songs, MAX_SONGS), ("excerpts", excerpts, MAX_EXCERPTS)):
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be between 1 and {most}, got {value}")
    font = find_soundfont()
    settings = {
        "version": _VERSION,
        "seed": int(seed),
        "songs": songs,
        "excerpts": excerpts,
        "instruments": codes,
        "soundfont": _sha256(font),
        "synthesizer": importlib.metadata.version("symusic"),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir("data") / f"rendered-{digest}"
    if folder.is_dir() and not _as_rendered(folder):
        shutil.rmtree(folder)  # someone removed or changed files, or a disk did
    if not folder.is_dir():
        with atomic_path(folder) as temporary:
            write = partial(_write_song, temporary, seed=seed, excerpts=excerpts, soundfont=font)
            wanted = _wanted(codes, songs)
            # Songs are independent and most of the work releases the interpreter's lock.
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                done = pool.map(write, wanted)
                list(tqdm(done, total=len(wanted), desc="rendering", unit="song"))
            (temporary / _HASHES).write_text(json.dumps(_hashes(temporary)))
    return Dataset(
        "rendered", "Rendered clips in IRMAS's shape", make_table(read_layout(folder)[0]), CITATION, LICENCE
    )


def _hashes(folder: Path) -> dict[str, str]:
    """Hash of each clip, by its place in the folder."""
    paths = sorted(folder.glob("*/*.wav"))
    return dict(zip((path.relative_to(folder).as_posix() for path in paths), file_hashes(paths), strict=True))


def _as_rendered(folder: Path) -> bool:
    """Whether the clips are those that were rendered."""
    try:
        return json.loads((folder / _HASHES).read_text()) == _hashes(folder)
    except (OSError, ValueError):
        return False


def _wanted(codes: list[str], songs: int) -> list[tuple[str, int, bool]]:
    """The songs to render: instrument, index among its songs, whether it is a ``lat_sou`` song."""
    wanted = [(code, index, False) for code in codes for index in range(songs)]
    return wanted + [(code, 0, True) for code in codes if code in _LATIN]


def _number(code: str, index: int, latin: bool) -> str:
    """Four digits, unique over the dataset and independent of what else is rendered."""
    block = MAX_SONGS + 10
    return f"{list(INSTRUMENTS).index(code) * block + index + 1 + (MAX_SONGS if latin else 0):04d}"


def _write_song(folder: Path, wanted: tuple[str, int, bool], *, seed: int, excerpts: int, soundfont: Path):
    """Render a song and write its excerpts."""
    code, index, latin = wanted
    song = compose(code, index, seed=seed, latin=latin)
    # Chance in the sound is drawn apart from chance in the notes.
    key = (list(INSTRUMENTS).index(code), index, int(latin), 1)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    starts = 0.4 + _SLOT * np.arange(MAX_EXCERPTS) + rng.uniform(0.0, _SLOT - _CLIP, MAX_EXCERPTS)
    audio = render_song(song, soundfont, rng)
    (folder / code).mkdir(parents=True, exist_ok=True)
    for excerpt in range(1, excerpts + 1):
        first = round(starts[excerpt - 1] * SAMPLE_RATE)
        clip = audio[:, first : first + round(_CLIP * SAMPLE_RATE)]
        prefix, drums = (song.prefix, song.drums) if song.tagged else ("", "")
        name = format_name(IrmasName(prefix, code, drums, song.genre, _number(code, index, latin), excerpt))
        sf.write(folder / code / name, clip.T, SAMPLE_RATE, subtype="PCM_16")


def render_song(song: Song, soundfont: str | os.PathLike, rng: np.random.Generator) -> np.ndarray:
    """Render a song to float64 (2, samples) at `SAMPLE_RATE`; `rng` draws the room's impulse response.

    It is scaled to the song's loudness but to a peak of at most -1 dB re full scale.
    """
    from symusic import Synthesizer

    synthesizer = Synthesizer(str(soundfont), SAMPLE_RATE, 0)
    lead = _unit(_vary(_render_part(song.lead, synthesizer), song))
    mix = _place(lead, song.lead.pan)
    if song.others:
        band = sum(
            _place(_unit(_render_part(part, synthesizer)) * 10 ** (part.level / 20), part.pan)
            for part in song.others
        )
        mix = mix + _unit(band) * 10 ** (-song.balance / 20)
    mix = _retune(mix + _room(mix, *song.reverb, rng), song.tuning)
    mix = _unit(mix) * 10 ** (song.loudness / 20)
    return mix * min(1.0, 10 ** (-1 / 20) / np.abs(mix).max())


def _render_part(part: Part, synthesizer) -> np.ndarray:
    """One track, mono. The synthesizer knows notes and programs only: no controllers, no pitch bend."""
    from symusic import Note, Score, Track

    track = Track("part", part.program, part.is_drum, ttype="second")
    for time, duration, pitch, velocity in part.notes:
        if time < SECONDS:
            track.notes.append(Note(time, min(duration, SECONDS - time), pitch, velocity, ttype="second"))
    score = Score(480, ttype="second")
    score.tracks.append(track)
    # The channels are averaged because some programs of the SoundFont sit wholly on one side.
    left, right = np.asarray(synthesizer.render(score, True))
    audio = 0.5 * (left.astype(np.float64) + right)
    # Some samples carry an offset, which the effects would treat as sound: a high-pass at 20 Hz removes it.
    audio = lfilter([1, -1], [1, 2 * np.pi * 20 / SAMPLE_RATE - 1], audio)
    samples = round(SECONDS * SAMPLE_RATE)
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))


def _unit(audio: np.ndarray) -> np.ndarray:
    """Scale to a root mean square of 1 a channel."""
    return audio / np.sqrt(np.mean(np.square(audio)))


def _place(mono: np.ndarray, pan: float) -> np.ndarray:
    """Mono to stereo at constant power."""
    angle = (pan + 1) * np.pi / 4
    return np.sqrt(2) * np.stack([np.cos(angle) * mono, np.sin(angle) * mono])


def _vary(mono: np.ndarray, song: Song) -> np.ndarray:
    """Vibrato that sets in within each note, and swells, one a note of at least a third of a second."""
    time = np.arange(len(mono)) / SAMPLE_RATE
    depth, swell = np.zeros(len(mono)), np.zeros(len(mono))
    for start, duration, _, _ in song.lead.notes:
        first, last = (round(t * SAMPLE_RATE) for t in (start, min(start + duration, SECONDS)))
        if last - first >= SAMPLE_RATE / 3:
            within = np.linspace(0.0, 1.0, last - first)
            depth[first:last] = np.clip(3 * within - 0.6, 0, 1) * np.clip(8 * (1 - within), 0, 1)
            swell[first:last] = np.sin(np.pi * within) - 0.6
    cents, rate = song.vibrato
    # A delay that swings by d seconds at rate f shifts the pitch by 2 pi f d, relatively.
    swing = (2 ** (cents / 1200) - 1) / (2 * np.pi * rate)
    delayed = np.interp(time + swing * depth * np.sin(2 * np.pi * rate * time), time, mono)
    smooth = 1 - np.exp(-1 / (0.01 * SAMPLE_RATE))
    gain = lfilter([smooth], [1, smooth - 1], song.swell * swell)
    return delayed * 10 ** (gain / 20)


def _room(stereo: np.ndarray, seconds: float, level: float, rng: np.random.Generator) -> np.ndarray:
    """Reverberation alone: decaying noise as impulse response, darker and darker as real rooms are."""
    samples = round(seconds * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(samples) / samples)
    response = lfilter([0.35], [1, -0.65], rng.standard_normal((2, samples)) * decay, axis=1)
    response = np.pad(response, ((0, 0), (round(0.012 * SAMPLE_RATE), 0)))
    response *= 10 ** (level / 20) / np.sqrt(np.sum(response**2, axis=1, keepdims=True))
    wet = oaconvolve(stereo.astype(np.float32), response.astype(np.float32), axes=1)
    return wet[:, : stereo.shape[1]]


def _retune(stereo: np.ndarray, cents: float) -> np.ndarray:
    """Play faster or slower by an interval; zeros where the source is used up."""
    time = np.arange(stereo.shape[1])
    return np.stack([np.interp(time * 2 ** (cents / 1200), time, channel, right=0.0) for channel in stereo])
