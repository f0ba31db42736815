"""Every model scored by its method, and its forecasts held against what came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.comparison.table import Comparison, Entry
from statespace.errors import InputError, InputTypeError, expected
from statespace.interface import Filter, Method, State, StateSpaceModel
from statespace.interface.arguments import named
from statespace.interface.question import Question, as_filter, read, settle
from statespace.learning.objective import started
from statespace.results import KINDS, Filtered, FitResult
from statespace.results.record import make_generator
from statespace.sequences import Sequences, read_count

__all__ = ["compare"]


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
    stride: int = 1,
    seed: int | None = None,
) -> Comparison:
    """Scores fitted models on held-out data, and their forecasts.

    Args:
        models: By name, or a list: fitted models, or what their `fit` returned. A pair
            (model, method) is scored by that method instead of the model's default, so that one
            model may stand in the table several times.
        train: What came before the test data. Where `continues` is False the scores do not use
            it, and it may be None; numbers of parameters are then those that the model declares.
        test: What is scored, in any form that a verb reads.
        inputs: Beside `train`.
        test_inputs: Beside `test`.
        continues: The test rows follow the training rows: what is scored is p(test | train).
            Otherwise each test series starts anew.
        horizon: How many rows ahead the forecasts look whose errors are shown. Every row of the
            test data that has `horizon` rows before it, known or not, is forecast once.
        stride: How many rows apart those forecasts begin; 1 is from every row. Far forecasts by
            particles take long, and those of neighbouring rows say nearly the same.
        seed: For methods that draw.

    Returns:
        A table that prints itself, grouped by kind and ranked inside each; `.differences()`,
        `.to_frame()`, and `statespace.plot.comparison` for a figure.

    Raises:
        InputError: no models, or a horizon beyond the test data.
        InputTypeError: something else than models.
        MethodError: a method cannot serve its model, or is no filter and the test data continue.

    Example:
        >>> import statespace as ss
        >>> y = ss.datasets.nile()
        >>> flow = ss.LDS(1, 1, A=[[0.9]], C=[[1.0]], d=[920.0], Q=[[4000.0]], R=[[15000.0]],
        ...               initial="stationary")
        >>> models = {"exact": flow, "particles": (flow, ss.ParticleFilter(300))}
        >>> table = ss.compare(models, y[:80], y[80:], seed=0)
        >>> [(entry.name, entry.score.kind, entry.score.n_steps) for entry in table]
        [('exact', 'exact', 20), ('particles', 'estimate', 20)]
        >>> table.differences()["particles"].relation
        '>='
    """
    given = _read_models(models)
    horizon, stride = read_count(horizon, name="horizon"), read_count(stride, name="stride")
    held_out = _HeldOut(train, test, inputs, test_inputs, continues, horizon, stride, seed)
    entries = [held_out.entry(one) for one in given]
    order = {kind: i for i, kind in enumerate(KINDS)}
    entries.sort(key=lambda e: (order[e.score.kind], -e.score.value))
    return Comparison(tuple(entries), horizon)


@dataclass(frozen=True)
class _Given:
    """What was given for one row of the table."""

    name: str
    model: StateSpaceModel
    fit: FitResult | None
    method: Method | None


def _read_models(models: Any) -> list[_Given]:
    """By name; those of a list are called by their class and place."""
    if isinstance(models, StateSpaceModel | FitResult):
        models = [models]
    if not isinstance(models, Mapping | Sequence) or isinstance(models, str):
        todo = "Give {name: model}, or a list of models."
        raise InputTypeError(expected("models", "models", type(models).__name__, todo))
    if not models:
        raise InputError(expected("models", "at least one model", "none", "Give one."))
    if isinstance(models, Mapping):
        return [_read_one(name, given, repr(name)) for name, given in models.items()]
    found = [_read_one("", given, f"number {i}") for i, given in enumerate(models, 1)]
    names = [f"{type(one.model).__name__} {i}" for i, one in enumerate(found, 1)]
    return [_Given(name, o.model, o.fit, o.method) for name, o in zip(names, found, strict=True)]


def _read_one(name: str, given: Any, shown: str) -> _Given:
    method: Any = None
    if isinstance(given, tuple) and len(given) == 2:
        given, method = given
    fit = given if isinstance(given, FitResult) else None
    model = given if fit is None else fit.model
    if not isinstance(model, StateSpaceModel):
        got = f"{type(model).__name__} for {shown}"
        todo = "Give a fitted model, what its fit returned, or a pair of one of these and a method."
        raise InputTypeError(expected("models", "models", got, todo))
    return _Given(str(name), model, fit, method)


@dataclass(frozen=True)
class _HeldOut:
    """What all models are asked; the arguments are those of `compare`."""

    train: Any
    test: Any
    inputs: Any
    test_inputs: Any
    continues: bool
    horizon: int
    stride: int
    seed: int | None

    def entry(self, given: _Given) -> Entry:
        """One row of the table."""
        model = given.model
        data = read(model, self.test, self.test_inputs, Question(), name="test")
        if self.horizon > data.T:
            todo = "Look less far ahead, or hold more out."
            got = f"{self.horizon}"
            raise InputError(expected("horizon", f"at most {data.T}, the test rows", got, todo))
        method = settle(model, given.method, None, data)
        state = None
        if self.continues:
            as_filter(model, method, "compare")
            past = model.filter(self.train, self.inputs, method=method, seed=self.seed, keep="last")
            state = past.state
        asked: Any = {"state": state, "method": method, "seed": self.seed}
        score = model.score(self.test, self.test_inputs, **asked)
        record = None
        if isinstance(method, Filter):
            record = model.filter(self.test, self.test_inputs, **asked, keep="means")
        return Entry(
            name=given.name,
            method=repr(method),
            score=score,
            rmse=math.nan if record is None else self._rmse(model, data, method, state, record),
            num_params=self._num_params(given),
            rows=None if record is None else _rows(record),
        )

    def _num_params(self, given: _Given) -> int:
        """As a fit counts: without what the training data cannot tell."""
        model = given.model
        if given.fit is not None:
            return given.fit.num_params
        if self.train is None:
            return model.num_params
        data = read(model, self.train, self.inputs, Question(), name="train")
        parameters = [p for p in model.parameters() if p.requires_grad]
        with started(model, data, make_generator(0, model.device)):
            held = sum(p.numel() for p in parameters if not p.requires_grad)
        return model.num_params - held // math.prod(model.batch_shape)

    def _rmse(
        self,
        model: StateSpaceModel,
        data: Sequences,
        method: Method,
        state: State | None,
        record: Filtered,
    ) -> float:
        """Of forecasts from every `stride`-th row: the state absorbs rows, then looks ahead."""
        if model.categorical:
            return math.nan
        if self.horizon == 1:  # the filter has said what it expected
            errors = record.innovations
            return math.nan if errors is None else _root_mean_square(errors[..., :: self.stride, :])
        if state is None:
            condition = data.condition or None
            state = model.start(
                data.batch_shape, condition=condition, method=method, seed=self.seed
            )
        far = []
        for t in range(data.T - self.horizon + 1):
            last = t + self.horizon - 1
            u = data.inputs[..., t : last + 1, :] if data.p else None
            if t % self.stride == 0:
                ahead = model.forecast(horizon=self.horizon, inputs=u, state=state, seed=self.seed)
                if ahead.mean is None:
                    return math.nan
                error = ahead.mean[..., -1, :] - data.values[..., last, :]
                far.append(error.masked_fill(~data.observed[..., last, :], math.nan))
            u = None if u is None else u[..., 0, :]
            state, _ = model.step(state, data.values[..., t, :], u, mask=data.observed[..., t, :])
        return _root_mean_square(torch.stack(far))


def _root_mean_square(errors: Tensor) -> float:
    """Of what is not NaN."""
    return math.sqrt(float(errors.double().square().nanmean()))


def _rows(record: Filtered) -> Tensor | None:
    """Scores of rows, (series, T)."""
    rows = record.increments
    return None if rows is None else rows.reshape(-1, rows.shape[-1])
