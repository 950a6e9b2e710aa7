"""Models of the user's own that follow the HEAR 2021 API: ``hear:my_module`` or ``hear:path/to/file.py``.

A HEAR module has ``load_model(weights_path)``, which returns an object with ``sample_rate`` and
``scene_embedding_size``, and ``get_scene_embeddings(audio, model)``, which takes a tensor ``(sound, samples)`` and
returns one ``(sound, feature)``. That is all it needs to go through every notebook, figure and table. The clip
embedding is the scene embedding as the module gives it: there is one frame a clip, so pooling changes nothing.

What counts as pretrained is decided here, once: the model is *pretrained* if a weights file was given
(``--weights-file``) or if the module says so with ``pretrained = True``; otherwise it is *untrained*, and shown as the
control that untrained weights are. An untrained model is made by ``load_model()`` without a file, with torch's
generator seeded; a module with ``pretrained = True`` has no such counterpart.

References
----------
J. Turian et al., "HEAR: Holistic Evaluation of Audio Representations", PMLR 176, 2022 (arXiv 2203.03022); the API:
hearbenchmark.com.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from aesens.models.base import Embedder, ModelError, NoUntrainedWeights, WeightsInfo, seeded
from aesens.models.weights import POLICIES, given
from aesens.sources import import_file

__all__ = ["HEAR", "import_module", "register_module"]

#: What a HEAR module must have.
_FUNCTIONS = ("load_model", "get_scene_embeddings")


def import_module(place: str) -> ModuleType:
    """Import a HEAR module.

    `place` is its dotted name, or the path of a Python file, relative to the clone where it is relative. `ValueError`
    if it cannot be found or imported, or does not follow the API; says which function is missing.
    """
    try:
        module = import_file(place, "hear") if place.endswith(".py") else importlib.import_module(place)
    except ImportError as error:
        raise ValueError(f"hear:{place} cannot be imported: {error}") from error
    missing = [name for name in _FUNCTIONS if not callable(getattr(module, name, None))]
    if missing:
        raise ValueError(f"hear:{place} does not follow the HEAR API: it has no {' and no '.join(missing)}")
    return module


def register_module(place: str) -> str:
    """Register a HEAR module as a model.

    Its registry name is ``hear-`` and the last part of its own, e.g. ``hear-my_module``; another module that had that
    name is replaced. See `import_module` for `place` and what is raised.
    """
    from aesens.models import MODELS, register

    stem = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    name = "hear-" + re.sub(r"[^A-Za-z0-9_]+", "_", stem)
    known = MODELS.get(name)
    if known is None or getattr(known.model, "place", place) != place:
        own = {"name": name, "place": place, "module": import_module(place)}
        register(name, type("HEARModel", (HEAR,), own), title=name.removeprefix("hear-"))
    return name


class _Network(nn.Module):
    """The module's model behind one call, whatever framework it is written in."""

    def __init__(self, module, model):
        super().__init__()
        self.module, self.model = module, model

    def forward(self, waves):
        found = self.module.get_scene_embeddings(waves, self.model)
        if not isinstance(found, torch.Tensor):
            found = torch.from_numpy(np.array(found))
        return found.detach().float().to(waves.device)


class HEAR(Embedder):
    """A model of the HEAR API; subclasses made by `register_module` name its module."""

    place: str
    module: ModuleType

    def __init__(self, network, weights, *, sample_rate, dimension, **settings):
        super().__init__(network, weights, **settings)
        self.sample_rate = sample_rate
        self.dimension = dimension

    @classmethod
    def load(cls, weights="auto", seed=0, device=None, *, weights_file=None, **options) -> HEAR:
        """Build the module's model at once, which says what it is.

        As `Embedder.load`, but under ``auto`` the weights file is taken if there is one, else what the module makes by
        itself. `NoUntrainedWeights` if untrained weights are asked of a module that brings its own; `ModelError` if
        pretrained ones are asked for and there are none.
        """
        if weights not in POLICIES:
            raise ValueError(f"weights={weights!r} is not one of {', '.join(POLICIES)}")
        own = bool(getattr(cls.module, "pretrained", False))
        path, info = None, WeightsInfo.untrained(seed)
        if weights == "untrained":
            if own:
                raise NoUntrainedWeights(
                    f"hear:{cls.place} brings its own weights and has no untrained counterpart"
                )
        elif weights_file is not None:
            (path,), info = given(weights_file)
        elif own:
            info = WeightsInfo(True, f"brought by the module {Path(cls.place).name}", "own")
        elif weights == "pretrained":
            raise ModelError(
                f"hear:{cls.place} has no pretrained weights: give a file with --weights-file, or let the module say "
                "that it brings its own, with pretrained = True"
            )
        model = seeded(lambda: cls.module.load_model(*([str(path)] if path else [])), seed)
        missing = [name for name in ("sample_rate", "scene_embedding_size") if not hasattr(model, name)]
        if missing:
            raise ValueError(f"the model of hear:{cls.place} has no attribute {' and no '.join(missing)}")
        # The module's source is part of what determines an embedding.
        source = hashlib.sha256(Path(cls.module.__file__).read_bytes()).hexdigest()[:16]
        info = WeightsInfo(info.pretrained, info.source, f"{info.digest}-module-{source}", info.licence)
        return cls(
            _Network(cls.module, model),
            info,
            sample_rate=int(model.sample_rate),
            dimension=int(model.scene_embedding_size),
            device=device,
            **options,
        )

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, 1, feature)``."""
        return self.network(waves)[:, None]
