"""Guides and methods for the tests, and the plain model in other words."""

import torch
from contract.tiny import F64, Defaults, Plain, normal, values

from statespace.gaussian import AffineConditional, Gaussian
from statespace.interface import Guide, LinearGaussian, Method, Real
from statespace.linalg import Covariance
from statespace.shapes import join


class Causal(Guide):
    """Shifts a broad proposal towards y_t; where y_t is missing it is the prior."""

    causal = True

    def __init__(self, m, n):
        super().__init__()
        self.toward = values(n, 2 * m, seed=71)

    def encode(self, data, h):
        return join(data.values, data.observed.to(F64))

    def forward(self, z, e, ctx, prior):
        return normal(prior.mean + 0.3 * e @ self.toward.mT, 1.5 * prior.stddev)


class Acausal(Causal):
    causal = False


class Hindsight(Method):
    """Needs the whole series."""

    serves = Plain

    def kind(self, model, data, state=None):
        return "lower bound"

    def log_likelihood(self, model, data, generator, state=None):
        return model.m_0.sum() + torch.rand(data.batch_shape, dtype=F64)

    def smooth(self, model, data, generator, state=None):
        raise NotImplementedError


class Lines(Defaults, LinearGaussian):
    """The plain model as a linear-Gaussian one: same numbers, other words."""

    def __init__(self, plain, varying=False):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(2), 2, 1
        self.plain, self.varying = plain, varying

    def prior(self, ctx):
        return Gaussian(self.plain.m_0, Covariance.from_root(self.plain.root_q))

    def _channel(self, weight, effect, root, ctx):
        varies = {"bias"} if ctx.over_time else set()
        noise = Covariance.from_root(root)
        if self.varying and ctx.over_time:
            rows = ctx.t.shape[0]
            weight = weight.expand(rows, *weight.shape)
            noise = noise.map(lambda x: x.expand(rows, *x.shape))
            varies |= {"weight", "noise"}
        return AffineConditional(weight, ctx.u @ effect.mT, noise, frozenset(varies))

    def dynamics(self, ctx):
        return self._channel(self.plain.A, self.plain.B, self.plain.root_q, ctx)

    def readout(self, ctx):
        return self._channel(self.plain.C, self.plain.D, self.plain.root_r, ctx)
