"""What a filtered record holds of particles: moments of every row, and the points where they fit.

A row is summarised when it is made, so that the particles of one row alone are in memory unless
the record is to hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from statespace.beliefs import finite_part
from statespace.densities import moments
from statespace.inference.particle.stochastic import Moved
from statespace.interface import Info, State
from statespace.interface.stepping import filtered
from statespace.kernels.particle_tables import Told
from statespace.particles import Particles, average_moments, effective_size, first_lost
from statespace.results import Filtered
from statespace.sequences import Sequences

__all__ = ["Row", "fits", "points", "prediction", "record", "record_of", "summarised"]

_MOST = 2**25  # numbers of all particles of all rows that a record still holds


@dataclass(frozen=True)
class _Moments:
    """Mean, covariance and probabilities, as a belief has them."""

    mean: Tensor
    cov: Tensor
    probs: Tensor | None


@dataclass(frozen=True)
class Row:
    """One row of a record.

    Attributes:
        info: With moments in the place of particles.
        ess: (*batch,).
        ancestors: (*batch, K), -1 where a series is over; None where they are not held.
        points: (*batch, K, n), likewise.
    """

    info: Info
    ess: Tensor
    ancestors: Tensor | None
    points: Tensor | None


def fits(belief: Any, data: Sequences) -> bool:
    """Whether a record holds the particles of all rows."""
    return data.T * (points(belief).numel() + belief.log_weights.numel()) <= _MOST


def points(belief: Particles) -> Tensor:
    """The vectors of the particles, or the values of a state that has none, (*batch, K, n)."""
    vectors, states = belief._vectors(), finite_part(belief.space, belief.z)
    if not vectors.shape[-1] and states is not None:
        vectors = states[0][..., None].to(vectors.dtype)
    return vectors.movedim(0, -2)


def prediction(moved: Moved) -> tuple[Tensor | None, Tensor | None]:
    """Mean and covariance of y_t before it is seen; None where there are no such numbers."""
    found = moments(moved.emission)
    if found is None:
        return None, None
    w = moved.predicted.weights
    mean, cov = found
    return average_moments(mean.expand(*w.shape, mean.shape[-1]), cov, w)


def summarised(moved: Moved, active: Tensor, held: bool) -> Row:
    """What is held of a step."""
    belief: Any = moved.state.belief
    y_mean, y_cov = prediction(moved)
    info = Info(_of(moved.predicted), _of(belief), moved.increment, y_mean, y_cov)  # type: ignore[arg-type]
    ancestors = values = None
    if held:
        over = moved.ancestors.new_full((), -1)
        ancestors = torch.where(active, moved.ancestors, over).movedim(0, -1).to(torch.int32)
        values = points(belief)
    return Row(info, effective_size(belief.log_weights), ancestors, values)


def _of(belief: Particles) -> _Moments:
    return _Moments(belief.mean, belief.cov, belief.probs)


def record(kind: str, data: Sequences, rows: Sequence[Row], state: State) -> Filtered:
    """The record of all rows; rows after every end repeat the last, and are blanked."""
    whole = [*rows, *(_over(rows[-1]) for _ in range(data.T - len(rows)))]
    found = filtered(kind, data, [row.info for row in whole], state)
    return found.having(
        ess=torch.stack([row.ess for row in whole], -1),
        ancestors=_stack([row.ancestors for row in whole], -2),
        particles=_stack([row.points for row in whole], -3),
        lost=first_lost(torch.stack([row.info.increment for row in whole], -1)),
    )


def record_of(kind: str, data: Sequences, told: Told, state: State) -> Filtered:
    """The record of what the compiled loops told."""

    def found(name: str) -> Tensor | None:
        value = torch.from_numpy(getattr(told, name))  # (series, T, ...)
        return value.reshape(*data.batch_shape, *value.shape[1:]) if value.shape[1] else None

    increments, y_mean = found("increments"), found("y_mean")
    assert increments is not None
    assert y_mean is not None
    gap = data.values - y_mean
    return Filtered(
        mean=found("mean"),
        cov=found("cov"),
        predicted_mean=found("predicted_mean"),
        predicted_cov=found("predicted_cov"),
        y_mean=y_mean,
        y_cov=found("y_cov"),
        innovations=torch.where(data.observed, gap, torch.full_like(gap, torch.nan)),
        increments=increments,
        log_likelihood=increments.sum(-1),
        kind=kind,
        state=state,
        lengths=data.lengths,
        index=data.index,
        univariate=data.univariate,
        ess=found("size"),
        ancestors=found("ancestors"),
        particles=found("points"),
        lost=first_lost(increments),
    )


def _over(row: Row) -> Row:
    """A row in which nobody takes part."""
    info = replace(row.info, increment=torch.zeros_like(row.info.increment))
    none = None if row.ancestors is None else torch.full_like(row.ancestors, -1)
    return replace(row, info=info, ancestors=none)


def _stack(rows: Sequence[Tensor | None], axis: int) -> Tensor | None:
    found = [row for row in rows if row is not None]
    return torch.stack(found, axis) if len(found) == len(rows) else None
