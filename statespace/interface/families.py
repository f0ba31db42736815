"""Families: types that say more about the three densities. A method names the one it serves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, Normal

from statespace.activations import ACTIVATIONS, Activation
from statespace.beliefs import Real, Switching, Tree
from statespace.densities import Chain, GaussianRoot
from statespace.errors import MethodError
from statespace.gaussian import AffineConditional, Gaussian
from statespace.interface.guides import Guide
from statespace.interface.model import StateSpaceModel
from statespace.interface.values import Context
from statespace.linalg import Covariance, psd_root
from statespace.results import Smoothed
from statespace.sequences import Sequences
from statespace.shapes import shift

__all__ = [
    "Amortised",
    "Autoregressive",
    "Channel",
    "Climbable",
    "FiniteLatent",
    "GaussianLatent",
    "Given",
    "LinearGaussian",
    "Maximisable",
    "Network",
    "SwitchingGaussian",
    "affine_image",
    "noise_root",
    "over_time",
    "root_of",
]


class Autoregressive(StateSpaceModel):
    """Nothing is latent: z is zero wide, and y is emitted from what the memory has read.

        p(y | u) = prod_t p(y_t | h_t, u_t)

    Once y is known the memory is, so that all of time can be asked at once.
    """

    latent: Real = Real(0)

    @final
    def initial(self, ctx: Context) -> Distribution:
        """Of nothing."""
        return self._nothing(())

    @final
    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        """Of nothing."""
        return self._nothing(z.shape[:-1])

    def _nothing(self, lead: Sequence[int]) -> Distribution:
        zero = torch.zeros((*lead, 0), dtype=self.dtype, device=self.device)
        return Independent(Normal(zero, zero + 1, validate_args=False), 1, validate_args=False)


@dataclass(frozen=True)
class Network:
    """A model as activations of affine maps: what compiled loops can run without its densities.

        z_1 ~ prior,   z_t = g(A z_{t-1} + B u_t + b) + w_t
        y_t = f(C z_t + D u_t + d) + exp(E z_t + e) v_t,   elementwise

    Attributes:
        prior: p(z_1), over the batch of the parameters.
        dynamics: A, B u_t + b, and the covariance Q of w_t.
        readout: C, D u_t + d, and the covariance R of v_t.
        transition: g.
        emission: f.
        log_scale: E and e (its noise is not read), (m, n) and (m,); None where the scale is one.
    """

    prior: Gaussian
    dynamics: AffineConditional
    readout: AffineConditional
    transition: Activation = ACTIVATIONS["identity"]
    emission: Activation = ACTIVATIONS["identity"]
    log_scale: AffineConditional | None = None

    @property
    def linear(self) -> bool:
        """Whether it is a linear-Gaussian model."""
        names = (self.transition.name, self.emission.name)
        return names == ("identity", "identity") and self.log_scale is None


class GaussianLatent(StateSpaceModel):
    """z is `Real`; initial and transition are Gaussian with a differentiable mean."""

    def residual(self, y: Tensor, mean: Tensor) -> Tensor:
        """How far y, (*, m), lies from a mean of it: the difference; angles override it."""
        return y - mean

    def network(self, ctx: Context) -> Network | None:
        """The same model as activations of affine maps, where it is that; None elsewhere.

        Its densities and this must be of one model.
        """
        return None


class LinearGaussian(GaussianLatent):
    """The same, linear: the three densities are derived here, finally, from three values.

    A Kalman filter and a particle filter therefore cannot see different models.

        z_1 ~ prior,   z_t = A z_{t-1} + (B u_t + b) + w_t,   y_t = C z_t + (D u_t + d) + v_t

    Attributes:
        diffuse_constant: Whether log-likelihoods count the constant of diffuse directions.
    """

    diffuse_constant: bool = True

    @abstractmethod
    def prior(self, ctx: Context) -> Gaussian:
        """p(z_1), over the batch of the parameters; ctx is of one step."""

    @abstractmethod
    def dynamics(self, ctx: Context) -> AffineConditional:
        """A, B u_t + b, Q; ctx is of one step or over time, and `varies` says what has T axes."""

    @abstractmethod
    def readout(self, ctx: Context) -> AffineConditional:
        """C, D u_t + d, R; likewise."""

    @final
    def network(self, ctx: Context) -> Network:
        """With no activation."""
        return Network(self.prior(ctx), self.dynamics(ctx), self.readout(ctx))

    @final
    def initial(self, ctx: Context) -> GaussianRoot:
        """p(z_1).

        Raises:
            MethodError: some direction is diffuse, so that there is no density.
        """
        prior = self.prior(ctx)
        if prior.diffuse is not None and bool(prior.diffuse.any()):
            raise MethodError(
                "A diffuse initial state has no density to draw from or to evaluate. Methods that "
                'integrate it out: Kalman. Or give initial moments, or initial="stationary", or '
                "give state= to go on from data."
            )
        return GaussianRoot(prior.mean, prior.covariance.root)

    @final
    def transition(self, z: Tensor, ctx: Context) -> GaussianRoot:
        """p(z_t | z_{t-1} = z)."""
        return _given(self.dynamics(ctx), z, ctx)

    @final
    def emission(self, z: Tensor, ctx: Context) -> GaussianRoot:
        """p(y_t | z_t = z)."""
        return _given(self.readout(ctx), z, ctx)


def _given(channel: AffineConditional, z: Tensor, ctx: Context) -> GaussianRoot:
    """The channel at z, (*sample, *batch[, T], n)."""
    mean = affine_image(channel.weight, channel.bias, channel.varies, z, ctx)
    return GaussianRoot(mean, noise_root(channel, ctx))


def affine_image(
    weight: Tensor, bias: Tensor, varies: frozenset[str], z: Tensor, ctx: Context
) -> Tensor:
    """Weight z + bias, (*sample, *batch[, T], k).

    Args:
        weight: (*batch, [T,] k, n).
        bias: (*batch, [T,] k).
        varies: Which of "weight" and "bias" have the T axis, where the context is over time.
        z: (*sample, *batch[, T], n).
        ctx: Of one step or over time.
    """
    weight = over_time(weight, 2, "weight" in varies, ctx)
    mean = z @ weight.mT if weight.dim() == 2 else (weight @ z[..., None])[..., 0]
    return mean + over_time(bias, 1, "bias" in varies, ctx)


def noise_root(channel: AffineConditional, ctx: Context) -> Tensor:
    """A root of the noise, (*batch[, T or 1], k, w)."""
    return over_time(root_of(channel.noise), 2, "noise" in channel.varies, ctx)


def root_of(covariance: Covariance) -> Tensor:
    """A root that has the gradients of the covariance: where one is held, its matrix has them."""
    if covariance.matrix.requires_grad and not covariance.root.requires_grad:
        return psd_root(covariance.matrix)
    return covariance.root


def over_time(x: Tensor, rank: int, varies: bool, ctx: Context) -> Tensor:
    """X with a T axis left of its event (of that rank), of size one where it does not vary."""
    lone = ctx.over_time and not varies and x.dim() > rank
    return x.unsqueeze(-rank - 1) if lone else x


class FiniteLatent(StateSpaceModel):
    """z is `Finite`; initial and transition are `torch.distributions.Categorical`."""


class SwitchingGaussian(StateSpaceModel):
    """z is `Switching(Finite, Real)`, and Gaussian given its switches.

    Initial and transition are a `Chain` of a Categorical and, given k, a Gaussian. Given the path
    of k the model is a `GaussianLatent`: see `Given`.
    """


@final
class Given(GaussianLatent):
    """A switching model whose path of switches is known: a model of x alone.

    Args:
        model: A switching model.
        k: The path, (*sample, *batch, T), int64.
    """

    def __init__(self, model: SwitchingGaussian, k: Tensor) -> None:
        super().__init__()
        self.model, self.k = model, k
        self.path, self.reads, self.order = model.path, model.reads, model.order
        self.obs_dim, self.input_dim = model.obs_dim, model.input_dim
        self.latent = model.latent.x  # type: ignore[union-attr]
        self.categorical = model.categorical

    def _at(self, ctx: Context) -> Tensor:
        """k_t, (*sample, *batch[, T])."""
        return self.k[..., ctx.t]

    def _before(self, ctx: Context) -> Tensor:
        """k_{t-1}; the origin's at the first row."""
        first = self.model.origin(self.k.shape[:-1])[0].k
        return shift(self.k[..., None], first[..., None])[..., 0][..., ctx.t]

    def initial(self, ctx: Context) -> Distribution:
        """p(x_1 | k_1)."""
        chain = self.model.initial(ctx)
        assert isinstance(chain, Chain)
        return chain.then(self._at(ctx))

    def transition(self, z: Tensor, ctx: Context) -> Distribution:
        """p(x_t | x_{t-1}, k_{t-1}, k_t)."""
        chain = self.model.transition(_pair(self._before(ctx), z), ctx)
        assert isinstance(chain, Chain)
        return chain.then(self._at(ctx).expand(z.shape[:-1]))

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | x_t, k_t)."""
        return self.model.emission(_pair(self._at(ctx), z), ctx)

    def feed(self, z: Tensor, y: Any, ctx: Context) -> Tensor:
        """x_t of the memory."""
        k = self._before(ctx) if self.order == "h then z" else self._at(ctx)
        return self.model.feed(None if z is None else _pair(k, z), y, ctx)

    def origin(self, batch_shape: Size) -> tuple[Tree, Tensor]:
        """That of the model, without its switch."""
        z, y = self.model.origin(batch_shape)
        return z.x, y

    def default_method(self) -> Any:
        """That of the model."""
        return self.model.default_method()

    def default_learner(self) -> Any:
        """That of the model."""
        return self.model.default_learner()


def _pair(k: Tensor, x: Tensor) -> Switching:
    """The pair (k, x), with k over all leading axes of x."""
    return Switching(k.expand(x.shape[:-1]), x)


class Channel(StateSpaceModel):
    """y hangs on a alone, and a is the observation of another model (the Kalman VAE).

    z is a named tuple of that model's state and a; once a is known, the other model is exact.
    """

    inner: GaussianLatent

    @abstractmethod
    def inner_observation(self, z: Tree) -> Tensor:
        """a, the part of z that the inner model observes."""


class Amortised(StateSpaceModel):
    """Carries a guide, which is trained and stored with it."""

    guide: Guide


class Maximisable(StateSpaceModel):
    """Has an M-step: all that expectation maximisation asks."""

    takes_sums: ClassVar[bool] = False  # whether `statistics` also takes what `Method.sums` gives

    @property
    def mstep_exact(self) -> bool:
        """Whether `maximise` reaches the maximum, rather than climbing towards it."""
        return True

    @abstractmethod
    def statistics(self, smoothed: Smoothed, data: Sequences) -> Tree:
        """Expected sufficient statistics, added over series: of two batches, they may be added."""

    @abstractmethod
    def maximise(self, statistics: Tree) -> None:
        """Sets the parameters, honouring what is held, tied or structured."""


class Climbable(StateSpaceModel):
    """Has no M-step in closed form, or for a part only, and a scalar that EM climbs."""

    @abstractmethod
    def expected_log_joint(self, smoothed: Smoothed, data: Sequences) -> Tensor:
        """E[log p(z, y)] under the smoothed beliefs, summed over series; differentiable."""

    def maximise_given_rest(self, smoothed: Smoothed, data: Sequences) -> Sequence[Tensor]:
        """Sets what has a closed form given all the rest, before and after the rest is climbed.

        Returns:
            The parameters that are not to be climbed; none by default.
        """
        return ()
