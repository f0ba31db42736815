"""Errors: one base, the right built-in class beside it, one form of sentence."""

from __future__ import annotations

import re

import pytest

from statespace import errors
from statespace.errors import StateSpaceError, expected, place

BUILT_IN = {
    "InputError": ValueError,
    "InputTypeError": TypeError,
    "NumericalError": ArithmeticError,
    "MethodError": TypeError,
    "DerivativeError": RuntimeError,
    "FieldError": AttributeError,
    "StorageError": ValueError,
    "DataError": LookupError,
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_error_has_two_parents(name: str) -> None:
    """Code that knows the library catches `StateSpaceError`, other code the built-in class."""
    error = getattr(errors, name)
    assert issubclass(error, StateSpaceError)
    assert issubclass(error, BUILT_IN[name])


def test_the_table_above_is_complete() -> None:
    """No exported error is missing from it."""
    exported = {name for name in errors.__all__ if name.endswith("Error")}
    assert exported == {*BUILT_IN, "StateSpaceError"}


def test_the_sentence_has_four_parts() -> None:
    """Argument, expected, received, what to do, in this order."""
    sentence = expected("y", "shape (T, 3)", "shape (3, T)", "Transpose it.")
    assert re.fullmatch(r"`y`: expected .*, received .*\. Transpose it\.", sentence)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((),), "the series"),
        (((3,),), "series 3"),
        (((), 4), "row 4"),
        (((3,), 4, 1), "series 3, row 4, column 1"),
        (((0, 2), 4), "series (0, 2), row 4"),
    ],
)
def test_places(arguments: tuple[object, ...], words: str) -> None:
    """A place is named by what there is to name."""
    assert place(*arguments) == words  # type: ignore[arg-type]
