"""The deep Kalman filter, or deep Markov model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from statespace.files import register
from statespace.interface import Context
from statespace.models.deep.base import DeepModel, given
from statespace.models.shared.networks import drawn_from
from statespace.nn import GatedTransition, normal

__all__ = ["DeepKalmanFilter"]


@register("DeepKalmanFilter")
class DeepKalmanFilter(DeepModel):
    """A Markov chain with a gated network as its transition, seen through another network.

        z_1 ~ N(m_1, diag s_1^2)
        z_t ~ N((1 - g) (W x + b) + g f(x), s(x)^2),   x = [z_{t-1}, u_t],  g = sigmoid(net(x))
        y_t ~ p(y_t | z_t)
        q(z_t | z_{t-1}, e_t) = N(m', s'^2) of (tanh(W z_{t-1} + b) + e_t) / 2,  e = anticausal

    Nothing is remembered besides z, so that smoothing by particles is backward simulation. The
    transition begins near z_t = z_{t-1}.

    Args:
        latent_dim: n, the size of z.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        hidden_dim: The width of the layers inside transition, head and guide.
        family: What y is: "gaussian", "student_t", "mixture", "bernoulli", "poisson",
            "categorical", or a Module whose call returns a Distribution.
        encoder: Of the guide: "pointwise", "causal", "anticausal" or "both"; "anticausal" if None.
        posterior: Its head: "mlp", "residual", "product" or "combiner"; "combiner" if None.
        num_categories: V, of a categorical y, which holds 0 .. V - 1.
        num_components: Of a mixture of Gaussians.
        embedding_dim: The width of a token's vector.
        min_scale: A floor under the scales of y, in standard deviations of the training data.
        standardise: Whether units and level are taken from the data of the first fit.
        dtype: torch.float32 or torch.float64.
        seed: Of the start weights.

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

    usual_encoder = "anticausal"
    usual_cell = "gru"
    usual_posterior = "combiner"

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        hidden_dim: int,
        family: Any = "gaussian",
        encoder: str | None = None,
        posterior: str | None = None,
        num_categories: int | None = None,
        num_components: int | None = None,
        embedding_dim: int | None = None,
        min_scale: float = 1e-3,
        standardise: bool = True,
        dtype: torch.dtype = torch.float32,
        seed: int | None = None,
    ) -> None:
        arguments = given(locals())
        super().__init__()
        with drawn_from(seed):
            self._open(arguments)
            self.start_mean = nn.Parameter(torch.zeros(latent_dim, dtype=dtype))
            self.start_log_scale = nn.Parameter(torch.zeros(latent_dim, dtype=dtype))
            self.move = GatedTransition(latent_dim, input_dim, hidden_dim, dtype)
            self.head = self._head(latent_dim)
            self.guide = self._guide({"z"})

    # ------------------------------------------------------------------ the contract

    def initial(self, ctx: Context) -> Distribution:
        """p(z_1)."""
        return normal(self.start_mean, self.start_log_scale.exp())

    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        """p(z_t | z_{t-1}, u_t)."""
        found: Distribution = self.move(z, self.inputs_seen(ctx.u))
        return found

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | z_t)."""
        found: Distribution = self.head(z)
        return found
