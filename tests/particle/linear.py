"""A small LDS, whose exact answers a Kalman filter gives, and proposals for it."""

from __future__ import annotations

import numpy as np
import torch

import statespace as ss
from statespace.densities import GaussianRoot
from statespace.gaussian import AffineConditional, Gaussian, condition
from statespace.interface import Guide, Method
from statespace.linalg import Covariance
from statespace.shapes import join

F64 = torch.float64


def small(m: int = 2, seed: int = 3) -> ss.LDS:
    """Two states, inputs, full noise covariances."""
    g = np.random.default_rng(seed)
    root = g.standard_normal((m, m)) / 2
    return ss.LDS(
        2,
        m,
        1,
        A=[[0.8, 0.3], [-0.3, 0.7]],
        B=[[0.5], [-0.2]],
        b=[0.1, 0.0],
        C=g.standard_normal((m, 2)),
        D=0.3 * g.standard_normal((m, 1)),
        Q=[[0.4, 0.1], [0.1, 0.2]],
        R=root @ root.T + 0.3 * np.eye(m),
        initial_mean=[0.5, -0.5],
        initial_cov=[[0.6, 0.2], [0.2, 0.5]],
    )


def ragged(model: ss.LDS, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three series of 7, 5 and 2 rows with inputs, an entry and a whole row missing."""
    u = torch.randn(3, 7, 1, dtype=F64, generator=torch.Generator().manual_seed(seed))
    y = model.sample(7, inputs=u, seed=seed).y.clone()
    y[0, 2, 0], y[1, 3] = torch.nan, torch.nan
    return y, u, torch.tensor([7, 5, 2])


class Exact(Method):
    """p(z_t | z_{t-1}, y_t) of an LDS: the particles are fully adapted."""

    serves = ss.LDS

    def kind(self, model, data, state=None):
        return "exact"

    def log_likelihood(self, model, data, generator, state=None):
        raise NotImplementedError

    smooth = log_likelihood

    def propose(self, model, z, ctx, row, prior):
        covariance = Covariance.from_root(prior.root)
        channel = model.readout(ctx)
        r = channel.noise
        lifted = AffineConditional(channel.weight, channel.bias, r)
        found, _ = condition(Gaussian(prior.mean, covariance), lifted, row.y, row.observed)
        return GaussianRoot(found.mean, found.covariance.root)


class Leaning(Guide):
    """A broad proposal that leans on y_t."""

    causal = True

    def __init__(self, m: int, n: int) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(5)
        self.register_buffer("toward", 0.03 * torch.randn(n, 2 * m, dtype=F64, generator=g))

    def encode(self, data, h):
        return join(data.values, data.observed.to(F64))

    def forward(self, z, e, ctx, prior):
        wide = 1.2 * prior.root
        return GaussianRoot(prior.mean + e @ self.toward.mT, wide)
