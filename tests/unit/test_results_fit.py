"""Scores and fits: pooled numbers, criteria, standard errors, the summary."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest
import torch

from statespace.errors import InputError
from statespace.results import FitResult, Score, StandardErrors


def test_scores_are_pooled() -> None:
    """Sums over series, errors in squares, one value per step and one per entry."""
    score = Score(
        torch.tensor([-3.0, -5.0]),
        torch.tensor([3.0, 4.0]),
        "estimate",
        torch.tensor([2, 2]),
        torch.tensor([4, 4]),
        num_samples=64,
    )
    assert (score.value, score.stderr) == (-8.0, 5.0)
    assert (score.per_step, score.per_value) == (-2.0, -1.0)
    assert "from 64 samples" in repr(score)
    assert math.isnan(Score(-1.0).stderr)
    assert math.isnan(Score(-1.0).per_step)
    with pytest.raises(InputError):
        Score(-1.0, kind="guess")


def fit(**kwargs: Any) -> FitResult:
    parts: dict[str, Any] = {
        "model": "LDS",
        "converged": True,
        "reason": "the score is below 1e-6",
        "history": torch.tensor([-640.0, -633.5]),
        "log_likelihood": torch.tensor([-600.0, -33.5]),
        "num_params": 2,
        "n_values": torch.tensor([60, 40]),
        "seconds": 0.25,
        "seed": 3,
        "learner": "EM",
        "parameters": {"Q[0,0]": torch.tensor(2.0), "R[0,0]": 4.0},
    }
    return FitResult(**parts | kwargs)


def test_criteria() -> None:
    """AIC and BIC by hand; NaN where only a bound is known."""
    assert fit().aic == 2 * 633.5 + 4
    assert math.isclose(fit().bic, 2 * 633.5 + 2 * math.log(100))
    assert fit().history == (-640.0, -633.5)
    assert math.isnan(fit(kind="lower bound").aic)


def test_standard_errors_are_lazy() -> None:
    """Computed once, when they are first looked at."""
    calls = []

    def compute() -> tuple[dict[str, float], dict[str, str]]:
        calls.append(1)
        return {"Q[0,0]": 0.5, "R[0,0]": math.nan}, {"R[0,0]": "the likelihood is flat in it"}

    result = fit(standard_errors=compute)
    assert not calls
    assert "not computed" in repr(result.standard_errors)
    assert result.standard_errors["Q[0,0]"] == 0.5
    assert dict(result.standard_errors.reasons) == {"R[0,0]": "the likelihood is flat in it"}
    result.summary()
    assert dataclasses.replace(result, seed=4).standard_errors is result.standard_errors
    assert len(calls) == 1
    assert len(StandardErrors()) == 0


def test_a_summary_says_it_all() -> None:
    """In 80 columns: how it ended, the numbers, and in words what is missing."""
    result = fit(
        standard_errors=lambda: ({"Q[0,0]": 0.5, "R[0,0]": math.nan}, {"R[0,0]": "it is flat"}),
        warnings=["Column 0 is constant."],
    )
    text = result.summary()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for words in (
        "LDS",
        "-633.5",
        "1271.0",
        "yes",
        "the score is below 1e-6.",
        "No standard error for R[0,0]: it is flat.",
        "Warning: Column 0 is constant.",
        "Observed values n:",
    ):
        assert words in text, words
    row = next(line for line in lines if line.startswith("Q[0,0]")).split()
    assert row[1:] == ["2", "0.5", "4.00", "1.02", "2.98"]
    assert next(line for line in lines if line.startswith("R[0,0]")).split()[2:] == ["nan"] * 4
    assert "NO" in fit(converged=False).summary()
    assert "were not computed" in fit().summary()
    assert "approximate" in fit(kind="approximate").summary()


def test_a_fit_can_be_pickled() -> None:
    """Standard errors are computed on the way: processes hand fits over, and copies are made."""
    result = fit(standard_errors=lambda: ({"Q[0,0]": 0.5}, {"R[0,0]": "flat"}))
    again = pickle.loads(pickle.dumps(result))
    assert dict(again.standard_errors) == {"Q[0,0]": 0.5}
    assert again.standard_errors.reasons == {"R[0,0]": "flat"}
    assert again.summary() == result.summary()


def test_a_reason_is_said_once() -> None:
    """Entries that share a reason stand in one sentence, all entries of a matrix as its letter."""
    names = ["A[0,0]", "C[0,0]", "C[1,0]", "Q[0,0]", "Q[1,1]"]
    reasons = dict.fromkeys(names[:4], "it is flat")
    result = fit(
        parameters=dict.fromkeys(names, 1.0),
        standard_errors=lambda: (dict.fromkeys(names, math.nan), reasons),
    )
    assert result.summary().count("it is flat") == 1
    assert "No standard error for A[0,0], C, Q[0,0]: it is flat." in result.summary()


def test_too_few_values_are_warned_about() -> None:
    """As many parameters as numbers: the table says that it means little."""
    assert "Warning: 2 parameters were learned from 2" in fit(n_values=2).summary()
    assert "were learned from" not in fit(n_values=3).summary()


def test_a_fit_as_a_frame() -> None:
    """The same table, as numbers."""
    frame = fit(standard_errors={"Q[0,0]": 0.5}).to_frame()
    assert list(frame.columns) == ["estimate", "stderr", "z", "lower", "upper"]
    assert frame.loc["Q[0,0]", "z"] == 4.0
    assert math.isnan(frame.loc["R[0,0]", "stderr"])


def test_a_fit_without_parameters() -> None:
    """A summary of the head alone."""
    text = fit(parameters=None, learner=None, seed=None).summary()
    assert "parameter " not in text
    assert "not converged" in repr(fit(converged=False))
