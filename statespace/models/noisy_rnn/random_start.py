"""Random start values: an orthogonal recurrence, a little noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from statespace.models.noisy_rnn.model import NoisyRNN

__all__ = ["orthogonal", "random_values"]

_RADIUS = 0.9  # length of the columns of a drawn A
_NOISE = 0.1  # standard deviation of what enters the state


def orthogonal(n: int, generator: Generator) -> Tensor:
    """A random rotation or reflection, uniform over all of them, (n, n) float64."""
    draw = torch.randn(n, n, dtype=torch.float64, generator=generator, device=generator.device)
    q, r = torch.linalg.qr(draw)
    return q * torch.where(r.diagonal() < 0, -1.0, 1.0)


def random_values(rnn: NoisyRNN, generator: Generator) -> None:
    """Draws every parameter that has no value yet, honouring what is held or tied.

    A is 0.9 times an orthogonal matrix (Saxe, McClelland and Ganguli 2014), so that signals
    neither vanish at once nor explode; C has rows of length about one.
    """
    n, p, rows = rnn.latent_dim, rnn.input_dim, rnn.slot("C").event[0]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    def spread(size: int) -> Tensor:
        root = torch.eye(size, dtype=torch.float64) + 0.1 * normal(size, size)
        return root @ root.mT

    draws = {
        "A": _RADIUS * orthogonal(n, generator),
        "W": normal(n, p) / max(p, 1) ** 0.5,
        "b": 0.1 * normal(n),
        "C": normal(rows, n) / max(n, 1) ** 0.5,
        "D": normal(rows, p) / max(p, 1) ** 0.5,
        "d": normal(rows),
        "Q": _NOISE**2 * spread(n),
        "R": spread(rows),
        "initial_mean": normal(n),
        "initial_cov": spread(n),
    }
    for name in map(str, rnn.slots):
        if not rnn.slot(name).is_set:
            rnn.slot(name).set_(draws[name])
