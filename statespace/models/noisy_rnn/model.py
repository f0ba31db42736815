"""The noisy recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Distribution

from statespace.activations import activation as read_activation
from statespace.densities import GaussianRoot
from statespace.files import register
from statespace.gaussian import AffineConditional, Gaussian
from statespace.inference import ExtendedKalman, ParticleFilter
from statespace.interface import Climbable, Context, GaussianLatent, Method, Network, Real
from statespace.interface.families import affine_image, noise_root, over_time, root_of
from statespace.learning import Gradient
from statespace.models.noisy_rnn.heads import (
    DegreesOfFreedom,
    check_noise,
    check_values,
    declare_df,
    declare_noise,
    head_of,
)
from statespace.models.noisy_rnn.letters import Letters, shapes
from statespace.models.noisy_rnn.mstep import maximise_given_rest
from statespace.models.noisy_rnn.random_start import random_values
from statespace.models.noisy_rnn.start import start_values
from statespace.models.shared.expectation import expected_log_joint
from statespace.models.shared.initial import declare_start
from statespace.models.shared.record import describe, restore
from statespace.models.shared.rows import affine, conditional, rows_of
from statespace.models.shared.slots import check_dtype, check_sizes, make_slots, one_device
from statespace.parameters import declared
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["NoisyRNN"]


@register("NoisyRNN")
class NoisyRNN(Letters, GaussianLatent, Climbable):
    """A recurrent network whose hidden state is noisy, and therefore inferred.

        z_1 ~ N(initial_mean, initial_cov)
        z_t = g(A z_{t-1} + W u_t + b) + w_t,    w_t ~ N(0, Q)
        y_t = f(C z_t + D u_t + d) + v_t,        v_t ~ N(0, R)

    g is `activation` and f is `output_activation`, elementwise. With identities it is an `LDS`;
    with Q = 0 and a known z_1 it is `torch.nn.RNN` with an output layer, whose h_0 is z_1.

    Every parameter may be left out (it is then found from the data at `fit`), given as start
    values, or declared by `Param`, `Fixed` or `Varying`; each may have leading batch axes, one
    model per series. `Varying(Param(...))` unties a parameter over time. Held at zero where they
    are left out: d beside a C that is given, and b beside activation="identity".

    What is left out starts at the fitted linear system, written into the linear regime of g: in
    raw units nothing saturates, and the first log-likelihood is near that of an `LDS`
    (`docs/em.md` says what it was measured against).

    Args:
        latent_dim: n, the size of z.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        activation: g: "identity", "tanh", "relu", "sigmoid", "softplus", or a function of each
            entry alone.
        output_activation: f, likewise; of the mean of y, with family "gaussian" or "student_t".
        family: What y is, given eta = C z + D u + d: "gaussian" with mean f(eta); "student_t",
            each entry with location f(eta), scale R_ii^1/2 and `df` degrees of freedom;
            "bernoulli" with logits eta; "poisson" with log rates eta; "categorical" with logits
            eta, V of them.
        num_categories: V, beside family="categorical", where obs_dim is 1 and y holds 0 .. V - 1.
        A, W, b: Transition, (n, n), (n, p), (n,).
        C, D, d: Emission, (m, n), (m, p), (m,); V rows where y is categorical.
        Q, R: Noise covariances, (n, n), (m, m); R with the first two families only.
        df: Degrees of freedom of Student's t, shared by the columns: learned above 2 from 5 on,
            or any positive number with Fixed.
        initial_mean, initial_cov: Moments of z_1, (n,), (n, n); held when given, unless
            `initial="estimate"`.
        initial: "known" (the default where both moments are given) or "estimate"; or a list of
            these, one for each state.
        dtype: torch.float64 or torch.float32.
        seed: Draws what was left out at random, instead of leaving it to `fit`.

    Raises:
        InputError, InputTypeError: an argument of a wrong shape or type, or one that the family
            has no use for.

    Example:
        >>> rnn = NoisyRNN(2, 1, activation="tanh", seed=0)
        >>> drawn = rnn.sample(50, seed=1)
        >>> rnn.log_joint(drawn.z, drawn.y).shape
        torch.Size([])

    Source: the stochastic version of Elman's (1990) network; the notation is that of
    `docs/notation.md`.
    """

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        activation: Any = "tanh",
        output_activation: Any = "identity",
        family: str = "gaussian",
        num_categories: int | None = None,
        A: Any = None,
        W: Any = None,
        b: Any = None,
        C: Any = None,
        D: Any = None,
        d: Any = None,
        Q: Any = None,
        R: Any = None,
        df: Any = None,
        initial_mean: Any = None,
        initial_cov: Any = None,
        initial: str | Sequence[str] | None = None,
        dtype: torch.dtype = torch.float64,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(latent_dim, obs_dim, input_dim, least_latent=1)
        check_dtype(dtype)
        n, m, p = latent_dim, obs_dim, input_dim
        self.latent, self.obs_dim, self.input_dim = Real(n), m, p
        self.head, rows = head_of(family, m, num_categories, output_activation, {"R": R, "df": df})
        self.categorical = self.head.categorical
        self.activation = read_activation(activation)
        self.output_activation = read_activation(output_activation, "output_activation")
        values = {"A": A, "W": W, "b": b, "C": C, "D": D, "d": d, "Q": Q}
        moments = {"initial_mean": initial_mean, "initial_cov": initial_cov}
        device = one_device({**values, "R": R, "df": df, **moments})
        kinds = ("known", "estimate")
        start = declare_start(n, initial, initial_mean, initial_cov, dtype, device, kinds)
        given = {name: declared(value) for name, value in values.items()}
        if b is None and self.activation.name == "identity":
            given["b"] = declared(np.zeros(n), held=True)
        if d is None and C is not None:  # who writes C down writes d down where there is one
            given["d"] = declared(np.zeros(rows), held=True)
        if self.head.noise:
            given["R"] = declare_noise(self.head, R)
        if self.head.name == "student_t":
            given["df"] = declare_df(df)
        given |= {"initial_mean": start.mean, "initial_cov": start.cov}
        own = {"df": DegreesOfFreedom}
        self.slots = make_slots(shapes(n, rows, p), given, dtype, device, own)
        self.kinds = start.kinds
        self._check_batches()
        if self.head.noise:
            check_noise(self.head, self.slot("R"))
        if seed is not None:
            random_values(self, torch.Generator().manual_seed(seed))

    # ------------------------------------------------------------------ the contract

    def prior(self, ctx: Context | None = None) -> Gaussian:
        """p(z_1), (*batch, n)."""
        return self._moments()

    def dynamics(self, ctx: Context) -> AffineConditional:
        """What stands inside g, and the noise beside it: A, b + W u_t, Q."""
        self._require("A", "W", "b", "Q")
        return conditional(
            self.slot("A"), self.slot("W"), self.slot("b"), self._covariance("Q"), ctx
        )

    def readout(self, ctx: Context) -> AffineConditional:
        """What stands inside f, and the noise beside it: C, d + D u_t, R; needs an R."""
        self._require("C", "D", "d", "R")
        return conditional(
            self.slot("C"), self.slot("D"), self.slot("d"), self._covariance("R"), ctx
        )

    def network(self, ctx: Context) -> Network | None:
        """Of a Gaussian y; None elsewhere."""
        if self.head.name != "gaussian":
            return None
        parts = self.prior(ctx), self.dynamics(ctx), self.readout(ctx)
        return Network(*parts, self.activation, self.output_activation)

    def initial(self, ctx: Context) -> GaussianRoot:
        """p(z_1)."""
        prior = self.prior(ctx)
        return GaussianRoot(prior.mean, root_of(prior.covariance))

    def transition(self, z: Tensor, ctx: Context) -> GaussianRoot:
        """p(z_t | z_{t-1} = z)."""
        move = self.dynamics(ctx)
        inside = affine_image(move.weight, move.bias, move.varies, z, ctx)
        return GaussianRoot(self.activation(inside), noise_root(move, ctx))

    def emission(self, z: Tensor, ctx: Context) -> Distribution:
        """p(y_t | z_t = z)."""
        root = df = None
        if self.head.noise:
            read = self.readout(ctx)
            eta = affine_image(read.weight, read.bias, read.varies, z, ctx)
            root = noise_root(read, ctx)
        else:
            self._require("C", "D", "d")
            parts = affine(self.slot("C"), self.slot("D"), self.slot("d"), ctx)
            eta = affine_image(*parts, z, ctx)
        if "df" in self.slots:
            slot = self.slot("df")
            df = over_time(rows_of(slot, slot.value(), ctx), 1, slot.varies, ctx)
        return self.head.density(eta, self.output_activation, root, df)

    def check_values(self, y: Tensor, observed: Tensor, name: str = "y") -> None:
        """Refuses what the family cannot give."""
        check_values(self.head, self.slot("C").event[0], y, observed, name)

    def default_method(self) -> Method:
        """The extended Kalman filter; particles where y is categorical."""
        return ParticleFilter(1000) if self.categorical else ExtendedKalman()

    def default_learner(self) -> Gradient:
        """Back-propagation through time of the method's likelihood."""
        return Gradient(300, lr=1e-2, schedule="cosine")

    def start_values(self, data: Sequences, generator: Generator) -> None:
        """Start values for whatever has none, from the data."""
        start_values(self, data, generator)

    def expected_log_joint(self, smoothed: Smoothed, data: Sequences) -> Tensor:
        """E[log p(z, y)] under the smoothed beliefs, by spherical cubature; differentiable."""
        return expected_log_joint(self, smoothed, data)

    def maximise_given_rest(self, smoothed: Smoothed, data: Sequences) -> list[Tensor]:
        """Moments of z_1, Q and R, and C, D, d where y is linear in z: see `mstep`."""
        return maximise_given_rest(self, smoothed, data)

    # ------------------------------------------------------------------ storage

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        names = {"activation": self.activation, "output_activation": self.output_activation}
        record, tensors = describe(
            self,
            family=self.head.name,
            num_categories=self.slot("C").event[0] if self.categorical else None,
            **{key: g.name for key, g in names.items() if g.name},
        )
        own = [key for key, g in names.items() if not g.name]
        return {**record, **({"functions": own} if own else {})}, tensors

    @classmethod
    def _restore(
        cls, record: dict[str, Any], tensors: dict[str, Tensor], **functions: Any
    ) -> NoisyRNN:
        names = ("activation", "output_activation", "family", "num_categories")
        settings = tuple(name for name in names if name not in functions)
        found: NoisyRNN = restore(cls, record, tensors, settings, **functions)
        return found

    def extra_repr(self) -> str:
        inputs = f", input_dim={self.input_dim}" if self.input_dim else ""
        return (
            f"latent_dim={self.latent_dim}, obs_dim={self.obs_dim}{inputs}, "
            f"activation={self.activation}, family={self.head.name!r}, learned={self.num_params}"
        )
