"""The linear system that a network is in its linear regime, with what the network holds.

With g(a) = level + slope (a - centre) and x = z - level,

    x_t = slope A x_{t-1} + slope W u_t + slope (A level + b - centre) + w_t
    y_t = C x_t + D u_t + (d + C level) + v_t
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.models.lds import LDS
from statespace.models.noisy_rnn.start.point import Point
from statespace.parameters import Declaration, Fixed, Param, Slot, Varying

__all__ = ["now", "proxy"]


def proxy(rnn: Any, point: Point, noise: Tensor | None) -> LDS:
    """Values are held where the network has them, and wanted where it has none.

    Args:
        rnn: A network.
        point: Where its activation is worked at.
        noise: Variances of the stand-in for y; None where they are the network's R, or wanted.
    """
    slope, level = point.slope, point.level
    a, c, b, d = (rnn.slot(name) for name in "ACbd")
    n, rows = rnn.latent_dim, c.event[0]
    kept: dict[str, Any] = {
        "A": _scaled(a, slope),
        "B": _scaled(rnn.slot("W"), slope),
        "b": Fixed(torch.zeros(*rnn.batch_shape, n, dtype=torch.float64)),  # d moves the level
        "C": _scaled(c, 1.0),
        "D": _scaled(rnn.slot("D"), 1.0),
        "d": Param(),
        "Q": _scaled(rnn.slot("Q"), 1.0),
        "R": Param(structure="diag") if rnn.head.name == "student_t" else Param(),
    }
    if a.is_set and b.is_set:
        push = now(a).sum(-1) * level + now(b) - point.centre
        kept["b"] = Fixed((slope * push).expand(*rnn.batch_shape, n))
    if c.is_set and d.is_set:
        kept["d"] = Fixed(now(d) + now(c).sum(-1) * level)
    if noise is not None:
        kept["R"] = Fixed(torch.diag(noise))
    elif rnn.slot("R").is_set:
        kept["R"] = _scaled(rnn.slot("R"), 1.0)
    return LDS(n, rows, rnn.input_dim, **kept, initial="estimate")


def now(slot: Slot) -> Tensor:
    """The value, its mean over time where it varies, (*batch, *event) float64."""
    value = slot.value().detach().double()
    return value.mean(-len(slot.event) - 1) if slot.varies else value


def _scaled(slot: Slot, factor: float) -> Declaration:
    """Held at `factor` times the value; wanted, with what is held and tied, without one."""
    if slot.is_set:
        value = factor * slot.value().detach().double()
        return Varying(value) if slot.varies else Fixed(value)
    labels = slot.pattern.labels
    held = factor * slot.held.detach().double()
    return Param(held, free=labels != 0, labels=labels, start=False)
