"""`Chain`: p(a) p(b | a), the density of a state with two parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch.distributions import Distribution

__all__ = ["Chain"]


class Chain(Distribution):
    """p(a) p(b | a) over a named tuple (a, b).

    Args:
        first: p(a).
        then: From a, of any leading axes, to p(b | a).
        make: The named tuple.

    Example:
        >>> from statespace.beliefs import Switching
        >>> from torch.distributions import Categorical, Independent, Normal
        >>> centres = torch.tensor([[-5.0], [5.0]])
        >>> law = Chain(
        ...     Categorical(logits=torch.zeros(2)),
        ...     lambda k: Independent(Normal(centres[k], 1.0), 1),
        ...     Switching,
        ... )
        >>> z = law.expand((7,)).sample()
        >>> z.k.shape, z.x.shape, law.log_prob(z).shape
        (torch.Size([7]), torch.Size([7, 1]), torch.Size([7]))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        first: Distribution,
        then: Callable[[Any], Distribution],
        make: Callable[[Any, Any], Any],
    ) -> None:
        self.first, self.then, self.make = first, then, make
        super().__init__(first.batch_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the first part has; the second is asked when it is known."""
        return bool(self.first.has_rsample)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Chain:
        """The same law over more batch axes."""
        return Chain(self.first.expand(torch.Size(batch_shape)), self.then, self.make)

    def _second(self, a: Any, sample_shape: Sequence[int]) -> Distribution:
        second = self.then(a)
        lead = (*sample_shape, *self.batch_shape)
        return second.expand(torch.broadcast_shapes(lead, second.batch_shape))

    def sample(self, sample_shape: Sequence[int] = ()) -> Any:
        """(a, b), each (*sample, *batch, *event)."""
        a = self.first.sample(torch.Size(sample_shape))
        return self.make(a, self._second(a, sample_shape).sample())

    def rsample(self, sample_shape: Sequence[int] = ()) -> Any:
        """The same, differentiable where both parts are."""
        a = self.first.rsample(torch.Size(sample_shape))
        return self.make(a, self._second(a, sample_shape).rsample())

    def log_prob(self, value: Any) -> Any:
        """The sum of log p(a) and log p(b | a)."""
        a, b = value
        return self.first.log_prob(a) + self.then(a).log_prob(b)
