"""From what a pass found to records."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from statespace.inference.kalman.problem import Problem
from statespace.inference.kalman.smoothing import Shown, record
from statespace.inference.lineargaussian import Smooth
from statespace.inference.linearising.loop import Linearised, Passed
from statespace.inference.linearising.task import Task
from statespace.interface import Kind, State
from statespace.results import Filtered, Smoothed
from statespace.sequences import Sequences

__all__ = ["filtered", "problem", "smoothed"]


def filtered(model: Any, kind: Kind, data: Sequences, found: Passed, end: State) -> Filtered:
    """The record of a filter."""
    innovations = None
    if found.y_mean is not None:
        apart = model.residual(data.values, found.y_mean)
        innovations = torch.where(data.observed, apart, torch.nan)
    return Filtered(
        **{k: v for k, v in found._asdict().items() if k != "end"},
        innovations=innovations,
        log_likelihood=found.increments.sum(-1),
        kind=kind,
        state=end,
        lengths=data.lengths,
        index=data.index,
        univariate=data.univariate,
    )


def problem(rows: Linearised, at: Task) -> Problem:
    """The linearised rows as one call of the linear-Gaussian core."""
    return Problem(rows.system, None, rows.y, rows.observed, at.rows.active, 0)


class _Postponed:
    """The linearised rows as one call of the core, made when something of it is asked for.

    `record` needs it for joint draws and for what was not observed alone, once it has moments.
    """

    skip = 0

    def __init__(self, rows: Callable[[], Linearised], at: Task) -> None:
        self._rows, self._at = rows, at

    @cached_property
    def _whole(self) -> Problem:
        return problem(self._rows(), self._at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def smoothed(
    kind: Kind,
    data: Sequences,
    rows: Callable[[], Linearised],
    at: Task,
    keep: str,
    moments: tuple[Tensor, Smooth] | None = None,
) -> Smoothed:
    """The smoother of the core over the linearised rows.

    Args:
        kind: Of its numbers.
        data: What was observed.
        rows: Makes the rows.
        at: The pass.
        keep: What the record holds.
        moments: The log-likelihood and the smoothed moments, where they are known already.
    """
    shown = Shown(data.lengths, data.index, data.univariate, keep, kind, data.values)
    later: Any = _Postponed(rows, at)
    return record(later, shown, moments=moments)
