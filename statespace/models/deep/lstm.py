"""A state whose dynamics are an LSTM's."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor
from torch.distributions import Distribution

from statespace.files import register
from statespace.interface import Context
from statespace.models.deep.base import DeepModel
from statespace.models.deep.options import MemoryOptions

__all__ = ["LSTMStateSpace"]


@register("LSTMStateSpace")
class LSTMStateSpace(DeepModel, encoder="causal", encoder_cell="lstm", posterior="mlp"):
    """A state-space model whose transition is an LSTM: z_t hangs on all of z before it.

        h_t = lstm(h_{t-1}, [z_{t-1}, u_t])
        z_t ~ N(m(h_t), s(h_t)^2)
        y_t ~ p(y_t | z_t)
        q(z_t | e_t),  e = causal lstm over y

    y is seen through z alone: the observations before t reach y_t by way of the states.

    What the verbs mean here. `log_likelihood` is an estimate, by `FIVO(64)`; with an encoder that
    sees the future a lower bound, by `ImportanceWeighted(64)`. `filter` and `step` go by
    particles that the guide proposes (the prior, where it sees the future), and `forecast` runs
    them on by the prior. `smooth` is by lineages of particles, or by weighted paths of the guide:
    the memory reads z, so that there is no backward simulation. `fit` climbs the evidence lower
    bound.

    Args:
        latent_dim: n, the size of z.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        hidden_dim: H, the size of h, and the width of layers that have none of their own.
        **options: `Options`, spelled out here.

    Raises:
        InputError, InputTypeError: an argument out of range, or one that the family has no use
            for.

    Example:
        >>> import torch
        >>> import statespace as ss
        >>> model = LSTMStateSpace(2, 1, hidden_dim=8, seed=0)
        >>> y = torch.tensor([0.3, -0.2, 0.1, 0.5])
        >>> model.score(y, seed=0).kind, model.smooth(y, seed=0).mean.shape
        ('estimate', torch.Size([4, 2]))

    Source: the model of Zheng et al. (2017), "State space LSTM models with particle MCMC
    inference", with a Gaussian state and a guide.
    """

    head_sees_h = False

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        hidden_dim: int,
        **options: Unpack[MemoryOptions],
    ) -> None:
        super().__init__(locals())

    def _build(self, s: Any) -> None:
        self.reads = frozenset({"z", "u"})
        self.path = path = self._path(s, s.latent_dim + s.input_dim, "lstm")
        self.prior = self._prior(s, path.hidden_dim)
        self.head = self._head(s, s.latent_dim)
        self.guide = self._guide(s, ())

    # ------------------------------------------------------------------ the contract

    def initial(self, ctx: Context) -> Distribution:
        """p(z_1 | h_1)."""
        found: Distribution = self.prior(ctx.h)
        return found

    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        """p(z_t | h_t)."""
        return self.initial(ctx)

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | z_t)."""
        found: Distribution = self.head(z)
        return found
