"""Filtered means without covariances, and everything about one row of each series.

`filter_means` is for series that have each a covariance of their own, `filter_shared` for complete
data, whose gains `settle` has found. Nothing grows with time but what is asked for.
"""

from __future__ import annotations

import numpy as np

from statespace.kernels.arrays import (
    LOG_2PI,
    add_bias,
    at,
    begin,
    clear,
    finish,
    read_row,
    row_of,
    scratch,
)
from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import SUMS, copy, emission, observe, pk, predict, whiten, width
from statespace.kernels.lanes import load, splat, store, widen

__all__ = ["filter_means", "filter_shared"]


@called
def put_mean(lanes, n, k, x, first, count, t, last, rows, end):
    """Column 0 of x (n, k) into row t, where rows are kept, and into the end if it is the last."""
    w = width(lanes)
    for lane in range(count):
        series = first + lane
        if rows.shape[1] > 0:
            for a in range(n):
                rows[series, t, a] = x[a * k * w + lane]
        if last[series] == t:
            for a in range(n):
                end[series, a] = x[a * k * w + lane]


@called
def put_root(lanes, n, u, d, first, count, t, last, root):
    """The root U D^1/2 at the last row of a series."""
    w = width(lanes)
    for lane in range(count):
        if last[first + lane] == t:
            for b in range(n):
                scale = np.sqrt(d[b * w + lane])
                for a in range(b + 1):
                    root[first + lane, a, b] = u[pk(b, a) * w + lane] * scale


@called
def put_gain(lanes, sums, before, first, count, t, last, increments, gain):
    """What row t added to the log-likelihood; increments are kept where means are."""
    w = width(lanes)
    for lane in range(count):
        series = first + lane
        if increments.shape[1] > 0 or last[series] == t:
            log_s = np.log(sums[w + lane]) - np.log(before[w + lane])
            log_s += (sums[2 * w + lane] - before[2 * w + lane]) * np.log(2.0)
            entries = sums[3 * w + lane] - before[3 * w + lane]
            value = -0.5 * (log_s + sums[lane] - before[lane] + entries * LOG_2PI)
            if increments.shape[1] > 0:
                increments[series, t] = value
            if last[series] == t:
                gain[series] = value


