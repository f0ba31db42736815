"""Linear or recurrent: what moves the sunspot cycle?

Linear dynamical systems and noisy tanh networks of two to five latent dimensions are fitted to the
yearly sunspot numbers without their last six cycles. Four of these choose the size of each and say
when the training of a network stops. On the last two cycles, which nothing has seen, both are asked
for the same numbers: log p of each year given the years before it, and a forecast of both cycles
from the year before them, with nothing observed on the way.

The number of the linear system is exact. A network has no exact one, and is asked three times: by
the extended and the unscented Kalman filter, which are approximations of unknown sign, and by
particles, whose number is an estimate and, in expectation, a lower bound. Where the three agree the
approximation does not decide the comparison; the table keeps the kinds apart all the same.

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
from statespace.comparison import Comparison

CHOOSING, HELD_OUT = 44, 22  # years: four cycles to choose by, two to test on
SIZES = range(2, 6)
METHODS = {
    "extended": ss.ExtendedKalman(),
    "unscented": ss.UnscentedKalman(),
    "particles": ss.ParticleFilter(2000),
}
FIGURE = Path("demo") / "sunspots.png"

DATA, LINEAR, RECURRENT = "#1a1a1a", "#0072b2", "#d55e00"
SHADES = {0.95: 0.15, 0.8: 0.2, 0.5: 0.3}  # probability of an interval: how dark it is


@dataclass(frozen=True)
class Candidate:
    """A fitted model and what the years that choose say about it."""

    model: ss.StateSpaceModel
    fit: ss.FitResult
    per_step: float  # nats per year


def linear(size: int) -> ss.LDS:
    """A linear dynamical system; 1700 was a year like others."""
    return ss.LDS(latent_dim=size, obs_dim=1, initial="stationary")


def recurrent(size: int) -> ss.NoisyRNN:
    """A network whose hidden state is noisy: z_t = tanh(A z_{t-1} + b) + w_t."""
    return ss.NoisyRNN(latent_dim=size, obs_dim=1, activation="tanh")


def learn(model: ss.StateSpaceModel, train: Tensor, choosing: Tensor) -> ss.FitResult:
    """EM and L-BFGS for the linear system, back-propagation through time for the network.

    The linear system climbs to the summit of its likelihood of the training years. That of the
    network goes on rising where it has begun to learn the noise, so that the network which is kept
    is the one on the way to whom the choosing years are most probable.
    """
    if isinstance(model, ss.LDS):
        return model.fit(train, seed=0)
    learner = ss.Gradient(steps=300, lr=2e-2, schedule="cosine", clip=10.0)
    return model.fit(train, learner=learner, validation=choosing, seed=0)


def evaluate(model: ss.StateSpaceModel, train: Tensor, later: Tensor) -> Candidate:
    """Fits a model on the training years and scores it on the years that follow."""
    fit = learn(model, train, later)
    state = model.filter(train).state  # the belief about the last training year
    return Candidate(model, fit, model.score(later, state=state).per_step)


def rmse(forecast: Tensor, truth: Tensor) -> float:
    """Root mean squared error."""
    return float((forecast - truth).square().mean().sqrt())


def table(candidates: list[Candidate], best: list[Candidate]) -> str:
    """One line per model; the best of each class is marked."""
    head = "           latent   free     train    per year"
    unit = "model        size  params  log-lik   that chose"
    lines = [head, unit, "-" * len(unit)]
    for one in candidates:
        mark = "  <- chosen" if one in best else ""
        lines.append(
            f"{type(one.model).__name__:<9s}{one.model.latent.size:>8d}{one.fit.num_params:>8d}"
            f"{one.fit.log_likelihood:>9.2f}{one.per_step:>13.4f}{mark}"
        )
    return "\n".join(lines)


def compare(lds: ss.FitResult, rnn: ss.FitResult, train: Tensor, test: Tensor) -> Comparison:
    """The held-out cycles by all methods; LDS and network have other sizes in other data."""
    models = {f"LDS({lds.model.latent.size})": lds}
    name = f"RNN({rnn.model.latent.size})"
    models |= {f"{name}, {word}": (rnn, method) for word, method in METHODS.items()}
    return ss.compare(models, train, test, seed=0)


@torch.no_grad()  # parameters such as lds.C carry gradients, which a figure has no use for
def draw(
    lds: ss.FitResult, rnn: ss.FitResult, ranking: Comparison, years: np.ndarray, y: Tensor
) -> Figure:
    """Four panels: two forecasts, innovations, score year by year."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    (top_left, top_right), (low_left, low_right) = figure.subplots(2, 2)
    draw_forecast(top_left, lds.model, LINEAR, years, y)
    draw_forecast(top_right, rnn.model, RECURRENT, years, y)
    ends = [end for ax in (top_left, top_right) for end in ax.get_ylim()]
    for ax in (top_left, top_right):
        ax.set_ylim(min(ends), max(ends))
    draw_innovations(low_left, rnn.model, years[:-HELD_OUT], y[:-HELD_OUT])
    draw_scores(low_right, ranking, years[-HELD_OUT:])
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def named(model: ss.StateSpaceModel) -> str:
    """What a person calls it."""
    word = "linear system" if isinstance(model, ss.LDS) else "noisy network"
    return f"{word}, {model.latent.size} states"


