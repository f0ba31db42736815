"""The M-step of a model of functions: moments of z_1, Q and R in closed form, given g and f."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.models.lds.mstep import posterior_of
from statespace.models.shared.expectation import points_of, set_q, set_r, set_start
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["maximise_given_rest"]


@torch.no_grad()
def maximise_given_rest(model: Any, smoothed: Smoothed, data: Sequences) -> list[Tensor]:
    """Sets them, where they are no functions; returns the parameters that are not to be climbed.

    Weights of Modules are climbed, by the expected log joint. What varies in time stays.
    """
    posterior = posterior_of(smoothed, data)
    points = points_of(posterior, model.dtype)
    set_start(model, posterior)
    if "Q" in model.slots:
        set_q(model, points, data)
    if "R" in model.slots:
        set_r(model, points, data)
    return [slot.theta for _, slot in model._slots() if slot.theta is not None]
