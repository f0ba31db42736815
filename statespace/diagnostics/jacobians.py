"""Jacobians of one step, at every row of a path at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.densities import moments
from statespace.errors import InputError, MethodError, expected
from statespace.interface.walking import advance, begin, contexts
from statespace.sequences import Sequences

__all__ = ["of_memory", "of_states"]


def of_states(model: Any, data: Sequences, z: Tensor) -> Tensor:
    """J_2 .. J_T of E[z_t | z_{t-1}], (*batch, T - 1, n, n), along z (*batch, T, n)."""
    with torch.enable_grad():
        before = z[..., :-1, :].clone().requires_grad_()
        ctx = contexts(model, data, None)[0].rows(1, None)
        found = moments(model.transition(before, ctx))
        if found is None:
            raise MethodError(f"The transition of {type(model).__name__} has no mean to derive.")
        return _jacobians(found[0].expand(before.shape), before)


def of_memory(model: Any, data: Sequences) -> Tensor:
    """J_2 .. J_T of the memory in the memory before it, (*batch, T - 1, k, k).

    All that is carried from row to row counts (h and c of an LSTM, every layer), and what never
    changes, such as a condition, does not. The memory is told y, as in training.

    Raises:
        InputError: y is missing where the memory reads it.
    """
    if "y" in model.reads and not data.complete:
        todo = "Fill the gaps, or leave these series out."
        got = "missing entries, which the memory reads"
        raise InputError(expected("y", "no missing entries", got, todo))
    now = begin(model, data.batch_shape, data.condition)
    y, memory, rows = now.y, now.memory, []
    with torch.no_grad():
        for t in range(data.T):
            told, u = torch.tensor(t, device=data.values.device), data.inputs[..., t, :]
            memory, _ = advance(model, memory, now.z, y, told, u)
            y = data.values[..., t, :]
            rows.append(memory)
    leaves = [torch.stack(leaf, -2) for leaf in zip(*rows, strict=True)]
    moving = [i for i, leaf in enumerate(leaves) if bool((leaf != leaf[..., :1, :]).any())]
    moving = moving or list(range(len(leaves)))  # nothing moves, so nothing can be left out
    with torch.enable_grad():
        sizes = [leaves[i].shape[-1] for i in moving]
        before = torch.cat([leaves[i][..., :-1, :] for i in moving], -1).requires_grad_()
        parts = iter(before.split(sizes, -1))
        held = tuple(
            next(parts) if i in moving else leaf[..., :-1, :] for i, leaf in enumerate(leaves)
        )
        later = torch.arange(1, data.T, device=data.values.device)
        after, _ = advance(
            model, held, now.z, data.values[..., :-1, :], later, data.inputs[..., 1:, :]
        )
        return _jacobians(torch.cat([after[i] for i in moving], -1), before)


def _jacobians(after: Tensor, before: Tensor) -> Tensor:
    """(*lead, k, k): one backward pass for each entry, over all rows."""
    rows = [
        torch.autograd.grad(after[..., i].sum(), before, retain_graph=True, allow_unused=True)[0]
        for i in range(after.shape[-1])
    ]
    none = torch.zeros_like(before)
    return torch.stack([none if row is None else row for row in rows], -2).detach()
