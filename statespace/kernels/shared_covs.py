"""Complete data: gains and covariances that every series shares, computed once.

With nothing missing they do not hang on the data. Where no parameter varies in time they settle,
and the recursion stops: with c the largest relative change of an innovation variance or a gain
from one row to the next, and rho its ratio to the change before, what is still to come is about
c rho / (1 - rho); three times in a row below the tolerance is the end.
"""

from __future__ import annotations

import numpy as np

from statespace.kernels.arrays import at, begin, row_of, scratch
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
from statespace.kernels.compiling import called, kernel
from statespace.kernels.factor import (
    SUMS,
    emission,
    observe,
    pk,
    predict,
    spread_out,
    whiten,
)
from statespace.kernels.smooth import back_memory, flush, pair, write_start

__all__ = ["settle", "settle_back"]


@called
def change(now, before, n, m, p):
    """The largest relative change of a variance or a gain; `now` and `before` = (gains, 1 / s)."""
    gains, inverse = now
    gains_before, inverse_before = before
    largest = 0.0
    for i in range(m):
        if inverse[i] > 0:
            largest = max(largest, abs(inverse_before[i] / inverse[i] - 1.0))
            for a in range(n):
                if p[a, a] > 0:
                    size = abs(gains[i, a] - gains_before[i, a])
                    largest = max(largest, size / np.sqrt(inverse[i] * p[a, a]))
    return largest


@kernel
def settle(lanes, model, t_max, m, tolerance, shared, rows, value, bad):
    """The covariance recursion of every set of parameters, until it stands still.

    Args:
        lanes: One.
        model: See `Model`; float64.
        t_max, m: Rows, and features of y.
        tolerance: What may be missing of the limit; negative where parameters vary in time.
        shared: Out, see `Shared`; of `gains`, `inverse` and `pf` only the first `rows` are filled.
        rows: Out, (sets,): how many rows differ; all later ones are the last of them.
        value: Out, (sets,): the log-likelihood of a series less its squares.
        bad: Out, (sets,): how many entries had no variance, to rounding.
    """
    n = model.x.shape[2]
    s = scratch(lanes, model, m)
    e, sums = np.empty(m, model.a.dtype), np.zeros(SUMS)
    gains, inverse = np.empty(m * n, model.a.dtype), np.empty(m, model.a.dtype)
    pf, turn = np.empty(n * n, model.a.dtype), np.empty(m * m, model.a.dtype)
    for p in range(rows.shape[0]):
        a, q, c, r = at(model.a, p), at(model.q, p), at(model.c, p), at(model.r, p)
        begin(lanes, at(model.x, p), at(model.s, p), 0, 1, n, 1, s)
        own_c = np.empty(m * n, model.a.dtype)
        logs, before, calm, missed = 0.0, np.inf, 0, 0.0
        rows[p] = t_max
        for t in range(t_max):
            if t > 0:
                ta, tq = row_of(a.shape[0], t), row_of(q.shape[0], t)
                predict(lanes, a, ta, q, tq, n, 1, s.x, s.u, s.d, s.rows, s.weights, s.move)
            tc, tr = row_of(c.shape[0], t), row_of(r.shape[0], t)
            spread_out(lanes, n, s.u, s.d, pf, 0)
            s.y[:] = 0
            if t == 0 or tc + tr > 0:
                emission(lanes, c, tc, r, tr, m, n, own_c, 0, s.r)
                if model.dense:
                    whiten(lanes, r, tr, m, n, s.y, own_c, 0, s.r, turn, 0, s.noise)
                row = row_of(shared.c.shape[1], t)
                shared.c[p, row] = own_c.reshape((m, n))
                if model.dense:
                    shared.turn[p, row] = turn.reshape((m, m))
            sums[:] = 0
            sums[1] = 1
            observe(
                lanes, own_c, 0, s.r, m, n, 1, s.y, s.x, s.u, s.d, s.f, s.v, s.gain, gains, 0,
                inverse, 0, e, 0, sums,
            )  # fmt: skip
            log_s = np.log(sums[1]) + sums[2] * np.log(2.0)
            logs += log_s
            missed += sums[4]
            shared.gains[p, t] = gains.reshape((m, n))
            shared.inverse[p, t] = inverse
            if t > 0 and tolerance > 0:
                now = (shared.gains[p, t], shared.inverse[p, t])
                last = (shared.gains[p, t - 1], shared.inverse[p, t - 1])
                size = change(now, last, n, m, pf.reshape((n, n)))
                ratio = size / before if before > 0 else 0.0
                calm = calm + 1 if ratio < 1 and size <= tolerance * (1 - ratio) else 0
                before = size
            spread_out(lanes, n, s.u, s.d, pf, 0)
            shared.pf[p, t] = pf.reshape((n, n))
            if calm == 3:
                rows[p] = t + 1
                logs += (t_max - 1 - t) * log_s
                break
        value[p] = -0.5 * (logs + t_max * m * 1.8378770664093453)
        bad[p] = missed


@called
def difference(now, before, n):
    """The largest change of a covariance (n, n), flat, against the roots of its diagonal."""
    largest = 0.0
    for a in range(n):
        for b in range(a + 1):
            size = now[a * n + a] * now[b * n + b]
            if size > 0:
                gap = abs(now[a * n + b] - before[a * n + b])
                largest = max(largest, gap / np.sqrt(size))
    return largest


