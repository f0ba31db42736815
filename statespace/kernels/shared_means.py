"""Complete data: means in lanes, with gains and covariances that every series shares."""

from __future__ import annotations

import numpy as np

from statespace.kernels.arrays import add_bias, at, read_row, row_of
from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import copy, pk, width
from statespace.kernels.lanes import load, splat, store, widen
from statespace.kernels.smooth import flush, pair, segment_of, to_rows

__all__ = ["means", "means_back"]


@inner
def absorb_mean(lanes, shared_c, tc, turn, gains, inverse, row, m, n, y, x, e, e0, squares):
    """X after a row y (m), which is whitened in place; leaves residuals; adds their squares."""
    w = width(lanes)
    if turn.size > 0:
        for i in range(m - 1, -1, -1):
            value = load(lanes, y, i * w)
            for j in range(i):
                value = value + splat(lanes, turn[row_of(turn.shape[0], tc), i, j]) * load(
                    lanes, y, j * w
                )
            store(lanes, y, i * w, value)
    total = splat(lanes, 0.0)
    for i in range(m):
        residual = load(lanes, y, i * w)
        for a in range(n):
            residual = residual - splat(lanes, shared_c[tc, i, a]) * load(lanes, x, a * w)
        store(lanes, e, (e0 + i) * w, residual)
        total = total + widen(residual * (residual * splat(lanes, inverse[row, i])))
        for a in range(n):
            gain = splat(lanes, gains[row, i, a])
            store(lanes, x, a * w, load(lanes, x, a * w) + gain * residual)
    store(lanes, squares, 0, load(lanes, squares, 0) + total)


@inner
def move_mean(lanes, a, ta, n, x, moved):
    """X <- A x."""
    w = width(lanes)
    for i in range(n):
        value = splat(lanes, a[ta, i, 0]) * load(lanes, x, 0)
        for j in range(1, n):
            value = value + splat(lanes, a[ta, i, j]) * load(lanes, x, j * w)
        store(lanes, moved, i * w, value)
    copy(lanes, moved, 0, x, 0, n)


@called
def begin_mean(lanes, means_of, first, count, n, x):
    """The first means of a block."""
    w = width(lanes)
    for lane in range(w):
        series = row_of(means_of.shape[0], first + min(lane, count - 1))
        for a in range(n):
            x[a * w + lane] = means_of[series, a, 0]


