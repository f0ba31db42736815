"""Which particles go on: ancestors from weights and uniform numbers, for one series.

The first particle at which the cumulative weight exceeds a position in [0, 1) is the ancestor. No
binary search: positions in order are met by climbing, equal spacing by counting, and any others by
a table of where each share of the ladder begins.
"""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import called, inner

__all__ = ["select"]

_HAIR = 1e-9  # of a copy: equal weights are whole copies, though rounding says less


@inner
def climb(weights, num, ladder):
    """Cumulative weights; their sum is given back."""
    total = 0.0
    for k in range(num):
        total += weights[k]
        ladder[k] = total
    return total


@called
def by_counting(ladder, total, num, shift, out):
    """Positions (i + shift) / num: particle k meets those below its rung and above the one before.

    A particle is written where its first position is; who meets none is written over, or behind
    the end, and a running maximum fills the rest.
    """
    scale, start = num / total, 0
    for i in range(num + 1):
        out[i] = 0
    for k in range(num):
        out[start] = k
        start = min(num, max(start, np.int64(np.ceil(ladder[k] * scale - shift))))
    last = 0
    for i in range(num):
        last = max(last, out[i])
        out[i] = last


@called
def by_climbing(ladder, total, num, uniform, step, out):
    """Positions (i + u_i) / num, which are in order."""
    k = 0
    for i in range(num):
        position = (i + uniform[i * step]) / num * total
        while k < num - 1 and ladder[k] <= position:
            k += 1
        out[i] = k


@called
def by_table(ladder, total, num, uniform, step, begin, table, out):
    """Positions u_i in any order, for the ancestors from number `begin` on."""
    k = 0
    for i in range(num):
        while k < num - 1 and ladder[k] <= i / num * total:
            k += 1
        table[i] = k
    for i in range(begin, num):
        position = uniform[i * step]
        k = table[min(num - 1, np.int64(position * num))]
        position *= total
        while k > 0 and ladder[k - 1] > position:
            k -= 1
        while k < num - 1 and ladder[k] <= position:
            k += 1
        out[i] = k


@called
def by_copies(weights, num, uniform, step, ladder, table, out):
    """Whole copies first, in order; the rest from what is left over of the weights."""
    sure, total = 0, 0.0
    for k in range(num):
        copies = np.int64(np.floor(num * weights[k] + _HAIR))
        total += max(num * weights[k] - copies, 0.0)
        ladder[k] = total
        for _ in range(copies):
            if sure < num:
                out[sure] = k
            sure += 1
    if sure < num:
        if total <= 0.0:
            total = climb(weights, num, ladder)
        by_table(ladder, total, num, uniform, step, sure, table, out)


@called
def select(scheme, weights, num, uniform, step, ladder, table, out):
    """Ancestors of `num` particles, of as many.

    Args:
        scheme: See `particle_tables.SCHEMES`.
        weights: (num,), summing to one.
        num: How many.
        uniform, step: Where the random numbers stand, and how far apart.
        ladder, table: Memory, (num,), float64 and int64.
        out: (num + 1,) int64; the last is memory.
    """
    if scheme == 3:
        by_copies(weights, num, uniform, step, ladder, table, out)
        return
    total = climb(weights, num, ladder)
    if scheme == 0:
        by_counting(ladder, total, num, uniform[0], out)
    elif scheme == 1:
        by_climbing(ladder, total, num, uniform, step, out)
    else:
        by_table(ladder, total, num, uniform, step, 0, table, out)
