"""How much of a record is held: `keep=`, read and applied to records that were made whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from statespace.errors import InputError, expected
from statespace.results.filtered import Filtered
from statespace.results.record import Record
from statespace.results.smoothed import Smoothed
from statespace.sequences import Index
from statespace.shapes import row_at

__all__ = ["keeping", "last_labels", "read_keep"]

R = TypeVar("R", Filtered, Smoothed)


def read_keep(keep: Any, record: type[Record]) -> str:
    """A word of those that the record knows.

    Raises:
        InputError: another one.

    Example:
        >>> read_keep("means", Smoothed)
        'means'
    """
    if isinstance(keep, str) and keep in record.keeps:
        return keep
    *most, last = (f'"{word}"' for word in record.keeps)
    todo = "Choose one of them."
    if keep == "last":
        todo = 'Given all of y, the last state is that of filter(y, keep="last").'
    raise InputError(expected("keep", f"{', '.join(most)} or {last}", f"{keep!r:.60}", todo))


def keeping(record: R, keep: str) -> R:
    """The record with what `keep` holds of it, and nothing besides."""
    if keep == record.keep:
        return record
    if keep == "last":
        return record.having(keep=keep, **_last(record))
    return record.having(keep=keep)


def _last(record: Any) -> dict[str, Any]:
    """The fields at the last row of each series."""
    rank, at = record.lengths.ndim, (record.lengths - 1).clamp_min(0)
    fields: dict[str, Any] = {"start": at, "lengths": record.lengths.clamp_max(1)}
    for name, axes in record.layout.items():
        value = getattr(record, name)
        if value is not None and axes.rows:
            fields[name] = row_at(value, at, rank)
    return fields | {"index": last_labels(record.index)}


def last_labels(index: Index | None) -> Index | None:
    """The labels of the last row of each series."""
    if index is None or index.times is None:
        return index
    return replace(index, times=tuple(times[-1:] for times in index.times))
