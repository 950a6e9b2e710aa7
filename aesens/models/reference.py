"""The authors' own packages as embedders: ``openl3``, ``panns_inference`` and ``laion_clap`` behind `Embedder`.

With ``backend="reference"`` a model of that name is computed by the package it comes from, through that package's own
inference path, so that any figure can be made again with it: that is what these lines are kept for. It gets the same
audio as aesens's own network: mono, at the model's rate, resampled once for both; what a package's own resampler does
instead is measured in tests/parity.

Conventions: the same weights and settings as the network of the same name here, official weights in the package's own
format where they have it, seeded untrained ones handed over. Two of the packages reach for the network when they are
imported or built (PANNs for the names of its classes, CLAP for three text tokenizers and a text model), which an audio
embedding does not use: they get placeholders. So do ``torchvision`` and ``torchaudio``, which laion_clap imports for
pictures and other spectrograms, where they are missing or do not fit the installed torch. Nothing is imported before a
model is asked for.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import importlib.machinery
import importlib.metadata
import io
import sys
import tempfile
import threading
import types
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import torch
from torch import nn

from aesens.models import clap, openl3, panns
from aesens.models.base import Embedder, ModelError, seeded
from aesens.models.checkpoints import read_tensors

__all__ = ["REFERENCES", "placeholders", "reference_class", "write_keras"]


def _import(package: str, module: str, install: str):
    """Import a module of a reference package; say what to install where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelError(
            f"backend='reference' needs the package {package}, which cannot be imported ({error}): {install}"
        ) from error


class _Reference(Embedder):
    """Put before a model's class: its settings and weights, the package's network and name."""

    package: str
    default_batch_size = 8
    cpu_batch_size = Embedder.cpu_batch_size

    @classmethod
    def load(cls, *arguments, **options):
        # At once, and not when the first clip is embedded: a missing package is then told before a run starts.
        cls.imported()
        return super().load(*arguments, **options)

    def options(self) -> dict:
        # Never those of aesens's own network, so that stores tell them apart.
        version = importlib.metadata.version(self.package)
        return super().options() | {"backend": f"{self.package} {version}"}

    def frames(self, waves: torch.Tensor) -> torch.Tensor:
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


def write_keras(path: Path, network: openl3.OpenL3Network) -> None:
    """Write the weights of a network, not yet folded, as Keras' ``save_weights`` did."""
    layers = [module for module in network.modules() if type(module) in openl3.KERAS_NAMES]
    with h5py.File(path, "w") as file:
        for place, layer in enumerate(layers):
            group = file.create_group(f"layer_{place}")
            wanted = openl3.KERAS_NAMES[type(layer)]
            group.attrs["weight_names"] = [f"layer_{place}/{name}:0".encode() for name in wanted]
            for name, attribute in wanted.items():
                array = getattr(layer, attribute).detach().cpu().numpy()
                group[f"layer_{place}/{name}:0"] = array.transpose(2, 3, 1, 0) if name == "kernel" else array
        file.attrs["layer_names"] = [f"layer_{place}".encode() for place in range(len(layers))]


