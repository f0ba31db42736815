"""Start values of covariances and moments that were left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator

if TYPE_CHECKING:
    from statespace.models.nonlinear.model import NonlinearGaussian

__all__ = ["random_values"]


def random_values(model: NonlinearGaussian, generator: Generator) -> None:
    """Draws what has no value yet: covariances near the identity, a standard normal mean."""
    for name in map(str, model.slots):
        slot = model.slot(name)
        if slot.is_set:
            continue
        draw = torch.randn(slot.event, dtype=torch.float64, generator=generator)
        if draw.dim() == 2:
            root = torch.eye(len(draw), dtype=torch.float64) + 0.1 * draw
            draw = root @ root.mT
        slot.set_(draw)
