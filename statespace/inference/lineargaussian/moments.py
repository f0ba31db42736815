"""Filtered and predicted moments from a forward pass, delta integrated out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from statespace.inference.lineargaussian.delta import Delta, absorb, solve
from statespace.inference.lineargaussian.passes import Pass
from statespace.inference.lineargaussian.scan import running_rows
from statespace.inference.lineargaussian.system import System
from statespace.linalg import quadratic
from statespace.shapes import join

_LOG_2PI = 1.8378770664093453


class FilterMoments(NamedTuple):
    """Time first: (T, *batch, ...)."""

    mean: Tensor
    cov: Tensor
    predicted_mean: Tensor
    predicted_cov: Tensor
    y_mean: Tensor
    y_cov: Tensor
    increments: Tensor
    rows: Tensor  # (T, *batch, k+1, k+1) what is known of delta after each row


def filter_moments(run: Pass, system: System, *, diffuse_constant: bool = True) -> FilterMoments:
    """Moments of z_t given y up to t, and of z_t and y_t given y before t."""
    rows = _running_rows(run)  # (T + 1, ...), the start first
    known = solve(rows)
    before, after = (Delta(*(v[i] for v in known)) for i in (slice(None, -1), slice(1, None)))
    mean, cov = with_delta(run.xf, run.sf, after)
    predicted_mean, predicted_cov = with_delta(run.x, run.s, before)
    c, d, r = (system.over_time(k, len(run.batch_shape)) for k in "CdR")
    y_mean = (c @ predicted_mean[..., None])[..., 0] + d
    y_cov = with_delta(c @ run.x, join(c @ run.s, r), before)[1]
    increments = log_densities(run) + (gained(after) - gained(before))
    if not diffuse_constant:
        increments = increments + 0.5 * _LOG_2PI * (after.resolved - before.resolved)
    return FilterMoments(
        mean, cov, predicted_mean, predicted_cov, y_mean, y_cov, increments, rows[1:]
    )


def log_densities(run: Pass) -> Tensor:
    """-(n log 2 pi) / 2 - log |F| of each row, (T, *batch); without the squares."""
    pivots = run.f.diagonal(dim1=-2, dim2=-1).abs().log()
    per_entry = torch.where(run.used, pivots + 0.5 * _LOG_2PI, torch.zeros_like(pivots))
    return -per_entry.sum(-1)


def gained(known: Delta) -> Tensor:
    """The log of the integral over delta, up to constants that cancel in differences."""
    return -0.5 * known.rss - known.log_det


def with_delta(x: Tensor, s: Tensor, known: Delta) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x [1; delta] + S e; inf along directions that nothing resolves."""
    mean, columns = x[..., 0], x[..., 1:]
    cov = quadratic(s)
    if columns.shape[-1] == 0:
        return mean, cov.expand(*mean.shape, mean.shape[-1])
    mean = mean + (columns @ known.mean[..., None])[..., 0]
    cov = cov + quadratic(columns @ known.root)
    blind = columns @ known.blind
    spread = quadratic(blind)
    scale = (columns.abs() @ known.blind.abs()).square().sum(-1)
    bound = torch.finfo(x.dtype).eps ** 0.5 * (scale[..., :, None] * scale[..., None, :]).sqrt()
    endless = torch.where(spread.abs() > bound, spread.sign() * torch.inf, torch.zeros_like(spread))
    return mean, cov + endless


def _running_rows(run: Pass) -> Tensor:
    k = run.e.shape[-1] - 1
    if k and run.scanned:
        return running_rows(run)
    rows = run.start.rows.expand(*run.batch_shape, k + 1, k + 1)
    if k == 0:
        squares = run.e[..., 0].square().sum(-1).cumsum(0)
        total = torch.cat([torch.zeros_like(squares[:1]), squares]) + rows[..., 0, 0].square()
        return total.sqrt()[..., None, None]
    out = [rows]
    for e in run.e:
        rows = absorb(rows, e)
        out.append(rows)
    return torch.stack(out)
