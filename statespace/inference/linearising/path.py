"""All of time at once: a model made linear along a path, and the climb to its most probable path.

A Gauss-Newton step is a smoother of the core: with every row made linear at the path, the smoothed
mean is the maximum of the linearised log joint (Bell 1994). A step is halved until the log joint
does not fall; near the end Newton's own steps, which know all of the curvature, take its place.
Where noise is singular the log joint has no number off its plane, and whole steps
are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.inference.kalman.smoothing import smooth_moments
from statespace.inference.lineargaussian import System
from statespace.inference.linearising.implicit import solved
from statespace.inference.linearising.loop import Linearised, Plan
from statespace.inference.linearising.mode import (
    ModePlan,
    climbed,
    curve,
    log_density,
    pseudo,
)
from statespace.inference.linearising.reading import emission_at, moments_of, transition_at
from statespace.inference.linearising.smoothing import problem
from statespace.inference.linearising.task import Task
from statespace.inference.linearising.update import beside
from statespace.linalg import Covariance, psd_root, tria

__all__ = ["Found", "Path", "at_the_posterior", "climb"]


_NEAR = 0.1  # nats that a step promises where Newton's own takes over


@dataclass(frozen=True)
class Path:
    """A task whose paths are looked at.

    Attributes:
        model: The model.
        task: Where it stands and what arrives.
        plan: How rows are linearised.
        first: p(z) at the first row before it is seen; a state is moved into it once.
    """

    model: Any
    task: Task
    plan: Plan
    first: Gaussian

    @classmethod
    def of(cls, model: Any, task: Task, plan: Plan) -> Path:
        """From the belief that the task begins with."""
        first = task.belief
        if task.absorbed:
            mean, root = first.mean, first.covariance.root
            move = plan.transition(transition_at(model, task.before.row(0)), mean, root)
            first = Gaussian(move.mean, Covariance.from_root(tria(beside(move.spread, move.root))))
        return cls(model, task, plan, first)

    def linearised(self, z: Tensor, root: Tensor | None = None) -> Linearised:
        """The rows made linear at N(z, root root'), (*b, T, n) and (*b, T, n, n)."""
        root = (
            torch.zeros_like(z)[..., None].expand(*z.shape, z.shape[-1]) if root is None else root
        )
        c, d, r, y, on = self._emission(z, root)
        a, b, q = self._moves(z, root)
        varies = frozenset("AbQCdR")
        noise, seen = Covariance.from_root(q), Covariance.from_root(r)
        return Linearised(System(a, b, noise, c, d, seen, self.first, varies), y, on)

    def _moves(self, z: Tensor, root: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A, b and a root of Q; the first row is not used, and past its end a series stands."""
        n, rows = z.shape[-1], self.task.rows
        eye = torch.eye(n, dtype=z.dtype, device=z.device).expand(*z.shape, n)
        if z.shape[-2] == 1:
            return eye, torch.zeros_like(z), torch.zeros_like(eye)
        ctx = self.task.before.rows(1, None)
        at, s = z[..., :-1, :], root[..., :-1, :, :]
        move = self.plan.transition(transition_at(self.model, ctx), at, s)
        noise = move.root.expand(*at.shape, move.root.shape[-1])
        on = rows.active[..., 1:, None, None]
        a = torch.where(on, move.weight, eye[..., 1:, :, :])
        b = torch.where(on[..., 0], move.bias, 0.0)
        a, b = (
            torch.cat([eye[..., :1, :, :], a], -3),
            torch.cat([torch.zeros_like(z[..., :1, :]), b], -2),
        )
        q = noise * on
        return a, b, torch.cat([torch.zeros_like(q[..., :1, :, :]), q], -3)

    def _emission(self, z: Tensor, root: Tensor) -> tuple[Tensor, ...]:
        """C, d, a root of R, y and what was observed of it."""
        rows, ctx = self.task.rows, self.task.after
        if isinstance(self.plan, ModePlan):
            h, y = pseudo(curve(log_density(self.model, ctx, rows.y, rows.observed), z), z)
            some = rows.observed.any(-1, keepdim=True)
            eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device).expand(h.shape)
            h, y = torch.where(some[..., None], h, 0.0), torch.where(some, y, 0.0)
            return h, torch.zeros_like(z), eye, y, some.expand(z.shape)
        sight = emission_at(self.model, ctx)
        look = self.plan.emission(sight, z, root)
        y = rows.y if sight.apart is None else look.mean + sight.apart(rows.y, look.mean)
        noise = look.root.expand(*y.shape, look.root.shape[-1])
        return look.weight, look.bias, noise, y, rows.observed

    def log_joint(self, z: Tensor) -> Tensor:
        """Log p(z, y), (*sample, *b); NaN where noise is singular."""
        rows, n, model = self.task.rows, z.shape[-1], self.model
        start = _log_normal(z[..., 0, :], self.first.mean, self.first.covariance.root)
        total = log_density(model, self.task.after, rows.y, rows.observed)(z).sum(-1) + start
        if z.shape[-2] == 1:
            return total
        at, ctx = z[..., :-1, :], self.task.before.rows(1, None)
        mean, root = moments_of(model.transition(at, ctx), at.shape[:-1], n, "transition")
        moves = _log_normal(z[..., 1:, :], mean, root)
        return total + torch.where(rows.active[..., 1:], moves, 0.0).sum(-1)

    def squares(self, z: Tensor) -> Tensor:
        """q: the squares of the noise that the path has, in standard units, (*b,)."""
        first, model, n = self.first, self.model, z.shape[-1]
        q = _squares(z[..., 0, :] - first.mean, first.covariance.root)
        if z.shape[-2] == 1:
            return q
        at, ctx = z[..., :-1, :], self.task.before.rows(1, None)
        mean, root = moments_of(model.transition(at, ctx), at.shape[:-1], n, "transition")
        moves = _squares(z[..., 1:, :] - mean, root)
        return q + torch.where(self.task.rows.active[..., 1:], moves, 0.0).sum(-1)

    def slope(self, z: Tensor) -> Tensor:
        """The gradient of the log joint, (*b, T, n)."""
        with torch.enable_grad():
            at = z.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.log_joint(at).sum(), at)
        return found


def _log_normal(x: Tensor, mean: Tensor, root: Tensor) -> Tensor:
    """Without the constant; NaN where the root is singular."""
    lower = tria(root)
    pivots = lower.diagonal(dim1=-2, dim2=-1).abs()
    eps = torch.finfo(x.dtype).eps
    singular = (pivots <= 8 * x.shape[-1] * eps * lower.norm(dim=-1)).any(-1)
    residual = x - mean
    if bool(singular.any()):
        return residual.sum(-1) * torch.nan
    lower = lower.expand(*residual.shape, lower.shape[-1])
    e = torch.linalg.solve_triangular(lower, residual[..., None], upper=False)[..., 0]
    return -0.5 * e.square().sum(-1) - pivots.log().sum(-1)


def _squares(x: Tensor, root: Tensor) -> Tensor:
    """|S^-1 x|^2, (*b,); of what lies in the range of S where it is singular."""
    scale = root.detach().norm(dim=-1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # rank does not hang on units
    rounding = 64 * x.shape[-1] * torch.finfo(x.dtype).eps
    inverse = torch.linalg.pinv(root / scale[..., None], rtol=rounding)
    return (inverse @ (x / scale)[..., None])[..., 0].square().sum(-1)


class Found(NamedTuple):
    """Where a climb ended, (*b, T, n), and whether each series stands still there, (*b,)."""

    z: Tensor
    settled: Tensor


@torch.no_grad()
def climb(path: Path, z: Tensor, iterations: int) -> Found:
    """Gauss-Newton from z, and Newton where that is near, with steps that never fall.

    A path stands still where a step promises no more than rounding: half the product of step and
    slope is what the log joint would gain if it were the quadratic that the step takes it for.

    Args:
        path: What is climbed.
        z: Where it begins, (*b, T, n).
        iterations: How many steps at the most.
    """
    here, eps = path.log_joint(z), torch.finfo(z.dtype).eps
    measured = bool(torch.isfinite(here).all())
    settled = torch.zeros_like(here, dtype=torch.bool)
    for _ in range(iterations):
        p = problem(path.linearised(z), path.task)
        goal = smooth_moments(p, keep="means")[1].mean.movedim(0, -2)
        goal = torch.where(path.task.rows.active[..., None], goal, z)
        if measured:
            slope = path.slope(z)
            promise = 0.5 * (slope * (goal - z)).sum((-2, -1)).abs()
            if bool((promise < _NEAR).all()):
                turn = solved(path.log_joint, z, path.task.rows.active, slope)
                goal = goal if turn is None else z + turn
                promise = 0.5 * (slope * (goal - z)).sum((-2, -1)).abs()
            settled = promise <= eps * z.shape[-2]
            z, here, moved = climbed(path.log_joint, z, goal, here)
        else:
            settled = ((goal - z).abs() <= eps**0.5 * (1 + z.abs())).all(-1).all(-1)
            z, moved = goal, ~settled
        if not bool((moved & ~settled).any()):
            break
    return Found(z, settled)


@torch.no_grad()
def at_the_posterior(model: Any, plan: Plan, at: Task, rows: Linearised) -> Linearised:
    """Rows made linear at the smoothed beliefs of such rows, `plan.iterations` times."""
    path = Path.of(model, at, plan)
    for _ in range(plan.iterations):
        out = smooth_moments(problem(rows, at), keep="marginals")[1]
        mean, cov = out.mean.movedim(0, -2), out.cov.movedim(0, -3)
        rows = path.linearised(mean, tria(psd_root(0.5 * (cov + cov.mT))))
    return rows
