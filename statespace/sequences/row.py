"""One row of data or of inputs, for online use."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.sequences.arrays import pandas_kind, to_tensor
from statespace.sequences.door import split, whole
from statespace.sequences.inputs import check_given, check_no_gap

__all__ = ["read_input_row", "read_row"]


def read_row(
    y: Any,
    *,
    obs_dim: int,
    batch_shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device | str,
    mask: Any = None,
    integer: bool = False,
    name: str = "y_t",
) -> tuple[Tensor, Tensor]:
    """Reads y_t: the door for `step`.

    Args:
        y: (*batch, m), NaN where not observed; a number where m = 1 and there is no batch; None
            where nothing was observed.
        obs_dim: m.
        batch_shape: The batch of the state.
        dtype: The model's dtype.
        device: The model's device.
        mask: Booleans (*batch, m), or (*batch,) for whole rows; True is observed.
        integer: Keep int64.
        name: The argument, for messages.

    Returns:
        Values (*batch, m), 0 where not observed, and what was observed (*batch, m).

    Example:
        >>> kwargs = dict(batch_shape=(), dtype=torch.float64, device="cpu")
        >>> read_row([1.0, float("nan")], obs_dim=2, **kwargs)
        (tensor([1., 0.], dtype=torch.float64), tensor([ True, False]))
    """
    device, shape = torch.device(device), (*batch_shape, obs_dim)
    if y is None:
        kept = torch.int64 if integer else dtype
        values = torch.zeros(shape, dtype=kept, device=device)
        return values, torch.zeros(shape, dtype=torch.bool, device=device)
    values = _read(y, shape, name, None if integer else dtype, device)
    known = None
    if mask is not None:
        known = to_tensor(_plain(mask), name="mask", dtype=torch.bool, device=device)
        if known.shape == shape[:-1]:
            known = known[..., None].expand(shape)
        elif known.shape != shape:
            wanted = f"shape {tuple(shape)} or {tuple(shape[:-1])}"
            todo = "Give one boolean per entry, or one per row."
            raise InputError(expected("mask", wanted, f"shape {tuple(known.shape)}", todo))
        known = known[..., None, :]
    values, observed, _ = split(values[..., None, :], known, name)
    values = whole(values, name) if integer else values
    return values[..., 0, :], observed[..., 0, :]


def read_input_row(
    u: Any,
    *,
    input_dim: int,
    batch_shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device | str,
    name: str = "u_t",
) -> Tensor:
    """Reads u_t, (*batch, p), or (p,) for the whole batch; zero wide where p = 0.

    Example:
        >>> kwargs = dict(batch_shape=(5,), dtype=torch.float32, device="cpu")
        >>> read_input_row([1, 0], input_dim=2, **kwargs).shape
        torch.Size([5, 2])
    """
    device, shape = torch.device(device), (*batch_shape, input_dim)
    if not check_given(u, input_dim, name):
        return torch.zeros(shape, dtype=dtype, device=device)
    values = _read(u, shape, name, dtype, device, shared=True)
    check_no_gap(values.expand(shape)[..., None, :], name)
    return values.expand(shape)


def _plain(x: Any) -> Any:
    if pandas_kind(x):
        return x.to_numpy()
    return np.asarray(x) if isinstance(x, Real | np.bool_) else x


def _read(
    x: Any,
    shape: tuple[int, ...],
    name: str,
    dtype: torch.dtype | None,
    device: torch.device,
    shared: bool = False,
) -> Tensor:
    row = to_tensor(_plain(x), name=name, dtype=dtype, device=device)
    if row.shape == shape or (shared and row.shape == shape[-1:]):
        return row
    if row.ndim == 0 and shape == (1,):
        return row[None]
    wanted = f"one row of shape {tuple(shape)}"
    todo = "Give one row, all features, for every series of the state."
    raise InputError(expected(name, wanted, f"shape {tuple(row.shape)}", todo))
