"""Reading the numbers of a parameter: types, finiteness, shapes; never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected

__all__ = ["Structure", "read_array", "read_labels", "read_mask", "read_value"]

Structure = Literal["full", "diag", "scalar", "identity"]


def read_array(name: str, value: Any, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Finite real numbers as a tensor; a tensor keeps its graph and, if it can, its identity.

    Raises:
        InputTypeError: not numbers (booleans, complex numbers, strings, ragged lists).
        InputError: NaN or infinite.
    """
    tensor = value if isinstance(value, Tensor) else _from_numpy(name, value)
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise InputTypeError(
            expected(name, "real numbers", f"dtype {tensor.dtype}", "Convert it to floats.")
        )
    if not bool(torch.isfinite(tensor).all()):
        kind = "NaN" if bool(torch.isnan(tensor).any()) else "inf"
        raise InputError(expected(name, "finite numbers", kind, "Give finite entries."))
    return tensor.to(dtype)


def _from_numpy(name: str, value: Any) -> Tensor:
    try:
        array = np.asarray(value)
        numbers = np.array(array, dtype=np.float64) if array.dtype.kind in "iuf" else None
    except (TypeError, ValueError, RuntimeError):
        numbers = None
        array = np.empty(0, dtype=object)
    if numbers is None:
        kind = f"dtype {array.dtype}" if array.dtype.kind != "O" else _odd(value)
        raise InputTypeError(
            expected(name, "a tensor or an array of numbers", kind, "Give one array of floats.")
        )
    return torch.from_numpy(numbers)


def _odd(value: Any) -> str:
    lists = isinstance(value, list | tuple)
    return "a ragged list, or a list of other things" if lists else type(value).__name__


def read_value(
    name: str,
    value: Any,
    event: Sequence[int],
    axes: Sequence[str],
    *,
    dtype: torch.dtype,
    device: torch.device | None,
    varies: bool = False,
) -> Tensor:
    """The numbers of one parameter, shape (*batch, [T,] *event).

    A bare number serves where there is exactly one entry, since nothing else can be meant.

    Raises:
        InputTypeError: as `read_array`.
        InputError: as `read_array`; a wrong shape, swapped axes, or no axis T where it varies.
    """
    tensor = read_array(name, value, dtype=dtype)
    if device is not None:
        tensor = tensor.to(device)
    event = tuple(event)
    if tensor.dim() == 0 and not varies and all(k == 1 for k in event):
        return tensor.reshape(event)
    rank = len(event)
    shape = tuple(tensor.shape)
    if len(shape) >= rank + varies and shape[len(shape) - rank :] == event:
        if varies and shape[-rank - 1] == 0:
            raise InputError(expected(name, "at least one row", f"shape {shape}", "Give T rows."))
        return tensor
    words = ", ".join(f"{axis}={k}" for axis, k in zip(axes, event, strict=True))
    todo = "Leading axes, if any, are a batch of models."
    if rank == 2 and len(shape) >= 2 and shape[-2:] == event[::-1] and event[0] != event[1]:
        todo = "Its axes are swapped: give the transpose."
    elif varies and shape[max(len(shape) - rank, 0) :] == event:
        todo = "A Varying value has one row for every step: give T rows, or use Fixed."
    elif rank == 2 and event[1] == 1 and shape == event[:1]:
        todo = "Give a matrix: one more axis, of size 1, at the end."
    time = "T, " if varies else ""
    raise InputError(expected(name, f"shape (..., {time}{words})", f"shape {shape}", todo))


def read_mask(name: str, value: Any, event: Sequence[int]) -> Tensor:
    """A boolean mask of the shape of the parameter."""
    tensor = torch.as_tensor(value) if isinstance(value, Tensor | np.ndarray) else _listed(value)
    if tensor is None or tensor.dtype != torch.bool:
        raise InputTypeError(
            expected(name, "booleans, True where learned", _kind(value), "Give a boolean mask.")
        )
    return _shaped(name, tensor, event)


def read_labels(name: str, value: Any, event: Sequence[int]) -> Tensor:
    """Integers of the shape of the parameter."""
    tensor = torch.as_tensor(value) if isinstance(value, Tensor | np.ndarray) else _listed(value)
    kinds = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if tensor is None or tensor.dtype not in kinds:
        raise InputTypeError(
            expected(name, "integers, equal where tied", _kind(value), "Give integer labels.")
        )
    return _shaped(name, tensor.to(torch.int64), event)


def _listed(value: Any) -> Tensor | None:
    try:
        return torch.tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _kind(value: Any) -> str:
    return f"dtype {value.dtype}" if isinstance(value, Tensor | np.ndarray) else repr(value)[:60]


def _shaped(name: str, tensor: Tensor, event: Sequence[int]) -> Tensor:
    if tuple(tensor.shape) != tuple(event):
        raise InputError(
            expected(
                name,
                f"shape {tuple(event)}",
                f"shape {tuple(tensor.shape)}",
                "Give one entry for each entry of the parameter, without batch or time axes.",
            )
        )
    return tensor.cpu()
