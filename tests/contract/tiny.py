"""Five tiny models, one for each corner of the contract, that live only in the tests.

    Plain       z real, nothing remembered
    Discrete    z finite
    Switch      z = (k, x)
    Recurrent   the memory reads y, z and u, then z_t sees it            (order "h then z")
    Global      the memory reads z_t and y_{t-1}, then y_t sees it       (order "z then h")

All take inputs. With `linear=True` the memory of the last two is linear, so that the law of all y
is one Gaussian that `oracle.py` writes down.
"""

import torch
from torch import nn
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from statespace.densities import Chain
from statespace.inference import ParticleFilter
from statespace.interface import (
    Finite,
    FiniteLatent,
    GaussianLatent,
    Path,
    Real,
    StateSpaceModel,
    Switching,
    SwitchingGaussian,
)
from statespace.shapes import join

F64 = torch.float64


def values(*shape, seed, scale=0.5):
    """Fixed numbers as parameters."""
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(scale * torch.randn(*shape, dtype=F64, generator=generator))


def normal(mean, std):
    return Independent(Normal(mean, std, validate_args=False), 1, validate_args=False)


def gaussian(mean, root):
    return MultivariateNormal(mean, scale_tril=root, validate_args=False)


class Defaults:
    """What every tiny model answers when no method is given."""

    def default_method(self):
        return ParticleFilter(200)

    def default_learner(self):
        raise NotImplementedError


class Cell(Path):
    """h = squash(W h + U x); keeps a second leaf to itself, which counts the rows."""

    def __init__(self, width_x, width_h, linear, seed):
        super().__init__()
        self.W = values(width_h, width_h, seed=seed)
        self.U = values(width_h, width_x, seed=seed + 1)
        self.h_0 = values(width_h, seed=seed + 2)
        self.linear = linear

    def start(self, batch_shape, condition):
        h = self.h_0 if isinstance(condition, tuple) else self.h_0 + condition
        return h, self.W.new_zeros(*batch_shape, 1)

    def step(self, memory, x):
        h, rows = memory
        new = h @ self.W.mT + x @ self.U.mT
        new = new if self.linear else torch.tanh(new)
        return new, (rows + 1).expand(*new.shape[:-1], 1)

    def read(self, memory):
        return memory[0]


class Plain(Defaults, GaussianLatent):
    """z_t ~ N(A z + B u, Q), y_t ~ N(C z + D u, R) with correlated noise."""

    def __init__(self):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(2), 2, 1
        self.A, self.B = values(2, 2, seed=1), values(2, 1, seed=2)
        self.C, self.D = values(2, 2, seed=3, scale=1.0), values(2, 1, seed=4)
        self.root_q = nn.Parameter(torch.tensor([[0.8, 0.0], [0.3, 0.6]], dtype=F64))
        self.root_r = nn.Parameter(torch.tensor([[0.7, 0.0], [0.5, 0.4]], dtype=F64))
        self.m_0 = values(2, seed=5)

    def initial(self, ctx):
        return gaussian(self.m_0, self.root_q)

    def transition(self, z, ctx):
        return gaussian(z @ self.A.mT + ctx.u @ self.B.mT, self.root_q)

    def emission(self, z, ctx):
        return gaussian(z @ self.C.mT + ctx.u @ self.D.mT, self.root_r)


class Discrete(Defaults, FiniteLatent):
    """Three values; inputs move the transition."""

    def __init__(self):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Finite(3), 2, 1
        self.first = values(3, seed=11, scale=1.0)
        self.W, self.U = values(3, 3, seed=12, scale=1.0), values(3, 1, seed=13, scale=1.0)
        self.centres = values(3, 2, seed=14, scale=1.5)

    def initial(self, ctx):
        return Categorical(logits=self.first, validate_args=False)

    def transition(self, z, ctx):
        return Categorical(logits=self.W[z] + ctx.u @ self.U.mT, validate_args=False)

    def emission(self, z, ctx):
        return normal(self.centres[z], self.centres.new_full((2,), 0.8))


