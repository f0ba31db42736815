"""Questions about data: filter, smooth, log-likelihood, score, forecast.

All go the same way: the door, the method, its refusal, a generator lent, the method's answer.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.interface.methods import AtOnce, Method
from statespace.interface.question import (
    Question,
    answering,
    as_filter,
    check_is_state,
    read,
    read_future,
    settle,
    stamp,
    stream,
)
from statespace.interface.randomness import lend
from statespace.interface.values import State
from statespace.results import Filtered, Forecast, Score, Smoothed, read_keep
from statespace.sequences import read_count

__all__ = ["at_once", "filter", "forecast", "log_likelihood", "score", "smooth"]


def filter(model: Any, y: Any, inputs: Any, asked: Question, keep: Any) -> Filtered:
    """See `Verbs.filter`."""
    keep = read_keep(keep, Filtered)
    data = read(model, y, inputs, asked)
    with answering(model, data, asked) as a, torch.no_grad():
        method = as_filter(model, a.method, "filter")
        found = method.scan_keeping(model, data, a.generator, a.state, keep)
        state = stamp(found.state, model, method, a.own, data.batch_shape)
    return found.having(state=state, seed=a.recorded(model))


def at_once(verb: AtOnce, model: Any, y: Any, keep: Any = "all") -> Any:
    """The default method's answer to numbers that came alone, without the door; or None."""
    if type(y) is np.ndarray and y.dtype.kind == "f" and y.flags.carray:
        y = torch.from_numpy(y)
    elif type(y) is not Tensor:
        return None
    if verb == "smooth":
        y = y.clone()  # a record keeps y, which may be written to later
    method = model.default_method()
    if not isinstance(method, Method):
        return None
    if verb == "smooth":
        keep = read_keep(keep, Smoothed)
    return method.at_once(verb, model, y, keep)


def smooth(model: Any, y: Any, inputs: Any, asked: Question, keep: Any) -> Smoothed:
    """See `Verbs.smooth`."""
    keep = read_keep(keep, Smoothed)
    data = read(model, y, inputs, asked)
    with answering(model, data, asked) as a, torch.no_grad():
        method: Method = a.method
        found = method.smooth_keeping(model, data, a.generator, a.state, keep)
    return found.having(seed=a.recorded(model))


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
        kind = a.method.kind(model, data, a.state)
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
        seed=a.recorded(model) if drawn else None,
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
            found = method.scan_keeping(model, data, a.generator, a.state, "last")
            state = replace(found.state, batch_shape=data.batch_shape)
            out = method.forecast(model, state, ahead, num, a.generator)
        start = data.lengths if asked.state is None else data.lengths + asked.state.t
        return replace(
            out,
            index=data.index,
            univariate=data.univariate,
            start=start,
            seed=a.recorded(model),
            settled=False,
        )
    state = _state_to_continue(model, asked)
    method = as_filter(model, settle(model, asked.method, state, None), "forecast")
    ahead = read_future(model, inputs, state, horizon)
    own, seed = stream(asked.seed, state, model.device)
    with lend(own) as lent, torch.no_grad():
        out = method.forecast(model, replace(state, generator=lent), ahead, num, lent)
    start = torch.full(state.batch_shape, state.t, device=ahead.device)
    shown = None if method.num_samples(model) is None else seed
    return replace(out, start=start, seed=shown, settled=False)


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
