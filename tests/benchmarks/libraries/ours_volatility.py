"""Stochastic volatility as a user writes it: three densities, and what they are in other words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

import statespace as ss
from statespace.gaussian import AffineConditional, Gaussian
from statespace.interface import GaussianLatent, Network, Real
from statespace.linalg import Covariance

from ..problems import Volatility


class StochasticVolatility(GaussianLatent):
    """Of a problem; `declared` says whether it has the other words."""

    def __init__(self, p: Volatility, declared: bool) -> None:
        super().__init__()
        self.latent, self.obs_dim, self.declared = Real(1), 1, declared
        for name in ("mu", "phi", "sigma"):
            self.register_buffer(name, torch.tensor(getattr(p, name), dtype=torch.float64))

    def initial(self, ctx: Any) -> Independent:
        return Independent(Normal(self.mu[None], self._spread), 1)

    def transition(self, z: Tensor, ctx: Any) -> Independent:
        return Independent(Normal(self.mu + self.phi * (z - self.mu), self.sigma), 1)

    def emission(self, z: Tensor, ctx: Any) -> Independent:
        return Independent(Normal(torch.zeros_like(z), (z / 2).exp()), 1)

    @property
    def _spread(self) -> Tensor:
        return self.sigma / (1 - self.phi**2).sqrt()

    def network(self, ctx: Any) -> Network | None:
        if not self.declared:
            return None
        one, none = self.mu.new_ones(1, 1), self.mu.new_zeros(1)
        unit = Covariance.from_root(one)
        return Network(
            Gaussian(self.mu[None], Covariance.from_root(self._spread * one)),
            AffineConditional(
                self.phi * one,
                (1 - self.phi) * self.mu[None],
                Covariance.from_root(self.sigma * one),
            ),
            AffineConditional(0 * one, none, unit),
            log_scale=AffineConditional(one / 2, none, unit),
        )

    def default_method(self) -> ss.ParticleFilter:
        return ss.ParticleFilter()

    def default_learner(self) -> ss.Gradient:
        return ss.Gradient(steps=1, lr=0.1)
