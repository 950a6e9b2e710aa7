"""The embedding models, by name.

A model is one class derived from `Embedder` with a classmethod ``load(weights, seed, device, **options)`` and one
entry in `MODELS`; `register` adds one from outside the package.
"""

from __future__ import annotations

from importlib import import_module
from inspect import signature

from aesens.models.base import Embedder, ModelError, WeightsInfo, choose_device

__all__ = [
    "BACKENDS",
    "MODELS",
    "Embedder",
    "ModelError",
    "WeightsInfo",
    "choose_device",
    "load_model",
    "register",
]

#: Who computes a model: aesens's own network, or the package it comes from (`aesens.models.reference`).
BACKENDS = ("aesens", "reference")

#: Name of each model and the place of its class. Classes are imported when asked for: some bring slow packages.
MODELS: dict[str, str | type[Embedder]] = {
    "yamnet": "aesens.models.yamnet:YAMNet",
    "musicnn": "aesens.models.musicnn:Musicnn",
    "openl3": "aesens.models.openl3:OpenL3",
    "panns": "aesens.models.panns:PANNs",
    "clap": "aesens.models.clap:CLAP",
    "msclap": "aesens.models.msclap:MSCLAP",
}
_SHIPPED = frozenset(MODELS)


def register(name: str, model: str | type[Embedder]) -> None:
    """Add a model, so that every notebook, figure and table takes it by `name`.

    Parameters
    ----------
    name : str
        Registry name; an own entry of that name is replaced.
    model : type or str
        The `Embedder` subclass, or its place as ``"module:Class"``.

    Raises
    ------
    ValueError
        If `name` is that of one of the package's models.

    Examples
    --------
    >>> from aesens.models import Embedder
    >>> class Loudness(Embedder):
    ...     name, sample_rate, dimension = "loudness", 16000, 1
    ...
    ...     @classmethod
    ...     def load(cls, weights="auto", seed=0, device=None, **options):
    ...         return cls(lambda: None, WeightsInfo.untrained(seed), device=device, **options)
    ...
    ...     def frames(self, waves):
    ...         return waves.square().mean(dim=1)[:, None, None]
    >>> register("loudness", Loudness)
    >>> load_model("loudness").dimension
    1
    >>> _ = MODELS.pop("loudness")
    """
    if name in _SHIPPED:
        raise ValueError(f"a model named {name!r} is registered already: {MODELS[name]}")
    MODELS[name] = model


def canonical_name(name: str) -> str:
    """The registry name of a model, registering it first if it is given as ``hear:module`` or ``hear:path``.

    Examples
    --------
    >>> canonical_name("yamnet")
    'yamnet'
    """
    if name.startswith("hear:"):
        from aesens.models.hear import register_module

        return register_module(name.removeprefix("hear:"))
    return name


def model_class(name: str) -> type[Embedder]:
    """Return the class registered under `name`; `ValueError` names the known ones otherwise.

    A name that begins with ``hear:`` is registered first, see `aesens.models.hear`.
    """
    name = canonical_name(name)
    if name not in MODELS:
        raise ValueError(f"no model named {name!r}; there are {', '.join(MODELS)}")
    entry = MODELS[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = getattr(import_module(module), attribute)
    return entry


def load_model(
    name: str, *, weights: str = "auto", seed: int = 0, device=None, backend: str = "aesens", **options
) -> Embedder:
    """Build a model with its weights.

    Parameters
    ----------
    name : str
        A key of `MODELS`, or ``hear:`` and a module of the HEAR API by dotted name or path.
    weights : {"auto", "pretrained", "untrained"}
        ``auto`` takes the official weights if they are cached or can be fetched, else seeded untrained ones;
        ``pretrained`` insists; ``untrained`` is the control on purpose.
    seed : int
        Of untrained weights.
    device : str or torch.device, optional
        See `choose_device`.
    backend : {"aesens", "reference"}
        See `BACKENDS`.
    **options
        Settings of the model's class, e.g. ``hop`` in seconds for OpenL3; ``pooling`` and ``weights_file`` for most.

    Returns
    -------
    Embedder

    Raises
    ------
    ValueError
        If there is no such model, policy or option.
    aesens.models.weights.WeightsError
        If ``weights="pretrained"`` and the file cannot be had or is not what it should be.

    Examples
    --------
    >>> model = load_model("yamnet", weights="untrained")
    >>> model.dimension, model.sample_rate, model.weights.pretrained
    (1024, 16000, False)
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} is not one of {', '.join(BACKENDS)}")
    model = model_class(name)
    if backend == "reference":
        from aesens.models.reference import reference_class

        model = reference_class(canonical_name(name))
    options = {"weights": weights, "seed": seed, "device": device, **options}
    try:
        # Asked of the signature, so that an error within the model's own code keeps its name.
        signature(model.load).bind(**options)
    except TypeError as error:
        raise ValueError(
            f"model {name} does not take these options ({', '.join(options)}): {error}"
        ) from error
    return model.load(**options)
