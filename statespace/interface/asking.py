"""Questions about data: filter, smooth, log-likelihood, score, forecast.

All go the same way: the door, the method, its refusal, a generator lent, the method's answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, InputTypeError, MethodError, expected
from statespace.interface.methods import Filter, Method, able, able_filters
from statespace.interface.randomness import clone, lend, seeded
from statespace.interface.values import State
from statespace.results import Filtered, Forecast, Score, Smoothed
from statespace.sequences import Sequences, read_count, read_inputs, read_sequences
from statespace.shapes import tmap

__all__ = [
    "Question",
    "answering",
    "as_filter",
    "check_is_state",
    "check_state",
    "describe",
    "filter",
    "forecast",
    "log_likelihood",
    "read",
    "read_future",
    "score",
    "settle",
    "smooth",
    "stamp",
    "stream",
]


@dataclass(frozen=True)
class Question:
    """The arguments that the data verbs share."""

    mask: Any = None
    lengths: Any = None
    condition: Any = None
    state: State | None = None
    method: Any = None
    seed: Any = None


@dataclass(frozen=True)
class _Answering:
    """What a method is called with."""

    method: Any
    generator: Generator  # torch's own, which has been lent ours
    state: State | None
    own: Generator  # ours, which moves on when the question is answered
    seed: int | None


def describe(model: Any) -> str:
    """What a state remembers of its model: the class and the sizes."""
    parts = [f"latent={model.latent}", f"obs_dim={model.obs_dim}", f"input_dim={model.input_dim}"]
    return f"{type(model).__name__}({', '.join(parts)})"


def read(
    model: Any, y: Any, inputs: Any, asked: Question, *, horizon: int = 0, name: str = "y"
) -> Sequences:
    """Through the door, over the batch of the parameters too."""
    data = read_sequences(
        y,
        inputs,
        obs_dim=model.obs_dim,
        input_dim=model.input_dim,
        dtype=model.dtype,
        device=model.device,
        mask=asked.mask,
        lengths=asked.lengths,
        condition=asked.condition,
        integer=model.categorical,
        horizon=horizon,
        name=name,
    )
    return over_models(model, data, name)


def over_models(model: Any, data: Sequences, name: str = "y") -> Sequences:
    """The data for every model of a batch of models."""
    own = data.batch_shape
    if not model.batch_shape:
        return data
    try:
        batch = torch.broadcast_shapes(own, model.batch_shape)
    except RuntimeError:
        todo = "Give one series per model, or one series for all."
        wanted = f"batch axes that broadcast with the model's {tuple(model.batch_shape)}"
        raise InputError(expected(name, wanted, f"{tuple(own)}", todo)) from None
    if batch == own:
        return data

    def widen(x: Tensor) -> Tensor:
        return x.expand(*batch, *x.shape[len(own) :])

    future = data.future_inputs
    return replace(
        data,
        values=widen(data.values),
        observed=widen(data.observed),
        lengths=widen(data.lengths),
        inputs=widen(data.inputs),
        condition=tmap(widen, data.condition),
        future_inputs=None if future is None else widen(future),
    )


def settle(model: Any, method: Any, state: State | None, data: Sequences | None) -> Any:
    """The method: the one given, or the state's, or the model's default; none that refuses."""
    if state is not None:
        check_is_state(state)
    if method is None:
        method = model.default_method() if state is None or state.method is None else state.method
    if not isinstance(method, Method):
        got = f"{method!r:.60}"
        todo = f"Give one of {able(model)}, made: ParticleFilter(1000), say."
        raise InputTypeError(expected("method", "a Method", got, todo))
    if state is not None:
        check_state(model, method, state)
    reason = method.refusal(model, data)
    if reason is not None:
        raise MethodError(reason)
    return method


def as_filter(model: Any, method: Method, verb: str) -> Filter:
    """The method as one that needs no future.

    Raises:
        MethodError: it looks ahead; the sentence names those that do not.
    """
    if not isinstance(method, Filter):
        raise MethodError(
            f"{verb}() never looks ahead, and {type(method).__name__} needs the whole series. "
            f"Methods that can: {able_filters(model)}."
        )
    return method


def check_state(model: Any, method: Method, state: Any) -> None:
    """Refuses a state of another model or another method.

    Raises:
        InputTypeError: not a state at all.
        InputError: it was made by another method, or for a model of another class or other sizes.
    """
    if state.model and state.model != describe(model):
        todo = "Take a state from this model."
        raise InputError(expected("state", f"a state of {describe(model)}", state.model, todo))
    if state.method is not None and state.method != method:
        todo = "Leave method= out, or start again with the other method."
        wanted = f"a state of {method!r}"
        raise InputError(expected("state", wanted, f"one of {state.method!r}", todo))


def check_is_state(state: Any) -> None:
    """Refuses what is not a state at all."""
    if not isinstance(state, State):
        todo = "Take one from start(), step() or filter().state."
        raise InputTypeError(expected("state", "a State", type(state).__name__, todo))


def check_batch(data: Sequences, state: State | None) -> None:
    """Data that continue a state are of its series."""
    if state is not None and data.batch_shape != state.batch_shape:
        todo = "Continue each series where it ended."
        wanted = f"the batch {tuple(state.batch_shape)} of the state"
        raise InputError(expected("y", wanted, f"a batch {tuple(data.batch_shape)}", todo))


def stamp(state: State, model: Any, method: Method, generator: Generator, batch: Any) -> State:
    """A state that says whose it is, with a generator of its own."""
    return replace(
        state,
        generator=generator,
        method=method,
        model=describe(model),
        batch_shape=torch.Size(batch),
    )


def stream(seed: Any, state: State | None, device: torch.device) -> tuple[Generator, int | None]:
    """The state's random numbers go on, unless a seed is given; without either, a fresh seed."""
    if seed is None and state is not None:
        return clone(state.generator), None
    return seeded(seed, device)


