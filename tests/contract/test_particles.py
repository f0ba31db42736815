"""Weights and ancestors: every scheme is unbiased, and zero weights have no descendants."""

import math

import pytest
import torch
from contract.tiny import F64
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from statespace.beliefs import Finite, Real, Switching
from statespace.discrete import Categorical, check_stochastic, propagate, stationary
from statespace.errors import InputError
from statespace.particles import (
    SCHEMES,
    Particles,
    average_moments,
    effective_size,
    normalise,
    resample,
)

WEIGHTS = st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=2, max_size=7).filter(any)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(weights=WEIGHTS, num=st.integers(1, 9))
def test_the_expected_number_of_descendants(scheme, weights, num):
    """E[count of k] = num w_k, over 3000 independent draws: |z| < 5.5 for each k.

    Under systematic, stratified and residual resampling the count differs from num w_k by less
    than one (two for stratified), or by what residual draws at random.
    """
    w = torch.tensor(weights, dtype=F64)
    w = w / w.sum()
    runs = 3000
    generator = torch.Generator().manual_seed(0)
    ancestors = resample(w.log()[:, None].expand(-1, runs), num, scheme, generator)
    assert ancestors.shape == (num, runs)
    counts = torch.stack([(ancestors == k).sum(0) for k in range(len(w))]).to(F64)
    error = counts.std(-1) / math.sqrt(runs)
    assert bool(((counts.mean(-1) - num * w).abs() <= 5.5 * error + 1e-9).all())
    assert float(counts[w == 0].sum()) == 0.0
    if scheme == "systematic":
        assert float((counts - num * w[:, None]).abs().max()) < 1 + 1e-9
    if scheme == "stratified":
        assert float((counts - num * w[:, None]).abs().max()) < 2
    if scheme == "residual":
        assert bool((counts >= (num * w[:, None] - 1e-9).floor()).all())


def test_each_series_is_resampled_by_its_own_weights():
    """The batch stands right of the particles."""
    log_w = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]], dtype=F64)
    for scheme in SCHEMES:
        assert resample(log_w, 3, scheme).tolist() == [[0, 1]] * 3


def test_an_unknown_scheme_is_refused():
    with pytest.raises(InputError, match="`resampling`"):
        resample(torch.zeros(3), 3, "bootstrap")


def test_normalise():
    """Weights sum to one, the sum is handed back; dead series become even and stay -inf."""
    log_w = torch.tensor([[1.0, -math.inf], [2.0, -math.inf]], dtype=F64)
    found, total = normalise(log_w)
    assert_close(found.exp().sum(0), torch.ones(2, dtype=F64))
    assert_close(total[0], log_w[:, 0].logsumexp(0))
    assert float(total[1]) == -math.inf
    assert_close(found[:, 1].exp(), torch.full((2,), 0.5, dtype=F64))
    assert_close(effective_size(found)[1], torch.tensor(2.0, dtype=F64))
    assert_close(effective_size(torch.tensor([1.0, 0.0]).log()), torch.tensor(1.0))


def test_moments_of_a_mixture():
    """Against many draws of a mixture of three Gaussians, by hand."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(3, 2, dtype=F64, generator=generator)
    root = torch.randn(3, 2, 2, dtype=F64, generator=generator)
    w = torch.tensor([0.2, 0.5, 0.3], dtype=F64)
    m, c = average_moments(mean, root @ root.mT, w)
    second = sum(w[k] * (root[k] @ root[k].mT + torch.outer(mean[k], mean[k])) for k in range(3))
    assert_close(m, w @ mean)
    assert_close(c, second - torch.outer(m, m))


@pytest.fixture
def particles():
    space = Switching(Finite(3), Real(2))
    generator = torch.Generator().manual_seed(0)
    k = torch.randint(3, (50, 4), generator=generator)
    x = torch.randn(50, 4, 2, dtype=F64, generator=generator)
    log_w, _ = normalise(torch.randn(50, 4, dtype=F64, generator=generator))
    return Particles(Switching(k, x), log_w, space)


def test_a_belief_of_particles(particles):
    """Mean, covariance and probabilities are weighted averages; draws follow the weights."""
    w, x = particles.weights, particles.z.x
    assert_close(particles.mean[2], w[:, 2] @ x[:, 2])
    gap = x[:, 2] - particles.mean[2]
    assert_close(particles.cov[2], (w[:, 2, None] * gap).mT @ gap)
    assert_close(particles.probs[2, 1], w[:, 2][particles.z.k[:, 2] == 1].sum())
    draws = particles.sample((200, 100), torch.Generator().manual_seed(1))
    assert draws.k.shape == (200, 100, 4)
    assert draws.x.shape == (200, 100, 4, 2)
    error = particles.cov.diagonal(dim1=-2, dim2=-1).sqrt() / math.sqrt(20000)
    assert bool(((draws.x.mean((0, 1)) - particles.mean).abs() < 5 * error).all())


def test_particles_stand_still_and_stack(particles):
    """where takes whole series; stack puts T left of the event."""
    moved = Particles(
        Switching(particles.z.k, particles.z.x + 1), particles.log_weights, particles.space
    )
    active = torch.tensor([True, False, True, False])
    mixed = moved.where(active, particles)
    assert torch.equal(mixed.mean[active], moved.mean[active])
    assert torch.equal(mixed.mean[~active], particles.mean[~active])
    both = Particles.stack([particles, moved])
    assert both.z.x.shape == (50, 4, 2, 2)
    assert_close(both.mean, torch.stack([particles.mean, moved.mean], 1))
    with pytest.raises(TypeError, match="as particles"):
        particles.where(active, Categorical(torch.zeros(4, 3)))


def test_a_categorical_belief():
    """Probabilities, draws, standing still, stacking."""
    belief = Categorical(torch.tensor([[0.0, 1.0, -math.inf], [2.0, 0.0, 0.0]], dtype=F64))
    draws = belief.sample((40, 100), torch.Generator().manual_seed(0))
    assert draws.shape == (40, 100, 2)
    for k in range(3):
        p = belief.probs[:, k]
        share = (draws == k).double().mean((0, 1))
        assert bool(((share - p).abs() <= 5 * (p * (1 - p) / 4000).sqrt()).all())
    assert belief.mean.shape == (2, 0)
    assert belief.cov.shape == (2, 0, 0)
    other = Categorical(torch.zeros(2, 3, dtype=F64))
    mixed = belief.where(torch.tensor([True, False]), other)
    assert torch.equal(mixed.logits[1], other.logits[1])
    assert Categorical.stack([belief, other]).probs.shape == (2, 2, 3)
    with pytest.raises(TypeError, match="as one"):
        belief.where(torch.tensor([True, False]), Particles((), torch.zeros(1), Real(0)))


def test_rows_that_sum_to_one():
    """One step of a chain, its stationary distribution, and rows that do not sum to one."""
    p = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.6, 0.4]], dtype=F64)
    pi = stationary(p)
    assert_close(pi @ p, pi)
    assert_close(pi.sum(), torch.ones((), dtype=F64))
    assert_close(propagate(pi.log(), p.log()).exp(), pi)
    assert check_stochastic(p, "P") is p
    with pytest.raises(InputError, match="`P`: expected rows that sum to one"):
        check_stochastic(2 * p, "P")
    with pytest.raises(InputError, match=r"`P`: expected probabilities, received -0\.1"):
        check_stochastic(p - torch.tensor([[0.0, 0.2, 0.0]], dtype=F64), "P")
    with pytest.raises(InputError, match="probabilities"):
        check_stochastic(p * torch.nan, "P")
