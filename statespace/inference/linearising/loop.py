"""The loop: linearise the transition, predict, linearise the emission, condition on what was seen.

    z_t | y before t   ~  N(F m + c, [F S, L] [F S, L]')           F, c, L at the filtered belief
    y_t | y before t   ~  N(H m + d, [H S, R] [H S, R]')           H, d, R at the predicted belief
    [[H S, R], [S, 0]] -> [[V, 0], [G, S_f]],  e = V^-1 (y - H m - d),  m_f = m + G e

More iterations linearise the emission again, at the posterior, and update from the *predicted*
belief each time, so that a linear model does not change and no observation counts twice (Bell and
Cathey 1993; Garcia-Fernandez and others 2015). The increment is that of the last linearisation; at
a mode found by Taylor it is Laplace's. What is said of y one step ahead is of the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from statespace.errors import NumericalError, place
from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian import System
from statespace.inference.linearising.reading import emission_at, transition_at
from statespace.inference.linearising.rules import Affine, Rule
from statespace.inference.linearising.task import Task
from statespace.inference.linearising.update import beside, update
from statespace.interface import Context
from statespace.linalg import Covariance, quadratic, tria

__all__ = ["Absorbed", "Linearised", "Passed", "Plan", "run"]


class Absorbed(NamedTuple):
    """What became of one row.

    Attributes:
        mean, root: The belief after it.
        increment: (*b,).
        y_mean, y_cov: One step ahead; None where y has no such moments.
        row: C, d, a root of R, y and what was observed of it, of the row made linear.
    """

    mean: Tensor
    root: Tensor
    increment: Tensor
    y_mean: Tensor | None
    y_cov: Tensor | None
    row: tuple[Tensor, ...]


@dataclass(frozen=True)
class Plan:
    """What the loop does with each row.

    Attributes:
        transition: How transitions are linearised.
        emission: How emissions are.
        iterations: How often the emission is, in one row.
    """

    transition: Rule
    emission: Rule
    iterations: int = 1

    def absorb(
        self, model: Any, ctx: Context, mean: Tensor, root: Tensor, y: Tensor, on: Tensor
    ) -> Absorbed:
        """One row, from the predicted belief."""
        before, sight = (mean, root), emission_at(model, ctx)
        look = ahead = self.emission(sight, mean, root)
        increment, target, some = y.new_zeros(mean.shape[:-1]), y, bool(on.any())
        for i in range(self.iterations if some else 0):
            look = look if i == 0 else self.emission(sight, mean, root)
            target = y if sight.apart is None else look.mean + sight.apart(y, look.mean)
            mean, root, increment = update(*before, look, target, on)
        y_cov = quadratic(beside(ahead.spread, ahead.root))
        row = (look.weight, look.bias, look.root, target, on)
        return Absorbed(mean, root, increment, ahead.mean, y_cov, row)


class Passed(NamedTuple):
    """Moments of a pass, (*batch, T, ...), and the belief at its end."""

    mean: Tensor
    cov: Tensor
    predicted_mean: Tensor
    predicted_cov: Tensor
    y_mean: Tensor | None
    y_cov: Tensor | None
    increments: Tensor
    end: Gaussian


class Linearised(NamedTuple):
    """A pass as a linear-Gaussian model that varies in time.

    Attributes:
        system: Its rows; the prior is the predicted belief of the first.
        y: Observations beside their linearised means, (*batch, T, k): angles are unwrapped.
        observed: (*batch, T, k).
    """

    system: System
    y: Tensor
    observed: Tensor


@dataclass
class _Record:
    """What is kept, row by row; lists of (*batch, ...)."""

    moments: list[tuple[Tensor | None, ...]] = field(default_factory=list)
    rows: list[tuple[Tensor | None, ...]] = field(default_factory=list)
    increments: list[Tensor] = field(default_factory=list)


def run(
    model: Any, plan: Plan, task: Task, *, moments: bool = False, rows: bool = False
) -> tuple[Tensor, Passed | None, Linearised | None]:
    """One pass.

    Args:
        model: The model.
        plan: How it is linearised.
        task: Where it stands and what arrives.
        moments: Whether they are wanted.
        rows: Whether the linearised rows are.

    Returns:
        Increments (*batch, T), moments, linearised rows.

    Raises:
        NumericalError: NaN or overflow; names the series and the step.
    """
    record, seen, axis = _Record(), task.rows, len(task.batch)
    mean, root = task.belief.mean, task.belief.covariance.root
    first: tuple[Tensor, Tensor] | None = None
    for t in range(seen.y.shape[-2]):
        y, on, active = (x.select(axis, t) for x in (seen.y, seen.observed, seen.active))
        before, move = (mean, root), None
        if t + task.absorbed:
            move = plan.transition(transition_at(model, task.before.row(t)), mean, root)
            mean, root = move.mean, tria(beside(move.spread, move.root))
        predicted = (mean, root)
        first = predicted if first is None else first
        found = plan.absorb(model, task.after.row(t), mean, root, y, on)
        mean, root, increment = found[:3]
        whole = bool(active.all())
        if not whole:
            mean, root, increment = _standing(active, (mean, root, increment), before)
        record.increments.append(increment)
        if moments:
            covs = quadratic(root), quadratic(predicted[1])
            record.moments.append((mean, covs[0], predicted[0], covs[1], *found[3:5]))
        if rows:
            record.rows.append(_row(move, found.row, None if whole else active))
    increments = torch.stack(record.increments, -1)
    _check_finite(increments, mean, task)
    end = Gaussian(mean, Covariance.from_root(root))
    assert first is not None
    return (
        increments,
        _passed(record, increments, end) if moments else None,
        _linearised(record, first, task) if rows else None,
    )


def _standing(
    active: Tensor, new: tuple[Tensor, Tensor, Tensor], old: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """A series that is over stands where it ended."""
    return (
        torch.where(active[..., None], new[0], old[0]),
        torch.where(active[..., None, None], new[1], old[1]),
        torch.where(active, new[2], torch.zeros_like(new[2])),
    )


def _row(
    move: Affine | None, look: tuple[Tensor, ...], active: Tensor | None
) -> tuple[Tensor | None, ...]:
    """A, b, a root of Q, and the emission, of one row; past its end a series stands still."""
    if move is None:
        moving: tuple[Tensor | None, ...] = (None, None, None)
    else:
        moving = move.weight, move.bias, move.root
        if active is not None:
            on = active[..., None, None]
            a, b, q = moving
            eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
            moving = torch.where(on, a, eye), torch.where(on[..., 0], b, 0.0), q * on
    return (*moving, *look)


def _passed(record: _Record, increments: Tensor, end: Gaussian) -> Passed:
    """Everything with its axis of time."""
    parts: list[Any] = []
    for rows, axis in zip(zip(*record.moments, strict=True), (-2, -3) * 3, strict=True):
        some = [x for x in rows if x is not None]
        parts.append(torch.stack(some, axis) if len(some) == len(rows) else None)
    return Passed._make([*parts, increments, end])


def _linearised(record: _Record, first: tuple[Tensor, Tensor], task: Task) -> Linearised:
    rows: list[list[Any]] = [list(x) for x in zip(*record.rows, strict=True)]
    a, b, q, c, d, r, y, observed = rows
    mean, root = first
    batch, n = task.batch, mean.shape[-1]
    if a[0] is None:  # nothing leads into the first row
        a[0] = torch.eye(n, dtype=mean.dtype, device=mean.device).expand(*batch, n, n)
        b[0], q[0] = torch.zeros_like(mean), mean.new_zeros(*batch, n, 1)
    noise = [Covariance.from_root(_stack(_same_width(x), batch, 2)) for x in (q, r)]
    system = System(
        _stack(a, batch, 2), _stack(b, batch, 1), noise[0],
        _stack(c, batch, 2), _stack(d, batch, 1), noise[1],
        Gaussian(mean, Covariance.from_root(root)), frozenset("AbQCdR"),
    )  # fmt: skip
    return Linearised(system, _stack(y, batch, 1), _stack(observed, batch, 1))


def _same_width(roots: list[Tensor]) -> list[Tensor]:
    width = max(x.shape[-1] for x in roots)
    return [torch.nn.functional.pad(x, (0, width - x.shape[-1])) for x in roots]


def _stack(rows: list[Tensor], batch: torch.Size, rank: int) -> Tensor:
    whole = [x.expand(*batch, *x.shape[x.dim() - rank :]) for x in rows]
    return torch.stack(whole, -rank - 1)


def _over_series(x: Tensor) -> Tensor:
    """Any of the series, (*batch, T) -> (T,)."""
    return x.flatten(0, -2).any(0) if x.dim() > 1 else x


def _check_finite(increments: Tensor, mean: Tensor, task: Task) -> None:
    bad = torch.isnan(increments.detach()) | (increments.detach() == torch.inf)
    bad[..., -1] |= ~torch.isfinite(mean.detach()).all(-1)
    if not bool(bad.any()):
        return
    step = int(_over_series(bad).int().argmax())
    series = tuple(int(i) for i in bad[..., step].nonzero()[0]) if bad.dim() > 1 else ()
    raise NumericalError(
        f"filter: expected finite numbers, received NaN or inf at {place(series, step)} (the first "
        "place). Look at the model's densities there (a transition that overflows, a variance "
        "that is zero or infinite)."
    )
