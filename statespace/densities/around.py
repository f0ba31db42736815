"""A Gaussian whose distance from the mean is measured by a function: angles, say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from statespace.densities.missing import complete, observed_log_prob
from statespace.densities.root import GaussianRoot

__all__ = ["GaussianAround"]

Residual = Callable[[Tensor, Tensor], Tensor]


class GaussianAround(GaussianRoot):
    """N(residual(y, mean); 0, S S'): y is moved next to the mean before it is looked at.

    For a residual that wraps angles this is the wrapped normal but for the tails beyond half a
    turn. Draws are not wrapped.

    Args:
        mean: (*batch, n).
        root: S, (*batch, n, k).
        residual: From y and the mean, (*, n) each, to how far y lies from it.

    Example:
        >>> import torch
        >>> def turn(y, mean):
        ...     return torch.remainder(y - mean + torch.pi, 2 * torch.pi) - torch.pi
        >>> d = GaussianAround(torch.tensor([3.1]), torch.tensor([[0.1]]), turn)
        >>> round(float(d.log_prob(torch.tensor([-3.1]))), 4)  # 0.0832 away, not 6.2
        1.0377
    """

    def __init__(self, mean: Tensor, root: Tensor, residual: Residual) -> None:
        self.residual = residual
        super().__init__(mean, root)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> GaussianAround:
        """The same law over more batch axes."""
        wide = super().expand(batch_shape)
        return GaussianAround(wide.loc, wide.root, self.residual)

    def moved(self, y: Tensor) -> Tensor:
        """Y next to the mean, (*, n)."""
        return self.loc + self.residual(y, self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*,)."""
        return super().log_prob(self.moved(value))


@observed_log_prob.register
def _(d: GaussianAround, y: Tensor, observed: Tensor) -> Tensor:
    return observed_log_prob(GaussianRoot(d.loc, d.root), d.moved(y), observed)


@complete.register
def _(d: GaussianAround, y: Tensor, observed: Tensor) -> Tensor:
    return complete(GaussianRoot(d.loc, d.root), d.moved(y), observed)
