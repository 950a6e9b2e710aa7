"""The embeddings of a study: what is to be made, and each sweep as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from aesens.effects import PROTOCOLS, effect
from aesens.embeddings import results
from aesens.embeddings.extract import Plan, extract
from aesens.embeddings.plan import Stored, made_with
from aesens.embeddings.sweep import Sweep
from aesens.models.weights import WeightsError

__all__ = ["PROTOCOLS_SHOWN", "StudyEmbeddings"]

#: The effect whose protocols chapter 4 sets side by side, and the models that it adds to the study's for that.
PROTOCOLS_SHOWN = ("gain", ("openl3",))


class StudyEmbeddings:
    """What `aesens.study.Study`, whose data and models these are, embeds; the last sweep is kept in ``_kept``."""

    def _plan(
        self, model: str, effects: Iterable[str], pictured: bool = False, weights: str | None = None
    ) -> list[Plan]:
        """A plan of the clean clips and one an effect."""
        scale = self.scale(model)
        # Pictures draw some of the clips that are embedded anyway, unless they are to show them more finely.
        finer = pictured and scale.pictured is not None
        clips = self.pictured() if finer else self.clips(model)
        strengths = scale.pictured if finer else scale.strengths
        return Plan.of(self.model(model, weights), map(effect, effects), strengths, clips, self.protocol)

    def _both_protocols(self, effect_name: str, extra: Iterable[str]) -> list[list[Plan]]:
        """A clean and an effected plan for each model and protocol, of the few clips that are drawn."""
        pairs, kind, few = [], effect(effect_name), self.pictured()
        # The same for all, which are drawn side by side.
        strengths = self.profile.scale.pictured or self.profile.scale.strengths
        for name in dict.fromkeys([*extra, *self.models]):
            try:
                model = self.model(name)
            except WeightsError:
                if name in self.models:
                    raise
                # The study insists on weights; a model that is only shown beside its own is named untrained then.
                model = self.model(name, "untrained")
            pairs += [Plan.of(model, [kind], strengths, few, protocol) for protocol in PROTOCOLS]
        return pairs

    def _sweeps(self) -> list[Plan]:
        """Of all networks and effects, without the finer ones of pictures."""
        return [
            plan
            for model, weights in self.networks
            for plan in self._plan(model, self.effects, weights=weights)
        ]

    def _plans(self) -> list[Plan]:
        finer = [network for network in self.networks if self.scale(network[0]).pictured is not None]
        drawn = [plan for model, weights in finer for plan in self._plan(model, self.effects, True, weights)]
        return self._sweeps() + drawn

    def embedded(self) -> bool:
        """Whether the stores hold all embeddings that results are computed from."""
        return not any(plan.store().missing().any() for plan in self._sweeps())

    def all_plans(self) -> list[Plan]:
        """All that the notebooks ask for: sweeps, also of other seeds, models beside them, twins, both protocols."""
        plans = self._plans() + [plan for other in self.further_seeds() for plan in other._sweeps()]
        # Chapter 3 needs the clean clips of twins, of all models and whether the study has twins or not.
        for name in (*self.models, *self.beside):
            # The study's own are clean in its sweeps already.
            skipped = 1 if name in self.models else 0
            for policy in self.policies(name)[skipped:]:
                plans.append(Plan.clean(self.model(name, policy), self.clips(name), self.protocol))
        for name in self.beside:
            plans += self._plan(name, self.effects, True)
        return plans + [plan for pair in self._both_protocols(*PROTOCOLS_SHOWN) for plan in pair]

    def extract(self, plans: list[Plan] | None = None) -> pd.DataFrame:
        """Embed what the stores lack: of the study's sweeps, or of other plans, such as `all_plans`.

        Returns
        -------
        pandas.DataFrame
            One row a model and effect: strengths, clips, features, megabytes.
        """
        plans = self._plans() if plans is None else plans
        stores = self._extract(plans)
        return pd.DataFrame(
            {
                "model": plan.model.name,
                "pretrained": plan.model.weights.pretrained,
                "effect": plan.effect_name,
                "strengths": len(plan.parameters),
                "clips": len(plan.clips),
                "features": plan.model.dimension,
                "megabytes": len(plan.parameters) * len(plan.clips) * plan.model.dimension * 4e-6,
                "store": store.path.name,
            }
            for plan, store in zip(plans, stores, strict=True)
        )

    def forget(self) -> None:
        """Remove the stored embeddings and results of these settings; those of other settings are kept."""
        self._kept = None
        networks = [*self.networks, *((name, None) for name in self.beside)]
        pairs = [(n, name, drawn) for n in networks for name in self.effects for drawn in (False, True)]
        results.forget(self.all_plans(), [self._plan(m, [name], drawn, w) for (m, w), name, drawn in pairs])

    def clean(self, model: str, weights: str | None = None) -> tuple[np.ndarray, pd.DataFrame]:
        """Clean embeddings (clip, feature) of a model, perhaps with other weights, and the table of their clips."""
        clips = self.clips(model)
        plan = Plan.clean(self.model(model, weights), clips, self.protocol)
        (store,) = self._extract([plan])
        return store.read().values[0], clips.table

    def sweep(
        self, model: str, effect_name: str, *, pictured: bool = False, weights: str | None = None
    ) -> Sweep:
        """The embeddings of a model under an effect, extracted first if they are not there.

        With `pictured` only the clips that are drawn, at the strengths of `Scale.pictured`, where the profile has such;
        with ``weights="untrained"`` those of the model's untrained twin.
        """
        plans = self._plan(model, [effect_name], pictured, weights)
        # By what determines it: a cell that registers an effect anew must not be given the old one's sweep.
        key = results.plan_key(plans)
        if self._kept is None or self._kept.key != key:
            # One at a time: at the study's scale all of them would fill the memory.
            self._kept = None
            self._kept = self._read(plans)
        return self._kept

    def _read(self, plans: list[Plan]) -> Sweep:
        """What a clean and an effected plan make."""
        clean, effected = self._extract(plans)
        plan = plans[1]
        return Sweep(
            model=plan.model.name,
            pretrained=plan.model.weights.pretrained,
            effect=plan.effect,
            parameters=plan.parameters,
            clean=clean.read().values[0],
            trajectories=effected.read().values,
            clips=plan.clips.table[["song", "instrument", "split"]],
            key=results.plan_key(plans),
        )

    def sweeps(self) -> Iterator[Sweep]:
        """All sweeps, networks in order and their effects in order, each read when it is its turn."""
        # All at once, so that models share the effects' computation and one bar shows the whole.
        self.extract()
        for model, weights in self.networks:
            for name in self.effects:
                yield self.sweep(model, name, weights=weights)

    def both_protocols(self, effect_name: str, extra: Iterable[str] = ()) -> Iterator[tuple[str, Sweep]]:
        """Each protocol with a sweep of the few clips that are drawn, of `extra` models and then the study's."""
        pairs = self._both_protocols(effect_name, extra)
        self.extract([plan for pair in pairs for plan in pair])
        for pair in pairs:
            yield pair[1].protocol, self._read(pair)

    def made_with(self) -> list[dict]:
        """With what the stored embeddings of the sweeps were made, see `aesens.embeddings.plan.made_with`."""
        # Asked for by every figure; a variant shares it.
        known = vars(self).setdefault("_made", {})
        key = *self.models, *self.effects, self.protocol
        if key not in known:
            known[key] = made_with(plan.store() for plan in self._plans())
        return known[key]

    def _extract(self, plans: list[Plan]) -> list[Stored]:
        vars(self).setdefault("_made", {}).clear()
        return extract(plans, n_jobs=self.jobs, scheduler=self.scheduler)
