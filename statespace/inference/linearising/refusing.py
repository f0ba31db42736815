"""Why a linearising method cannot serve a model, and which methods can."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import Distribution

from statespace.densities import is_gaussian, rooted
from statespace.inference.linearising.linear import linear, network
from statespace.inference.linearising.task import starting
from statespace.interface import Context, LinearGaussian, Network
from statespace.interface.walking import view
from statespace.sequences import Sequences

__all__ = ["not_gaussian", "refusal"]


def refusal(method: Any, model: Any, data: Sequences | None) -> str | None:
    """None if it can serve the model.

    Args:
        method: The method.
        model: Of the family that it serves.
        data: None where none are there yet.
    """
    name, kind = type(method).__name__, type(model).__name__
    if "z" in model.reads:
        return (
            f"{name} serves models whose memory does not read z, and that of {kind} does. "
            "Use ParticleFilter, which gives every particle a memory of its own."
        )
    if "y" in model.reads and data is not None and not data.complete:
        return (
            f"{name} needs every y where the memory reads it, as that of {kind} does, and some are "
            "missing. Use ParticleFilter, which draws them."
        )
    if not model.ready or isinstance(model, LinearGaussian):  # unready: asked again when it is
        return None
    net = None if model.reads else network(model)
    if net is not None and net.linear:
        return None
    if net is not None and net.prior.diffuse is not None and bool(net.prior.diffuse.any()):
        return (
            f"{name} linearises {kind} about a mean, and a diffuse start has none. Give initial "
            "moments, or state= to go on from data. Methods that serve a diffuse start: Kalman, of "
            "linear models."
        )
    if not method.asks_moments or (net is not None and _finite(net)):
        return None
    return _without_moments(name, model)


def _finite(net: Network) -> bool:
    """Whether that says that y has moments, without a look at its density."""
    if not net.emission.name or net.log_scale is not None:
        return False
    read = net.readout
    parts = (net.prior.mean, read.weight, read.bias, read.noise.root)
    return all(bool(torch.isfinite(x).all()) for x in parts)


@torch.no_grad()
def _emission(model: Any) -> Distribution:
    """p(y_1 | z_1) at the mean of the start, without inputs."""
    state = starting(model, torch.Size(model.batch_shape), ())
    t = torch.zeros((), dtype=torch.int64, device=model.device)
    u = torch.zeros(model.input_dim, dtype=model.dtype, device=model.device)
    context = Context(t, u, view(model, state.memory, u))
    density: Distribution = model.emission(state.belief.mean, context)
    return density


def not_gaussian(model: Any) -> str | None:
    """Why a path cannot be found by Gauss-Newton."""
    if not model.ready:  # asked again when it is
        return None
    if linear(model) is not None or is_gaussian(density := _emission(model)):
        return None
    return (
        'ExtendedKalman(scope="path") serves models whose y is Gaussian given z, and that of '
        f"{type(model).__name__} is a {_class(density)}. Methods that find the most probable path "
        "of any density: Laplace."
    )


def _class(density: Distribution) -> str:
    return type(getattr(density, "base_dist", density)).__name__


def _without_moments(name: str, model: Any) -> str | None:
    """The emission is evaluated once."""
    density = _emission(model)
    found = rooted(density)
    if found is not None and all(bool(torch.isfinite(x).all()) for x in found):
        return None
    lack = "has neither" if found is None else "does not have both, finite,"
    return (
        f"{name} linearises mean and covariance of y, and the emission of {type(model).__name__}, "
        f"a {_class(density)}, {lack}. Methods that serve it: Laplace, ParticleFilter."
    )
