"""A pendulum of unknown length: a model in functions, learned through the extended filter.

A damped pendulum is seen from above, so that only the sine of its angle shows, with noise, and not
at every moment. The state is angle and speed; the transition is one step of a symplectic Euler
scheme, a Module whose weights are what is not known,

    speed_t = speed_{t-1} - dt (gravity / length sin(angle_{t-1}) + damping speed_{t-1}) + w_t,
    angle_t = angle_{t-1} + dt speed_t,    y_t = sin(angle_t) + v_t.

The likelihood of every method is compared in one table, and so is how well each recovers the angle,
which nobody saw: where the pendulum swings beyond a quarter turn, sin folds, and arcsin(y) fails.

    python examples/pendulum.py             # about half a minute
    python examples/pendulum.py --figure    # writes pendulum.png as well
"""

import math
import sys

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import statespace as ss
from statespace.interface import Context

F64 = torch.float64
DT = 0.05  # seconds
GRAVITY_OVER_LENGTH, DAMPING = 9.81, 0.2  # 1/s^2, 1/s: what is to be found
SERIES, ROWS = 6, 120


class Swing(nn.Module):
    """One time step; gravity over length, which is positive, is learned as its logarithm."""

    def __init__(self, stiffness: float, damping: float) -> None:
        super().__init__()
        self.log_stiffness = nn.Parameter(torch.tensor(math.log(stiffness), dtype=F64))
        self.damping = nn.Parameter(torch.tensor(damping, dtype=F64))

    def forward(self, z: Tensor, ctx: Context) -> Tensor:
        angle, speed = z.unbind(-1)
        pull = self.log_stiffness.exp() * angle.sin() + self.damping * speed
        speed = speed - DT * pull
        return torch.stack([angle + DT * speed, speed], -1)


def pendulum(stiffness: float, damping: float, r: float) -> ss.NonlinearGaussian:
    """The model; it is let go, at rest, from somewhere up to far above the horizontal."""
    return ss.NonlinearGaussian(
        2,
        1,
        g=Swing(stiffness, damping),
        f=lambda z, ctx: z[..., :1].sin(),
        Q=ss.Param(torch.diag(torch.tensor([1e-6, 4e-3], dtype=F64)), structure="diag"),
        R=[[r]],
        initial_mean=[1.2, 0.0],
        initial_cov=torch.diag(torch.tensor([0.3, 0.1], dtype=F64)),
    )


@torch.no_grad()
def draw(truth: Tensor, y: Tensor, smoothed: ss.Smoothed) -> Figure:
    """The angle of one series, what was seen of it, and what is known of it."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    ax = figure.subplots()
    seconds = DT * torch.arange(len(y))
    mean, sd = smoothed.mean[:, 0], smoothed.cov[:, 0, 0].sqrt()
    ax.fill_between(seconds, mean - 1.96 * sd, mean + 1.96 * sd, color="#b5d1e7", linewidth=0)
    ax.plot(seconds, mean, color="#0072b2", label="smoothed, 95 %")
    ax.plot(seconds, truth[:, 0], color="#1a1a1a", linewidth=0.8, label="angle")
    ax.plot(seconds, y[:, 0].clamp(-1, 1).asin(), ".", color="#d55e00", label="arcsin(y)")
    ax.set_xlabel("seconds")
    ax.set_ylabel("radians")
    ax.legend(frameon=False, ncols=3, loc="upper right")
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.01)
    return figure


def main(figure: bool) -> None:
    """Simulates, learns, compares the methods, asserts."""
    truth = pendulum(GRAVITY_OVER_LENGTH, DAMPING, 0.01)
    drawn = truth.sample(ROWS, (SERIES,), seed=2)
    angle, y = drawn.z[..., 0].detach(), drawn.y.detach().clone()
    y[:, 40:60] = math.nan  # a second in which nobody looks

    model = pendulum(5.0, 0.0, 0.05)
    fit = model.fit(y, learner=ss.Gradient(60, optimizer="lbfgs"), seed=0)
    swing = model.networks["g"]
    stiffness, damping = swing.log_stiffness.exp().item(), swing.damping.item()
    best = truth.log_likelihood(y).detach().sum().item()
    print(f"log p(y): {fit.history[0]:.1f} at the start, {fit.log_likelihood:.1f} learned, "
          f"{best:.1f} with the true parameters")  # fmt: skip
    print(f"gravity / length: {stiffness:.2f} (true {GRAVITY_OVER_LENGTH})    "
          f"damping: {damping:.2f} (true {DAMPING})\n")  # fmt: skip
    assert abs(stiffness - GRAVITY_OVER_LENGTH) < 0.2
    assert abs(damping - DAMPING) < 0.1

    print(f"{'':<22}{'log p(y)':>10}{'':>11}{'RMSE of the angle':>19}{'95 % covers':>13}   kind")
    methods = [
        ss.ExtendedKalman(),
        ss.ExtendedKalman(iterations=5, scope="path"),
        ss.UnscentedKalman(),
        ss.CubatureKalman(),
        ss.ParticleFilter(1000),
    ]
    with torch.no_grad():
        for method in methods:
            score = model.score(y, method=method, seed=0)
            s = model.smooth(y, method=method, seed=0)
            error = s.mean[..., 0] - angle
            covered = float((error.abs() < 1.96 * s.cov[..., 0, 0].sqrt()).double().mean())
            name = type(method).__name__ + (", path" if "path" in repr(method) else "")
            wide = "" if math.isnan(score.stderr) else f"+- {score.stderr:.1f}"
            print(f"{name:<22}{score.value:>10.1f}{wide:>11}{float(error.square().mean().sqrt()):>19.3f}"
                  f"{covered:>13.0%}   {score.kind}")  # fmt: skip
            assert float(error.square().mean().sqrt()) < 0.25
            assert covered > 0.85
        naive = (y[..., 0].clamp(-1, 1).asin() - angle)[~y[..., 0].isnan()]
        print(f"{'arcsin(y), where seen':<22}{'':>21}{float(naive.square().mean().sqrt()):>19.3f}")
        if figure:
            most = int(angle.abs().amax(-1).argmax())
            draw(drawn.z[most].detach(), y[most], model.smooth(y[most])).savefig(
                "pendulum.png", dpi=120
            )


if __name__ == "__main__":
    main("--figure" in sys.argv[1:])
