"""Paths of a linear-Gaussian model from random numbers that were drawn before."""

from __future__ import annotations

import numpy as np

from statespace.kernels.arrays import add_bias, at, row_of
from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import width
from statespace.kernels.lanes import load, splat, store

__all__ = ["simulate_each"]


@inner
def times(lanes, matrix, tm, size, columns, x, x0, out, add):
    """Out (size) = M x, with x (columns) from entry x0 on; added to what is there where `add`."""
    w = width(lanes)
    for i in range(size):
        value = load(lanes, out, i * w) if add else splat(lanes, out.dtype.type(0))
        for j in range(columns):
            value = value + splat(lanes, matrix[tm, i, j]) * load(lanes, x, (x0 + j) * w)
        store(lanes, out, i * w, value)


@called
def gather_row(lanes, rows, first, count, t, out):
    """Row t of each series, rows (series, T, size), into lane memory; the last fills up a block."""
    w = width(lanes)
    for lane in range(w):
        series = first + min(lane, count - 1)
        for i in range(rows.shape[2]):
            out[i * w + lane] = rows[series, t, i]


@called
def scatter_row(lanes, x, first, count, t, rows):
    """Lane memory into row t of each series."""
    w = width(lanes)
    for lane in range(count):
        for i in range(rows.shape[2]):
            rows[first + lane, t, i] = x[i * w + lane]


@kernel
def simulate_each(lanes, model, noise, low, high, z, y):
    """Draws z_t = A z_{t-1} + b + w_t and y_t = C z_t + d + v_t, of tasks low .. high.

    A task is W series of one set; roots of Q and R may be of any rank.

    Args:
        lanes: How many.
        model: See `Model`; of the start, x is z_1 itself, and s is not read.
        noise: Independent standard normal, (sets, series, T, r + q): what a row's roots of Q and R
            are multiplied with, in this order.
        low, high: Tasks.
        z, y: Out, (sets, series, T, n) and (sets, series, T, m).
    """
    w = width(lanes)
    series, t_max, n, m = z.shape[1], z.shape[2], z.shape[3], y.shape[3]
    wide_q, wide_r, number = model.q.shape[3], model.r.shape[3], model.a.dtype
    x, moved, out = np.empty(n * w, number), np.empty(n * w, number), np.empty(m * w, number)
    drawn = np.empty((wide_q + wide_r) * w, number)
    blocks = (series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count = min(w, series - first)
        a, q, c, r = at(model.a, p), at(model.q, p), at(model.c, p), at(model.r, p)
        bias, shift, start, normal = at(model.b, p), at(model.d, p), at(model.x, p), noise[p]
        for lane in range(w):
            own = row_of(start.shape[0], first + min(lane, count - 1))
            for i in range(n):
                x[i * w + lane] = start[own, i, 0]
        for t in range(t_max):
            gather_row(lanes, normal, first, count, t, drawn)
            if t > 0:
                times(lanes, a, row_of(a.shape[0], t), n, n, x, 0, moved, False)
                times(lanes, q, row_of(q.shape[0], t), n, wide_q, drawn, 0, moved, True)
                x[:] = moved
                add_bias(lanes, bias, first, count, t, n, 1, x)
            scatter_row(lanes, x, first, count, t, z[p])
            times(lanes, c, row_of(c.shape[0], t), m, n, x, 0, out, False)
            times(lanes, r, row_of(r.shape[0], t), m, wide_r, drawn, wide_q, out, True)
            add_bias(lanes, shift, first, count, t, m, 1, out)
            scatter_row(lanes, out, first, count, t, y[p])
