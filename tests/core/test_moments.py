"""The core gives the moments of the dense joint Gaussian, in every case of the table.

Would catch: a transposed A, an off-by-one row, a mask forgotten in the log-determinant, log 2 pi
dropped, the lag-one covariance transposed, b applied at the first row, a diffuse constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from systems import CASES, IDS, Case

from statespace.inference.lineargaussian import (
    filter_moments,
    forward,
    log_likelihood,
    smooth,
    start,
)
from statespace.inference.lineargaussian.likelihood import total

BOUND = 1e-10


def close(ours: torch.Tensor, dense: Any, bound: float = BOUND) -> None:
    """Equal where both variances are finite, and infinite in the same places."""
    a, b = ours.numpy(), np.asarray(dense)
    assert a.shape == b.shape
    assert (np.isinf(a) == np.isinf(b)).all()
    finite = np.isfinite(b)
    if b.ndim == 3 and b.shape[-1] == b.shape[-2]:
        known = np.isfinite(np.diagonal(b, axis1=-2, axis2=-1))
        finite &= known[..., :, None] & known[..., None, :]
    assert np.allclose(a[finite], b[finite], rtol=bound, atol=bound)


def bound_of(case: Case) -> float:
    """The dense oracle in float64 loses what a wide start or an exact output costs it."""
    return 1e-7 if case.name in ("wide start", "diffuse, no output noise") else BOUND


def passes(case: Case) -> Any:
    system, (y, observed, active) = case.system(), case.data()
    return system, y, forward(system, start(system), y, observed, active)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("constant", [True, False])
def test_log_likelihood(case: Case, constant: bool) -> None:
    """log p(y) is the dense one, with and without the diffuse constant."""
    value = log_likelihood(case.system(), *case.data(), diffuse_constant=constant)
    dense = case.oracle().log_likelihood(diffuse_constant=constant)
    assert float(value) == pytest.approx(dense, rel=bound_of(case), abs=bound_of(case))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_filter(case: Case) -> None:
    """Filtered and predicted moments of z and y, and the increments, are the dense ones."""
    system, _, run = passes(case)
    ours, oracle, bound = filter_moments(run, system), case.oracle(), bound_of(case)
    dense, before = oracle.filtered(), oracle.predicted()
    close(ours.increments, oracle.increments(), bound)
    close(ours.cov, dense.cov, bound)
    close(ours.predicted_cov, before.cov, bound)
    close(ours.y_cov, before.y_cov, bound)
    for mean, cov, value in (
        (dense.mean, dense.cov, ours.mean),
        (before.mean, before.cov, ours.predicted_mean),
        (before.y_mean, before.y_cov, ours.y_mean),
    ):  # the mean of a direction of which nothing is known means nothing
        known = np.isfinite(np.diagonal(cov, axis1=-2, axis2=-1))
        assert np.allclose(value.numpy()[known], mean[known], rtol=bound, atol=bound)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_smoother(case: Case) -> None:
    """Smoothed moments, lag-one covariances and imputed y are the dense ones."""
    system, y, run = passes(case)
    ours, dense, bound = (
        smooth(run, system, total(run)[1], y),
        case.oracle().smoothed(),
        bound_of(case),
    )
    close(ours.cov, dense.cov, bound)
    close(ours.cross_cov, dense.cross, bound)
    close(ours.y_cov, dense.y_cov, bound)
    if np.isfinite(dense.cov).all():
        close(ours.mean, dense.mean, bound)
        close(ours.y_mean, dense.y_mean, bound)
