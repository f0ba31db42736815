"""What a way back leaves: gradients and sums over rows, out of lanes into arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import filled, pk
from statespace.kernels.given import row_of
from statespace.kernels.lanes import load, positive, store, width
from statespace.kernels.memory import ahead, set_of, span

__all__ = [
    "Slopes",
    "add_column",
    "add_second",
    "end_slopes",
    "flush",
    "row_slopes",
    "slopes_of",
    "to_row",
    "write_start",
]


class Slopes(NamedTuple):
    """Where the gradients of a task go, and how many rows of each there are; see `Score`."""

    a: Any
    a_rows: Any
    q: Any
    q_rows: Any
    c: Any
    c_rows: Any
    r: Any
    r_rows: Any
    b: Any
    b_rows: Any
    d: Any
    d_rows: Any
    mean: Any
    cov: Any


@called
def block_of(array, p, block):
    """Where a table of set p and a block of its series stands; both axes may have length 1."""
    sets, blocks = array.shape[0], array.shape[1]
    index = (p if sets > 1 else 0) * blocks + (block if blocks > 1 else 0)
    return span(array, index * (array.size // (sets * blocks)))


@called
def slopes_of(score, p, block):
    """Those of a task."""
    return Slopes(
        block_of(score.a, p, block), score.a.shape[2], block_of(score.q, p, block),
        score.q.shape[2], block_of(score.c, p, block), score.c.shape[2],
        block_of(score.r, p, block), score.r.shape[2], set_of(score.b, p), score.b.shape[2],
        set_of(score.d, p), score.d.shape[2], set_of(score.mean, p), set_of(score.cov, p),
    )  # fmt: skip


@called
def flush(lanes, sums, entries, weight, count, out):
    """Out (entries) += the sums over lanes, weighted lane by lane; the sums become zero."""
    w = width(lanes)
    for i in range(entries):
        total = 0.0
        for lane in range(count):
            if weight[lane] != 0.0:
                total += weight[lane] * sums[i * w + lane]
        out[i] += total
        for lane in range(w):
            sums[i * w + lane] = 0.0


@called
def to_row(lanes, entries, k, source, weight, first, count, rows, t, out):
    """Adds column 0 of source (entries, k), weighted, to row t of each series' so many rows."""
    w = width(lanes)
    for lane in range(count):
        if weight[lane] != 0.0:
            place = ((first + lane) * rows + row_of(rows, t)) * entries
            for i in range(entries):
                out[place + i] += weight[lane] * source[i * k * w + lane]


@inner
def add_column(lanes, entries, k, source, out):
    """Out (entries) += column 0 of source (entries, k)."""
    w = width(lanes)
    for i in range(entries):
        store(lanes, out, i * w, load(lanes, out, i * w) + load(lanes, source, i * k * w))


@called
def row_slopes(lanes, z, slopes, sums, weight, count, t, moved):
    """The sums of row t, with `moved` of the step into row t + 1, where those rows have their own.

    `sums` has da, dq, dc, dr.
    """
    n, m = z.n, z.m
    if moved and slopes.a_rows > 1:
        flush(lanes, sums.da, n * n, weight, count, ahead(slopes.a, (t + 1) * n * n))
    if moved and slopes.q_rows > 1:
        flush(lanes, sums.dq, pk(n, 0), weight, count, ahead(slopes.q, (t + 1) * pk(n, 0)))
    if slopes.c_rows > 1:
        flush(lanes, sums.dc, m * n, weight, count, ahead(slopes.c, t * m * n))
    if slopes.r_rows > 1:
        flush(lanes, sums.dr, pk(m, 0), weight, count, ahead(slopes.r, t * pk(m, 0)))


@called
def end_slopes(lanes, z, slopes, sums, weight, count):
    """The sums over all rows of what does not differ in time."""
    n, m = z.n, z.m
    if slopes.a_rows == 1:
        flush(lanes, sums.da, n * n, weight, count, slopes.a)
    if slopes.q_rows == 1:
        flush(lanes, sums.dq, pk(n, 0), weight, count, slopes.q)
    if slopes.c_rows == 1:
        flush(lanes, sums.dc, m * n, weight, count, slopes.c)
    if slopes.r_rows == 1:
        flush(lanes, sums.dr, pk(m, 0), weight, count, slopes.r)


@called
def write_start(lanes, n, k, r, big, has_big, weight, first, count, slopes):
    """The gradient of the first moments: r and (r r' - N) / 2 at the first row."""
    w = width(lanes)
    for lane in range(count):
        if weight[lane] == 0.0:
            continue
        place = (first + lane) * n
        for i in range(n):
            slopes.mean[place + i] = weight[lane] * r[i * k * w + lane]
            for j in range(n):
                value = -big[(i * n + j) * w + lane] if has_big else 0.0
                for col in range(k):
                    value += r[(i * k + col) * w + lane] * r[(j * k + col) * w + lane]
                slopes.cov[(place + i) * n + j] = 0.5 * weight[lane] * value


@called
def add_second(lanes, n, k, on, x, cov, out):
    """Out += E[(z, 1)(z, 1)'], packed, in the lanes in which `on` is positive."""
    w = width(lanes)
    zero, one, flag = filled(lanes, x, 0.0), filled(lanes, x, 1.0), load(lanes, on, 0)
    for i in range(n):
        own = load(lanes, x, i * k * w)
        for j in range(i + 1):
            value = load(lanes, cov, (i * n + j) * w) + own * load(lanes, x, j * k * w)
            at = pk(i, j) * w
            store(lanes, out, at, load(lanes, out, at) + positive(flag, value, zero))
        at = pk(n, i) * w
        store(lanes, out, at, load(lanes, out, at) + positive(flag, own, zero))
    at = pk(n, n) * w
    store(lanes, out, at, load(lanes, out, at) + positive(flag, one, zero))
