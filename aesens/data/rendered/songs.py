"""Random but plausible little songs with one predominant instrument: notes and mix settings, no sound yet.

Conventions: times and durations in seconds, pitches and programs as in General MIDI (programs counted from 0),
levels in dB, pans from -1 (left) to 1 (right). A song is determined by the seed, the instrument and the song's
index alone, whatever else is asked for. Harmony is a loop of diatonic chords, one a bar; the predominant instrument
plays a random walk on the scale that meets the chord on strong beats, or breaks chords where that is idiomatic, in
its range and at its density; genres follow the instrument as they do in IRMAS.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

from aesens.data.clips import INSTRUMENTS

__all__ = ["LEADS", "SECONDS", "Lead", "Part", "Song", "compose"]

#: Length of a song.
SECONDS = 15.5


@dataclass(frozen=True)
class Lead:
    """How an instrument is played when it leads; two numbers are the least and the greatest."""

    programs: list[int]  # General MIDI programs to choose from
    low: int  # range in MIDI pitch
    high: int
    # Probability of a melody alone (line) or over its own chords (keys), of broken and struck chords (broken, strum).
    styles: dict[str, float]
    beats: list[float]  # note lengths of a melody to choose from
    legato: list[float]  # sounding part of a note
    vibrato: list[float]  # depth in cents
    swell: float  # greatest depth in dB of swells within notes and phrases; 0 where a note cannot swell
    genres: list[float]  # weights of `_WEIGHTED`: the clips of this instrument in IRMAS


@dataclass(frozen=True)
class _Genre:
    """Tempo range, scales, chord loops (degrees), accompanying programs and the probability of drums."""

    tempo: list[float]
    modes: list[str]
    loops: list[list[int]]
    chords: list[int]
    basses: list[int]
    drums: float
    swing: float = 0.0


_STATED = tomllib.loads(files(__package__).joinpath("styles.toml").read_text(encoding="utf-8"))
#: How each instrument plays the lead.
LEADS = {code: Lead(**entry) for code, entry in _STATED["leads"].items()}
_GENRES = {code: _Genre(**entry) for code, entry in _STATED["genres"].items()}
_WEIGHTED = ("cla", "cou_fol", "jaz_blu", "pop_roc")
_SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}

#: Strokes of a bar as (position within the bar, General MIDI drum, velocity); positions in bars.
_BEATS = {
    "pop_roc": (
        [(n / 8, 42, 70 if n % 2 else 85) for n in range(8)]
        + [(0, 36, 112), (0.5, 36, 105), (0.25, 38, 108), (0.75, 38, 108)]
    ),
    "jaz_blu": (
        [(0, 51, 80), (0.25, 51, 92), (0.375, 51, 70), (0.5, 51, 80), (0.75, 51, 92), (0.875, 51, 70)]
        + [(0.25, 44, 70), (0.75, 44, 70), (0, 36, 60), (0.625, 38, 48)]
    ),
    "cou_fol": ([(n / 8, 38, 88 if n % 4 == 2 else 45) for n in range(8)] + [(0, 36, 100), (0.5, 36, 100)]),
    "lat_sou": (
        [(n / 8, 70, 62 if n % 2 else 80) for n in range(8)]
        + [(0, 75, 90), (3 / 16, 75, 90), (6 / 16, 75, 90), (10 / 16, 75, 90), (12 / 16, 75, 90)]
        + [(0.25, 62, 85), (0.375, 64, 80), (0.75, 63, 85), (0.875, 64, 90), (0, 36, 90)]
    ),
}


@dataclass(frozen=True)
class Part:
    """Notes ``(time, duration, pitch, velocity)`` for one program, with its level and pan in the mix."""

    program: int
    notes: list[tuple[float, float, int, int]] = field(repr=False)
    level: float = 0.0
    pan: float = 0.0
    is_drum: bool = False


@dataclass(frozen=True)
class Song:
    """A composed song."""

    instrument: str
    genre: str
    drums: str  # "dru" or "nod"
    tagged: bool  # whether file names carry prefix and drum tag; in IRMAS they come together or not at all
    prefix: str  # three digits
    lead: Part
    others: list[Part]  # the accompaniment; none in a solo
    balance: float  # level of the lead over the accompaniment as a whole
    vibrato: tuple[float, float]  # depth in cents and rate in Hz
    swell: float  # depth in dB
    tuning: float  # deviation from 440 Hz in cents
    reverb: tuple[float, float]  # reverberation time in seconds and level of the reverberation
    loudness: float  # root mean square in dB re full scale


class _Harmony:
    """Key, metre, tempo and chords of a song."""

    def __init__(self, genre: _Genre, rng: np.random.Generator, in_three: bool):
        self.tonic = int(rng.integers(12))
        self.scale = _SCALES[str(rng.choice(genre.modes))]
        self.loop = genre.loops[int(rng.integers(len(genre.loops)))]
        self.beats = 3 if in_three else 4
        self.beat = 60.0 / float(rng.uniform(*genre.tempo))
        self.bars = int(np.ceil(SECONDS / (self.beat * self.beats)))
        self.swing = genre.swing

    def time(self, bar: int, beat: float) -> float:
        """Seconds at a beat of a bar; swing delays what falls between the beats."""
        fraction = beat % 1.0
        late = self.swing * (1 - abs(2 * fraction - 1))
        return (bar * self.beats + beat + late) * self.beat

    def pitch(self, degree: int) -> int:
        """MIDI pitch of a scale degree, degree 0 being the tonic in the lowest octave."""
        return self.tonic + 12 * (degree // 7) + self.scale[degree % 7]

    def chord(self, bar: int, low: int, size: int = 3) -> list[int]:
        """Pitches of the bar's chord, the first `size` tones at or above `low`."""
        root = self.loop[bar % len(self.loop)]
        classes = {self.pitch(root + step) % 12 for step in (0, 2, 4)}
        return [pitch for pitch in range(low, low + 12 * size) if pitch % 12 in classes][:size]

    def root(self, bar: int, low: int) -> int:
        """The root of the bar's chord, in the octave above `low`."""
        return low + (self.pitch(self.loop[bar % len(self.loop)]) - low) % 12


