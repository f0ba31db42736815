"""Expectation maximisation, and the exact gradient for its last digits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, NumericalError, expected
from statespace.interface import Climbable, Learner, Maximisable, Method
from statespace.interface.randomness import clone, lend
from statespace.learning.columns import check_observed, degenerate, single_row
from statespace.learning.lbfgs import minimise
from statespace.learning.objective import (
    Objective,
    log_prior,
    perturbed,
    restricted,
    slots_of,
    started,
)
from statespace.learning.polish import UNBOUNDED, Watch, polish, watch
from statespace.learning.progress import Report, reporting
from statespace.learning.standard_errors import estimates, standard_errors
from statespace.results import FitResult, Smoothed
from statespace.sequences import Sequences

__all__ = ["EM"]

_ROUNDING = 1e-10  # of the objective, in double precision: a fall below that is none
_HALVINGS = 20
_POLISH = 500  # steps
_HANDOVER = 1e-3  # nats per observed value: where polish gains more by a step than EM
_WARY = 5  # iterations between looks at whether the likelihood has a maximum at all
_FEW = 30  # learned numbers up to which quasi-Newton steps are the shorter way
_CLIMB = 10  # quasi-Newton steps where there is no M-step


@dataclass
class _Run:
    """One climb: how it went."""

    history: list[float] = field(default_factory=list)
    value: float = -math.inf
    converged: bool = False
    reason: str = ""
    broken: bool = False


class EM(Learner):
    """Expectation maximisation (Shumway and Stoffer 1982), then L-BFGS on the exact gradient.

    Args:
        max_iter: Iterations of EM at the most, for each start.
        tol: EM stops when an iteration gains less than this per observed value, in nats (1e-4
            where polish follows, which then gains more for the same work).
        restarts: Further starts, each a perturbation of the first; the best end is kept.
        polish: Whether to climb on, from where EM stopped, until the score is small. EM alone is
            slow where little is observed or a variance is near zero, and leaves alone what
            has no M-step (`docs/em.md`).

    Raises:
        InputError: settings out of range.

    Example:
        >>> import statespace as ss
        >>> lds = ss.LDS.local_level()
        >>> fit = lds.replace(R=None).fit(ss.datasets.nile(), learner=EM(), seed=0)
        >>> fit.converged, round(fit.log_likelihood, 2)
        (True, -633.46)
    """

    references: ClassVar[tuple[str, ...]] = (
        "@article{shumway1982, author={Shumway, R. H. and Stoffer, D. S.}, title={An approach to "
        "time series smoothing and forecasting using the {EM} algorithm}, journal={Journal of "
        "Time Series Analysis}, volume={3}, number={4}, pages={253--264}, year={1982}}",
    )

    def __init__(
        self, max_iter: int = 200, tol: float = 1e-6, restarts: int = 0, polish: bool = True
    ) -> None:
        for name, value, least in (("max_iter", max_iter, 0), ("restarts", restarts, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                todo = f"Give an integer of {least} or more."
                raise InputError(expected(name, f"an integer >= {least}", repr(value), todo))
        if not isinstance(tol, int | float) or not tol >= 0:
            raise InputError(expected("tol", "a number >= 0", repr(tol), "Give a small number."))
        self.max_iter, self.tol, self.restarts, self.polish = max_iter, tol, restarts, polish

    def __repr__(self) -> str:
        return (
            f"EM(max_iter={self.max_iter}, tol={self.tol:g}, restarts={self.restarts}, "
            f"polish={self.polish})"
        )

    def refusal(self, model: Any, data: Sequences, method: Method) -> str | None:
        """Why it cannot, and which learners can; None if it can."""
        if isinstance(model, Maximisable | Climbable):
            return None
        return (
            f"EM serves models with an M-step, and {type(model).__name__} has none. Use "
            "Gradient(steps, lr)."
        )

    def fit(
        self,
        model: Any,
        data: Sequences,
        method: Method,
        generator: Generator,
        validation: Sequences | None = None,
        progress: Any = None,
    ) -> FitResult:
        """Trains the model in place.

        Args:
            model: Maximisable or Climbable.
            data: The training data.
            method: Makes the E-step and the likelihood.
            generator: Random numbers of restarts.
            validation: Held-out data; its log-likelihood at the end is added to the reason.
            progress: See `fit`.
        """
        began = time.perf_counter()
        own = any(len(slot.batch_shape) for _, slot in slots_of(model))
        check_observed(data, per_series=own)
        lone = single_row(data, per_series=own)
        notes = lone + degenerate(data, per_series=own)
        with started(model, data, generator) as (held, modes):
            objective = Objective(model, method, data, generator, modes)
            first, runs, ends = objective.read(), [], []
            away = watch(objective, degenerate=bool(notes))
            most = (self.restarts + 1) * (self.max_iter + _POLISH * self.polish)
            with reporting(progress, most, "EM") as report:
                for k in range(self.restarts + 1):
                    objective.write(first if k == 0 else perturbed(objective, first, generator))
                    runs.append(self._run(objective, report, away))
                    ends.append(objective.read())
            best = max(range(len(runs)), key=lambda i: (runs[i].value, -i))
            run, x = runs.pop(best), ends[best]
            objective.write(x)
            found = estimates(model)
        return FitResult(
            model=model,
            converged=run.converged and math.isfinite(run.value) and not lone,
            reason="; ".join(_words(run, held, notes, objective, validation)),
            history=tuple(run.history),
            log_likelihood=run.value - _prior(model),
            num_params=objective.size - model.num_idle,
            n_values=int(data.n_values.sum()),
            seconds=time.perf_counter() - began,
            learner=self,
            warnings=tuple(f"{note[0].upper()}{note[1:]}" for note in notes),
            parameters=found,
            standard_errors=lambda: standard_errors(objective, x),  # type: ignore[arg-type]
            restarts=tuple(tuple(r.history) for r in runs),
            kind=method.kind(model, data),
        )

    def _run(self, objective: Objective, report: Report, away: Watch | None) -> _Run:
        """EM and polish from where the model is; `away` tells that there is no maximum."""
        run = _Run()
        self._climb(objective, run, report, away)
        if not self.polish or run.broken:
            return run
        done = len(run.history)
        end = polish(
            objective,
            max_iter=_POLISH,
            report=lambda i, value: report(done + i, value),
            away=away,
        )
        if math.isfinite(end.value):
            run.value, run.history = end.value, run.history + end.history
        run.converged, run.reason = end.converged, f"{run.reason}; {end.reason}"
        return run

    def _climb(self, objective: Objective, run: _Run, report: Report, away: Watch | None) -> None:
        """EM: the model is left at the highest point."""
        model, n_values = objective.model, int(objective.data.n_values.sum())
        why = _left_to_polish(objective) if self.polish and away is None else None
        if why is None:
            run.value, smoothed = _expect(objective)
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
        for i in range(1, self.max_iter + 1):
            old = objective.read()
            try:
                _maximise(model, smoothed, objective)
            except NumericalError as error:  # the gradient may still find its way
                objective.write(old)
                run.reason = f"EM: no M-step at iteration {i}: {error}"
                return
            value, smoothed = _expect_or_back(objective, old, run)
            if value < run.value and not run.broken and not _exact(model):
                value, smoothed = _backtrack(objective, old, run.value)
            if run.broken or _stops_falling(objective, run, old, value, i, _exact(model)):
                return
            gain, run.value = value - run.value, value
            run.history.append(value)
            report(i, value)
            if away is not None and i % _WARY == 0 and _runs_away(objective, away):
                run.broken = True
                run.reason = f"EM: stopped at iteration {i}: {UNBOUNDED}"
                return
            if gain <= self.tol * n_values:
                run.converged = True
                run.reason = f"EM: gain of {gain:.1e} at iteration {i}, tolerance reached"
                if not _exact(model) and not self.polish:
                    run.reason += "; some parameters have no M-step in closed form (docs/em.md)"
                return
            if self.polish and gain <= _HANDOVER * n_values:
                run.reason = f"EM: gain of {gain:.1e} at iteration {i}, handed over to polish"
                return
        run.reason = f"EM: iteration cap of {self.max_iter} reached"


def _runs_away(objective: Objective, away: Watch) -> bool:
    x = objective.read()
    gradient = objective.gradient(x)[1]
    return gradient is not None and away(x, gradient)


def _exact(model: Any) -> bool:
    return isinstance(model, Maximisable) and bool(model.mstep_exact)


def _left_to_polish(objective: Objective) -> str | None:
    """Why the exact gradient is the shorter way from the start on; None where it is not."""
    if objective.size <= _FEW and restricted(objective.model):
        return "few numbers are learned"
    return None if _exact(objective.model) else "not all parameters have an M-step in closed form"


def _expect(objective: Objective) -> tuple[float, Any]:
    """The E-step, as sums or as a posterior, and the objective at the same point."""
    model, data, method = objective.model, objective.data, objective.method
    with torch.no_grad(), lend(clone(objective.origin)) as generator:
        found = method.sums(model, data) if getattr(model, "takes_sums", False) else None
        if found is None:
            smoothed = method.smooth(model, data, generator)
            found = smoothed.log_likelihood, smoothed
        value = float(found[0].double().sum() + log_prior(model))
    return value, found[1]


def _expect_or_back(objective: Objective, old: Tensor, run: _Run) -> tuple[float, Any]:
    """The E-step at a new point; where it breaks down, the run ends at the old one."""
    try:
        value, smoothed = _expect(objective)
        if not math.isnan(value):
            return value, smoothed
        words = "the log-likelihood is NaN"
    except (InputError, NumericalError) as error:
        if not _exact(objective.model):  # it may be a step too long
            return -math.inf, None
        words = str(error)
    objective.write(old)
    run.broken = True
    run.reason = f"EM: iteration {len(run.history)} broke down and was taken back: {words}"
    return -math.inf, None


def _maximise(model: Any, smoothed: Smoothed, objective: Objective) -> None:
    """The M-step; by quasi-Newton steps on the expected log joint where there is no closed form."""
    if isinstance(model, Maximisable):
        model.maximise(model.statistics(smoothed, objective.data))
        return
    origin, scale = objective.read(), objective.sizes()

    def function(x: Tensor) -> tuple[float, Tensor]:
        objective.write(origin + scale * x)
        with torch.enable_grad():
            value = model.expected_log_joint(smoothed, objective.data).double().sum()
            value = value + log_prior(model)
        if not math.isfinite(float(value.detach())):
            return math.inf, x
        grads = torch.autograd.grad(value, objective.parameters, materialize_grads=True)
        return -float(value.detach()), -scale * torch.cat([g.flatten().double() for g in grads])

    found = minimise(function, torch.zeros_like(origin), max_iter=_CLIMB)
    objective.write(origin + scale * found.x)


def _backtrack(objective: Objective, old: Tensor, before: float) -> tuple[float, Any]:
    """Halves a step that lowered the objective until it does not."""
    step = objective.read() - old
    for k in range(1, _HALVINGS + 1):
        point = old + 0.5**k * step
        if objective.value(point) >= before:
            return _expect(objective)
    objective.write(old)
    return -math.inf, None


def _stops_falling(
    objective: Objective, run: _Run, old: Tensor, value: float, i: int, exact: bool
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


def _prior(model: Any) -> float:
    with torch.no_grad():
        return float(log_prior(model))


def _words(
    run: _Run,
    held: list[str],
    notes: list[str],
    objective: Objective,
    validation: Sequences | None,
) -> list[str]:
    """What there is to say about the end of a fit."""
    words = [run.reason]
    if _prior(objective.model) != 0.0:
        words.append("what climbs is the log posterior")
    if held:
        words.append(f"not learned, since the data cannot tell: {', '.join(held)}")
    words += notes
    if validation is not None:
        held_out = Objective(objective.model, objective.method, validation, objective.origin)
        words.append(f"log-likelihood of the validation data {held_out.value(held_out.read()):.6g}")
    return words