@contextmanager
def answering(model: Any, data: Sequences, asked: Question) -> Iterator[_Answering]:
    """The method settled and the generator lent, for one question."""
    method = settle(model, asked.method, asked.state, data)
    check_batch(data, asked.state)
    own, seed = stream(asked.seed, asked.state, model.device)
    with lend(own) as lent:
        state = None if asked.state is None else replace(asked.state, generator=lent)
        yield _Answering(method, lent, state, own, seed)


def filter(model: Any, y: Any, inputs: Any, asked: Question) -> Filtered:
    """See `Verbs.filter`."""
    data = read(model, y, inputs, asked)
    with answering(model, data, asked) as a, torch.no_grad():
        method = as_filter(model, a.method, "filter")
        found = method.scan(model, data, a.generator, a.state)
        state = stamp(found.state, model, method, a.own, data.batch_shape)
    return replace(found, state=state)


def smooth(model: Any, y: Any, inputs: Any, asked: Question) -> Smoothed:
    """See `Verbs.smooth`."""
    data = read(model, y, inputs, asked)
    with answering(model, data, asked) as a, torch.no_grad():
        found: Smoothed = a.method.smooth(model, data, a.generator, a.state)
    return found


def log_likelihood(model: Any, y: Any, inputs: Any, asked: Question) -> Tensor:
    """See `Verbs.log_likelihood`."""
    data = read(model, y, inputs, asked)
    with answering(model, data, asked) as a:
        value: Tensor = a.method.log_likelihood(model, data, a.generator, a.state)
    return value


def score(model: Any, y: Any, inputs: Any, asked: Question) -> Score:
    """See `Verbs.score`."""
    data = read(model, y, inputs, asked)
    with answering(model, data, asked) as a, torch.no_grad():
        kind = a.method.kind(model, data)
        drawn = kind in ("estimate", "lower bound")
        runs = [
            a.method.log_likelihood(model, data, a.generator, a.state).double().sum()
            for _ in range(max(a.method.repeats, 1) if drawn else 1)
        ]
        values = torch.stack(runs)
    num = len(runs)
    return Score(
        value=float(values.mean()),
        stderr=float(values.std() / num**0.5) if num > 1 else math.nan,
        kind=kind,
        n_steps=int(data.n_steps.sum()),
        n_values=int(data.n_values.sum()),
        num_samples=a.method.num_samples(model) if drawn else None,
        seed=a.seed if drawn else None,
    )


def forecast(
    model: Any, y: Any, inputs: Any, asked: Question, horizon: Any, num_samples: Any
) -> Forecast:
    """See `Verbs.forecast`."""
    horizon = read_count(horizon, name="horizon")
    num = None if num_samples is None else read_count(num_samples, name="num_samples")
    if y is not None:
        data = read(model, y, inputs, asked, horizon=horizon)
        ahead = data.future_inputs
        assert ahead is not None
        with answering(model, data, asked) as a, torch.no_grad():
            method = as_filter(model, a.method, "forecast")
            found = method.scan(model, data, a.generator, a.state)
            state = replace(found.state, batch_shape=data.batch_shape)
            out = method.forecast(model, state, ahead, num, a.generator)
        start = data.lengths if asked.state is None else data.lengths + asked.state.t
        return replace(
            out, index=data.index, univariate=data.univariate, start=start, settled=False
        )
    state = _state_to_continue(model, asked)
    method = as_filter(model, settle(model, asked.method, state, None), "forecast")
    ahead = read_future(model, inputs, state, horizon)
    own, _ = stream(asked.seed, state, model.device)
    with lend(own) as lent, torch.no_grad():
        out = method.forecast(model, replace(state, generator=lent), ahead, num, lent)
    start = torch.full(state.batch_shape, state.t, device=ahead.device)
    return replace(out, start=start, settled=False)


def _state_to_continue(model: Any, asked: Question) -> State:
    if asked.state is None:
        todo = "Give the series that came before, or state= from filter() or step()."
        raise InputError(expected("y", "a series, or state=", "neither", todo))
    for name, value in (("mask", asked.mask), ("lengths", asked.lengths)):
        if value is not None:
            todo = "Leave it out, or give y."
            raise InputError(expected(name, "none where there is no y", "some", todo))
    if asked.condition is not None:
        todo = "Leave it out: the state has read it."
        raise InputError(expected("condition", "none beside a state alone", "some", todo))
    check_is_state(asked.state)
    return asked.state


def read_future(model: Any, inputs: Any, state: State, num_steps: int) -> Tensor:
    """Inputs of the rows after a state, (*batch, num_steps, p)."""
    return read_inputs(
        inputs,
        input_dim=model.input_dim,
        num_steps=num_steps,
        batch_shape=state.batch_shape,
        dtype=model.dtype,
        device=model.device,
    )
