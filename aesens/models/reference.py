"""The authors' own packages as embedders: ``openl3``, ``panns_inference`` and ``laion_clap`` behind `Embedder`.

With ``backend="reference"`` a model of that name is computed by the package it comes from, through that package's own
inference path, so that any figure can be made again with it. It gets the same audio as aesens's own network: mono, at
the model's rate, resampled once for both; what a package's own resampler does instead is measured in tests/parity.

Conventions: the same weights as the network of the same name here, official ones in the package's own format where
they have it, seeded untrained ones handed over. Two of the packages reach for the network when they are imported or
built (PANNs for the names of its classes, CLAP for three text tokenizers and a text model), which an audio embedding
does not use: they get placeholders. So does ``torchvision``, which laion_clap imports for pictures, where it is missing
or does not fit the installed torch. Nothing is imported before a model is built.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import io
import sys
import tempfile
import threading
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

from aesens.models import clap, openl3, panns
from aesens.models import weights as weight_files
from aesens.models.base import Embedder, ModelError, choose_device, seeded
from aesens.models.checkpoints import read_tensors

__all__ = [
    "REFERENCES",
    "CLAPReference",
    "OpenL3Reference",
    "PANNsReference",
    "placeholders",
    "reference_class",
]


class _Placeholder(types.ModuleType):
    """A module all of whose names are empty classes."""

    __path__: list[str] = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports placeholders in the name of some packages."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Placeholder(spec.name)

    def exec_module(self, module):
        pass


@contextlib.contextmanager
def placeholders(*names: str):
    """Let packages that cannot be imported be imported empty, within this block.

    Parameters
    ----------
    *names : str
        Top-level packages. One that works is left alone.
    """
    broken = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # a build for another torch fails in its own ways
            broken.append(name)
    finder = _Finder(broken)
    _forget(broken)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _forget(broken)


def _forget(names):
    for module in [module for module in sys.modules if module.partition(".")[0] in names]:
        del sys.modules[module]


def _import(package: str, module: str, install: str):
    """Import a module of a reference package; say what to install where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelError(
            f"backend='reference' needs the package {package}, which cannot be imported ({error}): {install}"
        ) from error


class _Reference(Embedder):
    """What the three have in common: their name in the store's address."""

    package: str

    def __init__(self, network, weights, *, settings, device, pooling="mean", batch_size=None):
        super().__init__(network, weights, device=device, pooling=pooling, batch_size=batch_size)
        self.settings = settings

    def options(self) -> dict:
        """Settings beyond the weights that change an embedding; never those of aesens's own network."""
        version = importlib.metadata.version(self.package)
        return super().options() | self.settings | {"backend": f"{self.package} {version}"}

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed clips ``(batch, samples)`` as ``(batch, frame, feature)``."""
        return self.network(waves)


class _Keras(nn.Module):
    """openl3's embedding function as a module; TensorFlow chooses its own device."""

    def __init__(self, package, model, settings):
        super().__init__()
        self.package, self.model, self.settings = package, model, settings
        self.lock = threading.Lock()

    def forward(self, waves):
        clips = list(waves.cpu().numpy())
        with self.lock:
            found, _ = self.package.get_audio_embedding(
                clips, openl3.OpenL3.sample_rate, model=self.model, **self.settings
            )
        return torch.from_numpy(np.stack(found)).to(waves.device)


