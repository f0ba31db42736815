"""Filtered means without covariances, and everything about one row of each series.

`filter_means` is for series that have each a covariance of their own, `filter_shared` for complete
data, whose gains `settle` has found. Nothing grows with time but what is asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import SUMS, copy
from statespace.kernels.forward import put_root
from statespace.kernels.given import add_bias, begin, given_of, row_of, sizes_of
from statespace.kernels.lanes import load, store, width
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.products import set_zero
from statespace.kernels.scratch import LOG_2PI, clear, finish, look, move, row_at, scratch
from statespace.kernels.shared_means import absorb_row, begin_mean, mean_memory
from statespace.kernels.shared_rows import gains_of, move_mean

__all__ = ["filter_means", "filter_shared"]


class _Ends(NamedTuple):
    """Places of `Ends` of a set; the second of a pair is of the same series after the row."""

    mean: Any
    predicted_mean: Any
    increments: Any
    rows: Any  # how many rows of these are kept: all, or none
    end: Any
    roots: Any
    gain: Any
    last: Any


@called
def ends_of(ends, p):
    """Of set p."""
    return _Ends(
        set_of(ends.mean, p), set_of(ends.predicted_mean, p), set_of(ends.increments, p),
        ends.mean.shape[2], set_of(ends.end, p), set_of(ends.roots, p), set_of(ends.gain, p),
        set_of(ends.last, p),
    )  # fmt: skip


@called
def put_mean(lanes, n, x, first, count, t, ends, rows, end):
    """A mean into row t, where rows are kept, and into the end if it is the last."""
    w = width(lanes)
    for lane in range(count):
        series = first + lane
        if ends.rows > 0:
            place = (series * ends.rows + t) * n
            for a in range(n):
                rows[place + a] = x[a * w + lane]
        if ends.last[series] == t:
            for a in range(n):
                end[series * n + a] = x[a * w + lane]


@inner
def put_gain(first, lane, t, value, ends):
    """An increment into row t, where rows are kept, and into the end if it is the last."""
    series = first + lane
    if ends.rows > 0:
        ends.increments[series * ends.rows + t] = value
    if ends.last[series] == t:
        ends.gain[series] = value


@called
def put_gains(lanes, sums, before, first, count, t, ends):
    """What row t added to the log-likelihoods."""
    w = width(lanes)
    for lane in range(count):
        if ends.rows > 0 or ends.last[first + lane] == t:
            log_s = np.log(sums[w + lane] / before[w + lane])
            log_s += (sums[2 * w + lane] - before[2 * w + lane]) * np.log(2.0)
            entries = sums[3 * w + lane] - before[3 * w + lane]
            value = -0.5 * (log_s + sums[lane] - before[lane] + entries * LOG_2PI)
            put_gain(first, lane, t, value, ends)


@kernel
def filter_means(lanes, model, data, low, high, value, bad, ends):
    """Filters tasks low .. high, a task being W series of one set; the start has one column.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`.
        ends: Out, see `Ends`.
    """
    w, z, dense, base = width(lanes), sizes_of(model, data), model.dense, span(model.a, 0)
    n = z.n
    _, end = row_at(lanes, z, dense, scratch(lanes, z, dense, base).end)
    memory = room(apart(base, end), model.a.dtype)
    counts = room(2 * SUMS * w, np.float64)
    sums, before = span(counts, 0), span(counts, SUMS * w)
    s = scratch(lanes, z, dense, span(memory, 0))
    row, _ = row_at(lanes, z, dense, s.end)
    blocks = (z.series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g, out = min(w, z.series - first), given_of(model, data, p), ends_of(ends, p)
        after, after_root = ahead(out.end, z.series * n), ahead(out.roots, z.series * n * n)
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        for t in range(z.t_max):
            if t > 0:
                move(lanes, z, g, s, first, count, t)
            put_mean(lanes, n, s.x, first, count, t, out, out.predicted_mean, out.end)
            put_root(lanes, n, s, first, count, t, out.last, out.roots)
            copy(lanes, sums, before, SUMS)
            look(lanes, z, g, s, dense, False, first, count, t, t == 0, row, sums)
            put_mean(lanes, n, s.x, first, count, t, out, out.mean, after)
            put_root(lanes, n, s, first, count, t, out.last, after_root)
            put_gains(lanes, sums, before, first, count, t, out)
        finish(lanes, sums, p, first, count, 1, value, bad)
    hold(memory)
    hold(counts)


@kernel
def filter_shared(lanes, model, data, shared, rows, low, high, squares, ends):
    """Filters tasks low .. high of complete data with the gains that all series share.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`; nothing may be missing.
        shared, rows: What `settle` left, in the numbers of the model.
        low, high: Tasks.
        squares: Out, (sets, series), float64: of whitened residuals, summed over a series.
        ends: Out, see `Ends`; of increments only what hangs on the data, of roots nothing.
    """
    w, z, base = width(lanes), sizes_of(model, data), span(model.a, 0)
    n = z.n
    entries = apart(base, mean_memory(lanes, z, base).end) + z.m * w
    memory, counts = room(entries, model.a.dtype), room(2 * w, np.float64)
    s, own, total = mean_memory(lanes, z, span(memory, 0)), span(counts, 0), span(counts, w)
    blocks = (z.series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g, out = min(w, z.series - first), given_of(model, data, p), ends_of(ends, p)
        gains, after = gains_of(shared, rows, p), ahead(out.end, z.series * n)
        begin_mean(lanes, z, g, first, count, s.x)
        set_zero(lanes, total, 1)
        for t in range(z.t_max):
            if t > 0:
                move_mean(lanes, ahead(g.a, row_of(g.a_rows, t) * n * n), n, s.x, s.moved)
                add_bias(lanes, z, g, first, count, t, 1, s.x)
            put_mean(lanes, n, s.x, first, count, t, out, out.predicted_mean, out.end)
            set_zero(lanes, own, 1)
            absorb_row(lanes, z, g, gains, first, count, t, s, s.end, own)
            put_mean(lanes, n, s.x, first, count, t, out, out.mean, after)
            store(lanes, total, 0, load(lanes, total, 0) + load(lanes, own, 0))
            for lane in range(count):
                put_gain(first, lane, t, -0.5 * own[lane], out)
        place = set_of(squares, p)
        for lane in range(count):
            place[first + lane] = total[lane]
    hold(memory)
    hold(counts)
