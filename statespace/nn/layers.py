"""Layers: multi-layer perceptrons, dropout, and how recurrent weights begin."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from statespace.errors import InputError, expected
from statespace.interface.regularising import is_climbing

__all__ = [
    "Dropout",
    "Perceptron",
    "Skipping",
    "activation_of",
    "last_bias",
    "mlp",
    "orthogonal_blocks",
    "orthogonal_start",
]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


def activation_of(name: str) -> nn.Module:
    """A layer that applies an activation to each entry.

    Raises:
        InputError: no such word.
    """
    if name not in _ACTIVATIONS:
        words = ", ".join(f'"{word}"' for word in _ACTIVATIONS)
        todo = "Choose one of them."
        raise InputError(expected("activation", f"one of {words}", repr(name), todo))
    return _ACTIVATIONS[name]()


class Perceptron(nn.Sequential):
    """Layers whose output has the precision of their weights, under `torch.autocast` too.

    Products may be taken in sixteen bits; what densities are made of is not.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*, f) -> (*, k)."""
        last: nn.Linear = self[-1]  # type: ignore[assignment]
        found: Tensor = super().forward(input)
        return found.to(last.weight.dtype)


def mlp(
    input_dim: int,
    output_dim: int,
    hidden: Sequence[int] = (),
    *,
    activation: str = "tanh",
    skip: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Perceptron | Skipping:
    """Affine maps with an activation between them; the last is affine.

    Args:
        input_dim: Features that come in.
        output_dim: Features that go out.
        hidden: Widths between.
        activation: "tanh", "relu" or "silu".
        skip: Whether a linear map of what comes in is added to what goes out; it begins at zero.
        dtype: Of the weights.

    Example:
        >>> mlp(3, 2, (16, 16))(torch.zeros(5, 4, 3)).shape
        torch.Size([5, 4, 2])
    """
    widths = [input_dim, *hidden]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b, dtype=dtype), activation_of(activation)]
    net = Perceptron(*layers, nn.Linear(widths[-1], output_dim, dtype=dtype))
    return Skipping(net, input_dim, output_dim, dtype) if skip else net


class Skipping(nn.Module):
    """A perceptron and a linear map beside it, f(x) + W x; f begins small and W at zero."""

    def __init__(
        self, net: Perceptron, input_dim: int, output_dim: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.net = net
        with torch.no_grad():
            last: Any = net[-1]
            last.weight.mul_(0.1)
        self.direct = nn.Linear(input_dim, output_dim, bias=False, dtype=dtype)
        nn.init.zeros_(self.direct.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(*, output_dim)."""
        found: Tensor = self.net(x)
        return found + self.direct(x).to(found.dtype)


def last_bias(net: nn.Module) -> Tensor:
    """The bias of the last layer of what `mlp` makes."""
    layers: Any = net.net if isinstance(net, Skipping) else net
    bias: Tensor = layers[-1].bias
    return bias


class Dropout(nn.Module):
    """Entries set to zero with probability p, the others scaled by 1 / (1 - p), while learning.

    Nothing happens in any verb: only what a learner climbs is noisy, whatever `training` says.

    Args:
        p: From 0 to below 1.
        rows: Whether each row (the axis before the last) has its own mask; else a mask serves all
            rows of a series (Gal and Ghahramani 2016).

    Raises:
        InputError: p is out of range.

    Source: Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from
    overfitting".
    """

    def __init__(self, p: float = 0.0, *, rows: bool = True) -> None:
        super().__init__()
        fine = isinstance(p, int | float) and not isinstance(p, bool)
        if not fine or not 0 <= p < 1:
            todo = "Give the share of entries that are left out."
            raise InputError(expected("dropout", "a number from 0 to below 1", repr(p), todo))
        self.p, self.rows = float(p), rows

    def extra_repr(self) -> str:
        """What is shown of it."""
        return f"{self.p:g}" + ("" if self.rows else ", rows=False")

    def forward(self, x: Tensor) -> Tensor:
        """X of any shape (*, T, f)."""
        if not self.p or not is_climbing():
            return x
        shape = x.shape if self.rows else (*x.shape[:-2], 1, x.shape[-1])
        kept = torch.rand(shape, dtype=x.dtype, device=x.device) >= self.p
        return x * kept / (1 - self.p)


@torch.no_grad()
def orthogonal_blocks(weight: Tensor) -> None:
    """Makes each square block (H, H) of a weight (G H, H) orthogonal, in place."""
    for block in weight.split(weight.shape[1]):
        nn.init.orthogonal_(block)


@torch.no_grad()
def orthogonal_start(kernel: nn.RNNBase, gated: bool) -> None:
    """Recurrent weights orthogonal gate by gate, the others Glorot uniform, biases at zero.

    Args:
        kernel: A recurrent module of torch's.
        gated: The bias of the second gate, which says how much is kept (an LSTM's forget gate, a
            GRU's update gate), begins at one: at first it remembers, as Gers, Schmidhuber and
            Cummins (2000) let an LSTM.
    """
    for name, weight in kernel.named_parameters():
        if name.startswith("weight_hh"):
            orthogonal_blocks(weight)
        elif name.startswith("weight_ih"):
            for block in weight.split(kernel.hidden_size):
                if block.numel():
                    nn.init.xavier_uniform_(block)
        else:
            weight.zero_()
            if gated and name.startswith("bias_ih"):
                weight[kernel.hidden_size : 2 * kernel.hidden_size] = 1.0
