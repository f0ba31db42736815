"""A density of the contract as a distribution that Pyro's handlers understand."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from statespace.densities import observed_log_prob

__all__ = ["Density"]


class Density(TorchDistribution):
    """What a model's `initial`, `transition` or `emission` returned, or its guide.

    Args:
        base: The density, over (*sample, *batch).
        observed: Which entries of the value count, (*batch, m), the rest being integrated out; all
            where None.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  the base class says how it is typed

    def __init__(self, base: Distribution, observed: Tensor | None = None) -> None:
        self.base, self.observed = base, observed
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether draws carry gradients."""
        return bool(self.base.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the values can be listed."""
        return bool(self.base.has_enumerate_support)

    @property
    def support(self) -> Any:
        """Of the base; all reals where that does not say."""
        try:
            return self.base.support
        except NotImplementedError:
            return constraints.real_vector

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values."""
        return self.base.enumerate_support(expand=expand)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Density:
        """The same over more axes."""
        return Density(self.base.expand(Size(batch_shape)), self.observed)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw without gradients."""
        with torch.no_grad():
            return self.base.sample(Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw with gradients."""
        return self.base.rsample(Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Of the entries that count."""
        if self.observed is None:
            return self.base.log_prob(value)
        return observed_log_prob(self.base, value, self.observed.expand(value.shape))
