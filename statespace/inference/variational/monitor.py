"""How far a guide is from the prior, entry of z by entry of z."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from statespace.beliefs import Tree
from statespace.inference.variational.terms import in_closed_form, pairs
from statespace.inference.variational.trace import draw
from statespace.interface import lend
from statespace.sequences import Sequences

__all__ = ["ACTIVE", "divergence"]

ACTIVE = 0.01  # nats per row from which an entry of z counts as used


@torch.no_grad()
def divergence(model: Any, data: Sequences, generator: Generator) -> dict[str, Any]:
    """`kl`, `kl_per_dim` and `active_units` of a `TrainingRecord`, from one path per series.

    Args:
        model: With a guide.
        data: y complete wherever the memory reads it.
        generator: Random numbers.
    """
    with lend(generator):
        trace = draw(model, model.guide, data, 1)
    found = [_by_entry(*pair) for pair in pairs(model, model.guide, data, trace)]
    if len({each.shape[-1] for each in found}) > 1:  # only one of them can be divided
        found = [each.sum(-1, keepdim=True) for each in found]
    kl = torch.cat([found[0][..., None, :], *found[1:]], -2).mean(0)
    on = data.active[..., None]
    each = torch.where(on, kl, 0.0).flatten(0, -2).sum(0) / on.sum().clamp_min(1)
    if len(each) == 1 and getattr(model.latent, "size", 0) != 1:  # cannot be divided
        return {"kl": float(each)}
    return {
        "kl": float(each.sum()),
        "kl_per_dim": tuple(each.tolist()),
        "active_units": int((each > ACTIVE).sum()),
    }


def _by_entry(q: Distribution, p: Distribution, z: Tree, shape: tuple[int, ...]) -> Tensor:
    """KL(q, p) of each entry, (*shape, n); (*shape, 1) where entries hang together."""
    if all(type(d) is Independent and type(d.base_dist) is Normal for d in (q, p)):
        kl = kl_divergence(q.base_dist, p.base_dist)  # type: ignore[attr-defined]
        return kl.double().expand(*shape, kl.shape[-1])
    return in_closed_form(q, p, z).double().expand(shape)[..., None]
