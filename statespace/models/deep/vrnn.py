"""The variational recurrent neural network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from statespace.files import register
from statespace.interface import Context
from statespace.models.deep.base import DeepModel, given
from statespace.models.shared.networks import drawn_from
from statespace.shapes import join

__all__ = ["VRNN"]


@register("VRNN")
class VRNN(DeepModel):
    """The variational recurrent network: a memory that reads y and z, and a latent in each row.

        h_t = cell(h_{t-1}, [z_{t-1}, y_{t-1}, u_t])
        z_t ~ N(m(h_t), s(h_t)^2)
        y_t ~ p(y_t | z_t, h_t)
        q(z_t | e_t, h_t),  e_t = encoder(y_t)

    The paper's h_{t-1}, which the prior of z_t sees, is our h_t: here the memory is advanced
    first. Since the memory reads z, smoothing is by weighted paths of the guide or by lineages.

    Args:
        latent_dim: n, the size of z.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        hidden_dim: H, the size of h, and of the layers inside heads and guide.
        layers: How many cells on top of each other.
        cell: "gru", "lstm" or "rnn".
        family: What y is: "gaussian", "student_t", "mixture", "bernoulli", "poisson",
            "categorical", or a Module whose call returns a Distribution.
        encoder: Of the guide: "pointwise", "causal", "anticausal" or "both"; "pointwise" if None.
        posterior: Its head: "mlp", "residual", "product" or "combiner"; "mlp" if None.
        num_categories: V, of a categorical y, which holds 0 .. V - 1.
        num_components: Of a mixture of Gaussians.
        embedding_dim: The width of a token's vector.
        condition_dim: The size of one vector per series that every step of the memory reads.
        min_scale: A floor under the scales of y, in standard deviations of the training data.
        standardise: Whether units and level are taken from the data of the first fit.
        dtype: torch.float32 or torch.float64.
        seed: Of the start weights.

    Raises:
        InputError, InputTypeError: an argument out of range, or one that the family has no use
            for.

    Example:
        >>> import statespace as ss
        >>> model = VRNN(2, 1, hidden_dim=8, seed=0)
        >>> y = torch.tensor([0.3, -0.2, 0.1, 0.5])
        >>> model.score(y, seed=0).kind, model.smooth(y, seed=0).mean.shape
        ('estimate', torch.Size([4, 2]))

    Source: Chung et al. (2015), "A recurrent latent variable model for sequential data".
    """

    usual_encoder = "pointwise"
    usual_posterior = "mlp"

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        hidden_dim: int,
        layers: int = 1,
        cell: str = "gru",
        family: Any = "gaussian",
        encoder: str | None = None,
        posterior: str | None = None,
        num_categories: int | None = None,
        num_components: int | None = None,
        embedding_dim: int | None = None,
        condition_dim: int = 0,
        min_scale: float = 1e-3,
        standardise: bool = True,
        dtype: torch.dtype = torch.float32,
        seed: int | None = None,
    ) -> None:
        arguments = given(locals())
        super().__init__()
        self.reads = frozenset({"z", "y", "u"})
        with drawn_from(seed):
            self._open(arguments)
            self.path = self._path(latent_dim + self.seen.width + input_dim)
            self.prior = self._prior(hidden_dim)
            self.head = self._head(latent_dim + hidden_dim)
            self.guide = self._guide({"h"}, memory=hidden_dim)

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
