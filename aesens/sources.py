"""The source of what a user adds, so that what was computed with other code is never taken for this code's."""

from __future__ import annotations

import inspect

__all__ = ["source_of"]


def source_of(thing) -> str:
    """Source of a function or class, wherever it was written; only its name if that is nowhere.

    Parameters
    ----------
    thing : callable
        Values that a function takes from its surroundings are not part of its source.

    Returns
    -------
    str

    Examples
    --------
    >>> source_of(source_of).startswith("def source_of(thing)")
    True
    """
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        pass
    # A class of a notebook has no file, its methods have.
    if inspect.isclass(thing):
        methods = [member for member in vars(thing).values() if inspect.isfunction(member)]
        if methods:
            return "".join(map(source_of, methods))
    return getattr(thing, "__qualname__", type(thing).__qualname__)
