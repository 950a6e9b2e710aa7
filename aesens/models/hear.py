"""Models of the user's own that follow the HEAR 2021 API: ``hear:my_module`` or ``hear:path/to/file.py``.

A HEAR module has ``load_model(weights_path)``, which returns an object with ``sample_rate`` and
``scene_embedding_size``, and ``get_scene_embeddings(audio, model)``, which takes a tensor ``(sound, samples)`` and
returns one ``(sound, feature)``. That is all it needs to go through every notebook, figure and table. The clip
embedding is the scene embedding as the module gives it: there is one frame a clip, so pooling changes nothing.

What it is, is decided here, once. *Pretrained*: a weights file was given (``--weights-file``), or the module says
``pretrained = True``. *Untrained*: it says ``pretrained = False``, which promises that ``load_model()`` without a file
draws its weights; torch's generator is seeded for it, and it is the twin of the same module with a file. *Undeclared*:
it says neither, so that nobody knows what ``load_model()`` loads; it is named so, has no twin and earns no verdict.

Its embeddings are told by the module's code, all files of its package with it, and by its weights: the file's hash; or,
where the module loads them by itself, its attribute ``weights_digest`` if it has one, else what it makes of a fixed
signal.

References
----------
J. Turian et al., "HEAR: Holistic Evaluation of Audio Representations", PMLR 176, 2022 (arXiv 2203.03022); the API:
hearbenchmark.com.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from aesens.models.base import Embedder, ModelError, NoUntrainedWeights, WeightsInfo, seeded
from aesens.models.policies import POLICIES, given
from aesens.sources import import_file, module_digest

__all__ = ["HEAR", "import_module", "register_module"]

#: What a HEAR module must have.
_FUNCTIONS = ("load_model", "get_scene_embeddings")


def import_module(place: str) -> ModuleType:
    """Import a HEAR module.

    `place` is its dotted name, or the path of a Python file, relative to the clone where it is relative. `ValueError`
    if it cannot be found or imported, or does not follow the API; says which function is missing.
    """
    if place.endswith(".py"):
        module = import_file(place, "hear")
    else:
        try:
            module = importlib.import_module(place)
        except (Exception, SystemExit) as error:  # the user's own code, or no name at all
            raise ValueError(f"hear:{place} cannot be imported: {type(error).__name__}: {error}") from error
    missing = [name for name in _FUNCTIONS if not callable(getattr(module, name, None))]
    if missing:
        raise ValueError(f"hear:{place} does not follow the HEAR API: it has no {' and no '.join(missing)}")
    return module


def register_module(place: str) -> str:
    """Register a HEAR module as a model.

    Its registry name is ``hear-`` and the last part of its own, e.g. ``hear-my_module``. See `import_module` for
    `place` and what is raised; `ValueError` too if another module has that name.
    """
    from aesens.models import MODELS, register

    stem = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    name = "hear-" + re.sub(r"[^A-Za-z0-9_]+", "_", stem)
    known = MODELS.get(name)
    if known is None:
        module = import_module(place)
        own = {"name": name, "place": place, "module": module}
        own["otherwise"] = "untrained" if hasattr(module, "pretrained") else "undeclared"
        register(name, type("HEARModel", (HEAR,), own), title=name.removeprefix("hear-"))
    elif getattr(known.model, "place", place) != place:
        raise ValueError(
            f"hear:{place} and hear:{known.model.place} would both be called {name}: rename one, or restart the kernel"
        )
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
        itself. `NoUntrainedWeights` if untrained weights are asked of a module that does not say that it makes such;
        `ModelError` if pretrained ones are asked for and there are none.
        """
        if weights not in POLICIES:
            raise ValueError(f"weights={weights!r} is not one of {', '.join(POLICIES)}")
        own = getattr(cls.module, "pretrained", None)
        path, info = None, WeightsInfo.untrained(seed)
        if weights == "untrained" and (own or own is None):
            raise NoUntrainedWeights(
                f"hear:{cls.place} has no untrained counterpart: "
                + ("it brings its own weights" if own else "it does not say pretrained = False")
            )
        if weights != "untrained" and weights_file is not None:
            path, info = Path(weights_file), given(weights_file)
        elif own:
            info = WeightsInfo(True, f"brought by the module {Path(cls.place).name}", "own")
        elif weights == "pretrained":
            raise ModelError(
                f"hear:{cls.place} has no pretrained weights: give a file with --weights-file, or let the module say "
                "that it brings its own, with pretrained = True"
            )
        elif own is None:
            source = f"undeclared by the module {Path(cls.place).name}, seed {seed}"
            info = WeightsInfo(False, source, f"undeclared-{seed}", word="undeclared")
        model = seeded(lambda: cls.module.load_model(*([str(path)] if path else [])), seed)
        missing = [name for name in ("sample_rate", "scene_embedding_size") if not hasattr(model, name)]
        if missing:
            raise ValueError(f"the model of hear:{cls.place} has no attribute {' and no '.join(missing)}")
        # The module has read the file itself, which must still be what was verified.
        info.read()
        network = _Network(cls.module, model).eval()
        if path is None and info.word != "untrained":
            said = getattr(cls.module, "weights_digest", None) or _fingerprint(
                network, int(model.sample_rate)
            )
            info = replace(info, digest=f"{info.digest}-{said}")
        # The module's source is part of what determines an embedding.
        info = replace(info, digest=f"{info.digest}-module-{module_digest(cls.module)}")
        return cls(
            network,
            info,
            sample_rate=int(model.sample_rate),
            dimension=int(model.scene_embedding_size),
            device=device,
            **options,
        )

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, 1, feature)``."""
        return self.network(waves)[:, None]


@torch.inference_mode()
def _fingerprint(network: _Network, sample_rate: int) -> str:
    """Hash of what a network makes of three seconds of noise: other weights make something else of it."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3 * sample_rate)).astype(np.float32)
    return hashlib.sha256(network(torch.from_numpy(noise)).cpu().numpy().tobytes()).hexdigest()[:16]
