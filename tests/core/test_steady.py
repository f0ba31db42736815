"""The steady state changes no number: the same system said to vary in time never uses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian import System, forward, log_likelihood, smooth, start
from statespace.inference.lineargaussian.likelihood import total
from statespace.inference.lineargaussian.steady import Steady
from statespace.linalg import Covariance

ROWS = 400


def settled(radius: float, noise: float, diffuse: bool) -> tuple[System, Tensor]:
    g = torch.Generator().manual_seed(0)

    def r(*s: int) -> Tensor:
        return torch.randn(*s, generator=g, dtype=torch.float64)

    a = radius * torch.linalg.qr(r(3, 3))[0]
    flat = torch.tensor([True, False, True]) if diffuse else None
    p = torch.eye(3, dtype=torch.float64) * (1.0 if flat is None else (~flat).double())
    prior = Gaussian(r(3), Covariance.from_matrix(p), flat)
    q = Covariance.from_root(noise * r(3, 2))
    c = Covariance.from_root(r(2, 2))
    return System(a, r(3), q, r(2, 3), r(2), c, prior), r(2, ROWS, 2)


def said_to_vary(system: System) -> System:
    def rows(x: Tensor) -> Tensor:
        return x.expand(ROWS, *x.shape)

    return replace(
        system, A=rows(system.A), Q=system.Q.map(rows), C=rows(system.C), R=system.R.map(rows),
        varies=frozenset("AQCR"),
    )  # fmt: skip


@pytest.mark.parametrize("radius", [0.3, 0.95, 0.9999])
@pytest.mark.parametrize("noise", [1.0, 1e-3])
@pytest.mark.parametrize("diffuse", [False, True])
@pytest.mark.parametrize("gap", [False, True])
def test_same_numbers(radius: float, noise: float, diffuse: bool, gap: bool) -> None:
    """Likelihood to 1e-13, smoothed moments and gradients to 1e-10, with a gap that ends it too."""
    system, y = settled(radius, noise, diffuse)
    seen = torch.ones(2, ROWS, 2, dtype=torch.bool)
    if gap:
        seen[:, 200:204] = False
    on = seen.any(-1) | True
    plain = said_to_vary(system)
    fast, slow = (log_likelihood(s, y, seen, on) for s in (system, plain))
    assert torch.allclose(fast, slow, rtol=1e-13, atol=0)
    for which in ("mean", "cov", "cross_cov"):
        a, b = (getattr(smoothed(s, y, seen, on), which) for s in (system, plain))
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)
    ours, theirs = (gradient(s, y, seen, on) for s in (system, plain))
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def smoothed(s: System, y: Tensor, seen: Tensor, on: Tensor) -> Any:
    run = forward(s, start(s), y, seen, on)
    return smooth(run, s, total(run)[1], y.movedim(-2, 0))


def gradient(s: System, y: Tensor, seen: Tensor, on: Tensor) -> Tensor:
    a = s.A.clone().requires_grad_()
    log_likelihood(replace(s, A=a), y, seen, on).sum().backward()
    assert a.grad is not None
    return a.grad.sum(0) if "A" in s.varies else a.grad


def test_it_is_reached_and_left() -> None:
    """A fast system settles within a few looks; a row that is not complete starts it again."""
    system, _ = settled(0.3, 1.0, False)
    watch, root = Steady(system, allowed=True), system.Q.root
    for t in range(64):
        watch.reached("full")
        watch.see(t, root, "full")
    assert watch.settled
    assert not watch.reached("partial")
