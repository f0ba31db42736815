"""A memory that shows, beside what it keeps, the rows it read last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from statespace.beliefs import Tree
from statespace.interface import Path
from statespace.nn.layers import Dropout
from statespace.nn.paths.base import Conditioned

__all__ = ["Beside"]


class Beside(Path):
    """h_t = [h of a path, x_t, x_{t-1}, ..., x_{t-rows+1}, 1]: skip connections over the memory.

    What is linear in the last rows needs no detour through a cell that saturates. Rows before the
    first are zero, and the last number is 0 as long as one of those, or what stands for y_0, is
    among the rows shown.

    Args:
        path: The memory itself.
        rows: How many rows are shown.
        dropout: Share of x that is left out of what the path reads, and not of what is shown,
            while a learner climbs.

    Example:
        >>> from statespace.nn import recurrent
        >>> path = Beside(recurrent(1, 4), rows=2)
        >>> memory = path.start((), ())
        >>> for x in (0.0, 3.0, 5.0):
        ...     memory = path.step(memory, torch.tensor([x]))
        >>> path.read(memory)[4:].detach()
        tensor([5., 3., 1.])

    Source: Graves (2013), "Generating sequences with recurrent neural networks", section 2, for
    the connection from the input to the output.
    """

    def __init__(self, path: Conditioned, rows: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.path, self.rows, self.dropped = path, rows, Dropout(dropout)
        self.shown = rows * path.input_dim + 1 if path.input_dim else 0
        self.hidden_dim = path.hidden_dim + self.shown

    def start(self, batch_shape: Sequence[int], condition: Tree) -> Tree:
        """Zeros beside the path's own start, and that nothing was read."""
        own = self.path.start(batch_shape, condition)
        zero = own[0].new_zeros(*batch_shape, self.rows * self.path.input_dim + 1)
        return (*own, zero[..., :-1], zero[..., -1:])

    def step(self, memory: Tree, x: Tensor) -> Tree:
        """One step; the oldest row goes."""
        own = self.path.step(memory[:-2], self.dropped(x))
        lead = torch.broadcast_shapes(x.shape[:-1], memory[-2].shape[:-1])
        shown = [part.expand(*lead, part.shape[-1]) for part in (x, memory[-2])]
        kept = torch.cat(shown, -1)[..., : self.rows * x.shape[-1]]
        return (*own, kept, (memory[-1] + 1).expand(*lead, 1))

    def read(self, memory: Tree) -> Tensor:
        """(*, H + rows f + 1)."""
        return self._side_by_side(self.path.read(memory[:-2]), memory[-2], memory[-1])

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """The path's own scan, and rows side by side."""
        own, h = self.path.scan(memory[:-2], self.dropped(x), lengths)
        lead = torch.broadcast_shapes(x.shape[:-2], memory[-2].shape[:-1], lengths.shape)
        x = x.expand(*lead, *x.shape[-2:])
        before = memory[-2].expand(*lead, -1).unflatten(-1, (self.rows, x.shape[-1]))
        whole = torch.cat([before.flip(-2), x], -2)  # from the oldest row on
        T, rows = x.shape[-2], self.rows
        shown = torch.cat([whole.narrow(-2, rows - k, T) for k in range(rows)], -1)
        back = torch.arange(rows - 1, -1, -1, device=x.device)
        at = (lengths.expand(lead)[..., None] + back)[..., None]  # the newest first
        last = whole.gather(-2, at.expand(*lead, rows, x.shape[-1])).flatten(-2)
        read = memory[-1].unsqueeze(-2) + torch.arange(1, T + 1, device=x.device)[:, None]
        end = (memory[-1] + lengths[..., None]).to(x.dtype)
        return (*own, last, end), self._side_by_side(h, shown, read.to(x.dtype))

    def _side_by_side(self, h: Tensor, shown: Tensor, read: Tensor) -> Tensor:
        parts = [h, shown, (read > self.rows).to(h.dtype)] if self.shown else [h]
        lead = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        return torch.cat([part.expand(*lead, part.shape[-1]) for part in parts], -1)
