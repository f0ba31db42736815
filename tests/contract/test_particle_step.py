"""The particle step in use: one seed one answer, step by step, forecasts, ends, refusals."""

import math
from dataclasses import replace

import pytest
import torch
from contract.stand_ins import Acausal, Causal
from contract.tiny import (
    F64,
    MODELS,
    Defaults,
    Plain,
    Recurrent,
    gaussian,
    inputs,
    normal,
    ragged_case,
    values,
)
from torch import nn
from torch.testing import assert_close

from statespace.errors import InputError, MethodError, NumericalError
from statespace.inference import ParticleFilter
from statespace.interface import Real, StateSpaceModel
from statespace.shapes import join, leaves


@pytest.mark.parametrize("name", MODELS)
def test_one_seed_gives_one_answer(name):
    """Same seed, same numbers; another seed, others; torch's own generator is not touched."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model)
    before = torch.get_rng_state()
    one, two, other = (
        model.filter(y, u, lengths=lengths, seed=seed).log_likelihood for seed in (5, 5, 6)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", MODELS)
def test_step_by_step_is_all_at_once(name):
    """start and step give the numbers of filter, to the bit, and the same state."""
    model = MODELS[name]()
    y, u, _ = ragged_case(model)
    whole = model.filter(y, u, seed=4)
    state = model.start((3,), seed=4)
    increments = []
    for t in range(5):
        old = [x.clone() for x in leaves(state)]
        state, info = model.step(state, y[:, t], u[:, t])
        again, _ = model.step(state, None, u[:, t])  # a future that is tried and thrown away
        assert again.t == t + 2
        assert len(old) > 0
        increments.append(info.increment)
    assert torch.equal(torch.stack(increments, -1), whole.increments)
    assert state.t == whole.state.t == 5
    for a, b in zip(leaves(state), leaves(whole.state), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_whole_is_first_part_then_the_rest(name):
    """filter continues from state=, to the bit; log_likelihood adds up."""
    model = MODELS[name]()
    y, u, _ = ragged_case(model)
    whole = model.filter(y, u, seed=4)
    first = model.filter(y[:, :3], u[:, :3], seed=4)
    rest = model.filter(y[:, 3:], u[:, 3:], state=first.state)
    assert torch.equal(torch.cat([first.increments, rest.increments], -1), whole.increments)
    with torch.no_grad():
        later = model.log_likelihood(y[:, 3:], u[:, 3:], state=first.state)
    assert_close(first.log_likelihood + later, whole.log_likelihood)


@pytest.mark.parametrize("name", MODELS)
def test_padding_draws_no_random_numbers(name):
    """Rows beyond every end change nothing, the state's random numbers included."""
    model = MODELS[name]()
    y, u, _ = ragged_case(model)
    plain = model.filter(y, u, seed=4)
    more = torch.full((3, 2, y.shape[-1]), 1e300, dtype=F64)
    padded = model.filter(
        torch.cat([y, more], 1),
        torch.cat([u, torch.zeros(3, 2, 1, dtype=F64)], 1),
        lengths=torch.tensor([5, 5, 5]),
        seed=4,
    )
    assert torch.equal(padded.log_likelihood, plain.log_likelihood)
    assert torch.equal(padded.state.generator.get_state(), plain.state.generator.get_state())


