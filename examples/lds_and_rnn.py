"""Linear or recurrent? An LDS and a noisy tanh network, fitted to the same series and held out.

    LDS          z_t =      A z_{t-1} + B u_t + w_t          y_t = C z_t + D u_t + d + v_t
    noisy RNN    z_t = tanh(A z_{t-1} + W u_t + b) + w_t     y_t = C z_t + D u_t + d + v_t

Three records: yearly sunspot numbers, which nobody drives; the water level of the lower of two
cascaded tanks, driven by a pump, which may overflow; and Silverbox, an electronic circuit that
behaves as a mass on a spring that stiffens. Sizes are chosen on a validation part by the one-step
log-likelihood, and what is printed is of a test part that neither a fit nor a choice has seen:

- log p(test) per value, each row given the rows before it: the state of the filter is continued.
  That of the LDS is exact, that of the network the extended Kalman filter's approximation;
- the difference of the two with its standard error, from paired rows; rows of a record hang
  together, so that the error counts autocorrelation;
- RMSE and coverage of 90 % intervals one row ahead, and of a free run over all of the test part,
  in which nothing is observed but the inputs.

The driven systems are read from the folder that the environment variable STATESPACE_DATA names
(see `statespace.datasets`); those that are not there are left out, and the text says so.
`--figures FOLDER` draws one figure per record.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import torch
from matplotlib.figure import Figure
from torch import Tensor

import statespace as ss
from statespace.comparison import Comparison

LEVEL = 0.9  # probability of the intervals
DATA, LINEAR, RECURRENT = "#1a1a1a", "#0072b2", "#d55e00"


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a record: y (T, 1), and u (T, 1) where something drives it."""

    y: Tensor
    u: Tensor | None = None

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(self.y[rows], None if self.u is None else self.u[rows])

    def __len__(self) -> int:
        return len(self.y)

    def cut(self, length: int) -> Rows:
        """The same rows as a batch of short series, (number, length, 1), without the remainder."""
        whole = len(self) // length * length
        return Rows(
            *(None if x is None else x[:whole].reshape(-1, length, 1) for x in (self.y, self.u))
        )


@dataclass(frozen=True)
class Problem:
    """A record and what is tried on it.

    Attributes:
        name: What it is called.
        unit: Of y.
        train: What parameters are learned from.
        before_valid, valid: What the validation part continues, and the part.
        before_test, test: Likewise.
        sizes: Numbers of states of the linear systems.
        networks: Numbers of states of the networks.
        learner: Of the networks.
        piece: Length of the series into which a network's training rows are cut; None: one series.
        shown: How many rows of the test part the figure shows.
    """

    name: str
    unit: str
    train: Rows
    before_valid: Rows
    valid: Rows
    before_test: Rows
    test: Rows
    sizes: tuple[int, ...]
    networks: tuple[int, ...]
    learner: ss.Gradient
    piece: int | None = None
    shown: int = 400


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


# ------------------------------------------------------------------ the records


def sunspots() -> Problem:
    """Square roots of the numbers, whose spread does not grow with their level (see demo.py)."""
    y = ss.datasets.sunspots().sqrt()
    train, valid, test = y[:-88], y[-88:-44], y[-44:]
    return Problem(
        "Yearly sunspots",
        "root of the sunspot number",
        Rows(train),
        Rows(train),
        Rows(valid),
        Rows(y[:-44]),
        Rows(test),
        sizes=(2, 3, 4, 5),
        networks=(2, 3, 4),
        learner=ss.Gradient(600, 2e-2, schedule="cosine", clip=10.0, patience=150),
    )


def tanks() -> Problem:
    """Two experiments; the last third of the first one chooses, the second one is the test."""
    u, y = ss.datasets.cascaded_tanks("estimation")
    first = Rows(y, u)
    u, y = ss.datasets.cascaded_tanks("validation")
    second = Rows(y, u)
    return Problem(
        "Cascaded tanks",
        "volts of the level sensor",
        first[:700],
        first[:700],
        first[700:],
        second[:50],
        second[50:],
        sizes=(2, 3, 4),
        networks=(2, 3, 4),
        learner=ss.Gradient(1500, 3e-2, schedule="cosine", clip=10.0),
        shown=974,
    )


def silverbox() -> Problem:
    """Short pieces of three realisations of a random multisine."""
    u, y = ss.datasets.silverbox()
    record = Rows(y, u)
    return Problem(
        "Silverbox",
        "volts",
        record[45000:53192],
        record[60000:60100],
        record[60100:64000],
        record[100000:100100],
        record[100100:108000],
        sizes=(2, 4, 6),
        networks=(4,),
        learner=ss.Gradient(1500, 3e-2, schedule="cosine", clip=10.0),
        piece=128,
        shown=300,
    )


# ------------------------------------------------------------------ fit, choose, test


def fitted(problem: Problem) -> tuple[list[ss.FitResult], list[ss.FitResult]]:
    """All linear systems and all networks, fitted to the training rows."""
    train = problem.train
    driven = 0 if train.u is None else 1
    linear = [ss.LDS(n, 1, driven).fit(train.y, train.u, seed=0) for n in problem.sizes]
    rows = train if problem.piece is None else train.cut(problem.piece)
    networks = [
        ss.NoisyRNN(n, 1, driven).fit(rows.y, rows.u, learner=problem.learner, seed=0)
        for n in problem.networks
    ]
    return linear, networks


def score(model: ss.StateSpaceModel, before: Rows, rows: Rows) -> ss.Score:
    """Log p(rows given the rows before them)."""
    state = model.filter(before.y, before.u, keep="last").state
    return model.score(rows.y, rows.u, state=state)


