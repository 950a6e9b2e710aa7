"""What the tables of several chapters share."""

from __future__ import annotations

from aesens.data import sort_instruments

__all__ = ["POOLED"]

#: Name of the row of all instruments together.
POOLED = "all"


def _instruments(sweep):
    """Instruments with clips on both sides of the split, with their masks."""
    for code in sort_instruments(sweep.instruments):
        mine = sweep.instruments == code
        if (mine & sweep.train).any() and (mine & sweep.test).any():
            yield str(code), mine & sweep.train, mine & sweep.test
