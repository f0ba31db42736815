"""Elman's recurrence over all of time, with one product for the derivative of its weights.

    h_t = f(a_t + U h_{t-1}),   f = tanh or relu

torch's own kernel for the CPU adds up the derivative in U row by row, which moves the whole
matrix through memory at every row. Here rows keep what is to be multiplied, and

    dL/dU = sum_t d_t h_{t-1}',   d_t = (dL/dh_t + U' d_{t+1}) f'

is one product at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear

__all__ = ["elman"]


def elman(x: Tensor, start: Tensor, weights: list[Tensor], activation: str) -> Tensor:
    """All h of one layer, (N, T, H).

    Args:
        x: (N, T, f).
        start: The h before the first row, (N, H).
        weights: W (H, f), U (H, H) and their two biases (H,), as torch's modules have them.
        activation: f, "tanh" or "relu".
    """
    entry, recurrent, *biases = weights
    seen = linear(x, entry, biases[0] + biases[1])
    found: Tensor = _Elman.apply(seen.movedim(1, 0), start, recurrent, activation == "relu")
    return found.movedim(0, 1)


class _Elman(Function):
    """A (T, N, H), h_0 (N, H) and U to h (T, N, H)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, start: Tensor, weight: Tensor, relu: bool) -> Tensor:
        h = torch.empty(a.shape, dtype=a.dtype, device=a.device)
        before, turned = start, weight.mT.contiguous()  # a third quicker at small batches
        for now, row in zip(h.unbind(0), a.unbind(0), strict=True):
            torch.addmm(row, before, turned, out=now)
            before = now.relu_() if relu else now.tanh_()
        ctx.save_for_backward(h, start, weight)
        ctx.relu = relu
        return h

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        h, start, weight = ctx.saved_tensors
        (slope,) = slopes
        rate = (h > 0).to(h.dtype) if ctx.relu else 1 - h.square()
        back: list[Tensor] = []
        d = torch.zeros_like(start)
        for g, f in zip(reversed(slope.unbind(0)), reversed(rate.unbind(0)), strict=True):
            d = torch.addmm(g, d, weight) * f
            back.append(d)
        deltas = torch.stack(back[::-1])
        before = torch.cat([start[None], h[:-1]])
        found = deltas.flatten(0, 1).mT @ before.flatten(0, 1)
        return deltas, d @ weight, found, None
