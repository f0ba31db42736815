"""The gradient of the estimate (stopped gradients, Scibior and Wood 2021) against the exact score.

The mean over RUNS runs in each parameter of a small LDS: within 5 of its standard errors, and a
bias of order 1 / K, for which 5 / K of the size of the score is allowed. A right estimator fails
one of the 300 comparisons with a probability of about 2e-4; seeds are fixed.
"""

from __future__ import annotations

import math

import pytest
import torch
from particle.linear import Exact, Leaning, ragged, small
from torch.testing import assert_close

import statespace as ss

RUNS = 24

METHODS = {
    "bootstrap": lambda num: ss.ParticleFilter(num),
    "always": lambda num: ss.ParticleFilter(num, threshold=1.0, resampling="multinomial"),
    "residual": lambda num: ss.ParticleFilter(num, threshold=1.0, resampling="residual"),
    "auxiliary": lambda num: ss.ParticleFilter(num, "auxiliary"),
    "guide": lambda num: ss.ParticleFilter(num, Leaning(2, 2)),
    "method": lambda num: ss.ParticleFilter(num, Exact(), resampling="stratified"),
}


def gradient(model, y, u, lengths, **how):
    value = model.log_likelihood(y, u, lengths=lengths, **how).sum()
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat([x.flatten() for x in found if x is not None])


@pytest.mark.parametrize("name", METHODS)
def test_its_mean_is_the_score(name):
    """In every free parameter, ragged and with gaps."""
    model, num = small(), 500
    y, u, lengths = ragged(model)
    exact = gradient(model, y, u, lengths)
    method = METHODS[name](num)
    runs = torch.stack(
        [gradient(model, y, u, lengths, method=method, seed=seed) for seed in range(RUNS)]
    )
    assert bool(torch.isfinite(runs).all())
    bound = 5 * runs.std(0) / math.sqrt(RUNS) + 5 / num * exact.norm()
    assert bool(((runs.mean(0) - exact).abs() < bound).all())


def test_it_is_consistent():
    """Ten times the particles: both bias and spread shrink, together by more than half."""
    model = small()
    y, u, lengths = ragged(model)
    exact = gradient(model, y, u, lengths)
    errors = []
    for num in (50, 500):
        method = ss.ParticleFilter(num, threshold=1.0)
        runs = [gradient(model, y, u, lengths, method=method, seed=seed) for seed in range(RUNS)]
        errors.append(float((torch.stack(runs) - exact).square().mean().sqrt()))
    assert errors[1] < 0.5 * errors[0]


def test_stopped_gradients_change_no_value():
    """The estimate that can be differentiated is the one that cannot."""
    model = small()
    y, u, lengths = ragged(model)
    how = {"lengths": lengths, "method": ss.ParticleFilter(200), "seed": 0}
    value = model.log_likelihood(y, u, **how)
    assert value.requires_grad
    with torch.no_grad():
        assert_close(value.detach(), model.log_likelihood(y, u, **how), rtol=1e-10, atol=1e-10)
