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
from pathlib import Path
from statistics import NormalDist

import torch
from lds_and_rnn_records import Problem, Rows, silverbox, sunspots, tanks
from lds_and_rnn_verdicts import LEVEL, Result, Tested, of_silverbox, of_sunspots, of_tanks
from matplotlib.figure import Figure
from torch import Tensor

import statespace as ss

DATA, LINEAR, RECURRENT = "#1a1a1a", "#0072b2", "#d55e00"
RECORDS = ((sunspots, of_sunspots), (tanks, of_tanks), (silverbox, of_silverbox))

# ------------------------------------------------------------------ fit, choose, test


def fitted(problem: Problem) -> tuple[list[ss.FitResult], list[ss.FitResult]]:
    """All linear systems and all networks, fitted to the training rows."""
    train = problem.train
    driven = 0 if train.u is None else 1
    linear = [ss.LDS(n, 1, driven).fit(train.y, train.u, seed=0) for n in problem.sizes]
    rows = train if problem.piece is None else train.cut(problem.piece)
    stop = (problem.valid.y, problem.valid.u) if problem.stops else None
    networks = [
        ss.NoisyRNN(n, 1, driven).fit(
            rows.y, rows.u, learner=problem.learner, validation=stop, seed=0
        )
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
        errors=one.innovations,
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


def report(tested: Tested) -> str:
    """The numbers of the test part, one line per model."""
    problem, linear, network = tested.problem, tested.linear, tested.network
    lines = [
        f"{problem.name}: {len(problem.train)} rows to learn from, {len(problem.valid)} to choose "
        f"by, {len(problem.test)} held out; RMSE in {problem.unit}",
        f"{'':<16}{'log p':>11}{'RMSE':>11}{f'{LEVEL:.0%}':>9}{'RMSE':>11}{f'{LEVEL:.0%}':>9}",
        f"{'':<16}{'per value':>11}{'one row':>11}{'covers':>9}{'free run':>11}{'covers':>9}  kind",
    ]
    for one in (linear, network):
        lines.append(
            f"{one.name:<16}{one.score.per_value:>11.4f}{one.rmse:>11.4g}{one.covered:>9.0%}"
            f"{one.free_rmse:>11.4g}{one.free_covered:>9.0%}  {one.score.kind}"
        )
    lines.append(f"{network.name} less {linear.name}, per row: {tested.difference}")
    lines.append(f"free-run RMSE, {network.name} over {linear.name}: {tested.ratio:.2f}")
    return "\n".join(lines)


@torch.no_grad()
def draw(tested: Tested) -> Figure:
    """The free runs beside what came, their errors, and who predicts better as rows go by."""
    problem, linear, network = tested.problem, tested.linear, tested.network
    figure = Figure(figsize=(11, 7), layout="constrained")
    top, middle, low = figure.subplots(3, 1)
    rows = range(problem.shown)
    shown = problem.test.y[: problem.shown, 0]
    top.plot(rows, shown, color=DATA, linewidth=3.0, alpha=0.35, label="held out")
    for one, color in ((linear, LINEAR), (network, RECURRENT)):
        mean = one.free.mean[: problem.shown, 0]
        top.plot(rows, mean, color=color, linewidth=1.0, label=f"{one.name}, free run")
        middle.plot(rows, mean - shown, color=color, linewidth=0.8)
    middle.axhline(0, color=DATA, linewidth=0.8)
    top.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    top.set_title(f"{problem.name}: {problem.shown} of {len(problem.test)} rows", loc="left")
    middle.set_title("Errors of the free runs", loc="left")
    for ax in (top, middle):
        ax.set_ylabel(problem.unit)
    low.plot(tested.gaps().cumsum(0), color=RECURRENT)
    low.axhline(0, color=DATA, linewidth=0.8)
    low.set_title(f"log p of {network.name} less that of {linear.name}, summed up", loc="left")
    low.set_ylabel("nats")
    low.set_xlabel("row of the test part")
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
    return figure


def markdown(found: list[Tested], said: list[list[str]]) -> str:
    """The table of a page, and what it says."""
    lines = [
        "| record | model | log p per value | RMSE, one row | 90 % covers | RMSE, free run "
        "| 90 % covers |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for tested in found:
        for one in (tested.linear, tested.network):
            sign = "" if one.score.kind == "exact" else "~ "
            lines.append(
                f"| {tested.problem.name} | {one.name} | {sign}{one.score.per_value:.3f} "
                f"| {one.rmse:.3g} {tested.problem.unit} | {one.covered:.0%} "
                f"| {one.free_rmse:.3g} {tested.problem.unit} | {one.free_covered:.0%} |"
            )
    for tested, sentences in zip(found, said, strict=True):
        lines += ["", f"## {tested.problem.name}", "", " ".join(sentences)]
    return "\n".join(lines)


def write(page: Path, found: list[Tested], said: list[list[str]]) -> None:
    """Puts the table between the marks of the page."""
    begin, end = "<!-- table -->", "<!-- end of table -->"
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(begin)
    new = f"{before}{begin}\n{markdown(found, said)}\n{end}{rest.split(end)[1]}"
    page.write_text(new, encoding="utf-8")


def compared(problem: Problem) -> Tested:
    """Fits, chooses and tests."""
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
    return Tested(problem, linear, network, table)


def main(figures: Path | None = None, page: Path | None = None) -> list[Tested]:
    """All three, or those whose data are there; asserts what it says about them."""
    torch.set_num_threads(1)  # matrices of a few rows: a second thread only waits for the first
    found, said = [], []
    for make, judge in RECORDS:
        began = time.perf_counter()
        try:
            problem = make()
        except ss.errors.DataError as error:
            print(f"{make.__name__} is left out. {error}\n")
            continue
        one = compared(problem)
        print(report(one))
        sentences = judge(one)
        print("\n".join(sentences))
        if figures is not None:
            figures.mkdir(parents=True, exist_ok=True)
            path = figures / f"{problem.name.lower().replace(' ', '_')}.png"
            draw(one).savefig(path, dpi=120)
            print(f"The figure is in {path.resolve()}")
        print(f"{time.perf_counter() - began:.0f} s\n")
        found.append(one)
        said.append(sentences)
    if page is not None:
        write(page, found, said)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=Path, default=None, help="the folder for figures")
    parser.add_argument("--write", type=Path, default=None, help="the page that holds the table")
    asked = parser.parse_args()
    main(asked.figures, asked.write)
