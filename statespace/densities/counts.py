"""Counts given by the logarithm of their rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Poisson

__all__ = ["LogRatePoisson"]


class LogRatePoisson(Poisson):
    """Poisson(exp(log_rate)): y log_rate - exp(log_rate) - log y!.

    torch's own takes the rate, whose logarithm has no derivative where it underflows to 0.

    Args:
        log_rate: (*batch,).

    Example:
        >>> far = LogRatePoisson(torch.tensor(-200.0))
        >>> far.log_prob(torch.tensor(1.0)).item()
        -200.0
    """

    def __init__(self, log_rate: Tensor) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.exp(), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> LogRatePoisson:
        """The same law over more batch axes."""
        return LogRatePoisson(self.log_rate.expand(torch.Size(batch_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """(*,)."""
        return value * self.log_rate - self.rate - (value + 1).lgamma()
