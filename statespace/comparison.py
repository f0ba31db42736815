"""`compare`: models side by side on held-out data, numbers of one kind with their like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected
from statespace.interface import State, StateSpaceModel
from statespace.interface.arguments import named
from statespace.interface.question import Question, as_filter, read
from statespace.results import KINDS, Score
from statespace.sequences import Sequences, read_count

__all__ = ["Comparison", "Entry", "compare"]


@dataclass(frozen=True)
class Entry:
    """One model's row.

    Attributes:
        name: What the model was called.
        method: How it was scored.
        score: Log-likelihood of the test data, with its kind and its units.
        rmse: Root mean squared error of forecasts `horizon` rows ahead, over all rows of the test
            data that can be reached; NaN where y has no mean.
        num_params: Learned numbers.
    """

    name: str
    method: str
    score: Score
    rmse: float
    num_params: int


@dataclass(frozen=True)
class Comparison:
    """Models side by side: grouped by the kind of number, the best first inside each kind.

    An exact log-likelihood and a bound are not compared: the kinds stand apart.
    """

    entries: tuple[Entry, ...]
    horizon: int

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> Entry:
        return {entry.name: entry for entry in self.entries}[name]

    def to_frame(self) -> Any:
        """A DataFrame with one row per model."""
        import pandas as pd

        columns = ["kind", "log_likelihood", "stderr", "per_step", "per_value", "rmse"]
        columns += ["num_params", "method"]
        rows = []
        for e in self.entries:
            s = e.score
            numbers = (s.value, s.stderr, s.per_step, s.per_value, e.rmse, e.num_params)
            rows.append([s.kind, *numbers, e.method])
        index = pd.Index([e.name for e in self.entries], name="model")
        return pd.DataFrame(rows, columns=columns, index=index)

    def __repr__(self) -> str:
        width = max([len(e.name) for e in self.entries] + [5])
        ahead = f"rmse {self.horizon} ahead"
        head = f"{'model':<{width}}  {'log p(test)':>12}  {'stderr':>8}  {'per step':>10}"
        head += f"  {'per value':>10}  {ahead:>14}  {'parameters':>10}"
        lines: list[str] = []
        for kind in KINDS:
            group = [e for e in self.entries if e.score.kind == kind]
            if not group:
                continue
            lines += ([""] if lines else []) + [f"{kind} log-likelihoods", head]
            for e in group:
                s = e.score
                error = "" if math.isnan(s.stderr) else f"{s.stderr:.2g}"
                lines.append(
                    f"{e.name:<{width}}  {s.value:>12.3f}  {error:>8}  {s.per_step:>10.4f}"
                    f"  {s.per_value:>10.4f}  {e.rmse:>14.4g}  {e.num_params:>10}"
                )
        return "\n".join(lines)


@named
def compare(
    models: Mapping[str, Any] | Sequence[Any],
    train: Any,
    test: Any,
    *,
    inputs: Any = None,
    test_inputs: Any = None,
    continues: bool = True,
    horizon: int = 1,
    seed: int | None = None,
) -> Comparison:
    """Scores fitted models on held-out data, and their forecasts.

    Args:
        models: By name, or a list.
        train: What came before the test data; not used where `continues` is False.
        test: What is scored, in any form that a verb reads.
        inputs: Beside `train`.
        test_inputs: Beside `test`.
        continues: The test rows follow the training rows: what is scored is p(test | train).
            Otherwise each test series starts anew.
        horizon: How many rows ahead the forecasts look whose errors are shown. Every row of the
            test data that has `horizon` rows before it, known or not, is forecast once.
        seed: For methods that draw.

    Raises:
        InputError: no models, or a horizon beyond the test data.
        MethodError: a model's default method is no filter, and the test data continue.

    Example:
        >>> import statespace as ss
        >>> y = ss.datasets.nile()
        >>> level = ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=[[1469.1]], R=[[15099.0]],
        ...                initial="diffuse")
        >>> table = ss.compare({"local level": level}, y[:80], y[80:])
        >>> table["local level"].score.kind, table["local level"].score.n_steps
        ('exact', 20)
    """
    named = dict(models) if isinstance(models, Mapping) else _named(models)
    if not named:
        raise InputError(expected("models", "at least one model", "none", "Give one."))
    for name, model in named.items():
        if not isinstance(model, StateSpaceModel):
            todo = "Give a fitted model: fit.model, where a fit came back."
            got = f"{type(model).__name__} for {name!r}"
            raise InputTypeError(expected("models", "models", got, todo))
    horizon = read_count(horizon, name="horizon")
    entries = [
        _entry(name, model, train, test, inputs, test_inputs, continues, horizon, seed)
        for name, model in named.items()
    ]
    order = {kind: i for i, kind in enumerate(KINDS)}
    entries.sort(key=lambda e: (order[e.score.kind], -e.score.value))
    return Comparison(tuple(entries), horizon)


def _named(models: Sequence[Any]) -> dict[str, Any]:
    return {f"{type(model).__name__} {i}": model for i, model in enumerate(models, 1)}


def _entry(
    name: str,
    model: StateSpaceModel,
    train: Any,
    test: Any,
    inputs: Any,
    test_inputs: Any,
    continues: bool,
    horizon: int,
    seed: int | None,
) -> Entry:
    method = model.default_method()
    data = read(model, test, test_inputs, Question(), name="test")
    if horizon > data.T:
        todo = "Look less far ahead, or hold more out."
        raise InputError(
            expected("horizon", f"at most {data.T}, the test rows", f"{horizon}", todo)
        )
    state = None
    if continues:
        as_filter(model, method, "compare")
        state = model.filter(train, inputs, seed=seed).state
    score = model.score(test, test_inputs, state=state, seed=seed)
    rmse = _rmse(model, data, state, horizon, seed)
    return Entry(name, repr(method), score, rmse, model.num_params)


def _rmse(
    model: StateSpaceModel, data: Sequences, state: State | None, horizon: int, seed: int | None
) -> float:
    """Of forecasts from every row: the state absorbs one row, then looks `horizon` rows ahead."""
    if model.categorical:
        return math.nan
    if state is None:
        state = model.start(data.batch_shape, condition=data.condition or None, seed=seed)
    total, count = 0.0, 0
    for t in range(data.T - horizon + 1):
        target, seen = data.values[..., t + horizon - 1, :], data.observed[..., t + horizon - 1, :]
        ahead = _inputs(data, t, t + horizon)
        mean = model.forecast(horizon=horizon, inputs=ahead, state=state, seed=seed).mean
        if mean is None:
            return math.nan
        error = torch.where(seen, mean[..., -1, :] - target, torch.zeros_like(target))
        total += float(error.double().square().sum())
        count += int(seen.sum())
        u = None if not data.p else data.inputs[..., t, :]
        state, _ = model.step(state, data.values[..., t, :], u, mask=data.observed[..., t, :])
    return math.sqrt(total / count) if count else math.nan


def _inputs(data: Sequences, start: int, stop: int) -> Tensor | None:
    return data.inputs[..., start:stop, :] if data.p else None