@pytest.mark.parametrize("name", MODELS)
def test_a_series_that_ended_stands_still(name):
    """In a ragged batch the state of a short series is the one at its own end."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model)
    found = model.filter(y, u, lengths=lengths, seed=4)
    cut = model.filter(y[:, :3], u[:, :3], seed=4)  # the third series ends here
    kept, there = found.state.belief, cut.state.belief
    assert torch.equal(kept.log_weights[:, 2], there.log_weights[:, 2])
    assert torch.equal(kept.mean[2], there.mean[2])
    assert bool(torch.isnan(found.increments[2, 3:]).all())


@pytest.mark.parametrize("name", MODELS)
def test_a_series_that_ended_has_the_gradient_of_its_end(name):
    """Rows that only the others have add nothing to it, not even noise."""
    model = MODELS[name]()
    y, u, lengths = ragged_case(model)
    long = model.log_likelihood(y, u, lengths=lengths, seed=4)[2]
    cut = model.log_likelihood(y[:, :3], u[:, :3], seed=4)[2]
    found, wanted = (
        torch.autograd.grad(x, list(model.parameters()), allow_unused=True) for x in (long, cut)
    )
    assert torch.equal(long, cut)
    for a, b in zip(found, wanted, strict=True):
        if a is not None and b is not None:
            assert_close(a, b, rtol=1e-12, atol=1e-12)
        else:
            assert a is None or float(a.abs().max()) == 0.0


@pytest.mark.parametrize("name", MODELS)
def test_a_forecast_is_filtering_unobserved_rows(name):
    """The same state moments within 5 standard errors of 4000 particles, three rows ahead.

    For horizon 1 they are the same to rounding: the same draws, the same weights.
    """
    model = MODELS[name]()
    y, u, _ = ragged_case(model)
    ahead = inputs(3, 3, seed=9)
    method = ParticleFilter(4000, threshold=0.0)
    state = model.filter(y, u, seed=4, method=method).state
    blank = torch.full((3, 3, model.obs_dim), torch.nan, dtype=F64)
    walked = model.filter(blank, ahead, state=state)
    fc = model.forecast(horizon=3, inputs=ahead, state=state)
    one = model.forecast(horizon=1, inputs=ahead[:, :1], state=state)
    size = 1 / (2 * walked.state.belief.log_weights).logsumexp(0).exp()  # effective
    error = (1 / size).sqrt()[:, None, None]
    if fc.z_mean is not None:
        scale = walked.cov.diagonal(dim1=-2, dim2=-1).sqrt()
        assert bool(((fc.z_mean - walked.mean).abs() < 5 * math.sqrt(2) * error * scale).all())
        assert_close(one.z_mean[:, 0], walked.mean[:, 0])
    if fc.z_probs is not None:
        assert bool(((fc.z_probs - walked.probs).abs() < 5 * math.sqrt(0.5) * error).all())
    y_scale = walked.y_cov.diagonal(dim1=-2, dim2=-1).sqrt()
    assert bool(((fc.mean - walked.y_mean).abs() < 5 * math.sqrt(2) * error * y_scale).all())
    assert_close(one.mean[:, 0], walked.y_mean[:, 0])
    assert walked.increments.abs().max() < 1e-12
    assert fc.samples.shape == (4000, 3, 3, model.obs_dim)  # equal draws of unequal particles
    assert bool(((fc.samples.mean(0) - fc.mean).abs() < 5 * error * y_scale).all())


def test_forecast_from_y_and_from_its_state():
    """Both go on from the same particles; num_samples says how many run on."""
    model = Recurrent()
    y, u, _ = ragged_case(model)
    future = inputs(3, 2, seed=9)
    from_y = model.forecast(y, horizon=2, inputs=torch.cat([u, future], 1), seed=4)
    state = model.filter(y, u, seed=4).state
    from_state = model.forecast(horizon=2, inputs=future, state=state)
    assert_close(from_y.mean, from_state.mean)
    fewer = model.forecast(horizon=2, inputs=future, state=state, num_samples=7)
    assert fewer.samples.shape[0] == 7
    assert from_y.kind == "estimate"
    with pytest.raises(InputError, match="horizon"):
        model.forecast(y, horizon=0, inputs=u)


def test_equal_draws_of_unequal_particles():
    """Where half of the particles weigh nothing, samples and draws come from the other half."""
    model = Plain()
    with torch.no_grad():
        model.A.copy_(torch.eye(2))
    y, u, _ = ragged_case(model)
    state = model.filter(y, u, seed=4, method=ParticleFilter(4000)).state
    x = state.belief.z[..., 0]
    heavy = torch.where(x > x.mean(0), 0.0, -torch.inf).to(F64).log_softmax(0)
    half = replace(state, belief=replace(state.belief, log_weights=heavy))
    ahead = inputs(3, 1, seed=9)
    fc = model.forecast(horizon=1, inputs=ahead, state=half)
    other = model.forecast(horizon=1, inputs=ahead, state=state)
    allowed = 5 * fc.stddev * math.sqrt(2 / 2000)
    assert bool(((fc.samples.mean(0) - fc.mean).abs() < allowed).all())
    drawn = model.sample(1, 4000, ahead, state=half, seed=0)
    assert bool(((drawn.y.mean(0) - fc.mean).abs() < allowed).all())
    assert not bool(((other.mean - fc.mean).abs() < allowed).all())


def test_what_may_follow_a_state():
    """sample(state=) starts from its belief: the mean of many draws is the forecast's."""
    model = Recurrent()
    y, u, _ = ragged_case(model)
    future = inputs(3, 2, seed=9)
    state = model.filter(y, u, seed=4, method=ParticleFilter(2000)).state
    draws = model.sample(2, 5000, future, state=state, seed=1)
    fc = model.forecast(horizon=2, inputs=future, state=state)
    assert draws.y.shape == (5000, 3, 2, 2)
    error = 5 * fc.stddev * math.sqrt(1 / 5000 + 1 / 500)
    assert bool(((draws.y.mean(0) - fc.mean).abs() < error).all())


