"""Models that are linear after all: what is asked of them goes to the Kalman filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Size, Tensor

from statespace.gaussian import AffineConditional, Gaussian
from statespace.interface import Context, GaussianLatent, LinearGaussian, Network

__all__ = ["linear", "network"]


def network(model: Any, ctx: Context | None = None) -> Network | None:
    """What the model says it is; at the first row without inputs, unless a context is given.

    None where y has a distance of its own (angles), which no network knows.
    """
    if type(model).residual is not GaussianLatent.residual:
        return None
    if ctx is None:
        u = torch.zeros(model.input_dim, dtype=model.dtype, device=model.device)
        ctx = Context(torch.zeros((), dtype=torch.int64, device=model.device), u, u[:0])
    found: Network | None = model.network(ctx)
    return found


def linear(model: Any) -> Any:
    """The model as a linear-Gaussian one, where it is that; None elsewhere."""
    if isinstance(model, LinearGaussian):
        return model
    if model.reads:
        return None
    net = network(model)
    return None if net is None or not net.linear else _Linear(model)


class _Linear:
    """A model whose network is linear, as `Kalman` reads a model."""

    diffuse_constant = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self.input_dim, self.obs_dim, self.latent = model.input_dim, model.obs_dim, model.latent

    @property
    def batch_shape(self) -> Size:
        batch: Size = self.model.batch_shape
        return batch

    def parameters(self) -> Iterator[Tensor]:
        yield from self.model.parameters()

    def buffers(self) -> Iterator[Tensor]:
        yield from self.model.buffers()

    def prior(self, ctx: Context) -> Gaussian:
        found: Gaussian = self.model.network(ctx).prior
        return found

    def dynamics(self, ctx: Context) -> AffineConditional:
        found: AffineConditional = self.model.network(ctx).dynamics
        return found

    def readout(self, ctx: Context) -> AffineConditional:
        found: AffineConditional = self.model.network(ctx).readout
        return found
