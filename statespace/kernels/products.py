"""Products with lane vectors, several rows at a time, so that what is read serves more than once.

Tables are numbers that all lanes share; entry (i, j) of a matrix stands `i down + j across` entries
after its first.
"""

from __future__ import annotations

from statespace.kernels.compiling import called, inner
from statespace.kernels.factor import filled, pk
from statespace.kernels.lanes import load, splat_at, store, width
from statespace.kernels.memory import ahead

__all__ = [
    "add_band",
    "add_outer",
    "add_pair",
    "add_product",
    "add_square",
    "by_rows",
    "by_table",
    "set_zero",
    "table_square",
]


@inner
def set_zero(lanes, out, entries):
    """So many entries of lane memory."""
    zero = filled(lanes, out, 0.0)
    for i in range(entries):
        store(lanes, out, i * width(lanes), zero)


@inner
def add_product(lanes, table, down, across, rows, columns, x, out):
    """Out (rows) += M x, M (rows, columns) a table; out must not be x."""
    add_band(lanes, table, down, across, rows, columns, 0, x, out)


@inner
def add_band(lanes, table, down, across, rows, columns, triangle, x, out):
    """The same with a square M that is lower (1) or upper (-1) triangular; 0 for any M."""
    w = width(lanes)
    i = 0
    while i + 4 <= rows:
        begin = i if triangle < 0 else 0
        end = i + 4 if triangle > 0 else columns
        o = i * w
        p, q = load(lanes, out, o), load(lanes, out, o + w)
        r, s = load(lanes, out, o + 2 * w), load(lanes, out, o + 3 * w)
        place = i * down + begin * across
        for j in range(begin, end):
            own = load(lanes, x, j * w)
            p = p + splat_at(lanes, table, place) * own
            q = q + splat_at(lanes, table, place + down) * own
            r = r + splat_at(lanes, table, place + 2 * down) * own
            s = s + splat_at(lanes, table, place + 3 * down) * own
            place += across
        store(lanes, out, o, p)
        store(lanes, out, o + w, q)
        store(lanes, out, o + 2 * w, r)
        store(lanes, out, o + 3 * w, s)
        i += 4
    while i < rows:
        begin = i if triangle < 0 else 0
        p, place = load(lanes, out, i * w), i * down + begin * across
        for j in range(begin, columns):
            p = p + splat_at(lanes, table, place) * load(lanes, x, j * w)
            place += across
        store(lanes, out, i * w, p)
        i += 1


@inner
def add_outer(lanes, left, rows, right, columns, turns, out):
    """Out (rows, columns) += the sum of left right' over so many turns, one after the other."""
    w = width(lanes)
    i = 0
    while i + 2 <= rows:
        j = 0
        while j + 2 <= columns:
            o = (i * columns + j) * w
            u = o + columns * w
            p, q = load(lanes, out, o), load(lanes, out, o + w)
            r, s = load(lanes, out, u), load(lanes, out, u + w)
            a, b = i * w, j * w
            for _ in range(turns):
                one, two = load(lanes, left, a), load(lanes, left, a + w)
                three, four = load(lanes, right, b), load(lanes, right, b + w)
                p = p + one * three
                q = q + one * four
                r = r + two * three
                s = s + two * four
                a += rows * w
                b += columns * w
            store(lanes, out, o, p)
            store(lanes, out, o + w, q)
            store(lanes, out, u, r)
            store(lanes, out, u + w, s)
            j += 2
        while j < columns:
            add_one(lanes, left, i, rows, right, j, columns, turns, out, i * columns + j)
            i_next = (i + 1) * columns + j
            add_one(lanes, left, i + 1, rows, right, j, columns, turns, out, i_next)
            j += 1
        i += 2
    while i < rows:
        for j in range(columns):
            add_one(lanes, left, i, rows, right, j, columns, turns, out, i * columns + j)
        i += 1


@inner
def add_square(lanes, x, rows, whole, turns, out):
    """Out (packed) += the sum of x x' over so many turns, or its diagonal alone."""
    for i in range(rows):
        for j in range(0 if whole else i, i + 1):
            add_one(lanes, x, i, rows, x, j, rows, turns, out, pk(i, j))


