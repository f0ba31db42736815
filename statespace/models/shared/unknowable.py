"""Moments of z_1, where few series begin."""

from __future__ import annotations

import math

import torch

from statespace.models.shared.slots import Parameters
from statespace.sequences import Sequences

__all__ = ["hold_start"]


def hold_start(model: Parameters, data: Sequences) -> None:
    """Takes `requires_grad` from moments of z_1 that so few series cannot tell.

    One draw of z_1 has no variance to show, and few draws have none in some direction: there the
    likelihood is highest, or without bound, where the covariance is singular. So it stays at its
    start, and beside a single series the mean does too.
    """
    batch = torch.broadcast_shapes(data.batch_shape, model.batch_shape)
    series = math.prod(batch) // max(math.prod(model.batch_shape), 1)
    if series > model.kinds.count("estimate"):
        return
    for name in ("initial_cov", "initial_mean") if series == 1 else ("initial_cov",):
        theta = model.slot(name).theta
        if theta is not None:
            theta.requires_grad_(False)
