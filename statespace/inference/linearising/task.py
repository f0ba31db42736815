"""What a pass is given: where the belief stands, what arrives, what the densities see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Size, Tensor

from statespace.beliefs import Tree
from statespace.errors import InputError, expected
from statespace.gaussian import Gaussian
from statespace.inference.linearising.reading import moments_of
from statespace.interface import Context, Row, State
from statespace.interface.walking import advance, begin, view
from statespace.linalg import Covariance, tria
from statespace.sequences import Sequences
from statespace.shapes import row_at, tmap

__all__ = ["Rows", "Task", "bare", "gaussian", "last_read", "rows_of", "starting", "task"]


@dataclass(frozen=True)
class Rows:
    """Data as a pass reads them."""

    y: Tensor  # (*batch, T, m), finite
    observed: Tensor  # (*batch, T, m), False beyond a series' end
    active: Tensor  # (*batch, T), False beyond a series' end
    u: Tensor  # (*batch, T, p)


@dataclass(frozen=True)
class Task:
    """One pass over T rows.

    Attributes:
        belief: p(z_1) where `absorbed` is 0, else p(z_t | y up to t) of the last row absorbed. Its
            root is lower triangular, (*batch, n, n).
        absorbed: Rows absorbed before.
        before: What the transitions into the T rows see, over time (`before.t` runs on from
            `absorbed`).
        after: What their emissions see.
        rows: What arrives.
        memory: The memory after the last row.
    """

    belief: Gaussian
    absorbed: int
    before: Context
    after: Context
    rows: Rows
    memory: Tree

    @property
    def batch(self) -> Size:
        """The batch of series."""
        return self.rows.y.shape[:-2]


def rows_of(data: Sequences | Row) -> Rows:
    """All rows of the data; a single row as one of many."""
    if isinstance(data, Row):
        y, on, u = (x.unsqueeze(-2) for x in (data.y, data.observed, data.u))
        return Rows(y, on, data.active[..., None], u)
    return Rows(data.values, data.observed, data.active, data.inputs)


def starting(model: Any, batch: Size, condition: Tree) -> State:
    """Before any row. What p(z_1) sees of the first row is not there yet, and stands at zero."""
    at = bare(model, batch, condition, torch.default_generator)
    t = torch.zeros((), dtype=torch.int64, device=model.device)
    u = torch.zeros(*batch, model.input_dim, dtype=model.dtype, device=model.device)
    return replace(at, belief=gaussian(model, Context(t, u, view(model, at.memory, u)), batch))


def bare(model: Any, batch: Size, condition: Tree, generator: Generator) -> State:
    """The same with no belief, for a pass: that makes its own, of what p(z_1) sees."""
    at = begin(model, batch, condition)
    y = at.y if "y" in model.reads else at.y[..., :0]
    none: Any = None
    return State(0, none, at.memory, y, generator)


def task(model: Any, rows: Rows, state: State) -> Task:
    """A pass that goes on from a state."""
    before, after, memory = _contexts(model, rows, state)
    if state.t:
        belief = _belief(state)
    else:
        belief = gaussian(model, before.row(0), rows.y.shape[:-2])
    return Task(belief, state.t, before, after, rows, memory)


def _contexts(model: Any, rows: Rows, state: State) -> tuple[Context, Context, Tree]:
    """What transitions and emissions see, over time, and the memory at the end."""
    t = torch.arange(rows.y.shape[-2], device=rows.y.device) + state.t
    plain = Context(t, rows.u, rows.u[..., :0])
    if not model.reads:
        return plain, plain, state.memory
    memory, y, before, after = state.memory, state.y, [], []
    for i in range(rows.y.shape[-2]):
        u, on = rows.u[..., i, :], rows.active[..., i]
        early = view(model, memory, u)
        new, late = advance(model, memory, None, y, t[i], u)
        memory = tmap(lambda a, b, on=on: _stand(on, a, b), new, memory)
        before.append(late if model.order == "h then z" else early.expand_as(late))
        after.append(late)
        y = rows.y[..., i, :]
    seen = [Context(t, rows.u, torch.stack(h, -2)) for h in (before, after)]
    return seen[0], seen[1], memory


def _stand(active: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """A series that is over keeps its memory."""
    return torch.where(active[..., None], new, old)


def last_read(model: Any, rows: Rows, state: State) -> Tensor:
    """The y that the memory reads next, (*batch, m); zero wide where it reads none."""
    if "y" not in model.reads:
        return state.y
    at = (rows.active.sum(-1) - 1).clamp_min(0)
    last = row_at(rows.y, at, at.dim())[..., 0, :]
    return torch.where(rows.active.any(-1)[..., None], last, state.y)


def gaussian(model: Any, ctx: Context, batch: Size) -> Gaussian:
    """p(z_1) over the batch, its root lower triangular."""
    n = model.latent.size
    mean, root = moments_of(model.initial(ctx), batch, n, "initial")
    root = tria(root).expand(*batch, n, n)
    return Gaussian(mean, Covariance.from_root(root))


def _belief(state: State) -> Gaussian:
    if isinstance(state.belief, Gaussian):
        return state.belief
    todo = "Take the state from start(), step() or filter() with the same method."
    got = f"a {type(state.belief).__name__}"
    raise InputError(expected("state", "a Gaussian belief", got, todo))
