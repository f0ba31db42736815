"""Complete data: smoothed means, and what of the score and of EM's sums hangs on the data.

Rows of one segment are held at a time: its forward pass is made again from the means that were
kept before it, and turned back from. On the way back u takes the place of the residuals and the
smoothed mean that of the filtered one; sums over rows are taken from there, some rows at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import copy, pk
from statespace.kernels.given import given_of, row_of, sizes_of
from statespace.kernels.lanes import load, store, width
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.products import add_band, add_outer, add_product, add_square, set_zero
from statespace.kernels.shared_means import begin_mean, mean_memory, pass_row
from statespace.kernels.shared_rows import absorb_mean_back, gains_at, gains_of
from statespace.kernels.sums import (
    block_of,
    end_slopes,
    flush,
    row_slopes,
    slopes_of,
    to_row,
    write_start,
)

__all__ = ["means_back"]

_CHUNK = 8  # rows that are summed at once


class _Held(NamedTuple):
    """Lane memory of the rows of a segment (e, then u; xf, then x; r before the step) and of sums.

    r stands with the sums: all of them are zero when a task begins.
    """

    e: Any
    x: Any
    before: Any
    last: Any  # the smoothed mean of the last row of all
    r: Any
    da: Any
    dq: Any
    dc: Any
    dr: Any
    db: Any
    dd: Any
    xx: Any
    xs: Any
    end: Any


class _Wants(NamedTuple):
    """What is wanted of a way back."""

    mean: Any
    learn: Any
    gathers: Any
    by_row: Any
    dense: Any


@called
def held_memory(lanes, z, held, start):
    """Cut from memory that begins at a place."""
    w, n, m = width(lanes), z.n, z.m
    x = ahead(start, held * m * w)
    before = ahead(x, held * n * w)
    last = ahead(before, held * n * w)
    r = ahead(last, n * w)
    da = ahead(r, n * w)
    dq = ahead(da, n * n * w)
    dc = ahead(dq, pk(n, 0) * w)
    dr = ahead(dc, m * n * w)
    db = ahead(dr, pk(m, 0) * w)
    dd = ahead(db, n * w)
    xx = ahead(dd, m * w)
    xs = ahead(xx, pk(n, 0) * w)
    end = ahead(xs, n * w)
    return _Held(start, x, before, last, r, da, dq, dc, dr, db, dd, xx, xs, end)


@inner
def add_rows(lanes, source, entries, turns, out):
    """Out (entries) += source over so many turns."""
    w = width(lanes)
    for i in range(entries):
        value = load(lanes, out, i * w)
        for turn in range(turns):
            value = value + load(lanes, source, (turn * entries + i) * w)
        store(lanes, out, i * w, value)


@called
def back_rows(lanes, z, g, own, first, count, start, stop, s, h, wants, weight, slopes, mean):
    """The way back over the rows of a segment."""
    w, n, m = width(lanes), z.n, z.m
    for t in range(stop - 1, start - 1, -1):
        slot, row = t - start, gains_at(z, own, t)
        e, x = ahead(h.e, slot * m * w), ahead(h.x, slot * n * w)
        before = ahead(h.before, slot * n * w)
        copy(lanes, h.r, before, n)
        if t + 1 < z.t_max:
            set_zero(lanes, h.r, n)
            a = ahead(g.a, row_of(g.a_rows, t + 1) * n * n)
            add_product(lanes, a, 1, n, n, n, before, h.r)
            add_product(lanes, row.pf, n, 1, n, n, h.r, x)
        absorb_mean_back(lanes, row, m, n, e, h.r)
        if wants.mean:
            for lane in range(count):
                place = ((first + lane) * z.t_max + t) * n
                for i in range(n):
                    mean[place + i] = x[i * w + lane]
        if wants.learn:
            if own.turn_rows > 0:  # u = L^-T u
                copy(lanes, e, s.u, m)
                set_zero(lanes, e, m)
                add_band(lanes, row.turn, 1, m, m, m, -1, s.u, e)
            if slopes.b_rows > 1 and t + 1 < z.t_max:
                to_row(lanes, n, 1, before, weight, first, count, slopes.b_rows, t + 1, slopes.b)
            if slopes.d_rows > 1:
                to_row(lanes, m, 1, e, weight, first, count, slopes.d_rows, t, slopes.d)


@called
def sum_rows(lanes, z, count, start, stop, h, wants, weight, slopes):
    """Sums over the rows of a segment that was turned back from."""
    w, n, m = width(lanes), z.n, z.m
    chunk = 1 if wants.by_row else _CHUNK
    for t in range(start, stop, chunk):
        slot, turns = t - start, min(chunk, stop - t)
        e, x = ahead(h.e, slot * m * w), ahead(h.x, slot * n * w)
        before = ahead(h.before, slot * n * w)
        if wants.learn:
            add_outer(lanes, before, n, x, n, turns, h.da)
            add_square(lanes, before, n, True, turns, h.dq)
            add_outer(lanes, e, m, x, n, turns, h.dc)
            add_square(lanes, e, m, wants.dense, turns, h.dr)
            if slopes.b_rows == 1:
                add_rows(lanes, before, n, turns, h.db)
            if slopes.d_rows == 1:
                add_rows(lanes, e, m, turns, h.dd)
            if wants.by_row:
                row_slopes(lanes, z, slopes, h, weight, count, t, t + 1 < z.t_max)
        if wants.gathers:
            turns = min(turns, z.t_max - 1 - t)
            add_square(lanes, x, n, True, turns, h.xx)
            add_rows(lanes, x, n, turns, h.xs)


@called
def end_second(lanes, z, h, first, count, ones, second, p, block):
    """Sums of (z, 1)(z, 1)' over all rows but the last, and with it; the means of the first row."""
    w, n = width(lanes), z.n
    read, move = block_of(second.read, p, block), block_of(second.move, p, block)
    mean = set_of(second.mean, p)
    for i in range(w):
        ones[i] = 1.0
    flush(lanes, h.xx, pk(n, 0), ones, count, move)
    flush(lanes, h.xs, n, ones, count, ahead(move, pk(n, 0)))
    move[pk(n, n)] += count * (z.t_max - 1)
    for lane in range(count):
        for i in range(n):
            own = h.last[i * w + lane]
            for j in range(i + 1):
                read[pk(i, j)] += own * h.last[j * w + lane]
            read[pk(n, i)] += own
            mean[(first + lane) * n + i] = h.x[i * w + lane]
    read[pk(n, n)] += count
    for i in range(pk(n + 1, 0)):
        read[i] += move[i]


