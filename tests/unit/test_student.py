"""Student's t for entries that hang together, against scipy and by simulation."""

import numpy as np
import pytest
import torch
from scipy import stats

from statespace.densities import MultivariateStudentT, complete, moments, observed_log_prob

F64 = torch.float64
LOC = torch.tensor([1.0, -2.0, 0.5], dtype=F64)
ROOT = torch.tensor([[1.0, 0, 0], [0.8, 0.3, 0], [-0.4, 0.2, 0.7]], dtype=F64)
DF = torch.tensor(5.0, dtype=F64)
D = MultivariateStudentT(DF, LOC, ROOT)


def by_scipy(y, on) -> float:
    shape = (ROOT @ ROOT.T)[on][:, on].numpy()
    return float(stats.multivariate_t.logpdf(y[on].numpy(), LOC[on].numpy(), shape, df=5.0))


@pytest.mark.parametrize(
    "on", [(1, 1, 1), (1, 0, 1), (0, 1, 0), (1, 1, 0)], ids=lambda on: "".join(map(str, on))
)
def test_log_densities_of_parts(on):
    seen = torch.tensor(on, dtype=torch.bool)
    y = torch.tensor([0.3, 1.0, -4.0], dtype=F64)
    held = torch.where(seen, y, torch.nan).nan_to_num(7.0)  # what stands in a gap is not looked at
    found = observed_log_prob(D, held, seen)
    assert float(found) == pytest.approx(by_scipy(y, seen), rel=1e-12)
    assert float(D.log_prob(y)) == pytest.approx(by_scipy(y, torch.ones(3).bool()), rel=1e-12)


def test_a_row_that_was_not_observed_says_nothing():
    seen = torch.zeros(4, 3, dtype=torch.bool)
    assert observed_log_prob(D.expand((4,)), torch.zeros(4, 3, dtype=F64), seen).tolist() == [0] * 4


def test_draws_have_the_moments():
    """400,000 draws; the largest of nine deviations is beyond 5 errors with p < 1e-5."""
    torch.manual_seed(0)
    y = D.sample((400_000,))
    mean, cov = moments(D)
    torch.testing.assert_close(y.mean(0), mean, rtol=0, atol=5 * 1.5 / 400_000**0.5)
    torch.testing.assert_close(cov, ROOT @ ROOT.T * 5 / 3, rtol=1e-12, atol=0)
    spread = y.T.cov()
    torch.testing.assert_close(spread, cov, rtol=0, atol=5 * 6 / 400_000**0.5)


def test_gradients_pass_through_draws():
    """Of all arguments: the derivative of a mean of squares, against the formula."""
    torch.manual_seed(0)
    loc = LOC.clone().requires_grad_()
    root = ROOT.clone().requires_grad_()
    df = DF.clone().requires_grad_()
    y = MultivariateStudentT(df, loc, root).rsample((200_000,))
    (y - loc).square().sum(-1).mean().backward()
    size = float((ROOT @ ROOT.T).trace())
    # d/d df of size * df / (df - 2); five standard errors, found by repetition, are 0.2
    assert float(df.grad) == pytest.approx(-2 * size / 9, abs=0.2)
    assert root.grad[1, 0] == pytest.approx(2 * float(ROOT[1, 0]) * 5 / 3, abs=0.1)


def test_missing_entries_are_drawn_given_the_others():
    """Those of the joint draws whose observed entry lies near the given one: the same law.

    Kolmogorov and Smirnov, false alarm 1e-4 in each of two comparisons.
    """
    torch.manual_seed(0)
    joint = D.sample((1_000_000,))
    near = joint[(joint[:, 1] - 1.0).abs() < 0.05]  # far out in the tail
    seen = torch.tensor([False, True, False])
    y = torch.tensor([0.0, 1.0, 0.0], dtype=F64)
    filled = complete(D.expand((4000,)), y.expand(4000, 3), seen.expand(4000, 3))
    assert torch.equal(filled[:, 1], y[1].expand(4000))
    for k in (0, 2):
        p = stats.ks_2samp(filled[:, k].numpy(), near[:, k].numpy()).pvalue
        assert p > 1e-4
    assert len(near) > 500


def test_over_more_batch_axes():
    wide = D.expand((2, 4))
    assert wide.batch_shape == (2, 4)
    assert wide.sample().shape == (2, 4, 3)
    np.testing.assert_allclose(wide.log_prob(LOC).numpy(), float(D.log_prob(LOC)))
