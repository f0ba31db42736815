"""Expectations under what a smoother found: the E-step of a model that is not linear.

The smoothed pair (z_t, z_{t+1}) is taken for a Gaussian with its mean and covariance, and that for
2 k equally weighted points, m +- k^1/2 L e_i with L L' the covariance, k its dimension (third-
degree spherical cubature: Arasaratnam and Haykin 2009). Averages over them are exact for
polynomials of degree three, and so for every expectation that a linear model would ask for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from statespace.densities import observed_log_prob
from statespace.inference.lineargaussian.imputation import imputation
from statespace.interface import Context
from statespace.models.lds.mstep import (
    Moments,
    Posterior,
    posterior_of,
    set_noise,
    start_moments,
    update,
)
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["Points", "expected_log_joint", "over_time", "points_of", "set_q", "set_r", "set_start"]


class Points(NamedTuple):
    """Points of the smoothed states, of the model's dtype."""

    single: Tensor  # (2 n, *batch, T, n)
    before: Tensor  # (4 n, *batch, T - 1, n)   z_t of the pair
    after: Tensor  # (4 n, *batch, T - 1, n)    z_{t+1} of it
    active: Tensor  # (*batch, T)


def points_of(posterior: Posterior, dtype: torch.dtype) -> Points:
    """Points of every state and of every pair of neighbours."""
    mean, cov, cross, active = posterior
    single = _cubature(mean, cov)
    both = torch.cat([mean[..., :-1, :], mean[..., 1:, :]], -1)
    top = torch.cat([cov[..., :-1, :, :], cross.mT], -1)
    joint = torch.cat([top, torch.cat([cross, cov[..., 1:, :, :]], -1)], -2)
    pairs = _cubature(both, joint)
    n = mean.shape[-1]
    single, before, after = (x.to(dtype) for x in (single, pairs[..., :n], pairs[..., n:]))
    return Points(single, before, after, active)


def _cubature(mean: Tensor, cov: Tensor) -> Tensor:
    """(2 k, *lead, k); a covariance that is none by rounding loses that direction."""
    k = mean.shape[-1]
    sd = cov.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    unit = torch.where(sd > 0, sd, torch.ones_like(sd))
    values, vectors = torch.linalg.eigh(cov / unit[..., :, None] / unit[..., None, :])
    root = unit[..., :, None] * vectors * values.clamp_min(0).sqrt()[..., None, :]
    away = k**0.5 * root.movedim(-1, 0)  # column i in row i
    return torch.cat([mean + away, mean - away], 0)


def over_time(data: Sequences) -> Context:
    """What densities see at all rows."""
    t = torch.arange(data.T, device=data.values.device)
    return Context(t, data.inputs, data.inputs[..., :0])


def expected_log_joint(model: Any, smoothed: Smoothed, data: Sequences) -> Tensor:
    """E[log p(z, y)] over the points, summed over series; without p(z_1) where that is held."""
    points, ctx = points_of(posterior_of(smoothed, data), model.dtype), over_time(data)
    log_y = observed_log_prob(model.emission(points.single, ctx), data.values, data.observed)
    total = log_y.mean(0).sum()
    if data.T > 1:
        move = model.transition(points.before, ctx.rows(1, None)).log_prob(points.after)
        on = points.active[..., 1:]
        total = total + torch.where(on, move, torch.zeros_like(move)).mean(0).sum()
    if any(model.slot(name).n_free for name in ("initial_mean", "initial_cov")):
        first = model.initial(ctx.row(0)).log_prob(points.single[..., 0, :])
        total = total + first.mean(0).sum()
    return total


def set_start(model: Any, posterior: Posterior) -> None:
    """The moments of z_1, in closed form."""
    mean, cov = posterior.mean[..., 0, :], posterior.cov[..., 0, :, :]
    moments: Moments = start_moments(model, mean, cov, model.batch_shape)
    update([model.slot("initial_mean")], model.slot("initial_cov"), moments)


def set_q(model: Any, points: Points, data: Sequences) -> None:
    """Q given the rest: the mean of E[w w'] over transitions."""
    if data.T < 2:
        return
    mean = model.transition(points.before, over_time(data).rows(1, None)).mean
    on = points.active[..., 1:]
    w = torch.where(on[..., None], (points.after - mean).double(), 0.0)
    total = _outer(w).sum(-3) / len(w)
    _set(model, "Q", total.sum(0), on.double().sum(-1))


def set_r(model: Any, points: Points, data: Sequences) -> None:
    """R given the rest: the mean of E[v v'] over rows with data, v of missing entries imputed."""
    mean = model.emission(points.single, over_time(data)).mean
    seen = data.observed
    v = torch.where(seen, model.residual(data.values, mean).double(), 0.0)
    noise = model.slot("R").value().detach().double()
    rows = noise if model.slot("R").varies else noise.unsqueeze(-3)
    fill, rest = imputation(rows, seen)
    on = seen.any(-1).double()
    v = (fill @ v[..., None])[..., 0]
    spread = (_outer(v).sum(0) / len(v)) + rest * on[..., None, None]
    _set(model, "R", spread.sum(-3), on.sum(-1))


def _set(model: Any, name: str, total: Tensor, count: Tensor) -> None:
    """The noise, from sums over the rows of every series."""
    lead = torch.broadcast_shapes(total.shape[:-2], count.shape, model.batch_shape)
    models = (*model.batch_shape,)
    total = total.expand(*lead, *total.shape[-2:]).sum_to_size((*models, *total.shape[-2:]))
    set_noise(model.slot(name), total, count.expand(lead).sum_to_size(models))


def _outer(x: Tensor) -> Tensor:
    return x[..., :, None] * x[..., None, :]