@kernel
def means(lanes, model, data, shared, rows, low, high, squares):
    """Squared, whitened residuals of tasks low .. high, summed over a series.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`; nothing may be missing.
        shared, rows: What `settle` left, in the numbers of the model.
        low, high: Tasks.
        squares: Out, (sets, series), float64.
    """
    w = width(lanes)
    series, t_max, m, n = data.y.shape[1], data.y.shape[2], data.y.shape[3], model.x.shape[2]
    number = model.a.dtype
    x, moved, y = np.empty(n * w, number), np.empty(n * w, number), np.empty(m * w, number)
    e, total = np.empty(m * w, number), np.empty(w)
    blocks = (series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count = min(w, series - first)
        a, bias, shift = at(model.a, p), at(model.b, p), at(model.d, p)
        values, seen = at(data.y, p), at(data.seen, p)
        c, turn = shared.c[p], at(shared.turn, p)
        gains, inverse, last = shared.gains[p], shared.inverse[p], rows[p] - 1
        begin_mean(lanes, at(model.x, p), first, count, n, x)
        total[:] = 0
        for t in range(t_max):
            if t > 0:
                move_mean(lanes, a, row_of(a.shape[0], t), n, x, moved)
                add_bias(lanes, bias, first, count, t, n, 1, x)
            read_row(lanes, values, seen, shift, first, count, t, m, y)
            tc = row_of(c.shape[0], t)
            absorb_mean(lanes, c, tc, turn, gains, inverse, min(t, last), m, n, y, x, e, 0, total)
        for lane in range(count):
            squares[p, first + lane] = total[lane]


@inner
def mean_back(lanes, a, ta, n, r, moved, xf, x0, pf, row, x):
    """R <- A' r, and x = x_f + P_f r; with no next row (ta < 0) x = x_f."""
    w = width(lanes)
    zero = splat(lanes, r.dtype.type(0))
    if ta >= 0:
        for i in range(n):
            value = zero
            for j in range(n):
                value = value + splat(lanes, a[ta, j, i]) * load(lanes, r, j * w)
            store(lanes, moved, i * w, value)
        copy(lanes, moved, 0, r, 0, n)
    for i in range(n):
        value = load(lanes, xf, (x0 + i) * w)
        if ta >= 0:
            for j in range(n):
                value = value + splat(lanes, pf[row, i, j]) * load(lanes, r, j * w)
        store(lanes, x, i * w, value)


@inner
def absorb_mean_back(lanes, c, tc, turn, gains, inverse, row, m, n, e, e0, r, u):
    """Takes r back over a row; leaves u (m), of y itself."""
    w = width(lanes)
    for turned in range(m):
        i = m - 1 - turned
        value = load(lanes, e, (e0 + i) * w) * splat(lanes, inverse[row, i])
        for a in range(n):
            value = value - splat(lanes, gains[row, i, a]) * load(lanes, r, a * w)
        store(lanes, u, i * w, value)
        for a in range(n):
            store(lanes, r, a * w, load(lanes, r, a * w) + splat(lanes, c[tc, i, a]) * value)
    if turn.size > 0:  # u = L^-T u
        tt = row_of(turn.shape[0], tc)
        for i in range(m):
            value = load(lanes, u, i * w)
            for j in range(i + 1, m):
                value = value + splat(lanes, turn[tt, j, i]) * load(lanes, u, j * w)
            store(lanes, u, i * w, value)


@inner
def outer(lanes, left, rows, right, columns, out):
    """Out (rows, columns) += left right'."""
    w = width(lanes)
    for i in range(rows):
        value = load(lanes, left, i * w)
        for j in range(columns):
            at_ij = (i * columns + j) * w
            store(lanes, out, at_ij, load(lanes, out, at_ij) + value * load(lanes, right, j * w))


@inner
def square(lanes, left, rows, whole, out):
    """Out (packed) += left left', or its diagonal alone."""
    w = width(lanes)
    for i in range(rows):
        value = load(lanes, left, i * w)
        for j in range(0 if whole else i, i + 1):
            where = pk(i, j) * w
            store(lanes, out, where, load(lanes, out, where) + value * load(lanes, left, j * w))


@kernel
def means_back(lanes, model, data, shared, rows, low, high, squares, smooth, score):
    """Smoothed means, and the part of the score that hangs on the data, of tasks low .. high.

    Arguments are those of `means` and `smooth_each`; of `smooth` only the mean is filled, and of
    the score only outer products of r, u and x.
    """
    w = width(lanes)
    series, t_max, m, n = data.y.shape[1], data.y.shape[2], data.y.shape[3], model.x.shape[2]
    number = model.a.dtype
    x, moved, y = np.empty(n * w, number), np.empty(n * w, number), np.empty(m * w, number)
    kept = segment_of(lanes, t_max, m + n)
    e, xf = np.empty(kept * m * w, number), np.empty(kept * n * w, number)
    r, u, xs = np.empty(n * w, number), np.empty(m * w, number), np.empty(n * w, number)
    before = np.empty(n * w, number)  # r at the prediction of the next row
    da, dq = np.zeros(n * n * w, number), np.zeros(pk(n, 0) * w, number)
    dc, dr = np.zeros(m * n * w, number), np.zeros(pk(m, 0) * w, number)
    total, idle, weight = np.empty(w), np.empty(w), np.zeros(w)
    segments = (t_max + kept - 1) // kept
    marks = np.empty((segments, n * w), number)
    blocks = (series + w - 1) // w
    learn = score.weight.size > 0
    for task in range(low, high):
        p, block = task // blocks, task % blocks
        first = block * w
        count = min(w, series - first)
        a, bias, shift = at(model.a, p), at(model.b, p), at(model.d, p)
        values, seen, mean = at(data.y, p), at(data.seen, p), at(smooth.mean, p)
        c, turn = shared.c[p], at(shared.turn, p)
        gains, inverse, pf = shared.gains[p], shared.inverse[p], shared.pf[p]
        last, db, dd = rows[p] - 1, at(score.b, p), at(score.d, p)
        ga, gq = pair(score.a, p, block), pair(score.q, p, block)
        gc, gr = pair(score.c, p, block), pair(score.r, p, block)
        begin_mean(lanes, at(model.x, p), first, count, n, x)
        total[:] = 0
        r[:] = 0
        if learn:
            for lane in range(count):
                weight[lane] = score.weight[p, first + lane]
        for turned in range(2 * segments - 1):
            ahead = turned < segments - 1
            g = turned if ahead else 2 * segments - 2 - turned
            start, end = g * kept, min(t_max, (g + 1) * kept)
            if turned < segments:
                marks[g] = x
            else:
                x[:] = marks[g]
            for t in range(start, end):
                if t > 0:
                    move_mean(lanes, a, row_of(a.shape[0], t), n, x, moved)
                    add_bias(lanes, bias, first, count, t, n, 1, x)
                read_row(lanes, values, seen, shift, first, count, t, m, y)
                absorb_mean(
                    lanes, c, row_of(c.shape[0], t), turn, gains, inverse, min(t, last), m, n, y,
                    x, e, (t - start) * m, total if turned < segments else idle,
                )  # fmt: skip
                copy(lanes, x, 0, xf, (t - start) * n, n)
            if ahead:
                continue
            for slot in range(end - start - 1, -1, -1):
                t = start + slot
                ta = row_of(a.shape[0], t + 1) if t + 1 < t_max else -1
                if learn and ta >= 0:
                    square(lanes, r, n, True, dq)
                    to_rows(lanes, n, 1, r, weight, first, count, t + 1, db)
                    copy(lanes, r, 0, before, 0, n)
                row = min(t, last)
                mean_back(lanes, a, ta, n, r, moved, xf, slot * n, pf, row, xs)
                if learn and ta >= 0:
                    outer(lanes, before, n, xs, n, da)
                if mean.size > 0:
                    for lane in range(count):
                        for i in range(n):
                            mean[first + lane, t, i] = xs[i * w + lane]
                tc = row_of(c.shape[0], t)
                absorb_mean_back(lanes, c, tc, turn, gains, inverse, row, m, n, e, slot * m, r, u)
                if learn:
                    outer(lanes, u, m, xs, n, dc)
                    square(lanes, u, m, model.dense, dr)
                    to_rows(lanes, m, 1, u, weight, first, count, t, dd)
                    if ta >= 0 and ga.shape[0] > 1:
                        flush(lanes, da, n * n, weight, count, ga, t + 1)
                    if ta >= 0 and gq.shape[0] > 1:
                        flush(lanes, dq, pk(n, 0), weight, count, gq, t + 1)
                    if gc.shape[0] > 1:
                        flush(lanes, dc, m * n, weight, count, gc, t)
                    if gr.shape[0] > 1:
                        flush(lanes, dr, pk(m, 0), weight, count, gr, t)
        for lane in range(count):
            squares[p, first + lane] = total[lane]
        if learn:
            if ga.shape[0] == 1:
                flush(lanes, da, n * n, weight, count, ga, 0)
            if gq.shape[0] == 1:
                flush(lanes, dq, pk(n, 0), weight, count, gq, 0)
            if gc.shape[0] == 1:
                flush(lanes, dc, m * n, weight, count, gc, 0)
            if gr.shape[0] == 1:
                flush(lanes, dr, pk(m, 0), weight, count, gr, 0)
            start_back(lanes, n, r, weight, first, count, score.mean[p], score.cov[p])


@called
def start_back(lanes, n, r, weight, first, count, mean, cov):
    """The gradient of the first moments without -N / 2: r and r r' / 2."""
    w = width(lanes)
    for lane in range(count):
        if weight[lane] == 0.0:
            continue
        for i in range(n):
            mean[first + lane, i] = weight[lane] * r[i * w + lane]
            for j in range(n):
                cov[first + lane, i, j] = 0.5 * weight[lane] * r[i * w + lane] * r[j * w + lane]
