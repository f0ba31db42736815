"""This library, by its public names only."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

import statespace as ss

from ..problems import Array, Problem
from .base import Calls, Library, Moments


class Ours(Library):
    name, package = "statespace", "torch"
    settings = (
        "LDS with its defaults, called with numpy data: the whole of the door is in every row"
    )

    @property
    def versions(self) -> str:
        return f"{self.name} {ss.__version__}, {super().versions}"

    def log_likelihood(self, p: Problem) -> Calls:
        return {"default": partial(_value, _model(p), p.y)}

    def smooth(self, p: Problem) -> Calls:
        return {"default": partial(_smooth, _model(p), p.y)}

    def gradient(self, p: Problem) -> Calls:
        model = _model(p)
        return {"default": partial(_slope, model, list(model.parameters()), p.y)}

    def em_steps(self, p: Problem, steps: int) -> Calls:
        def run() -> list[float]:
            learner = ss.EM(max_iter=steps, tol=0.0, polish=False)
            fit = _model(p, initial="estimate").fit(p.y, learner=learner)
            return [float(v) for v in fit.history]

        return {"default": run}

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


def _value(model: ss.LDS, y: Array) -> float:
    with torch.no_grad():
        return float(model.log_likelihood(y))


def _smooth(model: ss.LDS, y: Array) -> Moments:
    out = model.smooth(y)
    return Moments(out.mean.numpy(), out.cov.numpy())


def _slope(model: ss.LDS, parameters: list[torch.Tensor], y: Array) -> Array:
    slopes = torch.autograd.grad(model.log_likelihood(y), parameters)
    return slopes[0].reshape(model.latent_dim, -1).numpy()
