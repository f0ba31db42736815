"""The minimiser: it finds minima, never takes a worse point, and backs off from infinity."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from statespace.learning.lbfgs import minimise


def with_gradient(function):
    def both(x: torch.Tensor) -> tuple[float, torch.Tensor]:
        x = x.detach().requires_grad_(True)
        value = function(x)
        if not math.isfinite(float(value.detach())):
            return math.inf, x.detach()
        return float(value.detach()), torch.autograd.grad(value, x)[0]

    return both


def test_rosenbrock_in_ten_dimensions():
    """A curved valley is followed to its end."""

    def valley(x):
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    found = minimise(with_gradient(valley), torch.full((10,), -1.0, dtype=torch.float64))
    assert found.status == "flat"
    torch.testing.assert_close(found.x, torch.ones(10, dtype=torch.float64), atol=1e-5, rtol=0)


@given(st.integers(0, 200))
def test_no_accepted_point_is_worse(seed: int):
    """The history falls strictly, on functions with cliffs too."""
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(4, 4, generator=g, dtype=torch.float64)
    shift = torch.randn(4, generator=g, dtype=torch.float64)

    def cliff(x):
        value = (root @ (x - shift)).square().sum() + (x[0] * x[1]).sin()
        return torch.where(x.norm() < 2.0, value, math.inf)

    found = minimise(with_gradient(cliff), torch.zeros(4, dtype=torch.float64), max_iter=30)
    assert all(b < a for a, b in zip(found.history, found.history[1:], strict=False))
    assert float(found.x.norm()) < 2.0
    assert found.value == found.history[-1] == cliff(found.x)


def test_the_cap_is_called_a_cap():
    """Stopping at the allowed number of steps is not convergence."""

    def bowl(x):
        return (x**4).sum()

    start = torch.ones(3, dtype=torch.float64)
    assert minimise(with_gradient(bowl), start, max_iter=2).status == "cap"


def test_a_kink_is_called_stalled():
    """Where no step goes down although the slope says so, it says that it stalled."""

    def kink(x):
        return x.abs().sum()

    found = minimise(with_gradient(kink), torch.tensor([1.0, -3.0], dtype=torch.float64))
    assert found.status in ("stalled", "cap")
    assert found.value < 4.0


def test_below_its_rounding_the_slope_decides():
    """f in single precision, its gradient better: the minimum is found to the gradient's digits,
    f never rises by more than its rounding, and without `noise` the search gives up sooner."""
    true = torch.linspace(-2.0, 3.0, 8, dtype=torch.float64)
    curvature = 10.0 ** torch.linspace(-2.0, 1.0, 8, dtype=torch.float64)

    def rough(x):
        value = 1e3 + 0.5 * float((curvature * (x - true).square()).sum())
        return float(torch.tensor(value, dtype=torch.float32)), curvature * (x - true)

    noise = 1e3 * torch.finfo(torch.float32).eps
    found = minimise(rough, torch.zeros(8).double(), tol=1e-7, tol_gain=1e-12, noise=noise)
    plain = minimise(rough, torch.zeros(8).double(), tol=1e-7, tol_gain=1e-12)
    assert found.status == "flat"
    torch.testing.assert_close(found.x, true, atol=1e-4, rtol=0)
    lowest = [min(found.history[: i + 1]) for i in range(len(found.history))]
    assert all(v <= low + noise for v, low in zip(found.history, lowest, strict=True))
    assert plain.status == "stalled"


def test_what_rounding_alone_moves_comes_to_an_end():
    """Where neither f nor its gradient says more than noise, the search stalls, and stays put."""
    g = torch.Generator().manual_seed(0)

    def flat(x):
        return 1e3 + 1e-4 * float(torch.rand((), generator=g)), torch.full((2,), 1e-3).double()

    found = minimise(flat, torch.zeros(2).double(), max_iter=200, noise=2e-4)
    assert found.status == "stalled"
    assert found.iterations < 40


def test_it_ends_where_it_is_told_to():
    """`stop` is asked after each accepted step, with the point and its gradient."""

    def bowl(x):
        return float((x - 3.0).square().sum()), 2 * (x - 3.0)

    seen = []

    def stop(x, gradient):
        torch.testing.assert_close(gradient, bowl(x)[1])
        seen.append(x)
        return len(seen) == 1

    found = minimise(bowl, torch.zeros(2).double(), stop=stop)
    assert found.status == "stopped"
    assert found.iterations == 1
    assert found.x is seen[0]
