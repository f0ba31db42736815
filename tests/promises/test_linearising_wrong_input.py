"""What a linearising method cannot do it says, in a sentence that names those that can.

Would catch: a refusal that names a method which refuses, too; moments of a family that has none; a
shape that is broadcast instead of refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nonlinear_cases import ALL, CASES, Tanh
from torch.distributions import Cauchy, Distribution, Independent, MultivariateNormal, StudentT

import statespace as ss
from statespace.errors import InputError, InputTypeError, MethodError
from statespace.gaussian import AffineConditional, Gaussian
from statespace.interface import Context, Network, Path
from statespace.linalg import Covariance

Y = torch.zeros(4, 2, dtype=torch.float64)


def of(kind: type) -> Any:
    model = CASES[0].model()
    model.__class__ = kind
    return model


class Heavy(Tanh):
    def emission(self, z: torch.Tensor, ctx: Context) -> Distribution:
        return Independent(Cauchy(z @ self.C.mT, 1.0, validate_args=False), 1)


class Wide(Tanh):
    def emission(self, z: torch.Tensor, ctx: Context) -> Distribution:
        law = StudentT(torch.tensor(1.5).double(), z @ self.C.mT, 1.0, validate_args=False)
        return Independent(law, 1)


class Narrow(Tanh):
    """A transition of two states where there are three."""

    def mean(self, z: torch.Tensor, ctx: Context) -> torch.Tensor:
        return super().mean(z, ctx)[..., :2]

    def transition(self, z: torch.Tensor, ctx: Context) -> Distribution:
        return MultivariateNormal(self.mean(z, ctx), scale_tril=self.SQ.tril()[:2, :2])


class Flat(Tanh):
    """An emission that forgets the leading axes."""

    def emission(self, z: torch.Tensor, ctx: Context) -> Distribution:
        mean = (z @ self.C.mT).reshape(-1, 2)
        return MultivariateNormal(mean, scale_tril=self.SR.tril(), validate_args=False)


class Memory(Path):
    def start(self, batch_shape: Any, condition: Any) -> Any:
        return torch.zeros(*batch_shape, 1, dtype=torch.float64)

    def step(self, memory: Any, x: torch.Tensor) -> Any:
        return 0.5 * memory + x

    def read(self, memory: Any) -> torch.Tensor:
        return memory


class Remembers(Tanh):
    """A memory that adds up what `reads` says, and moves the state."""

    def mean(self, z: torch.Tensor, ctx: Context) -> torch.Tensor:
        return torch.tanh(z @ self.A.mT + self.b + 0.3 * ctx.h)

    def feed(self, z: Any, y: Any, ctx: Context) -> torch.Tensor:
        x = z if z is not None else y if y is not None else ctx.u
        return x[..., :1]


def remembers(reads: str, order: str = "h then z") -> Any:
    source = CASES[1] if reads == "u" else CASES[0]
    model = source.model()
    model.__class__ = Remembers
    model.path, model.reads, model.order = Memory(), frozenset({reads}), order
    return model


def diffuse() -> Any:
    model = of(Tanh)

    def network(ctx: Context) -> Network:
        one = Covariance.from_root(torch.eye(3, dtype=torch.float64))
        prior = Gaussian(model.m1, one, torch.tensor([True, False, False]))
        moves = AffineConditional(model.A, model.b, one)
        return Network(prior, moves, moves, ss.activations.ACTIVATIONS["tanh"])

    object.__setattr__(model, "network", network)
    return model


REFUSED: dict[str, tuple[Callable[[], Any], type, str]] = {
    "no moments": (
        lambda: of(Heavy).filter(Y, method=ss.UnscentedKalman()),
        MethodError, r"UnscentedKalman .*Cauchy.*Laplace, ParticleFilter",
    ),
    "an infinite variance": (
        lambda: of(Wide).filter(Y, method=ss.ExtendedKalman()),
        MethodError, r"ExtendedKalman .*StudentT.*finite.*Laplace, ParticleFilter",
    ),
    "tangents along a path of counts": (
        lambda: CASES[8].model().smooth(CASES[8].data()["y"], method=ALL["path"]),
        MethodError, r"scope=.path.*Poisson.*Laplace",
    ),
    "Kalman": (
        lambda: of(Tanh).filter(Y, method=ss.Kalman()),
        MethodError, r"Kalman serves LinearGaussian.*CubatureKalman, ExtendedKalman, .*Particle",
    ),
    "a transition of another size": (
        lambda: of(Narrow).filter(Y),
        InputError, r"`transition\(\)`: expected .*event shape \(3,\), received .*2\)",
    ),
    "an emission of another shape": (
        lambda: of(Flat).filter(Y.expand(2, 4, 2)),
        InputError, r"`emission\(\)`: expected .*event shape \(2,\), received .*last axis",
    ),
    "a memory that reads z": (
        lambda: remembers("z").filter(Y), MethodError, r"memory does not read z.*ParticleFilter",
    ),
    "a gap that a memory reads": (
        lambda: remembers("y").filter(Y.index_fill(0, torch.tensor([1]), torch.nan)),
        MethodError, r"needs every y.*ParticleFilter",
    ),
    "a diffuse start": (
        lambda: diffuse().filter(Y), MethodError, r"diffuse start.*Give initial moments.*Kalman",
    ),
    "too many points": (
        lambda: of(Tanh).filter(Y, method=ss.GaussHermiteKalman(99)),
        MethodError, r"99\^3.*CubatureKalman",
    ),
    "no iterations": (lambda: ss.ExtendedKalman(iterations=0), InputError, "`iterations`"),
    "half an iteration": (lambda: ss.Laplace(iterations=0.5), InputTypeError, "`iterations`"),
    "an unknown scope": (
        lambda: ss.ExtendedKalman(scope="all"), InputError, '`scope`: expected "step" or "path"',
    ),
    "no points": (lambda: ss.GaussHermiteKalman(0), InputError, "`order`"),
    "alpha of zero": (lambda: ss.UnscentedKalman(alpha=0.0), InputError, "`alpha`"),
    "alpha in words": (lambda: ss.UnscentedKalman(alpha="a"), InputTypeError, "`alpha`"),
    "kappa of -n": (
        lambda: of(Tanh).filter(Y, method=ss.UnscentedKalman(kappa=-3.0)),
        MethodError, r"n \+ kappa > 0.*CubatureKalman",
    ),
    "a rule in words": (
        lambda: ss.PosteriorLinearisation("cubature"),
        InputTypeError, r"`rule`.*CubatureKalman\(\)",
    ),
    "an unknown word": (lambda: ss.ExtendedKalman(iteration=2), InputTypeError, "`iterations`"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_sentence(name: str) -> None:
    ask, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        ask()


@pytest.mark.parametrize("order", ["h then z", "z then h"])
@pytest.mark.parametrize("reads", ["u", "y"])
@pytest.mark.parametrize("kind", ["extended", "cubature", "laplace"])
def test_a_memory_of_data_is_served(reads: str, order: str, kind: str) -> None:
    """It runs ahead; whole = parts = steps, and Laplace's mode is that of the joint."""
    model = remembers(reads, order)
    case = CASES[1] if reads == "u" else CASES[0]
    data = case.data()
    whole = model.filter(**data, method=ALL[kind])
    first = model.filter(**{k: v[:3] for k, v in data.items()}, method=ALL[kind])
    rest = model.filter(**{k: v[3:] for k, v in data.items()}, state=first.state)
    assert torch.allclose(rest.mean, whole.mean[3:], atol=1e-10)
    u = {} if case.u is None else {"inputs": torch.as_tensor(case.u)}
    fc = model.forecast(**{**data, **u}, horizon=4, method=ALL[kind], seed=0)
    assert bool(torch.isfinite(fc.mean).all())
    if kind == "laplace":
        s = model.smooth(**data, method=ALL[kind])
        z = s.mean.requires_grad_()
        (slope,) = torch.autograd.grad(model.log_joint(z, **data).sum(), z)
        assert float(slope.abs().max()) < 1e-5


def test_noise_free_outputs_that_determine_each_other() -> None:
    """R = 0 and one output twice: it counts once; seen elsewhere, the likelihood is zero."""
    model = CASES[0].model()
    with torch.no_grad():
        model.SR.zero_()
        model.C[1] = model.C[0]
    y = model.sample(5, seed=0).y.detach()
    y[:, 1] = y[:, 0]
    f = model.filter(y, method=ss.ExtendedKalman())
    once = y.clone()
    once[:, 1] = torch.nan
    g = model.filter(once, method=ss.ExtendedKalman())
    assert torch.allclose(f.increments, g.increments, atol=1e-9)
    assert torch.allclose(f.mean, g.mean, atol=1e-9)
    y[3, 1] += 1.0
    assert float(model.log_likelihood(y, method=ss.ExtendedKalman()).detach()) == -torch.inf
