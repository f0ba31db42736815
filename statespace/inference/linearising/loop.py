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
from statespace.linalg import Covariance, quadratic, tria

__all__ = ["Linearised", "Passed", "Plan", "run", "update"]

_LOG_2PI = 1.8378770664093453


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


class Passed(NamedTuple):
    """Moments of a pass, (*batch, T, ...), and the belief at its end."""

    mean: Tensor
    cov: Tensor
    predicted_mean: Tensor
    predicted_cov: Tensor
    y_mean: Tensor
    y_cov: Tensor
    increments: Tensor
    end: Gaussian


class Linearised(NamedTuple):
    """A pass as a linear-Gaussian model that varies in time.

    Attributes:
        system: Its rows; the prior is the predicted belief of the first.
        y: Observations beside their linearised means, (*batch, T, m): angles are unwrapped.
        increments: (*batch, T).
    """

    system: System
    y: Tensor
    increments: Tensor


@dataclass
class _Record:
    """What is kept, row by row; lists of (*batch, ...)."""

    moments: list[tuple[Tensor, ...]] = field(default_factory=list)
    rows: list[tuple[Tensor, ...]] = field(default_factory=list)
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
    belief, record, seen = task.belief, _Record(), task.rows
    some = _over_series(seen.observed.any(-1)).tolist()
    mean, root = belief.mean, belief.covariance.root
    first = None
    for t, looked in enumerate(some):
        y, on, active = (x.select(len(task.batch), t) for x in (seen.y, seen.observed, seen.active))
        move = None
        before = mean, root
        if t + task.absorbed:
            move = plan.transition(transition_at(model, task.before.row(t)), mean, root)
            mean, root = move.mean, tria(_beside(move.spread, move.root))
        first = (mean, root) if first is None else first
        predicted, sight = (mean, root), emission_at(model, task.after.row(t))
        look = plan.emission(sight, mean, root)
        ahead = look
        increment = torch.zeros_like(mean[..., 0]) if mean.shape[-1] else y.new_zeros(task.batch)
        target = y
        if looked:
            for i in range(plan.iterations):
                look = look if i == 0 else plan.emission(sight, mean, root)
                target = y if sight.apart is None else look.mean + sight.apart(y, look.mean)
                mean, root, increment = update(*predicted, look, target, on)
        whole = bool(active.all())
        if not whole:
            mean, root, increment = _standing(active, (mean, root, increment), before)
        record.increments.append(increment)
        if moments:
            y_cov = quadratic(_beside(ahead.spread, ahead.root))
            record.moments.append((mean, quadratic(root), predicted[0], quadratic(predicted[1]),
                                   ahead.mean, y_cov))  # fmt: skip
        if rows:
            record.rows.append(_row(move, look, target, None if whole else active))
    increments = torch.stack(record.increments, -1)
    _check_finite(increments, mean, task)
    end = Gaussian(mean, Covariance.from_root(root))
    assert first is not None
    return (
        increments,
        _passed(record, increments, end) if moments else None,
        _linearised(record, increments, first, task) if rows else None,
    )


def update(
    mean: Tensor, root: Tensor, look: Affine, y: Tensor, observed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """N(mean, root root') conditioned on the observed entries of y; and their log density.

    Args:
        mean: (*b, n).
        root: (*b, n, n).
        look: The emission, linearised here or elsewhere.
        y: (*b, m), finite.
        observed: (*b, m).

    Returns:
        Mean, lower-triangular root, log density (*b,), 0 where nothing was observed.
    """
    m, on = y.shape[-1], observed.to(y.dtype)
    spread, noise = look.weight @ root, look.root
    if not bool(observed.all()):
        spread, noise = spread * on[..., None], noise * on[..., None]
        noise = _beside(noise, torch.diag_embed(1 - on))
    top = _beside(spread, noise)
    bottom = torch.nn.functional.pad(root, (0, top.shape[-1] - root.shape[-1]))
    lead = torch.broadcast_shapes(top.shape[:-2], bottom.shape[:-2])
    both = torch.cat([x.expand(*lead, *x.shape[-2:]) for x in (top, bottom)], -2)
    both = tria(both)
    v, g, s = both[..., :m, :m], both[..., m:, :m], both[..., m:, m:]
    residual = torch.where(observed, y - look.at(mean), torch.zeros_like(y))
    e = torch.linalg.solve_triangular(v, residual[..., None], upper=False)
    density = -0.5 * (e[..., 0].square() + on * _LOG_2PI).sum(-1)
    density = density - v.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return mean + (g @ e)[..., 0], s, density


def _beside(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[:-1] != b.shape[:-1]:
        lead = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
        a, b = a.expand(*lead, a.shape[-1]), b.expand(*lead, b.shape[-1])
    return torch.cat([a, b], -1)


def _standing(
    active: Tensor, new: tuple[Tensor, Tensor, Tensor], old: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """A series that is over stands where it ended."""
    return (
        torch.where(active[..., None], new[0], old[0]),
        torch.where(active[..., None, None], new[1], old[1]),
        torch.where(active, new[2], torch.zeros_like(new[2])),
    )


def _row(move: Affine | None, look: Affine, y: Tensor, active: Tensor | None) -> tuple[Any, ...]:
    """A, b, root of Q, C, d, root of R and y of one row; past its end a series stands still."""
    if move is None:
        moving: tuple[Tensor | None, ...] = (None, None, None)
    else:
        moving = move.weight, move.bias, move.root
        if active is not None:
            on = active[..., None, None]
            a, b, q = moving
            eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
            moving = torch.where(on, a, eye), torch.where(on[..., 0], b, 0.0), q * on
    return (*moving, look.weight, look.bias, look.root, y)


def _passed(record: _Record, increments: Tensor, end: Gaussian) -> Passed:
    mean, cov, before, before_cov, y_mean, y_cov = zip(*record.moments, strict=True)
    stacked = [torch.stack(x, -2) for x in (mean, before, y_mean)]
    covs = [torch.stack(x, -3) for x in (cov, before_cov, y_cov)]
    return Passed(stacked[0], covs[0], stacked[1], covs[1], stacked[2], covs[2], increments, end)


def _linearised(
    record: _Record, increments: Tensor, first: tuple[Tensor, Tensor], task: Task
) -> Linearised:
    a, b, q, c, d, r, y = (list(x) for x in zip(*record.rows, strict=True))
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
    return Linearised(system, _stack(y, batch, 1), increments)


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
    bad = ~torch.isfinite(increments.detach())
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
