"""pandas objects: numbers out of the columns, labels out of the index."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected
from statespace.sequences.arrays import to_tensor
from statespace.sequences.index import Index

__all__ = ["read_frame"]

_SORT = "Sort it with .sort_index()."
_WORDS = "Make dates of these words, or .reset_index(drop=True) if the rows are in order."
_UNIQUE = "Keep one row per time, for example with .groupby(level=...).mean()."


def read_frame(
    frame: Any, *, name: str, dtype: torch.dtype | None, device: torch.device
) -> tuple[list[Tensor], Index, bool]:
    """Reads a Series or a DataFrame.

    Args:
        frame: One series of rows in time order; or, with a MultiIndex (id levels..., time), a
            long panel, whose rows may come in any order of the ids.
        name: The argument, for messages.
        dtype: As in `to_tensor`.
        device: The model's device.

    Returns:
        The tensors (T_i, m), or (T_i,) from a Series, one per series; their labels; and whether
        it was a panel.

    Raises:
        InputError: An index is unsorted, it or the columns have duplicates, a label is missing.
        InputTypeError: A column holds no numbers.
    """
    import pandas as pd

    table = frame.to_frame() if isinstance(frame, pd.Series) else frame
    flat = isinstance(frame, pd.Series)
    names = tuple(table.columns)
    if flat:
        names = () if frame.name is None else (frame.name,)
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        todo = "Rename one of the columns."
        raise InputError(expected(name, "columns of different names", f"{twice!r} twice", todo))
    values = _numbers(table, name, dtype, device)
    values = values[:, 0] if flat else values
    if not isinstance(frame.index, pd.MultiIndex):
        _check_times(frame.index, name, "the index")
        return [values], Index(names or None, (frame.index,)), False
    *id_names, _ = frame.index.names
    ids_of_rows = frame.index.droplevel(-1)
    times_of_rows = frame.index.get_level_values(-1)
    codes, ids = pd.factorize(ids_of_rows)
    if (codes < 0).any():
        raise InputError(expected(name, "an id in every row", "a missing one", "Name the series."))
    order = np.argsort(codes, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
    times = []
    for series, rows in zip(ids, pieces, strict=True):
        times.append(times_of_rows[rows])
        _check_times(times[-1], name, f"the index of series {series!r}")
    parts = [values[torch.from_numpy(rows).to(device)] for rows in pieces]
    return parts, Index(names or None, tuple(times), tuple(ids), tuple(id_names)), True


def _check_times(times: Any, name: str, what: str) -> None:
    if times.hasnans:
        row = int(np.flatnonzero(times.isna())[0])
        todo = "Drop that row, or say when it was."
        raise InputError(expected(name, f"{what} without gaps", f"none in row {row}", todo))
    if not times.is_unique:
        twice = times[times.duplicated()][0]
        raise InputError(expected(name, f"{what} without duplicates", f"{twice!s} twice", _UNIQUE))
    if not times.is_monotonic_increasing:
        row = next(i for i in range(1, len(times)) if not times[i - 1] < times[i])
        got = f"{times[row - 1]!s} before {times[row]!s} (row {row})"
        todo = _SORT if _measures(times) else _WORDS
        raise InputError(expected(name, f"{what} in increasing order", got, todo))


def _measures(times: Any) -> bool:
    """Whether labels are numbers, dates or spans: sorted words are in no order of time."""
    import pandas as pd

    dates = pd.PeriodIndex | pd.DatetimeIndex | pd.TimedeltaIndex
    return isinstance(times, dates) or pd.api.types.is_numeric_dtype(times)


def _numbers(table: Any, name: str, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    """The columns as a tensor (T, m); nullable columns have NaN where they hold NA."""
    import pandas as pd

    kinds = pd.api.types
    columns = []
    for label, column in table.items():
        kind = column.dtype
        fits = kinds.is_bool_dtype(kind) if dtype == torch.bool else kinds.is_numeric_dtype(kind)
        if not fits or (dtype != torch.bool and kinds.is_bool_dtype(kind)):
            wanted = "booleans" if dtype == torch.bool else "numbers"
            got = f"dtype {kind} in column {label!r}"
            todo = f"Convert the column to {wanted}, or leave it out."
            raise InputTypeError(expected(name, f"columns of {wanted}", got, todo))
        if column.isna().any():
            columns.append(column.to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            columns.append(column.to_numpy(dtype=getattr(kind, "numpy_dtype", kind)))
    if not columns:
        return torch.empty(len(table), 0, dtype=dtype or torch.float64, device=device)
    return to_tensor(np.stack(columns, -1), name=name, dtype=dtype, device=device)
