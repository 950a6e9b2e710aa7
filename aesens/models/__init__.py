"""The embedding models, by name.

A model is one class derived from `Embedder`, which says how its network is built and used, and one entry in `MODELS`,
which says how people see it; `register` adds one from outside the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from pkgutil import resolve_name

from aesens.models.base import Embedder, ModelError, choose_device
from aesens.models.policies import WeightsInfo

__all__ = ["BACKENDS", "MODELS", "Entry", "load_model", "register"]

#: Who computes a model: aesens's own network, or the package it comes from (`aesens.models.reference`).
BACKENDS = ("aesens", "reference")


@dataclass(frozen=True)
class Entry:
    """What the package knows of a model beside its class.

    Attributes
    ----------
    model : str or type
        The `Embedder` subclass, or its place as ``"module:Class"``: it is then imported when it is asked for, since
        some bring slow packages.
    title : str
        In figures and tables; the registry name if empty.
    colour : str
        In figures, e.g. ``"#0072B2"``; the next free one if empty.
    """

    model: str | type[Embedder]
    title: str = ""
    colour: str = ""


#: The models, in the order of reports. Colours are Okabe and Ito's (2008), safe for the common colour-vision
#: deficiencies.
MODELS: dict[str, Entry] = {
    "openl3": Entry("aesens.models.openl3:OpenL3", "OpenL3", "#0072B2"),
    "panns": Entry("aesens.models.panns:PANNs", "PANNs", "#D55E00"),
    "clap": Entry("aesens.models.clap:CLAP", "CLAP (LAION)", "#009E73"),
    "yamnet": Entry("aesens.models.yamnet:YAMNet", "YAMNet", "#CC79A7"),
    "musicnn": Entry("aesens.models.musicnn:Musicnn", "musicnn", "#E69F00"),
    "msclap": Entry("aesens.models.msclap:MSCLAP", "CLAP (Microsoft)", "#56B4E9"),
}
_SHIPPED = frozenset(MODELS)


def register(name: str, model: str | type[Embedder], *, title: str = "", colour: str = "") -> None:
    """Add a model, so that every notebook, figure and table takes it by `name`.

    Parameters
    ----------
    name : str
        Registry name; an own entry of that name is replaced.
    model, title, colour
        See `Entry`.

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
    >>> register("loudness", Loudness, title="Loudness")
    >>> load_model("loudness").dimension
    1
    >>> _ = MODELS.pop("loudness")
    """
    if name in _SHIPPED:
        raise ValueError(f"a model named {name!r} is registered already: {MODELS[name].model}")
    MODELS[name] = Entry(model, title, colour)


def canonical_name(name: str) -> str:
    """The registry name of a model, registering it first if it is given as ``hear:module`` or ``hear:path``."""
    if name.startswith("hear:"):
        from aesens.models.hear import register_module

        return register_module(name.removeprefix("hear:"))
    return name


def model_class(name: str) -> type[Embedder]:
    """The class registered under `name` (see `canonical_name`); `ValueError` names the known ones otherwise."""
    name = canonical_name(name)
    if name not in MODELS:
        raise ValueError(f"no model named {name!r}; there are {', '.join(MODELS)}")
    model = MODELS[name].model
    return resolve_name(model) if isinstance(model, str) else model


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
