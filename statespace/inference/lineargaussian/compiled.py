"""The compiled path: the same numbers as the plain one, from loops over scalars.

It serves float32 and float64 on the CPU. It steps back, and the plain path answers, where an
innovation has no variance to rounding (entries that others determine), where numbers overflow,
and for the moments of what was not observed when the noise of y is correlated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace import kernels
from statespace.inference.lineargaussian.backward import Smooth, clip, columns_of
from statespace.inference.lineargaussian.complete import Settled, lanes_of
from statespace.inference.lineargaussian.delta import Delta, solve
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.moments import gained
from statespace.inference.lineargaussian.overlaps import value_by_overlap
from statespace.inference.lineargaussian.passes import Core
from statespace.inference.lineargaussian.scores import (
    NO_SECOND,
    gradients,
    no_moments,
    no_score,
    score_tables,
)
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System
from statespace.shapes import every

__all__ = [
    "Run",
    "is_dense",
    "layout_of",
    "run_forward",
    "run_moments",
    "run_score",
    "shares",
    "suits",
]

_LOG_2PI = 1.8378770664093453
SHORT = 1000  # rows up to which one series alone is not worth two passes


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


def run_forward(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    *,
    diffuse_constant: bool = True,
    gaps: bool = False,
) -> tuple[Tensor, Run] | None:
    """The log-likelihood (*batch,), and what the backward passes need; None: ask the plain path.

    Arguments are those of `forward`; with `gaps`, NaN in y says what was not observed, and what is
    infinite in it makes for None.
    """
    layout, seen = layout_of(system, begin, y, observed)
    dense = is_dense(system)
    first = solve(begin.rows)
    run = Run(layout, dense, y, seen, None, begin, None, gaps)
    if shares(run):
        return _forward_complete(run, system)
    model, data = layout.model(system, begin, dense), layout.data(y, seen)
    k = begin.x.shape[-1]
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
    return run.layout.series > 1 or run.y.shape[-2] > SHORT


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


def run_moments(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    *,
    diffuse_constant: bool = True,
    keep: str = "all",
    gaps: bool = False,
) -> tuple[Tensor, Smooth] | None:
    """The log-likelihood and smoothed moments, time first; arguments are those of `run_forward`.

    Those of y are left to `imputation`. With `keep="marginals"` the lag-one covariances have no
    rows, and with "means" no covariances have any; they are not computed either. None: ask the
    plain path.
    """
    told = {"diffuse_constant": diffuse_constant, "gaps": gaps}
    found = forward_for(system, begin, y, observed, **told)
    if found is None:
        return None
    value, run = found
    squares, moments = _smooth(run, system, keep)
    value = total_of(run, squares) if value is None else value
    return None if value is None else (value, moments)


def forward_for(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    *,
    diffuse_constant: bool,
    whole_r: bool = False,
    gaps: bool = False,
) -> tuple[Tensor | None, Run] | None:
    """What a backward pass needs to begin; the log-likelihood, None where that pass gives it.

    Without open directions of the start the way back makes its own way forward. `whole_r` treats
    R as dense, for the gradient off its diagonal.
    """
    layout, seen = layout_of(system, begin, y, observed)
    run = Run(layout, whole_r or is_dense(system), y, seen, None, begin, None, gaps)
    if shares(run):
        model = layout.model(system, begin, run.dense)
        settled = Settled(system, layout, model, y.shape[-2])
        return (None, run._replace(settled=settled)) if settled.usable else None
    if begin.x.shape[-1] == 1:
        return None, run
    told = {"diffuse_constant": diffuse_constant, "gaps": gaps}
    found = run_forward(system, begin, y, observed, **told)
    if found is None or not _serves_backward(found[1]):
        return None
    return found[0], found[1]._replace(dense=run.dense)


def backward(
    run: Run, system: System, smooth: Any, score: Any, second: Any = NO_SECOND
) -> NDArray[np.float64]:
    """A backward pass over every series with its own covariance; log-likelihoods beside it.

    The start is put in the posterior mean of delta and along the root of its posterior.

    Returns:
        (sets, series), for a start with one column; NaN where an innovation had no variance.
    """
    layout, begin = run.layout, run.begin
    if run.known is not None:
        begin = begin._replace(x=begin.x @ columns_of(run.known))
    model, data = layout.model(system, begin, run.dense), layout.data(run.y, run.observed)
    lanes, tasks = lanes_of(layout)
    value, bad = np.empty((2, layout.sets, layout.series))

    def piece(low: int, high: int) -> None:
        kernels.smooth_each(lanes, model, data, low, high, value, bad, smooth, score, second)

    kernels.announced(("smooth", lanes.width, run.y.dtype), lambda: kernels.spread(piece, tasks))
    return np.where(bad > 0, np.nan, value)


def _serves_backward(run: Run) -> bool:
    """Whether every direction of an augmented start was resolved."""
    return run.known is None or not bool((run.known.blind != 0).any())


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
    rows = {name: t_max if name in system.varies else 1 for name in "AbQCdR"}
    rows["d"] = t_max if like[0].requires_grad else rows["d"]
    own = layout.lay(weight.double().expand(layout.batch), 0).contiguous().numpy()
    blocks = lanes_of(layout)[1] // max(layout.sets, 1)
    score = score_tables(own, blocks, n, m, rows)
    none = no_moments(n, _number(run))
    settled = run.settled
    if settled is None:
        backward(run._replace(dense=dense), system, none, score)
        return gradients(layout, system, [score], like)
    model = layout.model(system, run.begin, dense)
    if dense != run.dense:
        settled = Settled(system, layout, model, t_max)
    settled.back(model, layout.data(run.y, None), none, score, NO_SECOND)
    rows = rows | {"b": 1, "d": 1}
    rest = score_tables(own.sum(1, keepdims=True), 1, n, m, rows)
    settled.spread_back(no_moments(n, np.float64), rest, NO_SECOND)
    return gradients(layout, system, [score, rest], like)


def _number(run: Run) -> Any:
    return np.float32 if run.y.dtype == torch.float32 else np.float64


def _smooth(run: Run, system: System, keep: str) -> tuple[NDArray[np.float64], Smooth]:
    """Log-likelihoods (sets, series) and smoothed moments, time first; see `backward.smooth`."""
    layout, n, t_max, number = run.layout, system.n, run.y.shape[-2], _number(run)
    sets, series = layout.sets, layout.series
    noise = system.Q.matrix if "Q" in system.varies else system.Q.matrix.unsqueeze(-3)
    q = layout.lay(noise, 3, series=False).contiguous().numpy()
    alike = 1 if run.settled is not None else series
    cov_number = np.float64 if run.settled is not None else number
    mean = np.empty((sets, series, t_max, n), number)
    cov = np.empty((sets, alike, 0 if keep == "means" else t_max, n, n), cov_number)
    cross = np.empty((sets, alike, max(t_max - 1, 0) if keep == "all" else 0, n, n), cov_number)
    if run.settled is None:
        moments = kernels.Smooth(mean, cov, cross, q)
        value = backward(run, system, moments, no_score(series))
    else:
        none = no_moments(n, number)
        model, data = layout.model(system, run.begin, run.dense), layout.data(run.y, None)
        squares = run.settled.back(
            model, data, none._replace(mean=mean), no_score(series), NO_SECOND
        )
        value = run.settled.value[:, None] - 0.5 * squares
        none = no_moments(n, np.float64)._replace(cov=cov, cross=cross, noise=q.astype(np.float64))
        if keep != "means":
            run.settled.spread_back(none, no_score(1), NO_SECOND)
    means, covs, crosses = (
        layout.back(torch.from_numpy(x).to(run.y.dtype).expand(sets, series, *x.shape[2:]))
        for x in (mean, cov, cross)
    )
    covs, clipped = clip(covs)
    return value, Smooth(
        means.movedim(-2, 0), covs.movedim(-3, 0), crosses.movedim(-3, 0), None, None, clipped
    )
