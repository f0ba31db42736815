"""The gradient of the likelihood of the extended Kalman filter of activations of affine maps.

The filter left the belief before every so many rows. From the last of them to the first, these
rows are filtered again and gone back over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import SUMS, copy, pk
from statespace.kernels.given import begin, given_of, sizes_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, apart, hold, plain, room, set_of, span
from statespace.kernels.network_back import adjoint_memory, look_back, step_back
from statespace.kernels.network_rows import look_network, move_network, net_memory
from statespace.kernels.scratch import Row, clear, scratch
from statespace.kernels.sums import add_column, end_slopes, slopes_of, to_row

__all__ = ["score_network"]


class _Held(NamedTuple):
    """Lane memory of some rows: beliefs before the step and before the data, and `Row`."""

    before: Any
    seen: Any
    c: Any
    turn: Any
    gains: Any
    inverse: Any
    e: Any
    end: Any


@called
def rows_memory(lanes, z, keeping, held, start):
    """For so many rows; C and L^-1 of every row only if `keeping`."""
    n, m, rows = z.n, z.m, held * width(lanes)
    belief, kept = rows * (n + pk(n, 0) + n), rows if keeping else width(lanes)
    seen = ahead(start, belief)
    c = ahead(seen, belief)
    turn = ahead(c, kept * m * n)
    gains = ahead(turn, kept * m * m)
    inverse = ahead(gains, rows * m * n)
    e = ahead(inverse, rows * m)
    return _Held(start, seen, c, turn, gains, inverse, e, ahead(e, rows * m))


@inner
def row_in(lanes, z, keeping, h, slot):
    """What a row left."""
    w, m, n = width(lanes), z.m, z.n
    own = slot if keeping else 0
    return Row(
        ahead(h.c, own * m * n * w), ahead(h.turn, own * m * m * w),
        ahead(h.gains, slot * m * n * w), ahead(h.inverse, slot * m * w),
        ahead(h.e, slot * m * w),
    )  # fmt: skip


@called
def again(lanes, z, g, codes, s, net, dense, keeping, first, count, start, stop, h, sums):
    """The forward pass over some rows, keeping what the way back needs."""
    w, n = width(lanes), z.n
    g_code, f_code, moved = codes
    belief = n + pk(n, 0) + n
    for t in range(start, stop):
        slot = t - start
        copy(lanes, s.x, ahead(h.before, slot * belief * w), belief)
        if t > 0 or moved > 0:
            move_network(lanes, z, g, g_code, s, net, first, count, t)
        copy(lanes, s.x, ahead(h.seen, slot * belief * w), belief)
        row = row_in(lanes, z, keeping, h, slot)
        look_network(
            lanes, z, g, f_code, s, net, dense, plain(True), first, count, t, t == start, row, sums
        )


@called
def turn_back(lanes, z, g, codes, dense, keeping, first, count, start, stop, h, back, w8, slopes):
    """The way back over them; `w8` are the weights of the series."""
    w, n, m = width(lanes), z.n, z.m
    g_code, f_code, moved = codes
    belief = n + pk(n, 0) + n
    for t in range(stop - 1, start - 1, -1):
        slot = t - start
        before, seen = ahead(h.before, slot * belief * w), ahead(h.seen, slot * belief * w)
        row = row_in(lanes, z, keeping, h, slot)
        look_back(lanes, z, g, f_code, dense, first, count, t, seen, row, back)
        if slopes.d_rows > 1:
            to_row(lanes, m, 1, back.u, w8, first, count, slopes.d_rows, t, slopes.d)
        else:
            add_column(lanes, m, 1, back.u, back.dd)
        if t > 0 or moved > 0:
            step_back(lanes, z, g, g_code, first, count, t, before, back)
            if slopes.b_rows > 1:
                to_row(lanes, n, 1, back.at, w8, first, count, slopes.b_rows, t, slopes.b)
            else:
                add_column(lanes, n, 1, back.at, back.db)


@called
def end_score(lanes, z, first, count, back, weight, slopes):
    """What was summed over rows, and the gradient of the first moments, into their arrays."""
    w, n = width(lanes), z.n
    end_slopes(lanes, z, slopes, back, weight, count)
    if slopes.b_rows == 1:
        to_row(lanes, n, 1, back.db, weight, first, count, 1, 0, slopes.b)
    if slopes.d_rows == 1:
        to_row(lanes, z.m, 1, back.dd, weight, first, count, 1, 0, slopes.d)
    for lane in range(count):
        place = (first + lane) * n
        for i in range(n):
            slopes.mean[place + i] = weight[lane] * back.r[i * w + lane]
            for j in range(n):
                slopes.cov[(place + i) * n + j] = weight[lane] * back.big[(i * n + j) * w + lane]


@kernel
def score_network(lanes, model, data, codes, low, high, held, marks, score):
    """The gradient of tasks low .. high, W series of a set each.

    Args:
        lanes: How many.
        model, data, codes: See `filter_network`.
        low, high: Tasks.
        held, marks: What `filter_network` left.
        score: Out, see `Score`; of a, q, c and r sums over time.
    """
    w, z, dense = width(lanes), sizes_of(model, data), model.dense
    belief = 2 * z.n + pk(z.n, 0)
    keeping, base = dense or codes[1] != 0, span(model.a, 0)
    dry = net_memory(lanes, z, scratch(lanes, z, dense, base).end)
    dry_end = adjoint_memory(lanes, z, rows_memory(lanes, z, keeping, held, dry.end).end).end
    memory, counts = room(apart(base, dry_end), model.a.dtype), room((SUMS + 1) * w, np.float64)
    s = scratch(lanes, z, dense, span(memory, 0))
    net = net_memory(lanes, z, s.end)
    h = rows_memory(lanes, z, keeping, held, net.end)
    back = adjoint_memory(lanes, z, h.end)
    sums, weight = span(counts, 0), span(counts, SUMS * w)
    segments, blocks = (z.t_max + held - 1) // held, (z.series + w - 1) // w
    for task in range(low, high):
        p, block = task // blocks, task % blocks
        first = block * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        slopes = slopes_of(score, p, block)
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        for i in range(w):
            weight[i] = score.weight[p, first + i] if i < count else 0.0
        for i in range(apart(back.r, back.cov)):
            back.r[i] = 0.0
        for i in range(apart(back.da, back.end)):
            back.da[i] = 0.0
        for segment in range(segments - 1, -1, -1):
            start, stop = segment * held, min(z.t_max, (segment + 1) * held)
            copy(lanes, set_of(marks[task], segment), s.x, belief)
            again(lanes, z, g, codes, s, net, dense, keeping, first, count, start, stop, h, sums)
            turn_back(
                lanes, z, g, codes, dense, keeping, first, count, start, stop, h, back, weight,
                slopes,
            )  # fmt: skip
        end_score(lanes, z, first, count, back, weight, slopes)
    hold(memory)
    hold(counts)
