"""How EM climbs: iteration by iteration, with an E-step that is exact or one that is not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from statespace.errors import NumericalError
from statespace.learning.em_steps import backtrack, exact, expect, maximise, tried
from statespace.learning.objective import Objective, restricted
from statespace.learning.polish import UNBOUNDED, Watch
from statespace.learning.progress import Report

__all__ = ["Run", "climb", "sampled"]

_ROUNDING = 1e-10  # of the objective, in double precision: a fall below that is none
_HANDOVER = 1e-3  # nats per observed value: where polish gains more by a step than EM
_WARY = 5  # iterations between looks at whether the likelihood has a maximum at all
_FEW = 30  # learned numbers up to which quasi-Newton steps are the shorter way
_PATIENCE = 5  # iterations without a higher point, where the E-step is approximate


@dataclass
class Run:
    """One climb: how it went."""

    history: list[float] = field(default_factory=list)
    value: float = -math.inf
    converged: bool = False
    reason: str = ""
    broken: bool = False


def climb(settings: Any, objective: Objective, report: Report, away: Watch | None) -> Run:
    """EM from where the model is, which is left at the highest point.

    Args:
        settings: The learner.
        objective: Of the data.
        report: Called with the iteration and the objective.
        away: Tells a likelihood without a maximum, to stop on the way there; see `watch`.
    """
    run = Run()
    if objective.method.kind(objective.model, objective.data) == "exact":
        _exactly(settings, objective, run, report, away)
    else:
        _approximately(settings, objective, run, report)
    return run


def sampled(objective: Objective) -> bool:
    """Whether the log-likelihood is drawn, so that its gradient does not lead to its maximum."""
    return objective.method.num_samples(objective.model) is not None


def _exactly(
    settings: Any, objective: Objective, run: Run, report: Report, away: Watch | None
) -> None:
    """EM with an exact E-step: the objective cannot fall."""
    model, n_values = objective.model, int(objective.data.n_values.sum())
    why = _left_to_polish(objective) if settings.polish and away is None else None
    if why is None:
        run.value, smoothed = expect(objective)
    else:
        run.value = objective.value(objective.read())
    run.history.append(run.value)
    if not math.isfinite(run.value):
        run.broken = True
        run.reason = (
            f"the log-likelihood of the start values is {run.value}: what the model holds "
            "without noise contradicts the data"
        )
        return
    if why is not None:
        run.reason = f"EM: left to polish, since {why}"
        return
    for i in range(1, settings.max_iter + 1):
        old = objective.read()
        try:
            maximise(model, smoothed, objective)
        except NumericalError as error:  # the gradient may still find its way
            objective.write(old)
            run.reason = f"EM: no M-step at iteration {i}: {error}"
            return
        value, smoothed = _expect_or_back(objective, old, run)
        if value < run.value and not run.broken and not exact(model):
            value, smoothed = backtrack(objective, old, run.value)
        if run.broken or _stops_falling(objective, run, old, value, i, exact(model)):
            return
        gain, run.value = value - run.value, value
        run.history.append(value)
        report(i, value)
        if away is not None and i % _WARY == 0 and _runs_away(objective, away):
            run.broken = True
            run.reason = f"EM: stopped at iteration {i}: {UNBOUNDED}"
            return
        if gain <= settings.tol * n_values:
            run.converged = True
            run.reason = f"EM: gain of {gain:.1e} at iteration {i}, tolerance reached"
            if not exact(model) and not settings.polish:
                run.reason += "; some parameters have no M-step in closed form (docs/em.md)"
            return
        if settings.polish and gain <= _HANDOVER * n_values:
            run.reason = f"EM: gain of {gain:.1e} at iteration {i}, handed over to polish"
            return
    run.reason = f"EM: iteration cap of {settings.max_iter} reached"


def _approximately(settings: Any, objective: Objective, run: Run, report: Report) -> None:
    """EM with an approximate E-step: the objective may fall, and the best point is kept."""
    n_values = int(objective.data.n_values.sum())
    value, smoothed = expect(objective)
    run.history.append(value)
    run.value, best = value, objective.read()
    if not math.isfinite(value):
        run.broken = True
        run.reason = f"the log-likelihood of the start values is {value}"
        return
    least, falls, waited, i = settings.tol * n_values, [0.0], 0, 0
    run.reason = f"EM: iteration cap of {settings.max_iter} reached"
    for i in range(1, settings.max_iter + 1):
        try:
            maximise(objective.model, smoothed, objective)
        except NumericalError as error:  # the gradient may still find its way
            run.reason = f"EM: no M-step at iteration {i}: {error}"
            break
        new, smoothed, why = tried(objective)
        if why:
            run.reason = f"EM: iteration {i} broke down and was taken back: {why}"
            break
        run.history.append(new)
        report(i, new)
        gain, value = new - value, new
        falls.append(max(0.0, -gain - objective.rounding(new)))
        waited = 0 if new > run.value + least else waited + 1
        if new > run.value:
            run.value, best = new, objective.read()
        if abs(gain) <= least:
            run.converged = True
            run.reason = f"EM: change of {gain:.1e} at iteration {i}, tolerance reached"
            break
        if settings.polish and not sampled(objective) and abs(gain) <= _HANDOVER * n_values:
            run.reason = f"EM: change of {gain:.1e} at iteration {i}, handed over to polish"
            break
        if waited >= _PATIENCE:
            run.reason = f"EM: no higher point in {_PATIENCE} iterations, at iteration {i}"
            break
    objective.write(best)
    if max(falls):
        run.reason += (
            f"; the approximate log-likelihood fell in {sum(f > 0 for f in falls)} of {i} "
            f"iterations, by up to {max(falls):.3g}, as it may where the E-step is approximate: "
            "the highest point is kept"
        )


def _runs_away(objective: Objective, away: Watch) -> bool:
    x = objective.read()
    gradient = objective.gradient(x)[1]
    return gradient is not None and away(x, gradient)


def _left_to_polish(objective: Objective) -> str | None:
    """Why the exact gradient is the shorter way from the start on; None where it is not."""
    if objective.size <= _FEW and restricted(objective.model):
        return "few numbers are learned"
    return None if exact(objective.model) else "not all parameters have an M-step in closed form"


def _expect_or_back(objective: Objective, old: Tensor, run: Run) -> tuple[float, Any]:
    """The E-step at a new point; where it breaks down, the run ends at the old one."""
    value, smoothed, why = tried(objective)
    if not why or (value == -math.inf and not exact(objective.model)):  # a step too long, perhaps
        return value, smoothed
    objective.write(old)
    run.broken = True
    run.reason = f"EM: iteration {len(run.history)} broke down and was taken back: {why}"
    return -math.inf, None


def _stops_falling(
    objective: Objective, run: Run, old: Tensor, value: float, i: int, exact: bool
) -> bool:
    """Ends the run at the old point where the objective fell; says by how much."""
    if value >= run.value:
        return False
    objective.write(old)
    fall = run.value - value
    if fall <= max(_ROUNDING * max(1.0, abs(run.value)), objective.rounding(run.value)):
        run.converged = True
        run.reason = f"EM: no gain beyond rounding at iteration {i}, tolerance reached"
    elif not exact:
        run.reason = f"EM: iteration {i} found no higher point"
    else:
        run.reason = f"EM: the log-likelihood fell by {fall:.3g} at iteration {i}, taken back"
    return True
