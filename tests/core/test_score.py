"""The gradient of the exact log-likelihood is the derivative, at regular and singular points.

Would catch: a forgotten covariance term, a factor of one half, a gradient through masked entries.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems import CASES, IDS, NAMES, Case

from statespace.errors import DerivativeError
from statespace.inference.lineargaussian import log_likelihood


def derivative(case: Case, name: str, direction: np.ndarray) -> float:
    """Finite difference: central, or one-sided along a feasible direction for a covariance."""
    y, observed, active = case.data()

    def value(step: float) -> float:
        moved = {**case.arrays, "y": y.numpy()}
        moved[name] = moved[name] + step * direction
        seen = torch.as_tensor(moved.pop("y"))
        return float(log_likelihood(case.system(moved), seen, observed, active))

    h = 1e-5
    if name in ("Q", "R", "P1"):
        return (-11 * value(0) + 18 * value(h) - 9 * value(2 * h) + 2 * value(3 * h)) / (6 * h)
    return (value(-2 * h) - 8 * value(-h) + 8 * value(h) - value(2 * h)) / (12 * h)


@pytest.mark.parametrize("name", [*NAMES, "y"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradient_is_the_derivative(case: Case, name: str) -> None:
    """In every parameter, the initial moments and the observations; one-sided where singular."""
    g = np.random.default_rng(0)
    y, observed, active = case.data()
    shape = y.shape if name == "y" else case.arrays[name].shape
    direction = g.standard_normal(shape)
    if name in ("Q", "R", "P1"):
        direction = direction @ np.swapaxes(direction, -1, -2)
    if name == "P1" and case.diffuse is not None:
        direction = direction * ~case.diffuse[:, None] * ~case.diffuse
    system = case.system(graph=True)
    seen = y.clone().requires_grad_()
    log_likelihood(system, seen, observed, active).backward()
    leaf = {
        "A": system.A, "b": system.b, "Q": system.Q.matrix, "C": system.C, "d": system.d,
        "R": system.R.matrix, "m1": system.prior.mean, "P1": system.prior.covariance.matrix,
        "y": seen,
    }[name]  # fmt: skip
    ours = float((leaf.grad * torch.as_tensor(direction)).sum())
    assert ours == pytest.approx(derivative(case, name, direction), rel=2e-5, abs=2e-5)


def test_second_derivative_is_a_named_error() -> None:
    """A first derivative with create_graph works; differentiating it again says it cannot."""
    system = CASES[0].system(graph=True)
    value = log_likelihood(system, *CASES[0].data())
    (first,) = torch.autograd.grad(value, system.A, create_graph=True)
    assert bool(torch.isfinite(first).all())
    with pytest.raises(DerivativeError, match="second"):
        first.sum().backward()


def test_per_series_weights() -> None:
    """The gradient of a weighted sum over series is the weighted sum of gradients."""
    case = CASES[1]
    y, observed, active = case.data()
    many = torch.stack([y, 2 * y, y - 1])
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    system = case.system(graph=True)
    (log_likelihood(system, many, observed, active) * weights).sum().backward()
    together = system.A.grad
    apart = torch.zeros_like(system.A)
    for w, series in zip(weights, many, strict=True):
        system = case.system(graph=True)
        log_likelihood(system, series, observed, active).backward()
        apart += w * system.A.grad
    assert torch.allclose(together, apart, rtol=1e-12, atol=1e-12)
