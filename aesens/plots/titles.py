"""Names, order and colours of things as people see them, the same in every figure and table.

Effects, models and projections carry their own titles and colours (`aesens.effects`, `aesens.models`,
`aesens.analysis.projections`). What has none, such as a model of the user's own, goes by its registry name and takes
the next free colour, in the order in which such names are first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from aesens import models
from aesens.analysis import projections
from aesens.analysis.remedies import REMEDIES
from aesens.data import INSTRUMENTS

__all__ = [
    "METRICS",
    "colour",
    "drawn_projections",
    "folded",
    "instrument_title",
    "legend_label",
    "marker",
    "model_title",
    "projection_title",
    "strength_colours",
    "sweep_title",
]

#: Metrics of a classifier.
METRICS = {
    "roc_auc": "ROC-AUC",
    "average_precision": "Average precision",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
}

# Okabe & Ito's palette (2008), safe for the common colour-vision deficiencies; black is kept for text.
_PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C6D31", "#5B3FA0"]

# What the palette lacks for the eleven instruments.
_MORE = ["#A50026", "#1B1B1B"]

# For what is added from outside: none of the above, after Paul Tol's muted scheme; told apart by a dashed line too.
_ADDED = ["#882255", "#7A7A00", "#332288", "#661100", "#DDCC77", "#AA4499", "#1B3A6B", "#44AA99"]

# Shapes of points, so that no two instruments are told apart by their hue alone.
_MARKERS = ["o", "s", "^", "D", "v", "P", "X"]

# Added names and their places in the palette, in the order in which they were first asked for.
_places: dict[str, int] = {}


def instrument_title(code: str) -> str:
    """Instrument code to name; a code of the user's own stays as it is."""
    return INSTRUMENTS.get(code, code)


def model_title(name: str, pretrained: bool | None = None) -> str:
    """Model name for legends; untrained weights are named as such, and undeclared ones (`aesens.models.hear`).

    A module of the HEAR API goes by its own name.

    Examples
    --------
    >>> model_title("hear-my_module")
    'my_module'
    >>> model_title("panns", pretrained=False)
    'PANNs (untrained)'
    """
    # One of the HEAR API need not be registered in this process, which may only report on it.
    entry = models.MODELS.get(name)
    title = (entry and entry.title) or name.removeprefix("hear-")
    return (
        f"{title} ({getattr(entry and entry.model, 'otherwise', 'untrained')})"
        if pretrained is False
        else title
    )


def folded(title: str, room: int) -> str:
    """A title in lines of at most `room` characters, broken behind spaces, hyphens, dots and underscores.

    Examples
    --------
    >>> folded("wav2vec2_large_robust (untrained)", 16)
    'wav2vec2_large_\\nrobust\\n(untrained)'
    >>> folded("PANNs (untrained)", 20)
    'PANNs (untrained)'
    """
    if len(title) <= room:
        return title
    lines = [""]
    for part in re.findall(r"[^\s_.-]*[\s_.-]?", title.replace(" (untrained)", "\t(untrained)")):
        while part:
            full = len(lines[-1]) + len(part.rstrip()) > room
            if lines[-1] and (full or lines[-1].endswith("\t")):
                lines.append("")
            # A part that no line holds is broken where it must.
            lines[-1] += part[:room]
            part = part[room:]
    return "\n".join(line.rstrip() for line in lines)


def legend_label(title: str) -> str:
    """A title for a legend; matplotlib leaves out those that begin with an underscore, unless something precedes it.

    Examples
    --------
    >>> legend_label("Cello"), legend_label("_noise")
    ('Cello', '\\u200b_noise')
    """
    return f"\u200b{title}" if title.startswith("_") else title


def sweep_title(sweep) -> str:
    """Model and effect of a sweep."""
    return f"{model_title(sweep.model, sweep.pretrained)}, {sweep.effect.title.lower()}"


def projection_title(name: str) -> str:
    """Name of a projection or remedy for legends.

    Examples
    --------
    >>> projection_title("npca"), projection_title("wccn"), projection_title("mine")
    ('Normalised PCA', 'WCCN', 'mine')
    """
    entry = _entry(name)
    return entry.title if entry else name


def _entry(name: str) -> projections.Entry | None:
    return projections.PROJECTIONS.get(name) or REMEDIES.get(name)


def drawn_projections(present: Iterable[str]) -> list[str]:
    """Projections that figures of curves draw: those of the registry in its order, then any others.

    Parameters
    ----------
    present : iterable of str
        Names in the table, repetitions allowed.

    Returns
    -------
    list of str

    Examples
    --------
    >>> drawn_projections(["mine", "random", "svd-0.4", "lda", "none"])
    ['none', 'lda', 'random', 'mine']
    """
    found = dict.fromkeys(present)
    ordered = [name for name, entry in projections.PROJECTIONS.items() if name in found and entry.drawn]
    return ordered + [name for name in found if name not in projections.PROJECTIONS]


def colour(name: str) -> str:
    """The colour of a model, instrument or projection, wherever it is drawn.

    A name that is not listed here takes the next colour that no other name has, and keeps it for the run; when
    they are used up, they come round again.

    Examples
    --------
    >>> colour("openl3"), colour("none")
    ('#0072B2', '#000000')
    >>> colour("mine") == colour("mine"), colour("mine") == colour("yours")
    (True, False)
    """
    entry = _entry(name)
    if entry and entry.colour:
        return entry.colour
    if name in models.MODELS and models.MODELS[name].colour:
        return models.MODELS[name].colour
    if name in INSTRUMENTS:
        return [*_PALETTE, *_MORE][_place(name)]
    return _ADDED[_place(name) % len(_ADDED)]


def marker(name: str) -> str:
    """The shape of an instrument's points, so that colour is not all that tells them apart."""
    return _MARKERS[_place(name) % len(_MARKERS)]


def _place(name: str) -> int:
    """Place of a name in the order of its family; of an added one, among those that were asked for."""
    if name in INSTRUMENTS:
        return list(INSTRUMENTS).index(name)
    return _places.setdefault(name, len(_places))


def strength_colours(n: int) -> np.ndarray:
    """Perceptually ordered colours from nearly clean to strongest, shape (n, 4)."""
    # Imported here: it makes its folder and looks for fonts, which only those who draw need.
    import matplotlib

    return matplotlib.colormaps["viridis_r"](np.linspace(0.08, 1.0, n))
