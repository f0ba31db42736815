"""A memory that shows, beside what it keeps, the rows it read last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from statespace.beliefs import Tree
from statespace.interface import Path
from statespace.nn.paths.base import Conditioned

__all__ = ["Beside"]


class Beside(Path):
    """h_t = [h of a path, x_t, x_{t-1}, ..., x_{t-rows+1}]: skip connections over the memory.

    What is linear in the last rows needs no detour through a cell that saturates. Rows before the
    first are zero.

    Args:
        path: The memory itself.
        rows: How many rows are shown.

    Example:
        >>> path = Beside(recurrent(1, 4), rows=2)
        >>> memory = path.start((), ())
        >>> for x in (3.0, 5.0):
        ...     memory = path.step(memory, torch.tensor([x]))
        >>> path.read(memory)[4:]
        tensor([5., 3.])

    Source: Graves (2013), "Generating sequences with recurrent neural networks", section 2, for
    the connection from the input to the output.
    """

    def __init__(self, path: Conditioned, rows: int) -> None:
        super().__init__()
        self.path, self.rows = path, rows
        self.shown = rows * path.input_dim
        self.hidden_dim = path.hidden_dim + self.shown

    def start(self, batch_shape: Sequence[int], condition: Tree) -> Tree:
        """Zeros beside the path's own start."""
        own = self.path.start(batch_shape, condition)
        return (*own, own[0].new_zeros(*batch_shape, self.rows * self.path.input_dim))

    def step(self, memory: Tree, x: Tensor) -> Tree:
        """One step; the oldest row goes."""
        own = self.path.step(memory[:-1], x)
        lead = torch.broadcast_shapes(x.shape[:-1], memory[-1].shape[:-1])
        shown = [part.expand(*lead, part.shape[-1]) for part in (x, memory[-1])]
        return (*own, torch.cat(shown, -1)[..., : self.rows * x.shape[-1]])

    def read(self, memory: Tree) -> Tensor:
        """(*, H + rows f)."""
        return _side_by_side(self.path.read(memory[:-1]), memory[-1])

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """The path's own scan, and rows side by side."""
        own, h = self.path.scan(memory[:-1], x, lengths)
        lead = torch.broadcast_shapes(x.shape[:-2], memory[-1].shape[:-1], lengths.shape)
        x = x.expand(*lead, *x.shape[-2:])
        before = memory[-1].expand(*lead, -1).unflatten(-1, (self.rows, x.shape[-1]))
        whole = torch.cat([before.flip(-2), x], -2)  # from the oldest row on
        shown = torch.cat(
            [whole.narrow(-2, self.rows - k, x.shape[-2]) for k in range(self.rows)], -1
        )
        at = lengths.expand(lead)[..., None, None] + torch.arange(
            self.rows - 1, -1, -1, device=x.device
        ).unsqueeze(-1)
        last = whole.gather(-2, at.expand(*lead, self.rows, x.shape[-1])).flatten(-2)
        return (*own, last), _side_by_side(h, shown)


def _side_by_side(h: Tensor, shown: Tensor) -> Tensor:
    lead = torch.broadcast_shapes(h.shape[:-1], shown.shape[:-1])
    return torch.cat([h.expand(*lead, h.shape[-1]), shown.expand(*lead, shown.shape[-1])], -1)
