"""One row of an extended Kalman filter whose model is activations of affine maps.

    a = A z + b_t at the filtered mean       z -> g(a)    A_t = diag(g'(a)) A
    c = C z + d_t at the predicted mean      y - f(c)     C_t = diag(f'(c)) C

All that follows is a row of the linear filter (`factor`). The mean is corrected by what the
innovation adds to it, so that no affine offset is formed and taken away again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from statespace.kernels.activations import activate
from statespace.kernels.compiling import called
from statespace.kernels.factor import (
    copy,
    emission,
    filled,
    observe,
    orthogonalise,
    whiten,
)
from statespace.kernels.given import add_rows_of, read_y, row_of
from statespace.kernels.lanes import load, splat, splat_at, store, width
from statespace.kernels.memory import ahead, number
from statespace.kernels.products import add_product, by_rows, set_zero
from statespace.kernels.strips import turn_triangle
from statespace.kernels.whitening import whiten_by

__all__ = [
    "Net",
    "foresee",
    "look_network",
    "move_network",
    "net_memory",
    "put_lanes",
    "read_at",
    "scale_columns",
    "scale_rows",
    "step_at",
]


class Net(NamedTuple):
    """Lane memory beside `Scratch`.

    Arguments of activations (n or m), their slopes (n) and (m), a correction of the mean (n), C_t
    and C_t P, (m, n) each, C_t P C_t' and R, (m, m) each.
    """

    at: Any
    moves: Any
    reads: Any
    step: Any
    c: Any
    spread: Any
    y: Any
    noise: Any
    end: Any


@called
def net_memory(lanes, z, start):
    """Cut from memory that begins at a place."""
    w = width(lanes)
    moves = ahead(start, max(z.n, z.m) * w)
    reads = ahead(moves, z.n * w)
    step = ahead(reads, z.m * w)
    c = ahead(step, z.n * w)
    spread = ahead(c, z.m * z.n * w)
    y = ahead(spread, z.m * z.n * w)
    noise = ahead(y, z.m * z.m * w)
    return Net(start, moves, reads, step, c, spread, y, noise, ahead(noise, z.m * z.m * w))


@called
def step_at(lanes, z, g, first, count, t, x, at):
    """A x + b_t."""
    n = z.n
    set_zero(lanes, at, n)
    add_product(lanes, ahead(g.a, row_of(g.a_rows, t) * n * n), n, 1, n, n, x, at)
    add_rows_of(lanes, g.b, g.b_rows, g.b_series > 1, n, first, count, t, 1, at)


@called
def read_at(lanes, z, g, first, count, t, x, at):
    """C x + d_t."""
    n, m = z.n, z.m
    set_zero(lanes, at, m)
    add_product(lanes, ahead(g.c, row_of(g.c_rows, t) * m * n), n, 1, m, n, x, at)
    add_rows_of(lanes, g.d, g.d_rows, g.d_series > 1, m, first, count, t, 1, at)


@called
def scale_rows(lanes, slopes, rows, columns, stride, out):
    """Every row of a matrix times its slope, in place."""
    w = width(lanes)
    for i in range(rows):
        by = load(lanes, slopes, i * w)
        for at in range(i * stride * w, (i * stride + columns) * w, w):
            store(lanes, out, at, load(lanes, out, at) * by)


@called
def scale_columns(lanes, slopes, n, out):
    """Every column of a matrix (n, n) times its slope, in place."""
    w = width(lanes)
    for i in range(n):
        for j in range(n):
            at = (i * n + j) * w
            store(lanes, out, at, load(lanes, out, at) * load(lanes, slopes, j * w))


@called
def move_network(lanes, z, g, code, s, net, first, count, t):
    """The belief from row t - 1 to row t, before its data; leaves the slopes of g.

    The root of Q is square, and the last i entries of its row i are zero.
    """
    w, n, r = width(lanes), z.n, z.r
    columns, one = z.n + z.r, filled(lanes, s.d, 1.0)
    a, q = ahead(g.a, row_of(g.a_rows, t) * n * n), ahead(g.q, row_of(g.q_rows, t) * n * r)
    step_at(lanes, z, g, first, count, t, s.x, net.at)
    activate(lanes, code, net.at, n, s.x, net.moves, net.moves, 1)
    turn_triangle(lanes, a, s.u, n, s.rows, columns)
    if code != 0:
        scale_rows(lanes, net.moves, n, n, columns, s.rows)
    for i in range(n):
        for j in range(r):
            store(lanes, s.rows, (i * columns + n + j) * w, splat_at(lanes, q, i * r + j))
    copy(lanes, s.d, s.weights, n)
    for j in range(n, columns):
        store(lanes, s.weights, j * w, one)
    fewer = 1 if w > 1 or n > 16 else 0  # in a single lane few columns are slower than many
    orthogonalise(lanes, s.rows, s.weights, n, columns, fewer, s.u, s.d, s.moved)


@called
def look_network(lanes, z, g, code, s, net, dense, turns, first, count, t, fresh, row, sums):
    """Absorbs row t; leaves the slopes of f, and in `net.step` what is added to the mean.

    `fresh`, `turns`: see `scratch.look`.
    """
    w, n, m = width(lanes), z.n, z.m
    c = ahead(g.c, row_of(g.c_rows, t) * m * n)
    factor = ahead(g.root, row_of(g.root_rows, t) * m * z.q)
    read_y(lanes, z, g, first, count, t, s.y)
    read_at(lanes, z, g, first, count, t, s.x, net.at)
    activate(lanes, code, net.at, m, net.at, net.reads, net.reads, 1)
    for i in range(m):
        store(lanes, s.y, i * w, load(lanes, s.y, i * w) - load(lanes, net.at, i * w))
    if fresh or dense or code != 0 or g.c_rows > 1 or g.root_rows > 1:
        emission(lanes, c, factor, m, n, z.q, row.c, s.r)
    if code != 0:
        scale_rows(lanes, net.reads, m, n, n, row.c)
    if dense and g.cov_rows > 0:
        cov = ahead(g.cov, row_of(g.cov_rows, t) * m * m)
        whiten_by(lanes, cov, m, n, s.y, row.c, s.r, row.turn, s.noise, turns)
    elif dense:
        whiten(lanes, factor, z.q, m, n, s.y, row.c, s.r, row.turn, s.noise)
    set_zero(lanes, net.step, n)
    observe(
        lanes, row.c, s.r, m, n, 1, s.y, net.step, s.u, s.d, s.f, s.v, s.gain, row.gains,
        row.inverse, row.e, sums,
    )  # fmt: skip
    for i in range(n):
        store(lanes, s.x, i * w, load(lanes, s.x, i * w) + load(lanes, net.step, i * w))


@called
def noise_at(lanes, z, g, t, out):
    """The lower triangle of R at row t, (m, m), of its root."""
    m, q = z.m, z.q
    factor = ahead(g.root, row_of(g.root_rows, t) * m * q)
    for i in range(m):
        for j in range(i + 1):
            value = number(factor, 0.0)
            for h in range(q):
                value += factor[i * q + h] * factor[j * q + h]
            store(lanes, out, (i * m + j) * width(lanes), splat(lanes, value))


@called
def foresee(lanes, z, g, code, s, net, cov, first, count, t, out):
    """Moments of y before it is seen, of a belief of covariance `cov`, into `out` (see `Rows`)."""
    w, n, m = width(lanes), z.n, z.m
    c = ahead(g.c, row_of(g.c_rows, t) * m * n)
    if t == 0 or g.root_rows > 1:
        noise_at(lanes, z, g, t, net.noise)
    read_at(lanes, z, g, first, count, t, s.x, net.at)
    activate(lanes, code, net.at, m, net.at, net.reads, net.reads, 1)
    for i in range(m * n):
        store(lanes, net.c, i * w, splat_at(lanes, c, i))
    scale_rows(lanes, net.reads, m, n, n, net.c)
    by_rows(lanes, net.c, m, cov, n, n, net.spread)
    put_lanes(lanes, net.at, m, count, ahead(out.y_mean, (first * z.t_max + t) * m), z.t_max * m)
    by_rows(lanes, net.spread, m, net.c, m, n, net.y)
    whole, far = ahead(out.y_cov, (first * z.t_max + t) * m * m), z.t_max * m * m
    for i in range(m):
        for j in range(i + 1):
            at = (i * m + j) * w
            value = load(lanes, net.y, at) + load(lanes, net.noise, at)
            store(lanes, net.y, at, value)
            store(lanes, net.y, (j * m + i) * w, value)
    put_lanes(lanes, net.y, m * m, count, whole, far)


@called
def put_lanes(lanes, source, entries, count, out, far):
    """Lane memory into rows of an array that lie `far` apart, one for each lane."""
    w, i = width(lanes), 0
    if w == 1:
        copy(lanes, source, out, entries)
        return
    while i < entries:  # eight at a time, while what is read is near
        stop = min(i + 8, entries)
        for lane in range(count):
            for j in range(i, stop):
                out[lane * far + j] = source[j * w + lane]
        i = stop
