"""Mean and root of the covariance of a density: what linearising asks of it."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from statespace.densities.root import GaussianRoot
from statespace.densities.summaries import moments

__all__ = ["is_gaussian", "rooted"]


@singledispatch
def rooted(d: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean (*, m) and a root (*, m, k) of the covariance; None where there are no such moments.

    Leading axes along which the covariance is one and the same have length 1 in the root, or are
    left out, so that whoever averages over them can see it.

    Example:
        >>> from torch.distributions import Poisson
        >>> mean, root = rooted(Independent(Poisson(torch.tensor([4.0, 9.0])), 1))
        >>> mean.tolist(), root.tolist()
        ([4.0, 9.0], [[2.0, 0.0], [0.0, 3.0]])
    """
    found = moments(d)
    if found is None:
        return None
    mean, cov = found
    return mean, _diagonal(_sqrt(cov.diagonal(dim1=-2, dim2=-1)))


@rooted.register
def _(d: GaussianRoot) -> tuple[Tensor, Tensor]:
    return d.loc, d.root


@rooted.register
def _(d: MultivariateNormal) -> tuple[Tensor, Tensor]:
    return d.loc, _narrow(d.scale_tril, 2)


@rooted.register
def _(d: LowRankMultivariateNormal) -> tuple[Tensor, Tensor]:
    own = torch.diag_embed(_sqrt(d.cov_diag))
    return d.loc, _narrow(torch.cat([d.cov_factor, own], -1), 2)


@rooted.register
def _(d: Independent) -> tuple[Tensor, Tensor] | None:
    if isinstance(d.base_dist, Normal) and d.reinterpreted_batch_ndims == 1:
        return d.mean, _diagonal(d.base_dist.scale)
    return rooted.dispatch(Distribution)(d)


@rooted.register
def _(d: MixtureSameFamily) -> tuple[Tensor, Tensor] | None:
    found = rooted(d.component_distribution)
    if found is None:
        return None
    mean, root = found  # (*, C, m), (*, C, m, k)
    share = d.mixture_distribution.probs[..., None]
    whole = (share * mean).sum(-2)
    apart = _sqrt(share) * (mean - whole.unsqueeze(-2))
    root = _sqrt(share)[..., None] * root.expand(*mean.shape, root.shape[-1])
    return whole, torch.cat([apart.mT, root.movedim(-3, -2).flatten(-2)], -1)


def is_gaussian(d: Distribution) -> bool:
    """Whether a density is one of the Gaussian classes."""
    if isinstance(d, Independent):
        return isinstance(d.base_dist, Normal)
    return isinstance(d, GaussianRoot | MultivariateNormal | LowRankMultivariateNormal)


def _sqrt(variance: Tensor) -> Tensor:
    """With a derivative of zero at zero, where there is none."""
    some = variance > 0
    return torch.where(some, torch.where(some, variance, 1.0).sqrt(), 0.0)


def _diagonal(scale: Tensor) -> Tensor:
    return torch.diag_embed(_narrow(scale, 1))


def _narrow(x: Tensor, event: int) -> Tensor:
    """Leading axes along which x was expanded get length 1."""
    for axis in range(x.ndim - event):
        if x.stride(axis) == 0 and x.shape[axis] > 1:
            x = x.narrow(axis, 0, 1)
    return x
