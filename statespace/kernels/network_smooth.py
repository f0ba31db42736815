"""The smoother of activations of affine maps, linearised where the filter was.

The recursion for r_t and N_t of `backward`, with A_t = diag(g') A: A itself is shared by all
series, and their slopes are multiplied in before and after it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.backward import (
    absorb_back,
    move_back,
    place_cov,
    state_back,
    times_a,
    times_cov,
)
from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import SUMS, copy, filled, pk, spread_out
from statespace.kernels.given import begin, given_of, row_of, sizes_of
from statespace.kernels.held import back_memory, held_memory, slot_of
from statespace.kernels.lanes import load, splat_at, store, width
from statespace.kernels.memory import ahead, apart, hold, plain, room, set_of, span
from statespace.kernels.network_rows import (
    look_network,
    move_network,
    net_memory,
    scale_columns,
    scale_rows,
)
from statespace.kernels.scratch import clear, finish, scratch
from statespace.kernels.turning import write_cross, write_moments

__all__ = ["rows_at_once", "smooth_network"]

SEGMENT = 32  # rows that are held at once, where not all of them are
_HELD = 1 << 18  # numbers up to which all rows are held, and none is run twice


class _Out(NamedTuple):
    """Where the moments of a set go, and Q for the lag-one covariances; see `Smooth`."""

    mean: Any
    cov: Any
    covs: Any  # whether they are wanted
    cross: Any
    crosses: Any
    noise: Any
    noise_rows: Any


@called
def out_of_network(smooth, p):
    """Of set p."""
    return _Out(
        set_of(smooth.mean, p), set_of(smooth.cov, p), smooth.cov.size > 0, set_of(smooth.cross, p),
        smooth.cross.size > 0, set_of(smooth.noise, p), smooth.noise.shape[1],
    )  # fmt: skip


@inner
def rows_at_once(numbers, rows):
    """How many rows are held, of so many numbers each."""
    return rows if rows * numbers <= _HELD else min(rows, SEGMENT)


@called
def put_cross(lanes, a, q, slopes, n, cov, product, cross):
    """A_t V - Q product, of product = N A_t P_f."""
    w = width(lanes)
    for i in range(n):
        by = load(lanes, slopes, i * w)
        for j in range(n):
            value = filled(lanes, cov, 0.0)
            for h in range(n):
                value = value + splat_at(lanes, a, i * n + h) * load(lanes, cov, (h * n + j) * w)
            value = value * by
            for h in range(n):
                part = load(lanes, product, (h * n + j) * w)
                value = value - splat_at(lanes, q, i * n + h) * part
            store(lanes, cross, (i * n + j) * w, value)


@called
def ahead_network(lanes, z, g, codes, s, net, keeps, first, count, start, stop, h, slopes, sums):
    """The forward pass over the rows of a segment."""
    w, n = width(lanes), z.n
    g_code, f_code, moved = codes
    dense, keeping = keeps
    for t in range(start, stop):
        slot = t - start
        if t > 0 or moved > 0:
            move_network(lanes, z, g, g_code, s, net, first, count, t)
        copy(lanes, net.moves, ahead(slopes, slot * n * w), n)
        row = slot_of(lanes, z, keeping, h, slot)
        look_network(
            lanes, z, g, f_code, s, net, dense, plain(False), first, count, t, t == start, row, sums
        )
        copy(lanes, s.x, ahead(h.xf, slot * n * w), n)
        spread_out(lanes, n, s.u, s.d, ahead(h.pf, slot * n * n * w))


@called
def before_network(lanes, a, slopes, n, pf, back, spread, crossed):
    """Takes r and N from row t + 1 back over the step into it; leaves r before A' and N A_t P."""
    scale_rows(lanes, slopes, n, 1, 1, back.r)
    if spread:
        scale_columns(lanes, slopes, n, back.big)
        times_a(lanes, a, n, back.big, back.by_a)
        if crossed:
            times_cov(lanes, n, back.by_a, pf, back.product)
        scale_rows(lanes, slopes, n, n, n, back.by_a)
        move_back(lanes, a, n, back.by_a, back.big)


