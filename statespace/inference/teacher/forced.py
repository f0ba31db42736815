"""All of time at once: a memory that has read what was observed, and the densities of y."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.densities import complete, moments, observed_log_prob
from statespace.interface import Context, State
from statespace.interface.walking import advance, view
from statespace.sequences import Sequences
from statespace.shapes import row_at, shift, tmap, where_tree

__all__ = ["Part", "ended", "first_gap", "forced", "mixed", "told"]


@dataclass(frozen=True)
class Part:
    """What a filter says about some rows.

    Attributes:
        increments: (*batch, T).
        y_mean: (*batch, T, m), one step ahead; None where there is no such number.
        y_cov: (*batch, T, m, m), likewise.
        ess: (*batch, T).
    """

    increments: Tensor
    y_mean: Tensor | None
    y_cov: Tensor | None
    ess: Tensor

    def then(self, other: Part) -> Part:
        """These rows and the ones after them."""

        def both(a: Tensor | None, b: Tensor | None, axis: int) -> Tensor | None:
            return None if a is None or b is None else torch.cat([a, b], axis)

        return Part(
            torch.cat([self.increments, other.increments], -1),
            both(self.y_mean, other.y_mean, -2),
            both(self.y_cov, other.y_cov, -3),
            torch.cat([self.ess, other.ess], -1),
        )


def first_gap(model: Any, data: Sequences, *, fed: bool) -> int:
    """The first row at which something is missing that the memory is to read; T if there is none.

    Args:
        model: The model.
        data: The data.
        fed: Only rows that are read by these data count: not the last of each series.
    """
    if "y" not in model.reads or data.complete:
        return data.T
    holes = data.active & ~data.observed.all(-1)
    if fed:
        last = torch.arange(data.T, device=holes.device) == data.lengths[..., None] - 1
        holes = holes & ~last
    rows = holes.reshape(-1, data.T).any(0).nonzero()
    return int(rows[0]) if len(rows) else data.T


def forced(
    model: Any, data: Sequences, state: State, fed: Tensor | None = None, *, on: bool = True
) -> tuple[Distribution, Any, Tensor]:
    """The densities of all y_t given the ones before, the memory at each end, and increments.

    Args:
        model: The model.
        data: Complete wherever the memory reads y, unless `fed` is given.
        state: Before the first row, with one memory for each series.
        fed: What the memory reads in the place of y_{t-1}, (*batch, T, m).
        on: Whether anything goes on from each end; if not, a kernel need not stop there, and the
            memory is of no meaning.
    """
    t = torch.arange(data.T, device=data.values.device) + state.t
    memory, u = state.memory, data.inputs
    if model.reads:
        reads_y = "y" in model.reads
        before = (shift(data.values, state.y) if fed is None else fed) if reads_y else None
        x = model.feed(None, before, Context(t, u, u[..., :0]))
        lengths = data.lengths if on else torch.full_like(data.lengths, data.T)
        memory, h = model.path.scan(memory, x, lengths)
    else:
        h = view(model, memory, u)
    z = torch.zeros((*data.values.shape[:-1], 0), dtype=model.dtype, device=data.values.device)
    density = model.emission(z, Context(t, u, h))
    increments = observed_log_prob(density, data.values, data.observed)
    return density, memory, increments.expand(data.values.shape[:-1])


@torch.no_grad()
def mixed(model: Any, data: Sequences, state: State, share: float) -> Tensor:
    """What a memory reads that is told its own output now and then, (*batch, T, m).

    Row t is y_{t-1} as it was observed (what is missing of it drawn beside it) or, with
    probability `share`, a draw of all of it from p(y_{t-1} | what was read before).

    Args:
        model: The model; its memory reads y and no z.
        data: The data.
        state: Before the first row, with one memory for each series.
        share: A probability.
    """
    memory, lead, kept = state.memory, data.batch_shape, data.values.dtype
    y = state.y.to(kept).expand(*lead, data.m)
    z = torch.zeros((*lead, 0), dtype=model.dtype, device=data.values.device)
    fed = [y]
    for i in range(data.T - 1):
        t, u = torch.tensor(state.t + i, device=y.device), data.inputs[..., i, :]
        memory, h = advance(model, memory, z, y, t, u)
        density = model.emission(z, Context(t, u, h)).expand(lead)
        told = complete(density, data.values[..., i, :], data.observed[..., i, :])
        own = torch.rand(lead, device=y.device) < share
        y = torch.where(own[..., None], density.sample().to(kept), told)
        fed.append(y)
    return torch.stack(fed, -2)


def ended(model: Any, data: Sequences, state: State, memory: Any) -> State:
    """The state at the end of each series, which has read all of it."""
    y = state.y
    if "y" in model.reads:
        last = row_at(data.values, (data.lengths - 1).clamp_min(0), data.lengths.dim())
        y = where_tree(data.lengths > 0, last[..., 0, :], y.expand(last[..., 0, :].shape))
    lead = data.batch_shape
    memory = tmap(lambda leaf: leaf.expand(*lead, leaf.shape[-1]), memory)
    return replace(state, t=state.t + data.T, memory=memory, y=y)


def told(density: Distribution, data: Sequences, increments: Tensor, num: int) -> Part:
    """What a filter says where nothing was drawn."""
    found = moments(density)
    m, shape = data.m, data.values.shape[:-1]
    ess = torch.full_like(increments, float(num))
    if found is None:
        return Part(increments, None, None, ess)
    mean, cov = found
    return Part(increments, mean.expand(*shape, m), cov.expand(*shape, m, m), ess)
