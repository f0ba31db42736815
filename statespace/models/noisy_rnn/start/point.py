"""Where an activation is worked at, and the line that stands for it there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from statespace.activations import Activation

__all__ = ["Point", "narrowed", "working_point"]

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
        left: The variance of what is uncorrelated.
    """

    centre: float
    spread: float
    level: float
    slope: float
    left: float = 0.0


def working_point(g: Activation) -> Point:
    """Where the states of a start are put.

    Example:
        >>> from statespace.activations import ACTIVATIONS
        >>> working_point(ACTIVATIONS["identity"])
        Point(centre=0.0, spread=1.0, level=0.0, slope=1.0, left=0.0)
        >>> round(working_point(ACTIVATIONS["tanh"]).slope, 3)  # less than g'(0) = 1
        0.826
    """
    if g.name in _KNOWN:
        return _line(g, *_KNOWN[g.name])
    found = [_line(g, centre, _SPREAD) for centre in _CENTRES]
    steepest = max(abs(point.slope) for point in found)
    usable = [point for point in found if abs(point.slope) >= 0.5 * steepest]
    best = min(usable, key=_share, default=found[0])
    return best if steepest > 0 else _without_line(best)


def narrowed(g: Activation, point: Point, factor: float) -> Point:
    """The same centre with a spread `factor` times as wide, over which g is closer to its line."""
    found = _line(g, point.centre, factor * point.spread)
    return found if found.slope else _without_line(found)


def _share(point: Point) -> float:
    """Of the variance of g, that which the line leaves."""
    variance = (point.slope * point.spread) ** 2 + point.left
    return point.left / variance if 0 < variance < np.inf else np.inf


def _without_line(point: Point) -> Point:
    """Where g is a constant, for which no line stands."""
    return replace(point, slope=1.0)


def _line(g: Activation, centre: float, spread: float) -> Point:
    """The line; without a slope, and infinitely far from g, where g is not finite."""
    if g.name == "identity":
        return Point(centre, spread, centre, 1.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    e, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    with torch.no_grad():
        values = g(centre + spread * e)
    level = _mean(w, values)
    slope = _mean(w, values * e) / spread
    left = _mean(w, (values - level - slope * spread * e).square())
    if not bool(torch.isfinite(values).all()):
        return Point(centre, spread, 0.0, 0.0, np.inf)
    return Point(centre, spread, level, slope, left)


def _mean(weights: Tensor, values: Tensor) -> float:
    return float(weights @ values.double())
