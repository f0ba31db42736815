"""What a bound is made of, over all of time at once.

log w = sum_t log p(y_t | z_t) + log p(z_t | z_{t-1}) - log q(z_t | z_{t-1}, e_t)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from statespace.beliefs import Tree
from statespace.densities import observed_log_prob
from statespace.errors import MethodError
from statespace.inference.variational.trace import Trace, independent_normal
from statespace.interface import Context, Guide
from statespace.interface.walking import row_of_z, rows_of_z
from statespace.sequences import Sequences
from statespace.shapes import tmap

__all__ = ["Gap", "Terms", "at_the_draw", "balanced", "in_closed_form", "pairs", "terms_of"]


@dataclass(frozen=True)
class Terms:
    """The terms of a bound, zero beyond each end.

    Attributes:
        log_y: log p(y_t | z_t), (K, *batch, T).
        kl: log q(z_t) - log p(z_t) at the draw, or KL(q, p) given z_{t-1}, (K, *batch, T).
    """

    log_y: Tensor
    kl: Tensor

    @property
    def total(self) -> Tensor:
        """(K, *batch)."""
        return (self.log_y - self.kl).sum(-1)


Gap = Callable[[Distribution, Distribution, Tree], Tensor]


def at_the_draw(q: Distribution, p: Distribution, z: Tree) -> Tensor:
    """Log q(z) - log p(z)."""
    found: Tensor = q.log_prob(z) - p.log_prob(z)
    return found


def in_closed_form(q: Distribution, p: Distribution, z: Tree) -> Tensor:
    """KL(q, p) where torch knows it; elsewhere at the draw."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return at_the_draw(q, p, z)


def balanced(share: float) -> Gap:
    """KL(q, p), which moves p with a share of its gradient and q with the rest.

        share KL(stop(q), p) + (1 - share) KL(q, stop(p))

    Source: Hafner et al. (2021), "Mastering Atari with discrete world models".
    """

    def gap(q: Distribution, p: Distribution, z: Tree) -> Tensor:
        to_p = in_closed_form(_stopped(q), p, z)
        to_q = in_closed_form(q, _stopped(p), z)
        return share * to_p + (1 - share) * to_q

    return gap


def _stopped(d: Distribution) -> Distribution:
    """Without a graph, where it is a Gaussian with independent entries.

    Raises:
        MethodError: it is another density.
    """
    if type(d) is not Independent or type(d.base_dist) is not Normal:
        raise MethodError(
            f"balance= needs Gaussians with independent entries, and a density here is "
            f"{type(d).__name__}. Leave balance out."
        )
    return independent_normal(d.base_dist.loc.detach(), d.base_dist.scale.detach())


def terms_of(model: Any, guide: Guide, data: Sequences, trace: Trace, gap: Gap) -> Terms:
    """The terms of the draws.

    Args:
        model: The model.
        guide: Of the model.
        data: The data.
        trace: What was drawn.
        gap: How q and p are compared.
    """
    shape = (*trace.at.y.shape[:-1], data.T)
    emission = model.emission(trace.z, trace.after)
    log_y = observed_log_prob(emission, data.values, data.observed).expand(shape)
    parts = [gap(q, p, z).expand(lead) for q, p, z, lead in pairs(model, guide, data, trace)]
    kl = torch.cat([parts[0][..., None], *parts[1:]], -1)
    return Terms(log_y, torch.where(data.active, kl, torch.zeros_like(kl)))


class Pair(NamedTuple):
    """What the guide and the prior say of z in some rows."""

    q: Distribution
    p: Distribution
    z: Tree
    shape: tuple[int, ...]  # (K, *batch), and how many rows unless it is the first


def pairs(model: Any, guide: Guide, data: Sequences, trace: Trace) -> list[Pair]:
    """The first row, whose prior is another, and the rest at once."""
    before, z, T = trace.before, trace.z, data.T
    lead = tuple(trace.at.y.shape[:-1])
    ctx = before.row(0)
    first = model.initial(ctx) if trace.at.t == 0 else model.transition(trace.at.z, ctx)
    first = first.expand(lead)
    q = _density(guide, trace, trace.at.z, ctx, slice(0, 1), first)
    found = [Pair(q, first, row_of_z(model, z, 0), lead)]
    if T > 1:
        ctx = before.rows(1, None)
        z_0, z_1 = rows_of_z(model, z, 0, T - 1), rows_of_z(model, z, 1, T - 1)
        prior = model.transition(z_0, ctx).expand((*lead, T - 1))
        q = _density(guide, trace, z_0, ctx, slice(1, T), prior)
        found.append(Pair(q, prior, z_1, (*lead, T - 1)))
    return found


def _density(
    guide: Guide, trace: Trace, z: Tree, ctx: Context, rows: slice, prior: Distribution
) -> Distribution:
    """Q of some rows: as it was when z was drawn, else asked again over all of them."""
    single = not ctx.over_time
    if trace.q is not None:
        base: Any = trace.q.base_dist  # type: ignore[attr-defined]
        at = 0 if single else rows
        return independent_normal(base.loc[..., at, :], base.scale[..., at, :])
    e = tmap(lambda leaf: leaf[..., 0, :] if single else leaf[..., rows, :], trace.e)
    found: Distribution = guide(z, e, ctx, prior)
    return found
