"""What emission heads have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
)

from statespace.nn.layers import last_bias, mlp

__all__ = ["Head", "each", "inverse_softplus"]


def inverse_softplus(x: float) -> float:
    """What softplus makes x of."""
    return x + math.log(-math.expm1(-x))


def each(d: Distribution) -> Distribution:
    """The entries of y side by side, independent."""
    return Independent(d, 1, validate_args=False)


class Head(nn.Module, ABC):
    """Features (*, f) to a density of y, event (m,), in the units of the data.

    Args:
        features: f.
        outputs: How many numbers the density takes.
        hidden: Widths of the layers between.
        activation: Between them.
        skip: Whether a linear map of the features is added.
        dtype: Of the weights.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        hidden: Sequence[int],
        activation: str,
        skip: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.net = mlp(features, outputs, hidden, activation=activation, skip=skip, dtype=dtype)
        with torch.no_grad():
            self._bias.zero_()

    @property
    def _bias(self) -> Tensor:
        return last_bias(self.net)

    @abstractmethod
    def forward(self, x: Tensor) -> Distribution:
        """p(y | x), batched over (*,)."""

    @abstractmethod
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Begins at the level of some data: y (*, m), and what of it was observed."""

    def regress(self, x: Tensor, values: Tensor, rows: Tensor) -> None:
        """Begins at the line through features (*, f) and y (*, m) of some rows, if it can."""
