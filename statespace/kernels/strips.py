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

__all__ = ["add_dot", "add_scaled", "add_table_dot", "turn_column", "weigh"]


def _strip(entries: int) -> Any:
    """So many entries of memory as one vector."""

    @intrinsic
    def lanes(typing: Any) -> Any:
        def code(context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
            return context.get_dummy_value()

        return LanesType(entries)(), code

    return lanes


_eight = _strip(8)
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
def _all(typing: Any, lanes: Any, x: Any) -> Any:
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
            total = load(_eight(), x, 0) * load(_eight(), y, 0)
            j = 8
            while j + 8 <= count:
                total = total + load(_eight(), x, j) * load(_eight(), y, j)
                j += 8
            value = value + _total(total)
        while j < count:
            value = value + load(lanes, x, j) * load(lanes, y, j)
            j += 1
        return value

    return one if lanes.width == 1 else many


def add_table_dot(lanes: Any, value: Any, table: Any, x: Any, count: int) -> Any:
    """Value + the sum of t_j x_j, the table being shared by all lanes."""


@overload(add_table_dot)
def _add_table_dot(lanes, value, table, x, count):
    def many(lanes, value, table, x, count):
        w = width(lanes)
        for j in range(count):
            value = value + splat_at(lanes, table, j) * load(lanes, x, j * w)
        return value

    def one(lanes, value, table, x, count):
        return add_dot(lanes, value, table, x, count)

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
            by = _all(_eight(), factor)
            while j + 8 <= count:
                store(_eight(), out, j, load(_eight(), out, j) + by * load(_eight(), x, j))
                j += 8
        while j < count:
            store(lanes, out, j, load(lanes, out, j) + factor * load(lanes, x, j))
            j += 1

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
            by, up = _all(_eight(), turn), _all(_eight(), v)
            while j + 8 <= count:
                q, g = load(_eight(), u, j), load(_eight(), gain, j)
                store(_eight(), u, j, q + g * by)
                store(_eight(), gain, j, g + q * up)
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
            total = _all(_eight(), zero)
            while j + 8 <= count:
                part = load(_eight(), x, j)
                scaled = part * load(_eight(), weights, j)
                store(_eight(), out, j, scaled)
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
