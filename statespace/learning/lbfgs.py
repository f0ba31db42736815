"""Limited-memory BFGS with a line search that holds the strong Wolfe conditions.

It minimises f over a flat vector, where f may be +inf (outside the feasible set, or where a
computation breaks down): such points are backed away from, never accepted. A step that does not
lower f is never accepted either, so the last point is the best one. Nocedal and Wright (2006),
algorithms 7.4 and 7.5, 3.5 and 3.6. Where f is known to its rounding only, a change below that is
none, and the slope, which is known better, decides (Hager and Zhang 2005, "approximate Wolfe").

torch.optim.LBFGS does not serve: it takes an infinite value as it comes, and does not say why it
stopped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Descent", "minimise"]

Function = Callable[[Tensor], tuple[float, Tensor]]  # x -> f(x), its gradient
Status = Literal["flat", "stalled", "cap", "stopped"]

_ARMIJO, _CURVATURE = 1e-4, 0.9
_IDLE = 10  # steps in a row that lower f by no more than its rounding


@dataclass
class Descent:
    """Where a minimisation ended, and why.

    Attributes:
        x, value, gradient: The best point.
        status: "flat" (gradient and predicted gain below their tolerances), "stalled" (no step
            lowers f any further), "cap" (the allowed number of iterations), "stopped" (by `stop`).
        gain: What one more quasi-Newton step promises to win.
        iterations, evaluations: How many.
        history: f at each accepted point, the first included.
    """

    x: Tensor
    value: float
    gradient: Tensor
    status: Status = "cap"
    gain: float = math.inf
    iterations: int = 0
    evaluations: int = 1
    history: list[float] = field(default_factory=list)


def minimise(
    function: Function,
    x: Tensor,
    *,
    max_iter: int = 200,
    tol: float = 1e-5,
    tol_gain: float = 1e-8,
    noise: float = 0.0,
    memory: int = 30,
    report: Callable[[int, float], None] | None = None,
    stop: Callable[[Tensor, Tensor], bool] | None = None,
) -> Descent:
    """Minimises a function from a point where it is finite.

    Args:
        function: f and its gradient; f may be +inf, its gradient is then not looked at.
        x: The start, (P,). Scale it so that curvatures are near one: the first step has length
            one at the most, and `tol` is meant in these units.
        max_iter: Accepted steps at the most.
        tol: Largest entry of the gradient at which the point counts as stationary ...
        tol_gain: ... if a quasi-Newton step promises no more than this besides.
        noise: By how much f may be off; a rise by no more than this is none.
        memory: Pairs kept.
        report: Called with the iteration and f after each accepted step.
        stop: Asked after each accepted step, with x and the gradient there, whether to end.

    Example:
        >>> def bowl(x):
        ...     return float((x - 3.0).square().sum()), 2 * (x - 3.0)
        >>> found = minimise(bowl, torch.zeros(2, dtype=torch.float64))
        >>> found.status, [round(v, 6) for v in found.x.tolist()]
        ('flat', [3.0, 3.0])
    """
    value, gradient = function(x)
    at = Descent(x, value, gradient, history=[value])
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
    lowest, idle = value, 0
    while True:
        direction = -_inverse_hessian(at.gradient, pairs)
        slope = float(at.gradient @ direction)
        if not slope < 0:  # the pairs have lost their meaning: start afresh
            pairs.clear()
            direction, slope = -at.gradient, -float(at.gradient @ at.gradient)
        at.gain = -0.5 * slope
        if _largest(at.gradient) <= tol and at.gain <= tol_gain:
            at.status = "flat"
            return at
        if at.iterations >= max_iter:
            at.status = "cap"
            return at
        first = 1.0 if pairs else min(1.0, 1.0 / float(direction.norm()))
        slack = lowest + noise - at.value  # rises within the rounding do not add up
        new = None if idle >= _IDLE else _search(function, at, direction, slope, first, slack)
        if new is None:
            if pairs and idle < _IDLE:  # once more, down the plain gradient
                pairs.clear()
                continue
            at.status = "stalled"
            return at
        step, change = new.x - at.x, new.gradient - at.gradient
        if float(step @ change) > 1e-12 * float(step.norm() * change.norm()):
            pairs.append((step, change))
        at.x, at.value, at.gradient = new.x, new.value, new.gradient
        idle = idle + 1 if at.value >= lowest - noise else 0
        lowest = min(lowest, at.value)
        at.iterations += 1
        at.history.append(at.value)
        if report is not None:
            report(at.iterations, at.value)
        if stop is not None and stop(at.x, at.gradient):
            at.status = "stopped"
            return at


def _largest(gradient: Tensor) -> float:
    return float(gradient.abs().max()) if gradient.numel() else 0.0


def _inverse_hessian(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """B g by the two-loop recursion."""
    q, kept = gradient.clone(), []
    for step, change in reversed(pairs):
        rho = 1 / float(step @ change)
        alpha = rho * float(step @ q)
        q = q - alpha * change
        kept.append((rho, alpha))
    if pairs:
        step, change = pairs[-1]
        q = q * (float(step @ change) / float(change @ change))
    for (step, change), (rho, alpha) in zip(pairs, reversed(kept), strict=True):
        q = q + (alpha - rho * float(change @ q)) * step
    return q


@dataclass
class _Trial:
    """A point on the ray: step length, f, slope along the ray, x, gradient."""

    length: float
    value: float
    slope: float
    x: Tensor
    gradient: Tensor


def _search(
    function: Function, at: Descent, direction: Tensor, slope: float, first: float, noise: float
) -> _Trial | None:
    """A point with the strong Wolfe conditions, or at least one that lowers f; else None."""

    def trial(length: float) -> _Trial:
        at.evaluations += 1
        x = at.x + length * direction
        value, gradient = function(x)
        if not math.isfinite(value) or not bool(torch.isfinite(gradient).all()):
            return _Trial(length, math.inf, math.nan, x, gradient)
        return _Trial(length, value, float(gradient @ direction), x, gradient)

    start = _Trial(0.0, at.value, slope, at.x, at.gradient)
    low, length = start, first
    for _ in range(12):
        new = trial(length)
        worse = low is not start and new.value >= low.value + noise
        if math.isinf(new.value) or not _armijo(new, start, noise) or worse:
            return _zoom(trial, start, low, new, noise)
        if abs(new.slope) <= -_CURVATURE * slope:
            return new
        if new.slope >= 0:
            return _zoom(trial, start, new, low, noise)
        low, length = new, 3.0 * length
    return low


def _armijo(new: _Trial, start: _Trial, noise: float) -> bool:
    return new.value <= start.value + _ARMIJO * new.length * start.slope + noise


def _zoom(
    trial: Callable[[float], _Trial], start: _Trial, low: _Trial, high: _Trial, noise: float
) -> _Trial | None:
    """Narrows an interval whose end `low` is the best point so far."""
    for _ in range(30):
        new = trial(_between(low, high))
        worse = new.value >= low.value + noise
        if math.isinf(new.value) or not _armijo(new, start, noise) or worse:
            high = new
        else:
            if abs(new.slope) <= -_CURVATURE * start.slope:
                return new
            if new.slope * (high.length - low.length) >= 0:
                high = low
            low = new
        if abs(high.length - low.length) <= 1e-12 * max(low.length, high.length):
            break
    return low if low is not start and low.value < start.value + noise else None


def _between(low: _Trial, high: _Trial) -> float:
    """Where the cubic through both ends has its minimum, kept off the ends; the middle else."""
    a, b = low.length, high.length
    if not math.isfinite(high.value):
        return a + 0.25 * (b - a)
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (a - b)
    inside = d1 * d1 - low.slope * high.slope
    if inside >= 0:
        d2 = math.copysign(math.sqrt(inside), b - a)
        bottom = high.slope - low.slope + 2 * d2
        if bottom != 0:
            found = b - (b - a) * (high.slope + d2 - d1) / bottom
            edge = 0.1 * abs(b - a)
            if min(a, b) + edge <= found <= max(a, b) - edge:
                return found
    return 0.5 * (a + b)
