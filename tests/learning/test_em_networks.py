"""EM for models that are not linear: closed forms where there are some, and how it tells falls."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import statespace as ss
from statespace.interface.question import Question, read

F64 = torch.float64


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def network(**changes: Any) -> ss.NoisyRNN:
    return ss.NoisyRNN(2, 3, 1, **{"seed": 0, "initial": "estimate", **changes})


def case(model: Any, *batch: int, T: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    u = draws(*batch, T, model.input_dim, seed=3)
    return model.sample(T, inputs=u, seed=1).y, u


def steps(model: Any, y: torch.Tensor, u: torch.Tensor, method: Any) -> tuple[Any, Any]:
    """The data behind the door, and what the method smooths."""
    data = read(model, y, u, Question())
    return data, method.smooth(model, data, torch.Generator().manual_seed(0))


def test_the_expected_log_joint_of_a_linear_model_is_the_textbooks() -> None:
    """Quadratic expectations are exact under cubature: sums of traces, written out row by row."""
    rnn = network(activation="identity")
    y, u = case(rnn)
    data, s = steps(rnn, y, u, ss.ExtendedKalman())
    v = {k: rnn.slot(k).value().detach().numpy() for k in rnn.slots}
    mean, cov, cross = (x.numpy() for x in (s.mean, s.cov, s.cross_cov))

    def part(second: Any, noise: Any) -> float:
        k = len(noise)
        size = np.linalg.slogdet(noise)[1] + k * math.log(2 * math.pi)
        return -0.5 * (np.trace(np.linalg.solve(noise, second)) + size)

    e = mean[0] - v["initial_mean"]
    total = part(np.outer(e, e) + cov[0], v["initial_cov"])
    for t in range(len(y)):
        if t:
            e = mean[t] - v["A"] @ mean[t - 1] - v["W"] @ u[t].numpy() - v["b"]
            across = cross[t - 1] @ v["A"].T
            spread = cov[t] - across - across.T + v["A"] @ cov[t - 1] @ v["A"].T
            total += part(np.outer(e, e) + spread, v["Q"])
        e = y[t].numpy() - v["C"] @ mean[t] - v["D"] @ u[t].numpy() - v["d"]
        total += part(np.outer(e, e) + v["C"] @ cov[t] @ v["C"].T, v["R"])
    found = rnn.expected_log_joint(s, data)
    assert_close(float(found.detach()), total, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"output_activation": "softplus"},
        {"Q": ss.Param(structure="diag"), "R": ss.Param(structure="scalar")},
        {
            "activation": "relu",
            "C": ss.Param([[0.7, 0.2], [0.7, -0.4], [1.0, 0.3]], labels=[[1, 0], [1, 0], [0, 2]]),
        },
    ],
)
def test_closed_forms_are_stationary(changes: Any) -> None:
    """After them the gradient of the expected log joint vanishes in what they set, and only there.

    Would catch: a moment of the wrong neighbour, Q divided by T rows, a tie that is not kept.
    """
    rnn = network(**changes)
    y, u = case(rnn, 4)
    data, s = steps(rnn, y, u, ss.ExtendedKalman())
    before = float(rnn.expected_log_joint(s, data).detach())
    for _ in range(30):  # tied entries of C are best given R, and R given them: by turns
        done = rnn.maximise_given_rest(s, data)
    value = rnn.expected_log_joint(s, data)
    assert float(value.detach()) > before
    names = [name for name, slot in rnn._slots() if any(slot.theta is p for p in done)]
    wanted = {"Q", "R", "initial_mean", "initial_cov"}
    if "output_activation" not in changes:
        wanted |= {"C", "D"} if "C" in changes else {"C", "D", "d"}  # d is held beside a given C
    assert set(names) == wanted
    grads = torch.autograd.grad(value, done)
    for name, g in zip(names, grads, strict=True):
        assert float(g.abs().max()) < 1e-7, name
    left = torch.autograd.grad(rnn.expected_log_joint(s, data), rnn.slot("A").theta)[0]
    assert float(left.abs().max()) > 1e-3


def test_gaps_and_ends_do_not_count() -> None:
    """Q and R come from the rows that are there: padding and missing rows change nothing."""
    rnn = network()
    y, u = case(rnn, 2)
    y[0, 3:] = math.nan
    data, s = steps(rnn, y, u, ss.ExtendedKalman())
    rnn.maximise_given_rest(s, data)
    cut = network()
    lengths = torch.tensor([3, 7])
    short = read(cut, torch.where(torch.isnan(y), 0.0, y), u, Question(lengths=lengths))
    cut.maximise_given_rest(ss.ExtendedKalman().smooth(cut, short, torch.Generator()), short)
    assert_close(rnn.R, cut.R)
    assert_close(rnn.C, cut.C)
    assert torch.isfinite(cut.Q).all()


def test_with_identities_it_climbs_as_an_lds_does() -> None:
    """The exact likelihood never falls, and EM ends where the EM of the LDS does."""
    y, _ = case(network(), 6, T=20)
    lds = ss.LDS(1, 3)
    lds.start_values(read(lds, y, None, Question()), torch.Generator().manual_seed(0))
    names = ("A", "C", "d", "Q", "R", "initial_mean", "initial_cov")
    start = {name: ss.Param(lds.slot(name).value().detach()) for name in names}
    rnn = ss.NoisyRNN(1, 3, activation="identity", initial="estimate", **start)
    learner = ss.EM(200, tol=1e-7, polish=False)
    fits = [model.fit(y, learner=learner, seed=0) for model in (lds, rnn)]
    assert fits[1].kind == "exact"
    assert np.diff(fits[1].history).min() > -1e-8 * abs(fits[1].log_likelihood)
    assert fits[1].log_likelihood == pytest.approx(fits[0].log_likelihood, abs=0.05)


@pytest.mark.parametrize(
    "method", [ss.ExtendedKalman(), ss.UnscentedKalman(), ss.ParticleFilter(200)]
)
def test_it_learns_with_every_smoother(method: Any) -> None:
    """The log-likelihood rises a good deal from a random start; the best point is kept."""
    truth = ss.NoisyRNN(2, 3, seed=4, R=0.1 * torch.eye(3))
    y = truth.sample(25, (8,), seed=1).y
    rnn = ss.NoisyRNN(2, 3, seed=1)
    fit = rnn.fit(y, method=method, learner=ss.EM(12, polish=False), seed=0)
    assert fit.log_likelihood > fit.history[0] + 0.1 * y.numel()
    assert fit.log_likelihood == pytest.approx(max(fit.history))
    again = rnn.log_likelihood(y, method=method, seed=0).detach().sum()
    if fit.kind == "approximate":
        assert float(again) == pytest.approx(fit.log_likelihood)


def test_it_says_that_the_bound_fell() -> None:
    """An approximate E-step may lower the likelihood: how often, by how much, and what is kept."""
    truth = ss.NoisyRNN(2, 2, seed=4, A=2.0 * torch.eye(2))
    y = truth.sample(40, seed=1).y
    fit = ss.NoisyRNN(2, 2, seed=1).fit(
        y, method=ss.ParticleFilter(20), learner=ss.EM(30, tol=0.0, polish=False), seed=0
    )
    falls = [-g for g in np.diff(fit.history) if g < 0]
    assert falls
    assert f"fell in {len(falls)} of {len(fit.history) - 1} iterations" in fit.reason
    assert "the highest point is kept" in fit.reason
    assert not fit.converged


def test_polish_follows_where_the_likelihood_is_no_random_number() -> None:
    """The extended filter's likelihood is climbed on; that of particles is left where EM ended."""
    y, u = case(network(), 3)
    near = {"method": ss.ExtendedKalman(), "learner": ss.EM(3)}
    assert "polish" in network().fit(y, u, seed=0, **near).reason
    far = {"method": ss.ParticleFilter(50), "learner": ss.EM(3)}
    assert "polish" not in network().fit(y, u, seed=0, **far).reason


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.2]], dtype=F64))

    def forward(self, z: torch.Tensor, ctx: Any) -> torch.Tensor:
        return torch.tanh(z @ self.weight.mT)


