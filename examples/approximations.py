"""How wrong are approximate filters? Three models small enough to be solved by brute force.

A model with one state is filtered without any approximation but quadrature: p(z_t | y_1..t) is
kept on a fine grid, multiplied by the transition density and by the emission density, and summed.
Beside that truth stand the methods that users choose between. What to look at:

- extended and sigma-point filters give numbers that are neither bounds nor unbiased, and by how
  much they are off depends on the model, not on their settings;
- the particle filter is right within its standard error.

`python examples/approximations.py --write docs/approximations.md` puts the table into the docs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, Poisson

import statespace as ss
from statespace.interface import Context, GaussianLatent, Real

STEPS = 100
PARTICLES = 2000


class Autoregressive(GaussianLatent):
    """One state, z_t = mu + phi (z_{t-1} - mu) + sigma w_t, stationary at the first row."""

    def __init__(self, mu: float, phi: float, sigma: float) -> None:
        super().__init__()
        self.latent, self.obs_dim = Real(1), 1
        self.phi = phi
        self.register_buffer("mu", torch.tensor([mu], dtype=torch.float64))
        self.register_buffer("sigma", torch.tensor([sigma], dtype=torch.float64))

    def initial(self, ctx: Context) -> Independent:
        return Independent(Normal(self.mu, self.sigma / math.sqrt(1 - self.phi**2)), 1)

    def transition(self, z: Tensor, ctx: Context) -> Independent:
        return Independent(Normal(self.mu + self.phi * (z - self.mu), self.sigma), 1)

    def default_method(self) -> ss.ParticleFilter:
        return ss.ParticleFilter(PARTICLES)

    def default_learner(self) -> ss.Gradient:
        return ss.Gradient(steps=200)


class Volatility(Autoregressive):
    """Stochastic volatility, y_t = exp(z_t / 2) v_t: the mean of y says nothing about z."""

    def emission(self, z: Tensor, ctx: Context) -> Independent:
        return Independent(Normal(torch.zeros_like(z), (z / 2).exp()), 1)


class Counts(Autoregressive):
    """y_t ~ Poisson(exp z_t)."""

    def emission(self, z: Tensor, ctx: Context) -> Independent:
        return Independent(Poisson(z.exp()), 1)


def growth() -> ss.NonlinearGaussian:
    """Kitagawa's growth model (1987), in which y cannot tell z from -z; rows count from 0."""

    def g(z: Tensor, ctx: Context) -> Tensor:
        t = ctx.t[..., None].to(z)
        return z / 2 + 25 * z / (1 + z.square()) + 8 * torch.cos(1.2 * (t + 1))

    return ss.NonlinearGaussian(
        1,
        1,
        g=g,
        f=lambda z, ctx: z.square() / 20,
        Q=ss.Fixed([[10.0]]),
        R=ss.Fixed([[1.0]]),
        initial_mean=[0.0],
        initial_cov=[[5.0]],
    )


@dataclass(frozen=True)
class Problem:
    """A model, and a grid that holds all of its state."""

    name: str
    model: Any
    low: float
    high: float


PROBLEMS = (
    Problem("stochastic volatility", Volatility(-1.0, 0.95, 0.3), -7.0, 5.0),
    Problem("Poisson counts", Counts(1.0, 0.9, 0.4), -5.0, 6.0),
    Problem("Kitagawa's growth model", growth(), -45.0, 45.0),
)


@dataclass(frozen=True)
class Filtered:
    """log p(y), and mean and standard deviation of p(z_t | y_1..t), (T,)."""

    log_likelihood: float
    mean: Tensor
    stddev: Tensor


