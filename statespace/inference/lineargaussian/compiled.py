"""The compiled path: the same numbers as the plain one, from loops over scalars.

It serves float32 and float64 on the CPU. It steps back, and the plain path answers, where an
innovation has no variance to rounding (entries that others determine) and where numbers overflow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace import kernels
from statespace.inference.lineargaussian.complete import Settled, lanes_of
from statespace.inference.lineargaussian.delta import Delta, solve
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.moments import gained
from statespace.inference.lineargaussian.overlaps import value_by_overlap
from statespace.inference.lineargaussian.passes import Core
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System
from statespace.shapes import every

__all__ = [
    "SHORT",
    "Run",
    "forward_of",
    "is_dense",
    "is_long",
    "layout_of",
    "run_forward",
    "run_of",
    "shares",
    "suits",
    "total_of",
]

_LOG_2PI = 1.8378770664093453
SHORT = 1000  # rows up to which one series alone is not worth two passes
_WHITENING = 300_000  # products that one pass would spend on it, row by row
_SETTLING, _MOVING = 100, 100_000  # rows that gains may take to settle; products of all rows


def suits(system: System, y: Tensor, core: Core) -> bool:
    """Whether the compiled path serves a problem at all."""
    if (
        core in ("plain", "scan")
        or y.device.type != "cpu"
        or y.dtype not in (torch.float32, torch.float64)
    ):
        return False
    return system.n > 0 and system.m > 0 and y.shape[-2] > 0 and y.dtype == system.A.dtype


class Run(NamedTuple):
    """A forward pass, for what follows it."""

    layout: Layout
    dense: bool
    y: Tensor
    observed: Tensor | None  # None where everything was, or NaN in y says what was not
    known: Delta | None  # delta given everything; None where there is none
    begin: Start
    settled: Settled | None  # gains that all series share, where nothing is missing
    gaps: bool  # whether NaN in y says what was not observed


def layout_of(
    system: System, begin: Start, y: Tensor, observed: Tensor
) -> tuple[Layout, Tensor | None]:
    """The layout of a problem, and what was observed: None where everything was."""
    batch = torch.broadcast_shapes(
        system.batch_shape(),
        begin.s.shape[:-2],
        begin.x.shape[:-2],
        begin.rows.shape[:-2],
        y.shape[:-2],
        observed.shape[:-2],
    )
    return Layout(system, batch), None if every(observed) else observed


def is_dense(system: System) -> bool:
    """Whether R has entries off its diagonal."""
    if system.m == 1 or system.R.diagonal:
        return False
    r = system.R.matrix
    return bool((r - torch.diag_embed(r.diagonal(dim1=-2, dim2=-1))).any())


def run_of(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    *,
    gaps: bool = False,
    layout: Layout | None = None,
) -> Run:
    """Before a pass.

    With `gaps`, NaN in y says what was not observed; a layout that is given knows its arrays, and
    `observed` says nothing beside it.
    """
    if layout is not None and layout.dense is not None:
        return Run(layout, layout.dense, y, None, None, begin, None, gaps)
    layout, seen = layout_of(system, begin, y, observed)
    return Run(layout, is_dense(system), y, seen, None, begin, None, gaps)


def run_forward(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    *,
    diffuse_constant: bool = True,
    gaps: bool = False,
    layout: Layout | None = None,
) -> tuple[Tensor, Run] | None:
    """The log-likelihood (*batch,), and what the backward passes need; None: ask the plain path.

    Arguments are those of `forward` and of `run_of`.
    """
    run = run_of(system, begin, y, observed, gaps=gaps, layout=layout)
    return forward_of(run, system, diffuse_constant)


def forward_of(run: Run, system: System, diffuse_constant: bool) -> tuple[Tensor, Run] | None:
    """See `run_forward`."""
    layout, begin, y, seen, dense = run.layout, run.begin, run.y, run.observed, run.dense
    if shares(run):
        return _forward_complete(run, system)
    model, data = layout.model(system, begin, dense), layout.data(y, seen)
    k, first = begin.x.shape[-1], solve(begin.rows)
    if k == layout.sets == layout.series == 1 and not system.varies & set("AQCR"):
        whole = value_by_overlap(model, data)
        if whole is not None:
            found = total_of(run, np.full((1, 1), whole))
            return None if found is None else (found, run)
    lanes, tasks = lanes_of(layout)
    value, bad = np.empty((2, layout.sets, layout.series))
    delta = np.zeros((1, 0, 0, 0), model.a.dtype)
    if k > 1:
        rows = layout.lay(begin.rows, 2).expand(layout.sets, layout.series, k, k)
        delta = rows.numpy().astype(model.a.dtype, order="C", copy=True)

    def piece(low: int, high: int) -> None:
        kernels.filter_each(lanes, model, data, low, high, value, bad, delta, None)

    kernels.announced(("filter", lanes.width, y.dtype), lambda: kernels.spread(piece, tasks))
    if bad.any() or not np.isfinite(value).all():
        return None
    total = layout.back(torch.from_numpy(value)).to(y.dtype)
    if k == 1:
        return total - gained(first), run
    known = solve(layout.back(torch.from_numpy(delta)))
    total = total + gained(known) - gained(first)
    if not diffuse_constant:
        total = total + 0.5 * _LOG_2PI * (known.resolved - first.resolved)
    return total, run._replace(known=known)


def shares(run: Run) -> bool:
    """Whether all series have the same gains, and computing them apart is worth it."""
    if run.gaps or run.observed is not None or run.begin.x.shape[-1] > 1:
        return False
    if run.begin.s.dim() > 2 and run.layout.lay(run.begin.s, 2).shape[1] > 1:
        return False
    (rows, m), n = run.y.shape[-2:], run.begin.s.shape[-1]
    return run.layout.series > 1 or is_long(rows, n, m, run.dense)


def is_long(rows: int, n: int, m: int, dense: bool) -> bool:
    """Whether one series alone is worth two passes.

    The first makes R independent once, and stops where covariances stand still.
    """
    if rows > SHORT or (dense and rows * m**3 > _WHITENING):
        return True
    return rows > _SETTLING and rows * n**2 * (2 * n + m) > _MOVING


def _forward_complete(run: Run, system: System) -> tuple[Tensor, Run] | None:
    model = run.layout.model(system, run.begin, run.dense)
    settled = Settled(system, run.layout, model, run.y.shape[-2])
    if not settled.usable:
        return None
    squares = settled.squares(model, run.layout.data(run.y, None))
    total = total_of(run, settled.value[:, None] - 0.5 * squares)
    return None if total is None else (total, run._replace(settled=settled))


def total_of(run: Run, value: NDArray[Any]) -> Tensor | None:
    """Log-likelihoods of a start with one column, (*batch,); None if one is not finite."""
    if not np.isfinite(value).all():
        return None
    total = run.layout.back(torch.from_numpy(value)).to(run.y.dtype)
    return total - gained(solve(run.begin.rows))
