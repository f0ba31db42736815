"""The compiled filter with its moments, for starts that are resolved."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from statespace import kernels
from statespace.inference.lineargaussian.compiled import Run, is_dense, layout_of, shares
from statespace.inference.lineargaussian.complete import Settled, lanes_of
from statespace.inference.lineargaussian.covariances import Covariances
from statespace.inference.lineargaussian.delta import solve
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.moments import gained
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System
from statespace.kernels import Ends, Model
from statespace.linalg import psd_root, quadratic
from statespace.shapes import row_at

__all__ = ["Found", "run_filter"]


class Found(NamedTuple):
    """Moments, (*batch, T, ...); and mean, root and rows of delta at each series' last row.

    With `keep="means"` there are no covariances, and with "last" there is one row.
    """

    mean: Tensor
    cov: Tensor | None
    predicted_mean: Tensor
    predicted_cov: Tensor | None
    y_mean: Tensor
    y_cov: Tensor | None
    increments: Tensor
    log_likelihood: Tensor
    end: tuple[Tensor, Tensor, Tensor]  # (*batch, n, 1), (*batch, n, n) and (*batch, k, k)

    def keeping(self, keep: str, last: Tensor) -> Found:
        """What `keep` holds of one that has everything."""
        if keep == "means":
            return self._replace(cov=None, predicted_cov=None, y_cov=None)
        if keep == "last":
            rank = self.log_likelihood.ndim
            rows: Any = [row_at(x, last, rank) for x in self[:7] if x is not None]
            return self._replace(**dict(zip(self._fields, rows, strict=False)))
        return self


def run_filter(
    system: System, begin: Start, y: Tensor, observed: Tensor, last: Tensor, keep: str = "all"
) -> Found | None:
    """Filters; None: ask the plain path.

    Args:
        system: The model, detached.
        begin: Its start; one with columns of delta is left to the plain path.
        y: (*batch, T, m), finite.
        observed: (*batch, T, m).
        last: The last row of each series, (*batch,).
        keep: "all", "means" or "last".
    """
    if begin.x.shape[-1] > 1:
        return None
    layout, seen = layout_of(system, begin, y, observed)
    run = Run(layout, is_dense(system), y, seen, None, begin, None, False)
    last = last.expand(layout.batch)
    if shares(run):
        return _shared(run, system, last, keep)
    return _whole(run, system, last) if keep == "all" else _part(run, system, last, keep)


def _whole(run: Run, system: System, last: Tensor) -> Found | None:
    """Every moment, of series with a covariance each."""
    layout, n = run.layout, system.n
    sets, series, rows = layout.sets, layout.series, run.y.shape[-2]
    model, data = layout.model(system, run.begin, run.dense), layout.data(run.y, run.observed)
    lanes, tasks = lanes_of(layout)
    number = model.a.dtype
    out = kernels.Filter(
        np.empty((sets, series, rows, n), number),
        np.empty((sets, series, rows, n, n), number),
        np.empty((sets, series, rows, n), number),
        np.empty((sets, series, rows, n, n), number),
        np.empty((sets, series, rows), number),
        np.zeros((sets, series, n, n), number),
        layout.lay(last, 0).contiguous().numpy(),
    )
    value, bad = np.empty((2, sets, series))
    none = np.zeros((1, 0, 0, 0), number)

    def piece(low: int, high: int) -> None:
        kernels.filter_each(lanes, model, data, low, high, value, bad, none, out)

    key = ("moments", lanes.width, run.y.dtype)
    kernels.announced(key, lambda: kernels.spread(piece, tasks))
    if bad.any() or not np.isfinite(value).all():
        return None
    mean, cov, predicted_mean, predicted_cov, increments, root = (
        layout.back(torch.from_numpy(x)) for x in out[:6]
    )
    where = last[..., None, None].expand(*layout.batch, 1, n)
    y_mean, y_cov = _mean_of_y(system, predicted_mean), _cov_of_y(system, predicted_cov)
    return Found(
        mean, cov, predicted_mean, predicted_cov, y_mean, y_cov, increments,
        _total(run, torch.from_numpy(value)), _end(mean.gather(-2, where), root),
    )  # fmt: skip


def _part(run: Run, system: System, last: Tensor, keep: str) -> Found | None:
    """Means, or the last row alone, of series with a covariance each."""
    layout = run.layout
    model, data = layout.model(system, run.begin, run.dense), layout.data(run.y, run.observed)
    lanes, tasks = lanes_of(layout)
    ends = _ends(run, model, last, keep)
    value, bad = np.empty((2, layout.sets, layout.series))

    def piece(low: int, high: int) -> None:
        kernels.filter_means(lanes, model, data, low, high, value, bad, ends)

    key = ("filter means", lanes.width, run.y.dtype)
    kernels.announced(key, lambda: kernels.spread(piece, tasks))
    if bad.any() or not np.isfinite(value).all():
        return None
    total = _total(run, torch.from_numpy(value))
    before, root = (layout.back(torch.from_numpy(ends.roots[:, i])) for i in (0, 1))
    final, predicted, gain = _at_end(layout, ends)
    if keep == "means":
        mean, predicted_mean, increments = (layout.back(torch.from_numpy(x)) for x in ends[:3])
        y_mean = _mean_of_y(system, predicted_mean)
        return Found(
            mean, None, predicted_mean, None, y_mean, None, increments, total, _end(final, root)
        )
    cov, predicted_cov = (quadratic(s)[..., None, :, :] for s in (root, before))
    there = _at(system, last)
    return Found(
        final, cov, predicted, predicted_cov, _mean_of_y(there, predicted),
        _cov_of_y(there, predicted_cov), gain, total, _end(final, root),
    )  # fmt: skip


def _shared(run: Run, system: System, last: Tensor, keep: str) -> Found | None:
    """Complete data: covariances once for all series."""
    layout, rows = run.layout, run.y.shape[-2]
    sets, series = layout.sets, layout.series
    model, data = layout.model(system, run.begin, run.dense), layout.data(run.y, None)
    settled = Settled(system, layout, model, rows)
    if not settled.usable:
        return None
    ends = _ends(run, model, last, keep)
    value = settled.value[:, None] - 0.5 * settled.ahead(model, data, ends)
    if not np.isfinite(value).all():
        return None
    low = rows - 1 if keep == "last" else 0
    covs = Covariances(settled, system, run.begin)

    def wide(x: Tensor) -> Tensor:
        """(sets, rows, *event) for every series."""
        x = x.to(run.y.dtype)[:, None]
        return layout.back(x.expand(sets, series, *x.shape[2:]))

    final, before, gain = _at_end(layout, ends)
    mean, predicted_mean, gains = (layout.back(torch.from_numpy(x)) for x in ends[:3])
    if keep == "last":
        mean, predicted_mean, gains, system = final, before, gain, _at(system, last)
    cov = predicted_cov = y_cov = None
    if keep != "means":
        cov, predicted_cov, y_cov = (wide(x) for x in covs.of_rows(low, rows))
    root = psd_root(covs.filtered(rows - 1, rows)[:, 0])
    return Found(
        mean, cov, predicted_mean, predicted_cov, _mean_of_y(system, predicted_mean), y_cov,
        gains + wide(covs.log_densities(low, rows)), _total(run, torch.from_numpy(value)),
        _end(final, wide(root)),
    )  # fmt: skip


def _ends(run: Run, model: Model, last: Tensor, keep: str) -> Ends:
    """Room for means of all rows or of none, and for the last row."""
    layout, n, number = run.layout, model.x.shape[2], model.a.dtype
    sets, series, rows = layout.sets, layout.series, 0 if keep == "last" else run.y.shape[-2]
    return Ends(
        np.empty((sets, series, rows, n), number),
        np.empty((sets, series, rows, n), number),
        np.empty((sets, series, rows), number),
        np.empty((sets, 2, series, n), number),
        np.zeros((sets, 2, series, n, n), number),
        np.empty((sets, series), number),
        layout.lay(last, 0).contiguous().numpy(),
    )


def _at_end(layout: Layout, ends: Ends) -> tuple[Tensor, Tensor, Tensor]:
    """The last row, (*batch, 1, ...): the mean, the mean before it was seen, the increment."""
    before, mean = (layout.back(torch.from_numpy(ends.end[:, i])) for i in (0, 1))
    gain = layout.back(torch.from_numpy(ends.gain))
    return mean[..., None, :], before[..., None, :], gain[..., None]


def _total(run: Run, value: Tensor) -> Tensor:
    return run.layout.back(value).to(run.y.dtype) - gained(solve(run.begin.rows))


def _end(mean: Tensor, root: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The belief at the last row, from its mean (*batch, 1, n) and a root (*batch, n, n)."""
    return mean.mT, root, root.new_zeros(*root.shape[:-2], 1, 1)


