"""Where a number that is not finite comes from, in words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, NumericalError
from statespace.interface.randomness import clone
from statespace.learning.objective import Objective
from statespace.sequences import Sequences

__all__ = ["where_from"]


def where_from(
    objective: Objective,
    data: Sequences,
    gradient: Tensor | None,
    picked: Tensor | None,
    begin: int,
) -> str:
    """A clause: which parameter, series and row, as far as it can be told.

    Args:
        objective: Whose model stands at the point in question.
        data: What was looked at.
        gradient: (P,) where the value was finite and the gradient was not.
        picked: Which series of all they are; None for all of them.
        begin: Which row of all their first one is.
    """
    names = [name for name, p in objective.model.named_parameters() if p.requires_grad]
    for name, p in zip(names, objective.parameters, strict=True):
        if not bool(torch.isfinite(p).all()):
            return f"the parameter {name} is not finite"
    if gradient is not None:
        parts = gradient.split([p.numel() for p in objective.parameters])
        wrong = [n for n, g in zip(names, parts, strict=True) if not bool(g.isfinite().all())]
        return "the gradient is not finite in " + _listed(wrong)
    return _first_row(objective, data, picked, begin)


def _first_row(objective: Objective, data: Sequences, picked: Tensor | None, begin: int) -> str:
    """The first row up to which the log-likelihood of a series is not finite."""
    if _fine(objective, data):
        return "though the log-likelihood is finite where it begins anew"
    low, high = 0, data.T  # finite up to low rows, not up to high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fine(objective, data.rows(0, middle)) else (low, middle)
    series = _first_series(objective, data.rows(0, high))
    if not series:
        return f"row {begin + high - 1}"
    if picked is not None:
        series[0] = int(picked[series[0]])
    return f"series {series[0] if len(series) == 1 else tuple(series)}, row {begin + high - 1}"


def _first_series(objective: Objective, data: Sequences) -> list[int]:
    """The index of the first one whose log-likelihood is not finite; empty if there is but one."""
    found = _logs(objective, data)
    if isinstance(found, str):  # raised for all: one by one
        many = range(len(data.lengths)) if data.lengths.dim() == 1 else ()
        wrong = [i for i in many if not _fine(objective, data.select(torch.tensor([i])))]
        return wrong[:1]
    where = (~torch.isfinite(found)).nonzero()
    return [int(i) for i in where[0]] if len(where) else []


def _fine(objective: Objective, data: Sequences) -> bool:
    found = _logs(objective, data)
    return not isinstance(found, str) and bool(torch.isfinite(found).all())


def _logs(objective: Objective, data: Sequences) -> Any:
    """The log-likelihood of each series, or what was said instead."""
    try:
        with torch.no_grad():
            return objective.method.log_likelihood(objective.model, data, clone(objective.origin))
    except (InputError, NumericalError) as error:
        return str(error)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
