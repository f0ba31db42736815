"""What the test parts of `lds_and_rnn.py` say, in sentences whose numbers are asserted.

Behind "why" stand two measurements. `left_over`: do products of past values predict the errors
that the best linear system makes one row ahead? If so, there is something that a network could
learn; if not even on the rows it was fitted to, there is nothing. And `split`: on which rows is
the difference made?
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from lds_and_rnn_records import Problem, Rows
from torch import Tensor

import statespace as ss
from statespace.comparison import Comparison

LEVEL = 0.9  # probability of the intervals


@dataclass(frozen=True)
class Result:
    """What the test part says about a fitted model; RMSEs in the unit of y."""

    name: str
    fit: ss.FitResult
    score: ss.Score
    valid: float  # the score that chose, per value
    rmse: float
    covered: float
    free: ss.Forecast
    free_rmse: float
    free_covered: float


@dataclass(frozen=True)
class Tested:
    """The chosen models of one record, side by side."""

    problem: Problem
    linear: Result
    network: Result
    table: Comparison

    @property
    def difference(self) -> ss.comparison.Difference:
        """The network's log-likelihood less that of the linear system, per row."""
        return self.table.differences(self.linear.name)[self.network.name]

    @property
    def ratio(self) -> float:
        """Of the errors of the free runs."""
        return self.network.free_rmse / self.linear.free_rmse

    def gaps(self) -> Tensor:
        """The difference row by row, (T,)."""
        first, second = self.table[self.network.name].rows, self.table[self.linear.name].rows
        assert first is not None
        assert second is not None
        return (first - second)[0]


def left_over(tested: Tested) -> tuple[float, float]:
    """What products of past values explain of the linear system's one-step errors.

    The errors are regressed on y_{t-1}, y_{t-2}, u_t, u_{t-1}, and again on their products of two
    and three too, both on the training rows.

    Returns:
        The part of the squared error that the products take away, on the training rows and on the
        test rows (where it may be negative).
    """
    problem, model = tested.problem, tested.linear.fit.model
    sums = []
    coefficients: list[Tensor] = []
    means = spreads = torch.zeros(0)
    for part, rows in enumerate((problem.train, problem.test)):
        state = None
        if part:
            before = problem.before_test
            state = model.filter(before.y, before.u, keep="last").state
        errors = model.filter(rows.y, rows.u, state=state).innovations[10:]
        past = _past(rows)[10:]
        if not part:
            means, spreads = past.mean(0), past.std(0)
        tables = _regressors((past - means) / spreads)
        if not part:
            coefficients = [torch.linalg.lstsq(x, errors).solution for x in tables]
        sums.append([
            float((errors - x @ b).square().mean())
            for x, b in zip(tables, coefficients, strict=True)
        ])
    return tuple(1 - more / less for less, more in sums)  # type: ignore[return-value]


def _past(rows: Rows) -> Tensor:
    """What is known before a row of y, (T, 2) or (T, 4); the first two rows wrap around."""
    y, u = rows.y, rows.u
    columns = [y.roll(1, 0), y.roll(2, 0)]
    if u is not None:
        columns += [u, u.roll(1, 0)]
    return torch.cat(columns, 1)


def _regressors(x: Tensor) -> tuple[Tensor, Tensor]:
    """One and x; and products of two and three beside them."""
    linear = torch.cat([torch.ones_like(x[:, :1]), x], 1)
    places = range(x.shape[1])
    products = [
        x[:, list(which)].prod(1, keepdim=True)
        for degree in (2, 3)
        for which in combinations_with_replacement(places, degree)
    ]
    return linear, torch.cat([linear, *products], 1)


def of_sunspots(tested: Tested) -> list[str]:
    """Few rows, and levels that were never seen."""
    problem, found, gaps = tested.problem, tested.difference, tested.gaps()
    train, valid = left_over(tested)
    seen = float(torch.cat([problem.train.y, problem.valid.y]).max())
    print("left", train, valid, "seen", seen, "sup", ceiling(tested.network))
    print(gaps)
    return []


def ceiling(network: Result) -> float:
    """The largest one-step mean that a tanh network can state: d + sum |C|."""
    model = network.fit.model
    return float((model.d + model.C.abs().sum(-1)).detach())


def of_tanks(tested: Tested) -> list[str]:
    """Saturation."""
    problem = tested.problem
    print("left", left_over(tested))
    y = problem.test.y[:, 0]
    for one in (tested.linear, tested.network):
        e = one.free.mean[:, 0] - y
        print(one.name, [float(e[w].square().mean().sqrt()) for w in (y >= 9.9, (y < 9.9) & (y > 4), y <= 4)])
    print(tested.gaps()[y >= 9.9].mean(), tested.gaps()[y < 9.9].mean())
    return []


def of_silverbox(tested: Tested) -> list[str]:
    """The cubic spring."""
    print("left", left_over(tested))
    y = tested.problem.test.y[:, 0]
    far = (y - y.mean()).abs() > 1.5 * y.std()
    for one in (tested.linear, tested.network):
        e = one.free.mean[:, 0] - y
        print(one.name, [float(e[w].square().mean().sqrt()) for w in (far, ~far)])
    return []
