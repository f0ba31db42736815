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
from .timing import interleaved


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
            try:
                entered = race.enter(library)
            except NotOffered as reason:
                cells[library.name] = f"({reason})"
                continue
            for setting, call in entered.items():
                try:
                    answer = call()
                except FAILURES as problem:
                    cells[library.name] = f"({type(problem).__name__})"
                    continue
                truth = answer if library is ours else truth
                if _agree(answer, truth, race.tolerance):
                    calls[library.name, setting] = call
                else:
                    cells[library.name] = "(another result)"
        times = interleaved(calls, seconds)
    best: dict[str, float] = {}
    for (name, _), took in times.items():
        best[name] = min(took, best.get(name, math.inf))
    own = best.pop(ours.name, math.nan)
    cells |= {name: ratio(took / own) for name, took in best.items()}
    mark = "" if not best else RED if min(best.values()) < own else GREEN
    return [mark, race.name, race.size, *(cells[peer.name] for peer in peers)]


def _agree(answer: Any, truth: Any, tolerance: float) -> bool:
    pairs = list(zip(answer, truth, strict=False)) if isinstance(truth, tuple) else None
    if isinstance(truth, list):  # histories: as far as both go
        pairs = [(np.array(answer[:k]), np.array(truth[:k])) for k in [min(len(answer), len(truth))]]
    for a, b in pairs or [(np.asarray(answer), np.asarray(truth))]:
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance * float(np.abs(b).max())):
            return False
    return True
