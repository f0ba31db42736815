"""Laplace's row: the mode of p(z_t | y up to t), and the curvature of log p(y_t | z_t) there.

    z = m + S x,   x* = argmax -|x|^2 / 2 + l(m + S x),   l(z) = log p(y_t | z)
    W = -(second derivative of l), nonnegative definite;   M = I + S' W S
    posterior N(z*, S M^-1 S'),   increment l(z*) - |x*|^2 / 2 - log |M| / 2

(Tierney and Kadane 1986; Durbin and Koopman 1997.) Nothing divides by S, and M has no eigenvalue
below one. For the core a row is made linear as n pseudo-observations H z + v, v ~ N(0, I), with
H' H = W and H' (y - H z*) the gradient of l.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from statespace.densities import observed_log_prob, rooted
from statespace.inference.linearising.loop import Absorbed, Plan
from statespace.inference.linearising.reading import emission_at
from statespace.inference.linearising.rules import jacobian
from statespace.inference.linearising.update import beside
from statespace.interface import Context
from statespace.linalg import quadratic, tria

__all__ = ["Curve", "ModePlan", "curve", "halved", "log_density", "pseudo"]

_FLOOR = 1e-6  # of the curvature in its own units, where a gradient needs some
_NOTHING = 1e-8  # of the gradient in its own units
_HALVINGS = 30


class Curve(NamedTuple):
    """log p(y | z) about a point, (*b,), (*b, n) and (*b, n, n); W is nonnegative definite."""

    value: Tensor
    slope: Tensor
    curvature: Tensor


def log_density(model: Any, ctx: Context, y: Tensor, on: Tensor) -> Callable[[Tensor], Tensor]:
    """Log p(y | z) of the observed entries as a function of z; angles are unwrapped beside z."""
    plain = emission_at(model, ctx).apart is None

    def value(z: Tensor) -> Tensor:
        density = model.emission(z, ctx)
        if plain:
            return observed_log_prob(density, y, on).expand(z.shape[:-1])
        mean = density.mean
        here = torch.where(on, mean + model.residual(y, mean), y)
        return observed_log_prob(density, here, on).expand(z.shape[:-1])

    return value


def curve(value: Callable[[Tensor], Tensor], z: Tensor) -> Curve:
    """l, its gradient and the nonnegative part of -l'' at z (*b, n).

    The n rows of l'' are one step back through n copies of the gradient on the sample axis.
    """
    graph, n = torch.is_grad_enabled(), z.shape[-1]
    with torch.enable_grad():
        at = z.expand(n, *z.shape) if graph and z.requires_grad else (
            z.detach().expand(n, *z.shape).requires_grad_())  # fmt: skip
        found = value(at)
        if not found.requires_grad:  # nothing is observed, or y does not hang on z
            flat = torch.zeros_like(z)
            return Curve(found[0], flat, torch.diag_embed(flat))
        (slope,) = torch.autograd.grad(found.sum(), at, create_graph=True)
        second = torch.zeros_like(at)
        if slope.requires_grad:
            each = torch.eye(n, dtype=z.dtype, device=z.device)
            each = each.reshape(n, *(1,) * (z.dim() - 1), n).expand_as(slope)
            (back,) = torch.autograd.grad(slope, at, each, create_graph=graph, allow_unused=True)
            second = second if back is None else back
    w = -second.movedim(0, -2)
    w = nonnegative(0.5 * (w + w.mT))
    out = Curve(found[0], slope[0], w)
    return out if graph else Curve(*(x.detach() for x in out))


class _Nonnegative(torch.autograd.Function):
    """The nearest nonnegative definite matrix; divided differences as derivative (Daleckii)."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(w)
        ctx.save_for_backward(values, vectors)
        if bool((values >= 0).all()):
            return w.clone()
        return (vectors * values.clamp_min(0)[..., None, :]) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        kept = values.clamp_min(0)
        gap = values[..., :, None] - values[..., None, :]
        same = gap.abs() <= 1e-12 * values.abs().amax(-1)[..., None, None]
        step = (kept[..., :, None] - kept[..., None, :]) / torch.where(same, 1.0, gap)
        step = torch.where(same, (values > 0).to(gap)[..., :, None], step)
        grad = 0.5 * (grads[0] + grads[0].mT)
        return vectors @ (step * (vectors.mT @ grad @ vectors)) @ vectors.mT


def nonnegative(w: Tensor) -> Tensor:
    """The nonnegative part of symmetric matrices, differentiable."""
    out: Tensor = _Nonnegative.apply(w)
    return out


def halved(w: Tensor) -> Tensor:
    """H with H' H = W, (*b, n, n)."""
    values, vectors = torch.linalg.eigh(w)
    return values.clamp_min(0).sqrt()[..., :, None] * vectors.mT


def pseudo(found: Curve, z: Tensor) -> tuple[Tensor, Tensor]:
    """H (*b, n, n) and y of a row at z: H'(y - H z) is the slope, H' H the curvature.

    In units in which for each state the larger of its curvature and its squared slope is one, a
    direction with a slope and no curvature gets one of 1e-6, which carries the slope.
    """
    w, slope = found.curvature, found.slope
    size = torch.maximum(w.diagonal(dim1=-2, dim2=-1), slope.square()).sqrt()
    unit = torch.where(size > 0, size, torch.ones_like(size))
    values, vectors = torch.linalg.eigh(w / unit[..., :, None] / unit[..., None, :])
    e = (vectors.mT @ (slope / unit)[..., None])[..., 0]
    idle = (e.abs() <= _NOTHING) & (values < _FLOOR)
    values = torch.where(idle, values.clamp_min(0), values.clamp_min(_FLOOR)).sqrt()
    h = (values[..., :, None] * vectors.mT) * size[..., None, :]
    e = torch.where(idle, 0.0, e / torch.where(idle, 1.0, values))
    return h, (h @ z[..., None])[..., 0] + e


