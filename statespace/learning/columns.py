"""Data that no fit can make sense of, found before it starts."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.sequences import Sequences

__all__ = ["check_observed", "degenerate", "single_row"]


def check_observed(data: Sequences, *, per_series: bool = False) -> None:
    """Refuses a column in which nothing was observed.

    Args:
        data: The training data.
        per_series: Whether each series has a model of its own.

    Raises:
        InputError: it names the column.
    """
    seen = data.observed.any(-2)  # (*batch, m)
    if not per_series:
        seen = seen.reshape(-1, data.m).any(0)
    if bool(seen.all()):
        return
    *series, column = (~seen).nonzero()[0].tolist()
    where = f" of series {', '.join(map(str, series))}" if series else ""
    raise InputError(
        expected(
            "y",
            "at least one observed entry in every column",
            f"{_name(data, column)}{where} without any (all NaN or masked)",
            "Leave that column out: nothing can be learned about it.",
        )
    )


def single_row(data: Sequences, *, per_series: bool = False) -> list[str]:
    """A sentence where a model sees one row only: it then knows nothing of how rows follow."""
    rows = data.n_steps if per_series else data.n_steps.sum()
    if bool((rows > 1).all()):
        return []
    where = " in some series" if per_series and data.batch_shape else ""
    return [f"a single row was observed{where}, and no row that follows it"]


def degenerate(data: Sequences, *, per_series: bool = False) -> list[str]:
    """A sentence for every column that is zero, constant, seen once, or a copy of another one.

    With noise of its own that is learned, such a column has no maximum of the likelihood: its
    noise variance shrinks without end.
    """
    if data.values.dtype == torch.int64:
        return []
    values, observed = data.values, data.observed
    if not per_series:
        values = values.reshape(1, -1, data.m)
        observed = observed.reshape(1, -1, data.m)
    else:
        values, observed = values.flatten(0, -3), observed.flatten(0, -3)
    out = []
    for i in range(len(values)):
        where = f" in series {i}" if per_series and len(values) > 1 else ""
        out += _columns(values[i], observed[i], data, where)
    return out


def _columns(values: Tensor, observed: Tensor, data: Sequences, where: str) -> list[str]:
    """Sentences about one table of values (rows, m)."""
    rows = observed.sum(0)
    low = torch.where(observed, values, torch.inf).amin(0)
    high = torch.where(observed, values, -torch.inf).amax(0)
    still = (low == high) & (rows > 1)
    once = (rows == 1).nonzero()[:, 0].tolist()
    out = [f"{_name(data, j)} of y has a single observed value{where}" for j in once]
    stuck: dict[float, list[int]] = {}
    for j in still.nonzero()[:, 0].tolist():
        stuck.setdefault(float(low[j]), []).append(j)
    for level, columns in stuck.items():
        what = "zero throughout" if level == 0 else f"constant ({level:.6g})"
        verb = "is" if len(columns) == 1 else "are"
        out.append(f"{_names(data, columns)} of y {verb} {what}{where}")
    moving = [j for j in range(data.m) if not bool(still[j]) and int(rows[j]) > 1]
    marks = _marks(values, observed)
    for a, i in enumerate(moving):
        for j in moving[a + 1 :]:
            if not torch.allclose(marks[:, i], marks[:, j], rtol=1e-6, atol=0.0):
                continue
            both = observed[:, i] & observed[:, j]
            same = torch.equal(values[both, i], values[both, j])
            if same and int(both.sum()) > 1 and torch.equal(observed[:, i], observed[:, j]):
                out.append(f"{_name(data, j)} of y is a copy of {_name(data, i)}{where}")
    return out


def _marks(values: Tensor, observed: Tensor) -> Tensor:
    """Numbers that copies share, (k, m): most columns are told apart without a look at each row."""
    x = torch.where(observed, values.double(), 0.0)
    at = torch.linspace(1.0, 2.0, len(x), dtype=x.dtype, device=x.device)
    return torch.stack([observed.double().sum(0), x.abs().mT @ at, x.square().mT @ at])


def _name(data: Sequences, column: int) -> str:
    names = None if data.index is None else data.index.names
    return f"column {column}" + (f" ({names[column]!r})" if names else "")


def _names(data: Sequences, columns: list[int]) -> str:
    """Of several columns: "columns 0 to 21, 23"."""
    if len(columns) == 1 or (data.index is not None and data.index.names):
        return ", ".join(_name(data, j) for j in columns)
    breaks = [i for i in range(1, len(columns)) if columns[i] != columns[i - 1] + 1]
    runs = [columns[a:b] for a, b in pairwise([0, *breaks, len(columns)])]
    return "columns " + ", ".join(
        str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs
    )