@called
def put_rows(back, n, t, repeat, covs, crosses, crossed):
    """Rows t, t - 1, .. of the smoothed covariances, all alike."""
    for row in range(t - repeat + 1, t + 1):
        for a in range(n):
            for b in range(n):
                if covs.size > 0:
                    covs[row, a, b] = back.cov[a * n + b]
                if crossed and crosses.size > 0:
                    crosses[row, a, b] = back.cross[a * n + b]


@called
def flush_all(lanes, back, n, m, weight, score, p, t, moved):
    """Adds the sums of row t, or of all rows, to the gradients."""
    ga, gq = pair(score.a, p, 0), pair(score.q, p, 0)
    gc, gr = pair(score.c, p, 0), pair(score.r, p, 0)
    if moved:
        flush(lanes, back.da, n * n, weight, 1, ga, row_of(ga.shape[0], t + 1))
        flush(lanes, back.dq, pk(n, 0), weight, 1, gq, row_of(gq.shape[0], t + 1))
    flush(lanes, back.dc, m * n, weight, 1, gc, row_of(gc.shape[0], t))
    flush(lanes, back.dr, pk(m, 0), weight, 1, gr, row_of(gr.shape[0], t))


@kernel
def settle_back(lanes, model, t_max, m, tolerance, shared, rows, smooth, score):
    """Smoothed covariances, and the part of the score that does not hang on the data.

    Args:
        lanes: One.
        model, t_max, m, tolerance: As in `settle`.
        shared, rows: What `settle` left.
        smooth: `cov` (sets, 1, T, n, n) and `cross`, out; see `Smooth`.
        score: Out, with one series, whose weight is the sum over all; see `Score`.
    """
    n = model.x.shape[2]
    back = back_memory(lanes, model, m)
    e, weight, before = np.zeros(m), np.zeros(1), np.empty(n * n)
    learn, crossed = score.weight.size > 0, smooth.cross.size > 0
    none = np.empty((0, 0, 0))
    for p in range(rows.shape[0]):
        a, noise = at(model.a, p), at(smooth.noise, p)
        gains, inverse = shared.gains[p].reshape(-1), shared.inverse[p].reshape(-1)
        pfs, cs, turns = (
            shared.pf[p].reshape(-1),
            shared.c[p].reshape(-1),
            at(shared.turn, p).reshape(-1),
        )
        covs = smooth.cov[p, 0] if smooth.cov.size > 0 else none
        crosses = smooth.cross[p, 0] if smooth.cross.size > 0 else none
        back.r[:] = 0
        back.x[:] = 0
        back.big[:] = 0
        weight[0] = score.weight[p, 0] if learn else 0.0
        size, calm, t, last = np.inf, 0, t_max - 1, rows[p] - 1
        while t >= 0:
            row = min(t, last)
            repeat = t - last if calm == 3 and t > last else 1  # rows alike, this one included
            if repeat > 1 and learn:
                flush_all(lanes, back, n, m, weight, score, p, t, True)
            if t < t_max - 1:
                ta = row_of(a.shape[0], t + 1)
                times_a(lanes, a, ta, n, back.big, back.by_a)
                times_cov(lanes, n, back.by_a, pfs, row * n * n, back.product)
                if learn:
                    gather_move(lanes, n, 1, back)
                less_columns(lanes, n, 1, back.r, back.x, back.product)
                move_back(lanes, a, ta, n, back.by_a, back.big)
            place_cov(lanes, n, 1, pfs, row * n * n, back)
            if t < t_max - 1 and crossed:
                tq = row_of(noise.shape[0], t + 1)
                place_cross(lanes, a, ta, noise, tq, n, back.cov, back.product, back.cross)
            put_rows(back, n, t, repeat, covs, crosses, t < t_max - 1)
            back.p[:] = pfs[row * n * n : (row + 1) * n * n]
            c0 = row_of(shared.c.shape[1], t) * m * n
            if learn and model.dense:
                l0 = row_of(shared.turn.shape[1], t) * m * m
                absorb_dense(
                    lanes, cs, c0, turns, l0, m, n, 1, gains, row * m * n, inverse, row * m, e, 0,
                    back,
                )  # fmt: skip
            absorb_back(
                lanes, cs, c0, m, n, 1, gains, row * m * n, inverse, row * m, e, 0, back, True,
                learn and not model.dense,
            )  # fmt: skip
            if learn and (repeat > 1 or tolerance < 0):
                weight[0] *= repeat
                flush_all(lanes, back, n, m, weight, score, p, t, t < t_max - 1)
                weight[0] /= repeat
            if tolerance > 0:
                now = difference(back.big, before, n) if t < t_max - 1 else np.inf
                ratio = now / size if size > 0 else 0.0
                calm = calm + 1 if ratio < 1 and now <= tolerance * (1 - ratio) else 0
                size = now
                before[:] = back.big
            t -= repeat
        if learn:
            flush_all(lanes, back, n, m, weight, score, p, 0, False)
            flush_all(lanes, back, n, m, weight, score, p, 0, t_max > 1)
            write_start(
                lanes, n, 1, back.r, back.big, weight, 0, 1, score.mean[p], score.cov[p]
            )  # fmt: skip
