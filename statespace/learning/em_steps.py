"""The two steps of EM: expectation and maximisation, from where a model is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, NumericalError
from statespace.interface import Maximisable
from statespace.interface.randomness import clone, lend
from statespace.learning.lbfgs import minimise
from statespace.learning.objective import Objective, log_prior
from statespace.results import Smoothed

__all__ = ["backtrack", "exact", "expect", "maximise", "tried"]

_HALVINGS = 20
_CLIMB = 10  # quasi-Newton steps where there is no M-step


def exact(model: Any) -> bool:
    """Whether the M-step reaches the maximum in everything that is learned."""
    return isinstance(model, Maximisable) and bool(model.mstep_exact)


def expect(objective: Objective) -> tuple[float, Any]:
    """The E-step, as sums or as a posterior, and the objective at the same point."""
    model, data, method = objective.model, objective.data, objective.method
    with torch.no_grad(), lend(clone(objective.origin)) as generator:
        found = method.sums(model, data) if getattr(model, "takes_sums", False) else None
        if found is None:
            smoothed = method.smooth(model, data, generator)
            found = smoothed.log_likelihood, smoothed
        value = float(found[0].double().sum() + log_prior(model))
    return value, found[1]


def tried(objective: Objective) -> tuple[float, Any, str]:
    """The E-step; where it breaks down, minus infinity or NaN, and why."""
    try:
        value, smoothed = expect(objective)
    except (InputError, NumericalError) as error:
        return -math.inf, None, str(error)
    return value, smoothed, "the log-likelihood is NaN" if math.isnan(value) else ""


def backtrack(objective: Objective, old: Tensor, before: float) -> tuple[float, Any]:
    """Halves a step that lowered the objective until it does not."""
    step = objective.read() - old
    for k in range(1, _HALVINGS + 1):
        point = old + 0.5**k * step
        if objective.value(point) >= before:
            return expect(objective)
    objective.write(old)
    return -math.inf, None


def maximise(model: Any, smoothed: Smoothed, objective: Objective) -> None:
    """The M-step.

    Where a part of it, or all, has no closed form: closed forms given the rest, quasi-Newton steps
    of the rest on the expected log joint, and the closed forms again. Each raises it, so that this
    is a generalised M-step (Dempster, Laird and Rubin 1977; Meng and Rubin 1993).
    """
    if isinstance(model, Maximisable):
        model.maximise(model.statistics(smoothed, objective.data))
        return
    done = {id(p) for p in model.maximise_given_rest(smoothed, objective.data)}
    parts = [torch.full((p.numel(),), id(p) not in done) for p in objective.parameters]
    free = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)
    if not bool(free.any()):
        return
    _climb(model, smoothed, objective, free.to(objective.read().device))
    if done:
        model.maximise_given_rest(smoothed, objective.data)


def _climb(model: Any, smoothed: Smoothed, objective: Objective, free: Tensor) -> None:
    """Quasi-Newton steps on the expected log joint, in the parameters that are free."""
    origin, scale = objective.read(), objective.sizes()

    def at(x: Tensor) -> Tensor:
        point = origin.clone()
        point[free] += scale[free] * x
        return point

    def function(x: Tensor) -> tuple[float, Tensor]:
        objective.write(at(x))
        with torch.enable_grad():
            value = model.expected_log_joint(smoothed, objective.data).double().sum()
            value = value + log_prior(model)
        if not math.isfinite(float(value.detach())):
            return math.inf, x
        grads = torch.autograd.grad(value, objective.parameters, materialize_grads=True)
        whole = scale * torch.cat([g.flatten().double() for g in grads])
        return -float(value.detach()), -whole[free]

    found = minimise(function, torch.zeros_like(origin[free]), max_iter=_CLIMB)
    objective.write(at(found.x))
