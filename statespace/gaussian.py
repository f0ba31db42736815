"""Gaussians and affine conditionals: marginalise, condition, revert. No time, no loop, no model.

    z ~ N(m, P),   y | z ~ N(W z + c, R)

    marginalise   p(y)              = N(W m + c, W P W' + R)
    condition     p(z | y_o)        from y's observed entries o
    revert        p(z | y) as a function of y: the backward conditional

All three are one triangularisation of the joint root [[R^1/2, W S], [0, S]]; no covariance is
subtracted and none is inverted (Saerkkae and Svensson 2023, section 8.4, gives the array form).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from statespace.beliefs import Belief
from statespace.linalg import Covariance, tria

__all__ = ["AffineConditional", "Gaussian", "condition", "marginalise", "revert"]


@dataclass(frozen=True)
class Gaussian(Belief):
    """N(mean, covariance), some directions of it possibly with no prior information at all.

    Attributes:
        loc: the mean, (*batch, n).
        covariance: a `Covariance`, (*batch, n, n).
        diffuse: (n,) boolean, True where the entry has infinite variance and is independent of
            the others, whose covariance is then read without it; None where nothing is diffuse.
    """

    loc: Tensor
    covariance: Covariance
    diffuse: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """(*batch, n)."""
        return self.loc

    @property
    def cov(self) -> Tensor:
        """(*batch, n, n), with inf on the diagonal of diffuse entries."""
        if self.diffuse is None:
            return self.covariance.matrix
        return self.covariance.matrix + torch.diag_embed(
            torch.where(self.diffuse, torch.inf, 0.0).to(self.mean)
        )

    def sample(self, shape: Sequence[int], generator: Generator | None = None) -> Tensor:
        """Draws, (*shape, *batch, n)."""
        root = self.covariance.root
        size = (*shape, *self.mean.shape[:-1], root.shape[-1])
        noise = torch.randn(size, dtype=root.dtype, device=root.device, generator=generator)
        return self.mean + (root @ noise[..., None])[..., 0]

    def where(self, active: Tensor, old: Belief) -> Gaussian:
        """This one where `active` (*batch,), the old one elsewhere."""
        if not isinstance(old, Gaussian):
            raise TypeError(f"a Gaussian stands still as a Gaussian, not as {type(old).__name__}")
        roots = _same_width(self.covariance.root, old.covariance.root)
        pick = active[..., None, None]
        covariance = Covariance(
            torch.where(pick, self.covariance.matrix, old.covariance.matrix),
            torch.where(pick, roots[0], roots[1]),
        )
        return Gaussian(torch.where(active[..., None], self.mean, old.mean), covariance)

    @classmethod
    def stack(cls, beliefs: Sequence[Belief]) -> Gaussian:
        """T of them as one, T just left of the event."""
        gaussians = [b for b in beliefs if isinstance(b, Gaussian)]
        covariance = Covariance(
            torch.stack([g.covariance.matrix for g in gaussians], -3),
            torch.stack([tria(g.covariance.root) for g in gaussians], -3),
        )
        return cls(torch.stack([g.mean for g in gaussians], -2), covariance)


@dataclass(frozen=True)
class AffineConditional:
    """p(y | z) = N(weight z + bias, noise), at one time or over all of time.

    Attributes:
        weight: (*batch, [T,] m, n).
        bias: (*batch, [T,] m).
        noise: a `Covariance`, (*batch, [T,] m, m).
        varies: which of "weight", "bias", "noise" have the T axis. It is said, never guessed.
    """

    weight: Tensor
    bias: Tensor
    noise: Covariance
    varies: frozenset[str] = frozenset()

    def __call__(self, z: Tensor) -> Tensor:
        """The mean of y given z, (*, n) -> (*, m); at one time."""
        return (self.weight @ z[..., None])[..., 0] + self.bias


def _same_width(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    width = max(a.shape[-1], b.shape[-1])
    pad = torch.nn.functional.pad
    return pad(a, (0, width - a.shape[-1])), pad(b, (0, width - b.shape[-1]))


def _joint(prior: Gaussian, channel: AffineConditional) -> tuple[Tensor, Tensor, Tensor]:
    """Roots of the joint of (y, z): F of y's covariance, G = Cov(z, y) F^-T, S of Cov(z | y)."""
    s, r, w = prior.covariance.root, channel.noise.root, channel.weight
    m, n = w.shape[-2:]
    lead = torch.broadcast_shapes(s.shape[:-2], r.shape[:-2], w.shape[:-2])
    top = torch.cat([(w @ s).expand(*lead, m, s.shape[-1]), r.expand(*lead, m, r.shape[-1])], -1)
    bottom = torch.cat([s.expand(*lead, n, s.shape[-1]), s.new_zeros(*lead, n, r.shape[-1])], -1)
    lower = tria(torch.cat([top, bottom], -2))
    return lower[..., :m, :m], lower[..., m:, :m], lower[..., m:, m:]


