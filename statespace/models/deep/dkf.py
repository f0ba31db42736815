"""The deep Kalman filter, or deep Markov model."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from statespace.files import register
from statespace.interface import Context
from statespace.models.deep.base import DeepModel
from statespace.models.deep.options import Options
from statespace.nn import GatedTransition, Latest, normal
from statespace.shapes import join

__all__ = ["DeepKalmanFilter"]


@register("DeepKalmanFilter")
class DeepKalmanFilter(DeepModel, encoder="anticausal", encoder_cell="gru", posterior="combiner"):
    """A Markov chain with a gated network as its transition, seen through another network.

        z_1 ~ N(m_1, diag s_1^2)
        z_t ~ N((1 - g) (W x + b) + g f(x), s(x)^2),   x = [z_{t-1}, u_t],  g = sigmoid(net(x))
        y_t ~ p(y_t | z_t)
        q(z_t | z_{t-1}, e_t) = N(m', s'^2) of (tanh(W z_{t-1} + b) + e_t) / 2,  e = anticausal

    The transition begins near z_t = z_{t-1}. With `autoregressive=True` it reads the observation
    before it, x = [z_{t-1}, y_{t-1}, u_t], and so does the guide.

    What the verbs mean here. `log_likelihood` is a lower bound, by `ImportanceWeighted(64)`, since
    the guide sees the future; with a causal encoder an estimate, by `FIVO(64)`. `filter` and
    `step` go by particles from the prior (from a causal guide), and never look ahead; `forecast`
    runs them on by the prior. `smooth` weighs paths of the guide (approximate); particles smooth
    by backward simulation, since nothing is remembered besides z. `fit` climbs the evidence lower
    bound.

    Args:
        latent_dim: n, the size of z.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        hidden_dim: The width of layers that have none of their own.
        autoregressive: Whether the transition reads y_{t-1} too.
        **options: `Options`, spelled out here.

    Raises:
        InputError, InputTypeError: an argument out of range, or one that the family has no use
            for.

    Example:
        >>> import statespace as ss
        >>> model = DeepKalmanFilter(2, 1, hidden_dim=8, seed=0)
        >>> y = torch.tensor([0.3, -0.2, 0.1, 0.5])
        >>> model.score(y, seed=0).kind, model.smooth(y, seed=0).mean.shape
        ('lower bound', torch.Size([4, 2]))

    Source: Krishnan, Shalit and Sontag (2015), "Deep Kalman filters"; (2017), "Structured inference
    networks for nonlinear state space models".
    """

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        hidden_dim: int,
        autoregressive: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(locals())

    def _build(self, s: Any) -> None:
        read = self.seen.width if s.autoregressive else 0
        if s.autoregressive:
            self.reads, self.path = frozenset({"y"}), Latest(read, s.dtype)
        self.start_mean = nn.Parameter(torch.zeros(s.latent_dim, dtype=s.dtype))
        self.start_log_scale = nn.Parameter(torch.zeros(s.latent_dim, dtype=s.dtype))
        self.move = GatedTransition(s.latent_dim, read + s.input_dim, s.transition_dim, s.dtype)
        self.head = self._head(s, s.latent_dim)
        self.guide = self._guide(s, {"z", "h"} if s.autoregressive else {"z"}, memory=read)

    # ------------------------------------------------------------------ the contract

    def initial(self, ctx: Context) -> Distribution:
        """p(z_1)."""
        return normal(self.start_mean, self.start_log_scale.exp())

    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        """p(z_t | z_{t-1}, u_t), and given y_{t-1} where that is read."""
        found: Distribution = self.move(z, join(ctx.h, self.inputs_seen(ctx.u)))
        return found

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | z_t)."""
        found: Distribution = self.head(z)
        return found
