"""A training run that is kept on disk as it goes, and goes on from there."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import Any

from torch import Generator, Tensor

from statespace.learning import checkpoint as disk
from statespace.learning.progress import Report
from statespace.learning.training import Progress, Trainer
from statespace.results import TrainingRecord

__all__ = ["resumable"]

_FIELDS = ("step", "history", "best", "waited", "seconds", "rate", "reason", "converged")


def resumable(
    path: str | os.PathLike[str], wanted: dict[str, Any], trainer: Trainer, report: Report
) -> Progress:
    """Trains from where the file says, or from the start; the file is gone at the end.

    Args:
        path: The file.
        wanted: What it must say of the fit to belong to it.
        trainer: At its start.
        report: What is told of each update.

    Raises:
        StorageError: The file is no checkpoint, or is one of another fit.
    """
    at = _resumed(disk.read(path, wanted), trainer)
    trainer.run(at, report, disk.Saver(partial(_saved, path, wanted, trainer)))
    disk.remove(path)
    return at


def _saved(
    path: str | os.PathLike[str], wanted: dict[str, Any], trainer: Trainer, at: Progress
) -> None:
    tensors = {"x": trainer.x, "scale": trainer.scale, "last": trainer.last}
    if at.best_x is not None:
        tensors["best_x"] = at.best_x
    for name, value in trainer.optimizer.state[trainer.x].items():
        tensors[f"optimizer.{name}"] = value
    tensors |= {name: g.get_state() for name, g in _streams(trainer).items()}
    record = {name: getattr(at, name) for name in _FIELDS}
    record["norms"] = trainer.watcher.norms
    record["records"] = [asdict(r) for r in at.records]
    disk.write(path, tensors, {**wanted, **record})


def _streams(trainer: Trainer) -> dict[str, Generator]:
    """Random numbers: those that move on, and those with which points are compared."""
    streams = {"generator": trainer.generator, "origin": trainer.objective.origin}
    if trainer.watcher.held_out is not None:
        streams["held_out"] = trainer.watcher.held_out.origin
    return streams


def _resumed(found: tuple[dict[str, Tensor], dict[str, Any]] | None, trainer: Trainer) -> Progress:
    if found is None:
        return Progress()
    tensors, record = found
    device = trainer.x.device
    trainer.x.data.copy_(tensors["x"])
    trainer.scale, trainer.last = tensors["scale"].to(device), tensors["last"].to(device)
    trainer.optimizer.state[trainer.x] = {
        name.removeprefix("optimizer."): t if t.dim() == 0 else t.to(device)
        for name, t in tensors.items()
        if name.startswith("optimizer.")
    }
    for name, generator in _streams(trainer).items():
        generator.set_state(tensors[name])
    at = Progress(**{name: record[name] for name in _FIELDS})
    trainer.watcher.norms = record["norms"]
    at.records = [
        TrainingRecord(**{**r, "kl_per_dim": tuple(r["kl_per_dim"])}) for r in record["records"]
    ]
    at.best_x = tensors["best_x"].to(device) if "best_x" in tensors else None
    return at
