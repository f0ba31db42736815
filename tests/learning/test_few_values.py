"""Fits of more than the data can tell: a warning, a named end, and no "converged" for one row."""

from __future__ import annotations

import math

import pytest
import torch

import statespace as ss

LEARNERS = [ss.EM(), ss.Gradient(100, optimizer="lbfgs")]


def noise(rows: int, m: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(rows, m, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("learner", LEARNERS)
def test_one_row_is_never_called_converged(learner):
    """No row follows it: not converged, with the reason, and finite throughout."""
    fit = ss.LDS(1, 1).fit(noise(1), learner=learner, seed=0)
    assert not fit.converged
    assert "a single row was observed" in fit.reason
    assert any("single row" in warning for warning in fit.warnings)
    assert math.isfinite(fit.log_likelihood)


def test_one_row_with_a_maximum_is_not_called_converged_either():
    """Where only R is learned the score is small at one row too; nothing of the dynamics is seen,
    in one gappy series or in one of a batch with a model each."""
    y = torch.cat([torch.full((3, 2), math.nan, dtype=torch.float64), noise(1, 2)])
    lds = ss.LDS(1, 2, A=ss.Fixed([[0.5]]), C=ss.Fixed([[1.0], [1.0]]), Q=ss.Fixed([[1.0]]),
                 R=ss.Param(structure="scalar"), initial="stationary")  # fmt: skip
    fit = lds.fit(y, seed=0)
    assert fit.num_params == 1
    assert "score is small" in fit.reason
    assert not fit.converged
    both = torch.stack([y, noise(4, 2)])
    own = lds.replace(A=ss.Fixed(torch.full((2, 1, 1), 0.5)))
    fit = own.fit(both, seed=0)
    assert not fit.converged
    assert "in some series" in fit.reason


def test_a_path_through_three_points_is_stopped_on_the_way():
    """Eleven parameters, three values: EM climbs where there is no end, and soon knows."""
    fit = ss.LDS(2, 1).fit(noise(3), seed=0)
    assert not fit.converged
    assert "rises without bound" in fit.reason
    assert len(fit.history) < 60
    assert fit.warnings == (
        "11 parameters were learned from 3 observed values, which cannot tell them",
    )
    assert fit.summary().count("11 parameters were learned") == 1


def test_a_maximum_with_too_few_values_is_found_and_warned_of():
    """Nine parameters, eight values, and a maximum all the same: found, but not without a word."""
    fit = ss.LDS(1, 2).fit(noise(4, 2), seed=0)
    assert fit.converged, fit.reason
    assert len(fit.warnings) == 1
    assert "9 parameters were learned from 8" in fit.warnings[0]
    assert not ss.LDS(1, 2).fit(noise(8, 2), seed=0).warnings