@dataclass(frozen=True)
class ModePlan(Plan):
    """Rows by their mode; `emission` serves what is said of y one step ahead."""

    def absorb(
        self, model: Any, ctx: Context, mean: Tensor, root: Tensor, y: Tensor, on: Tensor
    ) -> Absorbed:
        """See `Plan`."""
        y_mean, y_cov = _ahead(model, ctx, mean, root)
        value = log_density(model, ctx, y, on)
        if not bool(on.any()):
            nothing = mean.new_zeros(mean.shape[:-1])
            return Absorbed(mean, root, nothing, y_mean, y_cov, _row(None, mean, on))
        x = _search(value, mean, root, self.iterations)
        x = _differentiable(value, mean, root, x)
        z = mean + (root @ x[..., None])[..., 0]
        found = curve(value, z)
        lower = torch.linalg.cholesky(_precision(found.curvature, root))
        post = torch.linalg.solve_triangular(lower, root.mT, upper=False).mT  # S L^-T
        increment = found.value - 0.5 * x.square().sum(-1)
        increment = increment - lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        seen = on.any(-1)
        increment = torch.where(seen, increment, torch.zeros_like(increment))
        return Absorbed(z, tria(post), increment, y_mean, y_cov, _row(found, z, on))


def _precision(w: Tensor, root: Tensor) -> Tensor:
    m = root.mT @ w @ root
    eye = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
    return 0.5 * (m + m.mT) + eye


def _newton(
    value: Callable[[Tensor], Tensor], mean: Tensor, root: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """One Newton step in x, and how much it promises."""
    found = curve(value, mean + (root @ x[..., None])[..., 0])
    slope = (root.mT @ found.slope[..., None])[..., 0] - x
    lower = torch.linalg.cholesky(_precision(found.curvature, root))
    step = torch.cholesky_solve(slope[..., None], lower)[..., 0]
    return x + step, (slope * step).sum(-1)


def _height(
    value: Callable[[Tensor], Tensor], mean: Tensor, root: Tensor
) -> Callable[[Tensor], Tensor]:
    """What is climbed in x."""

    def height(x: Tensor) -> Tensor:
        return value(mean + (root @ x[..., None])[..., 0]) - 0.5 * x.square().sum(-1)

    return height


def _differentiable(
    value: Callable[[Tensor], Tensor], mean: Tensor, root: Tensor, x: Tensor
) -> Tensor:
    """One step more, whose derivative at the mode is that of the mode; none where it would fall."""
    height = _height(value, mean, root)
    goal, _ = _newton(value, mean, root, x)
    with torch.no_grad():
        here = height(x)
        good = height(goal) >= here - _slack(here)
    return torch.where(good[..., None], goal, x)


@torch.no_grad()
def _search(
    value: Callable[[Tensor], Tensor], mean: Tensor, root: Tensor, iterations: int
) -> Tensor:
    """The mode in x by damped Newton steps, series by series; it never falls."""
    x, height = torch.zeros_like(mean), _height(value, mean, root)
    here = height(x)
    for _ in range(iterations):
        goal, promise = _newton(value, mean, root, x)
        x, here, moved = climbed(height, x, goal, here)
        if not bool((moved & (promise > torch.finfo(x.dtype).eps)).any()):
            break
    return x


def climbed(
    height: Callable[[Tensor], Tensor], x: Tensor, goal: Tensor, here: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The first of goal, half way, a quarter, ... no lower than x to rounding, series by series.

    Args:
        height: From points (*b, *) to (*b,).
        x: Where it stands.
        goal: Where it wants to go.
        here: The height of x.

    Returns:
        The new points, their heights, and which series moved.
    """
    best, top = x, here
    open_, share = torch.ones_like(here, dtype=torch.bool), 1.0
    inner = (None,) * (x.dim() - here.dim())
    for _ in range(_HALVINGS):
        trial = x + share * (goal - x)
        found = height(trial)
        good = open_ & (found >= here - _slack(here))  # False where NaN
        best = torch.where(good[(..., *inner)], trial, best)
        top = torch.where(good, found, top)
        open_ = open_ & ~good
        if not bool(open_.any()):
            break
        share *= 0.5
    return best, top, ~open_


def _slack(height: Tensor) -> Tensor:
    """The rounding of a height."""
    return 64 * torch.finfo(height.dtype).eps * (1 + height.abs())


def _ahead(
    model: Any, ctx: Context, mean: Tensor, root: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Moments of y before it is seen, by its tangent; None where the family has none."""
    with torch.no_grad():
        if rooted(model.emission(mean, ctx)) is None:
            return None, None
        y_mean, noise, slope = jacobian(emission_at(model, ctx), mean)
        return y_mean, quadratic(beside(slope @ root, noise))


def _row(found: Curve | None, z: Tensor, on: Tensor) -> tuple[Tensor, ...]:
    """The row for the core: C, d, a root of R, y, observed."""
    n = z.shape[-1]
    eye = torch.eye(n, dtype=z.dtype, device=z.device).expand(*z.shape, n)
    none = torch.zeros_like(z)
    if found is None:
        return torch.zeros_like(eye), none, eye, none, torch.zeros_like(z, dtype=torch.bool)
    with torch.no_grad():
        h, y = pseudo(Curve(*(x.detach() for x in found)), z.detach())
    return h, none, eye, y, on.any(-1, keepdim=True).expand_as(z)
