"""Expected sufficient statistics of an LDS, as moments of residuals.

For each of the three regressions of the model,

    start        z_1 - m                         on 1
    dynamics     z_t - A z_{t-1} - B u_t - b     on x_t = (z_{t-1}, u_t, 1),    t >= 2
    readout      y_t - C z_t - D u_t - d         on x_t = (z_t, u_t, 1),        rows with data

the sums over t of E[e e'], E[e x'] and E[x x'] given y, at the parameters of the E-step. Residuals
and not products of the data, because E[y y'] - C E[z y'] - ... loses every digit where the noise
is small beside the level; and what is held, or varies in time, needs no further word.

Missing entries of a row (Holmes 2013, MARSS, eq. 5.13 ff.): given the observed residual v_o and z,
the missing one has mean K v_o, K = R_mo R_oo^+, and covariance R_mm - K R_om. A row in which
nothing is observed says nothing about C, D, d, R and is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from statespace.errors import NumericalError
from statespace.gaussian import AffineConditional
from statespace.inference.lineargaussian.expected import Expected
from statespace.inference.lineargaussian.imputation import imputation
from statespace.interface import Context
from statespace.models.lds.mstep.moments import Moments, start_moments, summed
from statespace.models.lds.mstep.sums import from_sums
from statespace.results import Smoothed
from statespace.sequences import Sequences
from statespace.shapes import every, once

__all__ = ["Posterior", "posterior_of", "readout_moments", "statistics"]


class Posterior(NamedTuple):
    """What the E-step found, in float64, finite beyond the length of a series too."""

    mean: Tensor  # (*batch, T, n)
    cov: Tensor  # (*batch, T, n, n)
    cross: Tensor  # (*batch, T - 1, n, n)   Cov(z_{t+1}, z_t)
    active: Tensor  # (*batch, T)


def statistics(lds: Any, smoothed: Smoothed | Expected, data: Sequences) -> dict[str, Moments]:
    """Moments of the three regressions, summed over every series of one model.

    Args:
        lds: An LDS. Its leading axes, if any, are models of their own: their series are not
            added up.
        smoothed: Its E-step: mean, cov, cross_cov; or the sums that `Method.sums` gives.
        data: What it smoothed.

    Returns:
        "start", "dynamics", "readout", each `Moments` in float64. They hold for the parameters at
        which the E-step was made, and `maximise` wants them there.

    Raises:
        NumericalError: the data leave a state without a finite variance.
    """
    with torch.no_grad():
        if isinstance(smoothed, Expected):
            return from_sums(lds, smoothed, data)
        models = lds.batch_shape
        posterior = posterior_of(smoothed, data)
        t = torch.arange(data.T, device=data.values.device)
        inputs = data.inputs.double()
        ctx = Context(t, data.inputs, data.inputs.new_zeros(*data.inputs.shape[:-1], 0))
        return {
            "start": start_moments(
                lds, posterior.mean[..., 0, :], posterior.cov[..., 0, :, :], models
            ),
            "dynamics": _dynamics(lds.dynamics(ctx), posterior, inputs, models),
            "readout": readout_moments(lds.readout(ctx), posterior, data, inputs, models),
        }


def posterior_of(smoothed: Smoothed, data: Sequences) -> Posterior:
    """Moments of every row, as the M-step reads them."""
    mean, cov, cross = smoothed.mean, smoothed.cov, smoothed.cross_cov
    assert mean is not None
    assert cov is not None
    assert cross is not None
    batch = mean.shape[:-2]
    active = data.active.expand(*batch, data.T)
    if not every(active):
        on, both = active[..., None], (active[..., 1:])[..., None, None]
        mean, cov = torch.where(on, mean, 0.0), torch.where(on[..., None], cov, 0.0)
        cross = torch.where(both, cross, 0.0)
    parts = tuple(x.double() for x in (mean, cov, cross))
    if not all(bool(torch.isfinite(once(x)).all()) for x in parts):
        raise NumericalError(
            "EM: expected a posterior of z_t with finite moments, received inf or NaN. The data "
            "do not resolve every diffuse state: give it a proper start, or use "
            "Gradient(optimizer='lbfgs') instead."
        )
    return Posterior(parts[0], parts[1], parts[2], active)


def _total(x: Tensor) -> Tensor:
    """The sum over time of (*batch, T, k, k); what series share is added up once."""
    one = once(x)
    rows = 1 if one.shape[-3] == x.shape[-3] else x.shape[-3]
    return (one.sum(-3) * rows).expand(*x.shape[:-3], *x.shape[-2:])


def _image(weight: Tensor, z: Tensor) -> Tensor:
    """Weight (*, T or 1, k, n) times z (*batch, T, n); one product of matrices where it stays."""
    if weight.shape[-3] == 1:
        return z @ weight[..., 0, :, :].mT
    return (weight @ z[..., None])[..., 0]


def _regressors(z: Tensor, inputs: Tensor) -> Tensor:
    """x_t = (z, u, 1), (*batch, T, n + p + 1)."""
    lead = torch.broadcast_shapes(z.shape[:-1], inputs.shape[:-1])
    one = torch.ones(*lead, 1, dtype=z.dtype, device=z.device)
    return torch.cat(
        [z.expand(*lead, z.shape[-1]), inputs.expand(*lead, inputs.shape[-1]), one], -1
    )


def _dynamics(
    move: AffineConditional, posterior: Posterior, inputs: Tensor, models: torch.Size
) -> Moments:
    mean, cov, cross, active = posterior
    a = move.weight.double() if "weight" in move.varies else move.weight.double().unsqueeze(-3)
    a = a[..., 1:, :, :] if "weight" in move.varies else a  # row t acts on the way into z_t
    bias = move.bias.double() if "bias" in move.varies else move.bias.double().unsqueeze(-2)
    bias = bias[..., 1:, :] if "bias" in move.varies else bias
    on = active[..., 1:].double()
    before, after = cov[..., :-1, :, :], cov[..., 1:, :, :]
    e = mean[..., 1:, :] - _image(a, mean[..., :-1, :]) - bias
    x = _regressors(mean[..., :-1, :], inputs[..., 1:, :])
    if not every(active):
        before, e, x = before * on[..., None, None], e * on[..., None], x * on[..., None]
    by_row = "noise" in move.varies
    if not by_row and a.shape[-3] == 1:  # sums first: A is the same in every row
        a = a[..., 0, :, :]
        before, after, cross = _total(before), _total(after), _total(cross)
    across = cross @ a.mT
    ee = after - across - across.mT + a @ before @ a.mT
    ex = cross - a @ before
    return _moments(e, x, ee, ex, before, on, models, by_row=by_row)


def readout_moments(
    read: AffineConditional,
    posterior: Posterior,
    data: Sequences,
    inputs: Tensor,
    models: torch.Size,
) -> Moments:
    """Of y on (z, u, 1): the regression behind C, D, d and R."""
    mean, cov, _, _ = posterior
    c = read.weight.double() if "weight" in read.varies else read.weight.double().unsqueeze(-3)
    bias = read.bias.double() if "bias" in read.varies else read.bias.double().unsqueeze(-2)
    noise = read.noise.matrix.double()
    noise = noise if "noise" in read.varies else noise.unsqueeze(-3)  # (*, T or 1, m, m)
    seen = data.observed
    on = once(seen).any(-1).double().expand(seen.shape[:-1])
    e, x, v = data.values.double() - _image(c, mean) - bias, _regressors(mean, inputs), cov
    by_row = "noise" in read.varies
    if not every(seen):
        e, x, v = torch.where(seen, e, 0.0), x * on[..., None], v * on[..., None, None]
    whole = every(seen) or bool((seen.all(-1) == seen.any(-1)).all())
    fill, rest = imputation(noise, seen) if not whole else (None, None)
    if fill is None or rest is None:
        if not by_row and c.shape[-3] == 1:
            c, v = c[..., 0, :, :], _total(v)
        ee, ex = c @ v @ c.mT, -c @ v
    else:
        e = (fill @ e[..., None])[..., 0]
        through = fill @ c
        ee, ex = through @ v @ through.mT + rest * on[..., None, None], -through @ v
    return _moments(e, x, ee, ex, v, on, models, by_row=by_row)


def _moments(
    e: Tensor,
    x: Tensor,
    ee: Tensor,
    ex: Tensor,
    zz: Tensor,
    on: Tensor,
    models: torch.Size,
    *,
    by_row: bool,
) -> Moments:
    """Adds products of means to the covariances ee, ex (with z alone) and zz, then over time.

    Shapes: e (*batch, T, k), x (*batch, T, q), zero in rows that do not count; covariances may
    have been summed over time already.
    """
    n, q = zz.shape[-1], x.shape[-1]
    if by_row:
        ee = ee + e[..., :, None] * e[..., None, :]
        ex = torch.nn.functional.pad(ex, (0, q - n)) + e[..., :, None] * x[..., None, :]
        xx = torch.nn.functional.pad(zz, (0, q - n, 0, q - n)) + x[..., :, None] * x[..., None, :]
        return summed(Moments(ee, ex, xx, on.sum(-1)), models, rows=1)
    if ee.dim() > e.dim():
        ee, ex = ee.sum(-3), ex.sum(-3)
    zz = _total(zz) if zz.dim() > e.dim() else zz
    ee = ee + e.mT @ e
    ex = torch.nn.functional.pad(ex, (0, q - n)) + e.mT @ x
    xx = torch.nn.functional.pad(zz, (0, q - n, 0, q - n)) + x.mT @ x
    return summed(Moments(ee, ex, xx, on.sum(-1)), models)
