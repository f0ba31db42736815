"""Units in which the objective is a unit bowl, where few numbers are learned.

With few numbers the whole Hessian is affordable: one gradient for each. In units U with
U'(-H)U = I a quasi-Newton step is a Newton step, an entry of the score is a distance in standard
errors, and a direction in which the objective bends up, as it does where a variance came to rest
at a saddle, is seen and left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from statespace.learning.objective import Objective, slots_of
from statespace.parameters import CovarianceSlot

__all__ = ["FEW", "newton_units", "off_saddle", "variances_first"]

FEW = 16  # learned numbers up to which the whole Hessian is taken
_STEP = 1e-4  # of a difference of gradients, in units of one standard error or so
_FLAT, _UP = 1e-6, -1e-3  # information, beside what complete data would hold
_VARIANCES = 4  # steps of EM in the variances
_GAIN = 0.1  # nats per row that such a step promises, or quasi-Newton steps go on


def variances_first(objective: Objective, x: Tensor) -> Tensor:
    """A few steps of EM in the variances alone, by the score; not to a lower point.

    EM's new variance is v + 2 v^2 / T dL/dv (Fisher's identity), T the number of terms that it is
    the variance of. A covariance that is not diagonal is scaled as a whole. It sets scales that
    are off by orders of magnitude right at once, which no quasi-Newton step does.
    """
    value, gradient = objective.gradient(x)
    groups = _groups(objective)
    rows = int(objective.data.n_steps.sum())
    for _ in range(_VARIANCES if groups else 0):
        if gradient is None:
            break
        new, promised = x.clone(), 0.0
        for at, terms in groups:
            rise = float(x[at] @ gradient[at]) / (terms * rows)
            new[at] = x[at] * math.sqrt(max(1 + rise, 1e-3))
            promised += abs(rise)
        if promised < _GAIN:
            break
        there, slope = objective.gradient(new)
        if not there > value:
            break
        x, value, gradient = new, there, slope
    return x


def newton_units(objective: Objective, x: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
    """U, (P, P), and the direction (P,) in which the objective bends up most, zero if in none.

    Args:
        objective: What is climbed.
        x: The point.
        guess: Standard errors that complete data would leave, (P,).
    """
    here, columns = objective.gradient(x)[1], []
    if here is None:
        return torch.diag(guess), torch.zeros_like(x)
    for i in range(len(x)):
        column = None
        for step in (_STEP, -_STEP):
            h = torch.zeros_like(x)
            h[i] = step * guess[i]
            there = objective.gradient(x + h)[1]
            if there is not None:
                column = -guess * (there - here) / step
                break
        columns.append(torch.eye(len(x)).to(x)[i] if column is None else column)
    information = torch.stack(columns)
    values, vectors = torch.linalg.eigh(0.5 * (information + information.mT))
    units = guess[:, None] * vectors / values.abs().clamp_min(_FLAT).sqrt()
    up = units[:, 0] if float(values[0]) < _UP else torch.zeros_like(x)
    return units, up


def off_saddle(objective: Objective, x: Tensor, up: Tensor) -> Tensor:
    """The highest of some points along a direction in which the objective bends up."""
    if not bool(up.any()):
        return x
    points = [x, *(x + s * up for s in (1.0, -1.0, 0.1, -0.1))]
    values = [objective.value(p) for p in points]
    return points[values.index(max(values))]


def _groups(objective: Objective) -> list[tuple[Tensor, int]]:
    """Numbers of roots that scale together, and how many variances they stand for."""
    position, begin = {}, 0
    for p in objective.parameters:
        position[id(p)] = begin
        begin += p.numel()
    out = []
    for _, slot in slots_of(objective.model):
        if not isinstance(slot, CovarianceSlot) or id(slot.theta) not in position:
            continue
        if slot.name not in ("Q", "R") or slot.theta is None or slot.theta.dim() > 1:
            continue
        first, diagonal = position[id(slot.theta)], slot.blocks.root.labels.diagonal()
        alone = bool((slot.blocks.root.labels == torch.diag(diagonal)).all())
        if alone:
            for k in range(slot.n_free):
                at = torch.tensor([first + k])
                out.append((at, int((diagonal == k + 1).sum())))
        else:
            out.append((first + torch.arange(slot.n_free), int((diagonal != 0).sum())))
    return out
