"""Complete data: means in lanes, with gains and covariances that every series shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, inner, kernel
from statespace.kernels.factor import copy
from statespace.kernels.given import add_bias, given_of, row_of, sizes_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.products import add_band, set_zero
from statespace.kernels.shared_rows import (
    absorb_mean,
    gains_at,
    gains_of,
    move_mean,
    read_complete,
)

__all__ = ["absorb_row", "begin_mean", "mean_memory", "means", "pass_row"]


class _Means(NamedTuple):
    """Lane memory of a row."""

    x: Any
    moved: Any
    y: Any
    u: Any
    end: Any


@called
def mean_memory(lanes, z, start):
    """Cut from memory that begins at a place."""
    w = width(lanes)
    moved = ahead(start, z.n * w)
    y = ahead(moved, z.n * w)
    u = ahead(y, z.m * w)
    return _Means(start, moved, y, u, ahead(u, max(z.m, z.n) * w))


@called
def begin_mean(lanes, z, g, first, count, x):
    """The first means of a block."""
    w = width(lanes)
    for lane in range(w):
        place = row_of(g.x_series, first + min(lane, count - 1)) * z.n
        for a in range(z.n):
            x[a * w + lane] = g.x[place + a]


@inner
def absorb_row(lanes, z, g, own, first, count, t, s, e, squares):
    """The mean after row t; leaves residuals, and adds their squares."""
    m, row = z.m, gains_at(z, own, t)
    read_complete(lanes, z, g, first, count, t, s.y)
    if own.turn_rows > 0:
        copy(lanes, s.y, s.u, m)
        set_zero(lanes, s.y, m)
        add_band(lanes, row.turn, m, 1, m, m, 1, s.u, s.y)
    absorb_mean(lanes, row, m, z.n, s.y, s.x, e, squares)


@inner
def pass_row(lanes, z, g, own, first, count, t, s, e, squares):
    """From the mean after row t - 1 to the one after row t."""
    if t > 0:
        move_mean(lanes, ahead(g.a, row_of(g.a_rows, t) * z.n * z.n), z.n, s.x, s.moved)
        add_bias(lanes, z, g, first, count, t, 1, s.x)
    absorb_row(lanes, z, g, own, first, count, t, s, e, squares)


@kernel
def means(lanes, model, data, shared, rows, low, high, squares, marks, held):
    """Squared, whitened residuals of tasks low .. high, summed over a series.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`; nothing may be missing.
        shared, rows: What `settle` left, in the numbers of the model.
        low, high: Tasks.
        squares: Out, (sets, series), float64.
        marks: Out, (tasks, segments + 1, n * W): the means before every segment of `held` rows,
            before the step into its first row; and those after the last row.
        held: Rows of a segment.
    """
    w, z = width(lanes), sizes_of(model, data)
    base = span(model.a, 0)
    entries = apart(base, mean_memory(lanes, z, base).end) + z.m * w
    memory, counts = room(entries, model.a.dtype), room(w, np.float64)
    s, total = mean_memory(lanes, z, span(memory, 0)), span(counts, 0)
    places, blocks, left = marks.shape[1], (z.series + w - 1) // w, 0
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        own, mark = gains_of(shared, rows, p), span(marks, task * places * z.n * w)
        begin_mean(lanes, z, g, first, count, s.x)
        set_zero(lanes, total, 1)
        left = 0
        for t in range(z.t_max):
            if left == 0:
                copy(lanes, s.x, mark, z.n)
                mark, left = ahead(mark, z.n * w), held
            left -= 1
            pass_row(lanes, z, g, own, first, count, t, s, s.end, total)
        copy(lanes, s.x, mark, z.n)
        out = set_of(squares, p)
        for lane in range(count):
            out[first + lane] = total[lane]
    hold(memory)
    hold(counts)
