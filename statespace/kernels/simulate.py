"""Paths of a linear-Gaussian model from random numbers that were drawn before."""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import inner, kernel
from statespace.kernels.factor import copy
from statespace.kernels.given import add_bias, add_rows_of, given_of, row_of, sizes_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, hold, room, set_of, span
from statespace.kernels.products import add_product, set_zero
from statespace.kernels.shared_means import begin_mean
from statespace.kernels.tables import Data

__all__ = ["simulate_each"]


@inner
def gather_row(lanes, rows, t_max, size, first, count, t, out):
    """Row t of each series, rows (series, T, size), into lane memory; the last fills up a block."""
    w = width(lanes)
    for lane in range(w):
        place = ((first + min(lane, count - 1)) * t_max + t) * size
        for i in range(size):
            out[i * w + lane] = rows[place + i]


@inner
def scatter_row(lanes, x, t_max, size, first, count, t, rows):
    """Lane memory into row t of each series."""
    w = width(lanes)
    for lane in range(count):
        place = ((first + lane) * t_max + t) * size
        for i in range(size):
            rows[place + i] = x[i * w + lane]


@kernel
def simulate_each(lanes, model, noise, low, high, zs, ys):
    """Draws z_t = A z_{t-1} + b + w_t and y_t = C z_t + d + v_t, of tasks low .. high.

    A task is W series of one set; roots of Q and R may be of any rank.

    Args:
        lanes: How many.
        model: See `Model`; of the start, x is z_1 itself, and s is not read.
        noise: Independent standard normal, (sets, series, T, r + q): what a row's roots of Q and R
            are multiplied with, in this order.
        low, high: Tasks.
        zs, ys: Out, (sets, series, T, n) and (sets, series, T, m).
    """
    w, data = width(lanes), Data(ys, np.empty((1, 0, 0, 0), np.uint8))
    z = sizes_of(model, data)
    n, m, wide = z.n, z.m, z.r + z.q
    memory = room((2 * n + m + wide) * w, model.a.dtype)
    x = span(memory, 0)
    moved, out = ahead(x, n * w), ahead(x, 2 * n * w)
    drawn = ahead(out, m * w)
    blocks = (z.series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        normal, states = set_of(noise, p), set_of(zs, p)
        begin_mean(lanes, z, g, first, count, x)
        for t in range(z.t_max):
            gather_row(lanes, normal, z.t_max, wide, first, count, t, drawn)
            if t > 0:
                copy(lanes, x, moved, n)
                set_zero(lanes, x, n)
                a = ahead(g.a, row_of(g.a_rows, t) * n * n)
                q = ahead(g.q, row_of(g.q_rows, t) * n * z.r)
                add_product(lanes, a, n, 1, n, n, moved, x)
                add_product(lanes, q, z.r, 1, n, z.r, drawn, x)
                add_bias(lanes, z, g, first, count, t, 1, x)
            scatter_row(lanes, x, z.t_max, n, first, count, t, states)
            set_zero(lanes, out, m)
            c = ahead(g.c, row_of(g.c_rows, t) * m * n)
            r = ahead(g.root, row_of(g.root_rows, t) * m * z.q)
            add_product(lanes, c, n, 1, m, n, x, out)
            add_product(lanes, r, z.q, 1, m, z.q, ahead(drawn, z.r * w), out)
            add_rows_of(lanes, g.d, g.d_rows, g.d_series > 1, m, first, count, t, 1, out)
            scatter_row(lanes, out, z.t_max, m, first, count, t, g.y)
    hold(memory)
