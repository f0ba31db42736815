"""Roots: the right product and derivative at every rank, refusals that name what is wrong."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statespace.errors import InputError
from statespace.linalg import Covariance, lyapunov, psd_root, spectral_radius, tria


def matrix(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 4), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_tria_keeps_the_product(n: int, k: int, rank: int, seed: int) -> None:
    """L is lower triangular with L L' = M M', for wide, tall, empty and rank-deficient M."""
    m = matrix(seed, 3, n, min(rank, k)) @ matrix(seed + 1, min(rank, k), k)
    lower = tria(m)
    assert lower.shape == (3, n, n)
    assert torch.equal(lower, lower.tril())
    assert torch.allclose(lower @ lower.mT, m @ m.mT, atol=1e-12)


@pytest.mark.parametrize(("n", "k", "rank"), [(3, 5, 3), (3, 3, 2), (4, 2, 2), (3, 4, 1)])
def test_tria_derivative(n: int, k: int, rank: int) -> None:
    """The gradient of a function of L L' is that of the same function of M M', at every rank."""
    m = (matrix(0, n, rank) @ matrix(1, rank, k)).requires_grad_()
    weight = matrix(2, n, n)

    def f(product: torch.Tensor) -> torch.Tensor:
        return (weight * product).sum() + (product @ product).trace()

    lower = tria(m)
    (ours,) = torch.autograd.grad(f(lower @ lower.mT), m)
    (direct,) = torch.autograd.grad(f(m @ m.mT), m)
    assert torch.allclose(ours, direct, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("c", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_psd_root_does_not_see_units(c: float) -> None:
    """A singular covariance in any unit has a root that gives it back to rounding."""
    g = torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64)
    p = c * g @ g.mT
    root = psd_root(p)
    assert torch.allclose(root @ root.mT, p, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("p", "says"),
    [
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive semidefinite"),
        ([[-1.0, 0.0], [0.0, 1.0]], "positive semidefinite"),
        ([[float("nan"), 0.0], [0.0, 1.0]], "finite"),
    ],
)
def test_no_covariance(p: list[list[float]], says: str) -> None:
    """What is no covariance is refused by name, never repaired in silence."""
    with pytest.raises(InputError, match=says) as caught:
        Covariance.from_matrix(torch.tensor(p, dtype=torch.float64), "Q")
    assert "`Q`" in str(caught.value)


@pytest.mark.parametrize("radius", [0.0, 0.5, 0.99, 0.999999])
def test_lyapunov(radius: float) -> None:
    """P = A P A' + Q up to the unit root, with Q singular too."""
    a = radius * torch.linalg.qr(matrix(0, 3, 3))[0]
    q = Covariance.from_root(matrix(1, 3, 1))
    p = lyapunov(a, q).matrix
    assert torch.allclose(a @ p @ a.mT + q.matrix, p, rtol=1e-9, atol=1e-9 * float(p.abs().max()))


def test_lyapunov_derivative() -> None:
    """Its gradient in A and Q is that of the linear solve it replaces."""
    a = (0.5 * matrix(0, 3, 3)).requires_grad_()
    s = matrix(1, 3, 3).requires_grad_()
    weight = matrix(2, 3, 3)
    ours = torch.autograd.grad((weight * lyapunov(a, Covariance.from_root(s)).matrix).sum(), (a, s))
    eye = torch.eye(9, dtype=torch.float64)
    solved = torch.linalg.solve(eye - torch.kron(a, a), (s @ s.mT).reshape(9)).reshape(3, 3)
    dense = torch.autograd.grad((weight * solved).sum(), (a, s))
    for x, y in zip(ours, dense, strict=True):
        assert torch.allclose(x, y, rtol=1e-9, atol=1e-9)


def test_no_stationary_covariance() -> None:
    """A radius of one or more is refused with its value."""
    a = torch.tensor([[1.0]], dtype=torch.float64)
    assert float(spectral_radius(a)) == 1.0
    with pytest.raises(InputError, match="spectral radius below 1"):
        lyapunov(a, Covariance.from_root(a))
