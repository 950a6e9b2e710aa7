"""Names, order and colours of things as people see them, the same in every figure and table.

Effects carry their own titles and units (`aesens.effects`). What is not listed here, such as a model of the user's
own, goes by its registry name and takes the next free colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import matplotlib
import numpy as np

__all__ = [
    "INSTRUMENTS",
    "METRICS",
    "MODELS",
    "PROJECTIONS",
    "colour",
    "drawn_projections",
    "instrument_title",
    "model_title",
    "projection_title",
    "strength_colours",
]

#: IRMAS instrument codes, in the order of the data set (Bosch et al., ISMIR 2012).
INSTRUMENTS = {
    "cel": "Cello",
    "cla": "Clarinet",
    "flu": "Flute",
    "gac": "Acoustic guitar",
    "gel": "Electric guitar",
    "org": "Organ",
    "pia": "Piano",
    "sax": "Saxophone",
    "tru": "Trumpet",
    "vio": "Violin",
    "voi": "Voice",
}

#: Embedding models, in the order of their colours.
MODELS = {
    "openl3": "OpenL3",
    "panns": "PANNs",
    "clap": "CLAP",
    "yamnet": "YAMNet",
    "musicnn": "musicnn",
    "msclap": "CLAP (Microsoft)",
}

#: Projections, controls last.
PROJECTIONS = {
    "none": "None",
    "lda": "LDA",
    "average": "Average displacement",
    "pca": "PCA",
    "npca": "Normalised PCA",
    "cca": "Global CCA",
    "svd-0.3": "CCA SVD, t = 0.3",
    "svd-0.4": "CCA SVD, t = 0.4",
    "svd-0.5": "CCA SVD, t = 0.5",
    "random": "Random direction",
    "random-svd-0.3": "Random subspace (0.3)",
    "random-svd-0.4": "Random subspace (0.4)",
    "random-svd-0.5": "Random subspace (0.5)",
}

#: Metrics of a classifier.
METRICS = {
    "roc_auc": "ROC-AUC",
    "average_precision": "Average precision",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "accuracy": "Accuracy",
}

# Okabe & Ito's palette (2008), safe for the common colour-vision deficiencies; black is kept for text.
_PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C6D31", "#5B3FA0"]

# For what is added from outside, told apart from the above in hue and by its dashed line.
_ADDED = ["#5B3FA0", "#A50026", "#8C6D31", "#1B3A6B", "#7A7A00"]

# A figure of curves holds about ten: of each family of subspaces the middle ones stay in the tables.
_UNDRAWN = {"svd-0.4", "random-svd-0.4", "random-svd-0.5"}

# Projections by family: one hue for the one-direction methods' kin, greys for no projection and the controls.
_PROJECTION_COLOURS = {
    "none": "#000000",
    "lda": "#D55E00",
    "average": "#E69F00",
    "pca": "#0072B2",
    "npca": "#56B4E9",
    "cca": "#CC79A7",
    "svd-0.3": "#004D38",
    "svd-0.4": "#009E73",
    "svd-0.5": "#7CCDB5",
    "random": "#A6A6A6",
    "random-svd-0.3": "#6E6E6E",
    "random-svd-0.4": "#8A8A8A",
    "random-svd-0.5": "#BFBFBF",
}


def instrument_title(code: str) -> str:
    """Instrument code to name; a code of the user's own stays as it is.

    Examples
    --------
    >>> instrument_title("cel"), instrument_title("theremin")
    ('Cello', 'theremin')
    """
    return INSTRUMENTS.get(code, code)


def model_title(name: str, pretrained: bool | None = None) -> str:
    """Model name for legends; untrained weights are named as such.

    A module of the HEAR API goes by its own name.

    Examples
    --------
    >>> model_title("hear-my_module")
    'my_module'
    >>> model_title("panns", pretrained=False)
    'PANNs (untrained)'
    """
    title = MODELS.get(name, name.removeprefix("hear-"))
    return f"{title} (untrained)" if pretrained is False else title


def projection_title(name: str) -> str:
    """Projection name for legends.

    Examples
    --------
    >>> projection_title("npca"), projection_title("mine")
    ('Normalised PCA', 'mine')
    """
    return PROJECTIONS.get(name, name)


def drawn_projections(present: Iterable[str]) -> list[str]:
    """Projections that figures of curves draw: the study's in their order, then all that were added.

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
    ordered = [name for name in PROJECTIONS if name in found and name not in _UNDRAWN]
    return ordered + [name for name in found if name not in PROJECTIONS]


def colour(name: str) -> str:
    """The colour of a model, instrument or projection, wherever it is drawn.

    Examples
    --------
    >>> colour("openl3"), colour("none")
    ('#0072B2', '#000000')
    >>> colour("mine") == colour("mine")
    True
    """
    if name in _PROJECTION_COLOURS:
        return _PROJECTION_COLOURS[name]
    for family in (MODELS, INSTRUMENTS):
        if name in family:
            place = list(family).index(name)
            return _PALETTE[place] if place < len(_PALETTE) else ["#A50026", "#1B1B1B"][place - len(_PALETTE)]
    return _ADDED[crc32(name.encode()) % len(_ADDED)]


def strength_colours(n: int) -> np.ndarray:
    """Perceptually ordered colours from nearly clean to strongest, shape (n, 4).

    Examples
    --------
    >>> light, dark = strength_colours(2)[:, :3].sum(axis=1)
    >>> bool(light > dark)
    True
    """
    return matplotlib.colormaps["viridis_r"](np.linspace(0.08, 1.0, n))
