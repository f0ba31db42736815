"""Start values of `NoisyRNN`: from the data, in their scale; what is held or given stays."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import statespace as ss
from statespace.activations import ACTIVATIONS, activation
from statespace.interface.question import Question, read
from statespace.models.noisy_rnn.start.point import working_point

F64 = torch.float64
SIGMOIDS = ("tanh", "sigmoid")


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def series(*batch: int, T: int = 80, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A noisy turn of two states, pushed by inputs: y (*batch, T, 2) about 5, u (*batch, T, 1)."""
    turn = 0.9 * torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=F64)
    u, e, v = draws(*batch, T, 1, seed=seed), draws(*batch, T, 2), draws(*batch, T, 2, seed=9)
    z, rows = torch.zeros(*batch, 2, dtype=F64), []
    for t in range(T):
        z = z @ turn.mT + 0.3 * u[..., t, :] + 0.3 * e[..., t, :]
        rows.append(z)
    return 5.0 + torch.stack(rows, -2) + 0.2 * v, u


def started(rnn: Any, y: torch.Tensor, u: Any = None) -> Any:
    data = read(rnn, y, u, Question())
    rnn.start_values(data, torch.Generator().manual_seed(0))
    return rnn


def smoothed_inside(rnn: Any, y: torch.Tensor, u: Any = None) -> torch.Tensor:
    """What stands inside g at the smoothed states."""
    z = rnn.smooth(y, u).mean
    push = 0.0 if u is None else u[..., 1:, :] @ rnn.W.mT
    return z[..., :-1, :] @ rnn.A.mT + push + rnn.b


@pytest.mark.parametrize("g", [*ACTIVATIONS, swish])
def test_a_start_is_near_the_linear_optimum(g: Any) -> None:
    """Its score is close to that of the fitted LDS, whatever the activation, in raw units."""
    y, u = series()
    y = 1e3 * y
    best = ss.LDS(2, 2, 1).fit(y, u, seed=0).log_likelihood
    rnn = started(ss.NoisyRNN(2, 2, 1, activation=g), y, u)
    found = float(rnn.log_likelihood(y, u).detach())
    assert found > best - 0.1 * y.numel()


@pytest.mark.parametrize("g", [*ACTIVATIONS, swish])
def test_states_are_where_the_activation_works(g: Any) -> None:
    """In raw units nothing saturates and nothing dies: the slope of g along the path."""
    y, u = series()
    rnn = started(ss.NoisyRNN(2, 2, 1, activation=g), 1e4 * y, u)
    inside = smoothed_inside(rnn, 1e4 * y, u)
    slope = activation(g).slope(inside.detach()).detach()
    point = working_point(activation(g))
    assert float(slope.abs().mean()) > 0.7 * abs(point.slope)
    spread = (rnn.smooth(1e4 * y, u).mean.std(-2) / abs(point.slope * point.spread)).detach()
    assert bool(((spread > 0.5) & (spread < 1.2)).all())


def test_where_noise_is_small_states_start_where_the_activation_is_straight() -> None:
    """A driven oscillator all but without noise: in wide states the bend would cost many nats."""
    u, v = draws(300, 1), draws(300, 1, seed=1)
    z, rows = torch.zeros(2, dtype=F64), []
    turn = 0.97 * torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=F64)
    for t in range(300):
        z = turn @ z + 0.3 * u[t]
        rows.append(z)
    y = torch.stack(rows)[:, :1] + 1e-2 * v
    best = ss.LDS(2, 1, 1).fit(y, u, seed=0).log_likelihood
    rnn = started(ss.NoisyRNN(2, 1, 1), y, u)
    assert float(rnn.log_likelihood(y, u).detach()) > best - 0.8 * len(y)
    spread = rnn.smooth(y, u).mean.std(-2).detach()
    assert float(spread.max()) < 0.5 * working_point(rnn.activation).spread


