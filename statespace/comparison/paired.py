"""By how much one model predicts better than another, row by row, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from statespace.results import Score

__all__ = ["Difference", "paired", "relation", "spread_of_sum"]

_STEEPEST = 0.97  # autoregression, beyond which a few rows would decide on the error of all


@dataclass(frozen=True)
class Difference:
    """One model's log-likelihood less that of another on the same rows, per step, in nats.

    Attributes:
        name: The model.
        reference: The other one.
        value: The difference.
        stderr: Its standard error: that of a mean of paired, autocorrelated differences, and what
            the random numbers of the methods add; NaN where a method gives no scores of rows.
        relation: How the value stands to the difference of the true log-likelihoods: "=" where
            both numbers are exact; ">=" and "<=" (the true one is at least, at most this, in
            expectation) beside an exact number and a bound or an estimate, which is a bound in
            expectation; "~" elsewhere, where nothing is known.
    """

    name: str
    reference: str
    value: float
    stderr: float
    relation: str

    def __str__(self) -> str:
        sign = "" if self.relation == "=" else f"{self.relation} "
        error = "" if math.isnan(self.stderr) else f" +- {self.stderr:.2g}"
        return f"{sign}{self.value:+.4f}{error}"


def relation(kind: str, reference: str) -> str:
    """How a difference of two kinds of number stands to the truth: "=", ">=", "<=" or "~".

    Example:
        >>> relation("exact", "exact"), relation("estimate", "exact"), relation("exact", "estimate")
        ('=', '>=', '<=')
        >>> relation("approximate", "exact"), relation("estimate", "lower bound")
        ('~', '~')
    """
    bounds = ("estimate", "lower bound")
    if kind == reference == "exact":
        return "="
    if kind in bounds and reference == "exact":
        return ">="
    return "<=" if kind == "exact" and reference in bounds else "~"


def paired(one: Score, other: Score, rows: Tensor | None, others: Tensor | None) -> float:
    """The standard error of the difference of two scores per step.

    Args:
        one: The score of a model.
        other: That of another model on the same data.
        rows: Scores of rows, (series, T), NaN beyond a length; None where there are none.
        others: The other model's.
    """
    if rows is None or others is None or not one.n_steps:
        return math.nan
    variance = sum(spread_of_sum(series[~series.isnan()]) ** 2 for series in rows - others)
    drawn = [s.stderr for s in (one, other) if not math.isnan(s.stderr)]
    return math.sqrt(variance + sum(error**2 for error in drawn)) / one.n_steps


def spread_of_sum(x: Tensor) -> float:
    """The standard error of the sum of a stationary series, (T,), autocorrelation included.

    A first-order autoregression takes out most of the correlation (Andrews and Monahan 1992);
    the rest is counted over 4 (T / 100)^(2/9) lags with Bartlett's weights (Newey and West 1987,
    1994), so that the variance is never negative. On short series it tends to be too small.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0, -1.0]).repeat(200)   # sums of it stay within 1
        >>> spread_of_sum(x) < 0.5 * len(x) ** 0.5
        True
    """
    steps = len(x)
    if steps < 3:
        return math.nan
    x = (x - x.mean()).double()
    past = float(x[:-1] @ x[:-1])
    slope = min(max(float(x[1:] @ x[:-1]) / past if past else 0.0, -_STEEPEST), _STEEPEST)
    e = x[1:] - slope * x[:-1]
    lags = min(int(4 * (steps / 100) ** (2 / 9)), steps - 2)
    total = float(e @ e)
    for k in range(1, lags + 1):
        total += 2 * (1 - k / (lags + 1)) * float(e[k:] @ e[:-k])
    per_row = max(total, 0.0) / (steps - 2) / (1 - slope) ** 2
    return math.sqrt(per_row * steps)
