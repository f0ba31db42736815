"""Smoothing by particles: trajectories given all of y, by backward simulation or by lineages.

Moments of 800 trajectories are compared with exact ones; each comparison allows 5 standard
errors of as many independent draws as the method can be trusted for (200: they share ancestors),
which a right smoother exceeds with a probability of about 1e-6.
"""

import math

import pytest
import torch
from contract import oracle
from contract.tiny import F64, MODELS, READ_Y, ragged_case
from torch.testing import assert_close

from statespace.inference import ParticleFilter
from statespace.shapes import leaves, tmap

TRUSTED = 200


def smoothed(model, y, u, lengths, smoother, seed=0, threshold=0.5):
    method = ParticleFilter(800, smoother=smoother, threshold=threshold)
    return model.smooth(y, u, lengths=lengths, method=method, seed=seed)


def rotating():
    """The plain model with a state that turns, and that y says little about."""
    model = MODELS["plain"]()
    with torch.no_grad():
        model.A.copy_(torch.tensor([[0.3, -0.9], [0.9, 0.3]]))
        model.C.mul_(0.3)
    return model


def check_gaussian(model, name, s, y, u, lengths):
    for i in range(3):
        size = int(lengths[i])
        with torch.no_grad():
            zs, ys = oracle.LINEAR[name](model, u[i, :size])
        seen = oracle.stack(*ys)
        values = y[i, :size].flatten()
        width = zs[0].offset.shape[0]
        mean, cov = oracle.posterior(oracle.stack(*zs), seen, values)
        mean = mean.reshape(size, width)
        std = cov.diagonal().sqrt().reshape(size, width)
        error = 5 * std / math.sqrt(TRUSTED)
        assert bool(((s.mean[i, :size] - mean).abs() < error).all())
        for t in range(size):
            block = cov[t * width : (t + 1) * width, t * width : (t + 1) * width]
            bound = 5 * (std[t][:, None] * std[t]) * math.sqrt(2 / TRUSTED)
            assert bool(((s.cov[i, t] - block).abs() < bound).all())
        for t in range(size - 1):
            block = cov[(t + 1) * width : (t + 2) * width, t * width : (t + 1) * width]
            bound = 5 * (std[t + 1][:, None] * std[t]) * math.sqrt(2 / TRUSTED)
            assert bool(((s.cross_cov[i, t] - block).abs() < bound).all())
        imputed, y_cov = oracle.posterior(seen, seen, values)
        scale = y_cov.diagonal().clamp_min(0).sqrt()
        gap = (s.y_mean[i, :size].flatten() - imputed).abs()
        assert bool((gap < 5 * scale / math.sqrt(TRUSTED) + 1e-9).all())


@pytest.mark.parametrize("threshold", [0.5, 1.0])
@pytest.mark.parametrize("smoother", ["ffbs", "genealogy"])
def test_plain_against_the_dense_gaussian(smoother, threshold):
    """Means, covariances, lag-one covariances (row t: z_{t+1} with z_t), and missing y."""
    model = MODELS["plain"]()
    y, u, lengths = ragged_case(model)
    s = smoothed(model, y, u, lengths, smoother, threshold=threshold)
    assert s.extra["smoother"] == smoother
    assert s.kind == "estimate"
    check_gaussian(model, "plain", s, y, u, lengths)
    observed = ~y.isnan()
    assert torch.equal(s.y_mean[0][observed[0]], y[0][observed[0]])
    assert float(s.y_cov[0, 0].abs().max()) == 0.0


@pytest.mark.parametrize("smoother", ["ffbs", "genealogy"])
def test_a_short_series_beside_a_long_one(smoother):
    """What the long one goes on to do is nothing to the short one: its own end is its end."""
    model = rotating()
    y, u, _ = ragged_case(model, batch=2, rows=20)
    s = smoothed(model, y, u, torch.tensor([20, 2]), smoother, threshold=1.0)
    with torch.no_grad():
        zs, ys = oracle.plain(model, u[1, :2])
        mean, cov = oracle.posterior(oracle.stack(*zs), oracle.stack(*ys), y[1, :2].flatten())
    std = cov.diagonal().sqrt()
    assert bool(((s.mean[1, :2].flatten() - mean).abs() < 5 * std / math.sqrt(TRUSTED)).all())
    ratio = s.cov[1, :2].diagonal(dim1=-2, dim2=-1).flatten() / cov.diagonal()
    assert bool(((ratio - 1).abs() < 5 * math.sqrt(2 / TRUSTED)).all())


