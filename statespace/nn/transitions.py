"""Transitions of a Markov chain of latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from statespace.nn.layers import mlp
from statespace.nn.posteriors import normal
from statespace.shapes import join

__all__ = ["GatedTransition"]


class GatedTransition(nn.Module):
    """A linear map and a network, mixed by a gate for each entry.

        x = [z, u],   g = sigmoid(gate(x)),   f = net(x)
        mean = (1 - g) (W x + b) + g f,       scale = floor + softplus(V relu(f) + c)

    W begins at the identity on z.

    Args:
        size: n.
        input_dim: p.
        hidden: Widths of the layers inside gate and net.
        dtype: Of the weights.
        min_scale: The floor.

    Source: Krishnan, Shalit and Sontag (2017), equation 6.

    Example:
        >>> GatedTransition(3, 0, (16,))(torch.zeros(5, 3), torch.zeros(5, 0)).event_shape
        torch.Size([3])
    """

    def __init__(
        self,
        size: int,
        input_dim: int,
        hidden: Sequence[int],
        dtype: torch.dtype = torch.float32,
        min_scale: float = 1e-3,
    ) -> None:
        super().__init__()
        width = size + input_dim
        self.min_scale = min_scale
        self.gate = mlp(width, size, hidden, activation="relu", dtype=dtype)
        self.net = mlp(width, size, hidden, activation="relu", dtype=dtype)
        self.linear = nn.Linear(width, size, dtype=dtype)
        self.scale = nn.Linear(size, size, dtype=dtype)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(size, width, dtype=dtype))
            self.linear.bias.zero_()

    def forward(self, z: Tensor, u: Tensor) -> Distribution:
        """p(z_t | z_{t-1} = z, u)."""
        x = join(z, u)
        g, f = self.gate(x).sigmoid(), self.net(x)
        mean = (1 - g) * self.linear(x).to(f.dtype) + g * f
        return normal(mean, self.min_scale + softplus(self.scale(f.relu()).to(f.dtype)))
