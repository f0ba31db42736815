"""Marginalise, condition and revert are the conditionals of one dense joint Gaussian."""

from __future__ import annotations

import pytest
import torch

from statespace.gaussian import AffineConditional, Gaussian, condition, marginalise, revert
from statespace.linalg import Covariance


def pair(rank: int = 3, noise: int = 2) -> tuple[Gaussian, AffineConditional]:
    g = torch.Generator().manual_seed(0)

    def r(*s: int) -> torch.Tensor:
        return torch.randn(*s, generator=g, dtype=torch.float64)

    prior = Gaussian(r(4, 3), Covariance.from_root(r(4, 3, rank)))
    return prior, AffineConditional(r(2, 3), r(2), Covariance.from_root(r(2, noise)))


def test_marginalise() -> None:
    """p(y) has mean W m + c and covariance W P W' + R."""
    prior, channel = pair()
    y = marginalise(prior, channel)
    w, p = channel.weight, prior.cov
    assert torch.allclose(y.cov, w @ p @ w.mT + channel.noise.matrix)
    assert torch.allclose(y.mean, prior.mean @ w.mT + channel.bias)


@pytest.mark.parametrize("seen", [[True, True], [True, False], [False, True], [False, False]])
def test_condition(seen: list[bool]) -> None:
    """p(z | y_o) and log p(y_o) are the dense ones, for every pattern of what is seen."""
    prior, channel = pair()
    y = torch.tensor([0.3, -1.2], dtype=torch.float64).expand(4, 2)
    on = torch.tensor(seen)
    ours, log_density = condition(prior, channel, y, on.expand(4, 2))
    joint = marginalise(prior, channel)
    s, e = joint.cov[:, on][:, :, on], (y - joint.mean)[:, on]
    cross = (prior.cov @ channel.weight.mT)[:, :, on]
    gain = torch.linalg.solve(s, cross.mT).mT if any(seen) else cross
    assert torch.allclose(ours.mean, prior.mean + (gain @ e[..., None])[..., 0])
    assert torch.allclose(ours.cov, prior.cov - gain @ cross.mT)
    dense = (
        torch.distributions.MultivariateNormal(joint.mean[:, on], s).log_prob(y[:, on])
        if any(seen)
        else 0.0 * e.sum(-1)
    )
    assert torch.allclose(log_density, dense)


@pytest.mark.parametrize(("rank", "noise"), [(3, 2), (1, 2), (3, 0), (1, 0)])
def test_revert_keeps_the_joint(rank: int, noise: int) -> None:
    """p(y) p(z | y) is p(z) p(y | z), singular covariances too."""
    prior, channel = pair(rank, noise)
    y, back = revert(prior, channel)
    again = marginalise(y, back)
    assert torch.allclose(again.mean, prior.mean)
    assert torch.allclose(again.cov, prior.cov)
    assert torch.allclose(back.weight @ y.cov, prior.cov @ channel.weight.mT)


def test_condition_has_a_gradient() -> None:
    """The log density is differentiable in everything, through the triangularisation."""
    prior, channel = pair()
    weight = channel.weight.clone().requires_grad_()
    moved = AffineConditional(weight, channel.bias, channel.noise)
    y = torch.zeros(4, 2, dtype=torch.float64)
    _, log_density = condition(prior, moved, y)
    joint = marginalise(prior, moved)
    dense = torch.distributions.MultivariateNormal(joint.mean, joint.cov).log_prob(y)
    (ours,) = torch.autograd.grad(log_density.sum(), weight, retain_graph=True)
    (theirs,) = torch.autograd.grad(dense.sum(), weight)
    assert torch.allclose(ours, theirs, rtol=1e-9)
