"""One row of a filter in UD form, all lanes at once: P = U diag(D) U', U unit upper triangular.

Observations are absorbed one scalar at a time (Bierman 1977, section V.3) and the state is moved
by weighted Gram-Schmidt (Thornton 1976; Bierman 1977, section VI.4). No square root is taken and
no covariance is subtracted. A pivot below the rounding of its row is set to zero: without that
threshold singular A, Q or P end in 0 / 0.

Lane memory: x (n, k) with k columns (the mean, then directions of an augmented start), U packed by
columns, D (n). A NaN in y says that the entry was not observed. Everything is handed over as places
in memory (`memory`).
"""

from __future__ import annotations

from statespace.kernels.compiling import called, inner
from statespace.kernels.lanes import (
    exponent,
    load,
    mantissa,
    positive,
    root,
    splat,
    splat_at,
    store,
    unless_nan,
    widen,
    width,
)
from statespace.kernels.memory import ahead, number, rounding, smallest
from statespace.kernels.squares import square
from statespace.kernels.strips import add_dot, take_away, turn_column, turn_triangle, weigh

__all__ = [
    "SUMS",
    "absorb_rows",
    "copy",
    "emission",
    "filled",
    "observe",
    "orthogonalise",
    "pk",
    "predict",
    "spread_out",
    "whiten",
]

SUMS = 5  # float64 vectors: squares, mantissas, exponents, entries, entries without variance


@inner
def pk(a, b):
    """Where (a, b) of a packed triangle stands, a >= b."""
    return a * (a + 1) // 2 + b


@inner
def filled(lanes, place, value):
    """A float64 in every lane, as a number of the kind that stands at a place."""
    return splat(lanes, number(place, value))


@inner
def copy(lanes, source, out, entries):
    """Some entries of lane memory."""
    w = width(lanes)
    for i in range(entries):
        store(lanes, out, i * w, load(lanes, source, i * w))


@inner
def emission(lanes, c, factor, m, n, columns, out, r):
    """C (m, n) into lane memory; the variances of y, whose root has so many columns."""
    w = width(lanes)
    for i in range(m):
        value = number(factor, 0.0)
        for j in range(i * columns, (i + 1) * columns):
            value += factor[j] * factor[j]
        store(lanes, r, i * w, splat(lanes, value))
        for j in range(i * n, (i + 1) * n):
            store(lanes, out, j * w, splat_at(lanes, c, j))


@called
def absorb_rows(lanes, m, k, e, inverse, rows, v):
    """Rotates a row's whitened residuals into what is known of delta (Givens).

    Args:
        lanes: How many.
        m, k: Features of y; columns of x, the mean first.
        e, inverse: What `observe` left, (m, k) and (m).
        rows: Upper triangle [E | e], (k, k), k - 1 directions and the mean last.
        v: Scratch (k).
    """
    w = width(lanes)
    zero, one = filled(lanes, e, 0.0), filled(lanes, e, 1.0)
    for i in range(m):
        scale = root(load(lanes, inverse, i * w))
        for col in range(1, k):
            value = load(lanes, e, (i * k + col) * w) * scale
            store(lanes, v, (col - 1) * w, zero - value)
        store(lanes, v, (k - 1) * w, load(lanes, e, i * k * w) * scale)
        for col in range(k):
            own, new = load(lanes, rows, (col * k + col) * w), load(lanes, v, col * w)
            size = root(own * own + new * new)
            over = positive(size, one / size, zero)
            cosine, sine = positive(size, own * over, one), new * over
            for j in range(col, k):
                at = (col * k + j) * w
                old, add = load(lanes, rows, at), load(lanes, v, j * w)
                store(lanes, rows, at, cosine * old + sine * add)
                store(lanes, v, j * w, cosine * add - sine * old)


