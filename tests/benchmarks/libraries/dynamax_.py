"""dynamax: filters in JAX, compiled for each shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from dynamax.linear_gaussian_ssm import (
    LinearGaussianSSM,
    ParamsLGSSM,
    ParamsLGSSMDynamics,
    ParamsLGSSMEmissions,
    ParamsLGSSMInfo,
    ParamsLGSSMInitial,
    lgssm_filter,
    lgssm_info_filter,
    lgssm_smoother,
    parallel_lgssm_filter,
    parallel_lgssm_smoother,
)
from jax import numpy as jnp

from ..problems import Array, Problem
from .base import WIDTHS, Calls, Library, Moments, NotOffered, flat_start


def _information(params: ParamsLGSSM) -> ParamsLGSSMInfo:
    inverse = jnp.linalg.inv
    return ParamsLGSSMInfo(
        initial_mean=params.initial.mean,
        dynamics_weights=params.dynamics.weights,
        emission_weights=params.emissions.weights,
        initial_precision=inverse(params.initial.cov),
        dynamics_precision=inverse(params.dynamics.cov),
        emission_precision=inverse(params.emissions.cov),
        dynamics_input_weights=params.dynamics.input_weights,
        dynamics_bias=params.dynamics.bias,
        emission_input_weights=params.emissions.input_weights,
        emission_bias=params.emissions.bias,
    )


_FILTERS = {
    "sequential": lgssm_filter,
    "parallel": parallel_lgssm_filter,
    "information": lambda params, y: lgssm_info_filter(_information(params), y),
}
_SMOOTHERS = {"sequential": lgssm_smoother, "parallel": parallel_lgssm_smoother}


class Dynamax(Library):
    name, package = "dynamax", "dynamax"
    also = ("jax",)
    settings = (
        "lgssm_filter and lgssm_smoother, sequential and parallel in time, and the information "
        "filter, in 64 bits (32 where the problem is); under jax.jit, compiled before the clock "
        "starts; gradients by jax.grad; "
        "EM as e_step (under vmap) and m_step in one compiled function; a flat start as a prior "
        "variance of 1e6, 1e8, 1e10 or 1e12"
    )

    def __init__(self) -> None:
        jax.config.update("jax_enable_x64", True)

    def log_likelihood(self, p: Problem) -> Calls:
        if p.diffuse:
            return {
                f"{name}, prior {width:g}": partial(
                    flat_start, lambda wide, f=f: _call(_value(f), wide)(), p, width
                )
                for name, f in _FILTERS.items()
                for width in WIDTHS
            }
        return {name: _call(_value(f), p) for name, f in _FILTERS.items()}

    def smooth(self, p: Problem) -> Calls:
        if p.diffuse:
            raise NotOffered("no diffuse start")
        return {name: _call(_moments(f), p) for name, f in _SMOOTHERS.items()}

    def gradient(self, p: Problem) -> Calls:
        return {name: _call(_slope(f), p) for name, f in _FILTERS.items()}

    def em_steps(self, p: Problem, steps: int) -> Calls:
        model = LinearGaussianSSM(p.n, p.m, has_dynamics_bias=False, has_emissions_bias=False)
        start, props = model.initialize(
            initial_mean=p.m1,
            initial_covariance=p.P1,
            dynamics_weights=p.A,
            dynamics_covariance=p.Q,
            emission_weights=p.C,
            emission_covariance=p.R,
        )

        @jax.jit
        def step(params: ParamsLGSSM, y: Array) -> tuple[ParamsLGSSM, Array]:
            statistics, values = jax.vmap(partial(model.e_step, params))(y)
            return model.m_step(params, props, statistics, None)[0], values.sum()

        def run() -> list[float]:
            params, history = start, []
            for _ in range(steps):
                params, value = step(params, p.y)
                history.append(value)
            jax.block_until_ready(params)
            return [float(v) for v in history]

        return {"compiled step": run}


def _params(p: Problem) -> ParamsLGSSM:
    A, Q, C, R, m1, P1 = (jnp.asarray(x) for x in (p.A, p.Q, p.C, p.R, p.m1, p.P1))
    zero = partial(jnp.zeros, dtype=A.dtype)
    return ParamsLGSSM(
        initial=ParamsLGSSMInitial(mean=m1, cov=P1),
        dynamics=ParamsLGSSMDynamics(
            weights=A, bias=zero(p.n), input_weights=zero((p.n, 0)), cov=Q
        ),
        emissions=ParamsLGSSMEmissions(
            weights=C, bias=zero(p.m), input_weights=zero((p.m, 0)), cov=R
        ),
    )


def _call(f: Callable[..., Any], p: Problem) -> Callable[[], Any]:
    if not p.complete:
        raise NotOffered("no missing data")
    if p.y.ndim > 2:
        raise NotOffered("not asked for panels here")
    wide = p.dtype == np.float64
    with jax.enable_x64(wide):
        params = _params(p)

    def call() -> Any:
        with jax.enable_x64(wide):
            return f(params, p.y)

    return call


def _value(f: Callable[..., Any]) -> Callable[..., float]:
    run = jax.jit(lambda params, y: f(params, y).marginal_loglik)
    return lambda params, y: float(run(params, y))


def _moments(f: Callable[..., Any]) -> Callable[..., Moments]:
    @jax.jit
    def run(params: ParamsLGSSM, y: Array) -> tuple[Array, Array]:
        out = f(params, y)
        return out.smoothed_means, out.smoothed_covariances

    return lambda params, y: Moments(*(np.asarray(v) for v in run(params, y)))


def _slope(f: Callable[..., Any]) -> Callable[..., Array]:
    run = jax.jit(jax.grad(lambda params, y: f(params, y).marginal_loglik))

    def slope(params: ParamsLGSSM, y: Array) -> Array:
        return np.asarray(jax.block_until_ready(run(params, y)).dynamics.weights)

    return slope
