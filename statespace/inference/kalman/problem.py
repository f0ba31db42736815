"""From a model, its data and a state to the arrays of the core."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.gaussian import AffineConditional
from statespace.inference.kalman.belief import KalmanBelief
from statespace.inference.lineargaussian import Start, System, start
from statespace.inference.lineargaussian.layout import Layout
from statespace.interface import Context, State
from statespace.linalg import Covariance
from statespace.sequences import Sequences


@dataclass(frozen=True)
class Problem:
    """One call: the system over the rows asked for, with a row in front where it continues."""

    system: System
    given: Start | None  # None for the system's own prior
    y: Tensor
    observed: Tensor
    active: Tensor
    skip: int  # rows in front that are not the caller's
    gaps: bool = False  # NaN in y says what was not observed, and `observed` nothing
    layout: Layout | None = None  # of complete data and data with gaps, where arrays are known

    @cached_property
    def begin(self) -> Start:
        """The start; the system's own is worked out when it is asked for."""
        return start(self.system.detach()) if self.given is None else self.given

    @cached_property
    def parted(self) -> Problem:
        """The same with what was observed apart, and 0 where nothing was."""
        if not self.gaps:
            return self
        observed = ~torch.isnan(self.y)
        y = self.y.masked_fill(~observed, 0)
        return replace(self, y=y, observed=observed, gaps=False, layout=None)


@dataclass(frozen=True)
class Rows:
    """Data as the core reads them."""

    y: Tensor  # (*batch, T, m)
    observed: Tensor
    active: Tensor  # (*batch, T)
    u: Tensor  # (*batch, [T,] p)


def rows_of(data: Sequences) -> Rows:
    """All rows of the data."""
    return Rows(data.values, data.observed, data.active, data.inputs)


def like(model: Any) -> dict[str, Any]:
    """The dtype and device of a model."""
    some = next(iter(model.parameters()), None)
    some = next(iter(model.buffers())) if some is None else some
    return {"dtype": some.dtype, "device": some.device}


def problem(model: Any, rows: Rows, state: State | None, *, graph: bool = False) -> Problem:
    """The arrays of one call, continuing from `state` where there is one.

    Continuing puts one unobserved row in front, in which the state stands.
    """
    u = rows.u if rows.u.dim() == rows.y.dim() else rows.u.unsqueeze(-2)
    first = 0 if state is None else state.t
    system = system_of(model, u, first)
    system = system if graph else system.detach()
    y, observed, active = rows.y, rows.observed, rows.active
    if state is None:
        return Problem(system, None, y, observed, active, 0)
    belief = _belief(state)
    begin = Start(belief.x, belief.s, belief.rows)
    if state.t == 0:
        return Problem(system, begin, y, observed, active, 0)
    if belief.uneven and _varies(model, u, first):
        raise InputError(
            expected(
                "state",
                "series that all ended at one row, where parameters vary in time",
                "one of series of unequal length",
                "Continue the series one by one, each from a state of its own.",
            )
        )
    front = torch.zeros_like
    y = torch.cat([front(y[..., :1, :]), y], -2)
    observed = torch.cat([front(observed[..., :1, :]), observed], -2)
    active = torch.cat([~front(active[..., :1]), active], -1)
    return Problem(_with_front(system), begin, y, observed, active, 1)


def _belief(state: State) -> KalmanBelief:
    if isinstance(state.belief, KalmanBelief):
        return state.belief
    todo = "Take the state from start(), step() or filter() with the Kalman method."
    got = f"a {type(state.belief).__name__}"
    raise InputError(expected("state", "the belief of a Kalman filter", got, todo))


def _varies(model: Any, u: Tensor, first: int) -> bool:
    """Whether parameters, and not only inputs, change from row to row."""
    quiet = system_of(model, torch.zeros_like(u), first)
    moving = [x for k, x in (("b", quiet.b), ("d", quiet.d)) if k in quiet.varies]
    drift = any(bool((x != x[..., :1, :]).any()) for x in moving)
    return drift or bool(quiet.varies & set("AQCR"))


def _with_front(system: System) -> System:
    """A row before the first, at which the state stands; what it says is never used."""

    def double(x: Tensor, axis: int) -> Tensor:
        return torch.cat([x.narrow(axis, 0, 1), x], axis)

    parts: dict[str, Any] = {}
    for name in "AbQCdR":
        value = getattr(system, name)
        if name in system.varies:
            axis = -2 if name in "bd" else -3
            change = partial(double, axis=axis)
            value = value.map(change) if isinstance(value, Covariance) else change(value)
        parts[name] = value
    return System(**parts, prior=system.prior, varies=system.varies)


def system_of(model: Any, inputs: Tensor, first: int) -> System:
    """The arrays of a linear-Gaussian model over rows first, first + 1, ..., inputs (*, T, p)."""
    t = torch.arange(first, first + inputs.shape[-2], device=inputs.device)
    ctx = Context(t, inputs, inputs.new_zeros(*inputs.shape[:-1], 0))
    once = Context(t[0], inputs[..., 0, :], ctx.h[..., 0, :])
    moves: AffineConditional = model.dynamics(ctx)
    reads: AffineConditional = model.readout(ctx)
    names = {"weight": "AC", "bias": "bd", "noise": "QR"}
    varies = {names[v][i] for i, part in enumerate((moves, reads)) for v in part.varies}
    return System(
        moves.weight,
        moves.bias,
        moves.noise,
        reads.weight,
        reads.bias,
        reads.noise,
        model.prior(once),
        frozenset(varies),
    )
