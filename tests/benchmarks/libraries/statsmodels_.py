"""statsmodels: compiled filters, exact diffuse starts, structural models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
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
        "(complex step); fits without standard errors; data bound once, outside the call"
    )

    def log_likelihood(self, p: Problem) -> Calls:
        return {name: _float(_model(p, method).loglike) for name, method in _METHODS.items()}

    def smooth(self, p: Problem) -> Calls:
        return {name: partial(_smooth, _model(p, method)) for name, method in _METHODS.items()}

    def gradient(self, p: Problem) -> Calls:
        _check(p)
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


def _check(p: Problem) -> None:
    if p.y.ndim > 2:
        raise NotOffered("no panels")


def _model(p: Problem, method: dict[str, Any]) -> KalmanSmoother:
    _check(p)
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


def _float(call: Callable[[], Any]) -> Callable[[], float]:
    return lambda: float(call())


def _smooth(kf: KalmanSmoother) -> Moments:
    out = kf.smooth(smoother_output=SMOOTHER_STATE | SMOOTHER_STATE_COV)
    return Moments(out.smoothed_state.T, out.smoothed_state_cov.transpose(2, 0, 1))


def _score(model: Free, params: Array) -> Array:
    n = model.k_states
    return np.asarray(model.score(params)).real[: n * n].reshape(n, n)
