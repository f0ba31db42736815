"""Complete data on a grid of sizes, against whichever peer is best in each cell.

The grid is long, so that it is measured on demand and kept: `results/grid.json` holds the ratio of
every cell, and the page shows what is there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from .libraries import Library
from .problems import Problem, ordinary
from .race import agreeing, enter, quick
from .timing import ROUNDS, interleaved, once

WORKS = {"log_likelihood": "log-likelihood", "means": "smoothed means"}
SIZES = {"n": (1, 2, 4, 8, 16, 32), "m": (1, 4, 16, 64), "T": (30, 300, 3000), "B": (1, 16, 256)}
TINY = {"n": (1, 2), "m": (1, 4), "T": (30,), "B": (1, 3)}
BOUND = 1.5  # no cell may be slower than the best peer by more
STORE = Path(__file__).parent / "results" / "grid.json"

_GIGABYTE = 2**30
_RECORDS = 5  # matrices of each size that a model of statsmodels keeps for a row
_SETTINGS = ("default", "sequential", "information", "conventional", "univariate")
_HOPELESS = 3  # times slower than another peer: such a peer is not timed any further

Cells = dict[str, dict[str, Any]]


class Cell(NamedTuple):
    """One place in the table."""

    work: str
    n: int
    m: int
    T: int
    B: int

    @property
    def key(self) -> str:
        return f"{self.work} n={self.n} m={self.m} T={self.T} B={self.B}"

    @property
    def fits(self) -> bool:
        """Whether the data, and where states are smoothed their moments, take 1 GB or less."""
        moments = self.n + self.n**2 if self.work == "means" else 0
        return 8 * self.B * self.T * (self.m + moments) <= _GIGABYTE

    def problem(self) -> Problem:
        """The model and the data; one series has no axis of a panel."""
        return ordinary(self.n, self.m, self.T, series=None if self.B == 1 else self.B)


def cells(sizes: dict[str, tuple[int, ...]]) -> Iterator[Cell]:
    """Every cell, the short ones first."""
    for T, B, n, m, work in product(*(sizes[k] for k in "TBnm"), WORKS):
        yield Cell(work, n, m, T, B)


def load(path: Path = STORE) -> dict[str, Any]:
    """What was measured before: {"environment": ..., "cells": ...}."""
    if not path.exists():
        return {"environment": "", "cells": {}}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def run(
    ours: Library,
    peers: list[Library],
    seconds: float,
    say: Callable[[str], None],
    *,
    which: str = "all",
    sizes: dict[str, tuple[int, ...]] = SIZES,
    environment: str = "",
    path: Path = STORE,
) -> dict[str, Any]:
    """Measures, and writes after every cell.

    Args:
        ours: This library.
        peers: The others; those that cannot race here are left out.
        seconds: For each cell, beside five turns of each contestant.
        say: Where progress is told.
        which: "all", those that are "missing" in what is kept, or those that were "slow".
        sizes: The grid.
        environment: In words, kept beside the numbers.
        path: Where they are kept.
    """
    old: Cells = load(path)["cells"] if which != "all" else {}
    kept = {"environment": environment, "cells": old}
    racing = [p for p in peers if p.name in ("statsmodels", "dynamax")]
    for cell in cells(sizes):
        if not _wanted(old.get(cell.key), which):
            continue
        old[cell.key] = _measure(cell, ours, racing, seconds)
        say(f"grid: {cell.key}: {old[cell.key]}")
        path.parent.mkdir(exist_ok=True)
        lines = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in old.items())
        body = ",\n".join(lines)
        head = json.dumps(kept["environment"])
        path.write_text(f'{{"environment": {head},\n"cells": {{\n{body}\n}}}}\n', encoding="utf-8")
    return kept


def _wanted(was: dict[str, Any] | None, which: str) -> bool:
    if which == "slow":
        return was is not None and was.get("ratio", 1.0) < 1 / BOUND
    return which == "all" or was is None


def _measure(cell: Cell, ours: Library, peers: list[Library], seconds: float) -> dict[str, Any]:
    """{"ratio": ..., "peer": ...}, or {"skipped": why}."""
    if not cell.fits:
        return {"skipped": "more than 1 GB"}
    problem = cell.problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's remarks are not what is measured
        answers, why = enter(lambda: _ask(ours, cell, problem))
        if not answers:
            return {"skipped": f"ours failed: {why}"}
        truth = answers["default"][1]
        calls = {(ours.name, "default"): answers["default"][0]}
        fastest = float("inf")
        for peer in sorted(peers, key=lambda p: p.name):  # dynamax, the faster one on panels, first
            if _alone(peer, cell, problem) > _HOPELESS * fastest:
                continue
            same = agreeing(enter(lambda p=peer: _ask(p, cell, problem))[0], truth, peer.rounding)
            found = quick(same)
            calls |= {(peer.name, k): call for k, call in found.items()}
            fastest = min([fastest, *(once(call) for call in found.values())])
        times = interleaved(calls, seconds, ROUNDS)
    own = times.pop((ours.name, "default"))
    if not times:
        return {"skipped": "no peer with the same result"}
    best = min(times, key=times.__getitem__)
    return {"ratio": float(f"{times[best] / own:.3g}"), "peer": " ".join(best)}


def _ask(library: Library, cell: Cell, problem: Problem) -> dict[str, Callable[[], Any]]:
    calls = getattr(library, cell.work)(problem)
    return {k: call for k, call in calls.items() if k in _SETTINGS}


def _alone(peer: Library, cell: Cell, problem: Problem) -> float:
    """What a peer that takes series one by one would need for all of them; else 0."""
    if peer.name != "statsmodels" or cell.B == 1:
        return 0.0
    if 8 * cell.B * cell.T * _RECORDS * (cell.n**2 + cell.m**2) > 4 * _GIGABYTE:
        return float("inf")
    first = _ask(peer, cell, replace(problem, y=problem.y[0]))
    return cell.B * min(once(call) for call in first.values() if call() is not None)
