"""Noise that belongs to learning alone, such as dropout: on while a learner climbs, else off.

`Module.train()` and `.eval()` say nothing here: a model would be noisy in every verb from the
moment it is made, and one forgotten call would change a likelihood.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["climbing", "is_climbing"]

_CLIMBING: ContextVar[bool] = ContextVar("whether a learner climbs", default=False)


def is_climbing() -> bool:
    """Whether a learner asks for what it climbs."""
    return _CLIMBING.get()


@contextmanager
def climbing() -> Iterator[None]:
    """Inside, parts of a model may add the noise that regularises them.

    Example:
        >>> with climbing():
        ...     is_climbing()
        True
        >>> is_climbing()
        False
    """
    token = _CLIMBING.set(True)
    try:
        yield
    finally:
        _CLIMBING.reset(token)
