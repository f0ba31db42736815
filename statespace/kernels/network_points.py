"""One row of a sigma-point filter whose model is activations of affine maps.

    z_k = z + U D^1/2 xi_k,   a_k = (A z + b) + (A U D^1/2) xi_k,   mean = sum_k w_k g(a_k)

Deviations from the mean stand side by side with a root of Q, weighted: their Gram-Schmidt is U and
D of the covariance. An emission that is not affine is triangularised together with the state,

    [z_k - z,  0]      [U_z  K]
    [f_k - y,  R^1/2]  [0    U_y],   e = U_y^-1 (y - mean),   z + K e,   U_z D_z U_z'

entries of y below those of z, so that nothing is subtracted there either. States are handed over in
reversed order, which makes of U the lower triangular root that the points are defined by.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from statespace.kernels.activations import activate
from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import copy, count_entry, filled, orthogonalise, pk
from statespace.kernels.given import read_y, row_of
from statespace.kernels.lanes import (
    load,
    positive,
    root,
    splat,
    splat_at,
    store,
    unless_nan,
    widen,
    width,
)
from statespace.kernels.memory import ahead, number, plain, span
from statespace.kernels.network_rows import read_at, step_at
from statespace.kernels.products import set_zero

__all__ = ["look_points", "move_points", "points_memory", "points_of"]


class _Points(NamedTuple):
    """Places of `tables.Points`, and how many points there are."""

    starts: Any
    which: Any
    xi: Any
    mean: Any
    cov: Any
    count: Any


class _Memory(NamedTuple):
    """Lane memory."""

    at: Any  # arguments at the mean, n or m
    own: Any  # U D^1/2, (n, n)
    turned: Any  # a table times it, (n or m, n)
    rows: Any  # deviations and a root of noise, (n + m, columns)
    weights: Any  # (columns)
    scratch: Any  # (columns)
    u: Any  # of z and y, packed
    d: Any  # (n + m)
    mean: Any  # of y, (m)
    end: Any


@called
def points_of(points):
    """Their places."""
    return _Points(
        span(points.starts, 0), span(points.which, 0), span(points.xi, 0), span(points.mean, 0),
        span(points.cov, 0), points.mean.size,
    )  # fmt: skip


@called
def points_memory(lanes, z, count, start):
    """Cut from memory that begins at a place, for so many points."""
    w, n, m = width(lanes), z.n, z.m
    most, columns, both = max(n, m) * w, (count + max(z.r, z.q)) * w, n + m
    own = ahead(start, most)
    turned = ahead(own, n * n * w)
    rows = ahead(turned, most * n)
    weights = ahead(rows, both * columns)
    scratch = ahead(weights, columns)
    u = ahead(scratch, columns)
    d = ahead(u, pk(both, 0) * w)
    mean = ahead(d, both * w)
    return _Memory(start, own, turned, rows, weights, scratch, u, d, mean, ahead(mean, m * w))


@called
def scale_root(lanes, n, u, d, out):
    """U D^1/2, (n, n)."""
    w = width(lanes)
    zero = filled(lanes, d, 0.0)
    for b in range(n):
        size = root(load(lanes, d, b * w))
        for a in range(n):
            value = zero
            if a == b:
                value = size
            elif a < b:
                value = load(lanes, u, pk(b, a) * w) * size
            store(lanes, out, (a * n + b) * w, value)


@called
def table_root(lanes, table, rows, n, own, out):
    """Out (rows, n) = M U, of a table M and an upper triangular matrix; four rows at a time."""
    w = width(lanes)
    zero = filled(lanes, own, 0.0)
    i = 0
    while i + 4 <= rows:
        for b in range(n):
            p, q, r, s = zero, zero, zero, zero
            for h in range(b + 1):
                x, at = load(lanes, own, (h * n + b) * w), i * n + h
                p = p + splat_at(lanes, table, at) * x
                q = q + splat_at(lanes, table, at + n) * x
                r = r + splat_at(lanes, table, at + 2 * n) * x
                s = s + splat_at(lanes, table, at + 3 * n) * x
            o = (i * n + b) * w
            store(lanes, out, o, p)
            store(lanes, out, o + n * w, q)
            store(lanes, out, o + 2 * n * w, r)
            store(lanes, out, o + 3 * n * w, s)
        i += 4
    while i < rows:
        for b in range(n):
            p = zero
            for h in range(b + 1):
                p = p + splat_at(lanes, table, i * n + h) * load(lanes, own, (h * n + b) * w)
            store(lanes, out, (i * n + b) * w, p)
        i += 1


@called
def put_points(lanes, at, spread, rows, n, points, out, columns):
    """Out (rows, columns): in column k, at + spread xi_k."""
    w = width(lanes)
    for i in range(rows):
        own = load(lanes, at, i * w)
        for k in range(points.count):
            value = own
            for j in range(points.starts[k], points.starts[k + 1]):
                part = load(lanes, spread, (i * n + points.which[j]) * w)
                value = value + part * splat_at(lanes, points.xi, j)
            store(lanes, out, (i * columns + k) * w, value)


@called
def centre(lanes, code, rows, points, out, columns, mean):
    """An activation of the points; their mean, and in their place what lies apart from it."""
    w = width(lanes)
    for i in range(rows):
        row = ahead(out, i * columns * w)
        activate(lanes, code, row, points.count, row, row, row, 0)
        value = filled(lanes, mean, 0.0)
        for k in range(points.count):
            value = value + load(lanes, row, k * w) * splat_at(lanes, points.mean, k)
        store(lanes, mean, i * w, value)
        for k in range(points.count):
            store(lanes, row, k * w, load(lanes, row, k * w) - value)


@inner
def put_weights(lanes, points, more, out):
    """Those of points in covariances, and ones for the columns of a root."""
    w = width(lanes)
    for k in range(points.count):
        store(lanes, out, k * w, splat_at(lanes, points.cov, k))
    for k in range(points.count, points.count + more):
        store(lanes, out, k * w, filled(lanes, out, 1.0))


@called
def move_points(lanes, z, g, code, s, p, points, first, count, t):
    """The belief from row t - 1 to row t, before its data."""
    w, n, r = width(lanes), z.n, z.r
    columns = points.count + r
    a, q = ahead(g.a, row_of(g.a_rows, t) * n * n), ahead(g.q, row_of(g.q_rows, t) * n * r)
    step_at(lanes, z, g, first, count, t, s.x, p.at)
    scale_root(lanes, n, s.u, s.d, p.own)
    table_root(lanes, a, n, n, p.own, p.turned)
    put_points(lanes, p.at, p.turned, n, n, points, p.rows, columns)
    centre(lanes, code, n, points, p.rows, columns, s.x)
    for i in range(n):
        for j in range(r):
            at = (i * columns + points.count + j) * w
            store(lanes, p.rows, at, splat_at(lanes, q, i * r + j))
    put_weights(lanes, points, r, p.weights)
    orthogonalise(lanes, p.rows, p.weights, n, columns, plain(1), s.u, s.d, p.scratch)


@called
def put_y(lanes, z, points, apart, columns, factor, p, first, count, t, out):
    """The moments of y as its points have them, into a row of (series, T, ...)."""
    m, place = z.m, first * z.t_max + t
    own, whole = ahead(out.y_mean, place * m), ahead(out.y_cov, place * m * m)
    for lane in range(count):
        for i in range(m):
            own[lane * z.t_max * m + i] = p.mean[i * width(lanes) + lane]
    for i in range(m):
        for j in range(i + 1):
            noise = number(factor, 0.0)
            for h in range(z.q):
                noise += factor[i * z.q + h] * factor[j * z.q + h]
            value, w = splat(lanes, noise), width(lanes)
            for k in range(points.count):
                left, right = load(lanes, apart, (i * columns + k) * w), (j * columns + k) * w
                value = value + left * load(lanes, apart, right) * splat_at(lanes, points.cov, k)
            store(lanes, p.at, 0, value)
            for lane in range(count):
                at = lane * z.t_max * m * m
                whole[at + i * m + j] = p.at[lane]
                whole[at + j * m + i] = p.at[lane]


@called
def look_points(lanes, z, g, code, s, p, points, first, count, t, out, sums):
    """Absorbs row t, seen through an activation; the moments of y before it, where wanted."""
    w, n, m, q = width(lanes), z.n, z.m, z.q
    columns = points.count + q
    zero = filled(lanes, s.d, 0.0)
    c = ahead(g.c, row_of(g.c_rows, t) * m * n)
    factor = ahead(g.root, row_of(g.root_rows, t) * m * q)
    below = ahead(p.rows, n * columns * w)
    scale_root(lanes, n, s.u, s.d, p.own)
    table_root(lanes, c, m, n, p.own, p.turned)
    set_zero(lanes, p.rows, n * columns)
    set_zero(lanes, p.at, n)
    put_points(lanes, p.at, p.own, n, n, points, p.rows, columns)
    read_at(lanes, z, g, first, count, t, s.x, p.at)
    put_points(lanes, p.at, p.turned, m, n, points, below, columns)
    centre(lanes, code, m, points, below, columns, p.mean)
    if out.seen:
        put_y(lanes, z, points, below, columns, factor, p, first, count, t, out)
    read_y(lanes, z, g, first, count, t, s.y)
    for i in range(m):
        seen = load(lanes, s.y, i * w)
        for k in range(points.count):
            at = (i * columns + k) * w
            store(lanes, below, at, unless_nan(seen, load(lanes, below, at), zero))
        for j in range(q):
            at = (i * columns + points.count + j) * w
            value = unless_nan(seen, splat_at(lanes, factor, i * q + j), zero)
            store(lanes, below, at, value)
    put_weights(lanes, points, q, p.weights)
    orthogonalise(lanes, p.rows, p.weights, n + m, columns, plain(0), p.u, p.d, p.scratch)
    absorb(lanes, n, m, s, p, sums)


@called
def absorb(lanes, n, m, s, p, sums):
    """The mean given what was seen, from the joint factor; that of z is the belief's."""
    w = width(lanes)
    zero, one = filled(lanes, s.d, 0.0), filled(lanes, s.d, 1.0)
    squares = splat(lanes, 0.0)
    for back in range(m):
        i = m - 1 - back
        seen, size = load(lanes, s.y, i * w), load(lanes, p.d, (n + i) * w)
        own = seen - load(lanes, p.mean, i * w)
        for j in range(i + 1, m):  # the residuals after it stand in the place of y's mean
            tie = load(lanes, p.u, pk(n + j, n + i) * w)
            own = own - tie * load(lanes, p.mean, j * w)
        own = unless_nan(seen, own, zero)
        store(lanes, p.mean, i * w, own)
        over = unless_nan(seen, positive(size, one / size, zero), zero)
        squares = squares + widen(own * (own * over))
        count_entry(lanes, seen, size, positive(size, one, zero), sums)
        for a in range(n):
            gain = load(lanes, p.u, pk(n + i, a) * w)
            store(lanes, s.x, a * w, load(lanes, s.x, a * w) + gain * own)
    store(lanes, sums, 0, load(lanes, sums, 0) + squares)
    copy(lanes, p.u, s.u, pk(n, 0))
    copy(lanes, p.d, s.d, n)
