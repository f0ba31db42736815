"""The parts of a row of one series: look ahead, go on, tell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.activations import activate
from statespace.kernels.compiling import called, inner
from statespace.kernels.lanes import load, positive, splat, splat_at, store, unless_nan, width
from statespace.kernels.memory import ahead, span
from statespace.kernels.normals import logarithm
from statespace.kernels.particle_rows import (
    Places,
    Work,
    average,
    cov_of,
    expected,
    fill,
    log_density,
    power_of_e,
    sum_of,
)
from statespace.kernels.products import add_product

__all__ = [
    "Pick",
    "Sizes",
    "fresh_places",
    "go_on",
    "go_on_alone",
    "look_ahead",
    "remain",
    "sizes_of",
    "tell",
    "work_in",
]


class Sizes(NamedTuple):
    """Of a problem."""

    n: Any
    m: Any
    r: Any
    series: Any
    blocks: Any


class Pick(NamedTuple):
    """What happens at a row.

    Attributes:
        picked, promised: Whether particles are selected, and by what they promise.
        fresh: Whether they are drawn from the prior.
        tells: Whether moments are told.
    """

    picked: Any
    promised: Any
    fresh: Any
    tells: Any


@called
def sizes_of(lanes, net, seen, how):
    """Of the rows that are handed in at once."""
    w = width(lanes)
    r = net.spread.shape[2] if how.skip < 0 else net.q.shape[3]
    series = seen.y.shape[0]
    blocks = (how.num + w - 1) // w
    return Sizes(net.a.shape[2], net.c.shape[2], r, series, blocks)


@called
def fresh_places(net, g, s):
    """The mean of z_1 in the place of A, and the root of its covariance in that of Q's."""
    n, r = net.spread.shape[1], net.spread.shape[2]
    one = net.first.shape[0] == 1
    mean = span(net.first, 0 if one else s * n)
    root = span(net.spread, 0 if one else s * n * r)
    return Places(
        mean, g.b, root, g.c, g.d, g.e, g.f, g.r, g.y, g.whiten, g.some, g.constant, g.seen,
        g.scaled, g.g, g.f_of_y,
    )  # fmt: skip


@called
def work_in(lanes, z, memory):
    """Lane memory laid out; and two numbers for each particle."""
    w, blocks = width(lanes), z.blocks
    hope = memory
    scale = ahead(hope, z.n * w)
    gap = ahead(scale, z.m * w)
    white = ahead(gap, z.m * w)
    one = ahead(white, z.m * w)
    means = ahead(one, w)
    scales = ahead(means, z.m * blocks * w)
    before = ahead(scales, z.m * blocks * w)
    work = Work(hope, scale, gap, white, one, means, scales, before)
    ladder = ahead(before, blocks * w)
    return work, ladder, ahead(ladder, blocks * w)


@called
def look_ahead(lanes, g, how, n, m, blocks, x, log_weight, weight, work, first):
    """Weights by what particles promise for y_t, part of them by their own: `first`, and its size.

    Pitt and Shephard (1999), at the mean of z_t; some ancestors are chosen without a look ahead,
    so that nothing is selected too rarely.
    """
    w, most = width(lanes), -np.inf
    for block in range(blocks):
        expected(lanes, g, n, ahead(x, block * n * w), work.ahead)
        log_density(lanes, g, n, m, work.ahead, False, block, work)
        value = load(lanes, work.one, 0) + load(lanes, log_weight, block * w)
        store(lanes, first, block * w, value)
        for lane in range(w):
            most = max(most, first[block * w + lane])
    if most == -np.inf:  # no promise at all: they become equal, as weights that are lost do
        for k in range(blocks * w):
            own = (1.0 - how.defence) / how.num if k < how.num else 0.0
            first[k] = own + how.defence * weight[k]
    else:
        total = splat(lanes, 0.0)
        for block in range(blocks):
            value = power_of_e(lanes, load(lanes, first, block * w) - splat(lanes, most))
            store(lanes, first, block * w, value)
            total = total + value
        share = (1.0 - how.defence) / sum_of(lanes, total, work)
        for block in range(blocks):
            own = splat(lanes, how.defence) * load(lanes, weight, block * w)
            value = splat(lanes, share) * load(lanes, first, block * w) + own
            store(lanes, first, block * w, value)
    square = splat(lanes, 0.0)
    for block in range(blocks):
        value = load(lanes, first, block * w)
        square = square + value * value
    return 1.0 / sum_of(lanes, square, work)


