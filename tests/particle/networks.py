"""Declared models of every kind, and the same models with nothing declared."""

from __future__ import annotations

import torch
from torch.distributions import Independent, MultivariateNormal, Normal

import statespace as ss
from statespace.activations import activation
from statespace.gaussian import AffineConditional, Gaussian
from statespace.interface import GaussianLatent, Network, Real
from statespace.linalg import Covariance

F64 = torch.float64


def _table(*shape: int, seed: int, scale: float = 0.5) -> torch.Tensor:
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


class Net(GaussianLatent):
    """Activations of affine maps with inputs, full noise covariances and perhaps a scale."""

    def __init__(self, n, m, g="identity", f="identity", scaled=False, declared=True):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(n), m, 1
        self.g, self.f, self.declared = activation(g), activation(f), declared
        self.A, self.B, self.b = _table(n, n, seed=1), _table(n, 1, seed=2), _table(n, seed=3)
        self.C, self.D, self.d = _table(m, n, seed=4), _table(m, 1, seed=5), _table(m, seed=6)
        self.Q = torch.linalg.cholesky(0.2 * torch.eye(n, dtype=F64) + 0.05)
        self.R = torch.linalg.cholesky(0.3 * torch.eye(m, dtype=F64) + 0.1)
        self.first = torch.linalg.cholesky(0.5 * torch.eye(n, dtype=F64) + 0.1)
        self.E = _table(m, n, seed=7, scale=0.3) if scaled else None
        self.weight = torch.nn.Parameter(torch.ones((), dtype=F64))  # so that it can be learned

    def initial(self, ctx):
        return MultivariateNormal(self.b, scale_tril=self.first)

    def transition(self, z, ctx):
        mean = self.g(self.weight * z @ self.A.mT + ctx.u @ self.B.mT + self.b)
        return MultivariateNormal(mean, scale_tril=self.Q)

    def emission(self, z, ctx):
        mean = self.f(z @ self.C.mT + ctx.u @ self.D.mT + self.d)
        if self.E is None:
            return MultivariateNormal(mean, scale_tril=self.R)
        scale = (z @ self.E.mT + 0.1).exp()
        return MultivariateNormal(mean, scale_tril=scale[..., None] * self.R)

    def network(self, ctx):
        if not self.declared:
            return None
        varies = frozenset({"bias"} if ctx.over_time else ())
        covariance = Covariance.from_root
        zero = covariance(torch.zeros(self.obs_dim, self.obs_dim, dtype=F64))
        scale = None
        if self.E is not None:
            scale = AffineConditional(self.E, torch.full((self.obs_dim,), 0.1, dtype=F64), zero)
        return Network(
            Gaussian(self.b, covariance(self.first)),
            AffineConditional(
                self.weight * self.A, ctx.u @ self.B.mT + self.b, covariance(self.Q), varies
            ),
            AffineConditional(self.C, ctx.u @ self.D.mT + self.d, covariance(self.R), varies),
            self.g,
            self.f,
            scale,
        )

    def default_method(self):
        return ss.ParticleFilter(50)

    def default_learner(self):
        raise NotImplementedError


class Volatility(GaussianLatent):
    """z_t = mu + phi (z_{t-1} - mu) + sigma w_t,  y_t = exp(z_t / 2) v_t."""

    def __init__(self, declared=True):
        super().__init__()
        self.latent, self.obs_dim, self.declared = Real(1), 1, declared
        self.mu, self.phi, self.sigma = (
            torch.nn.Parameter(torch.tensor(x, dtype=F64)) for x in (-0.5, 0.9, 0.4)
        )

    def initial(self, ctx):
        spread = self.sigma / (1 - self.phi**2).sqrt()
        return Independent(Normal(self.mu[None], spread), 1)

    def transition(self, z, ctx):
        return Independent(Normal(self.mu + self.phi * (z - self.mu), self.sigma), 1)

    def emission(self, z, ctx):
        return Independent(Normal(torch.zeros_like(z), (z / 2).exp()), 1)

    def network(self, ctx):
        if not self.declared:
            return None
        one = torch.ones(1, 1, dtype=F64)
        unit, none = Covariance.from_root(one), torch.zeros(1, dtype=F64)
        spread = self.sigma / (1 - self.phi**2).sqrt()
        return Network(
            Gaussian(self.mu[None], Covariance.from_root(spread * one)),
            AffineConditional(
                self.phi * one,
                ((1 - self.phi) * self.mu)[None],
                Covariance.from_root(self.sigma * one),
            ),
            AffineConditional(0 * one, none, unit),
            log_scale=AffineConditional(one / 2, none, unit),
        )

    def default_method(self):
        return ss.ParticleFilter(50)

    def default_learner(self):
        raise NotImplementedError


KINDS = {
    "volatility": lambda declared: Volatility(declared),
    "linear": lambda declared: Net(2, 3, declared=declared),
    "tanh, softplus": lambda declared: Net(3, 2, "tanh", "softplus", declared=declared),
    "relu, sigmoid, scaled": lambda declared: Net(2, 2, "relu", "sigmoid", True, declared),
    "softplus, tanh, scaled": lambda declared: Net(1, 3, "softplus", "tanh", True, declared),
}
