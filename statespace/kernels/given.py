"""What a kernel reads, as places and sizes, and reading a row of it into lanes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import orthogonalise
from statespace.kernels.lanes import gather, load, splat_at, store, width
from statespace.kernels.memory import ahead, set_of

__all__ = [
    "Given",
    "Sizes",
    "add_bias",
    "add_rows_of",
    "begin",
    "given_of",
    "read_row",
    "read_y",
    "row_of",
    "sizes_of",
]


class Sizes(NamedTuple):
    """Sizes of a problem: k columns of the mean, r of a root of Q, q of a root of R."""

    series: Any
    t_max: Any
    m: Any
    n: Any
    k: Any
    r: Any
    q: Any


class Given(NamedTuple):
    """One set of parameters and its data, in the places of `Model` and `Data`.

    Where something differs in time or between series there are that many rows or series of it;
    otherwise one.
    """

    a: Any
    a_rows: Any
    b: Any
    b_rows: Any
    b_series: Any
    q: Any
    q_rows: Any
    c: Any
    c_rows: Any
    d: Any
    d_rows: Any
    d_series: Any
    root: Any
    root_rows: Any
    cov: Any
    cov_rows: Any
    x: Any
    x_series: Any
    s: Any
    s_series: Any
    y: Any
    seen: Any
    all_seen: Any


@called
def sizes_of(model, data):
    """Of the arrays of a model and of data."""
    series, t_max, m = data.y.shape[1], data.y.shape[2], data.y.shape[3]
    n, k = model.x.shape[2], model.x.shape[3]
    return Sizes(series, t_max, m, n, k, model.q.shape[3], model.r.shape[3])


@called
def given_of(model, data, p):
    """Set p of them."""
    return Given(
        set_of(model.a, p), model.a.shape[1],
        set_of(model.b, p), model.b.shape[2], model.b.shape[1],
        set_of(model.q, p), model.q.shape[1],
        set_of(model.c, p), model.c.shape[1],
        set_of(model.d, p), model.d.shape[2], model.d.shape[1],
        set_of(model.r, p), model.r.shape[1],
        set_of(model.cov, p), model.cov.shape[1],
        set_of(model.x, p), model.x.shape[1],
        set_of(model.s, p), model.s.shape[1],
        set_of(data.y, p), set_of(data.seen, p), data.seen.size == 0,
    )  # fmt: skip


@inner
def row_of(length, t):
    """Index t along an axis that may have length 1."""
    return t if length > 1 else 0


@inner
def read_row(lanes, z, g, first, count, t, y):
    """y_t - d_t of a block of series into lane memory, NaN where not observed or no series."""
    w = width(lanes)
    m = z.m
    read_y(lanes, z, g, first, count, t, y)
    shift = ahead(g.d, row_of(g.d_rows, t) * m)
    if g.d_series > 1:
        for lane in range(count):
            for i in range(m):
                y[i * w + lane] -= shift[(first + lane) * g.d_rows * m + i]
    else:
        for i in range(m):
            store(lanes, y, i * w, load(lanes, y, i * w) - splat_at(lanes, shift, i))


@inner
def read_y(lanes, z, g, first, count, t, y):
    """y_t itself, likewise."""
    w = width(lanes)
    m = z.m
    step = z.t_max * m
    place = first * step + t * m
    if count == w:
        for i in range(m):
            store(lanes, y, i * w, gather(lanes, g.y, place + i, step))
    else:
        for lane in range(count):
            for i in range(m):
                y[i * w + lane] = g.y[place + lane * step + i]
        for lane in range(count, w):
            for i in range(m):
                y[i * w + lane] = np.nan
    if not g.all_seen:
        for lane in range(count):
            for i in range(m):
                if g.seen[place + lane * step + i] == 0:
                    y[i * w + lane] = np.nan


@inner
def add_rows_of(lanes, shift, rows, each, size, first, count, t, k, x):
    """Adds row t of a table (series, rows, size), of one series unless `each`, to column 0 of x."""
    w = width(lanes)
    own = ahead(shift, row_of(rows, t) * size)
    if each:
        for lane in range(count):
            for a in range(size):
                x[a * k * w + lane] += own[(first + lane) * rows * size + a]
    else:
        for a in range(size):
            at = a * k * w
            store(lanes, x, at, load(lanes, x, at) + splat_at(lanes, own, a))


@inner
def add_bias(lanes, z, g, first, count, t, k, x):
    """Adds b_t to the mean, the first of k columns."""
    add_rows_of(lanes, g.b, g.b_rows, g.b_series > 1, z.n, first, count, t, k, x)


@called
def begin(lanes, z, g, first, count, s):
    """The start of a block of series, into the scratch memory s."""
    w = width(lanes)
    n, k = z.n, z.k
    for lane in range(w):
        series = first + min(lane, count - 1)
        x, root = row_of(g.x_series, series) * n * k, row_of(g.s_series, series) * n * n
        for i in range(n * k):
            s.x[i * w + lane] = g.x[x + i]
        for i in range(n * n):
            s.rows[i * w + lane] = g.s[root + i]
        for j in range(n):
            s.weights[j * w + lane] = 1.0
    orthogonalise(lanes, s.rows, s.weights, n, n, 0, s.u, s.d, s.moved)
