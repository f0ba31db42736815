"""statsmodels: compiled filters, exact diffuse starts, structural models."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from statsmodels.tsa.statespace.initialization import Initialization
from statsmodels.tsa.statespace.kalman_smoother import (
    SMOOTHER_STATE,
    SMOOTHER_STATE_COV,
    KalmanSmoother,
)
from statsmodels.tsa.statespace.mlemodel import MLEModel
from statsmodels.tsa.statespace.structural import UnobservedComponents

from ..problems import Array, Problem
from .base import Calls, Library, Moments, NotOffered

_METHODS: dict[str, dict[str, Any]] = {
    "conventional": {},
    "LU": {"invert_univariate": False, "solve_cholesky": False, "solve_lu": True},
    "univariate": {"filter_univariate": True},
    "tolerance 0": {"tolerance": 0.0},
    "univariate, tolerance 0": {"filter_univariate": True, "tolerance": 0.0},
}


class Statsmodels(Library):
    name, package = "statsmodels", "statsmodels"
    settings = (
        "the conventional filter (Cholesky and LU) and the univariate filter, as they come and "
        "with the tolerance of the steady state at 0; exact diffuse "
        "starts; smoothing of states and their covariances only; gradients by MLEModel.score "
        "(complex step); fits without standard errors; data bound once, outside the call; "
        "a panel series by series, smoothed by the conventional filter, the fastest there"
    )

    def log_likelihood(self, p: Problem) -> Calls:
        return {name: partial(_value, _models(p, how)) for name, how in _METHODS.items()}

    def smooth(self, p: Problem) -> Calls:
        return {name: partial(_smooth, _models(p, how)) for name, how in _records(p).items()}

    def means(self, p: Problem) -> Calls:
        return {name: partial(_means, _models(p, how)) for name, how in _records(p).items()}

    def gradient(self, p: Problem) -> Calls:
        if p.y.ndim > 2:
            raise NotOffered("one series at a time")
        model = Free(p)
        return {"complex step": partial(_score, model, model.pack(p))}

    def fit_level(self, y: Array) -> Calls:
        def fit() -> float:
            model = UnobservedComponents(y, "local level", use_exact_diffuse=True)
            return float(model.fit(disp=False, cov_type="none").llf)

        return {"L-BFGS": fit}


class Free(MLEModel):  # type: ignore[misc]
    """Every entry of A and C, and of lower roots of Q and R, as a parameter."""

    def __init__(self, p: Problem) -> None:
        super().__init__(p.y, k_states=p.n, k_posdef=p.n)
        self["selection"] = np.eye(p.n)
        self.ssm.initialize_known(p.m1, p.P1)
        self._lower = {k: np.tril_indices(k) for k in (p.n, p.m)}

    @property
    def start_params(self) -> Array:
        return np.zeros(self.k_states)

    def pack(self, p: Problem) -> Array:
        roots = [np.linalg.cholesky(x)[self._lower[len(x)]] for x in (p.Q, p.R)]
        return np.concatenate([p.A.ravel(), p.C.ravel(), *roots])

    def update(self, params: Array, **kwargs: Any) -> None:
        params = super().update(params, **kwargs)
        n, m = self.k_states, self.k_endog
        sizes = np.cumsum([n * n, m * n, n * (n + 1) // 2])
        a, c, q, r = np.split(params, sizes)
        self["transition"], self["design"] = a.reshape(n, n), c.reshape(m, n)
        for name, entries, size in (("state_cov", q, n), ("obs_cov", r, m)):
            root = np.zeros((size, size), dtype=params.dtype)
            root[self._lower[size]] = entries
            self[name] = root @ root.T


def _records(p: Problem) -> dict[str, dict[str, Any]]:
    """Each model holds records of its series: those of a panel by five methods take 15 GB."""
    return _METHODS if p.y.ndim == 2 else {"conventional": {}}


def _models(p: Problem, method: dict[str, Any]) -> KalmanSmoother | list[KalmanSmoother]:
    """One for each series of a panel."""
    if p.y.ndim == 2:
        return _model(p, method)
    return [_model(replace(p, y=y), method) for y in p.y]


def _model(p: Problem, method: dict[str, Any]) -> KalmanSmoother:
    kf = KalmanSmoother(p.m, p.n, p.n, dtype=p.dtype.type)
    kf.bind(p.y.copy())
    kf["design"], kf["obs_cov"], kf["transition"] = p.C, p.R, p.A
    kf["selection"], kf["state_cov"] = np.eye(p.n, dtype=p.dtype), p.Q
    if p.diffuse:
        kf.initialize_diffuse()
    else:
        kf.initialize_known(p.m1, p.P1)
    for option, value in method.items():
        setattr(kf, option, value)
    return kf


def _value(kf: KalmanSmoother | list[KalmanSmoother]) -> Any:
    if isinstance(kf, list):
        return np.array([float(one.loglike()) for one in kf])
    return float(kf.loglike())


def _smooth(kf: KalmanSmoother | list[KalmanSmoother]) -> Moments:
    if isinstance(kf, list):
        return Moments(*(np.stack(part) for part in zip(*map(_smooth, kf), strict=True)))
    out = kf.smooth(smoother_output=SMOOTHER_STATE | SMOOTHER_STATE_COV)
    return Moments(out.smoothed_state.T, out.smoothed_state_cov.transpose(2, 0, 1))


def _means(kf: KalmanSmoother | list[KalmanSmoother]) -> Array:
    if isinstance(kf, list):
        return np.stack([_means(one) for one in kf])
    return np.asarray(kf.smooth(smoother_output=SMOOTHER_STATE).smoothed_state.T)


def _score(model: Free, params: Array) -> tuple[Array, ...]:
    n, m = model.k_states, model.k_endog
    a, c = np.split(np.asarray(model.score(params)).real[: n * n + m * n], [n * n])
    return a.reshape(n, n), c.reshape(m, n)


class _Components(UnobservedComponents):
    """A damped cycle starts from its stationary distribution, as here; it is flat as it comes."""

    def initialize_default(self, approximate_diffuse_variance: float | None = None) -> None:
        super().initialize_default(approximate_diffuse_variance)
        if not (self.cycle and self.damped_cycle) or self.autoregressive:
            return
        begin = self.level + self.trend + self._k_seasonal_states + self._k_freq_seas_states
        end = begin + self._k_cycle_states
        start = Initialization(self.k_states)
        if begin:
            start.set((0, begin), "diffuse")
        start.set((begin, end), "stationary")
        if end < self.k_states:
            start.set((end, self.k_states), "diffuse")
        self.ssm.initialization = start


def components(y: Array, **words: Any) -> UnobservedComponents:
    """Structural components with the starts that they have here, the diffuse ones exact."""
    return _Components(y, use_exact_diffuse=True, **words)
