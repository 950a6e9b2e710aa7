"""Faulty clips are named and left out everywhere; clips of other rates, widths and lengths are used."""

import json
import os

import numpy as np
import pytest
import soundfile as sf
from support import ToyModel, write_clips

from aesens import models
from aesens.data import check_clips, checks, load_dataset, remember
from aesens.settings import Profile, Scale
from aesens.study import Study

RATE = 44100


def tone(seconds, rate=RATE, channels=1, frequency=330.0):
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(0.3 * np.sin(2 * np.pi * frequency * time)[:, None], channels)


def add_faulty(folder):
    """Clips that no model may see; returns what is wrong with each."""
    folder.mkdir(exist_ok=True)
    whole = folder / "whole.wav"
    sf.write(whole, tone(3.0), RATE)
    content = whole.read_bytes()
    whole.unlink()
    (folder / "corrupt.wav").write_bytes(b"RIFX" + bytes(range(256)) * 40)
    (folder / "nothing.wav").write_bytes(b"")
    (folder / "header.wav").write_bytes(content[:44])
    (folder / "cut.wav").write_bytes(content[: len(content) // 3])
    sf.write(folder / "empty.wav", np.zeros((0, 1)), RATE)
    sf.write(folder / "silent.wav", np.zeros((3 * RATE, 2)), RATE)
    sf.write(folder / "opposed.wav", tone(3.0, channels=2) * [1, -1], RATE, subtype="FLOAT")
    sf.write(folder / "opposed16.wav", tone(3.0, channels=2) * [1, -1], RATE)
    sf.write(folder / "denormal.wav", tone(3.0) * 1e-30, RATE, subtype="FLOAT")
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        audio = tone(3.0)
        audio[1000] = value
        sf.write(folder / f"{name}.wav", audio.astype(np.float32), RATE, subtype="FLOAT")
    (folder / "dangling.wav").symlink_to(folder / "gone.wav")
    (folder / "endless.wav").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.wav")
    return {
        "corrupt": "cannot read",
        "nothing": "cannot read",
        "header": "cut off",
        "cut": "cut off",
        "empty": "empty",
        "silent": "silent",
        "opposed": "silent as mono",
        "opposed16": "silent as mono",
        "denormal": "silent",
        "nan": "not finite",
        "infinite": "not finite",
        "dangling": "cannot read",
        "endless": "no file",
        "pipe": "no file",
    }


def add_unusual(folder):
    """Clips that are out of the ordinary and in order."""
    sf.write(folder / "short.wav", tone(0.2), RATE)
    sf.write(folder / "long.wav", tone(60.0), RATE)
    sf.write(folder / "wide.wav", tone(3.0, 96_000, channels=2), 96_000, subtype="PCM_24")
    sf.write(folder / "telephone.wav", tone(3.0, 8_000), 8_000)


def study(folder, tmp_path, effects=("gain", "reverb", "bitcrush"), **options):
    profile = Profile("toy", "", models=("toy",), effects=effects, scale=Scale(strengths=3))
    return Study(profile, data=folder, out=tmp_path / "out", **options)


@pytest.fixture(autouse=True)
def toy(own_cache, monkeypatch):
    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))


@pytest.fixture
def good(tmp_path):
    folder = write_clips(tmp_path / "good" / "clips", songs=5, seconds=3.0)
    add_unusual(folder / "bbb")
    return folder


@pytest.fixture
def mixed(good, tmp_path):
    """The same clips with faulty ones among them, under the same name."""
    folder = tmp_path / "mixed" / "clips"
    (folder / "aaa").mkdir(parents=True)
    for path in sorted(good.rglob("*.wav")):
        target = folder / path.relative_to(good)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder


def test_faulty_clips_are_listed_and_leave_no_trace(good, mixed, tmp_path):
    expected = {f"aaa/{name}": text for name, text in add_faulty(mixed / "aaa").items()}
    checked, plain = study(mixed, tmp_path), study(good, tmp_path)
    assert plain.excluded.empty and list(plain.excluded.columns) == ["problem", "path"]
    assert set(checked.excluded.index) == set(expected)
    for clip, row in checked.excluded.iterrows():
        assert expected[clip] in row["problem"] and row["path"] == str(mixed / f"{clip}.wav")
        assert str(mixed) not in row["problem"]
    assert "left out as faulty: 14" in checked.summary()["Data"]
    assert checked.source.clips == plain.source.clips and checked.split.equals(plain.split)
    assert checked.dataset.fingerprint == plain.dataset.fingerprint
    for one, other in zip(checked.sweeps(), plain.sweeps(), strict=True):
        assert one.trajectories.any(axis=2).all() and one.clean.any(axis=1).all()
        np.testing.assert_array_equal(one.trajectories, other.trajectories)
        np.testing.assert_array_equal(one.clean, other.clean)
    table = checked.table(checked.excluded.reset_index(), "01_excluded", "Left out.")
    assert list(table["clip"]) == sorted(expected)
    provenance = json.loads((tmp_path / "out" / "provenance" / "01_excluded.csv.json").read_text())
    assert provenance["data"]["clips"] == len(plain.dataset)


