"""How many hidden dimensions does the sunspot cycle need?

Linear dynamical systems with one to five latent dimensions are fitted to the yearly sunspot numbers
without their last two cycles, and compared by the exact log-likelihood of those two cycles: the
filter of the training years is continued into the years that no model has seen. The best of them
then forecasts both cycles from the last training year, with nothing observed on the way.

AIC and BIC count every free entry, though a change of the coordinates in which the state is written
leaves all answers as they are: for large sizes both are too severe.

Sunspots are counts of groups, so that their spread grows with their level: roughly as its square
root, as a Poisson count's does. Square roots have a nearly constant spread, which is what a model
with one observation noise assumes. All numbers below are on that scale, for all models alike.

Run by `make demo`; writes demo/sunspots.png.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

import statespace as ss

HELD_OUT = 22  # years: two cycles
SIZES = range(1, 6)
FIGURE = Path("demo") / "sunspots.png"

DATA, MODEL, OTHER = "#1a1a1a", "#0072b2", "#d55e00"
FAN = {0.95: "#dbe9f3", 0.8: "#b5d1e7", 0.5: "#86b4d6"}  # probability of an interval: its colour


@dataclass(frozen=True)
class Candidate:
    """A fitted model and what the held-out years say about it."""

    lds: ss.LDS
    fit: ss.FitResult
    per_step: float  # held-out log-likelihood, nats per year
    one_year: float  # RMSE of the forecast of each held-out year from the years before it
    two_cycles: float  # RMSE of the forecast of all held-out years from the last training year


def evaluate(size: int, train: Tensor, test: Tensor) -> Candidate:
    """Fits a model on the training years and scores it on the years that follow."""
    lds = ss.LDS(latent_dim=size, obs_dim=1, initial="stationary")  # 1700 was a year like others
    fit = lds.fit(train, seed=0)

    state = lds.filter(train).state  # the belief about the last training year
    test_filter = lds.filter(test, state=state)
    free_run = lds.forecast(horizon=len(test), state=state)
    return Candidate(
        lds=lds,
        fit=fit,
        per_step=lds.score(test, state=state).per_step,
        one_year=rmse(test_filter.y_mean, test),
        two_cycles=rmse(free_run.mean, test),
    )


def rmse(forecast: Tensor, truth: Tensor) -> float:
    """Root mean squared error."""
    return float((forecast - truth).square().mean().sqrt())


def table(candidates: list[Candidate], best: Candidate) -> str:
    """One line per model; the best held-out score is marked."""
    head = "latent   free     train                         held out     RMSE         RMSE"
    unit = "  size  params  log-lik       AIC       BIC    per year   one year   two cycles"
    lines = [head, unit, "-" * len(unit)]
    for one in candidates:
        fit = one.fit
        lines.append(
            f"{one.lds.latent_dim:>6d}{fit.num_params:>8d}{fit.log_likelihood:>9.2f}"
            f"{fit.aic:>10.2f}{fit.bic:>10.2f}{one.per_step:>12.4f}{one.one_year:>11.3f}"
            f"{one.two_cycles:>13.3f}{'  <- best held out' if one is best else ''}"
        )
    return "\n".join(lines)


@torch.no_grad()  # parameters such as lds.C carry gradients, which a figure has no use for
def draw(best: Candidate, candidates: list[Candidate], years: np.ndarray, y: Tensor) -> Figure:
    """Four panels: signal, forecast, innovations, score by size."""
    train, test = y[:-HELD_OUT], y[-HELD_OUT:]
    figure = Figure(figsize=(12, 7), layout="constrained")
    (top_left, top_right), (low_left, low_right) = figure.subplots(2, 2)
    draw_signal(top_left, best.lds, years[:-HELD_OUT], train)
    draw_forecast(top_right, best.lds, years, train, test)
    draw_innovations(low_left, best.lds, years[:-HELD_OUT], train)
    draw_scores(low_right, candidates, best)
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def draw_signal(ax: Axes, lds: ss.LDS, years: np.ndarray, train: Tensor) -> None:
    """The data, and C z + d given all training years, with a 95 % band."""
    smoothed = lds.smooth(train)
    signal = (smoothed.mean @ lds.C.mT + lds.d).squeeze(-1)  # (T,)
    variance = (lds.C @ smoothed.cov @ lds.C.mT).squeeze((-2, -1))
    band = 1.96 * variance.sqrt()
    ax.plot(years, train, ".", color=DATA, markersize=3, label="data")
    ax.plot(years, signal, color=MODEL, linewidth=1, label="smoothed signal")
    ax.fill_between(years, signal - band, signal + band, color=MODEL, alpha=0.25, linewidth=0)
    ax.set_title(f"Data and smoothed signal, {lds.latent_dim} latent dimensions")
    ax.set_ylabel("square root of sunspot number")
    ax.legend(loc="upper left", ncols=2, frameon=False)


def draw_forecast(ax: Axes, lds: ss.LDS, years: np.ndarray, train: Tensor, test: Tensor) -> None:
    """The forecast from the last training year, as a fan, and what came."""
    forecast = lds.forecast(train, horizon=len(test))
    ahead, before = years[-len(test) :], years[-3 * len(test) : -len(test)]
    for level, colour in FAN.items():
        low, high = (end.squeeze(-1) for end in forecast.interval(level))
        ax.fill_between(ahead, low, high, color=colour, linewidth=0, label=f"{level:.0%} interval")
    ax.plot(ahead, forecast.mean, color=MODEL, label="forecast")
    ax.plot(before, train[-len(before) :], ".-", color=DATA, linewidth=0.6)
    ax.plot(ahead, test, "o", color=OTHER, markersize=4, label="held out")
    ax.axvline(ahead[0] - 0.5, color=DATA, linewidth=0.8, linestyle=":")
    ax.set_title(f"Forecast made in {ahead[0] - 1}, and the {len(test)} years that came")
    ax.legend(loc="upper left", ncols=2, frameon=False, fontsize="small")


def draw_innovations(ax: Axes, lds: ss.LDS, years: np.ndarray, train: Tensor) -> None:
    """One-step errors in units of their standard deviation: white noise if the model is right."""
    found = ss.diagnostics.diagnose(lds.filter(train))
    errors = found.standardised.squeeze(-1)
    ax.axhspan(-1.96, 1.96, color=MODEL, alpha=0.12, linewidth=0)
    ax.vlines(years, 0, errors, color=DATA, linewidth=0.8)
    ax.axhline(0, color=DATA, linewidth=0.8)
    white = float(found.ljung_box.p_value.squeeze())
    ax.set_title(f"Standardised innovations (Ljung-Box over {found.lags} lags: p = {white:.2g})")
    ax.set_xlabel("year")


def draw_scores(ax: Axes, candidates: list[Candidate], best: Candidate) -> None:
    """The score that chooses, beside the same score on the training years."""
    sizes = [one.lds.latent_dim for one in candidates]
    in_sample = [one.fit.log_likelihood / one.fit.n_values for one in candidates]
    ax.plot(sizes, in_sample, "o--", color=DATA, label="training years")
    ax.plot(sizes, [one.per_step for one in candidates], "o-", color=MODEL, label="held out")
    at_best = best.lds.latent_dim, best.per_step
    ax.plot(*at_best, "o", color=OTHER, markersize=11, fillstyle="none", label="best held out")
    ax.set_title("Exact log-likelihood per year, in nats")
    ax.set_xlabel("latent dimensions")
    ax.set_xticks(sizes)
    ax.legend(frameon=False)


def main() -> None:
    """Fits, compares, prints the table and writes the figure."""
    torch.set_num_threads(1)  # matrices of a few rows: a second thread only waits for the first
    y = ss.datasets.sunspots().sqrt()  # (289, 1)
    years = ss.datasets.sunspots(frame=True).index.year.to_numpy()
    train, test = y[:-HELD_OUT], y[-HELD_OUT:]
    print(
        f"Yearly sunspot numbers (square roots): {years[0]} to {years[-HELD_OUT - 1]} to train on, "
        f"{years[-HELD_OUT]} to {years[-1]} held out."
    )

    candidates = [evaluate(size, train, test) for size in tqdm(SIZES, "fitting", unit=" models")]
    best = max(candidates, key=lambda one: one.per_step)
    print(f"\n{table(candidates, best)}\n")
    for one in candidates:
        if not one.fit.converged:
            print(f"{one.lds.latent_dim} dimensions did not converge: {one.fit.reason}.")

    cycle_ago = rmse(torch.cat([train[-11:], train[-11:]]), test)
    print(f"For comparison, repeating the last eleven years twice has RMSE {cycle_ago:.3f}.")

    FIGURE.parent.mkdir(exist_ok=True)
    figure = draw(best, candidates, years, y)
    figure.savefig(FIGURE, dpi=140)
    print(f"The figure is in {FIGURE.resolve()}")


if __name__ == "__main__":
    main()
