"""`python -m tests.benchmarks [accuracy] [optimum] [speed] [--seconds S]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from . import accuracy, optimum, report, speed
from .libraries import gather

_PARTS = ("accuracy", "optimum", "speed")
_PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main() -> None:
    """Runs the parts asked for and prints them; all of them together are the page in `docs/`."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each row of speed")
    asked = parser.parse_args()
    if wrong := set(asked.parts) - set(_PARTS):
        parser.error(f"unknown part {', '.join(wrong)}; choose from {', '.join(_PARTS)}")
    ours, peers, absent = gather()
    libraries = [ours, *peers]
    runs: dict[str, Callable[[], str]] = {
        "accuracy": lambda: accuracy.run(libraries, _say),
        "optimum": lambda: optimum.run(absent, _say),
        "speed": lambda: speed.run(ours, peers, asked.seconds, _say),
    }
    tables = {part: runs[part]() for part in _PARTS if part in (asked.parts or _PARTS)}
    if asked.parts:
        print("\n\n".join(tables.values()))
        return
    where = report.environment(libraries, absent)
    page = report.page(**tables, settings=report.settings(libraries), environment=where)
    _PAGE.write_text(page, encoding="utf-8")
    print(f"written: docs/{_PAGE.name}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
