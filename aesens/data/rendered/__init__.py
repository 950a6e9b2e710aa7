"""Clips in the shape of IRMAS, rendered from sampled instruments."""
