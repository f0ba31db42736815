"""The moments of the M-step from the sums of a backward pass, without the posterior of any row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.inference.lineargaussian.expected import Expected
from statespace.interface import Context
from statespace.models.lds.mstep.moments import Moments, start_moments
from statespace.sequences import Sequences

__all__ = ["from_sums"]

_Rows = tuple[Tensor, Tensor | None, Tensor | None, Tensor]


def from_sums(lds: Any, sums: Expected, data: Sequences) -> dict[str, Moments]:
    """Moments of the three regressions; arguments and result are those of `statistics`."""
    t = torch.arange(data.T)
    ctx = Context(t, data.inputs, data.inputs.new_zeros(*data.inputs.shape[:-1], 0))
    q, r = (part.noise.matrix.double() for part in (lds.dynamics(ctx), lds.readout(ctx)))
    models, u = lds.batch_shape, data.inputs.double()
    after, seen = data.active[..., 1:], data.observed.any(-1)
    moved: _Rows = (sums.b, None, None, after)
    read: _Rows = (sums.d, None, None, seen)
    if sums.mean is not None:
        moved = (sums.b[..., 1:, :], sums.mean[..., :-1, :], u[..., 1:, :], after)
        read = (sums.d, sums.mean, u, seen)
    return {
        "start": start_moments(lds, sums.first_mean, sums.first_cov, models),
        "dynamics": _regression(q, sums.q, sums.a, sums.move, moved, models),
        "readout": _regression(r, sums.r, sums.c, sums.read, read, models),
    }


def _regression(
    noise: Tensor,
    square: Tensor,
    across: Tensor,
    zz: Tensor,
    rows: _Rows,
    models: torch.Size,
) -> Moments:
    """Residuals e on x = (z, u, 1).

    Args:
        noise: Of e, (*models, k, k).
        square: Sums of r r' - N or u u' - D, (k, k).
        across: Sums of dA or dC, (k, n).
        zz: E[(z, 1)(z, 1)'], summed, (n + 1, n + 1).
        rows: r or u, row by row (*batch, T, k) with the means (*batch, T, n) and inputs that go
            with them, or summed over rows (*batch, k) with None twice; and which rows count.
        models: Leading axes of the model.
    """
    score, mean, u, on = rows
    n = across.shape[-1]

    def add(x: Tensor) -> Tensor:
        """Over all series of a model."""
        return x.sum_to_size((*models, *x.shape[-2:]))

    def shaped(x: Tensor) -> Tensor:
        return x.reshape((*models, *x.shape[-2:]))

    square, across, zz = shaped(square), shaped(across), shaped(zz)
    count = zz[..., n, n]
    constant = add((score if mean is None else score.sum(-2))[..., None])
    parts, xx = [across, constant], zz
    if mean is not None and u is not None:
        u = torch.where(on[..., None], u, 0.0).expand(*mean.shape[:-1], u.shape[-1])
        z = torch.where(on[..., None], mean, 0.0)
        one = on.to(u)[..., None].expand(*mean.shape[:-1], 1)
        zu, uu, u1 = add(z.mT @ u), add(u.mT @ u), add(u.mT @ one)
        parts = [across, add(score.mT @ u), constant]
        zz, z1, own = zz[..., :n, :n], zz[..., :n, n:], count[..., None, None]
        xx = torch.cat(
            [
                torch.cat([zz, zu, z1], -1),
                torch.cat([zu.mT, uu, u1], -1),
                torch.cat([z1.mT, u1.mT, own], -1),
            ],
            -2,
        )
    ee = count[..., None, None] * noise + noise @ square @ noise
    return Moments(0.5 * (ee + ee.mT), noise @ torch.cat(parts, -1), xx, count)
