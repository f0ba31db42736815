"""Matrices without means: triangular roots, covariances, the Lyapunov equation.

Every covariance in the library travels as a root: P = S S'. Roots are combined by one operation,
`tria`, which turns a wide root into a square lower-triangular one without forming the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected

__all__ = ["Covariance", "lq", "lyapunov", "psd_root", "quadratic", "spectral_radius", "tria"]


def lq(m: Tensor) -> Tensor:
    """The lower-triangular L with L L' = M M', as LAPACK gives it, (..., n, k) -> (..., n, n).

    Not differentiable where M loses rank; the diagonal may be negative.
    """
    n, k = m.shape[-2:]
    if n == 0 or k == 0:
        return m.new_zeros(*m.shape[:-1], n)
    return _square(torch.linalg.qr(m.mT, mode="r").R.mT)


def _lq_alone(m: Tensor) -> Tensor:
    """`lq` without a derivative, the same numbers: it wakes no second thread.

    torch takes the triangle of the factor by all its threads, however small it is; where the other
    cores are busy, the answer then waits for one of them.
    """
    n, k = m.shape[-2:]
    if n == 0 or k == 0 or m.device.type != "cpu":
        return lq(m)
    packed = torch.geqrf(m.mT)[0].mT[..., : min(n, k)]  # reflections above the diagonal
    row, column = torch.arange(n), torch.arange(min(n, k))
    return _square(packed.masked_fill(row[:, None] < column, 0.0))


def _square(lower: Tensor) -> Tensor:
    """(..., n, k) -> (..., n, n), with columns of zeros where k < n."""
    n, k = lower.shape[-2:]
    if k < n:
        lower = torch.cat([lower, lower.new_zeros(*lower.shape[:-1], n - k)], -1)
    return lower


class _Tria(torch.autograd.Function):
    """L L' = M M' with a derivative that stays right where M loses rank.

    With W = L^+ M, a change dM moves L by L Phi(X + X'), X = L^+ dM W', inside the range of L
    (Phi keeps the lower triangle and half the diagonal), and by (I - L L^+) dM W' out of it.
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor) -> Tensor:
        lower = _lq_alone(m)
        ctx.save_for_backward(m, lower)
        return lower

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        m, lower = ctx.saved_tensors
        inverse = _pseudo_inverse(lower)
        w = inverse @ m
        phi = (lower.mT @ grads[0]).tril()
        phi = phi - 0.5 * torch.diag_embed(phi.diagonal(dim1=-2, dim2=-1))
        inside = inverse.mT @ ((phi + phi.mT) @ w)
        outside = grads[0] - (inverse.mT @ (lower.mT @ grads[0]))
        return inside + outside @ w


def _pseudo_inverse(lower: Tensor) -> Tensor:
    n = lower.shape[-1]
    eps = torch.finfo(lower.dtype).eps
    size = lower.norm(dim=-1)
    pivots = lower.diagonal(dim1=-2, dim2=-1).abs()
    if bool((pivots > 8 * n * eps * size).all()):
        eye = torch.eye(n, dtype=lower.dtype, device=lower.device)
        return torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False)
    row = torch.where(size > 0, size, torch.ones_like(size))[
        ..., None
    ]  # rank does not hang on units
    return torch.linalg.pinv(lower / row, rtol=64 * n * eps) / row.mT


def tria(m: Tensor) -> Tensor:
    """Square lower-triangular root: L with L L' = M M'.

    Args:
        m: Any root, shape (..., n, k), wide or tall, of any rank.

    Returns:
        L, shape (..., n, n). Gradients of whatever depends on L L' alone are right at every rank
        (torch's own QR gives NaN where M loses rank).

    Example:
        >>> import torch
        >>> m = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
        >>> lower = tria(m)
        >>> torch.allclose(lower @ lower.mT, m @ m.mT)
        True
    """
    out: Tensor = _Tria.apply(m)
    return out


def quadratic(root: Tensor) -> Tensor:
    """S S', exactly symmetric."""
    product = root @ root.mT
    return 0.5 * (product + product.mT)


