"""A fitted linear system, written into the network.

With x_t = F x_{t-1} + G u_t + h + w_t, y_t = H x_t + D u_t + e + v_t fitted, x_ its mean over the
data, T a diagonal change of units, and g(a) = level + slope (a - centre) near the working point,

    z - level = T (x - x_),    A = T F T^-1 / slope,    W = T G / slope,
    b = centre - A level + T (F x_ + h - x_) / slope,
    C = H T^-1,    d = e + H x_ - C level,    Q = T Cov(w) T.

T gives every z the spread of the working point, or a part of it, so that the units of y and u
change C, D, d, W and R alone.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, NumericalError
from statespace.inference import ExtendedKalman, Kalman
from statespace.learning import EM
from statespace.linalg import spectral_radius
from statespace.models.lds import LDS
from statespace.models.noisy_rnn.start.point import Point, narrowed, working_point
from statespace.models.noisy_rnn.start.proxy import now, proxy
from statespace.models.noisy_rnn.start.responses import Response, response
from statespace.models.shared.unknowable import hold_start
from statespace.parameters import Slot
from statespace.sequences import Sequences

__all__ = ["start_values"]

# At zero a variance has no slope, and particles have no chance:
_FLOOR = 0.05  # of the variance of one-step errors is the least R
_LEAST = 1e-4  # of the variance of a state is the least Q
_MOST = 4000  # rows of a series, and a tenth of all rows, for the linear system
_ROWS = 400  # of each series, for the likelihood of a start
_HALVINGS = 4  # of the working point's width, at the most
_LOSS = 0.25  # nats per observed value that states twice as wide may cost
_UNITS = ("A", "W", "b", "C", "Q")  # what the units of the states stand in
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
            _likeliest(rnn, unset, data, generator)
    hold_start(rnn, data)


def _likeliest(rnn: Any, unset: list[str], data: Sequences, generator: Generator) -> None:
    """Of several starts the one whose states are widest, among those that are nearly the likeliest.

    Two linear systems, since a fit may lean on differences of states that the activation does not
    keep: the start of a fit and its end. And several widths: where noise is small, the bend of an
    activation is the larger error, and states must begin where it bends less; where states are
    too narrow, it bends too little to be learned.
    """
    data = _enough(data, rnn.batch_shape)
    point, found = working_point(rnn.activation), response(rnn, data)
    short = data.rows(0, min(data.T, _ROWS))
    slots = [slot for name, slot in rnn._slots() if name in unset and slot.n_free]
    own = set(_UNITS) <= set(unset) and rnn.activation.name != "identity"
    lds = proxy(rnn, point, found.noise)
    values, thetas = [], []
    for prepare in (LDS.start_values, _fit):
        prepare(lds, found.data, generator)
        for k in range(_HALVINGS + 1 if own else 1):
            at = narrowed(rnn.activation, point, 0.5**k) if k else point
            _write(rnn, unset, lds, at, found)
            value = _value(rnn, short, generator)
            if value is None:  # nothing to choose by: the end of the fit, at its widest
                break
            values.append(value - _LOSS * k * _count(short, value.shape))
            thetas.append([slot.theta.detach().clone() for slot in slots])
    if values:
        best = torch.stack(values).argmax(0)  # (*models,)
        for slot, rows in zip(slots, zip(*thetas, strict=True), strict=True):
            slot.theta.copy_(_chosen(torch.stack(rows), best))


def _enough(data: Sequences, models: torch.Size) -> Sequences:
    """As many rows, and of many series of one model as many series, as a start needs."""
    data = data.rows(0, min(data.T, _MOST))
    wanted = max(1, _MOST * 10 // data.T)
    if models or len(data.batch_shape) != 1 or wanted >= data.batch_shape[0]:
        return data
    evenly = torch.arange(wanted, device=data.lengths.device) * data.batch_shape[0] // wanted
    return data.select(evenly)


def _count(data: Sequences, models: torch.Size) -> Tensor:
    """Observed values of each model's series, (*models,)."""
    n = data.n_values.double()
    n = n.expand(torch.broadcast_shapes(n.shape, models))
    return n.sum_to_size(models) if models else n.sum()


def _chosen(rows: Tensor, best: Tensor) -> Tensor:
    """For each model its best of the rows, (K, *models, ...) -> (*models, ...)."""
    index = best.reshape(1, *best.shape, *[1] * (rows.dim() - 1 - best.dim()))
    return rows.gather(0, index.expand(1, *rows.shape[1:]))[0]


