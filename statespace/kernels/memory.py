"""Places in memory for compiled loops: pointers, which cost nothing to pass on.

numba counts references to an array wherever it is passed on, sliced or read from a tuple, many
times a row; a place is not counted. What a kernel is handed is held by who calls it, and `hold`, at
its end, keeps what it took itself. Nothing is checked against the bounds of an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from statespace.kernels.compiling import called

__all__ = [
    "ahead",
    "apart",
    "hold",
    "number",
    "plain",
    "room",
    "rounding",
    "set_of",
    "smallest",
    "span",
]


@intrinsic
def span(typing: Any, array: Any, index: Any) -> Any:
    """Where entry `index` of a contiguous array stands."""
    if array.layout != "C":
        raise TypingError("a kernel was handed an array that is not contiguous")

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return types.CPointer(array.dtype)(array, types.intp), code


@intrinsic
def ahead(typing: Any, place: Any, entries: Any) -> Any:
    """The place so many entries further on."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return place(place, types.intp), code


@intrinsic
def apart(typing: Any, first: Any, last: Any) -> Any:
    """How many entries lie between two places."""

    def code(_context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        a, b = (builder.ptrtoint(x, word) for x in args)
        size = ir.Constant(word, signature.args[0].dtype.bitwidth // 8)
        return builder.sdiv(builder.sub(b, a), size)

    return types.intp(first, first), code


@intrinsic
def number(typing: Any, place: Any, value: Any) -> Any:
    """A float64 as a number of the kind that stands there."""

    def code(_context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single = signature.args[0].dtype == types.float32
        return builder.fptrunc(args[1], ir.FloatType()) if single else args[1]

    return place.dtype(place, types.float64), code


def rounding(place: Any) -> float:
    """The unit of rounding of the numbers that stand there, as a float64."""
    return float(np.finfo(place.dtype).eps)


@overload(rounding)
def _rounding(place):
    unit = float(np.finfo(str(place.dtype)).eps)
    return lambda place: unit


def smallest(place: Any) -> float:
    """The smallest normal number of the kind that stands there, as a float64."""
    return float(np.finfo(place.dtype).tiny)


@overload(smallest)
def _smallest(place):
    least = float(np.finfo(str(place.dtype)).tiny)
    return lambda place: least


@intrinsic
def hold(typing: Any, array: Any) -> Any:
    """An array is not given back before this."""

    def code(context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array), code


@intrinsic
def plain(typing: Any, value: Any) -> Any:
    """A constant as a number like any other.

    What is called with True in one place and with False in another would be compiled for each.
    """
    kind = types.unliteral(value)

    def code(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], value, kind)

    return kind(value), code


@called
def room(entries, number_type):
    """Memory that begins where a cache line does: vectors across two lines are slow."""
    line = 64
    memory = np.empty(entries + line, number_type)
    skip = (line - memory.ctypes.data % line) % line // memory.itemsize
    return memory[skip : skip + entries]


@called
def set_of(array, p):
    """Where set p of a table stands, whose axis of sets may have length 1."""
    return span(array, p * (array.size // array.shape[0]) if array.shape[0] > 1 else 0)
