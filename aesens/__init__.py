"""aesens: how sensitive are pre-trained audio embeddings to audio effects?

The package behind the notebooks. Data flow one way::

    data -> effects -> models -> embed -> store
                                   |
        sensitivity  trajectories  directions  projections  classify   (pure functions on arrays)
                                   |
              measure (tidy tables) -> claims, plots -> study -> run, report, cli

Start at `aesens.study.Study`, which joins the parts.

References
----------
V. Deng, C. Wang, G. Richard, B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to Common
Effects", ICASSP 2025, arXiv:2501.15900.
"""

__version__ = "0.1.0"
