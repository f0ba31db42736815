"""What comes before an answer: the door, the method, its refusal, a generator lent."""

from __future__ import annotations

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
from statespace.sequences import Sequences, read_inputs, read_sequences
from statespace.shapes import tmap

__all__ = [
    "Question",
    "answering",
    "as_filter",
    "check_is_state",
    "describe",
    "read",
    "read_future",
    "settle",
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
    seed: int | None  # None where a state's random numbers go on

    def recorded(self, model: Any) -> int | None:
        """The seed that a record shows: none where the method draws nothing."""
        return None if self.method.num_samples(model) is None else self.seed


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
    model.check_values(data.values, data.observed, name)
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


def read_future(
    model: Any, inputs: Any, state: State, num_steps: int, word: str = "horizon"
) -> Tensor:
    """Inputs of the rows after a state, (*batch, num_steps, p)."""
    return read_inputs(
        inputs,
        input_dim=model.input_dim,
        num_steps=num_steps,
        batch_shape=state.batch_shape,
        dtype=model.dtype,
        device=model.device,
        word=word,
    )
