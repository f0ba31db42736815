"""Bearings alone: where is a ship that is only ever seen as a direction?

A ship (the target) sails at nearly constant velocity; an observer who turns half-way measures the
bearing to it, in radians, and nothing else. With the target's position and velocity as z_t and the
observer's position as u_t,

    z_t = F z_{t-1} + w_t,    y_t = atan2(east - u_east, north - u_north) + v_t.

Where range is hardly known, a bearing tells little of where on its line the target is, and
repeating the linearisation, without damping, may overshoot: iterated filters are not better here.

A bearing of 179 degrees lies two degrees from one of -179: `residual=` says so, and every method
then reads y through it. Twenty voyages are filtered at once, and what every method says about
its own error is held against the error it made: the mean over voyages of e' P^-1 e, whose
expectation is 2 for a position in the plane (Bar-Shalom, Li and Kirubarajan 2001, section 5.4).

    python examples/bearings.py             # some seconds
    python examples/bearings.py --figure    # writes bearings.png as well
"""

import math
import sys

import torch
from matplotlib.figure import Figure
from torch import Tensor

import statespace as ss
from statespace.interface import Context

F64 = torch.float64
MINUTES, VOYAGES = 40, 20


def wrapped(y: Tensor, mean: Tensor) -> Tensor:
    """How far y lies from a mean, in (-pi, pi]."""
    return torch.remainder(y - mean + math.pi, 2 * math.pi) - math.pi


def bearing(z: Tensor, ctx: Context) -> Tensor:
    """From the observer, clockwise from north; z is (east, north, and their velocities)."""
    away = z[..., :2] - ctx.u
    return torch.atan2(away[..., :1], away[..., 1:])


def ship(**changes: object) -> ss.NonlinearGaussian:
    """A target some 8 km to the south, sailing slowly west (0.1 km/min, 1.7 m/s)."""
    step = torch.eye(4, dtype=F64) + torch.diag(torch.ones(2, dtype=F64), 2)
    drift = torch.kron(torch.tensor([[1 / 3, 1 / 2], [1 / 2, 1]]).double(), torch.eye(2).double())
    options: dict[str, object] = {
        "g": lambda z, ctx: z @ step.mT,
        "f": bearing,
        "Q": 1e-4 * drift,
        "R": [[0.03**2]],
        "initial_mean": [0.0, -8.0, -0.1, 0.0],
        "initial_cov": torch.diag(torch.tensor([1.0, 1.0, 0.005, 0.005], dtype=F64)),
        "residual": wrapped,
    }
    return ss.NonlinearGaussian(4, 1, 2, **{**options, **changes})


def course() -> Tensor:
    """The observer, (T, 2): due east, then back, a turn without which range cannot be told."""
    t = torch.arange(MINUTES, dtype=F64)
    east = torch.where(t < MINUTES / 2, t, MINUTES - t)
    return torch.stack([0.4 * east - 3.0, 0.05 * t], -1)


def consistency(mean: Tensor, cov: Tensor, truth: Tensor) -> float:
    """The mean of e' P^-1 e over voyages, of the position."""
    e, p = (mean - truth)[..., :2], cov[..., :2, :2]
    return float((e * torch.linalg.solve(p, e)).sum(-1).mean())


@torch.no_grad()
def draw(truth: Tensor, u: Tensor, filtered: ss.Filtered) -> Figure:
    """One voyage from above: both ships, and what the filter says at three moments."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    ax = figure.subplots()
    ax.plot(u[:, 0], u[:, 1], color="#d55e00", label="observer")
    ax.plot(truth[:, 0], truth[:, 1], color="#1a1a1a", label="target")
    ax.plot(filtered.mean[:, 0], filtered.mean[:, 1], color="#0072b2", label="filtered")
    angle = torch.linspace(0, 2 * math.pi, 100, dtype=F64)
    circle = torch.stack([angle.cos(), angle.sin()])
    for t in (0, MINUTES // 2, MINUTES - 1):
        root = torch.linalg.cholesky(filtered.cov[t, :2, :2])
        oval = filtered.mean[t, :2, None] + 2.45 * root @ circle  # 95 % of a Gaussian in the plane
        ax.plot(*oval, color="#0072b2", linewidth=0.8, label="95 %" if t == 0 else None)
    ax.set_aspect("equal")
    ax.set_xlabel("kilometres east")
    ax.set_ylabel("kilometres north")
    ax.legend(frameon=False, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


@torch.no_grad()
def main(figure: bool) -> None:
    """Simulates, filters by every method, prints, asserts."""
    model, u = ship(), course().expand(VOYAGES, MINUTES, 2)
    drawn = model.sample(MINUTES, inputs=u, seed=0)
    truth, y = drawn.z, wrapped(drawn.y, torch.zeros(1, dtype=F64))
    crossed = int(((y[:, 1:] - y[:, :-1]).abs() > math.pi).any(1).any(-1).sum())
    print(f"{VOYAGES} voyages of {MINUTES} minutes; the bearing jumps by a turn in {crossed}\n")
    print(f"{'':<34}{'log p(y)':>10}{'km off at the end':>20}{'e-P-e (2)':>12}   kind")

    methods = {
        "extended": (model, ss.ExtendedKalman()),
        "extended, iterated": (model, ss.ExtendedKalman(iterations=5)),
        "unscented": (model, ss.UnscentedKalman()),
        "cubature": (model, ss.CubatureKalman()),
        "posterior linearisation": (model, ss.PosteriorLinearisation(iterations=5)),
        "particles": (model, ss.ParticleFilter(20_000)),
        "unscented, angles not wrapped": (ship(residual=None), ss.UnscentedKalman()),
    }
    found = {}
    for name, (one, method) in methods.items():
        score = one.score(y, u, method=method, seed=0)
        f = one.filter(y, u, method=method, seed=0)
        off = (f.mean - truth)[:, -1, :2].norm(dim=-1)
        ratio = consistency(f.mean[:, -1], f.cov[:, -1], truth[:, -1])
        found[name] = score.value, float(off.mean()), ratio
        print(f"{name:<34}{score.value:>10.1f}{found[name][1]:>20.2f}{ratio:>12.2f}   {score.kind}")

    for name in ("extended", "unscented", "cubature", "particles"):
        assert found[name][1] < 1.2
        assert found[name][2] < 3.0
    assert found["unscented, angles not wrapped"][0] < found["unscented"][0] - 1000
    assert abs(found["particles"][0] - found["unscented"][0]) < 0.02 * y.numel()
    if figure:
        one = model.filter(y[0], u[0], method=ss.UnscentedKalman())
        draw(truth[0], u[0], one).savefig("bearings.png", dpi=120)


if __name__ == "__main__":
    main("--figure" in sys.argv[1:])
