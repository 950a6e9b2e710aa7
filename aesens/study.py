"""A study: one data set, some models and effects, and where the results go.

`Study` joins the parts: it loads and splits the data, builds the models, extracts what the stores lack and hands out
each sweep as plain arrays. Notebooks make one from the parameters of their first cell and ask it for sweeps, tables
and figures; the analysis modules know nothing of it.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterable
from copy import copy
from functools import cached_property
from pathlib import Path

import pandas as pd
from IPython.display import Image

from aesens import tables
from aesens.analysis import projections
from aesens.cache import tqdm
from aesens.data.study import NeedsSplit, StudyData
from aesens.effects import effect
from aesens.embeddings import results
from aesens.embeddings.study import PROTOCOLS_SHOWN, StudyEmbeddings
from aesens.embeddings.sweep import Sweep
from aesens.models import Embedder
from aesens.models.study import StudyModels
from aesens.plots import outputs
from aesens.plots.titles import model_title
from aesens.settings import OPTIONS, Profile, Settings
from aesens.sources import source_of

__all__ = ["PROTOCOLS_SHOWN", "NeedsSplit", "Study"]


class Study(StudyData, StudyModels, StudyEmbeddings):
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
        # The run that it is of, whatever `variant` makes of it.
        self._run = self
        self._models: dict[tuple[str, str], tuple[object, Embedder]] = {}
        self._kept: Sweep | None = None

    def __getattr__(self, name: str):
        # A profile and its options are read so often that they are the study's own.
        if name != "settings" and name in vars(self.settings):
            return getattr(self.settings, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def variant(self, *, models: list[str] | None = None, **options) -> Study:
        """The same study with some run options changed: other models (there may be none), effects, a seed.

        It has the models that were built and the data that were read so far, as far as these remain what they are.
        """
        other = copy(self)
        other._kept, other.settings = None, copy(self.settings)
        for name, value in ({"models": models} | options).items():
            # Checked as for a run; there, no model at all means the profile's.
            if value is not None and value != []:
                setattr(other.settings, name, OPTIONS[name].check(value, other.settings))
        if models is not None and not models:
            other.settings.models = []
        # Which clips can be used depends on the effects, and the split on the clips and on the seed.
        stale = {"_split", "dataset"} if other.seed != self.seed else set()
        if not set(other.effects) <= set(self.effects):
            stale |= {"_checked", "_split", "dataset"}
        for name in stale:
            vars(other).pop(name, None)
        return other

    @property
    def threads(self) -> int:
        """Threads of an analysis: `jobs`, of which chapters that a run executes at once have a share each."""
        return max(1, self.jobs // int(os.environ.get("AESENS_AT_ONCE", 1)))

    def further_seeds(self) -> list[Study]:
        """The same study with each other seed of its profile; without twins, which are the run's own seed's."""
        seeds = range(self.seed + 1, self.seed + self.profile.seeds)
        return [self.variant(seed=seed, twins=False) for seed in seeds]

    def collect(
        self,
        measure: Callable[..., pd.DataFrame],
        *,
        pictured: bool = False,
        together: bool = False,
        **options,
    ) -> pd.DataFrame:
        """Apply a measure to every sweep and join the tables.

        Parameters
        ----------
        measure : callable
            ``measure(sweep, **options) -> DataFrame``, a pure function. Its result is kept, see
            `aesens.embeddings.results`, so it is computed once. If it takes ``n_jobs`` or ``fitted``, it is given
            `threads` or what `fitted` returns.
        pictured : bool
            Give it the sweeps that pictures draw, see `sweep`.
        together : bool
            Give it all sweeps of a network at once, as a list; its table says itself which ``effect`` a row is of.
        **options
            Passed on; must be writable as JSON.

        Returns
        -------
        pandas.DataFrame
            With the columns ``model``, ``pretrained`` and ``effect`` in front; twins follow their models.
        """
        each = [self.effects] if together else [[name] for name in self.effects]
        cells = [(*network, effects) for network in self.networks for effects in each]
        keys = [results.plan_key(self._plan(m, effects, pictured, w)) for m, w, effects in cells]
        paths = [
            _place(measure, model, "all" if together else effects[0], key, options)
            for (model, _, effects), key in zip(cells, keys, strict=True)
        ]
        # Embeddings are made and read only for results that are not there.
        missing = [cell for cell, path in zip(cells, paths, strict=True) if not path.exists()]
        self._extract([plan for m, w, effects in missing for plan in self._plan(m, effects, pictured, w)])
        title, parts = results.name_of(measure).replace("_", " ").capitalize(), []
        for (model, weights, effects), path in tqdm(
            list(zip(cells, paths, strict=True)), desc=title, leave=False
        ):

            def make(model=model, weights=weights, effects=effects, path=path):
                sweeps = [self.sweep(model, name, pictured=pictured, weights=weights) for name in effects]
                given = sweeps if together else sweeps[0]
                results.write_table(path, measure(given, **options, **self._extras(measure, given, options)))

            part = results.kept(path, results.read_table, make)
            pretrained = self.model(model, weights).weights.pretrained
            about = {"model": model, "pretrained": pretrained}
            about["effect"] = part.pop("effect") if together else effects[0]
            for position, (column, value) in enumerate(about.items()):
                part.insert(position, column, value)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _extras(self, measure: Callable, sweep: Sweep, options: dict) -> dict:
        """What a measure asks for by the names of its parameters."""
        wanted = inspect.signature(measure).parameters
        extras = {"n_jobs": self.threads} if "n_jobs" in wanted else {}
        if "fitted" in wanted:
            extras["fitted"] = self.fitted(sweep, options.get("seed"))
        return extras

    def fitted(self, sweep: Sweep, seed: int | None = None) -> dict[str, dict]:
        """Every projection of every instrument, kept in the cache: several chapters need them, and they take long.

        See `aesens.tables.fitted_subspaces`; the seed is the study's by default.
        """
        seed = self.seed if seed is None else seed
        options = {"seed": seed, "projections": list(projections.PROJECTIONS)}
        place = _place(tables.fitted_subspaces, sweep.model, sweep.effect.name, sweep.key, options)
        path = place.with_suffix(".npz")

        def make():
            made = tables.fitted_subspaces(sweep, seed=seed, n_jobs=self.threads)
            results.write_fits(path, projections.states(made))

        fitted = results.kept(path, results.read_fits, make)
        return projections.from_states(fitted, seed)

    @cached_property
    def manifest(self) -> dict:
        """What tells this run from others, see `aesens.plots.outputs.manifest`."""
        return outputs.manifest(self) if self._run is self else self._run.manifest

    def provenance(self, caption: str = "") -> dict:
        """What made a result."""
        return outputs.provenance(self, caption)

    def figure(self, figure, name: str, caption: str, *, sources: Iterable[dict] = ()) -> Image:
        """Save a figure below ``out``, if that is given, with its provenance, close it, and return it for display.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
        name : str
            File name without ending.
        caption : str
            What it shows; also the alternative text.
        sources : sequence of dict
            What it shows beside this study, such as other runs; ``other_sources`` of its provenance.
        """
        # Imported here: it makes its folder and looks for fonts, which only those who draw need.
        import matplotlib.pyplot as plt

        about = self.provenance(caption)
        if sources := list(sources):
            about["other_sources"] = sources
        with tempfile.TemporaryDirectory() as nowhere:
            folder = self._claimed() or Path(nowhere)
            outputs.save_figure(figure, folder, name, about)
            plt.close(figure)
            return Image(filename=str(folder / f"{name}.png"), alt=caption)

    def table(self, table: pd.DataFrame, name: str, caption: str) -> pd.DataFrame:
        """Save a table as csv below ``out``, if that is given, with its provenance, and return it."""
        if folder := self._claimed():
            outputs.save_table(table, folder, name, self.provenance(caption))
        return table

    def _claimed(self) -> Path | None:
        """The folder ``out``, made that of this run."""
        if self.out and outputs.read_manifest(self.out) != self.manifest:
            outputs.claim(self.out, self.manifest)
        return self.out

    def summary(self) -> pd.Series:
        """What this study computes, in a few lines."""
        states = {True: [], False: []}
        for name in self.models:
            states[self.model(name).weights.pretrained].append(model_title(name))
        left_out = f"; clips left out as faulty: {len(self.excluded)}" if len(self.excluded) else ""
        return pd.Series(
            {
                "Profile": f"{self.profile.name}, with other {', '.join(self.settings.changed)}"
                if self.settings.changed
                else f"{self.profile.name}: {self.profile.purpose}",
                "Data": f"{self.source.title}, {len(self.source)} clips of "
                f"{self.source.table['song'].nunique()} songs, {len(self.source.instruments)} instruments{left_out}",
                "Models": ", ".join(map(model_title, self.models)),
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


def _place(measure: Callable, model: str, effect_name: str, key: str, options: dict) -> Path:
    """Where a result is or would be; the user's projections are part of what determines it."""
    # What they compute, and what the tables make of them.
    added = {
        name: [source_of(entry.factory), entry.family, entry.control, entry.one_direction]
        for name, entry in projections.added().items()
    }
    return results.place(measure, model, effect_name, key, options, added)
