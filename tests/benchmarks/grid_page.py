"""The grid in words and tables."""

from __future__ import annotations

from statistics import median
from typing import Any

from .grid import BOUND, SIZES, WORKS, Cell, cells
from .table import RED, ratio, table

_WORST = 12


def section(kept: dict[str, Any], sizes: dict[str, tuple[int, ...]] = SIZES) -> str:
    """A summary, the worst cells, and one table for each work."""
    found = kept["cells"]
    if not found:
        return "Not measured yet: `make bench ARGS=--grid`."
    ratios = {c: found[c.key] for c in cells(sizes) if "ratio" in found.get(c.key, {})}
    skipped = {c: found[c.key] for c in cells(sizes) if "skipped" in found.get(c.key, {})}
    parts = [f"Measured with:\n\n{kept['environment']}", _summary(ratios), _worst(ratios)]
    parts += [f"### Grid: {name}\n\n{_matrix(work, found, sizes)}" for work, name in WORKS.items()]
    if skipped:
        parts.append("Skipped:\n\n" + "\n".join(_reasons(skipped)))
    return "\n\n".join(parts)


def _summary(ratios: dict[Cell, Any]) -> str:
    rows = []
    for work, name in WORKS.items():
        values = [r["ratio"] for c, r in ratios.items() if c.work == work]
        if not values:
            continue
        missed, behind = (sum(v < bar for v in values) for bar in (1 / BOUND, 1))
        mark = f"{RED} **{missed}**" if missed else "0"
        rows.append(
            [name, str(len(values)), mark, str(behind), ratio(median(values)), ratio(min(values))]
        )
    slower = f"slower by more than {BOUND:g}"
    return table(("work", "cells", slower, "slower at all", "median ratio", "least"), rows)


def _worst(ratios: dict[Cell, Any]) -> str:
    worst = sorted(ratios, key=lambda c: ratios[c]["ratio"])[:_WORST]
    rows = [[WORKS[c.work], *map(str, c[1:]), _shown(ratios[c]), ratios[c]["peer"]] for c in worst]
    header = ("the least ratios", "n", "m", "T", "series", "ratio", "best peer")
    return table(header, rows)


def _matrix(work: str, found: dict[str, Any], sizes: dict[str, tuple[int, ...]]) -> str:
    across = [(T, B) for T in sizes["T"] for B in sizes["B"]]
    rows = [
        [str(n), str(m), *(_shown(found.get(Cell(work, n, m, T, B).key)) for T, B in across)]
        for n in sizes["n"]
        for m in sizes["m"]
    ]
    return table(("n", "m", *(f"{B} x {T}" for T, B in across)), rows)


def _shown(cell: dict[str, Any] | None) -> str:
    if cell is None or "ratio" not in cell:
        return "" if cell is None else "–"
    text = ratio(cell["ratio"])
    return f"{RED} **{text}**" if cell["ratio"] < 1 / BOUND else text


def _reasons(skipped: dict[Cell, Any]) -> list[str]:
    why: dict[tuple[str, str], list[str]] = {}
    for c, cell in skipped.items():
        place = f"n = {c.n}, m = {c.m}, {c.B} x {c.T}"
        why.setdefault((WORKS[c.work], cell["skipped"]), []).append(place)
    return [f"- {work}, {reason}: {'; '.join(places)}" for (work, reason), places in why.items()]
