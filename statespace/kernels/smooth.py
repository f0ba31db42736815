"""Smoothing, and the gradient of the log-likelihood, of series each with its own covariance.

The forward pass is made twice: once leaving the belief at the first row of every segment, then
again segment by segment from the last to the first, each of which is turned back from at once. So
memory holds one segment's rows and not all of time. A short series is one segment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.arrays import (
    add_bias,
    at,
    begin,
    clear,
    finish,
    read_row,
    row_of,
    scratch,
)
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
from statespace.kernels.factor import (
    SUMS,
    copy,
    emission,
    observe,
    pk,
    predict,
    spread_out,
    whiten,
    width,
)

__all__ = ["smooth_each"]

SEGMENT = 32  # rows that are held at once, where not all of them are
_HELD = 1 << 19  # numbers up to which all rows are held, and none is run twice


class _Segment(NamedTuple):
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


class _Back(NamedTuple):
    """Lane memory of the backward recursion; see `backward` for shapes."""

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
    da: Any
    dq: Any
    dc: Any
    dr: Any
    z: Any


@called
def segment_of(lanes, t_max, entries):
    """How many rows of so many vectors are held at once."""
    return t_max if t_max * entries * width(lanes) <= _HELD else SEGMENT


@called
def segment_memory(lanes, model, t_max, m, held):
    """Memory for segments of so many rows."""
    w, number = width(lanes), model.a.dtype
    n, k = model.x.shape[2], model.x.shape[3]
    rows, marks = held * w, (t_max + held - 1) // held * w
    return _Segment(
        np.empty(rows * m * n, number),
        np.empty(rows * m, number),
        np.empty(rows * m * k, number),
        np.empty(rows * n * n, number),
        np.empty(rows * n * k, number),
        np.empty((rows if model.dense else w) * m * n, number),
        np.empty((rows if model.dense else 0) * m * m, number),
        np.empty(marks * (n * k + pk(n, 0) + n), number),
    )


@called
def back_memory(lanes, model, m):
    """Memory of the recursion; sums begin at zero."""
    w, number = width(lanes), model.a.dtype
    n, k = model.x.shape[2], model.x.shape[3]
    nk, nn = n * k * w, n * n * w
    return _Back(
        np.empty(nk, number), np.empty(nn, number), np.empty(nk, number), np.empty(nk, number),
        np.empty(nn, number), np.empty(nn, number), np.empty(nn, number),
        np.empty(n * w, number), np.empty(m * k * w, number), np.empty(nn, number),
        np.empty(nn, number), np.zeros(nn, number), np.zeros(pk(n, 0) * w, number),
        np.zeros(m * n * w, number), np.zeros(pk(m, 0) * w, number),
        np.empty((m * m + 2 * m * n) * w if model.dense else 0, number),
    )  # fmt: skip


@called
def pair(array, i, j):
    """Along two axes that may have length 1."""
    return array[i if array.shape[0] > 1 else 0, j if array.shape[1] > 1 else 0]


@inner
def leave(s, marks, size, g):
    """Keeps the belief before segment g."""
    start, nx, nu = g * size, s.x.size, s.u.size
    marks[start : start + nx] = s.x
    marks[start + nx : start + nx + nu] = s.u
    marks[start + nx + nu : start + size] = s.d


@inner
def take_up(s, marks, size, g):
    """The belief before segment g."""
    start, nx, nu = g * size, s.x.size, s.u.size
    s.x[:] = marks[start : start + nx]
    s.u[:] = marks[start + nx : start + nx + nu]
    s.d[:] = marks[start + nx + nu : start + size]


@called
def flush(lanes, sums, entries, weight, count, out, t):
    """out[t] (entries) += the sums over lanes, weighted lane by lane; the sums become zero."""
    w = width(lanes)
    for i in range(entries):
        total = 0.0
        for lane in range(count):
            if weight[lane] != 0.0:
                total += weight[lane] * sums[i * w + lane]
        out[t, i] += total
        for lane in range(w):
            sums[i * w + lane] = 0


@inner
def write_moments(lanes, n, k, first, count, t, x, v, mean, cov):
    """Smoothed moments of row t into the arrays of a set."""
    w = width(lanes)
    for lane in range(count):
        if mean.size > 0:
            for i in range(n):
                mean[first + lane, t, i] = x[i * k * w + lane]
        if cov.size > 0:
            for i in range(n):
                for j in range(n):
                    cov[first + lane, t, i, j] = v[(i * n + j) * w + lane]


@inner
def write_cross(lanes, n, first, count, t, source, cross):
    """Cov(z_{t+1}, z_t) into the array of a set."""
    w = width(lanes)
    for lane in range(count):
        for i in range(n):
            for j in range(n):
                cross[first + lane, t, i, j] = source[(i * n + j) * w + lane]


@inner
def to_rows(lanes, entries, k, source, weight, first, count, t, out):
    """Adds column 0 of source (entries, k), weighted, to row t (or to the sum) of each series."""
    w = width(lanes)
    row = row_of(out.shape[1], t)
    for lane in range(count):
        if weight[lane] != 0.0:
            for i in range(entries):
                out[first + lane, row, i] += weight[lane] * source[i * k * w + lane]


@called
def write_start(lanes, n, k, r, big, weight, first, count, mean, cov):
    """The gradient of the first moments: r and (r r' - N) / 2 at the first row."""
    w = width(lanes)
    for lane in range(count):
        if weight[lane] == 0.0:
            continue
        for i in range(n):
            mean[first + lane, i] = weight[lane] * r[i * k * w + lane]
            for j in range(n):
                value = -big[(i * n + j) * w + lane]
                for col in range(k):
                    value += r[(i * k + col) * w + lane] * r[(j * k + col) * w + lane]
                cov[first + lane, i, j] = 0.5 * weight[lane] * value


@kernel
def smooth_each(lanes, model, data, low, high, value, bad, smooth, score):
    """Smoothed moments and the score of tasks low .. high, a task being W series of one set.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`. With more columns than one, column 0 of the start is the
            posterior mean of the augmented start, and the others are the root of its posterior.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`; `value` means nothing with more columns than one.
        smooth, score: Out, see `Smooth`, `Score`.
    """
    w = width(lanes)
    series, t_max, m = data.y.shape[1], data.y.shape[2], data.y.shape[3]
    n, k = model.x.shape[2], model.x.shape[3]
    s, back = scratch(lanes, model, m), back_memory(lanes, model, m)
    held = segment_of(lanes, t_max, m * n + m + m * k + n * n + n * k)
    kept = segment_memory(lanes, model, t_max, m, held)
    mark = (n * k + pk(n, 0) + n) * w
    sums, idle = np.empty(SUMS * w), np.ones(SUMS * w)
    weight = np.zeros(w)
    learn, spread, crossed = score.weight.size > 0, smooth.cov.size > 0, smooth.cross.size > 0
    blocks = (series + w - 1) // w
    segments = (t_max + held - 1) // held
    for task in range(low, high):
        p, block = task // blocks, task % blocks
        first = block * w
        count = min(w, series - first)
        a, q, c, rv = at(model.a, p), at(model.q, p), at(model.c, p), at(model.r, p)
        bias, shift, values, seen = at(model.b, p), at(model.d, p), at(data.y, p), at(data.seen, p)
        noise, mean, cov = at(smooth.noise, p), at(smooth.mean, p), at(smooth.cov, p)
        cross = at(smooth.cross, p)
        begin(lanes, at(model.x, p), at(model.s, p), first, count, n, k, s)
        clear(lanes, sums)
        ga, gq = pair(score.a, p, block), pair(score.q, p, block)
        gc, gr = pair(score.c, p, block), pair(score.r, p, block)
        db, dd = at(score.b, p), at(score.d, p)
        back.r[:] = 0
        back.big[:] = 0
        if learn:
            for lane in range(count):
                weight[lane] = score.weight[p, first + lane]
        for turn in range(2 * segments - 1):
            ahead = turn < segments - 1
            g = turn if ahead else 2 * segments - 2 - turn
            start, end = g * held, min(t_max, (g + 1) * held)
            if turn < segments:
                leave(s, kept.marks, mark, g)
            else:
                take_up(s, kept.marks, mark, g)
            for t in range(start, end):
                slot = t - start
                if t > 0:
                    ta, tq = row_of(a.shape[0], t), row_of(q.shape[0], t)
                    predict(lanes, a, ta, q, tq, n, k, s.x, s.u, s.d, s.rows, s.weights, s.move)
                    add_bias(lanes, bias, first, count, t, n, k, s.x)
                read_row(lanes, values, seen, shift, first, count, t, m, s.y)
                tc, tr = row_of(c.shape[0], t), row_of(rv.shape[0], t)
                c0 = slot * m * n if model.dense else 0
                if t == 0 or tc + tr > 0 or model.dense:
                    emission(lanes, c, tc, rv, tr, m, n, kept.c, c0, s.r)
                if model.dense:
                    l0 = slot * m * m
                    whiten(lanes, rv, tr, m, n, s.y, kept.c, c0, s.r, kept.turn, l0, s.noise)
                observe(
                    lanes, kept.c, c0, s.r, m, n, k, s.y, s.x, s.u, s.d, s.f, s.v, s.gain,
                    kept.gains, slot * m * n, kept.inverse, slot * m, kept.e, slot * m * k,
                    sums if turn < segments else idle,
                )  # fmt: skip
                copy(lanes, s.x, 0, kept.xf, slot * n * k, n * k)
                spread_out(lanes, n, s.u, s.d, kept.pf, slot * n * n)
            if ahead:
                continue
            for slot in range(end - start - 1, -1, -1):
                t, pf = start + slot, slot * n * n
                ta = row_of(a.shape[0], t + 1) if t + 1 < t_max else -1
                state_back(lanes, a, ta, n, k, kept.xf, slot * n * k, kept.pf, pf, back)
                if ta >= 0:
                    if learn or spread:
                        times_a(lanes, a, ta, n, back.big, back.by_a)
                    if learn or crossed:
                        times_cov(lanes, n, back.by_a, kept.pf, pf, back.product)
                    if learn:
                        gather_move(lanes, n, k, back)
                        to_rows(lanes, n, k, back.r, weight, first, count, t + 1, db)
                        if ga.shape[0] > 1:
                            flush(lanes, back.da, n * n, weight, count, ga, t + 1)
                        if gq.shape[0] > 1:
                            flush(lanes, back.dq, pk(n, 0), weight, count, gq, t + 1)
                    if crossed:
                        less_columns(lanes, n, k, back.r, back.x, back.product)
                    copy(lanes, back.moved, 0, back.r, 0, n * k)
                    if learn or spread:
                        move_back(lanes, a, ta, n, back.by_a, back.big)
                if spread:
                    place_cov(lanes, n, k, kept.pf, pf, back)
                    if ta >= 0 and crossed:
                        tq = row_of(noise.shape[0], t + 1)
                        place_cross(lanes, a, ta, noise, tq, n, back.cov, back.product, back.cross)
                        write_cross(lanes, n, first, count, t, back.cross, cross)
                write_moments(lanes, n, k, first, count, t, back.x, back.cov, mean, cov)
                if learn:
                    copy(lanes, kept.pf, pf, back.p, 0, n * n)
                c0 = slot * m * n if model.dense else 0
                if c.shape[0] > 1 and not model.dense:
                    emission(lanes, c, t, rv, 0, m, n, kept.c, 0, s.r)
                if learn and model.dense:
                    absorb_dense(
                        lanes, kept.c, c0, kept.turn, slot * m * m, m, n, k, kept.gains,
                        slot * m * n, kept.inverse, slot * m, kept.e, slot * m * k, back,
                    )  # fmt: skip
                    to_rows(lanes, m, k, back.u, weight, first, count, t, dd)
                absorb_back(
                    lanes, kept.c, c0, m, n, k, kept.gains, slot * m * n, kept.inverse, slot * m,
                    kept.e, slot * m * k, back, learn or spread, learn and not model.dense,
                )  # fmt: skip
                if learn:
                    if not model.dense:
                        to_rows(lanes, m, k, back.u, weight, first, count, t, dd)
                    if gc.shape[0] > 1:
                        flush(lanes, back.dc, m * n, weight, count, gc, t)
                    if gr.shape[0] > 1:
                        flush(lanes, back.dr, pk(m, 0), weight, count, gr, t)
        finish(lanes, sums, p, first, count, k, value, bad)
        if learn:
            if ga.shape[0] == 1:
                flush(lanes, back.da, n * n, weight, count, ga, 0)
            if gq.shape[0] == 1:
                flush(lanes, back.dq, pk(n, 0), weight, count, gq, 0)
            if gc.shape[0] == 1:
                flush(lanes, back.dc, m * n, weight, count, gc, 0)
            if gr.shape[0] == 1:
                flush(lanes, back.dr, pk(m, 0), weight, count, gr, 0)
            dmean, dcov = at(score.mean, p), at(score.cov, p)
            write_start(lanes, n, k, back.r, back.big, weight, first, count, dmean, dcov)
