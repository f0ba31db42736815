"""How large a change of each parameter is worth a look.

A parameter in units of 1e-8 and one in units of 1e8 stand in one vector; an optimiser that treats
them alike serves neither. Two measures of their units, from cheap to good:

    own_sizes   from the parameter itself: its entry, or what its row and column suggest
    equilibrate from the curvature of the objective: scales s with sum_j (s_i H_ij s_j)^2 near one,
                by random signs v: (H s v)_i has mean square sum_j (H_ij s_j)^2 (Ruiz 2001 for the
                iteration, Hutchinson 1990 for the signs); a difference of two gradients is one Hv
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from statespace.parameters import CovarianceSlot, Slot

__all__ = ["equilibrate", "own_sizes"]

_ROUNDS, _SIGNS = 4, 2


def own_sizes(slot: Slot) -> Tensor:
    """A positive size for each learned number of a slot, of the shape of its theta."""
    assert slot.theta is not None
    with torch.no_grad():
        if isinstance(slot, CovarianceSlot):
            sd = slot.value().diagonal(dim1=-2, dim2=-1).sqrt()
            size = _filled(sd)[..., None].expand(*sd.shape, sd.shape[-1])
            where = slot.blocks.root.first
        else:
            size = _balanced(slot.value())
            where = slot.pattern.first
        lead = slot.theta.shape[:-1]
        flat = size.flatten(-len(slot.event)) if slot.event else size[..., None]
        return flat[..., where.to(flat.device)].expand(*lead, slot.n_free).double().contiguous()


def _balanced(value: Tensor) -> Tensor:
    """|entry|, but no less than a tenth of r_i c_j, the scales of its row and column."""
    if value.dim() < 2 or value.shape[-1] == 0:
        return _filled(value.abs())
    rows = _filled(value.square().mean(-1).sqrt())
    cols = _filled((value / rows[..., None]).square().mean(-2).sqrt())
    return torch.maximum(value.abs(), 0.1 * rows[..., None] * cols[..., None, :])


def _filled(size: Tensor) -> Tensor:
    """Zeros replaced by the root mean square of the others, by one where all are zero."""
    mean = size.square().mean(-1, keepdim=True).sqrt() if size.shape[-1] else size
    mean = torch.where(mean > 0, mean, torch.ones_like(mean))
    return torch.where(size > 0, size, mean.expand_as(size))


def equilibrate(
    gradient: Callable[[Tensor], Tensor | None], x: Tensor, scale: Tensor, generator: Generator
) -> Tensor:
    """Scales in which the rows of the Hessian have a norm near one.

    Args:
        gradient: Of the objective at a point, (P,); None where there is none.
        x: The point.
        scale: A first guess, positive.
        generator: Random signs.

    Returns:
        Scales (P,), positive; the guess where nothing better was found.
    """
    here = gradient(x)
    if here is None or not x.numel():
        return scale
    for _ in range(_ROUNDS):
        squares, seen = torch.zeros_like(scale), 0
        for _ in range(_SIGNS):
            signs = torch.randint(0, 2, x.shape, generator=generator, device=generator.device)
            product = _product(gradient, x, here, scale * (2.0 * signs.to(x) - 1))
            if product is not None:
                squares, seen = squares + (scale * product).square(), seen + 1
        if not seen:
            return scale
        norm = (squares / seen).sqrt()
        usable = torch.isfinite(norm) & (norm > 1e-13 * norm.nan_to_num(0.0).max())
        root = torch.where(usable, norm, torch.ones_like(norm)).sqrt()
        scale = scale / root.clamp(1e-6, 1e6)
    return scale


def _product(
    gradient: Callable[[Tensor], Tensor | None], x: Tensor, here: Tensor, v: Tensor
) -> Tensor | None:
    """H v by a difference of gradients, with the longest step that can be taken."""
    for step in (1e-4, 1e-7):
        h = step / math.sqrt(x.numel())
        there = gradient(x + h * v)
        if there is not None and bool(torch.isfinite(there).all()):
            return (there - here) / h
    return None
