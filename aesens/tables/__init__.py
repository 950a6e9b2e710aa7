"""Sweeps in, tidy tables out: one module a chapter.

A function takes an `aesens.embeddings.sweep.Sweep` and gives the rows of that model and effect;
`aesens.study.Study.collect` joins those of all. Everywhere ``n_resamples`` counts bootstrap draws over songs,
``n_permutations`` the shuffled orders of a null, ``seed`` rules both, ``fitted`` is what `fitted_subspaces` gave with
the same seed, so that it need not be fitted again, and ``n_jobs`` is how many threads work, which no number depends on.
Intervals ``low`` and ``high`` hold 95 %. Without a split, what needs one is left out.
"""

from aesens.tables.classification import classification, counted_methods
from aesens.tables.common import POOLED
from aesens.tables.directions import decoding, direction_points, global_directions
from aesens.tables.embeddings import clean_classification, clean_layout, model_table
from aesens.tables.projections import (
    agreement,
    agreements,
    classifier_cosines,
    direction_vectors,
    fitted_subspaces,
    method_cosines,
    normalised_pca,
    projected,
    random_cosine,
)
from aesens.tables.remedies import linearity, remedies
from aesens.tables.robustness import robustness
from aesens.tables.sensitivity import distances, protocols, response
from aesens.tables.trajectories import clip_umap, geometry, layout, samplewise, spectra
