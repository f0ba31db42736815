"""What stands for y in a linear-Gaussian model: y itself, or a working response.

About the mean of a column, log p(y | eta) of a Bernoulli, Poisson or categorical y is that of

    eta* = eta_0 + (y - mean) / v,    with variance 1 / v,    v = Var(y) = d mean / d eta,

the working response of the first step of iteratively reweighted least squares (McCullagh and
Nelder 1989, section 2.5). Where f bends the mean of a Gaussian y, it is undone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from statespace.sequences import Sequences

__all__ = ["Response", "response"]

_EDGE = 0.02  # of the range of f: further out, its inverse says little
_FAR = 6.0  # robust standard deviations, beyond which Student's t takes a row for an outlier


@dataclass(frozen=True)
class Response:
    """A Gaussian stand-in.

    Attributes:
        data: With eta* in the place of y.
        noise: Its variances (rows of C,), where they are known; None where R is to be found.
        slope: (m,) how far the mean of y moves with eta, for the way back of R.
    """

    data: Sequences
    noise: Tensor | None
    slope: Tensor


def response(rnn: Any, data: Sequences) -> Response:
    """The stand-in for the data of a network."""
    y, seen = data.values.double(), data.observed
    name = rnn.head.name
    if name in ("gaussian", "student_t"):
        y = _clipped(y, seen) if name == "student_t" else y
        eta, slope = _undone(rnn.output_activation.name, y, seen)
        return Response(_with(data, eta, seen), None, slope)
    if name == "categorical":
        rows = rnn.slot("C").event[0]
        y = torch.nn.functional.one_hot(data.values.clamp(0, rows - 1), rows)[..., 0, :].double()
        seen = seen.expand(y.shape)
    mean, count = _mean(y, seen)
    if name == "poisson":
        mean = mean.clamp_min(0.5 / count)  # nothing was ever counted: half a count
        level, v = mean.log(), mean
    else:
        mean = torch.minimum(mean.clamp_min(0.5 / count), 1 - 0.5 / count)
        level, v = (mean / (1 - mean)).log(), mean * (1 - mean)
        level = mean.log() if name == "categorical" else level
    return Response(_with(data, level + (y - mean) / v, seen), 1 / v, torch.ones_like(v))


def _with(data: Sequences, eta: Tensor, seen: Tensor) -> Sequences:
    eta = torch.where(seen, eta, torch.zeros_like(eta))
    return replace(data, values=eta, observed=seen, inputs=data.inputs.double())


def _mean(y: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of each column, and over how many."""
    flat, on = y.reshape(-1, y.shape[-1]), seen.reshape(-1, y.shape[-1])
    count = on.sum(0).clamp_min(1).to(y)
    return torch.where(on, flat, 0.0).sum(0) / count, count


def _clipped(y: Tensor, seen: Tensor) -> Tensor:
    """Outliers moved to the edge of the bulk, column by column."""
    out = y.clone()
    for j in range(y.shape[-1]):
        column = y[..., j][seen[..., j]]
        if not len(column):
            continue
        middle = column.median()
        reach = _FAR * 1.4826 * (column - middle).abs().median()
        if float(reach) > 0:
            out[..., j] = y[..., j].clamp(middle - reach, middle + reach)
    return out


def _undone(name: str, y: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """f^-1(y), and the mean slope of f there; y itself for a function of the user's own."""
    low, high = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}.get(name, (None, None))
    if low is not None and high is not None:
        gap = _EDGE * (high - low)
        inside = (y.clamp(low + gap, high - gap) - low) / (high - low)
        eta = (inside / (1 - inside)).log() * (0.5 if name == "tanh" else 1.0)
        slope = inside * (1 - inside) * (4.0 if name == "tanh" else 1.0)
    elif name == "softplus":
        size = _mean(y.abs(), seen)[0]
        above = torch.maximum(y, _EDGE * size.clamp_min(1e-300))
        eta = torch.where(above > 30, above, above.clamp_max(30).expm1().log())
        slope = torch.sigmoid(eta)
    else:
        eta, slope = y, torch.ones_like(y)
    return eta, _mean(slope, seen)[0]
