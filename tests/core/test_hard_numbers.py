"""Cases on which covariance filters fail, against values from 60-digit arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from oracles import DenseOracle
from torch import Tensor

from statespace.errors import NumericalError
from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian import System, forward, log_likelihood, smooth, start
from statespace.inference.lineargaussian.likelihood import total
from statespace.linalg import Covariance


def system(
    A: object, Q: object, C: object, R: object, m: object, P: object, diffuse: object = None,
    dtype: torch.dtype = torch.float64,
) -> System:  # fmt: skip
    def of(x: object) -> Tensor:
        return torch.as_tensor(np.asarray(x), dtype=dtype)

    a, c = of(A), of(C)
    flat = None if diffuse is None else torch.as_tensor(diffuse)
    prior = Gaussian(of(m), Covariance.from_matrix(of(P)), flat)
    b, d = a.new_zeros(len(a)), c.new_zeros(len(c))
    return System(a, b, Covariance.from_matrix(of(Q)), c, d, Covariance.from_matrix(of(R)), prior)


def value(s: System, y: Tensor) -> float:
    on = torch.ones(y.shape[:-1], dtype=torch.bool)
    return float(log_likelihood(s, y.nan_to_num(), ~y.isnan(), on))


@pytest.mark.parametrize(
    ("e", "dtype", "exact", "bound"),
    [
        (1e-8, torch.float64, 15.35558291, 1e-6),
        (1e-6, torch.float64, 10.75041264, 1e-6),
        (1e-4, torch.float32, 6.145234721, 1e-3),
    ],
)
def test_grewal_and_andrews(e: float, dtype: torch.dtype, exact: float, bound: float) -> None:
    """Two nearly equal, nearly exact outputs (Grewal and Andrews 2015, section 7.2)."""
    eye = np.eye(3)
    s = system(
        eye, eye, [[1, 1, 1], [1, 1, 1 + e]], e * e * np.eye(2), np.zeros(3), eye, None, dtype
    )
    assert value(s, torch.ones(1, 2, dtype=dtype)) == pytest.approx(exact, abs=bound)


HARD = {
    "wide start, small noise": (1e12, 1e-4, 1e-6),
    "wider start": (1e20, 0.5, 0.1),
    "small output noise": (1.0, 1e-8, 0.1),
    "small state noise": (1.0, 0.5, 1e-10),
}


@pytest.mark.parametrize("core", ["plain", "scan"])
@pytest.mark.parametrize("name", HARD)
def test_smoother_against_many_digits(name: str, core: Any) -> None:
    """Smoothed moments and likelihood to 1e-9 of 60 digits, where P - P N P alone fails."""
    width, r, q = HARD[name]
    g = np.random.default_rng(0)
    n, m, steps = 3, 2, 6
    A, C = 0.97 * np.linalg.qr(g.standard_normal((n, n)))[0], g.standard_normal((m, n))
    y = g.standard_normal((steps, m))
    y[g.random(y.shape) < 0.2] = np.nan
    parts = (A, q * np.eye(n), C, r * np.eye(m), np.zeros(n), width * np.eye(n))
    dense = DenseOracle(
        y, A, np.zeros(n), parts[1], C, np.zeros(m), parts[3], parts[4], parts[5], digits=60
    )
    s, seen = system(*parts), torch.as_tensor(y)
    on = torch.ones(steps, dtype=torch.bool)
    run = forward(s, start(s), seen.nan_to_num(), ~seen.isnan(), on, core=core)
    assert run.scanned == (core == "scan")
    ll, known = total(run)
    exact = dense.smoothed()
    ours = smooth(run, s, known, seen.nan_to_num())
    assert float(ll) == pytest.approx(dense.log_likelihood(), rel=1e-9)
    assert np.abs(ours.mean.numpy() - exact.mean).max() <= 1e-9 * np.abs(exact.mean).max()
    scale = np.abs(exact.cov).max((1, 2), keepdims=True)
    assert (np.abs(ours.cov.numpy() - exact.cov) / scale).max() <= 1e-9


@pytest.mark.parametrize("c", [1e-8, 1e-4, 1e4, 1e8])
@pytest.mark.parametrize("diffuse", [False, True])
def test_scaling_the_data(c: float, diffuse: bool) -> None:
    """y -> c y with the model moves log p(y) by -(N - d) log c exactly, and nothing else."""
    g = np.random.default_rng(1)
    A, C = 0.6 * np.linalg.qr(g.standard_normal((2, 2)))[0], g.standard_normal((3, 2))
    flat = [True, False] if diffuse else None
    P = np.diag([0.0, 1.5]) if diffuse else np.eye(2)
    y = torch.as_tensor(g.standard_normal((9, 3)))
    y[2:4, 1] = math.nan
    m = np.array([0.0, 1.0])
    one = value(system(A, np.eye(2), C, 0.3 * np.eye(3), m, P, flat), y)
    s = system(A, c**2 * np.eye(2), C, 0.3 * c**2 * np.eye(3), c * m, c**2 * P, flat)
    count = int((~y.isnan()).sum()) - diffuse
    assert value(s, c * y) + count * math.log(c) == pytest.approx(one, rel=1e-9)


def test_everything_known() -> None:
    """Q = R = P = 0: zero where the data agree, minus infinity for the series that do not."""
    zero = np.zeros((2, 2))
    s = system(np.eye(2), zero, np.eye(2), zero, [1.0, 2.0], zero)
    right = torch.tensor([[1.0, 2.0]] * 3, dtype=torch.float64)
    on = torch.ones(2, 3, dtype=torch.bool)
    both = torch.stack([right, right + torch.tensor([0.0, 1e-3])])
    out = log_likelihood(s, both, torch.ones(2, 3, 2, dtype=torch.bool), on)
    assert out.tolist() == [0.0, -math.inf]


def test_the_same_output_twice() -> None:
    """An exact output given twice counts once; two different values for it are impossible."""
    zero = np.zeros((2, 2))
    s = system(np.eye(2), zero, [[1.0, 0.0], [1.0, 0.0]], zero, [0.0, 0.0], np.eye(2))
    twice = torch.full((3, 2), 1.0, dtype=torch.float64)
    assert value(s, twice) == pytest.approx(-0.5 * math.log(2 * math.pi) - 0.5)
    assert value(s, twice + torch.tensor([0.0, 0.1])) == -math.inf


def test_overflow_is_a_named_error() -> None:
    """An unstable system over a long gap names the series and the step."""
    s = system([[1e60]], [[1.0]], [[1.0]], [[1.0]], [0.0], [[1.0]])
    y, seen = torch.zeros(2, 12, 1, dtype=torch.float64), torch.ones(2, 12, 1, dtype=torch.bool)
    seen[:, 1:11] = False
    with pytest.raises(NumericalError, match="series 0, row 11"):
        log_likelihood(s, y, seen, torch.ones(2, 12, dtype=torch.bool))
