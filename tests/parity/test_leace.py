"""LEACE against the package of its authors."""

import numpy as np
import pytest
import torch

from aesens.analysis.remedies import LEACE

concept_erasure = pytest.importorskip("concept_erasure")


@pytest.mark.parametrize("concept", ["rank", "effected"])
@pytest.mark.parametrize(("clips", "features"), [(30, 8), (6, 60)])
def test_leace_is_the_packages(concept, clips, features):
    """Without shrinkage, on more rows than features and on fewer, where the covariance has no inverse."""
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((clips, features))
    pace = np.linspace(0.2, 1, 5)[:, None, None]
    moved = clean + pace * rng.standard_normal(features) + 0.3 * rng.standard_normal((5, clips, features))
    rows = np.concatenate([clean[None], moved]).reshape(-1, features)
    z = np.repeat(np.arange(6) / 5 if concept == "rank" else np.arange(6) > 0, clips).astype(float)
    fitter = concept_erasure.LeaceFitter(features, 1, dtype=torch.float64, shrinkage=False)
    fitter.update(torch.from_numpy(rows), torch.from_numpy(z)[:, None])
    theirs = fitter.eraser(torch.from_numpy(rows)).numpy()
    assert np.abs(theirs - rows).max() > 0.5
    np.testing.assert_allclose(
        LEACE(concept, shrinkage=0).fit(moved, clean).transform(rows), theirs, atol=1e-9
    )