def compose(instrument: str, index: int, *, seed: int, latin: bool = False) -> Song:
    """Compose a song.

    Parameters
    ----------
    instrument : str
        Key of `LEADS`.
    index : int
        Number of the song among those of the instrument.
    seed : int
    latin : bool
        Make it ``lat_sou``; otherwise it is any other genre that the instrument plays.
    """
    lead = LEADS[instrument]
    key = (list(INSTRUMENTS).index(instrument), index, int(latin))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    weights = np.asarray(lead.genres, dtype=float)
    code = "lat_sou" if latin else str(rng.choice(_WEIGHTED, p=weights / weights.sum()))
    genre = _GENRES[code]
    with_drums = bool(rng.random() < genre.drums)
    harmony = _Harmony(genre, rng, in_three=not with_drums and rng.random() < 0.3)
    program = int(rng.choice(lead.programs))
    notes = _lead_notes(lead, harmony, rng)
    others = _accompaniment(code, lead, harmony, rng, with_drums)
    return Song(
        instrument=instrument,
        genre=code,
        drums="dru" if with_drums else "nod",
        tagged=bool(rng.random() < 0.7),
        prefix=f"{rng.integers(1, 200):03d}",
        lead=Part(program, notes, pan=float(rng.uniform(-0.3, 0.3))),
        others=others,
        balance=float(rng.uniform(-2.0, 9.0)),
        vibrato=(float(rng.uniform(*lead.vibrato)), float(rng.uniform(4.5, 6.5))),
        swell=float(rng.uniform(0.0, lead.swell)),
        tuning=float(rng.uniform(-20.0, 20.0)),
        reverb=(float(rng.uniform(0.25, 1.4)), float(rng.uniform(-24.0, -9.0))),
        loudness=float(rng.uniform(-24.0, -16.0)),
    )


def _note(time, duration, pitch, velocity, rng) -> tuple[float, float, int, int]:
    """A note played by a person: a little early or late, a little louder or softer."""
    start = max(0.0, time + float(rng.normal(0.0, 0.006)))
    loud = int(np.clip(velocity + rng.integers(-9, 10), 20, 127))
    return start, max(0.05, float(duration)), int(pitch), loud


def _lead_notes(lead: Lead, harmony: _Harmony, rng: np.random.Generator) -> list:
    styles = list(lead.styles)
    style = str(rng.choice(styles, p=list(lead.styles.values())))
    velocity = int(rng.integers(72, 112))
    if style in ("broken", "strum"):
        low = int(rng.integers(lead.low, lead.low + 10))
        play = _broken if style == "broken" else _strum
        return play(harmony, rng, low, velocity, size=int(rng.integers(4, 7)), legato=lead.legato[1])
    notes = _melody(lead, harmony, rng, velocity)
    if style == "keys":
        low = lead.low + int(rng.integers(0, 6))
        left_hand = (_broken, _held, _strum)[int(rng.integers(3))]
        notes += left_hand(harmony, rng, low, velocity - 16, size=3, legato=0.95)
    return notes


