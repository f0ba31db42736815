"""log p(z, y) = log p(y) + log p(z | y), with the dense joint Gaussian on the right.

Would catch: b or B u acting on z_1, a row of Varying that is one off, an emission beyond a length.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import CASES, Case

PROPER = [c for c in CASES if "diffuse" not in c.tags]


def density(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> float:
    e = x - mean
    _, log_det = np.linalg.slogdet(2 * np.pi * cov)
    return -0.5 * float(log_det + e @ np.linalg.solve(cov, e))


@pytest.mark.parametrize("case", PROPER, ids=lambda c: c.name)
def test_the_joint_is_that_of_the_dense_gaussian(case: Case) -> None:
    """For every series, gaps and inputs and unequal lengths included, two paths at once."""
    model, data = case.make(), case.data()
    g = torch.Generator().manual_seed(0)
    shape = (2, *case.y.shape[:-1], model.latent_dim)
    z = torch.randn(shape, generator=g, dtype=torch.float64)
    found = model.log_joint(z, **data).detach().reshape(2, -1)
    for k in range(2):
        paths = z[k].reshape(-1, case.T, shape[-1]).numpy()
        for (i, y), path in zip(case.series(), paths, strict=True):
            oracle = case.oracle(i, y)
            dense = oracle.smoothed()
            posterior = density(path[: len(y)].reshape(-1), dense.mean.reshape(-1), dense.joint)
            wanted = oracle.log_likelihood() + posterior
            assert float(found[k, i]) == pytest.approx(wanted, rel=1e-9, abs=1e-9)
