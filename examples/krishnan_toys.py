"""Two toys of Krishnan, Shalit and Sontag: a guide that learns to smooth what it was never told.

The generative model is known and held. Only q(z_t | z_{t-1}, y_t, ..., y_T) is learned, on 500
series, by climbing the evidence lower bound; it then smooths 500 others in one pass. Second
arguments are variances.

    linear      z_1 ~ N(0, 10),  z_t ~ N(z_{t-1} + 0.05, 10),                y_t ~ N(0.5 z_t, 20)
    nonlinear   z_1 ~ N(0, 5),   z_t ~ N(2 sin(z_{t-1}) + z_{t-1}, 5),       y_t ~ N(0.5 z_t, 5)

The guide is the prior times a Gaussian in z_t that a recurrent network reads off the observations
from t on: the structure that the exact posterior has, and in the linear toy its very form. It is
held against the Kalman smoother there, against the unscented one on the other toy, and on both
against quadrature over a grid, which is exact.

    python examples/krishnan_toys.py             # about a minute
    python examples/krishnan_toys.py --figure    # writes krishnan_toys.png as well

Source: Krishnan, Shalit and Sontag (2015), "Deep Kalman filters"; (2017), "Structured inference
networks for nonlinear state space models", section 5.1.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import statespace as ss
from statespace.interface import Context

F32 = torch.float32
ROWS = 25
GRID = torch.linspace(-90, 90, 601, dtype=torch.float64)


@dataclass(frozen=True)
class Toy:
    """A model, and the smoother that people use for it."""

    name: str
    model: Any
    usual: Any


@dataclass(frozen=True)
class Found:
    """What came out on the series that were held out: nats per step, and errors of the mean."""

    toy: Toy
    guided: Any
    z: Tensor
    y: Tensor
    exact: float
    exact_rmse: float
    usual: float
    usual_rmse: float
    bound: float
    rmse: float

    @property
    def gap(self) -> float:
        """From the bound to log p(y), nats per step."""
        return self.exact - self.bound

    @property
    def ratio(self) -> float:
        """Error of the guide's mean over that of the usual smoother."""
        return self.rmse / self.usual_rmse


def linear() -> Toy:
    """A random walk with drift."""
    model = ss.LDS(1, 1, A=[[1.0]], b=[0.05], C=[[0.5]], d=[0.0], Q=[[10.0]], R=[[20.0]],
                   initial_mean=[0.0], initial_cov=[[10.0]], dtype=F32)  # fmt: skip
    return Toy("linear", model, ss.Kalman())


def nonlinear() -> Toy:
    """The same with a wave in it, steep enough to mislead a sigma point."""

    def g(z: Tensor, ctx: Context) -> Tensor:
        return 2 * z.sin() + z

    def f(z: Tensor, ctx: Context) -> Tensor:
        return 0.5 * z

    model = ss.NonlinearGaussian(1, 1, g=g, f=f, Q=[[5.0]], R=[[5.0]], initial_mean=[0.0],
                                 initial_cov=[[5.0]], dtype=F32)  # fmt: skip
    return Toy("nonlinear", model, ss.UnscentedKalman())


