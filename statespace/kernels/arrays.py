"""Scratch memory of kernels, and reading a row of data into lanes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import SUMS, orthogonalise, pk, width
from statespace.kernels.lanes import load, splat, store

__all__ = ["add_bias", "at", "begin", "clear", "finish", "read_row", "row_of", "scratch"]

LOG_2PI = 1.8378770664093453


class Scratch(NamedTuple):
    """Lane memory of a forward pass; see `factor` for the shapes."""

    x: Any
    u: Any
    d: Any
    rows: Any
    weights: Any
    move: Any
    y: Any
    f: Any
    v: Any
    gain: Any
    r: Any
    noise: Any


@called
def scratch(lanes, model, m):
    """The memory of a forward pass, in one piece."""
    w = width(lanes)
    n, k = model.x.shape[2], model.x.shape[3]
    columns = n + model.q.shape[3]
    u = n * k
    d = u + pk(n, 0)
    rows = d + n
    weights = rows + n * columns
    move = weights + columns
    y = move + max(columns, n * k)
    f = y + m
    v = f + n
    gain = v + 2 * n
    r = gain + n
    noise = r + m
    end = noise + (m * model.r.shape[3] if model.dense else 0)
    memory = np.empty(end * w, model.a.dtype)
    return Scratch(
        memory[: u * w], memory[u * w : d * w], memory[d * w : rows * w],
        memory[rows * w : weights * w], memory[weights * w : move * w], memory[move * w : y * w],
        memory[y * w : f * w], memory[f * w : v * w], memory[v * w : gain * w],
        memory[gain * w : r * w], memory[r * w : noise * w], memory[noise * w : end * w],
    )  # fmt: skip


@called
def at(array, index):
    """Along an axis that may have length 1."""
    return array[index if array.shape[0] > 1 else 0]


@inner
def row_of(length, t):
    """Index t along an axis of time that may have length 1."""
    return t if length > 1 else 0


@inner
def read_row(lanes, values, seen, shift, first, count, t, m, y):
    """y_t - d_t of a block of series into lane memory, NaN where not observed or no series."""
    w = width(lanes)
    td, each = row_of(shift.shape[1], t), shift.shape[0] > 1
    for lane in range(count):
        series = first + lane
        for i in range(m):
            y[i * w + lane] = values[series, t, i]
        if each:
            for i in range(m):
                y[i * w + lane] -= shift[series, td, i]
        if seen.size > 0:
            for i in range(m):
                if seen[series, t, i] == 0:
                    y[i * w + lane] = np.nan
    for lane in range(count, w):
        for i in range(m):
            y[i * w + lane] = np.nan
    if not each:
        for i in range(m):
            store(lanes, y, i * w, load(lanes, y, i * w) - splat(lanes, shift[0, td, i]))


@inner
def add_bias(lanes, bias, first, count, t, n, k, x):
    """Adds b_t to the mean."""
    w = width(lanes)
    tb, each = row_of(bias.shape[1], t), bias.shape[0] > 1
    for lane in range(count):
        own = first + lane if each else 0
        for a in range(n):
            x[a * k * w + lane] += bias[own, tb, a]


@called
def begin(lanes, means, roots, first, count, n, k, s):
    """The start of a block of series, into the scratch memory s."""
    w = width(lanes)
    for lane in range(w):
        series = first + min(lane, count - 1)
        ix, ir = row_of(means.shape[0], series), row_of(roots.shape[0], series)
        for a in range(n):
            for col in range(k):
                s.x[(a * k + col) * w + lane] = means[ix, a, col]
            for j in range(n):
                s.rows[(a * n + j) * w + lane] = roots[ir, a, j]
                s.weights[j * w + lane] = 1
    orthogonalise(lanes, s.rows, s.weights, n, n, s.u, s.d, s.move)


@inner
def clear(lanes, sums):
    """Running sums of a likelihood, at their beginning."""
    w = width(lanes)
    for i in range(SUMS * w):
        sums[i] = 1.0 if w <= i < 2 * w else 0.0


@called
def finish(lanes, sums, p, first, count, k, value, bad):
    """The sums of a block as log-likelihoods."""
    w = width(lanes)
    for lane in range(count):
        log_s = np.log(sums[w + lane]) + sums[2 * w + lane] * np.log(2.0)
        squares = sums[lane] if k == 1 else 0.0
        value[p, first + lane] = -0.5 * (log_s + squares + sums[3 * w + lane] * LOG_2PI)
        bad[p, first + lane] = sums[4 * w + lane]
