"""`GaussianRoot`: a Gaussian given by a root of its covariance, of any rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.distributions.kl import register_kl

from statespace.errors import DerivativeError
from statespace.linalg import quadratic, tria
from statespace.shapes import together

__all__ = ["GaussianRoot", "solve_lower"]

_LOG_2PI = math.log(2 * math.pi)


class GaussianRoot(Distribution):
    """N(mean, S S'), S of any rank and width: sample = mean + S eps, eps ~ N(0, I).

    Where S S' is singular the law lives on mean + range(S): `log_prob` is -inf off that plane
    (beyond rounding) and, on it, the density with respect to length, area, ... in the plane. That
    density has no derivative off the plane, so that differentiating it is a named error; `rsample`
    is differentiable at every rank.

    Args:
        mean: (*batch, n).
        root: S, (*batch, n, k).

    Example:
        >>> line = GaussianRoot(torch.zeros(2).double(), torch.tensor([[3.0], [4.0]]).double())
        >>> round(float(line.log_prob(torch.tensor([3.0, 4.0]).double())), 6)  # one eps, |S| = 5
        -3.028376
        >>> float(line.log_prob(torch.tensor([3.0, 5.0]).double()))
        -inf
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, mean: Tensor, root: Tensor) -> None:
        lead = together(mean.shape[:-1], root.shape[:-2])
        self.loc = mean.expand(*lead, mean.shape[-1])
        if not root.shape[-1]:  # no noise at all: one column of zeros says the same
            root = root.new_zeros(*root.shape[:-1], 1)
        self.root = root  # kept narrow: a root shared by all particles is factored once
        super().__init__(lead, mean.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> GaussianRoot:
        """The same law over more batch axes."""
        return GaussianRoot(self.loc.expand(*batch_shape, self.loc.shape[-1]), self.root)

    @property
    def mean(self) -> Tensor:
        """(*batch, n)."""
        return self.loc

    @property
    def covariance_matrix(self) -> Tensor:
        """(*batch, n, n)."""
        return quadratic(self.root).expand(*self.batch_shape, *self.event_shape, -1)

    @property
    def variance(self) -> Tensor:
        """(*batch, n)."""
        return self.root.square().sum(-1).expand_as(self.loc)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws mean + S eps, (*sample, *batch, n)."""
        shape = (*sample_shape, *self.batch_shape, self.root.shape[-1])
        noise = torch.randn(shape, dtype=self.root.dtype, device=self.root.device)
        if self.root.dim() == 2:
            return self.loc + noise @ self.root.mT
        return self.loc + (self.root @ noise[..., None])[..., 0]

    def log_prob(self, value: Tensor) -> Tensor:
        """(*,), value (*, n) of any leading axes that broadcast with the batch."""
        residual = value - self.loc
        lower = tria(self.root)
        if not _is_singular(lower):
            e = solve_lower(lower, residual)
            log_volume = lower.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
            return -0.5 * (e.square().sum(-1) + lower.shape[-1] * _LOG_2PI) - log_volume
        size = value.abs() + self.loc.abs()
        wanted = residual.requires_grad or self.root.requires_grad
        out = _singular_log_prob(residual.detach(), self.root.detach(), size.detach())
        return _NoDerivative.apply(out, residual, self.root) if wanted else out


@register_kl(Independent, GaussianRoot)
def _kl_of_independent(q: Independent, p: GaussianRoot) -> Tensor:
    """KL(q, p) of a Gaussian with independent entries, q = N(m, diag s^2), p = N(mu, L L').

        KL = (|L^-1 (m - mu)|^2 + |L^-1 diag s|^2 - n) / 2 + sum_i log L_ii - log s_i

    Raises:
        NotImplementedError: q is no such Gaussian, or p is singular.
    """
    lower = tria(p.root)
    if type(q.base_dist) is not Normal or _is_singular(lower):
        raise NotImplementedError
    mean, scale = q.base_dist.loc, q.base_dist.scale
    n = mean.shape[-1]
    eye = torch.eye(n, dtype=lower.dtype, device=lower.device)
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
    shift = solve_lower(lower, mean - p.loc).square().sum(-1)
    spread = (inverse.square().sum(-2) * scale.square()).sum(-1)
    volume = lower.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1) - scale.log().sum(-1)
    return 0.5 * (shift + spread - n) + volume


def _is_singular(lower: Tensor) -> bool:
    """Whether some pivot is rounding, relative to its row, so that units do not matter."""
    eps = torch.finfo(lower.dtype).eps
    pivots = lower.detach().diagonal(dim1=-2, dim2=-1).abs()
    return bool((pivots <= 8 * lower.shape[-1] * eps * lower.detach().norm(dim=-1)).any())


def _singular_log_prob(residual: Tensor, root: Tensor, size: Tensor) -> Tensor:
    """The density in the plane that S spans, -inf off it; rounding is relative to `size`."""
    n, eps = root.shape[-2], torch.finfo(root.dtype).eps
    scale = root.norm(dim=-1)  # (*, n)
    unit = torch.where(scale > 0, scale, torch.ones_like(scale))
    u, s, _ = torch.linalg.svd(root / unit[..., None], full_matrices=False)
    kept = s > 64 * n * eps * s.amax(-1, keepdim=True)  # rank, in units of each row
    basis = u * kept[..., None, :]
    r = residual / unit
    inside = (basis.mT @ r[..., None])[..., 0]
    outside = r - (basis @ inside[..., None])[..., 0]
    far = (outside * unit).abs() > 1e4 * n * eps * (size + scale)
    e = torch.where(kept, inside / torch.where(kept, s, torch.ones_like(s)), 0.0)
    # the volume of S in the plane, in the units of y: the root of the determinant of B' B
    b = unit[..., None] * basis * s[..., None, :]
    gram = b.mT @ b + torch.diag_embed((~kept).to(b.dtype))
    log_volume = 0.5 * torch.linalg.slogdet(gram).logabsdet
    out = -0.5 * (e.square() + kept.to(e.dtype) * _LOG_2PI).sum(-1) - log_volume
    return torch.where(far.any(-1), torch.full_like(out, -torch.inf), out)


class _NoDerivative(torch.autograd.Function):
    """A value whose derivative does not exist, and says so when it is asked for."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *causes: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise DerivativeError(
            "`log_prob` of a Gaussian with a singular covariance has no derivative: its density "
            "lives on a plane that moves with the parameters. Give every state some noise, or use "
            "a method that integrates the state out, such as Kalman."
        )


def solve_lower(lower: Tensor, x: Tensor) -> Tensor:
    """L^-1 x, lower (*batch, n, n), x (*lead, *batch, n): the lead axes are solved as columns."""
    batch, n = lower.shape[:-2], lower.shape[-1]
    x = x.expand(torch.broadcast_shapes(x.shape, (*batch, n)))
    extra = x.dim() - 1 - len(batch)
    if x.shape[extra:-1] != batch:
        return torch.linalg.solve_triangular(lower, x[..., None], upper=False)[..., 0]
    lead = x.shape[:extra]
    columns = x.reshape(lead.numel(), *batch, n).movedim(0, -1)
    solved = torch.linalg.solve_triangular(lower, columns, upper=False)
    return solved.movedim(-1, 0).reshape(x.shape)