def test_unusual_clips_are_padded_cut_and_resampled(good, tmp_path):
    sweep = study(good, tmp_path).sweep("toy", "gain")
    names = [f"bbb/{name}" for name in ("long", "short", "telephone", "wide")]
    found = dict(zip(sweep.clips.index, sweep.clean, strict=True))
    assert set(names) < set(study(good, tmp_path).source.clips)
    model = ToyModel()
    waves = {"bbb/long": tone(3.0, 16_000), "bbb/wide": tone(3.0, 16_000), "bbb/short": tone(3.0, 16_000)}
    waves["bbb/short"][3200:] = 0
    for clip in set(names) & set(found) - {"bbb/telephone"}:
        # The same tone made at the model's own rate: resampling and 16 bits leave the loudest band as it is.
        plain = model.embed(waves[clip].T.astype(np.float32))[0]
        assert found[clip].argmax() == plain.argmax() == 0
        assert found[clip][0] == pytest.approx(plain[0], rel=0.02)


def test_a_rate_that_an_effect_does_not_admit_leaves_the_clip_out(good, tmp_path):
    chosen = study(good, tmp_path, effects=("gain", "lowpass"))
    assert list(chosen.excluded.index) == ["bbb/telephone"]
    problem = chosen.excluded["problem"].iloc[0]
    assert "half the sample rate of 8000 Hz" in problem and "--effects" in problem
    assert study(good, tmp_path, effects=("gain",)).excluded.empty


def test_a_class_without_a_usable_clip_is_an_error(good, tmp_path):
    add_faulty(good / "ccc")
    with pytest.raises(
        ValueError, match=r"no clip of ccc .*first of 14 is ccc/corrupt.*--instruments aaa,bbb"
    ):
        _ = study(good, tmp_path).source
    assert len(study(good, tmp_path, instruments="aaa,bbb").source) == 14
    write_clips(tmp_path / "low", songs=4, seconds=0.5, rate=8000)
    with pytest.raises(ValueError, match=r"no clip of aaa, bbb .*--effects"):
        _ = study(tmp_path / "low", tmp_path, effects=("lowpass",)).source


def test_too_few_clips_left_to_split_is_said(tmp_path):
    folder = write_clips(tmp_path / "few", songs=4, seconds=0.5)
    (folder / "aaa" / "aaa0.wav").write_bytes(b"")
    few = study(folder, tmp_path)
    assert not few.has_split and "aaa 3" in few.split_error and "left out as faulty: 1" in few.split_error


def test_a_large_collection_is_checked_once(good, monkeypatch, tmp_path):
    monkeypatch.setattr(remember, "_LARGE", 1)
    (good / "aaa" / "nothing.wav").write_bytes(b"")
    first = check_clips(load_dataset(good))
    read, seen = checks.read_clip, []
    monkeypatch.setattr(checks, "read_clip", lambda path, seconds: seen.append(path) or read(path, seconds))
    assert check_clips(load_dataset(good)).equals(first)
    # What was faulty is looked at again: it may have been mended.
    assert seen == [str(good / "aaa" / "nothing.wav")]
    sf.write(good / "aaa" / "nothing.wav", tone(3.0), RATE)
    assert check_clips(load_dataset(good)).empty
    seen.clear()
    # A file that changed, another length of the clips.
    (good / "aaa" / "aaa0.wav").write_bytes(b"")
    assert list(check_clips(load_dataset(good)).index) == ["aaa/aaa0"] and len(seen) == 1
    assert len(check_clips(load_dataset(good, seconds=1.0))) == 1 and len(seen) == 1 + 15


def test_an_unknown_length_is_no_fault(tmp_path):
    """A program that writes to a pipe leaves the largest number in the header."""
    sf.write(tmp_path / "a.wav", tone(1.0), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    folder = tmp_path / "clips" / "aaa"
    folder.mkdir(parents=True)
    (folder / "piped.wav").write_bytes(content)
    audio, _ = load_dataset(tmp_path / "clips").load("aaa/piped")
    np.testing.assert_array_equal(audio[0, RATE:], 0)
    assert np.abs(audio[0, :RATE]).max() > 0.29
