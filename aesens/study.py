"""A study: one data set, some models and effects, and where the results go.

`Study` joins the parts: it loads and splits the data, builds the models, extracts what the stores lack and hands out
each sweep as plain arrays. Notebooks make one from the parameters of their first cell and ask it for sweeps, tables
and figures; the analysis modules know nothing of it.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from copy import copy
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from IPython.display import Image

import aesens
from aesens import tables
from aesens.analysis import projections
from aesens.analysis.geometry import pca_layout
from aesens.cache import atomic_path, cache_dir
from aesens.data import (
    Dataset,
    SplitError,
    check_clips,
    load_dataset,
    read_split,
    split_clips,
    spread_over_instruments,
)
from aesens.data.irmas import published_overlap
from aesens.data.split import read_list
from aesens.effects import PROTOCOLS, effect
from aesens.embeddings.extract import Sweep, extract
from aesens.embeddings.store import Store, address_hash
from aesens.embeddings.sweep import EffectSweep
from aesens.models import Embedder, load_model
from aesens.models.base import NoUntrainedWeights
from aesens.models.weights import UntrainedWarning, WeightsError
from aesens.plots import outputs
from aesens.plots import titles as names
from aesens.progress import tqdm
from aesens.settings import OPTIONS, Profile, Scale, Settings
from aesens.sources import source_of
from aesens.tables import claims

__all__ = ["EffectSweep", "NeedsSplit", "Study"]


#: The effect whose protocols chapter 4 sets side by side, and the models that it adds to the study's for that.
PROTOCOLS_SHOWN = ("gain", ("openl3",))


class NeedsSplit(Exception):
    """The data cannot be split by song, so this step cannot be computed; the others can."""

    def _render_traceback_(self):
        # IPython's hook: a reader is told what is missing, not shown a stack.
        return [f"Stopped here: {self}"]


class Study:
    """Everything a notebook needs, from its parameters.

    Parameters
    ----------
    profile : str or Profile
        See `aesens.settings.PROFILES`.
    **options
        The run's own, see `aesens.settings.OPTIONS`; all of them are attributes of the study too.

    Raises
    ------
    ValueError
        If a name is unknown or a value makes no sense.

    Examples
    --------
    >>> study = Study("tiny", models="yamnet", effects="gain,reverb")
    >>> study.models, study.effects, study.scale("yamnet").strengths
    (['yamnet'], ['gain', 'reverb'], 4)
    """

    def __init__(self, profile: str | Profile = "demo", **options):
        self.settings = Settings(profile, **options)
        self._models: dict[tuple[str, str], tuple[object, Embedder]] = {}
        self._kept: EffectSweep | None = None

    def __getattr__(self, name: str):
        # A profile and its options are read so often that they are the study's own.
        if name != "settings" and name in vars(self.settings):
            return getattr(self.settings, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def variant(
        self,
        *,
        models: Iterable[str] | None = None,
        effects: Iterable[str] | None = None,
        protocol: str | None = None,
    ) -> Study:
        """The same study of other models or effects, or under another protocol.

        Parameters
        ----------
        models, effects : iterable of str, optional
            Instead of this study's; there may be no model at all.
        protocol : {"study", "float"}, optional

        Returns
        -------
        Study
            With the models that were built and, where it has no other effects, the data that were read so far.

        Examples
        --------
        >>> study = Study("tiny")
        >>> study.variant(models=["panns"]).models, len(study.models)
        (['panns'], 5)
        """
        other = copy(self)
        other._kept, other.settings = None, copy(self.settings)
        chosen = {
            "models": models and list(models),
            "effects": effects and list(effects),
            "protocol": protocol,
        }
        for name, value in chosen.items():
            # Checked as for a run; there, no model at all means the profile's.
            if value:
                setattr(other.settings, name, OPTIONS[name].check(value, other.settings))
        if models is not None and not models:
            other.settings.models = []
        if not set(other.effects) <= set(self.effects):
            # Which clips can be used depends on the effects, and the split on the clips.
            for name in ("_checked", "_split", "dataset"):
                vars(other).pop(name, None)
        return other

    # ---- data ------------------------------------------------------------------------------------------------

    @cached_property
    def _loaded(self) -> Dataset:
        """The data set as it is, with the given split if there is one."""
        options = dict(self.profile.data_options) if self.data == self.profile.data else {}
        if self.data == "rendered":
            options.setdefault("seed", self.seed)
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
        """Clips that are left out for all models and effects: misnamed, or of no use to one of them.

        Indexed by clip, columns ``problem`` and ``path``; see `aesens.data.Dataset` and `aesens.data.check_clips`.
        """
        return self._checked[1]

    @cached_property
    def _split(self) -> tuple[pd.Series, str]:
        table, whole = self.source.table, self._loaded.table
        left_out = whole.index.difference(table.index)
        lost = f" (clips left out as faulty: {len(self.excluded)})" if len(self.excluded) else ""
        try:
            split = split_clips(
                whole,
                seed=self.seed,
                n_folds=self.profile.n_folds,
                published=self.source.name == "irmas",
                left_out=left_out,
            )
            split = split[table.index]
            # What needs a split needs something to tell apart as well.
            alone = table["instrument"].nunique() < 2
            reason = "one instrument only: add a second class folder" if alone else ""
        except SplitError as error:
            reason = str(error)
        return (pd.Series("none", index=table.index), reason + lost) if reason else (split, "")

    @property
    def split(self) -> pd.Series:
        """Side of each clip: ``train``, ``test``, ``unused``, or ``none`` where the data cannot be split."""
        return self._split[0]

    @property
    def has_split(self) -> bool:
        """Whether there is a training and a test side."""
        return not self._split[1]

    @property
    def split_error(self) -> str:
        """Why the data cannot be split; empty if they can."""
        return self._split[1]

    @property
    def split_origin(self) -> dict:
        """What made the split: the rule with its folds and seed, a file with its hash, the data set, or nothing."""
        if not self.has_split:
            return {"none": self.split_error}
        if self.settings.split:
            digest = hashlib.sha256(self.settings.split.read_bytes()).hexdigest()
            return {"file": self.settings.split.name, "sha256": digest}
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
        given = self.split == "train"
        counts = [
            (whole["split"] == "train").sum(),
            given.sum(),
            given.sum(),
            (given & (rule == "train")).sum(),
        ]
        overlap.loc["training clips of the given split"] = counts
        return overlap

    def require_split(self) -> None:
        """Raise `NeedsSplit` with the reason if there is no training and test side."""
        if not self.has_split:
            raise NeedsSplit(self._split[1])

    @cached_property
    def dataset(self) -> Dataset:
        """The clips of the split, with their side in the column ``split``."""
        used = self.split[self.split != "unused"]
        return replace(self.source, table=self.source.table.loc[used.index].assign(split=used))

    def scale(self, model: str) -> Scale:
        """How much of the data and the grids a model is given."""
        return self.profile.scales.get(model, self.profile.scale)

    def clips(self, model: str) -> Dataset:
        """The clips a model embeds."""
        scale, dataset = self.scale(model), self.dataset
        if scale.songs and self.has_split:
            limit = dict(zip(("train", "test"), scale.songs, strict=True))
            songs = dataset.table[["instrument", "split", "song"]].drop_duplicates().sort_values("song")
            place = songs.groupby(["instrument", "split"]).cumcount()
            dataset = dataset.select(songs=list(songs["song"][place < songs["split"].map(limit)]))
        return dataset.select(per_song=scale.excerpts) if scale.excerpts else dataset

    def pictured(self, model: str) -> Dataset:
        """The few clips of a model whose trajectories are drawn: one an instrument, then a second, and so on."""
        clips = self.clips(model)
        chosen = spread_over_instruments(clips.table, self.profile.picture_clips)
        return replace(clips, table=clips.table.iloc[chosen])

    # ---- embeddings --------------------------------------------------------------------------------------------

    def model(self, name: str, weights: str | None = None) -> Embedder:
        """A model, built once, and anew when its name has been registered for another class."""
        policy, entry = weights or self.weights, aesens.models.MODELS.get(name)
        if (name, policy) not in self._models or self._models[name, policy][0] is not entry:
            options = dict(self.profile.model_options.get(name, {}))
            # Only where it differs: a model of the user's own may know nothing of it.
            if self.pooling != "mean":
                options["pooling"] = self.pooling
            if name in self.weights_file and policy != "untrained":
                options["weights_file"] = self.weights_file[name]
            with warnings.catch_warnings():
                # The study says itself, in its summary and in every table and legend, which weights are untrained.
                warnings.simplefilter("ignore", UntrainedWarning)
                model = load_model(
                    name,
                    weights=policy,
                    seed=self.seed,
                    device=self._chosen_device(),
                    backend=self.backend,
                    **options,
                )
            model.precision = self.precision
            self._models[name, policy] = entry, model
        return self._models[name, policy][1]

    def pretrained(self, models: Iterable[str]) -> list[str]:
        """Those of some models that have their pretrained weights here, whether the study is of them or not."""
        found = []
        for name in models:
            # Raised where the study insists on them.
            with suppress(WeightsError):
                found += [name] if self.model(name).weights.pretrained else []
        return found

    def _chosen_device(self) -> str | None:
        """Where networks run: what the workers of the scheduler have, if there is one and no device was given."""
        if self.scheduler and self.device is None:
            from aesens.embeddings import cluster

            with cluster.connect(self.scheduler) as client:
                self.device = cluster.device_of(client)
        return self.device

    def _plan(
        self, model: str, effects: Iterable[str], pictured: bool = False, protocol: str | None = None
    ) -> list[Sweep]:
        embedder, scale = self.model(model), self.scale(model)
        # Pictures draw some of the clips that are embedded anyway, unless they are to show them more finely.
        finer = pictured and scale.pictured is not None
        clips = self.pictured(model) if finer else self.clips(model)
        strengths = scale.pictured if finer else scale.strengths
        kinds, protocol = [effect(name) for name in effects], protocol or self.protocol
        sweeps = [Sweep(embedder, kind, kind.parameters(strengths), clips, protocol) for kind in kinds]
        return [Sweep.clean(embedder, clips, protocol), *sweeps]

    def _extract(self, sweeps: list[Sweep]) -> list[Store]:
        return extract(sweeps, jobs=self.jobs, scheduler=self.scheduler)

    def _policies(self, name: str) -> list[str]:
        """The study's weights of a model, and untrained ones if those are pretrained and it can do without."""
        if not self.model(name).weights.pretrained:
            return [self.weights]
        try:
            self.model(name, "untrained")
        except NoUntrainedWeights:
            return [self.weights]
        return [self.weights, "untrained"]

    def _plans(self) -> list[Sweep]:
        plans = [sweep for model in self.models for sweep in self._plan(model, self.effects)]
        finer = [model for model in self.models if self.scale(model).pictured is not None]
        return plans + [sweep for model in finer for sweep in self._plan(model, self.effects, pictured=True)]

    def _protocol_plans(self, effect_name: str, extra: Iterable[str] = ()) -> list[list[Sweep]]:
        """A clean and an effected plan for each model and protocol, of the few clips that are drawn."""
        kind, plans = effect(effect_name), []
        for name in dict.fromkeys([*extra, *self.models]):
            model, clips, scale = self.model(name), self.pictured(name), self.scale(name)
            values = kind.parameters(scale.pictured or scale.strengths)
            plans += [[Sweep.clean(model, clips, p), Sweep(model, kind, values, clips, p)] for p in PROTOCOLS]
        return plans

    def _controls(self) -> list[Sweep]:
        """Clean clips of the untrained twins of pretrained models."""
        twins = [(name, policy) for name in self.models for policy in self._policies(name)[1:]]
        return [
            Sweep.clean(self.model(name, policy), self.clips(name), self.protocol) for name, policy in twins
        ]

    def extract_all(self) -> None:
        """Embed all that the notebooks ask for and the stores lack: sweeps, controls' clean clips, both protocols."""
        self._extract(self._all_plans())

    def _all_plans(self) -> list[Sweep]:
        both = chain.from_iterable(self._protocol_plans(*PROTOCOLS_SHOWN))
        return [*self._plans(), *self._controls(), *both]

    def forget(self) -> None:
        """Remove the stored embeddings and results of these settings; those of other settings are kept.

        Raises
        ------
        aesens.embeddings.store.StoreError
            If another run is extracting one of the stores; nothing is removed then.
        """
        paths = {Store.path_of(sweep.address()) for sweep in self._all_plans()}
        self._kept = None
        with ExitStack() as stack:
            # In one order, as in an extraction.
            stores = [path for path in sorted(paths) if path.exists()]
            for path in stores:
                stack.enter_context(Store(path).held())
            for path in stores:
                shutil.rmtree(path)
        pairs = [(m, name, drawn) for m in self.models for name in self.effects for drawn in (False, True)]
        begin = tuple(
            f"{model}-{name}-{_plan_key(self._plan(model, [name], drawn))}-" for model, name, drawn in pairs
        )
        for path in cache_dir("results").glob("*/*"):
            if path.name.startswith(begin):
                path.unlink()

    def extract(self) -> pd.DataFrame:
        """Embed everything the study needs and the stores lack.

        Returns
        -------
        pandas.DataFrame
            One row a model and effect: strengths, clips, features, megabytes.
        """
        plans = self._plans()
        stores = self._extract(plans)
        return pd.DataFrame(
            {
                "model": sweep.model.name,
                "pretrained": sweep.model.weights.pretrained,
                "effect": sweep.effect_name,
                "strengths": len(sweep.parameters),
                "clips": len(sweep.clips),
                "features": sweep.model.dimension,
                "megabytes": len(sweep.parameters) * len(sweep.clips) * sweep.model.dimension * 4e-6,
                "store": store.path.name,
            }
            for sweep, store in zip(plans, stores, strict=True)
        )

    def clean(self, model: str, weights: str | None = None) -> tuple[np.ndarray, pd.DataFrame]:
        """Clean embeddings of a model.

        Parameters
        ----------
        model : str
        weights : {"auto", "pretrained", "untrained"}, optional
            Instead of the study's.

        Returns
        -------
        embeddings : np.ndarray, shape (clip, feature), float32
        clips : pandas.DataFrame
        """
        dataset = self.clips(model)
        (store,) = self._extract([Sweep.clean(self.model(model, weights), dataset, self.protocol)])
        return store.read().values[0], dataset.table

    def sweep(
        self, model: str, effect_name: str, *, pictured: bool = False, protocol: str | None = None
    ) -> EffectSweep:
        """The embeddings of a model under an effect, extracted first if they are not there.

        Parameters
        ----------
        model, effect_name : str
        pictured : bool
            Only the clips that are drawn, at the strengths of `Scale.pictured`, where the profile has such.
        protocol : {"study", "float"}, optional
            The study's by default.

        Returns
        -------
        EffectSweep
        """
        plan = self._plan(model, [effect_name], pictured, protocol)
        # By what determines it: a cell that registers an effect anew must not be given the old one's sweep.
        key = _plan_key(plan)
        if self._kept is None or self._kept.key != key:
            # One at a time: at the study's scale all of them would fill the memory.
            self._kept = None
            self._kept = self._read_sweep(plan)
        return self._kept

    def _read_sweep(self, plan: list[Sweep]) -> EffectSweep:
        """What a clean and an effected plan say, extracted first if it is not there."""
        clean, effected = self._extract(plan)
        return EffectSweep(
            model=plan[1].model.name,
            pretrained=plan[1].model.weights.pretrained,
            effect=plan[1].effect,
            parameters=plan[1].parameters,
            clean=clean.read().values[0],
            trajectories=effected.read().values,
            clips=plan[1].clips.table[["song", "instrument", "split"]],
            key=_plan_key(plan),
        )

    def sweeps(self) -> Iterator[EffectSweep]:
        """All sweeps, models in order and their effects in order, each read when it is its turn.

        Yields
        ------
        EffectSweep
            The study itself keeps only the last one.
        """
        # All at once, so that models share the effects' computation and one bar shows the whole.
        self.extract()
        for model in self.models:
            for name in self.effects:
                yield self.sweep(model, name)

    # ---- results -----------------------------------------------------------------------------------------------

    def collect(
        self, measure: Callable[..., pd.DataFrame], *, pictured: bool = False, **options
    ) -> pd.DataFrame:
        """Apply a measure to every sweep and join the tables.

        Parameters
        ----------
        measure : callable
            ``measure(sweep, **options) -> DataFrame``, a pure function. Its result is kept in the cache under a hash
            of the sweep, the options, its own source (see `aesens.sources.source_of`) and that of the package, so it is
            computed once. If it takes ``jobs`` or ``fitted``, it is given the study's number of threads or what
            `fitted` returns.
        pictured : bool
            Give it the sweeps that pictures draw, see `sweep`.
        **options
            Passed on; must be writable as JSON.

        Returns
        -------
        pandas.DataFrame
            With the columns ``model``, ``pretrained`` and ``effect`` in front.
        """
        pairs = [(model, name) for model in self.models for name in self.effects]
        paths = []
        for model, name in pairs:
            key = _plan_key(self._plan(model, [name], pictured))
            paths.append(self._result_path(measure, model, name, key, options))
        # Embeddings are read only for results that are not there.
        if not all(path.exists() for path in paths):
            self.extract()
        parts = []
        bar = tqdm(
            list(zip(pairs, paths, strict=True)),
            desc=_name_of(measure).replace("_", " ").capitalize(),
            leave=False,
        )
        for (model, name), path in bar:
            part = _read_result(path)
            if part is None:
                # Read back even when just made: a cached and a fresh result are then the same to the last digit.
                made = self._compute(measure, self.sweep(model, name, pictured=pictured), options)
                part = _read_result(made)
            part.insert(0, "model", model)
            part.insert(1, "pretrained", self.model(model).weights.pretrained)
            part.insert(2, "effect", name)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _result_path(self, measure: Callable, model: str, effect_name: str, key: str, options: dict) -> Path:
        """Where the cache keeps a result, by what determines it; `key` is that of the sweep."""
        address = {
            "sweep": key,
            "options": options,
            "source": _source_hash(),
            "measure": source_of(measure),
        }
        if own := projections.added_sources():
            address["projections"] = own
        place = cache_dir("results", _name_of(measure))
        # With the sweep's own hash in its name, by which `forget` finds the results of a sweep.
        return place / f"{model}-{effect_name}-{key}-{address_hash(address)}.csv"

    def _compute(self, measure: Callable, sweep: EffectSweep, options: dict) -> Path:
        """Compute a result and keep it in the place of the very sweep that it was computed from."""
        path = self._result_path(measure, sweep.model, sweep.effect.name, sweep.key, options)
        wanted = inspect.signature(measure).parameters
        extra = {"jobs": self.jobs} if "jobs" in wanted else {}
        if "fitted" in wanted:
            extra["fitted"] = self.fitted(sweep, options.get("seed", self.seed))
        with atomic_path(path) as temporary:
            measure(sweep, **options, **extra).to_csv(temporary, index=False)
        return path

    def fitted(self, sweep: EffectSweep, seed: int | None = None) -> dict[str, dict[str, np.ndarray]]:
        """Every projection of every instrument, kept in the cache: several chapters need them, and they take long.

        Parameters
        ----------
        sweep : EffectSweep
            Of this study.
        seed : int, optional
            Of the random controls; the study's by default.

        Returns
        -------
        dict of dict of np.ndarray, shape (k, feature)
            Of `aesens.tables.fitted_subspaces`.
        """
        seed = self.seed if seed is None else seed
        options = {"seed": seed, "projections": list(projections.PROJECTIONS)}
        place = (tables.fitted_subspaces, sweep.model, sweep.effect.name, sweep.key, options)
        path = self._result_path(*place).with_suffix(".npz")
        fitted = _read_fitted(path)
        if fitted is None:
            found = tables.fitted_subspaces(sweep, seed=seed, jobs=self.jobs)
            arrays = {f"{code}/{name}": rows for name, of in found.items() for code, rows in of.items()}
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **arrays)
            fitted = _read_fitted(path)
        return fitted

    def model_table(self) -> pd.DataFrame:
        """Models of the study with their weights, where those come from and their licence."""
        return pd.DataFrame(
            {
                "model": name,
                "rate (Hz)": model.sample_rate,
                "features": model.dimension,
                "weights": "pretrained" if model.weights.pretrained else "untrained",
                "source": model.weights.source,
                "licence": model.weights.licence,
                "clips": len(self.clips(name)),
                "strengths": self.scale(name).strengths or "all",
            }
            for name, model in ((name, self.model(name)) for name in self.models)
        )

    def clean_layout(self) -> pd.DataFrame:
        """Clean clips of each model on their first two principal components.

        Returns
        -------
        pandas.DataFrame
            Columns ``model``, ``pretrained``, ``clip``, ``instrument``, ``x``, ``y``, ``explained``.
        """
        parts = []
        for name in self.models:
            clean, clips = self.clean(name)
            points = pca_layout(clean)
            spread = np.square(points).sum() / np.square(clean - clean.mean(axis=0, dtype=float)).sum()
            parts.append(
                pd.DataFrame(
                    {
                        "model": name,
                        "pretrained": self.model(name).weights.pretrained,
                        "clip": clips.index,
                        "instrument": clips["instrument"].to_numpy(),
                        "x": points[:, 0],
                        "y": points[:, 1],
                        "explained": spread,
                    }
                )
            )
        table = pd.concat(parts, ignore_index=True)
        return table.sort_values(
            "instrument", key=lambda c: c.map(self.source.instruments.index), kind="stable"
        )

    def clean_classification(self) -> pd.DataFrame:
        """Instrument classification on clean clips: each pretrained network beside the same network untrained.

        Returns
        -------
        pandas.DataFrame
            Columns ``data``, ``model``, ``pretrained``, ``clips``, ``roc_auc``, ``low``, ``high``.
        """
        rows = []
        for name in self.models:
            for policy in self._policies(name):
                model = self.model(name, policy)
                clean, clips = self.clean(name, policy)
                scores = tables.clean_classification(
                    clean, clips, resamples=self.profile.resamples, seed=self.seed, jobs=self.jobs
                )
                about = {"data": self.source.title, "model": name, "pretrained": model.weights.pretrained}
                rows.append({**about, "clips": len(clips), **scores})
        return pd.DataFrame(rows)

    def protocols(self, effect_name: str, extra: Iterable[str] = ()) -> pd.DataFrame:
        """Distance from the clean clips under both protocols: what the file between effect and network does.

        Parameters
        ----------
        effect_name : str
        extra : iterable of str
            Models to look at beside the study's.

        Returns
        -------
        pandas.DataFrame
            Columns ``model``, ``pretrained``, ``effect``, ``protocol`` and, for the L2 distance, those of
            `aesens.tables.distances`; of the few clips that are drawn, whose median distance is the unit.
        """
        plans, parts = self._protocol_plans(effect_name, extra), []
        # All at once, so that one bar shows the whole.
        self._extract([sweep for plan in plans for sweep in plan])
        for plan in plans:
            sweep = self._read_sweep(plan)
            settings = {"resamples": self.profile.resamples, "seed": self.seed}
            table = tables.distances(sweep, measures=["l2"], **settings)
            about = {"model": sweep.model, "pretrained": sweep.pretrained, "effect": effect_name}
            parts.append(table.assign(**about, protocol=plan[1].protocol))
        table = pd.concat(parts, ignore_index=True).drop(columns="measure")
        return table[[*about, "protocol", *table.columns.difference([*about, "protocol"], sort=False)]]

    def with_other_runs(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """A table of this run followed by the table of the same name of every other run beside its folder.

        Parameters
        ----------
        name : str
            File name without ending.
        table : pandas.DataFrame
            With a column ``data``; tables of other runs on the same data, and those without that column, which an
            older version wrote, are left out.

        Returns
        -------
        pandas.DataFrame
            ``attrs["sources"]`` names the other runs, for the provenance of what is drawn of them, see `figure`.
        """
        parts, sources = [table], []
        for path in sorted(self.out.parent.glob(f"*/{name}.csv")):
            other = pd.read_csv(path)
            if path.parent.resolve() == self.out.resolve() or "data" not in other:
                continue
            if not set(other["data"]) & set(table["data"]):
                parts.append(other)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                run = {"run": path.parent.name, "data": sorted(set(other["data"]))}
                sources.append({**run, "table": path.name, "sha256": digest})
        joined = pd.concat(parts, ignore_index=True)
        joined.attrs["sources"] = sources
        return joined

    def agreement(self) -> pd.DataFrame:
        """Agreement of a model's global CCA directions with one another and with its instrument classifiers.

        Returns
        -------
        pandas.DataFrame
            One row a model: columns ``model``, ``pretrained`` and those of `aesens.tables.agreement`.
        """
        rows = []
        for model in self.models:
            found = tables.agreement(
                (self.sweep(model, name) for name in self.effects),
                seed=self.seed,
                vectors=lambda sweep: tables.direction_vectors(sweep, fitted=self.fitted(sweep)),
                jobs=self.jobs,
            )
            rows.append({"model": model, "pretrained": self.model(model).weights.pretrained, **found})
        return pd.DataFrame(rows)

    def claims(self) -> pd.DataFrame:
        """The claims table, from results that earlier chapters share through the cache."""
        settings = {"resamples": self.profile.resamples, "seed": self.seed}
        permutations = self.profile.permutations
        results = self.collect(tables.classification, **settings)
        return claims.verdicts(
            self.collect(tables.response, permutations=permutations, **settings),
            self.collect(tables.decoding, permutations=permutations, **settings),
            self.collect(tables.geometry, **settings),
            results[results["kind"] == "change"],
        )

    def provenance(self, caption: str = "") -> dict:
        """What made a result."""
        return {
            "caption": caption,
            "profile": self.profile.name,
            "seed": self.seed,
            "protocol": self.protocol,
            "split": self.split_origin,
            "data": {
                "name": self.dataset.name,
                "title": self.dataset.title,
                "clips": len(self.dataset),
                "fingerprint": self.dataset.fingerprint,
                "citation": self.dataset.citation,
                "licence": self.dataset.licence,
            },
            "effects": {name: effect(name).describe() for name in self.effects},
            "models": {
                name: {
                    "weights": model.weights.source,
                    "pretrained": model.weights.pretrained,
                    "digest": model.weights.digest,
                    "options": model.options(),
                    "device": model.device.type,
                    "precision": model.precision,
                }
                for name, model in ((name, self.model(name)) for name in self.models)
            },
            "packages": outputs.package_versions(),
        }

    def figure(self, figure, name: str, caption: str, *, sources: Iterable[dict] = ()):
        """Save a figure as png and pdf below ``out`` with its provenance, and return it for display.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
            Closed afterwards, so that a notebook shows it once.
        name : str
            File name without ending.
        caption : str
            What it shows; also the alternative text.
        sources : sequence of dict
            What it shows beside this study, such as other runs; ``other_sources`` of its provenance.

        Returns
        -------
        IPython.display.Image
        """
        # Imported here: it makes its folder and looks for fonts, which only those who draw need.
        import matplotlib.pyplot as plt

        about = self.provenance(caption)
        if sources := list(sources):
            about["other_sources"] = sources
        outputs.save_figure(figure, self.out, name, about)
        plt.close(figure)
        return Image(filename=str(self.out / f"{name}.png"), alt=caption)

    def table(self, table: pd.DataFrame, name: str, caption: str) -> pd.DataFrame:
        """Save a table as csv below ``out`` with its provenance, and return it."""
        outputs.save_table(table, self.out, name, self.provenance(caption))
        return table

    def summary(self) -> pd.Series:
        """What this study computes, in a few lines."""
        states = {True: [], False: []}
        for name in self.models:
            states[self.model(name).weights.pretrained].append(names.model_title(name))
        left_out = f"; clips left out as faulty: {len(self.excluded)}" if len(self.excluded) else ""
        return pd.Series(
            {
                "Profile": f"{self.profile.name}: {self.profile.purpose}",
                "Data": f"{self.source.title}, {len(self.source)} clips of "
                f"{self.source.table['song'].nunique()} songs, {len(self.source.instruments)} instruments{left_out}",
                "Models": ", ".join(map(names.model_title, self.models)),
                "Effects": ", ".join(effect(name).title for name in self.effects),
                "Protocol": f"{self.protocol}: {_PROTOCOLS[self.protocol]}",
                "Pretrained": ", ".join(states[True]) or "none",
                "Untrained controls": ", ".join(states[False]) or "none",
                "Seed": self.seed,
            },
            name="",
        )

    def _repr_html_(self) -> str:
        return self.summary().to_frame().to_html(header=False)


_PROTOCOLS = {
    "study": "effected audio goes through a 16-bit file, as in the study",
    "float": "effected audio stays in floating point",
}


def _name_of(measure: Callable) -> str:
    """Name of a measure; where it is a partial one, of the function within."""
    return measure.__name__ if hasattr(measure, "__name__") else _name_of(measure.func)


def _read_result(path: Path) -> pd.DataFrame | None:
    """A result of the cache; None if there is none, or a damaged one, which is removed."""
    try:
        text = path.read_text(encoding="utf-8")
        # Written as a whole, so that one which ends within a line was damaged later.
        if not text.endswith("\n"):
            raise ValueError(f"{path} ends within a line")
        return pd.read_csv(
            io.StringIO(text), float_precision="round_trip", keep_default_na=False, na_values=["", "nan"]
        )
    except FileNotFoundError:
        return None
    except ValueError:  # those of pandas and of the encoding are such
        path.unlink()
        return None


def _read_fitted(path: Path) -> dict[str, dict[str, np.ndarray]] | None:
    """Projections of the cache; None if there are none, or damaged ones, which are removed."""
    fitted: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                code, name = key.split("/", 1)
                fitted.setdefault(name, {})[code] = file[key]
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, BadZipFile, zlib.error):
        path.unlink()
        return None
    return fitted


def _plan_key(plan: list[Sweep]) -> str:
    """Hash of the addresses of the stores of a pair."""
    return address_hash({"sweeps": [sweep.address() for sweep in plan]})


_OUTER = {"plots", "app"}


@lru_cache(maxsize=1)
def _source_hash() -> str:
    """Hash of the package's source: a result computed by other code is not taken for this one's."""
    folder = Path(aesens.__file__).parent
    digest = hashlib.sha256(json.dumps(outputs.package_versions()).encode())
    for path in sorted(folder.rglob("*.py")):
        # How things look or are started does not change a number.
        if not _OUTER & {*path.relative_to(folder).with_suffix("").parts}:
            digest.update(path.read_bytes())
    return digest.hexdigest()
