"""The named activations on lane memory: value, slope and curvature, by a number that names one.

All rest on one exponential of a number v <= 0, v = k log 2 + r, as 2^k (1 + p) with p = e^r - 1 a
polynomial, so that e^v - 1 keeps its digits near zero and nothing overflows:

    t = e^{-2|x|} - 1:   |tanh x| = -t / (2 + t)        tanh' = 4 (1 + t) / (2 + t)^2
    e = e^{-|x|}:        sigmoid x = 1 or e, over 1 + e  sigmoid' = e / (1 + e)^2
                         softplus x = max(x, 0) + log(1 + e), with sigmoid for its slope

Computed in float64 whatever the memory holds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from statespace.kernels.compiling import called, inner
from statespace.kernels.lanes import (
    load,
    positive,
    splat,
    store,
    unless_nan,
    widen,
    width,
)
from statespace.kernels.strips import eight

__all__ = ["activate", "apply"]

_LOW = -708.0  # e^v below it is no normal number, and zero is given
_OVER_LOG_2 = 1.4426950408889634
_LOG_2, _LOG_2_REST = 0.693147180369123816490, 1.90821492927058770002e-10  # in 33 bits, and more


@intrinsic
def nearest(typing: Any, x: Any) -> Any:
    """The nearest whole numbers of float64 lanes."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        of = ir.FunctionType(args[0].type, [args[0].type])
        name = f"llvm.nearbyint.v{x.width}f64"
        return builder.call(cgutils.get_or_insert_function(builder.module, of, name), [args[0]])

    return x(x), code