@called
def whiten(lanes, factor, columns, m, n, y, c, r, turn, rows):
    """Makes the observed entries independent: R_oo = L diag(r) L', y <- L^-1 y, C <- L^-1 C.

    Rows of a root of R are orthogonalised from the first on, so R itself is never formed and may
    be singular; `turn` (m, m) becomes L^-1. Unobserved entries are left out.
    """
    w = width(lanes)
    zero, one = filled(lanes, r, 0.0), filled(lanes, r, 1.0)
    least = filled(lanes, r, (8 * rounding(r)) ** 2)
    for i in range(m):
        seen, size = load(lanes, y, i * w), zero
        for j in range(columns):
            value = unless_nan(seen, splat_at(lanes, factor, i * columns + j), zero)
            store(lanes, rows, (i * columns + j) * w, value)
            size = size + value * value
        store(lanes, r, i * w, size * least)
        for j in range(m):
            store(lanes, turn, (i * m + j) * w, one if i == j else zero)
    for i in range(m):
        size = zero
        for j in range(columns):
            value = load(lanes, rows, (i * columns + j) * w)
            size = size + value * value
        size = positive(load(lanes, r, i * w) - size, zero, size)
        store(lanes, r, i * w, size)
        over = positive(size, one / size, zero)
        own = load(lanes, y, i * w)
        own = unless_nan(own, own, zero)
        for a in range(i + 1, m):
            dot = zero
            for j in range(columns):
                left, right = load(lanes, rows, (i * columns + j) * w), (a * columns + j) * w
                dot = dot + left * load(lanes, rows, right)
            dot = dot * over
            store(lanes, y, a * w, load(lanes, y, a * w) - dot * own)
            for j in range(columns):
                at, left = (a * columns + j) * w, load(lanes, rows, (i * columns + j) * w)
                store(lanes, rows, at, load(lanes, rows, at) - dot * left)
            for j in range(n):
                at, left = (a * n + j) * w, load(lanes, c, (i * n + j) * w)
                store(lanes, c, at, load(lanes, c, at) - dot * left)
            for j in range(i + 1):
                at, left = (a * m + j) * w, load(lanes, turn, (i * m + j) * w)
                store(lanes, turn, at, load(lanes, turn, at) - dot * left)


@inner
def absorb_entry(lanes, i, n, seen, r, u, d, f, v, gain):
    """U and D after entry i, with f = U' c and v = D f; leaves the gain.

    Gives the variance of the entry and one over it, 0 where it has none.
    """
    w = width(lanes)
    zero, one = filled(lanes, d, 0.0), filled(lanes, d, 1.0)
    least = filled(lanes, d, smallest(d))  # one over less than this overflows
    s, over = load(lanes, r, i * w), zero  # the first column of U stays as it is
    for j in range(n):
        fj, vj, dj = load(lanes, f, j * w), load(lanes, v, j * w), load(lanes, d, j * w)
        turn = unless_nan(seen, zero - fj * over, zero)
        before = s
        s = s + fj * vj
        over = positive(s - least, one / s, zero)
        store(lanes, d, j * w, unless_nan(seen, positive(s, dj * (before * over), dj), dj))
        turn_column(lanes, ahead(u, pk(j, 0) * w), gain, turn, vj, j)
        store(lanes, gain, j * w, vj)
    return s, over


@inner
def count_entry(lanes, seen, s, enough, sums):
    """Adds an entry of variance s to the running sums of the likelihood; see `SUMS`."""
    w = width(lanes)
    zero, one = splat(lanes, 0.0), splat(lanes, 1.0)
    seen64 = widen(seen)
    product = load(lanes, sums, w) * unless_nan(seen64, widen(s), one)
    product = positive(product, product, one)
    store(lanes, sums, w, mantissa(product))
    store(lanes, sums, 2 * w, load(lanes, sums, 2 * w) + exponent(product))
    count = load(lanes, sums, 3 * w)
    store(lanes, sums, 3 * w, count + unless_nan(seen64, one, zero))
    missed = unless_nan(seen64, one - widen(enough), zero)
    store(lanes, sums, 4 * w, load(lanes, sums, 4 * w) + missed)


