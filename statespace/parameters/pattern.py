"""Which entry of a parameter is learned, and which learned number it reads.

A pattern is kept as one array of labels of the shape of the parameter: 0 where held, +k or -k
where the entry is plus or minus the k-th learned number. Numbers are counted by first appearance,
row by row, and the first entry of each is positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.parameters.declare import Param
from statespace.parameters.read import read_labels, read_mask

__all__ = ["Pattern", "held_pattern", "pattern_of"]

_lasting = torch.inference_mode(False)  # what is kept is used again outside of such a block


def shared(function: Callable[..., Any]) -> Any:
    """Made once and kept: most parameters of most models have one of a few patterns."""
    return lru_cache(maxsize=256)(_lasting(function))


@dataclass(frozen=True, eq=False)
class Pattern:
    """`labels` as described above, int64, (*event), on the CPU; equal where the labels are."""

    labels: Tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and torch.equal(self.labels, other.labels)

    def __hash__(self) -> int:
        return hash(self.labels.numpy().tobytes())

    @cached_property
    @_lasting
    def n_free(self) -> int:
        """How many learned numbers there are."""
        return int(self.labels.abs().max()) if self.labels.numel() else 0

    @cached_property
    @_lasting
    def free(self) -> Tensor:
        """Boolean (*event), True where learned."""
        return self.labels != 0

    @cached_property
    @_lasting
    def index(self) -> Tensor:
        """(size,) which number each entry reads; `n_free` where held."""
        flat = self.labels.flatten()
        return torch.where(flat == 0, self.n_free, flat.abs() - 1)

    @cached_property
    @_lasting
    def sign(self) -> Tensor:
        """(size,) +1, -1, or 0 where held."""
        return self.labels.flatten().sign()

    @cached_property
    @_lasting
    def first(self) -> Tensor:
        """(n_free,) flat index of the first entry that reads each number."""
        where: list[int] = [0] * (self.n_free + 1)
        for i, number in reversed(list(enumerate(self.index.tolist()))):
            where[number] = i
        return torch.tensor(where[: self.n_free], dtype=torch.int64)

    @cached_property
    @_lasting
    def count(self) -> Tensor:
        """(n_free,) how many entries read each number."""
        return torch.bincount(self.index, minlength=self.n_free + 1)[: self.n_free]

    @cached_property
    @_lasting
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


@shared
def held_pattern(event: tuple[int, ...]) -> Pattern:
    """Nothing is learned."""
    return Pattern(torch.zeros(event, dtype=torch.int64, device="cpu"))


@shared
def _structured(event: tuple[int, ...], structure: str) -> Pattern:
    """The pattern of a structure with no mask and no labels."""
    free = torch.ones(event, dtype=torch.bool, device="cpu")
    return Pattern(_labelled(free, torch.zeros_like(free, dtype=torch.int64), structure))


def _labelled(free: Tensor, labels: Tensor, structure: str) -> Tensor:
    """The labels of a pattern: what a structure leaves of a mask and of labels."""
    if structure in ("diag", "scalar"):
        free = free & torch.eye(len(free), dtype=torch.bool, device="cpu")
    elif structure == "identity":
        free = torch.zeros_like(free)
    return normal_form(free, free.to(torch.int64) if structure == "scalar" else labels)


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
    if param.free is None and param.labels is None:
        found: Pattern = _structured(event, param.structure)
        return found
    free = torch.ones(event, dtype=torch.bool)
    if param.free is not None:
        free = read_mask(f"{name}.free", param.free, event)
    labels = torch.zeros(event, dtype=torch.int64)
    if param.labels is not None:
        labels = read_labels(f"{name}.labels", param.labels, event)
    found = Pattern(_labelled(free, labels, param.structure))
    if bool(((labels != 0) & ~found.free).any()):
        raise InputError(
            expected(
                f"{name}.labels",
                "labels on learned entries only",
                "a label on an entry that is held",
                "Set that label to 0, or free the entry.",
            )
        )
    return found
