"""The oracle against the limits that it claims to be, and against published numbers."""

import numpy as np
import pytest
from oracles import DenseOracle, Moments

from statespace import datasets

MOMENTS = ("mean", "cov", "cross", "y_mean", "y_cov")


def system(seed: int = 0, n: int = 3, m: int = 2, T: int = 6) -> dict:
    """A system that varies in time, and data with gaps and a forecast row."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(T, m))
    y[0, 0] = y[3] = y[-1] = np.nan
    q, r = rng.normal(size=(T, n, n)), rng.normal(size=(m, m))
    return {
        "y": y,
        "A": 0.6 * rng.normal(size=(T, n, n)),
        "b": rng.normal(size=(T, n)),
        "Q": q @ q.transpose(0, 2, 1),
        "C": rng.normal(size=(T, m, n)),
        "d": rng.normal(size=m),
        "R": r @ r.T,
        "m1": rng.normal(size=n),
        "P1": np.diag(np.arange(1.0, n + 1)),
    }


def assert_moments(a: Moments, b: Moments, atol: float) -> None:
    """Equal where finite, infinite where the other one is infinite or huge."""
    for name in MOMENTS:
        x, y = getattr(a, name), getattr(b, name)
        finite = np.isfinite(x)
        np.testing.assert_allclose(x[finite], y[finite], atol=atol, err_msg=name)
        assert (np.abs(y[~finite]) > 1e20).all()


def test_the_diffuse_start_is_the_limit_of_a_huge_variance():
    """With variance k = 1e30, in 80 digits: the moments agree, the log-likelihood up to
    (r / 2) log k, r directions resolved; row 0 alone resolves one of the two."""
    s, k = system(), 1e30
    s["P1"] = np.diag([0.0, 2.0, 0.0])
    exact = DenseOracle(**s, diffuse=[True, False, True])
    huge = DenseOracle(**{**s, "P1": np.diag([k, 2.0, k])}, digits=80)
    assert (exact.num_resolved(1), exact.num_resolved()) == (1, 2)
    assert exact.log_likelihood() == pytest.approx(huge.log_likelihood() + np.log(k), abs=1e-10)
    for which in ("smoothed", "filtered", "predicted"):
        assert_moments(getattr(exact, which)(), getattr(huge, which)(), atol=1e-10)


def test_more_digits_change_nothing_that_is_well_conditioned():
    """float64 and 60 digits run the same lines: every moment agrees to 1e-11."""
    s = system(1)
    a, b = (
        DenseOracle(**s, diffuse=[False, True, False]),
        DenseOracle(**s, diffuse=[False, True, False], digits=60),
    )
    assert a.log_likelihood() == pytest.approx(b.log_likelihood(), abs=1e-11)
    for which in ("smoothed", "filtered", "predicted"):
        assert_moments(getattr(a, which)(), getattr(b, which)(), atol=1e-11)


def test_the_local_level_of_the_nile():
    """-633.4645636 with the constant of the diffuse direction, -632.5456251 without."""
    one, zero = np.eye(1), np.zeros(1)
    level = DenseOracle(
        datasets.nile(),
        one,
        zero,
        1469.1 * one,
        one,
        zero,
        15099.0 * one,
        zero,
        one,
        diffuse=[True],
    )
    assert level.log_likelihood() == pytest.approx(-633.4645636, abs=1e-6)
    assert level.log_likelihood(diffuse_constant=False) == pytest.approx(-632.5456251, abs=1e-6)
    assert level.increments().sum() == pytest.approx(level.log_likelihood(), abs=1e-9)


@pytest.mark.parametrize(("e", "expected"), [(1e-8, 15.35558291), (1e-4, 6.145234721)])
def test_the_ill_conditioned_update_of_grewal_and_andrews(e: float, expected: float):
    """Sixty digits decide what float64 cannot."""
    oracle = DenseOracle(
        [[1.0, 1.0]],
        np.eye(3),
        np.zeros(3),
        np.zeros((3, 3)),
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0 + e]],
        np.zeros(2),
        e**2 * np.eye(2),
        np.zeros(3),
        np.eye(3),
        digits=60,
    )
    assert oracle.log_likelihood() == pytest.approx(expected, abs=1e-6)


def test_conditioning_agrees_with_drawing():
    """Smoothed moments are those of the draws whose y is near the data: a check that shares no
    algebra with the oracle (400,000 draws, a window of 0.1; the tolerance is 5 standard errors)."""
    rng = np.random.default_rng(3)
    num, y = 400_000, 0.7
    z1 = 0.5 + rng.normal(size=num)
    z2 = 0.8 * z1 + 0.3 + 0.6 * rng.normal(size=num)
    drawn = z2 - 0.2 + 0.5 * rng.normal(size=num)
    near = np.abs(drawn - y) < 0.1
    s = DenseOracle(
        [[np.nan], [y]], [[0.8]], [0.3], [[0.36]], [[1.0]], [-0.2], [[0.25]], [0.5], [[1.0]]
    ).smoothed()
    error = 5 / np.sqrt(near.sum())
    assert s.mean[0, 0] == pytest.approx(z1[near].mean(), abs=error)
    assert s.mean[1, 0] == pytest.approx(z2[near].mean(), abs=error)
    assert s.cross[0, 0, 0] == pytest.approx(np.cov(z2[near], z1[near])[0, 1], abs=error)


def test_nothing_observed():
    """No data: likelihood 1, the prior comes back, and what is diffuse stays infinite."""
    oracle = DenseOracle(
        np.full((3, 1), np.nan), np.eye(2), np.zeros(2), np.eye(2), np.ones((1, 2)), [0.0],
        np.eye(1), np.zeros(2), np.eye(2), diffuse=[True, False],
    )  # fmt: skip
    assert oracle.log_likelihood() == 0.0
    np.testing.assert_array_equal(oracle.smoothed().cov[0], [[np.inf, 0.0], [0.0, 1.0]])
    assert np.isinf(oracle.predicted().y_cov).all()
    assert oracle.forecast(3).mean.shape == (3, 2)
