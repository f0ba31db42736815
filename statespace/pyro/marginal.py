"""An LDS with its states integrated out, as a distribution of whole series."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.ops.integrator import register_exception_handler
from torch import Size, Tensor
from torch.distributions import constraints

from statespace.errors import InputError, InputTypeError, NumericalError, expected
from statespace.interface import LinearGaussian, StateSpaceModel

__all__ = ["distribution"]


def distribution(lds: StateSpaceModel, num_steps: int, inputs: Tensor | None = None) -> Marginal:
    """p(y_1, ..., y_T), the states integrated out by the Kalman filter.

    For use inside a Pyro model: parameters that were drawn there are handed over as `Fixed(value)`
    and keep their gradients, so that SVI and NUTS see through the filter.

    Args:
        lds: A linear-Gaussian model, over (*batch).
        num_steps: T.
        inputs: (*batch, T, p), where the model has inputs.

    Returns:
        A Pyro distribution with event shape (T, m), and batch shape (*batch). NaN in an
        observed y is integrated out.

    Raises:
        InputTypeError: the model is not linear-Gaussian.
        InputError: a number of rows below 1, or inputs of another number.

    Example:
        >>> import pyro, pyro.distributions as dist, statespace as ss
        >>> y = ss.datasets.nile()
        >>> def program(y):
        ...     q = pyro.sample("q", dist.LogNormal(torch.tensor(7.0).double(), 1.0))
        ...     r = pyro.sample("r", dist.LogNormal(torch.tensor(9.0).double(), 1.0))
        ...     noise = {"Q": ss.Fixed(q[None, None]), "R": ss.Fixed(r[None, None])}
        ...     lds = ss.LDS(1, 1, A=[[1.0]], C=[[1.0]], initial="diffuse", **noise)
        ...     return pyro.sample("y", ss.pyro.distribution(lds, len(y)), obs=y)
        >>> with pyro.poutine.seed(rng_seed=0):
        ...     trace = pyro.poutine.trace(program).get_trace(y)
        >>> trace.log_prob_sum().shape
        torch.Size([])
    """
    if not isinstance(lds, LinearGaussian):
        got, todo = type(lds).__name__, "Use `model` for any other: it draws the states."
        raise InputTypeError(expected("lds", "a linear-Gaussian model", got, todo))
    if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
        todo = "Give the number of rows of y."
        raise InputError(expected("num_steps", "an integer of at least 1", repr(num_steps), todo))
    if inputs is not None and inputs.shape[-2:] != (num_steps, lds.input_dim):
        shape = f"(*batch, {num_steps}, {lds.input_dim})"
        todo = "Give one row of inputs for each row of y."
        raise InputError(expected("inputs", shape, str(tuple(inputs.shape)), todo))
    return Marginal(lds, num_steps, inputs)


class Marginal(TorchDistribution):
    """See `distribution`."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  the base class says how it is typed
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        lds: LinearGaussian,
        num_steps: int,
        inputs: Tensor | None = None,
        batch_shape: Size | None = None,
    ) -> None:
        self.lds, self.num_steps, self.inputs = lds, num_steps, inputs
        lead = () if inputs is None else inputs.shape[:-2]
        own = torch.broadcast_shapes(lds.batch_shape, lead)
        shape = own if batch_shape is None else batch_shape
        super().__init__(Size(shape), Size((num_steps, lds.obs_dim)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Marginal:
        """The same over more axes: further series."""
        return Marginal(self.lds, self.num_steps, self.inputs, Size(batch_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Series, (*sample, *batch, T, m), seeded by torch's generator."""
        seed = int(torch.randint(2**62, ()))
        shape = (*sample_shape, *self.batch_shape)
        own = torch.broadcast_shapes(
            self.lds.batch_shape, () if self.inputs is None else self.inputs.shape[:-2]
        )
        more = shape[: len(shape) - len(own)]
        drawn = self.lds.sample(self.num_steps, more, self.inputs, seed=seed).y.detach()
        return drawn.expand(*shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The exact log-likelihood, (*sample, *batch); differentiable in the parameters.

        Raises:
            InputError: a gradient in y is asked for.
        """
        if value.requires_grad:
            got, todo = "a tensor that requires a gradient", "Observe y, or draw the states too."
            raise InputError(expected("value", "y without a gradient", got, todo))
        shape = torch.broadcast_shapes(value.shape[:-2], self.batch_shape)
        y, u = value.expand(*shape, *value.shape[-2:]), self.inputs
        u = None if u is None else u.expand(*shape, *u.shape[-2:])
        return self.lds.log_likelihood(y, u).expand(shape)


def _too_far(error: Exception) -> bool:
    """A leap to where a variance overflows: NUTS refuses the point and goes on.

    What is wrong with a program as such has been raised before, when its first trace was taken.
    """
    return isinstance(error, InputError | NumericalError)


register_exception_handler("statespace", _too_far, warn_on_overwrite=False)
