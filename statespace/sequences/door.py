"""`read_sequences`: the one place where data are judged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected, place
from statespace.sequences.arrays import to_tensor
from statespace.sequences.data import Sequences
from statespace.sequences.index import Index, named_place
from statespace.sequences.inputs import check_same_times, read_data_inputs
from statespace.sequences.parts import take_apart
from statespace.sequences.table import Table, pad, read_table
from statespace.shapes import active_rows, tmap

__all__ = ["read_sequences", "split", "whole"]


def read_sequences(
    y: Any,
    inputs: Any = None,
    *,
    obs_dim: int,
    input_dim: int,
    dtype: torch.dtype,
    device: torch.device | str,
    mask: Any = None,
    lengths: Any = None,
    condition: Any = None,
    integer: bool = False,
    horizon: int = 0,
    name: str = "y",
) -> Sequences:
    """Reads data in any form, and refuses in one sentence what cannot be read.

    Args:
        y: A tensor or an array (*batch, T, m); (T,) for one series of one feature; a list of
            numbers, likewise; a list of series (T_i, m) or (T_i,) of any lengths; a pandas Series
            or DataFrame, a long panel with a MultiIndex (id levels..., time). NaN is "not
            observed".
        inputs: In any of these forms, of T + horizon rows. One series of inputs serves a batch.
        obs_dim: m.
        input_dim: p.
        dtype: The model's dtype, to which integers and floats of any width are cast.
        device: The model's device. Tensors must lie there; all else is moved there.
        mask: What was observed: booleans of the shape of `y`, or without its last axis for
            whole rows. NaN is not observed even where the mask is True.
        lengths: Rows of each series of a dense `y`, (*batch,) integers; what stands beyond is
            never looked at.
        condition: A tensor or a tree of tensors, one per series: (*batch, ...).
        integer: Keep int64 (categories) instead of casting to `dtype`.
        horizon: Rows to forecast, for which inputs are needed too.
        name: The argument, for messages.

    Raises:
        InputError: A wrong shape or value, an unsorted index, a gap in the inputs.
        InputTypeError: Booleans, complex numbers, strings, or something unknown.

    Example:
        >>> nan = float("nan")
        >>> y = [torch.tensor([[1.0, nan], [2.0, 3.0]]), torch.tensor([[4.0, 5.0]])]
        >>> data = read_sequences(y, obs_dim=2, input_dim=0, dtype=torch.float64, device="cpu")
        >>> data.values.shape, data.lengths, data.n_values
        (torch.Size([2, 2, 2]), tensor([2, 1]), tensor([3, 2]))
        >>> data.values[0]
        tensor([[1., 0.],
                [2., 3.]], dtype=torch.float64)
    """
    device = torch.device(device)
    carrier = None if integer else dtype
    table = read_table(y, name=name, width=obs_dim, word="obs_dim", dtype=carrier, device=device)
    *batch, num_rows, _ = table.values.shape
    known: Tensor | None = None
    if table.lengths is None and lengths is None:
        longs = torch.full(tuple(batch), num_rows, dtype=torch.int64, device=device)
    else:
        longs = _read_lengths(lengths, table, device)
        if bool((longs < num_rows).any()):
            known = active_rows(longs, num_rows)[..., None].expand_as(table.values)
    if mask is not None:
        seen = _read_mask(mask, table, name, device)
        known = seen if known is None else known & seen
    values, observed, complete = split(table.values, known, name, table.labels)
    if integer:
        values = whole(values, name)
    u, future = read_data_inputs(
        inputs, table, longs, input_dim=input_dim, horizon=horizon, dtype=dtype
    )
    return Sequences(
        values=values,
        observed=observed,
        lengths=longs,
        inputs=u,
        condition=() if condition is None else _read_condition(condition, batch, dtype, device),
        index=table.labels,
        univariate=table.univariate,
        ragged_list=table.listed,
        future_inputs=future,
        _complete=complete or None,
    )


def split(
    values: Tensor, known: Tensor | None, name: str, index: Index | None = None
) -> tuple[Tensor, Tensor, bool]:
    """Parts numbers from what says whether they were observed.

    Args:
        values: (*batch, T, m), NaN where missing.
        known: Where to look at all, the same shape; None for everywhere.
        name: The argument, for messages.
        index: Labels, for messages.

    Returns:
        The values with 0 where not observed (their graph kept), the mask of what was observed,
        and whether that is known to be everything.

    Raises:
        InputError: An observed entry is infinite.
    """
    real = values.is_floating_point()
    if known is None:
        # one pass: a finite sum has neither NaN nor inf in it
        if not real or math.isfinite(values.detach().sum().item()):
            return (
                values,
                torch.ones((), dtype=torch.bool, device=values.device).expand_as(values),
                True,
            )
        observed = ~torch.isnan(values.detach())
    else:
        observed = known & ~torch.isnan(values.detach()) if real else known
    clean = values.masked_fill(~observed, 0)
    if real and not math.isfinite(clean.detach().sum().item()):
        infinite = torch.isinf(clean.detach())
        if bool(infinite.any()):  # else the sum overflowed, the numbers did not
            *series, row, column = infinite.nonzero()[0].tolist()
            where = named_place(series, row, column, index)
            got = f"{float(clean[(*series, row, column)])} at {where} in {clean.dtype}"
            todo = "Write NaN where nothing was observed, and rescale what is too large."
            raise InputError(expected(name, "finite numbers or NaN", got, todo))
    return clean, observed, False


def whole(values: Tensor, name: str) -> Tensor:
    """Floats that stand for categories as int64."""
    if not values.is_floating_point():
        return values
    whole = values.to(torch.int64)
    wrong = whole != values
    if bool(wrong.any()):
        *series, row, column = wrong.nonzero()[0].tolist()
        got = f"{float(values[(*series, row, column)])} at {place(series, row, column)}"
        todo = "Number the categories 0, 1, 2, ..."
        raise InputError(expected(name, "whole numbers, since y is categorical", got, todo))
    return whole


def _read_lengths(lengths: Any, table: Table, device: torch.device) -> Tensor:
    if table.lengths is not None:
        if lengths is not None:
            todo = "Leave it out: the series have their own lengths."
            raise InputError(expected("lengths", "none beside a list or a panel", "some", todo))
        return torch.tensor(table.lengths, dtype=torch.int64, device=device)
    *batch, num_rows, _ = table.values.shape
    if isinstance(lengths, int | np.integer) and not isinstance(lengths, bool):
        longs = torch.tensor(int(lengths), device=device)
    else:
        longs = to_tensor(lengths, name="lengths", dtype=None, device=device)
    if longs.is_floating_point():
        got = "floats"
        raise InputTypeError(expected("lengths", "integers", got, "Convert it with .long()."))
    if longs.shape != torch.Size(batch):
        got = f"shape {tuple(longs.shape)}"
        todo = "Give one length per series."
        raise InputError(expected("lengths", f"shape {tuple(batch)}", got, todo))
    wrong = (longs < 1) | (longs > num_rows)
    if bool(wrong.any()):
        where = wrong.nonzero()[0].tolist()
        got = f"{int(longs[tuple(where)])} for {place(where)}"
        todo = "Count the rows of each series, padding left out."
        raise InputError(expected("lengths", f"integers from 1 to T = {num_rows}", got, todo))
    return longs


def _read_mask(mask: Any, table: Table, name: str, device: torch.device) -> Tensor:
    """Booleans of the shape of the values; True is observed."""
    parts = take_apart(mask, name="mask", dtype=torch.bool, device=device)
    check_same_times(parts.labels, table.labels, "mask")
    shape = tuple(table.values.shape)
    if not parts.several:
        seen = parts.tensors[0]
        wanted = [shape[:-1]] if table.univariate else [shape, shape[:-1]]
        if tuple(seen.shape) not in wanted:
            _refuse_mask(wanted, tuple(seen.shape), name)
        return seen if seen.shape == shape else seen[..., None].expand(shape)
    longs = table.lengths
    if longs is None or len(longs) != len(parts.tensors):
        _refuse_mask([shape], f"a list of {len(parts.tensors)}", name)
        raise AssertionError
    tensors = []
    for seen, rows in zip(parts.tensors, longs, strict=True):
        wanted = [(rows,)] if table.univariate else [(rows, shape[-1]), (rows,)]
        if tuple(seen.shape) not in wanted:
            _refuse_mask(wanted, tuple(seen.shape), name)
        tensors.append(seen if seen.ndim == 2 else seen[:, None].expand(rows, shape[-1]))
    return pad(tensors)


def _refuse_mask(wanted: list[tuple[int, ...]], got: Any, name: str) -> None:
    shapes = " or ".join(map(str, wanted))
    received = got if isinstance(got, str) else f"shape {got}"
    todo = f"Give one boolean per entry of {name}, or one per row."
    raise InputError(expected("mask", f"shape {shapes}", received, todo))


def _read_condition(
    condition: Any, batch: list[int], dtype: torch.dtype, device: torch.device
) -> Any:
    if isinstance(condition, np.ndarray):
        condition = to_tensor(condition, name="condition", dtype=None, device=device)

    def read(x: Tensor) -> Tensor:
        kept = torch.int64 if not x.is_floating_point() else dtype
        x = to_tensor(x, name="condition", dtype=kept, device=device)
        if list(x.shape[: len(batch)]) != batch:
            todo = "Give one condition per series."
            wanted = f"leading axes {tuple(batch)}"
            raise InputError(expected("condition", wanted, f"shape {tuple(x.shape)}", todo))
        return x

    return tmap(read, condition)
