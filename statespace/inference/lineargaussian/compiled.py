"""The compiled path: the same numbers as the plain one, from loops over scalars.

It serves float32 and float64 on the CPU. It steps back, and the plain path answers, where an
innovation has no variance to rounding (entries that others determine), where numbers overflow,
and for the moments of what was not observed when the noise of y is correlated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from statespace import kernels
from statespace.inference.lineargaussian.backward import Smooth, clip, columns_of, fit_to
from statespace.inference.lineargaussian.delta import Delta, absorb, solve
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.moments import gained
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System

__all__ = ["Core", "Run", "run_forward", "run_score", "run_smooth", "suits"]

Core = Literal["auto", "plain", "compiled"]
_LOG_2PI = 1.8378770664093453
_LANES = 16


def suits(system: System, y: Tensor, core: Core) -> bool:
    """Whether the compiled path serves a problem at all."""
    if core == "plain" or y.device.type != "cpu" or y.dtype not in (torch.float32, torch.float64):
        return False
    return system.n > 0 and system.m > 0 and y.shape[-2] > 0 and y.dtype == system.A.dtype


class Run(NamedTuple):
    """A forward pass, for what follows it."""

    layout: Layout
    dense: bool
    y: Tensor
    observed: Tensor | None  # None where everything was
    known: Delta | None  # delta given everything; None where there is none
    begin: Start


def _problem(
    system: System, begin: Start, y: Tensor, observed: Tensor
) -> tuple[Layout, Tensor | None]:
    batch = torch.broadcast_shapes(
        system.batch_shape(),
        begin.s.shape[:-2],
        begin.x.shape[:-2],
        begin.rows.shape[:-2],
        y.shape[:-2],
        observed.shape[:-2],
    )
    return Layout(system, batch), None if bool(observed.all()) else observed


def is_dense(system: System) -> bool:
    """Whether R has entries off its diagonal."""
    if system.m == 1 or system.R.diagonal:
        return False
    r = system.R.matrix
    return bool((r - torch.diag_embed(r.diagonal(dim1=-2, dim2=-1))).any())


def _tasks(layout: Layout) -> tuple[Any, int]:

    width = _LANES if layout.series > 1 else 1
    return kernels.Lanes(width), layout.sets * -(-layout.series // width)


def run_forward(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    *,
    diffuse_constant: bool = True,
) -> tuple[Tensor, Run] | None:
    """The log-likelihood (*batch,), and what the backward passes need; None: ask the plain path.

    Arguments are those of `forward`.
    """
    layout, seen = _problem(system, begin, y, observed)
    dense = is_dense(system)
    model, data = layout.model(system, begin, dense), layout.data(y, seen)
    lanes, tasks = _tasks(layout)
    k = begin.x.shape[-1]
    value = np.empty((layout.sets, layout.series))
    bad = np.empty((layout.sets, layout.series))
    shape = (layout.sets, layout.series, y.shape[-2], system.m, k) if k > 1 else (1, 0, 0, 0, 0)
    residuals = np.empty(shape, model.a.dtype)

    def piece(low: int, high: int) -> None:
        kernels.filter_each(lanes, model, data, low, high, value, bad, residuals)

    kernels.announced(("filter", lanes.width, y.dtype), lambda: kernels.spread(piece, tasks))
    if bad.any() or not np.isfinite(value).all():
        return None
    total = layout.back(torch.from_numpy(value)).to(y.dtype)
    first = solve(begin.rows)
    if k == 1:
        return total - gained(first), Run(layout, dense, y, seen, None, begin)
    e = layout.back(torch.from_numpy(residuals))
    known = solve(absorb(begin.rows, e.flatten(-3, -2)))
    total = total + gained(known) - gained(first)
    if not diffuse_constant:
        total = total + 0.5 * _LOG_2PI * (known.resolved - first.resolved)
    return total, Run(layout, dense, y, seen, known, begin)


def _turned(run: Run, system: System, dense: bool) -> Any:
    """The model, its start in the posterior mean of delta and along the root of its posterior."""
    begin = run.begin
    if run.known is not None:
        begin = begin._replace(x=begin.x @ columns_of(run.known))
    return run.layout.model(system, begin, dense)


def _serves_backward(run: Run) -> bool:
    """Whether every direction of an augmented start was resolved."""
    return run.known is None or not bool((run.known.blind != 0).any())


def _backward(run: Run, model: Any, smooth: Any, score: Any) -> None:

    layout = run.layout
    data = layout.data(run.y, run.observed)
    lanes, tasks = _tasks(layout)
    value = np.empty((layout.sets, layout.series))
    bad = np.empty((layout.sets, layout.series))

    def piece(low: int, high: int) -> None:
        kernels.smooth_each(lanes, model, data, low, high, value, bad, smooth, score)

    kernels.announced(("smooth", lanes.width, run.y.dtype), lambda: kernels.spread(piece, tasks))


def run_score(
    run: Run, system: System, weight: Tensor, like: Sequence[Tensor], whole_r: bool
) -> tuple[Tensor, ...] | None:
    """The gradient of sum(weight * log-likelihood); see `backward.score`.

    Args:
        run: What the forward pass left.
        system: Its system, detached.
        weight: (*batch,).
        like: y, A, b, Q, C, d, R, initial mean and covariance, for their shapes.
        whole_r: Whether the gradient off the diagonal of R is wanted.
    """
    if not _serves_backward(run):
        return None
    layout, n, m, t_max = run.layout, system.n, system.m, run.y.shape[-2]
    dense = run.dense or (whole_r and m > 1)
    sets, series = layout.sets, layout.series
    blocks = _tasks(layout)[1] // max(sets, 1)
    rows = {name: t_max if name in system.varies else 1 for name in "AbQCdR"}
    rows["d"] = t_max if like[0].requires_grad else rows["d"]
    score = kernels.Score(
        layout.lay(weight.double().expand(layout.batch), 0).contiguous().numpy(),
        np.zeros((sets, blocks, rows["A"], n * n)),
        np.zeros((sets, blocks, rows["Q"], n * (n + 1) // 2)),
        np.zeros((sets, blocks, rows["C"], m * n)),
        np.zeros((sets, blocks, rows["R"], m * (m + 1) // 2)),
        np.zeros((sets, series, rows["b"], n)),
        np.zeros((sets, series, rows["d"], m)),
        np.zeros((sets, series, n)),
        np.zeros((sets, series, n, n)),
    )
    number = np.float32 if run.y.dtype == torch.float32 else np.float64
    none = kernels.Smooth(
        np.empty((1, 0, 0, 0), number),
        np.empty((1, 0, 0, 0, 0), number),
        np.empty((1, 0, 0, 0, 0), number),
        np.empty((1, 1, n, n), number),
    )
    _backward(run, _turned(run, system, dense), none, score)
    return _gradients(layout, system, score, like)


def _gradients(
    layout: Layout, system: System, score: Any, like: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """In the order and the shapes of the arguments of the likelihood."""
    n, m = system.n, system.m

    def shared(x: Any, *event: int) -> Tensor:
        return layout.back_sets(torch.from_numpy(x).sum(1).reshape(len(x), x.shape[2], *event))

    def triangle(x: Any, size: int) -> Tensor:
        low, high = torch.tril_indices(size, size)
        packed = torch.from_numpy(x)
        full = packed.new_zeros(*packed.shape[:-1], size, size)
        full[..., low, high] = packed
        full[..., high, low] = packed
        return layout.back_sets(0.5 * full.sum(1))

    db, dd = (layout.back(torch.from_numpy(x)) for x in (score.b, score.d))
    mean, cov = (layout.back(torch.from_numpy(x)) for x in (score.mean, score.cov))
    if system.prior.diffuse is not None:
        proper = (~system.prior.diffuse).to(mean)
        mean, cov = mean * proper, cov * proper[:, None] * proper
    whole = {
        "A": (shared(score.a, n, n), 2),
        "b": (db, 1),
        "Q": (triangle(score.q, n), 2),
        "C": (shared(score.c, m, n), 2),
        "d": (dd, 1),
        "R": (triangle(score.r, m), 2),
    }
    out = [fit_to(-dd, like[0]) if like[0].requires_grad else torch.zeros_like(like[0])]
    for i, name in enumerate(("A", "b", "Q", "C", "d", "R"), start=1):
        x, rank = whole[name]
        if name not in system.varies:
            x = x.sum(-rank - 1)
        out.append(fit_to(x, like[i]))
    return tuple(
        x.to(v.dtype)
        for x, v in zip([*out, fit_to(mean, like[7]), fit_to(cov, like[8])], like, strict=True)
    )


def run_smooth(run: Run, system: System) -> Smooth | None:
    """Smoothed moments, time first; see `backward.smooth`."""
    if not _serves_backward(run) or (run.dense and run.observed is not None):
        return None
    layout, n, t_max = run.layout, system.n, run.y.shape[-2]
    sets, series = layout.sets, layout.series
    number = np.float32 if run.y.dtype == torch.float32 else np.float64
    noise = system.Q.matrix if "Q" in system.varies else system.Q.matrix.unsqueeze(-3)
    moments = kernels.Smooth(
        np.empty((sets, series, t_max, n), number),
        np.empty((sets, series, t_max, n, n), number),
        np.empty((sets, series, max(t_max - 1, 0), n, n), number),
        layout.lay(noise, 3, series=False).contiguous().numpy(),
    )
    none = np.empty((1, 0))
    flat, rows = np.empty((1, 1, 1, 0)), np.empty((1, series, 1, 0))
    score = kernels.Score(
        none,
        flat,
        flat,
        flat,
        flat,
        rows,
        rows,
        np.empty((1, series, 0)),
        np.empty((1, series, 0, 0)),
    )
    _backward(run, _turned(run, system, run.dense), moments, score)
    mean, cov, cross = (layout.back(torch.from_numpy(x)) for x in moments[:3])
    cov, clipped = clip(cov)
    y_mean, y_cov = _of_y(run, system, mean, cov)
    return Smooth(
        mean.movedim(-2, 0), cov.movedim(-3, 0), cross.movedim(-3, 0), y_mean.movedim(-2, 0),
        y_cov.movedim(-3, 0), clipped,
    )  # fmt: skip


def _of_y(run: Run, system: System, mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Moments of y_t given all that was observed, (*batch, T, m), for independent noise."""
    m = system.m
    if run.observed is None:
        y = run.y.expand(*mean.shape[:-1], m)
        return y, y.new_zeros(m, m).expand(*y.shape, m)
    c, d, r = system.C, system.d, system.R.matrix
    c = c if "C" in system.varies else c.unsqueeze(-3)
    d = d if "d" in system.varies else d.unsqueeze(-2)
    r = r if "R" in system.varies else r.unsqueeze(-3)
    hidden = (~run.observed).to(mean)
    y_mean = torch.where(run.observed, run.y, (c @ mean[..., None])[..., 0] + d)
    y_cov = (c @ cov @ c.mT + r) * hidden[..., :, None] * hidden[..., None, :]
    return y_mean, y_cov
