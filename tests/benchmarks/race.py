"""Before anything is timed: who offers the work, whose answer is the same, which settings race."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .accuracy import FAILURES
from .libraries import NotOffered
from .timing import once

Calls = Mapping[str, Callable[[], Any]]
Answers = dict[str, tuple[Callable[[], Any], Any]]


def enter(ask: Callable[[], Calls]) -> tuple[Answers, str]:
    """Calls with their first answers, by setting; or why there are none."""
    try:
        entered = ask()
    except NotOffered as reason:
        return {}, f"({reason})"
    answers, reason_text = {}, ""
    for setting, call in entered.items():
        try:
            answers[setting] = (call, call())
        except FAILURES as problem:
            reason_text = f"({type(problem).__name__})"
    return answers, reason_text


def agreeing(answers: Answers, truth: Any, tolerance: float) -> dict[str, Any]:
    """The calls whose answers are those of `truth`."""
    return {k: call for k, (call, answer) in answers.items() if agree(answer, truth, tolerance)}


def quick(calls: Calls) -> dict[str, Callable[[], Any]]:
    """Without the settings that are far slower than the library's best: only that counts."""
    if len(calls) < 2:
        return dict(calls)
    took = {setting: once(call) for setting, call in calls.items()}
    return {k: call for k, call in calls.items() if took[k] <= 1.5 * min(took.values())}


def agree(answer: Any, truth: Any, tolerance: float) -> bool:
    """Whether two answers, or each pair of parts of two, are the same.

    Args:
        answer: Numbers, or a tuple of such; it may have more parts than the other one.
        truth: The other answer.
        tolerance: Of a difference, relative to the largest entry.
    """
    if truth is None:
        return False
    if isinstance(truth, tuple):
        return all(agree(a, b, tolerance) for a, b in zip(answer, truth, strict=False))
    a, b = np.asarray(answer), np.asarray(truth)
    return bool(np.allclose(a, b, rtol=0, atol=tolerance * float(np.abs(b).max())))
