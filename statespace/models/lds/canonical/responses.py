"""What every choice of the state agrees on: eigenvalues and the responses of y."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.linalg import lq, psd_root
from statespace.models.lds.canonical.realisation import Realisation

__all__ = ["eigenvalues", "impulse_response", "markov_parameters", "ordered"]


def eigenvalues(A: Tensor) -> Tensor:
    """Eigenvalues of the transition, the slowest to fade first.

    Args:
        A: (*batch, n, n).

    Returns:
        Complex, (*batch, n): by modulus, largest first; equal moduli (to rounding) by angle from 0
        to pi; of a conjugate pair the one with positive imaginary part first. A pair
        r exp(+-i w) is a cycle of period 2 pi / w whose amplitude fades by r a step.

    Example:
        >>> eigenvalues(torch.tensor([[0.5, 0.0], [0.0, 0.9]])).real
        tensor([0.9000, 0.5000])
    """
    return ordered(torch.linalg.eigvals(A.detach()))[0]


def ordered(values: Tensor) -> tuple[Tensor, Tensor]:
    """Complex numbers (*batch, n) in the order of `eigenvalues`, and the permutation."""
    tolerance = torch.finfo(values.real.dtype).eps ** 0.5
    n = values.shape[-1]
    orders = [
        _order(row, tolerance) for row in values.reshape(values.shape[:-1].numel(), n).tolist()
    ]
    order = torch.tensor(orders, dtype=torch.int64, device=values.device).reshape(values.shape)
    return values.gather(-1, order), order


def _order(row: list[complex], tolerance: float) -> list[int]:
    by_size = sorted(range(len(row)), key=lambda i: -abs(row[i]))
    rank, group, edge = {}, 0, math.inf
    for i in by_size:  # moduli that differ by rounding alone are one group
        if abs(row[i]) < edge * (1 - tolerance):
            group += 1
        edge = abs(row[i])
        rank[i] = group

    def key(i: int) -> tuple[int, float, bool]:
        angle = abs(math.atan2(row[i].imag, row[i].real))
        return rank[i], round(angle / (4 * tolerance)) * tolerance, row[i].imag < 0

    return sorted(range(len(row)), key=key)


def markov_parameters(A: Tensor, B: Tensor, C: Tensor, D: Tensor, num: int) -> Tensor:
    """What one unit of an input does to y at once, one step later, and so on.

    H_0 = D + C B,  H_k = C A^k B: u_t acts on the transition into z_t and on y_t. (No transition
    leads into z_1, so the first row's input reaches y_1 through D alone.)

    Args:
        A: Transition, (*batch, n, n).
        B: Inputs into the state, (*batch, n, p).
        C: Emission, (*batch, m, n).
        D: Inputs into y, (*batch, m, p).
        num: How many, at least 1.

    Returns:
        (*batch, num, m, p), differentiable.

    Raises:
        InputError: `num` is below 1.

    Example:
        >>> one = torch.ones(1, 1)
        >>> markov_parameters(0.5 * one, one, 2 * one, one, 3).flatten()
        tensor([3.0000, 1.0000, 0.5000])
    """
    if num < 1:
        raise InputError(expected("num", "at least 1", str(num), "Ask for one response or more."))
    z, responses = B, [D + C @ B]
    for _ in range(num - 1):
        z = A @ z
        responses.append(C @ z)
    return torch.stack(torch.broadcast_tensors(*responses), -3)


def impulse_response(
    system: Realisation,
    num: int,
    *,
    to: Literal["inputs", "noise"] = "noise",
    of: Literal["y", "z"] = "y",
) -> Tensor:
    """What a shock at one step does from there on.

    A shock to the state noise is one standard deviation of one of the independent parts that the
    lower Cholesky root of Q splits w into, in the order of the states. The response of y to inputs
    is the same in every coordinates of the state; one to noise is so only up to that split.

    Args:
        system: The parameters.
        num: Steps, the one of the shock included; at least 1.
        to: The shock: a unit of each input, or of the state noise.
        of: What responds, the observations or the states.

    Returns:
        (*batch, num, m or n, p or n): row k is the response k steps after the shock.

    Raises:
        InputError: an unknown word, or `num` below 1.
    """
    for name, value, words in (("to", to, ("inputs", "noise")), ("of", of, ("y", "z"))):
        if value not in words:
            raise InputError(expected(name, f"one of {words}", repr(value), "Choose one of them."))
    eye = torch.eye(system.n, dtype=system.A.dtype, device=system.A.device)
    C = system.C if of == "y" else eye
    B = system.B if to == "inputs" else _lower(system.Q)
    D = system.D if (to, of) == ("inputs", "y") else C.new_zeros(C.shape[-2], B.shape[-1])
    return markov_parameters(system.A, B, C, D, num)


def _lower(cov: Tensor) -> Tensor:
    """The lower-triangular root with a diagonal that is not negative; of any rank."""
    lower = lq(psd_root(cov, "Q"))
    sign = lower.diagonal(dim1=-2, dim2=-1).sign()
    return lower * torch.where(sign == 0, 1.0, sign)[..., None, :]
