"""Walks of one person, 46 joint angles and velocities: linear, autoregressive and deep models.

    python examples/motion_capture.py --write docs/deep.md --figure docs/images/motion.png

Sixteen walks to learn from, three to choose by and to compare on, 300 frames each (subject 35 of
the CMU library; four columns that never move are left out). The three walks are of another gait
than most of the sixteen: what a model has learned by heart does not help there.

- LDS: linear systems of several sizes by EM; the best on the three walks stands for all of them.
- LSTM: an autoregressive network, told its own output; exact.
- DKF and VRNN: deep models with a latent state, learned by the evidence lower bound.

LSTM and VRNN see two rows beside their memory and begin at the line through them; the DKF has its z
alone. All three emit Student's t for entries that hang together: joints move together, and now and
then faster than expected. What is printed is one `compare`: the score of each walk per observed
value, frame by frame with paired differences, and the error of forecasts 100 frames ahead, from
every 25th frame; then the error of what is imputed where half of the joints were hidden for half a
second. The walks are read from the folder that the environment variable STATESPACE_DATA names.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from deep_runs import put
from matplotlib.figure import Figure
from torch import Tensor

import statespace as ss
from statespace.comparison import Comparison

HORIZON = 100  # frames ahead
START = 150  # where the forecast of the figure begins
JOINTS = (8, 26, 36)  # those of the figure; every other one is hidden in the gap
GAP = slice(140, 155)  # half a second of 30 frames
COLORS = {"LDS": "#0072b2", "LSTM": "#009e73", "DKF": "#cc79a7", "VRNN": "#d55e00"}


@dataclass(frozen=True)
class Walks:
    """Walks (series, 300, 46), float64."""

    train: Tensor
    valid: Tensor


def walks() -> Walks:
    """Without the columns that never move, each in its standard deviation over the sixteen.

    Networks would do that by themselves; EM for an LDS begins elsewhere in other units, and ends at
    a better place in these.
    """
    train, valid = ss.datasets.mocap("train").double(), ss.datasets.mocap("valid").double()
    moving = train.std((0, 1)) > 0
    mean, unit = train.mean((0, 1))[moving], train.std((0, 1))[moving]
    return Walks((train[..., moving] - mean) / unit, (valid[..., moving] - mean) / unit)


def pieces(y: Tensor, rows: int) -> Tensor:
    """Walks cut into pieces, (series, rows, m): more and shorter series for a network."""
    whole = y[:, : y.shape[1] // rows * rows]
    return whole.unflatten(1, (-1, rows)).flatten(0, 1)


# ------------------------------------------------------------------ models


def linear(data: Walks, sizes: Sequence[int]) -> tuple[str, ss.LDS]:
    """The best of several sizes on the three walks."""
    fits = {}
    for n in sizes:
        lds = ss.LDS(n, data.train.shape[-1])
        lds.fit(data.train, learner=ss.EM(60, polish=False), seed=0)
        fits[n] = lds
        print(f"LDS of {n}: {lds.score(data.valid).per_value:.4f} per value", flush=True)
    n = max(fits, key=lambda n: fits[n].score(data.valid).value)
    return f"LDS({n})", fits[n]


def network(name: str, data: Walks, steps: int) -> ss.StateSpaceModel:
    """A network, kept where the three walks are most probable."""
    m = data.train.shape[-1]
    how: dict[str, Any] = {"family": "multivariate_student_t", "min_scale": 1e-2, "seed": 0}
    makes: dict[str, Callable[[], ss.StateSpaceModel]] = {
        "LSTM": lambda: ss.AutoregressiveRNN(m, hidden_dim=32, cell="lstm", skip=2, **how),
        "VRNN": lambda: ss.VRNN(8, m, hidden_dim=32, skip=2, **how),
        "DKF": lambda: ss.DeepKalmanFilter(32, m, hidden_dim=64, posterior="product", **how),
    }
    model, latent = makes[name](), name != "LSTM"
    slow = name == "DKF"  # it begins without a line
    updates, growing = (5 * steps, steps) if slow else (steps, max(1, steps // 4))
    learner = ss.Gradient(
        updates, lr=3e-3 if slow else 1e-3, optimizer="adamw", weight_decay=0.3,
        schedule="cosine", batch_size=32, clip=1.0, evaluate_every=4 if slow else 1,
        metric=ss.ImportanceWeighted(16) if latent else None,
    )  # fmt: skip
    method = ss.Variational(beta=ss.Warmup(growing)) if latent else None
    train = pieces(data.train, 75)
    model.fit(train, validation=data.valid, method=method, learner=learner, seed=0)
    return model


# ------------------------------------------------------------------ what they are asked


def imputed(model: ss.StateSpaceModel, y: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the hidden entries, and which they are: every other joint, for half a second."""
    hidden = torch.zeros(y.shape, dtype=torch.bool)
    hidden[:, GAP, ::2] = True
    found = model.smooth(y.masked_fill(hidden, math.nan), seed=0)
    assert found.y_mean is not None
    return found.y_mean, hidden


