"""Loading much at once, without the collector of garbage looking at all there is meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection inside, where there was to be one.

    Imports and unpickling make many objects that stay, which sets off collections that walk
    through all of torch and find nothing: a quarter of the time of a first call.
    """
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()
