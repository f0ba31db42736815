"""The compiled filter with its moments, for starts that are resolved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from statespace import kernels
from statespace.inference.lineargaussian.compiled import is_dense, layout_of
from statespace.inference.lineargaussian.complete import lanes_of
from statespace.inference.lineargaussian.delta import solve
from statespace.inference.lineargaussian.moments import gained
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System

__all__ = ["Found", "run_filter"]


class Found(NamedTuple):
    """Moments, (*batch, T, ...); and mean, root and rows of delta at each series' last row."""

    mean: Tensor
    cov: Tensor
    predicted_mean: Tensor
    predicted_cov: Tensor
    y_mean: Tensor
    y_cov: Tensor
    increments: Tensor
    log_likelihood: Tensor
    end: tuple[Tensor, Tensor, Tensor]  # (*batch, n, 1), (*batch, n, n) and (*batch, 1, 1)


def run_filter(
    system: System, begin: Start, y: Tensor, observed: Tensor, last: Tensor
) -> Found | None:
    """Filters; None: ask the plain path.

    Args:
        system: The model, detached.
        begin: Its start; one with columns of delta is left to the plain path.
        y: (*batch, T, m), finite.
        observed: (*batch, T, m).
        last: The last row of each series, (*batch,).
    """
    n, k = begin.x.shape[-2:]
    if k > 1:
        return None
    layout, seen = layout_of(system, begin, y, observed)
    sets, series, rows = layout.sets, layout.series, y.shape[-2]
    model, data = layout.model(system, begin, is_dense(system)), layout.data(y, seen)
    lanes, tasks = lanes_of(layout)
    number = model.a.dtype
    ends = layout.lay(last.expand(layout.batch), 0).contiguous().numpy()
    out = kernels.Filter(
        np.empty((sets, series, rows, n), number),
        np.empty((sets, series, rows, n, n), number),
        np.empty((sets, series, rows, n), number),
        np.empty((sets, series, rows, n, n), number),
        np.empty((sets, series, rows), number),
        np.zeros((sets, series, n, n), number),
        ends,
    )
    value, bad = np.empty((2, sets, series))
    none = np.zeros((1, 0, 0, 0), number)

    def piece(low: int, high: int) -> None:
        kernels.filter_each(lanes, model, data, low, high, value, bad, none, out)

    key = ("moments", lanes.width, y.dtype)
    kernels.announced(key, lambda: kernels.spread(piece, tasks))
    if bad.any() or not np.isfinite(value).all():
        return None
    mean, cov, predicted_mean, predicted_cov, increments, root = (
        layout.back(torch.from_numpy(x)) for x in out[:6]
    )
    total = layout.back(torch.from_numpy(value)).to(y.dtype) - gained(solve(begin.rows))
    y_mean, y_cov = _ahead(system, predicted_mean, predicted_cov)
    where = last.expand(layout.batch)[..., None, None].expand(*layout.batch, 1, n)
    end = (mean.gather(-2, where).mT, root, root.new_zeros(*root.shape[:-2], 1, 1))
    return Found(
        mean, cov, predicted_mean, predicted_cov, y_mean, y_cov, increments, total, end
    )  # fmt: skip


def _ahead(system: System, mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Moments of y_t before it is seen, from those of z_t."""
    c = system.C if "C" in system.varies else system.C.unsqueeze(-3)
    d = system.d if "d" in system.varies else system.d.unsqueeze(-2)
    r = system.R.matrix if "R" in system.varies else system.R.matrix.unsqueeze(-3)
    if c.shape[-3] == 1:
        y_mean = mean @ c[..., 0, :, :].mT + d
    else:
        y_mean = (c @ mean[..., None])[..., 0] + d
    return y_mean, c @ cov @ c.mT + r
