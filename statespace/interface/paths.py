"""The deterministic memory: h_t = path(h_{t-1}, x_t)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from statespace.beliefs import Tree
from statespace.shapes import tmap, where_tree

__all__ = ["NoPath", "Path"]


class Path(nn.Module, ABC):
    """A deterministic memory. Its leaves have one event axis: ([*sample,] *batch, H_leaf)."""

    @abstractmethod
    def start(self, batch_shape: Sequence[int], condition: Tree) -> Tree:
        """The memory before the first step.

        Args:
            batch_shape: Series; the leaves may have fewer axes if they broadcast to it, or more
                where the condition brings them.
            condition: A vector or a whole source sequence per series, or ().
        """

    @abstractmethod
    def step(self, memory: Tree, x: Tensor) -> Tree:
        """One step; x (*, f), leaves of the memory that broadcast against it."""

    @abstractmethod
    def read(self, memory: Tree) -> Tensor:
        """h, the part that densities see: an LSTM shows h and keeps c to itself."""

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """All steps. A loop over `step`, unless a fused kernel on the same weights is given.

        Args:
            memory: The memory before the first row.
            x: (*, T, f).
            lengths: Rows of each series, broadcasting to the batch axes of x.

        Returns:
            The memory at each series' own end, and h, (*, T, H). Rows of h beyond the end of a
            series are of no meaning.
        """
        seen = []
        for t in range(x.shape[-2]):
            new = self.step(memory, x[..., t, :])
            seen.append(self.read(new))
            active = (t < lengths).expand(x.shape[:-2])
            old = tmap(lambda m, like: m.expand_as(like), memory, new)
            memory = where_tree(active, new, old)
        return memory, torch.stack(seen, -2)


@final
class NoPath(Path):
    """Nothing is remembered; h is zero wide."""

    def start(self, batch_shape: Sequence[int], condition: Tree) -> Tree:
        """Nothing."""
        return ()

    def step(self, memory: Tree, x: Tensor) -> Tree:
        """Nothing."""
        return ()

    def read(self, memory: Tree) -> Tensor:
        """Zero wide."""
        return torch.zeros(0)

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """Nothing, and h of width zero."""
        return (), x[..., :0]
