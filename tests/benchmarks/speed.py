"""How fast each library is, as ratios within one run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import statespace as ss

from .accuracy import FAILURES
from .libraries import Library, NotOffered
from .problems import ordinary
from .table import GREEN, RED, ratio, table
from .timing import interleaved, once


@dataclass(frozen=True)
class Race:
    """Work that every library is asked for, and how nearly their answers must agree."""

    name: str
    size: str
    enter: Callable[[Library], dict[str, Callable[[], Any]]]
    tolerance: float = 1e-6  # relative


def races() -> Iterator[Race]:
    """Every row of the table."""
    small, single = ordinary(1, 1, 100), ordinary(4, 4, 10_000)
    gaps = ordinary(4, 4, 10_000, missing=0.1)
    panel, nile = ordinary(4, 8, 200, series=64), ss.datasets.nile().numpy()
    names = (
        ("T = 100, n = m = 1", small),
        ("T = 10000, n = m = 4", single),
        ("T = 10000, n = m = 4, 10 % of entries missing", gaps),
    )
    for verb, work in (
        ("log_likelihood", "log-likelihood"),
        ("smooth", "smoothed means and covariances"),
        ("gradient", "log-likelihood and gradient in A, C, Q, R"),
    ):
        for size, p in names:
            yield Race(work, size, lambda x, v=verb, p=p: getattr(x, v)(p))
    yield Race(
        "5 steps of EM in all parameters",
        "64 series, T = 200, n = 4, m = 8",
        lambda x: x.em_steps(panel, 5),
        tolerance=1e-5,
    )
    yield Race(
        "fit of the local level, diffuse start",
        "Nile, T = 100",
        lambda x: x.fit_level(nile),
    )


def run(ours: Library, peers: list[Library], seconds: float, say: Callable[[str], None]) -> str:
    """The table; `seconds` is the time to spend on each row."""
    rows = []
    for race in races():
        say(f"speed: {race.name}, {race.size}")
        rows.append(_row(race, ours, peers, seconds))
    return table(["", "work", "size", *(peer.name for peer in peers)], rows)


def _row(race: Race, ours: Library, peers: list[Library], seconds: float) -> list[str]:
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    cells: dict[str, str] = {}
    truth: Any = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's remarks are not what is measured
        for library in (ours, *peers):
            answers, cells[library.name] = _enter(race, library)
            if library is ours:
                truth = next(iter(answers.values()))[1]
            agreeing = {k: c for k, (c, a) in answers.items() if _agree(a, truth, race.tolerance)}
            if answers and not agreeing:
                cells[library.name] = "(another result)"
            calls |= {(library.name, k): call for k, call in _quick(agreeing).items()}
        times = interleaved(calls, seconds)
    best: dict[str, float] = {}
    for (name, _), took in times.items():
        best[name] = min(took, best.get(name, math.inf))
    own = best.pop(ours.name)
    cells |= {name: ratio(took / own) for name, took in best.items()}
    mark = "" if not best else RED if min(best.values()) < own else GREEN
    return [mark, race.name, race.size, *(cells[peer.name] for peer in peers)]


def _enter(race: Race, library: Library) -> tuple[dict[str, tuple[Callable[[], Any], Any]], str]:
    """Calls with their first answers, by setting; why there are none."""
    try:
        entered = race.enter(library)
    except NotOffered as reason:
        return {}, f"({reason})"
    answers, reason_text = {}, ""
    for setting, call in entered.items():
        try:
            answers[setting] = (call, call())
        except FAILURES as problem:
            reason_text = f"({type(problem).__name__})"
    return answers, reason_text


def _quick(calls: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """Without the settings that are far slower than the library's best: only that counts."""
    if len(calls) < 2:
        return calls
    took = {setting: once(call) for setting, call in calls.items()}
    return {k: call for k, call in calls.items() if took[k] <= 2 * min(took.values())}


def _agree(answer: Any, truth: Any, tolerance: float) -> bool:
    pairs = list(zip(answer, truth, strict=False)) if isinstance(truth, tuple) else None
    if isinstance(truth, list):  # histories: as far as both go
        pairs = [
            (np.array(answer[:k]), np.array(truth[:k])) for k in [min(len(answer), len(truth))]
        ]
    for a, b in pairs or [(np.asarray(answer), np.asarray(truth))]:
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance * float(np.abs(b).max())):
            return False
    return True
