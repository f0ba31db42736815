"""A chain of Gaussians whose parameters are a combiner's, over all of time.

    c_t = (tanh(a_t + W z_{t-1}) + e_t) / 2,   (m_t, r_t) = V c_t + v
    z_t = m_t + s_t noise_t,                   s_t = floor + softplus(r_t) / log 2

The same as one row after the other, without a graph for each: rows keep what is to be multiplied,
and the derivatives in W and V are one product each at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import softplus

__all__ = ["LN2", "combined"]

LN2 = 0.6931471805599453


def combined(
    start: Tensor,
    noise: Tensor,
    e: Tensor,
    entry: tuple[Tensor, Tensor],
    exit_: tuple[Tensor, Tensor],
    floor: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """All z, their means and their scales, (T, N, n) each.

    Args:
        start: z_0, (N, n).
        noise: Standard normal numbers, (T, N, n).
        e: (T, N, E).
        entry: W (E, n), and a, which may hang on the row, (E,) or (T, N, E).
        exit_: V (2 n, E) and v (2 n,).
        floor: Under the scales.
    """
    a = entry[1].expand(e.shape)
    found: tuple[Tensor, Tensor, Tensor] = _Chain.apply(
        start, noise, e, a, entry[0], exit_[0], exit_[1], floor
    )
    return found


class _Chain(Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, noise: Tensor, e: Tensor, a: Tensor, *rest: Any) -> Any:
        W, V, v, floor = rest
        n = start.shape[-1]
        into, out = W.mT.contiguous(), V.mT.contiguous()
        z, rows, means, scales = start, [], [], []
        for eps, e_t, a_t in zip(noise.unbind(0), e.unbind(0), a.unbind(0), strict=True):
            centre = torch.addmm(a_t, z, into).tanh_().add_(e_t).mul_(0.5)
            mean, raw = torch.addmm(v, centre, out).split(n, -1)
            scales.append(softplus(raw).div_(LN2).add_(floor))
            means.append(mean)
            z = torch.addcmul(mean, scales[-1], eps)
            rows.append(z)
        parts = tuple(torch.stack(part) for part in (rows, means, scales))
        ctx.save_for_backward(start, noise, e, a, W, V, parts[0], parts[2])
        ctx.floor = floor
        return parts

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        start, noise, e, a, W, V, z, scale = ctx.saved_tensors
        before = torch.cat([start[None], z[:-1]])
        tanh = (a + before @ W.mT).tanh()
        bend = 0.5 * (1 - tanh.square())
        rate = -torch.expm1(-LN2 * (scale - ctx.floor)) / LN2  # softplus' = 1 - exp(-softplus)
        back = torch.zeros_like(start)
        outs, ins, halves = [], [], []
        rows = [part.unbind(0) for part in (*slopes, noise, rate, bend)]
        for d_z, d_mean, d_scale, eps, r, b in zip(*map(reversed, rows), strict=True):
            d_z = d_z + back
            d_raw = torch.addcmul(d_scale, d_z, eps) * r
            outs.append(torch.cat([d_mean + d_z, d_raw], -1))
            halves.append(outs[-1] @ V)
            ins.append(halves[-1] * b)
            back = ins[-1] @ W
        d_out, d_in, d_half = (torch.stack(part[::-1]) for part in (outs, ins, halves))
        d_W = d_in.flatten(0, 1).mT @ before.flatten(0, 1)
        d_V = d_out.flatten(0, 1).mT @ (0.5 * (tanh + e)).flatten(0, 1)
        return back, None, 0.5 * d_half, d_in, d_W, d_V, d_out.sum((0, 1)), None
