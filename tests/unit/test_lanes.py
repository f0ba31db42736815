"""The vector of lanes does what a loop over numbers does, whatever its width."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from statespace.kernels.factor import width
from statespace.kernels.lanes import (
    Lanes,
    exponent,
    load,
    mantissa,
    positive,
    splat,
    store,
    unless_nan,
    widen,
)

WIDTHS = (1, 2, 16)
NUMBERS = (np.float64, np.float32)


@numba.njit
def arithmetic(lanes, x, y, out):
    w = width(lanes)
    a, b = load(lanes, x, 0), load(lanes, y, 0)
    store(lanes, out, 0, a + b)
    store(lanes, out, w, a - b)
    store(lanes, out, 2 * w, a * b)
    store(lanes, out, 3 * w, a / b)
    store(lanes, out, 4 * w, splat(lanes, x[0]))
    store(lanes, out, 5 * w, unless_nan(a, b, a + b))
    store(lanes, out, 6 * w, positive(b, a, b))


@numba.njit
def split(lanes, x, out):
    w = width(lanes)
    v = widen(load(lanes, x, 0))
    store(lanes, out, 0, mantissa(v))
    store(lanes, out, w, exponent(v))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("w", WIDTHS)
def test_arithmetic(w: int, number: type) -> None:
    """The four operations, one number in all lanes, and the two choices."""
    rng = np.random.default_rng(w)
    x, y = rng.standard_normal((2, w)).astype(number)
    x[w // 2] = np.nan
    out = np.empty(7 * w, number)
    arithmetic(Lanes(w), x, y, out)
    chosen = np.where(np.isnan(x), x + y, y)
    wanted = [x + y, x - y, x * y, x / y, np.full(w, x[0]), chosen, np.where(y > 0, x, y)]
    np.testing.assert_array_equal(out.reshape(7, w), np.array(wanted, number))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("w", WIDTHS)
def test_mantissa_and_exponent(w: int, number: type) -> None:
    """x = mantissa 2^exponent exactly, from the smallest normal numbers to the largest."""
    info = np.finfo(number)
    ends = np.log([float(info.tiny) * 1.01, float(info.max) * 0.99])
    x = np.exp(np.linspace(*ends, w) if w > 1 else np.array([1.3])).astype(number)
    out = np.empty(2 * w)
    split(Lanes(w), x, out)
    assert ((out[:w] >= 1) & (out[:w] < 2)).all()
    np.testing.assert_array_equal(np.ldexp(out[:w], out[w:].astype(int)), x.astype(float))


@numba.njit
def nonsense(lanes, x):
    return load(lanes, x, 0) + 1


def test_lanes_do_not_mix_with_numbers() -> None:
    """A vector and a number have no sum: splat says what is meant."""
    with pytest.raises(numba.TypingError):
        nonsense(Lanes(2), np.ones(2))
