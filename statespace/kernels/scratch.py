"""Scratch memory of a forward pass, and one row of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import emission, observe, pk, predict, whiten
from statespace.kernels.given import add_bias, read_row, row_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead
from statespace.kernels.whitening import whiten_by

__all__ = ["Row", "Scratch", "clear", "finish", "look", "move", "row_at", "scratch"]

LOG_2PI = 1.8378770664093453


class Scratch(NamedTuple):
    """Lane memory; see `factor` for the shapes. The belief x, u, d stands in one piece."""

    x: Any
    u: Any
    d: Any
    rows: Any
    weights: Any
    moved: Any
    y: Any
    f: Any
    v: Any
    gain: Any
    r: Any
    noise: Any
    end: Any  # where the next memory begins


class Row(NamedTuple):
    """What a row leaves for the way back.

    C and L^-1 after whitening, the gains over the variances, one over the variances, residuals.
    """

    c: Any
    turn: Any
    gains: Any
    inverse: Any
    e: Any


@called
def scratch(lanes, z, dense, start):
    """Cut from memory that begins at a place."""
    w = width(lanes)
    n, k, m = z.n, z.k, z.m
    columns = n + z.r
    u = ahead(start, n * k * w)
    d = ahead(u, pk(n, 0) * w)
    rows = ahead(d, n * w)
    weights = ahead(rows, n * columns * w)
    moved = ahead(weights, columns * w)
    y = ahead(moved, max(columns, n * k) * w)
    f = ahead(y, m * w)
    v = ahead(f, n * w)
    gain = ahead(v, 2 * n * w)
    r = ahead(gain, n * w)
    noise = ahead(r, m * w)
    end = ahead(noise, ((max(m, z.q) + 1) * m if dense else 0) * w)
    return Scratch(start, u, d, rows, weights, moved, y, f, v, gain, r, noise, end)


@called
def row_at(lanes, z, dense, start):
    """What a row leaves, in memory that begins at a place; and the place after it."""
    w = width(lanes)
    n, k, m = z.n, z.k, z.m
    gains = ahead(start, m * n * w)
    inverse = ahead(gains, m * n * w)
    e = ahead(inverse, m * w)
    turn = ahead(e, m * k * w)
    return Row(start, turn, gains, inverse, e), ahead(turn, (m * m if dense else 0) * w)


@inner
def move(lanes, z, g, s, first, count, t):
    """The belief from row t - 1 to row t, before its data."""
    n = z.n
    a, q = ahead(g.a, row_of(g.a_rows, t) * n * n), ahead(g.q, row_of(g.q_rows, t) * n * z.r)
    predict(lanes, a, q, n, z.k, z.r, s.x, s.u, s.d, s.rows, s.weights, s.moved)
    add_bias(lanes, z, g, first, count, t, z.k, s.x)


@inner
def look(lanes, z, g, s, dense, turns, first, count, t, fresh, row, sums):
    """Absorbs row t; `fresh` says that C and R are not in their places yet.

    L^-1 of a dense R may stay away unless `turns`.
    """
    m, n = z.m, z.n
    read_row(lanes, z, g, first, count, t, s.y)
    factor = ahead(g.root, row_of(g.root_rows, t) * m * z.q)
    if fresh or dense or g.c_rows > 1 or g.root_rows > 1:
        c = ahead(g.c, row_of(g.c_rows, t) * m * n)
        emission(lanes, c, factor, m, n, z.q, row.c, s.r)
    if dense and g.cov_rows > 0:
        cov = ahead(g.cov, row_of(g.cov_rows, t) * m * m)
        whiten_by(lanes, cov, m, n, s.y, row.c, s.r, row.turn, s.noise, turns)
    elif dense:
        whiten(lanes, factor, z.q, m, n, s.y, row.c, s.r, row.turn, s.noise)
    observe(
        lanes, row.c, s.r, m, n, z.k, s.y, s.x, s.u, s.d, s.f, s.v, s.gain, row.gains, row.inverse,
        row.e, sums,
    )  # fmt: skip


@inner
def clear(lanes, sums):
    """Running sums of a likelihood, at their beginning."""
    w = width(lanes)
    for i in range(5 * w):
        sums[i] = 1.0 if w <= i < 2 * w else 0.0


@called
def finish(lanes, sums, p, first, count, k, value, bad):
    """The sums of a block as log-likelihoods."""
    w = width(lanes)
    for lane in range(count):
        log_s = np.log(sums[w + lane]) + sums[2 * w + lane] * np.log(2.0)
        squares = sums[lane] if k == 1 else 0.0
        value[p, first + lane] = -0.5 * (log_s + squares + sums[3 * w + lane] * LOG_2PI)
        bad[p, first + lane] = sums[4 * w + lane]
