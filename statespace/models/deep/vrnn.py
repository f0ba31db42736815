"""The variational recurrent neural network."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor
from torch.distributions import Distribution

from statespace.files import register
from statespace.interface import Context
from statespace.models.deep.base import DeepModel
from statespace.models.deep.options import MemoryOptions
from statespace.shapes import join

__all__ = ["VRNN"]


@register("VRNN")
class VRNN(DeepModel, encoder="pointwise", posterior="mlp"):
    """The variational recurrent network: a memory that reads y and z, and a latent in each row.

        h_t = cell(h_{t-1}, [z_{t-1}, y_{t-1}, u_t])
        z_t ~ N(m(h_t), s(h_t)^2)
        y_t ~ p(y_t | z_t, h_t)
        q(z_t | e_t, h_t),  e_t = encoder(y_t)

    The paper's h_{t-1}, which the prior of z_t sees, is our h_t: here the memory is advanced
    first.

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
        cell: Of the memory: "gru", "lstm" or "rnn".
        **options: `Options`, spelled out here.

    Raises:
        InputError, InputTypeError: an argument out of range, or one that the family has no use
            for.

    Example:
        >>> import torch
        >>> import statespace as ss
        >>> model = VRNN(2, 1, hidden_dim=8, seed=0)
        >>> y = torch.tensor([0.3, -0.2, 0.1, 0.5])
        >>> model.score(y, seed=0).kind, model.smooth(y, seed=0).mean.shape
        ('estimate', torch.Size([4, 2]))

    Source: Chung et al. (2015), "A recurrent latent variable model for sequential data".
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
        self.reads = frozenset({"z", "y", "u"})
        self.path = path = self._path(s, s.latent_dim + self.seen.width + s.input_dim, s.cell)
        self.prior = self._prior(s, path.hidden_dim)
        self.head = self._head(s, s.latent_dim + path.hidden_dim)
        self.guide = self._guide(s, {"h"}, memory=path.hidden_dim)

    # ------------------------------------------------------------------ the contract

    def initial(self, ctx: Context) -> Distribution:
        """p(z_1 | h_1)."""
        found: Distribution = self.prior(ctx.h)
        return found

    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        """p(z_t | h_t)."""
        return self.initial(ctx)

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | z_t, h_t)."""
        found: Distribution = self.head(join(z, ctx.h))
        return found
