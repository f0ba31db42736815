"""One row of one series of particles: move, weigh, and the moments of what came of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.activations import activate, grown
from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import copy
from statespace.kernels.lanes import load, positive, splat, splat_at, store, unless_nan, width
from statespace.kernels.memory import ahead, span
from statespace.kernels.products import add_product, set_zero

__all__ = [
    "Places",
    "Work",
    "average",
    "cov_of",
    "expected",
    "fill",
    "log_density",
    "place_of",
    "power_of_e",
    "row_places",
    "settle_weights",
    "sum_of",
]


class Places(NamedTuple):
    """Where the parameters of one row of one series stand, and numbers; see `Net`."""

    a: Any
    b: Any
    q: Any
    c: Any
    d: Any
    e: Any
    f: Any
    r: Any
    y: Any
    whiten: Any  # of the pattern of the row, as the two that follow
    some: Any
    constant: Any
    seen: Any  # whether anything is observed
    scaled: Any  # whether there is a scale
    g: Any
    f_of_y: Any


class Work(NamedTuple):
    """Lane memory of a block, and of a series."""

    ahead: Any  # what a block expects of z, before it is drawn, (n,)
    scale: Any  # log scales of a block, (m,)
    gap: Any  # residuals of a block, (m,)
    white: Any  # the same, whitened, (m,)
    one: Any  # one vector, to be added up
    means: Any  # expected y, (blocks, m)
    scales: Any  # its scale, likewise
    weight: Any  # weights before y is seen, (blocks,)


@inner
def place_of(array, s, t, entries):
    """Of series s and row t of a table (series, T, ...), either axis possibly of length 1."""
    rows = array.shape[1]
    series = s if array.shape[0] > 1 else 0
    return span(array, (series * rows + (t if rows > 1 else 0)) * entries)


@called
def row_places(net, seen, s, t):
    """Of series s and row t."""
    n, m, r = net.a.shape[2], net.c.shape[2], net.q.shape[3]
    scaled, pattern = net.e.shape[1] > 0, max(seen.pattern[s, t], 0)
    return Places(
        place_of(net.a, s, t, n * n), place_of(net.b, s, t, n), place_of(net.q, s, t, n * r),
        place_of(net.c, s, t, m * n), place_of(net.d, s, t, m),
        place_of(net.e, s, t, m * n) if scaled else span(net.a, 0),
        place_of(net.f, s, t, m) if scaled else span(net.a, 0),
        place_of(net.r, s, t, m * m), span(seen.y, (s * seen.y.shape[1] + t) * m),
        span(net.whiten, pattern * m * m), span(net.some, pattern * m), net.constant[pattern],
        seen.pattern[s, t] >= 0, scaled, net.g, net.f_of_y,
    )  # fmt: skip


@inner
def power_of_e(lanes, v):
    """e^v, NaN where v is; for v > 709 as at 709."""
    high = splat(lanes, 709.0)
    p, power = grown(lanes, positive(high - v, v, high))
    return unless_nan(v, power * p + power, v)


@inner
def fill(lanes, table, entries, out):
    """A number of its own in each entry of a block, for all particles."""
    for i in range(entries):
        store(lanes, out, i * width(lanes), splat_at(lanes, table, i))


@inner
def expected(lanes, g, n, x, out):
    """What a block of particles expects of z_t: g(A x + b)."""
    fill(lanes, g.b, n, out)
    add_product(lanes, g.a, n, 1, n, n, x, out)
    if g.g != 0:
        activate(lanes, g.g, out, n, out, out, out, 0)


@inner
def log_density(lanes, g, n, m, x, keep, block, work):
    """The log density of y at a block of particles, as the vector `work.one`.

    With `keep`, what they expect of y, and its scale, are kept for the moments of y.
    """
    w = width(lanes)
    fill(lanes, g.d, m, work.gap)
    add_product(lanes, g.c, n, 1, m, n, x, work.gap)
    if g.f_of_y != 0:
        activate(lanes, g.f_of_y, work.gap, m, work.gap, work.gap, work.gap, 0)
    if g.scaled:
        fill(lanes, g.f, m, work.scale)
        add_product(lanes, g.e, n, 1, m, n, x, work.scale)
    if keep:
        copy(lanes, work.gap, ahead(work.means, block * m * w), m)
        for i in range(m):
            one = splat(lanes, 1.0)
            if g.scaled:
                one = power_of_e(lanes, load(lanes, work.scale, i * w))
            store(lanes, work.scales, (block * m + i) * w, one)
    total = splat(lanes, 0.0)
    if g.seen:
        total = splat(lanes, g.constant)
        for i in range(m):
            gap = splat_at(lanes, g.y, i) - load(lanes, work.gap, i * w)
            if g.scaled:
                own = load(lanes, work.scale, i * w)
                total = total - splat_at(lanes, g.some, i) * own
                gap = gap * power_of_e(lanes, splat(lanes, 0.0) - own)
            store(lanes, work.gap, i * w, gap)
        set_zero(lanes, work.white, m)
        add_product(lanes, g.whiten, m, 1, m, m, work.gap, work.white)
        half = splat(lanes, 0.5)
        for i in range(m):
            white = load(lanes, work.white, i * w)
            total = total - half * white * white
    store(lanes, work.one, 0, total)


@inner
def sum_of(lanes, vector, work):
    """Of the entries of a vector."""
    store(lanes, work.one, 0, vector)
    total = 0.0
    for lane in range(width(lanes)):
        total += work.one[lane]
    return total


@called
def settle_weights(lanes, blocks, num, most, lazy, log_weight, weight, work):
    """Normalises weights; gives the log of their sum, -inf if all are lost, and the size.

    The third number is what is still to be taken off the log weights: with `lazy` neither they nor
    the weights are divided by their sum.

    Args:
        lanes: How many.
        blocks, num: Of particles, and K.
        most: The largest log weight.
        lazy: Whether that is left to whoever reads them.
        log_weight: In and out.
        weight: Out.
        work: See `Work`.
    """
    w = width(lanes)
    if most == -np.inf:
        even = -np.log(num)
        for k in range(num):
            log_weight[k] = even
            weight[k] = 1.0 / num
        return -np.inf, float(num), 0.0
    top, total, square = splat(lanes, most), splat(lanes, 0.0), splat(lanes, 0.0)
    for block in range(blocks):
        value = power_of_e(lanes, load(lanes, log_weight, block * w) - top)
        store(lanes, weight, block * w, value)
        total = total + value
        square = square + value * value
    whole, squares = sum_of(lanes, total, work), sum_of(lanes, square, work)
    increment = most + np.log(whole)
    size = whole * whole / squares
    if lazy:
        return increment, size, increment
    off, share = splat(lanes, increment), splat(lanes, 1.0 / whole)
    for block in range(blocks):
        store(lanes, log_weight, block * w, load(lanes, log_weight, block * w) - off)
        store(lanes, weight, block * w, load(lanes, weight, block * w) * share)
    return increment, size, 0.0


@called
def average(lanes, blocks, entries, x, weight, work, out):
    """Weighted means of the entries of blocks."""
    w = width(lanes)
    for i in range(entries):
        total = splat(lanes, 0.0)
        for block in range(blocks):
            own = load(lanes, weight, block * w)
            total = total + own * load(lanes, x, (block * entries + i) * w)
        out[i] = sum_of(lanes, total, work)


@called
def cov_of(lanes, blocks, entries, x, weight, mean, work, out):
    """Weighted covariances about the mean."""
    w = width(lanes)
    for i in range(entries):
        for j in range(i + 1):
            total, a, b = splat(lanes, 0.0), splat_at(lanes, mean, i), splat_at(lanes, mean, j)
            for block in range(blocks):
                place = block * entries * w
                left = load(lanes, x, place + i * w) - a
                right = load(lanes, x, place + j * w) - b
                total = total + load(lanes, weight, block * w) * left * right
            value = sum_of(lanes, total, work)
            out[i * entries + j] = value
            out[j * entries + i] = value