class Switch(Defaults, SwitchingGaussian):
    """k_t hangs on k_{t-1} and u_t; x_t on x_{t-1}, k_t and k_{t-1}."""

    def __init__(self):
        super().__init__()
        self.latent = Switching(Finite(2), Real(1))
        self.obs_dim, self.input_dim = 1, 1
        self.W, self.U = values(2, 2, seed=21, scale=1.0), values(2, 1, seed=22, scale=1.0)
        self.a, self.b = values(2, seed=23), values(2, seed=24, scale=1.0)
        self.std = nn.Parameter(torch.tensor([0.3, 0.9], dtype=F64))

    def _x(self, k, mean):
        return normal(mean[..., None], self.std[k][..., None])

    def initial(self, ctx):
        first = Categorical(logits=self.W[0], validate_args=False)
        return Chain(first, lambda k: self._x(k, self.b[k]), Switching)

    def transition(self, z, ctx):
        logits = self.W[z.k] + ctx.u @ self.U.mT
        first = Categorical(logits=logits, validate_args=False)

        def then(k):
            return self._x(k, self.a[k] * z.x[..., 0] + self.b[k] + 0.5 * z.k)

        return Chain(first, then, Switching)

    def emission(self, z, ctx):
        return normal(z.x, self.std.new_full((1,), 0.5))


class Recurrent(Defaults, StateSpaceModel):
    """h_t reads z_{t-1}, y_{t-1} and u_t; z_t and y_t see h_t."""

    reads = frozenset({"z", "y", "u"})

    def __init__(self, linear=False):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(1), 2, 1
        self.path = Cell(1 + 2 + 1, 2, linear, seed=31)
        self.A, self.F = values(1, 1, seed=41), values(1, 2, seed=42)
        self.C, self.G = values(2, 1, seed=43, scale=1.0), values(2, 2, seed=44)
        self.root_r = nn.Parameter(torch.tensor([[0.7, 0.0], [0.5, 0.4]], dtype=F64))

    def feed(self, z, y, ctx):
        return join(z, y, ctx.u)

    def origin(self, batch_shape):
        ones = self.A.new_ones(*batch_shape, 1)
        return 0.5 * ones, -0.3 * ones.expand(*batch_shape, 2)  # start symbols, not zeros

    def initial(self, ctx):
        return normal(ctx.h @ self.F.mT, self.A.new_ones(1))

    def transition(self, z, ctx):
        return normal(z @ self.A.mT + ctx.h @ self.F.mT, self.A.new_full((1,), 0.7))

    def emission(self, z, ctx):
        return gaussian(z @ self.C.mT + ctx.h @ self.G.mT, self.root_r)


class Global(Defaults, StateSpaceModel):
    """h_t reads z_t, y_{t-1} and u_t; z_t sees h_{t-1}, y_t sees h_t."""

    reads = frozenset({"z", "y", "u"})
    order = "z then h"

    def __init__(self, linear=False):
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(1), 2, 1
        self.path = Cell(1 + 2 + 1, 2, linear, seed=51)
        self.A, self.F = values(1, 1, seed=61), values(1, 2, seed=62)
        self.G = values(2, 2, seed=64, scale=1.0)
        self.root_r = nn.Parameter(torch.tensor([[0.7, 0.0], [0.5, 0.4]], dtype=F64))

    def feed(self, z, y, ctx):
        return join(z, y, ctx.u)

    def initial(self, ctx):
        return normal(ctx.h @ self.F.mT, self.A.new_ones(1))

    def transition(self, z, ctx):
        return normal(z @ self.A.mT + ctx.h @ self.F.mT, self.A.new_full((1,), 0.7))

    def emission(self, z, ctx):
        return gaussian(ctx.h @ self.G.mT, self.root_r)


MODELS = {
    "plain": Plain,
    "discrete": Discrete,
    "switch": Switch,
    "recurrent": Recurrent,
    "global": Global,
}
READ_Y = ("recurrent", "global")  # a missing y feeds their memory


def inputs(*shape, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 1, dtype=F64, generator=generator)


def ragged_case(model, batch=3, rows=5, seed=3, missing=True):
    """y (*batch, rows, m) with entries and a whole row missing, inputs, lengths."""
    u = inputs(batch, rows)
    y = model.sample(rows, inputs=u, seed=seed).y
    lengths = torch.tensor([rows - i for i in range(batch)])
    if missing:
        y = y.clone()
        y[0, 1, 0] = torch.nan  # a part of a row (all of it where m = 1)
        y[1, 2] = torch.nan  # a whole row
    return y, u, lengths