@inner
def observe(lanes, c, r, m, n, k, y, x, u, d, f, v, gain, gains, inverse, e, sums):
    """Absorbs a row y (m): leaves gains (m, n) over s, 1 / s and residuals (m, k), 0 if unseen.

    Args:
        lanes: How many.
        c, r: C (m, n) and the variances of y (m), independent of each other.
        m, n, k: Sizes; k columns of x.
        y: Lane memory (m), NaN where not observed.
        x, u, d: The belief, changed in place.
        f, v, gain: Scratch (n), (2 n), (n).
        gains, inverse, e: Out.
        sums: Running sums of the likelihood, see `SUMS`.
    """
    w = width(lanes)
    zero, one = filled(lanes, d, 0.0), filled(lanes, d, 1.0)
    least = filled(lanes, d, (32 * n * rounding(d)) ** 2 * n)
    for a in range(n):  # the second half of v holds the variances of the states before the row
        p = load(lanes, d, a * w)
        for j in range(a + 1, n):
            q = load(lanes, u, pk(j, a) * w)
            p = p + q * q * load(lanes, d, j * w)
        store(lanes, v, (n + a) * w, p)
    squares = splat(lanes, 0.0)
    for i in range(m):
        seen = load(lanes, y, i * w)
        bound = load(lanes, r, i * w)
        for j in range(n):
            q = load(lanes, c, (i * n + j) * w)
            bound = bound + q * q * load(lanes, v, (n + j) * w)
            q = add_dot(lanes, q, ahead(u, pk(j, 0) * w), ahead(c, i * n * w), j)
            store(lanes, f, j * w, q)
            store(lanes, v, j * w, q * load(lanes, d, j * w))
        s, over = absorb_entry(lanes, i, n, seen, r, u, d, f, v, gain)
        over = unless_nan(seen, over, zero)
        store(lanes, inverse, i * w, over)
        for a in range(n):
            store(lanes, gains, (i * n + a) * w, load(lanes, gain, a * w) * over)
        for col in range(k):
            residual = seen if col == 0 else zero
            for a in range(n):
                own = load(lanes, c, (i * n + a) * w)
                residual = residual - own * load(lanes, x, (a * k + col) * w)
            residual = unless_nan(seen, residual, zero)
            store(lanes, e, (i * k + col) * w, residual)
            if col == 0:
                squares = squares + widen(residual * (residual * over))
            for a in range(n):
                at, g = (a * k + col) * w, load(lanes, gains, (i * n + a) * w)
                store(lanes, x, at, load(lanes, x, at) + g * residual)
        count_entry(lanes, seen, s, positive(s - least * bound, one, zero), sums)
    store(lanes, sums, 0, load(lanes, sums, 0) + squares)


@called
def orthogonalise(lanes, rows, weights, n, columns, fewer, u, d, scratch):
    """U and D of rows diag(weights) rows', rows (n, columns), which are overwritten.

    With `fewer`, 1 and not 0, the last i columns of row i are zero: as where a root of that shape
    stands at the end.
    """
    w = width(lanes)
    zero, one = filled(lanes, d, 0.0), filled(lanes, d, 1.0)
    least = filled(lanes, d, (8 * rounding(d)) ** 2)
    tiny = filled(lanes, d, smallest(d))  # one over less than this overflows
    for a in range(n):
        own = ahead(rows, a * columns * w)
        size = weigh(lanes, zero, own, weights, scratch, columns - a * fewer)
        store(lanes, d, a * w, size * least)
    for back in range(n):
        i = n - 1 - back
        own, used = ahead(rows, i * columns * w), columns - i * fewer
        size = weigh(lanes, zero, own, weights, scratch, used)
        size = positive(load(lanes, d, i * w) + tiny - size, zero, size)
        store(lanes, d, i * w, size)
        store(lanes, u, pk(i, i) * w, one)
        if i == 0:
            break
        over, out = positive(size, one / size, zero), ahead(u, pk(i, 0) * w)
        take_away(lanes, zero, rows, i, columns, used, own, scratch, over, out)


@inner
def predict(lanes, a, q, n, k, r, x, u, d, rows, weights, moved):
    """Moves the belief by A (n, n) and a root of Q (n, r); the bias is not added here."""
    w = width(lanes)
    one = filled(lanes, d, 1.0)
    columns = n + r
    turn_triangle(lanes, a, u, n, rows, columns)
    for i in range(n):
        for j in range(r):
            store(lanes, rows, (i * columns + n + j) * w, splat_at(lanes, q, i * r + j))
        for col in range(k):
            value = filled(lanes, d, 0.0)
            for j in range(n):
                own = load(lanes, x, (j * k + col) * w)
                value = value + splat_at(lanes, a, i * n + j) * own
            store(lanes, moved, (i * k + col) * w, value)
    copy(lanes, moved, x, n * k)
    copy(lanes, d, weights, n)
    for j in range(r):
        store(lanes, weights, (n + j) * w, one)
    orthogonalise(lanes, rows, weights, n, columns, 0, u, d, moved)


@called
def spread_out(lanes, n, u, d, p):
    """P = U D U' (n, n)."""
    square(lanes, filled(lanes, d, 0.0), n, u, d, p)
