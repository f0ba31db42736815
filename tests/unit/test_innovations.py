"""Whitened innovations, and the tail probabilities that their tests need."""

import math

import numpy as np
import pytest
import torch
from oracles import DenseOracle
from scipy import stats

from statespace.diagnostics import (
    standardise,
)
from statespace.diagnostics.special import chi2_sf, f_tails

NAN = float("nan")


def random_oracle(T: int = 9, n: int = 2, m: int = 3, seed: int = 4, **more) -> DenseOracle:
    """A model with a stable transition, and one series of noise with gaps."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, max(n, m), max(n, m)))
    y = rng.normal(size=(T, m))
    y[1, 0] = y[4] = y[6, 1:] = np.nan
    return DenseOracle(
        y,
        A=0.6 * rng.normal(size=(n, n)),
        b=rng.normal(size=n),
        Q=root[0, :n, :n] @ root[0, :n, :n].T,
        C=rng.normal(size=(m, n)),
        d=rng.normal(size=m),
        R=root[1, :m, :m] @ root[1, :m, :m].T,
        m1=rng.normal(size=n),
        P1=root[2, :n, :n] @ root[2, :n, :n].T,
        **more,
    )


# ---------------------------------------------------------------------- tail probabilities


@pytest.mark.parametrize("df", [1.0, 2.0, 7.0, 33.0, 400.0, 20000.0])
def test_chi2_tail_equals_scipy(df: float):
    """The chi-square survival function agrees with scipy's from the centre into the far tail."""
    x = torch.tensor([0.0, 0.3, 1.0, 2.5, 6.0, 12.0]).double() * math.sqrt(df) + 0.2 * df
    ours = chi2_sf(x, torch.full_like(x, df)).numpy()
    np.testing.assert_allclose(ours, stats.chi2.sf(x.numpy(), df), rtol=1e-11)


@pytest.mark.parametrize("df1", [1.0, 2.0, 5.0, 33.0, 1000.0, 50000.0])
@pytest.mark.parametrize("df2", [1.0, 3.0, 33.0, 900.0, 50000.0])
def test_f_tails_equal_scipy(df1: float, df2: float):
    """Both tails of Fisher's F agree with scipy's in relative terms, each where it is small."""
    x = torch.tensor([1e-6, 0.05, 0.5, 0.95, 1.0, 1.03, 1.6, 4.0, 50.0]).double()
    lower, upper = f_tails(x, torch.full_like(x, df1), torch.full_like(x, df2))
    for ours, theirs in (
        (lower.numpy(), stats.f.cdf(x.numpy(), df1, df2)),
        (upper.numpy(), stats.f.sf(x.numpy(), df1, df2)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-10, atol=1e-290)


def test_f_tails_at_the_ends():
    """F = 0 and F = inf have tails 0 and 1; NaN stays NaN and does not spoil its neighbours."""
    x = torch.tensor([0.0, 1.0, NAN]).double()
    lower, upper = f_tails(x, torch.full_like(x, 8.0), torch.full_like(x, 8.0))
    assert lower[:2].tolist() == pytest.approx([0.0, 0.5])
    assert upper[:2].tolist() == pytest.approx([1.0, 0.5])
    assert lower[2].isnan()
    assert upper[2].isnan()


# ---------------------------------------------------------------------- whitening


def test_standardise_is_the_cholesky_factor_of_what_was_observed():
    """Row by row e = L^-1 (y - mean), L the Cholesky factor of the observed part's covariance."""
    oracle = random_oracle()
    p = oracle.predicted()
    e = standardise(oracle.y - p.y_mean, p.y_cov).numpy()
    for t, row in enumerate(oracle.y):
        on = ~np.isnan(row)
        lower = np.linalg.cholesky(p.y_cov[t][np.ix_(on, on)])
        np.testing.assert_allclose(e[t, on], np.linalg.solve(lower, (row - p.y_mean[t])[on]))
        assert np.isnan(e[t, ~on]).all()


def test_standardised_squares_are_the_quadratic_form_of_the_likelihood():
    """log p(y) = -(sum e^2 + sum log det + N log 2 pi) / 2, with missing entries: nothing of y is
    used twice or left out."""
    oracle = random_oracle()
    p = oracle.predicted()
    e = standardise(oracle.y - p.y_mean, p.y_cov)
    used = e[e.isfinite()]
    logdet = 0.0
    for t, row in enumerate(oracle.y):
        on = ~np.isnan(row)
        logdet += np.linalg.slogdet(p.y_cov[t][np.ix_(on, on)])[1]
    total = -0.5 * (float(used.square().sum()) + logdet + used.numel() * math.log(2 * math.pi))
    assert total == pytest.approx(oracle.log_likelihood(), abs=1e-10)


def test_diffuse_entries_are_left_out():
    """An entry with an infinite variance has no standardised innovation; finite ones beside it do,
    as if it were not there."""
    cov = torch.tensor([[[math.inf, math.inf], [math.inf, 4.0]], [[4.0, 0.0], [0.0, 1.0]]]).double()
    e = standardise(torch.tensor([[3.0, 6.0], [1.0, 2.0]]), cov)
    assert e[0, 0].isnan()
    assert e[0, 1] == 3.0
    assert e[1].tolist() == [0.5, 2.0]


def test_entries_without_variance_of_their_own_are_left_out():
    """A duplicated entry adds nothing to the one before it: no division by a rounding error."""
    one = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    cov = torch.tensor([[[2.0 / 3.0, 0.1], [0.1, 3.0]]], dtype=torch.float64)
    for factor in torch.linspace(0.1, 7.0, 50, dtype=torch.float64):  # each rounds in its own way
        copy = torch.tensor([[1.0, 0.0], [factor, 0.0], [0.0, 1.0]], dtype=torch.float64)
        e = standardise(one @ copy.mT, copy @ cov @ copy.mT)
        assert e[0, 1].isnan()
        assert torch.allclose(e[:, [0, 2]], standardise(one, cov))


def test_units_of_one_entry_do_not_matter():
    """Scaling an entry by 1e-9 leaves every standardised innovation as it was."""
    oracle = random_oracle()
    p = oracle.predicted()
    scale = np.array([1.0, 1e-9, 1e6])
    before = standardise(oracle.y - p.y_mean, p.y_cov)
    after = standardise((oracle.y - p.y_mean) * scale, p.y_cov * scale[:, None] * scale)
    assert torch.allclose(before, after, rtol=1e-9, equal_nan=True)
