"""The particle step: right for every model, whatever the memory reads and whatever is missing.

Sampled numbers are compared with exact ones. Each such comparison is a z-score of independent
runs and allows |z| < 5: a right filter fails one with probability 6e-7, all of them here together
with less than 1e-4; seeds are fixed, so that what passes once passes always.
"""

import math
from dataclasses import replace

import pytest
import torch
from contract import oracle
from contract.stand_ins import Causal
from contract.tiny import (
    F64,
    MODELS,
    READ_Y,
    Plain,
    gaussian,
    ragged_case,
)
from torch.testing import assert_close

from statespace.inference import ParticleFilter
from statespace.inference.particle.select import outlook
from statespace.interface import Method, Row, seeded
from statespace.interface.question import Question, read

RUNS = 400


def linear(name):
    """The model, with a linear memory where it has one, so that exact answers exist."""
    return MODELS[name](linear=True) if name in READ_Y else MODELS[name]()


def exact(name, model, y, u, lengths):
    with torch.no_grad():
        each = [
            oracle.log_p(name, model, *pair) for pair in zip(y, u, lengths.tolist(), strict=True)
        ]
    return torch.stack(each)


def z_scores(model, y, u, lengths, truth, method, seed=0):
    """Of the mean of p-hat(y) / p(y) over independent runs, for each series."""
    many = [x.expand(RUNS, *x.shape) for x in (y, u, lengths)]
    with torch.no_grad():
        found = model.log_likelihood(many[0], many[1], lengths=many[2], method=method, seed=seed)
    ratio = (found - truth).exp()
    return (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(RUNS))


METHODS = {
    "never": ParticleFilter(100, threshold=0.0),
    "adaptive": ParticleFilter(100),
    "always": ParticleFilter(100, threshold=1.0, resampling="multinomial"),
    "residual": ParticleFilter(100, threshold=0.8, resampling="residual"),
    "stratified": ParticleFilter(100, threshold=0.8, resampling="stratified"),
}


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_the_likelihood_is_unbiased(name, how):
    """E[p-hat(y)] = p(y), ragged, with inputs, partial rows, and a missing y that feeds."""
    model = linear(name)
    y, u, lengths = ragged_case(model)
    truth = exact(name, model, y, u, lengths)
    assert float(z_scores(model, y, u, lengths, truth, METHODS[how]).abs().max()) < 5


@pytest.mark.parametrize("name", ["discrete", "recurrent", "global"])
def test_a_look_ahead_keeps_it_unbiased(name):
    """The auxiliary filter selects by what a particle promises, and weighs that off again."""
    model = linear(name)
    y, u, lengths = ragged_case(model)
    truth = exact(name, model, y, u, lengths)
    method = ParticleFilter(100, "auxiliary")
    assert float(z_scores(model, y, u, lengths, truth, method).abs().max()) < 5


class Optimal(Method):
    """p(z_t | z_{t-1}, y_t) of the plain model, complete rows."""

    serves = Plain

    def kind(self, model, data, state=None):
        return "exact"

    def log_likelihood(self, model, data, generator, state=None):
        raise NotImplementedError

    smooth = log_likelihood

    def propose(self, model, z, ctx, row, prior):
        q, r = model.root_q @ model.root_q.mT, model.root_r @ model.root_r.mT
        c = model.C * row.observed[..., None]
        s = c @ q @ c.mT + torch.where(
            row.observed[..., None] & row.observed[..., None, :], r, torch.eye(2, dtype=F64)
        )
        gain = torch.linalg.solve(s, c @ q).mT
        gap = torch.where(row.observed, row.y - prior.mean @ model.C.mT - ctx.u @ model.D.mT, 0.0)
        mean = prior.mean + (gain @ gap[..., None])[..., 0]
        return gaussian(mean, torch.linalg.cholesky(q - gain @ c @ q))


@pytest.mark.parametrize("name", ["plain", "recurrent", "global"])
def test_a_causal_guide_keeps_it_unbiased(name):
    """A guide moves the proposal, not the answer."""
    model = linear(name)
    y, u, lengths = ragged_case(model)
    truth = exact(name, model, y, u, lengths)
    with torch.no_grad():
        method = ParticleFilter(100, Causal(model.obs_dim, model.latent.size))
        assert float(z_scores(model, y, u, lengths, truth, method).abs().max()) < 5


