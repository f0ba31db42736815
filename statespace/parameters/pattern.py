"""Which entry of a parameter is learned, and which learned number it reads.

A pattern is kept as one array of labels of the shape of the parameter: 0 where held, +k or -k
where the entry is plus or minus the k-th learned number. Numbers are counted by first appearance,
row by row, and the first entry of each is positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.parameters.declare import Param
from statespace.parameters.read import read_labels, read_mask

__all__ = ["Pattern", "held_pattern", "pattern_of"]


@dataclass(frozen=True, eq=False)
class Pattern:
    """`labels` as described above, int64, (*event), on the CPU."""

    labels: Tensor

    @cached_property
    def n_free(self) -> int:
        """How many learned numbers there are."""
        return int(self.labels.abs().max()) if self.labels.numel() else 0

    @cached_property
    def free(self) -> Tensor:
        """Boolean (*event), True where learned."""
        return self.labels != 0

    @cached_property
    def index(self) -> Tensor:
        """(size,) which number each entry reads; `n_free` where held."""
        flat = self.labels.flatten()
        return torch.where(flat == 0, self.n_free, flat.abs() - 1)

    @cached_property
    def sign(self) -> Tensor:
        """(size,) +1, -1, or 0 where held."""
        return self.labels.flatten().sign()

    @cached_property
    def first(self) -> Tensor:
        """(n_free,) flat index of the first entry that reads each number."""
        where: list[int] = [0] * (self.n_free + 1)
        for i, number in reversed(list(enumerate(self.index.tolist()))):
            where[number] = i
        return torch.tensor(where[: self.n_free], dtype=torch.int64)

    @cached_property
    def count(self) -> Tensor:
        """(n_free,) how many entries read each number."""
        return torch.bincount(self.index, minlength=self.n_free + 1)[: self.n_free]

    @cached_property
    def plain(self) -> bool:
        """True where every entry is learned and none is tied."""
        return self.n_free == self.labels.numel() and bool((self.labels > 0).all())

    def matrix(self, like: Tensor) -> Tensor:
        """M, (size, n_free), with vec(value) = base + M (the learned numbers)."""
        m = like.new_zeros(self.index.numel(), self.n_free + 1)
        rows = torch.arange(self.index.numel(), device=like.device)
        m[rows, self.index.to(like.device)] = self.sign.to(like)
        return m[:, : self.n_free]


def normal_form(free: Tensor, labels: Tensor) -> Tensor:
    """Labels counted by first appearance, unlabelled free entries each by itself."""
    out = [0] * labels.numel()
    seen: dict[int, int] = {}  # label -> signed new label
    count = 0
    for i, (learned, label) in enumerate(
        zip(free.flatten().tolist(), labels.flatten().tolist(), strict=True)
    ):
        if not learned:
            continue
        if label != 0 and abs(label) in seen:
            known = seen[abs(label)]
            out[i] = known if label > 0 else -known
            continue
        count += 1
        out[i] = count
        if label != 0:
            seen[abs(label)] = count if label > 0 else -count
    return torch.tensor(out, dtype=labels.dtype).view_as(labels)


def held_pattern(event: Sequence[int]) -> Pattern:
    """Nothing is learned."""
    return Pattern(torch.zeros(tuple(event), dtype=torch.int64))


def pattern_of(name: str, param: Param, event: Sequence[int]) -> Pattern:
    """The pattern that a declaration describes.

    Raises:
        InputError, InputTypeError: masks or labels of a wrong type or shape, a structure of a
            parameter that is not square, labels on held entries.
    """
    event = tuple(event)
    square = len(event) == 2 and event[0] == event[1]
    if param.structure != "full" and not square:
        raise InputError(
            expected(
                name,
                "a square matrix to go with a structure",
                f'structure="{param.structure}" with shape {event}',
                'Use structure="full" and free entries one by one with free=.',
            )
        )
    free = torch.ones(event, dtype=torch.bool)
    if param.free is not None:
        free = read_mask(f"{name}.free", param.free, event)
    if param.structure in ("diag", "scalar"):
        free = free & torch.eye(event[0], dtype=torch.bool)
    elif param.structure == "identity":
        free = torch.zeros(event, dtype=torch.bool)
    labels = torch.zeros(event, dtype=torch.int64)
    if param.labels is not None:
        labels = read_labels(f"{name}.labels", param.labels, event)
    if bool(((labels != 0) & ~free).any()):
        raise InputError(
            expected(
                f"{name}.labels",
                "labels on learned entries only",
                "a label on an entry that is held",
                "Set that label to 0, or free the entry.",
            )
        )
    if param.structure == "scalar":
        labels = free.to(torch.int64)
    return Pattern(normal_form(free, labels))