def test_lag_one_covariances_are_the_right_way_round():
    """Row t is Cov(z_{t+1}, z_t): under a rotation it is nearer to itself than to its mirror."""
    model = rotating()
    y, u, _ = ragged_case(model, missing=False)
    s = smoothed(model, y, u, None, "ffbs")
    with torch.no_grad():
        zs, ys = oracle.plain(model, u[0])
        _, cov = oracle.posterior(oracle.stack(*zs), oracle.stack(*ys), y[0].flatten())
    wanted = torch.stack([cov[2 * t + 2 : 2 * t + 4, 2 * t : 2 * t + 2] for t in range(4)])
    assert float((s.cross_cov[0] - wanted).norm()) < 0.3 * float((wanted.mT - wanted).norm())


@pytest.mark.parametrize("name", READ_Y)
def test_a_memory_of_its_own_goes_by_lineages(name):
    """Where the memory reads z there is no density to go backward with; a drawn y is smoothed."""
    model = MODELS[name](linear=True)
    y, u, lengths = ragged_case(model)
    s = smoothed(model, y, u, lengths, "ffbs")
    assert s.extra["smoother"] == "genealogy"
    check_gaussian(model, name, s, y, u, lengths)


@pytest.mark.parametrize("smoother", ["ffbs", "genealogy"])
def test_discrete_against_all_paths(smoother):
    """P(k_t | y) and P(k_{t+1}, k_t | y); a discrete state has no moments."""
    model = MODELS["discrete"]()
    y, u, lengths = ragged_case(model)
    s = smoothed(model, y, u, lengths, smoother)
    assert s.mean is None
    assert s.cross_cov is None
    for i in range(3):
        size = int(lengths[i])
        with torch.no_grad():
            _, probs, pairs = oracle.log_p_discrete(model, y[i, :size], u[i, :size])
        for found, wanted in ((s.probs[i, :size], probs), (s.pair_probs[i, : size - 1], pairs)):
            error = 5 * (wanted * (1 - wanted) / TRUSTED).sqrt() + 1e-3
            assert bool(((found - wanted).abs() < error).all())


def test_switch_against_all_paths():
    """P(k_t | y) of a state with two parts; x has moments beside it."""
    model = MODELS["switch"]()
    y, u, lengths = ragged_case(model)
    s = smoothed(model, y, u, lengths, "ffbs")
    for i in range(3):
        size = int(lengths[i])
        with torch.no_grad():
            _, probs = oracle.log_p_switch(model, y[i, :size], u[i, :size])
        error = 5 * (probs * (1 - probs) / TRUSTED).sqrt()
        assert bool(((s.probs[i, :size] - probs).abs() < error).all())
    assert s.mean.shape == (3, 5, 1)


@pytest.mark.parametrize("name", MODELS)
def test_joint_draws(name):
    """sample(n) gives whole paths whose moments are the record's; one seed gives one set."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model)
    s = smoothed(model, y, u, lengths, "ffbs")
    before = torch.get_rng_state()
    draws = s.sample(400, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    again = s.sample(400, seed=1)
    for a, b in zip(leaves(draws), leaves(again), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())
    first = next(leaves(draws))
    assert first.shape[:3] == (400, 3, 5)
    if s.mean is not None:
        x = draws.x if name == "switch" else draws
        std = s.cov.diagonal(dim1=-2, dim2=-1).sqrt()
        gap = (x.mean(0) - s.mean).abs() / std
        assert float(gap[~gap.isnan()].max()) < 5 / math.sqrt(150)


def test_padding_rows_are_nan_and_draw_nothing():
    """Trailing rows that are all padding change no number."""
    model = MODELS["plain"]()
    y, u, lengths = ragged_case(model)
    short = smoothed(model, y, u, lengths, "ffbs")
    more = torch.cat([y, torch.zeros(3, 2, 2, dtype=F64)], 1)
    u_more = torch.cat([u, torch.zeros(3, 2, 1, dtype=F64)], 1)
    padded = smoothed(model, more, u_more, lengths, "ffbs")
    assert padded.mean.shape == (3, 7, 2)
    assert_close(padded.mean[:, :5], short.mean, equal_nan=True, rtol=1e-12, atol=1e-12)
    assert bool(padded.mean[:, 5:].isnan().all())


def test_smoothing_continues_from_a_state():
    """With state=, what is smoothed are the rows asked for, given what the state knew."""
    model = MODELS["plain"]()
    y, u, _ = ragged_case(model)
    first = model.filter(y[:, :2], u[:, :2], method=ParticleFilter(800), seed=0)
    rest = model.smooth(y[:, 2:], u[:, 2:], state=first.state)
    whole = smoothed(model, y, u, None, "ffbs")
    std = whole.cov.diagonal(dim1=-2, dim2=-1).sqrt()[:, 2:]
    gap = (rest.mean - whole.mean[:, 2:]).abs() / std
    assert float(gap.max()) < 5 * math.sqrt(2 / TRUSTED)
    assert tmap(lambda x: x.shape, rest.sample(3, seed=0)) == (3, 3, 3, 2)
