"""Rules: from a conditional density and a Gaussian belief to an affine Gaussian conditional.

    p(x | z) with mean g(z) and covariance L(z) L(z)',   z ~ N(m, S S')
    ~>  x = mean + F (z - m) + noise,   noise of covariance root root'

No rule divides by S: what comes back beside F is F S, which is all that a belief is moved by, so
that states known exactly (a known start, no noise) need no other treatment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Affine", "Conditional", "Rule", "Taylor", "jacobian"]

Apart = Callable[[Tensor, Tensor], Tensor]  # how far x lies from a mean of it


class Conditional(NamedTuple):
    """A density p(x | z) as its moments.

    Attributes:
        moments: From z (*sample, *b, n) to the mean (*sample, *b, k) and a root of the covariance,
            (*sample, *b, k, r), without leading axes along which it does not change.
        size: k.
        apart: x less a mean of it; None where that is the plain difference.
    """

    moments: Callable[[Tensor], tuple[Tensor, Tensor]]
    size: int
    apart: Apart | None = None


class Affine(NamedTuple):
    """x = mean + F (z - point) + noise, linearised at a belief N(point, S S')."""

    point: Tensor  # (*b, n)
    mean: Tensor  # (*b, k)
    weight: Tensor  # F, (*b, k, n)
    spread: Tensor  # F S, (*b, k, n)
    root: Tensor  # of the covariance of the noise, (*b, k, r)

    @property
    def bias(self) -> Tensor:
        """C of x = F z + c, (*b, k)."""
        return self.mean - (self.weight @ self.point[..., None])[..., 0]

    def at(self, z: Tensor) -> Tensor:
        """The mean of x given z, (*b, k)."""
        return self.mean + (self.weight @ (z - self.point)[..., None])[..., 0]


class Rule(ABC):
    """How a density is linearised; two rules are equal if they do the same."""

    @abstractmethod
    def __call__(self, density: Conditional, mean: Tensor, root: Tensor) -> Affine:
        """The density at N(mean, root root'), (*b, n) and lower triangular (*b, n, n)."""


@dataclass(frozen=True)
class Taylor(Rule):
    """The tangent at the mean: F = dg/dz, noise L(m)."""

    def __call__(self, density: Conditional, mean: Tensor, root: Tensor) -> Affine:
        """See `Rule`."""
        value, noise, slope = jacobian(density, mean)
        return Affine(mean, value, slope, slope @ root, noise)


def jacobian(density: Conditional, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """g, L and dg/dz at z (*b, n): (*b, k), (*b, k, r) and (*b, k, n).

    One evaluation at k copies of z, put on the sample axis, and one step back: copy i has the
    gradient of g_i. Differentiable where gradients are recorded.
    """
    graph, k = torch.is_grad_enabled(), density.size
    with torch.enable_grad():
        if graph and z.requires_grad:
            at = z.expand(k, *z.shape)
        else:
            at = z.detach().expand(k, *z.shape).requires_grad_()
        means, roots = density.moments(at)
        slope = None
        if means.requires_grad and k:
            each = torch.eye(k, dtype=z.dtype, device=z.device)
            each = each.reshape(k, *(1,) * (z.dim() - 1), k).expand_as(means)
            (slope,) = torch.autograd.grad(means, at, each, create_graph=graph, allow_unused=True)
    slope = torch.zeros_like(at) if slope is None else slope
    noise = roots[0] if roots.dim() == at.dim() + 1 else roots
    value, slope = means[0], slope.movedim(0, -2)
    return (value, noise, slope) if graph else (value.detach(), noise.detach(), slope.detach())
