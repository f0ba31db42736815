"""Encoders: what a guide makes of the observations, one vector for each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from statespace.beliefs import Tree
from statespace.errors import InputError, expected
from statespace.nn.layers import mlp
from statespace.nn.paths import recurrent

__all__ = ["DIRECTIONS", "Both", "Directed", "Encoder", "Pointwise", "encoder", "reversed_rows"]

DIRECTIONS = ("pointwise", "causal", "anticausal", "both")


def reversed_rows(x: Tensor, lengths: Tensor) -> Tensor:
    """Each series backwards from its own end; what stands beyond the end stays where it is.

    Args:
        x: (*, T, f), whose last batch axes are those of `lengths`.
        lengths: (*batch,).

    Example:
        >>> x = torch.arange(8).reshape(2, 4, 1)
        >>> reversed_rows(x, torch.tensor([3, 4]))[..., 0]
        tensor([[2, 1, 0, 3],
                [7, 6, 5, 4]])
    """
    T, f = x.shape[-2:]
    t = torch.arange(T, device=x.device)
    back = lengths[..., None] - 1 - t
    index = torch.where(back >= 0, back, t).expand(x.shape[:-1]).reshape(-1, T)
    places = index + T * torch.arange(len(index), device=x.device)[:, None]
    # whole rows are moved, which is many times quicker than a gather of entries
    return x.reshape(-1, f).index_select(0, places.flatten()).reshape(x.shape)


class Encoder(nn.Module, ABC):
    """Features of all rows (*, T, f) to e (*, T, width).

    Attributes:
        causal: Row t of e hangs on no later row.
        width: Of e.
    """

    causal: bool
    width: int

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor, memory: Tree = ()) -> tuple[Tensor, Tree]:
        """E, and what a causal encoder goes on from; `memory` is () at the beginning."""


class Pointwise(Encoder):
    """e_t = f(x_t), a multi-layer perceptron.

    Args:
        features: The width of x.
        width: Of e.
        hidden: Widths between.
        dtype: Of the weights.
    """

    causal = True

    def __init__(
        self,
        features: int,
        width: int,
        hidden: Sequence[int] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.width = width
        self.net = nn.Sequential(mlp(features, width, hidden, dtype=dtype), nn.Tanh())

    def forward(self, x: Tensor, lengths: Tensor, memory: Tree = ()) -> tuple[Tensor, Tree]:
        """All rows at once."""
        return self.net(x), ()


class Directed(Encoder):
    """e_t = h_t of a recurrent path, forwards or from each series' own end backwards.

    Args:
        features: The width of x.
        width: Of e.
        causal: Forwards.
        cell: "rnn", "lstm" or "gru".
        layers: How many.
        activation: Of an rnn.
        dtype: Of the weights.
    """

    def __init__(
        self,
        features: int,
        width: int,
        *,
        causal: bool,
        cell: str = "gru",
        layers: int = 1,
        activation: str = "tanh",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.causal, self.width = causal, width
        self.path = recurrent(
            features, width, cell, layers=layers, activation=activation, dtype=dtype
        )

    def forward(self, x: Tensor, lengths: Tensor, memory: Tree = ()) -> tuple[Tensor, Tree]:
        """One scan."""
        begin = memory if self.causal and memory else self.path.start(x.shape[:-2], ())
        if self.causal:
            end, e = self.path.scan(begin, x, lengths)
            return e, end
        every = torch.full_like(lengths, x.shape[-2])  # padding stands behind: no need to stop
        _, e = self.path.scan(begin, reversed_rows(x, lengths), every)
        return reversed_rows(e, lengths), ()


class Both(Encoder):
    """A causal and an anticausal encoder side by side, half the width each."""

    causal = False

    def __init__(self, features: int, width: int, **how: Any) -> None:
        super().__init__()
        self.width = width
        self.forwards = Directed(features, width - width // 2, causal=True, **how)
        self.backwards = Directed(features, width // 2, causal=False, **how)

    def forward(self, x: Tensor, lengths: Tensor, memory: Tree = ()) -> tuple[Tensor, Tree]:
        """Two scans."""
        parts = [self.forwards(x, lengths)[0], self.backwards(x, lengths)[0]]
        return torch.cat(parts, -1), ()


def encoder(
    direction: str,
    features: int,
    width: int,
    *,
    hidden: Sequence[int] = (),
    cell: str = "gru",
    layers: int = 1,
    activation: str = "tanh",
    dtype: torch.dtype = torch.float32,
) -> Encoder:
    """An encoder by its direction.

    Args:
        direction: "pointwise", "causal", "anticausal" or "both".
        features: The width of what it reads.
        width: Of e.
        hidden: Widths between, of a pointwise one.
        cell: Of the others.
        layers: Likewise.
        activation: Of an rnn.
        dtype: Of the weights.

    Raises:
        InputError: an unknown direction.

    Example:
        >>> e, _ = encoder("anticausal", 3, 8)(torch.zeros(2, 5, 3), torch.tensor([5, 3]))
        >>> e.shape
        torch.Size([2, 5, 8])
    """
    if direction not in DIRECTIONS:
        words = ", ".join(f'"{word}"' for word in DIRECTIONS)
        todo = "Choose one of them."
        raise InputError(expected("encoder", f"one of {words}", repr(direction), todo))
    if direction == "pointwise":
        return Pointwise(features, width, hidden, dtype)
    how: dict[str, Any] = {"cell": cell, "layers": layers, "activation": activation}
    if direction == "both":
        return Both(features, width, **how, dtype=dtype)
    return Directed(features, width, causal=direction == "causal", **how, dtype=dtype)
