"""What the M-step works with: sums over rows of moments of residuals."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Moments", "start_moments", "summed"]


class Moments(NamedTuple):
    """Sums over time, (*models, ...); with an axis of time where the noise varies in it."""

    ee: Tensor  # (*models, [T,] k, k)    sum of E[e e']
    ex: Tensor  # (*models, [T,] k, q)    sum of E[e x']
    xx: Tensor  # (*models, [T,] q, q)    sum of E[x x']
    count: Tensor  # type: ignore[assignment]  # (*models,)  how many residuals


def start_moments(lds: Any, mean: Tensor, cov: Tensor, models: torch.Size) -> Moments:
    """z_1 given y, about the prior mean; diffuse states have no density and count as zero."""
    prior = lds.prior()
    e = mean - prior.mean.double()
    if prior.diffuse is not None:
        proper = (~prior.diffuse).double()
        e, cov = e * proper, cov * proper[:, None] * proper
    one = e.new_ones(*e.shape[:-1], 1)
    ee = e[..., :, None] * e[..., None, :] + cov
    return summed(Moments(ee, e[..., :, None], one[..., None], one[..., 0]), models)


def summed(moments: Moments, models: torch.Size, rows: int = 0) -> Moments:
    """Over all series that share one model; every field gets the axes of the models."""
    matrices = moments[:3]
    lead = torch.broadcast_shapes(
        models, moments.count.shape, *(m.shape[: m.dim() - 2 - rows] for m in matrices)
    )

    def add(v: Tensor, event: torch.Size) -> Tensor:
        return v.expand((*lead, *event)).sum_to_size((*models, *event))

    out = [add(v, v.shape[v.dim() - 2 - rows :]) for v in matrices]
    return Moments(out[0], out[1], out[2], add(moments.count, torch.Size()))