@inner
def gather_block(lanes, n, block, num, ancestors, x, out):
    """The values of the ancestors of a block."""
    w = width(lanes)
    for lane in range(w):
        k = ancestors[min(block * w + lane, num - 1)]
        place = (k & -w) * n + (k & (w - 1))
        for i in range(n):
            out[i * w + lane] = x[place + i * w]


@called
def remain(lanes, blocks, log_weight, first, out):
    """What particles that are selected by `first` still weigh, as logarithms."""
    w = width(lanes)
    for block in range(blocks):
        off = logarithm(lanes, load(lanes, first, block * w))
        store(lanes, out, block * w, load(lanes, log_weight, block * w) - off)


@inner
def reweigh(lanes, block, num, ancestors, left, out):
    """What is left to the ancestors of a block."""
    w, even = width(lanes), np.log(num)
    for lane in range(w):
        out[lane] = left[ancestors[min(block * w + lane, num - 1)]] - even


@called
def go_on(lanes, g, how, z, pick, x, new, log_weight, weight, off, left, ancestors, noise, work):
    """Moves and weighs all particles of a series; gives the largest log weight, NaN if one is.

    Args:
        lanes: How many.
        g, how: See `Places`, `How`.
        z: See `Sizes`.
        pick: See `Pick`.
        x, new: The particles before, and out, after.
        log_weight: In and out, not normalised.
        weight: Before the row.
        off: What is still to be taken off the log weights.
        left, ancestors: What `remain` says, and who was selected, if anybody was.
        noise: Of the series, in blocks, (r,) each.
        work: See `Work`; `weight` is left normalised, if moments are told.
    """
    w, n = width(lanes), z.n
    most, wrong = splat(lanes, -np.inf), splat(lanes, 0.0)
    even, share = splat(lanes, -np.log(how.num)), splat(lanes, 1.0 / how.num)
    for block in range(z.blocks):
        out, own = ahead(new, block * n * w), ahead(x, block * n * w)
        base = load(lanes, log_weight, block * w) - splat(lanes, off)
        plain = load(lanes, weight, block * w)
        if pick.picked:
            gather_block(lanes, n, block, how.num, ancestors, x, work.ahead)
            own, base, plain = work.ahead, even, share
        if pick.promised:
            reweigh(lanes, block, how.num, ancestors, left, work.one)
            base = load(lanes, work.one, 0)
            plain = power_of_e(lanes, base + splat(lanes, np.log(how.defence * how.num)))
        if pick.fresh:
            fill(lanes, g.a, n, out)
        else:
            expected(lanes, g, n, own, out)
        add_product(lanes, g.q, z.r, 1, n, z.r, ahead(noise, block * z.r * w), out)
        log_density(lanes, g, n, z.m, out, pick.tells, block, work)
        base = base + load(lanes, work.one, 0)
        store(lanes, log_weight, block * w, base)
        store(lanes, work.weight, block * w, plain)
        for k in range(how.num, (block + 1) * w):  # of the last block alone
            log_weight[k], work.weight[k] = -np.inf, 0.0
        base = load(lanes, log_weight, block * w)
        most = positive(base - most, base, most)
        wrong = unless_nan(base, wrong, splat(lanes, 1.0))
    if pick.promised and pick.tells:
        total = splat(lanes, 0.0)
        for block in range(z.blocks):
            total = total + load(lanes, work.weight, block * w)
        over = splat(lanes, 1.0 / sum_of(lanes, total, work))
        for block in range(z.blocks):
            store(lanes, work.weight, block * w, load(lanes, work.weight, block * w) * over)
    return largest(lanes, most, wrong, work)


@inner
def largest(lanes, most, wrong, work):
    """Of the entries of a vector; NaN if one of `wrong` is positive."""
    if sum_of(lanes, wrong, work) > 0:
        return np.nan
    store(lanes, work.one, 0, most)
    value = -np.inf
    for lane in range(width(lanes)):
        value = max(value, work.one[lane])
    return value


