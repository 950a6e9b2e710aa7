"""What the tables of several chapters share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aesens.data import sort_instruments

__all__ = ["POOLED", "instrument_sides"]

#: Name of the row of all instruments together.
POOLED = "all"


def instrument_sides(sweep) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Instruments with clips on both sides of the split: code, and masks (clip,) of training and of test clips."""
    for code in sort_instruments(sweep.instruments):
        mine = sweep.instruments == code
        if (mine & sweep.train).any() and (mine & sweep.test).any():
            yield str(code), mine & sweep.train, mine & sweep.test
