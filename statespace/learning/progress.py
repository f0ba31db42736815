"""What a person sees while a fit runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from statespace.errors import InputTypeError, expected

__all__ = ["Report", "reporting"]


class Report:
    """Called with the iteration and the objective; `note` adds words to what is shown.

    Args:
        show: Is called likewise.
        note: Is called with the words.
    """

    def __init__(
        self,
        show: Callable[[int, float], Any] = lambda iteration, objective: None,
        note: Callable[[str], Any] = lambda words: None,
    ) -> None:
        self._show, self.note = show, note

    def __call__(self, iteration: int, objective: float) -> None:
        self._show(iteration, objective)


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
        yield Report()
    elif progress is True:
        from tqdm.auto import tqdm

        with tqdm(total=total, desc=name, leave=False) as bar:
            noted, last = "", 0

            def show(iteration: int, objective: float) -> None:
                nonlocal last
                bar.set_postfix_str(noted or f"{objective:.4f}", refresh=False)
                # a fit that goes on begins where it stood, another start at one
                bar.update(iteration - last if iteration > last else 1)
                last = iteration

            def note(words: str) -> None:
                nonlocal noted
                noted = words

            yield Report(show, note)
    elif callable(progress):
        yield Report(progress)
    else:
        raise InputTypeError(
            expected(
                "progress",
                "None, True, or a function of (iteration, objective)",
                f"{progress!r:.60}",
                "Give progress=True for a bar.",
            )
        )
