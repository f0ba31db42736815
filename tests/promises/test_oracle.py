"""Every exact answer is that of the dense joint Gaussian, series by series, to 1e-10.

Would catch: log 2 pi dropped, A transposed, a prediction before the first row, a mask ignored in
the log-determinant, B acting on z_1, a transposed lag-one covariance, an absolute jitter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES, IDS, Case

BOUND = 1e-10


def close(ours: Any, dense: Any) -> None:
    """Equal where variances are finite, infinite in the same places."""
    a, b = ours.detach().cpu().numpy(), np.asarray(dense)
    assert a.shape == b.shape
    assert (np.isinf(a) == np.isinf(b)).all()
    known = np.isfinite(b)
    if b.ndim == 3 and b.shape[-1] == b.shape[-2]:
        sure = np.isfinite(np.diagonal(b, axis1=-2, axis2=-1))
        known &= sure[..., :, None] & sure[..., None, :]
    assert np.allclose(a[known], b[known], rtol=BOUND, atol=BOUND)


def close_mean(ours: Any, mean: Any, cov: Any) -> None:
    """Means, where the variance is finite: elsewhere nothing is known."""
    known = np.isfinite(np.diagonal(cov, axis1=-2, axis2=-1))
    a = ours.detach().cpu().numpy()
    assert a.shape == mean.shape
    assert np.allclose(a[known], mean[known], rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_log_likelihood(case: Case) -> None:
    """log p(y) of each series, from the likelihood, the filter, the smoother and the score."""
    model, data = case.make(), case.data()
    value = model.log_likelihood(**data)
    assert value.shape == case.y.shape[:-2]
    dense = np.array([case.oracle(i, y).log_likelihood() for i, y in case.series()])
    for ours in (value, model.filter(**data).log_likelihood, model.smooth(**data).log_likelihood):
        assert np.allclose(ours.detach().reshape(-1).numpy(), dense, rtol=BOUND, atol=BOUND)
    score = model.score(**data)
    assert score.kind == "exact"
    assert np.isclose(float(score.value), dense.sum(), rtol=BOUND)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_filter(case: Case) -> None:
    """Filtered, predicted and one-step-ahead moments, and the increments."""
    record = case.make().filter(**case.data())
    ones = list(record)
    assert record.kind == "exact"
    for (i, y), f in zip(case.series(), ones, strict=True):
        oracle = case.oracle(i, y)
        dense, before = oracle.filtered(), oracle.predicted()
        close(f.increments, oracle.increments())
        close_mean(f.mean, dense.mean, dense.cov)
        close(f.cov, dense.cov)
        close_mean(f.predicted_mean, before.mean, before.cov)
        close(f.predicted_cov, before.cov)
        close_mean(f.y_mean, before.y_mean, before.y_cov)
        close(f.y_cov, before.y_cov)
        assert (np.isnan(f.innovations.numpy()) == np.isnan(y)).all()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_smoother(case: Case) -> None:
    """Smoothed moments, Cov(z_{t+1}, z_t | y) and the imputation of y."""
    record = case.make().smooth(**case.data())
    for (i, y), s in zip(case.series(), list(record), strict=True):
        dense = case.oracle(i, y).smoothed()
        close_mean(s.mean, dense.mean, dense.cov)
        close(s.cov, dense.cov)
        close(s.cross_cov, dense.cross)
        close_mean(s.y_mean, dense.y_mean, dense.y_cov)
        close(s.y_cov, dense.y_cov)


@pytest.mark.parametrize("case", [c for c in CASES if c.lengths is None], ids=lambda c: c.name)
def test_forecast(case: Case) -> None:
    """A forecast is filtering rows in which nothing was seen: the dense moments of those rows."""
    data = case.data()
    if case.u is not None:
        import torch

        data["inputs"] = torch.as_tensor(case.u)
    fc = case.make().forecast(**data, horizon=4)
    batch, m = case.y.shape[:-2], case.y.shape[-1]
    assert fc.mean.shape == (*batch, 4, m)
    for (i, y), mean, cov, z_mean, z_cov in zip(
        case.series(), fc.mean.reshape(-1, 4, m), fc.cov.reshape(-1, 4, m, m),
        fc.z_mean.reshape(-1, 4, fc.z_mean.shape[-1]),
        fc.z_cov.reshape(-1, 4, *fc.z_cov.shape[-2:]), strict=True,
    ):  # fmt: skip
        rows = np.concatenate([y, np.full((4, m), np.nan)])
        dense = case.oracle(i, rows).forecast(4)
        close(cov, dense.y_cov)
        close_mean(mean, dense.y_mean, dense.y_cov)
        close(z_cov, dense.cov)
        close_mean(z_mean, dense.mean, dense.cov)
