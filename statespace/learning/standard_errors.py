"""Standard errors from the observed information, and the reason where there is none.

The information is minus the derivative of the exact gradient, by central differences in the
learned numbers theta, in units in which it has a unit diagonal. The covariance of a named entry
f(theta) is f' I^-1 f'^T (delta method). An entry that moves along a direction in which the
likelihood is flat is not identified; a variance at 0 is at its boundary, where the normal
approximation does not hold. With priors it is the curvature of the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from statespace.learning.objective import Objective, slots_of
from statespace.learning.scales import equilibrate
from statespace.parameters import CovarianceSlot, Slot

__all__ = ["estimates", "standard_errors"]

MOST = 500  # learned numbers; each costs two gradients
FLAT = 1e-6  # an eigenvalue of the scaled information below this is none
BENT = 1e-2  # nor is one below the score that is left, up to here: above it, it is no maximum

UNIDENTIFIED = (
    "the data do not identify it: with other parameters changed beside it, another value has the "
    "same likelihood"
)
BOUNDARY = "its covariance is singular, at the boundary of what a covariance can be"
NO_MAXIMUM = "the likelihood still rises here: this is no maximum"
NO_DERIVATIVE = "the gradient of the likelihood does not exist near the estimates"

Errors = tuple[dict[str, float], dict[str, str]]


def estimates(model: Any) -> dict[str, float]:
    """The learned entries of every slot by name, "A[0,1]".

    Those of one model of a batch carry its index, "A[0,1] (model 2)".
    """
    out: dict[str, float] = {}
    with torch.no_grad():
        for slot in _learned(model, [p for p in model.parameters() if p.requires_grad]):
            out.update(zip(_names(slot), slot.entries().flatten().tolist(), strict=True))
    return out


def standard_errors(objective: Objective, x: Tensor) -> Errors:
    """Standard errors of `estimates`, by name, and the reasons of those that are NaN.

    Args:
        objective: Whose model is given back where it was found.
        x: The estimates of the learned numbers.
    """
    now = objective.read()
    if now.shape != x.shape:
        return _all_nan(objective, "the model was changed since the fit")
    with ExitStack() as stack:
        stack.callback(objective.write, now)
        for mode in objective.modes:
            stack.enter_context(mode(False))
        objective.write(x)
        if x.numel() > MOST:
            return _all_nan(objective, f"{x.numel()} parameters are more than {MOST}")
        return _errors(objective, x)


def _errors(objective: Objective, x: Tensor) -> Errors:
    generator = torch.Generator(x.device).manual_seed(0)
    scale = equilibrate(lambda v: objective.gradient(v)[1], x, objective.sizes(), generator)
    information = _information(objective, x, scale)
    objective.write(x)
    if information is None:
        return _all_nan(objective, NO_DERIVATIVE)
    size = information.diagonal().abs().sqrt()
    scale = scale / torch.where(size > 1e-10, size, torch.ones_like(size))
    unit = torch.where(size > 1e-10, size, torch.ones_like(size))
    values, vectors = torch.linalg.eigh(information / unit[:, None] / unit)
    # Along a curve of equal likelihood the gradient that is left bends values away from zero.
    left = objective.gradient(x)[1]
    bent = 0.0 if left is None else min(BENT, float((left * scale).norm()))
    flat = values.abs() <= max(FLAT * max(1.0, float(values.abs().max())), bent)
    inverse = torch.where(flat, 0.0, 1 / values)
    where = _positions(objective)
    numbers: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for slot in _learned(objective.model, objective.parameters):
        at = where[id(slot.theta)]
        jacobian = _jacobian(slot) * scale[at]  # (entries, theta)
        along = jacobian @ vectors[at]  # (entries, P)
        lost = along[:, flat].square().sum(-1) > 1e-6 * along.square().sum(-1)
        falling = along[:, (values < 0) & ~flat].square().sum(-1) > 1e-6 * along.square().sum(-1)
        variance = (along.square() * inverse).sum(-1)
        errors = (vectors[at].square() * inverse).sum(-1).clamp_min(0).sqrt() * scale[at]
        edge = _at_boundary(slot, x[at], errors)
        for i, name in enumerate(_names(slot)):
            numbers[name] = math.nan
            if bool(edge[i]):
                reasons[name] = BOUNDARY
            elif bool(lost[i]) or not float(along[i].square().sum()) > 0:
                reasons[name] = UNIDENTIFIED
            elif bool(falling[i]) or not float(variance[i]) > 0:
                reasons[name] = NO_MAXIMUM
            else:
                numbers[name] = float(variance[i].sqrt())
    return numbers, reasons


def _information(objective: Objective, x: Tensor, scale: Tensor) -> Tensor | None:
    """Minus the Hessian in scaled coordinates, one-sided where the other side is infeasible."""
    here, rows = objective.gradient(x)[1], []
    if here is None:
        return None
    for i in range(x.numel()):
        row = None
        for h in (1e-3, 1e-5):
            step = torch.zeros_like(x)
            step[i] = h * scale[i]
            ahead, behind = (objective.gradient(x + s * step)[1] for s in (1, -1))
            if ahead is not None and behind is not None:
                row = (ahead - behind) / (2 * h)
            elif ahead is not None or behind is not None:
                end, sign = (ahead, 1.0) if ahead is not None else (behind, -1.0)
                assert end is not None
                row = sign * (end - here) / h
            if row is not None:
                break
        if row is None:
            return None
        rows.append(-row * scale)
    matrix = torch.stack(rows)
    return 0.5 * (matrix + matrix.mT)


def _learned(model: Any, parameters: Sequence[Tensor]) -> Iterator[Slot]:
    """The slots that hold one of the parameters."""
    among = {id(p) for p in parameters}
    for _, slot in slots_of(model):
        if id(slot.theta) in among:
            yield slot


def _names(slot: Slot) -> list[str]:
    assert slot.theta is not None
    models = slot.theta.shape[: slot.theta.dim() - 1 - slot.varies]
    names = slot.names()
    if not models:
        return names
    every = torch.cartesian_prod(*(torch.arange(k) for k in models)).reshape(-1, len(models))
    labels = [", ".join(map(str, row)) for row in every.tolist()]
    return [f"{name} (model {label})" for label in labels for name in names]


def _positions(objective: Objective) -> dict[int, slice]:
    out, begin = {}, 0
    for p in objective.parameters:
        out[id(p)] = slice(begin, begin + p.numel())
        begin += p.numel()
    return out


def _jacobian(slot: Slot) -> Tensor:
    """Derivative of the named entries in theta, (entries, numbers of theta)."""
    with torch.enable_grad():
        entries, theta = slot.entries().flatten(), slot.theta
        assert theta is not None
        rows = [torch.autograd.grad(e, theta, retain_graph=True)[0].flatten() for e in entries]
    return torch.stack(rows).double()


def _at_boundary(slot: Slot, theta: Tensor, errors: Tensor) -> Tensor:
    """(entries,) True in a block of a covariance a root of which is 0 beside its error."""
    assert slot.theta is not None
    count = theta.numel()
    edge = torch.zeros(count, dtype=torch.bool)
    if not isinstance(slot, CovarianceSlot):
        return edge
    small = (theta.abs() <= 1e-2 * errors).view(-1, slot.n_free)
    hit = edge.view(-1, slot.n_free)
    for block in slot.blocks.learned:
        numbers = list(block.theta)
        k = len(block.rows)
        ends = (
            [numbers[i * (i + 3) // 2] for i in range(k)] if block.kind == "full" else numbers[:1]
        )
        singular = small[:, ends].any(-1)
        hit[:, numbers] |= singular[:, None]
    return hit.flatten()


def _all_nan(objective: Objective, reason: str) -> Errors:
    slots = _learned(objective.model, objective.parameters)
    names = [name for slot in slots for name in _names(slot)]
    return dict.fromkeys(names, math.nan), dict.fromkeys(names, reason)
