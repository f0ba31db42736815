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
from statespace.kernels.lanes import load, splat_at, store, width
from statespace.kernels.memory import ahead
from statespace.kernels.products import add_product, set_zero
from statespace.kernels.strips import turn_triangle
from statespace.kernels.whitening import whiten_by

__all__ = [
    "Net",
    "look_network",
    "move_network",
    "net_memory",
    "read_at",
    "scale_columns",
    "scale_rows",
    "step_at",
]


class Net(NamedTuple):
    """Lane memory beside `Scratch`.

    Arguments of activations (n or m), their slopes (n) and (m), and a correction of the mean (n).
    """

    at: Any
    moves: Any
    reads: Any
    step: Any
    end: Any


@called
def net_memory(lanes, z, start):
    """Cut from memory that begins at a place."""
    w = width(lanes)
    moves = ahead(start, max(z.n, z.m) * w)
    reads = ahead(moves, z.n * w)
    step = ahead(reads, z.m * w)
    return Net(start, moves, reads, step, ahead(step, z.n * w))


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
    """The belief from row t - 1 to row t, before its data; leaves the slopes of g."""
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
    orthogonalise(lanes, s.rows, s.weights, n, columns, s.u, s.d, s.moved)


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
