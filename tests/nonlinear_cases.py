"""The table of nonlinear cases: Gaussian latent models with data. Promises run over all of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, MultivariateNormal, Normal
from torch.distributions import Poisson as PoissonLaw

import statespace as ss
from statespace.interface import Context, GaussianLatent, Real

NAN = float("nan")
F64 = torch.float64


class Written(GaussianLatent):
    """A model that is written down by a user, with constant noise by default."""

    roots: tuple[str, ...] = ()

    def __init__(self, n: int, m: int, p: int = 0, **values: Any) -> None:
        super().__init__()
        self.latent, self.obs_dim, self.input_dim = Real(n), m, p
        for name, value in values.items():
            setattr(self, name, nn.Parameter(torch.as_tensor(value, dtype=F64).clone()))

    def initial(self, ctx: Context) -> Distribution:
        return MultivariateNormal(self.m1, scale_tril=self.S1.tril(), validate_args=False)

    def mean(self, z: Tensor, ctx: Context) -> Tensor:
        raise NotImplementedError

    def look(self, z: Tensor, ctx: Context) -> Tensor:
        raise NotImplementedError

    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        mean = self.mean(z, ctx)
        return MultivariateNormal(mean, scale_tril=self.SQ.tril(), validate_args=False)

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        mean = self.look(z, ctx)
        return MultivariateNormal(mean, scale_tril=self.SR.tril(), validate_args=False)

    def default_method(self) -> Any:
        return ss.ExtendedKalman()

    def default_learner(self) -> Any:
        return ss.Gradient(steps=10, lr=1e-2)


class Tanh(Written):
    """z_t = tanh(A z + B u + b) + w_t, y_t = C z_t + v_t."""

    def mean(self, z: Tensor, ctx: Context) -> Tensor:
        return torch.tanh(z @ self.A.mT + ctx.u @ self.B.mT + self.b)

    def look(self, z: Tensor, ctx: Context) -> Tensor:
        return z @ self.C.mT


class Squashed(Tanh):
    """The same, seen through tanh, with noise that grows with the state."""

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        scale = 0.3 + 0.2 * torch.sigmoid(z @ self.C.mT)
        mean = torch.tanh(z @ self.C.mT) + 0.1 * ctx.t[..., None]
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


class Linear(Tanh):
    """z_t = A z + B u + b + w_t; it does not say that it is linear."""

    def mean(self, z: Tensor, ctx: Context) -> Tensor:
        return z @ self.A.mT + ctx.u @ self.B.mT + self.b


class Pendulum(Written):
    """Angle and speed of a pendulum; the angle is seen, between -pi and pi."""

    def mean(self, z: Tensor, ctx: Context) -> Tensor:
        angle, speed = z[..., 0], z[..., 1]
        return torch.stack([angle + 0.1 * speed, speed - 0.98 * angle.sin()], -1)

    def look(self, z: Tensor, ctx: Context) -> Tensor:
        return z[..., :1]

    def residual(self, y: Tensor, mean: Tensor) -> Tensor:
        return wrapped(y - mean)


class Bearings(Written):
    """A point that moves at about constant velocity, seen as two bearings from two places."""

    def mean(self, z: Tensor, ctx: Context) -> Tensor:
        return z @ self.A.mT

    def look(self, z: Tensor, ctx: Context) -> Tensor:
        east, north = z[..., :1] - self.posts[:, 0], z[..., 1:2] - self.posts[:, 1]
        return torch.atan2(north, east)

    def residual(self, y: Tensor, mean: Tensor) -> Tensor:
        return wrapped(y - mean)


class Counts(Written):
    """Poisson counts whose log rates are an autoregression."""

    def mean(self, z: Tensor, ctx: Context) -> Tensor:
        return z @ self.A.mT + self.b

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        rate = (z @ self.C.mT).exp()
        return Independent(PoissonLaw(rate, validate_args=False), 1, validate_args=False)


class Coins(Counts):
    """Coins whose log odds are an autoregression."""

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        law = Bernoulli(logits=z @ self.C.mT, validate_args=False)
        return Independent(law, 1, validate_args=False)


def wrapped(x: Tensor) -> Tensor:
    return torch.remainder(x + math.pi, 2 * math.pi) - math.pi


@dataclass(frozen=True)
class Case:
    """A model and data for it; `y` (*batch, T, m), `u` (*batch, T + 4, p) or None."""

    name: str
    make: Callable[[], Any]
    y: Any
    u: Any = None
    lengths: Any = None
    tags: frozenset[str] = field(default_factory=frozenset)

    @property
    def T(self) -> int:
        return self.y.shape[-2]

    def model(self, dtype: torch.dtype = F64) -> Any:
        return self.make().to(dtype)

    def data(self, dtype: torch.dtype = F64) -> dict[str, Any]:
        out: dict[str, Any] = {"y": torch.as_tensor(self.y, dtype=dtype)}
        if self.u is not None:
            out["inputs"] = torch.as_tensor(self.u[..., : self.T, :], dtype=dtype)
        if self.lengths is not None:
            out["lengths"] = torch.as_tensor(self.lengths)
        return out

    def series(self) -> list[tuple[Any, Any]]:
        """Each series with its inputs, cut at its length."""
        flat = self.y.reshape(-1, *self.y.shape[-2:])
        u = None if self.u is None else self.u.reshape(-1, *self.u.shape[-2:])
        ends = [self.T] * len(flat) if self.lengths is None else list(self.lengths)
        return [(y[:e], None if u is None else u[i, :e]) for i, (y, e) in
                enumerate(zip(flat, ends, strict=True))]  # fmt: skip


def _values(kind: Any, seed: int, n: int, m: int, p: int = 0, noise: float = 0.3) -> Any:
    g = np.random.default_rng(seed)
    a = g.standard_normal((n, n))
    a = 0.9 * a / np.abs(np.linalg.eigvals(a)).max()
    values = {
        "A": a, "B": g.standard_normal((n, p)), "b": 0.3 * g.standard_normal(n),
        "C": g.standard_normal((m, n)), "SQ": _root(g, n, noise), "SR": _root(g, m, noise),
        "m1": g.standard_normal(n), "S1": _root(g, n, 1.0),
    }  # fmt: skip
    return lambda: kind(n, m, p, **values)


def _root(g: Any, n: int, size: float) -> Any:
    s = np.tril(g.standard_normal((n, n)), -1) * 0.5
    return size * (s + np.diag(1 + 0.5 * g.random(n)))


def _case(
    name: str,
    make: Any,
    seed: int,
    T: int = 8,
    batch: tuple[int, ...] = (),
    missing: float = 0.0,
    lengths: Any = None,
    tags: str = "",
) -> Case:
    g = np.random.default_rng(seed)
    model = make()
    u = g.standard_normal((*batch, T + 4, model.input_dim)) if model.input_dim else None
    told = {} if u is None else {"inputs": torch.as_tensor(u[..., :T, :])}
    shape = batch if u is None else ()
    y = model.sample(T, shape, **told, seed=seed).y.detach().numpy().copy()
    if "angle" in tags:
        y = (y + np.pi) % (2 * np.pi) - np.pi
    y[g.random(y.shape) < missing] = NAN
    return Case(name, make, y, u, lengths, frozenset(tags.split()))


def _pendulum() -> Any:
    return Pendulum(2, 1, m1=[2.8, 1.0], S1=0.3 * np.eye(2), SQ=[[0.02, 0.0], [0.05, 0.1]],
                    SR=[[0.2]])  # fmt: skip


def _bearings() -> Any:
    a = np.eye(4)
    a[0, 2] = a[1, 3] = 1.0
    return Bearings(
        4, 2, A=a, posts=[[0.0, 0.0], [2.0, 1.0]], m1=[-2.0, 0.6, 0.4, -0.2],
        S1=np.diag([0.3, 0.3, 0.1, 0.1]), SQ=0.05 * np.eye(4), SR=0.1 * np.eye(2),
    )  # fmt: skip


def _known() -> Any:
    """Start known and two of three states without noise: P is singular all along."""
    model = _values(Tanh, 5, 3, 2, 1)()
    with torch.no_grad():
        model.S1.zero_()
        model.SQ[:] = torch.zeros(3, 3)
        model.SQ[2, 2] = 0.4
    return model


CASES = [
    _case("tanh", _values(Tanh, 0, 3, 2), 0),
    _case("tanh, inputs, gaps", _values(Tanh, 1, 2, 3, 2), 1, missing=0.3),
    _case("tanh, a batch, ragged, gaps", _values(Tanh, 2, 2, 2, 1), 2, batch=(3,), missing=0.3,
          lengths=[8, 5, 1]),
    _case("squashed, noise of the state", _values(Squashed, 3, 2, 2, 1), 3, batch=(2,),
          tags="noise"),
    _case("linear, unsaid", _values(Linear, 4, 3, 2, 1), 4, batch=(2,), missing=0.3,
          tags="linear"),
    _case("known start, singular", _known, 5, missing=0.2, tags="singular"),
    _case("pendulum", _pendulum, 6, T=12, tags="angle"),
    _case("bearings", _bearings, 7, T=10, batch=(2,), missing=0.2, tags="angle"),
    _case("counts", _values(Counts, 8, 2, 3), 8, batch=(2,), missing=0.2, tags="counts"),
    _case("coins", _values(Coins, 9, 2, 3), 9, missing=0.2, tags="counts"),
]  # fmt: skip
IDS = [c.name for c in CASES]
METHODS = {
    "extended": ss.ExtendedKalman(),
    "iterated": ss.ExtendedKalman(iterations=3),
    "unscented": ss.UnscentedKalman(),
    "cubature": ss.CubatureKalman(),
    "hermite": ss.GaussHermiteKalman(3),
    "posterior": ss.PosteriorLinearisation(ss.UnscentedKalman(), 3),
}
WHOLE = {"laplace": ss.Laplace(), "path": ss.ExtendedKalman(iterations=50, scope="path")}
ALL = METHODS | WHOLE


def suits(case: Case, kind: str) -> bool:
    """Whether the method serves the case."""
    return not (kind == "path" and "counts" in case.tags)