def test_a_method_that_proposes_keeps_it_unbiased_and_helps():
    """The locally optimal proposal gives the same mean and less variance."""
    model = Plain()
    y, u, lengths = ragged_case(model)
    truth = exact("plain", model, y, u, lengths)
    best, plain = ParticleFilter(100, Optimal()), ParticleFilter(100)
    assert float(z_scores(model, y, u, lengths, truth, best).abs().max()) < 5
    many, more = y.expand(RUNS, 3, 5, 2), u.expand(RUNS, 3, 5, 1)
    spread = [
        model.log_likelihood(many, more, method=m, seed=1).std(0).mean() for m in (best, plain)
    ]
    assert float(spread[0].detach()) < 0.7 * float(spread[1].detach())


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_the_score(name):
    """The mean gradient of 25 runs of 400 particles is d log p(y), missing y and all.

    Allowed: 5 standard errors and 0.1 for the bias, which is of order 1 / 400.
    """
    model = linear(name)
    y, u, lengths = ragged_case(model)
    named = list(model.named_parameters())
    truth = sum(oracle.log_p(name, model, y[i], u[i], int(lengths[i])) for i in range(3))
    truth = torch.autograd.grad(truth, [p for _, p in named], allow_unused=True)
    method = ParticleFilter(400, threshold=0.7)
    runs = []
    for seed in range(25):
        found = model.log_likelihood(y, u, lengths=lengths, method=method, seed=seed).sum()
        runs.append(torch.autograd.grad(found, [p for _, p in named], allow_unused=True))
    for i, (word, _) in enumerate(named):
        if truth[i] is None:
            continue
        wanted = truth[i].tril() if word.startswith("root") else truth[i]
        each = torch.stack([run[i] for run in runs])
        gap = (each.mean(0) - wanted).abs()
        assert bool((gap < 0.1 + 5 * each.std(0) / math.sqrt(25)).all()), (word, gap)


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_finite(name):
    """Through padding, NaN and resampling."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model)
    model.log_likelihood(y, u, lengths=lengths, method=ParticleFilter(20), seed=0).sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(bool(torch.isfinite(g).all()) for g in grads)


def test_the_outlook_of_a_finite_state_is_exact():
    """What a particle promises is p(y_t | k_{t-1}), summed over k_t."""
    model = linear("discrete")
    y, u, _ = ragged_case(model, missing=False)
    method = ParticleFilter(3)
    state = model.start((3,), method=method, seed=0)
    state, _ = model.step(state, y[:, 0], u[:, 0])
    k = torch.arange(3)[:, None].expand(3, 3)  # one particle for each value
    state = replace(state, belief=replace(state.belief, z=k))
    row = Row(y[:, 2], torch.ones(3, 2) > 0, torch.ones(3) > 0, u[:, 2])
    with torch.no_grad():
        found = outlook(model, state, (), u[:, 2, :0], row)
        moves = (model.W[:, None] + u[:, 2] @ model.U.mT).log_softmax(-1)  # (k, batch, next)
        each = torch.distributions.Normal(model.centres[:, None], 0.8).log_prob(y[:, 2]).sum(-1)
    assert_close(found[:, 0], (moves[:, 0] + each[:, 0]).logsumexp(-1))


def test_score_says_what_it_is():
    """A mean of independent runs with its standard error, in the units of the data."""
    model = Plain()
    y, u, lengths = ragged_case(model)
    method = ParticleFilter(500)
    score = model.score(y, u, lengths=lengths, method=method, seed=3)
    truth = float(exact("plain", model, y, u, lengths).sum())
    assert score.kind == "estimate"
    assert score.num_samples == 500
    assert score.seed == 3
    assert score.n_steps == 11
    assert score.n_values == 21
    assert abs(score.value - truth) < 8 * score.stderr + 0.05
    assert model.score(y, u, lengths=lengths, method=method, seed=3).value == score.value
    data = read(model, y, u, Question(lengths=lengths))
    with torch.no_grad():
        generator, _ = seeded(3, "cpu")
        runs = [method.log_likelihood(model, data, generator).sum() for _ in range(method.repeats)]
    runs = torch.stack(runs)
    assert_close(score.value, float(runs.mean()))
    assert_close(score.stderr, float(runs.std()) / math.sqrt(len(runs)))


@pytest.mark.parametrize("name", oracle.LINEAR)
def test_filtered_moments_are_those_of_the_dense_gaussian(name):
    """Given y up to t, given y before t, and y one step ahead; the rows of one series in 20 runs.

    Means of the runs within 5 of their standard errors, and 0.02 for the bias of 1000 particles.
    """
    model = linear(name)
    y, u, _ = ragged_case(model)
    y, u = y[0], u[0]
    f = model.filter(y.expand(20, 5, 2), u.expand(20, 5, 1), method=ParticleFilter(1000), seed=0)
    with torch.no_grad():
        zs, ys = oracle.LINEAR[name](model, u)
        seen = oracle.stack(*ys)
        for t in range(5):
            past, now = y.clone(), y.clone()
            past[t:], now[t + 1 :] = torch.nan, torch.nan
            for line, data, mean, cov in (
                (zs[t], now, f.mean, f.cov),
                (zs[t], past, f.predicted_mean, f.predicted_cov),
                (ys[t], past, f.y_mean, f.y_cov),
            ):
                wanted = oracle.posterior(line, seen, data.flatten())
                for found, truth in zip((mean[:, t], cov[:, t]), wanted, strict=True):
                    error = found.std(0) / math.sqrt(20)
                    assert bool(((found.mean(0) - truth).abs() < 5 * error + 0.02).all()), t
    gap = f.innovations - (y - f.y_mean)
    assert bool((gap.isnan() == y.isnan()).all())
    assert float(gap.nan_to_num().abs().max()) == 0.0
