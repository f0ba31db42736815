"""What the records share: padding, iteration over series, a short repr."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, expected
from statespace.sequences import Index, read_count
from statespace.shapes import active_rows, align

__all__ = ["KINDS", "Axes", "Record", "check_kind", "make_generator", "stddev"]

KINDS = ("exact", "approximate", "estimate", "lower bound")


def check_kind(kind: str) -> str:
    """Refuses a kind that has no name."""
    if kind not in KINDS:
        raise InputError(expected("kind", f"one of {', '.join(KINDS)}", repr(kind), "Name it so."))
    return kind


@dataclasses.dataclass(frozen=True)
class Axes:
    """The axes of a field: (*batch, [rows - short,] *event).

    Attributes:
        event: How many event axes there are.
        rows: Whether there is an axis of time.
        short: How many rows fewer than T.
        of_y: The event axes that count features of y, dropped where the data had none.
    """

    event: int
    rows: bool = True
    short: int = 0
    of_y: tuple[int, ...] = ()

    @property
    def inner(self) -> int:
        """The number of axes right of the batch."""
        return self.event + self.rows


class Record:
    """The base of records with fields (*batch, T, ...)."""

    layout: ClassVar[Mapping[str, Axes]]
    differentiable: ClassVar[tuple[str, ...]] = ()

    lengths: Tensor
    index: Index | None
    univariate: bool
    settled: bool  # whether the feature axis of y has been dropped already

    def _settle(self) -> None:
        """Gives every field the whole batch, NaN beyond each length, and the rank of the data."""
        if self.settled:
            return
        fields = {name: getattr(self, name) for name in self.layout}
        fields = {name: value for name, value in fields.items() if value is not None}
        shapes = [v.shape[: v.ndim - self.layout[k].inner] for k, v in fields.items()]
        batch = torch.broadcast_shapes(self.lengths.shape, *shapes)
        lengths = self.lengths.expand(batch)
        for name, value in fields.items():
            axes = self.layout[name]
            inner = value.shape[value.ndim - axes.inner :]
            full = value.expand(batch + inner)
            if axes.rows:
                full = _blank(full, lengths - axes.short, len(batch))
            for axis in axes.of_y if self.univariate else ():
                full = full.squeeze(axis)
            object.__setattr__(self, name, full)
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "settled", self.univariate)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `lengths`: () for one series."""
        return self.lengths.shape

    def __len__(self) -> int:
        return self.lengths.numel()

    def __iter__(self) -> Iterator[Self]:
        for i in range(len(self)):
            yield self._series(i)

    def _series(self, i: int) -> Self:
        """One series by its position in the flattened batch, cut at its length."""
        where = position(i, self.batch_shape)
        length = int(self.lengths[where])
        parts: dict[str, Any] = {"lengths": self.lengths[where]}
        for name, axes in self.layout.items():
            value = getattr(self, name)
            if value is not None:
                value = value[where]
                parts[name] = value[: max(length - axes.short, 0)] if axes.rows else value
        parts["index"] = labels_of(self.index, i)
        return dataclasses.replace(self, **parts)  # type: ignore[type-var]

    def _shapes(self) -> str:
        longs = self.lengths
        if longs.ndim == 0:
            return f"T={int(longs)}"
        low, high = int(longs.min()), int(longs.max())
        return f"batch={tuple(longs.shape)}, T={low if low == high else f'{low}..{high}'}"


def _blank(x: Tensor, lengths: Tensor, batch_ndim: int) -> Tensor:
    """NaN in the rows beyond the lengths of x (*batch, rows, ...)."""
    if not x.is_floating_point():
        return x
    rows = x.shape[batch_ndim]
    if bool((lengths >= rows).all()):
        return x
    inside = active_rows(lengths, rows)
    return torch.where(align(inside, x.ndim), x, torch.full_like(x, torch.nan))


def position(i: int, batch: torch.Size) -> tuple[int, ...]:
    """The index of the i-th series of a batch.

    Example:
        >>> position(4, torch.Size([2, 3]))
        (1, 1)
    """
    where = []
    for size in reversed(batch):
        i, rest = divmod(i, size)
        where.append(rest)
    return tuple(reversed(where))


def labels_of(index: Index | None, i: int) -> Index | None:
    """The labels of the i-th series; a batch of models over the same data repeats them."""
    if index is None:
        return None
    count = len(index.times or index.ids or (None,))
    return index.select(i % count)


def make_generator(seed: int | None, device: torch.device) -> Generator:
    """A generator of its own; a fresh seed where none is given. The global one is not touched."""
    generator = Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(read_count(seed, name="seed", at_least=0))
    return generator


def stddev(cov: Tensor, flat: bool = False) -> Tensor:
    """Square roots of the diagonals of covariances (..., n, n), or of variances if `flat`."""
    variance = cov if flat else cov.diagonal(dim1=-2, dim2=-1)
    return variance.clamp_min(0).sqrt().abs()  # never "-0.0" in a table: the root keeps a sign
