"""File grammar, folders, tables and the split."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
import soundfile as sf
from packaging.version import Version
from sklearn.model_selection import StratifiedGroupKFold
from support import write_clips
from test_weights import Server

import aesens.data as data
from aesens.app.cli import main
from aesens.app.plan import plan, summary
from aesens.data import clips, folder, irmas, remember
from aesens.data.irmas import IrmasName, format_name, parse_name
from aesens.models import downloads
from aesens.plots.outputs import read_table
from aesens.plots.player import player
from aesens.settings import Profile
from aesens.study import NeedsSplit, Study

REPOSITORY = Path(__file__).resolve().parents[1]
RECORDINGS = REPOSITORY.parent / "shared" / "recordings"
#: The authors' own list, and the SHA-256 of its test clips' sorted names, one a line.
LIST = REPOSITORY.parent / "shared" / "irmas" / "train_test_split.csv"
LISTED_TEST = "8a1f1e7ac9fc88d75b16a54e7bce65733217e64e637d0adaa62d53c1bd990021"


def write_tone(path, *, seconds=3.0, rate=8000, channels=1, frequency=440.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    sf.write(path, np.tile(tone[:, None], channels), rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def real_names():
    """File names of the IRMAS training set, 6 705.

    6 660 are in mirdata's index (BSD licence), which has one of two clips with the same number and excerpt, and none
    with ``[---]``. Of the other 45 the authors' list has 33. The last 12 are further excerpts of songs of these 33, as
    their numbering and the sizes of the classes tell.
    """
    songs = pd.read_csv(Path(__file__).parent / "reference" / "irmas_songs.csv")
    return [f"{song}__{n}.wav" for song, count in songs.to_numpy() for n in range(1, count + 1)]


@pytest.fixture(scope="module")
def real_folder(real_names, tmp_path_factory):
    """The real names over a moment of noise."""
    folder = tmp_path_factory.mktemp("irmas") / "IRMAS-TrainingData"
    rng = np.random.default_rng(0)
    first = folder / "noise.wav"
    folder.mkdir()
    sf.write(first, 0.1 * rng.standard_normal((88, 2)), 44100)
    for name in real_names:
        place = folder / parse_name(name).instrument
        place.mkdir(exist_ok=True)
        os.link(first, place / name)
    first.unlink()
    return folder


@pytest.fixture(scope="module")
def real_table(real_folder):
    return irmas.load_irmas(real_folder).table


def random_table(rng):
    """A table of several classes with songs of uneven size, some songs shared between two classes."""
    rows = []
    classes = ["cel", "vio", "harp", "tuba"][: rng.integers(2, 5)]
    for code in classes:
        for n in range(rng.integers(6, 15)):
            shared = rng.random() < 0.15
            song = f"shared{rng.integers(4)}" if shared else f"{code}{n}"
            genre = rng.choice(["cla", "pop_roc", "lat_sou"], p=[0.5, 0.4, 0.1])
            for e in range(rng.integers(1, 6)):
                rows.append((code, song, genre, e))
    table = pd.DataFrame(rows, columns=["instrument", "song", "genre", "excerpt"])
    table.index = [f"clip{n:04d}" for n in range(len(table))]
    return table


# ---------------------------------------------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("008__[cel][nod][cla]0058__1.wav", ("008", "cel", "nod", "cla", "0058", 1)),
        ("[cla][pop_roc]0310__1.wav", ("", "cla", "", "pop_roc", "0310", 1)),
        ("[cla][cla]0150__3.wav", ("", "cla", "", "cla", "0150", 3)),
        ("115__[voi][dru][lat_sou]1234__12.wav", ("115", "voi", "dru", "lat_sou", "1234", 12)),
        ("a__b__[gel][dru][jaz_blu]0001__2.wav", ("a__b", "gel", "dru", "jaz_blu", "0001", 2)),
        ("[org][nod][cou_fol]9999__1.wav", ("", "org", "nod", "cou_fol", "9999", 1)),
        ("17__[pia][pop_roc]0042__1.wav", ("17", "pia", "", "pop_roc", "0042", 1)),
        ("014__[gel][---][pop_roc]0978__2.wav", ("014", "gel", "---", "pop_roc", "0978", 2)),
    ],
)
def test_names_are_parsed_and_put_together_again(name, expected):
    fields = parse_name(Path("some[where]") / name)
    assert fields == IrmasName(*expected)
    assert format_name(fields) == name
    assert parse_name(name.replace(".wav", ".WAV")) == fields


@pytest.mark.parametrize(
    "name",
    [
        "008__[cel][nod][cla]058__1.wav",
        "008__[cel][nod][cla]00058__1.wav",
        "[cel][cla]0058.wav",
        "[cel][cla]0058__1.mp3",
        "[cel]0058__1.wav",
        "[cel][swing]0058__1.wav",
        "[cel][cla][nod]0058__1.wav",
        "[cel][--][cla]0058__1.wav",
        "[cel][][cla]0058__1.wav",
        "[cello][cla]0058__1.wav",
        "cel_cla_0058__1.wav",
        "[cel][cla]0058__1.wav.part",
        "",
    ],
)
def test_other_names_are_refused_by_name(name):
    with pytest.raises(ValueError, match="not an IRMAS file name") as caught:
        parse_name(name)
    assert repr(name) in str(caught.value)


def test_every_real_name_is_parsed(real_names, real_table):
    assert len(real_names) == len(real_table) == 6705
    assert [format_name(parse_name(name)) for name in real_names] == real_names
    # An independent reading: split the text at the brackets and at the last "__".
    for name, clip in zip(real_names, map(lambda n: Path(n).stem, real_names), strict=True):
        head, _, tail = name.rpartition("__")
        tags = [piece.split("]")[0] for piece in head.split("[")[1:]]
        row = real_table.loc[clip]
        assert (row["instrument"], row["genre"], row["song"]) == (tags[0], tags[-1], head[-4:])
        assert row["drums"] == (tags[1] if len(tags) == 3 and tags[1] != "---" else "")
        assert row["excerpt"] == int(tail.removesuffix(".wav"))
    sizes = {"cel": 388, "cla": 505, "flu": 451, "gac": 637, "gel": 760, "org": 682, "pia": 721, "sax": 626}
    sizes |= {"tru": 577, "vio": 580, "voi": 778}
    assert real_table["instrument"].value_counts().to_dict() == sizes
    assert real_table.groupby("song")["instrument"].nunique().max() == 1


# ------------------------------------------------------------------------------------------------------ split


def digest(names):
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def test_the_published_test_set_comes_out_clip_for_clip(real_table):
    split = data.split_clips(real_table, published=True)
    assert digest(split.index[split == "test"]) == LISTED_TEST
    assert split.value_counts()[["train", "test"]].to_dict() == irmas.PUBLISHED
    assert set(real_table["instrument"][split == "train"].value_counts()) == {288}
    assert set(split[real_table["genre"] == "lat_sou"]) == {"unused"}
    assert set(real_table["song"][split == "test"]) == irmas.TEST_SONGS and len(irmas.TEST_SONGS) == 562
    overlap = irmas.published_overlap(real_table, {"rule": split})
    assert overlap.to_numpy().tolist() == [[1666] * 3, [562] * 3]
    # The order of the files plays no part.
    turned = data.split_clips(real_table.sample(frac=1, random_state=1), published=True)
    assert ((turned == "test") == (split == "test")[turned.index]).all()


def test_a_faulty_clip_moves_no_song(real_table):
    songs = real_table[real_table["song"].isin(irmas.TEST_SONGS)]
    faulty = songs.groupby("song").head(1).index[::40]
    left = data.split_clips(real_table, published=True, left_out=faulty)
    assert set(left[faulty]) == {"unused"}
    assert digest({*left.index[left == "test"], *faulty}) == LISTED_TEST
    # Without any clip of it a song is not there at all.
    gone = real_table.index[real_table["song"] == "0005"]
    for published in (True, False):
        split = data.split_clips(real_table, published=published, left_out=gone)
        assert split.drop(gone).equals(data.split_clips(real_table.drop(gone), published=published))


@pytest.mark.skipif(not LIST.exists(), reason="the authors' list is not at hand")
def test_the_authors_list_is_the_published_split(real_table):
    listed = pd.read_csv(LIST)
    split = data.split_clips(real_table.assign(split=data.read_split(LIST, real_table)))
    for side in ("train", "test"):
        assert set(split.index[split == side]) == set(listed["file_name"][listed["split"] == side])
    assert digest(listed["file_name"][listed["split"] == "test"]) == LISTED_TEST


def test_songs_are_dealt_as_worked_out_by_hand():
    clips_of = {"a": "xxxx", "b": "xx", "c": "yyy", "d": "y", "e": "x", "f": "yy"}
    rows = [(song, code) for song, codes in clips_of.items() for code in codes]
    table = pd.DataFrame(rows, columns=["song", "instrument"]).assign(genre="")
    # Shuffled by seed 0 the rows of counts (x, y) are f (0, 2), c (0, 3), b (2, 0), d (0, 1), a (4, 0), e (1, 0); by
    # falling deviation a, c, f, b, d, e. Of 7 x and 6 y: a to the first fold, c to the second, which has fewer; f to
    # the first (y 2:3 is nearer than 0:5), b to the second (x 4:2), d to the first (y 3:3), e to the second (x 4:3).
    assert list(np.random.RandomState(0).permutation(6)) == [5, 2, 1, 3, 0, 4]
    split = data.split_clips(table, seed=0, n_folds=2, published=False)
    assert set(table["song"][split == "test"]) == {"a", "d", "f"}
    # The old way their places count for the songs: the fifth row is not that of a but of e.
    split = data.split_clips(table, seed=0, n_folds=2, published=True)
    assert set(table["song"][split == "test"]) == {"a", "d", "e"}


@pytest.mark.skipif(
    Version(sklearn.__version__) < Version("1.8"), reason="it moved counts without their songs"
)
@pytest.mark.parametrize("seed", range(12))
def test_other_data_are_dealt_as_scikit_learn_deals_them(seed):
    table = random_table(np.random.default_rng(100 + seed))
    split = data.split_clips(table, seed=seed, n_folds=3, published=False)
    rows = table[table["genre"] != "lat_sou"]
    folds = StratifiedGroupKFold(n_splits=3, shuffle=True, random_state=seed)
    _, test = next(iter(folds.split(rows, rows["instrument"], rows["song"])))
    assert set(rows.index[test]) == set(split.index[split == "test"])
    # Of the other clips all of the smallest class train, and as many of each class.
    rest = rows.drop(index=rows.index[test])["instrument"]
    size = rest.value_counts().min()
    train = rest[split[rest.index] == "train"]
    assert (train.value_counts() == size).all() and train.nunique() == rest.nunique()
    assert set(split.index[split == "train"]) == set(train.index)


@pytest.mark.parametrize("seed", range(60))
def test_no_song_crosses_and_training_is_balanced(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng)
    try:
        split = data.split_clips(table, seed=seed, n_folds=int(rng.integers(2, 5)), published=False)
    except data.SplitError:
        pytest.skip("too few songs in this draw")
    assert set(table["song"][split == "train"]).isdisjoint(table["song"][split == "test"])
    counts = table["instrument"][split == "train"].value_counts()
    assert counts.nunique() == 1 and set(counts.index) == set(table["instrument"])
    assert not (table["genre"][split != "unused"] == "lat_sou").any()
    assert split.index.equals(table.index) and set(split) <= {"train", "test", "unused"}


def test_most_random_tables_can_be_split():
    drawn = [random_table(np.random.default_rng(seed)) for seed in range(60)]
    done = 0
    for table in drawn:
        try:
            done += bool(len(data.split_clips(table, published=False)))
        except data.SplitError:
            continue
    assert done >= 40


def test_balancing_leaves_the_test_side_and_the_smallest_class_alone(real_table):
    split = data.split_clips(real_table)
    rest = real_table["instrument"][(split != "test") & (real_table["genre"] != "lat_sou")]
    smallest = rest.value_counts().idxmin()
    assert set(split[rest.index[rest == smallest]]) == {"train"}
    assert (split == "train").sum() == 11 * (rest == smallest).sum()
    assert (data.split_clips(real_table, seed=1) != split).any()
    assert data.split_clips(real_table).equals(split)


def test_too_few_songs_are_named():
    table = pd.DataFrame(
        {
            "instrument": ["cel"] * 5 + ["vio"] * 5,
            "song": list("abcdefghhi"),
            "genre": ["cla"] * 8 + ["lat_sou"] * 2,
        }
    )
    with pytest.raises(data.SplitError, match=r"4 folds: vio 3 .*dropping 2 clips"):
        data.split_clips(table)
    with pytest.raises(data.SplitError, match="n_folds=1"):
        data.split_clips(table, n_folds=1)


def test_given_split_is_used_and_checked():
    table = pd.DataFrame({"instrument": ["cel", "vio"] * 3, "song": list("abcdef"), "genre": ""})
    table["split"] = ["train", "train", "test", "test", "train", "unused"]
    # One more of the one instrument than of the other, and it stays so.
    assert list(data.split_clips(table)) == list(table["split"])
    assert list(data.split_clips(table, left_out=[4])) == [*table["split"][:4], "unused", "unused"]
    with pytest.raises(data.SplitError, match="'a'"):
        data.split_clips(table.assign(song=list("abacef"), split=["train"] * 2 + ["test"] * 4))
    with pytest.raises(data.SplitError, match="validation"):
        data.split_clips(table.assign(split="validation"))
    with pytest.raises(data.SplitError, match="no test clips for vio in the given split"):
        data.split_clips(table.assign(split=["train", "train", "test", "train", "train", "train"]))


# ------------------------------------------------------------------------------------------ folders and IRMAS


@pytest.fixture
def irmas_folder(tmp_path):
    root = tmp_path / "IRMAS-TrainingData"
    for code in ("cel", "gac"):
        for song in range(1, 3):
            for excerpt in (1, 2):
                name = f"00{song}__[{code}][nod][cla]{'5' if code == 'gac' else '0'}00{song}__{excerpt}.wav"
                write_tone(root / code / name, channels=2, frequency=200 * song)
    write_tone(root / "cel" / "[cel][lat_sou]0007__1.wav", channels=2)
    return tmp_path


def test_irmas_folder_is_recognised_and_read(irmas_folder):
    for place in (irmas_folder, irmas_folder / "IRMAS-TrainingData", str(irmas_folder)):
        dataset = data.load_dataset(place)
        assert dataset.name == "irmas" and dataset.instruments == ["cel", "gac"] and len(dataset) == 9
    row = dataset.table.loc["002__[gac][nod][cla]5002__2"]
    assert (row["instrument"], row["song"], row["excerpt"], row["genre"], row["drums"]) == (
        "gac",
        "5002",
        2,
        "cla",
        "nod",
    )
    assert dataset.table.at["[cel][lat_sou]0007__1", "drums"] == ""
    assert Path(row["path"]).is_absolute()
    audio, rate = dataset.load("002__[gac][nod][cla]5002__2")
    assert audio.shape == (2, 24000) and audio.dtype == np.float32 and rate == 8000
    summary = dataset.summary()
    assert summary.loc["cel"].tolist() == [5, 3, 15.0] and summary.loc["all"].tolist() == [9, 5, 27.0]
    assert "IRMAS" in dataset._repr_html_() and "cel" in dataset._repr_html_()


def test_misnamed_irmas_files_are_left_out_and_told(irmas_folder):
    root = irmas_folder / "IRMAS-TrainingData"
    plain = irmas.load_irmas(irmas_folder)
    assert plain.left_out.empty and list(plain.left_out.columns) == ["problem", "path"]
    bad = write_tone(root / "cel" / "cello take.wav")
    stray = write_tone(root / "cel" / "[vio][cla]0100__1.wav")
    loud = write_tone(root / "gac" / "003__[gac][---][cla]5003__1.WAV")
    write_tone(root / ".ipynb_checkpoints" / "[cel][cla]0009__1.wav")
    dataset = data.load_dataset(irmas_folder)
    assert {*dataset.clips} == {*plain.clips, "003__[gac][---][cla]5003__1"}
    assert dataset.table.loc["003__[gac][---][cla]5003__1", ["path", "drums"]].tolist() == [str(loud), ""]
    assert dataset.left_out["path"].to_dict() == {
        "cel/[vio][cla]0100__1": str(stray),
        "cel/cello take": str(bad),
    }
    problems = dataset.left_out["problem"]
    assert "'cello take.wav' is not an IRMAS file name" in problems["cel/cello take"]
    assert problems["cel/[vio][cla]0100__1"] == "named 'vio' but in the folder 'cel'"
    # As a study lists them, beside a clip that cannot be used.
    (root / "cel" / "001__[cel][nod][cla]0001__1.wav").write_bytes(b"")
    study = Study("paper", data=irmas_folder, models="panns", effects="gain", weights="untrained")
    assert [*study.excluded.index] == [*problems.index, "001__[cel][nod][cla]0001__1"]
    assert study.excluded.index.name == "clip" and "cannot read" in study.excluded["problem"].iloc[-1]
    assert "left out as faulty: 3" in study.summary()["Data"]


def test_folders_that_hold_no_irmas_clips(irmas_folder):
    with pytest.raises(ValueError, match="nowhere"):
        irmas.load_irmas(irmas_folder / "nowhere")
    (irmas_folder / "empty").mkdir()
    with pytest.raises(ValueError, match="no IRMAS clips"):
        irmas.load_irmas(irmas_folder / "empty")
    write_tone(irmas_folder / "empty" / "cel" / "take.wav")
    with pytest.raises(ValueError, match="no IRMAS clips.*1 wav files.*'take.wav' is not an IRMAS file name"):
        irmas.load_irmas(irmas_folder / "empty")


def test_another_part_of_irmas_is_told_as_what_it_is(irmas_folder, tmp_path):
    test_part = tmp_path / "other" / "IRMAS-TestingData-Part1" / "Part1"
    write_tone(test_part / "(02) dont kill the whale-1.wav")
    (test_part / "(02) dont kill the whale-1.txt").write_text("gel\t\n\nvoi\t\n")
    for place in (test_part, test_part.parent, test_part.parents[1]):
        with pytest.raises(ValueError, match="IRMAS's test part.*give the folder IRMAS-TrainingData"):
            data.load_dataset(place)
    # Both, as they are unpacked: the training set it is.
    shutil.copytree(irmas_folder / "IRMAS-TrainingData", tmp_path / "other" / "IRMAS-TrainingData")
    assert len(data.load_dataset(tmp_path / "other")) == 9
    deep = tmp_path / "deep" / "music" / "irmas"
    deep.mkdir(parents=True)
    (tmp_path / "other").rename(deep / "all")
    right = deep / "all" / "IRMAS-TrainingData"
    for place in (deep, deep.parent):
        with pytest.raises(ValueError, match="further down: give ") as told:
            data.load_dataset(place)
        assert str(told.value).endswith(f"give {right}") and "\n" not in str(told.value)
    # Notes beside one's own recordings are none of this, and who describes the files is believed.
    write_tone(tmp_path / "mine" / "cel" / "a.wav")
    (tmp_path / "mine" / "cel" / "a.txt").write_text("recorded in May")
    assert data.load_dataset(tmp_path / "mine").instruments == ["cel"]
    (test_part.parents[1] / "all" / "IRMAS-TestingData-Part1").mkdir(parents=True, exist_ok=True)
    described = deep / "all" / "IRMAS-TestingData-Part1"
    (described / "metadata.csv").write_text("file,instrument\nPart1/(02) dont kill the whale-1.wav,gel\n")
    assert data.load_dataset(described).instruments == ["gel"]


# ------------------------------------------------------------------------------------------------ a given split


@pytest.fixture
def listed(class_folder, tmp_path):
    """Write a list and read it for the folder of two classes, or for a table."""

    def read(text, table=None):
        path = tmp_path / "list.csv"
        path.write_text(text, encoding="utf-8-sig")
        return data.read_split(path, data.load_dataset(class_folder).table if table is None else table)

    return read


def test_a_list_is_joined_by_name(listed):
    text = (
        "No,Split,FILE_NAME,Instrument,genre\n"
        "1,train,cel/b,CEL,\n2,test,a.FLAC,,\n\n3,Test,012__[cel][dru][pop_roc]0042__3,cello,pop_roc\n"
    )
    split = listed(text)
    assert split.to_dict() == {
        "cel/012__[cel][dru][pop_roc]0042__3": "test",
        "cel/b": "train",
        "harp/b": "unused",
        "harp/deep/a": "test",
    }
    assert listed("file_name,split\ndeep\\a.flac,train\n")["harp/deep/a"] == "train"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b,train", r"row 2: 'b' may be cel/b or harp/b: write class/name"),
        ("cel/c,train\ncel/b,test\nd,test", r"2 of the 3 clips listed are not among the 4 .*'cel/c', 'd'\."),
        ("cel/b,train\ncel/b.wav,train", r"row 3 names the clip 'cel/b' a second time, after row 2"),
        ("cel/b,train\na,validation", r"row 3: split='validation' is not one of train, test, unused"),
        ("a,", "row 2: split='' is not one of"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(listed, text, message):
    with pytest.raises(data.SplitError, match=message):
        listed("file_name,split\n" + text)


def test_what_a_list_says_of_a_clip_is_checked(listed, real_table):
    head = "file_name,split,instrument,genre\n"
    row = "[cla][pop_roc]0310__1,train,{},{}\n"
    for instrument, genre in (("clarinet", "pop_roc"), ("cla", ""), ("", "pop_roc")):
        split = listed(head + row.format(instrument, genre), real_table)
        assert split.index[split == "train"].tolist() == ["[cla][pop_roc]0310__1"]
    assert listed("file_name,split\ncla/[cla][pop_roc]0310__1.wav,test\n", real_table).eq("test").sum() == 1
    with pytest.raises(
        data.SplitError, match=r"instrument='guitar_ele'.*'cla' for the clip '\[cla\]\[pop_roc\]0310__1'"
    ):
        listed(head + row.format("guitar_ele", "pop_roc"), real_table)
    with pytest.raises(data.SplitError, match="genre='classical', but the data have 'pop_roc'"):
        listed(head + row.format("clarinet", "classical"), real_table)
    both = "file_name,split\n[cla][pop_roc]0310__1,train\n[cla][pop_roc]0310__2,test\n"
    with pytest.raises(data.SplitError, match="the same song in train and in test: song '0310'"):
        listed(both, real_table)


def test_a_file_that_is_no_list(listed, tmp_path, class_folder):
    for text, message in (
        ("name,split\na,test\n", "no column 'file_name', only name, split"),
        ("", "it is empty"),
    ):
        with pytest.raises(data.SplitError, match=message):
            listed(text)
    with pytest.raises(data.SplitError, match="the given split: cannot read .*none.csv"):
        Study("tiny", data=class_folder, split=tmp_path / "none.csv").source  # noqa: B018


def test_a_study_takes_a_list_before_all_else(irmas_folder, class_folder, tmp_path):
    path = tmp_path / "list.csv"
    sides = {"001": "train", "002": "test"}
    root = irmas_folder / "IRMAS-TrainingData"
    names = sorted(p.stem for p in root.rglob("*.wav"))
    rows = [f"{name},{sides.get(name[:3], 'unused')}" for name in [*names, "cello take"]]
    path.write_text("\n".join(["file_name,split", *rows]))
    # Listed and at hand, and left out all the same.
    write_tone(root / "cel" / "cello take.wav")
    (root / "cel" / "001__[cel][nod][cla]0001__1.wav").write_bytes(b"")
    options = {
        "data": irmas_folder,
        "split": path,
        "models": "panns",
        "effects": "gain",
        "weights": "untrained",
    }
    study = Study("paper", **options)
    assert study.has_split and len(study.excluded) == 2
    assert study.dataset.table.groupby(["instrument", "split"]).size().to_dict() == {
        ("cel", "test"): 2,
        ("cel", "train"): 1,
        ("gac", "test"): 2,
        ("gac", "train"): 2,
    }
    assert study.source.name == "irmas" and "ISMIR 2012" in study.source.citation
    assert study.split_origin == {
        "file": "list.csv",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert study.provenance()["split"] == study.split_origin
    # A list may know more classes than are asked for.
    assert set(Study("paper", **options, instruments="gac").dataset.table["instrument"]) == {"gac"}
    # It wins over what the folder says itself, and other labels are another address.
    (class_folder / "metadata.csv").write_text(
        "file,split\ncel/b.wav,train\ncel/012__[cel][dru][pop_roc]0042__3.wav,test\n"
        "harp/b.wav,train\nharp/deep/a.flac,test\n"
    )
    path.write_text(
        "file_name,split\ncel/b,test\n0042__3,train\nharp/b,test\na,train\n".replace(
            "0042__3", "012__[cel][dru][pop_roc]0042__3"
        )
    )
    options = {"data": class_folder, "models": "yamnet", "effects": "gain", "weights": "untrained"}
    own, other = Study("tiny", **options), Study("tiny", **options, split=path)
    assert own.split_origin == {"given": "by the data set"} and other.split_origin["file"] == "list.csv"
    assert own.split["cel/b"] == "train" and other.split["cel/b"] == "test"
    assert own.dataset.fingerprint != other.dataset.fingerprint
    assert own.split_overlap() is None and other.split_overlap() is None


def test_the_folds_are_a_setting_of_the_profile(tmp_path):
    folder = write_clips(tmp_path / "clips", songs=12, seconds=0.1)
    for folds in (2, 4):
        profile = Profile("mine", "", models=("yamnet",), effects=("gain",), n_folds=folds)
        study = Study(profile, data=folder)
        assert (study.split == "test").sum() == 24 // folds
        assert study.split_origin == {"rule": "songs dealt evenly", "folds": folds, "seed": 20220419}


def test_the_real_names_go_through_the_plan_of_the_paper(real_folder, real_table, own_cache, tmp_path):
    options = {"data": real_folder, "models": "panns", "weights": "untrained"}
    study = Study("paper", **options)
    table = plan(study, calibrate=False)
    assert table.attrs["sides"] == irmas.PUBLISHED and set(table["clips"]) == {4834}
    assert "Of the 1666 clips of the published test set 1666 are on the test side" in summary(table)
    assert digest(study.split.index[study.split == "test"]) == LISTED_TEST
    assert study.split_overlap()["this run"].tolist() == [1666, 562]
    assert study.split_origin["folds"] == 4 and study.excluded.empty
    path = LIST
    if not LIST.exists():
        # In the authors' manner, with another draw of training clips.
        test = real_table["song"].isin(irmas.TEST_SONGS) & (real_table["genre"] != "lat_sou")
        pool = real_table[~test & (real_table["genre"] != "lat_sou")]
        train = pool.groupby("instrument").sample(288, random_state=3).index
        path = tmp_path / "list.csv"
        drawn = real_table[test | real_table.index.isin(train)].rename_axis("file_name").reset_index()
        drawn["split"] = np.where(drawn["file_name"].isin(train), "train", "test")
        drawn[["instrument", "genre", "file_name", "split"]].to_csv(path, index=False)
    given = Study("paper", **options, split=path)
    assert plan(given, calibrate=False).attrs["sides"] == irmas.PUBLISHED
    listed = pd.read_csv(path).set_index("file_name")["split"]
    assert given.dataset.table["split"].to_dict() == listed.to_dict()
    overlap = given.split_overlap()
    assert overlap["this run"].tolist() == overlap["at hand"].tolist() == [1666, 562, 3168]
    assert overlap["the study's rule"].tolist()[:2] == [1666, 562]
    assert 1500 < overlap["the study's rule"].iloc[2] < 2500


@pytest.fixture
def archive(irmas_folder, own_cache, monkeypatch):
    """A server with a small archive in IRMAS layout, where mirdata says the data are."""
    from mirdata.datasets import irmas as source
    from mirdata.download_utils import RemoteFileMetadata

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(irmas_folder.rglob("*.wav")):
            archive.write(path, path.relative_to(irmas_folder).as_posix())
        archive.writestr("IRMAS-TrainingData/README.txt", "about")
        archive.writestr("__MACOSX/IRMAS-TrainingData/cel/._a.wav", "no sound")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("AESENS_OFFLINE", raising=False)
    monkeypatch.setattr(downloads, "CHUNK", 4096)
    downloads._unreachable.cache_clear()
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        running.content = packed.getvalue()
        checksum = hashlib.md5(running.content).hexdigest()
        remote = RemoteFileMetadata("IRMAS-TrainingData.zip", running.url, checksum)
        monkeypatch.setitem(source.REMOTES, "training_data", remote)
        yield running
        running.shutdown()


def test_download_is_resumed_and_kept(archive, own_cache, irmas_folder):
    folder = own_cache / "data" / "irmas"
    # A whole number of pieces, which is what is kept of a broken transfer.
    half = len(archive.content) // 2 // 4096 * 4096
    archive.stop_at = half
    with pytest.raises(ConnectionError, match="(?s)next attempt resumes it.*IRMAS-TrainingData.zip"):
        data.load_dataset("irmas")
    assert not (folder / "IRMAS-TrainingData").exists()
    archive.stop_at = None
    loaded = data.load_dataset("irmas")
    assert archive.requested == [None, f"bytes={half}-"]
    assert loaded.fingerprint == data.load_dataset(irmas_folder).fingerprint
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix != ".lock")
    assert files[0] == "IRMAS-TrainingData" and [f for f in files if "." in Path(f).name][-1].endswith(".wav")
    assert sum(name.endswith(".wav") for name in files) == 9 and "README" not in " ".join(files)
    # Neither asked for again nor kept twice.
    assert len(data.load_dataset("irmas")) == 9 and len(archive.requested) == 2


def test_a_wrong_archive_is_refused(archive, own_cache):
    archive.content = archive.content[:-1] + b"?"
    with pytest.raises(ConnectionError, match="(?s)expected md5:.*discarded"):
        data.load_dataset("irmas")
    assert not list((own_cache / "data" / "irmas").glob("IRMAS*"))


def test_a_data_host_out_of_reach_says_what_to_do(archive, own_cache, monkeypatch):
    archive.shutdown()
    archive.server_close()
    with pytest.raises(ConnectionError, match="(?s)could not be downloaded.*IRMAS-TrainingData.zip"):
        data.load_dataset("irmas")
    monkeypatch.setenv("AESENS_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="(?s)AESENS_OFFLINE.*IRMAS-TrainingData.zip"):
        data.load_dataset("irmas")


@pytest.mark.parametrize(
    "name", ["../../outside.wav", "/outside.wav", "IRMAS-TrainingData/../../x.wav", "C:/x.wav"]
)
def test_an_archive_reaches_nowhere_outside(tmp_path, name):
    path, folder = tmp_path / "archive.zip", tmp_path / "data" / "IRMAS-TrainingData"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("IRMAS-TrainingData/cel/[cel][cla]0001__1.wav", "sound")
        packed.writestr(name, "sound")
    irmas._unpack(path, folder)
    assert list(folder.parent.iterdir()) == [folder] and len(irmas.read_layout(folder)[0]) == 1
    assert all(path.is_relative_to(folder) for path in tmp_path.rglob("*.wav"))


@pytest.mark.parametrize(
    ("name", "wanted"), [("cel/[cel][cla]0002__1.WAV", 2), ("cel/a.txt", 1), ("cel/._a.wav", 1)]
)
def test_what_is_unpacked(tmp_path, name, wanted):
    path, folder = tmp_path / "archive.zip", tmp_path / "IRMAS-TrainingData"
    with zipfile.ZipFile(path, "w") as packed:
        for member in ("cel/[cel][cla]0001__1.wav", name):
            packed.writestr(f"IRMAS-TrainingData/{member}", "sound")
    irmas._unpack(path, folder)
    assert len(irmas.read_layout(folder)[0]) == wanted and not list(folder.rglob("*.txt"))


def test_an_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "archive.zip"
    for content in (b"no archive", None):
        if content:
            path.write_bytes(content)
        else:
            zipfile.ZipFile(path, "w").close()
        with pytest.raises(ValueError, match="cannot be unpacked"):
            irmas._unpack(path, tmp_path / "IRMAS-TrainingData")


def test_no_room_to_unpack_is_explained_and_the_archive_kept(tmp_path, monkeypatch):
    archive = tmp_path / "IRMAS-TrainingData.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("IRMAS-TrainingData/cel/[cel][cla]0001__1.wav", b"audio")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match=r"cannot unpack .*zip into .*No space left.*make room") as caught:
        irmas._unpack(archive, tmp_path / "IRMAS-TrainingData")
    assert caught.type is OSError and archive.exists() and not (tmp_path / "IRMAS-TrainingData").exists()


def test_importing_data_is_light():
    code = (
        "import sys, aesens.data; print([m for m in ('mirdata', 'symusic', 'requests') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def class_folder(tmp_path):
    root = tmp_path / "mine"
    write_tone(root / "harp" / "b.wav", seconds=1.5)
    write_tone(root / "harp" / "deep" / "a.flac", seconds=4.0, channels=2)
    write_tone(root / "cel" / "b.wav", frequency=300)
    write_tone(root / "cel" / "012__[cel][dru][pop_roc]0042__3.wav", frequency=350)
    (root / "cel" / "notes.txt").write_text("not audio")
    (root / "cel" / "._b.wav").write_text("not audio either")
    return root


def test_folder_of_classes(class_folder):
    dataset = data.load_dataset(class_folder)
    assert dataset.name == "mine" and dataset.instruments == ["cel", "harp"]
    assert dataset.clips == ["cel/012__[cel][dru][pop_roc]0042__3", "cel/b", "harp/b", "harp/deep/a"]
    assert dataset.table["song"].tolist() == ["0042", "cel/b", "harp/b", "harp/deep/a"]
    assert dataset.table.loc["cel/012__[cel][dru][pop_roc]0042__3", ["genre", "drums"]].tolist() == [
        "pop_roc",
        "dru",
    ]
    short, _ = dataset.load("harp/b")
    assert short.shape == (1, 24000) and np.abs(short[0, :12000]).max() > 0.2 and not short[0, 12000:].any()
    long, _ = dataset.load("harp/deep/a")
    whole, _ = sf.read(class_folder / "harp" / "deep" / "a.flac", dtype="float32", always_2d=True)
    np.testing.assert_array_equal(long, whole.T[:, :24000])
    shorter, rate = folder.load_folder(class_folder, seconds=0.5).load("cel/b")
    assert shorter.shape == (1, rate // 2)


def test_metadata_is_taken_over(class_folder):
    (class_folder / "metadata.csv").write_text(
        "file, song, split, genre, instrument\n"
        "cel/b.wav, one, train, cla,\n"
        "harp/b.wav, one, train, , lyre\n"
        "harp/deep/a.flac, , test, lat_sou,\n"
    )
    table = data.load_dataset(class_folder).table
    columns = ["instrument", "song", "excerpt", "genre", "split"]
    assert table.loc["cel/b", columns].tolist() == ["cel", "one", 1, "cla", "train"]
    assert table.loc["harp/b", columns].tolist() == ["lyre", "one", 2, "", "train"]
    assert table.loc["harp/deep/a", columns].tolist() == ["harp", "harp/deep/a", 1, "lat_sou", "test"]
    assert table.loc["cel/012__[cel][dru][pop_roc]0042__3", "split"] == "unused"


@pytest.mark.parametrize("separator", [";", "\t", "; "])
def test_metadata_of_other_spreadsheets(class_folder, separator):
    lines = [
        ["file", "song", "instrument"],
        ["cel/b.wav", "one, two", "lyre"],
        ["harp/b.wav", "one, two", ""],
    ]
    text = "\r\n".join(separator.join(line) for line in lines)
    (class_folder / "metadata.csv").write_text(text, encoding="utf-8-sig")
    table = data.load_dataset(class_folder).table
    assert table.loc[["cel/b", "harp/b"], "song"].tolist() == ["one, two"] * 2
    assert table.loc["cel/b", "instrument"] == "lyre"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,song\ncel/missing.wav,a\n", "cel/missing.wav"),
        ("file,song\ncel/b.wav,a\ncel/b.wav,b\n", "more than one row for 'cel/b.wav'"),
        ("name,song\ncel/b.wav,a\n", "column 'file'"),
        ("file,colour\ncel/b.wav,red\n", "at least one of song"),
        ("", "cannot read"),
        ("file;song\ncel/b.wav;one;two\n", "row 2 has 3 fields.*that holds ';'"),
        ("\ud800", "it is not in UTF-8, save it so"),
        (
            "file,split\ncel/b.wav,train\n\nharp/b.wav, tset\n",
            "row 4: split='tset' is not one of train, test, unused",
        ),
        ("file,song\ncel/b.wav,one, two\n", "row 2 has 3 fields, the header has 2"),
        ("file,song,song\ncel/b.wav,one,two\n", "two columns of one name"),
    ],
)
def test_bad_metadata_is_refused(class_folder, content, message):
    (class_folder / "metadata.csv").write_text(content, errors="surrogatepass")
    with pytest.raises(ValueError, match=message):
        data.load_dataset(class_folder)


def test_folders_without_clips_are_refused(tmp_path):
    with pytest.raises(ValueError, match="neither a dataset .rendered, irmas.* nor an existing folder"):
        data.load_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="there is no folder"):
        folder.load_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no subfolders"):
        data.load_dataset(tmp_path)
    (tmp_path / "cel").mkdir()
    with pytest.raises(ValueError, match="no audio files"):
        data.load_dataset(tmp_path)
    write_tone(tmp_path / "cel" / "a.wav")
    write_tone(tmp_path / "cel" / "a.flac")
    with pytest.raises(ValueError, match=r"same clip 'cel/a'.*a\.flac.*a\.wav"):
        data.load_dataset(tmp_path)


# ------------------------------------------------------------------------------------------- the Dataset class


def test_rows_of_the_users_own_are_texts_and_complete(tmp_path):
    row = {"clip": 1, "path": tmp_path / "1.wav", "instrument": 10, "song": 2}
    table = data.make_table([row, row | {"clip": "b", "instrument": "2"}])
    assert table.index.tolist() == ["1", "b"] and table["instrument"].tolist() == ["10", "2"]
    assert table.loc["1", ["path", "song"]].tolist() == [str(tmp_path / "1.wav"), "2"]
    with pytest.raises(ValueError, match="there are no clips"):
        data.make_table([])
    for lacking in (row | {"song": None}, {key: value for key, value in row.items() if key != "song"}):
        with pytest.raises(ValueError, match="lacks its 'song'"):
            data.make_table([row | {"clip": "b"}, lacking])


def test_fingerprint_follows_content_and_labels_not_place(irmas_folder, tmp_path):
    dataset = data.load_dataset(irmas_folder)
    moved = tmp_path / "elsewhere"
    shutil.copytree(irmas_folder / "IRMAS-TrainingData", moved)
    assert irmas.load_irmas(moved).fingerprint == dataset.fingerprint
    seen = {dataset.fingerprint}
    relabelled = dataset.table.copy()
    relabelled.loc[relabelled.index[0], "song"] = "9999"
    seen.add(clips.Dataset("irmas", "", relabelled).fingerprint)
    seen.add(clips.Dataset("irmas", "", dataset.table, seconds=1.0).fingerprint)
    seen.add(dataset.select(instruments=["cel"]).fingerprint)
    write_tone(moved / "cel" / "[cel][lat_sou]0007__1.wav", channels=2, frequency=441)
    seen.add(irmas.load_irmas(moved).fingerprint)
    assert len(seen) == 5


def test_hashes_of_large_collections_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remember, "_LARGE", 1)
    path = write_tone(tmp_path / "a.wav")
    first = remember.file_hashes([path])
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read again"))
    assert remember.file_hashes([path]) == first
    monkeypatch.undo()
    monkeypatch.setenv("AESENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remember, "_LARGE", 1)
    write_tone(path, seconds=2.0)
    assert remember.file_hashes([path]) != first
    (tmp_path / "cache" / "data" / "hashes.json").write_text("{damaged")
    assert remember.file_hashes([path]) != first


def test_a_few_clips_are_spread_over_the_instruments():
    table = pd.DataFrame({"instrument": ["cel", "cel", "cel", "flu", "flu"]})
    assert data.spread_over_instruments(table, 3).tolist() == [0, 1, 3]
    assert data.spread_over_instruments(table, 9).tolist() == [0, 1, 2, 3, 4]


def test_select(irmas_folder):
    dataset = data.load_dataset(irmas_folder)
    assert dataset.select("gac").instruments == ["gac"]
    one = dataset.select(per_song=1)
    assert len(one) == 5 and set(one.table["excerpt"]) == {1}
    assert set(dataset.select(songs=["0002", "5001"]).table["song"]) == {"0002", "5001"}
    assert dataset.select().fingerprint == dataset.fingerprint
    for options, message in [
        ({"instruments": ["vio"]}, "no instrument 'vio'; there are cel, gac"),
        ({"instruments": []}, "no instrument was chosen"),
        ({"songs": ["1234"]}, "no song '1234'"),
        ({"per_song": 0}, "at least 1"),
        ({"instruments": ["cel"], "songs": ["5001"]}, "no song '5001'"),
    ]:
        with pytest.raises(ValueError, match=message):
            dataset.select(**options)


def test_bad_clips_are_found(class_folder):
    rate = 8000
    sf.write(class_folder / "harp" / "silent.wav", np.zeros(rate), rate)
    sf.write(class_folder / "harp" / "empty.wav", np.zeros(0), rate)
    sf.write(class_folder / "harp" / "nan.wav", np.full(rate, np.nan, np.float32), rate, subtype="FLOAT")
    (class_folder / "harp" / "text.wav").write_text("this is no sound")
    dataset = data.load_dataset(class_folder)
    problems = data.check_clips(dataset)
    assert list(problems.index) == ["harp/empty", "harp/nan", "harp/silent", "harp/text"]
    assert problems.at["harp/silent", "problem"] == "silent"
    for clip in ("harp/empty", "harp/nan", "harp/text"):
        with pytest.raises(ValueError, match=Path(clip).name):
            dataset.load(clip)
    with pytest.raises(ValueError, match="no clip 'harp/none'"):
        dataset.load("harp/none")
    Path(dataset.table.at["cel/b", "path"]).unlink()
    for use in (lambda: dataset.load("cel/b"), lambda: dataset.fingerprint):
        with pytest.raises(ValueError, match="b.wav"):
            use()


def test_dataset_refuses_a_bad_table(irmas_folder):
    table = data.load_dataset(irmas_folder).table
    for bad, message in [
        (table.drop(columns="song"), "lacks the columns song"),
        (table[::-1], "unique and sorted"),
        (table[:0], "no clips"),
    ]:
        with pytest.raises(ValueError, match=message):
            clips.Dataset("x", "x", bad)


def test_register(irmas_folder, monkeypatch):
    monkeypatch.setattr(data, "DATASETS", dict(data.DATASETS))
    loader = lambda **options: data.load_dataset(irmas_folder).select(**options)
    data.register("mine", loader)
    assert data.load_dataset("mine", instruments=["gac"]).instruments == ["gac"]
    data.register("mine", loader)
    with pytest.raises(ValueError, match="registered already"):
        data.register("rendered", loader)


@pytest.mark.recordings
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not at hand")
def test_recordings():
    dataset = data.load_dataset(RECORDINGS)
    assert dataset.name == "recordings"
    assert dataset.instruments == ["cel", "cla", "flu", "gac", "sax", "vio"]
    assert dataset.summary()["clips"].tolist() == [22, 24, 24, 24, 24, 13, 131]
    assert data.check_clips(dataset).empty
    shapes = {(dataset.load(clip)[0].shape, dataset.load(clip)[1]) for clip in dataset.clips}
    assert shapes == {((1, 132300), 44100)}
    split = data.split_clips(dataset.table, published=False)
    assert split.value_counts().to_dict() == {"train": 6 * 9, "test": 33, "unused": 44}


# ------------------------------------------------------------------------------------------ folders of real people


@pytest.fixture
def root(tmp_path):
    return tmp_path / "mine"


@pytest.fixture
def take():
    """Writes takes that differ."""
    number = iter(range(1, 1000))
    return lambda path: write_tone(path, frequency=200 + 7 * next(number), seconds=0.2, rate=44100)


@pytest.mark.parametrize(
    "names", [("0", "1", "10"), ("01", "1"), ("nan", "NA", "None"), ("1e5", "True"), ("5$", "_x")]
)
def test_classes_keep_their_names(root, take, tmp_path, names):
    for name in names:
        for n in range(4):
            take(root / name / f"{n}.wav")
    study = Study(Profile("p", "", models=("yamnet",)), data=root, out=tmp_path / "out", weights="untrained")
    assert study.source.instruments == sorted(names) and study.has_split
    sides = study.dataset.table.groupby(["instrument", "split"]).size().rename("clips").reset_index()
    study.table(sides, "t", "Sides.")
    assert read_table(tmp_path / "out" / "t.csv").equals(sides)
    # As a notebook's options may give them.
    assert Study("tiny", data=root, instruments=list(names)[:1]).source.instruments == [names[0]]


def test_a_class_called_as_the_row_of_all_is_refused(root, take):
    for name in ("all", "cel"):
        take(root / name / "a.wav")
    with pytest.raises(ValueError, match="has a class 'all', which is what tables call all classes together"):
        data.load_dataset(root)
    (root / "all").rename(root / "every")
    (root / "metadata.csv").write_text("file,instrument\nevery/a.wav,all\n")
    with pytest.raises(ValueError, match="has a class 'all'"):
        data.load_dataset(root)


def test_hidden_folders_within_classes_hold_no_clips(root, take):
    for name in (".ipynb_checkpoints", ".Trash-1000/files", "deep/.hidden", "__MACOSX", "@eaDir"):
        take(root / "cel" / name / "a.wav")
    take(root / "cel" / "deep" / "b.wav")
    dataset = data.load_dataset(root)
    assert dataset.clips == ["cel/deep/b"] and dataset.left_out.empty


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "testing")])
def test_folders_of_the_sides_are_the_split(root, take, train, test):
    for side, count in ((train, 3), (test, 1)):
        for code in ("cel", "harp"):
            for n in range(count):
                take(root / side / code / f"{n}.wav")
    dataset = data.load_dataset(root)
    assert dataset.instruments == ["cel", "harp"]
    assert set(dataset.table["split"][dataset.table.index.str.startswith(train)]) == {"train"}
    assert data.split_clips(dataset.table).value_counts().to_dict() == {"train": 6, "test": 2}
    take(root / "validation" / "cel" / "a.wav")
    with pytest.raises(
        ValueError, match="has a folder 'validation' beside .*: call it train, test or unused"
    ):
        data.load_dataset(root)
    shutil.rmtree(root / "validation")
    # Classes that happen to be called so.
    take(root / train / "a.wav")
    assert set(data.load_dataset(root).instruments) == {train, test}


def test_irmas_names_below_the_sides_are_no_misplaced_irmas(root, take):
    for side in ("train", "test"):
        for n in (1, 2):
            take(root / side / "cel" / f"[cel][cla]00{n if side == 'test' else n + 4:02d}__1.wav")
    assert data.split_clips(data.load_dataset(root).table).value_counts().to_dict() == {"train": 2, "test": 2}


def test_what_cannot_be_read_is_listed_and_a_class_of_it_told(root, take):
    for n in range(3):
        take(root / "cel" / f"{n}.wav")
        (root / "cel" / f"{n}.m4a").write_bytes(b"converted from this one")
    (root / "cel" / "3.m4a").write_bytes(b"not converted")
    (root / "notes").mkdir()
    (root / "notes" / "a.txt").write_text("nothing to hear")
    take(root / "loose.wav")
    dataset = data.load_dataset(root)
    assert list(dataset.clips) == ["cel/0", "cel/1", "cel/2", "cel/3"]
    assert list(data.check_clips(dataset).index) == ["cel/3"]
    assert dataset.left_out["problem"].to_dict() == {
        "loose": "lies in no class folder",
        "notes": "a folder without audio files",
    }
    (root / "harp").mkdir()
    (root / "harp" / "a.M4A").write_bytes(b"an iPhone")
    with pytest.raises(ValueError, match=r"no clip of harp that can be used.*\(--instruments cel\)"):
        _ = Study("tiny", data=root).source
    assert Study("tiny", data=root, instruments="cel").source.instruments == ["cel"]


@pytest.mark.parametrize(
    "text",
    [
        "File,Song,Split\ncel/0.wav,a,Train\ncel/1.wav,a,train\ncel/2.wav,b,TEST\n",
        "\ufeffFILE, SONG ,split,,\r\ncel/0.wav,a,train,,\r\ncel\\1.wav,a,train,,,\r\n./cel/2.wav,b,test\r\n,,,,\r\n",
    ],
)
def test_headings_in_any_letters_and_empty_columns(root, take, text):
    for n in range(3):
        take(root / "cel" / f"{n}.wav")
    (root / "metadata.csv").write_text(text)
    table = data.load_dataset(root).table
    assert list(table["song"]) == ["a", "a", "b"] and list(table["split"]) == ["train", "train", "test"]


@pytest.mark.parametrize(("heading", "meant"), [("songs", "song"), ("song_id", "song"), ("Splits", "split")])
def test_a_heading_that_is_nearly_right_is_asked_about(root, take, heading, meant):
    take(root / "cel" / "0.wav")
    (root / "metadata.csv").write_text(f"file,genre,{heading}\ncel/0.wav,cla,a\n")
    with pytest.raises(
        ValueError, match=f"has a column '{heading.lower()}'; if it is the {meant}, call it '{meant}'"
    ):
        data.load_dataset(root)


def test_names_that_are_not_utf_8(root, take, tmp_path):
    take(root / "cel" / "a.wav")
    odd = os.fsencode(root / "cel") + b"/fl\xf6te.wav"
    os.rename(take(root / "cel" / "b.wav"), odd)
    dataset = data.load_dataset(root)
    assert dataset.clips == ["cel/a"] and list(dataset.left_out["problem"]) == [
        "its name is not UTF-8: rename it"
    ]
    dataset.left_out.to_csv(tmp_path / "left_out.csv")
    os.rename(os.fsencode(root / "cel"), os.fsencode(root) + b"/k\xf6ln")
    take(root / "cel" / "a.wav")
    with pytest.raises(
        ValueError, match="no file of the class folder .*mine/k.ln can be used; .* is not UTF-8"
    ):
        data.load_dataset(root)


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_composed_and_decomposed_names_are_the_same(root, take, forms):
    there, said = (unicodedata.normalize(form, "Flöte") for form in forms)
    take(root / there / f"{there} 1.wav")
    take(root / "cel" / "a.wav")
    (root / "metadata.csv").write_text(f"file,song\n{said}/{said} 1.wav,one\n")
    dataset = data.load_dataset(root)
    assert dataset.instruments == ["cel", "Flöte"] and dataset.table.at["Flöte/Flöte 1", "song"] == "one"
    assert Study("tiny", data=root, instruments=said).source.instruments == ["Flöte"]
    listed = root / "list.csv"
    listed.write_text(f"file_name,split\n{said} 1.wav,test\ncel/a,train\n")
    assert data.read_split(listed, dataset.table)["Flöte/Flöte 1"] == "test"


def test_copies_cannot_stand_on_both_sides(root, take):
    for code in ("cel", "harp"):
        for n in range(3):
            take(root / code / f"{n}.wav")
    shutil.copy(root / "cel" / "0.wav", root / "cel" / "again.wav")
    shutil.copy(root / "cel" / "1.wav", root / "harp" / "other.wav")
    (root / "metadata.csv").write_text("file,split\ncel/0.wav,train\ncel/again.wav,test\ncel/2.wav,test\n")
    dataset = data.load_dataset(root)
    assert dataset.left_out["problem"].to_dict() == {
        "cel/again": "the same file as cel/0.wav",
        "cel/1": "the same file as harp/other.wav, of another class",
        "harp/other": "the same file as cel/1.wav, of another class",
    }
    assert dataset.clips == ["cel/0", "cel/2", "harp/0", "harp/1", "harp/2"]
    # A whole class that is another one again.
    shutil.copytree(root / "harp", root / "lyre")
    with pytest.raises(
        ValueError, match="no file of the class folder .*harp can be used; .*of another class"
    ):
        data.load_dataset(root)


def test_one_training_song_is_told_before_anything_is_embedded(root, take, tmp_path):
    sides = ["file,split,song"]
    for code, songs in (("cel", 3), ("harp", 2)):
        for n in range(songs):
            take(root / code / f"{n}.wav")
            sides.append(f"{code}/{n}.wav,{'train' if n else 'test'},{code}{n}")
    (root / "metadata.csv").write_text("\n".join(sides))
    study = Study("tiny", data=root)
    with pytest.raises(
        NeedsSplit, match="one training song only of harp: .*; add songs, or leave these classes out"
    ):
        study.require_split()
    study = Study("tiny", data=root, instruments="cel,harp")
    take(root / "harp" / "2.wav")
    (root / "metadata.csv").write_text("\n".join([*sides, "harp/2.wav,train,harp2"]))
    study.require_split()


def test_two_clips_in_all(root, take, own_cache, capsys):
    for code in ("cel", "harp"):
        take(root / code / "a.wav")
    assert main(["run", "tiny", "--data", str(root), "--models", "musicnn", "--weights", "untrained"]) == 1
    told = capsys.readouterr().err
    assert "error: Folder mine has 2 clips that can be used: " in told and "which takes 4" in told
    for code in ("cel", "harp"):
        take(root / code / "b.wav")
    with pytest.raises(NeedsSplit, match="too few songs to split into 4 folds: cel 2, harp 2"):
        Study("tiny", data=root).require_split()


def test_labels_hold_any_character(root, take):
    take(root / "cel" / "a.wav")
    take(root / "cel" / "b.wav")
    (root / "metadata.csv").write_text('file,instrument,song\ncel/a.wav,strings/bowed,"two\nlines"\n')
    table = data.load_dataset(root).table
    assert table.loc["cel/a", ["instrument", "song"]].tolist() == ["strings/bowed", "two lines"]


def test_what_sources_say_of_a_clip_is_shown_where_it_is_heard(tmp_path):
    place = write_clips(tmp_path / "clips", songs=2)
    lines = [
        "File,Freesound ID,license,sample_rate_hz,Artist(s),Source-URL,bit depth,Filename",
        "aaa/aaa0.wav,12,Attribution,44100,<b>A</b>,,16,x.wav",
        "gone.wav,1,CC0,44100,B,,16,x.wav",
        "bbb/bbb0.wav,,,44100,,,16,x.wav",
        "bbb/bbb1.wav,,CC0,44100,,example.org/1,16,x.wav",
    ]
    (place / "SOURCES.csv").write_text("\n".join(lines))
    dataset = data.load_dataset(place)
    assert dataset.credits == {
        "aaa/aaa0": "license: Attribution, artist(s): <b>A</b>, page: freesound.org/s/12",
        "bbb/bbb1": "license: CC0, source url: example.org/1",
    }
    shown = player(*dataset.load("aaa/aaa0"), "Clean", dataset.credits["aaa/aaa0"]).data
    assert "artist(s): &lt;b&gt;A&lt;/b&gt;, page: freesound.org/s/12" in shown
    (place / "SOURCES.csv").write_text("name\nx")
    with pytest.raises(ValueError, match=r"SOURCES.csv has no column .file., only name"):
        data.load_dataset(place)


def test_classes_called_by_numbers_stand_in_their_order():
    assert data.sort_instruments(["10", "2", "take 12", "take 3", "voi", "1", "cel"]) == [
        "cel", "voi", "1", "2", "10", "take 3", "take 12",
    ]  # fmt: skip
