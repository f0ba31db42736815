"""The rows of one segment, forward and back, of series that have each a covariance."""

from __future__ import annotations

from statespace.kernels.backward import (
    absorb_back,
    absorb_dense,
    gather_move,
    less_columns,
    move_back,
    place_cov,
    place_cross,
    state_back,
    times_a,
    times_cov,
)
from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import copy, emission, pk, spread_out
from statespace.kernels.given import row_of
from statespace.kernels.held import slot_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead
from statespace.kernels.scratch import look, move
from statespace.kernels.sums import (
    add_column,
    add_second,
    block_of,
    end_slopes,
    flush,
    row_slopes,
    to_row,
    write_start,
)

__all__ = ["ahead_rows", "back_rows", "end_task", "write_cross", "write_moments"]


@called
def ahead_rows(lanes, z, g, s, dense, turns, first, count, start, stop, h, sums):
    """The forward pass over the rows of a segment."""
    w, n, k = width(lanes), z.n, z.k
    for t in range(start, stop):
        slot = t - start
        if t > 0:
            move(lanes, z, g, s, first, count, t)
        row = slot_of(lanes, z, dense, h, slot)
        look(lanes, z, g, s, dense, turns, first, count, t, t == 0, row, sums)
        copy(lanes, s.x, ahead(h.xf, slot * n * k * w), n * k)
        spread_out(lanes, n, s.u, s.d, ahead(h.pf, slot * n * n * w))


@called
def write_moments(lanes, z, first, count, t, back, out, mean, cov):
    """Smoothed moments of row t into the arrays of a set."""
    w, n, k = width(lanes), z.n, z.k
    for lane in range(count):
        place = (first + lane) * z.t_max + t
        if mean:
            for i in range(n):
                out.mean[place * n + i] = back.x[i * k * w + lane]
        if cov:
            for i in range(n * n):
                out.cov[place * n * n + i] = back.cov[i * w + lane]


@called
def write_cross(lanes, z, first, count, t, source, cross):
    """Cov(z_{t+1}, z_t) into the array of a set."""
    w, nn = width(lanes), z.n * z.n
    for lane in range(count):
        place = ((first + lane) * (z.t_max - 1) + t) * nn
        for i in range(nn):
            cross[place + i] = source[i * w + lane]


@called
def seconds(lanes, z, g, first, count, t, back, out):
    """Row t into the sums over rows with data and over rows which another one follows."""
    w, n, k, m = width(lanes), z.n, z.k, z.m
    for lane in range(w):
        back.on[lane] = 1.0
    if not g.all_seen:
        for lane in range(count):
            place, some = ((first + lane) * z.t_max + t) * m, 0.0
            for i in range(m):
                if g.seen[place + i] != 0:
                    some = 1.0
            back.on[lane] = some
    add_second(lanes, n, k, back.on, back.x, back.cov, back.read)
    for lane in range(count):
        length = out.lengths[first + lane] if out.has_lengths else z.t_max
        back.on[lane] = 1.0 if t + 1 < length else 0.0
    add_second(lanes, n, k, back.on, back.x, back.cov, back.move)
    if t == 0:
        for lane in range(count):
            place = first + lane
            for i in range(n):
                out.first_mean[place * n + i] = back.x[i * k * w + lane]
            for i in range(n * n):
                out.first_cov[place * n * n + i] = back.cov[i * w + lane]


@called
def before_row(lanes, z, g, first, count, t, pf, back, wants, weight, slopes):
    """Takes r and N from row t + 1 back over the step into it."""
    n, k = z.n, z.k
    a = ahead(g.a, row_of(g.a_rows, t + 1) * n * n)
    if wants.learn or wants.spread:
        times_a(lanes, a, n, back.big, back.by_a)
    if wants.learn or wants.crossed:
        times_cov(lanes, n, back.by_a, pf, back.product)
    if wants.learn:
        gather_move(lanes, n, k, back)
        if slopes.b_rows > 1:
            to_row(lanes, n, k, back.r, weight, first, count, slopes.b_rows, t + 1, slopes.b)
        else:
            add_column(lanes, n, k, back.r, back.db)
    if wants.crossed:
        less_columns(lanes, n, k, back.r, back.x, back.product)
    copy(lanes, back.moved, back.r, n * k)
    if wants.learn or wants.spread:
        move_back(lanes, a, n, back.by_a, back.big)


