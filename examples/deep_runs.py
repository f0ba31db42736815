"""What long examples share: fits that go on where they stopped, results in a file, pages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["kept", "put", "spending", "spent"]


@contextmanager
def spending(path: Path) -> Iterator[None]:
    """Adds the processor seconds of a block to a file, also if the block is interrupted."""
    began = time.process_time()
    try:
        yield
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{spent(path) + time.process_time() - began:.1f}", encoding="utf-8")


def spent(path: Path) -> float:
    """The seconds that a file tells of, zero if there is none."""
    return float(path.read_text(encoding="utf-8")) if path.exists() else 0.0


def kept(path: Path, **new: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The results in a JSON file by name, after some were added or replaced."""
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    if new:
        found |= new
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def put(page: Path, mark: str, text: str) -> None:
    """Puts a text between the marks `<!-- mark -->` and `<!-- end of mark -->` of a page."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
