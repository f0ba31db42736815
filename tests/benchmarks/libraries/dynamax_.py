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
)
from dynamax.nonlinear_gaussian_ssm import (
    ParamsNLGSSM,
    UKFHyperParams,
    extended_kalman_filter,
    extended_kalman_smoother,
    unscented_kalman_filter,
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
    "information": lambda params, y: lgssm_info_filter(_information(params), y),
}


class Dynamax(Library):
    name, package = "dynamax", "dynamax"
    also = ("jax",)
    rounding = 1e-6  # it adds 1e-9 to the diagonal of whatever it solves with
    settings = (
        "lgssm_filter and lgssm_smoother (sequential: those that are parallel in time came to wait "
        "for themselves without end with two threads, jaxlib 0.10.2) and the information filter, "
        "in 64 bits (32 where the problem is); under jax.jit, compiled before the clock starts; "
        "panels under jax.vmap; gradients by jax.grad; data on the device before the clock starts; "
        "EM as e_step (under vmap) and m_step in one compiled function, with its initial "
        "covariance of several series corrected (it gave NaN from the second iteration on); a flat "
        "start as a prior variance of 1e6, 1e8, 1e10 or 1e12"
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
        _check_start(p)
        return {"sequential": _call(_moments, p)}

    def means(self, p: Problem) -> Calls:
        _check_start(p)
        return {"sequential": _call(_means, p)}

    def gradient(self, p: Problem) -> Calls:
        return {name: _call(_slope(f), p, one=False) for name, f in _FILTERS.items()}

    def em_step(self, p: Problem) -> Calls:
        model, start, props = em_model(p)
        y = jnp.asarray(p.y)

        @jax.jit
        def step(params: ParamsLGSSM, y: Any) -> tuple[ParamsLGSSM, Any]:
            statistics, values = jax.vmap(partial(model.e_step, params))(y)
            return model.m_step(params, props, statistics, None)[0], values.sum()

        def run() -> tuple[Array, ...]:
            new = jax.block_until_ready(step(start, y))[0]
            parts = (new.dynamics.weights, new.emissions.weights, new.dynamics.cov)
            return tuple(np.asarray(v) for v in (*parts, new.emissions.cov))

        return {"compiled step": run}

    def extended_filter(self, p: Problem) -> Calls:
        return _run_network(p, lambda A, y: _filtered(extended_kalman_filter(_network(A, p), y)))

    def extended_smooth(self, p: Problem) -> Calls:
        return _run_network(p, lambda A, y: _smoothed(extended_kalman_smoother(_network(A, p), y)))

    def unscented_filter(self, p: Problem) -> Calls:
        rule = UKFHyperParams(alpha=1.0, beta=0.0, kappa=0.0)
        return _run_network(
            p, lambda A, y: _filtered(unscented_kalman_filter(_network(A, p), y, rule))
        )

    def extended_gradient(self, p: Problem) -> Calls:
        def one(A: Any, y: Any) -> Any:
            return extended_kalman_filter(_network(A, p), y).marginal_loglik

        def total(A: Any, y: Any) -> Any:
            return jax.vmap(one, (None, 0))(A, y).sum() if y.ndim > 2 else one(A, y)

        run, A, y = jax.jit(jax.value_and_grad(total)), jnp.asarray(p.A), jnp.asarray(p.y)
        return {"compiled": lambda: tuple(map(np.asarray, run(A, y)))}


def _network(A: Any, p: Problem) -> ParamsNLGSSM:
    """`tanh_network` with another A."""
    Q, C, R, m1, P1 = (jnp.asarray(x) for x in (p.Q, p.C, p.R, p.m1, p.P1))
    return ParamsNLGSSM(m1, P1, lambda z: jnp.tanh(A @ z), Q, lambda z: C @ z, R)


def _run_network(p: Problem, f: Callable[[Any, Any], Any]) -> Calls:
    """`f` of A and one series, under vmap for a panel; compiled, as numpy."""
    run = jax.jit(jax.vmap(f, (None, 0)) if p.y.ndim > 2 else f)
    A, y = jnp.asarray(p.A), jnp.asarray(p.y)
    return {"compiled": lambda: jax.tree.map(np.asarray, run(A, y))}


def _filtered(out: Any) -> Moments:
    return Moments(out.filtered_means, out.filtered_covariances)


def _smoothed(out: Any) -> Moments:
    return Moments(out.smoothed_means, out.smoothed_covariances)


class Corrected(LinearGaussianSSM):  # type: ignore[misc]
    """With the initial covariance of several series as it should be.

    The one of dynamax 1.0.3 subtracts the outer product of sums in place of that of means; it is
    not positive definite, and the next iteration is NaN.
    """

    def m_step(self, params: Any, props: Any, batch_stats: Any, m_step_state: Any) -> Any:
        params, state = super().m_step(params, props, batch_stats, m_step_state)
        mean, square, _ = (s.mean(0) for s in batch_stats[0])
        initial = params.initial._replace(mean=mean, cov=square - jnp.outer(mean, mean))
        return params._replace(initial=initial), state


def em_model(p: Problem) -> tuple[Corrected, ParamsLGSSM, Any]:
    """The model without biases, its parameters as `p` has them, and what is learned: all."""
    model = Corrected(p.n, p.m, has_dynamics_bias=False, has_emissions_bias=False)
    start, props = model.initialize(
        initial_mean=p.m1,
        initial_covariance=p.P1,
        dynamics_weights=p.A,
        dynamics_covariance=p.Q,
        emission_weights=p.C,
        emission_covariance=p.R,
    )
    return model, jax.tree.map(jnp.asarray, start), props


def _check_start(p: Problem) -> None:
    if p.diffuse:
        raise NotOffered("no diffuse start")


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


def _call(f: Callable[..., Any], p: Problem, one: bool = True) -> Callable[[], Any]:
    """`f` of the parameters and `one` series, under vmap for a panel; compiled, as numpy."""
    if not p.complete:
        raise NotOffered("no missing data")
    run = jax.jit(jax.vmap(f, (None, 0)) if one and p.y.ndim > 2 else f)
    with jax.enable_x64(p.dtype == np.float64):
        params, y = _params(p), jnp.asarray(p.y)

    def call() -> Any:
        return jax.tree.map(np.asarray, run(params, y))

    def single() -> Any:
        with jax.enable_x64(False):
            return call()

    return call if p.dtype == np.float64 else single


def _value(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, y: f(params, y).marginal_loglik


def _moments(params: ParamsLGSSM, y: Any) -> Moments:
    out = lgssm_smoother(params, y)
    return Moments(out.smoothed_means, out.smoothed_covariances)


def _means(params: ParamsLGSSM, y: Any) -> Any:
    return lgssm_smoother(params, y).smoothed_means


def _slope(f: Callable[..., Any]) -> Callable[..., Any]:
    def total(free: tuple[Any, ...], params: ParamsLGSSM, y: Any) -> Any:
        A, C, Q, R = free
        dynamics = params.dynamics._replace(weights=A, cov=Q)
        params = params._replace(
            dynamics=dynamics, emissions=params.emissions._replace(weights=C, cov=R)
        )
        if y.ndim == 2:
            return f(params, y).marginal_loglik
        return jax.vmap(lambda one: f(params, one).marginal_loglik)(y).sum()

    def slope(params: ParamsLGSSM, y: Any) -> Any:
        dynamics, emissions = params.dynamics, params.emissions
        free = (dynamics.weights, emissions.weights, dynamics.cov, emissions.cov)
        return jax.grad(total)(free, params, y)

    return slope
