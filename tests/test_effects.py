"""Each effect against its definition, independently computed."""

import numpy as np
import pytest
from scipy import signal

from aesens.effects import EFFECTS, Effect, chebyshev_lowpass, effect, register

RATE = 44100


@pytest.fixture
def audio():
    return (0.1 * np.random.default_rng(0).standard_normal((2, RATE))).astype(np.float32)


def test_grids_are_those_of_the_study():
    gain, lowpass, reverb, bitcrush = (EFFECTS[n].grid for n in ("gain", "lowpass", "reverb", "bitcrush"))
    assert len(gain) == 31 and gain[0] == -40 and gain[-1] == 5 and np.allclose(np.diff(gain), 1.5)
    assert len(lowpass) == 31 and np.isclose(lowpass[0], 22000 / 1.2) and np.isclose(lowpass[-1], 1600)
    assert np.allclose(lowpass[1:] / lowpass[:-1], lowpass[1] / lowpass[0])
    assert len(reverb) == 34 and np.allclose(reverb, np.linspace(0.01, 1.0, 100)[::3])
    assert bitcrush.tolist() == list(range(15, 3, -1))


def test_every_effect_keeps_shape_and_dtype_and_leaves_its_input_alone(audio):
    before = audio.copy()
    for entry in EFFECTS.values():
        processed = entry(audio, RATE, entry.grid[-1])
        assert processed.shape == audio.shape and processed.dtype == np.float32
        assert np.array_equal(audio, before)
        assert np.array_equal(processed, entry(audio, RATE, entry.grid[-1]))


@pytest.mark.parametrize("value", [-40.0, -1.0, 5.0])
def test_gain_is_a_factor(audio, value):
    assert np.allclose(EFFECTS["gain"](audio, RATE, value), audio * 10 ** (value / 20), rtol=1e-5)


@pytest.mark.parametrize("bits", [4, 9, 15])
def test_bitcrush_leaves_multiples_of_a_step(audio, bits):
    crushed = EFFECTS["bitcrush"](audio, RATE, bits) * 2.0**bits
    assert np.allclose(crushed, np.round(crushed), atol=1e-3)
    assert np.abs(crushed / 2.0**bits - audio).max() <= 2.0**-bits


@pytest.mark.parametrize("cutoff", [EFFECTS["lowpass"].grid[0], 5000.0, 1600.0])
def test_lowpass_meets_its_specification(cutoff):
    frequencies = np.linspace(1, RATE / 2 - 1, 4000)
    _, response = signal.sosfreqz(chebyshev_lowpass(cutoff, RATE), frequencies, fs=RATE)
    level = 20 * np.log10(np.abs(response) + 1e-12)
    assert level[frequencies <= cutoff / 1.1].min() >= -3.001
    assert level[frequencies >= cutoff * 1.1].max() <= -79.99


def test_lowpass_output_has_that_response():
    impulse = np.zeros((1, RATE), np.float32)
    impulse[0, 0] = 1
    spectrum = np.abs(np.fft.rfft(EFFECTS["lowpass"](impulse, RATE, 4000.0)[0]))
    frequencies = np.fft.rfftfreq(RATE, 1 / RATE)
    assert spectrum[frequencies < 3600].min() > 0.7 and spectrum[frequencies > 4400].max() < 2e-4


def test_reverb_adds_a_tail_that_grows_with_the_room():
    click = np.zeros((1, RATE), np.float32)
    click[0, 0] = 1
    tails = [np.square(EFFECTS["reverb"](click, RATE, r)[0, RATE // 2 :]).sum() for r in (0.1, 0.5, 0.97)]
    assert tails[0] < tails[1] < tails[2]


def test_no_state_passes_from_one_clip_to_the_next(audio):
    quiet = np.zeros_like(audio)
    for entry in EFFECTS.values():
        entry(audio, RATE, entry.grid[-1])
        assert np.abs(entry(quiet, RATE, entry.grid[-1])).max() < 1e-6, entry.name


@pytest.mark.parametrize(
    ("name", "value", "rate"),
    [
        ("gain", np.nan, RATE),
        ("bitcrush", 33, RATE),
        ("bitcrush", 0, RATE),
        ("reverb", 1.5, RATE),
        ("lowpass", 8000, 16000),
        ("lowpass", 7900, 16000),
        ("lowpass", np.inf, RATE),
    ],
)
def test_values_without_sense_are_refused(audio, name, value, rate):
    with pytest.raises(ValueError, match=name):
        EFFECTS[name](audio, rate, value)


def test_bad_audio_is_refused(audio):
    with pytest.raises(ValueError, match="channels, samples"):
        EFFECTS["gain"](audio[0], RATE, 0)
    audio[0, 5] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        EFFECTS["gain"](audio, RATE, 0)


def test_parameters_keep_both_ends_and_the_order():
    for entry in EFFECTS.values():
        few = entry.parameters(5)
        assert few[0] == entry.grid[0] and few[-1] == entry.grid[-1] and len(set(few)) == 5
        assert np.array_equal(entry.parameters(), entry.grid)
        with pytest.raises(ValueError, match="at least 2"):
            entry.parameters(1)


def test_departure_is_smallest_next_to_the_identity():
    gain = EFFECTS["gain"]
    assert gain.identity_inside and not EFFECTS["bitcrush"].identity_inside
    parameters = gain.parameters()
    assert abs(parameters[np.argmin(gain.departure(parameters))]) <= 0.75
    assert np.array_equal(EFFECTS["reverb"].departure(np.arange(4)), np.arange(4))


def test_registry():
    with pytest.raises(ValueError, match="gain, lowpass"):
        effect("flanger")
    with pytest.raises(ValueError, match="already"):
        register(EFFECTS["gain"])
    flip = Effect("flip", lambda a, r, v: a[:, ::-1], np.arange(2.0), "Flip", "Turns")
    try:
        assert register(flip) is effect("flip")
    finally:
        del EFFECTS["flip"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([1.0], "two or more finite"),
        ([], "two or more finite"),
        ([[1.0, 2.0]], "two or more finite"),
        ([0.0, np.inf], "two or more finite"),
        ([0.0, np.nan, 2.0], "two or more finite"),
        ([0.0, 2.0, 1.0], "rise or fall throughout"),
        ([0.0, 0.0, 1.0], "rise or fall throughout"),
        (["a", "b"], "must hold numbers"),
    ],
)
def test_a_grid_that_is_no_sweep_is_refused(grid, message):
    with pytest.raises(ValueError, match=f"own: the grid .*{message}"):
        Effect("own", lambda a, r, v: a, grid, "Own", "Value")


def test_a_grid_is_kept_as_an_array_of_its_own():
    given = np.array([3, 2, 1])
    own = Effect("own", lambda a, r, v: a, given, "Own", "Value")
    given[0] = 9
    assert own.grid.tolist() == [3.0, 2.0, 1.0] and own.parameters(2).tolist() == [3.0, 1.0]


def test_an_effect_is_shown_as_a_table():
    shown = EFFECTS["lowpass"]._repr_html_()
    assert "<th>Cutoff (kHz)</th><td>18.33, " in shown and shown.count("<tr>") == 3
