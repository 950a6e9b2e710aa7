"""aesens: how sensitive are pre-trained audio embeddings to audio effects?

The package behind the notebooks. Data flow one way::

    data -> effects -> models -> embed -> store
                                   |
        sensitivity  trajectories  directions  projections  classify   (pure functions on arrays)
                                   |
              measure (tidy tables) -> claims, plots -> study -> run, report, cli

Start at `aesens.study.Study`, which joins the parts.

`help` of a module lists its public names; the report has a page of all of them.

References
----------
V. Deng, C. Wang, G. Richard, B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to Common
Effects", ICASSP 2025, arXiv:2501.15900.
"""

import os

from aesens.cache import runtime_environment

__version__ = "0.1.0"

# matplotlib and numba choose their folders when they are imported, and would choose the home directory.
for _name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
    os.environ.setdefault(_name, runtime_environment()[_name])
