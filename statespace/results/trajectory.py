"""`Trajectory`: states and observations drawn from a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.results.frames import names_of_y, row_labels, stack_series, to_columns
from statespace.results.record import position
from statespace.shapes import leaves, tmap

__all__ = ["Trajectory"]


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """A draw of z and y; neither carries a gradient.

    Attributes:
        z: States (*sample, *batch, T, n), or (*sample, *batch, T) where they are discrete, or a
            named tuple of such.
        y: Observations (*sample, *batch, T, m).
        seed: The seed that gives it again.

    Example:
        >>> draw = Trajectory(torch.zeros(5, 2), torch.ones(5, 1), seed=0)
        >>> draw
        Trajectory(T=5, n=2, m=1, seed=0)
        >>> draw.to_frame().columns.tolist()
        ['z[0]', 'z[1]', 'y[0]']
    """

    z: Any
    y: Tensor
    seed: int | None = None
    differentiable = ()

    @property
    def batch_shape(self) -> torch.Size:
        """(*sample, *batch)."""
        return self.y.shape[:-2]

    def __len__(self) -> int:
        return self.batch_shape.numel()

    def __iter__(self) -> Iterator[Trajectory]:
        for i in range(len(self)):
            where = position(i, self.batch_shape)
            yield Trajectory(tmap(lambda x, at=where: x[at], self.z), self.y[where], self.seed)

    def to_frame(self) -> Any:
        """A DataFrame with rows t = 0, 1, ... and a column for each entry of z and of y."""
        ones = list(self)
        rows = [row_labels(None, self.y.shape[-2]) for _ in ones]
        return stack_series([one._columns() for one in ones], rows, self.batch_shape, None, True)

    def _columns(self) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        fields = getattr(type(self.z), "_fields", None)
        words = [f"z.{name}" for name in fields] if fields else ["z"]
        for word, part in zip(words, leaves(self.z), strict=True):
            names = [word] if part.ndim == 1 else [f"{word}[{i}]" for i in range(part.shape[-1])]
            out |= _named(names, part)
        names = list(names_of_y(None, self.y.shape[-1], False))
        return out | _named(names, self.y)

    def __repr__(self) -> str:
        words = [f"batch={tuple(self.batch_shape)}"] if self.batch_shape else []
        words.append(f"T={self.y.shape[-2]}")
        if isinstance(self.z, Tensor) and self.z.ndim == self.y.ndim:
            words.append(f"n={self.z.shape[-1]}")
        words += [f"m={self.y.shape[-1]}"] + ([] if self.seed is None else [f"seed={self.seed}"])
        return f"Trajectory({', '.join(words)})"


def _named(names: list[Any], values: Tensor) -> dict[Any, Any]:
    columns = to_columns(names, value=values)
    return {(name, name): column for (name, _), column in columns.items()}
