"""The linearising filters and smoothers are those of the textbooks.

Would catch: a Jacobian of A' for A, an emission linearised at the filtered mean, an offset left
out, an observation that counts once per iteration, weights of the wrong points, an angle that is
averaged across the cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_filters
import pytest
import torch
from nonlinear_cases import CASES, Case

import statespace as ss
from statespace.densities import moments
from statespace.interface import Context

REGULAR = [c for c in CASES if "singular" not in c.tags]


class Numbers:
    """The densities of a model at one z, in numpy."""

    def __init__(self, model: Any, u: Any) -> None:
        self.model, self.u = model, u
        with torch.no_grad():
            self.m1, self.P1 = self._moments(model.initial(self._ctx(0)))

    def _ctx(self, t: int) -> Context:
        u = torch.zeros(0).double() if self.u is None else torch.as_tensor(self.u[t])
        return Context(torch.tensor(t), u, u[:0])

    def _moments(self, density: Any) -> tuple[Any, Any]:
        return tuple(x.numpy() for x in moments(density))

    def _at(self, name: str, z: Any, t: int) -> tuple[Any, Any]:
        with torch.no_grad():
            return self._moments(getattr(self.model, name)(torch.as_tensor(z), self._ctx(t)))

    def g(self, z: Any, t: int) -> Any:
        return self._at("transition", z, t)[0]

    def Q(self, z: Any, t: int) -> Any:
        return self._at("transition", z, t)[1]

    def h(self, z: Any, t: int) -> Any:
        return self._at("emission", z, t)[0]

    def R(self, z: Any, t: int) -> Any:
        return self._at("emission", z, t)[1]

    def apart(self, y: Any, mean: Any) -> Any:
        return self.model.residual(torch.as_tensor(y), torch.as_tensor(mean)).numpy()


def plain(kind: str, numbers: Numbers, y: Any) -> Any:
    n = len(numbers.m1)
    if kind == "extended":
        return plain_filters.extended(numbers, y)
    if kind == "iterated":
        return plain_filters.extended(numbers, y, 3)
    return plain_filters.unscented(numbers, y, {"cubature": 0, "unscented": max(0, 3 - n)}[kind])


KINDS = {
    "extended": (ss.ExtendedKalman(), 1e-7),  # the oracle's Jacobian is a difference
    "iterated": (ss.ExtendedKalman(iterations=3), 1e-7),
    "unscented": (ss.UnscentedKalman(), 1e-9),
    "cubature": (ss.CubatureKalman(), 1e-9),
}


def same(a: Any, b: Any, bound: float) -> None:
    assert np.allclose(a, np.asarray(b), rtol=bound, atol=bound)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_filter(case: Case, kind: str) -> None:
    """Moments before and after, moments of y one step ahead, increments: all rows, all series."""
    model, (method, bound) = case.model(), KINDS[kind]
    records = list(model.filter(**case.data(), method=method))
    for (y, u), f in zip(case.series(), records, strict=True):
        expected = plain(kind, Numbers(model, u), y)
        same(f.mean, expected.mean, bound)
        same(f.cov, expected.cov, bound)
        same(f.predicted_mean, expected.before, bound)
        same(f.predicted_cov, expected.before_cov, bound)
        same(f.y_mean, expected.y_mean, bound)
        same(f.y_cov, expected.y_cov, bound)
        same(f.increments, expected.increments, bound)
        assert f.kind == "approximate"


@pytest.mark.parametrize("kind", ["extended", "unscented", "cubature"])
@pytest.mark.parametrize("case", REGULAR, ids=lambda c: c.name)
def test_smoother(case: Case, kind: str) -> None:
    """The Rauch-Tung-Striebel form of each rule, which the core does without."""
    model, (method, bound) = case.model(), KINDS[kind]
    records = list(model.smooth(**case.data(), method=method))
    for (y, u), s in zip(case.series(), records, strict=True):
        numbers = Numbers(model, u)
        found = plain(kind, numbers, y)
        if kind == "extended":
            gains = plain_filters.extended_gains(numbers, found)
        else:
            kappa = 0 if kind == "cubature" else max(0, 3 - len(numbers.m1))
            gains = plain_filters.unscented_gains(numbers, found, kappa)
        mean, cov = plain_filters.rts(numbers, found, y, gains)
        same(s.mean, mean, 10 * bound)
        same(s.cov, cov, 10 * bound)
        assert float(s.log_likelihood) == pytest.approx(sum(found.increments), rel=bound, abs=bound)


def test_tiny_alpha_is_the_same_rule_or_refused() -> None:
    """With a negative centre weight: the numbers of the covariance form, and never a repair."""
    case = CASES[0]
    model, data = case.model(), case.data()
    method = ss.UnscentedKalman(alpha=0.9, beta=0.0, kappa=-0.5)
    f = model.filter(**data, method=method)
    numbers = Numbers(model, None)
    found = plain_filters.unscented(numbers, case.y, 0.81 * 2.5 - 3, shift=1 - 0.81)
    same(f.mean, found.mean, 1e-9)
    same(f.cov, found.cov, 1e-9)
    with pytest.raises(ss.errors.NumericalError, match=r"negative centre weight.*CubatureKalman"):
        model.filter(**data, method=ss.UnscentedKalman(alpha=1.0, beta=-300.0, kappa=0.0))


def test_iterations_do_not_absorb_twice() -> None:
    """A linear model does not change by iterating; a nonlinear one goes to the posterior's mode."""
    linear = next(c for c in CASES if "linear" in c.tags)
    model, data = linear.model(), linear.data()
    once = model.filter(**data, method=ss.ExtendedKalman())
    often = model.filter(**data, method=ss.ExtendedKalman(iterations=5))
    assert torch.allclose(once.mean, often.mean, rtol=1e-12, atol=1e-12, equal_nan=True)
    case = next(c for c in CASES if c.name == "bearings")
    model, data = case.model(), case.data()
    f = model.filter(**data, method=ss.ExtendedKalman(iterations=30))
    y, z = data["y"], f.mean.clone().requires_grad_()
    plain_y = y.nan_to_num()
    prior = torch.distributions.MultivariateNormal(f.predicted_mean, f.predicted_cov)
    t = torch.arange(case.T)
    u = z.new_zeros(*z.shape[:-1], 0)
    mean = model.emission(z, Context(t, u, u)).mean
    e = model.residual(plain_y, mean) / 0.1
    energy = -0.5 * (e.square() * ~y.isnan()).sum() + prior.log_prob(z).sum()
    (slope,) = torch.autograd.grad(energy, z)
    assert float(slope.abs().max()) < 1e-6
