"""The clips of a study: which of a data set can be used, on which side of the split they are, which a model embeds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property

import pandas as pd

from aesens.data import (
    Dataset,
    SplitError,
    check_clips,
    load_dataset,
    read_split,
    sort_instruments,
    split_clips,
    spread_over_instruments,
)
from aesens.data.irmas import published_overlap
from aesens.data.split import read_list
from aesens.effects import effect

__all__ = ["NeedsSplit", "StudyData"]


class NeedsSplit(Exception):
    """The data cannot be split by song, so this step cannot be computed; the others can."""

    def _render_traceback_(self):
        # IPython's hook: a reader is told what is missing, not shown a stack.
        return [f"Stopped here: {self}"]


class StudyData:
    """What `aesens.study.Study`, whose settings these are, says of its clips; read when it is first asked for."""

    @cached_property
    def _loaded(self) -> Dataset:
        """The data set as it is, with the given split if there is one."""
        options = dict(self.profile.data_options) if self.data == self.profile.data else {}
        if self.data == "rendered":
            options.setdefault("seed", self.data_seed)
            # A list names clips of other instruments too.
            if self.instruments and not self.settings.split:
                options["instruments"] = self.instruments
        if self.settings.split:
            read_list(self.settings.split)  # before anything is downloaded
        dataset = load_dataset(self.data, **options)
        if self.settings.split:
            split = read_split(self.settings.split, dataset.table, left_out=dataset.left_out.index)
            dataset = replace(dataset, table=dataset.table.assign(split=split))
        return dataset.select(instruments=self.instruments) if self.instruments else dataset

    @cached_property
    def _checked(self) -> tuple[Dataset, pd.DataFrame]:
        """The data set of the clips that can be used, and a table of the others."""
        excluded = check_clips(self._loaded, admits=self._admit)
        left_out = pd.concat([self._loaded.left_out, excluded]) if len(self._loaded.left_out) else excluded
        return self._loaded.without(excluded), left_out

    def _admit(self, sample_rate: int) -> None:
        """Raise `ValueError` if an effect of the study cannot be applied to clips of a sample rate."""
        for kind in map(effect, self.effects):
            for scale in {self.scale(model) for model in self.models}:
                for value in kind.parameters(scale.strengths):
                    kind.check(value, sample_rate)

    @property
    def source(self) -> Dataset:
        """The data set with all its clips but those of `excluded`."""
        return self._checked[0]

    @property
    def excluded(self) -> pd.DataFrame:
        """Clips left out for all models and effects: misnamed, or of no use to one of them.

        Indexed by clip, columns ``problem`` and ``path``; see `aesens.data.clips.Dataset` and `aesens.data.checks`.
        """
        return self._checked[1]

    @cached_property
    def _split(self) -> tuple[pd.Series, str]:
        """Side of each clip, and why there are none."""
        table, whole = self.source.table, self._loaded.table
        try:
            # Clips that cannot be used count when songs are dealt: no fault moves another song to the other side.
            split = split_clips(
                whole,
                seed=self.seed,
                n_folds=self.profile.n_folds,
                published=self.source.name == "irmas",
                left_out=whole.index.difference(table.index),
            )[table.index]
            # What needs a split needs something to tell apart as well.
            alone = table["instrument"].nunique() < 2
            reason = "one instrument only: add a second class folder" if alone else ""
        except SplitError as error:
            reason = str(error)
        if not reason:
            return split, ""
        lost = f" (clips left out as faulty: {len(self.excluded)})" if len(self.excluded) else ""
        return pd.Series("none", index=table.index), reason + lost

    @property
    def split(self) -> pd.Series:
        """Side of each clip: ``train``, ``test``, ``unused``, or ``none`` where the data cannot be split."""
        return self._split[0]

    @property
    def split_error(self) -> str:
        """Why the data cannot be split; empty if they can."""
        return self._split[1]

    @property
    def has_split(self) -> bool:
        """Whether there is a training and a test side."""
        return not self.split_error

    def require_split(self) -> None:
        """Raise `NeedsSplit` with the reason if there is no training and test side to fit on and to test on."""
        reason = self.split_error
        if not reason:
            songs = self.dataset.table.query("split == 'train'").groupby("instrument")["song"].nunique()
            if alone := sort_instruments(songs.index[songs < 2]):
                reason = (
                    f"one training song only of {', '.join(alone)}: penalties are chosen on songs not fitted; add "
                    "songs, or leave these classes out"
                )
        if reason:
            raise NeedsSplit(reason)

    @property
    def split_origin(self) -> dict:
        """What made the split: the rule with its folds and seed, a file with its hash, the data set, or nothing."""
        if not self.has_split:
            return {"none": self.split_error}
        if file := self.settings.split:
            return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        if "split" in self.source.table:
            return {"given": "by the data set"}
        how = "as the study's scikit-learn did" if self.source.name == "irmas" else "evenly"
        return {"rule": f"songs dealt {how}", "folds": self.profile.n_folds, "seed": self.seed}

    def split_overlap(self) -> pd.DataFrame | None:
        """How much of the study's published test set is on this run's test side; None where the data are not IRMAS.

        Returns
        -------
        pandas.DataFrame or None
            Of `aesens.data.irmas.published_overlap`, with a column ``this run``. Where a split is given there is
            another column, ``the study's rule``, and a row for the training clips of the given split.
        """
        if self.source.name != "irmas" or not self.has_split:
            return None
        table, whole = self.source.table, self._loaded.table
        if "split" not in whole:
            return published_overlap(table, {"this run": self.split})
        left_out = whole.index.difference(table.index)
        rule = split_clips(whole.drop(columns="split"), published=True, left_out=left_out)[table.index]
        overlap = published_overlap(table, {"this run": self.split, "the study's rule": rule})
        train, listed = self.split == "train", whole["split"] == "train"
        counts = [listed.sum(), train.sum(), train.sum(), (train & (rule == "train")).sum()]
        overlap.loc["training clips of the given split"] = counts
        return overlap

    @cached_property
    def dataset(self) -> Dataset:
        """The clips of the split, with their side in the column ``split``."""
        used = self.split[self.split != "unused"]
        return replace(self.source, table=self.source.table.loc[used.index].assign(split=used))

    def scale(self, model: str):
        """How much of the data and the grids a model is given, an `aesens.settings.Scale`."""
        return self.profile.short if model in self.beside else self.profile.scale

    def clips(self, model: str) -> Dataset:
        """The clips a model embeds."""
        return self._scaled(self.scale(model))

    def _scaled(self, scale) -> Dataset:
        dataset = self.dataset
        if scale.songs and self.has_split:
            limit = dict(zip(("train", "test"), scale.songs, strict=True))
            songs = dataset.table[["instrument", "split", "song"]].drop_duplicates().sort_values("song")
            place = songs.groupby(["instrument", "split"]).cumcount()
            dataset = dataset.select(songs=list(songs["song"][place < songs["split"].map(limit)]))
        return dataset.select(per_song=scale.excerpts) if scale.excerpts else dataset

    def pictured(self) -> Dataset:
        """The few clips whose trajectories are drawn: one an instrument, then a second, and so on."""
        clips = self._scaled(self.profile.scale)
        chosen = spread_over_instruments(clips.table, self.profile.picture_clips)
        return replace(clips, table=clips.table.iloc[chosen])
