"""Sweeps in, tidy tables out: one module a chapter."""

from aesens.tables.classification import classification
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
from aesens.tables.sensitivity import distances, protocols, response
from aesens.tables.trajectories import clip_umap, geometry, layout, samplewise, spectra

__all__ = [
    "POOLED",
    "agreement",
    "agreements",
    "classification",
    "classifier_cosines",
    "clean_classification",
    "clean_layout",
    "clip_umap",
    "decoding",
    "direction_points",
    "direction_vectors",
    "distances",
    "fitted_subspaces",
    "geometry",
    "global_directions",
    "layout",
    "method_cosines",
    "model_table",
    "normalised_pca",
    "projected",
    "protocols",
    "random_cosine",
    "response",
    "samplewise",
    "spectra",
]
