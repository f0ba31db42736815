"""Smoothing of plain, complete data from kept arrays; see `direct`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from statespace import kernels
from statespace.inference.kalman.direct import Given, value_of
from statespace.inference.kalman.slope import one
from statespace.inference.lineargaussian.complete import Counts, Settled
from statespace.inference.lineargaussian.scores import NO_SECOND, no_moments, no_score
from statespace.inference.lineargaussian.simulate import posterior_draws
from statespace.results import Smoothed

__all__ = ["smoothed"]


def smoothed(known: Given, keep: str) -> Smoothed | None:
    """Moments of every z_t given all of complete data, and joint draws; None as before."""
    if not known.plain:
        return None
    value, moments = (_smooth_alone if known.short else _smooth_steady)(known, keep)
    (n, m), rows, batch = (known.arrays.system.n, known.arrays.system.m), known.rows, known.batch
    variances = moments.cov.reshape(-1, n * n)[:, :: n + 1]
    if not np.isfinite(value).all() or bool((variances < 0).any()):
        return None
    dtype, lead = known.arrays.dtype, math.prod(batch)
    mean, cov, cross = (
        torch.from_numpy(x[0]).to(dtype).expand(lead, *x.shape[2:]).reshape(*batch, *x.shape[2:])
        for x in moments[:3]
    )
    y_cov = known.y.new_zeros(m, m).expand(*batch, rows, m, m)
    found = Smoothed(
        mean, cov, cross, known.y, y_cov[..., 0, 0] if known.univariate else y_cov,
        log_likelihood=value_of(value, known),
        kind="exact",
        lengths=torch.full(batch, rows),
        sampler=_sampler(known, mean),
        univariate=known.univariate,
        settled=True,
        keep=keep,
    )  # fmt: skip
    object.__setattr__(found, "settled", known.univariate)  # as `Record` leaves it
    return found


def _room(known: Given, keep: str, series: int, alike: int, number: Any) -> kernels.Smooth:
    """Memory for the moments that are kept: means of each series, covariances of so many."""
    rows, n = known.rows, known.arrays.system.n
    return kernels.Smooth(
        np.empty((1, series, rows, n), known.values.dtype),
        np.empty((1, alike, 0 if keep == "means" else rows, n, n), number),
        np.empty((1, alike, rows - 1 if keep == "all" else 0, n, n), number),
        np.asarray(known.arrays.noise, number),
    )


def _smooth_alone(known: Given, keep: str) -> tuple[NDArray[np.float64], kernels.Smooth]:
    """One short series, in one pass."""
    arrays, data = known.arrays, known.data()
    value, bad = np.empty((2, 1, 1))
    moments = _room(known, keep, 1, 1, data.y.dtype)
    kernels.quick(
        ("smooth", 1, arrays.dtype), kernels.smooth_each,
        one(), arrays.model, data, 0, 1, value, bad, moments, _no_score(1), NO_SECOND,
    )  # fmt: skip
    return np.where(bad > 0, np.nan, value), moments


def _smooth_steady(known: Given, keep: str) -> tuple[NDArray[np.float64], kernels.Smooth]:
    """Gains and covariances of complete data once for all series."""
    arrays, data, n = known.arrays, known.data(), known.arrays.system.n
    series = data.y.shape[1]
    moments = _room(known, keep, series, 1, np.float64)
    settled = Settled(arrays.system, Counts(1, series), arrays.model, known.rows)
    if not settled.usable:
        return np.full((1, series), np.nan), moments
    means = no_moments(n, data.y.dtype)._replace(mean=moments.mean)
    squares = settled.back(arrays.model, data, means, _no_score(series), NO_SECOND)
    if keep != "means":
        covs = moments._replace(mean=np.empty((1, 0, 0, 0)))
        settled.spread_back(covs, _no_score(1), NO_SECOND)
    return settled.value[:, None] - 0.5 * squares, moments


@lru_cache(16)
def _no_score(series: int) -> kernels.Score:
    return no_score(series)


def _sampler(known: Given, mean: Tensor) -> Any:
    """Joint draws of z given y, whatever has become of the model since."""

    def draw(num: int, generator: Generator) -> Tensor:
        p = known.problem()
        with torch.no_grad():
            return posterior_draws(p.system, p.begin, mean, p.observed, p.active, num, generator)

    return draw