def test_weights_of_a_users_module_are_climbed() -> None:
    """Q and R in closed form, the weight by steps: all three come near the truth."""

    def model(weight: float, q: float, r: float) -> ss.NonlinearGaussian:
        net = Net()
        net.weight.data.fill_(weight)
        return ss.NonlinearGaussian(
            1, 1, g=net, f=lambda z, ctx: z, Q=[[q]], R=[[r]],
            initial_mean=[0.0], initial_cov=[[1.0]],
        )  # fmt: skip

    y = model(2.0, 0.1, 0.02).sample(60, (10,), seed=1).y
    found = model(0.3, 1.0, 1.0)
    fit = found.fit(y, learner=ss.EM(40, tol=1e-5, polish=False), seed=0)
    best = model(2.0, 0.1, 0.02).log_likelihood(y).detach().sum()
    assert fit.log_likelihood > float(best) - 5
    assert float(found.networks["g"].weight.detach()) == pytest.approx(2.0, abs=0.3)
    assert float(found.Q.detach()) == pytest.approx(0.1, abs=0.05)


def test_what_varies_in_time_is_held() -> None:
    """Varying(Param(v)) is learned by gradient and held by EM."""
    rnn = network(A=ss.Varying(ss.Param(0.5 * torch.eye(2).expand(7, 2, 2))))
    y, u = case(rnn, 3)
    rnn.fit(y, u, method=ss.ExtendedKalman(), learner=ss.EM(2, polish=False), seed=0)
    assert_close(rnn.A, 0.5 * torch.eye(2).double().expand(7, 2, 2))
