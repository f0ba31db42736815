"""A model's densities as moments at many points: what a rule is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.densities import rooted
from statespace.errors import InputError, MethodError, expected
from statespace.inference.linearising.rules import Conditional
from statespace.interface import Context, GaussianLatent

__all__ = ["emission_at", "moments_of", "transition_at"]


def moments_of(d: Distribution, lead: torch.Size, size: int, name: str) -> tuple[Tensor, Tensor]:
    """Mean (*lead, size) and a root of the covariance of one of a model's densities.

    Raises:
        MethodError: the family has no such moments.
        InputError: the density is of another shape.
    """
    found = rooted(d)
    if found is None:
        raise MethodError(
            f"{name}() gives a {type(d).__name__} without mean and covariance to linearise."
        )
    mean, root = found
    ok = mean.shape[-1:] == (size,) and root.shape[-2] == size
    if ok and mean.shape != (*lead, size):
        try:
            mean = mean.expand(*lead, size)
        except RuntimeError:
            ok = False
    if not ok:
        raise InputError(
            expected(
                f"{name}()",
                f"a density of batch shape {tuple(lead)} and event shape ({size},)",
                f"one whose mean has the shape {tuple(mean.shape)}",
                "Write it with operations on the last axis alone (`statespace.shapes.join` puts "
                "features side by side).",
            )
        )
    return mean, root


def transition_at(model: Any, ctx: Context) -> Conditional:
    """p(z_t | z_{t-1}) at a row, or over all of time."""
    n = model.latent.size
    return Conditional(_reader(model.transition, ctx, n, "transition"), n)


def emission_at(model: Any, ctx: Context) -> Conditional:
    """p(y_t | z_t) likewise."""
    m = model.obs_dim
    plain = type(model).residual is GaussianLatent.residual
    read = _reader(model.emission, ctx, m, "emission")
    return Conditional(read, m, None if plain else model.residual)


def _reader(
    density: Callable[[Tensor, Context], Distribution], ctx: Context, size: int, name: str
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def moments(z: Tensor) -> tuple[Tensor, Tensor]:
        return moments_of(density(z, ctx), z.shape[:-1], size, name)

    return moments
