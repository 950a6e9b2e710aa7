"""The embedded dataset."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from aesens.data import INSTRUMENTS, check_clips, load_dataset, split_clips
from aesens.data.irmas import parse_name
from aesens.data.rendered import render as rendered
from aesens.data.rendered import songs

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AESENS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def small(cache):
    return rendered.render_dataset(songs=2, excerpts=2, instruments=["vio", "gac"])


@pytest.fixture(scope="module")
def wide(cache):
    return load_dataset("rendered", songs=1, excerpts=1)


def contents(dataset):
    return {Path(path).name: Path(path).read_bytes() for path in dataset.table["path"]}


def test_shape_and_names(small):
    assert small.instruments == ["gac", "vio"]
    # The guitar has a lat_sou song more.
    assert small.summary()["songs"].tolist() == [3, 2, 5] and len(small) == 10
    assert small.table["genre"].eq("lat_sou").sum() == 2
    for clip, row in small.table.iterrows():
        info = sf.info(row["path"])
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (44100, 2, 132300, "PCM_16")
        fields = parse_name(row["path"])
        assert Path(row["path"]).parent.name == fields.instrument == row["instrument"]
        assert (fields.song, fields.excerpt, clip) == (row["song"], row["excerpt"], Path(row["path"]).stem)
        assert bool(fields.prefix) == bool(fields.drums)


def test_another_process_renders_the_same_bytes(small, tmp_path):
    code = (
        "from aesens.data import load_dataset\n"
        "d = load_dataset('rendered', songs=2, excerpts=2, instruments=['gac', 'vio'])\n"
        "print(d.fingerprint)\n"
    )
    environment = {**os.environ, "AESENS_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment,
        check=True,
    )
    assert done.stdout.strip() == small.fingerprint
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*.wav")}
    assert files == contents(small)


def test_song_does_not_depend_on_what_else_is_asked_for(small):
    before = contents(small)
    other = rendered.render_dataset(songs=1, excerpts=3, instruments=["vio"])
    common = {name: data for name, data in contents(other).items() if name in before}
    assert len(other) == 3 and len(common) == 2
    assert all(before[name] == data for name, data in common.items())
    reseeded = rendered.render_dataset(seed=1, songs=1, excerpts=1, instruments=["vio"])
    assert not set(contents(reseeded).values()) & set(before.values())


def test_cache_is_used_and_repaired(small, monkeypatch):
    path = Path(small.table["path"].iloc[0])
    content = path.read_bytes()
    path.unlink()
    again = rendered.render_dataset(songs=2, excerpts=2, instruments=["vio", "gac"])
    assert path.read_bytes() == content
    monkeypatch.setattr(rendered, "render_song", lambda *_: pytest.fail("rendered again"))
    warm = rendered.render_dataset(songs=2, excerpts=2, instruments=["gac", "vio"])
    assert warm.fingerprint == again.fingerprint == small.fingerprint


@pytest.mark.parametrize("damage", ["bit", "swapped", "longer", "no hashes"])
def test_clips_that_are_not_as_rendered_are_rendered_again(small, damage):
    first, second = (Path(path) for path in small.table["path"].iloc[:2])
    before = contents(small)
    content = bytearray(first.read_bytes())
    if damage == "bit":
        content[20_000] ^= 1
        first.write_bytes(content)
    elif damage == "swapped":
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    elif damage == "longer":
        first.write_bytes(content + b"0")
    else:
        (first.parents[1] / "hashes.json").unlink()
    again = rendered.render_dataset(songs=2, excerpts=2, instruments=["vio", "gac"])
    assert contents(again) == before


def test_clips_sound(wide):
    assert wide.instruments == list(INSTRUMENTS) and check_clips(wide).empty
    for clip in wide.clips:
        audio, rate = wide.load(clip)
        level = 20 * np.log10(np.sqrt(np.mean(audio**2)))
        assert -32 < level < -12, clip
        assert 0.05 < np.abs(audio).max() <= 0.9, clip
        assert abs(audio.mean()) < 0.01, clip
        # No long gap: every half second holds sound.
        halves = np.sqrt(np.mean(audio.reshape(2, 6, -1) ** 2, axis=(0, 2)))
        assert halves.min() > 1e-3, clip


def test_excerpts_of_a_song_differ(small):
    first, second = (small.load(clip)[0] for clip in small.clips[:2])
    assert small.table["song"].iloc[0] == small.table["song"].iloc[1]
    assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.5


def test_default_size_can_be_split():
    # Names and numbers without sound: as many songs as the default has.
    assert all(
        songs.compose(code, index, seed=3).genre != "lat_sou" for code in INSTRUMENTS for index in range(8)
    )
    numbers = [
        rendered._number(code, index, latin)
        for code in INSTRUMENTS
        for index, latin in [(n, False) for n in range(rendered.MAX_SONGS)] + [(0, True)]
    ]
    assert len(set(numbers)) == len(numbers) and all(len(number) == 4 for number in numbers)


def test_rendered_clips_are_split_like_irmas(cache):
    dataset = rendered.render_dataset(songs=4, excerpts=1, instruments=["tru", "vio"])
    split = split_clips(dataset.table, published=False)
    assert split.value_counts().to_dict() == {"train": 6, "test": 2, "unused": 1}
    assert dataset.table["genre"][split == "unused"].tolist() == ["lat_sou"]


@pytest.mark.parametrize("code", INSTRUMENTS)
def test_songs_are_playable_and_varied(code):
    lead = songs.LEADS[code]
    drawn = [songs.compose(code, index, seed=7) for index in range(12)]
    for song in drawn:
        starts = np.sort([note[0] for note in song.lead.notes])
        assert starts[0] < 1.5 and np.diff(starts).max() < 5.0 and starts[-1] > songs.SECONDS - 5
        assert song.lead.program in lead.programs
        pitches = [note[2] for note in song.lead.notes]
        assert lead.low <= min(pitches) and max(pitches) <= lead.high + 12
        assert all(1 <= note[3] <= 127 and note[1] > 0 for note in song.lead.notes)
        # Nobody in the band plays the leading instrument.
        assert not {part.program for part in song.others if not part.is_drum} & set(lead.programs)
        assert any(part.is_drum for part in song.others) == (song.drums == "dru")
    assert len({song.genre for song in drawn}) > 1
    assert len({song.balance for song in drawn}) == len(drawn)


def test_lead_is_as_loud_as_the_balance_says(cache):
    song = songs.compose("flu", 0, seed=11)
    font = rendered.find_soundfont()
    assert rendered.render_song(song, font, np.random.default_rng(0)).shape[0] == 2
    # The pitch of a rendered part is that of its notes: A4 without vibrato has its energy at 440 Hz.
    from symusic import Synthesizer

    part = songs.Part(73, [(0.0, songs.SECONDS, 69, 100)])
    audio = rendered._render_part(part, Synthesizer(str(font), rendered.SAMPLE_RATE, 0))
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    peak = np.argmax(spectrum) * rendered.SAMPLE_RATE / len(audio)
    assert abs(1200 * np.log2(peak / 440)) < 15
    stereo = np.stack([audio, audio])
    tuned = rendered._retune(stereo, 100.0)
    spectrum = np.abs(np.fft.rfft(tuned[0] * np.hanning(len(audio))))
    raised = np.argmax(spectrum) * rendered.SAMPLE_RATE / len(audio)
    assert abs(1200 * np.log2(raised / peak) - 100) < 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"songs": 0}, "songs must be between 1 and"),
        ({"excerpts": 99}, "excerpts must be between 1 and"),
        ({"instruments": ["harp"]}, "cannot render harp"),
        ({"instruments": []}, "cannot render none"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        rendered.render_dataset(**options)


def test_soundfont_is_verified(monkeypatch):
    assert rendered.find_soundfont().name == "TimGM6mb.sf2"
    monkeypatch.setattr(rendered, "_SOUNDFONT_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="reinstall pretty_midi"):
        rendered.find_soundfont()
