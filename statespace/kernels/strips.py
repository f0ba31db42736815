"""Loops over consecutive entries of lane memory, the inner ones of a row.

A single lane is no vector: there the entries themselves, which stand side by side in memory, are
taken eight at a time where there are many. Sums of products would else wait for one addition after
the other.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic, overload

from statespace.kernels.lanes import LanesType, VectorType, load, splat_at, store, width
from statespace.kernels.memory import ahead

__all__ = [
    "add_dot",
    "add_scaled",
    "all_of",
    "eight",
    "take_away",
    "turn_column",
    "turn_triangle",
    "weigh",
]


def _strip(entries: int) -> Any:
    """So many entries of memory as one vector."""

    @intrinsic
    def lanes(typing: Any) -> Any:
        def code(context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
            return context.get_dummy_value()

        return LanesType(entries)(), code

    return lanes


eight = _strip(8)
_LEAST = (
    12  # entries from which strips are worth it: what was just written one by one is slow to read
)


@intrinsic
def _total(typing: Any, x: Any) -> Any:
    """The sum of the entries of a vector, as the vector of a single lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        parts = [
            builder.extract_element(args[0], ir.Constant(ir.IntType(32), i)) for i in range(x.width)
        ]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(parts[i], parts[i + half]) for i in range(half)]
        none = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        return builder.insert_element(none, parts[0], ir.Constant(ir.IntType(32), 0))

    return VectorType(x.dtype, 1)(x), code


