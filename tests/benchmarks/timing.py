"""Interleaved minima: every contestant takes its turn in every round, and its best turn counts.

A shared machine is slow for seconds at a time. Contestants timed one after the other meet
different machines; contestants who take turns meet the same one, and the best turn is the one
that was disturbed least.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

_TURN = 0.005  # seconds that one turn takes at least; short calls are repeated within it
_ROUNDS = 3

K = TypeVar("K", bound=Hashable)


def interleaved(calls: Mapping[K, Callable[[], Any]], seconds: float) -> dict[K, float]:
    """The smallest time of one call of each, in seconds.

    Args:
        calls: what to time, already called once (compiled, cached).
        seconds: the time to spend on all together; each gets three turns at least, and those
            that are slow get no more once their share is spent.
    """
    numbers = {name: max(1, math.ceil(_TURN / once(call))) for name, call in calls.items()}
    best = dict.fromkeys(calls, math.inf)
    spent = dict.fromkeys(calls, 0.0)
    share, rounds = seconds / max(len(calls), 1), 0
    gc.collect()
    gc.disable()
    try:
        while rounds < _ROUNDS or any(s < share for s in spent.values()):
            for name, call in calls.items():
                if rounds < _ROUNDS or spent[name] < share:
                    took = _time(call, numbers[name])
                    spent[name] += took
                    best[name] = min(best[name], took / numbers[name])
            rounds += 1
    finally:
        gc.enable()
    return best


def once(call: Callable[[], Any]) -> float:
    """The time of one call, in seconds."""
    return _time(call, 1)


def _time(call: Callable[[], Any], number: int) -> float:
    begin = time.perf_counter()
    for _ in range(number):
        call()
    return max(time.perf_counter() - begin, 1e-9)