def _at(system: System, last: Tensor) -> System:
    """The system at row `last` (*batch,) of each series, as far as y hangs on it."""

    def pick(x: Tensor, rank: int) -> Tensor:
        return row_at(x, last, x.ndim - rank - 1)

    parts: dict[str, Any] = {k: pick(getattr(system, k), r) for k, r in (("C", 2), ("d", 1))
                             if k in system.varies}  # fmt: skip
    if "R" in system.varies:
        parts["R"] = system.R.map(partial(pick, rank=2))
    return replace(system, **parts)


def _mean_of_y(system: System, mean: Tensor) -> Tensor:
    """E[y_t] before it is seen, from that of z_t (*batch, T, n)."""
    c = system.C if "C" in system.varies else system.C.unsqueeze(-3)
    d = system.d if "d" in system.varies else system.d.unsqueeze(-2)
    if c.shape[-3] == 1:
        return mean @ c[..., 0, :, :].mT + d
    return (c @ mean[..., None])[..., 0] + d


def _cov_of_y(system: System, cov: Tensor) -> Tensor:
    """Its covariance, from that of z_t."""
    c = system.C if "C" in system.varies else system.C.unsqueeze(-3)
    r = system.R.matrix if "R" in system.varies else system.R.matrix.unsqueeze(-3)
    return c @ cov @ c.mT + r
