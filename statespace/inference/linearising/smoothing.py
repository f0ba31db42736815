"""From what a pass found to records."""

from __future__ import annotations

from typing import Any

import torch

from statespace.inference.kalman.problem import Problem
from statespace.inference.kalman.smoothing import Shown, record
from statespace.inference.linearising.loop import Linearised, Passed
from statespace.inference.linearising.task import Task
from statespace.interface import Kind, State
from statespace.results import Filtered, Smoothed
from statespace.sequences import Sequences

__all__ = ["filtered", "problem", "smoothed"]


def filtered(model: Any, kind: Kind, data: Sequences, found: Passed, end: State) -> Filtered:
    """The record of a filter."""
    apart = model.residual(data.values, found.y_mean)
    return Filtered(
        **{k: v for k, v in found._asdict().items() if k != "end"},
        innovations=torch.where(data.observed, apart, torch.nan),
        log_likelihood=found.increments.sum(-1),
        kind=kind,
        state=end,
        lengths=data.lengths,
        index=data.index,
        univariate=data.univariate,
    )


def problem(rows: Linearised, at: Task) -> Problem:
    """The linearised rows as one call of the linear-Gaussian core."""
    seen = at.rows
    return Problem(rows.system, None, rows.y, seen.observed, seen.active, 0)


def smoothed(kind: Kind, data: Sequences, rows: Linearised, at: Task, keep: str) -> Smoothed:
    """The smoother of the core over the linearised rows."""
    shown = Shown(data.lengths, data.index, data.univariate, keep, kind, data.values)
    return record(problem(rows, at), shown)
