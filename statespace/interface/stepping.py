"""From steps to records: the rows of the data, the record of a filter, a forecast from draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.beliefs import Tree, finite_part, real_part
from statespace.densities import category_probs, moments
from statespace.interface.values import Context, Info, Row, State
from statespace.interface.walking import Moment, rows_of_z, run_freely
from statespace.particles import average_moments, frequencies, resample
from statespace.results import Filtered, Forecast
from statespace.sequences import Sequences
from statespace.shapes import gather, tmap

__all__ = ["filtered", "forecast_by_draws", "rows_of"]

_AT_ONCE = 2**22  # entries of covariances, one for each draw and row, that are there at a time


def rows_of(data: Sequences, e: Tree = ()) -> Iterator[Row]:
    """The rows of the data, one after the other.

    Args:
        data: The data.
        e: A guide's encoding, leaves (*batch, T, .).
    """
    active = data.active
    for t in range(data.T):
        here = tmap(lambda leaf, t=t: leaf[..., t, :], e)
        yield Row(
            data.values[..., t, :],
            data.observed[..., t, :],
            active[..., t],
            data.inputs[..., t, :],
            here,
        )


def filtered(kind: str, data: Sequences, infos: Sequence[Info], state: State) -> Filtered:
    """The record of a filter that went step by step."""
    increments = torch.stack([i.increment for i in infos], -1)
    y_mean = _stack([i.y_mean for i in infos], -2)
    innovations = None
    if y_mean is not None:
        nan = torch.full_like(y_mean, torch.nan)
        innovations = torch.where(data.observed, data.values - y_mean, nan)
    vectors = infos[0].belief.mean.shape[-1] > 0 or infos[0].belief.probs is None
    return Filtered(
        mean=_stack([i.belief.mean for i in infos], -2) if vectors else None,
        cov=_stack([i.belief.cov for i in infos], -3) if vectors else None,
        predicted_mean=_stack([i.predicted.mean for i in infos], -2) if vectors else None,
        predicted_cov=_stack([i.predicted.cov for i in infos], -3) if vectors else None,
        probs=_stack([i.belief.probs for i in infos], -2),
        predicted_probs=_stack([i.predicted.probs for i in infos], -2),
        y_mean=y_mean,
        y_cov=_stack([i.y_cov for i in infos], -3),
        innovations=innovations,
        increments=increments,
        log_likelihood=increments.sum(-1),
        kind=kind,
        state=state,
        lengths=data.lengths,
        index=data.index,
        univariate=data.univariate,
    )


def _stack(rows: Sequence[Tensor | None], axis: int) -> Tensor | None:
    found = [row for row in rows if row is not None]
    return torch.stack(found, axis) if len(found) == len(rows) else None


def _joined(parts: Sequence[Tensor | None], axis: int) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found, axis) if found else None


def forecast_by_draws(
    model: Any,
    state: State,
    draws: tuple[Tree, Tree, Tensor],
    inputs: Tensor,
    kind: str,
    weights: Tensor | None = None,
) -> Forecast:
    """Draws of a state run on freely; moments of y are averages of the emission's own.

    Args:
        model: The model.
        state: Where the rows begin.
        draws: z, memory and y, each (num, *batch, .).
        inputs: (*batch, horizon, p).
        kind: What the forecast is.
        weights: Of the draws, (num, *batch); equal if None.
    """
    z, memory, y = draws
    num, steps = y.shape[0], torch.arange(inputs.shape[-2], device=inputs.device) + state.t
    z, y, h = run_freely(model, Moment(state.t, z, memory, y), inputs)
    even = torch.full(y.shape[:-2], 1 / num, dtype=inputs.dtype, device=inputs.device)
    w = (even if weights is None else weights)[..., None]  # (num, *batch, 1)
    drawn = y if weights is None else gather(y, resample(weights.log(), num))
    mean, cov, chances = _emitted(model, z, y, Context(steps, inputs, h), w)
    states = finite_part(model.latent, z)
    vectors = real_part(model.latent, z).to(inputs.dtype)
    z_mean, z_cov = average_moments(vectors, torch.zeros_like(w)[..., None, None], w)
    only_finite = states is not None and not vectors.shape[-1]
    return Forecast(
        mean=mean,
        cov=cov,
        z_mean=None if only_finite else z_mean,
        z_cov=None if only_finite else z_cov,
        kind=kind,
        samples=drawn.to(inputs.dtype) if chances is None else drawn,
        probs=chances,
        z_probs=None if states is None else frequencies(*states, w),
    )


def _emitted(
    model: Any, z: Tree, y: Tensor, ctx: Context, weights: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Averages over draws: mean and covariance of y, or the chances of categories.

    So many rows at a time that the covariances of all draws fit into the memory.
    """
    *lead, T, m = y.shape
    length = max(1, _AT_ONCE // (math.prod(lead) * m * m))
    rows: list[tuple[Tensor | None, ...]] = []
    for begin in range(0, T, length):
        some = y[..., begin : begin + length, :].to(weights.dtype)
        here = rows_of_z(model, z, begin, some.shape[-2])
        density = model.emission(here, ctx.rows(begin, begin + length)).expand(some.shape[:-1])
        chances = category_probs(density)
        if chances is None:
            rows.append((*_moments_of_y(density, some, weights), None))
        else:
            rows.append((None, None, (weights[..., None, None] * chances).sum(0)))
    means, covs, shares = zip(*rows, strict=True)
    return _joined(means, -2), _joined(covs, -3), _joined(shares, -3)


def _moments_of_y(density: Distribution, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Averages of the emission's own moments; of the draws where it has none in closed form."""
    found = moments(density)
    mean, cov = (y, torch.zeros_like(weights)[..., None, None]) if found is None else found
    return average_moments(mean, cov, weights)
