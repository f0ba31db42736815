"""Extended and sigma-point Kalman filters of activations of affine maps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, kernel
from statespace.kernels.factor import SUMS, copy, pk, spread_out
from statespace.kernels.filtering import ends_of, put_gains, put_mean
from statespace.kernels.forward import put_root
from statespace.kernels.given import begin, given_of, sizes_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, apart, hold, plain, room, set_of, span
from statespace.kernels.network_points import (
    look_points,
    move_points,
    points_memory,
    points_of,
)
from statespace.kernels.network_rows import (
    foresee,
    look_network,
    move_network,
    net_memory,
    put_lanes,
)
from statespace.kernels.scratch import clear, finish, row_at, scratch

__all__ = ["filter_network", "filter_points"]


class _Shown(NamedTuple):
    """Places of `Rows` of a set; whether there are any, of covariances, and of moments of y."""

    wanted: Any
    ends: Any
    cov: Any
    before_cov: Any
    covs: Any
    y_mean: Any
    y_cov: Any
    seen: Any


@called
def shown_of(out, p):
    """Of set p."""
    return _Shown(
        out.ends.last.size > 0, ends_of(out.ends, p), set_of(out.covs[0], p),
        set_of(out.covs[1], p), out.covs.size > 0, span(out.y_mean, 0), span(out.y_cov, 0),
        out.y_cov.size > 0,
    )  # fmt: skip


@called
def put_cov(lanes, n, s, first, count, t, t_max, turned, covs):
    """The covariance of row t, left in `s.rows`; `turned`: states stand in reversed order."""
    w, nn = width(lanes), n * n
    spread_out(lanes, n, s.u, s.d, s.rows)
    place = ahead(covs, (first * t_max + t) * nn)
    if turned:
        for lane in range(count):
            for i in range(nn):
                place[lane * t_max * nn + nn - 1 - i] = s.rows[i * w + lane]
    else:
        put_lanes(lanes, s.rows, nn, count, place, t_max * nn)


@called
def show_before(lanes, z, s, first, count, t, turned, out):
    """The belief before row t is seen."""
    ends = out.ends
    put_mean(lanes, z.n, s.x, first, count, t, ends, ends.predicted_mean, ends.end)
    put_root(lanes, z.n, s, first, count, t, ends.last, ends.roots)
    if out.covs:
        put_cov(lanes, z.n, s, first, count, t, z.t_max, turned, out.before_cov)


@called
def show_after(lanes, z, s, first, count, t, turned, sums, before, out):
    """The belief after it, and what it added to the log-likelihood."""
    n, ends = z.n, out.ends
    after, root = ahead(ends.end, z.series * n), ahead(ends.roots, z.series * n * n)
    put_mean(lanes, n, s.x, first, count, t, ends, ends.mean, after)
    put_root(lanes, n, s, first, count, t, ends.last, root)
    if out.covs:
        put_cov(lanes, n, s, first, count, t, z.t_max, turned, out.cov)
    put_gains(lanes, sums, before, first, count, t, ends)


@kernel
def filter_network(lanes, model, data, codes, low, high, value, bad, held, marks, out):
    """The extended filter of tasks low .. high, W series of a set each; one column of the start.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`; b and d are what is added to A z and C z.
        codes: Of g and f, see `tables.CODES`; and 1 where a step leads into the first row.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`.
        held, marks: Out, (tasks, segments, numbers): the belief before every `held`-th row; empty
            where not wanted.
        out: See `Rows`.
    """
    w, z, dense, base = width(lanes), sizes_of(model, data), model.dense, span(model.a, 0)
    bare = plain(False)
    belief, (g_code, f_code, moved) = 2 * z.n + pk(z.n, 0), codes
    _, end = row_at(lanes, z, dense, scratch(lanes, z, dense, base).end)
    memory = room(apart(base, net_memory(lanes, z, end).end), model.a.dtype)
    counts = room(2 * SUMS * w, np.float64)
    sums, before = span(counts, 0), span(counts, SUMS * w)
    s = scratch(lanes, z, dense, span(memory, 0))
    row, end = row_at(lanes, z, dense, s.end)
    net, blocks = net_memory(lanes, z, end), (z.series + w - 1) // w
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        shown = shown_of(out, p)
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        for t in range(z.t_max):
            if marks.size > 0 and t % held == 0:
                copy(lanes, s.x, set_of(marks[task], t // held), belief)
            if t > 0 or moved > 0:
                move_network(lanes, z, g, g_code, s, net, first, count, t)
            if shown.wanted:
                show_before(lanes, z, s, first, count, t, bare, shown)
                if shown.seen:
                    foresee(lanes, z, g, f_code, s, net, s.rows, first, count, t, shown)
                copy(lanes, sums, before, SUMS)
            look_network(
                lanes, z, g, f_code, s, net, dense, bare, first, count, t, t == 0, row, sums
            )
            if shown.wanted:
                show_after(lanes, z, s, first, count, t, bare, sums, before, shown)
        finish(lanes, sums, p, first, count, 1, value, bad)
    hold(memory)
    hold(counts)


@kernel
def filter_points(lanes, model, data, codes, low, high, value, bad, points, out):
    """A sigma-point filter of tasks low .. high; states stand in reversed order, but for `covs`.

    Args:
        lanes: How many.
        model, data, codes: See `filter_network`.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`.
        points: See `Points`.
        out: See `Rows`.
    """
    w, z, dense, base = width(lanes), sizes_of(model, data), model.dense, span(model.a, 0)
    bare, turned = plain(False), plain(True)
    (g_code, f_code, moved), sigma = codes, points_of(points)
    _, end = row_at(lanes, z, dense, scratch(lanes, z, dense, base).end)
    dry = points_memory(lanes, z, sigma.count, net_memory(lanes, z, end).end)
    memory, counts = room(apart(base, dry.end), model.a.dtype), room(2 * SUMS * w, np.float64)
    sums, before = span(counts, 0), span(counts, SUMS * w)
    s = scratch(lanes, z, dense, span(memory, 0))
    row, end = row_at(lanes, z, dense, s.end)
    net, blocks = net_memory(lanes, z, end), (z.series + w - 1) // w
    own = points_memory(lanes, z, sigma.count, net.end)
    for task in range(low, high):
        p, first = task // blocks, (task % blocks) * w
        count, g = min(w, z.series - first), given_of(model, data, p)
        shown = shown_of(out, p)
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        for t in range(z.t_max):
            if t > 0 or moved > 0:
                move_points(lanes, z, g, g_code, s, own, sigma, first, count, t)
            if shown.wanted:
                show_before(lanes, z, s, first, count, t, turned, shown)
                copy(lanes, sums, before, SUMS)
            if f_code == 0:
                if shown.seen:
                    foresee(lanes, z, g, f_code, s, net, s.rows, first, count, t, shown)
                look_network(
                    lanes, z, g, f_code, s, net, dense, bare, first, count, t, t == 0, row, sums
                )
            else:
                look_points(lanes, z, g, f_code, s, own, sigma, first, count, t, shown, sums)
            if shown.wanted:
                show_after(lanes, z, s, first, count, t, turned, sums, before, shown)
        finish(lanes, sums, p, first, count, 1, value, bad)
    hold(memory)
    hold(counts)
