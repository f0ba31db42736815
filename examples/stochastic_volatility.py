"""A model of one's own: three densities, and four lines that make it fast.

The logarithm of the variance of a return follows an autoregression (Taylor 1982),

    z_t = mu + phi (z_{t-1} - mu) + sigma w_t,    y_t = exp(z_t / 2) v_t,    w, v ~ N(0, 1),

which no Kalman filter serves: y_t has mean zero whatever z_t is. Three densities are a model, and a
particle filter serves every model. `network` says the same densities once more, as activations of
affine maps with a scale; where a model can say so, loops over particles are compiled.

The state has one entry, so that integrals over it can be done on a grid: what particles say of a
simulated series is compared with the truth, and every number that is printed is asserted.

    python examples/stochastic_volatility.py             # a few seconds
    python examples/stochastic_volatility.py --figure    # writes stochastic_volatility.png as well
"""

import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import statespace as ss
from statespace.gaussian import AffineConditional, Gaussian
from statespace.interface import Context, GaussianLatent, Network, Real
from statespace.linalg import Covariance

F64 = torch.float64


class StochasticVolatility(GaussianLatent):
    """z_t = mu + phi (z_{t-1} - mu) + sigma w_t,  y_t = exp(z_t / 2) v_t; z_1 is stationary.

    Args:
        mu, phi, sigma: Level, persistence (between -1 and 1) and spread of the log-variance.
    """

    def __init__(self, mu: float, phi: float, sigma: float) -> None:
        super().__init__()
        self.latent, self.obs_dim = Real(1), 1
        self.mu, self.phi, self.sigma = (
            nn.Parameter(torch.tensor(value, dtype=F64)) for value in (mu, phi, sigma)
        )

    @property
    def _spread(self) -> Tensor:
        """The standard deviation of z_1."""
        return self.sigma / (1 - self.phi**2).sqrt()

    def initial(self, ctx: Context) -> Independent:
        return Independent(Normal(self.mu[None], self._spread), 1)

    def transition(self, z: Tensor, ctx: Context) -> Independent:
        return Independent(Normal(self.mu + self.phi * (z - self.mu), self.sigma), 1)

    def emission(self, z: Tensor, ctx: Context) -> Independent:
        return Independent(Normal(torch.zeros_like(z), (z / 2).exp()), 1)

    def network(self, ctx: Context) -> Network:
        """The same model in other words: A = phi, C = 0, and a log scale of z / 2."""
        one, none = self.mu.new_ones(1, 1), self.mu.new_zeros(1)
        unit, wide = Covariance.from_root(one), Covariance.from_root(self._spread * one)
        shift = (1 - self.phi) * self.mu[None]
        return Network(
            prior=Gaussian(self.mu[None], wide),
            dynamics=AffineConditional(
                self.phi * one, shift, Covariance.from_root(self.sigma * one)
            ),
            readout=AffineConditional(0 * one, none, unit),
            log_scale=AffineConditional(one / 2, none, unit),
        )

    def default_method(self) -> ss.ParticleFilter:
        return ss.ParticleFilter(2000)

    def default_learner(self) -> ss.Gradient:
        return ss.Gradient(steps=100, lr=1e-2)


@dataclass(frozen=True)
class Truth:
    """Integrals over z on a grid."""

    log_likelihood: float
    filtered: Tensor
    smoothed: Tensor


@torch.no_grad()
def on_a_grid(model: StochasticVolatility, y: Tensor, points: int = 600) -> Truth:
    """The exact answers, up to the spacing of the grid."""
    wide = 8 * float(model._spread)
    grid = torch.linspace(-wide, wide, points, dtype=F64) + model.mu
    step, z = math.log(float(grid[1] - grid[0])), grid[:, None]
    ctx = Context(torch.tensor(0), y.new_zeros(0), y.new_zeros(0))
    seen = model.emission(z, ctx).log_prob(y[:, None]).double()  # (T, points)
    moves = model.transition(z[:, None], ctx).log_prob(z) + step  # (from, to)
    belief, value, beliefs = model.initial(ctx).log_prob(z) + step, 0.0, []
    for t in range(len(y)):
        if t:
            belief = (belief[:, None] + moves).logsumexp(0)
        belief = belief + seen[t]
        gained = belief.logsumexp(0)
        belief, value = belief - gained, value + float(gained)
        beliefs.append(belief)
    back, smoothed = torch.zeros(points, dtype=F64), [beliefs[-1]]
    for t in reversed(range(len(y) - 1)):
        back = (moves + seen[t + 1] + back).logsumexp(1)
        smoothed.append((beliefs[t] + back).log_softmax(0))
    return Truth(
        value,
        torch.stack(beliefs).exp() @ grid,
        torch.stack(smoothed[::-1]).exp() @ grid,
    )


@torch.no_grad()
def main() -> None:
    """Simulates returns, filters, smooths, forecasts, and looks at the likelihood of phi."""
    model = StochasticVolatility(mu=-1.0, phi=0.95, sigma=0.3)
    y = model.sample(300, seed=4).y
    truth = on_a_grid(model, y)

    score = model.score(y, seed=0)
    off = (score.value - truth.log_likelihood) / score.stderr
    print(f"log-likelihood   grid {truth.log_likelihood:.3f}   particles {score.value:.3f}")
    print(f"                 standard error {score.stderr:.3f}, off by {abs(off):.1f} of them")
    assert score.kind == "estimate"
    assert abs(off) < 5

    f = model.filter(y, seed=1)
    s = model.smooth(y, method=ss.ParticleFilter(1000), seed=2)
    apart = (f.mean[:, 0] - truth.filtered, s.mean[:, 0] - truth.smoothed)
    errors = [float(gap.square().mean().sqrt()) for gap in apart]
    print(f"RMS error        filtered mean {errors[0]:.3f}, smoothed mean {errors[1]:.3f}")
    print(f"effective size   {f.ess.min():.0f} to {f.ess.max():.0f} of 2000 particles")
    assert errors[0] < 0.04
    assert errors[1] < 0.08

    ahead = model.forecast(state=f.state, horizon=50, seed=3)
    calm = float(model.mu + model._spread**2 / 2)  # log of the mean variance of a stationary z
    print(f"volatility       now {ahead.stddev[0, 0]:.2f}, in 50 rows {ahead.stddev[-1, 0]:.2f}, "
          f"in the long run {math.exp(calm / 2):.2f}")  # fmt: skip
    assert abs(float(ahead.stddev[-1, 0]) - math.exp(calm / 2)) < 0.1

    values = {phi: profile(phi, y) for phi in (0.8, 0.9, 0.95, 0.98, 0.995)}
    print("profile of phi  ", "   ".join(f"{phi:g}: {value:.1f}" for phi, value in values.items()))
    best = max(values, key=values.__getitem__)
    assert best in (0.9, 0.95, 0.98)

    if "--figure" in sys.argv:
        ss.plot.particles(f).savefig("stochastic_volatility.png", dpi=120)


def profile(phi: float, y: Tensor) -> float:
    """The log-likelihood where the level and the stationary spread are as they were."""
    spread = 0.3 / math.sqrt(1 - 0.95**2)
    model = StochasticVolatility(-1.0, phi, spread * math.sqrt(1 - phi**2))
    with torch.no_grad():  # the same seed: random numbers that all values of phi have in common
        return float(model.log_likelihood(y, seed=5))


if __name__ == "__main__":
    main()
