"""A memory of one row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from statespace.beliefs import Tree
from statespace.nn.paths.base import Conditioned, ended

__all__ = ["Latest"]


class Latest(Conditioned):
    """h_t = x_t: what was read last, so that a density may see y_{t-1} itself.

    Args:
        input_dim: The width of x.
        dtype: Of h.

    Example:
        >>> path = Latest(2)
        >>> path.read(path.step(path.start((), ()), torch.tensor([3.0, 4.0])))
        tensor([3., 4.])
    """

    like: Tensor

    def __init__(self, input_dim: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(input_dim, input_dim, 0)
        self.register_buffer("like", torch.zeros(0, dtype=dtype), persistent=False)

    def _zeros(self, batch_shape: Sequence[int]) -> tuple[Tensor, ...]:
        return (self.like.new_zeros(*batch_shape, self.hidden_dim),)

    def read(self, memory: Tree) -> Tensor:
        """(*, H)."""
        h: Tensor = memory[0]
        return h

    def step(self, memory: Tree, x: Tensor) -> Tree:
        """X itself."""
        return (x,)

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """X itself, and its last row."""
        x, last = ended(x, memory[0], lengths)
        return (last,), x