class Clock(Plain):
    """y_t tells the time: its mean is ctx.t."""

    def emission(self, z, ctx):
        t = ctx.t.to(F64)[..., None].expand(*z.shape[:-1], 1)
        return gaussian(torch.cat([t, -t], -1), 1e-3 * torch.eye(2, dtype=F64))


def test_rows_are_counted_from_zero_and_run_on():
    """In filters, forecasts, draws, draws after a state, steps and joints."""
    model = Clock()
    u = inputs(9)
    drawn = model.sample(9, inputs=u, seed=0)
    rows = torch.arange(9, dtype=F64)
    assert float((drawn.y[:, 0] - rows).abs().max()) < 1e-2
    f = model.filter(drawn.y[:6], u[:6], seed=0)
    assert_close(f.y_mean[:, 0], rows[:6])
    assert f.state.t == 6
    assert_close(model.forecast(horizon=3, inputs=u[6:], state=f.state).mean[:, 0], rows[6:])
    assert_close(model.forecast(drawn.y[:6], horizon=3, inputs=u, seed=0).mean[:, 1], -rows[6:])
    later = model.sample(3, inputs=u[6:], state=f.state)
    assert float((later.y[:, 0] - rows[6:]).abs().max()) < 1e-2
    _, info = model.step(f.state, None, u[6])
    assert_close(info.y_mean[0], rows[6])
    on = model.filter(drawn.y[6:], u[6:], state=f.state)
    assert_close(on.y_mean[:, 0], rows[6:])
    with torch.no_grad():
        assert float(model.log_joint(drawn.z, drawn.y, u)) > 20.0


class Tokens(Defaults, StateSpaceModel):
    """No latent state: y_t hangs on what the memory has read."""

    reads = frozenset({"y", "u"})

    def __init__(self):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(0), 2, 1
        self.path = Recurrent().path
        self.read_in = values(4, 3, seed=81)
        self.out = values(2, 2, seed=82)

    def feed(self, z, y, ctx):
        return join(y, ctx.u) @ self.read_in.mT

    def initial(self, ctx):
        return normal(ctx.h[..., :0], ctx.h[..., :0])

    def transition(self, z, ctx):
        return self.initial(ctx)

    def emission(self, z, ctx):
        return normal(ctx.h @ self.out.mT, torch.full((2,), 0.5, dtype=F64))


