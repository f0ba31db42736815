"""`python -m tests.benchmarks [PART ...] [--grid] [--quick --page PATH]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from . import accuracy, deep, first_call, fitting, grid, grid_page, optimum, report, speed
from .libraries import gather, gather_deep

_PARTS = ("accuracy", "optimum", "speed", "first", "profile", "fits", "deep", "grid")
_PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_THREADS = 2


def main() -> None:
    """Runs the parts asked for and prints them; all of them together are the page in `docs/`."""
    asked = _read()
    torch.set_num_threads(_THREADS)
    ours, peers, absent = gather()
    theirs, lacking = gather_deep()
    libraries, tiny = [ours, *peers], asked.quick
    where = report.environment([*libraries, *theirs], absent | lacking)
    sizes = grid.TINY if tiny else grid.SIZES
    store = asked.page.with_suffix(".grid.json") if tiny else grid.STORE

    def cells() -> str:
        if asked.grid or "grid" in asked.parts:
            options = {"which": asked.cells, "sizes": sizes, "environment": where, "path": store}
            grid.run(ours, peers, asked.cell_seconds, _say, **options)
        return grid_page.section(grid.load(store), sizes)

    runs: dict[str, Callable[[], str]] = {
        "accuracy": lambda: accuracy.run(libraries, _say),
        "optimum": lambda: optimum.run(absent, _say, tiny=tiny),
        "speed": lambda: speed.run(ours, peers, asked.seconds, _say, tiny=tiny),
        "first": lambda: first_call.run(_say, tiny=tiny),
        "profile": lambda: fitting.profile(_say, tiny=tiny),
        "fits": lambda: fitting.fits(absent, _say, tiny=tiny),
        "deep": lambda: deep.run(theirs, _say, tiny=tiny),
        "grid": cells,
    }
    tables = {part: runs[part]() for part in _PARTS if part in (asked.parts or _PARTS)}
    if asked.parts:
        print("\n\n".join(tables.values()))
        return
    page = report.page(**tables, settings=report.settings([*libraries, *theirs]), environment=where)
    asked.page.write_text(page, encoding="utf-8")
    print(f"written: {asked.page.name}")


def _read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each row of speed")
    parser.add_argument("--grid", action="store_true", help="measure the grid too (an hour)")
    parser.add_argument("--cell-seconds", type=float, default=1.0, help="for each cell of it")
    parser.add_argument("--cells", choices=("all", "missing", "slow"), default="all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether everything runs")
    parser.add_argument("--page", type=Path, default=None, help="where to write, not in docs/")
    asked = parser.parse_args()
    if wrong := set(asked.parts) - set(_PARTS):
        parser.error(f"unknown part {', '.join(wrong)}; choose from {', '.join(_PARTS)}")
    if asked.quick and asked.page is None:
        parser.error("--quick measures nothing worth keeping: give --page PATH")
    if asked.quick:
        asked.seconds, asked.cell_seconds, asked.grid = 0.05, 0.02, True
    asked.page = asked.page or _PAGE
    return asked


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