@intrinsic
def all_of(typing: Any, lanes: Any, x: Any) -> Any:
    """The number of a single lane in all of a strip."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, word = context.get_value_type(signature.return_type), ir.IntType(32)
        none, first = ir.Constant(kind, ir.Undefined), ir.Constant(word, 0)
        one = builder.insert_element(none, builder.extract_element(args[1], first), first)
        zeros = ir.Constant(ir.VectorType(word, lanes.width), [0] * lanes.width)
        return builder.shuffle_vector(one, none, zeros)

    return VectorType(x.dtype, lanes.width)(lanes, x), code


def add_dot(lanes: Any, value: Any, x: Any, y: Any, count: int) -> Any:
    """Value + the sum of x_j y_j."""


@overload(add_dot)
def _add_dot(lanes, value, x, y, count):
    def many(lanes, value, x, y, count):
        w = width(lanes)
        for j in range(0, count * w, w):
            value = value + load(lanes, x, j) * load(lanes, y, j)
        return value

    def one(lanes, value, x, y, count):
        j = 0
        if count >= _LEAST:
            total = load(eight(), x, 0) * load(eight(), y, 0)
            j = 8
            while j + 8 <= count:
                total = total + load(eight(), x, j) * load(eight(), y, j)
                j += 8
            value = value + _total(total)
        while j < count:
            value = value + load(lanes, x, j) * load(lanes, y, j)
            j += 1
        return value

    return one if lanes.width == 1 else many


def turn_triangle(lanes: Any, a: Any, u: Any, n: int, out: Any, columns: int) -> None:
    """A U, of a shared A (n, n) and a packed unit triangle, into the front of out (n, columns)."""


@overload(turn_triangle)
def _turn_triangle(lanes, a, u, n, out, columns):
    def many(lanes, a, u, n, out, columns):
        w = width(lanes)
        for i in range(n):
            column = u
            for j in range(n):
                value = splat_at(lanes, a, i * n + j)
                for h in range(j):
                    value = value + splat_at(lanes, a, i * n + h) * load(lanes, column, h * w)
                store(lanes, out, (i * columns + j) * w, value)
                column = ahead(column, (j + 1) * w)

    def one(lanes, a, u, n, out, columns):
        i = 0
        while i + 4 <= n:  # a column is read once for four rows
            p, q, r, s = i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n
            column = u
            for j in range(n):
                v0, v1 = load(lanes, a, p + j), load(lanes, a, q + j)
                v2, v3 = load(lanes, a, r + j), load(lanes, a, s + j)
                h = 0
                if j >= 8:
                    own = load(eight(), column, 0)
                    t0, t1 = load(eight(), a, p) * own, load(eight(), a, q) * own
                    t2, t3 = load(eight(), a, r) * own, load(eight(), a, s) * own
                    h = 8
                    while h + 8 <= j:
                        own = load(eight(), column, h)
                        t0 = t0 + load(eight(), a, p + h) * own
                        t1 = t1 + load(eight(), a, q + h) * own
                        t2 = t2 + load(eight(), a, r + h) * own
                        t3 = t3 + load(eight(), a, s + h) * own
                        h += 8
                    v0, v1, v2, v3 = (
                        v0 + _total(t0),
                        v1 + _total(t1),
                        v2 + _total(t2),
                        v3 + _total(t3),
                    )
                while h < j:
                    by = load(lanes, column, h)
                    v0, v1 = v0 + load(lanes, a, p + h) * by, v1 + load(lanes, a, q + h) * by
                    v2, v3 = v2 + load(lanes, a, r + h) * by, v3 + load(lanes, a, s + h) * by
                    h += 1
                store(lanes, out, i * columns + j, v0)
                store(lanes, out, (i + 1) * columns + j, v1)
                store(lanes, out, (i + 2) * columns + j, v2)
                store(lanes, out, (i + 3) * columns + j, v3)
                column = ahead(column, j + 1)
            i += 4
        while i < n:
            column = u
            for j in range(n):
                value = add_dot(lanes, load(lanes, a, i * n + j), ahead(a, i * n), column, j)
                store(lanes, out, i * columns + j, value)
                column = ahead(column, j + 1)
            i += 1

    return one if lanes.width == 1 else many


def add_scaled(lanes: Any, out: Any, factor: Any, x: Any, count: int) -> None:
    """Out_j + factor x_j into out."""


@overload(add_scaled)
def _add_scaled(lanes, out, factor, x, count):
    def many(lanes, out, factor, x, count):
        w = width(lanes)
        for j in range(0, count * w, w):
            store(lanes, out, j, load(lanes, out, j) + factor * load(lanes, x, j))

    def one(lanes, out, factor, x, count):
        j = 0
        if count >= _LEAST:
            by = all_of(eight(), factor)
            while j + 8 <= count:
                store(eight(), out, j, load(eight(), out, j) + by * load(eight(), x, j))
                j += 8
        while j < count:
            store(lanes, out, j, load(lanes, out, j) + factor * load(lanes, x, j))
            j += 1

    return one if lanes.width == 1 else many


def take_away(
    lanes: Any, zero: Any, rows: Any, count: int, stride: int, columns: int, own: Any, by: Any,
    over: Any, u: Any,
) -> None:  # fmt: skip
    """From each of some rows its part along `own`: u_a = over (row_a . by), row_a -= u_a own.

    Rows are `stride` entries apart, of which the first `columns` count.
    """


@overload(take_away)
def _take_away(lanes, zero, rows, count, stride, columns, own, by, over, u):
    def many(lanes, zero, rows, count, stride, columns, own, by, over, u):
        w = width(lanes)
        for a in range(count):
            dot, start = zero, a * stride * w
            for j in range(0, columns * w, w):
                dot = dot + load(lanes, rows, start + j) * load(lanes, by, j)
            dot = dot * over
            store(lanes, u, a * w, dot)
            for j in range(0, columns * w, w):
                value = load(lanes, rows, start + j) - dot * load(lanes, own, j)
                store(lanes, rows, start + j, value)

    def one(lanes, zero, rows, count, stride, columns, own, by, over, u):
        a = 0
        if columns >= _LEAST:
            while a + 4 <= count:  # four rows at a time, so that sums do not wait for each other
                p = a * stride
                q, r, s = p + stride, p + 2 * stride, p + 3 * stride
                part = load(eight(), by, 0)
                t0, t1 = load(eight(), rows, p) * part, load(eight(), rows, q) * part
                t2, t3 = load(eight(), rows, r) * part, load(eight(), rows, s) * part
                j = 8
                while j + 8 <= columns:
                    part = load(eight(), by, j)
                    t0 = t0 + load(eight(), rows, p + j) * part
                    t1 = t1 + load(eight(), rows, q + j) * part
                    t2 = t2 + load(eight(), rows, r + j) * part
                    t3 = t3 + load(eight(), rows, s + j) * part
                    j += 8
                d0, d1, d2, d3 = _total(t0), _total(t1), _total(t2), _total(t3)
                while j < columns:
                    last = load(lanes, by, j)
                    d0 = d0 + load(lanes, rows, p + j) * last
                    d1 = d1 + load(lanes, rows, q + j) * last
                    d2 = d2 + load(lanes, rows, r + j) * last
                    d3 = d3 + load(lanes, rows, s + j) * last
                    j += 1
                d0, d1, d2, d3 = d0 * over, d1 * over, d2 * over, d3 * over
                store(lanes, u, a, d0)
                store(lanes, u, a + 1, d1)
                store(lanes, u, a + 2, d2)
                store(lanes, u, a + 3, d3)
                add_scaled(lanes, ahead(rows, p), zero - d0, own, columns)
                add_scaled(lanes, ahead(rows, q), zero - d1, own, columns)
                add_scaled(lanes, ahead(rows, r), zero - d2, own, columns)
                add_scaled(lanes, ahead(rows, s), zero - d3, own, columns)
                a += 4
        while a < count:
            start = ahead(rows, a * stride)
            d0 = add_dot(lanes, zero, start, by, columns) * over
            store(lanes, u, a, d0)
            add_scaled(lanes, start, zero - d0, own, columns)
            a += 1

    return one if lanes.width == 1 else many


def turn_column(lanes: Any, u: Any, gain: Any, turn: Any, v: Any, count: int) -> None:
    """U_j + turn gain_j into u, and gain_j + v u_j, of u as it was, into gain."""


@overload(turn_column)
def _turn_column(lanes, u, gain, turn, v, count):
    def many(lanes, u, gain, turn, v, count):
        w = width(lanes)
        for j in range(0, count * w, w):
            q, g = load(lanes, u, j), load(lanes, gain, j)
            store(lanes, u, j, q + g * turn)
            store(lanes, gain, j, g + q * v)

    def one(lanes, u, gain, turn, v, count):
        j = 0
        if count >= 8:
            by, up = all_of(eight(), turn), all_of(eight(), v)
            while j + 8 <= count:
                q, g = load(eight(), u, j), load(eight(), gain, j)
                store(eight(), u, j, q + g * by)
                store(eight(), gain, j, g + q * up)
                j += 8
        while j < count:
            own, add = load(lanes, u, j), load(lanes, gain, j)
            store(lanes, u, j, own + add * turn)
            store(lanes, gain, j, add + own * v)
            j += 1

    return one if lanes.width == 1 else many


def weigh(lanes: Any, zero: Any, x: Any, weights: Any, out: Any, count: int) -> Any:
    """Out_j <- x_j w_j; gives the sum of x_j out_j."""


@overload(weigh)
def _weigh(lanes, zero, x, weights, out, count):
    def many(lanes, zero, x, weights, out, count):
        w, size = width(lanes), zero
        for j in range(0, count * w, w):
            own = load(lanes, x, j)
            by = own * load(lanes, weights, j)
            store(lanes, out, j, by)
            size = size + own * by
        return size

    def one(lanes, zero, x, weights, out, count):
        j, size = 0, zero
        if count >= _LEAST:
            total = all_of(eight(), zero)
            while j + 8 <= count:
                part = load(eight(), x, j)
                scaled = part * load(eight(), weights, j)
                store(eight(), out, j, scaled)
                total = total + part * scaled
                j += 8
            size = _total(total)
        while j < count:
            own = load(lanes, x, j)
            by = own * load(lanes, weights, j)
            store(lanes, out, j, by)
            size = size + own * by
            j += 1
        return size

    return one if lanes.width == 1 else many