def chosen(fits: list[ss.FitResult], problem: Problem) -> tuple[ss.FitResult, float]:
    """The best on the validation part, and its score per value there."""
    scores = [score(fit.model, problem.before_valid, problem.valid).per_value for fit in fits]
    best = max(range(len(fits)), key=scores.__getitem__)
    return fits[best], scores[best]


def tested(name: str, fit: ss.FitResult, valid: float, problem: Problem) -> Result:
    """What the test part says."""
    model, before, test = fit.model, problem.before_test, problem.test
    state = model.filter(before.y, before.u, keep="last").state
    one = model.filter(test.y, test.u, state=state)
    free = model.forecast(horizon=len(test), inputs=test.u, state=state)
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * one.y_cov[..., 0].sqrt()
    low, high = free.interval(LEVEL)
    return Result(
        name=f"{name}({model.latent.size})",
        fit=fit,
        score=score(model, before, test),
        valid=valid,
        rmse=root_mean_square(one.innovations),
        covered=float((one.innovations.abs() <= half).double().mean()),
        free=free,
        free_rmse=root_mean_square(free.mean - test.y),
        free_covered=float(((test.y >= low) & (test.y <= high)).double().mean()),
    )


def root_mean_square(x: Tensor) -> float:
    """Of all entries."""
    return float(x.square().mean().sqrt())


# ------------------------------------------------------------------ what it prints and draws


def report(problem: Problem, linear: Result, network: Result, table: Comparison) -> str:
    """The numbers of the test part, one line per model."""
    head = f"{'':<16}{'per value':>11}{'RMSE':>11}{'90 %':>8}{'RMSE':>11}{'90 %':>8}   kind"
    lines = [
        f"{problem.name}: {len(problem.train)} rows to train on, {len(problem.valid)} to choose "
        f"by, {len(problem.test)} held out",
        f"{'':<16}{'log p':>11}{'one row':>11}{'covers':>8}{'free run':>11}{'covers':>8}",
        head,
    ]
    for one in (linear, network):
        lines.append(
            f"{one.name:<16}{one.score.per_value:>11.4f}{one.rmse:>11.4g}{one.covered:>8.0%}"
            f"{one.free_rmse:>11.4g}{one.free_covered:>8.0%}   {one.score.kind}"
        )
    found = table.differences(linear.name)[network.name]
    lines.append(f"{network.name} less {linear.name}, per row: {found}")
    lines.append(f"free-run RMSE, {network.name} over {linear.name}: {ratio(linear, network):.2f}")
    return "\n".join(lines)


def ratio(linear: Result, network: Result) -> float:
    """Of the errors of the free runs."""
    return network.free_rmse / linear.free_rmse


@torch.no_grad()
def draw(problem: Problem, linear: Result, network: Result, table: Comparison) -> Figure:
    """The free runs beside what came, their errors, and who predicts better as rows go by."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    top, middle, low = figure.subplots(3, 1)
    rows = range(problem.shown)
    shown = problem.test.y[: problem.shown, 0]
    top.plot(rows, shown, color=DATA, linewidth=1.0, label="held out")
    for one, color in ((linear, LINEAR), (network, RECURRENT)):
        mean = one.free.mean[: problem.shown, 0]
        top.plot(rows, mean, color=color, linewidth=1.0, label=f"{one.name}, free run")
        middle.plot(rows, mean - shown, color=color, linewidth=0.8, label=one.name)
    top.set_title(f"{problem.name}: {problem.shown} rows from the last one that was observed")
    top.set_ylabel(problem.unit)
    middle.set_title("Errors of the free runs")
    middle.set_ylabel(problem.unit)
    gap = (table[network.name].rows - table[linear.name].rows)[0].cumsum(0)
    low.plot(gap, color=RECURRENT)
    low.axhline(0, color=DATA, linewidth=0.8)
    low.set_title(
        f"Log-likelihood of {network.name} less that of {linear.name}, summed up, in nats"
    )
    low.set_xlabel("row of the test part")
    for ax in (top, middle):
        ax.legend(loc="upper right", ncols=3, frameon=False, fontsize="small")
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
    return figure


def run(problem: Problem, folder: Path | None) -> tuple[Result, Result, Comparison]:
    """Fits, chooses, tests, prints and draws."""
    began = time.perf_counter()
    linear_fits, network_fits = fitted(problem)
    linear = tested("LDS", *chosen(linear_fits, problem), problem)
    network = tested("noisy RNN", *chosen(network_fits, problem), problem)
    before, test = problem.before_test, problem.test
    table = ss.compare(
        {linear.name: linear.fit, network.name: network.fit},
        before.y,
        test.y,
        inputs=before.u,
        test_inputs=test.u,
    )
    print(report(problem, linear, network, table))
    if folder is not None:
        path = folder / f"{problem.name.lower().replace(' ', '_')}.png"
        draw(problem, linear, network, table).savefig(path, dpi=120)
        print(f"The figure is in {path.resolve()}")
    print(f"{time.perf_counter() - began:.0f} s")
    return linear, network, table


RECORDS = (
    (sunspots, lambda *_: None),
    (tanks, lambda *_: None),
    (silverbox, lambda *_: None),
)


def main(folder: Path | None) -> None:
    """All three, or those whose data are there; asserts what the texts below say."""
    torch.set_num_threads(1)  # matrices of a few rows: a second thread only waits for the first
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    for make, judge in RECORDS:
        try:
            problem = make()
        except ss.errors.DataError as error:
            print(f"{make.__name__} is left out. {error}\n")
            continue
        judge(*run(problem, folder))
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=Path, default=None, help="the folder for figures")
    main(parser.parse_args().figures)
