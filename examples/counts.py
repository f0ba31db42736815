"""Counts: how many van drivers did the seat belt law save?

Each month from 1969 to 1984 a handful of drivers of vans were killed on the roads of Great Britain;
from February 1983 on, seat belts were compulsory. Counts so small are not Gaussian on any scale.
With z_t the level of the logarithm of the rate, u_t the months' harmonics and a step where the law
begins,

    z_t = z_{t-1} + w_t,    y_t ~ Poisson(exp(z_t + D u_t)),

a local level with a Poisson emission: a noisy network whose activation is the identity. Q and D are
learned from the Laplace approximation of the likelihood, which particles then check. Durbin and
Koopman (2000) model these counts in the same way.

    python examples/counts.py             # some seconds
    python examples/counts.py --figure    # writes counts.png as well
"""

import math
import sys

import torch
from matplotlib.figure import Figure
from torch import Tensor

import statespace as ss

F64 = torch.float64
YEARS, MONTHS = 16, 12


def regressors(law: Tensor) -> Tensor:
    """u, (T, 12): eleven harmonics of the year, which sum to zero over one, and the law."""
    month = 2 * math.pi * torch.arange(len(law), dtype=F64) / MONTHS
    waves = [f(k * month) for k in range(1, 6) for f in (torch.cos, torch.sin)]
    return torch.stack([*waves, torch.cos(6 * month), law], -1)


def local_level(y: Tensor, num_inputs: int) -> ss.NoisyRNN:
    """The model; the first year says where the level begins, give or take a factor of e."""
    return ss.NoisyRNN(
        1,
        1,
        num_inputs,
        activation="identity",
        family="poisson",
        A=ss.Fixed([[1.0]]),
        W=ss.Fixed(torch.zeros(1, num_inputs)),
        b=ss.Fixed([0.0]),
        C=ss.Fixed([[1.0]]),
        D=ss.Param(torch.zeros(1, num_inputs)),
        d=ss.Fixed([0.0]),
        Q=ss.Param([[1e-3]]),
        initial_mean=[float(y[:MONTHS].mean().log())],
        initial_cov=[[1.0]],
    )


@torch.no_grad()
def draw(rnn: ss.NoisyRNN, y: Tensor, u: Tensor, without: Tensor) -> Figure:
    """The counts, their rate, and the rate as it would have been without the law."""
    years = 1969 + torch.arange(len(y)) / MONTHS
    s = rnn.smooth(y, u, method=ss.Laplace())
    seen = s.mean[:, 0] + (u @ rnn.D.mT)[:, 0]
    none = s.mean[:, 0] + (without @ rnn.D.mT)[:, 0]
    sd = s.cov[:, 0, 0].sqrt()
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    ax = figure.subplots()
    ax.plot(years, y[:, 0], ".", color="#1a1a1a", markersize=4, label="killed")
    ax.plot(years, seen.exp(), color="#0072b2", linewidth=1.2, label="rate, smoothed")
    low, high = ((seen + k * 1.96 * sd).exp() for k in (-1, 1))
    ax.fill_between(years, low, high, color="#0072b2", alpha=0.2, linewidth=0, label="95 %")
    after = u[:, -1] > 0
    ax.plot(
        years[after], none[after].exp(), color="#d55e00", linewidth=1.2, label="without the law"
    )
    ax.axvline(1983 + 1 / MONTHS, color="0.6", linewidth=0.8)
    ax.set_ylim(0, 20)
    ax.set_ylabel("van drivers killed in a month")
    ax.legend(frameon=False, ncols=4, loc="upper right")
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.01)
    return figure


def main(figure: bool) -> None:
    """Fits, checks by particles, prints what the law did, and asserts it."""
    y, law = ss.datasets.uk_seatbelts(["van_killed", "law"]).split(1, -1)
    u = regressors(law[:, 0])
    rnn = local_level(y, u.shape[-1])
    learner = ss.EM(max_iter=50)
    fit = rnn.fit(y, u, method=ss.Laplace(), learner=learner, seed=0)
    print(fit.reason, "\n")

    print("log p(y) of the fitted model")
    scores = {}
    for method in (ss.Laplace(), ss.ExtendedKalman(), ss.ParticleFilter(5000)):
        name = type(method).__name__
        scores[name] = rnn.score(y, u, method=method, seed=0)
        print(f"    {name:<16}{scores[name].value:>9.3f} +- {scores[name].stderr:.3f}  "
              f"{scores[name].kind}")  # fmt: skip
    particles = scores["ParticleFilter"]
    for name in ("Laplace", "ExtendedKalman"):
        gap = scores[name].value - particles.value
        assert abs(gap) < 0.5 + 4 * particles.stderr, (name, gap)

    effect = float(rnn.D[0, -1].detach())
    error = fit.standard_errors[f"D[0,{u.shape[-1] - 1}]"]
    low, high = (1 - math.exp(effect + k * 1.645 * error) for k in (1, -1))
    print(f"\nthe law: {effect:.3f} +- {error:.3f} in the log rate, "
          f"{1 - math.exp(effect):.0%} fewer killed (90 %: {low:.0%} to {high:.0%})")  # fmt: skip
    assert effect < -1.645 * error
    assert 0.1 < 1 - math.exp(effect) < 0.4

    before = int((law == 0).sum())
    without = u.clone()
    without[:, -1] = 0.0
    told = rnn.filter(y[:before], u[:before], method=ss.Laplace()).state
    ahead = rnn.forecast(
        horizon=len(y) - before, inputs=without[before:], state=told, num_samples=4000, seed=0
    )
    came = float(y[before:].sum())
    print(f"killed in the {len(y) - before} months with the law: {came:.0f}; forecast as if there "
          f"had been none: {float(ahead.mean.sum()):.0f}")  # fmt: skip
    assert came < float(ahead.mean.sum())
    if figure:
        draw(rnn, y, u, without).savefig("counts.png", dpi=120)


if __name__ == "__main__":
    main("--figure" in sys.argv[1:])
