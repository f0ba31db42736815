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
from statespace.learning.objective import started
from statespace.results import KINDS, FitResult, Score
from statespace.results.record import make_generator
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
        num_params: Learned numbers: those of the fit, where a fit was given; else those that a fit
            to the training data would learn. (Moments of z_1 are not learned from a single series
            that cannot tell them.)
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
        groups = [[e for e in self.entries if e.score.kind == kind] for kind in KINDS]
        return "\n\n".join(_group(group, width, self.horizon) for group in groups if group)


def _group(entries: Sequence[Entry], width: int, horizon: int) -> str:
    """The lines of one kind; a column of standard errors where there are any."""
    drawn = any(not math.isnan(e.score.stderr) for e in entries)
    ahead = f"rmse {horizon} ahead"
    head = f"{'model':<{width}}  {'log p(test)':>12}  " + (f"{'stderr':>8}  " if drawn else "")
    head += f"{'per step':>10}  {'per value':>10}  {ahead:>14}  {'parameters':>10}"
    lines = [f"{entries[0].score.kind} log-likelihoods", head]
    for e in entries:
        s = e.score
        error = "" if math.isnan(s.stderr) else f"{s.stderr:.2g}"
        lines.append(
            f"{e.name:<{width}}  {s.value:>12.3f}  "
            + (f"{error:>8}  " if drawn else "")
            + f"{s.per_step:>10.4f}  {s.per_value:>10.4f}  {e.rmse:>14.4g}  {e.num_params:>10}"
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
        models: By name, or a list: fitted models, or what their `fit` returned.
        train: What came before the test data. Where `continues` is False the scores do not use
            it, and it may be None; numbers of parameters are then those that the model declares.
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
        InputTypeError: something else than models.
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
    fits = _read_models(models)
    horizon = read_count(horizon, name="horizon")
    entries = [
        _entry(name, fit, train, test, inputs, test_inputs, continues, horizon, seed)
        for name, fit in fits.items()
    ]
    order = {kind: i for i, kind in enumerate(KINDS)}
    entries.sort(key=lambda e: (order[e.score.kind], -e.score.value))
    return Comparison(tuple(entries), horizon)


def _read_models(models: Any) -> dict[str, StateSpaceModel | FitResult]:
    """By name; those of a list are called by their class and place."""
    if isinstance(models, StateSpaceModel | FitResult):
        models = [models]
    if not isinstance(models, Mapping | Sequence) or isinstance(models, str):
        todo = "Give {name: model}, or a list of models."
        raise InputTypeError(expected("models", "models", type(models).__name__, todo))
    if not isinstance(models, Mapping):
        classes = [type(m.model if isinstance(m, FitResult) else m).__name__ for m in models]
        names = [f"{word} {i}" for i, word in enumerate(classes, 1)]
        models = dict(zip(names, models, strict=True))
    if not models:
        raise InputError(expected("models", "at least one model", "none", "Give one."))
    for name, given in models.items():
        model = given.model if isinstance(given, FitResult) else given
        if not isinstance(model, StateSpaceModel):
            got = f"{type(model).__name__} for {name!r}"
            todo = "Give a fitted model, or what its fit returned."
            raise InputTypeError(expected("models", "models", got, todo))
    return dict(models)


def _num_params(given: StateSpaceModel | FitResult, train: Any, inputs: Any) -> int:
    """As a fit counts: without what the training data cannot tell."""
    if isinstance(given, FitResult) or train is None:
        return given.num_params
    data = read(given, train, inputs, Question(), name="train")
    parameters = [p for p in given.parameters() if p.requires_grad]
    with started(given, data, make_generator(0, given.device)):
        held = sum(p.numel() for p in parameters if not p.requires_grad)
    return given.num_params - held // math.prod(given.batch_shape)


def _entry(
    name: str,
    given: StateSpaceModel | FitResult,
    train: Any,
    test: Any,
    inputs: Any,
    test_inputs: Any,
    continues: bool,
    horizon: int,
    seed: int | None,
) -> Entry:
    model = given.model if isinstance(given, FitResult) else given
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
    return Entry(name, repr(method), score, rmse, _num_params(given, train, inputs))


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
