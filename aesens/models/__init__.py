"""The embedding models, by name.

A model is one class derived from `Embedder` with a classmethod ``load(weights, seed, device, **options)`` and one
entry in `MODELS`; `register` adds one from outside the package.
"""

from __future__ import annotations

from importlib import import_module

from aesens.models.base import Embedder, ModelError, WeightsInfo, choose_device

__all__ = ["MODELS", "Embedder", "ModelError", "WeightsInfo", "choose_device", "load_model", "register"]

#: Name of each model and the place of its class. Classes are imported when asked for: some bring slow packages.
MODELS: dict[str, str | type[Embedder]] = {
    "yamnet": "aesens.models.yamnet:YAMNet",
    "musicnn": "aesens.models.musicnn:Musicnn",
    "openl3": "aesens.models.openl3:OpenL3",
    "panns": "aesens.models.panns:PANNs",
    "clap": "aesens.models.clap:CLAP",
}


def register(name: str, model: str | type[Embedder]) -> None:
    """Add a model, so that every notebook, figure and table takes it by `name`.

    Parameters
    ----------
    name : str
        Registry name.
    model : type or str
        The `Embedder` subclass, or its place as ``"module:Class"``.

    Raises
    ------
    ValueError
        If `name` is taken by another class.
    """
    if MODELS.get(name, model) != model:
        raise ValueError(f"a model named {name!r} is registered already: {MODELS[name]}")
    MODELS[name] = model


def model_class(name: str) -> type[Embedder]:
    """Return the class registered under `name`; `ValueError` names the known ones otherwise."""
    if name not in MODELS:
        raise ValueError(f"no model named {name!r}; there are {', '.join(MODELS)}")
    entry = MODELS[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = getattr(import_module(module), attribute)
    return entry


def load_model(name: str, *, weights: str = "auto", seed: int = 0, device=None, **options) -> Embedder:
    """Build a model with its weights.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    weights : {"auto", "pretrained", "untrained"}
        ``auto`` takes the official weights if they are cached or can be fetched, else seeded untrained ones;
        ``pretrained`` insists; ``untrained`` is the control on purpose.
    seed : int
        Of untrained weights.
    device : str or torch.device, optional
        See `choose_device`.
    **options
        Settings of the model's class, e.g. ``hop`` in seconds for OpenL3.

    Returns
    -------
    Embedder

    Raises
    ------
    ValueError
        If there is no such model, policy or option.
    aesens.weights.WeightsError
        If ``weights="pretrained"`` and the file cannot be had or is not what it should be.
    """
    model = model_class(name)
    try:
        return model.load(weights=weights, seed=seed, device=device, **options)
    except TypeError as error:
        raise ValueError(
            f"model {name} does not take these options ({', '.join(options)}): {error}"
        ) from error
