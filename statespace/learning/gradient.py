"""Learning by the gradient of the log-likelihood."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, InputTypeError, expected
from statespace.interface import Learner, Method
from statespace.interface.randomness import clone
from statespace.learning.columns import check_observed, degenerate, single_row
from statespace.learning.objective import (
    Objective,
    log_prior,
    perturbed,
    slots_of,
    started,
)
from statespace.learning.polish import Watch, polish, watch
from statespace.learning.progress import Report, reporting
from statespace.learning.resuming import resumable
from statespace.learning.scales import equilibrate
from statespace.learning.standard_errors import estimates, standard_errors
from statespace.learning.training import Progress, Trainer
from statespace.learning.watching import collapse
from statespace.results import FitResult
from statespace.sequences import Sequences

__all__ = ["Gradient"]

Optimizer = Literal["adam", "adamw", "lbfgs"]
Schedule = Literal["cosine", "linear"] | Callable[[int], float] | None

_OPTIMIZERS = ("adam", "adamw", "lbfgs")
_SCHEDULES = ("cosine", "linear")


class Gradient(Learner):
    """Climbs the log-likelihood (plus log priors) by its gradient.

    Parameters in slots (`Param`) move in units that suit them, so that one learning rate serves
    data in any scale; what is held, tied or structured stays so. Network weights move as they are.

    Args:
        steps: Updates at the most.
        lr: Learning rate of Adam, in units of each parameter.
        optimizer: "adam", "adamw", or "lbfgs" (all of the data at every step, until the score is
            small; `lr` is not used).
        weight_decay: Of Adam (added to the gradient) or AdamW (decoupled).
        schedule: "cosine" or "linear" decay to zero, or a function from the step, 0 for the
            first, to a factor of the learning rate.
        batch_size: Series per update; all of them if None.
        clip: Largest norm of the gradient per observed value, in these units.
        window: Rows per update; the state is carried from window to window, gradients are not.
        patience: Evaluations without a gain of 1e-6 nats per value before stopping; counted on
            the validation data where there are any.
        evaluate_every: Passes over the data (updates, where each sees all of them) from one
            evaluation to the next; the best point on the validation data is what is kept.
        metric: A method by which the validation data are scored: `ImportanceWeighted(16)`, say,
            while `Variational()` is climbed. That of the fit if None.
        restarts: Further starts, each a perturbation of the first; the best end is kept.
        checkpoint: A file to which the state of the fit goes after a pass, as long as writing
            takes less than a twentieth of the time. Where it exists, an interrupted fit goes on
            from it; it is removed when the fit ends.

    Raises:
        InputError: settings out of range or at odds with each other.

    Example:
        >>> import statespace as ss
        >>> y = ss.datasets.nile()
        >>> lds = ss.LDS.local_level().replace(R=None)
        >>> fit = lds.fit(y, learner=Gradient(200, optimizer="lbfgs"), seed=0)
        >>> fit.converged, round(fit.log_likelihood, 2)
        (True, -633.46)
    """

    references: ClassVar[tuple[str, ...]] = (
        "@inproceedings{kingma2015, author={Kingma, D. P. and Ba, J.}, title={Adam: a method for "
        "stochastic optimization}, booktitle={ICLR}, year={2015}}",
    )

    def __init__(
        self,
        steps: int = 500,
        lr: float = 1e-2,
        optimizer: Optimizer = "adam",
        *,
        weight_decay: float = 0.0,
        schedule: Schedule = None,
        batch_size: int | None = None,
        clip: float | None = None,
        window: int | None = None,
        patience: int | None = None,
        evaluate_every: int = 1,
        metric: Method | None = None,
        restarts: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        _check_count("steps", steps, 1)
        _check_count("restarts", restarts, 0)
        _check_count("evaluate_every", evaluate_every, 1)
        _check_metric(metric)
        for name, count in (("batch_size", batch_size), ("window", window), ("patience", patience)):
            if count is not None:
                _check_count(name, count, 1)
        for name, number, zero in (
            ("lr", lr, False),
            ("weight_decay", weight_decay, True),
            ("clip", clip, False),
        ):
            if number is not None:
                _check_number(name, number, zero)
        if optimizer not in _OPTIMIZERS:
            words = ", ".join(f'"{o}"' for o in _OPTIMIZERS)
            raise InputError(
                expected("optimizer", f"one of {words}", repr(optimizer), "Choose one of them.")
            )
        if schedule is not None and schedule not in _SCHEDULES and not callable(schedule):
            todo = "Choose one of them."
            words = '"cosine", "linear", None or a function of the step'
            raise InputError(expected("schedule", words, repr(schedule), todo))
        self.steps, self.lr, self.optimizer = steps, lr, optimizer
        self.weight_decay, self.schedule, self.batch_size = weight_decay, schedule, batch_size
        self.clip, self.window, self.patience = clip, window, patience
        self.evaluate_every, self.metric = evaluate_every, metric
        self.restarts, self.checkpoint = restarts, checkpoint
        self._check_together()

    def _check_together(self) -> None:
        if self.optimizer == "lbfgs":
            alone = ("batch_size", "window", "clip", "schedule", "checkpoint", "patience", "metric")
            for name in alone:
                if getattr(self, name) is not None:
                    todo = 'Leave it out, or use optimizer="adam".'
                    raise InputError(expected(name, 'none beside "lbfgs"', "a value", todo))
            if self.weight_decay:
                todo = "Leave it out, or give parameters a prior."
                raise InputError(expected("weight_decay", '0 beside "lbfgs"', "a value", todo))
        if self.checkpoint is not None and self.restarts:
            todo = "Leave one of them out."
            raise InputError(expected("checkpoint", "none beside restarts", "a path", todo))

    def __repr__(self) -> str:
        rest = {
            name: getattr(self, name)
            for name in ("schedule", "batch_size", "clip", "window", "patience", "metric")
            if getattr(self, name) is not None
        }
        more = "".join(f", {name}={value!r}" for name, value in rest.items())
        return f"Gradient({self.steps}, lr={self.lr:g}, optimizer={self.optimizer!r}{more})"

    def _settings(self) -> dict[str, Any]:
        """All that a fit hangs on, as it is stored."""
        plain = {k: v for k, v in vars(self).items() if k not in ("checkpoint", "restarts")}
        plain["metric"] = repr(self.metric)
        return {k: "a function" if callable(v) else v for k, v in plain.items()}

    def factor(self, step: int) -> float:
        """The schedule's factor of the learning rate at a step."""
        if callable(self.schedule):
            return float(self.schedule(step))
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return 1 - step / self.steps if self.schedule == "linear" else 1.0

    def least_gain(self, values: float) -> float:
        """What counts as a gain, in nats."""
        return 1e-6 * values

    def fit(
        self,
        model: Any,
        data: Sequences,
        method: Method,
        generator: Generator,
        validation: Sequences | None = None,
        progress: Any = None,
    ) -> FitResult:
        """Trains the model in place; the arguments are those of `Learner.fit`."""
        began = time.perf_counter()
        own = any(len(slot.batch_shape) for _, slot in slots_of(model))
        check_observed(data, per_series=own)
        self._check_batches(data, own)
        lone = single_row(data, per_series=own)
        notes = lone + degenerate(data, per_series=own)
        warnings = tuple(f"{note[0].upper()}{note[1:]}" for note in notes)
        with started(model, data, generator) as (held, modes):
            objective = Objective(model, method, data, generator, modes)
            first, runs, ends = objective.read(), [], []
            away = watch(objective, degenerate=bool(notes))
            with reporting(progress, (self.restarts + 1) * self.steps, "Gradient") as report:
                for k in range(self.restarts + 1):
                    objective.write(first if k == 0 else perturbed(objective, first, generator))
                    runs.append(self._run(objective, generator, validation, report, away))
                    ends.append((objective.value(objective.read()), objective.read()))
            best = max(range(len(runs)), key=lambda i: (ends[i][0], -i))
            run, (value, x) = runs.pop(best), ends[best]
            objective.write(x)
            found = estimates(model)
            with torch.no_grad():
                prior = float(log_prior(model))
        if held:
            notes = [f"not learned, since the data cannot tell: {', '.join(held)}", *notes]
        kind = method.kind(model, data)
        return FitResult(
            model=model,
            converged=run.converged and math.isfinite(value) and not lone,
            reason="; ".join([run.reason, *notes]),
            history=tuple(run.history),
            log_likelihood=value - prior,
            num_params=objective.size - model.num_idle,
            n_values=int(data.n_values.sum()),
            seconds=time.perf_counter() - began,
            learner=self,
            warnings=(*warnings, *collapse(run.records)),
            records=tuple(run.records),
            parameters=found,
            standard_errors=_errors(objective, x) if kind in ("exact", "approximate") else None,  # type: ignore[arg-type]
            restarts=tuple(tuple(r.history) for r in runs),
            kind=kind,
        )

    def _check_batches(self, data: Sequences, own: bool) -> None:
        if self.batch_size is None:
            return
        if own or data.lengths.ndim == 0:
            what = "a model of its own for each series" if own else "one series"
            todo = "Leave batch_size out; window= cuts a long series."
            raise InputError(expected("batch_size", "a batch of series of one model", what, todo))

    def _run(
        self,
        objective: Objective,
        generator: Generator,
        validation: Sequences | None,
        report: Report,
        away: Watch | None,
    ) -> Progress:
        if self.optimizer == "lbfgs":
            before = objective.value(objective.read())
            end = polish(objective, max_iter=self.steps, report=report, away=away, name="L-BFGS")
            return Progress(
                history=[before, *end.history], converged=end.converged, reason=end.reason
            )
        trainer = Trainer(self, objective, _units(objective), generator, validation)
        if self.checkpoint is None:
            at = Progress()
            trainer.run(at, report, lambda _: None)
            return at
        wanted = {**self._settings(), "method": repr(objective.method), "size": objective.size}
        return resumable(self.checkpoint, wanted, trainer, report)