def by_quadrature(problem: Problem, y: Tensor, points: int = 1500) -> Filtered:
    """The filter, by sums over a grid: no approximation but the grid's, which is checked."""
    model = problem.model
    grid = torch.linspace(problem.low, problem.high, points, dtype=torch.float64)
    step, z = grid[1] - grid[0], grid[:, None]
    none = torch.zeros(0, dtype=torch.float64)
    total, means, stddevs = 0.0, [], []
    density = torch.zeros(0)
    with torch.no_grad():
        for t, row in enumerate(y):
            ctx = Context(torch.tensor(t), none, none)
            if t == 0:
                density = model.initial(ctx).log_prob(z).exp()
            else:  # p(z_t = j) = sum over i of p(j | i) p(i) step
                moves = model.transition(z, ctx).log_prob(z[:, None]).exp()
                density = moves @ density * step
            weights = density * model.emission(z, ctx).log_prob(row).exp() * step
            total += math.log(weights.sum())
            density = weights / weights.sum() / step
            means.append(float((weights * grid).sum() / weights.sum()))
            spread = (weights * (grid - means[-1]).square()).sum() / weights.sum()
            stddevs.append(math.sqrt(spread))
    exact = torch.float64
    return Filtered(total, torch.tensor(means, dtype=exact), torch.tensor(stddevs, dtype=exact))


METHODS: dict[str, Callable[[], Any]] = {
    "extended Kalman": ss.ExtendedKalman,
    "iterated extended Kalman (10)": lambda: ss.ExtendedKalman(iterations=10),
    "unscented Kalman": ss.UnscentedKalman,
    "cubature Kalman": ss.CubatureKalman,
    "Gauss-Hermite Kalman (order 9)": lambda: ss.GaussHermiteKalman(9),
    "posterior linearisation": lambda: ss.PosteriorLinearisation(ss.GaussHermiteKalman(9), 10),
    "Laplace": lambda: ss.Laplace(50),
    f"particles ({PARTICLES})": lambda: ss.ParticleFilter(PARTICLES),
}


@dataclass(frozen=True)
class Row:
    """One method on one model, against the truth.

    Attributes:
        kind: Of the number.
        error: Its log-likelihood less the true one, in nats; NaN where the method refuses.
        stderr: The standard error that it states; NaN where it states none.
        off: Root mean squared distance of the filtered means from the true ones, in true posterior
            standard deviations.
    """

    problem: str
    method: str
    kind: str
    error: float
    stderr: float
    off: float


def compare(problem: Problem, y: Tensor, truth: Filtered) -> list[Row]:
    """Every method on one model."""
    rows = []
    for name, make in METHODS.items():
        try:
            score = problem.model.score(y, method=make(), seed=1)
        except ss.errors.MethodError:
            rows.append(Row(problem.name, name, "refuses", math.nan, math.nan, math.nan))
            continue
        error = score.value - truth.log_likelihood
        off = _off(problem.model, y, make(), truth)
        rows.append(Row(problem.name, name, score.kind, error, score.stderr, off))
    return rows


def _off(model: Any, y: Tensor, method: Any, truth: Filtered) -> float:
    """How far filtered means are; NaN where a method smooths only."""
    try:
        mean = model.filter(y, method=method, seed=1).mean[:, 0]
    except ss.errors.MethodError:
        return math.nan
    return float(((mean - truth.mean) / truth.stddev).square().mean().sqrt())


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = "| model | method | kind | error of log p(y), nats | stated error | means off by |"
    lines = [head, "|---|---|---|---:|---:|---:|"]
    for r in rows:
        error = "" if math.isnan(r.error) else f"{r.error:+.2f}"
        stderr = "" if math.isnan(r.stderr) else f"{r.stderr:.2f}"
        off = "" if math.isnan(r.off) else f"{r.off:.3f}"
        lines.append(f"| {r.problem} | {r.method} | {r.kind} | {error} | {stderr} | {off} |")
    return "\n".join(lines)


def main() -> list[Row]:
    """Prints the table, and asserts what the docs say about it."""
    rows: list[Row] = []
    for problem in PROBLEMS:
        y = problem.model.sample(STEPS, seed=7).y
        truth, coarse = by_quadrature(problem, y), by_quadrature(problem, y, 750)
        assert abs(truth.log_likelihood - coarse.log_likelihood) < 1e-6, "the grid is too coarse"
        rows += compare(problem, y, truth)
    print(table(rows))
    for r in rows:
        if r.method.startswith("particles"):
            assert abs(r.error) < 4 * r.stderr, r
            assert r.off < 0.15, r
    return rows


def _write(path: Path, text: str) -> None:
    """Puts the table between the marks of the page."""
    begin, end = "<!-- table -->", "<!-- end of table -->"
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, default=None, help="the page that holds the table")
    asked = parser.parse_args()
    found = main()
    if asked.write is not None:
        _write(asked.write, table(found))
