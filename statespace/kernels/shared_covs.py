"""Complete data: gains and covariances that every series shares, computed once.

With nothing missing they do not hang on the data. Where no parameter varies in time they settle,
and the recursion stops: with c the largest relative change of an innovation variance or a gain
from one row to the next, and rho its ratio to the change before, what is still to come is about
c rho / (1 - rho); three times in a row below the tolerance is the end. Where c is no more than
rounding, rho is taken from the recursion itself.
"""

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
from statespace.kernels.factor import SUMS, emission, observe, pk, spread_out, whiten
from statespace.kernels.given import Sizes, begin, given_of, row_of
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.scratch import LOG_2PI, Row, clear, move, row_at, scratch
from statespace.kernels.shared_rows import gains_at, gains_of
from statespace.kernels.smooth import back_memory
from statespace.kernels.sums import end_slopes, row_slopes, slopes_of, write_start
from statespace.kernels.tables import Data

__all__ = ["settle", "settle_back"]

_ROUNDING = 16 * 2.0**-52  # relative changes from row to row that say nothing


@inner
def put(source, entries, out):
    """Numbers of one lane into an array."""
    for i in range(entries):
        out[i] = source[i]


@called
def change(row, before, m, n, p):
    """The largest relative change of a variance or a gain from one row to the next."""
    largest = 0.0
    for i in range(m):
        if row.inverse[i] > 0:
            largest = max(largest, abs(before.inverse[i] / row.inverse[i] - 1.0))
            for a in range(n):
                if p[a * n + a] > 0:
                    size = abs(row.gains[i * n + a] - before.gains[i * n + a])
                    largest = max(largest, size / np.sqrt(row.inverse[i] * p[a * n + a]))
    return largest


@called
def tie(c, gains, m, n, ties):
    """What the gain of each entry does to the residuals after it in its block of four."""
    for i in range(m):
        for h in range(3):
            value, before = 0.0, i - i % 4 + h
            if before < i:
                for a in range(n):
                    value += c[i * n + a] * gains[before * n + a]
            ties[i * 3 + h] = value


@called
def steady(size, before, tolerance, rest):
    """Whether so little is still to come after a change, when the one before it was known.

    `rest` is what may be to come where a change is not more than rounding.
    """
    if size <= _ROUNDING and rest <= tolerance:
        return True
    ratio = size / before if before > 0 else 0.0
    return ratio < 1 and size <= tolerance * (1 - ratio)


@called
def rest_of(a, row, m, n, one, two):
    """What may be to come of changes that are no more than rounding: that times rho / (1 - rho).

    With F = A (I - K C) differences of covariances shrink as F .. F', at the rate of the 64th root
    of the squared norm of F^64. `one` and `two` are scratch (n, n).
    """
    put(a, n * n, one)
    for turned in range(m):
        i = m - 1 - turned
        for g in range(n):
            along = 0.0
            for h in range(n):
                along += one[g * n + h] * row.gains[i * n + h]
            for h in range(n):
                one[g * n + h] -= along * row.c[i * n + h]
    for _ in range(6):
        for g in range(n):
            for h in range(n):
                value = 0.0
                for j in range(n):
                    value += one[g * n + j] * one[j * n + h]
                two[g * n + h] = value
        put(two, n * n, one)
    size = 0.0
    for i in range(n * n):
        size += one[i] * one[i]
    rate = size ** (1.0 / 64.0)
    return _ROUNDING * rate / (1.0 - rate) if rate < 1.0 else np.inf


@kernel
def settle(lanes, model, t_max, m, tolerance, shared, rows, value, bad):
    """The covariance recursion of every set of parameters, until it stands still.

    Args:
        lanes: One.
        model: See `Model`; float64.
        t_max, m: Rows, and features of y.
        tolerance: What may be missing of the limit; negative where parameters vary in time.
        shared: Out, see `Shared`; of `gains`, `inverse`, `ties` and `pf` only the first `rows` are
            filled.
        rows: Out, (sets,): how many rows differ; all later ones are the last of them.
        value: Out, (sets,): the log-likelihood of a series less its squares.
        bad: Out, (sets,): how many entries had no variance, to rounding.
    """
    n, dense, base = model.x.shape[2], model.dense, span(model.a, 0)
    z = Sizes(1, t_max, m, n, 1, model.q.shape[3], model.r.shape[3])
    none = Data(np.empty((1, 1, 0, 0)), np.empty((1, 0, 0, 0), np.uint8))
    _, end = row_at(lanes, z, dense, scratch(lanes, z, dense, base).end)
    memory = room(apart(base, end) + SUMS + 3 * n * n, model.a.dtype)
    s = scratch(lanes, z, dense, span(memory, 0))
    row, sums = row_at(lanes, z, dense, s.end)
    pf = ahead(sums, SUMS)
    work = ahead(pf, n * n)
    for p in range(rows.shape[0]):
        g = given_of(model, none, p)
        begin(lanes, z, g, 0, 1, s)
        logs, before, calm, missed, rest = 0.0, np.inf, 0, 0.0, -1.0
        rows[p] = t_max
        own = gains_of(shared, rows, p)
        for t in range(t_max):
            if t > 0:
                move(lanes, z, g, s, 0, 1, t)
            spread_out(lanes, n, s.u, s.d, pf)
            for i in range(m):
                s.y[i] = 0.0
            at = gains_at(z, own, t)
            if t == 0 or g.c_rows + g.root_rows > 2:
                factor = ahead(g.root, row_of(g.root_rows, t) * m * z.q)
                c = ahead(g.c, row_of(g.c_rows, t) * m * n)
                emission(lanes, c, factor, m, n, z.q, row.c, s.r)
                if dense:
                    whiten(lanes, factor, z.q, m, n, s.y, row.c, s.r, row.turn, s.noise)
                    put(row.turn, m * m, at.turn)
                put(row.c, m * n, at.c)
            clear(lanes, sums)
            observe(
                lanes, row.c, s.r, m, n, 1, s.y, s.x, s.u, s.d, s.f, s.v, s.gain, row.gains,
                row.inverse, row.e, sums,
            )  # fmt: skip
            log_s = np.log(sums[1]) + sums[2] * np.log(2.0)
            logs += log_s
            missed += sums[4]
            put(row.gains, m * n, at.gains)
            put(row.inverse, m, at.inverse)
            tie(row.c, row.gains, m, n, at.ties)
            if t > 0 and tolerance > 0:
                size = change(at, gains_at(z, own, t - 1), m, n, pf)
                if size <= _ROUNDING and rest < 0:
                    rest = rest_of(g.a, at, m, n, work, ahead(work, n * n))
                calm = calm + 1 if steady(size, before, tolerance, rest) else 0
                before = size
            spread_out(lanes, n, s.u, s.d, at.pf)
            if calm == 3:
                rows[p] = t + 1
                logs += (t_max - 1 - t) * log_s
                break
        value[p] = -0.5 * (logs + t_max * m * LOG_2PI)
        bad[p] = missed
    hold(memory)


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
                if now <= _ROUNDING and rest < 0:
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
