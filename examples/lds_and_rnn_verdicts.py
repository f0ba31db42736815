"""What the test parts of `lds_and_rnn.py` say, in sentences whose numbers are asserted.

Behind each "why" stands a measurement. Do products of past values predict the errors that the best
linear system makes one row ahead (`left_over`)? If they do, on rows they were not fitted to, there
is something that a network can learn. And on which rows is the difference made (`split`)?
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
    errors: Tensor  # one row ahead, (T, 1)
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


def left_over(tested: Tested, *degrees: int) -> tuple[float, float]:
    """What products of past values explain of the linear system's one-step errors.

    The errors are regressed on y_{t-1}, y_{t-2}, u_t, u_{t-1}, and again on products of them too,
    both on the training rows.

    Args:
        tested: The linear system and its data.
        *degrees: Of how many factors the products are.

    Returns:
        The part of the squared error that the products take away, on the training rows and on the
        test rows (where it may be negative).
    """
    problem, model = tested.problem, tested.linear.fit.model
    state = model.filter(problem.before_test.y, problem.before_test.u, keep="last").state
    train = _errors(model, problem.train, None)
    test = _errors(model, problem.test, state)
    mean, spread = train[1].mean(0), train[1].std(0)
    found = []
    for errors, past in (train, test):
        lines, products = _regressors((past - mean) / spread, degrees)
        if not found:
            plain = torch.linalg.lstsq(lines, errors).solution
            more = torch.linalg.lstsq(products, errors).solution
        rest = (errors - products @ more).square().mean() / (errors - lines @ plain).square().mean()
        found.append(1 - float(rest))
    return found[0], found[1]


def _errors(model: ss.StateSpaceModel, rows: Rows, state: object) -> tuple[Tensor, Tensor]:
    """One-step errors, (T, 1), and what was known before, (T, 2 or 4); not of the first rows."""
    errors = model.filter(rows.y, rows.u, state=state).innovations
    columns = [rows.y.roll(1, 0), rows.y.roll(2, 0)]
    if rows.u is not None:
        columns += [rows.u, rows.u.roll(1, 0)]
    return errors[10:], torch.cat(columns, 1)[10:]


def _regressors(x: Tensor, degrees: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """One and x; and products beside them."""
    lines = torch.cat([torch.ones_like(x[:, :1]), x], 1)
    products = [
        x[:, list(which)].prod(1, keepdim=True)
        for degree in degrees
        for which in combinations_with_replacement(range(x.shape[1]), degree)
    ]
    return lines, torch.cat([lines, *products], 1)


def split(tested: Tested, rows: Tensor) -> tuple[float, float]:
    """The difference in these rows and in the others, summed, in nats."""
    gaps = tested.gaps()
    return float(gaps[rows].sum()), float(gaps[~rows].sum())


def slopes(tested: Tested) -> Tensor:
    """Of the network's tanh at what it expects of each test row, mean over the states, (T,)."""
    model, before, test = tested.network.fit.model, tested.problem.before_test, tested.problem.test
    past = model.filter(before.y, before.u)
    here = model.filter(test.y, test.u, state=past.state)
    z = torch.cat([past.mean[-1:], here.mean[:-1]])
    inside = z @ model.A.detach().T + model.b.detach()
    if test.u is not None:
        inside = inside + test.u @ model.W.detach().T
    return (1 - inside.tanh().square()).mean(-1)


def off(one: Result, y: Tensor, rows: Tensor) -> float:
    """RMSE of the free run in these rows."""
    return float((one.free.mean[:, 0] - y)[rows].square().mean().sqrt())


def compares(tested: Tested) -> str:
    """Whether the network wins one row ahead, in words."""
    found, names = tested.difference, (tested.network.name, tested.linear.name)
    size = f"({found} nats per row)"
    if abs(found.value) < 2 * found.stderr:
        return f"One row ahead, {names[0]} and {names[1]} differ by less than two errors {size}"
    word = "wins" if found.value > 0 else "loses"
    return f"One row ahead, {names[0]} {word} against {names[1]}, by more than two errors {size}"


def check_intervals(tested: Tested, least: float) -> None:
    """Intervals one row ahead cover what they say, nearly."""
    for one in (tested.linear, tested.network):
        assert least <= one.covered <= 0.99, (one.name, one.covered)


