"""The filter of series that have each a covariance of their own."""

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
from statespace.kernels.compiling import called, kernel
from statespace.kernels.factor import (
    SUMS,
    absorb_rows,
    emission,
    observe,
    pk,
    predict,
    spread_out,
    whiten,
    width,
)

__all__ = ["filter_each"]


@called
def move_rows(lanes, rows, delta, first, count, k, into):
    """Between lane memory and the arrays of a set."""
    w = width(lanes)
    for lane in range(w):
        series = first + min(lane, count - 1)
        for i in range(k):
            for j in range(k):
                if into:
                    rows[(i * k + j) * w + lane] = delta[series, i, j]
                elif lane < count:
                    delta[series, i, j] = rows[(i * k + j) * w + lane]


@called
def keep_belief(lanes, n, s, first, count, t, belief):
    """The mean and the covariance of row t, of one column."""
    w = width(lanes)
    mean, cov = belief
    spread_out(lanes, n, s.u, s.d, s.rows, 0)
    for lane in range(count):
        for a in range(n):
            mean[first + lane, t, a] = s.x[a * w + lane]
            for b in range(n):
                cov[first + lane, t, a, b] = s.rows[(a * n + b) * w + lane]


@called
def keep_end(lanes, n, s, first, count, t, last, root):
    """The root U D^1/2 at the last row of a series."""
    w = width(lanes)
    for lane in range(count):
        if last[first + lane] == t:
            for b in range(n):
                scale = np.sqrt(s.d[b * w + lane])
                for a in range(b + 1):
                    root[first + lane, a, b] = s.u[pk(b, a) * w + lane] * scale


@called
def keep_gain(lanes, sums, before, first, count, t, increments):
    """What row t added to the log-likelihood."""
    w = width(lanes)
    for lane in range(count):
        log_s = np.log(sums[w + lane]) - np.log(before[w + lane])
        log_s += (sums[2 * w + lane] - before[2 * w + lane]) * np.log(2.0)
        entries = sums[3 * w + lane] - before[3 * w + lane]
        squares = sums[lane] - before[lane]
        increments[first + lane, t] = -0.5 * (log_s + squares + entries * LOG_2PI)


@kernel
def filter_each(lanes, model, data, low, high, value, bad, delta, moments=None):
    """The log-likelihood of tasks low .. high, a task being W series of one set.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`.
        low, high: Tasks.
        value: Out, (sets, series) float64: the log-likelihood; without the squares of the
            residuals if the start has more columns than one.
        bad: Out, (sets, series): how many entries had no variance, to rounding.
        delta: In and out, what is known of delta, (sets, series, k, k): see `absorb_rows`.
        moments: Out, see `Filter`; None, which is another compiled loop, where none are wanted.
    """
    w = width(lanes)
    series, t_max, m = data.y.shape[1], data.y.shape[2], data.y.shape[3]
    n, k = model.x.shape[2], model.x.shape[3]
    s = scratch(lanes, model, m)
    e, inverse = np.empty(m * k * w, model.a.dtype), np.empty(m * w, model.a.dtype)
    gains, own_c = np.empty(m * n * w, model.a.dtype), np.empty(m * n * w, model.a.dtype)
    turn = np.empty(m * m * w if model.dense else 0, model.a.dtype)
    rows, v = np.empty(k * k * w, model.a.dtype), np.empty(k * w, model.a.dtype)
    sums, before = np.empty(SUMS * w), np.empty(SUMS * w)
    blocks = (series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count = min(w, series - first)
        a, q, c, r = at(model.a, p), at(model.q, p), at(model.c, p), at(model.r, p)
        bias, shift, values, seen = at(model.b, p), at(model.d, p), at(data.y, p), at(data.seen, p)
        begin(lanes, at(model.x, p), at(model.s, p), first, count, n, k, s)
        clear(lanes, sums)
        if k > 1:
            move_rows(lanes, rows, at(delta, p), first, count, k, True)
        for t in range(t_max):
            if t > 0:
                ta, tq = row_of(a.shape[0], t), row_of(q.shape[0], t)
                predict(lanes, a, ta, q, tq, n, k, s.x, s.u, s.d, s.rows, s.weights, s.move)
                add_bias(lanes, bias, first, count, t, n, k, s.x)
            if moments is not None:
                belief = (at(moments.predicted_mean, p), at(moments.predicted_cov, p))
                keep_belief(lanes, n, s, first, count, t, belief)
                before[:] = sums
            read_row(lanes, values, seen, shift, first, count, t, m, s.y)
            tc, tr = row_of(c.shape[0], t), row_of(r.shape[0], t)
            if t == 0 or tc + tr > 0 or model.dense:
                emission(lanes, c, tc, r, tr, m, n, own_c, 0, s.r)
            if model.dense:
                whiten(lanes, r, tr, m, n, s.y, own_c, 0, s.r, turn, 0, s.noise)
            observe(
                lanes, own_c, 0, s.r, m, n, k, s.y, s.x, s.u, s.d, s.f, s.v, s.gain, gains, 0,
                inverse, 0, e, 0, sums,
            )  # fmt: skip
            if k > 1:
                absorb_rows(lanes, m, k, e, inverse, rows, v)
            if moments is not None:
                keep_belief(lanes, n, s, first, count, t, (at(moments.mean, p), at(moments.cov, p)))
                keep_end(lanes, n, s, first, count, t, at(moments.last, p), at(moments.root, p))
                keep_gain(lanes, sums, before, first, count, t, at(moments.increments, p))
        finish(lanes, sums, p, first, count, k, value, bad)
        if k > 1:
            move_rows(lanes, rows, at(delta, p), first, count, k, False)