def quadrature(model: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    """Forwards and backwards over a grid: log p(y), (series,), and E[z_t | y], (series, T)."""
    here, ctx = GRID[:, None].to(model.dtype), Context(torch.tensor(1), y[0, 0, :0], y[0, 0, :0])
    cell = math.log(float(GRID[1] - GRID[0]))
    move = model.transition(here[:, None], ctx).log_prob(here).double().exp() * math.exp(cell)
    seen = model.emission(here[:, None, None], ctx).log_prob(y).double().permute(1, 2, 0)
    belief = model.initial(ctx).log_prob(here).double() + cell
    total, forwards = 0.0, []
    for t in range(y.shape[1]):
        joint = belief + seen[:, t]
        size = joint.logsumexp(-1, keepdim=True)
        total = total + size[:, 0]
        forwards.append((joint - size).exp())
        belief = (forwards[-1] @ move).log()
    weight, means = torch.ones_like(forwards[0]), []
    for t in reversed(range(y.shape[1])):
        both = forwards[t] * weight
        means.append((both @ GRID) / both.sum(-1))
        weight = (weight * seen[:, t].softmax(-1)) @ move.mT
        weight = weight / weight.amax(-1, keepdim=True)
    return total, torch.stack(means[::-1], -1)


def rmse(mean: Tensor, z: Tensor) -> float:
    """Root mean squared error."""
    return float((mean - z).square().mean().sqrt())


def compare(toy: Toy, series: int = 500, steps: int = 800) -> Found:
    """Learns q on some series, and smooths as many others."""
    model = toy.model.requires_grad_(False)  # the generative part is held: only q is learned
    train = model.sample(ROWS, (series,), seed=0)
    test = model.sample(ROWS, (series,), seed=1)

    guided = ss.Guided(model, hidden_dim=32, encoder="anticausal", seed=0)
    learner = ss.Gradient(steps, lr=2e-2, batch_size=100, schedule="cosine", clip=1.0)
    guided.fit(train.y, method=ss.Variational(), learner=learner, seed=0)

    z, y, n = test.z[..., 0], test.y, test.y.numel()
    with torch.no_grad():
        usual, mean = (
            model.smooth(y, method=toy.usual),
            guided.smooth(y, method=ss.Variational(500), seed=0).mean[..., 0],
        )
        bound = guided.log_likelihood(y, method=ss.Variational(100), seed=0).sum() / n
        truth, best = quadrature(model, y)
        return Found(toy, guided, z, y, float(truth.sum()) / n, rmse(best, z),
                     float(usual.log_likelihood.sum()) / n, rmse(usual.mean[..., 0], z),
                     float(bound), rmse(mean, z))  # fmt: skip


def table(found: list[Found]) -> str:
    """One line for each smoother of each toy."""
    lines = [f"{'':<34}{'RMSE':>8}{'log p(y) per step':>20}"]
    for one in found:
        usual = type(one.toy.usual).__name__
        for name, error, value, kind in (
            ("quadrature", one.exact_rmse, one.exact, "exact"),
            (
                usual,
                one.usual_rmse,
                one.usual,
                one.toy.model.score(one.y, method=one.toy.usual).kind,
            ),
            ("guide", one.rmse, one.bound, "lower bound"),
        ):
            lines.append(f"{one.toy.name + ', ' + name:<34}{error:>8.4f}{value:>20.4f}   {kind}")
    return "\n".join(lines)


@torch.no_grad()
def draw(found: list[Found]) -> Figure:
    """One series of each toy: the truth, the guide's mean with its band, the usual smoother's."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    t = torch.arange(1, ROWS + 1)
    for ax, one in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        z, y = one.z[0], one.y[0]
        s = one.guided.smooth(y, method=ss.Variational(500), seed=0)
        mean, sd = s.mean[:, 0], s.cov[:, 0, 0].sqrt()
        usual = one.toy.model.smooth(y, method=one.toy.usual).mean[:, 0]
        ax.fill_between(t, mean - 1.96 * sd, mean + 1.96 * sd, color="#b5d1e7", linewidth=0)
        ax.plot(t, z, color="#1a1a1a", linewidth=0.8, label="truth")
        ax.plot(t, mean, color="#0072b2", label="guide, 95 %")
        ax.plot(t, usual, "--", color="#d55e00", label=type(one.toy.usual).__name__)
        ax.set_title(one.toy.name)
        ax.set_xlabel("step")
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
        ax.legend(frameon=False)
    return figure


def main(figure: bool) -> None:
    """Learns, prints, draws; asserts that the guide is as good as it should be."""
    found = [compare(linear()), compare(nonlinear())]
    print(table(found))
    for one in found:
        print(f"{one.toy.name}: RMSE {one.ratio:.4f} times that of the usual smoother; the bound "
              f"is {one.gap:.4f} nats per step below log p(y)")  # fmt: skip
    if figure:
        draw(found).savefig(Path("krishnan_toys.png"), dpi=120)
    walk, wave = found
    assert abs(walk.exact - walk.usual) < 1e-4  # the grid is fine enough
    assert walk.ratio < 1.02
    assert -1e-4 < walk.gap < 0.02
    assert wave.ratio <= 1.01
    assert wave.gap > -1e-3


if __name__ == "__main__":
    main("--figure" in sys.argv[1:])
