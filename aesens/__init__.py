"""aesens: how sensitive are pre-trained audio embeddings to audio effects?

The package behind the notebooks. Its folders, of which each knows only those to its right::

    app -> study -> tables, plots -> analysis
           study -> embeddings -> models, effects, data

Start at `aesens.study.Study`, which joins the parts.

References
----------
V. Deng, C. Wang, G. Richard, B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to Common
Effects", ICASSP 2025, arXiv:2501.15900.
"""

import os

from aesens.cache import runtime_environment

__version__ = "0.2.0"

# matplotlib and numba choose their folders when they are imported, and would choose the home directory.
for _name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
    os.environ.setdefault(_name, runtime_environment()[_name])