def marginalise(prior: Gaussian, channel: AffineConditional) -> Gaussian:
    """p(y), the distribution of the channel's output.

    Example:
        >>> import torch
        >>> eye = torch.eye(1, dtype=torch.float64)
        >>> prior = Gaussian(torch.ones(1).double(), Covariance.from_root(2 * eye))
        >>> channel = AffineConditional(3 * eye, torch.zeros(1).double(), Covariance.from_root(eye))
        >>> round(float(marginalise(prior, channel).cov), 9)
        37.0
    """
    wide = channel.weight @ prior.covariance.root
    noise = channel.noise.root
    lead = torch.broadcast_shapes(wide.shape[:-2], noise.shape[:-2])
    wide, noise = (x.expand(*lead, *x.shape[-2:]) for x in (wide, noise))
    root = tria(torch.cat([wide, noise], -1))
    return Gaussian(channel(prior.mean), Covariance.from_root(root))


def _pseudo_solve(lower: Tensor, rhs: Tensor) -> Tensor:
    """L^-1 rhs; entries whose pivot is rounding are determined already and are skipped."""
    eps = torch.finfo(lower.dtype).eps
    pivots = lower.diagonal(dim1=-2, dim2=-1)
    dead = pivots.abs() <= 8 * lower.shape[-1] * eps * lower.norm(dim=-1)
    if not bool(dead.any()):
        return torch.linalg.solve_triangular(lower, rhs, upper=False)
    return torch.linalg.pinv(lower, rtol=64 * lower.shape[-1] * eps) @ rhs


def condition(
    prior: Gaussian, channel: AffineConditional, y: Tensor, observed: Tensor | None = None
) -> tuple[Gaussian, Tensor]:
    """p(z | y_o) and log p(y_o), o the observed entries of y.

    Args:
        prior: p(z), z of shape (*batch, n).
        channel: p(y | z).
        y: (*batch, m); what stands where nothing was observed does not matter if finite.
        observed: (*batch, m) boolean, True where observed; None for all.

    Returns:
        The posterior and the log density (*batch,), zero where nothing was observed.
    """
    on = torch.ones_like(y) if observed is None else observed.to(y.dtype)
    noise = channel.noise.root * on[..., None]
    masked = AffineConditional(
        channel.weight * on[..., None],
        channel.bias,
        Covariance.from_root(torch.cat([noise, torch.diag_embed(1 - on)], -1)),
    )
    f, g, s = _joint(prior, masked)
    residual = torch.where(on > 0, y - channel(prior.mean), torch.zeros_like(y))
    e = _pseudo_solve(f, residual[..., None])
    log_density = -0.5 * (e[..., 0].square() + on * _LOG_2PI).sum(-1)
    log_density = log_density - f.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return Gaussian(prior.mean + (g @ e)[..., 0], Covariance.from_root(s)), log_density


_LOG_2PI = 1.8378770664093453


def revert(prior: Gaussian, channel: AffineConditional) -> tuple[Gaussian, AffineConditional]:
    """p(y) and p(z | y): the same joint, factored the other way round.

    Returns:
        The marginal of y, and z given y as an `AffineConditional`: gain K, mean offset m - K E[y].
    """
    f, g, s = _joint(prior, channel)
    gain = _pseudo_solve(f, torch.eye(f.shape[-1], dtype=f.dtype, device=f.device).expand_as(f))
    gain = g @ gain
    mean = channel(prior.mean)
    backward = AffineConditional(
        gain, prior.mean - (gain @ mean[..., None])[..., 0], Covariance.from_root(s)
    )
    return Gaussian(mean, Covariance.from_root(f)), backward