class OpenL3Reference(_Reference, openl3.OpenL3):
    """OpenL3 as the package ``openl3`` computes it, on TensorFlow."""

    package = "openl3"

    @staticmethod
    def imported():
        return _import(
            "openl3", "openl3", "see environment.yml, or tests/parity/run.sh for an offline installation"
        )

    def build(self, files, seed):
        package, settings = self.imported(), self.settings
        kind, frontend = (settings["input_repr"], settings["embedding_size"]), settings["frontend"]
        with tempfile.TemporaryDirectory() as folder:
            # Keras goes by the ending of the name.
            path = Path(folder, "weights.h5")
            if files is None:
                write_keras(path, seeded(lambda: openl3.OpenL3Network(*kind), seed))
            else:
                content = files[0].read_bytes()
                path.write_bytes(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
            model = package.models.load_audio_embedding_model_from_path(str(path), *kind, frontend=frontend)
        call = {"input_repr": kind[0], "center": settings["center"], "hop_size": settings["hop"]}
        return _Keras(package, model, call | {"frontend": frontend, "verbose": 0})


class _Tagging(nn.Module):
    """``panns_inference.AudioTagging`` as a module."""

    def __init__(self, tagging):
        super().__init__()
        # Kept out of the module's own parameters: the package moves its model to the device itself.
        self.hidden = [tagging]

    def forward(self, waves):
        _, embedding = self.hidden[0].inference(waves.cpu().numpy())
        return torch.from_numpy(embedding).to(waves.device)[:, None]


class PANNsReference(_Reference, panns.PANNs):
    """CNN14 as ``panns_inference.AudioTagging`` computes it."""

    package = "panns-inference"

    @staticmethod
    def imported():
        # Its config module asks wget for the names of the 527 classes, into the home directory.
        labels = types.ModuleType("panns_inference.config")
        labels.labels, labels.classes_num = [""] * 527, 527
        sys.modules.setdefault(labels.__name__, labels)
        return _import("panns-inference", "panns_inference", "pip install panns-inference")

    def build(self, files, seed):
        package = self.imported()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path = Path(folder, "weights.pth")
            if files is not None:
                path.write_bytes(files[0].read_bytes())
            else:
                ours = seeded(panns.Cnn14, seed).state_dict()
                theirs = package.models.Cnn14(32_000, 1024, 320, 64, 50, 14_000, 527).state_dict()
                torch.save({"model": theirs | ours}, path)
            return _Tagging(package.AudioTagging(checkpoint_path=str(path), device=self.device.type))


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


class CLAPReference(_Reference, clap.CLAP):
    """CLAP's audio branch as ``laion_clap`` computes it."""

    package = "laion-clap"
    # laion_clap always rounds to 16 bits.
    choices = clap.CLAP.choices | {"int16": (True,)}

    @staticmethod
    def imported():
        import transformers

        # Before the placeholders: transformers looks for torchvision when a model of it is imported.
        _ = transformers.RobertaModel
        vision = ("torchvision", *map("torchvision.{}".format, ("datasets", "transforms", "ops", "ops.misc")))
        with placeholders(*vision), placeholders("torchaudio"), _without_text():
            package = _import(
                "laion-clap", "laion_clap", "pip install laion-clap (which needs numpy below 2)"
            )
            return package, importlib.import_module("laion_clap.training.data")

    def build(self, files, seed):
        package, data = self.imported()
        with _without_text():
            _, size = clap.CHECKPOINTS[self.settings["checkpoint"]]
            module = package.CLAP_Module(enable_fusion=False, device=self.device, amodel=f"HTSAT-{size}")
        given = read_tensors(files[0]) if files else {}
        if any(name.startswith("audio_branch.") for name in given):
            parts = ("audio_branch.", "audio_projection.")
            audio = {name: x for name, x in given.items() if name.startswith(parts)}
            if unknown := module.model.load_state_dict(audio, strict=False).unexpected_keys:
                raise ModelError(f"laion_clap does not know {unknown[:3]}")
        else:
            ours = super().build(files, seed).tower.state_dict()
            # Tensors of a state share their memory with the network, and so do their parts.
            for name, theirs in clap.from_laion(module.model.state_dict()).items():
                theirs.copy_(ours[name])
        return _LaionAudio(module, data)


@contextlib.contextmanager
def placeholders(*names: str):
    """Let a package be imported empty within this block if it cannot be imported.

    `names` are those of the package and of all its modules that are asked for.
    """
    try:
        importlib.import_module(names[0])
        broken = ()
    except Exception:  # a build for another torch fails in its own ways
        broken = names
    sys.modules.update({name: _empty(name) for name in broken})
    try:
        yield
    finally:
        for name in broken:
            del sys.modules[name]


def _empty(name: str) -> types.ModuleType:
    """A module all of whose names are empty classes."""
    module = types.ModuleType(name)
    module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None), []

    def look_up(attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return type(attribute, (), {})

    module.__getattr__ = look_up
    return module


@contextlib.contextmanager
def _without_text():
    """Keep laion_clap from fetching text tokenizers and a text model."""
    import transformers

    # The package asks the text model for its width, and never for a text.
    text = transformers.RobertaConfig(vocab_size=8, num_hidden_layers=1)
    stands_in = {"RobertaModel": lambda *a, **k: transformers.RobertaModel(text)}
    stands_in |= dict.fromkeys(("BertTokenizer", "RobertaTokenizer", "BartTokenizer"), lambda *a, **k: None)
    with contextlib.ExitStack() as stack:
        for name, make in stands_in.items():
            stack.enter_context(mock.patch.object(getattr(transformers, name), "from_pretrained", make))
        yield


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
