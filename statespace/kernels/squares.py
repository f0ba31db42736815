"""The covariance P = U D U' of a factor, all of it.

In a single lane rows of U' stand in the place of P itself, with zeros behind them, and are summed
eight columns at a time: row a of P takes from rows j >= a alone, and so may be put in its place.
The term of j is (u_ja u_jb) d_j, the same from both sides: P is symmetric to the last digit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from statespace.kernels.lanes import VectorType, load, store, width
from statespace.kernels.strips import all_of, eight

__all__ = ["square"]


@intrinsic
def load_some(typing: Any, lanes: Any, array: Any, index: Any, count: Any) -> Any:
    """The first `count` entries from an index on, and zeros behind; these are not read."""
    vector = VectorType(array.dtype, lanes.width)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, size = context.get_value_type(vector), vector.width
        where = builder.bitcast(builder.gep(args[1], [args[2]]), kind.as_pointer())
        words = ir.VectorType(ir.IntType(64), size)
        none, first = ir.Constant(words, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(none, args[3], first)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), size), [0] * size)
        till = builder.shuffle_vector(one, none, zeros)
        mask = builder.icmp_signed("<", ir.Constant(words, list(range(size))), till)
        bits, word = vector.dtype.bitwidth, ir.IntType(32)
        name = f"llvm.masked.load.v{size}f{bits}.p0"
        of = ir.FunctionType(kind, [kind.as_pointer(), word, mask.type, kind])
        call = cgutils.get_or_insert_function(builder.module, of, name)
        return builder.call(
            call, [where, ir.Constant(word, bits // 8), mask, ir.Constant(kind, None)]
        )

    return vector(lanes, array, types.intp, types.intp), code


def square(lanes: Any, zero: Any, n: int, u: Any, d: Any, p: Any) -> None:
    """P (n, n) of a packed unit upper triangle and what stands between."""


@overload(square)
def _square(lanes, zero, n, u, d, p):
    def many(lanes, zero, n, u, d, p):
        w = width(lanes)
        for a in range(n):
            for b in range(a + 1):
                value = load(lanes, d, a * w)
                if b < a:
                    value = value * load(lanes, u, (a * (a + 1) // 2 + b) * w)
                column = (a + 1) * (a + 2) // 2
                for j in range(a + 1, n):
                    left, right = load(lanes, u, (column + b) * w), (column + a) * w
                    value = value + left * load(lanes, u, right) * load(lanes, d, j * w)
                    column += j + 1
                store(lanes, p, (a * n + b) * w, value)
                store(lanes, p, (b * n + a) * w, value)

    def one(lanes, zero, n, u, d, p):
        column = 0
        for j in range(n):
            for b in range(0, n - n % 8, 8):
                store(eight(), p, j * n + b, load_some(eight(), u, column + b, j + 1 - b))
            for b in range(n - n % 8, n):
                store(lanes, p, j * n + b, load(lanes, u, column + b) if b <= j else zero)
            column += j + 1
        for a in range(n):
            for b in range(0, n - n % 8, 8):
                total = all_of(eight(), zero)
                for j in range(a, n):
                    part = all_of(eight(), load(lanes, p, j * n + a)) * load(eight(), p, j * n + b)
                    total = total + part * all_of(eight(), load(lanes, d, j))
                store(eight(), p, a * n + b, total)
            for b in range(n - n % 8, n):
                value = zero
                for j in range(a, n):
                    part = load(lanes, p, j * n + a) * load(lanes, p, j * n + b)
                    value = value + part * load(lanes, d, j)
                store(lanes, p, a * n + b, value)

    return one if lanes.width == 1 else many