def draw_forecast(
    ax: Axes, model: ss.StateSpaceModel, color: str, years: np.ndarray, y: Tensor
) -> None:
    """The forecast from the last training year, as a fan, and what came."""
    train, test = y[:-HELD_OUT], y[-HELD_OUT:]
    forecast = model.forecast(train, horizon=HELD_OUT, seed=0)
    ahead, before = years[-HELD_OUT:], years[-3 * HELD_OUT : -HELD_OUT]
    for level, shade in SHADES.items():
        low, high = (end.squeeze(-1) for end in forecast.interval(level))
        ax.fill_between(
            ahead, low, high, color=color, alpha=shade, linewidth=0, label=f"{level:.0%} interval"
        )
    ax.plot(ahead, forecast.mean, color=color, label="forecast")
    ax.plot(before, train[-len(before) :], ".-", color=DATA, linewidth=0.6)
    ax.plot(ahead, test, "o", color=DATA, markersize=4, fillstyle="none", label="held out")
    ax.axvline(ahead[0] - 0.5, color=DATA, linewidth=0.8, linestyle=":")
    error = rmse(forecast.mean, test)
    ax.set_title(f"Forecast made in {ahead[0] - 1}: {named(model)} (RMSE {error:.2f})")
    ax.set_ylabel("square root of sunspot number")
    ax.legend(loc="upper left", ncols=2, frameon=False, fontsize="small")


def draw_innovations(ax: Axes, model: ss.StateSpaceModel, years: np.ndarray, train: Tensor) -> None:
    """One-step errors in units of their standard deviation: white noise if the model is right."""
    found = ss.diagnostics.diagnose(model.filter(train))
    errors = found.standardised.squeeze(-1)
    ax.axhspan(-1.96, 1.96, color=RECURRENT, alpha=0.12, linewidth=0)
    ax.vlines(years, 0, errors, color=DATA, linewidth=0.8)
    ax.axhline(0, color=DATA, linewidth=0.8)
    white = float(found.ljung_box.p_value.squeeze())
    ax.set_title(
        f"Standardised innovations, {named(model)}\n"
        f"(Ljung-Box over {found.lags} lags: p = {white:.2g})"
    )
    ax.set_xlabel("year")
    ax.set_ylabel("standard deviations")


def draw_scores(ax: Axes, ranking: Comparison, years: np.ndarray) -> None:
    """By how many nats the network predicts better, summed up year by year, by each method."""
    exact, *others = ranking
    styles = dict(zip(METHODS, ("-", "--", ":"), strict=True))
    for one in others:
        word = one.name.rpartition(", ")[2]
        gap = (one.rows - exact.rows)[0].cumsum(0)
        ax.plot(years, gap, styles[word], color=RECURRENT, label=f"{word} ({one.score.kind})")
    ax.axhline(0, color=LINEAR, linewidth=1.2)
    ax.set_title(f"log p of the network less that of {exact.name}, summed up")
    ax.set_xlabel("year")
    ax.set_ylabel("nats")
    ax.legend(frameon=False)


def main() -> None:
    """Fits, chooses, compares, prints the tables and writes the figure."""
    torch.set_num_threads(1)  # matrices of a few rows: a second thread only waits for the first
    y = ss.datasets.sunspots().sqrt()  # (289, 1)
    years = ss.datasets.sunspots(frame=True).index.year.to_numpy()
    train, test = y[:-HELD_OUT], y[-HELD_OUT:]
    first, choosing = train[:-CHOOSING], train[-CHOOSING:]
    print(
        f"Yearly sunspot numbers (square roots): {years[0]} to {years[len(first) - 1]} to learn "
        f"from, {years[len(first)]} to {years[-HELD_OUT - 1]} to choose by, "
        f"{years[-HELD_OUT]} to {years[-1]} held out."
    )

    makers = [(make, size) for make in (linear, recurrent) for size in SIZES]
    candidates = [
        evaluate(make(size), first, choosing)
        for make, size in tqdm(makers, "fitting", unit=" models")
    ]
    best = [
        max((c for c in candidates if isinstance(c.model, kind)), key=lambda one: one.per_step)
        for kind in (ss.LDS, ss.NoisyRNN)
    ]
    print(f"\n{table(candidates, best)}\n")

    lds, rnn = (one.fit for one in best)
    ranking = compare(lds, rnn, train, test)
    print(f"{ranking}\n")
    for fit in (lds, rnn):
        ahead = rmse(fit.model.forecast(train, horizon=HELD_OUT, seed=0).mean, test)
        print(f"Two cycles ahead, the {named(fit.model)}: RMSE {ahead:.3f}.")
    cycle_ago = rmse(torch.cat([train[-11:], train[-11:]]), test)
    print(f"For comparison, repeating the last eleven years twice has RMSE {cycle_ago:.3f}.")

    FIGURE.parent.mkdir(exist_ok=True)
    figure = draw(lds, rnn, ranking, years, y)
    figure.savefig(FIGURE, dpi=140)
    print(f"The figure is in {FIGURE.resolve()}")


if __name__ == "__main__":
    main()
