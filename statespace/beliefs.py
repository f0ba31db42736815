"""What a state can be (its space), and what can be believed about it.

A space says what z is: a vector, one of K values, or a named tuple of these. A belief is a
distribution over a space given some data; methods keep their own kind of belief, and everything
above reads it through the few names here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

__all__ = [
    "Belief",
    "Finite",
    "Real",
    "Space",
    "Switching",
    "Tree",
    "event_shape",
    "finite_part",
    "map_space",
    "rank",
    "real_part",
    "zeros",
]

Tree = Any  # a Tensor, a named tuple of trees, or () for nothing


@dataclass(frozen=True)
class Real:
    """A vector: floating point, event shape (size,). Size 0 is a model without latent state."""

    size: int


@dataclass(frozen=True)
class Finite:
    """One of `size` values 0, ..., size - 1: int64, event shape ()."""

    size: int


class Switching(NamedTuple):
    """z = (k, x): a switch and a vector. With `Finite` and `Real` inside it is the space.

    Example:
        >>> space = Switching(Finite(3), Real(2))
        >>> zeros(space, (5,)).x.shape
        torch.Size([5, 2])
    """

    k: Any
    x: Any


Space = Real | Finite | tuple[Any, ...]  # a named tuple of spaces where z has parts


def map_space(function: Callable[..., Any], space: Space, *trees: Tree) -> Tree:
    """Applies a function to every plain space in a space, beside the same part of each tree.

    Example:
        >>> space = Switching(Finite(3), Real(2))
        >>> map_space(lambda part, x: x.dim() - rank(part), space, zeros(space, (5, 4)))
        Switching(k=2, x=2)
    """
    if isinstance(space, Real | Finite):
        return function(space, *trees)
    parts = [map_space(function, *group) for group in zip(space, *trees, strict=True)]
    make = getattr(type(space), "_make", tuple)  # a named tuple takes its fields as one iterable
    return make(parts)


def _parts(space: Space, z: Tree) -> list[tuple[Real | Finite, Tensor]]:
    if isinstance(space, Real | Finite):
        return [(space, z)]
    return [found for group in zip(space, z, strict=True) for found in _parts(*group)]


def event_shape(part: Real | Finite) -> tuple[int, ...]:
    """The event shape of a plain space: (size,) of a vector, () of a finite value."""
    return (part.size,) if isinstance(part, Real) else ()


def rank(part: Real | Finite) -> int:
    """The number of event axes of a plain space."""
    return len(event_shape(part))


def zeros(
    space: Space,
    batch_shape: Sequence[int],
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Tree:
    """The zero of a space, (*batch, *event): floating point for vectors, int64 for finite parts."""

    def make(part: Real | Finite) -> Tensor:
        if isinstance(part, Finite):
            return torch.zeros(tuple(batch_shape), dtype=torch.int64, device=device)
        return torch.zeros((*batch_shape, part.size), dtype=dtype, device=device)

    return map_space(make, space)


def real_part(space: Space, z: Tree) -> Tensor:
    """All vectors in z, side by side, (*batch, n); zero wide where z has none.

    Example:
        >>> space = Switching(Finite(3), Real(2))
        >>> real_part(space, zeros(space, (5,))).shape
        torch.Size([5, 2])
    """
    vectors = [part for kind, part in _parts(space, z) if isinstance(kind, Real)]
    if not vectors:
        first = _parts(space, z)[0][1]
        return torch.zeros(*first.shape, 0, device=first.device)
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors, -1)


def finite_part(space: Space, z: Tree) -> tuple[Tensor, int] | None:
    """The finite value in z, (*batch,), and how many values it can take; None where z has none.

    Where several parts are finite the first one is meant.
    """
    for kind, part in _parts(space, z):
        if isinstance(kind, Finite):
            return part, kind.size
    return None


class Belief(ABC):
    """A distribution of the state given some data, batched over series."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """(*batch, n), of all vectors in the state, side by side."""

    @property
    @abstractmethod
    def cov(self) -> Tensor:
        """(*batch, n, n)."""

    @property
    def probs(self) -> Tensor | None:
        """(*batch, K), of the finite part of the state; None where it has none."""
        return None

    @abstractmethod
    def sample(self, shape: Sequence[int], generator: Generator | None = None) -> Tree:
        """Draws, (*shape, *batch, *event)."""

    @abstractmethod
    def where(self, active: Tensor, old: Belief) -> Belief:
        """This belief where `active` (*batch,), the old one elsewhere."""

    @classmethod
    @abstractmethod
    def stack(cls, beliefs: Sequence[Any]) -> Belief:
        """T beliefs as one, T just left of the event."""