def psd_root(p: Tensor, name: str = "covariance") -> Tensor:
    """A root of a positive semidefinite matrix, after a check that is relative to its diagonal.

    Rows and columns are first scaled to a unit diagonal, so that the answer does not depend on
    units. Cholesky where it goes through, else the eigenvectors with eigenvalues below rounding
    taken as zero. Shapes (..., n, n) -> (..., n, n).

    Raises:
        InputError: not finite, not symmetric, or with a negative direction beyond rounding.
    """
    n = p.shape[-1]
    eps = torch.finfo(p.dtype).eps
    diagonal = p.diagonal(dim1=-2, dim2=-1)
    scale = diagonal.clamp_min(0).sqrt()
    bound = scale[..., :, None] * scale[..., None, :]
    if not bool(torch.isfinite(p).all()):
        raise InputError(expected(name, "finite numbers", "NaN or inf", "Give finite entries"))
    if bool(((p - p.mT).abs() > 1e3 * eps * bound + 0.0).any()):
        worst = float((p - p.mT).detach().abs().max())
        raise InputError(
            expected(
                name,
                "a symmetric matrix",
                f"one whose mirrored entries differ by up to {worst:.3g}",
                "Symmetrise it, for example with 0.5 * (P + P.T)",
            )
        )
    if bool((diagonal >= 0).all()) and torch.equal(p, torch.diag_embed(diagonal)):
        return torch.diag_embed(scale)
    unit = torch.where(scale > 0, scale, torch.ones_like(scale))
    p = 0.5 * (p + p.mT) / unit[..., :, None] / unit[..., None, :]
    lower, info = torch.linalg.cholesky_ex(p)
    if bool((info == 0).all()):
        return lower * unit[..., :, None]
    values, vectors = torch.linalg.eigh(p)
    if n and bool((values[..., 0] < -1e3 * n * eps).any() | (diagonal < 0).any()):
        raise InputError(
            expected(
                name,
                "a positive semidefinite matrix",
                f"one with the negative direction {float(values.min()):.3g} (unit diagonal)",
                "Give a covariance, or build one as S @ S.T",
            )
        )
    values = torch.where(values > 8 * n * eps, values, torch.zeros_like(values))
    return vectors * values.sqrt()[..., None, :] * unit[..., :, None]


@dataclass(frozen=True)
class Covariance:
    """A covariance beside a root of it.

    Attributes:
        matrix: P, shape (..., n, n); what gradients flow through.
        root: S, shape (..., n, k), with S S' = P; what is computed with.
        diagonal: Whether P is diagonal by its making, so that no gradient is wanted off it.
    """

    matrix: Tensor
    root: Tensor
    diagonal: bool = False

    @classmethod
    def from_matrix(cls, matrix: Tensor, name: str = "covariance") -> Covariance:
        """From P; refuses what is no covariance (see `psd_root`)."""
        return cls(matrix, psd_root(matrix.detach(), name))

    @classmethod
    def from_root(cls, root: Tensor) -> Covariance:
        """From S; P = S S'."""
        return cls(quadratic(root), root)

    def map(self, function: Any) -> Covariance:
        """The same change of layout on both (expand, unsqueeze, index over leading axes)."""
        return Covariance(function(self.matrix), function(self.root), self.diagonal)


class _Lyapunov(torch.autograd.Function):
    """P = A P A' + Q; the adjoint solves X = A' X A + Pbar, then Qbar = X, Abar = 2 X A P."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, q: Tensor, p: Tensor) -> Tensor:
        ctx.save_for_backward(a, p)
        return p.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        a, p = ctx.saved_tensors
        x, power = 0.5 * (grads[0] + grads[0].mT), a
        for _ in range(_DOUBLINGS):
            step = power.mT @ x @ power
            x, power = x + step, power @ power
            if not bool((step.abs() > 1e-18 * x.abs().amax()).any()):
                break
        return 2 * x @ a @ p, x, None


_DOUBLINGS = 60  # 2^60 steps: a radius that needs more is one to working precision


def lyapunov(a: Tensor, q: Covariance) -> Covariance:
    """The stationary covariance P = A P A' + Q, as a root, by doubling (Smith 1968).

    Nothing is inverted or subtracted: after k doublings the root holds 2^k terms of
    sum_j A^j Q A'^j.

    Args:
        a: Transition, (..., n, n), spectral radius below one (see `spectral_radius`).
        q: Its noise.

    Returns:
        P and a root, differentiable in A and Q.

    Raises:
        InputError: the spectral radius is one or more.
    """
    radius = spectral_radius(a)
    if bool((radius >= 1).any()):
        raise InputError(
            expected(
                "A",
                "a spectral radius below 1 for a stationary start",
                f"{float(radius.max()):.6g}",
                'Start from known moments, or use initial="diffuse"',
            )
        )
    with torch.no_grad():
        root, power = lq(q.root), a
        for _ in range(_DOUBLINGS):
            step = power @ root
            small = bool((step.abs().amax(-1) <= 1e-17 * root.abs().amax(-1)).all())
            root, power = lq(torch.cat([root, step], -1)), power @ power
            if small:
                break
    matrix: Tensor = _Lyapunov.apply(a, q.matrix, quadratic(root))
    return Covariance(matrix, root)


def spectral_radius(a: Tensor) -> Tensor:
    """The largest modulus of an eigenvalue, shape (...); zero for an empty matrix."""
    if a.shape[-1] == 0:
        return a.new_zeros(a.shape[:-2])
    return torch.linalg.eigvals(a.detach()).abs().amax(-1)
