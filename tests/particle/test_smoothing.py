"""Smoothing against the Kalman smoother, compiled and plain, by simulation and by lineages.

Means over RUNS independent runs (series of one batch) against the exact moments: |z| < 4.5 by the
spread of the runs, and BIAS beside it, for the bias of order 1 / K of a smoother of K particles.
There are about 500 comparisons; a right smoother fails one of them with a probability below 4e-3,
and seeds are fixed.
"""

from __future__ import annotations

import math

import pytest
import torch
from particle.linear import ragged, small
from particle.networks import KINDS
from torch.testing import assert_close

import statespace as ss
from statespace.inference.particle import compiled_back, method

F64 = torch.float64
RUNS, BIAS = 30, 0.03
NEAR = {"rtol": 1e-10, "atol": 1e-10, "equal_nan": True}


def plain(monkeypatch):
    """Nothing is compiled from here on."""
    monkeypatch.setattr(method, "run", lambda *args, **kwargs: None)
    monkeypatch.setattr(method, "smooth_compiled", lambda *args, **kwargs: None)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("smoother", ["ffbs", "genealogy"])
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_moments_are_those_of_the_kalman_smoother(threshold, smoother, compiled, monkeypatch):
    """Means, covariances, lag-one covariances and imputed values; ragged, with gaps and inputs."""
    if not compiled:
        plain(monkeypatch)
    model = small()
    y, u, lengths = ragged(model)
    exact = model.smooth(y, u, lengths=lengths)
    many = [x.expand(RUNS, *x.shape) for x in (y, u, lengths)]
    num = 400 if compiled else 200
    how = ss.ParticleFilter(num, smoother=smoother, threshold=threshold)
    found = model.smooth(many[0], many[1], lengths=many[2], method=how, seed=0)
    assert found.extra["smoother"] == smoother
    for name in ("mean", "cov", "cross_cov", "y_mean", "y_cov"):
        each, wanted = getattr(found, name), getattr(exact, name)
        assert torch.equal(each.isnan(), wanted.isnan().expand_as(each)), name
        gap = (each.mean(0) - wanted).abs()
        bound = 4.5 * each.std(0) / math.sqrt(RUNS) + BIAS
        assert bool((gap < bound).nan_to_num(nan=1.0).bool()[~wanted.isnan()].all()), name


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_simulation_is_the_plain_one(kind, monkeypatch):
    """For the same seed where nothing is missing, draws from the record too; unequal lengths."""
    model = KINDS[kind](True)
    u = torch.randn(3, 6, model.input_dim, dtype=F64, generator=torch.Generator().manual_seed(0))
    given = u if model.input_dim else None
    y = model.sample(6, () if model.input_dim else (3,), inputs=given, seed=0).y
    lengths = torch.tensor([6, 4, 1])

    def ask():
        how = ss.ParticleFilter(41, threshold=0.8)
        return model.smooth(y, given, lengths=lengths, method=how, seed=1)

    ran, original = [], compiled_back.smooth_compiled
    monkeypatch.setattr(method, "smooth_compiled", lambda *a: ran.append(original(*a)) or ran[-1])
    fast = ask()
    assert ran[0] is not None
    plain(monkeypatch)
    slow = ask()
    for name in ("mean", "cov", "cross_cov", "y_mean", "y_cov", "log_likelihood"):
        assert_close(getattr(fast, name), getattr(slow, name), msg=name, **NEAR)
    assert_close(fast.sample(7, seed=3), slow.sample(7, seed=3), **NEAR)


@pytest.mark.parametrize("kind", ["linear", "volatility"])
def test_compiled_lineages_are_the_plain_ones(kind, monkeypatch):
    """For the same seed, with a batch of two axes."""
    model = KINDS[kind](True)
    u = torch.randn(2, 2, 6, model.input_dim, dtype=F64, generator=torch.Generator().manual_seed(0))
    given = u if model.input_dim else None
    y = model.sample(6, () if model.input_dim else (2, 2), inputs=given, seed=0).y
    lengths = torch.tensor([[6, 4], [1, 5]])
    how = ss.ParticleFilter(41, threshold=1.0, smoother="genealogy")
    fast = model.smooth(y, given, lengths=lengths, method=how, seed=1)
    plain(monkeypatch)
    slow = model.smooth(y, given, lengths=lengths, method=how, seed=1)
    for name in ("mean", "cov", "cross_cov", "y_mean", "log_likelihood"):
        assert_close(getattr(fast, name), getattr(slow, name), msg=name, **NEAR)
    assert_close(fast.sample(7, seed=3), slow.sample(7, seed=3), **NEAR)


def test_a_trajectory_far_from_every_particle_goes_to_the_nearest():
    """Where all densities of a move underflow, they are compared all the same."""
    model = ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=[[1e-8]], R=[[1.0]],
                   initial_mean=[0.0], initial_cov=[[1.0]])  # fmt: skip
    y = torch.tensor([[0.0], [0.5], [0.4]], dtype=F64)
    s = model.smooth(y, method=ss.ParticleFilter(20, threshold=0.0), seed=0)
    assert bool(torch.isfinite(s.mean).all())
    drawn = s.sample(5, seed=1)
    assert float((drawn[:, 1:] - drawn[:, :-1]).abs().max()) < 1e-2  # a lineage, not another one


def test_a_continued_state_is_smoothed_from_where_it_is():
    """Rows after a state, with inputs, against the Kalman smoother that goes on likewise."""
    model = small()
    y, u, _ = ragged(model)
    first = model.filter(y[0, :3], u[0, :3], method=ss.ParticleFilter(3000), seed=0)
    exact = model.filter(y[0, :3], u[0, :3])
    s = model.smooth(y[0, 3:], u[0, 3:], state=first.state)
    wanted = model.smooth(y[0, 3:], u[0, 3:], state=exact.state)
    assert float((s.mean - wanted.mean).abs().max()) < 0.15
