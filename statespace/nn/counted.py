"""Heads of what is counted: notes, counts, categories."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
)

from statespace.densities import LogRatePoisson
from statespace.nn.head import Head, each

__all__ = ["BernoulliHead", "CategoricalHead", "PoissonHead"]


class BernoulliHead(Head):
    """Each entry 0 or 1, by its logit."""

    def __init__(self, features: int, obs_dim: int, more: Any) -> None:
        super().__init__(features, obs_dim, *more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        return each(Bernoulli(logits=self.net(x), validate_args=False))

    @torch.no_grad()
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Logits of how often each entry is 1."""
        ones, count = _totals(values, seen)
        self._bias.copy_(torch.logit((ones + 0.5) / (count + 1)))


class PoissonHead(Head):
    """Each entry a count, by the logarithm of its rate."""

    def __init__(self, features: int, obs_dim: int, more: Any) -> None:
        super().__init__(features, obs_dim, *more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x)."""
        return each(LogRatePoisson(self.net(x)))

    @torch.no_grad()
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Logarithms of the mean counts."""
        total, count = _totals(values, seen)
        self._bias.copy_(torch.log((total + 0.5) / (count + 1)))


class CategoricalHead(Head):
    """One of V categories, by its logit."""

    def __init__(self, features: int, num_categories: int, more: Any) -> None:
        super().__init__(features, num_categories, *more)

    def forward(self, x: Tensor) -> Distribution:
        """p(y | x), event (1,)."""
        logits = self.net(x)[..., None, :]
        return each(Categorical(logits=logits, validate_args=False))

    @torch.no_grad()
    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Logarithms of how often each category is seen."""
        size = self._bias.shape[0]
        counts = torch.bincount(values[seen.bool()], minlength=size)[:size].double()
        self._bias.copy_(torch.log((counts + 0.5) / (counts.sum() + 0.5 * size)))


def _totals(values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of each column over what was observed, and how often it was."""
    x, on = values.double(), seen.double()
    axes = tuple(range(x.dim() - 1))
    return (on * x).sum(axes), on.sum(axes)
