"""Methods over whole paths: the most probable path, and Laplace's approximation about it.

    log p(y) ~ log p(z*, y) + (T n log 2 pi - log |K|) / 2,   K the curvature of the log joint at z*

The linearised system at z* has this likelihood as its own, up to what the emission's density
differs from its Gaussian at z*: no determinant of a path is formed, and no noise is inverted.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from statespace.densities import rooted
from statespace.inference.kalman.problem import Problem
from statespace.inference.kalman.smoothing import Shown, record, smooth_moments
from statespace.inference.lineargaussian import log_likelihood
from statespace.inference.linearising.implicit import moving
from statespace.inference.linearising.linear import linear
from statespace.inference.linearising.loop import Linearised, Plan
from statespace.inference.linearising.method import Linearising
from statespace.inference.linearising.mode import Curve, ModePlan, curve, log_density, pseudo
from statespace.inference.linearising.path import Found, Path, climb
from statespace.inference.linearising.smoothing import problem
from statespace.inference.linearising.task import Task, rows_of, task
from statespace.interface import State
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["OverPaths"]

_MORE = 200  # steps to stand still, where a derivative is wanted


class OverPaths(Linearising):
    """A filter whose smoother and likelihood may look at all of time at once."""

    iterations: int

    @property
    @abstractmethod
    def _over(self) -> bool:
        """Whether they do."""

    def log_likelihood(
        self, model: Any, data: Sequences, generator: Generator, state: State | None = None
    ) -> Tensor:
        """(*batch,), differentiable; Laplace's at the most probable path.

        Where a gradient is wanted the search goes on until the path stands still, and the gradient
        knows that the path moves with the parameters.
        """
        if not self._over or linear(model) is not None:
            return super().log_likelihood(model, data, generator, state)
        at = task(model, rows_of(data), self._begun(model, data, generator, state))
        path = Path.of(model, at, self._plan)
        z = self._found(model, path).z
        if not torch.is_grad_enabled():
            return _value(path, z)[0]
        end = climb(path, z, _MORE)
        z = end.z.requires_grad_()
        value, _ = _value(path, z)
        return moving(value, z, path.log_joint, at.rows.active, end.settled)

    def smooth_keeping(
        self, model: Any, data: Sequences, generator: Generator, state: State | None, keep: str
    ) -> Smoothed:
        """The most probable path, and covariances and draws of the model made linear there."""
        if not self._over or linear(model) is not None:
            return super().smooth_keeping(model, data, generator, state, keep)
        with torch.no_grad():
            at = task(model, rows_of(data), self._begun(model, data, generator, state))
            path = Path.of(model, at, self._plan)
            z = self._found(model, path).z
            value, rows = _value(path, z)
            p = problem(rows, at)
            out = smooth_moments(p, keep=keep)[1]
            out = out._replace(mean=z.movedim(-2, 0), y_mean=None, y_cov=None)
            shown = _shown(path, z, data, keep)
            return record(p, shown, moments=(value, out))

    def _found(self, model: Any, path: Path) -> Found:
        """The path, from that of the rows as the filter makes them linear."""
        with torch.no_grad():
            at = path.task
            begin = problem(self._rows(model, at), at)
            z = smooth_moments(begin, keep="means")[1].mean.movedim(0, -2)
            return climb(path, z, self.iterations)


def _value(path: Path, z: Tensor) -> tuple[Tensor, Linearised]:
    """Laplace's log-likelihood about a path, (*b,), and the rows made linear there."""
    rows = path.linearised(z)
    if isinstance(path.plan, ModePlan):
        return _by_curvature(path, z, rows)
    return _of_rows(rows, path.task), rows


def _of_rows(rows: Linearised, at: Task) -> Tensor:
    return log_likelihood(rows.system, rows.y, rows.observed, at.rows.active)


def _by_curvature(path: Path, z: Tensor, rows: Linearised) -> tuple[Tensor, Linearised]:
    """With l(z) - b'z + z'W z / 2 beside the likelihood of exp(b'z - z'W z / 2), row by row.

    The pseudo-observations are held; what they would add to a derivative is that of
    log E[exp(b'z - z'W z / 2)], the smoothed moments of z.
    """
    seen = path.task.rows
    found = curve(log_density(path.model, path.task.after, seen.y, seen.observed), z)
    some = seen.observed.any(-1)
    held = Curve(*(x.detach() for x in found))
    constant = pseudo(held, z.detach())[2] - held.value
    system = rows.system
    fixed = replace(system, C=system.C.detach(), d=system.d.detach())
    rows = Linearised(fixed, rows.y.detach(), rows.observed)
    value = _of_rows(rows, path.task)
    value = value + torch.where(some, found.value + constant, 0.0).sum(-1)
    if not torch.is_grad_enabled():
        return value, rows
    with torch.no_grad():
        out = smooth_moments(problem(_detached(rows), path.task))[1]
        mean, cov = out.mean.movedim(0, -2), out.cov.movedim(0, -3)
        square = cov + mean[..., :, None] * mean[..., None, :]
    w = found.curvature
    b = found.slope + (w @ z[..., None])[..., 0]
    along = (b * (mean - z)).sum(-1) + 0.5 * (z * (w @ z[..., None])[..., 0]).sum(-1)
    along = along - 0.5 * (w * square).sum((-2, -1))
    drift = torch.where(some, along, 0.0).sum(-1)
    return value + (drift - drift.detach()), rows


def _detached(rows: Linearised) -> Linearised:
    return Linearised(rows.system.detach(), rows.y.detach(), rows.observed)


def _shown(path: Path, z: Tensor, data: Sequences, keep: str) -> Shown:
    """What the record shows; y by its tangents, where it has moments."""
    shown = Shown(data.lengths, data.index, data.univariate, keep, "approximate", data.values)
    if not isinstance(path.plan, ModePlan):
        return shown
    if rooted(path.model.emission(z, path.task.after)) is None:
        return replace(shown, of_y=False)
    inner = Plan(path.plan.transition, path.plan.emission)
    rows = replace(path, plan=inner).linearised(z)
    seen: Problem = problem(rows, path.task)
    return replace(shown, emission=seen)
