"""What a person sees of training: a record at each evaluation, and a plain word on collapse."""

from __future__ import annotations

import math
import time
from typing import Any

from statespace.interface.randomness import clone
from statespace.learning.objective import Objective
from statespace.results import TrainingRecord
from statespace.sequences import Sequences

__all__ = ["Watcher", "collapse"]

_RECORDS = 200  # of one fit, unless there are held-out data to be scored
_COLLAPSED = 0.01  # nats per row


class Watcher:
    """Makes the records of one training run.

    Args:
        objective: Of the training data.
        validation: Held-out data, or None.
        metric: The method that scores them.
        every: Passes over the data between two evaluations.
        steps: Updates at the most.
        generator: Whose numbers the score of the held-out data always takes.
    """

    def __init__(
        self,
        objective: Objective,
        validation: Sequences | None,
        metric: Any,
        every: int,
        steps: int,
        generator: Any,
    ) -> None:
        self.objective, self.every, self.steps = objective, every, steps
        self.held_out = (
            None
            if validation is None
            else Objective(objective.model, metric or objective.method, validation, generator)
        )
        self.before, self._began = 0.0, time.perf_counter()
        self.norms: list[float] = []  # of gradients since the last record

    @property
    def seconds(self) -> float:
        """Since the fit began, over all of its sittings."""
        return self.before + time.perf_counter() - self._began

    def noticed(self, norm: float) -> None:
        """The norm of a gradient that was climbed."""
        self.norms.append(norm)

    def due(self, records: list[TrainingRecord], passes: int, step: int) -> bool:
        """Whether the end of a pass is one at which to look."""
        if step >= self.steps:
            return True
        if passes % self.every:
            return False
        last = records[-1].step if records else 0
        return self.held_out is not None or step - last >= self.steps / _RECORDS

    def score(self, x: Any) -> float:
        """Of the held-out data at a point, in nats; NaN without any."""
        return math.nan if self.held_out is None else self.held_out.value(x)

    def record(self, step: int, value: float, score: float, seen: Sequences) -> TrainingRecord:
        """Where training stands.

        Args:
            step: Updates made.
            value: The objective per observed value.
            score: Of the held-out data, in nats.
            seen: Training data to look at where nothing is held out.
        """
        o = self.objective
        held_out = None if self.held_out is None else self.held_out.data
        norms, self.norms = self.norms, []
        data = seen if held_out is None else held_out
        facts = o.method.monitor(o.model, data, clone(o.origin))
        return TrainingRecord(
            step=step,
            seconds=self.seconds,
            objective=value,
            gradient_norm=sum(norms) / len(norms) if norms else math.nan,
            validation=math.nan if held_out is None else score / float(held_out.n_values.sum()),
            **facts,
        )


def collapse(records: list[TrainingRecord]) -> list[str]:
    """A warning where the guide has ended at the prior."""
    if not records or not records[-1].kl < _COLLAPSED:
        return []
    return [
        f"the guide stays at the prior (KL {records[-1].kl:.2g} nats per row): z is not used. "
        "Try Variational(beta=Warmup(updates)), free_bits=, or a weaker memory"
    ]
