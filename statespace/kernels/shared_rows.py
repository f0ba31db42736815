"""One row of complete data, all lanes at once, with gains that every series shares.

Entries of y are absorbed one after the other, as in `factor.observe`, four at a time: with c_i the
rows of C and k_h the gains over their variances, residuals of a block are

    e_i = y_i - c_i' x - sum over earlier h of the block (c_i' k_h) e_h

and the products c_i' k_h, which do not hang on the data, stand in the table `ties`. Going back,

    u_i = e_i / s_i - k_i' r - sum over later h of the block (c_h' k_i) u_h,    r <- r + sum c_i u_i

Lane memory: x, r (n), y, e, u (m).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import copy
from statespace.kernels.given import row_of
from statespace.kernels.lanes import gather, load, splat_at, store, widen, width
from statespace.kernels.memory import ahead, set_of
from statespace.kernels.products import add_product, set_zero

__all__ = [
    "Gains",
    "absorb_mean",
    "absorb_mean_back",
    "gains_at",
    "gains_of",
    "move_mean",
    "read_complete",
]


class Gains(NamedTuple):
    """Places in what `settle` left for one set of parameters; see `Shared`."""

    c: Any
    c_rows: Any
    turn: Any
    turn_rows: Any  # 0 where R is not dense
    gains: Any
    inverse: Any
    ties: Any
    pf: Any
    last: Any  # the last row that was kept


@called
def gains_of(shared, rows, p):
    """Set p, from its first row on."""
    return Gains(
        set_of(shared.c, p), shared.c.shape[1], set_of(shared.turn, p), shared.turn.shape[1],
        set_of(shared.gains, p), set_of(shared.inverse, p), set_of(shared.ties, p),
        set_of(shared.pf, p), rows[p] - 1,
    )  # fmt: skip


@inner
def gains_at(z, own, t):
    """Row t of them."""
    row, m, n = min(t, own.last), z.m, z.n
    tc = row_of(own.c_rows, t)
    return Gains(
        ahead(own.c, tc * m * n), own.c_rows, ahead(own.turn, row_of(own.turn_rows, t) * m * m),
        own.turn_rows, ahead(own.gains, row * m * n), ahead(own.inverse, row * m),
        ahead(own.ties, row * m * 3), ahead(own.pf, row * n * n), own.last,
    )  # fmt: skip


@inner
def read_complete(lanes, z, g, first, count, t, y):
    """y_t - d_t of a block of series; lanes without a series repeat the last one."""
    w, m = width(lanes), z.m
    step = z.t_max * m
    place = first * step + t * m
    if count == w:
        for i in range(m):
            store(lanes, y, i * w, gather(lanes, g.y, place + i, step))
    else:
        for lane in range(w):
            own = place + min(lane, count - 1) * step
            for i in range(m):
                y[i * w + lane] = g.y[own + i]
    shift = ahead(g.d, row_of(g.d_rows, t) * m)
    if g.d_series > 1:
        for lane in range(count):
            for i in range(m):
                y[i * w + lane] -= shift[(first + lane) * g.d_rows * m + i]
    else:
        for i in range(m):
            store(lanes, y, i * w, load(lanes, y, i * w) - splat_at(lanes, shift, i))


@inner
def move_mean(lanes, a, n, x, moved):
    """X <- A x."""
    copy(lanes, x, moved, n)
    set_zero(lanes, x, n)
    add_product(lanes, a, n, 1, n, n, moved, x)


@inner
def absorb_mean(lanes, row, m, n, y, x, e, squares):
    """X after a whitened row y (m); leaves residuals; adds their squares."""
    w, c, gains, ties, inverse = width(lanes), row.c, row.gains, row.ties, row.inverse
    total, i = load(lanes, squares, 0), 0
    while i + 4 <= m:
        p, q = load(lanes, y, i * w), load(lanes, y, (i + 1) * w)
        r, s = load(lanes, y, (i + 2) * w), load(lanes, y, (i + 3) * w)
        place = i * n
        for a in range(n):
            own = load(lanes, x, a * w)
            p = p - splat_at(lanes, c, place) * own
            q = q - splat_at(lanes, c, place + n) * own
            r = r - splat_at(lanes, c, place + 2 * n) * own
            s = s - splat_at(lanes, c, place + 3 * n) * own
            place += 1
        tie = 3 * i
        q = q - splat_at(lanes, ties, tie + 3) * p
        r = r - splat_at(lanes, ties, tie + 6) * p - splat_at(lanes, ties, tie + 7) * q
        s = s - splat_at(lanes, ties, tie + 9) * p - splat_at(lanes, ties, tie + 10) * q
        s = s - splat_at(lanes, ties, tie + 11) * r
        place = i * n
        for a in range(n):
            own = load(lanes, x, a * w) + splat_at(lanes, gains, place) * p
            own = own + splat_at(lanes, gains, place + n) * q
            own = own + splat_at(lanes, gains, place + 2 * n) * r
            store(lanes, x, a * w, own + splat_at(lanes, gains, place + 3 * n) * s)
            place += 1
        store(lanes, e, i * w, p)
        store(lanes, e, (i + 1) * w, q)
        store(lanes, e, (i + 2) * w, r)
        store(lanes, e, (i + 3) * w, s)
        total = total + widen(p * (p * splat_at(lanes, inverse, i)))
        total = total + widen(q * (q * splat_at(lanes, inverse, i + 1)))
        total = total + widen(r * (r * splat_at(lanes, inverse, i + 2)))
        total = total + widen(s * (s * splat_at(lanes, inverse, i + 3)))
        i += 4
    while i < m:
        p, place = load(lanes, y, i * w), i * n
        for a in range(n):
            p = p - splat_at(lanes, c, place + a) * load(lanes, x, a * w)
        for a in range(n):
            own = load(lanes, x, a * w) + splat_at(lanes, gains, place + a) * p
            store(lanes, x, a * w, own)
        store(lanes, e, i * w, p)
        total = total + widen(p * (p * splat_at(lanes, inverse, i)))
        i += 1
    store(lanes, squares, 0, total)


@inner
def absorb_mean_back(lanes, row, m, n, e, r):
    """Takes r back over a row; u takes the place of e."""
    w, c, gains, ties, inverse = width(lanes), row.c, row.gains, row.ties, row.inverse
    i = m
    while i % 4:
        i -= 1
        p, place = load(lanes, e, i * w) * splat_at(lanes, inverse, i), i * n
        for a in range(n):
            p = p - splat_at(lanes, gains, place + a) * load(lanes, r, a * w)
        for a in range(n):
            own = load(lanes, r, a * w) + splat_at(lanes, c, place + a) * p
            store(lanes, r, a * w, own)
        store(lanes, e, i * w, p)
    while i > 0:
        i -= 4
        o = i * w
        p = load(lanes, e, o) * splat_at(lanes, inverse, i)
        q = load(lanes, e, o + w) * splat_at(lanes, inverse, i + 1)
        v = load(lanes, e, o + 2 * w) * splat_at(lanes, inverse, i + 2)
        s = load(lanes, e, o + 3 * w) * splat_at(lanes, inverse, i + 3)
        place = i * n
        for a in range(n):
            own = load(lanes, r, a * w)
            p = p - splat_at(lanes, gains, place) * own
            q = q - splat_at(lanes, gains, place + n) * own
            v = v - splat_at(lanes, gains, place + 2 * n) * own
            s = s - splat_at(lanes, gains, place + 3 * n) * own
            place += 1
        tie = 3 * i
        v = v - splat_at(lanes, ties, tie + 11) * s
        q = q - splat_at(lanes, ties, tie + 10) * s - splat_at(lanes, ties, tie + 7) * v
        p = p - splat_at(lanes, ties, tie + 9) * s - splat_at(lanes, ties, tie + 6) * v
        p = p - splat_at(lanes, ties, tie + 3) * q
        place = i * n
        for a in range(n):
            own = load(lanes, r, a * w) + splat_at(lanes, c, place) * p
            own = own + splat_at(lanes, c, place + n) * q
            own = own + splat_at(lanes, c, place + 2 * n) * v
            store(lanes, r, a * w, own + splat_at(lanes, c, place + 3 * n) * s)
            place += 1
        store(lanes, e, o, p)
        store(lanes, e, o + w, q)
        store(lanes, e, o + 2 * w, v)
        store(lanes, e, o + 3 * w, s)
