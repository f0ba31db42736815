"""Looking back: trajectories of z given all of y."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from statespace.beliefs import Tree, finite_part, real_part
from statespace.inference.particle.stochastic import Moved
from statespace.interface import lend
from statespace.interface.walking import stack_time
from statespace.particles import (
    average_moments,
    effective_size,
    first_lost,
    frequencies,
    invert,
    resample,
)
from statespace.results import Smoothed
from statespace.sequences import Sequences
from statespace.shapes import gather, tmap

__all__ = ["smooth", "smoothed"]

_CHUNK = 2**22  # densities evaluated at once in the backward pass, K particles x M trajectories


def smooth(
    model: Any, data: Sequences, steps: Sequence[Moved], kind: str, smoother: str
) -> Smoothed:
    """The record of smoothed beliefs, from what the forward pass kept.

    Backward simulation where every particle has the same memory; elsewhere lineages.
    """
    last: Any = steps[-1].state.belief
    num = last.log_weights.shape[0]
    simulate = smoother == "ffbs" and not last.carried
    if simulate:
        z, y = _backward(model, data, steps, num)
        log_w = torch.full_like(last.log_weights, 0.0).log_softmax(0)
    else:
        z, y = _lineages(data, steps)
        log_w = last.log_weights

    def draw(n: int, generator: Generator) -> Tree:
        with lend(generator), torch.no_grad():
            if simulate:
                return _backward(model, data, steps, n)[0]
            return gather(z, resample(log_w, n, "multinomial"))

    increments = torch.stack([m.increment for m in steps], -1)
    used = "ffbs" if simulate else "genealogy"
    return smoothed(model, data, (z, y), log_w, increments, (kind, used), draw)


def smoothed(
    model: Any,
    data: Sequences,
    drawn: tuple[Tree, Tensor],
    log_w: Tensor,
    increments: Tensor,
    words: tuple[str, str],
    draw: Callable[[int, Generator], Tree],
) -> Smoothed:
    """The record of weighted trajectories.

    Args:
        model: The model.
        data: The data.
        drawn: Trajectories of z and y, leaves (N, *batch, T, *event).
        log_w: Their weights, (N, *batch).
        increments: Of the forward pass, (*batch, T).
        words: The kind, and which smoother it was.
        draw: Further trajectories of z.
    """
    kind, used = words
    moments = _summary(model, data, *drawn, log_w.exp())
    return Smoothed(
        **moments.__dict__,
        log_likelihood=increments.sum(-1),
        kind=kind,
        lengths=data.lengths,
        sampler=draw,
        index=data.index,
        univariate=data.univariate,
        extra={
            "smoother": used,
            "ess": effective_size(log_w),
            "lost": first_lost(increments),
        },
    )


def _lineages(data: Sequences, steps: Sequence[Moved]) -> tuple[Tree, Tensor]:
    """The ancestors of the last particles, z and y, leaves (K, *batch, T, *event)."""
    last: Any = steps[-1].state.belief
    lead = last.log_weights.dim()
    k = torch.arange(last.log_weights.shape[0], device=last.log_weights.device)
    k = k.reshape(-1, *(1,) * (lead - 1)).expand(last.log_weights.shape)
    rows = []
    for moved in reversed(steps):
        belief: Any = moved.state.belief
        rows.append(gather((belief.z, _drawn(moved)), k))
        k = moved.ancestors.gather(0, k)
    return _in_order(rows, data, lead)


def _in_order(rows: list[Tree], data: Sequences, lead: int) -> tuple[Tree, Tensor]:
    """Rows that were found backwards, side by side; the last stands for all-padding rows."""
    whole = rows[::-1] + rows[:1] * (data.T - len(rows))
    stacked: tuple[Tree, Tensor] = stack_time(whole, lead)
    return stacked


def _drawn(moved: Moved) -> Tensor:
    assert moved.y is not None
    return moved.y


def _backward(model: Any, data: Sequences, steps: Sequence[Moved], num: int) -> tuple[Tree, Tensor]:
    """Independent draws of the path given y, backward in time (Godsill, Doucet and West 2004).

    k_T ~ w_T,   k_t ~ w_t p(z_{t+1} | z_t^k): leaves (num, *batch, T, *event).
    """
    active = data.active
    size = steps[-1].state.belief.log_weights.shape  # type: ignore[attr-defined]
    per_chunk = max(1, _CHUNK // max(size.numel(), 1))
    parts = []
    for first in range(0, num, per_chunk):
        lead = (min(per_chunk, num - first), *size[1:])
        rows: list[Tree] = []
        z: Tree = None
        for t in reversed(range(len(steps))):
            moved = steps[t]
            belief: Any = moved.state.belief
            log_w = belief.log_weights[:, None].expand(size[0], *lead)
            if z is not None:
                goes_on = active[..., t + 1]
                moves = _moves(model, belief, steps[t + 1], z)
                log_w = log_w + torch.where(goes_on, moves, torch.zeros_like(moves))
            k = _pick(log_w)
            z, y = gather((belief.z, _drawn(moved)), k)
            rows.append((z, y))
        parts.append(_in_order(rows, data, len(lead)))
    joined: tuple[Tree, Tensor] = tmap(lambda *xs: torch.cat(xs, 0), *parts)
    return joined


def _moves(model: Any, belief: Any, after: Moved, z: Tree) -> Tensor:
    """Evaluates log p(z_{t+1} | z_t^k) for every particle and every trajectory, (K, M, *batch)."""
    before = tmap(lambda x: x.unsqueeze(1), belief.z)  # (K, 1, *batch, *event)
    density = model.transition(before, after.ctx)
    lead = belief.log_weights.shape
    shape = torch.broadcast_shapes(density.batch_shape, (lead[0], 1, *lead[1:]))
    return density.expand(shape).log_prob(z)


def _pick(log_w: Tensor) -> Tensor:
    """One particle for each trajectory, (K, M, *batch) -> (M, *batch)."""
    weights = (log_w - log_w.amax(0)).double().exp()
    uniform = torch.rand(log_w.shape[1:], dtype=weights.dtype, device=weights.device)
    return invert(weights, uniform[None])[0]


@dataclass(frozen=True)
class _Summary:
    mean: Tensor | None
    cov: Tensor | None
    cross_cov: Tensor | None
    y_mean: Tensor | None
    y_cov: Tensor | None
    probs: Tensor | None
    pair_probs: Tensor | None


def _summary(model: Any, data: Sequences, z: Tree, y: Tensor, weights: Tensor) -> _Summary:
    """Moments of weighted trajectories, leaves (N, *batch, T, *event), weights (N, *batch)."""
    w = weights[..., None]  # (N, *batch, 1)
    zero = torch.zeros_like(w)[..., None, None]
    vectors, states = real_part(model.latent, z).to(w.dtype), finite_part(model.latent, z)
    mean = cov = cross = probs = pairs = None
    if vectors.shape[-1] or states is None:
        mean, cov = average_moments(vectors, zero, w)
        apart = vectors - mean
        ahead = (w[..., None] * apart[..., 1:, :]).movedim(0, -1)
        cross = ahead @ apart[..., :-1, :].movedim(0, -2)
    if states is not None:
        k, size = states
        probs = frequencies(k, size, w)
        both = frequencies(k[..., 1:] * size + k[..., :-1], size * size, w)
        pairs = both.reshape(*both.shape[:-1], size, size)
    y_mean = y_cov = None
    if not model.categorical:
        y_mean, y_cov = average_moments(y.to(w.dtype), zero, w)
        seen = data.observed
        y_mean = torch.where(seen, data.values.to(w.dtype), y_mean)
        known = seen[..., :, None] | seen[..., None, :]
        y_cov = torch.where(known, torch.zeros_like(y_cov), y_cov)
    return _Summary(mean, cov, cross, y_mean, y_cov, probs, pairs)