def _melody(lead: Lead, harmony: _Harmony, rng: np.random.Generator, velocity: int) -> list:
    """A random walk on the scale within a window of the range; chord tones on strong beats, short rests."""
    span = min(17, lead.high - lead.low)
    low = int(rng.integers(lead.low, lead.high - span + 1))
    high = low + span
    degrees = [degree for degree in range(80) if low <= harmony.pitch(degree) <= high]
    # A song keeps to few note lengths, else every song would have the same rhythm on average.
    lengths = rng.choice(lead.beats, size=3)
    legato = float(rng.uniform(*lead.legato))
    position = len(degrees) // 2
    notes = []
    for bar in range(harmony.bars):
        chord = {pitch % 12 for pitch in harmony.chord(bar, 48)}
        beat = 0.0
        while beat < harmony.beats - 1e-6:
            length = min(float(rng.choice(lengths)), harmony.beats - beat)
            position += int(rng.choice((-4, -2, -1, -1, 0, 1, 1, 2, 3)))
            position = int(np.clip(abs(position), 0, 2 * len(degrees) - 2))
            position = min(position, 2 * (len(degrees) - 1) - position)
            if beat % 2 == 0:
                tones = [n for n, degree in enumerate(degrees) if harmony.pitch(degree) % 12 in chord]
                position = min(tones, key=lambda n: abs(n - position))
            resting = length <= 1 and notes and rng.random() < 0.08
            if not resting:
                arch = 8 * np.sin(np.pi * ((bar % 2) + beat / harmony.beats) / 2)
                start = harmony.time(bar, beat)
                duration = (harmony.time(bar, beat + length) - start) * legato
                notes.append(_note(start, duration, harmony.pitch(degrees[position]), velocity + arch, rng))
            beat += length
    return notes


def _broken(harmony, rng, low, velocity, *, size, legato) -> list:
    """Broken chords in eighths or sixteenths."""
    step = float(rng.choice((0.25, 0.5, 0.5)))
    order = rng.permutation(size) if rng.random() < 0.4 else np.r_[0:size, size - 2 : 0 : -1]
    notes = []
    for bar in range(harmony.bars):
        chord = harmony.chord(bar, low, size)
        for count, beat in enumerate(np.arange(0, harmony.beats, step)):
            pitch = chord[int(order[count % len(order)]) % len(chord)]
            start = harmony.time(bar, float(beat))
            notes.append(_note(start, 2 * step * harmony.beat * legato, pitch, velocity, rng))
    return notes


def _strum(harmony, rng, low, velocity, *, size, legato) -> list:
    """Chords struck in a rhythm that the song keeps, low strings first."""
    places = np.arange(0, harmony.beats, 0.5)
    struck = places[(places % harmony.beats == 0) | (rng.random(len(places)) < 0.55)]
    lengths = np.diff(np.append(struck, harmony.beats))
    spread = float(rng.uniform(0.004, 0.02))
    notes = []
    for bar in range(harmony.bars):
        chord = harmony.chord(bar, low, size)
        for beat, length in zip(struck, lengths, strict=True):
            start, duration = harmony.time(bar, float(beat)), length * harmony.beat * min(legato, 1.0)
            notes += [_note(start + n * spread, duration, p, velocity, rng) for n, p in enumerate(chord)]
    return notes


def _held(harmony, rng, low, velocity, *, size, legato) -> list:
    """Chords held for a bar."""
    length = harmony.beats * harmony.beat * legato
    return [
        _note(harmony.time(bar, 0.0), length, pitch, velocity, rng)
        for bar in range(harmony.bars)
        for pitch in harmony.chord(bar, low, size)
    ]


def _accompaniment(code, lead: Lead, harmony, rng, with_drums) -> list[Part]:
    """Chords, bass and drums of a genre on instruments other than the lead's own; a solo now and then."""
    genre = _GENRES[code]
    if not with_drums and rng.random() < (0.3 if code == "cla" else 0.1):
        return []
    parts = []
    programs = [program for program in genre.chords if program not in lead.programs]
    play = (_held, _broken, _strum)[int(rng.choice(3, p=(0.45, 0.3, 0.25)))]
    notes = play(harmony, rng, int(rng.integers(46, 56)), 78, size=3, legato=0.95)
    side = float(rng.choice((-1, 1)))
    parts.append(Part(int(rng.choice(programs)), notes, pan=side * float(rng.uniform(0.1, 0.6))))
    if code != "cla" or rng.random() < 0.6:
        notes = _bass(harmony, rng, walking=code == "jaz_blu")
        parts.append(Part(int(rng.choice(genre.basses)), notes, level=float(rng.uniform(-5, 1))))
    if with_drums:
        notes = [
            _note(harmony.time(bar, place * harmony.beats), 0.2, drum, loud, rng)
            for bar in range(harmony.bars)
            for place, drum, loud in _BEATS[code]
        ]
        parts.append(Part(0, notes, float(rng.uniform(-6, 2)), -side * float(rng.uniform(0, 0.3)), True))
    return parts


def _bass(harmony, rng, *, walking: bool) -> list:
    """Root and fifth, or a walk of chord tones in quarters."""
    low = 31
    notes = []
    for bar in range(harmony.bars):
        root = harmony.root(bar, low)
        if walking:
            tones = [root, *(int(p) for p in rng.choice(harmony.chord(bar, low, 5), size=harmony.beats - 1))]
            lengths = [1.0] * harmony.beats
        else:
            tones, lengths = [root, root + 7], [2.0, harmony.beats - 2.0]
        beat = 0.0
        for pitch, length in zip(tones, lengths, strict=True):
            notes.append(_note(harmony.time(bar, beat), length * harmony.beat * 0.92, pitch, 92, rng))
            beat += length
    return notes