class OpenL3Reference(_Reference):
    """OpenL3 as the package ``openl3`` computes it, on TensorFlow."""

    name = "openl3"
    package = "openl3"
    sample_rate = openl3.OpenL3.sample_rate
    default_batch_size = 8

    @classmethod
    def load(
        cls,
        weights="auto",
        seed=0,
        device=None,
        *,
        input_repr="mel128",
        embedding_size=512,
        hop=0.1,
        center=True,
        content_type="music",
        frontend="kapre",
        weights_file=None,
        **settings,
    ):
        """Build it; the parameters are those of `aesens.models.openl3.OpenL3.load`."""
        key = f"openl3-{input_repr}-{content_type}"
        files, info = weight_files.resolve(key, weights, seed, file=weights_file)
        package = _import(
            "openl3", "openl3", "see environment.yml, or tests/parity/run.sh for an offline installation"
        )

        def build():
            with tempfile.TemporaryDirectory() as folder:
                # Keras goes by the ending of the name.
                path = Path(folder, "weights.h5")
                if files is None:
                    network = seeded(lambda: openl3.OpenL3Network(input_repr, embedding_size), seed)
                    openl3.write_keras(path, network)
                else:
                    (official,) = files.values()
                    content = Path(official).read_bytes()
                    path.write_bytes(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
                model = package.models.load_audio_embedding_model_from_path(
                    str(path), input_repr, embedding_size, frontend=frontend
                )
            call = {
                "input_repr": input_repr,
                "center": center,
                "hop_size": hop,
                "frontend": frontend,
                "verbose": 0,
            }
            return _Keras(package, model, call)

        embedder = cls(
            build,
            info,
            settings={
                "input_repr": input_repr,
                "embedding_size": embedding_size,
                "hop": float(hop),
                "center": center,
                "content_type": content_type,
                "frontend": frontend,
            },
            device=device,
            **settings,
        )
        embedder.dimension = embedding_size
        return embedder


class _Tagging(nn.Module):
    """``panns_inference.AudioTagging`` as a module."""

    def __init__(self, tagging):
        super().__init__()
        # Kept out of the module's own parameters: the package moves its model to the device itself.
        self.hidden = [tagging]

    def forward(self, waves):
        _, embedding = self.hidden[0].inference(waves.cpu().numpy())
        return torch.from_numpy(embedding).to(waves.device)[:, None]


class PANNsReference(_Reference):
    """CNN14 as ``panns_inference.AudioTagging`` computes it."""

    name = "panns"
    package = "panns-inference"
    sample_rate = panns.PANNs.sample_rate
    dimension = panns.PANNs.dimension
    default_batch_size = 8

    @classmethod
    def load(cls, weights="auto", seed=0, device=None, *, weights_file=None, **settings):
        """Build it; the parameters are those of `aesens.models.panns.PANNs.load`."""
        files, info = weight_files.resolve("panns", weights, seed, file=weights_file)
        # Its config module asks wget for the names of the 527 classes, into the home directory.
        labels = types.ModuleType("panns_inference.config")
        labels.labels, labels.classes_num = [""] * 527, 527
        sys.modules.setdefault(labels.__name__, labels)
        package = _import("panns-inference", "panns_inference", "pip install panns-inference")
        chosen = choose_device(device, here=False)

        def build():
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                if files is None:
                    path = Path(folder, "weights.pth")
                    state = package.models.Cnn14(32_000, 1024, 320, 64, 50, 14_000, 527).state_dict()
                    torch.save({"model": state | seeded(panns.Cnn14, seed).state_dict()}, path)
                else:
                    (path,) = files.values()
                return _Tagging(package.AudioTagging(checkpoint_path=str(path), device=chosen.type))

        return cls(build, info, settings={}, device=chosen, **settings)


class _LaionAudio(nn.Module):
    """``laion_clap.CLAP_Module`` on audio data, up to the scaling to unit length."""

    def __init__(self, module, data):
        super().__init__()
        self.module, self.data = module, data

    def forward(self, waves):
        features = []
        for wave in waves.cpu().numpy():
            quantised = self.data.int16_to_float32(self.data.float32_to_int16(wave))
            features.append(
                self.data.get_audio_features(
                    {},
                    torch.from_numpy(quantised).float(),
                    10 * CLAPReference.sample_rate,
                    data_truncating="rand_trunc",
                    data_filling="repeatpad",
                    audio_cfg=self.module.model_cfg["audio_cfg"],
                )
            )
        batch = {name: torch.stack([f[name] for f in features]).to(waves.device) for name in features[0]}
        model = self.module.model
        return model.audio_projection(model.encode_audio(batch, device=waves.device)["embedding"])[:, None]


class CLAPReference(_Reference):
    """CLAP's audio branch as ``laion_clap`` computes it."""

    name = "clap"
    package = "laion-clap"
    sample_rate = clap.CLAP.sample_rate
    dimension = clap.CLAP.dimension
    default_batch_size = 8

    @classmethod
    def load(
        cls,
        weights="auto",
        seed=0,
        device=None,
        *,
        int16=True,
        checkpoint="unfused",
        weights_file=None,
        **settings,
    ):
        """Build it; the parameters are those of `aesens.models.clap.CLAP.load`."""
        if not int16:
            raise ValueError("int16=False: laion_clap always rounds to 16 bits")
        key, size = clap.CHECKPOINTS[checkpoint]
        files, info = weight_files.resolve(key, weights, seed, file=weights_file)
        chosen = choose_device(device, here=False)
        package, data = _import_laion()

        def build():
            with _without_text():
                module = package.CLAP_Module(enable_fusion=False, device=chosen, amodel=f"HTSAT-{size}")
            state = cls._state(files, seed, size)
            missing = module.model.load_state_dict(state, strict=False)
            # Its own names only; of ours, HTSAT's classifier, mel filters and text are not part.
            if missing.unexpected_keys:
                raise ModelError(f"laion_clap does not know {missing.unexpected_keys[:3]}")
            return _LaionAudio(module, data)

        return cls(build, info, settings={"checkpoint": checkpoint, "int16": True}, device=chosen, **settings)

    @staticmethod
    def _state(files, seed, size):
        if files is not None:
            state = read_tensors(next(iter(files.values())))
            if any(name.startswith("audio_branch.") for name in state):
                return {
                    n: x for n, x in state.items() if n.startswith(("audio_branch.", "audio_projection."))
                }
        network = seeded(lambda: clap.ClapNetwork(size=size), seed)
        if files is None:
            seeded(network.draw, seed)
        else:
            clap.read_checkpoint(next(iter(files.values())), network)
        return clap.to_laion(network)


@contextlib.contextmanager
def _without_text():
    """Keep laion_clap from fetching text tokenizers and a text model."""
    import transformers

    with contextlib.ExitStack() as stack:
        for name in ("BertTokenizer", "RobertaTokenizer", "BartTokenizer"):
            kind = getattr(transformers, name)
            stack.enter_context(mock.patch.object(kind, "from_pretrained", lambda *a, **k: None))
        # The package asks the text model for its width, and never for a text.
        smallest = transformers.RobertaConfig(vocab_size=8, num_hidden_layers=1)
        text = mock.patch.object(
            transformers.RobertaModel, "from_pretrained", lambda *a, **k: transformers.RobertaModel(smallest)
        )
        stack.enter_context(text)
        yield


def _import_laion():
    """Import laion_clap and its data module, offline."""
    import transformers

    # Before the placeholders: transformers looks for torchvision when a model of it is imported.
    _ = transformers.RobertaModel
    arguments = sys.argv
    with placeholders("torchvision", "torchaudio"), _without_text():
        try:
            # One of its modules reads the command line.
            sys.argv = sys.argv[:1]
            package = _import(
                "laion-clap", "laion_clap", "pip install laion-clap (which needs numpy below 2)"
            )
            data = importlib.import_module("laion_clap.training.data")
        finally:
            sys.argv = arguments
    return package, data


#: The models that can be computed by the package they come from.
REFERENCES: dict[str, type[Embedder]] = {
    "openl3": OpenL3Reference,
    "panns": PANNsReference,
    "clap": CLAPReference,
}


def reference_class(name: str) -> type[Embedder]:
    """The class that computes a model by its own package; `ValueError` if there is none."""
    if name not in REFERENCES:
        raise ValueError(
            f"backend='reference' knows {', '.join(REFERENCES)}, not {name!r}: choose them with --models "
            f"{','.join(REFERENCES)}. (YAMNet's and musicnn's own graphs are compared in tests/parity.)"
        )
    return REFERENCES[name]
