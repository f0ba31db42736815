"""Moments of a density, as full covariances, and the probabilities of categories."""

from __future__ import annotations

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

from statespace.densities.root import GaussianRoot

__all__ = ["category_probs", "moments"]


@singledispatch
def moments(d: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean (*, m) and covariance (*, m, m); None where the class has none in closed form.

    Example:
        >>> from torch.distributions import Poisson
        >>> mean, cov = moments(Independent(Poisson(torch.tensor([2.0, 3.0])), 1))
        >>> mean.tolist(), cov.tolist()
        ([2.0, 3.0], [[2.0, 0.0], [0.0, 3.0]])
    """
    if category_probs(d) is not None:
        return None
    try:
        return d.mean, torch.diag_embed(d.variance)
    except NotImplementedError:
        return None


@moments.register(GaussianRoot)
@moments.register(MultivariateNormal)
@moments.register(LowRankMultivariateNormal)
def _(d: GaussianRoot | MultivariateNormal) -> tuple[Tensor, Tensor]:
    return d.mean, d.covariance_matrix


@moments.register
def _(d: MixtureSameFamily) -> tuple[Tensor, Tensor] | None:
    found = moments(d.component_distribution)
    if found is None:
        return None
    mean, cov = found  # (*, C, m), (*, C, m, m)
    weights = d.mixture_distribution.probs[..., None]
    whole = (weights * mean).sum(-2)
    apart = mean - whole.unsqueeze(-2)
    spread = (weights * apart).mT @ apart
    return whole, spread + (weights[..., None] * cov).sum(-3)


def category_probs(d: Distribution) -> Tensor | None:
    """P(y = v), (*, m, V), where the entries of y are categories; None elsewhere."""
    if isinstance(d, Independent) and isinstance(d.base_dist, Categorical):
        probs: Tensor = d.base_dist.probs
        return probs
    return None
