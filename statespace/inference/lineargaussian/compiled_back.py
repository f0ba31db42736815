"""The compiled path back over the rows: smoothed moments and the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace import kernels
from statespace.inference.lineargaussian.backward import Smooth, clip, columns_of
from statespace.inference.lineargaussian.compiled import (
    Run,
    forward_of,
    run_of,
    shares,
    total_of,
)
from statespace.inference.lineargaussian.complete import Settled, lanes_of
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.scores import (
    NO_SECOND,
    gradients,
    no_moments,
    no_score,
    score_tables,
)
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System

__all__ = ["backward", "forward_for", "run_moments", "run_score"]


def run_moments(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    *,
    diffuse_constant: bool = True,
    keep: str = "all",
    gaps: bool = False,
    layout: Layout | None = None,
) -> tuple[Tensor, Smooth] | None:
    """The log-likelihood and smoothed moments, time first; arguments are those of `run_forward`.

    Those of y are left to `imputation`. With `keep="marginals"` the lag-one covariances have no
    rows, and with "means" no covariances have any; they are not computed either. None: ask the
    plain path.
    """
    run = run_of(system, begin, y, observed, gaps=gaps, layout=layout)
    found = forward_for(run, system, diffuse_constant)
    if found is None:
        return None
    value, run = found
    squares, moments = _smooth(run, system, keep)
    value = total_of(run, squares) if value is None else value
    return None if value is None else (value, moments)


def forward_for(
    run: Run, system: System, diffuse_constant: bool, *, whole_r: bool = False
) -> tuple[Tensor | None, Run] | None:
    """What a backward pass needs to begin; the log-likelihood, None where that pass gives it.

    Without open directions of the start the way back makes its own way forward. `whole_r` treats
    R as dense, for the gradient off its diagonal.
    """
    wide = run._replace(dense=run.dense or whole_r)
    if shares(wide):
        model = wide.layout.model(system, wide.begin, wide.dense)
        settled = Settled(system, wide.layout, model, wide.y.shape[-2])
        return (None, wide._replace(settled=settled)) if settled.usable else None
    if run.begin.x.shape[-1] == 1:
        return None, wide
    found = forward_of(run, system, diffuse_constant)
    if found is None or not _serves_backward(found[1]):
        return None
    return found[0], found[1]._replace(dense=wide.dense)


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