@kernel
def filter_means(lanes, model, data, low, high, value, bad, ends):
    """Filters tasks low .. high, a task being W series of one set; the start has one column.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`.
        ends: Out, see `Ends`.
    """
    w = width(lanes)
    series, t_max, m, n = data.y.shape[1], data.y.shape[2], data.y.shape[3], model.x.shape[2]
    s, number = scratch(lanes, model, m), model.a.dtype
    e, inverse = np.empty(m * w, number), np.empty(m * w, number)
    gains, own_c = np.empty(m * n * w, number), np.empty(m * n * w, number)
    turn = np.empty(m * m * w if model.dense else 0, number)
    sums, before = np.empty(SUMS * w), np.empty(SUMS * w)
    blocks = (series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count = min(w, series - first)
        a, q, c, r = at(model.a, p), at(model.q, p), at(model.c, p), at(model.r, p)
        bias, shift, values, seen = at(model.b, p), at(model.d, p), at(data.y, p), at(data.seen, p)
        mean, predicted_mean, increments = ends.mean[p], ends.predicted_mean[p], ends.increments[p]
        last, end, roots, gain = ends.last[p], ends.end[p], ends.roots[p], ends.gain[p]
        begin(lanes, at(model.x, p), at(model.s, p), first, count, n, 1, s)
        clear(lanes, sums)
        for t in range(t_max):
            if t > 0:
                ta, tq = row_of(a.shape[0], t), row_of(q.shape[0], t)
                predict(lanes, a, ta, q, tq, n, 1, s.x, s.u, s.d, s.rows, s.weights, s.move)
                add_bias(lanes, bias, first, count, t, n, 1, s.x)
            put_mean(lanes, n, 1, s.x, first, count, t, last, predicted_mean, end[0])
            put_root(lanes, n, s.u, s.d, first, count, t, last, roots[0])
            before[:] = sums
            read_row(lanes, values, seen, shift, first, count, t, m, s.y)
            tc, tr = row_of(c.shape[0], t), row_of(r.shape[0], t)
            if t == 0 or tc + tr > 0 or model.dense:
                emission(lanes, c, tc, r, tr, m, n, own_c, 0, s.r)
            if model.dense:
                whiten(lanes, r, tr, m, n, s.y, own_c, 0, s.r, turn, 0, s.noise)
            observe(
                lanes, own_c, 0, s.r, m, n, 1, s.y, s.x, s.u, s.d, s.f, s.v, s.gain, gains, 0,
                inverse, 0, e, 0, sums,
            )  # fmt: skip
            put_mean(lanes, n, 1, s.x, first, count, t, last, mean, end[1])
            put_root(lanes, n, s.u, s.d, first, count, t, last, roots[1])
            put_gain(lanes, sums, before, first, count, t, last, increments, gain)
        finish(lanes, sums, p, first, count, 1, value, bad)


@inner
def absorb_shared(lanes, c, tc, turn, tt, gains, inverse, row, m, n, y, x, squares):
    """X after a row y (m), which is whitened in place; `squares` become those of its residuals."""
    w = width(lanes)
    if turn.size > 0:
        for i in range(m - 1, -1, -1):
            value = load(lanes, y, i * w)
            for j in range(i):
                value = value + splat(lanes, turn[tt, i, j]) * load(lanes, y, j * w)
            store(lanes, y, i * w, value)
    total = splat(lanes, 0.0)
    for i in range(m):
        residual = load(lanes, y, i * w)
        for a in range(n):
            residual = residual - splat(lanes, c[tc, i, a]) * load(lanes, x, a * w)
        total = total + widen(residual * (residual * splat(lanes, inverse[row, i])))
        for a in range(n):
            gain = splat(lanes, gains[row, i, a])
            store(lanes, x, a * w, load(lanes, x, a * w) + gain * residual)
    store(lanes, squares, 0, total)


@inner
def move(lanes, a, ta, n, x, moved):
    """X <- A x."""
    w = width(lanes)
    for i in range(n):
        value = splat(lanes, a[ta, i, 0]) * load(lanes, x, 0)
        for j in range(1, n):
            value = value + splat(lanes, a[ta, i, j]) * load(lanes, x, j * w)
        store(lanes, moved, i * w, value)
    copy(lanes, moved, 0, x, 0, n)


@called
def put_squares(lanes, row, first, count, t, last, increments, gain, squares):
    """-1/2 of a row's squares where increments go, and their sum over rows."""
    for lane in range(count):
        series, value = first + lane, -0.5 * row[lane]
        squares[series] += row[lane]
        if increments.shape[1] > 0:
            increments[series, t] = value
        if last[series] == t:
            gain[series] = value


@kernel
def filter_shared(lanes, model, data, shared, rows, low, high, squares, ends):
    """Filters tasks low .. high of complete data with the gains that all series share.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`; nothing may be missing.
        shared, rows: What `settle` left, in the numbers of the model.
        low, high: Tasks.
        squares: Out, (sets, series), float64: of whitened residuals, summed over a series.
        ends: Out, see `Ends`; of increments only what hangs on the data, of roots nothing.
    """
    w = width(lanes)
    series, t_max, m, n = data.y.shape[1], data.y.shape[2], data.y.shape[3], model.x.shape[2]
    number = model.a.dtype
    x, moved, y = np.empty(n * w, number), np.empty(n * w, number), np.empty(m * w, number)
    row = np.empty(w)
    blocks = (series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count = min(w, series - first)
        a, bias, shift = at(model.a, p), at(model.b, p), at(model.d, p)
        values, seen, start = at(data.y, p), at(data.seen, p), at(model.x, p)
        c, turn = shared.c[p], at(shared.turn, p)
        gains, inverse, settled = shared.gains[p], shared.inverse[p], rows[p] - 1
        mean, predicted_mean, increments = ends.mean[p], ends.predicted_mean[p], ends.increments[p]
        last, end, gain = ends.last[p], ends.end[p], ends.gain[p]
        for lane in range(w):
            own = row_of(start.shape[0], first + min(lane, count - 1))
            for b in range(n):
                x[b * w + lane] = start[own, b, 0]
        squares[p, first : first + count] = 0
        for t in range(t_max):
            if t > 0:
                move(lanes, a, row_of(a.shape[0], t), n, x, moved)
                add_bias(lanes, bias, first, count, t, n, 1, x)
            put_mean(lanes, n, 1, x, first, count, t, last, predicted_mean, end[0])
            read_row(lanes, values, seen, shift, first, count, t, m, y)
            tc, tt = row_of(c.shape[0], t), row_of(turn.shape[0], t)
            absorb_shared(
                lanes, c, tc, turn, tt, gains, inverse, min(t, settled), m, n, y, x, row
            )  # fmt: skip
            put_mean(lanes, n, 1, x, first, count, t, last, mean, end[1])
            put_squares(lanes, row, first, count, t, last, increments, gain, squares[p])
