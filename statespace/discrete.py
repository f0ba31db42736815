"""Rows that sum to one, and beliefs about a state with finitely many values. No time, no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from statespace.beliefs import Belief
from statespace.errors import InputError, expected

__all__ = ["Categorical", "check_stochastic", "normalise", "propagate", "stationary"]


@dataclass(frozen=True)
class Categorical(Belief):
    """P(k) of a state with K values.

    Attributes:
        logits: Logarithms of the probabilities up to a constant, (*batch, K); -inf is a zero.

    Example:
        >>> Categorical(torch.tensor([0.0, 0.0, -torch.inf])).probs
        tensor([0.5000, 0.5000, 0.0000])
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Zero wide: a finite value has no mean."""
        return self.logits[..., :0]

    @property
    def cov(self) -> Tensor:
        """Zero wide."""
        return self.logits.new_zeros(*self.logits.shape[:-1], 0, 0)

    @property
    def probs(self) -> Tensor:
        """(*batch, K)."""
        return self.logits.softmax(-1)

    def sample(self, shape: Sequence[int], generator: Generator | None = None) -> Tensor:
        """Draws, (*shape, *batch), int64."""
        probs, batch = self.probs, self.logits.shape[:-1]
        num = torch.Size(shape).numel()
        flat = probs.reshape(-1, probs.shape[-1])
        drawn = torch.multinomial(flat, num, replacement=True, generator=generator)
        return drawn.mT.reshape(*shape, *batch)

    def where(self, active: Tensor, old: Belief) -> Categorical:
        """This one where `active` (*batch,), the old one elsewhere."""
        if not isinstance(old, Categorical):
            raise TypeError(f"a Categorical stands still as one, not as {type(old).__name__}")
        return Categorical(torch.where(active[..., None], self.logits, old.logits))

    @classmethod
    def stack(cls, beliefs: Sequence[Categorical]) -> Categorical:
        """T of them as one, T just left of the event."""
        return cls(torch.stack([b.logits for b in beliefs], -2))


def normalise(logits: Tensor) -> Tensor:
    """Logarithms of rows that sum to one."""
    return logits.log_softmax(-1)


def propagate(log_p: Tensor, log_transition: Tensor) -> Tensor:
    """One step of a chain: log sum_i p_i A_ij.

    Args:
        log_p: (*, K).
        log_transition: log A, (*, K, K), row i the distribution after i.

    Example:
        >>> a = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
        >>> propagate(torch.tensor([0.5, 0.5]).log(), a).exp()
        tensor([0.7000, 0.3000])
    """
    return (log_p[..., :, None] + log_transition).logsumexp(-2)


def check_stochastic(p: Tensor, name: str) -> Tensor:
    """Returns p if its rows are probabilities that sum to one.

    Raises:
        InputError: a negative or a non-finite entry, or a sum that is not one.
    """
    tolerance = 100 * torch.finfo(p.dtype).eps * p.shape[-1]
    if not bool(torch.isfinite(p).all()) or bool((p < 0).any()):
        worst = float(p[~(p >= 0)].flatten()[0]) if bool((~(p >= 0)).any()) else float(p.max())
        raise InputError(expected(name, "probabilities", f"{worst}", "Give numbers in [0, 1]."))
    gap = (p.sum(-1) - 1).abs()
    if bool((gap > tolerance).any()):
        received = f"a row that sums to {float(p.sum(-1).flatten()[int(gap.argmax())]):.6g}"
        todo = f"Divide each row of {name} by its sum."
        raise InputError(expected(name, "rows that sum to one", received, todo))
    return p


def stationary(p: Tensor) -> Tensor:
    """The distribution that a chain keeps: pi = pi P, sum(pi) = 1.

    Args:
        p: Transition probabilities, (*, K, K), rows summing to one, with one recurrent class.

    Returns:
        (*, K), differentiable.

    Example:
        >>> stationary(torch.tensor([[0.9, 0.1], [0.5, 0.5]]))
        tensor([0.8333, 0.1667])
    """
    size = p.shape[-1]
    eye = torch.eye(size, dtype=p.dtype, device=p.device)
    system = (eye - p).mT + torch.ones_like(p)  # (I - P') pi = 0 with 1 1' pi = 1 added on
    return torch.linalg.solve(system, torch.ones_like(p[..., 0]))
