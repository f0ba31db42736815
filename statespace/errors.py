"""Errors, and the one form of the sentence they carry.

Every error of the library derives from `StateSpaceError`, so that one `except` catches them all,
and from the built-in class that says what it is, so that code which knows nothing of the library
catches it too.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "DataError",
    "DerivativeError",
    "FieldError",
    "InputError",
    "InputTypeError",
    "MethodError",
    "NumericalError",
    "StateSpaceError",
    "StorageError",
    "expected",
    "place",
]


class StateSpaceError(Exception):
    """The base of every error that the library raises on purpose."""


class InputError(StateSpaceError, ValueError):
    """An argument of the right type has a wrong value or a wrong shape."""


class InputTypeError(StateSpaceError, TypeError):
    """An argument has a type or a dtype that cannot be read."""


class NumericalError(StateSpaceError, ArithmeticError):
    """A computation failed; the message names the series and the step."""


class MethodError(StateSpaceError, TypeError):
    """A method cannot serve a model; the message says which methods can."""


class DerivativeError(StateSpaceError, RuntimeError):
    """A derivative was asked for that is not implemented (never a silent zero)."""


class FieldError(StateSpaceError, AttributeError):
    """A field of a record was not kept; the message says what to ask for to have it."""


class StorageError(StateSpaceError, ValueError):
    """A stored model cannot be written or read."""


class DataError(StateSpaceError, LookupError):
    """A dataset was not found; the message says what to fetch and from where."""


def expected(argument: str, expected: str, received: str, todo: str) -> str:
    """The sentence of every refusal: what was expected, what came, what to do.

    Args:
        argument: Name of the argument as its user wrote it.
        expected: What would have been right, without a full stop.
        received: What came, without a full stop.
        todo: What to do about it: one sentence in the imperative.

    Example:
        >>> print(expected("lengths", "at most 80", "81 for series 2", "Shorten it."))
        `lengths`: expected at most 80, received 81 for series 2. Shorten it.
    """
    return f"`{argument}`: expected {expected}, received {received}. {todo}"


def place(series: Sequence[int] = (), row: int | None = None, column: int | None = None) -> str:
    """Names a place in the data, counted from 0: the series, the row, the column.

    Args:
        series: Index in the batch; empty where there is only one series.
        row: Index of the row (the step), or None for the whole series.
        column: Index of the entry in the row, or None for the whole row.

    Example:
        >>> place((2,), 17, 0), place((), 17), place((1, 2))
        ('series 2, row 17, column 0', 'row 17', 'series (1, 2)')
    """
    words = []
    if len(series) == 1:
        words.append(f"series {series[0]}")
    elif series:
        words.append(f"series ({', '.join(map(str, series))})")
    if row is not None:
        words.append(f"row {row}")
    if column is not None:
        words.append(f"column {column}")
    return ", ".join(words) or "the series"
