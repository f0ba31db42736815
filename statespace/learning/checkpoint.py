"""A running fit on disk: written beside its place and renamed, so that it is whole or not there."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from statespace.errors import StorageError, expected

__all__ = ["Saver", "read", "remove", "write"]

_KEY = "statespace.checkpoint"
_SHARE = 20  # times as long as saving took, nothing is saved


class Saver:
    """Saves as often as it takes a small part of the time.

    Args:
        save: Is called with where the fit stands.
    """

    def __init__(self, save: Callable[[Any], None]) -> None:
        self.save, self._free = save, -math.inf

    def __call__(self, at: Any) -> None:
        """Saves, unless that was done a short while ago."""
        began = time.perf_counter()
        if began < self._free:
            return
        self.save(at)
        now = time.perf_counter()
        self._free = now + _SHARE * (now - began)


def write(path: str | os.PathLike[str], tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Writes tensors and a JSON record to one file."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        kept = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        save_file(kept, beside, metadata={_KEY: json.dumps(record)})
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def read(
    path: str | os.PathLike[str], wanted: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What was written, or None where there is no file.

    Args:
        path: The file.
        wanted: What its record must say for it to belong to this fit.

    Raises:
        StorageError: The file is no checkpoint, or is one of another fit.
    """
    target = Path(path)
    if not target.exists():
        return None
    try:
        with safe_open(target, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise StorageError(_wrong(path, "something else")) from error
    if _KEY not in metadata:
        raise StorageError(_wrong(path, "another kind of file"))
    record = json.loads(metadata[_KEY])
    for name, value in wanted.items():
        if record.get(name) != value:
            raise StorageError(_wrong(path, f"{name} = {record.get(name)!r} instead of {value!r}"))
    return tensors, record


def remove(path: str | os.PathLike[str]) -> None:
    """Takes the file away; nothing happens if there is none."""
    Path(path).unlink(missing_ok=True)


def _wrong(path: str | os.PathLike[str], got: str) -> str:
    todo = "Give another path, or delete that file to start afresh."
    return expected("checkpoint", f"a checkpoint of this very fit at {os.fspath(path)}", got, todo)
