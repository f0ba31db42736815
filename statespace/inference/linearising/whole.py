"""Methods over whole paths: the most probable path, and Laplace's approximation about it.

    log p(y) ~ log p(z*, y) + (T n log 2 pi - log |K|) / 2,   K the curvature of the log joint at z*

No determinant of a path is formed: where y is Gaussian this is the likelihood of the system
linearised at z*, and elsewhere that of a system with the curvature of log p(y | z) as its data.
"""

from __future__ import annotations

import math
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
from statespace.inference.linearising.mode import ModePlan, curve, halved, log_density
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

        The gradient is that at the path which stands still, to which the search goes on, and knows
        that this path moves with the parameters; the value is that after `iterations` steps.
        """
        if not self._over or linear(model) is not None:
            return super().log_likelihood(model, data, generator, state)
        at = task(model, rows_of(data), self._begun(model, data, generator, state))
        path = Path.of(model, at, self._plan)
        found = self._found(model, path)
        if not torch.is_grad_enabled():
            return _value(path, found.z)[0]
        end = found if bool(found.settled.all()) else climb(path, found.z, _MORE)
        z = end.z.requires_grad_()
        value = moving(_value(path, z)[0], z, path.log_joint, at.rows.active, end.settled)
        if end is found:
            return value
        with torch.no_grad():
            stopped = _value(path, found.z)[0]
        return value + (stopped - value).detach()

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
    """About z the log joint is l(z) - q(z) / 2 - x'K x / 2, x the distance from z.

    The integral of the last is the likelihood of a system without offsets of which H x = 0 was
    seen, H' H = W. H is held; what it would add to a derivative is that of E[-x'W x / 2].
    """
    seen = path.task.rows
    found = curve(log_density(path.model, path.task.after, seen.y, seen.observed), z)
    some = seen.observed.any(-1)
    zero, old = torch.zeros_like(z), rows.system
    prior = replace(old.prior, loc=zero[..., 0, :])
    system = replace(old, b=zero, d=zero, C=halved(found.curvature.detach()), prior=prior)
    rows = Linearised(system, zero.detach(), some[..., None].expand(z.shape))
    value = _of_rows(rows, path.task) - 0.5 * path.squares(z)
    constant = 0.5 * math.log(2 * math.pi) * z.shape[-1]
    value = value + torch.where(some, found.value + constant, 0.0).sum(-1)
    if not torch.is_grad_enabled():
        return value, rows
    with torch.no_grad():
        cov = smooth_moments(problem(_detached(rows), path.task))[1].cov.movedim(0, -3)
    drift = -0.5 * torch.where(some, (found.curvature * cov).sum((-2, -1)), 0.0).sum(-1)
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
