"""The plan of a run: its numbers are those of the run that follows, and it leaves nothing behind."""

import numpy as np
import pytest
import torch
from support import ROOT, ToyModel, aesens, write_clips
from torch.utils.flop_counter import FlopCounterMode

from aesens import models
from aesens.app import plan as module
from aesens.app.plan import PUBLISHED, plan, summary
from aesens.settings import Profile, Scale
from aesens.study import Study

PROFILE = Profile("toy", "", models=("toy", "dense"), effects=("gain", "bitcrush"), scale=Scale(strengths=3))


class DenseModel(ToyModel):
    """A model with a known number of operations: one matrix, 16 samples to 8 features."""

    name = "dense"

    def frames(self, waves):
        self.calls += 1
        return (waves[:, :16] @ torch.ones(16, 8))[:, None]


@pytest.fixture
def study(own_cache, monkeypatch, tmp_path):
    monkeypatch.setitem(models.MODELS, "toy", models.Entry(ToyModel))
    monkeypatch.setitem(models.MODELS, "dense", models.Entry(DenseModel))
    clips = write_clips(tmp_path / "clips", songs=40, seconds=0.2)
    return Study(PROFILE, data=clips, out=tmp_path / "out", jobs=1, weights="untrained")


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


def test_the_plan_is_what_the_extraction_does(study, own_cache):
    before = plan(study)
    assert files(own_cache) == [] and not list((own_cache / "store").iterdir())
    done = study.extract()
    after = plan(study)
    assert list(before["effect"]) == ["clean", "gain", "bitcrush"] * 2 == list(done["effect"])
    for column in ("strengths", "clips"):
        assert (before[column] == done[column]).all()
    np.testing.assert_allclose(before["megabytes"], done["megabytes"])
    assert (before["embeddings"] == done["strengths"] * done["clips"]).all()
    assert (before["missing"] == before["embeddings"]).all() and (before["seconds"] > 0).all()
    assert not before["stored"].any()
    assert (after["stored"] == before["missing"]).all() and not after["missing"].any()
    assert not after["seconds"].any() and after["gflop"].equals(before["gflop"])
    assert plan(study, calibrate=False, fresh=True)["missing"].equals(before["missing"])


def test_what_is_half_done_is_counted_by_clips(study):
    study.sweep("toy", "gain")
    sweep = study._plan("toy", ["gain"])[1]
    for name in ("c.0.0.0", "c.2.0.0", "c.2.1.0"):
        (sweep.store().path / "embedding" / name).unlink()
    table = plan(study).set_index(["model", "effect"])
    assert table.loc[("toy", "clean"), "missing"] == 0
    assert table.loc[("toy", "gain"), "missing"] == 64 + len(study.clips("toy").clips[32:64])
    assert table.loc[("dense", "gain"), "stored"] == 0 and table.loc[("toy", "gain"), "seconds"] > 0


def test_the_audio_is_shared_by_the_models_that_lack_it(study, monkeypatch):
    monkeypatch.setattr(module, "_network", lambda *arguments: (1, 0.25))
    monkeypatch.setattr(module, "_audio", lambda *arguments: 0.5)
    clips = len(study.clips("toy"))
    both = plan(study).set_index(["model", "effect"])["seconds"]
    assert both.loc[("toy", "gain")] == both.loc[("dense", "gain")] == 3 * clips * (0.25 + 0.5 / 2)
    study.sweep("toy", "gain")
    one = plan(study).set_index(["model", "effect"])["seconds"]
    assert one.loc[("toy", "gain")] == 0 and one.loc[("dense", "gain")] == 3 * clips * (0.25 + 0.5)
    assert one.loc[("toy", "bitcrush")] == both.loc[("toy", "bitcrush")]


def test_a_model_is_timed_in_batches_of_a_run(monkeypatch):
    model, sizes = ToyModel(), []
    model.batch_size = 500
    monkeypatch.setattr(model, "embed", lambda waves: sizes.append(len(waves)))
    module._network(model, 0.1, 1)
    assert max(sizes) == 32


def test_the_split_is_set_beside_the_published_one():
    assert module._beside_published(PUBLISHED, 6705).endswith(
        "3168 training and 1666 test, as many as published."
    )
    other = module._beside_published({"train": 3201, "test": 1654}, 6705)
    assert "3201 training and 1654 test; the published one of 6705: 3168 training and 1666 test" in other


def test_operations_are_those_of_one_clip(study):
    table = plan(study).set_index(["model", "effect"])
    assert table.loc[("dense", "gain"), "gflop"] == pytest.approx(
        2 * 16 * 8 * 3 * table["clips"].iloc[0] / 1e9
    )
    with FlopCounterMode(display=False) as counter:
        ToyModel().embed(np.ones((1, 3200), np.float32))
    assert table.loc[("toy", "gain"), "gflop"] == counter.get_total_flops() == 0


def test_the_paper_profile_without_its_data_and_weights(own_cache, monkeypatch):
    monkeypatch.setenv("AESENS_OFFLINE", "0")
    table = plan(Study("paper"), calibrate=False)
    # 4 834 clips under 109 conditions by three models, the 1.6 million embeddings of the study, and by three more.
    counts = table.groupby("model", sort=False)["embeddings"].sum()
    assert list(counts.index[:3]) == ["openl3", "panns", "msclap"] and len(counts) == 6
    assert sum(PUBLISHED.values()) == 4834 and set(counts) == {4834 * 109}
    assert set(table.groupby("model")["strengths"].sum()) == {109} and table["seconds"].isna().all()
    dimensions = (512, 2048, 1024, 512, 1024, 200)
    assert table["megabytes"].sum() == pytest.approx(4834 * 109 * sum(dimensions) * 4e-6)
    assert not table["pretrained"].any()
    text = summary(table)
    assert (
        "3168 train, 1666 test" in text and "109: clean, 31 gain" in text and "IRMAS is not at hand" in text
    )
    assert "weights of OpenL3, PANNs, CLAP (Microsoft), CLAP (LAION), YAMNet, musicnn are not at hand" in text
    assert files(own_cache) == []


def test_a_given_split_is_counted_before_its_data_are_at_hand(own_cache, tmp_path):
    (tmp_path / "list.csv").write_text("file_name,split\na,train\nb,test\nc,test\nd,unused\n")
    study = Study("paper", models="panns", weights="untrained", split=tmp_path / "list.csv")
    table = plan(study, calibrate=False)
    assert table.attrs["sides"] == {"train": 1, "test": 2} and set(table["clips"]) == {3}
    assert "counted with the given split" in summary(table)
    with pytest.raises(ValueError, match="none.csv: No such file"):
        plan(
            Study("paper", models="panns", weights="untrained", split=tmp_path / "none.csv"), calibrate=False
        )


def test_dry_run_of_the_command_line(tmp_path):
    clips = write_clips(tmp_path / "clips", songs=8, seconds=0.2)
    options = [
        "--models",
        "musicnn",
        "--weights",
        "untrained",
        "--effects",
        "gain",
        "--data",
        clips,
        "--dry-run",
    ]
    # A name that no test beside this one gives its results.
    out = tmp_path / "dry-run"
    done = aesens("tiny", *options, "--out", out, cache=tmp_path / "cache", home=tmp_path)
    assert "Conditions  5: clean, 4 gain" in done.stdout and "16 clips of the split" in done.stdout
    assert "hours left" in done.stdout and not out.exists() and not list((ROOT / "runs").glob("dry-run-*"))
    assert not list((tmp_path / "cache" / "store").iterdir())
