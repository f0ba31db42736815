"""Expectation maximisation, and the exact gradient for its last digits."""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

import torch
from torch import Generator

from statespace.errors import InputError, expected
from statespace.interface import Climbable, Learner, Maximisable, Method
from statespace.learning.columns import check_observed, degenerate, single_row
from statespace.learning.em_climb import Run, climb, sampled
from statespace.learning.objective import (
    Objective,
    log_prior,
    perturbed,
    slots_of,
    started,
)
from statespace.learning.polish import Watch, polish, watch
from statespace.learning.progress import Report, reporting
from statespace.learning.standard_errors import estimates, standard_errors
from statespace.results import FitResult
from statespace.sequences import Sequences

__all__ = ["EM"]

_POLISH = 500  # steps


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

    def _run(self, objective: Objective, report: Report, away: Watch | None) -> Run:
        """EM and polish from where the model is; `away` tells that there is no maximum."""
        run = climb(self, objective, report, away)
        if not self.polish or run.broken or sampled(objective):
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


def _prior(model: Any) -> float:
    with torch.no_grad():
        return float(log_prior(model))


def _words(
    run: Run,
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
