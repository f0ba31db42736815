"""Backward simulation of a model that is activations of affine maps, series by series.

    k_T ~ w_T,   k_t ~ w_t p(z_{t+1} given z_t^k)          (Godsill, Doucet and West 2004)

Transitions have one covariance at a row, so that with its factor L the density of a move is that of
L^-1 times the difference: what particles expect is whitened once, and a move costs n products.
"""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.lanes import load, splat, splat_at, store, width
from statespace.kernels.memory import ahead, hold, room, span
from statespace.kernels.particle_rows import (
    Work,
    expected,
    place_of,
    power_of_e,
    row_places,
    sum_of,
)
from statespace.kernels.products import add_product, set_zero

__all__ = ["look_back"]

_FAR = 1e-200  # a sum of weights below it is taken anew, from the nearest particle on
_STRIP = 8  # blocks whose weights are added up before it is looked who is meant


@inner
def picked(value, sums, blocks, num, position, w):
    """The first particle whose cumulative value exceeds a position; see `weights_of_moves`."""
    strip, before = 0, 0.0
    strips = (blocks + _STRIP - 1) // _STRIP
    while strip < strips - 1 and before + sums[strip] <= position:
        before += sums[strip]
        strip += 1
    k = strip * _STRIP * w
    total = before + value[k]
    while k < num - 1 and total <= position:
        k += 1
        total += value[k]
    while k > 0 and value[k] == 0.0:  # rounding led behind the last that weighs anything
        k -= 1
    return k


@called
def weights_of_moves(lanes, n, blocks, h, target, weight, base, value, sums, work):
    """The weight of each particle times e^(base - half its distance to a target), and their sum.

    `base` is none of the particles' distances is less than.
    """
    w, half, shift = width(lanes), splat(lanes, -0.5), splat(lanes, base)
    whole, strip = 0.0, 0
    first = 0
    while first < blocks:
        total = splat(lanes, 0.0)
        for block in range(first, min(first + _STRIP, blocks)):
            far = splat(lanes, 0.0)
            for i in range(n):
                gap = load(lanes, h, (block * n + i) * w) - splat_at(lanes, target, i)
                far = far + gap * gap
            own = load(lanes, weight, block * w) * power_of_e(lanes, half * far + shift)
            store(lanes, value, block * w, own)
            total = total + own
        sums[strip] = sum_of(lanes, total, work)
        whole += sums[strip]
        strip += 1
        first += _STRIP
    return whole


@called
def nearest_move(n, num, h, target, weight, w):
    """Half the least distance of a particle that weighs anything."""
    least = np.inf
    for k in range(num):
        if weight[k] > 0.0:
            far = 0.0
            for i in range(n):
                gap = h[(k & -w) * n + i * w + (k & (w - 1))] - target[i]
                far += gap * gap
            least = min(least, 0.5 * far)
    return least


@called
def expect_all(lanes, g, toward, n, blocks, num, points, work, own, h):
    """What each particle expects of the row after, whitened, in blocks."""
    w = width(lanes)
    for block in range(blocks):
        for lane in range(w):
            k = min(block * w + lane, num - 1)
            for i in range(n):
                own[i * w + lane] = points[k * n + i]
        expected(lanes, g, n, own, work.ahead)
        out = ahead(h, block * n * w)
        set_zero(lanes, out, n)
        add_product(lanes, toward, n, 1, n, n, work.ahead, out)


@called
def weigh_all(log_weight, num, blocks, w, weight):
    """Weights, the largest being 1; zero behind the last."""
    most = -np.inf
    for k in range(num):
        most = max(most, log_weight[k])
    for k in range(blocks * w):
        weight[k] = np.exp(log_weight[k] - most) if k < num else 0.0


@kernel
def look_back(lanes, net, seen, toward, points, weights, uniform, low, high, out):
    """Particles of trajectories given all of y, of series low .. high.

    Args:
        lanes: How many particles go side by side, eight.
        net, seen: See `Net`, `Seen`.
        toward: L^-1 of the covariance of the step into each row, (series, T, n, n).
        points, weights: Of the filter, (series, T, K, n) and log weights (series, T, K).
        uniform: Random numbers, those of the last row first, (T, M, series).
        low, high: Series.
        out: (series, T, M) int32: which particle of each row; after an end not touched.
    """
    w, n, num = width(lanes), net.a.shape[2], weights.shape[2]
    rows, count, series = uniform.shape
    blocks = (num + w - 1) // w
    strips = (blocks + _STRIP - 1) // _STRIP
    memory = room((3 * n + 1 + (n + 2) * blocks) * w + strips, np.float64)
    hope = span(memory, 0)
    own, one = ahead(hope, n * w), ahead(hope, 2 * n * w)
    target = ahead(one, w)
    h = ahead(target, n * w)
    weight = ahead(h, n * blocks * w)
    value = ahead(weight, blocks * w)
    sums = ahead(value, blocks * w)
    work = Work(hope, own, own, own, one, own, own, weight)
    for s in range(low, high):
        end = seen.lengths[s] - 1
        for t in range(end, -1, -1):
            chosen = span(out, (s * rows + t) * count)
            draws = span(uniform, (rows - 1 - t) * count * series + s)
            weigh_all(span(weights, (s * rows + t) * num), num, blocks, w, weight)
            if t == end:
                for block in range(n * blocks * w):
                    h[block] = 0.0
                for i in range(n):
                    target[i] = 0.0
            else:
                after = span(points, (s * rows + t + 1) * num * n)
                later = span(out, (s * rows + t + 1) * count)
                white = place_of(toward, s, t + 1, n * n)
                g = row_places(net, seen, s, t + 1)
                here = span(points, (s * rows + t) * num * n)
                expect_all(lanes, g, white, n, blocks, num, here, work, own, h)
            for j in range(count):
                if t < end:
                    for i in range(n):
                        target[i] = 0.0
                        for b in range(n):
                            target[i] += white[i * n + b] * after[later[j] * n + b]
                whole = weights_of_moves(
                    lanes, n, blocks, h, target, weight, 0.0, value, sums, work
                )  # fmt: skip
                if whole < _FAR:
                    base = nearest_move(n, num, h, target, weight, w)
                    whole = weights_of_moves(
                        lanes, n, blocks, h, target, weight, base, value, sums, work
                    )  # fmt: skip
                chosen[j] = picked(value, sums, blocks, num, draws[j * series] * whole, w)
    hold(memory)