@called
def go_on_alone(lanes, g, how, blocks, picked, x, new, log_weight, off, ancestors, noise, work):
    """The same of a model with one number in z, y and the noise, in registers; tells nothing."""
    w, last = width(lanes), blocks - 1
    most, wrong, zero = splat(lanes, -np.inf), splat(lanes, 0.0), splat(lanes, 0.0)
    a, b, q = splat_at(lanes, g.a, 0), splat_at(lanes, g.b, 0), splat_at(lanes, g.q, 0)
    c, d, y = splat_at(lanes, g.c, 0), splat_at(lanes, g.d, 0), splat_at(lanes, g.y, 0)
    e, f, white = splat_at(lanes, g.e, 0), splat_at(lanes, g.f, 0), splat_at(lanes, g.whiten, 0)
    constant, half, shift = splat(lanes, g.constant), splat(lanes, 0.5), splat(lanes, off)
    even = splat(lanes, -np.log(how.num))
    for block in range(blocks):
        place = block * w
        if picked:
            gather_block(lanes, 1, block, how.num, ancestors, x, work.ahead)
            own, base = load(lanes, work.ahead, 0), even
        else:
            own, base = load(lanes, x, place), load(lanes, log_weight, place) - shift
        own = a * own + b
        if g.g != 0:
            store(lanes, work.ahead, 0, own)
            activate(lanes, g.g, work.ahead, 1, work.ahead, work.ahead, work.ahead, 0)
            own = load(lanes, work.ahead, 0)
        own = own + q * load(lanes, noise, place)
        store(lanes, new, place, own)
        if g.seen:
            mean = c * own + d
            if g.f_of_y != 0:
                store(lanes, work.ahead, 0, mean)
                activate(lanes, g.f_of_y, work.ahead, 1, work.ahead, work.ahead, work.ahead, 0)
                mean = load(lanes, work.ahead, 0)
            gap = white * (y - mean)
            base = base + constant
            if g.scaled:
                scale = e * own + f
                gap = gap * power_of_e(lanes, zero - scale)
                base = base - scale
            base = base - half * gap * gap
        store(lanes, log_weight, place, base)
        if block == last:
            for k in range(how.num, blocks * w):
                log_weight[k] = -np.inf
            base = load(lanes, log_weight, place)
        most = positive(base - most, base, most)
        wrong = unless_nan(base, wrong, splat(lanes, 1.0))
    return largest(lanes, most, wrong, work)


@called
def tell(lanes, told, s, t, z, num, x, weight, log_weight, ancestors, g, work):
    """What is wanted of row t of series s."""
    w, n, m, blocks = width(lanes), z.n, z.m, z.blocks
    if told.mean.shape[1] > 0:
        place = s * told.mean.shape[1] + t
        mean, cov = span(told.predicted_mean, place * n), span(told.predicted_cov, place * n * n)
        average(lanes, blocks, n, x, work.weight, work, mean)
        cov_of(lanes, blocks, n, x, work.weight, mean, work, cov)
        mean, cov = span(told.y_mean, place * m), span(told.y_cov, place * m * m)
        average(lanes, blocks, m, work.means, work.weight, work, mean)
        cov_of(lanes, blocks, m, work.means, work.weight, mean, work, cov)
        for i in range(m):
            for j in range(m):
                total = splat(lanes, 0.0)
                for block in range(blocks):
                    a = load(lanes, work.scales, (block * m + i) * w)
                    b = load(lanes, work.scales, (block * m + j) * w)
                    total = total + load(lanes, work.weight, block * w) * a * b
                cov[i * m + j] += sum_of(lanes, total, work) * g.r[i * m + j]
        mean, cov = span(told.mean, place * n), span(told.cov, place * n * n)
        average(lanes, blocks, n, x, weight, work, mean)
        cov_of(lanes, blocks, n, x, weight, mean, work, cov)
    if told.ancestors.shape[1] > 0:
        out = span(told.ancestors, (s * told.ancestors.shape[1] + t) * num)
        for k in range(num):
            out[k] = ancestors[k]
    if told.points.shape[1] > 0:
        points = span(told.points, (s * told.points.shape[1] + t) * num * n)
        for k in range(num):
            for i in range(n):
                points[k * n + i] = x[(k & -w) * n + i * w + (k & (w - 1))]
    if told.weights.shape[1] > 0:
        values = span(told.weights, (s * told.weights.shape[1] + t) * num)
        for k in range(num):
            values[k] = log_weight[k]
