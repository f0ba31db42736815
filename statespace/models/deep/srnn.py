"""The stochastic recurrent neural network."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor
from torch.distributions import Distribution

from statespace.files import register
from statespace.interface import Context
from statespace.models.deep.base import DeepModel
from statespace.models.deep.options import MemoryOptions
from statespace.shapes import join

__all__ = ["SRNN"]


@register("SRNN")
class SRNN(DeepModel, encoder="anticausal", posterior="residual"):
    """The stochastic recurrent network: a memory of the data, and a chain of latents beside it.

        h_t = cell(h_{t-1}, [y_{t-1}, u_t])
        z_t ~ N(m(z_{t-1}, h_t), s(z_{t-1}, h_t)^2)
        y_t ~ p(y_t | z_t, h_t)
        q(z_t | z_{t-1}, e_t) = N(prior mean + m', s'^2),  e = anticausal over [y, h]

    The memory reads no z: it runs ahead over all of time.

    What the verbs mean here. `log_likelihood` is a lower bound, by `ImportanceWeighted(64)`, since
    the guide sees the future; with a causal encoder an estimate, by `FIVO(64)`. `filter` and
    `step` go by particles from the prior (from a causal guide), and never look ahead; `forecast`
    runs them on by the prior. `smooth` weighs paths of the guide (approximate); particles smooth
    by backward simulation. `fit` climbs the evidence lower bound.

    Args:
        latent_dim: n, the size of z.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        hidden_dim: H, the size of h, and the width of layers that have none of their own.
        cell: Of the memory: "gru", "lstm" or "rnn".
        **options: `Options`, spelled out here.

    Raises:
        InputError, InputTypeError: an argument out of range, or one that the family has no use
            for.

    Example:
        >>> import torch
        >>> import statespace as ss
        >>> model = SRNN(2, 1, hidden_dim=8, seed=0)
        >>> y = torch.tensor([0.3, -0.2, 0.1, 0.5])
        >>> model.score(y, seed=0).kind, model.smooth(y, seed=0).mean.shape
        ('lower bound', torch.Size([4, 2]))

    Source: Fraccaro et al. (2016), "Sequential neural models with stochastic layers".
    """

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        hidden_dim: int,
        cell: str = "gru",
        **options: Unpack[MemoryOptions],
    ) -> None:
        super().__init__(locals())

    def _build(self, s: Any) -> None:
        self.reads = frozenset({"y", "u"})
        self.path = path = self._path(s, self.seen.width + s.input_dim, s.cell)
        self.prior = self._prior(s, s.latent_dim + path.hidden_dim)
        self.head = self._head(s, s.latent_dim + path.hidden_dim)
        self.guide = self._guide(s, {"z"}, memory=path.hidden_dim, encodes=True)

    # ------------------------------------------------------------------ the contract

    def initial(self, ctx: Context) -> Distribution:
        """p(z_1 | h_1), from z_0 = 0."""
        zero = ctx.h.new_zeros(*ctx.h.shape[:-1], self.settings["latent_dim"])
        return self.transition(zero, ctx)

    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        """p(z_t | z_{t-1}, h_t)."""
        found: Distribution = self.prior(join(z, ctx.h))
        return found

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | z_t, h_t)."""
        found: Distribution = self.head(join(z, ctx.h))
        return found
