"""Inputs: as many rows as the data, or as the data and the horizon; never with a gap."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected, place
from statespace.sequences.parts import Parts, pad, take_apart
from statespace.sequences.shape import Table, as_table, unravel
from statespace.shapes import active_rows

__all__ = ["check_no_gap", "read_data_inputs", "read_inputs"]


def read_inputs(
    inputs: Any,
    *,
    input_dim: int,
    num_steps: int,
    batch_shape: torch.Size | tuple[int, ...] = (),
    dtype: torch.dtype,
    device: torch.device | str,
    name: str = "inputs",
) -> Tensor:
    """Reads inputs that come without data: of a sample, or of a horizon after a state.

    Args:
        inputs: (num_steps, p) for all series, (*batch, num_steps, p), or a list of series;
            (num_steps,) where p = 1.
        input_dim: p.
        num_steps: How many rows are needed.
        batch_shape: The batch that the inputs serve.

    Returns:
        (*batch, num_steps, p), zero wide where input_dim is 0.

    Example:
        >>> kwargs = dict(dtype=torch.float64, device="cpu")
        >>> read_inputs([0, 1, 1], input_dim=1, num_steps=3, batch_shape=(5,), **kwargs).shape
        torch.Size([5, 3, 1])
    """
    device, batch = torch.device(device), torch.Size(batch_shape)
    if not _wanted(inputs, input_dim, name):
        return torch.zeros(*batch, num_steps, 0, dtype=dtype, device=device)
    parts = take_apart(inputs, name=name, dtype=dtype, device=device)
    rows = [num_steps] * batch.numel()
    u = _dense(parts, input_dim, batch, rows, num_steps, name, "num_steps")
    _check_gaps(u, name, parts)
    return u.expand(*batch, num_steps, input_dim)


def read_data_inputs(
    inputs: Any,
    table: Table,
    lengths: Tensor,
    ragged: bool,
    *,
    input_dim: int,
    horizon: int,
    name: str = "inputs",
) -> tuple[Tensor, Tensor | None]:
    """Reads the inputs that stand beside data, and those of the rows to forecast.

    Args:
        inputs: As `y` came, with T rows, or T + horizon; one series of them serves a whole batch.
        table: The data, (*batch, T, m).
        lengths: (*batch,); row L_i and those after it are the future of series i.
        ragged: Whether a length is below T.
        input_dim: p.
        horizon: Rows to forecast; 0 where there is no forecast.

    Returns:
        Inputs (*batch, T, p), 0 beyond each length, and future inputs (*batch, horizon, p) or
        None where the horizon is 0.
    """
    like = table.values.new_zeros if table.values.is_floating_point() else None
    *batch, num_rows, _ = table.values.shape
    if not _wanted(inputs, input_dim, name):
        dtype = table.dtype
        shape, ahead = (*batch, num_rows, 0), (*batch, horizon, 0)
        none = like(shape) if like else torch.zeros(shape, dtype=dtype, device=lengths.device)
        return none, none.new_zeros(ahead) if horizon else None
    parts = take_apart(inputs, name=name, dtype=table.dtype, device=table.values.device)
    _check_same_times(parts, table, name)
    rows = [int(n) + horizon for n in lengths.flatten()]
    u = _dense(parts, input_dim, torch.Size(batch), rows, num_rows + horizon, name, "T")
    if ragged:
        inside = active_rows(lengths + horizon, u.shape[-2])[..., None]
        u = u.masked_fill(~inside, 0.0) if u.ndim > 2 else u.expand(*batch, *u.shape)
        u = u if u.shape[:-2] == torch.Size(batch) else u.expand(*batch, *u.shape[-2:])
        u = u.masked_fill(~inside, 0.0)
    _check_gaps(u, name, parts)
    u = u.expand(*batch, *u.shape[-2:])
    if not horizon:
        return u, None
    if not ragged:
        return u[..., :num_rows, :], u[..., num_rows:, :]
    ahead = lengths[..., None] + torch.arange(horizon, device=lengths.device)  # (*batch, h)
    future = u.gather(-2, ahead[..., None].expand(*ahead.shape, input_dim))
    inside = active_rows(lengths, num_rows)[..., None]
    return u[..., :num_rows, :].masked_fill(~inside, 0.0), future
