"""The forward and the backward pass in recorded rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from statespace.inference.lineargaussian.captured import replay
from statespace.inference.lineargaussian.captured.replay import CudaGraph, Graph, replayed
from statespace.inference.lineargaussian.captured.rows import (
    adjoint_row,
    filter_row,
    moments_row,
    observed,
)
from statespace.inference.lineargaussian.passes import Pass, Plan

__all__ = ["descend", "forward", "suits"]

_WIDEST = 24  # reflections a row: beyond it a library's factorisation beats its launch


def suits(rows: Tensor, reflections: int) -> bool:
    """On a GPU, where rows, time first, outlast a recording and need few reflections each."""
    long = rows.device.type == "cuda" and rows.shape[0] > replay.LENGTH
    return long and reflections <= _WIDEST


def forward(
    plan: Plan, *, keep: bool = True, graph: Callable[[], Graph] = CudaGraph
) -> Pass | None:
    """Run over all rows; None where the device refuses to record them, or there is no state."""
    n, begin, rows = plan.system.n, plan.begin, plan.y.shape[0]
    if min(n, plan.system.m) == 0:
        return None
    on = plan.mask()
    ones = (1, *(1,) * len(plan.b), plan.system.m)
    on = plan.y.new_ones(ones) if on is None else on.to(plan.y.dtype)
    arrays = dict(zip("AbQCdR", plan.steps(), strict=True)) | {"y": plan.y, "on": on}
    first = {name: v[0] for name, v in arrays.items()}
    x, s = begin.x.expand(*plan.b, *begin.x.shape[-2:]), begin.s.expand(*plan.c, n, n)
    e, f, g, xf, sf = observed(first, x, s)
    fixed = {name: v[0] for name, v in arrays.items() if v.shape[0] == 1}
    moving = {name: v[1:] for name, v in arrays.items() if v.shape[0] == rows}
    later = replayed(moments_row if keep else filter_row, fixed, moving, (xf, sf), graph)
    if later is None:
        return None
    start = (e, f, g, x, s, xf, sf)
    whole = [torch.cat([a[None], b]) for a, b in zip(start[: len(later)], later, strict=True)]
    if not keep:
        whole += [x, s, xf, sf]
    e, f, g, x, s, xf, sf = whole
    return plan.done(e, f, g, x, s, xf, sf)


def descend(
    e: Tensor, g: Tensor, h: Tensor, moving: Tensor, graph: Callable[[], Graph] = CudaGraph
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """r- and N- of each row, and r and N after it; None where the device refuses.

    Args:
        e: (T, *b, m, c) whitened residuals.
        g: (T, *c, n, m) G.
        h: (T, *c, m, n) H = F^-1 C.
        moving: (T or 1, *c, n, n) A.
        graph: Makes what records.
    """
    n = g.shape[-2]
    r = torch.zeros_like(h[0].mT @ e[0])
    left = torch.eye(n, dtype=g.dtype, device=g.device) - g @ h
    big = torch.zeros_like(left[0])
    down = {"e": e, "g": g, "h": h, "left": left}
    fixed = {}
    if moving.shape[0] == 1:
        fixed["A"] = moving[0]
    else:
        down["A"] = moving
    found = replayed(adjoint_row, fixed, {k: v.flip(0) for k, v in down.items()}, (r, big), graph)
    if found is None:
        return None
    rr, nn = (v.flip(0) for v in found)
    a = moving[1:] if moving.shape[0] > 1 else moving
    r_after = torch.cat([a.mT @ rr[1:], r[None]])
    n_after = torch.cat([a.mT @ nn[1:] @ a, big[None]])
    return rr, nn, r_after, n_after
