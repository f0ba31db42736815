"""Where compiled loops answer first: models that say they are activations of affine maps.

Each function is asked before the generic loop, with the network of the model over the rows of the
task, and gives what that loop gives (held equal by a test) or None: the generic loop. That answers
where an activation has no name, where parameters differ from series to series or vary in time, on
a GPU, where an innovation has no variance to rounding, and where numbers overflow.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian.backward import Smooth, clip
from statespace.inference.linearising.adjoint import HELD, likelihood
from statespace.inference.linearising.loop import Passed, Plan
from statespace.inference.linearising.posed import Posed, pose
from statespace.inference.linearising.task import Task
from statespace.interface import Network
from statespace.kernels import Ends, Rows
from statespace.kernels import Smooth as Moments
from statespace.linalg import Covariance, tria

__all__ = ["log_likelihood", "moments", "smooth"]


def log_likelihood(net: Network, plan: Plan, task: Task) -> Tensor | None:
    """The sum of the increments, (*batch,), differentiable in every array of the network."""
    posed = _posed(net, plan, task)
    if posed is None or task.rows.y.requires_grad:
        return None
    wanted = torch.is_grad_enabled() and _requires_grad(net, task)
    if wanted and posed.points is not None:
        return None
    n, segments = posed.n, -(-posed.rows // HELD) if wanted else 0
    numbers = (2 * n + n * (n + 1) // 2) * posed.width
    marks = np.empty((posed.tasks, segments, numbers), posed.number)
    value = _filter(posed, marks=marks)
    if value is None:
        return None
    return likelihood(value, marks, posed, net) if wanted else posed.back(value)


def moments(net: Network, plan: Plan, task: Task) -> Passed | None:
    """Filtered and predicted moments; without a graph."""
    posed = _posed(net, plan, task)
    if posed is None:
        return None
    n, m, rows = posed.n, posed.m, (1, posed.series, posed.rows)
    last = task.rows.active.sum(-1).reshape(1, -1).expand(rows[:2]) - 1

    def room(*shape: int) -> NDArray[Any]:
        return np.empty(shape, posed.number)

    ends = Ends(
        room(*rows, n), room(*rows, n), room(*rows), room(1, 2, posed.series, n),
        np.zeros((1, 2, posed.series, n, n), posed.number), room(*rows[:2]),
        last.contiguous().numpy(),
    )  # fmt: skip
    out = Rows(ends, room(2, *rows, n, n), room(*rows, m), room(*rows, m, m))
    if _filter(posed, out=out) is None:
        return None
    mean, before = (posed.turn(posed.back(x), -1) for x in ends[:2])
    cov, before_cov = (posed.back(x) for x in out.covs)
    y_mean, y_cov = (posed.back(x) for x in out[2:])
    gains = posed.back(ends.increments)
    return Passed(mean, cov, before, before_cov, y_mean, y_cov, gains, _end(posed, ends))


def smooth(net: Network, plan: Plan, task: Task, keep: str) -> tuple[Tensor, Smooth] | None:
    """The log-likelihood and smoothed moments, time first, as the core gives them.

    Those of y are left to be imputed; what `keep` does not hold has no rows.
    """
    posed = _posed(net, plan, task)
    if posed is None or posed.points is not None:
        return None
    n, rows, lead = posed.n, posed.rows, (1, posed.series)
    q = net.dynamics.noise.matrix.detach().reshape(1, 1, n, n).contiguous().numpy()
    out = Moments(
        np.empty((*lead, rows, n), posed.number),
        np.empty((*lead, 0 if keep == "means" else rows, n, n), posed.number),
        np.empty((*lead, rows - 1 if keep == "all" else 0, n, n), posed.number),
        q,
    )
    value, bad = np.empty((2, 1, posed.series))
    posed.run("smooth_network", value, bad, out)
    if bad.any() or not np.isfinite(value).all():
        return None
    mean, cov, cross = (posed.back(x) for x in out[:3])
    cov, clipped = clip(cov)
    found = Smooth(
        mean.movedim(-2, 0), cov.movedim(-3, 0), cross.movedim(-3, 0), None, None, clipped
    )
    return posed.back(value), found


def _posed(net: Network, plan: Plan, task: Task) -> Posed | None:
    if plan.iterations > 1 or plan.transition != plan.emission:
        return None
    return pose(net, task, plan.transition)


def _requires_grad(net: Network, task: Task) -> bool:
    channels = (net.dynamics, net.readout)
    tensors = [x for c in channels for x in (c.weight, c.bias, c.noise.matrix)]
    first = net.prior if task.absorbed == 0 else task.belief
    return any(x.requires_grad for x in (*tensors, first.mean, first.covariance.matrix))


def _filter(
    posed: Posed, *, marks: NDArray[Any] | None = None, out: Rows | None = None
) -> NDArray[Any] | None:
    """Log-likelihoods (1, series); None where the generic loop is to be asked."""
    value, bad = np.empty((2, 1, posed.series))
    told = _nothing(posed.number) if out is None else out
    if posed.points is None:
        marks = np.empty((0, 0, 0), posed.number) if marks is None else marks
        posed.run("filter_network", value, bad, HELD, marks, told)
    else:
        posed.run("filter_points", value, bad, posed.points, told)
    return None if bad.any() or not np.isfinite(value).all() else value


@cache
def _nothing(number: Any) -> Rows:
    """No rows: one compiled loop serves whoever wants them and whoever does not."""
    axes = (4, 4, 3, 4, 5, 2, 2, 6, 4, 5)
    empty = [np.empty((1,) + (0,) * (k - 1), number) for k in axes]
    empty[6] = np.empty((1, 0), np.int64)
    return Rows(Ends._make(empty[:7]), *(x for x in empty[7:]))


def _end(posed: Posed, ends: Ends) -> Gaussian:
    """The belief at the last row of each series; as it was where there is none."""
    mean = posed.turn(posed.back(ends.end[:, 1]), -1)
    root = tria(posed.turn(posed.back(ends.roots[:, 1]), -1, -2))
    first = posed.task.belief
    none = ~posed.task.rows.active.any(-1).expand(posed.task.batch)
    if bool(none.any()):
        mean = torch.where(none[..., None], first.mean.detach(), mean)
        root = torch.where(none[..., None, None], first.covariance.root.detach(), root)
    return Gaussian(mean, Covariance.from_root(root))
