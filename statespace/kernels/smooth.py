"""Smoothing, the gradient of the log-likelihood and EM's sums, of series each with a covariance.

The forward pass is made twice: once leaving the belief at the first row of every segment, then
again segment by segment from the last to the first, each of which is turned back from at once. So
memory holds one segment's rows and not all of time. A short series is one segment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.backward import (
    absorb_back,
    absorb_dense,
    gather_move,
    less_columns,
    move_back,
    place_cov,
    place_cross,
    state_back,
    times_a,
    times_cov,
)
from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import SUMS, copy, emission, pk, spread_out, width
from statespace.kernels.given import begin, given_of, row_of, sizes_of
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.scratch import Row, clear, finish, look, move, scratch
from statespace.kernels.sums import (
    add_column,
    add_second,
    block_of,
    end_slopes,
    flush,
    row_slopes,
    slopes_of,
    to_row,
    write_start,
)

__all__ = ["back_memory", "smooth_each"]

SEGMENT = 32  # rows that are held at once, where not all of them are
_HELD = 1 << 19  # numbers up to which all rows are held, and none is run twice


class _Held(NamedTuple):
    """Lane memory of the rows of one segment, and the beliefs before each segment.

    C, and L^-1 in `turn`, are kept row by row only where R is dense.
    """

    gains: Any
    inverse: Any
    e: Any
    pf: Any
    xf: Any
    c: Any
    turn: Any
    marks: Any
    end: Any


class _Back(NamedTuple):
    """Lane memory of the backward recursion; see `backward` for shapes. Sums stand together."""

    r: Any
    big: Any
    moved: Any
    x: Any
    product: Any
    by_a: Any
    p: Any
    nk: Any
    u: Any
    cov: Any
    cross: Any
    z: Any
    on: Any
    da: Any
    dq: Any
    dc: Any
    dr: Any
    db: Any
    dd: Any
    read: Any
    move: Any
    end: Any


class _Wants(NamedTuple):
    """What is wanted of a way back."""

    learn: Any
    spread: Any
    crossed: Any
    gathers: Any
    dense: Any


class _Out(NamedTuple):
    """Where the moments of a set go, and Q for the lag-one covariances; see `Smooth`, `Second`."""

    mean: Any
    means: Any  # whether they are wanted
    cov: Any
    covs: Any
    cross: Any
    noise: Any
    noise_rows: Any
    lengths: Any
    has_lengths: Any
    first_mean: Any
    first_cov: Any


@called
def held_memory(lanes, z, dense, held, start):
    """Memory for segments of so many rows."""
    w, n, k, m = width(lanes), z.n, z.k, z.m
    rows, segments = held * w, (z.t_max + held - 1) // held
    inverse = ahead(start, rows * m * n)
    e = ahead(inverse, rows * m)
    pf = ahead(e, rows * m * k)
    xf = ahead(pf, rows * n * n)
    c = ahead(xf, rows * n * k)
    turn = ahead(c, (rows if dense else w) * m * n)
    marks = ahead(turn, (rows if dense else 0) * m * m)
    end = ahead(marks, segments * w * (n * k + pk(n, 0) + n))
    return _Held(start, inverse, e, pf, xf, c, turn, marks, end)


@called
def back_memory(lanes, z, dense, start):
    """Memory of the recursion."""
    w, n, k, m = width(lanes), z.n, z.k, z.m
    nk, nn = n * k * w, n * n * w
    big = ahead(start, nk)
    moved = ahead(big, nn)
    x = ahead(moved, nk)
    product = ahead(x, nk)
    by_a = ahead(product, nn)
    p = ahead(by_a, nn)
    own = ahead(p, nn)
    u = ahead(own, n * w)
    cov = ahead(u, m * k * w)
    cross = ahead(cov, nn)
    zs = ahead(cross, nn)
    on = ahead(zs, (m * m + 2 * m * n) * w if dense else 0)
    da = ahead(on, w)
    dq = ahead(da, nn)
    dc = ahead(dq, pk(n, 0) * w)
    dr = ahead(dc, m * n * w)
    db = ahead(dr, pk(m, 0) * w)
    dd = ahead(db, n * w)
    read = ahead(dd, m * w)
    moves = ahead(read, pk(n + 1, 0) * w)
    end = ahead(moves, pk(n + 1, 0) * w)
    return _Back(
        start, big, moved, x, product, by_a, p, own, u, cov, cross, zs, on, da, dq, dc, dr, db, dd,
        read, moves, end,
    )  # fmt: skip


@called
def out_of(smooth, second, p):
    """Of set p."""
    return _Out(
        set_of(smooth.mean, p), smooth.mean.size > 0, set_of(smooth.cov, p), smooth.cov.size > 0,
        set_of(smooth.cross, p), set_of(smooth.noise, p), smooth.noise.shape[1],
        set_of(second.lengths, p), second.lengths.size > 0, set_of(second.mean, p),
        set_of(second.cov, p),
    )  # fmt: skip


@inner
def slot_of(lanes, z, dense, h, slot):
    """What a row of a segment left."""
    w, m, n = width(lanes), z.m, z.n
    own = slot if dense else 0
    return Row(
        ahead(h.c, own * m * n * w), ahead(h.turn, own * m * m * w),
        ahead(h.gains, slot * m * n * w), ahead(h.inverse, slot * m * w),
        ahead(h.e, slot * m * z.k * w),
    )  # fmt: skip


@called
def ahead_rows(lanes, z, g, s, dense, turns, first, count, start, stop, h, sums):
    """The forward pass over the rows of a segment."""
    w, n, k = width(lanes), z.n, z.k
    for t in range(start, stop):
        slot = t - start
        if t > 0:
            move(lanes, z, g, s, first, count, t)
        row = slot_of(lanes, z, dense, h, slot)
        look(lanes, z, g, s, dense, turns, first, count, t, t == 0, row, sums)
        copy(lanes, s.x, ahead(h.xf, slot * n * k * w), n * k)
        spread_out(lanes, n, s.u, s.d, ahead(h.pf, slot * n * n * w))


@called
def write_moments(lanes, z, first, count, t, back, out, mean, cov):
    """Smoothed moments of row t into the arrays of a set."""
    w, n, k = width(lanes), z.n, z.k
    for lane in range(count):
        place = (first + lane) * z.t_max + t
        if mean:
            for i in range(n):
                out.mean[place * n + i] = back.x[i * k * w + lane]
        if cov:
            for i in range(n * n):
                out.cov[place * n * n + i] = back.cov[i * w + lane]


@called
def write_cross(lanes, z, first, count, t, source, cross):
    """Cov(z_{t+1}, z_t) into the array of a set."""
    w, nn = width(lanes), z.n * z.n
    for lane in range(count):
        place = ((first + lane) * (z.t_max - 1) + t) * nn
        for i in range(nn):
            cross[place + i] = source[i * w + lane]


@called
def seconds(lanes, z, g, first, count, t, back, out):
    """Row t into the sums over rows with data and over rows which another one follows."""
    w, n, k, m = width(lanes), z.n, z.k, z.m
    for lane in range(w):
        back.on[lane] = 1.0
    if not g.all_seen:
        for lane in range(count):
            place, some = ((first + lane) * z.t_max + t) * m, 0.0
            for i in range(m):
                if g.seen[place + i] != 0:
                    some = 1.0
            back.on[lane] = some
    add_second(lanes, n, k, back.on, back.x, back.cov, back.read)
    for lane in range(count):
        length = out.lengths[first + lane] if out.has_lengths else z.t_max
        back.on[lane] = 1.0 if t + 1 < length else 0.0
    add_second(lanes, n, k, back.on, back.x, back.cov, back.move)
    if t == 0:
        for lane in range(count):
            place = first + lane
            for i in range(n):
                out.first_mean[place * n + i] = back.x[i * k * w + lane]
            for i in range(n * n):
                out.first_cov[place * n * n + i] = back.cov[i * w + lane]


@called
def before_row(lanes, z, g, first, count, t, pf, back, wants, weight, slopes):
    """Takes r and N from row t + 1 back over the step into it."""
    n, k = z.n, z.k
    a = ahead(g.a, row_of(g.a_rows, t + 1) * n * n)
    if wants.learn or wants.spread:
        times_a(lanes, a, n, back.big, back.by_a)
    if wants.learn or wants.crossed:
        times_cov(lanes, n, back.by_a, pf, back.product)
    if wants.learn:
        gather_move(lanes, n, k, back)
        if slopes.b_rows > 1:
            to_row(lanes, n, k, back.r, weight, first, count, slopes.b_rows, t + 1, slopes.b)
        else:
            add_column(lanes, n, k, back.r, back.db)
    if wants.crossed:
        less_columns(lanes, n, k, back.r, back.x, back.product)
    copy(lanes, back.moved, back.r, n * k)
    if wants.learn or wants.spread:
        move_back(lanes, a, n, back.by_a, back.big)


@called
def back_rows(lanes, z, g, s, first, count, start, stop, h, back, wants, weight, slopes, out):
    """The way back over the rows of a segment."""
    w, n, k, m, dense = width(lanes), z.n, z.k, z.m, wants.dense
    for t in range(stop - 1, start - 1, -1):
        slot, follows = t - start, t + 1 < z.t_max
        row, pf = slot_of(lanes, z, dense, h, slot), ahead(h.pf, slot * n * n * w)
        step = row_of(g.a_rows, t + 1) * n * n if follows else 0
        state_back(
            lanes, z, ahead(g.a, step), follows, ahead(h.xf, slot * n * k * w), pf, back
        )  # fmt: skip
        if follows:
            before_row(lanes, z, g, first, count, t, pf, back, wants, weight, slopes)
        if wants.spread:
            place_cov(lanes, n, k, pf, back)
            if follows and wants.crossed:
                noise = ahead(out.noise, row_of(out.noise_rows, t + 1) * n * n)
                a = ahead(g.a, step)
                place_cross(lanes, a, noise, n, back.cov, back.product, back.cross)
                write_cross(lanes, z, first, count, t, back.cross, out.cross)
        if wants.gathers:
            seconds(lanes, z, g, first, count, t, back, out)
        if out.means or out.covs:
            write_moments(lanes, z, first, count, t, back, out, out.means, out.covs)
        if wants.learn:
            copy(lanes, pf, back.p, n * n)
        if not dense and g.c_rows > 1:
            c = ahead(g.c, row_of(g.c_rows, t) * m * n)
            emission(lanes, c, g.root, m, n, z.q, row.c, s.r)
        if wants.learn and dense:
            absorb_dense(lanes, row, m, n, k, back)
            give_d(lanes, z, first, count, t, back, weight, slopes)
        big = wants.learn or wants.spread
        absorb_back(lanes, row, m, n, k, back, big, wants.learn and not dense)
        if wants.learn:
            if not dense:
                give_d(lanes, z, first, count, t, back, weight, slopes)
            row_slopes(lanes, z, slopes, back, weight, count, t, follows)


@inner
def give_d(lanes, z, first, count, t, back, weight, slopes):
    """The gradient in d of row t, which is u."""
    if slopes.d_rows > 1:
        to_row(lanes, z.m, z.k, back.u, weight, first, count, slopes.d_rows, t, slopes.d)
    else:
        add_column(lanes, z.m, z.k, back.u, back.dd)


@called
def end_task(lanes, z, first, count, back, wants, weight, slopes, second, p, block):
    """What was summed over rows, into the arrays of a task."""
    n, k, w = z.n, z.k, width(lanes)
    if wants.learn:
        end_slopes(lanes, z, slopes, back, weight, count)
        if slopes.b_rows == 1:
            to_row(lanes, n, 1, back.db, weight, first, count, 1, 0, slopes.b)
        if slopes.d_rows == 1:
            to_row(lanes, z.m, 1, back.dd, weight, first, count, 1, 0, slopes.d)
        write_start(lanes, n, k, back.r, back.big, True, weight, first, count, slopes)
    if wants.gathers:
        for lane in range(w):
            back.on[lane] = 1.0
        size = pk(n + 1, 0)
        flush(lanes, back.read, size, back.on, count, block_of(second.read, p, block))
        flush(lanes, back.move, size, back.on, count, block_of(second.move, p, block))


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
    wants = _Wants(
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
