"""The extended Kalman filter of activations of affine maps."""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import called, kernel
from statespace.kernels.factor import SUMS, copy, pk, spread_out
from statespace.kernels.filtering import ends_of, put_gains, put_mean
from statespace.kernels.forward import put_root
from statespace.kernels.given import begin, given_of, sizes_of
from statespace.kernels.lanes import width
from statespace.kernels.memory import ahead, apart, hold, room, set_of, span
from statespace.kernels.network_rows import look_network, move_network, net_memory
from statespace.kernels.scratch import clear, finish, row_at, scratch

__all__ = ["filter_network", "put_cov"]


@called
def put_cov(lanes, n, s, first, count, t, t_max, covs):
    """The covariance of row t, where they are wanted."""
    w = width(lanes)
    spread_out(lanes, n, s.u, s.d, s.rows)
    for lane in range(count):
        place = ((first + lane) * t_max + t) * n * n
        for i in range(n * n):
            covs[place + i] = s.rows[i * w + lane]


@kernel
def filter_network(lanes, model, data, codes, low, high, value, bad, held, marks, ends, covs):
    """Filters tasks low .. high, a task being W series of one set; the start has one column.

    Args:
        lanes: How many.
        model, data: See `Model`, `Data`; b and d are what is added to A z and C z.
        codes: Of g and f, see `tables.CODES`; and 1 where a step leads into the first row.
        low, high: Tasks.
        value, bad: Out, as in `filter_each`.
        held, marks: Out, (tasks, segments, numbers): the belief before every `held`-th row; empty
            where not wanted.
        ends: Out, see `Ends`; None, which is another compiled loop, where nothing is wanted.
        covs: Out, filtered and predicted covariances, (2, sets, series, T, n, n); no rows where
            not wanted.
    """
    w, z, dense, base = width(lanes), sizes_of(model, data), model.dense, span(model.a, 0)
    n, belief = z.n, z.n + pk(z.n, 0) + z.n
    g_code, f_code, moved = codes
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
        begin(lanes, z, g, first, count, s)
        clear(lanes, sums)
        for t in range(z.t_max):
            if marks.size > 0 and t % held == 0:
                copy(lanes, s.x, set_of(marks[task], t // held), belief)
            if t > 0 or moved > 0:
                move_network(lanes, z, g, g_code, s, net, first, count, t)
            if ends is not None:
                out = ends_of(ends, p)
                put_mean(lanes, n, s.x, first, count, t, out, out.predicted_mean, out.end)
                put_root(lanes, n, s, first, count, t, out.last, out.roots)
                if covs.size > 0:
                    put_cov(lanes, n, s, first, count, t, z.t_max, set_of(covs[1], p))
                copy(lanes, sums, before, SUMS)
            look_network(
                lanes, z, g, f_code, s, net, dense, False, first, count, t, t == 0, row, sums
            )
            if ends is not None:
                out = ends_of(ends, p)
                after = ahead(out.end, z.series * n)
                after_root = ahead(out.roots, z.series * n * n)
                put_mean(lanes, n, s.x, first, count, t, out, out.mean, after)
                put_root(lanes, n, s, first, count, t, out.last, after_root)
                if covs.size > 0:
                    put_cov(lanes, n, s, first, count, t, z.t_max, set_of(covs[0], p))
                put_gains(lanes, sums, before, first, count, t, out)
        finish(lanes, sums, p, first, count, 1, value, bad)
    hold(memory)
    hold(counts)
