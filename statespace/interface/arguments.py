"""Argument names, checked in one place: a misspelt keyword is told its nearest neighbour."""

from __future__ import annotations

import difflib
import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from statespace.errors import InputTypeError, expected

__all__ = ["Checked", "check_arguments", "is_verb", "named", "verb"]

P = ParamSpec("P")
R = TypeVar("R")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class _Names:
    """The argument names of a function, without `self`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = list(inspect.signature(function).parameters.values())
        parameters = parameters[1:] if parameters and parameters[0].name == "self" else parameters
        kinds = [p.kind for p in parameters]
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.positional = [p.name for p in parameters if p.kind in _POSITIONAL]
        self.known = frozenset(p.name for p in named)
        self.required = frozenset(p.name for p in named if p.default is p.empty)
        self.open_positions = inspect.Parameter.VAR_POSITIONAL in kinds
        self.open_names = inspect.Parameter.VAR_KEYWORD in kinds
        self.enough = frozenset(  # so many alone, by position, are what is asked for
            count
            for count in range(len(self.positional) + 1)
            if self.required <= frozenset(self.positional[:count])
        )


@cache
def _names(function: Callable[..., Any]) -> _Names:
    return _Names(function)


def check_arguments(
    function: Callable[..., Any], owner: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Refuses arguments that a function does not know, or lacks.

    Args:
        function: Whose arguments they are.
        owner: What the sentence calls it.
        args: Positional arguments, without `self`.
        kwargs: Keyword arguments.

    Raises:
        InputTypeError: an unknown keyword (the nearest known one is named), too many positional
            arguments, or a required one missing.
    """
    names = _names(function)
    if not kwargs and len(args) in names.enough:
        return
    if not names.open_names:
        for word in kwargs.keys() - names.known:
            near = _nearest(word, names.known)
            hint = f"Did you mean `{near}`?" if near else "See its signature."
            known = ", ".join(sorted(names.known)) or "no arguments"
            raise InputTypeError(
                expected(word, f"one of the arguments of {owner}: {known}", f"`{word}`", hint)
            )
    if len(args) > len(names.positional) and not names.open_positions:
        places = ", ".join(names.positional) or "none"
        received = f"{len(args)} of them"
        todo = "Name the others by keyword."
        raise InputTypeError(
            expected(owner, f"at most these positional arguments: {places}", received, todo)
        )
    lacking = names.required - kwargs.keys() - frozenset(names.positional[: len(args)])
    if lacking:
        word = sorted(lacking)[0]
        raise InputTypeError(expected(word, f"a value for {owner}", "nothing", "Give it."))


def _nearest(word: str, known: frozenset[str]) -> str | None:
    """The known name that was probably meant."""
    holding = sorted((name for name in known if word in name or name in word), key=len)
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return next(iter([*holding, *close]), None)


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """Marks a verb: final, and with its argument names checked."""
    name = f"{function.__name__}()"

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_arguments(function, name, args[1:], kwargs)
        return function(*args, **kwargs)

    call.__dict__["verb"] = True
    return call


def named(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose argument names are checked likewise."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_arguments(function, f"{function.__name__}()", args, kwargs)
        return function(*args, **kwargs)

    return call


def is_verb(thing: Any) -> bool:
    """Whether it is a function marked as a verb."""
    return inspect.isfunction(thing) and thing.__dict__.get("verb", False)


class Checked(ABCMeta):
    """Abstract or final classes whose constructors have their argument names checked."""

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's own, which `help` and editors would not see behind `__call__`."""
        _, *rest = inspect.signature(type.__getattribute__(cls, "__init__")).parameters.values()
        return inspect.Signature(rest)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Makes one."""
        check_arguments(type.__getattribute__(cls, "__init__"), f"{cls.__name__}()", args, kwargs)
        return super().__call__(*args, **kwargs)
