"""Inputs: as many rows as the data, or as the data and the horizon; never with a gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.sequences.index import Index, named_place
from statespace.sequences.table import Table, read_table
from statespace.shapes import active_rows

__all__ = ["check_given", "check_no_gap", "check_same_times", "read_data_inputs", "read_inputs"]


def read_inputs(
    inputs: Any,
    *,
    input_dim: int,
    num_steps: int,
    batch_shape: Sequence[int] = (),
    dtype: torch.dtype,
    device: torch.device | str,
    name: str = "inputs",
    word: str = "num_steps",
) -> Tensor:
    """Reads inputs that come without data: of a sample, or of a horizon after a state.

    Args:
        inputs: (num_steps, p) for all series, (*batch, num_steps, p), or a list of series;
            (num_steps,) where p = 1. NaN is refused.
        input_dim: p.
        num_steps: How many rows are needed.
        batch_shape: The batch that the inputs serve.
        dtype: The model's dtype.
        device: The model's device.
        name: The argument, for messages.
        word: What the caller calls the number of rows.

    Returns:
        (*batch, num_steps, p), zero wide where input_dim is 0.

    Example:
        >>> kwargs = dict(dtype=torch.float64, device="cpu")
        >>> read_inputs([0, 1, 1], input_dim=1, num_steps=3, batch_shape=(5,), **kwargs).shape
        torch.Size([5, 3, 1])
    """
    device, batch = torch.device(device), torch.Size(batch_shape)
    if not check_given(inputs, input_dim, name):
        return torch.zeros(*batch, num_steps, 0, dtype=dtype, device=device)
    table = read_table(
        inputs, name=name, width=input_dim, word="input_dim", dtype=dtype, device=device
    )
    u = _with_batch(table, batch, [num_steps] * batch.numel(), num_steps, name, word)
    check_no_gap(u, name, table.labels)
    return u.expand(*batch, *u.shape[-2:])


def read_data_inputs(
    inputs: Any,
    y: Table,
    lengths: Tensor,
    *,
    input_dim: int,
    horizon: int,
    dtype: torch.dtype,
    name: str = "inputs",
) -> tuple[Tensor, Tensor | None]:
    """Reads the inputs that stand beside data, and those of the rows to forecast.

    Args:
        inputs: In any form that `y` may have, of T + horizon rows; one series serves a batch.
        y: The data, (*batch, T, m).
        lengths: (*batch,). Row L_i and the rows after it are the future of series i.
        input_dim: p.
        horizon: Rows to forecast; 0 where there is no forecast.
        dtype: The model's dtype.
        name: The argument, for messages.

    Returns:
        Inputs (*batch, T, p), 0 beyond each length; and future inputs (*batch, horizon, p), or
        None where the horizon is 0.
    """
    *batch, num_rows, _ = y.values.shape
    device = y.values.device
    if not check_given(inputs, input_dim, name):
        none = torch.zeros(*batch, num_rows, 0, dtype=dtype, device=device)
        return none, none.new_zeros(*batch, horizon, 0) if horizon else None
    table = read_table(
        inputs, name=name, width=input_dim, word="input_dim", dtype=dtype, device=device
    )
    check_same_times(table.labels, y.labels, name)
    rows = (lengths.flatten() + horizon).tolist()
    words = "T" if not horizon else f"T + horizon = {num_rows} + {horizon}"
    u = _with_batch(table, torch.Size(batch), rows, num_rows + horizon, name, words)
    ragged = min(rows) < num_rows + horizon
    if ragged:
        u = _cut(u.expand(*batch, *u.shape[-2:]), lengths + horizon)
    check_no_gap(u, name, table.labels)
    u = u.expand(*batch, *u.shape[-2:])
    if not horizon:
        return u, None
    if not ragged:
        return u[..., :num_rows, :], u[..., num_rows:, :]
    ahead = lengths[..., None] + torch.arange(horizon, device=device)  # (*batch, h)
    future = u.gather(-2, ahead[..., None].expand(*ahead.shape, input_dim))
    return _cut(u[..., :num_rows, :], lengths), future


def check_given(inputs: Any, input_dim: int, name: str) -> bool:
    """Whether there are inputs to read.

    Raises:
        InputError: The model takes inputs and there are none, or the other way round.
    """
    if inputs is None:
        if input_dim:
            todo = "Pass them, or build the model with input_dim=0."
            raise InputError(expected(name, f"{input_dim} inputs per row", "none", todo))
        return False
    if input_dim:
        return True
    if isinstance(inputs, Tensor) and inputs.shape[-1:] == (0,):
        return False  # what `Sequences.inputs` holds where there are none
    todo = f"Leave {name} out, or build the model with input_dim=."
    raise InputError(expected(name, "none, since the model has input_dim = 0", "some", todo))


def check_no_gap(u: Tensor, name: str, index: Index | None = None) -> None:
    """Refuses NaN and inf, in inputs (*batch, rows, p) or one row of them, (*batch, p)."""
    if u.numel() == 0 or math.isfinite(float(u.detach().sum())):
        return
    bad = ~torch.isfinite(u.detach())
    if not bool(bad.any()):
        return  # the sum overflowed, the numbers did not
    *series, row, column = bad.nonzero()[0].tolist()
    where = named_place(series, row, column, index)
    value = float(u.detach()[(*series, row, column)])
    todo = "An input acts on the state and cannot be missing: fill it in, or shorten the series."
    raise InputError(expected(name, "finite numbers", f"{value} at {where}", todo))


def _with_batch(
    table: Table, batch: torch.Size, rows: list[int], longest: int, name: str, words: str
) -> Tensor:
    """Inputs (longest, p) for all, or (*batch, longest, p); judges batch and number of rows."""
    u = table.values
    several = table.lengths is not None
    if u.shape[:-2] != batch and (several or u.ndim > 2):
        wanted = f"a batch of shape {tuple(batch)}, as the data have" if batch else "one series"
        todo = "Give one series of inputs per series, or one for all of them."
        got = f"one of shape {tuple(u.shape[:-2])}"
        raise InputError(expected(name, wanted, got, todo))
    given = table.lengths if table.lengths is not None else [u.shape[-2]]
    needed = rows if several else [longest]
    for i, (got_rows, need) in enumerate(zip(given, needed, strict=True)):
        if got_rows != need:
            which = f" for series {i}" if several else ""
            wanted = f"{need} rows{which}" + (f" ({words})" if not several else "")
            todo = "Give one row per step" + (", future rows too." if "+ hor" in words else ".")
            raise InputError(expected(name, wanted, f"{got_rows} rows", todo))
    return u


def _cut(u: Tensor, lengths: Tensor) -> Tensor:
    """Zero beyond the lengths, whatever stood there."""
    return u.masked_fill(~active_rows(lengths, u.shape[-2])[..., None], 0.0)


def check_same_times(inputs: Index | None, y: Index | None, name: str) -> None:
    """Two labelled arguments must agree about the labels of the rows they share."""
    if inputs is None or y is None or inputs.times is None or y.times is None:
        return
    if len(inputs.times) == len(y.times) and inputs.ids != y.ids:
        todo = "Sort both alike."
        got = f"{list(inputs.ids or ())}"
        raise InputError(expected(name, f"the ids of the data, {list(y.ids or ())}", got, todo))
    for i, theirs in enumerate(y.times):
        ours = inputs.times[i if len(inputs.times) == len(y.times) else 0][: len(theirs)]
        if len(ours) == len(theirs) and not ours.equals(theirs):
            row = next((t for t in range(len(ours)) if ours[t] != theirs[t]), None)
            if row is None:
                continue  # the same labels, of another width
            wanted = f"the index of the data ({theirs[row]!s} in row {row})"
            todo = "Align the two, for example with .reindex(y.index)."
            raise InputError(expected(name, wanted, f"{ours[row]!s}", todo))
