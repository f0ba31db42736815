"""A fitted linear system, written into the network.

With x_t = F x_{t-1} + G u_t + h + w_t, y_t = H x_t + D u_t + e + v_t fitted, x_ its mean over the
data, T a diagonal change of units, and g(a) = level + slope (a - centre) near the working point,

    z - level = T (x - x_),    A = T F T^-1 / slope,    W = T G / slope,
    b = centre - A level + T (F x_ + h - x_) / slope,
    C = H T^-1,    d = e + H x_ - C level,    Q = T Cov(w) T.

T gives every z the spread of the working point, so that the units of y and u change C, D, d, W and
R alone.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from statespace.errors import NumericalError
from statespace.inference import Kalman
from statespace.learning import EM
from statespace.linalg import spectral_radius
from statespace.models.lds import LDS
from statespace.models.noisy_rnn.start.point import Point, working_point
from statespace.models.noisy_rnn.start.proxy import now, proxy
from statespace.models.noisy_rnn.start.responses import Response, response
from statespace.parameters import Slot
from statespace.sequences import Sequences

__all__ = ["start_values"]

# At zero a variance has no slope, and particles have no chance:
_FLOOR = 0.05  # of the variance of one-step errors is the least R
_LEAST = 1e-4  # of the variance of a state is the least Q
_RADIUS = 0.999  # of A, where nothing bounds the states


def start_values(rnn: Any, data: Sequences, generator: Generator) -> None:
    """Sets what has no value yet.

    Args:
        rnn: A network.
        data: The training data.
        generator: Random numbers, for what the data do not suggest.
    """
    unset = [name for name, slot in rnn._slots() if not slot.is_set]
    if unset:
        with torch.no_grad():
            point = working_point(rnn.activation)
            found = response(rnn, data)
            lds = proxy(rnn, point, found.noise)
            _fit(lds, found.data, generator)
            _write(rnn, unset, lds, point, found)
    _hold_unknowable(rnn, data)


def _fit(lds: LDS, data: Sequences, generator: Generator) -> None:
    with torch.enable_grad(), suppress(NumericalError):  # its own start is left, which will do
        EM().fit(lds, data, Kalman(), generator)


class _States(NamedTuple):
    """The states of the fitted system over the data, (*models, n) each."""

    mean: Tensor
    spread: Tensor


def _states(lds: LDS, data: Sequences) -> _States:
    smoothed = Kalman().smooth(lds, data, torch.Generator())
    assert smoothed.mean is not None
    assert smoothed.cov is not None
    on = data.active[..., None].expand(smoothed.mean.shape)
    variance = smoothed.cov.diagonal(dim1=-2, dim2=-1)

    def average(x: Tensor) -> Tensor:
        shape = (*lds.batch_shape, x.shape[-1])
        total = torch.where(on, x, 0.0).sum(-2).sum_to_size(shape)
        return total / on.to(x).sum(-2).sum_to_size(shape).clamp_min(1)

    mean = average(smoothed.mean)
    square = average((smoothed.mean - mean[..., None, :]).square() + variance)
    return _States(mean, square.sqrt())


def _errors(lds: LDS, data: Sequences) -> Tensor:
    """The variance of one-step errors, column by column, (*models, m)."""
    found = Kalman().scan(lds, data, torch.Generator()).innovations
    assert found is not None
    seen = data.observed.expand(found.shape)
    shape = (*lds.batch_shape, found.shape[-1])
    total = torch.where(seen, found, 0.0).square().sum(-2).sum_to_size(shape)
    return total / seen.to(found).sum(-2).sum_to_size(shape).clamp_min(1)


def _units(rnn: Any, unset: list[str], states: _States, point: Point) -> Tensor:
    """T, (*models, n): what brings the states to the working point, where nothing else says."""
    ones = torch.ones_like(states.spread)
    for name in ("C", "W", "Q"):
        if name not in unset and bool((rnn.slot(name).value() != 0).any()):
            return ones  # it has the units of the states in it
    most = states.spread.amax(-1, keepdim=True) if rnn.latent_dim else states.spread
    spread = torch.maximum(states.spread, 1e-6 * most)
    spread = torch.where(spread > 0, spread, ones)
    wanted = point.spread * abs(point.slope)
    if "A" in unset and not any(_tied(rnn.slot(name)) for name in "ACWQ"):
        return wanted / spread
    return wanted / torch.where(most > 0, most, ones)  # one unit for all: A is as it was


def _tied(slot: Slot) -> bool:
    """Whether units of their own for the states would break what is held or tied."""
    return bool((slot.held != 0).any()) or bool((slot.pattern.count > 1).any())


def _write(rnn: Any, unset: list[str], lds: LDS, point: Point, found: Response) -> None:
    level, slope, centre = point.level, point.slope, point.centre
    states = _states(lds, found.data)
    t = _units(rnn, unset, states, point)
    mean = states.mean if "b" in unset else torch.zeros_like(states.mean)
    f, g, h, c, d, e = (now(lds.slot(name)) for name in ("A", "B", "b", "C", "D", "d"))

    def times(matrix: Tensor, x: Tensor) -> Tensor:
        return (matrix @ x[..., None])[..., 0]

    a = t[..., :, None] * f / t[..., None, :] / slope
    if rnn.activation.name in ("relu", "softplus"):  # steeper above: there it would explode
        a = a * (_RADIUS / spectral_radius(a)).clamp_max(1.0)[..., None, None]
    read = c / t[..., None, :]
    levels = torch.full_like(mean, level)
    moment, spread = (now(lds.slot(name)) for name in ("initial_mean", "initial_cov"))
    values = {
        "A": a,
        "W": t[..., :, None] * g / slope,
        "b": centre - times(a, levels) + t * (times(f, mean) + h - mean) / slope,
        "C": read,
        "D": d,
        "d": e + times(c, mean) - times(read, levels),
        "Q": t[..., :, None] * now(lds.slot("Q")) * t[..., None, :],
        "initial_mean": level + t * (moment - mean),
        "initial_cov": t[..., :, None] * spread * t[..., None, :],
    }
    values["Q"] = values["Q"] + torch.diag_embed(_LEAST * (t * states.spread).square())
    if "R" in unset:
        r = now(lds.slot("R")) + torch.diag_embed(_FLOOR * _errors(lds, found.data))
        r = r * found.slope[:, None] * found.slope
        df = rnn.df
        values["R"] = r if df is None else r * ((df - 2) / df).clamp_min(0.1).mean()
    for name in unset:
        rnn.slot(name).set_(values[name])


def _hold_unknowable(rnn: Any, data: Sequences) -> None:
    """One draw of z_1 has no variance to show, and few draws have none in some direction.

    There the likelihood is highest, or without bound, where the covariance of z_1 is singular. So
    it stays at its start, and beside a single series the mean of z_1 does too.
    """
    batch = torch.broadcast_shapes(data.batch_shape, rnn.batch_shape)
    series = math.prod(batch) // max(math.prod(rnn.batch_shape), 1)
    if series > rnn.kinds.count("estimate"):
        return
    for name in ("initial_cov", "initial_mean") if series == 1 else ("initial_cov",):
        theta = rnn.slot(name).theta
        if theta is not None:
            theta.requires_grad_(False)
