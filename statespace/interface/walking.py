"""A model in time: what its densities see at each row, all rows at once or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from statespace.beliefs import Finite, Real, Tree, map_space, rank
from statespace.densities import observed_log_prob
from statespace.interface.paths import NoPath
from statespace.interface.values import Context
from statespace.sequences import Sequences
from statespace.shapes import shift, tmap

__all__ = [
    "Moment",
    "advance",
    "begin",
    "contexts",
    "joint",
    "prior_at",
    "row_of_z",
    "run_freely",
    "spread",
    "stack_time",
    "time_axis",
    "view",
]


@dataclass(frozen=True)
class Moment:
    """Where a model stands: z_t, the memory and y_t after t rows, all over one leading shape."""

    t: int
    z: Tree
    memory: Tree
    y: Tensor


def spread(memory: Tree, shape: Sequence[int]) -> Tree:
    """The leaves of a memory, one event axis each, over a leading shape."""
    return tmap(lambda leaf: leaf.expand(*shape, leaf.shape[-1]), memory)


def view(model: Any, memory: Tree, u: Tensor) -> Tensor:
    """h, zero wide where there is no memory."""
    return u[..., :0] if isinstance(model.path, NoPath) else model.path.read(memory)


def begin(model: Any, shape: Sequence[int], condition: Tree, *, drop: int = 0) -> Moment:
    """The model before the first row, over (*sample, *batch).

    Args:
        model: The model.
        shape: The leading shape.
        condition: What the memory starts from.
        drop: How many leading axes of `shape` are sample axes, which the condition lacks.
    """
    z, y = model.origin(Size(shape))
    memory = spread(model.path.start(Size(shape[drop:]), condition), shape)
    return Moment(0, z, memory, y)


def advance(
    model: Any, memory: Tree, z: Tree, y: Tensor, t: Tensor, u: Tensor
) -> tuple[Tree, Tensor]:
    """The memory after one more row, and h."""
    if not model.reads:
        return memory, view(model, memory, u)
    x = model.feed(*_looked_at(model, z, y), Context(t, u, u[..., :0]))
    memory = model.path.step(memory, x)
    return memory, view(model, memory, u)


def _looked_at(model: Any, z: Tree, y: Tensor) -> tuple[Tree, Tensor | None]:
    """What `feed` is shown of z and y: None where the model does not say that it reads them."""
    return z if "z" in model.reads else None, y if "y" in model.reads else None


def prior_at(model: Any, t: int, z: Tree, ctx: Context) -> Distribution:
    """p(z_t | z_{t-1}), the initial density at the first row."""
    density: Distribution = model.initial(ctx) if t == 0 else model.transition(z, ctx)
    return density


def stack_time(rows: Sequence[Tree], lead: int) -> Tree:
    """T trees (*lead, *event) as one (*lead, T, *event)."""
    return tmap(lambda *parts: torch.stack(parts, lead), *rows)


def run_freely(model: Any, at: Moment, inputs: Tensor) -> tuple[Tree, Tensor, Tensor]:
    """Draws what comes next, z, y and h, each (*shape, horizon, *event); shape as `at` has it.

    Args:
        model: The model.
        at: Where to begin.
        inputs: (*batch, horizon, p), the inputs of the rows to come.
    """
    z, memory, y, shape = at.z, at.memory, at.y, at.y.shape[:-1]
    rows = []
    for i in range(inputs.shape[-2]):
        t, u = torch.tensor(at.t + i, device=inputs.device), inputs[..., i, :]
        if model.order == "h then z":
            memory, h = advance(model, memory, z, y, t, u)
            ctx = Context(t, u, h)
            z = prior_at(model, at.t + i, z, ctx).expand(shape).sample()
        else:
            ctx = Context(t, u, view(model, memory, u))
            z = prior_at(model, at.t + i, z, ctx).expand(shape).sample()
            memory, h = advance(model, memory, z, y, t, u)
        y = model.emission(z, Context(t, u, h)).expand(shape).sample()
        rows.append((z, y, h.expand(*shape, h.shape[-1])))
    stacked: tuple[Tree, Tensor, Tensor] = stack_time(rows, len(shape))
    return stacked


def contexts(
    model: Any, data: Sequences, z: Tree, at: Moment | None = None
) -> tuple[Context, Context]:
    """What z_t and y_t see, over all of time: the contexts of the transition and of the emission.

    Args:
        model: The model.
        data: The data; y complete where the memory reads it.
        z: Leaves (*sample, *batch, T, *event); None if the memory does not read it.
        at: Where the data go on, over (*sample, *batch); the beginning if None.
    """
    t = torch.arange(data.T, device=data.values.device) + (0 if at is None else at.t)
    plain = Context(t, data.inputs, data.inputs[..., :0])
    if not model.reads:
        return plain, plain
    if at is None:
        z_0, y_0 = model.origin(data.batch_shape)
    else:
        z_0, y_0 = at.z, at.y
    early = model.order == "h then z"
    read = _shifted(model, z, z_0) if early and "z" in model.reads else z
    values = data.values
    if "y" in model.reads:
        lead = torch.broadcast_shapes(values.shape[:-2], y_0.shape[:-1])
        values = shift(values.expand(*lead, *values.shape[-2:]), y_0)
    x = model.feed(*_looked_at(model, read, values), plain)
    if at is None:
        begun = spread(model.path.start(data.batch_shape, data.condition), x.shape[:-2])
    else:
        begun = at.memory
    # nothing goes on from here: all rows are scanned alike, which a fused kernel need not pack for
    _, h = model.path.scan(begun, x, torch.full_like(data.lengths, data.T))
    seen = Context(t, data.inputs, h)
    if early:
        return seen, seen
    return Context(t, data.inputs, shift(h, model.path.read(begun))), seen


def time_axis(part: Real | Finite, x: Tensor) -> int:
    """The axis of time of one part of z, (*lead, T, *event)."""
    return x.dim() - rank(part) - 1


def rows_of_z(model: Any, z: Tree, start: int, length: int) -> Tree:
    """Some of the rows of z, leaves (*lead, T, *event)."""
    return map_space(lambda part, x: x.narrow(time_axis(part, x), start, length), model.latent, z)


def row_of_z(model: Any, z: Tree, t: int) -> Tree:
    """One row of z, leaves (*lead, *event)."""
    return map_space(lambda part, x: x.select(time_axis(part, x), t), model.latent, z)


def _shifted(model: Any, z: Tree, z_0: Tree) -> Tree:
    """Moves z one row on, with z_0 in front."""

    def move(part: Real | Finite, x: Tensor, first: Tensor) -> Tensor:
        axis = time_axis(part, x)
        head = first.to(x.dtype).unsqueeze(first.dim() - rank(part))
        head = head.expand(*x.shape[:axis], 1, *x.shape[axis + 1 :])
        return torch.cat([head, x.narrow(axis, 0, x.shape[axis] - 1)], axis)

    return map_space(move, model.latent, z, z_0)


def joint(model: Any, z: Tree, data: Sequences) -> Tensor:
    """The joint log p(z, y | u), (*sample, *batch): no loop but the memory's scan."""
    z = _standing_still(model, z, data.lengths)
    before, after = contexts(model, data, z)
    log_z = model.initial(before.row(0)).log_prob(row_of_z(model, z, 0))[..., None]
    if data.T > 1:
        moves = model.transition(rows_of_z(model, z, 0, data.T - 1), before.rows(1, None))
        log_moves = moves.log_prob(rows_of_z(model, z, 1, data.T - 1))
        log_z = torch.cat([log_z.expand(*log_moves.shape[:-1], 1), log_moves], -1)
    log_y = observed_log_prob(model.emission(z, after), data.values, data.observed)
    log_z = torch.where(data.active, log_z, torch.zeros_like(log_z))
    return (log_z + log_y).sum(-1)


def _standing_still(model: Any, z: Tree, lengths: Tensor) -> Tree:
    """Repeats each series' last z beyond its end, so that padding is harmless."""

    def hold(part: Real | Finite, x: Tensor) -> Tensor:
        axis = time_axis(part, x)
        rows = torch.arange(x.shape[axis], device=x.device)
        last = torch.minimum(rows, (lengths[..., None] - 1).clamp_min(0))  # (*batch, T)
        index = last.reshape(*last.shape, *(1,) * rank(part)).expand(x.shape)
        return x.gather(axis, index)

    return map_space(hold, model.latent, z)
