"""The adjoint of one row of the extended Kalman filter of activations of affine maps.

r and M are the gradient of the log-likelihood of a row and all after it in the mean and the
covariance of a belief. Over what was seen, with the gain K, eps = S^-1 (y - f(c)) and H = C_t,

    u = eps - K' r                      Sbar = (u eps' + eps u' - eps eps' - S^-1) / 2 + K' M K
    X = eps r' - 2 K' M + 2 Sbar H      Hbar = X P                        R: Sbar
    M <- M + sym(Y' H), Y = (X + eps r' - 2 K' M) / 2
    cbar = f' u + f'' sum_j Hbar_j C_j  C: diag(f') Hbar + cbar z'         r <- r + C' cbar

and over a step, with A_t = diag(g') A, from the covariance F before it,

    X = M A_t F                         abar = g' r + 2 g'' sum_j X_j A_j  Q: M
    A: 2 diag(g') X + abar z'           r <- A' abar                       M <- A_t' M A_t

The terms in f'' and g'' are the places of linearisation, which the means move; without them this is
`backward`, with M = (r r' - N) / 2. Derived in docs/nonlinear-numerics.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from statespace.kernels.activations import activate
from statespace.kernels.compiling import called
from statespace.kernels.factor import copy, filled, pk, spread_out
from statespace.kernels.given import row_of
from statespace.kernels.lanes import load, splat_at, store, width
from statespace.kernels.memory import ahead
from statespace.kernels.network_rows import (
    read_at,
    scale_columns,
    scale_rows,
    step_at,
)
from statespace.kernels.products import (
    add_outer,
    add_pair,
    add_product,
    by_rows,
    by_table,
    set_zero,
    table_square,
)

__all__ = ["Adjoint", "adjoint_memory", "look_back", "step_back"]


class Adjoint(NamedTuple):
    """Lane memory; sums over rows, da .. dd, stand together."""

    r: Any  # (n)
    big: Any  # M, (n, n)
    cov: Any  # (n, n)
    one: Any  # (n, n) or (m, n)
    two: Any  # likewise
    kt: Any  # K', (m, n)
    nk: Any  # K' M, (m, n)
    h: Any  # (m, n)
    z: Any  # (m, m)
    s: Any  # (m, m)
    eps: Any  # (m)
    u: Any  # (m)
    at: Any  # n or m of each of these
    slope: Any
    curve: Any
    da: Any
    dq: Any
    dc: Any
    dr: Any
    db: Any
    dd: Any
    end: Any


@called
def adjoint_memory(lanes, z, start):
    """Cut from memory that begins at a place."""
    w, n, m = width(lanes), z.n, z.m
    nn, mn, mm, most = n * n * w, m * n * w, m * m * w, max(n, m) * w
    big = ahead(start, n * w)
    cov = ahead(big, nn)
    one = ahead(cov, nn)
    two = ahead(one, most * n)
    kt = ahead(two, most * n)
    nk = ahead(kt, mn)
    h = ahead(nk, mn)
    zs = ahead(h, mn)
    s = ahead(zs, mm)
    eps = ahead(s, mm)
    u = ahead(eps, m * w)
    at = ahead(u, m * w)
    slope = ahead(at, most)
    curve = ahead(slope, most)
    da = ahead(curve, most)
    dq = ahead(da, nn)
    dc = ahead(dq, pk(n, 0) * w)
    dr = ahead(dc, mn)
    db = ahead(dr, pk(m, 0) * w)
    dd = ahead(db, n * w)
    return Adjoint(
        start, big, cov, one, two, kt, nk, h, zs, s, eps, u, at, slope, curve, da, dq, dc, dr, db,
        dd, ahead(dd, m * w),
    )  # fmt: skip


@called
def unwhiten(lanes, row, dense, m, n, back):
    """K' and eps of what was absorbed entry by entry, and Z with S^-1 = Z' diag(1 / s) Z."""
    w, z = width(lanes), back.z
    zero, one = filled(lanes, back.r, 0.0), filled(lanes, back.r, 1.0)
    set_zero(lanes, back.kt, m * n)
    set_zero(lanes, back.eps, m)
    for i in range(m):
        for a in range(m):
            own = one if i == a else zero
            if dense:
                own = load(lanes, row.turn, (i * m + a) * w)
            store(lanes, z, (i * m + a) * w, own)
        for j in range(i):
            dot = zero
            for h in range(n):
                gain = load(lanes, row.gains, (j * n + h) * w)
                dot = dot + load(lanes, row.c, (i * n + h) * w) * gain
            for a in range(j + 1):
                at = (i * m + a) * w
                less = dot * load(lanes, z, (j * m + a) * w)
                store(lanes, z, at, load(lanes, z, at) - less)
        over = load(lanes, row.e, i * w) * load(lanes, row.inverse, i * w)
        for a in range(i + 1):
            by = load(lanes, z, (i * m + a) * w)
            store(lanes, back.eps, a * w, load(lanes, back.eps, a * w) + by * over)
            for h in range(n):
                at, gain = (a * n + h) * w, load(lanes, row.gains, (i * n + h) * w)
                store(lanes, back.kt, at, load(lanes, back.kt, at) + by * gain)


@called
def noise_back(lanes, row, m, n, back):
    """Sbar, (m, m), and twice it into the sums for R."""
    w = width(lanes)
    half = filled(lanes, back.r, 0.5)
    for a in range(m):
        ea, ua = load(lanes, back.eps, a * w), load(lanes, back.u, a * w)
        for b in range(a + 1):
            eb, ub = load(lanes, back.eps, b * w), load(lanes, back.u, b * w)
            value = ua * eb + ea * (ub - eb)
            for i in range(a, m):
                scaled = load(lanes, back.z, (i * m + a) * w) * load(lanes, row.inverse, i * w)
                value = value - scaled * load(lanes, back.z, (i * m + b) * w)
            value = half * value
            for h in range(n):
                own = load(lanes, back.nk, (a * n + h) * w)
                value = value + own * load(lanes, back.kt, (b * n + h) * w)
            store(lanes, back.s, (a * m + b) * w, value)
            store(lanes, back.s, (b * m + a) * w, value)
            at = pk(a, b) * w
            store(lanes, back.dr, at, load(lanes, back.dr, at) + (value + value))


@called
def outer_less(lanes, m, n, back, out):
    """Out = eps r' - 2 K' M."""
    w = width(lanes)
    for a in range(m):
        own = load(lanes, back.eps, a * w)
        for h in range(n):
            at = (a * n + h) * w
            nk = load(lanes, back.nk, at)
            store(lanes, out, at, own * load(lanes, back.r, h * w) - (nk + nk))


@called
def place_back(lanes, slope, curve, rows, bars, table, n, own, point, sums):
    """From the gradient in the values of an activation to that in its arguments, in `bars` (rows).

    `own` (rows, n) is the gradient in diag(slope) times the table, `point` (n) where that was
    linearised. Adds the gradient in the table to `sums`.
    """
    w = width(lanes)
    for i in range(rows):
        bend, by = filled(lanes, sums, 0.0), load(lanes, slope, i * w)
        for j in range(n):
            bend = bend + load(lanes, own, (i * n + j) * w) * splat_at(lanes, table, i * n + j)
        bar = load(lanes, bars, i * w) * by + load(lanes, curve, i * w) * bend
        store(lanes, bars, i * w, bar)
        for j in range(n):
            at = (i * n + j) * w
            value = load(lanes, own, at) * by + bar * load(lanes, point, j * w)
            store(lanes, sums, at, load(lanes, sums, at) + value)


@called
def look_back(lanes, z, g, code, dense, first, count, t, belief, row, back):
    """Takes r and M back over row t, from the belief before it; leaves cbar in `back.u`."""
    w, n, m = width(lanes), z.n, z.m
    x, u = belief, ahead(belief, n * w)
    c = ahead(g.c, row_of(g.c_rows, t) * m * n)
    read_at(lanes, z, g, first, count, t, x, back.at)
    activate(lanes, code, back.at, m, back.at, back.slope, back.curve, 2)
    for i in range(m * n):
        store(lanes, back.h, i * w, splat_at(lanes, c, i))
    scale_rows(lanes, back.slope, m, n, n, back.h)
    spread_out(lanes, n, u, ahead(u, pk(n, 0) * w), back.cov)
    unwhiten(lanes, row, dense, m, n, back)
    for a in range(m):
        value = load(lanes, back.eps, a * w)
        for h in range(n):
            gain = load(lanes, back.kt, (a * n + h) * w)
            value = value - gain * load(lanes, back.r, h * w)
        store(lanes, back.u, a * w, value)
    by_rows(lanes, back.kt, m, back.big, n, n, back.nk)
    noise_back(lanes, row, m, n, back)
    outer_less(lanes, m, n, back, back.two)
    copy(lanes, back.two, back.one, m * n)
    add_outer(lanes, back.s, m, back.h, n, m, back.one)
    for at in range(0, m * n * w, w):
        y = load(lanes, back.one, at)
        store(lanes, back.two, at, (y + y) - load(lanes, back.two, at))
    by_rows(lanes, back.two, m, back.cov, n, n, back.nk)
    add_pair(lanes, back.one, back.h, m, n, back.big)
    place_back(lanes, back.slope, back.curve, m, back.u, c, n, back.nk, x, back.dc)
    add_product(lanes, c, 1, n, n, m, back.u, back.r)


@called
def step_back(lanes, z, g, code, first, count, t, belief, back):
    """Takes r and M back over the step into row t, from the belief before; leaves abar in `at`."""
    w, n = width(lanes), z.n
    x, u = belief, ahead(belief, n * w)
    a = ahead(g.a, row_of(g.a_rows, t) * n * n)
    step_at(lanes, z, g, first, count, t, x, back.at)
    activate(lanes, code, back.at, n, back.at, back.slope, back.curve, 2)
    spread_out(lanes, n, u, ahead(u, pk(n, 0) * w), back.cov)
    for i in range(n):
        for j in range(i + 1):
            own, at = load(lanes, back.big, (i * n + j) * w), pk(i, j) * w
            store(lanes, back.dq, at, load(lanes, back.dq, at) + (own + own))
    scale_columns(lanes, back.slope, n, back.big)
    by_table(lanes, back.big, n, a, n, back.one)
    by_rows(lanes, back.one, n, back.cov, n, n, back.two)
    for at in range(0, n * n * w, w):
        own = load(lanes, back.two, at)
        store(lanes, back.two, at, own + own)
    scale_rows(lanes, back.slope, n, n, n, back.one)
    table_square(lanes, a, n, back.one, back.big)
    copy(lanes, back.r, back.at, n)
    place_back(lanes, back.slope, back.curve, n, back.at, a, n, back.two, x, back.da)
    set_zero(lanes, back.r, n)
    add_product(lanes, a, 1, n, n, n, back.at, back.r)