@called
def back_rows(lanes, z, g, s, first, count, start, stop, h, back, wants, weight, slopes, out):
    """The way back over the rows of a segment."""
    w, n, k, m, dense = width(lanes), z.n, z.k, z.m, wants.dense
    for t in range(stop - 1, start - 1, -1):
        slot, follows = t - start, t + 1 < z.t_max
        row, pf = slot_of(lanes, z, dense, h, slot), ahead(h.pf, slot * n * n * w)
        step = row_of(g.a_rows, t + 1) * n * n if follows else 0
        state_back(
            lanes, z, ahead(g.a, step), follows, ahead(h.xf, slot * n * k * w), pf, back
        )  # fmt: skip
        if follows:
            before_row(lanes, z, g, first, count, t, pf, back, wants, weight, slopes)
        if wants.spread:
            place_cov(lanes, n, k, pf, back)
            if follows and wants.crossed:
                noise = ahead(out.noise, row_of(out.noise_rows, t + 1) * n * n)
                a = ahead(g.a, step)
                place_cross(lanes, a, noise, n, back.cov, back.product, back.cross)
                write_cross(lanes, z, first, count, t, back.cross, out.cross)
        if wants.gathers:
            seconds(lanes, z, g, first, count, t, back, out)
        if out.means or out.covs:
            write_moments(lanes, z, first, count, t, back, out, out.means, out.covs)
        if wants.learn:
            copy(lanes, pf, back.p, n * n)
        if not dense and g.c_rows > 1:
            c = ahead(g.c, row_of(g.c_rows, t) * m * n)
            emission(lanes, c, g.root, m, n, z.q, row.c, s.r)
        if wants.learn and dense:
            absorb_dense(lanes, row, m, n, k, back)
            give_d(lanes, z, first, count, t, back, weight, slopes)
        big = wants.learn or wants.spread
        absorb_back(lanes, row, m, n, k, back, big, wants.learn and not dense)
        if wants.learn:
            if not dense:
                give_d(lanes, z, first, count, t, back, weight, slopes)
            row_slopes(lanes, z, slopes, back, weight, count, t, follows)


@inner
def give_d(lanes, z, first, count, t, back, weight, slopes):
    """The gradient in d of row t, which is u."""
    if slopes.d_rows > 1:
        to_row(lanes, z.m, z.k, back.u, weight, first, count, slopes.d_rows, t, slopes.d)
    else:
        add_column(lanes, z.m, z.k, back.u, back.dd)


@called
def end_task(lanes, z, first, count, back, wants, weight, slopes, second, p, block):
    """What was summed over rows, into the arrays of a task."""
    n, k, w = z.n, z.k, width(lanes)
    if wants.learn:
        end_slopes(lanes, z, slopes, back, weight, count)
        if slopes.b_rows == 1:
            to_row(lanes, n, 1, back.db, weight, first, count, 1, 0, slopes.b)
        if slopes.d_rows == 1:
            to_row(lanes, z.m, 1, back.dd, weight, first, count, 1, 0, slopes.d)
        write_start(lanes, n, k, back.r, back.big, True, weight, first, count, slopes)
    if wants.gathers:
        for lane in range(w):
            back.on[lane] = 1.0
        size = pk(n + 1, 0)
        flush(lanes, back.read, size, back.on, count, block_of(second.read, p, block))
        flush(lanes, back.move, size, back.on, count, block_of(second.move, p, block))