def test_without_latent_state_the_answer_is_exact():
    """Teacher forcing: the likelihood is the joint, its kind says so, and a gap changes it."""
    model = Tokens()
    u = inputs(3, 5)
    y = model.sample(5, inputs=u, seed=0).y
    score = model.score(y, u, method=ParticleFilter(1))
    assert score.kind == "exact"
    assert math.isnan(score.stderr)
    with torch.no_grad():
        joint = model.log_joint(torch.zeros(3, 5, 0, dtype=F64), y, u)
        assert_close(model.log_likelihood(y, u, method=ParticleFilter(1)), joint)
    holes = y.clone()
    holes[1, 2] = torch.nan
    assert model.score(holes, u, seed=0).kind == "estimate"


def test_a_series_that_cannot_be_is_minus_infinity_and_poisons_nobody():
    """All weights zero: -inf for that series, the usual number for the others."""

    class Fenced(Plain):
        def emission(self, z, ctx):
            low = torch.full((*z.shape[:-1], 2), -1e3, dtype=F64)
            return torch.distributions.Independent(
                torch.distributions.Uniform(low, -low, validate_args=False), 1
            )

    model = Fenced()
    y, u, _ = ragged_case(model, missing=False)
    y = y.clone()
    y[1, 2] = 1e4
    found = model.filter(y, u, seed=0)
    assert found.log_likelihood.isinf().tolist() == [False, True, False]
    assert bool(torch.isfinite(found.mean).all())


def test_nan_weights_name_the_series_and_the_step():
    """A density that gives NaN is an error, not an answer."""

    class Broken(Plain):
        def emission(self, z, ctx):
            bad = torch.tensor([1.0, torch.nan, 1.0])[:, None]
            scale = bad if int(ctx.t) == 2 else torch.ones(3, 1)
            return normal(z, scale.to(F64).expand(z.shape))

    model = Broken()
    y, u, _ = ragged_case(Plain(), missing=False)
    with pytest.raises(NumericalError, match="series 1, row 2"):
        model.filter(y, u, seed=0)


def test_refusals():
    """A filter never looks ahead; what cannot propose says so; settings are checked."""
    model = Plain()
    y, u, _ = ragged_case(model)
    with pytest.raises(MethodError, match="never looks ahead"):
        model.filter(y, u, method=ParticleFilter(10, Acausal(2, 2)))
    with pytest.raises(MethodError, match="never looks ahead"):
        model.start((3,), method=ParticleFilter(10, Acausal(2, 2)))
    with pytest.raises(MethodError, match="proposes no states"):
        model.filter(y, u, method=ParticleFilter(10, ParticleFilter(10)))
    switch = MODELS["switch"]()
    with pytest.raises(MethodError, match="vector or finite"):
        switch.filter(
            switch.sample(4, inputs=u[:, :4], seed=0).y,
            u[:, :4],
            method=ParticleFilter(10, "auxiliary"),
        )
    for wrong, word in (
        ({"num_particles": 0}, "num_particles"),
        ({"resampling": "random"}, "resampling"),
        ({"threshold": 1.5}, "threshold"),
        ({"smoother": "rts"}, "smoother"),
        ({"proposal": "optimal"}, "proposal"),
    ):
        with pytest.raises(InputError, match=word):
            ParticleFilter(**wrong)


def test_one_row_by_itself_may_be_guided():
    """A causal guide proposes online too, encoding the row that arrives."""
    model = Plain()
    y, u, _ = ragged_case(model)
    method = ParticleFilter(50, Causal(2, 2))
    whole = model.filter(y, u, method=method, seed=4)
    state = model.start((3,), method=method, seed=4)
    total = 0.0
    for t in range(5):
        state, info = model.step(state, y[:, t], u[:, t])
        total = total + info.increment
    assert_close(total, whole.log_likelihood)


def test_parameters_do_not_move():
    """Asking changes nothing in the model."""
    model = Recurrent()
    y, u, _ = ragged_case(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.filter(y, u)
    model.smooth(y, u)
    model.score(y, u)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert isinstance(model.path.W, nn.Parameter)
