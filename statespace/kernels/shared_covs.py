"""Complete data: gains and covariances that every series shares, computed once.

With nothing missing they do not hang on the data. Where no parameter varies in time they settle,
and the recursion stops: with c the largest relative change of an innovation variance or a gain
from one row to the next, and rho its ratio to the change before, what is still to come is about
c rho / (1 - rho); three times in a row below the tolerance is the end. Where c is no more than
rounding, rho is taken from the recursion itself.
"""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import SUMS, emission, observe, spread_out, whiten
from statespace.kernels.given import Sizes, begin, given_of, row_of
from statespace.kernels.memory import ahead, apart, hold, room, span
from statespace.kernels.scratch import LOG_2PI, clear, move, row_at, scratch
from statespace.kernels.shared_rows import gains_at, gains_of
from statespace.kernels.tables import Data

__all__ = ["ROUNDING", "put", "rest_of", "settle", "steady"]

ROUNDING = 16 * 2.0**-52  # relative changes from row to row that say nothing


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
    if size <= ROUNDING and rest <= tolerance:
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
    return ROUNDING * rate / (1.0 - rate) if rate < 1.0 else np.inf


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
                if size <= ROUNDING and rest < 0:
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