def _errors(objective: Objective, x: Tensor) -> Callable[[], Any]:
    return lambda: standard_errors(objective, x)


def _units(objective: Objective) -> Tensor:
    """A unit for each learned number: the change of it that one observed value would notice.

    Measured from the curvature where everything lives in slots and the likelihood is no random
    number; else the size of the number itself, and one for the weights of networks.
    """
    sizes = objective.sizes()
    inside = sum(s.theta.numel() for _, s in slots_of(objective.model) if s.theta is not None)
    kind = objective.method.kind(objective.model, objective.data)
    if inside < objective.size or kind not in ("exact", "approximate"):
        return sizes
    x = objective.read()
    signs = clone(objective.origin)
    scale = equilibrate(lambda v: objective.gradient(v)[1], x, sizes, signs)
    objective.write(x)
    return scale * math.sqrt(float(objective.data.n_values.sum()))


def _check_count(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        todo = f"Give an integer of {least} or more."
        raise InputError(expected(name, f"an integer >= {least}", repr(value), todo))


def _check_metric(metric: Any) -> None:
    if metric is not None and not isinstance(metric, Method):
        todo = "Give one, made: ImportanceWeighted(16), say."
        raise InputTypeError(expected("metric", "a method", f"{metric!r:.60}", todo))


def _check_number(name: str, value: Any, zero: bool) -> None:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or value < 0 or (value == 0 and not zero):
        words = "a number >= 0" if zero else "a number > 0"
        raise InputError(expected(name, words, repr(value), "Give such a number."))
