"""Complete data: the way back of what every series shares, once, and settled like the way ahead."""

from __future__ import annotations

import numpy as np

from statespace.kernels.backward import (
    absorb_back,
    absorb_dense,
    gather_move,
    less_columns,
    move_back,
    place_cov,
    place_cross,
    times_a,
    times_cov,
)
from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import pk
from statespace.kernels.given import Sizes, given_of, row_of
from statespace.kernels.held import back_memory
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.scratch import Row
from statespace.kernels.shared_covs import ROUNDING, put, rest_of, steady
from statespace.kernels.shared_rows import gains_at, gains_of
from statespace.kernels.sums import end_slopes, row_slopes, slopes_of, write_start
from statespace.kernels.tables import Data

__all__ = ["settle_back"]


@called
def difference(now, before, n):
    """The largest change of a covariance (n, n) against the roots of its diagonal."""
    largest = 0.0
    for a in range(n):
        for b in range(a + 1):
            size = now[a * n + a] * now[b * n + b]
            if size > 0:
                gap = abs(now[a * n + b] - before[a * n + b])
                largest = max(largest, gap / np.sqrt(size))
    return largest


@inner
def put_rows(z, back, t, repeat, covs, has_covs, crosses, crossed):
    """Rows t, t - 1, .. of the smoothed covariances, all alike."""
    nn = z.n * z.n
    for row in range(t - repeat + 1, t + 1):
        if has_covs:
            put(back.cov, nn, ahead(covs, row * nn))
        if crossed and t < z.t_max - 1:
            put(back.cross, nn, ahead(crosses, row * nn))


@inner
def repeat_slopes(lanes, z, back, before, repeat):
    """Counts what the last row added to the sums so many times."""
    for i in range(apart(back.da, back.db)):
        back.da[i] = before[i] + repeat * (back.da[i] - before[i])


@inner
def add_covs(z, cov, times, t, back):
    """Adds a smoothed covariance of rows up to t, so many times, to EM's sums."""
    moves = times - 1 if t == z.t_max - 1 else times
    for i in range(z.n):
        for j in range(i + 1):
            back.read[pk(i, j)] += times * cov[i * z.n + j]
            back.move[pk(i, j)] += moves * cov[i * z.n + j]


@inner
def over_step(lanes, z, g, own, t, back, learn, crossed, noise, noise_rows):
    """Takes N back over the step into row t + 1, and leaves the lag-one covariance."""
    n, pf = z.n, gains_at(z, own, t).pf
    a = ahead(g.a, row_of(g.a_rows, t + 1) * n * n)
    times_a(lanes, a, n, back.big, back.by_a)
    times_cov(lanes, n, back.by_a, pf, back.product)
    if learn:
        gather_move(lanes, n, 1, back)
    less_columns(lanes, n, 1, back.r, back.x, back.product)
    move_back(lanes, a, n, back.by_a, back.big)
    place_cov(lanes, n, 1, pf, back)
    if crossed:
        q = ahead(noise, row_of(noise_rows, t + 1) * n * n)
        place_cross(lanes, a, q, n, back.cov, back.product, back.cross)


@kernel
def settle_back(lanes, model, t_max, m, tolerance, shared, rows, smooth, score, second):
    """Smoothed covariances, and what of the score and of EM's sums does not hang on the data.

    Args:
        lanes: One.
        model, t_max, m, tolerance: As in `settle`.
        shared, rows: What `settle` left.
        smooth: `cov` (sets, 1, T, n, n) and `cross`, out; see `Smooth`.
        score: Out, with one series, whose weight is the sum over all; see `Score`.
        second: Out, of one series, without its means; see `Second`.
    """
    n, dense, base = model.x.shape[2], model.dense, span(model.a, 0)
    z = Sizes(1, t_max, m, n, 1, model.q.shape[3], model.r.shape[3])
    none = Data(np.empty((1, 1, 0, 0)), np.empty((1, 0, 0, 0), np.uint8))
    dry = back_memory(lanes, z, dense, base)
    sums = apart(dry.da, dry.db)
    memory = room(apart(base, dry.end) + n * n + m + sums + 1, model.a.dtype)
    back = back_memory(lanes, z, dense, span(memory, 0))
    before = ahead(back.end, n * n)
    e, weight = ahead(before, sums), ahead(before, sums + m)
    learn, gathers = score.weight.size > 0, second.read.size > 0
    has_covs, crossed = smooth.cov.size > 0, smooth.cross.size > 0
    for p in range(rows.shape[0]):
        g, own, slopes = given_of(model, none, p), gains_of(shared, rows, p), slopes_of(score, p, 0)
        covs, crosses, noise = (
            set_of(smooth.cov, p),
            set_of(smooth.cross, p),
            set_of(smooth.noise, p),
        )
        for i in range(apart(back.r, weight)):
            back.r[i] = 0.0
        weight[0] = score.weight[p, 0] if learn else 0.0
        size, calm, t, rest = np.inf, 0, t_max - 1, -1.0
        while t >= 0:
            repeat = t - own.last if calm == 3 and t > own.last else 1  # rows alike, with this one
            put(back.da, sums, before)
            row = gains_at(z, own, t)
            if t + 1 < t_max:
                over_step(
                    lanes, z, g, own, t, back, learn, crossed, noise, smooth.noise.shape[1]
                )  # fmt: skip
            else:
                place_cov(lanes, n, 1, row.pf, back)
            put_rows(z, back, t, repeat, covs, has_covs, crosses, crossed)
            if gathers:
                add_covs(z, back.cov, repeat, t, back)
            put(row.pf, n * n, back.p)
            left = Row(row.c, row.turn, row.gains, row.inverse, e)
            if learn and dense:
                absorb_dense(lanes, left, m, n, 1, back)
            absorb_back(lanes, left, m, n, 1, back, True, learn and not dense)
            if repeat > 1:
                repeat_slopes(lanes, z, back, before, repeat)
            if learn:
                row_slopes(lanes, z, slopes, back, weight, 1, t, t + 1 < t_max)
            if tolerance > 0:
                now = difference(back.big, back.end, n) if t + 1 < t_max else np.inf
                if now <= ROUNDING and rest < 0:
                    rest = rest_of(g.a, row, m, n, back.by_a, back.product)
                calm = calm + 1 if steady(now, size, tolerance, rest) else 0
                size = now
                put(back.big, n * n, back.end)
            t -= repeat
        if gathers:
            put(back.cov, n * n, set_of(second.cov, p))
            put(back.read, pk(n, 0), set_of(second.read, p))
            put(back.move, pk(n, 0), set_of(second.move, p))
        if learn:
            end_slopes(lanes, z, slopes, back, weight, 1)
            write_start(lanes, n, 1, back.r, back.big, True, weight, 0, 1, slopes)
    hold(memory)
