"""What was not observed is marginalised, or drawn given the rest: never filled in.

    observed_log_prob(d, y, observed)   log of the density of the observed entries alone
    complete(d, y, observed)            y with its missing entries drawn given the observed ones

Exact where the density factorises over entries, is Gaussian, or a mixture of these. Any other
density takes whole rows, observed or missing, and says so.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
)

from statespace.densities.root import GaussianRoot, solve_lower
from statespace.errors import InputError, expected
from statespace.linalg import tria

__all__ = ["complete", "masked_root", "observed_log_prob"]

_LOG_2PI = math.log(2 * math.pi)


@singledispatch
def observed_log_prob(d: Distribution, y: Tensor, observed: Tensor) -> Tensor:
    """The log density of the observed entries of y, the others integrated out.

    Args:
        d: Over y, event (m,).
        y: (*, m); what stands where nothing was observed does not matter.
        observed: (*, m) booleans.

    Returns:
        (*,), zero where a whole row is missing, with finite gradients there.

    Raises:
        InputError: a row is observed in part, and the class of `d` knows no marginal.

    Example:
        >>> d = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
        >>> y, seen = torch.tensor([0.5, 7.0]), torch.tensor([True, False])
        >>> round(float(observed_log_prob(d, y, seen)), 4)  # N(0.5; 0, 1)
        -1.0439
    """
    whole = _whole_rows(d, observed)
    y = _harmless(d, y, observed)
    log_prob = d.log_prob(y)
    return torch.where(whole, log_prob, torch.zeros_like(log_prob))


@singledispatch
def complete(d: Distribution, y: Tensor, observed: Tensor) -> Tensor:
    """Draws the missing entries of y given the observed ones, without gradient.

    Args:
        d: Over y, event (m,).
        y: (*, m), broadcasting to the batch of `d`.
        observed: (*, m) booleans.

    Returns:
        (*batch of d, m).

    Raises:
        InputError: a row is observed in part, and the class of `d` knows no conditional.
    """
    _whole_rows(d, observed)
    return torch.where(observed, y, _draw(d, y))


def _draw(d: Distribution, y: Tensor) -> Tensor:
    with torch.no_grad():
        return d.sample().to(y.dtype)


def _whole_rows(d: Distribution, observed: Tensor) -> Tensor:
    """Which rows were observed, (*,)."""
    whole = observed.all(-1)
    partly = observed.any(-1) & ~whole
    if bool(partly.any()):
        where = partly.nonzero()[0].tolist()
        raise InputError(
            expected(
                "y",
                f"whole rows, since {type(d).__name__} knows no marginals",
                f"one observed in part (index {where})",
                "Drop the rest of the row, or register the class with "
                "statespace.densities.observed_log_prob and complete.",
            )
        )
    return whole


def _harmless(d: Distribution, y: Tensor, observed: Tensor) -> Tensor:
    """Puts a number inside the support where none was observed: gradients are then finite."""
    if bool(observed.all()):
        return y
    return torch.where(observed, y, _inside(d, y, observed))


def _inside(d: Distribution, y: Tensor, observed: Tensor) -> Tensor:
    """Zero if it will do, else the mean, else something that was observed."""
    with suppress(NotImplementedError):  # a class without support, or without mean
        support = d.support
        if support is not None and bool(support.check(torch.zeros_like(y)).all()):
            return torch.zeros((), dtype=y.dtype, device=y.device)
        return d.mean.detach().to(y.dtype)
    rows = observed.all(-1)
    if bool(rows.any()):
        return y[rows][0].detach()
    return y[observed][0].detach() if bool(observed.any()) else torch.zeros_like(y)


# ---------------------------------------------------------------- densities that factorise


@observed_log_prob.register
def _(d: Independent, y: Tensor, observed: Tensor) -> Tensor:
    if d.base_dist.event_shape or d.reinterpreted_batch_ndims != 1:
        return observed_log_prob.dispatch(Distribution)(d, y, observed)
    log_prob = d.base_dist.log_prob(_harmless(d.base_dist, y, observed))
    return torch.where(observed, log_prob, torch.zeros_like(log_prob)).sum(-1)


@complete.register
def _(d: Independent, y: Tensor, observed: Tensor) -> Tensor:
    if d.base_dist.event_shape or d.reinterpreted_batch_ndims != 1:
        return complete.dispatch(Distribution)(d, y, observed)
    return torch.where(observed, y, _draw(d, y))


# ---------------------------------------------------------------- Gaussians


@observed_log_prob.register
def _(d: GaussianRoot, y: Tensor, observed: Tensor) -> Tensor:
    if bool(observed.all()):
        return d.log_prob(y)
    # a missing entry becomes one of its own, N(0, 1), seen at 0: a constant that is taken off
    on = observed.to(d.root.dtype)
    root = masked_root(d.root, on)
    y = torch.where(observed, y, torch.zeros_like(y))
    alone = GaussianRoot(torch.where(observed, d.loc, torch.zeros_like(d.loc)), root)
    return alone.log_prob(y) + 0.5 * _LOG_2PI * (1 - on).sum(-1)


def masked_root(root: Tensor, on: Tensor) -> Tensor:
    """[S_o, I_missing], (*, m, k + m)."""
    own = torch.diag_embed(1 - on)
    kept = root * on[..., None]
    lead = torch.broadcast_shapes(own.shape[:-2], kept.shape[:-2])
    return torch.cat([x.expand(*lead, *x.shape[-2:]) for x in (kept, own)], -1)


@complete.register
def _(d: GaussianRoot, y: Tensor, observed: Tensor) -> Tensor:
    # Matheron's rule: y* + S_.o S_oo^-1 (y_o - y*_o), y* a draw that has seen nothing
    with torch.no_grad():
        draw = d.sample()
        on = observed.to(d.root.dtype)
        masked = masked_root(d.root, on)
        gap = torch.where(observed, y - draw, torch.zeros_like(draw))
        lower = tria(masked)
        eps = torch.finfo(lower.dtype).eps
        pivots = lower.diagonal(dim1=-2, dim2=-1).abs()
        size = lower.shape[-1] * eps
        if bool((pivots > 8 * size * lower.norm(dim=-1)).all()):
            w = solve_lower(lower, gap)
            w = torch.linalg.solve_triangular(lower.mT, w[..., None], upper=True)
        else:
            inverse = torch.linalg.pinv(lower, rtol=64 * size)
            w = inverse.mT @ (inverse @ gap[..., None])
        seen = d.root * on[..., None]
        return torch.where(observed, y, draw + (d.root @ (seen.mT @ w))[..., 0])


def _rooted(d: Distribution) -> GaussianRoot:
    if isinstance(d, LowRankMultivariateNormal):
        own = torch.diag_embed(d.cov_diag.sqrt())
        return GaussianRoot(d.loc, torch.cat([d.cov_factor, own], -1))
    assert isinstance(d, MultivariateNormal)
    return GaussianRoot(d.loc, d.scale_tril.tril())  # torch reads the lower triangle only


@observed_log_prob.register(MultivariateNormal)
@observed_log_prob.register(LowRankMultivariateNormal)
def _(d: Distribution, y: Tensor, observed: Tensor) -> Tensor:
    return d.log_prob(y) if bool(observed.all()) else observed_log_prob(_rooted(d), y, observed)


@complete.register(MultivariateNormal)
@complete.register(LowRankMultivariateNormal)
def _(d: Distribution, y: Tensor, observed: Tensor) -> Tensor:
    return complete(_rooted(d), y, observed)


# ---------------------------------------------------------------- mixtures


def _component_log_prob(d: MixtureSameFamily, y: Tensor, observed: Tensor) -> Tensor:
    """The log of weight times density of the observed entries, by component, (*, C)."""
    each = observed_log_prob(d.component_distribution, y.unsqueeze(-2), observed.unsqueeze(-2))
    return d.mixture_distribution.logits.log_softmax(-1) + each


@observed_log_prob.register
def _(d: MixtureSameFamily, y: Tensor, observed: Tensor) -> Tensor:
    return _component_log_prob(d, y, observed).logsumexp(-1)


@complete.register
def _(d: MixtureSameFamily, y: Tensor, observed: Tensor) -> Tensor:
    with torch.no_grad():
        which = Categorical(
            logits=_component_log_prob(d, y, observed), validate_args=False
        ).sample()
        each = complete(d.component_distribution, y.unsqueeze(-2), observed.unsqueeze(-2))
        index = which[..., None, None].expand(*which.shape, 1, each.shape[-1])
        return each.expand(*which.shape, *each.shape[-2:]).gather(-2, index)[..., 0, :]
