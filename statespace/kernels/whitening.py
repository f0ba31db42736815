"""Making the observed entries of a row independent where R is well conditioned."""

from __future__ import annotations

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import filled
from statespace.kernels.lanes import load, positive, splat_at, store, unless_nan, width
from statespace.kernels.memory import ahead

__all__ = ["whiten_by"]


@inner
def less(lanes, own, size, rows, columns, stride, out):
    """Out (columns) -= sum over i < size of own_i times row i of `rows` (size, stride)."""
    w = width(lanes)
    j = 0
    while j + 4 <= columns:
        p, q = load(lanes, out, j * w), load(lanes, out, (j + 1) * w)
        r, s = load(lanes, out, (j + 2) * w), load(lanes, out, (j + 3) * w)
        at = j * w
        for i in range(size):
            factor = load(lanes, own, i * w)
            p = p - factor * load(lanes, rows, at)
            q = q - factor * load(lanes, rows, at + w)
            r = r - factor * load(lanes, rows, at + 2 * w)
            s = s - factor * load(lanes, rows, at + 3 * w)
            at += stride * w
        store(lanes, out, j * w, p)
        store(lanes, out, (j + 1) * w, q)
        store(lanes, out, (j + 2) * w, r)
        store(lanes, out, (j + 3) * w, s)
        j += 4
    while j < columns:
        p = load(lanes, out, j * w)
        for i in range(size):
            p = p - load(lanes, own, i * w) * load(lanes, rows, (i * stride + j) * w)
        store(lanes, out, j * w, p)
        j += 1


@inner
def solve_row(lanes, a, lower, stride, out):
    """W of row a: w_i - sum over b < i of w_b L_ib, for i < a, in place; four at a time."""
    w = width(lanes)
    i = 0
    while i + 4 <= a:
        p, q = load(lanes, out, i * w), load(lanes, out, (i + 1) * w)
        r, s = load(lanes, out, (i + 2) * w), load(lanes, out, (i + 3) * w)
        one, two = i * stride * w, (i + 1) * stride * w
        three, four = (i + 2) * stride * w, (i + 3) * stride * w
        for b in range(i):
            own = load(lanes, out, b * w)
            p = p - own * load(lanes, lower, one + b * w)
            q = q - own * load(lanes, lower, two + b * w)
            r = r - own * load(lanes, lower, three + b * w)
            s = s - own * load(lanes, lower, four + b * w)
        q = q - p * load(lanes, lower, two + i * w)
        r = r - p * load(lanes, lower, three + i * w)
        r = r - q * load(lanes, lower, three + (i + 1) * w)
        s = s - p * load(lanes, lower, four + i * w) - q * load(lanes, lower, four + (i + 1) * w)
        s = s - r * load(lanes, lower, four + (i + 2) * w)
        store(lanes, out, i * w, p)
        store(lanes, out, (i + 1) * w, q)
        store(lanes, out, (i + 2) * w, r)
        store(lanes, out, (i + 3) * w, s)
        i += 4
    while i < a:
        p = load(lanes, out, i * w)
        for b in range(i):
            p = p - load(lanes, out, b * w) * load(lanes, lower, (i * stride + b) * w)
        store(lanes, out, i * w, p)
        i += 1


@called
def whiten_by(lanes, cov, m, n, y, c, r, turn, lower, turns):
    """As `factor.whiten`, from R itself: its triangular factor row by row, without the unobserved.

    L (m, m), and behind it one over the pivots, go to `lower`; L^-1 to `turn` if `turns`.
    """
    w = width(lanes)
    zero, one = filled(lanes, r, 0.0), filled(lanes, r, 1.0)
    over = ahead(lower, m * m * w)
    for a in range(m):
        own, seen = ahead(lower, a * m * w), load(lanes, y, a * w)
        for i in range(a):
            value = unless_nan(load(lanes, y, i * w), splat_at(lanes, cov, a * m + i), zero)
            store(lanes, own, i * w, unless_nan(seen, value, zero))
        solve_row(lanes, a, lower, m, own)
        pivot, level = unless_nan(seen, splat_at(lanes, cov, a * m + a), zero), seen
        for i in range(a):
            before, value = load(lanes, own, i * w), load(lanes, y, i * w)
            scaled = before * load(lanes, over, i * w)
            pivot = pivot - before * scaled
            level = level - scaled * unless_nan(value, value, zero)
            store(lanes, own, i * w, scaled)
        store(lanes, r, a * w, pivot)
        store(lanes, over, a * w, positive(pivot, one / pivot, zero))
        store(lanes, y, a * w, level)
        less(lanes, own, a, c, n, n, ahead(c, a * n * w))
        if turns:
            row = ahead(turn, a * m * w)
            for j in range(m):
                store(lanes, row, j * w, one if j == a else zero)
            less(lanes, own, a, turn, a, m, row)