def of_sunspots(tested: Tested) -> list[str]:
    """Few rows, and levels that were never seen."""
    problem, linear, network = tested.problem, tested.linear, tested.network
    train, test = left_over(tested, 2, 3)
    seen = float(torch.cat([problem.train.y, problem.valid.y]).max())
    above = problem.test.y[:, 0] > seen
    high, rest = split(tested, above)
    found, slope = tested.difference, slopes(tested)
    assert found.value < 2 * found.stderr, "the network wins"
    assert train > 0 > test - 0.05, "products of past values predict what came"
    assert int(above.sum()) == 5
    check_intervals(tested, 0.5)
    return [
        f"{compares(tested)}, and the network's free run is {tested.ratio:.2f} times as far off, "
        f"and its {LEVEL:.0%} intervals cover {network.covered:.0%} of the years: the network does "
        "not win.",
        f"There is little for it to win: products of past values take {train:.0%} off the squared "
        f"one-step errors of {linear.name} in the {len(problem.train)} years on which they were "
        f"fitted, and {test:+.0%} in the held-out ones; what the years suggest beside a line is "
        "mostly noise.",
        f"And {int(above.sum())} held-out years lie above all levels that were seen before, where "
        f"a line goes on and a tanh bends (its mean slope is {float(slope[above].mean()):.2f} "
        f"there, and {float(slope[~above].mean()):.2f} elsewhere): in these years the log p of "
        f"{network.name} less that of {linear.name} is {high:+.1f} nats, in the other "
        f"{int((~above).sum())} {rest:+.1f}.",
    ]


def of_tanks(tested: Tested) -> list[str]:
    """Saturation, and jumps that nothing announces."""
    linear, network, found = tested.linear, tested.network, tested.difference
    y, count = tested.problem.test.y[:, 0], len(tested.problem.test)
    surprised = torch.minimum(linear.errors.abs(), network.errors.abs())[:, 0] > 0.25
    there, elsewhere = split(tested, surprised)
    full = y >= 9.9
    assert found.value > -2 * found.stderr, "the network loses one row ahead"
    assert elsewhere > 0
    assert tested.ratio < 0.85
    check_intervals(tested, 0.8)
    return [
        f"In the free run the network wins: its error is {tested.ratio:.2f} of that of "
        f"{linear.name}. A line has no way to be full: where the tank is (from 9.9 V on), the "
        f"linear system is off by {off(linear, y, full):.2f} V and the network by "
        f"{off(network, y, full):.2f} V; and no way to drain more slowly where there is less "
        f"water: below 4 V they are off by {off(linear, y, y < 4):.2f} and "
        f"{off(network, y, y < 4):.2f} V.",
        f"{compares(tested)}. In {int(surprised.sum())} of {count} rows the reading jumps within "
        "4 s, unannounced: both are wrong by more than 0.25 V, and the one that was surer pays "
        f"more. These rows add {there:+.0f} nats to the difference, the others {elsewhere:+.0f}.",
    ]


def of_silverbox(tested: Tested) -> list[str]:
    """A spring that stiffens is no line."""
    linear, network, found = tested.linear, tested.network, tested.difference
    squares, cubes = left_over(tested, 2), left_over(tested, 3)
    y = tested.problem.test.y[:, 0]
    assert found.value > 2 * found.stderr
    assert tested.ratio < 0.7, "the free run is not much better than a line's"
    assert cubes[1] > 0.25 > 0.1 > squares[1], "not the signature of an odd nonlinearity"
    check_intervals(tested, 0.8)
    return [
        f"{compares(tested)}, and its free run is off by {1e3 * network.free_rmse:.2f} mV where "
        f"that of the linear system is off by {1e3 * linear.free_rmse:.2f} mV, {tested.ratio:.2f} "
        f"of it, over {len(y)} rows in which nothing but the input is seen.",
        "The reason is the spring, whose force has a cube in it: products of three past values "
        f"take {cubes[1]:.0%} off the squared one-step errors of {linear.name} in rows they were "
        f"not fitted to, products of two {squares[1]:.0%}. A linear system must call that noise, "
        f"and is wrong by {1e3 * linear.rmse:.2f} mV one row ahead, the network by "
        f"{1e3 * network.rmse:.2f} mV.",
    ]