@pytest.mark.parametrize("c", [1e-3, 1e3])
@pytest.mark.parametrize("family", ["gaussian", "student_t"])
def test_the_start_follows_the_units_of_y(c: float, family: str) -> None:
    """C, D, d and the root of R are in units of y; A, W, b, Q and the start have none."""
    y, u = series()
    one = started(ss.NoisyRNN(2, 2, 1, family=family), y, u)
    two = started(ss.NoisyRNN(2, 2, 1, family=family), c * y, u)
    powers = {"C": 1, "D": 1, "d": 1, "R": 2}
    for name in one.slots:
        left, right = one.slot(name).value(), two.slot(name).value() / c ** powers.get(name, 0)
        size = float(left.detach().abs().max())
        assert_close(left, right, rtol=0, atol=1e-5 * size, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("k", [1e-3, 1e3])
def test_the_start_follows_the_units_of_u(k: float) -> None:
    """W and D are in units of 1 / u."""
    y, u = series()
    one = started(ss.NoisyRNN(2, 2, 1), y, u)
    two = started(ss.NoisyRNN(2, 2, 1), y, k * u)
    for name in one.slots:
        left, right = one.slot(name).value(), two.slot(name).value() * (k if name in "WD" else 1)
        assert_close(left, right, rtol=0, atol=1e-5 * float(left.detach().abs().max()))


@pytest.mark.parametrize("c", [1e-3, 1e3])
def test_a_short_fit_follows_the_units_of_y(c: float) -> None:
    """The log-likelihood changes by -log c for each value, and by nothing else."""
    y, _ = series(T=40)
    ends = [
        ss.NoisyRNN(2, 2).fit(x, learner=ss.Gradient(15, lr=0.02), seed=0).log_likelihood
        for x in (y, c * y)
    ]
    assert abs(ends[1] - ends[0] + y.numel() * math.log(c)) < 1e-3
    start = started(ss.NoisyRNN(2, 2), y).log_likelihood(y)
    assert ends[0] > float(start.detach()) + 0.5


@pytest.mark.parametrize("family", ["bernoulli", "poisson", "categorical"])
def test_other_families_start_from_a_working_response(family: str) -> None:
    """Better than a constant rate, whose log-likelihood is known; C is not zero."""
    x = series(T=200)[0][:, :1] - 5.0
    x = x / x.std()
    y = {
        "bernoulli": (x > 0).double(),
        "poisson": torch.poisson(torch.exp(1.0 + x), generator=torch.Generator().manual_seed(0)),
        "categorical": (x > -0.5).long() + (x > 0.5).long(),
    }[family]
    kwargs = {"num_categories": 3} if family == "categorical" else {}
    rnn = started(ss.NoisyRNN(2, 1, family=family, **kwargs), y)
    if family == "poisson":
        rate = y.mean()
        flat = (y * rate.log() - rate - (y + 1).lgamma()).sum()
    else:
        shares = torch.bincount(y.long().flatten()).double() / len(y)
        flat = shares[y.long()].log().sum()
    found = rnn.log_likelihood(y, method=ss.ParticleFilter(500), seed=0)
    assert float(found.detach()) > float(flat) + 10


def test_many_series_one_model_each_and_gaps() -> None:
    """Ragged series with gaps share a start; a batch of models has one each."""
    y, u = series(3)
    y[0, 3, 0] = y[1, 10:20] = math.nan
    shared = started(ss.NoisyRNN(2, 2, 1), y, u)
    assert shared.batch_shape == ()
    assert torch.isfinite(shared.log_likelihood(y, u)).all()
    own = started(ss.NoisyRNN(2, 2, 1, d=ss.Param(torch.zeros(3, 2))), y, u)
    assert own.batch_shape == (3,)
    assert own.A.shape == (3, 2, 2)
    assert torch.isfinite(own.log_likelihood(y, u)).all()


GIVEN: dict[str, dict[str, Any]] = {
    "A": {"A": 0.8 * torch.eye(2)},
    "A held, Q none": {"A": ss.Fixed(0.8 * torch.eye(2)), "Q": ss.Fixed(torch.zeros(2, 2))},
    "A tied": {"A": ss.Param(labels=[[1, 2], [-2, 1]])},
    "A triangular": {"A": ss.Param(free=[[True, False], [True, True]])},
    "b": {"b": [0.3, -0.3]},
    "C": {"C": torch.eye(2), "d": ss.Param()},
    "C and d": {"C": torch.eye(2), "d": [5.0, 5.0]},
    "W": {"W": [[0.1], [0.0]]},
    "Q": {"Q": 0.1 * torch.eye(2)},
    "Q scalar": {"Q": ss.Param(structure="scalar")},
    "R": {"R": ss.Fixed(0.04 * torch.eye(2))},
    "start": {"initial_mean": torch.zeros(2), "initial_cov": torch.zeros(2, 2)},
    "A varying": {"A": ss.Varying(ss.Param(0.8 * torch.eye(2).expand(80, 2, 2)))},
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_given_stays(name: str) -> None:
    """The rest is found around it; the likelihood is finite and better than no model's."""
    y, u = series()
    rnn = started(ss.NoisyRNN(2, 2, 1, **GIVEN[name]), y, u)
    for key, value in GIVEN[name].items():
        if isinstance(value, ss.Param):
            continue
        while isinstance(value, ss.Fixed | ss.Varying | ss.Param):
            value = value.value
        assert_close(rnn.slot(key).value(), torch.as_tensor(value, dtype=F64))
    assert rnn.ready
    spread = y.std(0)
    flat = torch.distributions.Normal(y.mean(0), spread).log_prob(y).sum()
    assert float(rnn.log_likelihood(y, u).detach()) > float(flat) - 0.2 * y.numel()


def test_one_series_does_not_tell_the_spread_of_its_start() -> None:
    """The moments of z_1 are held in such a fit, and the result says so; with many they move."""
    y, u = series(6, T=20)
    one = ss.NoisyRNN(2, 2, 1)
    fit = one.fit(y[0], u[0], learner=ss.Gradient(1), seed=0)
    assert "initial_mean, initial_cov" in fit.reason
    assert one.slot("initial_cov").theta.requires_grad
    many = ss.NoisyRNN(2, 2, 1).fit(y, u, learner=ss.Gradient(1), seed=0)
    assert "initial" not in many.reason


def test_a_fit_that_has_a_seed_repeats() -> None:
    """More states than the data suggest: what is drawn for them comes from the seed."""
    y, u = series(T=30)
    one, two = (
        ss.NoisyRNN(6, 2, 1).fit(y, u, learner=ss.Gradient(1), seed=3).log_likelihood
        for _ in range(2)
    )
    assert one == two


def test_float32_starts_in_float32() -> None:
    """The linear system is fitted in double precision and written in single."""
    y, u = series()
    rnn = started(ss.NoisyRNN(2, 2, 1, dtype=torch.float32), y.float(), u.float())
    assert all(slot.value().dtype == torch.float32 for _, slot in rnn._slots())
    assert torch.isfinite(rnn.log_likelihood(y.float(), u.float()))
