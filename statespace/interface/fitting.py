"""Training and storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from statespace.errors import InputTypeError, MethodError, expected
from statespace.files import name_of, write_folder
from statespace.interface.methods import Learner
from statespace.interface.question import Question, answering, read
from statespace.results import FitResult

__all__ = ["fit", "save", "unchanged_on_failure"]


def fit(
    model: Any,
    y: Any,
    inputs: Any,
    asked: Question,
    validation: Any,
    learner: Any,
    progress: Any,
) -> FitResult:
    """See `Verbs.fit`."""
    data = read(model, y, inputs, asked)
    held_out = None
    if validation is not None:
        pair = validation if isinstance(validation, tuple) else (validation, None)
        if len(pair) != 2:
            todo = "Give validation=y or validation=(y, inputs)."
            wanted = "series, or a pair (y, inputs)"
            raise InputTypeError(expected("validation", wanted, f"{len(pair)} parts", todo))
        held_out = read(model, *pair, Question(), name="validation")
    learner = model.default_learner() if learner is None else learner
    if asked.method is None:
        asked = replace(asked, method=model.learning_method())
    if not isinstance(learner, Learner):
        todo = "Give one, made: EM(), say."
        raise InputTypeError(expected("learner", "a Learner", f"{learner!r:.60}", todo))
    with answering(model, data, asked) as a:
        reason = learner.refusal(model, data, a.method)
        if reason is not None:
            raise MethodError(reason)
        with unchanged_on_failure(model):
            found = learner.fit(
                model, data, a.method, a.generator, validation=held_out, progress=progress
            )
    return replace(found, seed=a.seed)


@contextmanager
def unchanged_on_failure(model: nn.Module) -> Iterator[None]:
    """Whatever ends the block early, an interrupt too, the model is as it was before.

    Parameters and buffers keep their identity: their old numbers are put back into them.
    """
    kept = [(part, _shallow(part)) for part in model.modules()]
    tensors = (*model.parameters(), *model.buffers())
    numbers = [(t, t.detach().clone(), t.requires_grad, t.grad) for t in tensors]
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            for part, attributes in kept:
                part.__dict__.clear()
                part.__dict__.update(attributes)
            for tensor, old, wanted, grad in numbers:
                _put_back(tensor, old)
                tensor.requires_grad_(wanted)
                tensor.grad = grad


def _shallow(part: nn.Module) -> dict[str, Any]:
    """The attributes of a module; containers are copied, so that what was in them is known."""
    return {
        name: value.copy() if type(value) in (dict, list, set) else value
        for name, value in part.__dict__.items()
    }


def _put_back(tensor: Tensor, old: Tensor) -> None:
    tensor.data = old


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """See `Verbs.save`."""
    name = name_of(type(model))
    record, tensors = model._describe()
    write_folder(path, {"model": name, **record}, tensors)
