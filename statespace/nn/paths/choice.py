"""A memory by the name of its cell."""

from __future__ import annotations

import torch

from statespace.errors import InputError, expected
from statespace.nn.paths.base import Stepped
from statespace.nn.paths.fused import Fused
from statespace.nn.paths.normalised import LayerNormed

__all__ = ["CELLS", "recurrent"]

CELLS = ("rnn", "lstm", "gru")


def recurrent(
    input_dim: int,
    hidden_dim: int,
    cell: str = "gru",
    *,
    layers: int = 1,
    activation: str = "tanh",
    layer_norm: bool = False,
    condition_dim: int = 0,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Stepped:
    """A recurrent memory.

    Args:
        input_dim: The width of x.
        hidden_dim: H.
        cell: "rnn", "lstm" or "gru".
        layers: How many cells on top of each other.
        activation: "tanh" or "relu"; of an rnn.
        layer_norm: Whether pre-activations are normalised; slower, since nothing is fused.
        condition_dim: The width of a vector that every step of a series reads beside x.
        dropout: Between layers, while a learner climbs.
        dtype: Of the weights.

    Raises:
        InputError: an unknown cell.

    Example:
        >>> path = recurrent(3, 8, "gru")
        >>> path.read(path.step(path.start((), ()), torch.zeros(3))).shape
        torch.Size([8])
    """
    if cell not in CELLS:
        words = ", ".join(f'"{word}"' for word in CELLS)
        raise InputError(expected("cell", f"one of {words}", repr(cell), "Choose one of them."))
    make = LayerNormed if layer_norm else Fused
    return make(
        input_dim,
        hidden_dim,
        cell,
        layers=layers,
        activation=activation,
        condition_dim=condition_dim,
        dropout=dropout,
        dtype=dtype,
    )
