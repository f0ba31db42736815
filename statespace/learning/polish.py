"""L-BFGS on the exact gradient until the score is small.

The point moves in units in which the curvature of the objective is near one in every coordinate,
so that neither the scale of the data nor that of a parameter matters. In these units an entry of
the score is the distance from the maximum in standard errors (of a parameter on its own), and
"small" has a meaning: at 1e-4 the log-likelihood has less than 1e-8 to win in that coordinate.
Where the parameters are of low precision, less than the rounding of the objective is no gain, and a
score that promises no more is small too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from statespace.learning.lbfgs import minimise
from statespace.learning.objective import Objective
from statespace.learning.scales import equilibrate

__all__ = ["UNBOUNDED", "Polished", "Watch", "polish", "watch"]

Watch = Callable[[Tensor, Tensor], bool]  # x, the gradient there -> the likelihood runs away

SCORE, GAIN = 1e-4, 1e-7  # nats per standard error; nats
_ROUNDS = 4  # times the units are measured again
_LOOKS = 3  # points in a row from which the likelihood runs away before it is believed
UNBOUNDED = "the likelihood rises without bound as a noise variance shrinks to nothing"


@dataclass(frozen=True)
class Polished:
    """How it ended.

    Attributes:
        converged: Whether the score is small.
        reason: In words.
        value: The objective, never below where it started by more than its rounding.
        history: The objective after each step.
        score: Largest entry of the score, in nats per standard error.
        scale: The units, (P,).
    """

    converged: bool
    reason: str
    value: float
    history: list[float]
    score: float
    scale: Tensor


def polish(
    objective: Objective,
    *,
    max_iter: int = 500,
    report: Callable[[int, float], None] | None = None,
    away: Watch | None = None,
) -> Polished:
    """Climbs from where the model is to the nearest maximum, and leaves the model there.

    Args:
        objective: What to climb.
        max_iter: Steps at the most.
        report: Called with the step and the objective.
        away: Tells a likelihood without a maximum, to stop on the way there; see `watch`.
    """
    x = objective.read()
    if not x.numel():
        value = objective.value(x)
        return Polished(True, "nothing is learned", value, [], 0.0, x)
    scale, history, left = objective.sizes(), [], max_iter
    for turn in range(_ROUNDS):
        scale = equilibrate(lambda v: objective.gradient(v)[1], x, scale, _signs(x))
        found = minimise(
            _scaled(objective, x, scale),
            torch.zeros_like(x),
            max_iter=left if turn == _ROUNDS - 1 else min(left, 150),
            tol=SCORE,
            tol_gain=GAIN,
            noise=objective.rounding(objective.value(x)),
            report=None if report is None else _later(report, max_iter - left),
            stop=None if away is None else _lookout(objective, x, scale, away),
        )
        x = x + scale * found.x
        left -= found.iterations
        history += [-v for v in found.history[1:]]
        if found.status in ("flat", "stopped") or left <= 0 or (found.status == "stalled" and turn):
            break
    objective.write(x)
    value = -found.value
    score = float(found.gradient.abs().max())
    if not math.isfinite(value):
        return Polished(False, "the objective has no gradient here", value, history, score, scale)
    enough = max(GAIN, 10 * objective.rounding(value))
    if found.status == "flat" or (found.status == "stalled" and found.gain <= enough):
        small = "the score is small" if score <= 10 * SCORE else "nothing is left to gain"
        reason = f"{small} after polish ({score:.1e} nats per standard error)"
        return Polished(True, reason, value, history, score, scale)
    if found.status == "stopped":
        reason = f"polish stopped after {len(history)} steps: {UNBOUNDED}"
    elif found.status == "stalled":
        reason = f"polish found no higher point, with the score at {score:.1e} per standard error"
    else:
        reason = f"polish took its {max_iter} steps, with the score at {score:.1e}"
    return Polished(False, reason, value, history, score, scale)


def watch(objective: Objective, *, degenerate: bool) -> Watch | None:
    """What tells that the likelihood runs away, or None where there is no reason to ask.

    A variance that shrinks for ever raises it by the order of magnitude: each row of data then
    gains what it gained before. Where there are only too few values for what is learned, there may
    be a maximum all the same, and a variance counts once it has shrunk a hundred times.

    Args:
        objective: At the beginning of the fit.
        degenerate: Whether data are known for which there is no maximum.
    """
    start, rows = objective.read(), int(objective.data.n_steps.sum())
    roots = objective.roots().to(start.device)
    begin = start[roots].abs()

    def by_order(x: Tensor, gradient: Tensor) -> Tensor:
        return (x * gradient)[roots]

    if degenerate:
        return lambda x, gradient: bool((by_order(x, gradient) < -0.2 * rows).any())
    if int(objective.data.n_values.sum()) > objective.size:
        return None

    def shrinking(x: Tensor, gradient: Tensor) -> bool:
        small = x[roots].abs() < 0.1 * begin  # roots of variances
        return float(by_order(x, gradient)[small].sum()) < -0.2 * rows

    return shrinking


def _lookout(objective: Objective, origin: Tensor, scale: Tensor, away: Watch) -> Watch:
    """For `minimise` in units of `scale` about a point: whether the climb has no end."""
    first = objective.gradient(origin)[1]
    seen = int(first is not None and away(origin, first))

    def stop(v: Tensor, slope: Tensor) -> bool:
        nonlocal seen
        seen = seen + 1 if away(origin + scale * v, -slope / scale) else 0
        return seen >= _LOOKS

    return stop


def _signs(x: Tensor) -> torch.Generator:
    return torch.Generator(x.device).manual_seed(0)


def _later(report: Callable[[int, float], None], done: int) -> Callable[[int, float], None]:
    return lambda step, value: report(done + step, -value)


def _scaled(
    objective: Objective, origin: Tensor, scale: Tensor
) -> Callable[[Tensor], tuple[float, Tensor]]:
    """The negative objective in units of `scale` about a point."""

    def function(v: Tensor) -> tuple[float, Tensor]:
        value, gradient = objective.gradient(origin + scale * v)
        return (math.inf, v) if gradient is None else (-value, -scale * gradient)

    return function
