"""A user's functions, with Gaussian noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from statespace.densities import GaussianRoot
from statespace.densities.around import GaussianAround
from statespace.errors import InputError, StorageError, expected
from statespace.files import register
from statespace.gaussian import Gaussian
from statespace.inference import ExtendedKalman
from statespace.interface import Climbable, Context, GaussianLatent, Method, Real, families
from statespace.learning import Gradient
from statespace.models.nonlinear.functions import (
    called,
    check_callable,
    is_function,
    noise_root,
)
from statespace.models.nonlinear.mstep import maximise_given_rest
from statespace.models.nonlinear.start import random_values, start_values
from statespace.models.shared.expectation import expected_log_joint
from statespace.models.shared.initial import declare_start
from statespace.models.shared.record import describe, restore
from statespace.models.shared.rows import covariance_of
from statespace.models.shared.slots import (
    Parameters,
    Shapes,
    check_dtype,
    check_sizes,
    make_slots,
    one_device,
)
from statespace.parameters import declared
from statespace.results import Smoothed
from statespace.sequences import Sequences

__all__ = ["NonlinearGaussian"]

Function = Callable[[Tensor, Context], Tensor]


@register("NonlinearGaussian")
class NonlinearGaussian(Parameters, GaussianLatent, Climbable):
    """Any transition and any emission, with Gaussian noise.

        z_1 ~ N(initial_mean, initial_cov)
        z_t = g(z_{t-1}, ctx) + w_t,    w_t ~ N(0, Q)
        y_t = f(z_t, ctx) + v_t,        v_t ~ N(0, R)

    g and f are functions or Modules; the weights of Modules are learned. They are asked about
    many points and many series at once, and so must be written with operations on the last axis
    alone: z is (*sample, *batch[, T], n), and what they look at besides, `ctx.u` (inputs,
    (*batch[, T], p)) and `ctx.t` (the row, 0 for the first), broadcasts with it.

    Args:
        latent_dim: n, the size of z.
        obs_dim: m, the size of y.
        input_dim: p, the size of u.
        g: From z_{t-1} and ctx to the mean of z_t, (..., n) -> (..., n).
        f: From z_t and ctx to the mean of y_t, (..., n) -> (..., m).
        Q, R: Noise covariances, (n, n), (m, m), as values or declarations (found from the data at
            `fit` where they are left out); or functions of (z, ctx) that return one, (..., n, n)
            of z_{t-1} and (..., m, m) of z_t.
        initial_mean, initial_cov: Moments of z_1, (n,), (n, n); held when given, unless
            `initial="estimate"`.
        initial: "known" (the default where both moments are given) or "estimate"; or a list of
            these, one for each state.
        residual: From y and a mean of it to how far they lie apart, (..., m) each; the difference
            where it is left out. One that wraps angles keeps a bearing of 179 degrees next to one
            of -179.
        dtype: torch.float64 or torch.float32; that of Modules must be the same.
        seed: Draws the covariances and moments that were left out at random, instead of leaving
            them to `fit`.

    Raises:
        InputError, InputTypeError: an argument of a wrong shape or type; when they are first
            called, functions that return another shape than they should.

    Example:
        >>> def swing(z, ctx):  # a pendulum, Euler's method
        ...     angle, speed = z.unbind(-1)
        ...     return torch.stack([angle + 0.1 * speed, speed - 0.98 * angle.sin()], -1)
        >>> pendulum = NonlinearGaussian(
        ...     2, 1, g=swing, f=lambda z, ctx: z[..., :1].sin(), Q=0.01 * torch.eye(2), R=[[0.1]],
        ...     initial_mean=[1.0, 0.0], initial_cov=0.1 * torch.eye(2))
        >>> pendulum.sample(100, seed=0).y.shape
        torch.Size([100, 1])

    Source: Jazwinski (1970), chapter 8; Saerkkae and Svensson (2023), chapter 7.
    """

    def __init__(
        self,
        latent_dim: int,
        obs_dim: int,
        input_dim: int = 0,
        *,
        g: Function | nn.Module,
        f: Function | nn.Module,
        Q: Any = None,
        R: Any = None,
        initial_mean: Any = None,
        initial_cov: Any = None,
        initial: str | Sequence[str] | None = None,
        residual: Callable[[Tensor, Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float64,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(latent_dim, obs_dim, input_dim, least_latent=1)
        check_dtype(dtype)
        n, m = latent_dim, obs_dim
        self.latent, self.obs_dim, self.input_dim = Real(n), m, input_dim
        functions = {"g": g, "f": f} | ({"residual": residual} if residual is not None else {})
        noise = {"Q": Q, "R": R}
        functions |= {name: value for name, value in noise.items() if is_function(value)}
        for name, function in functions.items():
            check_callable(name, function)
        self.functions: dict[str, Any] = functions
        self.networks = nn.ModuleDict(
            {name: part for name, part in functions.items() if isinstance(part, nn.Module)}
        )
        values = {name: value for name, value in noise.items() if name not in functions}
        device = one_device({**values, "initial_mean": initial_mean, "initial_cov": initial_cov})
        kinds = ("known", "estimate")
        start = declare_start(n, initial, initial_mean, initial_cov, dtype, device, kinds)
        given = {name: declared(value) for name, value in values.items()}
        given |= {"initial_mean": start.mean, "initial_cov": start.cov}
        self.slots = make_slots(_shapes(n, m), given, dtype, device)
        self.kinds = start.kinds
        self._check_batches()
        if seed is not None:
            random_values(self, Generator().manual_seed(seed))

    # ------------------------------------------------------------------ what was given

    @property
    def g(self) -> Any:
        """The transition, as it was given."""
        return self.functions["g"]

    @property
    def f(self) -> Any:
        """The emission, as it was given."""
        return self.functions["f"]

    @property
    def Q(self) -> Any:
        """(*batch, [T,] n, n), or the function that was given."""
        return self.functions["Q"] if "Q" in self.functions else self._value("Q")

    @property
    def R(self) -> Any:
        """(*batch, [T,] m, m), or the function that was given."""
        return self.functions["R"] if "R" in self.functions else self._value("R")

    @property
    def initial_mean(self) -> Tensor:
        """(*batch, n)."""
        return self._value("initial_mean")

    @property
    def initial_cov(self) -> Tensor:
        """(*batch, n, n)."""
        return self._value("initial_cov")

    @property
    def num_params(self) -> int:
        """How many numbers are learned, weights of Modules included, for one model of the batch."""
        weights = sum(p.numel() for p in self.networks.parameters() if p.requires_grad)
        return super().num_params + weights

    # ------------------------------------------------------------------ the contract

    def prior(self, ctx: Context | None = None) -> Gaussian:
        """p(z_1), (*batch, n)."""
        return self._moments()

    def initial(self, ctx: Context) -> GaussianRoot:
        """p(z_1)."""
        prior = self._moments()
        return GaussianRoot(prior.mean, families.root_of(prior.covariance))

    def transition(self, z: Tensor, ctx: Context) -> GaussianRoot:
        """p(z_t | z_{t-1} = z)."""
        n = self.latent_dim
        return GaussianRoot(called("g", self.g, z, ctx, (n,)), self._noise("Q", z, ctx, n))

    def emission(self, z: Tensor, ctx: Context) -> GaussianRoot:
        """p(y_t | z_t = z)."""
        m = self.obs_dim
        mean, root = called("f", self.f, z, ctx, (m,)), self._noise("R", z, ctx, m)
        if "residual" not in self.functions:
            return GaussianRoot(mean, root)
        return GaussianAround(mean, root, self.residual)

    def _noise(self, name: str, z: Tensor, ctx: Context, size: int) -> Tensor:
        """A root of the noise."""
        if name in self.functions:
            return noise_root(name, self.functions[name], z, ctx, size)
        self._require(name)
        slot = self._covariance(name)
        root = families.root_of(covariance_of(slot, ctx))
        return families.over_time(root, 2, slot.varies, ctx)

    def residual(self, y: Tensor, mean: Tensor) -> Tensor:
        """How far y, (*, m), lies from a mean of it.

        Raises:
            InputError: the function that was given returns another shape.
        """
        if "residual" not in self.functions:
            return y - mean
        found: Tensor = self.functions["residual"](y, mean)
        shape = torch.broadcast_shapes(y.shape, mean.shape)
        if not isinstance(found, Tensor) or found.shape != shape:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)[:40]
            todo = "Give a function of (y, mean), the difference of them but for whole turns."
            raise InputError(expected("residual", f"shape {tuple(shape)}", got, todo))
        return found

    def default_method(self) -> Method:
        """The extended Kalman filter."""
        return ExtendedKalman()

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
        """Moments of z_1, Q and R: see `mstep`."""
        return maximise_given_rest(self, smoothed, data)

    # ------------------------------------------------------------------ storage

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        record, tensors = describe(self)
        weights = {f"networks.{k}": v for k, v in self.networks.state_dict().items()}
        return {**record, "functions": list(self.functions)}, {**tensors, **weights}

    @classmethod
    def _restore(
        cls, record: dict[str, Any], tensors: dict[str, Tensor], **functions: Any
    ) -> NonlinearGaussian:
        model: NonlinearGaussian = restore(cls, record, tensors, (), **functions)
        start = "networks."
        weights = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        try:
            model.networks.load_state_dict(weights)
        except RuntimeError as error:
            names = ", ".join(model.networks) or "none"
            todo = "Build the Module as it was built when the model was saved."
            wanted = f"Modules with the weights {', '.join(sorted(weights)) or 'of none'}"
            raise StorageError(expected("functions", wanted, f"Modules {names}", todo)) from error
        return model

    def extra_repr(self) -> str:
        inputs = f", input_dim={self.input_dim}" if self.input_dim else ""
        return (
            f"latent_dim={self.latent_dim}, obs_dim={self.obs_dim}{inputs}, "
            f"learned={self.num_params}"
        )


def _shapes(n: int, m: int) -> Shapes:
    return {
        "Q": ((n, n), ("latent", "latent")),
        "R": ((m, m), ("obs", "obs")),
        "initial_mean": ((n,), ("latent",)),
        "initial_cov": ((n, n), ("latent", "latent")),
    }
