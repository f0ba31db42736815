"""Where an activation is worked at, and the line that stands for it there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from statespace.activations import Activation

__all__ = ["Point", "working_point"]

# centre and standard deviation of what goes in: wide enough to bend, not so wide as to saturate;
# for relu and softplus three and four deviations on the living side
_KNOWN = {
    "identity": (0.0, 1.0),
    "tanh": (0.0, 0.5),
    "sigmoid": (0.0, 1.0),
    "relu": (1.0, 1 / 3),
    "softplus": (4.0, 1.0),
}
_SPREAD = 0.5  # of a function of the user's own
_CENTRES = (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0)
_NODES = 20


@dataclass(frozen=True)
class Point:
    """Over x ~ N(centre, spread^2), g(x) = level + slope (x - centre) + what is uncorrelated.

    Attributes:
        centre, spread: Of what goes in.
        level, slope: Of what comes out.
    """

    centre: float
    spread: float
    level: float
    slope: float


def working_point(g: Activation) -> Point:
    """Where the states of a start are put.

    Example:
        >>> from statespace.activations import ACTIVATIONS
        >>> working_point(ACTIVATIONS["identity"])
        Point(centre=0.0, spread=1.0, level=0.0, slope=1.0)
        >>> round(working_point(ACTIVATIONS["tanh"]).slope, 3)  # less than g'(0) = 1
        0.819
    """
    if g.name in _KNOWN:
        return _line(g, *_KNOWN[g.name])[0]
    found = [_line(g, centre, _SPREAD) for centre in _CENTRES]
    steepest = max(abs(point.slope) for point, _ in found)
    usable = [pair for pair in found if abs(pair[0].slope) >= 0.5 * steepest]
    best = min(usable, key=lambda pair: pair[1], default=found[0])[0]
    if steepest > 0:
        return best
    return Point(best.centre, best.spread, best.level, 1.0)  # a constant: no line stands for it


def _line(g: Activation, centre: float, spread: float) -> tuple[Point, float]:
    """The line, and the share of the variance of g that it leaves (infinite where not finite)."""
    if g.name == "identity":
        return Point(centre, spread, centre, 1.0), 0.0
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    e, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    with torch.no_grad():
        values = g(centre + spread * e)
    level = _mean(w, values)
    slope = _mean(w, values * e) / spread
    variance = _mean(w, (values - level).square())
    left = 1 - (slope * spread) ** 2 / variance if variance > 0 else np.inf
    finite = bool(torch.isfinite(values).all())
    point = Point(centre, spread, level, slope) if finite else Point(centre, spread, 0.0, 0.0)
    return point, left if finite else np.inf


def _mean(weights: Tensor, values: Tensor) -> float:
    return float(weights @ values.double())
