"""Draws of z over all of time from a guide: one loop over what waits for z, and nothing else.

    z_t ~ q(z_t | z_{t-1}, h_t, e_t)

A memory that does not read z has run ahead, and the encoding is there for all rows. Where the
guide reads nothing of z either, its densities are made for all rows at once, z is drawn, and a
memory that reads z runs behind. In every case the random numbers are those of a loop over rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from statespace.beliefs import Tree
from statespace.interface import Context, Guide
from statespace.interface.walking import (
    Moment,
    advance,
    begin,
    contexts,
    prior_at,
    stack_time,
    view,
)
from statespace.sequences import Sequences
from statespace.shapes import leaves, tmap

__all__ = ["Trace", "draw", "independent_normal"]


@dataclass(frozen=True)
class Trace:
    """Draws over all of time.

    Attributes:
        at: Where they began, over (K, *batch).
        z: Leaves (K, *batch, T, *event), differentiable.
        before: What z_t saw.
        after: What y_t sees.
        e: The encoding.
        q: The guide's densities over (K, *batch, T); None where its class is not known to be one
            that can be put side by side.
    """

    at: Moment
    z: Tree
    before: Context
    after: Context
    e: Tree
    q: Distribution | None


def draw(
    model: Any,
    guide: Guide,
    data: Sequences,
    num: int,
    at: Moment | None = None,
    stands: Tree = (),
) -> Trace:
    """Draws K paths of z from the guide.

    Args:
        model: The model.
        guide: Of the model.
        data: y complete wherever the memory reads it.
        num: K.
        at: Where the data go on, over (K, *batch); the beginning if None.
        stands: Where the guide stands then.
    """
    shape = (num, *data.batch_shape)
    ahead = "z" not in model.reads
    start = begin(model, shape, data.condition, drop=1) if at is None else at
    seen = contexts(model, data, None, at) if ahead else None
    h = data.inputs[..., :0] if seen is None or not model.reads else seen[1].h
    on = not isinstance(stands, tuple) or stands
    e = guide.encode_on(data, h, stands)[0] if on else guide.encode(data, h)
    if not guide.reads and not guide.reads_prior:
        q = guide(None, e, _blind(data, start) if seen is None else seen[0], None)
        if _is_normal(q):
            q = q.expand((*shape, data.T))
            mean, scale = q.base_dist.loc, q.base_dist.scale
            z = mean + scale * _noise(mean.select(-2, 0), data.T)
            return Trace(start, z, *(seen or contexts(model, data, z, start)), e, q)
    if seen is not None and num == 1 and guide.chained:
        z, mean, scale = guide.chain(start.z, e, seen[0].h, _noise(start.z, data.T))
        return Trace(start, z, *seen, e, independent_normal(mean, scale))
    return _by_rows(model, guide, data, shape, start, seen, e)


def _blind(data: Sequences, start: Moment) -> Context:
    """Without h, for a guide that does not read it."""
    times = torch.arange(data.T, device=data.inputs.device) + start.t
    return Context(times, data.inputs, data.inputs[..., :0])


def _noise(like: Tensor, T: int) -> Tensor:
    """Standard normal numbers (*, T, n), those that a loop over rows draws."""
    rows = [torch.randn(like.shape, dtype=like.dtype, device=like.device) for _ in range(T)]
    return torch.stack(rows, -2)


def _by_rows(
    model: Any,
    guide: Guide,
    data: Sequences,
    shape: tuple[int, ...],
    start: Moment,
    seen: tuple[Context, Context] | None,
    e: Tree,
) -> Trace:
    z, memory = start.z, start.memory
    y = start.y
    rows: list[Tree] = []
    densities, hs = [], []
    early = model.order == "h then z"
    times = torch.arange(data.T, device=data.inputs.device) + start.t
    encoded = _unbound(e, data.T)
    ahead = None if seen is None else seen[0].h.unbind(-2)
    for i in range(data.T):
        t, u = times[i], data.inputs[..., i, :]
        if ahead is not None:
            before = h = ahead[i]
        elif early:
            memory, h = advance(model, memory, z, y, t, u)
            before = h
        else:
            before = view(model, memory, u)
        ctx = Context(t, u, before)
        prior: Any = None
        if guide.reads_prior:
            prior = _wide(prior_at(model, start.t + i, z, ctx), shape)
        q = guide(z, next(encoded), ctx, prior)
        z = _drawn(q, shape)
        if seen is None and not early:
            memory, h = advance(model, memory, z, y, t, u)
        rows.append(z)
        densities.append(q)
        hs.append((before, h))
        y = data.values[..., i, :]
    if seen is None:
        parts = [torch.stack([pair[k] for pair in hs], -2) for k in (0, 1)]
        seen = Context(times, data.inputs, parts[0]), Context(times, data.inputs, parts[1])
    stacked = stack_time(rows, len(shape))
    return Trace(start, stacked, *seen, e, _side_by_side(densities, shape))


def _side_by_side(rows: list[Distribution], shape: tuple[int, ...]) -> Distribution | None:
    """Gaussians with independent entries over all of time; None for any other density."""
    means, scales = [], []
    for q in rows:
        if not _is_normal(q):
            return None
        wide: Any = _wide(q, shape)
        wide = wide.base_dist
        means.append(wide.loc)
        scales.append(wide.scale)
    return independent_normal(torch.stack(means, -2), torch.stack(scales, -2))


def independent_normal(mean: Tensor, scale: Tensor) -> Distribution:
    """A Gaussian with independent entries, event (n,)."""
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


def _unbound(e: Tree, T: int) -> Iterator[Tree]:
    """Its rows, one after the other.

    Of one `unbind`: the derivative of a slice is as large as what it was cut from, for every row.
    """
    columns = [leaf.unbind(-2) for leaf in leaves(e)]
    for i in range(T):
        parts = iter([column[i] for column in columns])
        yield tmap(lambda _, parts=parts: next(parts), e)


def _wide(q: Distribution, shape: tuple[int, ...]) -> Distribution:
    return q if q.batch_shape == shape else q.expand(shape)


def _drawn(q: Distribution, shape: tuple[int, ...]) -> Tree:
    """A draw over a shape; of a Gaussian without the ado of `rsample`, and the same numbers."""
    if not _is_normal(q):
        return q.expand(shape).rsample()
    mean, scale = q.base_dist.loc, q.base_dist.scale  # type: ignore[attr-defined]
    kind = {"dtype": mean.dtype, "device": mean.device}
    return mean + torch.randn((*shape, mean.shape[-1]), **kind) * scale


def _is_normal(q: Distribution) -> bool:
    """Whether it is a Gaussian with independent entries."""
    return type(q) is Independent and type(q.base_dist) is Normal
