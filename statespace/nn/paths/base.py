"""What memories have in common: a condition, layers of cells, flat batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor

from statespace.beliefs import Tree
from statespace.errors import InputError, InputTypeError, expected
from statespace.interface import Path
from statespace.nn.layers import Dropout
from statespace.shapes import join

__all__ = ["Conditioned", "Flat", "Stepped", "ended"]


def ended(h: Tensor, before: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """All rows (*, T, H) with their leading axes in full, and each series' own last one (*, H).

    Args:
        h: (*, T, H).
        before: (*, H), which a series without rows ends with.
        lengths: (*).
    """
    lead = torch.broadcast_shapes(h.shape[:-2], lengths.shape, before.shape[:-1])
    h = h.expand(*lead, *h.shape[-2:])
    at = (lengths.expand(lead) - 1).clamp_min(0)[..., None, None]
    last = h.gather(-2, at.expand(*lead, 1, h.shape[-1]))[..., 0, :]
    return h, torch.where((lengths > 0)[..., None], last, before)


class Conditioned(Path):
    """A memory that may carry one vector per series, and reads it beside x at every step.

        h_t = step(h_{t-1}, [x_t, c])

    Attributes:
        input_dim: The width of x.
        condition_dim: The width of c, zero where there is none.
        hidden_dim: H.
    """

    def __init__(self, input_dim: int, hidden_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.input_dim, self.hidden_dim = input_dim, hidden_dim
        self.condition_dim = condition_dim

    @abstractmethod
    def _zeros(self, batch_shape: Sequence[int]) -> tuple[Tensor, ...]:
        """What the memory is before the first step, besides the condition."""

    def start(self, batch_shape: Sequence[int], condition: Tree) -> Tree:
        """Zeros, and the condition.

        Raises:
            InputError, InputTypeError: a condition of another shape, one too many, or none.
        """
        zeros = self._zeros(batch_shape)
        c = self._read_condition(condition, zeros[0])
        if c is None:
            return zeros
        lead = torch.broadcast_shapes(torch.Size(batch_shape), c.shape[:-1])
        wide = tuple(zero.expand(*lead, zero.shape[-1]) for zero in zeros)
        return (*wide, c.expand(*lead, c.shape[-1]))

    def _read_condition(self, condition: Any, like: Tensor) -> Tensor | None:
        size = self.condition_dim
        given = not (isinstance(condition, tuple) and not condition)
        if not given and not size:
            return None
        if not size:
            todo = "Leave it out, or make the model with condition_dim=."
            raise InputError(expected("condition", "none, for condition_dim=0", "one", todo))
        todo = "Give one vector per series, of condition_dim numbers."
        wanted = f"vectors (*batch, {size})"
        if not given:
            raise InputError(expected("condition", wanted, "none", todo))
        if isinstance(condition, tuple | dict):
            raise InputTypeError(expected("condition", wanted, type(condition).__name__, todo))
        c = torch.as_tensor(condition).to(like.device, like.dtype)
        if not c.dim() or c.shape[-1] != size:
            raise InputError(expected("condition", wanted, f"shape {tuple(c.shape)}", todo))
        return c

    def _apart(self, memory: Tree) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What the cell keeps, and the condition (none or one)."""
        return (memory[:-1], memory[-1:]) if self.condition_dim else (memory, ())


@dataclass(frozen=True)
class Flat:
    """What a scan runs over, with one batch axis of N series.

    Attributes:
        lead: The leading axes that were made one.
        x: (N, T, f), the condition beside what came in.
        kept: What each layer keeps before the first row, (N, L, H).
        lengths: (N,).
        condition: None or one, (*lead, k).
    """

    lead: Size
    x: Tensor
    kept: tuple[Tensor, ...]
    lengths: Tensor
    condition: tuple[Tensor, ...]

    def memory(self, end: Sequence[Tensor]) -> Tree:
        """The memory at the end, from what each layer keeps then, (N, L, H)."""
        return (*(part.reshape(*self.lead, -1) for part in end), *self.condition)


class Stepped(Conditioned):
    """L layers of a recurrent cell; each leaf of the memory holds those of all layers, (*, L H).

    h is that of the last layer.
    """

    kept = 1  # tensors of H numbers that a layer keeps: h, and the c of an LSTM

    def __init__(
        self, input_dim: int, hidden_dim: int, layers: int, condition_dim: int, dropout: float
    ) -> None:
        super().__init__(input_dim, hidden_dim, condition_dim)
        self.layers = layers
        self.between = Dropout(dropout)  # of what a layer hands to the next one

    @abstractmethod
    def _cell(self, layer: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One step of one layer, all (N, .)."""

    @property
    @abstractmethod
    def _like(self) -> Tensor:
        """A weight, whose dtype and device all have."""

    def _zeros(self, batch_shape: Sequence[int]) -> tuple[Tensor, ...]:
        zero = self._like.new_zeros(*batch_shape, self.layers * self.hidden_dim)
        return (zero,) * self.kept

    def read(self, memory: Tree) -> Tensor:
        """(*, H)."""
        h: Tensor = memory[0][..., -self.hidden_dim :]
        return h

    def step(self, memory: Tree, x: Tensor) -> Tree:
        """One step of all layers."""
        own, condition = self._apart(memory)
        x = join(x, *condition)
        lead = torch.broadcast_shapes(x.shape[:-1], *(leaf.shape[:-1] for leaf in own))
        below = x.expand(*lead, x.shape[-1]).reshape(-1, x.shape[-1])
        wide = [leaf.expand(*lead, leaf.shape[-1]).reshape(len(below), -1) for leaf in own]
        layers = []
        for k, parts in enumerate(zip(*(w.split(self.hidden_dim, -1) for w in wide), strict=True)):
            layers.append(self._cell(k, self.between(below) if k else below, parts))
            below = layers[-1][0]
        new = (torch.cat(parts, -1).reshape(*lead, -1) for parts in zip(*layers, strict=True))
        return (*new, *(c.expand(*lead, c.shape[-1]) for c in condition))

    def _flat(self, memory: Tree, x: Tensor, lengths: Tensor) -> Flat:
        """A scan's arguments with one batch axis."""
        own, condition = self._apart(memory)
        x = join(x, *(c.unsqueeze(-2) for c in condition))
        leads = [leaf.shape[:-1] for leaf in own]
        lead = torch.broadcast_shapes(x.shape[:-2], lengths.shape, *leads)
        num = lead.numel()
        kept = tuple(
            leaf.expand(*lead, leaf.shape[-1]).reshape(num, self.layers, self.hidden_dim)
            for leaf in own
        )
        return Flat(
            lead,
            x.expand(*lead, *x.shape[-2:]).reshape(num, *x.shape[-2:]),
            kept,
            lengths.expand(lead).reshape(num),
            tuple(c.expand(*lead, c.shape[-1]) for c in condition),
        )
