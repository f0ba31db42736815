"""The change of state that takes one fit to another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.models.lds.canonical.realisation import Realisation

__all__ = ["Alignment", "align", "observability_matrix"]


@dataclass(frozen=True)
class Alignment:
    """How one system's state is read in another's coordinates.

    Attributes:
        transform: T with (state of the second) = T (state of the first), (*batch, n, n).
        system: The first system with the state T z, to be compared entry by entry.
        misfit: Size of what T cannot explain: |O_b T - O_a| / |O_a|, (*batch,); zero to rounding
            for two systems that differ by a change of state alone.
    """

    transform: Tensor
    system: Realisation
    misfit: Tensor


def observability_matrix(A: Tensor, C: Tensor, num: int) -> Tensor:
    """C, C A, ..., C A^(num - 1) stacked: what the state alone contributes to `num` rows of y.

    Args:
        A: Transition, (*batch, n, n).
        C: Emission, (*batch, m, n).
        num: At least 1.

    Returns:
        (*batch, num m, n). The state is observable where its rank is n (for num >= n).

    Example:
        >>> observability_matrix(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.eye(2)[:1], 2)
        tensor([[1., 0.],
                [1., 1.]])
    """
    if num < 1:
        raise InputError(expected("num", "at least 1", str(num), "Ask for one block or more."))
    blocks = [C]
    for _ in range(num - 1):
        blocks.append(blocks[-1] @ A)
    return torch.cat(torch.broadcast_tensors(*blocks), -2)


def align(a: Realisation, b: Realisation, *, num: int | None = None) -> Alignment:
    """The T that best takes the state of `a` to that of `b`: O_b T = O_a by least squares.

    O holds C A^k for k < num, so that T matches what either state says of the next `num` rows of
    y, each output in units of its own size in O_b. Two fits of one system in other coordinates
    are matched exactly.

    Args:
        a: The system whose state is changed.
        b: The system it is compared with, of the same sizes n and m.
        num: Rows of y that are matched, at least n; 2 n by default.

    Raises:
        InputError: the sizes differ, a system is not observable (part of its state never reaches
            y, so nothing fixes that part of T), or `num` is below n.
    """
    n, m = a.n, a.C.shape[-2]
    if (b.n, b.C.shape[-2]) != (n, m):
        raise InputError(
            expected(
                "b",
                f"latent size {n} and observation size {m}, as `a` has",
                f"{b.n} and {b.C.shape[-2]}",
                "Align systems of the same sizes.",
            )
        )
    num = 2 * n if num is None else num
    if num < n:
        raise InputError(
            expected("num", f"at least the latent size {n}", str(num), "Match more rows.")
        )
    left = observability_matrix(b.A, b.C, max(num, 1))
    right = observability_matrix(a.A, a.C, max(num, 1))
    size = left.unflatten(-2, (-1, m)).square().sum((-3, -1)).sqrt()
    weight = torch.where(size > 0, 1 / size, 1.0).repeat(*(1,) * (size.ndim - 1), max(num, 1))
    left, right = left * weight[..., None], right * weight[..., None]
    for name, o in (("b", left), ("a", right)):
        _check_observable(name, o)
    T = torch.linalg.pinv(left) @ right
    total = torch.linalg.matrix_norm(right)
    misfit = torch.linalg.matrix_norm(left @ T - right) / torch.where(total > 0, total, 1.0)
    return Alignment(T, a.transform(T), misfit)


def _check_observable(name: str, o: Tensor) -> None:
    values = torch.linalg.svdvals(o)
    if values.shape[-1] == 0:
        return
    floor = torch.finfo(o.dtype).eps ** 0.75 * values[..., 0]
    if bool((values[..., -1] <= floor).any()):
        raise InputError(
            expected(
                name,
                "an observable system",
                "one with a direction of the state that never reaches y",
                "Fit a smaller latent_dim, or compare eigenvalues and Markov parameters.",
            )
        )
