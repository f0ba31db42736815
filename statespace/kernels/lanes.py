"""A vector of lanes for compiled loops: W series side by side in one register.

`Lanes(W)` is passed to a compiled function as its first argument and fixes W at compile time;
`Lanes(1)` makes the same source a scalar loop. Memory of lanes, an array or a place in one, is
flat: entry i of all lanes at `i * W`. Nothing relies on fast-math or on the optimiser's own
vectorisation: fixed small inner loops are unrolled before they are vectorised, and run three times
slower.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import (
    NativeValue,
    intrinsic,
    overload,
    register_model,
    typeof_impl,
    unbox,
)

__all__ = [
    "Lanes",
    "LanesType",
    "VectorType",
    "exponent",
    "gather",
    "load",
    "mantissa",
    "positive",
    "root",
    "splat",
    "splat_at",
    "store",
    "unless_nan",
    "widen",
    "width",
]


class Lanes:
    """How many series one compiled call treats at once."""

    def __init__(self, width: int) -> None:
        self.width = width


class LanesType(types.Type):
    """Of a number of lanes."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Lanes({width})")


class VectorType(types.Type):
    """Of one number in each lane."""

    def __init__(self, dtype: Any, width: int) -> None:
        self.dtype, self.width = dtype, width
        super().__init__(name=f"Vector({dtype}, {width})")


@typeof_impl.register(Lanes)
def _typeof_lanes(value: Lanes, _context: Any) -> LanesType:
    return LanesType(value.width)


register_model(LanesType)(models.OpaqueModel)


