"""One thing that holds numbers becomes one tensor of the model's dtype, on the model's device."""

from __future__ import annotations

import sys
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected

__all__ = ["pandas_kind", "read_count", "to_tensor"]

_NUMBERS = "real numbers (integers or floats of any width)"
_TODO = {
    "b": "Convert it with .astype(float), or pass it as mask= if it says what was observed.",
    "c": "Model its real and imaginary parts as two features.",
    "M": "Put times in the index, and numbers in the values.",
    "m": "Convert durations to numbers first.",
}
_KINDS = {"b": "booleans", "c": "complex numbers", "M": "dates", "m": "durations", "U": "strings"}


def pandas_kind(x: Any) -> str | None:
    """The word "Series" or "DataFrame" where `x` is one, else None; never imports pandas.

    Example:
        >>> pandas_kind([1.0]) is None
        True
    """
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    if isinstance(x, pandas.DataFrame):
        return "DataFrame"
    return "Series" if isinstance(x, pandas.Series) else None


def to_tensor(x: Any, *, name: str, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    """Reads a tensor, an array or a list of numbers.

    Args:
        x: What was given, of any rank.
        name: The argument, for the message.
        dtype: What to cast to: the model's float dtype; `torch.bool` for a mask, which takes
            booleans only; None for integer data: int64 where integers came, float64 where floats
            did (NaN is still in them).
        device: The model's. Tensors must be there already, everything else is moved there.

    Raises:
        InputTypeError: It holds something else than numbers (or than booleans, for a mask).
        InputError: A tensor lies on another device.
    """
    if isinstance(x, Tensor):
        return _from_tensor(x, name, dtype, device)
    if isinstance(x, np.ndarray):
        return _from_array(x, name, dtype, device)
    if isinstance(x, list | tuple):
        return _from_array(np.asarray(_check_list(x, name, dtype)), name, dtype, device)
    raise InputTypeError(
        expected(
            name,
            "a tensor, an array, a pandas object, or a list of series",
            f"an object of type {type(x).__name__}",
            "Convert it to an array first.",
        )
    )


def _from_tensor(x: Tensor, name: str, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    if x.device != device and not _same(x.device, device):
        todo = f"Move it with .to({str(device)!r}), or move the model."
        where = f"the model's device {str(device)!r}"
        raise InputError(expected(name, f"a tensor on {where}", f"one on {x.device}", todo))
    if x.layout != torch.strided:
        todo = "Call .to_dense() first."
        raise InputTypeError(expected(name, "a dense tensor", f"a {x.layout} one", todo))
    if x.dtype == dtype:
        return x.contiguous()
    kind = "b" if x.dtype == torch.bool else "c" if x.is_complex() else "f"
    _check_kind(kind, name, dtype)
    if dtype is None:
        dtype = torch.float64 if x.is_floating_point() else torch.int64
    return x.to(dtype).contiguous()


def _same(a: torch.device, b: torch.device) -> bool:
    return a.type == b.type and (a.index is None or b.index is None or a.index == b.index)


def _from_array(
    x: np.ndarray[Any, Any], name: str, dtype: torch.dtype | None, device: torch.device
) -> Tensor:
    if x.dtype.kind == "u" and dtype is None and x.size and int(x.max()) > 2**63 - 1:
        got, todo = f"the integer {int(x.max())}", "Number the categories from 0."
        raise InputError(expected(name, "integers below 2**63", got, todo))
    _check_kind(x.dtype.kind, name, dtype)
    if dtype is None:
        dtype = torch.float64 if x.dtype.kind == "f" else torch.int64
    wide = np.float64 if dtype.is_floating_point else np.int64 if dtype != torch.bool else np.bool_
    # never a view: the caller's array stays the caller's
    copy: np.ndarray[Any, Any] = np.array(x, dtype=wide, order="C")
    return torch.from_numpy(copy).to(device=device, dtype=dtype)


def _check_kind(kind: str, name: str, dtype: torch.dtype | None) -> None:
    if dtype == torch.bool:
        if kind != "b":
            got = _KINDS.get(kind, "numbers" if kind in "iuf" else "objects")
            todo = "True says that the entry was observed: compare, or call .astype(bool)."
            raise InputTypeError(expected(name, "booleans", got, todo))
    elif kind not in "iuf":
        got = _KINDS.get(kind, "strings" if kind in "ST" else "Python objects")
        todo = _TODO.get(kind, "Convert it to numbers, with NaN where nothing was observed.")
        raise InputTypeError(expected(name, _NUMBERS, got, todo))


def _check_list(x: Any, name: str, dtype: torch.dtype | None) -> Any:
    """A list of numbers as it is; refuses what numpy would turn into something else in silence."""
    for i, entry in enumerate(x):
        good = isinstance(entry, bool | np.bool_)
        if dtype != torch.bool:
            good = isinstance(entry, Real) and not good
        if not good:
            wanted = "a list of booleans" if dtype == torch.bool else "a list of numbers"
            todo = "Write NaN where nothing was observed; hand tables over as arrays."
            got = f"{entry!r:.40} of type {type(entry).__name__} at position {i}"
            raise InputTypeError(expected(name, wanted, got, todo))
    return x


def read_count(value: Any, *, name: str, at_least: int = 1) -> int:
    """An integer argument: a number of steps, of samples, a horizon.

    Raises:
        InputTypeError: It is not an integer.
        InputError: It is less than `at_least`.

    Example:
        >>> read_count(np.int64(12), name="horizon")
        12
        >>> read_count(0, name="horizon")
        Traceback (most recent call last):
            ...
        statespace.errors.InputError: `horizon`: expected an integer of at least 1, received 0. \
Give a larger one.
    """
    wanted = f"an integer of at least {at_least}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        got = f"{value!r:.40} of type {type(value).__name__}"
        raise InputTypeError(expected(name, wanted, got, "Give an integer."))
    if value < at_least:
        raise InputError(expected(name, wanted, str(value), "Give a larger one."))
    return int(value)
