"""What a network is given of an effected clip, against the authors' chain built of pedalboard, SciPy and soundfile."""

import json

import numpy as np
import pedalboard
import pytest
import soundfile as sf
import torch
from pedalboard.io import AudioFile
from scipy import signal
from support import ToyModel, all_train

from aesens import tables
from aesens.data import Decoded, load_dataset
from aesens.effects import EFFECTS, render, through_file
from aesens.embeddings.extract import Plan, extract
from aesens.models import MODELS, Entry, WeightsInfo
from aesens.models.base import mono_at_rate
from aesens.plots.player import protocol_differences
from aesens.settings import Profile, Scale
from aesens.study import PROTOCOLS_SHOWN, Study

RATE = 44100
GRIDS = {
    "gain": np.arange(-40.0, 5.01, 1.5),
    "lowpass": np.round(np.geomspace(1600, 22000 / 1.2, num=31), 3),
    "reverb": np.linspace(0.01, 1, num=100)[::3],
    "bitcrush": np.arange(4, 16),
}


def write_music(path, channels, peak, *, samples=RATE * 3 // 2, subtype="PCM_16", seed=0):
    """Noise and a tone whose samples reach `peak`, both signs; every channel is another."""
    rng = np.random.default_rng(seed)
    audio = rng.standard_normal((samples, channels)) + 2 * np.sin(0.03 * np.arange(samples))[:, None]
    sf.write(path, peak * audio / np.abs(audio).max(), RATE, subtype=subtype)
    return path


def authors_chain(path, out, name, value):
    """Reads, applies the effect in pieces of a second and writes with pedalboard; soundfile reads.

    The reset of the reverb between clips is the one [fix]: their plugin is made anew here for every file.
    """
    plugins = {
        "gain": pedalboard.Gain,
        "reverb": lambda size: pedalboard.Reverb(room_size=size),
        "bitcrush": pedalboard.Bitcrush,
    }
    with (
        AudioFile(str(path)) as source,
        AudioFile(str(out), "w", source.samplerate, source.num_channels) as sink,
    ):
        if name == "lowpass":
            order, natural = signal.cheb2ord(value / 1.1, value * 1.1, 3, 80, fs=RATE)
            sos = signal.cheby2(order, 80, natural, "lowpass", output="sos", fs=RATE)
            sink.write(signal.sosfilt(sos, source.read(source.frames)))
        else:
            board = pedalboard.Pedalboard([plugins[name](value)])
            while source.tell() < source.frames:
                sink.write(board(source.read(source.samplerate), source.samplerate, reset=False))
    return sf.read(out, dtype="float32", always_2d=True)[0].T


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("peak", [0.004, 0.99997], ids=["quiet", "loud"])
def test_every_setting_of_the_study_is_the_authors_sample_for_sample(tmp_path, channels, peak):
    (tmp_path / "own").mkdir()
    path = write_music(tmp_path / "own" / "clip.wav", channels, peak)
    clip = load_dataset(tmp_path, seconds=1.5).decode("own/clip")
    settings = 0
    for name, grid in GRIDS.items():
        np.testing.assert_array_equal(np.sort(EFFECTS[name].grid).astype(np.float32), grid.astype(np.float32))
        for value in np.sort(EFFECTS[name].grid):
            expected = authors_chain(path, tmp_path / "out.wav", name, float(grid[settings % len(grid)]))
            settings += 1
            np.testing.assert_array_equal(
                render(EFFECTS[name], clip, value, "study"), expected, f"{name} {value}"
            )
        assert settings == len(grid)
        settings = 0
    assert sum(map(len, GRIDS.values())) == 108


@pytest.mark.parametrize(
    ("ending", "subtype"),
    [
        ("wav", "PCM_16"),
        ("wav", "PCM_24"),
        ("wav", "PCM_U8"),
        ("wav", "PCM_32"),
        ("wav", "FLOAT"),
        ("flac", "PCM_16"),
        ("flac", "PCM_24"),
        ("aiff", "PCM_16"),
        ("aiff", "PCM_24"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_effects_are_given_what_pedalboard_reads(tmp_path, ending, subtype, channels):
    (tmp_path / "own").mkdir()
    path = write_music(tmp_path / "own" / f"clip.{ending}", channels, 0.9, subtype=subtype)
    clip = load_dataset(tmp_path, seconds=1.5).decode("own/clip")
    with AudioFile(str(path)) as file:
        np.testing.assert_array_equal(clip.dry, file.read(file.frames))
    np.testing.assert_array_equal(clip.audio, sf.read(path, dtype="float32", always_2d=True)[0].T)


def test_short_and_long_files_are_padded_and_cut_before_the_effect(tmp_path):
    (tmp_path / "own").mkdir()
    write_music(tmp_path / "own" / "short.wav", 2, 0.5, samples=RATE // 2)
    write_music(tmp_path / "own" / "long.wav", 2, 0.5, samples=RATE * 2)
    data = load_dataset(tmp_path, seconds=1.0)
    short, long = data.decode("own/short"), data.decode("own/long")
    assert short.dry.shape == short.audio.shape == long.dry.shape == (2, RATE)
    assert not short.dry[:, RATE // 2 :].any() and long.dry[:, -100:].any()
    # What rings on after a short clip's end is heard.
    assert render(EFFECTS["reverb"], short, 0.5, "study")[:, RATE // 2 + 2000 :].any()


def test_a_file_in_memory_is_the_file_sample_for_sample(tmp_path):
    rng = np.random.default_rng(0)
    steps = np.arange(-40000, 40001)
    audio = np.concatenate(
        [
            # Samples on a step, of the reader's scale and of the writer's, and next to one.
            *(steps / 32768, steps / 32767),
            *(np.nextafter((steps / 32768).astype(np.float32), np.float32(side)) for side in (-2, 2)),
            rng.uniform(-1.5, 1.5, 500_000),
            rng.standard_normal(500_000) * 10.0 ** rng.uniform(-12, 0, 500_000),
            [1.0, -1.0, -0.0, 1e30, -1e30, 2.0**-31, -(2.0**-31), -(2.0**-32), -1e-30],
        ]
    ).astype(np.float32)
    audio = audio[: len(audio) // 2 * 2].reshape(2, -1)
    with AudioFile(str(tmp_path / "own.wav"), "w", samplerate=RATE, num_channels=2) as file:
        file.write(audio)
    read, _ = sf.read(tmp_path / "own.wav", dtype="float32", always_2d=True)
    assert np.array_equal(through_file(audio), read.T)
    assert through_file(audio).dtype == np.float32


def test_nothing_is_the_identity_in_a_file(tmp_path):
    (tmp_path / "own").mkdir()
    write_music(tmp_path / "own" / "clip.wav", 1, 0.9)
    clip = load_dataset(tmp_path, seconds=1.5).decode("own/clip")
    assert np.array_equal(render(EFFECTS["gain"], clip, 0.0, "float"), clip.audio)
    steps = (render(EFFECTS["gain"], clip, 0.0, "study") - clip.audio) * 32768
    assert np.array_equal(steps[clip.audio < 0], np.full((clip.audio < 0).sum(), -1.0))
    assert not steps[clip.audio > 0].any()
    assert np.array_equal(render(None, clip, np.nan, "study"), render(EFFECTS["gain"], clip, 0.0, "study"))
    table = protocol_differences([None, EFFECTS["gain"]], [clip])
    assert np.isclose(table["difference"][0], (clip.audio < 0).mean())
    loudest = table[table["parameter"] == 5.0].iloc[0]
    assert np.isclose(loudest["clipped"], (np.abs(clip.audio * 10 ** (5 / 20)) >= 1).mean(), atol=1e-3)
    with pytest.raises(ValueError, match="protocol='mp3' is not one of study, float"):
        render(None, clip, np.nan, "mp3")


@pytest.mark.parametrize("channels", [3, 4, 6])
def test_reverb_of_many_channels_is_that_of_each(channels):
    audio = (0.1 * np.random.default_rng(1).standard_normal((channels, 9000))).astype(np.float32)
    wet = EFFECTS["reverb"](audio, RATE, 0.7)
    for channel, expected in zip(wet, audio, strict=True):
        alone = pedalboard.Reverb(room_size=0.7)(expected[None], RATE)
        assert np.array_equal(channel[None], alone) and not np.array_equal(channel, expected)
    for name in ("gain", "lowpass", "bitcrush"):
        value = EFFECTS[name].grid[-1]
        each = [EFFECTS[name](channel[None], RATE, value)[0] for channel in audio]
        assert np.array_equal(EFFECTS[name](audio, RATE, value), each), name


def test_extraction_gives_networks_what_the_protocol_says(tmp_path, monkeypatch):
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clips" / "own").mkdir(parents=True)
    for name, peak in (("a", 0.9), ("b", 0.002)):
        write_music(tmp_path / "clips" / "own" / f"{name}.wav", 2, peak, seed=ord(name))
    data = all_train(load_dataset(tmp_path / "clips", seconds=1.5))
    model, kind = ToyModel(), EFFECTS["gain"]
    sweeps = [Plan(model, kind, kind.parameters(3), data, protocol) for protocol in ("study", "float")]
    stores = extract(sweeps, progress=False)
    for sweep, store in zip(sweeps, stores, strict=True):
        found = store.read().values
        for s, value in enumerate(sweep.parameters):
            for c, name in enumerate(data.clips):
                wave = mono_at_rate(render(kind, data.decode(name), value, sweep.protocol), RATE, 16000)
                np.testing.assert_allclose(found[s, c], model.embed(wave[None])[0], rtol=1e-5, atol=1e-6)
    assert stores[0].path != stores[1].path
    assert not np.allclose(stores[0].read().values, stores[1].read().values, atol=1e-3)
    clean = [Plan.clean(model, data, protocol).store().path for protocol in ("study", "float")]
    assert clean[0] == clean[1], "the clean clip is the file as it is, under both protocols"


class Joined(ToyModel):
    """Takes stereo end to end, in the study only."""

    def prepare(self, audio, sample_rate, protocol):
        joined = audio.reshape(1, -1) if protocol == "study" else audio[:, : audio.shape[1] // 2]
        return mono_at_rate(joined, sample_rate, self.sample_rate)


def test_a_model_that_reads_the_protocols_differently_has_clean_clips_of_each(clip_folder):
    data = all_train(load_dataset(clip_folder, seconds=0.5))
    model = Joined()
    paths = {Plan.clean(model, data, protocol).store().path for protocol in ("study", "float")}
    assert len(paths) == 2
    with torch.inference_mode():
        shared, own = extract([Plan.clean(ToyModel(), data), Plan.clean(model, data)], progress=False)
    assert np.isfinite(own.read().values).all() and np.isfinite(shared.read().values).all()


def test_the_protocol_is_a_setting_with_provenance(tmp_path):
    study = Study("tiny", models="yamnet", protocol="float", out=tmp_path)
    assert study.provenance()["protocol"] == "float" and "floating point" in study.summary()["Protocol"]
    assert Study("paper").protocol == "study"
    study.table(tables.model_table(study), "models", "Models.")
    assert json.loads(next(tmp_path.glob("**/models*.json")).read_text())["protocol"] == "float"
    with pytest.raises(ValueError, match="protocol='wav' is not one of study, float"):
        Study("tiny", protocol="wav")


def test_a_clip_without_whole_numbers_is_the_same_for_effects():
    audio = np.full((1, 10), 0.25, np.float32)
    assert np.array_equal(render(None, Decoded(audio, RATE), np.nan, "float"), audio)


def test_openl3_is_shown_whatever_the_study_insists_on(clip_folder, own_cache, tmp_path, monkeypatch):
    """Its official weights are out of reach; the study's own model, which insists on its weights, has them."""
    monkeypatch.setenv("AESENS_OFFLINE", "1")

    class Trained(ToyModel):
        def __init__(self):
            super().__init__()
            self.weights = WeightsInfo(True, "a test", "test")

        @classmethod
        def load(cls, weights="auto", seed=0, device=None, **options):
            return cls()

    monkeypatch.setitem(MODELS, "toy", Entry(Trained))
    profile = Profile(
        "toy",
        "",
        models=("toy",),
        scale=Scale(strengths=2),
        picture_clips=2,
        n_resamples=20,
        model_options={"openl3": {"hop": 1.0, "center": False}},
    )
    study = Study(profile, data=clip_folder, weights="pretrained", out=tmp_path / "out", jobs=1)
    table = tables.protocols(study.both_protocols(*PROTOCOLS_SHOWN), seed=study.seed)
    trained = table.groupby("model")["pretrained"].unique().map(list).to_dict()
    assert trained == {"openl3": [False], "toy": [True]}
    assert set(table["protocol"]) == {"study", "float"} and set(table["parameter"]) == {-40.0, 5.0}
    openl3 = table[(table["model"] == "openl3") & (table["parameter"] == -40.0)].set_index("protocol")[
        "value"
    ]
    assert openl3["study"] > 3 * openl3["float"]
