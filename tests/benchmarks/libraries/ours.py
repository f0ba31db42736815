"""This library, by its public names only."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise

import numpy as np
import torch

import statespace as ss
from statespace.interface import Method

from ..problems import Array, Problem, Volatility
from ..timing import Paced
from .base import Calls, Library, Moments
from .ours_volatility import StochasticVolatility

_ITERATIONS = 4  # of EM, of which the time between one report and the next counts


class Ours(Library):
    name, package = "statespace", "torch"
    settings = (
        "LDS with its defaults and its public verbs, called with numpy data: the whole of the door "
        "is in every row; EM and fits as `fit` does them"
    )

    @property
    def versions(self) -> str:
        return f"{self.name} {ss.__version__}, {super().versions}"

    def log_likelihood(self, p: Problem) -> Calls:
        return {"default": partial(_value, _model(p), p.y)}

    def smooth(self, p: Problem) -> Calls:
        return {"default": partial(_smooth, _model(p), p.y)}

    def means(self, p: Problem) -> Calls:
        return {"default": partial(_means, _model(p), p.y)}

    def gradient(self, p: Problem) -> Calls:
        model = _model(p)
        slots = {path.split(".")[-2]: theta for path, theta in model.named_parameters()}
        return {"default": partial(_slope, model, slots, p.y)}

    def em_step(self, p: Problem) -> Calls:
        def step() -> tuple[Array, ...]:
            model = _model(p, initial="estimate")
            model.fit(p.y, learner=ss.EM(max_iter=1, tol=0.0, polish=False))
            return tuple(getattr(model, k).detach().numpy() for k in ("A", "C", "Q", "R"))

        def seconds() -> float:
            times: list[float] = []
            _model(p, initial="estimate").fit(
                p.y,
                learner=ss.EM(max_iter=_ITERATIONS, tol=0.0, polish=False),
                progress=lambda i, value: times.append(time.perf_counter()),
            )
            return min(b - a for a, b in pairwise(times))

        return {"default": Paced(step, seconds)}

    def particles(self, p: Volatility, *, declared: bool = True) -> Calls:
        model, method = StochasticVolatility(p, declared), ss.ParticleFilter(p.particles)

        def value() -> Array:
            with torch.no_grad():
                return model.log_likelihood(p.y, method=method, seed=0).numpy()

        return {"default": value}

    def extended_filter(self, p: Problem) -> Calls:
        return {"default": partial(_filtered, _network(p), p.y, ss.ExtendedKalman())}

    def extended_smooth(self, p: Problem) -> Calls:
        return {"default": partial(_network_smooth, _network(p), p.y)}

    def unscented_filter(self, p: Problem) -> Calls:
        method = ss.UnscentedKalman(alpha=1.0, beta=0.0, kappa=0.0)
        return {"default": partial(_filtered, _network(p), p.y, method)}

    def extended_gradient(self, p: Problem) -> Calls:
        return {"default": partial(_network_slope, _network(p), p.y)}

    def fit_level(self, y: Array) -> Calls:
        return {
            "default": lambda: float(ss.LDS.local_level().replace(R=None).fit(y).log_likelihood)
        }


def _model(p: Problem, initial: str = "known") -> ss.LDS:
    moments = {"initial_mean": p.m1, "initial_cov": p.P1, "initial": initial}
    return ss.LDS(
        p.n,
        p.m,
        A=p.A,
        C=p.C,
        d=ss.Fixed(np.zeros(p.m, dtype=p.dtype)),
        Q=p.Q,
        R=p.R,
        dtype=torch.float64 if p.dtype == np.float64 else torch.float32,
        **({"initial": "diffuse"} if p.diffuse else moments),
    )


def _value(model: ss.LDS, y: Array) -> Array:
    with torch.no_grad():
        return model.log_likelihood(y).numpy()


def _smooth(model: ss.LDS, y: Array) -> Moments:
    out = model.smooth(y, keep="marginals")
    return Moments(out.mean.numpy(), out.cov.numpy())


def _means(model: ss.LDS, y: Array) -> Array:
    return model.smooth(y, keep="means").mean.numpy()


def _slope(model: ss.LDS, slots: dict[str, torch.nn.Parameter], y: Array) -> tuple[Array, ...]:
    value = model.log_likelihood(y)
    grads = torch.autograd.grad(value.sum() if value.ndim else value, list(slots.values()))
    found = dict(zip(slots, grads, strict=True))  # every entry of A and of C is free
    n, m = model.latent_dim, model.obs_dim
    return found["A"].view(n, n).numpy(), found["C"].view(m, n).numpy()


def _network(p: Problem) -> ss.NoisyRNN:
    """With everything held but A."""
    held = {name: ss.Fixed(getattr(p, name)) for name in ("C", "Q", "R")}
    none = {"b": ss.Fixed(np.zeros(p.n)), "d": ss.Fixed(np.zeros(p.m))}
    return ss.NoisyRNN(p.n, p.m, A=p.A, **held, **none, initial_mean=p.m1, initial_cov=p.P1)


def _filtered(model: ss.NoisyRNN, y: Array, method: Method) -> Moments:
    out = model.filter(y, method=method)
    return Moments(out.mean.numpy(), out.cov.numpy())


def _network_smooth(model: ss.NoisyRNN, y: Array) -> Moments:
    out = model.smooth(y, method=ss.ExtendedKalman(), keep="marginals")
    return Moments(out.mean.numpy(), out.cov.numpy())


def _network_slope(model: ss.NoisyRNN, y: Array) -> tuple[Array, ...]:
    value = model.log_likelihood(y, method=ss.ExtendedKalman()).sum()
    (slope,) = torch.autograd.grad(value, list(model.parameters()))
    return value.detach().numpy(), slope.view(model.latent_dim, -1).numpy()
