"""The derivative of what hangs on a mode: the mode moves with the parameters.

    dz*/dtheta = K^-1 d(slope)/dtheta,   K = -(second derivative of log p(z, y)) at z*

K is block tridiagonal in time. Its blocks come from 3 n products with vectors that are one on
every third row, n at once on the sample axis; it is solved by a block Cholesky over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from statespace.errors import DerivativeError

__all__ = ["moving", "solved"]

Height = Callable[[Tensor], Tensor]


def moving(value: Tensor, z: Tensor, height: Height, active: Tensor, settled: Tensor) -> Tensor:
    """`value`, whose derivative in all but z knows that z is where `height` is largest.

    Args:
        value: (*b,), made of z.
        z: The mode, (*b, T, n); a leaf that records gradients.
        height: From (*sample, *b, T, n) to (*sample, *b).
        active: Rows inside their series, (*b, T).
        settled: Whether z is the mode, (*b,).

    Where it is not, or where noise is singular, asking for the derivative is a `DerivativeError`.
    """
    (pull,) = torch.autograd.grad(
        value.sum(), z, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    at = z.detach().requires_grad_()
    with torch.enable_grad():
        found = height(at)
        if not bool(torch.isfinite(found).all()):
            return _underivable(value, _SINGULAR)
        if not bool(settled.all()):
            return _underivable(value, _RESTLESS)
        (slope,) = torch.autograd.grad(found.sum(), at, create_graph=True)
    turn = solved(height, z.detach(), active, pull)
    if turn is None:
        return _underivable(value, _RESTLESS)
    drift = (slope * turn).sum((-2, -1))
    return value + (drift - drift.detach())


_SINGULAR = (
    "log_likelihood over whole paths: expected noise and a start of full rank, received a singular "
    "one, where the most probable path has no derivative in this form. Use ExtendedKalman(), or "
    "give every state some noise."
)
_RESTLESS = (
    "log_likelihood over whole paths: expected a path that stands still, received one that does "
    "not, as where noise hangs on the state or the log joint has no maximum. Use ExtendedKalman(), "
    "or Laplace() where it is the noise of y."
)


class _NoDerivative(torch.autograd.Function):
    """A value whose derivative is not known, and says so when it is asked for."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, why: str) -> Tensor:
        ctx.why = why
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise DerivativeError(ctx.why)


def _underivable(value: Tensor, why: str) -> Tensor:
    out: Tensor = _NoDerivative.apply(value, why)
    return out


def solved(height: Height, z: Tensor, active: Tensor, x: Tensor) -> Tensor | None:
    """K^-1 x at z, (*b, T, n); None where K is not positive definite."""
    diagonal, lower = _blocks(height, z)
    ended = torch.diag_embed((~active).to(z)[..., None].expand_as(z))  # nothing hangs on those rows
    return _solve(diagonal + ended, lower, x)


def _blocks(height: Height, z: Tensor) -> tuple[Tensor, Tensor]:
    """Of K: (*b, T, n, n) on the diagonal and (*b, T - 1, n, n) below it."""
    steps, n = z.shape[-2:]
    parts = []
    for r in range(3):
        seeds = z.new_zeros(n, *(1,) * (z.dim() - 2), steps, n)
        for i in range(n):
            seeds[i, ..., r::3, i] = 1.0
        with torch.enable_grad():
            at = z.expand(n, *z.shape).clone().requires_grad_()
            (slope,) = torch.autograd.grad(height(at).sum(), at, create_graph=True)
            (back,) = torch.autograd.grad((slope * seeds).sum(), at)
        parts.append(-back.movedim(0, -1))
    k = torch.stack(parts)  # (3, *b, T, n, n): column i of what rows r, r + 3, ... meet
    rows = torch.arange(steps, device=z.device)
    diagonal = torch.stack([k[t % 3, ..., t, :, :] for t in rows.tolist()], -3)
    if steps == 1:
        return diagonal, diagonal[..., :0, :, :]
    lower = torch.stack([k[t % 3, ..., t + 1, :, :] for t in rows[:-1].tolist()], -3)
    return diagonal, lower


def _solve(diagonal: Tensor, lower: Tensor, x: Tensor) -> Tensor | None:
    """K^-1 x by a block Cholesky, row after row."""
    roots: list[Tensor] = []
    links: list[Tensor] = []
    out: list[Tensor] = []
    steps = x.shape[-2]
    for t in range(steps):
        d, v = diagonal[..., t, :, :], x[..., t, :]
        if t:
            links.append(
                torch.linalg.solve_triangular(roots[-1], lower[..., t - 1, :, :].mT, upper=False).mT
            )
            d = d - links[-1] @ links[-1].mT
            v = v - (links[-1] @ out[-1][..., None])[..., 0]
        root, info = torch.linalg.cholesky_ex(0.5 * (d + d.mT))
        if bool((info != 0).any()):
            return None
        roots.append(root)
        out.append(torch.linalg.solve_triangular(root, v[..., None], upper=False)[..., 0])
    back = [torch.linalg.solve_triangular(roots[-1].mT, out[-1][..., None], upper=True)[..., 0]]
    for t in range(steps - 2, -1, -1):
        v = out[t] - (links[t].mT @ back[-1][..., None])[..., 0]
        back.append(torch.linalg.solve_triangular(roots[t].mT, v[..., None], upper=True)[..., 0])
    return torch.stack(back[::-1], -2)
