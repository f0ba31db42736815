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
from dataclasses import dataclass
from typing import Any, TypeVar

_TURN = 0.005  # seconds that one turn takes at least; short calls are repeated within it
ROUNDS = 5
_HOPELESS = 30  # times slower than another: one turn is enough to say so

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Paced:
    """A call that times a part of itself: one iteration among several, say.

    Attributes:
        answer: What the work gives, to be compared.
        seconds: Does the work and gives the time of the part that counts.
    """

    answer: Callable[[], Any]
    seconds: Callable[[], float]

    def __call__(self) -> Any:
        return self.answer()


def interleaved(
    calls: Mapping[K, Callable[[], Any]], seconds: float, rounds: int = ROUNDS
) -> dict[K, float]:
    """The smallest time of one call of each, in seconds.

    Args:
        calls: what to time, already called once (compiled, cached).
        seconds: the time to spend on all together; those that are slow get no more turns once
            their share is spent.
        rounds: turns that each gets at least, but for those thirty times slower than another.
    """
    best = {name: once(call) for name, call in calls.items()}
    bound = _HOPELESS * min(best.values(), default=math.inf)
    calls = {name: call for name, call in calls.items() if best[name] <= bound}
    numbers = {name: max(1, math.ceil(_TURN / best[name])) for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    share, done = seconds / max(len(calls), 1), 0
    gc.collect()
    gc.disable()
    try:
        while done < rounds or any(s < share for s in spent.values()):
            for name, call in calls.items():
                if done < rounds or spent[name] < share:
                    begin = time.perf_counter()
                    best[name] = min(best[name], _time(call, numbers[name]))
                    spent[name] += time.perf_counter() - begin
            done += 1
    finally:
        gc.enable()
    return best


def once(call: Callable[[], Any]) -> float:
    """The time of one call, in seconds."""
    return _time(call, 1)


def _time(call: Callable[[], Any], number: int) -> float:
    """Of one call, on average over so many in a row."""
    if isinstance(call, Paced):
        return min(call.seconds() for _ in range(number))
    begin = time.perf_counter()
    for _ in range(number):
        call()
    return max(time.perf_counter() - begin, 1e-9) / number
