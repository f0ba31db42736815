"""Standard normal numbers from uniform ones, exactly as torch makes them in float64.

torch fills sixteen numbers at a time by the method of Box and Muller (1958): of a block u,

    x_j = sqrt(-2 log(1 - u_j)) cos(2 pi u_{j+8}),   x_{j+8} = the same with sin,   j = 0 .. 7,

and what is left over at the end makes a block with numbers that were made before, drawn anew. Here
lanes of a block are turned at once, so that a normal number costs little more than a uniform one.
"""

from __future__ import annotations

from statespace.kernels.activations import nearest
from statespace.kernels.compiling import inner, kernel
from statespace.kernels.lanes import (
    exponent,
    gather,
    load,
    mantissa,
    positive,
    root,
    splat,
    store,
    width,
)
from statespace.kernels.memory import ahead, span

__all__ = ["logarithm", "make_normal", "turn_normal"]

_LOG_2, _LOG_2_REST = 0.693147180369123816490, 1.90821492927058770002e-10  # in 33 bits, and more


@inner
def logarithm(lanes, x):
    """Log x of positive normal float64 numbers: 2 artanh s of the mantissa, s = (x - 1) / (x + 1).

    |s| < 0.172, so that s^23 / 23 is below rounding.
    """
    one, half = splat(lanes, 1.0), splat(lanes, 0.5)
    m, k = mantissa(x), exponent(x)
    far = m - splat(lanes, 1.4142135623730951)
    m, k = positive(far, m * half, m), positive(far, k + one, k)
    s = (m - one) / (m + one)
    q = s * s
    total = splat(lanes, 2 / 21.0) * q + splat(lanes, 2 / 19.0)
    total = total * q + splat(lanes, 2 / 17.0)
    total = total * q + splat(lanes, 2 / 15.0)
    total = total * q + splat(lanes, 2 / 13.0)
    total = total * q + splat(lanes, 2 / 11.0)
    total = total * q + splat(lanes, 2 / 9.0)
    total = total * q + splat(lanes, 2 / 7.0)
    total = total * q + splat(lanes, 2 / 5.0)
    total = total * q + splat(lanes, 2 / 3.0)
    rest = (total * q) * s + k * splat(lanes, _LOG_2_REST)
    return k * splat(lanes, _LOG_2) + (splat(lanes, 2.0) * s + rest)


@inner
def circle(lanes, u):
    """Cos and sin of 2 pi u, for u in [0, 1): by half turns, then Taylor up to pi / 2."""
    one, two = splat(lanes, 1.0), splat(lanes, 2.0)
    half = nearest(two * u)
    x = (u - splat(lanes, 0.5) * half) * splat(lanes, 6.283185307179586)
    q = x * x
    cos = splat(lanes, 1.6117375710961184e-24) * q + splat(lanes, -8.896791392450574e-22)
    sin = splat(lanes, -3.868170170630684e-23) * q + splat(lanes, 1.9572941063391263e-20)
    cos = cos * q + splat(lanes, 4.110317623312165e-19)
    sin = sin * q + splat(lanes, -8.22063524662433e-18)
    cos = cos * q + splat(lanes, -1.5619206968586225e-16)
    sin = sin * q + splat(lanes, 2.8114572543455206e-15)
    cos = cos * q + splat(lanes, 4.779477332387385e-14)
    sin = sin * q + splat(lanes, -7.647163731819816e-13)
    cos = cos * q + splat(lanes, -1.1470745597729725e-11)
    sin = sin * q + splat(lanes, 1.6059043836821613e-10)
    cos = cos * q + splat(lanes, 2.08767569878681e-09)
    sin = sin * q + splat(lanes, -2.505210838544172e-08)
    cos = cos * q + splat(lanes, -2.755731922398589e-07)
    sin = sin * q + splat(lanes, 2.7557319223985893e-06)
    cos = cos * q + splat(lanes, 2.48015873015873e-05)
    sin = sin * q + splat(lanes, -0.0001984126984126984)
    cos = cos * q + splat(lanes, -0.001388888888888889)
    sin = sin * q + splat(lanes, 0.008333333333333333)
    cos = cos * q + splat(lanes, 0.041666666666666664)
    sin = sin * q + splat(lanes, -0.16666666666666666)
    cos = cos * q + splat(lanes, -0.5)
    cos = cos * q + splat(lanes, 1.0)
    apart = half - one  # a half turn is 1, and changes both signs
    sign = two * (apart * apart) - one
    return sign * cos, sign * (sin * q * x + x)


@inner
def block(lanes, source, out):
    """Sixteen normal numbers from sixteen uniform ones; the two may be one place."""
    w = width(lanes)
    for j in range(0, 8, w):
        first, second = load(lanes, source, j), load(lanes, source, j + 8)
        far = root(splat(lanes, -2.0) * logarithm(lanes, splat(lanes, 1.0) - first))
        cos, sin = circle(lanes, second)
        store(lanes, out, j, far * cos)
        store(lanes, out, j + 8, far * sin)


@kernel
def make_normal(lanes, draws, low, high, skip, size):
    """Rows low .. high of `draws`, in place: of each, `size` numbers after the first `skip`.

    Args:
        lanes: How many, a divisor of eight.
        draws: (rows, skip + size, and 16 more if 16 does not divide size), uniform in [0, 1).
        low, high: Rows.
        skip: How many numbers stay as they are.
        size: How many are turned, at least 16.
    """
    stride = draws.shape[1]
    for row in range(low, high):
        begin = span(draws, row * stride + skip)
        for i in range(size // 16):
            block(lanes, ahead(begin, 16 * i), ahead(begin, 16 * i))
        if size % 16 > 0:
            block(lanes, ahead(begin, size), ahead(begin, size - 16))


@kernel
def turn_normal(lanes, draws, low, high, skip, num, series, r, out):
    """Rows low .. high of numbers (K, series, r) as blocks of particles (series, blocks, r, 8).

    Args:
        lanes: How many, eight.
        draws: See `make_normal`.
        low, high: Rows.
        skip: How many numbers of a row stand before.
        num, series, r: Of each row.
        out: (rows, series, blocks * r * 8); behind the last particle zero.
    """
    w, stride = width(lanes), draws.shape[1]
    blocks, step = (num + w - 1) // w, series * r
    for row in range(low, high):
        source = span(draws, row * stride + skip)
        target = span(out, row * series * blocks * r * w)
        for block in range(blocks):
            whole = (block + 1) * w <= num
            for s in range(series):
                for j in range(r):
                    place = ((s * blocks + block) * r + j) * w
                    first = block * w * step + s * r + j
                    if whole and step == 1:
                        store(lanes, target, place, load(lanes, source, first))
                    elif whole:
                        store(lanes, target, place, gather(lanes, source, first, step))
                    else:
                        for lane in range(w):
                            inside = block * w + lane < num
                            target[place + lane] = source[first + lane * step] if inside else 0.0
