"""Parts become one padded tensor (*batch, T, width), or a sentence about their shape."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from statespace.errors import InputError, expected
from statespace.sequences.index import Index
from statespace.sequences.parts import take_apart

__all__ = ["Table", "pad", "read_table"]


class Table(NamedTuple):
    """Numbers in the layout of the library; NaN is still in them."""

    values: Tensor  # (*batch, T, width)
    lengths: list[int] | None  # of a list or a panel; None for one dense tensor
    univariate: bool  # there was no feature axis
    listed: bool
    labels: Index | None


def read_table(
    x: Any, *, name: str, width: int, word: str, dtype: torch.dtype | None, device: torch.device
) -> Table:
    """Reads anything that `take_apart` reads, and judges its shape.

    Args:
        x: What was given.
        name: The argument, for messages.
        width: How many features there must be.
        word: What the model calls that number: "obs_dim" or "input_dim".
        dtype: As in `to_tensor`.
        device: The model's device.

    Raises:
        InputError: Wrong rank, wrong number of features, no rows, or no series.
    """
    parts = take_apart(x, name=name, dtype=dtype, device=device)
    if not parts.several:
        values = _with_features(parts.tensors[0], name, width, word, parts.labels is not None)
        _check_not_empty(values, name)
        return Table(values, None, parts.tensors[0].ndim == 1, False, parts.labels)
    tables = []
    for i, tensor in enumerate(parts.tensors):
        one = f"{name}[{i}]" if parts.listed else name
        if tensor.ndim > 2:
            got = f"shape {tuple(tensor.shape)}"
            todo = "Give one series per entry, or one dense tensor for all."
            raise InputError(expected(one, f"one series of shape (T, {width})", got, todo))
        tables.append(_with_features(tensor, one, width, word, parts.labels is not None))
        _check_not_empty(tables[-1], one)
    if not tables:
        raise InputError(expected(name, "at least one series", "none", "Give some data."))
    flat = {tensor.ndim == 1 for tensor in parts.tensors}
    if len(flat) > 1:
        todo = "Give every series a feature axis: y[:, None]."
        got = "series with a feature axis and series without one"
        raise InputError(expected(name, "series of one rank", got, todo))
    return Table(pad(tables), [t.shape[0] for t in tables], flat.pop(), parts.listed, parts.labels)


def pad(tensors: list[Tensor]) -> Tensor:
    """Tensors (T_i, m) as one (N, max T_i, m), with 0 beyond each length."""
    if len({t.shape[0] for t in tensors}) == 1:
        return torch.stack(tensors)
    return pad_sequence(tensors, batch_first=True)


def _with_features(x: Tensor, name: str, width: int, word: str, frame: bool) -> Tensor:
    """Checks rank and number of features; a 1-D tensor is one series of one feature."""
    if x.ndim > 1 and x.shape[-1] == width:
        return x
    if x.ndim == 1 and width == 1:
        return x[:, None]
    shape = f"shape {tuple(x.shape)}"
    features = "feature" if width == 1 else "features"
    wanted = f"shape (*batch, T, {width}), with {word} = {width} {features} on the last axis"
    if x.ndim == 0:
        raise InputError(expected(name, wanted, "a single number", "Give a series of rows."))
    if x.ndim == 1:
        got = f"{shape}, a series without a feature axis"
        todo = f"Build the model with {word}=1, or give all {width} features."
        if x.shape[0] == width:
            todo = f"If this is one row, write {name}[None, :]."
        raise InputError(expected(name, wanted, got, todo))
    turn = f"{name}.T" if frame or x.ndim == 2 else f"{name}.mT"
    if x.shape[-2] == width:
        todo = f"This looks like (features, time): pass {turn}."
    elif width == 1 and frame:
        todo = "For one series per column pass a list: [y[c] for c in y]."
    elif width == 1:
        todo = f"For several series of one feature add the last axis: {name}[..., None]."
    else:
        todo = f"Build the model with {word}={x.shape[-1]}, or select {width} columns."
    raise InputError(expected(name, wanted, shape, todo))


def _check_not_empty(values: Tensor, name: str) -> None:
    if values.shape[-2] == 0:
        todo = "Leave empty series out."
        raise InputError(expected(name, "at least one row", "a series of length T = 0", todo))
    if 0 in values.shape[:-2]:
        got = f"an empty batch of shape {tuple(values.shape[:-2])}"
        raise InputError(expected(name, "at least one series", got, "Give some data."))
