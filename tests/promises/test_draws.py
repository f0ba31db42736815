"""What is drawn has the distribution that is stated.

Statistical tests: each compares a mean of draws with its exact value; with a bound of 5 standard
errors over at most 2000 numbers in all, a false alarm has a chance below 0.2 %. Seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case

import statespace as ss

PROPER = [c for c in CASES if "diffuse" not in c.tags]
DRAWS = 4000


def agree(draws: torch.Tensor, mean: torch.Tensor, cov: torch.Tensor) -> None:
    """The mean and covariance of draws (K, *, n) within 5 standard errors of (*, n), (*, n, n)."""
    k = len(draws)
    sd = cov.diagonal(dim1=-2, dim2=-1).clamp_min(1e-30).sqrt()
    assert bool(((draws.mean(0) - mean).abs() <= 5 * sd / k**0.5 + 1e-12).all())
    centred = (draws - mean)[..., None]
    seen = (centred * centred.mT).mean(0)
    bound = 5 * np.sqrt(2 / k) * sd[..., None] * sd[..., None, :]
    assert bool(((seen - cov).abs() <= bound + 1e-12).all())


@pytest.mark.parametrize("case", PROPER, ids=lambda c: c.name)
def test_posterior_paths(case: Case) -> None:
    """Joint draws given y have the smoothed moments, and the lag-one covariance."""
    s = case.make().smooth(**case.data())
    z = s.sample(DRAWS, seed=0)
    assert z.shape == (DRAWS, *s.mean.shape)
    inside = torch.isfinite(s.mean).all(-1)
    agree(z[:, inside], s.mean[inside], s.cov[inside])
    if case.T > 1:
        both = torch.isfinite(s.cross_cov).all(-1).all(-1)
        now, after = (z - s.mean)[..., :-1, :], (z - s.mean)[..., 1:, :]
        seen = (after[..., None] * now[..., None, :]).mean(0)[both]
        sd = s.cov.diagonal(dim1=-2, dim2=-1).clamp_min(1e-30).sqrt()
        bound = 5 * np.sqrt(2 / DRAWS) * sd[..., 1:, :, None] * sd[..., :-1, None, :]
        assert bool(((seen - s.cross_cov[both]).abs() <= bound[both] + 1e-12).all())


@pytest.mark.parametrize("case", [c for c in CASES if "diffuse" in c.tags], ids=lambda c: c.name)
def test_posterior_paths_of_a_diffuse_start(case: Case) -> None:
    """Once the data resolve it, a diffuse start has a proper posterior to draw from."""
    model, data = case.make(), case.data()
    s = model.smooth(**data)
    if not bool(torch.isfinite(s.cov).all()):
        with pytest.raises(ss.errors.NumericalError, match="diffuse"):
            s.sample(3, seed=0)
        return
    agree(s.sample(DRAWS, seed=0), s.mean, s.cov)


@pytest.mark.parametrize("case", [c for c in PROPER if c.u is None], ids=lambda c: c.name)
def test_sample_and_forecast(case: Case) -> None:
    """sample has the moments of a forecast from nothing, and forecast draws those of its mean."""
    model = case.make()
    batch = case.y.shape[:-2]
    steps = min(case.T, 4)
    drawn = model.sample(steps, (DRAWS, *batch), seed=1)
    fc = model.forecast(state=model.start(batch), horizon=steps)
    agree(drawn.z, fc.z_mean, fc.z_cov)
    agree(drawn.y, fc.mean, fc.cov)
    agree(fc.sample(DRAWS, seed=2), fc.mean, fc.cov)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_seeds(case: Case) -> None:
    """The same seed gives the same numbers; torch's own generator is left as it was."""
    model, data = case.make(), case.data()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    if "diffuse" not in case.tags:
        a, b = (model.smooth(**data).sample(2, seed=5) for _ in range(2))
        assert torch.equal(a.nan_to_num(), b.nan_to_num())
    if case.u is None and "diffuse" not in case.tags:
        batch = case.y.shape[:-2]
        a, b = (model.sample(3, batch, seed=5) for _ in range(2))
        assert torch.equal(a.y, b.y)
        assert torch.equal(a.z, b.z)
    assert torch.equal(torch.get_rng_state(), before)


def test_intervals_cover_the_truth() -> None:
    """The sampled truth lies in 90 % intervals of filter, smoother and forecast at that rate.

    2000 series; the rate at one row is binomial with standard error 0.0067: bound 5 of these.
    """
    lds = next(c for c in CASES if c.name == "one series").make()
    drawn = lds.sample(12, (2000,), seed=0)
    z, y = drawn.z, drawn.y
    seen = y[:, :8]
    fc = lds.forecast(seen, horizon=4)
    low, high = fc.quantile([0.05, 0.95])
    inside = ((y[:, 8:] >= low) & (y[:, 8:] <= high)).double().mean(0)
    f, s = lds.filter(seen), lds.smooth(seen)
    for record in (f, s):
        sd = record.cov.diagonal(dim1=-2, dim2=-1).sqrt()
        rate = ((z[:, :8] - record.mean).abs() <= 1.6448536 * sd).double().mean(0)
        assert bool(((rate - 0.9).abs() < 0.034).all())
    assert bool(((inside - 0.9).abs() < 0.034).all())
