"""How far gradients reach: products of Jacobians from each step back to the first."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.beliefs import Real
from statespace.diagnostics.jacobians import of_memory, of_states
from statespace.errors import InputError, InputTypeError, MethodError, expected
from statespace.interface import StateSpaceModel
from statespace.interface.question import Question, read
from statespace.sequences import Sequences

__all__ = ["GradientFlow", "gradient_flow"]


@dataclass(frozen=True)
class GradientFlow:
    """Jacobians J_t = d E[z_t | z_{t-1}] / d z_{t-1} along a path, and what their products do.

    Where nothing is latent they are of the memory in the place of z, dh_t / dh_{t-1}.

    Norms are spectral norms, the largest factor by which any direction grows, and are kept as
    logarithms, which neither overflow nor vanish. Rows beyond a series' end are NaN.

    Attributes:
        jacobians: (*batch, T - 1, n, n), J_2 .. J_T.
        log_norms: (*batch, T), log ||dz_t/dz_1|| = log ||J_t ... J_2||; 0 at the first row.
        log_norms_back: (*batch, T), log ||dz_T/dz_t|| = log ||J_T ... J_{t+1}||; 0 at the last row.
        exponents: (*batch, n), Lyapunov exponents of the path in nats per step, falling.
        log_radius: (*batch,), the mean over steps of log rho(J_t), rho the spectral radius. In a
            linear model it is log rho(A), to which `rate` tends.
    """

    jacobians: Tensor
    log_norms: Tensor
    log_norms_back: Tensor
    exponents: Tensor
    log_radius: Tensor

    @property
    def rate(self) -> Tensor:
        """(*batch,), growth of ||dz_t/dz_1|| over the whole series in nats per step."""
        steps = (~self.log_norms.isnan()).sum(-1) - 1
        last = self.log_norms.gather(-1, steps[..., None].clamp_min(0))[..., 0]
        return last / steps

    def first_below(self, factor: float = 1e-6) -> Tensor:
        """The row from which gradients have vanished: norms stay under `factor`; -1 if they do not.

        Returns:
            (*batch,) int64.
        """
        small = (self.log_norms < math.log(_positive(factor))) | self.log_norms.isnan()
        for_good = small.flip(-1).long().cumprod(-1).sum(-1)
        there = self.log_norms.isnan().sum(-1) < for_good
        return torch.where(there, self.log_norms.shape[-1] - for_good, -1)

    def first_above(self, factor: float = 1e6) -> Tensor:
        """The first row at which gradients have exploded: a norm over `factor`; -1 if none has.

        Returns:
            (*batch,) int64.
        """
        large = self.log_norms > math.log(_positive(factor))
        return torch.where(large.any(-1), large.long().argmax(-1), -1)

    def __str__(self) -> str:
        shape = self.log_norms.shape[:-1]
        where = itertools.product(*map(range, shape))
        names = ["series " + ", ".join(map(str, i)) + ": " if i else "" for i in where]
        parts = zip(
            self.rate.reshape(-1).tolist(),
            self.log_radius.reshape(-1).tolist(),
            self.log_norms.nan_to_num(-math.inf).amax(-1).reshape(-1).tolist(),
            self.first_below().reshape(-1).tolist(),
            self.first_above().reshape(-1).tolist(),
            strict=True,
        )
        return "\n".join(
            name + _words(*numbers) for name, numbers in zip(names, parts, strict=True)
        )


def _words(rate: float, radius: float, largest: float, below: int, above: int) -> str:
    ends = f"vanished (under 1e-6) from row {below} on" if below >= 0 else "not vanished"
    over = f"exploded (over 1e6) at row {above}" if above >= 0 else "not exploded"
    return (
        f"log ||dz_t/dz_1|| changes by {rate:+.4f} nats a step (log spectral radius "
        f"{radius:+.4f}); the norm is {math.exp(min(largest, 700.0)):.3g} at its largest; "
        f"{ends}, {over}"
    )


def gradient_flow(
    model: Any,
    y: Any = None,
    inputs: Any = None,
    *,
    path: Any = None,
    mask: Any = None,
    lengths: Any = None,
    condition: Any = None,
    method: Any = None,
    seed: int | None = None,
) -> GradientFlow:
    """Jacobians of the transition along a path of the state, and the products of them.

    Of a model in which nothing is latent, such as an autoregressive network, they are those of its
    memory, told y as in training: with h and c of an LSTM, and all layers.

    Args:
        model: A model whose state is a vector, without a memory that reads it; or one without a
            latent state.
        y: The data; the path is the smoothed mean given them.
        inputs: Its inputs.
        path: z_1 .. z_T, (*batch, T, n), in the place of the smoothed mean; beside it `y` serves
            for its shape only and may be left out where there are no inputs.
        mask: As `smooth` takes it.
        lengths: Likewise.
        condition: Likewise.
        method: Likewise.
        seed: Likewise.

    Returns:
        A record that prints itself; `statespace.plot.gradient_flow` draws it.

    Raises:
        MethodError: the state is no vector, or the memory reads it, or E[z_t | z_{t-1}] is unknown.
        InputError, InputTypeError: neither data nor a path, or a path of a wrong shape.

    Source:
        Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural
        networks, section 2. Trefethen and Embree (2005) for transient growth.

    Example:
        >>> import statespace as ss
        >>> lds = ss.LDS(2, 1, A=[[0.9, 5.0], [0.0, 0.9]], C=[[1.0, 0.0]], Q=[[1, 0], [0, 1.0]],
        ...              R=[[1.0]], initial_mean=[0, 0], initial_cov=[[1, 0], [0, 1.0]])
        >>> flow = gradient_flow(lds, path=torch.zeros(200, 2))
        >>> bool(flow.log_norms.max() > math.log(10)), bool(flow.rate < 0)   # up, then down
        (True, True)
    """
    _check_serves(model)
    if model.latent == Real(0):
        if path is not None or y is None:
            got = "a path" if path is not None else "no data"
            todo = "Give y: what the memory holds follows from it."
            raise InputError(expected("y", "data, where nothing is latent", got, todo))
        data = read(model, y, inputs, Question(mask=mask, lengths=lengths, condition=condition))
        _check_rows(data)
        return _flow(of_memory(model, data), data.active)
    if y is None and path is None:
        todo = "Give data, or the path z_1 .. z_T."
        raise InputError(expected("y", "data or a path", "neither", todo))
    if y is None:
        y = torch.zeros(*_read_path(model, path).shape[:-1], model.obs_dim)
    data = read(model, y, inputs, Question(mask=mask, lengths=lengths, condition=condition))
    if path is None:
        told = {"mask": mask, "lengths": lengths, "method": method, "seed": seed}
        told |= {"condition": condition}
        z = model.smooth(y, inputs, **told).mean
    else:
        z = _read_path(model, path)
    _check_rows(data)
    wanted = (*data.batch_shape, data.T, model.latent.size)
    if tuple(z.shape) != wanted:
        todo = "Give one state for each row of the data."
        raise InputError(expected("path", f"shape {wanted}", f"{tuple(z.shape)}", todo))
    z = torch.where(data.active[..., None], z, torch.zeros_like(z)).detach()
    return _flow(of_states(model, data, z), data.active)


def _check_serves(model: Any) -> None:
    if not isinstance(model, StateSpaceModel):
        got = type(model).__name__
        raise InputTypeError(expected("model", "a model", got, "Give the model itself."))
    none = model.latent == Real(0)
    if not isinstance(model.latent, Real) or "z" in model.reads or (none and not model.reads):
        raise MethodError(
            f"gradient_flow differentiates z_t in z_{{t-1}}, a vector that no memory reads; that "
            f"of {type(model).__name__} is {model.latent}"
            + (", and its memory reads it." if "z" in model.reads else ".")
        )


def _check_rows(data: Sequences) -> None:
    least = int(data.lengths.min())
    if least < 2:
        todo = "Give longer series: a Jacobian leads from one row to the next."
        raise InputError(expected("y", "at least two rows in every series", str(least), todo))


def _read_path(model: Any, path: Any) -> Tensor:
    return torch.as_tensor(path, dtype=model.dtype, device=model.device)


def _flow(jacobians: Tensor, active: Tensor) -> GradientFlow:
    """Products in both directions; rows beyond a series' end stand still."""
    n = jacobians.shape[-1]
    eye = torch.eye(n, dtype=jacobians.dtype, device=jacobians.device)
    on = active[..., 1:]
    still = torch.where(on[..., None, None], jacobians, eye)
    rows = list(still.unbind(-3))
    ahead = _log_norms(rows, eye.expand(*jacobians.shape[:-3], n, n))
    back = [x.mT for x in reversed(rows)]  # norms of transposes are the same
    behind = _log_norms(back, eye.expand(*jacobians.shape[:-3], n, n)).flip(-1)
    radius = torch.linalg.eigvals(still).abs().amax(-1).log()
    steps = on.sum(-1)
    return GradientFlow(
        torch.where(on[..., None, None], jacobians, torch.nan),
        torch.where(active, ahead, torch.nan),
        torch.where(active, behind, torch.nan),
        _exponents(rows, eye.expand(*jacobians.shape[:-3], n, n)) / steps[..., None],
        torch.where(on, radius, 0.0).sum(-1) / steps,
    )


def _log_norms(factors: list[Tensor], product: Tensor) -> Tensor:
    """Log ||F_t ... F_1|| for t = 0, 1, ..., (*batch, T): each product is kept of size one."""
    scale = product.new_zeros(product.shape[:-2])
    products, scales = [product], [scale]
    for factor in factors:
        product = factor @ product
        size = product.abs().amax((-2, -1))
        scale = scale + size.log()
        product = product / torch.where(size > 0, size, 1.0)[..., None, None]
        products.append(product)
        scales.append(scale)
    norms: Tensor = torch.linalg.matrix_norm(torch.stack(products, -3), ord=2).log()
    return norms + torch.stack(scales, -1)


def _exponents(factors: list[Tensor], frame: Tensor) -> Tensor:
    """Sums of the logarithms by which an orthogonal frame grows (Benettin et al. 1980)."""
    total = frame.new_zeros(frame.shape[:-1])
    for factor in factors:
        frame, r = torch.linalg.qr(factor @ frame)
        total = total + r.diagonal(dim1=-2, dim2=-1).abs().log()
    return total.sort(-1, descending=True).values


def _positive(factor: float) -> float:
    if not factor > 0:
        raise InputError(expected("factor", "a number > 0", f"{factor}", "Give such a number."))
    return factor
