"""Weighted particles: weights, ancestors and what they say. No time, no model.

Particles stand on the first axis: log weights (K, *batch), values (K, *batch, *event).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from statespace.beliefs import Belief, Space, Tree, finite_part, real_part
from statespace.errors import InputError, expected
from statespace.shapes import gather, tmap, where_tree

__all__ = [
    "SCHEMES",
    "Particles",
    "ancestors_at",
    "average_moments",
    "check_scheme",
    "effective_size",
    "first_lost",
    "frequencies",
    "invert",
    "normalise",
    "resample",
    "uniforms",
]

SCHEMES = ("systematic", "stratified", "multinomial", "residual")
_HAIR = 1e-9  # of a copy: equal weights are whole copies, though rounding says less


def normalise(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log weights that sum to one, and the log of what they summed to.

    Where all weights are zero they become equal, and the sum stays -inf: one contradicted series
    is -inf and goes on in numbers.

    Args:
        log_weights: (K, *batch).

    Returns:
        (K, *batch) and (*batch,).
    """
    total = log_weights.logsumexp(0)
    dead = total == -torch.inf
    if not bool(dead.any()):
        return log_weights - total, total
    even = torch.zeros_like(log_weights) - math.log(log_weights.shape[0])
    safe = torch.where(dead, even, log_weights)
    alive = safe.logsumexp(0)  # whose gradient is finite, where that of a sum of zeros is not
    return safe - alive, torch.where(dead, torch.full_like(alive, -torch.inf), alive)


def first_lost(increments: Tensor) -> Tensor:
    """The first row at which every weight was zero, -1 where there is none.

    Args:
        increments: (*batch, T), of the log-likelihood.

    Returns:
        (*batch,) int64.

    Example:
        >>> first_lost(torch.tensor([[-1.0, -torch.inf, -2.0], [-1.0, -1.0, -1.0]]))
        tensor([ 1, -1])
    """
    dead = increments == -torch.inf
    first = dead.to(torch.uint8).argmax(-1)
    return torch.where(dead.any(-1), first, torch.full_like(first, -1))


def effective_size(log_weights: Tensor) -> Tensor:
    """1 / sum of squared weights, between 1 and K; log weights normalised.

    Example:
        >>> effective_size(torch.tensor([0.5, 0.5, 0.0]).log())
        tensor(2.)
    """
    return 1 / (2 * log_weights).exp().sum(0)


def resample(
    log_weights: Tensor, num: int, scheme: str = "systematic", generator: Generator | None = None
) -> Tensor:
    """Which particle each of `num` equal ones descends from.

    The expected number of descendants of k is num w_k under every scheme (Douc, Cappe and
    Moulines 2005 compare them).

    Args:
        log_weights: Normalised, (K, *batch).
        num: How many are drawn.
        scheme: "systematic", "stratified", "multinomial" or "residual".
        generator: Random numbers; torch's own if None.

    Returns:
        (num, *batch) int64.

    Example:
        >>> weights = torch.tensor([0.5, 0.25, 0.25]).double().log()
        >>> resample(weights, 4, generator=torch.Generator().manual_seed(0))
        tensor([0, 0, 1, 2])
    """
    return ancestors_at(log_weights, uniforms(log_weights, num, scheme, generator), num, scheme)


def uniforms(
    log_weights: Tensor, num: int, scheme: str, generator: Generator | None = None
) -> Tensor:
    """The random numbers that a scheme spends on `num` ancestors, float64 in [0, 1).

    Returns:
        (1, *batch) for the systematic scheme, (num, *batch) for the others.
    """
    check_scheme(scheme)
    rows, batch = 1 if scheme == "systematic" else num, log_weights.shape[1:]
    device = log_weights.device
    return torch.rand((rows, *batch), generator=generator, dtype=torch.float64, device=device)


def ancestors_at(log_weights: Tensor, uniform: Tensor, num: int, scheme: str) -> Tensor:
    """Ancestors as a function of `uniforms`; see `resample`.

    Args:
        log_weights: Normalised, (K, *batch).
        uniform: What `uniforms` drew.
        num: How many ancestors.
        scheme: Of resampling.

    Returns:
        (num, *batch) int64.
    """
    weights = log_weights.detach().double().exp()
    steps = torch.arange(num, dtype=weights.dtype, device=weights.device)
    steps = steps.reshape(num, *(1,) * (weights.dim() - 1))
    if scheme in ("systematic", "stratified"):
        return invert(weights, (steps + uniform) / num)
    if scheme == "multinomial":
        return invert(weights, uniform)
    # residual: floor(num w_k) copies of each, the rest drawn from what is left over
    copies = (num * weights + _HAIR).floor()
    left = (num * weights - copies).clamp_min(0)
    sure = copies.sum(0)
    drawn = invert(torch.where(left.sum(0) > 0, left, weights), uniform)
    kept = invert(torch.where(sure > 0, copies, weights), (steps + 0.5) / sure.clamp_min(1))
    return torch.where(steps < sure, kept, drawn)


