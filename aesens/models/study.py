"""The models of a study, each built once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import suppress

from aesens import models as registry
from aesens.models import Embedder, load_model
from aesens.models.base import NoUntrainedWeights
from aesens.models.policies import UntrainedWarning
from aesens.models.weights import WeightsError

__all__ = ["StudyModels"]


class StudyModels:
    """What `aesens.study.Study`, whose settings these are, builds of models; it keeps them in ``_models``."""

    def model(self, name: str, weights: str | None = None) -> Embedder:
        """A model, built once, and anew when its name has been registered for another class."""
        policy, entry = weights or self.weights, registry.MODELS.get(name)
        if (name, policy) not in self._models or self._models[name, policy][0] is not entry:
            options = dict(self.profile.model_options.get(name, {}))
            # Only where it differs: a model of the user's own may know nothing of it.
            if self.pooling != "mean":
                options["pooling"] = self.pooling
            if name in self.weights_file and policy != "untrained":
                options["weights_file"] = self.weights_file[name]
            common = {"seed": self.weights_seed, "device": self._chosen_device(), "backend": self.backend}
            with warnings.catch_warnings():
                # The study says itself, in its summary and in every table and legend, which weights are untrained.
                warnings.simplefilter("ignore", UntrainedWarning)
                model = load_model(name, weights=policy, **common, **options)
            model.precision = self.precision
            self._models[name, policy] = entry, model
        return self._models[name, policy][1]

    def _chosen_device(self) -> str | None:
        """Where networks run: what the workers of the scheduler have, if there is one and no device was given."""
        if self.scheduler and self.device is None:
            from aesens.embeddings import cluster

            with cluster.connect(self.scheduler) as client:
                self.device = cluster.device_of(client)
        return self.device

    def pretrained(self, models: Iterable[str]) -> list[str]:
        """Those of some models that have their pretrained weights here, whether the study is of them or not."""
        found = []
        for name in models:
            # Raised where the study insists on them.
            with suppress(WeightsError):
                found += [name] if self.model(name).weights.pretrained else []
        return found

    @property
    def networks(self) -> list[tuple[str, str]]:
        """Every model of the study with its weights policy; with ``twins`` a pretrained one is followed by its twin."""
        policies = self.policies if self.twins else lambda name: [self.weights]
        return [(name, policy) for name in self.models for policy in policies(name)]

    def policies(self, name: str) -> list[str]:
        """The study's weights of a model, and untrained ones if those are pretrained and it can do without."""
        if not self.model(name).weights.pretrained:
            return [self.weights]
        with suppress(NoUntrainedWeights):
            # One that says it is pretrained whatever was asked, such as a formula, is its own twin: it has none.
            if not self.model(name, "untrained").weights.pretrained:
                return [self.weights, "untrained"]
        return [self.weights]
