"""A memory without recurrence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from statespace.beliefs import Tree
from statespace.nn.layers import Dropout, activation_of
from statespace.nn.paths.base import Conditioned, ended
from statespace.shapes import join

__all__ = ["Feedforward"]


class Feedforward(Conditioned):
    """h_t = tanh(W x_t + b), layer upon layer: nothing is remembered but what x_t holds.

    A memory that reads y_{t-1} is then a network without recurrence of its own, whose steps are
    independent of each other once y is known.

    Args:
        input_dim: The width of x.
        hidden_dim: H.
        layers: How many.
        condition_dim: The width of a vector that every step reads beside x.
        dropout: Between layers, while a learner climbs.
        dtype: Of the weights.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        *,
        layers: int = 1,
        condition_dim: int = 0,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(input_dim, hidden_dim, condition_dim)
        widths = [input_dim + condition_dim, *[hidden_dim] * layers]
        parts: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            parts += [Dropout(dropout)] if parts and dropout else []
            parts += [nn.Linear(a, b, dtype=dtype), activation_of("tanh")]
        self.layers = nn.Sequential(*parts)

    def _zeros(self, batch_shape: Sequence[int]) -> tuple[Tensor, ...]:
        weight: Tensor = self.layers[0].weight  # type: ignore[assignment]
        return (weight.new_zeros(*batch_shape, self.hidden_dim),)

    def read(self, memory: Tree) -> Tensor:
        """(*, H)."""
        h: Tensor = memory[0]
        return h

    def step(self, memory: Tree, x: Tensor) -> Tree:
        """One step."""
        _, condition = self._apart(memory)
        h = self.layers(join(x, *condition))
        return (h, *(c.expand(*h.shape[:-1], c.shape[-1]) for c in condition))

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """All steps at once."""
        (old,), condition = self._apart(memory)
        h: Tensor = self.layers(join(x, *(c.unsqueeze(-2) for c in condition)))
        h, last = ended(h, old, lengths)
        return (last, *(c.expand(*last.shape[:-1], c.shape[-1]) for c in condition)), h