@intrinsic
def two_to(typing: Any, k: Any) -> Any:
    """2^k of whole numbers between -1022 and 1023, float64."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        # in the low bits of 2^52 + k + 1023 stands the shifted exponent
        anchor = ir.Constant(args[0].type, [float((1 << 52) + 1023)] * k.width)
        words = ir.VectorType(ir.IntType(64), k.width)
        bits = builder.bitcast(builder.fadd(args[0], anchor), words)
        return builder.bitcast(builder.shl(bits, ir.Constant(words, [52] * k.width)), args[0].type)

    return k(k), code


@intrinsic
def narrow(typing: Any, place: Any, x: Any) -> Any:
    """Float64 lanes in the numbers that stand at a place."""
    dtype = place.dtype
    vector = type(x)(dtype, x.width)

    def code(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if dtype == types.float64:
            return args[1]
        return builder.fptrunc(args[1], context.get_value_type(vector))

    return vector(place, x), code


@inner
def grown(lanes, v):
    """P and s = 2^k with e^v = s + s p, for v <= 0; both zero where e^v underflows."""
    zero = splat(lanes, 0.0)
    low = splat(lanes, _LOW)
    inside = positive(v - low, v, low)
    k = nearest(inside * splat(lanes, _OVER_LOG_2))
    r = (inside - k * splat(lanes, _LOG_2)) - k * splat(lanes, _LOG_2_REST)
    # Taylor: |r| <= log(2) / 2, so that r^14 / 14! is below rounding; two sums side by side
    s = r * r
    even = splat(lanes, 1 / 6227020800.0) * s + splat(lanes, 1 / 39916800.0)
    odd = splat(lanes, 1 / 479001600.0) * s + splat(lanes, 1 / 3628800.0)
    even = even * s + splat(lanes, 1 / 362880.0)
    odd = odd * s + splat(lanes, 1 / 40320.0)
    even = even * s + splat(lanes, 1 / 5040.0)
    odd = odd * s + splat(lanes, 1 / 720.0)
    even = even * s + splat(lanes, 1 / 120.0)
    odd = odd * s + splat(lanes, 1 / 24.0)
    even = even * s + splat(lanes, 1 / 6.0)
    odd = odd * s + splat(lanes, 0.5)
    p = (even * r + odd) * s + r
    power = positive(v - low, two_to(k), zero)
    return p, power


@inner
def log_one_plus(lanes, e):
    """Log(1 + e) for e in [0, 1]: 2 artanh(e / (2 + e)), from the middle of [1, 2] on about 2."""
    one, two = splat(lanes, 1.0), splat(lanes, 2.0)
    far = e - splat(lanes, 0.41421356237309503)
    s = positive(far, (e - one) / (e + splat(lanes, 3.0)), e / (two + e))
    q = s * s  # below 0.03
    total = splat(lanes, 2 / 21.0) * q + splat(lanes, 2 / 19.0)
    total = total * q + splat(lanes, 2 / 17.0)
    total = total * q + splat(lanes, 2 / 15.0)
    total = total * q + splat(lanes, 2 / 13.0)
    total = total * q + splat(lanes, 2 / 11.0)
    total = total * q + splat(lanes, 2 / 9.0)
    total = total * q + splat(lanes, 2 / 7.0)
    total = total * q + splat(lanes, 2 / 5.0)
    total = total * q + splat(lanes, 2 / 3.0)
    value = (total * q) * s + two * s
    return positive(far, value + splat(lanes, 0.6931471805599453), value)


@inner
def of_tanh(lanes, x):
    """Tanh x, its slope and its curvature."""
    zero, one, two = splat(lanes, 0.0), splat(lanes, 1.0), splat(lanes, 2.0)
    size = positive(x, x, zero - x)
    p, power = grown(lanes, zero - two * size)
    t, e = power * p + (power - one), power * p + power
    over = one / (two + t)
    value = zero - t * over
    value = positive(x, value, zero - value)
    slope = splat(lanes, 4.0) * (e * over) * over
    return value, slope, zero - two * (value * slope)


@inner
def of_sigmoid(lanes, x):
    """Sigmoid x, its slope and its curvature; and e^{-|x|}."""
    zero, one = splat(lanes, 0.0), splat(lanes, 1.0)
    size = positive(x, x, zero - x)
    p, power = grown(lanes, zero - size)
    e = power * p + power
    over = one / (one + e)
    value = positive(x, over, e * over)
    slope = (e * over) * over
    tilt = (one - e) * over  # 1 - 2 sigmoid |x|, less its sign
    return value, slope, slope * positive(x, zero - tilt, tilt), e


@inner
def turn(lanes, code, x, at, value, slope, curve, order):
    """One vector: the value, from order 1 on the slope, and with order 2 the curvature."""
    own = load(lanes, x, at)
    if code == 0 or code == 2:
        wide = widen(own)
        zero, one = splat(lanes, 0.0), splat(lanes, 1.0)
        first, second, third = wide, one, zero
        if code == 2:
            first, second = positive(wide, wide, zero), positive(wide, one, zero)
    elif code == 1:
        wide = widen(own)
        first, second, third = of_tanh(lanes, wide)
    else:
        wide = widen(own)
        first, second, third, e = of_sigmoid(lanes, wide)
        if code == 4:
            third = second
            second = first
            first = positive(wide, wide, splat(lanes, 0.0)) + log_one_plus(lanes, e)
    store(lanes, value, at, unless_nan(own, narrow(value, first), own))
    if order > 0:
        store(lanes, slope, at, unless_nan(own, narrow(value, second), own))
    if order > 1:
        store(lanes, curve, at, unless_nan(own, narrow(value, third), own))


def apply(lanes: Any, code: Any, x: Any, n: Any, value: Any, slope: Any, curve: Any, o: Any) -> Any:
    """Of n entries of lane memory; see `activate`."""


@overload(apply)
def _apply(lanes, code, x, n, value, slope, curve, o):
    def many(lanes, code, x, n, value, slope, curve, o):
        w = width(lanes)
        for i in range(n):
            turn(lanes, code, x, i * w, value, slope, curve, o)

    def one(lanes, code, x, n, value, slope, curve, o):
        i = 0
        while i + 8 <= n:
            turn(eight(), code, x, i, value, slope, curve, o)
            i += 8
        while i < n:
            turn(lanes, code, x, i, value, slope, curve, o)
            i += 1

    return one if lanes.width == 1 else many


@called
def activate(lanes, code, x, n, value, slope, curve, order):
    """An activation of n entries of lane memory, each lane by itself.

    Args:
        lanes: How many.
        code: Which: see `tables.CODES`.
        x, n: Where it is taken, and of how many entries; `value` may be x.
        value: Out.
        slope: Out, its derivative, if `order` is 1 or 2; else not touched.
        curve: Out, its second derivative, if `order` is 2.
        order: How many derivatives.
    """
    apply(lanes, code, x, n, value, slope, curve, order)
