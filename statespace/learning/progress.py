"""What a person sees while a fit runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from statespace.errors import InputTypeError, expected

__all__ = ["Report", "reporting"]

Report = Callable[[int, float], None]  # the iteration, the objective


@contextmanager
def reporting(progress: Any, total: int, name: str) -> Iterator[Report]:
    """Makes a reporter of what the user asked for.

    Args:
        progress: None or False for silence, True for a bar, or a function that is called with the
            iteration (from 1) and the objective.
        total: Iterations at the most.
        name: What the bar says.
    """
    if progress is None or progress is False:
        yield lambda iteration, objective: None
    elif progress is True:
        from tqdm.auto import tqdm

        with tqdm(total=total, desc=name, leave=False) as bar:

            def show(iteration: int, objective: float) -> None:
                bar.set_postfix_str(f"{objective:.4f}")
                bar.update(1)

            yield show
    elif callable(progress):
        yield progress
    else:
        raise InputTypeError(
            expected(
                "progress",
                "None, True, or a function of (iteration, objective)",
                f"{progress!r:.60}",
                "Give progress=True for a bar.",
            )
        )
