"""The way of a clip through an effect into a network: hashed as code of an embedding (`aesens.embeddings.plan`).

Everybody gets audio of their own: an effect or a model that works in place changes no other's input.
"""

from __future__ import annotations

import numpy as np

from aesens.data import Dataset, Decoded
from aesens.data.remember import hash_of
from aesens.effects import Effect, render
from aesens.models import Embedder, ModelError

__all__ = ["CLEAN", "decode", "embed", "waves"]

#: Effect name of the clean clips.
CLEAN = "clean"


def decode(clips: Dataset, name: str, digest: str) -> Decoded:
    """Read a clip whose file has the hash `digest`, as arrays that nobody can write to.

    Raises
    ------
    ValueError
        If it cannot be read, or is another file by now.
    """
    try:
        decoded = clips.decode(name)
        # After it was read: what was decoded is what has the hash.
        if hash_of(clips.table.at[name, "path"]) != digest:
            raise ValueError(
                f"the audio file {clips.table.at[name, 'path']} was changed while the run was at work"
            )
    except ValueError as error:
        # Clips were checked before, so this one was in order when the run began.
        raise ValueError(
            f"clip {name}: {error}. Mend or replace the file and run again: what is finished is kept, of the other "
            "clips too"
        ) from error
    decoded.audio.flags.writeable = False
    return decoded


def waves(
    name: str, clip: Decoded, effect: Effect | None, parameter: float, protocol: str, models: dict
) -> dict:
    """What each model is given of a clip, under the keys of `models`."""
    audio = clip.audio
    if effect:
        try:
            audio = render(effect, clip, parameter, protocol)
        except ValueError as error:
            raise ValueError(f"clip {name}: {error}") from error
    return {key: model.prepare(audio.copy(), clip.sample_rate, protocol) for key, model in models.items()}


def embed(model: Embedder, batch: np.ndarray, setting: str, names: tuple[str, ...]) -> np.ndarray:
    """Embed a block, (clip, feature); a `ModelError` names the model, the setting and the clips that it fails at."""
    try:
        return model.embed(batch)
    except Exception as error:
        clips = ", ".join(_failing(model, batch, names))
        problem = error if isinstance(error, (ModelError, ValueError)) else f"{type(error).__name__}: {error}"
        raise ModelError(f"{model.name} failed under {setting} at {clips}: {problem}") from error


def _failing(model, batch, names) -> list[str]:
    """Clips at which a model fails alone, or the first and the last if it only fails at all of them together."""
    found = []
    for name, wave in zip(names, batch, strict=True):
        try:
            model.embed(wave[None])
        except Exception:
            found.append(name)
    return found if 0 < len(found) < len(names) else [f"{names[0]} to {names[-1]}"]