@unbox(LanesType)
def _unbox_lanes(_type: Any, _value: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        base = ir.DoubleType() if fe_type.dtype == types.float64 else ir.FloatType()
        super().__init__(manager, fe_type, ir.VectorType(base, fe_type.width))


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The pointer behind a contiguous array; a pointer is one already."""
    if isinstance(kind, types.CPointer):
        return value
    return context.make_array(kind)(context, builder, value).data


def _pointer(context: Any, builder: Any, kind: Any, value: Any, index: Any, to: Any) -> Any:
    data = _data(context, builder, kind, value)
    return builder.bitcast(builder.gep(data, [index]), to.as_pointer())


@intrinsic
def load(typing: Any, lanes: Any, array: Any, index: Any) -> Any:
    """W numbers of a flat array from an index on."""
    vector = VectorType(array.dtype, lanes.width)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        llvm = context.get_value_type(vector)
        value = builder.load(_pointer(context, builder, signature.args[1], args[1], args[2], llvm))
        value.align = vector.dtype.bitwidth // 8
        return value

    return vector(lanes, array, types.intp), code


@intrinsic
def store(typing: Any, lanes: Any, array: Any, index: Any, value: Any) -> Any:
    """Writes a vector into a flat array from an index on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        llvm = context.get_value_type(signature.args[3])
        where = _pointer(context, builder, signature.args[1], args[1], args[2], llvm)
        builder.store(args[3], where).align = value.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(lanes, array, types.intp, value), code


@intrinsic
def splat(typing: Any, lanes: Any, number: Any) -> Any:
    """One number in every lane."""
    vector = VectorType(number, lanes.width)

    def code(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _in_all(builder, args[1], context.get_value_type(vector), lanes.width)

    return vector(lanes, number), code


def _in_all(builder: Any, number: Any, llvm: Any, width: int) -> Any:
    undefined, word = ir.Constant(llvm, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(undefined, number, ir.Constant(word, 0))
    first = ir.Constant(ir.VectorType(word, width), [0] * width)
    return builder.shuffle_vector(one, undefined, first)


@intrinsic
def splat_at(typing: Any, lanes: Any, array: Any, index: Any) -> Any:
    """One number of a contiguous array in every lane, by its place in memory; unchecked."""
    vector = VectorType(array.dtype, lanes.width)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _data(context, builder, signature.args[1], args[1])
        number = builder.load(builder.gep(data, [args[2]]))
        return _in_all(builder, number, context.get_value_type(vector), lanes.width)

    return vector(lanes, array, types.intp), code


@intrinsic
def gather(typing: Any, lanes: Any, array: Any, index: Any, step: Any) -> Any:
    """Numbers of a contiguous array at index, index + step, ...; unchecked."""
    vector = VectorType(array.dtype, lanes.width)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _data(context, builder, signature.args[1], args[1])
        where = builder.gep(data, [args[2]])
        value = ir.Constant(context.get_value_type(vector), ir.Undefined)
        for lane in range(lanes.width):
            value = builder.insert_element(
                value, builder.load(where), ir.Constant(ir.IntType(32), lane)
            )
            where = builder.gep(where, [args[3]])
        return value

    return vector(lanes, array, types.intp, types.intp), code


def _arithmetic(name: str, operation: Any) -> None:
    @intrinsic
    def apply(typing: Any, x: Any, y: Any) -> Any:
        def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            # a * b + c in one rounding where the machine has it; nothing is reassociated
            return getattr(builder, name)(args[0], args[1], flags=("contract",))

        return x(x, y), code

    @overload(operation)
    def _(x, y):  # numba compares the two signatures: no annotations
        if isinstance(x, VectorType) and x == y:
            return lambda x, y: apply(x, y)
        return None


for _name, _operation in (
    ("fadd", operator.add),
    ("fsub", operator.sub),
    ("fmul", operator.mul),
    ("fdiv", operator.truediv),
):
    _arithmetic(_name, _operation)


@intrinsic
def unless_nan(typing: Any, test: Any, value: Any, other: Any) -> Any:
    """`value` in the lanes in which `test` is a number, `other` in the rest."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("ord", args[0], args[0]), args[1], args[2])

    return value(test, value, other), code


@intrinsic
def positive(typing: Any, test: Any, value: Any, other: Any) -> Any:
    """`value` in the lanes in which `test` > 0, `other` in the rest."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered(">", args[0], zero), args[1], args[2])

    return value(test, value, other), code


@intrinsic
def root(typing: Any, x: Any) -> Any:
    """The square root."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = "f64" if x.dtype == types.float64 else "f32"
        name = f"llvm.sqrt.v{x.width}{kind}"
        of = ir.FunctionType(args[0].type, [args[0].type])
        return builder.call(cgutils.get_or_insert_function(builder.module, of, name), [args[0]])

    return x(x), code


@intrinsic
def widen(typing: Any, x: Any) -> Any:
    """The same numbers in float64."""
    vector = VectorType(types.float64, x.width)

    def code(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if x.dtype == types.float64:
            return args[0]
        return builder.fpext(args[0], context.get_value_type(vector))

    return vector(x), code


def _bits(builder: Any, value: Any, width: int) -> tuple[Any, Any]:
    words = ir.VectorType(ir.IntType(64), width)
    return builder.bitcast(value, words), words


@intrinsic
def mantissa(typing: Any, x: Any) -> Any:
    """X 2^-exponent(x), in [1, 2), of positive normal float64 numbers."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits, words = _bits(builder, args[0], x.width)
        fraction = ir.Constant(words, [(1 << 52) - 1] * x.width)
        one = ir.Constant(words, [1023 << 52] * x.width)
        return builder.bitcast(builder.or_(builder.and_(bits, fraction), one), args[0].type)

    return x(x), code


@intrinsic
def exponent(typing: Any, x: Any) -> Any:
    """The power of two of positive normal float64 numbers, as a number."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits, words = _bits(builder, args[0], x.width)
        shifted = builder.lshr(bits, ir.Constant(words, [52] * x.width))
        # the shifted exponent in the low bits of 2^52 is 2^52 + exponent + 1023
        anchor = 1 << 52
        placed = builder.or_(shifted, ir.Constant(words, [(1023 + 52) << 52] * x.width))
        number = builder.bitcast(placed, args[0].type)
        offset = ir.Constant(args[0].type, [float(anchor + 1023)] * x.width)
        return builder.fsub(number, offset)

    return x(x), code


def width(lanes: Any) -> int:
    """How many lanes there are; a constant of the compiled code."""
    return int(lanes.width)


@overload(width)
def _width(lanes):
    number = lanes.width
    return lambda lanes: number
