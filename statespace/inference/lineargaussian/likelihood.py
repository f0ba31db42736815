"""The exact log-likelihood, with the adjoint of the smoother as its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.errors import DerivativeError, NumericalError, place
from statespace.inference.lineargaussian.backward import score
from statespace.inference.lineargaussian.compiled import run_forward, suits
from statespace.inference.lineargaussian.compiled_back import run_score
from statespace.inference.lineargaussian.delta import Delta, absorb, solve
from statespace.inference.lineargaussian.forward import forward
from statespace.inference.lineargaussian.moments import gained, log_densities
from statespace.inference.lineargaussian.passes import Core, Pass
from statespace.inference.lineargaussian.start import Start, start
from statespace.inference.lineargaussian.system import System

_LOG_2PI = 1.8378770664093453


def log_likelihood(
    system: System,
    y: Tensor,
    observed: Tensor,
    active: Tensor,
    *,
    diffuse_constant: bool = True,
    begin: Start | None = None,
    core: Core = "auto",
) -> Tensor:
    """Log p(y), (*batch,), differentiable once in every array of the system and in y.

    Args:
        system: the model; its graph is kept.
        y: (*batch, T, m), finite; a 0 where not observed.
        observed: (*batch, T, m) boolean.
        active: (*batch, T) boolean.
        diffuse_constant: whether log 2 pi / 2 is counted for each diffuse direction resolved.
        begin: the augmented start, where it is not the system's own prior; it is held.
        core: "compiled" and "plain" loops and the "scan" over time give the same numbers; "auto"
            takes the compiled loops, or on a GPU the scan, where they serve.

    Returns:
        The log-likelihood; -inf where noise-free entries contradict the data.

    Raises:
        NumericalError: NaN or overflow inside the recursion; names the series and the step.
    """
    out: Tensor = _LogLikelihood.apply(
        y,
        system.A,
        system.b,
        system.Q.matrix,
        system.C,
        system.d,
        system.R.matrix,
        system.prior.mean,
        system.prior.covariance.matrix,
        (system.detach(), observed, active, diffuse_constant, begin, core),
    )
    return out


def total(run: Pass, *, diffuse_constant: bool = True) -> tuple[Tensor, Delta]:
    """The log-likelihood of a pass, (*batch,), and delta given everything."""
    k = run.e.shape[-1] - 1
    if k == 0:
        rows = (run.e[..., 0].square().sum((0, -1))).sqrt()[..., None, None]
    else:
        rows = absorb(run.start.rows, run.e.movedim(0, -3).flatten(-3, -2))
    known = solve(rows)
    first = solve(run.start.rows)
    value = log_densities(run).sum(0) + gained(known) - gained(first)
    if not diffuse_constant:
        value = value + 0.5 * _LOG_2PI * (known.resolved - first.resolved)
    return torch.where(run.contradicted, -torch.inf, value), known


def check_finite(run: Pass) -> None:
    """Names the first series and step at which a pass broke down."""
    broken = ~(torch.isfinite(run.e).all(-1).all(-1) & torch.isfinite(run.f).all(-1).all(-1))
    if not bool(broken.any()):
        return
    first = broken.any(tuple(range(1, broken.dim()))) if broken.dim() > 1 else broken
    step = int(first.int().argmax())
    series = tuple(int(i) for i in broken[step].nonzero()[0]) if broken.dim() > 1 else ()
    raise NumericalError(
        f"filter: expected finite numbers, received NaN or inf at {place(series, step)} (the first "
        "place). The system overflows there: look at its parameters (an unstable A over a long "
        "gap, NaN entries) and at the scale of its inputs."
    )


class _LogLikelihood(torch.autograd.Function):
    """Forward: the filter. Backward: the disturbance smoother (Koopman and Shephard 1992)."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        y, (system, observed, active, constant, begin, core) = args[0], args[-1]
        ctx.own_prior = begin is None
        begin = start(system) if begin is None else begin
        wanted = any(ctx.needs_input_grad)
        if wanted:
            ctx.system, ctx.rest = system, (begin, observed, active, core)
            ctx.run = ctx.compiled = None
            ctx.save_for_backward(*args[:-1])
        if suits(system, y, core):
            found = run_forward(system, begin, y, observed, diffuse_constant=constant)
            if found is not None:
                value, compiled = found
                if wanted:
                    ctx.compiled = compiled
                return value
        run = forward(system, begin, y, observed, active, keep=wanted, core=core)
        check_finite(run)
        value, known = total(run, diffuse_constant=constant)
        if wanted:
            ctx.run, ctx.known = run, known
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        with torch.no_grad():
            parts = _score(ctx, grads[0].detach(), inputs)
        if not ctx.own_prior:  # the held start stands in the place of the prior
            parts = (*parts[:-2], *map(torch.zeros_like, parts[-2:]))
        if torch.is_grad_enabled():
            parts = tuple(Once.apply(p, *inputs) for p in parts)
        return (*parts, None)


def _score(ctx: Any, weight: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The gradient, from the loops that made the value where they serve it."""
    system = ctx.system
    if ctx.compiled is not None:
        whole_r = ctx.needs_input_grad[6] and not system.R.diagonal
        parts = run_score(ctx.compiled, system, weight, inputs, whole_r)
        if parts is not None:
            return parts
    if ctx.run is None:
        begin, observed, active, core = ctx.rest
        ctx.run = forward(system, begin, inputs[0], observed, active, core=core)
        check_finite(ctx.run)
        _, ctx.known = total(ctx.run)
    return score(ctx.run, system, ctx.known, weight, inputs)


class Once(torch.autograd.Function):
    """A gradient that says so when it is differentiated again."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *inputs: Tensor) -> Tensor:
        ctx.count = len(inputs)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        raise DerivativeError(
            "log_likelihood: expected a first derivative, received a request for a second one, "
            "which the filter does not give. Difference its gradient instead, as "
            "FitResult.summary() does for standard errors."
        )