@called
def back_network(lanes, z, g, keeping, first, count, start, stop, h, slopes, back, out):
    """The way back over the rows of a segment; at the end of `slopes` are those of the next row."""
    w, n, m = width(lanes), z.n, z.m
    for t in range(stop - 1, start - 1, -1):
        slot, follows = t - start, t + 1 < z.t_max
        row, pf = slot_of(lanes, z, keeping, h, slot), ahead(h.pf, slot * n * n * w)
        a = ahead(g.a, row_of(g.a_rows, t + 1) * n * n if follows else 0)
        by = ahead(slopes, (slot + 1) * n * w)
        if follows:
            before_network(lanes, a, by, n, pf, back, out.covs, out.crosses)
        state_back(lanes, z, a, follows, ahead(h.xf, slot * n * w), pf, back)
        if follows:
            copy(lanes, back.moved, back.r, n)
        if out.covs:
            place_cov(lanes, n, 1, pf, back)
            if follows and out.crosses:
                noise = ahead(out.noise, row_of(out.noise_rows, t + 1) * n * n)
                put_cross(lanes, a, noise, by, n, back.cov, back.product, back.cross)
                write_cross(lanes, z, first, count, t, back.cross, out.cross)
        write_moments(lanes, z, first, count, t, back, out, True, out.covs)
        absorb_back(lanes, row, m, n, 1, back, out.covs, False)


@kernel
def smooth_network(lanes, model, data, codes, low, high, value, bad, smooth):
    """Smoothed moments of tasks low .. high, W series of a set each.

    Args:
        lanes: How many.
        model, data, codes: See `filter_network`.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`.
        smooth: Out, see `Smooth`; covariances, lag-one covariances may have no rows.
    """
    w, z, dense = width(lanes), sizes_of(model, data), model.dense
    n, m, belief = z.n, z.m, z.n + pk(z.n, 0) + z.n
    keeping = dense or codes[1] != 0
    held = rows_at_once((2 * m * n + 2 * m + n * n + 2 * n) * w, z.t_max)
    base = span(model.a, 0)
    dry = net_memory(lanes, z, scratch(lanes, z, dense, base).end)
    dry_h = held_memory(lanes, z, keeping, held, dry.end)
    entries = apart(base, back_memory(lanes, z, False, dry_h.end).end) + (held + 1) * n * w
    memory, counts = room(entries, model.a.dtype), room(2 * SUMS * w, np.float64)
    s = scratch(lanes, z, dense, span(memory, 0))
    net = net_memory(lanes, z, s.end)
    h = held_memory(lanes, z, keeping, held, net.end)
    back = back_memory(lanes, z, False, h.end)
    slopes, sums, idle = back.end, span(counts, 0), span(counts, SUMS * w)
    segments, blocks = (z.t_max + held - 1) // held, (z.series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        out = out_of_network(smooth, p)
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        clear(lanes, idle)
        for i in range(apart(back.r, back.moved)):
            back.r[i] = 0.0
        for turn in range(2 * segments - 1):
            segment = turn if turn < segments else 2 * segments - 2 - turn
            mark = ahead(h.marks, segment * belief * w)
            start, stop = segment * held, min(z.t_max, (segment + 1) * held)
            if turn < segments:
                copy(lanes, s.x, mark, belief)
            else:
                copy(lanes, mark, s.x, belief)
                copy(lanes, slopes, ahead(slopes, held * n * w), n)
            own, keeps = sums if turn < segments else idle, (dense, keeping)
            ahead_network(
                lanes, z, g, codes, s, net, keeps, first, count, start, stop, h, slopes, own
            )
            if turn >= segments - 1:
                back_network(lanes, z, g, keeping, first, count, start, stop, h, slopes, back, out)
        finish(lanes, sums, p, first, count, 1, value, bad)
    hold(memory)
    hold(counts)
