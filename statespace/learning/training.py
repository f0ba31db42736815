"""First-order training: minibatches of series, windows of rows, one vector of parameters.

    x <- x + step of Adam(gradient of the log-likelihood per observed value),   theta = scale x

The scale makes one learning rate serve parameters in any units. A step that leads out of the
feasible set is taken back half the way, and the next ones are shorter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, NumericalError
from statespace.interface import Filter, climbing, lend
from statespace.learning.batches import batches
from statespace.learning.objective import Objective, log_prior
from statespace.learning.progress import Report
from statespace.learning.trouble import where_from
from statespace.learning.watching import Watcher
from statespace.results import TrainingRecord
from statespace.sequences import Sequences

__all__ = ["Progress", "Trainer"]

_FAILURES = 30  # steps taken back in a row before giving up


@dataclass
class Progress:
    """Where training stands.

    Attributes:
        step: Updates made.
        history: The objective: at every update, or the mean over each pass where an update sees
            a part of the data only.
        best: The best criterion so far, with its x; the criterion is the validation data's
            log-likelihood where there are any, else the objective.
        waited: Evaluations since the best one.
        records: Of the evaluations.
        seconds: Spent.
        rate: What is left of the learning rate after steps that were taken back.
        reason: Why it ended, in words; empty while it goes on.
        converged: Whether it ended because nothing was gained any more.
    """

    step: int = 0
    history: list[float] = field(default_factory=list)
    best: float = -math.inf
    best_x: Tensor | None = None
    waited: int = 0
    records: list[TrainingRecord] = field(default_factory=list)
    seconds: float = 0.0
    rate: float = 1.0
    reason: str = ""
    converged: bool = False


def _network_weights(objective: Objective, scale: Tensor) -> bool:
    """Whether all that is learned are weights in single precision, in units of their own.

    They are then moved in that precision: there may be millions of them.
    """
    single = all(p.dtype == torch.float32 for p in objective.parameters)
    return single and bool((scale == 1).all())


class Trainer:
    """One training run of a `Gradient` learner.

    Args:
        settings: The learner.
        objective: Of all the data.
        scale: Of each learned number.
        generator: Random numbers: order of the series, samples of the method.
        validation: Held-out data, or None.
    """

    def __init__(
        self,
        settings: Any,
        objective: Objective,
        scale: Tensor,
        generator: Generator,
        validation: Sequences | None,
    ) -> None:
        self.settings, self.objective, self.scale = settings, objective, scale
        self.generator = generator
        self.watcher = Watcher(
            objective,
            validation,
            settings.metric,
            settings.evaluate_every,
            settings.steps,
            generator,
        )
        self._picked: Tensor | None = None  # which series the part at hand has
        self._failures = 0  # steps taken back in a row
        self._begin = 0  # its first row
        self._average = self._values  # how many values a part of a pass has
        weights = _network_weights(objective, scale)
        start = objective.read() / scale
        self.x = torch.nn.Parameter(start.float() if weights else start)
        self.scale = self.scale.to(self.x.dtype)
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        fused = True if weights and self.x.device.type == "cpu" else None
        self.optimizer = kind(
            [self.x], lr=settings.lr, weight_decay=settings.weight_decay, fused=fused
        )
        self.whole = settings.batch_size is None and settings.window is None

    def run(self, at: Progress, report: Report, save: Callable[[Progress], None]) -> None:
        """Trains until a criterion is met; the model is left at the best or the last point."""
        self.watcher.before = at.seconds
        if self.watcher.held_out is not None and at.step == 0:  # the start is a candidate too
            x = self.x.detach()
            at.best, at.best_x = self.watcher.score(self.scale * x), x.clone()
        while at.step < self.settings.steps and not at.reason:
            total, weight = 0.0, 0.0
            for data, state in self._parts(at):
                if at.step >= self.settings.steps:
                    break
                value = self._update(at, data, state)
                while value is None and self._failures <= _FAILURES:
                    value = self._update(at, data, state)
                if value is None:
                    break
                at.step += 1
                count = self._average
                total, weight = total + value * count, weight + count
                report(at.step, value * self._values)
            if weight:
                self._end_pass(at, total / weight * self._values, data, report)
                save(at)
        if self._keeps_best and at.best_x is not None:
            self.x.data.copy_(at.best_x)
        self.objective.write(self.scale * self.x.detach())
        if not at.reason:
            at.reason = f"all {self.settings.steps} steps were taken"

    @property
    def _keeps_best(self) -> bool:
        """Whether the criterion measures points well enough to go back to the best of them.

        The objective of a part of the data does not, nor one without the pull of a decay, nor one
        that is random or annealed.
        """
        if self.watcher.held_out is not None:
            return True
        o = self.objective
        known = o.method.kind(o.model, o.data) in ("exact", "approximate")
        return self.whole and not self.settings.weight_decay and known and not o.method.annealed

    @cached_property
    def _values(self) -> float:
        return float(self.objective.data.n_values.sum())

    def _parts(self, at: Progress) -> Iterator[tuple[Sequences, Any]]:
        """One pass over the data: minibatches, and inside each its windows with their state."""
        for data in self._batches():
            window = self.settings.window
            self._begin = 0
            if window is None or window >= data.T:
                if int(data.n_values.sum()):
                    yield data, None
                continue
            state = None
            for begin in range(0, data.T, window):
                rows = data.rows(begin, min(begin + window, data.T))
                self._begin = begin
                if int(rows.n_values.sum()):
                    yield rows, state
                if begin + window < data.T and isinstance(self.objective.method, Filter):
                    state = self._carried(at, rows, state)

    def _batches(self) -> Iterator[Sequences]:
        data, size = self.objective.data, self.settings.batch_size
        if size is None:
            self._picked, self._average = None, self._values / self._windows(data.T)
            yield data
            return
        parts = batches(data.lengths, size, self.generator)
        windows = sum(self._windows(int(data.lengths[part].max())) for part in parts)
        self._average = self._values / windows
        for part in parts:
            self._picked = part
            yield data.select(part)

    def _windows(self, rows: int) -> int:
        window = self.settings.window
        return 1 if window is None else max(1, math.ceil(rows / window))

    def _carried(self, at: Progress, rows: Sequences, state: Any) -> Any:
        """The state after some rows, without a graph: gradients end at the window's start."""
        objective = self.objective
        for left in range(_FAILURES, -1, -1):
            objective.write(self.scale * self.x.detach())
            try:
                with torch.no_grad():
                    return objective.method.scan(objective.model, rows, self.generator, state).state
            except (InputError, NumericalError):  # the last update was too long
                if not left:
                    raise
                self._back(at)
        return state

    def _update(self, at: Progress, data: Sequences, state: Any) -> float | None:
        """One update; the objective per observed value before it, None if it was taken back."""
        value, gradient, trouble = self._gradient(data, state, at)
        if gradient is None:
            if at.step == 0 and at.rate == 1.0:
                raise NumericalError(
                    "Gradient: expected a finite log-likelihood at the start values, received "
                    f"{value} ({trouble}). Give other start values, or look at what is held "
                    "without noise."
                )
            self._failures += 1
            if self._failures > _FAILURES:
                what = "no step of any length leads to a finite log-likelihood"
                at.reason = f"{what} ({trouble}, after update {at.step})"
            self._back(at)
            return None
        self._failures = 0
        self.last = self.x.detach().clone()
        clip, norm = self.settings.clip, float(gradient.norm())
        self.watcher.noticed(norm)
        if clip is not None and norm > clip:
            gradient.mul_(clip / norm)
        self.x.grad = gradient.neg_()
        factor = self.settings.factor(at.step) * at.rate
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * factor
        self.optimizer.step()
        at.rate = min(1.0, 1.2 * at.rate)
        return value

    def _back(self, at: Progress) -> None:
        """Half the way back, without the momentum that led here; the rate is halved for a while."""
        at.rate *= 0.5
        for name, value in self.optimizer.state[self.x].items():
            if name == "exp_avg":
                value.zero_()
        self.x.data.copy_(0.5 * (self.x.data + self.last))

    def _gradient(
        self, data: Sequences, state: Any, at: Progress
    ) -> tuple[float, Tensor | None, str]:
        """Objective per observed value at x, its gradient in x, and what is wrong with them."""
        # divided by the values of an average part: each value counts the same in a pass then
        objective, count = self.objective, self._average
        objective.write(self.scale * self.x.detach())
        try:
            with torch.enable_grad(), climbing(), lend(self.generator) as lent:
                log = objective.method.objective(objective.model, data, lent, state, at.step)
                value = log.double().sum() / count + log_prior(objective.model) / self._values
            here = float(value.detach())
            if not math.isfinite(here):
                return here, None, self._trouble(at, data, None)
            grads = torch.autograd.grad(value, objective.parameters, materialize_grads=True)
        except (InputError, NumericalError) as error:  # the last step was too long
            return -math.inf, None, self._trouble(at, data, None) or str(error)
        gradient = torch.cat([g.flatten().to(self.x.dtype) for g in grads]).mul_(self.scale)
        if not math.isfinite(float(gradient.norm())):
            return here, None, self._trouble(at, data, gradient)
        return here, gradient, ""

    def _trouble(self, at: Progress, data: Sequences, gradient: Tensor | None) -> str:
        """Where it comes from; looked for only when it is going to be said."""
        said = at.step == 0 or self._failures >= _FAILURES
        if not said:
            return ""
        return where_from(self.objective, data, gradient, self._picked, self._begin)

    def _end_pass(self, at: Progress, value: float, seen: Sequences, report: Report) -> None:
        """Notes the objective of a pass, and evaluates if that is due."""
        at.history.append(value)
        evaluated = self.watcher.held_out is None
        if self.watcher.due(at.records, len(at.history), at.step):
            score = self.watcher.score(self.scale * self.x.detach())
            at.records.append(self.watcher.record(at.step, value / self._values, score, seen))
            report.note(at.records[-1].words())
            evaluated = True
            value = score if self.watcher.held_out is not None else value
        at.seconds = self.watcher.seconds
        if evaluated:
            self._compare(at, value)

    def _compare(self, at: Progress, criterion: float) -> None:
        """Keeps the best point, and counts patience."""
        held_out = self.watcher.held_out is not None
        point = self.last if self.whole and not held_out else self.x.detach()
        if criterion > at.best + self.settings.least_gain(self._values):
            at.waited = 0
        else:
            at.waited += 1
        if criterion > at.best:
            at.best, at.best_x = criterion, point.clone()
        patience = self.settings.patience
        if patience is not None and at.waited >= patience:
            what = "validation log-likelihood" if held_out else "objective"
            at.reason = f"the {what} has not risen for {patience} evaluations"
            at.converged = True
