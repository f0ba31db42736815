"""Records as DataFrames: columns with names, rows with the index that the data came with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from statespace.results.record import position
from statespace.sequences import Index

__all__ = ["names_of_y", "row_labels", "stack_series", "to_columns"]

Columns = dict[Any, Any]  # from a label, or a tuple of labels, to an array (T,)


def names_of_y(index: Index | None, width: int, univariate: bool) -> tuple[Any, ...]:
    """The names of the features of y: those of the data, else y[0], y[1], ...

    Example:
        >>> names_of_y(None, 2, False), names_of_y(Index(names=("flow",)), 1, True)
        (('y[0]', 'y[1]'), ('flow',))
    """
    if index is not None and index.names is not None:
        return index.names
    return ("y",) if univariate else tuple(f"y[{i}]" for i in range(width))


def to_columns(names: Sequence[Any], **numbers: Tensor | None) -> Columns:
    """Numbers about some features, each (T, k), or (T,) for one, as columns (name, which number).

    Example:
        >>> list(to_columns(["z[0]", "z[1]"], mean=torch.zeros(5, 2), stddev=torch.ones(5, 2)))
        [('z[0]', 'mean'), ('z[0]', 'stddev'), ('z[1]', 'mean'), ('z[1]', 'stddev')]
    """
    tables = {
        what: values.detach().cpu().reshape(values.shape[0], -1).numpy()
        for what, values in numbers.items()
        if values is not None
    }
    return {
        (name, what): table[:, i] for i, name in enumerate(names) for what, table in tables.items()
    }


def row_labels(index: Index | None, num_rows: int, horizon: bool = False, start: int = 0) -> Any:
    """The labels of the rows of one series, or of the `num_rows` that follow them."""
    import pandas as pd

    if index is None or index.times is None:
        return pd.RangeIndex(start, start + num_rows, name="t")
    return index.future(0, num_rows) if horizon else index.times[0][:num_rows]


def stack_series(
    columns: Sequence[Columns],
    rows: Sequence[Any],
    batch_shape: torch.Size,
    index: Index | None,
    flat: bool = False,
) -> Any:
    """One DataFrame of all series; the ids are the first levels of its index.

    Args:
        columns: The columns of each series.
        rows: The row labels of each series.
        batch_shape: () for one series, which then has no id.
        index: Labels of the batch.
        flat: Whether the columns are named by what they hold alone.
    """
    import pandas as pd

    frames = []
    for parts, labels in zip(columns, rows, strict=True):
        frame = pd.DataFrame(parts, index=labels)
        if flat:
            frame.columns = [what for _, what in parts]
        frames.append(frame)
    if not batch_shape:
        return frames[0]
    time = rows[0].name
    if index is not None and index.ids is not None and len(index.ids) == len(frames):
        return pd.concat(frames, keys=list(index.ids), names=[*index.id_names, time])
    keys = [position(i, batch_shape) for i in range(len(frames))]
    if len(batch_shape) == 1:
        return pd.concat(frames, keys=[key[0] for key in keys], names=["series", time])
    levels = [f"series[{axis}]" for axis in range(len(batch_shape))]
    return pd.concat(frames, keys=keys, names=[*levels, time])
