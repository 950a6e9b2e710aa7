"""The audio effects and the grids their strength is swept over.

Conventions: audio is float32 ``(channels, samples)`` at the clip's native rate; an effect never changes the shape,
works in memory and starts every clip from a reset state, so that no reverberation tail leaks from one clip into the
next. A *parameter* is the physical value (dB, Hz, room size, bits); the *strength* is the rank of that value in the
effect's grid, from nearly clean to strongest. Gain, whose two ends are both strong, is ordered by its parameter, and
only its distance from 0 dB says how far it departs from the clean clip.

A *protocol* says how an effected clip reaches a network (`render`). The study wrote each one with pedalboard and read
it back, so that its networks heard 16-bit files, clipped at full scale: that is ``study``. ``float`` leaves the file
out. What an effect calls its identity (0 dB) leaves a clip alone under ``float`` only: the 16-bit file takes one step
from every negative sample, whatever the effect.

The grids are those of Deng et al. (ICASSP 2025, section 3.1), the chain that of their script
2A.2_featureExtract_audioEffects.py (GitHub vdng9338/audio-embedding-sensitivity).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from html import escape

import numpy as np
import pedalboard
from scipy import signal

from aesens.data.clips import Decoded
from aesens.sources import source_of

__all__ = ["EFFECTS", "PROTOCOLS", "Effect", "effect", "register", "render", "through_file"]

#: How effected audio reaches the networks: through a 16-bit file, as in the study, or in floating point.
PROTOCOLS = ("study", "float")


@dataclass(frozen=True, eq=False)
class Effect:
    """An audio effect with one parameter.

    Parameters
    ----------
    name : str
        Registry name, e.g. ``"lowpass"``.
    process : callable
        ``process(audio, sample_rate, value) -> audio``, stateless.
    grid : array-like, shape (strength,)
        Parameter values in order of strength: two or more, finite, rising or falling throughout. Kept as an array.
    title, parameter, unit : str
        The effect and its parameter for people, e.g. ``"Low-pass filtering"``, ``"Cutoff"``, ``"kHz"``.
    limits : tuple of float
        Smallest and largest value allowed, both included.
    identity : float or None
        Value that leaves the clip as it is, in floating point; None if there is none (reverb mixes wet and dry at
        every room size).
    display : float
        Factor from the parameter to the unit shown, e.g. 0.001 from Hz to kHz.
    log : bool
        Whether the parameter is shown on a logarithmic axis.
    below_nyquist : bool
        Whether the value is a frequency that must stay below half the sample rate.
    settings : dict
        Whatever else determines the result; part of a store's address.

    Raises
    ------
    ValueError
        If the grid is no such sequence of numbers.
    """

    name: str
    process: Callable[[np.ndarray, int, float], np.ndarray]
    grid: np.ndarray
    title: str
    parameter: str
    unit: str = ""
    limits: tuple[float, float] = (-np.inf, np.inf)
    identity: float | None = None
    display: float = 1.0
    log: bool = False
    below_nyquist: bool = False
    settings: dict = field(default_factory=dict)

    def __post_init__(self):
        try:
            grid = np.array(self.grid, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.name}: the grid must hold numbers: {error}") from error
        if grid.ndim != 1 or len(grid) < 2 or not np.isfinite(grid).all():
            raise ValueError(f"{self.name}: the grid must be two or more finite numbers, got {self.grid!r}")
        steps = np.diff(grid)
        if not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(f"{self.name}: the grid must rise or fall throughout, got {self.grid!r}")
        # The one way to set a field of a frozen class.
        object.__setattr__(self, "grid", grid)

    @property
    def label(self) -> str:
        """Axis label: the parameter and its unit."""
        return f"{self.parameter} ({self.unit})" if self.unit else self.parameter

    @property
    def identity_inside(self) -> bool:
        """Whether the identity lies within the grid, so that both of its ends are strong."""
        return self.identity is not None and self.grid.min() < self.identity < self.grid.max()

    def parameters(self, n: int | None = None) -> np.ndarray:
        """Parameter values (strength,) in order of strength: `n` spread over the grid with both ends kept, or all.

        Examples
        --------
        >>> EFFECTS["bitcrush"].parameters(3)
        array([15.,  9.,  4.])
        """
        if n is None or n >= len(self.grid):
            return self.grid.copy()
        if n < 2:
            raise ValueError(f"a sweep of {self.name} needs at least 2 strengths, got {n}")
        return self.grid[np.round(np.linspace(0, len(self.grid) - 1, n)).astype(int)]

    def departure(self, parameters: np.ndarray) -> np.ndarray:
        """How far each of some parameters (strength,), in order of strength, is from leaving the clip as it is.

        The distance from the identity where that lies inside the grid, else the strength itself.
        """
        if self.identity_inside:
            return np.abs(np.asarray(parameters, dtype=float) - self.identity)
        return np.arange(len(parameters), dtype=float)

    def check(self, value: float, sample_rate: float) -> None:
        """Raise `ValueError` if `value` makes no sense for this effect at this rate."""
        low, high = self.limits
        if not np.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{self.name}: {self.label} = {value} is outside [{low:g}, {high:g}]")
        stopband = value * self.settings.get("edge", 1.0)
        if self.below_nyquist and stopband >= sample_rate / 2:
            raise ValueError(
                f"{self.name}: {value:g} Hz needs a stopband edge at {stopband:g} Hz, "
                f"which is not below half the sample rate of {sample_rate:g} Hz; "
                "use clips of a higher rate or leave this effect out (--effects)"
            )

    def __call__(self, audio: np.ndarray, sample_rate: int, value: float) -> np.ndarray:
        """Apply the effect with one parameter to audio (channels, samples), which gives a new array of its shape.

        The process is given a copy, on which it may work in place.

        Raises
        ------
        ValueError
            If `audio` is not (channels, samples) of finite values, the value is out of range, or the process gives
            another shape or values that are not finite.
        """
        self.check(value, sample_rate)
        audio = np.array(audio, dtype=np.float32)
        if audio.ndim != 2 or audio.shape[1] == 0:
            raise ValueError(f"{self.name}: audio must be (channels, samples), got shape {audio.shape}")
        if not np.isfinite(audio).all():
            raise ValueError(f"{self.name}: audio holds values that are not finite")
        processed = np.asarray(self.process(audio, sample_rate, float(value)), dtype=np.float32)
        if processed.shape != audio.shape:
            raise ValueError(f"{self.name} changed the shape from {audio.shape} to {processed.shape}")
        if not np.isfinite(processed).all():
            raise ValueError(f"{self.name} gave values that are not finite at {self.label} = {value:g}")
        return processed

    def describe(self) -> dict:
        """What determines the result, for the address of a store."""
        return {"name": self.name, **self.settings}

    def _repr_html_(self) -> str:
        values = ", ".join(f"{value * self.display:.4g}" for value in self.grid)
        rows = {"Effect": self.title, "Name": self.name, self.label: values}
        cells = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in rows.items()
        )
        return f"<table>{cells}</table>"


def _pedalboard(plugin, argument):
    """A process that builds the plugin anew for every clip: no state can pass from one to the next."""

    def process(audio, sample_rate, value):
        return plugin(**{argument: value})(audio, sample_rate, reset=True)

    return process


def _reverb(audio, sample_rate, value):
    # Of more than two channels pedalboard's reverb changes none, without a word: each is then one of its own.
    rooms = [audio] if len(audio) <= 2 else audio[:, None]
    return np.concatenate([_REVERB(room, sample_rate, value) for room in rooms])


_REVERB = _pedalboard(pedalboard.Reverb, "room_size")


#: Chebyshev II design of the study: passband edge f / edge, stopband edge f * edge.
_CHEBYSHEV = {"edge": 1.1, "passband_loss_db": 3.0, "stopband_db": 80.0}


@lru_cache(maxsize=256)
def chebyshev_lowpass(cutoff: float, sample_rate: float) -> np.ndarray:
    """The study's low-pass filter, as second-order sections (section, 6) for `scipy.signal.sosfilt`.

    For a cutoff f in Hz at most 3 dB are lost up to f / 1.1, at least 80 dB from 1.1 f on.
    """
    edge, loss, stop = _CHEBYSHEV.values()
    order, natural = signal.cheb2ord(cutoff / edge, cutoff * edge, loss, stop, fs=sample_rate)
    return signal.cheby2(order, stop, natural, output="sos", fs=sample_rate)


def _lowpass(audio, sample_rate, value):
    return signal.sosfilt(chebyshev_lowpass(value, sample_rate), audio, axis=-1)


_PEDALBOARD = {"pedalboard": pedalboard.__version__}

#: The registry, in the order of every figure and table.
EFFECTS: dict[str, Effect] = {
    entry.name: entry
    for entry in (
        Effect(
            "gain",
            _pedalboard(pedalboard.Gain, "gain_db"),
            grid=np.arange(-40.0, 5.1, 1.5),
            title="Gain",
            parameter="Gain",
            unit="dB",
            limits=(-120.0, 60.0),
            identity=0.0,
            settings=_PEDALBOARD,
        ),
        Effect(
            "lowpass",
            _lowpass,
            # In thousandths of a hertz, as the study has them.
            grid=np.round(np.geomspace(1600.0, 22000.0 / 1.2, 31), 3)[::-1],
            title="Low-pass filtering",
            parameter="Cutoff",
            unit="kHz",
            limits=(20.0, np.inf),
            identity=np.inf,
            display=1e-3,
            log=True,
            below_nyquist=True,
            settings=_CHEBYSHEV,
        ),
        Effect(
            "reverb",
            _reverb,
            grid=np.round(np.arange(0.01, 1.005, 0.03), 2),
            title="Reverberation",
            parameter="Room size",
            limits=(0.0, 1.0),
            settings=_PEDALBOARD,
        ),
        Effect(
            "bitcrush",
            _pedalboard(pedalboard.Bitcrush, "bit_depth"),
            grid=np.arange(15.0, 3.5, -1.0),
            title="Bitcrushing",
            parameter="Bit depth",
            unit="bit",
            limits=(1.0, 32.0),
            identity=16.0,
            settings=_PEDALBOARD,
        ),
    )
}


_SHIPPED = frozenset(EFFECTS)


def register(entry: Effect) -> Effect:
    """Add an effect, so that every notebook, figure and table takes it by its name.

    Parameters
    ----------
    entry : Effect
        An own effect of the same name is replaced, so that a cell can be run again.

    Returns
    -------
    Effect
        With the source of its process among the settings, see `aesens.sources`: a changed process is another effect.

    Raises
    ------
    ValueError
        If the name is ``"clean"`` or that of one of the package's, or a value of the grid is outside the limits.

    Examples
    --------
    >>> import numpy as np
    >>> half = Effect("half", lambda audio, rate, times: audio / 2**times, np.arange(1.0, 4.0), "Halving", "Times")
    >>> register(half).title, effect("half").parameters(3).tolist()
    ('Halving', [1.0, 2.0, 3.0])
    >>> _ = EFFECTS.pop("half")
    """
    if entry.name in {*_SHIPPED, "clean"}:
        raise ValueError(f"an effect named {entry.name!r} is there already; choose another name")
    entry = replace(entry, settings={**entry.settings, "source": source_of(entry.process)})
    for value in entry.grid:
        entry.check(value, np.inf)
    EFFECTS[entry.name] = entry
    return entry


def effect(name: str) -> Effect:
    """Return the effect registered under `name`; `ValueError` names the known ones otherwise."""
    if name not in EFFECTS:
        raise ValueError(f"no effect named {name!r}; there are {', '.join(EFFECTS)}")
    return EFFECTS[name]


def through_file(audio: np.ndarray) -> np.ndarray:
    """What is left of audio that pedalboard writes to a 16-bit wav file and soundfile reads back, sample for sample.

    The writer scales to 32 bits, clips, and keeps the upper half, which rounds down; the reader divides by 32 768.
    Without the file, since in memory pedalboard writes one by calling back Python, which one thread can do at a time.

    Parameters
    ----------
    audio : np.ndarray, float32

    Returns
    -------
    np.ndarray, float32
        Multiples of 2^-15 within [-1, 1), of the same shape.

    Examples
    --------
    >>> audio = np.array([[1.8e-5, -1.8e-5, 1.6, -1.6]], dtype=np.float32)
    >>> (through_file(audio) * 32768).tolist()
    [[0.0, -1.0, 32767.0, -32768.0]]
    """
    scaled = np.clip(audio.astype(np.float64), -1, 1) * (2**31 - 1)
    return (np.rint(scaled).astype(np.int32) >> 16).astype(np.float32) / np.float32(2**15)


def render(kind: Effect | None, clip: Decoded, value: float, protocol: str) -> np.ndarray:
    """An effected clip (channels, samples) as the networks are given it.

    Parameters
    ----------
    kind : Effect or None
        None for the bare file: the round trip with nothing in between.
    clip : Decoded
        Of `aesens.data.clips.Dataset.decode`.
    value : float
        The parameter; not looked at for the bare file.
    protocol : {"study", "float"}
        Whether the effect works on what pedalboard reads and its result goes `through_file`, or it works on the clean
        clip and its result stays as it is.

    Examples
    --------
    >>> clip = Decoded(np.array([[0.5, -0.5]], dtype=np.float32), 44100, bits=16)
    >>> for protocol in PROTOCOLS:
    ...     print(protocol, (render(effect("gain"), clip, 0.0, protocol) * 32768).tolist())
    study [[16384.0, -16385.0]]
    float [[16384.0, -16384.0]]
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol={protocol!r} is not one of {', '.join(PROTOCOLS)}")
    audio = clip.dry if protocol == "study" else clip.audio
    if kind is not None:
        audio = kind(audio, clip.sample_rate, value)
    return through_file(audio) if protocol == "study" else audio
