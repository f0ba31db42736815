"""Lane memory of a way back, and what is wanted of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import pk
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, set_of
from statespace.kernels.scratch import Row

__all__ = ["Back", "Held", "Out", "Wants", "back_memory", "held_memory", "out_of", "slot_of"]


class Held(NamedTuple):
    """Lane memory of the rows of one segment, and the beliefs before each segment.

    C, and L^-1 in `turn`, are kept row by row only where R is dense.
    """

    gains: Any
    inverse: Any
    e: Any
    pf: Any
    xf: Any
    c: Any
    turn: Any
    marks: Any
    end: Any


class Back(NamedTuple):
    """Lane memory of the backward recursion; see `backward` for shapes. Sums stand together."""

    r: Any
    big: Any
    moved: Any
    x: Any
    product: Any
    by_a: Any
    p: Any
    nk: Any
    u: Any
    cov: Any
    cross: Any
    z: Any
    on: Any
    da: Any
    dq: Any
    dc: Any
    dr: Any
    db: Any
    dd: Any
    read: Any
    move: Any
    end: Any


class Wants(NamedTuple):
    """What is wanted of a way back."""

    learn: Any
    spread: Any
    crossed: Any
    gathers: Any
    dense: Any


class Out(NamedTuple):
    """Where the moments of a set go, and Q for the lag-one covariances; see `Smooth`, `Second`."""

    mean: Any
    means: Any  # whether they are wanted
    cov: Any
    covs: Any
    cross: Any
    noise: Any
    noise_rows: Any
    lengths: Any
    has_lengths: Any
    first_mean: Any
    first_cov: Any


@called
def held_memory(lanes, z, dense, held, start):
    """Memory for segments of so many rows."""
    w, n, k, m = width(lanes), z.n, z.k, z.m
    rows, segments = held * w, (z.t_max + held - 1) // held
    inverse = ahead(start, rows * m * n)
    e = ahead(inverse, rows * m)
    pf = ahead(e, rows * m * k)
    xf = ahead(pf, rows * n * n)
    c = ahead(xf, rows * n * k)
    turn = ahead(c, (rows if dense else w) * m * n)
    marks = ahead(turn, (rows if dense else 0) * m * m)
    end = ahead(marks, segments * w * (n * k + pk(n, 0) + n))
    return Held(start, inverse, e, pf, xf, c, turn, marks, end)


@called
def back_memory(lanes, z, dense, start):
    """Memory of the recursion."""
    w, n, k, m = width(lanes), z.n, z.k, z.m
    nk, nn = n * k * w, n * n * w
    big = ahead(start, nk)
    moved = ahead(big, nn)
    x = ahead(moved, nk)
    product = ahead(x, nk)
    by_a = ahead(product, nn)
    p = ahead(by_a, nn)
    own = ahead(p, nn)
    u = ahead(own, n * w)
    cov = ahead(u, m * k * w)
    cross = ahead(cov, nn)
    zs = ahead(cross, nn)
    on = ahead(zs, (m * m + 2 * m * n) * w if dense else 0)
    da = ahead(on, w)
    dq = ahead(da, nn)
    dc = ahead(dq, pk(n, 0) * w)
    dr = ahead(dc, m * n * w)
    db = ahead(dr, pk(m, 0) * w)
    dd = ahead(db, n * w)
    read = ahead(dd, m * w)
    moves = ahead(read, pk(n + 1, 0) * w)
    end = ahead(moves, pk(n + 1, 0) * w)
    return Back(
        start, big, moved, x, product, by_a, p, own, u, cov, cross, zs, on, da, dq, dc, dr, db, dd,
        read, moves, end,
    )  # fmt: skip


@called
def out_of(smooth, second, p):
    """Of set p."""
    return Out(
        set_of(smooth.mean, p), smooth.mean.size > 0, set_of(smooth.cov, p), smooth.cov.size > 0,
        set_of(smooth.cross, p), set_of(smooth.noise, p), smooth.noise.shape[1],
        set_of(second.lengths, p), second.lengths.size > 0, set_of(second.mean, p),
        set_of(second.cov, p),
    )  # fmt: skip


@inner
def slot_of(lanes, z, dense, h, slot):
    """What a row of a segment left."""
    w, m, n = width(lanes), z.m, z.n
    own = slot if dense else 0
    return Row(
        ahead(h.c, own * m * n * w), ahead(h.turn, own * m * m * w),
        ahead(h.gains, slot * m * n * w), ahead(h.inverse, slot * m * w),
        ahead(h.e, slot * m * z.k * w),
    )  # fmt: skip