def error(found: Tensor, y: Tensor, hidden: Tensor) -> float:
    """Root mean squared error over the hidden entries."""
    return float((found - y)[hidden].square().mean().sqrt())


def line_across(y: Tensor, hidden: Tensor) -> Tensor:
    """What anyone would draw: a straight line from before the gap to behind it."""
    before, after = y[:, GAP.start - 1], y[:, GAP.stop]
    share = (torch.arange(1, GAP.stop - GAP.start + 1) / (GAP.stop - GAP.start + 1))[:, None]
    drawn = y.clone()
    drawn[:, GAP] = before[:, None] + share * (after - before)[:, None]
    return torch.where(hidden, drawn, y)


@torch.no_grad()
def draw(models: dict[str, ss.StateSpaceModel], y: Tensor, filled: dict[str, Tensor]) -> Figure:
    """Three joints of one walk: what was hidden, and a hundred frames ahead."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(len(JOINTS), 2, sharex="col")
    for (left, right), j in zip(axes, JOINTS, strict=True):
        near = slice(max(0, GAP.start - 20), GAP.stop + 20)
        left.plot(range(near.start, near.stop), y[0, near, j], color="#1a1a1a", linewidth=1)
        left.axvspan(GAP.start, GAP.stop - 1, color="#e8e8e8")
        shown = slice(START - HORIZON // 2, START + HORIZON)
        right.plot(range(shown.start, shown.stop), y[0, shown, j], color="#1a1a1a", linewidth=1)
        left.set_ylabel(f"joint {j}")
    for name, model in models.items():
        color = COLORS[name.split("(")[0]]
        ahead = model.forecast(y[:1, :START], horizon=HORIZON, seed=0).mean
        for (left, right), j in zip(axes, JOINTS, strict=True):
            rows = range(GAP.start - 1, GAP.stop + 1)
            left.plot(rows, filled[name][0, rows, j], color=color, linewidth=1.2, label=name)
            right.plot(range(START, START + HORIZON), ahead[0, :, j], color=color, linewidth=1.2)
    axes[0][0].legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    axes[0][0].set_title("Imputed", loc="left")
    axes[0][1].set_title(f"Forecast from frame {START}", loc="left")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("frame")
    return figure


def table(found: Comparison, errors: dict[str, float], across: float) -> str:
    """For the page."""
    best = next(name for name in errors if name.startswith("LDS"))
    less = found.differences(best)
    lines = [
        "| model | nats per value | kind | less the LDS, per frame | RMSE 100 frames ahead "
        "| RMSE imputed | numbers learned |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for entry in sorted(found, key=lambda entry: -entry.score.per_value):
        gap = less.get(entry.name)
        sign = "≥ " if gap is not None and gap.relation == ">=" else ""
        said = "" if gap is None else f"{sign}{gap.value:+.1f} ± {gap.stderr:.1f}"
        lines.append(
            f"| {entry.name} | {entry.score.per_value:.3f} | {entry.score.kind} "
            f"| {said} | {entry.rmse:.2f} | {errors[entry.name]:.3f} "
            f"| {entry.num_params:,} |"
        )
    lines.append(f"| a straight line across | | | | | {across:.3f} | |")
    return "\n".join(lines)


def main(
    page: Path | None = None,
    picture: Path | None = None,
    *,
    data: Walks | None = None,
    sizes: Sequence[int] = (40, 60, 80),
    steps: int = 150,
    horizon: int = HORIZON,
) -> tuple[Comparison, dict[str, float]]:
    """Learns, compares, writes and draws."""
    data = walks() if data is None else data
    name, lds = linear(data, sizes)
    models: dict[str, ss.StateSpaceModel] = {name: lds}
    for one in ("LSTM", "DKF", "VRNN"):
        began = time.process_time()
        models[one] = network(one, data, steps)
        print(f"{one}: learned in {time.process_time() - began:.0f} s", flush=True)
    asked: dict[str, Any] = {"continues": False, "horizon": horizon, "stride": 25, "seed": 0}
    found = ss.compare(models, None, data.valid, **asked)
    print(found)
    filled, errors = {}, {}
    for key, model in models.items():
        filled[key], hidden = imputed(model, data.valid)
        errors[key] = error(filled[key], data.valid, hidden)
    across = error(line_across(data.valid, hidden), data.valid, hidden)
    for key, value in errors.items():
        print(f"{key}: RMSE of what was hidden {value:.4f}")
    print(f"a straight line across: {across:.4f}")
    if page is not None:
        put(page, "motion", table(found, errors, across))
    if picture is not None:
        draw(models, data.valid, filled).savefig(picture, dpi=110)
    return found, errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, default=None, help="the page that holds the table")
    parser.add_argument("--figure", type=Path, default=None, help="where the figure goes")
    asked = parser.parse_args()
    comparison, _ = main(asked.write, asked.figure)
    deep = max(("DKF", "VRNN"), key=lambda key: comparison[key].score.value)
    linear_one = next(entry.name for entry in comparison if entry.name.startswith("LDS"))
    gain = comparison.differences(linear_one)[deep]
    assert gain.value > 2 * gain.stderr, f"{deep} does not beat {linear_one}: {gain}"
