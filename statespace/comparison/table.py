"""The table that `compare` returns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from statespace.comparison.paired import Difference, paired, relation
from statespace.errors import InputError, expected
from statespace.results import KINDS, Score

__all__ = ["Comparison", "Entry"]


@dataclass(frozen=True)
class Entry:
    """One model's row.

    Attributes:
        name: What the model was called.
        method: How it was scored.
        score: Log-likelihood of the test data, with its kind and its units.
        rmse: Root mean squared error of forecasts `horizon` rows ahead, over all rows of the test
            data that can be reached; NaN where y has no mean.
        num_params: Learned numbers: those of the fit, where a fit was given; else those that a fit
            to the training data would learn. (Moments of z_1 are not learned from a single series
            that cannot tell them.)
        rows: Scores of the rows, (series, T), NaN beyond a length; of one run where the method
            draws, and None where it gives none.
    """

    name: str
    method: str
    score: Score
    rmse: float
    num_params: int
    rows: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Comparison:
    """Models side by side: grouped by the kind of number, the best first inside each kind.

    An exact log-likelihood and a bound are not ranked together: the kinds stand apart, and a
    difference across kinds says what it is (see `Difference`).
    """

    entries: tuple[Entry, ...]
    horizon: int

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> Entry:
        return {entry.name: entry for entry in self.entries}[name]

    def differences(self, reference: str | None = None) -> dict[str, Difference]:
        """Each model's log-likelihood per step less that of one of them.

        Args:
            reference: The name of that one; the first of the table if None.

        Raises:
            InputError: no model has this name.
        """
        names = [entry.name for entry in self.entries]
        if reference is not None and reference not in names:
            words = ", ".join(repr(name) for name in names)
            todo = "Choose one of them."
            raise InputError(expected("reference", f"one of {words}", repr(reference), todo))
        other = self.entries[0] if reference is None else self[reference]
        return {e.name: _difference(e, other) for e in self.entries if e is not other}

    def to_frame(self) -> Any:
        """A DataFrame with one row per model; differences are to the first of them."""
        import pandas as pd

        columns = ["kind", "log_likelihood", "stderr", "per_step", "per_value", "rmse"]
        columns += ["num_params", "method", "relation", "difference", "difference_stderr"]
        found = self.differences()
        rows = []
        for e in self.entries:
            s, d = e.score, found.get(e.name)
            numbers = (s.value, s.stderr, s.per_step, s.per_value, e.rmse, e.num_params)
            less = ("", math.nan, math.nan) if d is None else (d.relation, d.value, d.stderr)
            rows.append([s.kind, *numbers, e.method, *less])
        index = pd.Index([e.name for e in self.entries], name="model")
        return pd.DataFrame(rows, columns=columns, index=index)

    def __repr__(self) -> str:
        width = max([len(e.name) for e in self.entries] + [5])
        found = {name: str(d) for name, d in self.differences().items()}
        groups = [[e for e in self.entries if e.score.kind == kind] for kind in KINDS]
        text = "\n\n".join(_group(g, width, self.horizon, found) for g in groups if g)
        if not found:
            return text
        return f"{text}\n\ndifference: per step, less that of {self.entries[0].name}"


def _difference(one: Entry, other: Entry) -> Difference:
    value = one.score.per_step - other.score.per_step
    stderr = paired(one.score, other.score, one.rows, other.rows)
    how = relation(one.score.kind, other.score.kind)
    return Difference(one.name, other.name, value, stderr, how)


def _group(entries: Sequence[Entry], width: int, horizon: int, found: dict[str, str]) -> str:
    """The lines of one kind; a column of standard errors where there are any."""
    drawn = any(not math.isnan(e.score.stderr) for e in entries)
    numbers = any(not math.isnan(e.rmse) for e in entries)  # categories have none
    ahead = f"rmse {horizon} ahead"
    head = f"{'model':<{width}}  {'log p(test)':>12}  " + (f"{'stderr':>8}  " if drawn else "")
    head += f"{'per step':>10}  {'per value':>10}  "
    head += (f"{ahead:>14}  " if numbers else "") + f"{'parameters':>10}"
    wide = max([len(text) for text in found.values()] + [len("difference")])
    head += f"  {'difference':>{wide}}" if found else ""
    lines = [f"{entries[0].score.kind} log-likelihoods", head]
    for e in entries:
        s = e.score
        error = "" if math.isnan(s.stderr) else f"{s.stderr:.2g}"
        lines.append(
            f"{e.name:<{width}}  {s.value:>12.3f}  "
            + (f"{error:>8}  " if drawn else "")
            + f"{s.per_step:>10.4f}  {s.per_value:>10.4f}  "
            + (f"{e.rmse:>14.4g}  " if numbers else "")
            + f"{e.num_params:>10}"
            + (f"  {found.get(e.name, ''):>{wide}}" if found else "")
        )
    return "\n".join(lines)
