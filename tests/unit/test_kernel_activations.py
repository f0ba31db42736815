"""The compiled activations are those of the package, with their derivatives, wherever they are.

Would catch: an exponential that overflows, digits that are lost near zero or in the tails, a sign
of a curvature, lanes that differ from single numbers, and a code that names another function.
"""

from __future__ import annotations

import mpmath
import numba
import numpy as np
import pytest
import torch

from statespace.activations import ACTIVATIONS
from statespace.kernels import CODES
from statespace.kernels.activations import activate
from statespace.kernels.lanes import Lanes
from statespace.kernels.memory import span

FAR = (800.0, 710.0, 40.0, 20.000001, 19.999999, 3.0, 0.7, 0.41, 1e-3, 1e-9, 1e-300)
POINTS = np.array([*FAR, *(-x for x in FAR), 0.0, 1.0, -1.0])


@numba.njit
def run(lanes, code, x, n, out):
    size = x.size
    a, b, c = span(out, 0), span(out, size), span(out, 2 * size)
    activate(lanes, code, span(x, 0), n, a, b, c, 2)


def compiled(name: str, x: np.ndarray, w: int) -> np.ndarray:
    """Value, slope and curvature, (3, *x.shape)."""
    full = np.zeros(-(-x.size // w) * w, x.dtype)
    full[: x.size] = x
    out = np.empty(3 * full.size, x.dtype)
    run(Lanes(w), CODES[name], full, full.size // w, out)
    return out.reshape(3, -1)[:, : x.size]


def truth(name: str, x: float) -> tuple[float, ...]:
    """The same to fifty digits."""
    mpmath.mp.dps = 50
    v, one = mpmath.mpf(x), mpmath.mpf(1)
    if name == "identity":
        return x, 1.0, 0.0
    if name == "relu":
        return max(x, 0.0), float(x > 0), 0.0
    s = one / (one + mpmath.exp(-v))
    if name == "tanh":
        t, slope = mpmath.tanh(v), mpmath.sech(v) ** 2
        return float(t), float(slope), float(-2 * t * slope)
    if name == "sigmoid":
        return float(s), float(s * (1 - s)), float(s * (1 - s) * (1 - 2 * s))
    return float(mpmath.log1p(mpmath.exp(v))), float(s), float(s * (1 - s))


@pytest.mark.parametrize("w", [1, 2, 8, 16])
@pytest.mark.parametrize("name", CODES)
def test_digits(name: str, w: int) -> None:
    """Four units of rounding, relative, far out and near zero; what underflows is zero."""
    mpmath.mp.dps = 400
    found = compiled(name, POINTS, w)
    wanted = np.array([truth(name, x) for x in POINTS]).T
    np.testing.assert_allclose(found[:2], wanted[:2], rtol=9e-16, atol=1e-300)
    np.testing.assert_allclose(found[2], wanted[2], rtol=2e-15, atol=1e-17)


@pytest.mark.parametrize("name", CODES)
def test_the_same_as_in_torch(name: str) -> None:
    """Value and slope of the activation of that name; curvature by autograd of the slope."""
    x = np.random.default_rng(0).standard_normal(400) * 10 ** np.linspace(-8, 2.5, 400)
    at = torch.from_numpy(x).requires_grad_()
    g = ACTIVATIONS[name]
    slope = g.slope(at)
    curve = torch.zeros_like(at)
    if name not in ("identity", "relu"):
        (curve,) = torch.autograd.grad(slope.sum(), at)
    wanted = torch.stack([g(at), slope, curve]).detach().numpy()
    scale = np.maximum(1.0, np.abs(wanted))
    assert np.abs((compiled(name, x, 16) - wanted) / scale).max() < 1e-15
    assert np.abs((compiled(name, x, 1) - wanted) / scale).max() < 1e-15


@pytest.mark.parametrize("name", CODES)
def test_single_precision(name: str) -> None:
    """Float32 in, float32 out."""
    found = compiled(name, POINTS.astype(np.float32), 16)
    wanted = np.array([truth(name, float(x)) for x in POINTS.astype(np.float32)]).T
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2e-7, atol=1e-37)


@pytest.mark.parametrize("name", CODES)
def test_not_a_number_stays(name: str) -> None:
    """It is not hidden by where a function levels off."""
    found = compiled(name, np.full(3, np.nan), 1)
    assert np.isnan(found).all()