def check_scheme(scheme: str) -> str:
    """Refuses a scheme that has no name."""
    if scheme not in SCHEMES:
        words = ", ".join(f'"{name}"' for name in SCHEMES)
        raise InputError(
            expected("resampling", f"one of {words}", repr(scheme), "Choose one of them.")
        )
    return scheme


def invert(weights: Tensor, positions: Tensor) -> Tensor:
    """The first particle at which the cumulative weight exceeds a position in [0, 1).

    Args:
        weights: (K, *batch), of any sum.
        positions: (num, *batch).

    Returns:
        (num, *batch) int64.
    """
    ladder = weights.cumsum(0)
    ladder = (ladder / ladder[-1:]).movedim(0, -1).contiguous()
    below_one = positions.clamp(max=1 - torch.finfo(positions.dtype).eps)
    positions = below_one.movedim(0, -1).expand(*ladder.shape[:-1], -1).contiguous()
    return torch.searchsorted(ladder, positions, right=True).movedim(-1, 0)


def average_moments(mean: Tensor, cov: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a mixture.

    Args:
        mean: Of each component, (K, *, m).
        cov: Likewise, (K, *, m, m), or what broadcasts to it.
        weights: (K, *), summing to one over the first axis.

    Example:
        >>> mean, cov = torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1, 1)
        >>> average_moments(mean, cov, torch.tensor([0.5, 0.5]))
        (tensor([0.]), tensor([[2.]]))
    """
    whole = (weights[..., None] * mean).sum(0)
    apart = mean - whole
    spread = (weights[..., None] * apart).movedim(0, -1) @ apart.movedim(0, -2)
    return whole, spread + (weights[..., None, None] * cov).sum(0)


def frequencies(k: Tensor, size: int, weights: Tensor) -> Tensor:
    """Weighted frequencies of the values 0, ..., size - 1: (K, *batch) -> (*batch, size)."""
    one_hot = torch.nn.functional.one_hot(k, size).to(weights.dtype)
    return (weights[..., None] * one_hot).sum(0)


@dataclass(frozen=True)
class Particles(Belief):
    """A distribution as weighted points.

    Attributes:
        z: The points, leaves (K, *batch, *event).
        log_weights: Normalised, (K, *batch).
        space: What z is.
    """

    z: Tree
    log_weights: Tensor
    space: Space

    @property
    def weights(self) -> Tensor:
        """(K, *batch), summing to one over K."""
        return self.log_weights.exp()

    @property
    def mean(self) -> Tensor:
        """(*batch, n), of the vectors in z."""
        return (self.weights[..., None] * self._vectors()).sum(0)

    @property
    def cov(self) -> Tensor:
        """(*batch, n, n)."""
        zero = self.log_weights.new_zeros(1, 1, 1)
        return average_moments(self._vectors(), zero, self.weights)[1]

    def _vectors(self) -> Tensor:
        return real_part(self.space, self.z).to(self.log_weights.dtype)

    @property
    def probs(self) -> Tensor | None:
        """(*batch, K), of the finite part of z."""
        found = finite_part(self.space, self.z)
        return None if found is None else frequencies(*found, self.weights)

    def sample(self, shape: Sequence[int], generator: Generator | None = None) -> Tree:
        """Independent draws, (*shape, *batch, *event)."""
        num = torch.Size(shape).numel()
        drawn = gather(self.z, resample(self.log_weights, num, "multinomial", generator))
        return tmap(lambda x: x.reshape(*shape, *x.shape[1:]), drawn)

    def where(self, active: Tensor, old: Belief) -> Particles:
        """These where `active` (*batch,), the old ones elsewhere."""
        if not isinstance(old, Particles):
            raise TypeError(f"particles stand still as particles, not as {type(old).__name__}")
        pick = active[None]
        return Particles(
            where_tree(pick, self.z, old.z),
            torch.where(pick, self.log_weights, old.log_weights),
            self.space,
        )

    @classmethod
    def stack(cls, beliefs: Sequence[Particles]) -> Particles:
        """T of them as one, T just left of the event."""
        first = beliefs[0]
        lead = first.log_weights.dim()
        z = tmap(lambda *parts: torch.stack(parts, lead), *(b.z for b in beliefs))
        return Particles(z, torch.stack([b.log_weights for b in beliefs], -1), first.space)