def _value(rnn: Any, data: Sequences, generator: Generator) -> Tensor | None:
    """The extended Kalman filter's log-likelihood of every model, (*models,)."""
    method = ExtendedKalman()
    if rnn.categorical or method.refusal(rnn, data) is not None:
        return None
    try:
        value = method.log_likelihood(rnn, data, generator).double()
    except (InputError, NumericalError):
        value = data.values.new_full((), -math.inf, dtype=torch.float64)
    models = rnn.batch_shape
    value = value.expand(torch.broadcast_shapes(value.shape, models))
    return torch.nan_to_num(value.sum_to_size(models) if models else value.sum(), nan=-math.inf)


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
    mean = _average(smoothed.mean, on, lds.batch_shape)
    square = (smoothed.mean - mean[..., None, :]).square() + variance
    return _States(mean, _average(square, on, lds.batch_shape).sqrt())


def _errors(lds: LDS, data: Sequences) -> Tensor:
    """The variance of one-step errors, column by column, (*models, m)."""
    found = Kalman().scan(lds, data, torch.Generator()).innovations
    assert found is not None
    return _average(found.square(), data.observed, lds.batch_shape)


def _units(rnn: Any, unset: list[str], states: _States, point: Point) -> Tensor:
    """T, (*models, n): what brings the states to the working point, where nothing else says."""
    ones = torch.ones_like(states.spread)
    for name in ("C", "W", "Q"):
        slot = rnn.slot(name)
        if bool(((slot.held if name in unset else slot.value()) != 0).any()):
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

    a = t[..., :, None] * f / t[..., None, :] / slope
    if rnn.activation.name in ("relu", "softplus"):  # steeper above: there it would explode
        a = a * (_RADIUS / spectral_radius(a)).clamp_max(1.0)[..., None, None]
    read = c / t[..., None, :]
    levels = torch.full_like(mean, level)
    moment, spread = (now(lds.slot(name)) for name in ("initial_mean", "initial_cov"))
    values = {
        "A": a,
        "W": t[..., :, None] * g / slope,
        "b": centre - _times(a, levels) + t * (_times(f, mean) + h - mean) / slope,
        "C": read,
        "D": d,
        "d": e + _times(c, mean) - _times(read, levels),
        "Q": t[..., :, None] * now(lds.slot("Q")) * t[..., None, :],
        "initial_mean": level + t * (moment - mean),
        "initial_cov": t[..., :, None] * spread * t[..., None, :],
    }
    bend = point.left / (slope * point.spread) ** 2  # what the line leaves is noise to it
    least = max(_LEAST, bend if math.isfinite(bend) else 0.0)
    values["Q"] = values["Q"] + torch.diag_embed(least * (t * states.spread).square())
    if "R" in unset:
        r = now(lds.slot("R")) + torch.diag_embed(_FLOOR * _errors(lds, found.data))
        r = r * found.slope[:, None] * found.slope
        df = rnn.df
        values["R"] = r if df is None else r * ((df - 2) / df).clamp_min(0.1).mean()
    for name in unset:
        rnn.slot(name).set_(values[name])
    if "b" not in unset and "d" in unset and rnn.activation.name != "identity":
        rnn.slot("d").set_(now(rnn.slot("d")) + _off(rnn, found.data, point))


def _off(rnn: Any, data: Sequences, point: Point) -> Tensor:
    """By how much a network with a b of its own misses the level of the data, (*models, rows).

    Along its path without noise.
    """
    a, w, b, c, effect, d = (now(rnn.slot(name)) for name in ("A", "W", "b", "C", "D", "d"))
    z, etas = torch.full_like(b, point.level), []
    for t in range(min(data.T, _ROWS)):
        u = data.inputs[..., t, :]
        z = rnn.activation(_times(a, z) + _times(w, u) + b)
        etas.append(_times(c, z) + _times(effect, u) + d)
    eta = torch.stack(etas, -2).nan_to_num(0.0, 0.0, 0.0)
    level = _average(data.values, data.observed, rnn.batch_shape)
    return level - _average(eta, torch.ones_like(eta, dtype=torch.bool), rnn.batch_shape)


def _average(x: Tensor, on: Tensor, models: torch.Size) -> Tensor:
    """Over the rows and the series of each model, (*models, k)."""
    batch = torch.broadcast_shapes(x.shape[:-2], models)
    x, on = (v.expand(*batch, *v.shape[-2:]) for v in (x, on.expand(x.shape)))
    shape = (*models, x.shape[-1])
    total = torch.where(on, x, 0.0).sum(-2).sum_to_size(shape)
    return total / on.to(x).sum(-2).sum_to_size(shape).clamp_min(1)


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x[..., None])[..., 0]
