"""Data as a start wants them: one model's series, in units of each column's spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from statespace.sequences import Sequences

__all__ = ["Table", "tables"]

_MOST_SERIES, _MOST_ROWS = 200, 20_000  # a start needs no more


@dataclass(frozen=True)
class Table:
    """Series of one model: y = level + spread * scaled, u = input_spread * scaled_inputs.

    Attributes:
        y: Scaled (S, T, m), 0 where not observed.
        observed: (S, T, m).
        active: (S, T).
        u: Scaled inputs (S, T, p); they keep their level.
        level, spread: (m,).
        input_spread: (p,).
    """

    y: Tensor
    observed: Tensor
    active: Tensor
    u: Tensor
    level: Tensor
    spread: Tensor
    input_spread: Tensor

    @property
    def m(self) -> int:
        """Columns of y."""
        return self.y.shape[-1]

    @property
    def p(self) -> int:
        """Columns of u."""
        return self.u.shape[-1]

    @property
    def gaps(self) -> float:
        """The share of entries that are missing."""
        return 1.0 - float(self.observed.sum()) / max(float(self.active.sum()) * self.m, 1.0)

    @cached_property
    def filled(self) -> Tensor:
        """Y with straight lines across gaps, the nearest value at the ends; for starts alone."""
        rows = torch.arange(self.y.shape[1], device=self.y.device)[:, None].expand_as(self.y[0])
        rows = rows.expand_as(self.y)
        left = torch.where(self.observed, rows, -1).cummax(1).values
        right = torch.where(self.observed, rows, self.y.shape[1]).flip(1).cummin(1).values.flip(1)
        has_left, has_right = left >= 0, right < self.y.shape[1]
        a = self.y.gather(1, left.clamp_min(0))
        b = self.y.gather(1, right.clamp_max(self.y.shape[1] - 1))
        share = (rows - left) / (right - left).clamp_min(1)
        line = torch.where(has_left & has_right, a + share * (b - a), torch.where(has_left, a, b))
        line = torch.where(has_left | has_right, line, torch.zeros_like(line))
        return torch.where(self.observed, self.y, line) * self.active[..., None]

    def covariance(self) -> Tensor:
        """Second moments about zero from pairs of observed entries, (m, m), repaired to be one."""
        seen = self.observed.to(self.y)
        pairs = torch.einsum("stj,stk->jk", seen, seen)
        sums = torch.einsum("stj,stk->jk", self.y, self.y)
        values, vectors = torch.linalg.eigh(sums / pairs.clamp_min(1))
        return (vectors * values.clamp_min(0)) @ vectors.mT


def tables(data: Sequences, models: torch.Size, centre: Tensor) -> list[Table]:
    """One table for each model of a batch, in row-major order.

    Args:
        data: The training data.
        models: The leading axes of the parameters.
        centre: (*models, m): what is known to be added to every row (d, where it is held), NaN
            where the level is to be taken from the data.
    """
    batch = torch.broadcast_shapes(data.batch_shape, models)
    fields = (data.values.double(), data.observed, data.inputs.double(), data.active[..., None])
    wide = [x.expand(*batch, *x.shape[-2:]) for x in fields]
    centre = centre.expand(*models, data.m)
    out = []
    for where in _indices(models):
        # axes of the batch right of which the models stand; one of size 1 is shared by its series
        index = tuple(i if k > 1 else slice(None) for i, k in zip(where, models, strict=True))
        at = (..., *index, slice(None), slice(None))
        y, seen, u, on = (_as_series(x[at]) for x in wide)
        cut = slice(None, _MOST_SERIES), slice(None, _MOST_ROWS)
        out.append(_scaled(y[cut], seen[cut], u[cut], on[cut][..., 0], centre[where]))
    return out


def _as_series(x: Tensor) -> Tensor:
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def _indices(models: torch.Size) -> list[tuple[int, ...]]:
    if not models:
        return [()]
    return [tuple(row) for row in torch.ones(models).nonzero().tolist()]


def _scaled(y: Tensor, seen: Tensor, u: Tensor, active: Tensor, centre: Tensor) -> Table:
    count = seen.sum((0, 1)).clamp_min(1)
    mean = (y * seen).sum((0, 1)) / count
    spread = ((((y - mean) * seen) ** 2).sum((0, 1)) / count).sqrt()
    rounding = 1e-12 * mean.abs()
    spread = torch.where(spread > rounding, spread, mean.abs())  # a constant column
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    level = torch.where(torch.isnan(centre), mean, centre)
    rows = active.sum().clamp_min(1)
    size = (((u * active[..., None]) ** 2).sum((0, 1)) / rows).sqrt()
    size = torch.where(size > 0, size, torch.ones_like(size))
    scaled = torch.where(seen, (y - level) / spread, torch.zeros_like(y))
    return Table(scaled, seen, active, u / size, level, spread, size)
