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
from typing import Any

import torch
from torch import Tensor

from statespace.learning.curvature import FEW, newton_units, off_saddle, variances_first
from statespace.learning.lbfgs import Descent, minimise
from statespace.learning.objective import Objective
from statespace.learning.scales import equilibrate

__all__ = ["UNBOUNDED", "Polished", "Watch", "polish", "watch"]

Watch = Callable[[Tensor, Tensor], bool]  # x, the gradient there -> the likelihood runs away

SCORE, GAIN = 1e-4, 1e-7  # nats per standard error; nats
_ROUNDS = 4  # times the units are measured again
_NEAR = 1e-2  # nats that a step promises, in the neighbourhood of a maximum
_NEWTON = 15  # steps after which the Hessian is taken again
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
    """

    converged: bool
    reason: str
    value: float
    history: list[float]
    score: float


def polish(
    objective: Objective,
    *,
    max_iter: int = 500,
    report: Callable[[int, float], None] | None = None,
    away: Watch | None = None,
    name: str = "polish",
) -> Polished:
    """Climbs from where the model is to the nearest maximum, and leaves the model there.

    Args:
        objective: What to climb.
        max_iter: Steps at the most.
        report: Called with the step and the objective.
        away: Tells a likelihood without a maximum, to stop on the way there; see `watch`.
        name: What the words about the end call it.
    """
    x = objective.read()
    if not x.numel():
        value = objective.value(x)
        return Polished(True, "nothing is learned", value, [], 0.0)
    climb = _Climb(objective, max_iter, report, away)
    few = x.numel() <= FEW and away is None  # units mean little where there may be no maximum
    x = _by_newton(climb, x) if few else _by_scales(climb, x)
    objective.write(x)
    return _verdict(climb, name)


class _Climb:
    """Minimisations one after the other, in units of their own, counted together."""

    def __init__(
        self,
        objective: Objective,
        max_iter: int,
        report: Callable[[int, float], None] | None,
        away: Watch | None,
    ) -> None:
        self.objective, self.away, self.report = objective, away, report
        self.max_iter = self.left = max_iter
        self.history: list[float] = []
        self.found: Descent

    def run(self, x: Tensor, units: Tensor, **settings: Any) -> Tensor:
        """Climbs from x in units (P,) or (P, P); where it ends."""
        objective, done, report = self.objective, self.max_iter - self.left, self.report
        self.found = minimise(
            _scaled(objective, x, units),
            torch.zeros_like(x),
            report=None if report is None else lambda i, value: report(done + i, -value),
            stop=None if self.away is None else _lookout(objective, x, units, self.away),
            **{
                "max_iter": self.left,
                "tol": SCORE,
                "tol_gain": GAIN,
                "noise": objective.rounding(objective.value(x)),
                **settings,
            },
        )
        self.left -= self.found.iterations
        self.history += [-v for v in self.found.history[1:]]
        return x + _times(units, self.found.x)

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self.found.status == "stopped" or self.left <= 0


def _by_scales(climb: _Climb, x: Tensor) -> Tensor:
    """Many numbers: one scale for each, measured again where the climb stalls."""
    objective = climb.objective
    scale = objective.sizes()
    for turn in range(_ROUNDS):
        scale = equilibrate(lambda v: objective.gradient(v)[1], x, scale, _signs(x))
        last = turn == _ROUNDS - 1
        x = climb.run(x, scale, max_iter=climb.left if last else min(climb.left, 150))
        status = climb.found.status
        if climb.ended or status == "flat" or (status == "stalled" and turn):
            break
    return x


def _by_newton(climb: _Climb, x: Tensor) -> Tensor:
    """Few numbers: the way to the neighbourhood, then units that are Newton's."""
    objective = climb.objective
    root = math.sqrt(max(int(objective.data.n_steps.sum()), 1))
    begin = objective.sizes()
    x = variances_first(objective, x)
    objective.write(x)
    units = objective.sizes() / root
    x = climb.run(x, units, max_iter=min(climb.left, 100), tol=math.inf, tol_gain=_NEAR)
    turn = 0
    while not climb.ended:
        objective.write(x)
        guess = torch.maximum(objective.sizes(), 1e-2 * begin) / root
        units, up = newton_units(objective, x, guess)
        x = climb.run(off_saddle(objective, x, up), units, max_iter=min(climb.left, _NEWTON))
        near = float(climb.found.x.norm()) <= 1.0 and not bool(up.any())
        status = climb.found.status
        turn += 1
        if (status == "flat" and (near or turn > _ROUNDS)) or (status == "stalled" and turn > 1):
            break
    return x


def _verdict(climb: _Climb, name: str) -> Polished:
    """How the last climb ended, in words."""
    found, objective, history = climb.found, climb.objective, climb.history
    value = -found.value
    score = float(found.gradient.abs().max())
    if not math.isfinite(value):
        return Polished(False, "the objective has no gradient here", value, history, score)
    enough = max(GAIN, 10 * objective.rounding(value))
    if found.status == "flat" or (found.status == "stalled" and found.gain <= enough):
        small = "the score is small" if score <= 10 * SCORE else "nothing is left to gain"
        reason = f"{small} after {name} ({score:.1e} nats per standard error)"
        return Polished(True, reason, value, history, score)
    if found.status == "stopped":
        reason = f"{name} stopped after {len(history)} steps: {UNBOUNDED}"
    elif found.status == "stalled":
        reason = f"{name} found no higher point, with the score at {score:.1e} per standard error"
    else:
        reason = f"{name} took its {climb.max_iter} steps, with the score at {score:.1e}"
    return Polished(False, reason, value, history, score)


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


def _times(units: Tensor, v: Tensor) -> Tensor:
    return units * v if units.dim() == 1 else units @ v


def _lookout(objective: Objective, origin: Tensor, units: Tensor, away: Watch) -> Watch:
    """For `minimise` in units about a point: whether the climb has no end."""
    first = objective.gradient(origin)[1]
    seen = int(first is not None and away(origin, first))

    def stop(v: Tensor, slope: Tensor) -> bool:
        nonlocal seen
        gradient = -slope / units if units.dim() == 1 else torch.linalg.solve(units.mT, -slope)
        seen = seen + 1 if away(origin + _times(units, v), gradient) else 0
        return seen >= _LOOKS

    return stop


def _signs(x: Tensor) -> torch.Generator:
    return torch.Generator(x.device).manual_seed(0)


def _scaled(
    objective: Objective, origin: Tensor, units: Tensor
) -> Callable[[Tensor], tuple[float, Tensor]]:
    """The negative objective in units about a point."""

    def function(v: Tensor) -> tuple[float, Tensor]:
        value, gradient = objective.gradient(origin + _times(units, v))
        return (
            (math.inf, v)
            if gradient is None
            else (-value, -_times(units if units.dim() == 1 else units.mT, gradient))
        )

    return function
