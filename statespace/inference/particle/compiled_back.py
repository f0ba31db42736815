"""Smoothing of declared models: a compiled pass forward, and one back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from statespace import kernels
from statespace.densities import complete
from statespace.inference.particle.backward import smoothed
from statespace.inference.particle.compiled import Run, run
from statespace.inference.particle.declared import declared
from statespace.inference.particle.noise import WIDTH
from statespace.inference.particle.select import Selection
from statespace.interface import Context, State, lend
from statespace.particles import resample
from statespace.results import Smoothed
from statespace.sequences import Sequences
from statespace.shapes import every

__all__ = ["smooth_compiled"]

_MOST = 2**27  # numbers of all particles of all rows that are kept for the way back
_WORK = 16  # products for a particle, a trajectory and a row, about


def smooth_compiled(
    model: Any, data: Sequences, state: State, how: Selection, smoother: str, kind: str
) -> Smoothed | None:
    """The record of `smooth`; None where the plain way has to, and nothing is drawn then."""
    problem = declared(model, data, state.t)
    belief: Any = state.belief
    num = len(belief.log_weights)
    if problem is None or data.T * (belief.z.numel() + belief.log_weights.numel()) > _MOST:
        return None
    simulate = smoother == "ffbs"
    toward = _toward(problem.net.q) if simulate else None
    if simulate and toward is None:
        return None
    lineages = not simulate
    found = run(model, data, state, how, held=lineages, weights=True, problem=problem)
    if found is None:
        return None
    points = torch.from_numpy(found.told.points)  # (series, T, K, n)
    rows = int(data.lengths.max())

    def trajectories(count: int) -> Tensor:
        """Independent draws of z given y, (count, *batch, T, n)."""
        assert toward is not None
        return _values(points, _simulate(found, toward, rows, count), data)

    if simulate:
        z = trajectories(num)
        log_w = torch.full_like(belief.log_weights, 0.0).log_softmax(0)
    else:
        z = _values(points, _trace(found.told.ancestors, data), data)
        after: Any = found.state.belief
        log_w = after.log_weights

    def draw(count: int, generator: Generator) -> Tensor:
        with lend(generator), torch.no_grad():
            if simulate:
                return trajectories(count)
            k = resample(log_w, count, "multinomial")[..., None, None]
            return z.gather(0, k.expand(*k.shape[:-2], *z.shape[-2:]))

    increments = torch.from_numpy(found.told.increments).reshape(*data.batch_shape, data.T)
    y = _filled(model, data, z, state.t)
    return smoothed(model, data, (z, y), log_w, increments, (kind, smoother), draw)


def _toward(q: NDArray[Any]) -> NDArray[Any] | None:
    """The inverses of the factors of Q, (series, T, n, n); None where one is singular."""
    try:
        lower = np.linalg.cholesky(q @ np.swapaxes(q, -1, -2))
    except np.linalg.LinAlgError:
        return None
    return np.ascontiguousarray(np.linalg.inv(lower))


def _simulate(found: Run, toward: NDArray[Any], rows: int, count: int) -> Tensor:
    """Particles of trajectories, (series, T, M) int64."""
    net, seen, told = found.problem.net, found.problem.seen, found.told
    series, num = len(seen.y), told.weights.shape[-1]
    lanes = kernels.Lanes(WIDTH)
    uniform = torch.rand(rows, count, series, dtype=torch.float64).numpy()
    out = np.zeros((series, rows, count), np.int32)
    points, weights = (np.ascontiguousarray(x[:, :rows]) for x in (told.points, told.weights))

    def piece(low: int, high: int) -> None:
        kernels.quick(
            "look_back", kernels.look_back, lanes, net, seen, toward, points, weights, uniform,
            low, high, out,
        )  # fmt: skip

    kernels.spread(piece, series, rows * count * num * series * _WORK)
    return torch.from_numpy(out).long()


def _trace(ancestors: NDArray[Any], data: Sequences) -> Tensor:
    """Lineages of the last particles of each series, (series, T, K) int64."""
    series, rows, num = ancestors.shape
    k = torch.arange(num).expand(series, num)
    parents = torch.from_numpy(ancestors).long()
    found = torch.zeros(series, rows, num, dtype=torch.int64)
    for t in reversed(range(rows)):
        found[:, t] = k
        parent = parents[:, t]  # negative once a series is over
        k = torch.where(parent >= 0, parent.gather(1, k), k)
    return found


def _values(points: Tensor, index: Tensor, data: Sequences) -> Tensor:
    """The values of trajectories, (N, *batch, T, n); the last of a series repeats at the end."""
    n, (series, rows, count) = points.shape[-1], index.shape
    z = points[:, :rows].gather(2, index[..., None].expand(series, rows, count, n))
    last = (data.lengths.expand(data.batch_shape).reshape(-1, 1) - 1).clamp_min(0)
    t = torch.minimum(torch.arange(data.T).expand(series, data.T), last)
    z = z.gather(1, t[..., None, None].expand(series, data.T, count, n))
    return z.permute(2, 0, 1, 3).reshape(count, *data.batch_shape, data.T, n)


def _filled(model: Any, data: Sequences, z: Tensor, start: int) -> Tensor:
    """Observations along trajectories, with what was missing drawn, (N, *batch, T, m)."""
    shape = (*z.shape[:-1], data.values.shape[-1])
    if every(data.observed):
        return data.values.expand(shape)
    t = torch.arange(start, start + data.T)
    density = model.emission(z, Context(t, data.inputs, data.inputs[..., :0]))
    return complete(density.expand(z.shape[:-1]), data.values, data.observed)
