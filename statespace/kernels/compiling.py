"""How kernels are compiled, cached, announced and spread over threads."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import torch
from numba.core.runtime import rtsys

from statespace.kernels.caching import directory
from statespace.kernels.loading import uncollected

__all__ = ["announced", "kernel", "spread", "threads"]

_LOG = logging.getLogger("statespace")
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_WORTH = 1 << 21  # products that take as long as waking a thread and waiting for it
_PATIENCE = 1.0  # seconds of a first call before it is said what it is doing


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles when first called; keeps the result on disk where there is a place to write."""
    place = directory()
    if place is None:
        return numba.njit(**_OPTIONS)(function)
    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(place)
    try:
        return _loading(numba.njit(cache=True, **_OPTIONS)(function))
    finally:
        settings.CACHE_DIR = before


def _loading(dispatcher: Any) -> Any:
    """The same, loading what is kept on disk without what numba needs for compiling only.

    numba first imports all that compiled code may ever call, which takes longer than the loading.
    Where nothing is kept, its compiler does so itself.
    """
    cache = dispatcher._cache

    def load(signature: Any, target: Any) -> Any:
        rtsys.initialize(target)
        with uncollected(), cache._guard_against_spurious_io_errors():
            return cache._load_overload(signature, target)

    cache.load_overload = load
    return dispatcher


def inner(function: Callable[..., Any]) -> Any:
    """A part of kernels, compiled into each of them.

    Overloads must not be inlined beside it: numba (seen in 0.68) then frees the fields of tuples of
    arrays that are still in use. A tuple's fields are counted at every reading, so what is read in
    every row stands in local variables.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)


def called(function: Callable[..., Any]) -> Any:
    """A part of kernels that is compiled once and called: one that returns arrays."""
    return numba.njit(**_OPTIONS)(function)


class _Pool:
    """Threads, made when first needed and again in a forked child, which inherits none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock, self._pool = threading.Lock(), None

    def get(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="statespace")
            return self._pool


_POOL = _Pool()
_seen: set[Any] = set()
_TEXT = (
    "statespace compiles its loops for this machine, which takes up to a minute the first time; "
    "they are kept for the next."
)


class _Voice:
    """Says it once in a process, however many loops are compiled."""

    def __init__(self) -> None:
        self.said = False

    def __call__(self) -> None:
        if not self.said:
            self.said = True
            _LOG.warning(_TEXT)


_say = _Voice()


def threads() -> int:
    """How many threads a call may use: torch's number."""
    return torch.get_num_threads()


def spread(run: Callable[[int, int], Any], tasks: int, work: float = math.inf) -> None:
    """run(from, to) over 0 .. tasks, in as many equal pieces as there are threads.

    `work`, about how many products there are, says whether it is worth waking them.
    """
    pieces = min(threads(), tasks)
    if pieces <= 1 or work < _WORTH:
        run(0, tasks)
        return
    edges = [tasks * i // pieces for i in range(pieces + 1)]
    waiting = [_POOL.get().submit(run, a, b) for a, b in pairwise(edges[1:])]
    run(edges[0], edges[1])
    for piece in waiting:
        piece.result()


def announced(key: Any, run: Callable[[], Any]) -> Any:
    """Runs; says once what is going on if a first call takes long, as compiling does."""
    if key in _seen:
        return run()
    timer = threading.Timer(_PATIENCE, _say)
    timer.daemon = True
    timer.start()
    try:
        return run()
    finally:
        timer.cancel()
        _seen.add(key)


_entries: dict[Any, Any] = {}  # the machine code of loops, by what was called


def quick(key: Any, loop: Any, *args: Any) -> Any:
    """Calls a loop, from the second time on past numba's look at the type of every array.

    That look takes as long as the loop itself does over a short series.

    Args:
        key: What is called; arguments of equal keys have equal types, arrays stand in order (numba,
            which would see it, does not look), and `loop` is always the same.
        loop: A kernel.
        args: All of its arguments.
    """
    entry = _entries.get(key)
    if entry is not None:
        return entry(*args)
    found = announced(key, lambda: loop(*args))
    compiled = loop.overloads.get(tuple(map(loop.typeof_pyval, args)))
    if compiled is not None:
        _entries[key] = compiled.entry_point
    return found
