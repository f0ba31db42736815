"""Any of the things that data come as, taken apart into tensors; shapes are judged elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected
from statespace.sequences.arrays import pandas_kind, to_tensor
from statespace.sequences.frames import read_frame
from statespace.sequences.index import Index

__all__ = ["Parts", "take_apart"]


class Parts(NamedTuple):
    """What was given: one dense tensor, or one tensor per series."""

    tensors: list[Tensor]
    several: bool  # one tensor per series (a list or a panel), to be padded
    listed: bool  # it came as a list
    labels: Index | None


def take_apart(x: Any, *, name: str, dtype: torch.dtype | None, device: torch.device) -> Parts:
    """Reads a tensor, an array, a pandas object, a list of numbers, or a list of these.

    A list of numbers is one univariate series; a list of anything else is a list of series.
    `dtype` as in `to_tensor`.
    """
    if isinstance(x, Tensor | np.ndarray):
        return Parts([to_tensor(x, name=name, dtype=dtype, device=device)], False, False, None)
    if pandas_kind(x):
        tensors, index, panel = read_frame(x, name=name, dtype=dtype, device=device)
        return Parts(tensors, panel, False, index)
    if isinstance(x, list | tuple) and any(_is_series(part) for part in x):
        return _take_list(x, name, dtype, device)
    if isinstance(x, list | tuple) and not x:
        raise InputError(expected(name, "at least one series", "an empty list", "Give some data."))
    if isinstance(x, dict):
        todo = "Pass list(y.values()), or a long DataFrame with the key as index level."
        raise InputTypeError(expected(name, "a list of series", "a dict", todo))
    return Parts([to_tensor(x, name=name, dtype=dtype, device=device)], False, False, None)


def _is_series(part: Any) -> bool:
    if isinstance(part, list | tuple):
        return True
    if isinstance(part, Tensor | np.ndarray):
        return part.ndim > 0
    return pandas_kind(part) is not None


def _take_list(x: Any, name: str, dtype: torch.dtype | None, device: torch.device) -> Parts:
    tensors, labels = [], []
    for i, part in enumerate(x):
        one = f"{name}[{i}]"
        if not _is_series(part):
            got = f"{type(part).__name__} at position {i}"
            raise InputTypeError(
                expected(name, "a list of series", got, "Make every entry an array.")
            )
        if pandas_kind(part):
            frames, index, panel = read_frame(part, name=one, dtype=dtype, device=device)
            if panel:
                todo = "Concatenate the panels into one DataFrame."
                raise InputError(expected(one, "one series", "a panel", todo))
            tensors.append(frames[0])
            labels.append(index)
        else:
            tensors.append(to_tensor(part, name=one, dtype=dtype, device=device))
    if dtype is None and any(t.is_floating_point() for t in tensors):
        tensors = [t.to(torch.float64) for t in tensors]
    return Parts(tensors, True, True, _join_labels(labels, len(tensors), name))


def _join_labels(labels: list[Index], num_series: int, name: str) -> Index | None:
    if len(labels) < num_series:
        return None
    names = labels[0].names
    for i, label in enumerate(labels):
        if label.names == names:
            continue
        if names is None or len(names) == 1 == len(label.names or ()):
            names = None  # series of one feature, each under its own name
            break
        got = f"{list(label.names or ())} in {name}[{i}]"
        todo = "Give all frames the same columns in one order."
        raise InputError(expected(name, f"columns {list(names)} in every frame", got, todo))
    return Index(names, tuple(time for label in labels for time in label.times or ()))