@inner
def _rows_ahead(lanes, z, g, own, first, count, start, stop, s, h, squared):
    """The pass forward over rows start .. stop, whose innovations and means are held."""
    w = width(lanes)
    for t in range(start, stop):
        e = ahead(h.e, (t - start) * z.m * w)
        pass_row(lanes, z, g, own, first, count, t, s, e, squared)
        copy(lanes, s.x, ahead(h.x, (t - start) * z.n * w), z.n)


@inner
def _end_of_slopes(lanes, z, slopes, h, weight, first, count):
    """Adds what was summed over the rows of one block to the gradient."""
    end_slopes(lanes, z, slopes, h, weight, count)
    if slopes.b_rows == 1:
        to_row(lanes, z.n, 1, h.db, weight, first, count, 1, 0, slopes.b)
    if slopes.d_rows == 1:
        to_row(lanes, z.m, 1, h.dd, weight, first, count, 1, 0, slopes.d)
    write_start(lanes, z.n, 1, h.r, h.r, False, weight, first, count, slopes)


@kernel
def means_back(
    lanes, model, data, shared, rows, low, high, squares, marks, held, ahead_too, smooth, score,
    second,
):  # fmt: skip
    """Smoothed means, and sums over rows of products of r, u and x, of tasks low .. high.

    Args:
        lanes, model, data, shared, rows, low, high, squares, marks, held: As in `means`.
        ahead_too: Whether the pass forward that fills squares and marks is still to be made.
        smooth: Out, the mean alone; see `Smooth`.
        score, second: Out, what hangs on the data; see `Score`, `Second`.
    """
    w, z = width(lanes), sizes_of(model, data)
    n, base = z.n, span(model.a, 0)
    entries = apart(base, held_memory(lanes, z, held, mean_memory(lanes, z, base).end).end)
    memory, counts = room(entries, model.a.dtype), room(4 * w, np.float64)
    s = mean_memory(lanes, z, span(memory, 0))
    h = held_memory(lanes, z, held, s.end)
    total, idle, weight = span(counts, 0), span(counts, w), span(counts, 2 * w)
    by_row = max(score.a.shape[2], score.q.shape[2], score.c.shape[2], score.r.shape[2]) > 1
    wants = _Wants(
        smooth.mean.size > 0, score.weight.size > 0, second.read.size > 0, by_row, model.dense
    )
    segments, blocks = (z.t_max + held - 1) // held, (z.series + w - 1) // w
    for task in range(low, high):
        p, block = task // blocks, task % blocks
        first = block * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        own, slopes, mean = (
            gains_of(shared, rows, p),
            slopes_of(score, p, block),
            set_of(smooth.mean, p),
        )
        marks_of = span(marks, task * (segments + 1) * n * w)
        begin_mean(lanes, z, g, first, count, s.x)
        set_zero(lanes, total, 1)
        for i in range(apart(h.r, h.end)):
            h.r[i] = 0.0
        for i in range(w):
            weight[i] = score.weight[p, first + i] if wants.learn and i < count else 0.0
        for turn in range(0 if ahead_too else segments - 1, 2 * segments - 1):
            segment = turn if turn < segments else 2 * segments - 2 - turn
            mark = ahead(marks_of, segment * n * w)
            start, stop = segment * held, min(z.t_max, (segment + 1) * held)
            if ahead_too and turn < segments:
                copy(lanes, s.x, mark, n)
            else:
                copy(lanes, mark, s.x, n)
            squared = total if turn < segments else idle
            _rows_ahead(lanes, z, g, own, first, count, start, stop, s, h, squared)
            if turn >= segments - 1:
                back_rows(
                    lanes, z, g, own, first, count, start, stop, s, h, wants, weight, slopes, mean
                )
                if stop == z.t_max:
                    copy(lanes, ahead(h.x, (stop - 1 - start) * n * w), h.last, n)
                sum_rows(lanes, z, count, start, stop, h, wants, weight, slopes)
        if ahead_too:
            out = set_of(squares, p)
            for lane in range(count):
                out[first + lane] = total[lane]
        if wants.learn:
            _end_of_slopes(lanes, z, slopes, h, weight, first, count)
        if wants.gathers:
            end_second(lanes, z, h, first, count, span(counts, 3 * w), second, p, block)
    hold(memory)
    hold(counts)
