"""Smoothing, the gradient of the log-likelihood and EM's sums, of series each with a covariance.

The forward pass is made twice: once leaving the belief at the first row of every segment, then
again segment by segment from the last to the first, each of which is turned back from at once. So
memory holds one segment's rows and not all of time. A short series is one segment.
"""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import kernel
from statespace.kernels.factor import SUMS, copy, pk
from statespace.kernels.given import begin, given_of, sizes_of
from statespace.kernels.held import Wants, back_memory, held_memory, out_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, apart, hold, room, span
from statespace.kernels.scratch import clear, finish, scratch
from statespace.kernels.sums import slopes_of
from statespace.kernels.turning import ahead_rows, back_rows, end_task

__all__ = ["smooth_each"]

SEGMENT = 32  # rows that are held at once, where not all of them are
_HELD = 1 << 19  # numbers up to which all rows are held, and none is run twice


@kernel
def smooth_each(lanes, model, data, low, high, value, bad, smooth, score, second):
    """Smoothed moments, the score and EM's sums of tasks low .. high, W series of a set each.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`. With more columns than one, column 0 of the start is the
            posterior mean of the augmented start, and the others are the root of its posterior.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`; `value` means nothing with more columns than one.
        smooth, score, second: Out, see `Smooth`, `Score`, `Second`.
    """
    w, z, dense = width(lanes), sizes_of(model, data), model.dense
    n, k, m = z.n, z.k, z.m
    wants = Wants(
        score.weight.size > 0, smooth.cov.size > 0 or second.read.size > 0, smooth.cross.size > 0,
        second.read.size > 0, dense,
    )  # fmt: skip
    numbers = z.t_max * (m * n + m + m * k + n * n + n * k) * w
    held = z.t_max if numbers <= _HELD else SEGMENT
    base = span(model.a, 0)
    dry = held_memory(lanes, z, dense, held, scratch(lanes, z, dense, base).end)
    entries = apart(base, back_memory(lanes, z, dense, dry.end).end)
    memory, counts = room(entries, model.a.dtype), room((2 * SUMS + 1) * w, np.float64)
    s = scratch(lanes, z, dense, span(memory, 0))
    h = held_memory(lanes, z, dense, held, s.end)
    back = back_memory(lanes, z, dense, h.end)
    sums, idle, weight = span(counts, 0), span(counts, SUMS * w), span(counts, 2 * SUMS * w)
    belief, blocks = n * k + pk(n, 0) + n, (z.series + w - 1) // w
    segments = (z.t_max + held - 1) // held
    for task in range(low, high):
        p, block = task // blocks, task % blocks
        first = block * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        slopes, out = slopes_of(score, p, block), out_of(smooth, second, p)
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        clear(lanes, idle)
        for i in range(w):
            weight[i] = score.weight[p, first + i] if wants.learn and i < count else 0.0
        for i in range(apart(back.da, back.end)):
            back.da[i] = 0.0
        for i in range(apart(back.r, back.moved)):
            back.r[i] = 0.0
        for turn in range(2 * segments - 1):
            segment = turn if turn < segments else 2 * segments - 2 - turn
            mark = ahead(h.marks, segment * belief * w)
            start, stop = segment * held, min(z.t_max, (segment + 1) * held)
            if turn < segments:
                copy(lanes, s.x, mark, belief)
            else:
                copy(lanes, mark, s.x, belief)
            own = sums if turn < segments else idle
            turns = wants.learn and turn >= segments - 1
            ahead_rows(lanes, z, g, s, dense, turns, first, count, start, stop, h, own)
            if turn >= segments - 1:
                back_rows(
                    lanes, z, g, s, first, count, start, stop, h, back, wants, weight, slopes, out
                )  # fmt: skip
        finish(lanes, sums, p, first, count, k, value, bad)
        end_task(lanes, z, first, count, back, wants, weight, slopes, second, p, block)
    hold(memory)
    hold(counts)
