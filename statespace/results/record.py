"""What the records share: padding, iteration over series, a short repr."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor

from statespace.errors import FieldError, InputError, expected
from statespace.sequences import Index, read_count
from statespace.shapes import active_rows, align, together

__all__ = ["KINDS", "Axes", "Record", "check_kind", "make_generator", "nothing", "stddev"]

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
        large: Whether it is kept with keep="all" alone.
    """

    event: int
    rows: bool = True
    short: int = 0
    of_y: tuple[int, ...] = ()
    large: bool = False

    @property
    def inner(self) -> int:
        """The number of axes right of the batch."""
        return self.event + self.rows

    def kept(self, keep: str) -> bool:
        """Whether a record that keeps so much has the field."""
        if self.large and keep != "all":
            return False
        if keep == "means":
            return self.event < 2
        return keep != "marginals" or self.short == 0


def nothing() -> Any:
    """The default of a field that may not be kept, by `default_factory`.

    So there is no attribute of the class behind it, and one that was not kept is missing.
    """


class Record:
    """The base of records with fields (*batch, T, ...)."""

    layout: ClassVar[Mapping[str, Axes]]
    keeps: ClassVar[tuple[str, ...]] = ("all",)  # how much of it there can be, in words
    differentiable: ClassVar[tuple[str, ...]] = ()

    lengths: Tensor
    index: Index | None
    univariate: bool
    settled: bool  # whether the feature axis of y has been dropped already
    keep: str = "all"
    later: Mapping[str, Callable[[], Tensor]] = MappingProxyType({})  # fields made when first read

    def __getattr__(self, name: str) -> Any:
        """What is missing was not kept, or never was a field."""
        later = vars(self).get("later", {})
        if name in later:
            fields = self._whole({name: later[name]()})
            object.__setattr__(self, name, fields[name])
            return fields[name]
        keep = vars(self).get("keep", "all")
        plain = name.removesuffix("stddev") + "cov" if name.endswith("stddev") else name
        if plain not in self.layout or self.layout[plain].kept(keep):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        enough = [f'"{word}"' for word in self.keeps if self.layout[plain].kept(word)]
        wanted, got = f"a record of keep={' or '.join(enough)}", f'one of keep="{keep}"'
        raise FieldError(expected(name, wanted, got, f"Ask again with keep={enough[0]}."))

    def __post_init__(self) -> None:
        for name, axes in self.layout.items():
            if not axes.kept(self.keep) or name in self.later:
                object.__delattr__(self, name)
        self._settle()

    def having(self, **changes: Any) -> Self:
        """The record with other values in some fields; what was not kept stays away."""
        if not changes.keys().isdisjoint({"lengths", *self.layout}):
            for name in self.later:  # their functions know nothing of what is changed
                getattr(self, name)
        held = vars(self)
        gone: dict[str, Any] = {name: None for name in self.layout if name not in held}
        if self.later:
            keep = changes.get("keep", self.keep)
            left = (k for k in self.later if k not in held and self.layout[k].kept(keep))
            gone["later"] = {k: self.later[k] for k in left}
        return dataclasses.replace(self, **gone, **changes)  # type: ignore[type-var]

    def _settle(self) -> None:
        """Gives every field the whole batch, NaN beyond each length, and the rank of the data."""
        if self.settled:
            return
        held = {name: vars(self).get(name) for name in self.layout}
        fields = {name: value for name, value in held.items() if value is not None}
        shapes = [v.shape[: v.ndim - self.layout[k].inner] for k, v in fields.items()]
        lengths = self.lengths.expand(together(self.lengths.shape, *shapes))
        object.__setattr__(self, "lengths", lengths)
        for name, value in self._whole(fields).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "settled", self.univariate)

    def _whole(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fields with the batch of the record, NaN beyond each length, the rank of the data."""
        lengths, batch, whole = self.lengths, self.lengths.shape, {}
        shortest = int(lengths.min()) if lengths.numel() else 0
        for name, value in fields.items():
            axes = self.layout[name]
            inner = value.shape[value.ndim - axes.inner :]
            full = value.expand(batch + inner)
            if axes.rows:
                full = _blank(full, lengths, axes.short, len(batch), shortest)
            for axis in axes.of_y if self.univariate else ():
                full = full.squeeze(axis)
            whole[name] = full
        return whole

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
            value = getattr(self, name) if name in self.later else vars(self).get(name)
            if value is not None:
                value = value[where]
                parts[name] = value[: max(length - axes.short, 0)] if axes.rows else value
        parts["index"] = labels_of(self.index, i)
        return self.having(**parts)

    def _shapes(self) -> str:
        longs = self.lengths
        if longs.ndim == 0:
            return f"T={int(longs)}"
        low, high = int(longs.min()), int(longs.max())
        return f"batch={tuple(longs.shape)}, T={low if low == high else f'{low}..{high}'}"


def _blank(x: Tensor, lengths: Tensor, short: int, batch_ndim: int, shortest: int) -> Tensor:
    """NaN in the rows beyond the lengths, less `short`, of x (*batch, rows, ...)."""
    rows = x.shape[batch_ndim]
    if shortest - short >= rows or not x.is_floating_point():
        return x
    inside = active_rows(lengths - short, rows)
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