@inner
def add_one(lanes, left, l0, rows, right, r0, columns, turns, out, o):
    """Entry o of out += the sum of one product over so many turns."""
    w = width(lanes)
    value, a, b = load(lanes, out, o * w), l0 * w, r0 * w
    for _ in range(turns):
        value = value + load(lanes, left, a) * load(lanes, right, b)
        a += rows * w
        b += columns * w
    store(lanes, out, o * w, value)


@called
def by_rows(lanes, x, rows, y, columns, size, out):
    """Out (rows, columns) = X Y', of X (rows, size) and Y (columns, size)."""
    w = width(lanes)
    zero = filled(lanes, out, 0.0)
    i = 0
    while i < rows:
        two_rows = i + 1 < rows
        j = 0
        while j < columns:
            two_columns = j + 1 < columns
            a, b = i * size * w, (i + 1 if two_rows else i) * size * w
            c, d = j * size * w, (j + 1 if two_columns else j) * size * w
            p, q, r, s = zero, zero, zero, zero
            for h in range(0, size * w, w):
                one, two = load(lanes, x, a + h), load(lanes, x, b + h)
                three, four = load(lanes, y, c + h), load(lanes, y, d + h)
                p = p + one * three
                q = q + one * four
                r = r + two * three
                s = s + two * four
            o = (i * columns + j) * w
            store(lanes, out, o, p)
            if two_columns:
                store(lanes, out, o + w, q)
            if two_rows:
                store(lanes, out, o + columns * w, r)
                if two_columns:
                    store(lanes, out, o + columns * w + w, s)
            j += 2
        i += 2


@called
def by_table(lanes, x, rows, table, n, out):
    """Out (rows, n) = X A, of X (rows, n) and a table A (n, n)."""
    w = width(lanes)
    set_zero(lanes, out, rows * n)
    for i in range(rows):
        at = i * n * w
        add_product(lanes, table, 1, n, n, n, ahead(x, at), ahead(out, at))


@called
def table_square(lanes, table, n, x, out):
    """Out = A' X (n, n) of a table A, where that is symmetric: from half of it."""
    w = width(lanes)
    zero = filled(lanes, out, 0.0)
    for j in range(n):
        i = j
        while i + 4 <= n:
            p, q, r, s = zero, zero, zero, zero
            for h in range(n):
                own, at = load(lanes, x, (h * n + j) * w), h * n + i
                p = p + splat_at(lanes, table, at) * own
                q = q + splat_at(lanes, table, at + 1) * own
                r = r + splat_at(lanes, table, at + 2) * own
                s = s + splat_at(lanes, table, at + 3) * own
            put_both(lanes, n, i, j, p, out)
            put_both(lanes, n, i + 1, j, q, out)
            put_both(lanes, n, i + 2, j, r, out)
            put_both(lanes, n, i + 3, j, s, out)
            i += 4
        while i < n:
            p = zero
            for h in range(n):
                p = p + splat_at(lanes, table, h * n + i) * load(lanes, x, (h * n + j) * w)
            put_both(lanes, n, i, j, p, out)
            i += 1


@inner
def put_both(lanes, n, i, j, value, out):
    """A number into (i, j) and (j, i) of a matrix (n, n)."""
    w = width(lanes)
    store(lanes, out, (i * n + j) * w, value)
    store(lanes, out, (j * n + i) * w, value)


@called
def add_pair(lanes, x, y, rows, n, out):
    """Out (n, n) += (X' Y + Y' X) / 2, of X and Y (rows, n)."""
    w = width(lanes)
    half = filled(lanes, out, 0.5)
    for i in range(n):
        for j in range(i + 1):
            value = filled(lanes, out, 0.0)
            for a in range(0, rows * n * w, n * w):
                value = value + load(lanes, x, a + i * w) * load(lanes, y, a + j * w)
                value = value + load(lanes, y, a + i * w) * load(lanes, x, a + j * w)
            put_both(lanes, n, i, j, load(lanes, out, (i * n + j) * w) + half * value, out)
