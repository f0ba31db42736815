"""The filter of series that have each a covariance of their own."""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import called, kernel
from statespace.kernels.factor import SUMS, absorb_rows, copy, pk, spread_out
from statespace.kernels.given import begin, given_of, sizes_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.scratch import clear, finish, look, move, row_at, scratch

__all__ = ["filter_each", "put_root"]


@called
def move_rows(lanes, rows, delta, first, count, k, into):
    """Between lane memory and what is known of delta, of the series of a set."""
    w = width(lanes)
    for lane in range(w):
        place = (first + min(lane, count - 1)) * k * k
        for i in range(k * k):
            if into:
                rows[i * w + lane] = delta[place + i]
            elif lane < count:
                delta[place + i] = rows[i * w + lane]


@called
def keep_belief(lanes, z, s, first, count, t, mean, cov):
    """The mean and the covariance of row t, of one column."""
    w = width(lanes)
    n = z.n
    spread_out(lanes, n, s.u, s.d, s.rows)
    for lane in range(count):
        row = (first + lane) * z.t_max + t
        for i in range(n):
            mean[row * n + i] = s.x[i * w + lane]
        for i in range(n * n):
            cov[row * n * n + i] = s.rows[i * w + lane]


@called
def put_root(lanes, n, s, first, count, t, last, root):
    """The root U D^1/2 at the last row of a series."""
    w = width(lanes)
    for lane in range(count):
        if last[first + lane] == t:
            place = (first + lane) * n * n
            for b in range(n):
                scale = np.sqrt(s.d[b * w + lane])
                for a in range(b + 1):
                    root[place + a * n + b] = s.u[pk(b, a) * w + lane] * scale


@called
def keep_gain(lanes, sums, before, first, count, t, t_max, increments):
    """What row t added to the log-likelihood."""
    w = width(lanes)
    for lane in range(count):
        log_s = np.log(sums[w + lane]) - np.log(before[w + lane])
        log_s += (sums[2 * w + lane] - before[2 * w + lane]) * np.log(2.0)
        entries = sums[3 * w + lane] - before[3 * w + lane]
        squares = sums[lane] - before[lane]
        value = -0.5 * (log_s + squares + entries * 1.8378770664093453)
        increments[(first + lane) * t_max + t] = value


@kernel
def filter_each(lanes, model, data, low, high, value, bad, delta, moments):
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
    w, z, dense = width(lanes), sizes_of(model, data), model.dense
    k, base = z.k, span(model.a, 0)
    _, end = row_at(lanes, z, dense, scratch(lanes, z, dense, base).end)
    memory = room(apart(base, end) + (k + 1) * k * w, model.a.dtype)
    counts = room(2 * SUMS * w, np.float64)
    sums, before = span(counts, 0), span(counts, SUMS * w)
    s = scratch(lanes, z, dense, span(memory, 0))
    row, rows = row_at(lanes, z, dense, s.end)
    v = ahead(rows, k * k * w)
    blocks = (z.series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        if k > 1:
            move_rows(lanes, rows, set_of(delta, p), first, count, k, True)
        for t in range(z.t_max):
            if t > 0:
                move(lanes, z, g, s, first, count, t)
            if moments is not None:
                mean, cov = set_of(moments.predicted_mean, p), set_of(moments.predicted_cov, p)
                keep_belief(lanes, z, s, first, count, t, mean, cov)
                copy(lanes, sums, before, SUMS)
            look(lanes, z, g, s, dense, False, first, count, t, t == 0, row, sums)
            if k > 1:
                absorb_rows(lanes, z.m, k, row.e, row.inverse, rows, v)
            if moments is not None:
                mean, cov = set_of(moments.mean, p), set_of(moments.cov, p)
                keep_belief(lanes, z, s, first, count, t, mean, cov)
                last, ends = set_of(moments.last, p), set_of(moments.root, p)
                put_root(lanes, z.n, s, first, count, t, last, ends)
                gains = set_of(moments.increments, p)
                keep_gain(lanes, sums, before, first, count, t, z.t_max, gains)
        finish(lanes, sums, p, first, count, k, value, bad)
        if k > 1:
            move_rows(lanes, rows, set_of(delta, p), first, count, k, False)
    hold(memory)
    hold(counts)
