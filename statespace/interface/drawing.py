"""Draws from the model, and the joint density of a draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from statespace.beliefs import Finite, Real, Tree, event_shape, map_space
from statespace.errors import InputError, InputTypeError, expected
from statespace.interface.question import Question, as_filter, read, read_future, settle, stream
from statespace.interface.randomness import lend, seeded
from statespace.interface.values import State
from statespace.interface.walking import Moment, begin, joint, run_freely
from statespace.results import Trajectory
from statespace.sequences import Sequences, read_count, read_inputs
from statespace.shapes import leaves, tmap

__all__ = ["log_joint", "read_shape", "sample"]


def read_shape(shape: Any, name: str) -> Size:
    """A shape, given as a number or as a sequence of numbers."""
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    return Size([read_count(size, name=name, at_least=0) for size in sizes])


def sample(
    model: Any,
    num_steps: Any,
    sample_shape: Any,
    inputs: Any,
    condition: Any,
    state: State | None,
    seed: Any,
) -> Trajectory:
    """See `Verbs.sample`."""
    num_steps = read_count(num_steps, name="num_steps")
    lead = read_shape(sample_shape, "sample_shape")
    if state is not None:
        return _sample_on(model, num_steps, lead, inputs, condition, state, seed)
    condition = () if condition is None else condition
    u = _read_batched(model, inputs, num_steps)
    memory = model.path.start(u.shape[:-2], condition)
    shapes = [leaf.shape[:-1] for leaf in leaves(memory)]
    batch = torch.broadcast_shapes(u.shape[:-2], model.batch_shape, *shapes)
    u = u.expand(*batch, *u.shape[-2:])
    own, seed = seeded(seed, model.device)
    with lend(own), torch.no_grad():
        at = begin(model, (*lead, *batch), condition, drop=len(lead))
        z, y, _ = run_freely(model, at, u)
    return Trajectory(z, y, seed)


def _read_batched(model: Any, inputs: Any, num_steps: int) -> Tensor:
    """Inputs with whatever batch axes they come with, (*batch, num_steps, p)."""
    batch = inputs.shape[:-2] if isinstance(inputs, Tensor) and inputs.dim() > 2 else ()
    if not batch and not isinstance(inputs, Tensor):
        dims = getattr(inputs, "shape", ())
        batch = tuple(dims[:-2]) if len(dims) > 2 else ()
    return read_inputs(
        inputs,
        input_dim=model.input_dim,
        num_steps=num_steps,
        batch_shape=batch,
        dtype=model.dtype,
        device=model.device,
    )


def _sample_on(
    model: Any,
    num_steps: int,
    lead: Size,
    inputs: Any,
    condition: Any,
    state: State,
    seed: Any,
) -> Trajectory:
    """What may follow a state, its own uncertainty included."""
    if condition is not None:
        todo = "Leave it out: the state has read it."
        raise InputError(expected("condition", "none beside a state", "some", todo))
    method = as_filter(model, settle(model, None, state, None), "sample")
    u = read_future(model, inputs, state, num_steps, "num_steps")
    own, seed = stream(seed, state, model.device)
    num, batch = lead.numel(), state.batch_shape
    with lend(own) as lent, torch.no_grad():
        z, memory, y = method.draws(model, state, num, lent)
        z, y, _ = run_freely(model, Moment(state.t, z, memory, y), u)
    z, y = tmap(lambda x: x.reshape(*lead, *batch, *x.shape[1 + len(batch) :]), (z, y))
    return Trajectory(z, y, seed)


def log_joint(model: Any, z: Tree, y: Any, inputs: Any, asked: Question) -> Tensor:
    """See `Verbs.log_joint`."""
    data = read(model, y, inputs, asked)
    z = _read_z(model, z, data)
    if "y" in model.reads:
        fed = data.active.clone()
        last = (data.lengths - 1).clamp_min(0)[..., None]
        fed.scatter_(-1, last, torch.zeros_like(last, dtype=torch.bool))
        if not bool((data.observed.all(-1) | ~fed).all()):
            todo = "Draw what is missing, or ask a method for log_likelihood()."
            wanted = "every row but the last to be complete, since the memory reads y"
            raise InputError(expected("y", wanted, "missing entries", todo))
    return joint(model, z, data)


def _read_z(model: Any, z: Tree, data: Sequences) -> Tree:
    """Reads z as leaves (*sample, *batch, T, *event) of the model's dtype."""
    tail = (*data.batch_shape, data.T)

    def check(part: Real | Finite, x: Any) -> Tensor:
        event = event_shape(part)
        wanted = f"shape (*sample, {', '.join(map(str, (*tail, *event)))})"
        if not isinstance(x, Tensor):
            todo = "Give z as `sample` returns it."
            raise InputTypeError(expected("z", "a tensor", type(x).__name__, todo))
        full = (*tail, *event)
        if x.dim() < len(full) or x.shape[x.dim() - len(full) :] != full:
            todo = "Give one state for each row of y."
            raise InputError(expected("z", wanted, f"shape {tuple(x.shape)}", todo))
        if isinstance(part, Finite):
            if x.is_floating_point() or x.dtype == torch.bool or x.is_complex():
                todo = "Number the values 0, 1, 2, ..."
                raise InputTypeError(expected("z", "integers", str(x.dtype), todo))
            return x.to(torch.int64)
        if not x.is_floating_point():
            todo = "Convert it with .to(model.dtype)."
            raise InputTypeError(expected("z", "floating point", str(x.dtype), todo))
        return x.to(model.dtype)

    if not _built_alike(model.latent, z):
        wanted = f"a named tuple like {model.latent}"
        todo = "Give z as `sample` returns it."
        raise InputTypeError(expected("z", wanted, type(z).__name__, todo))
    return map_space(check, model.latent, z)


def _built_alike(space: Any, z: Any) -> bool:
    if isinstance(space, Real | Finite):
        return True
    alike = isinstance(z, tuple) and len(z) == len(space)
    return alike and all(_built_alike(*pair) for pair in zip(space, z, strict=True))
