"""One system to stand for all that differ by a change of state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.models.lds.canonical.realisation import Realisation
from statespace.models.lds.canonical.responses import ordered

__all__ = ["CanonicalForm", "canonical_form"]


@dataclass(frozen=True)
class CanonicalForm:
    """An equivalent system, and how to get there.

    Attributes:
        system: The system in the canonical coordinates.
        transform: T with (canonical state) = T (given state), (*batch, n, n).
        form: Which form.
    """

    system: Realisation
    transform: Tensor
    form: str


def canonical_form(
    system: Realisation, *, form: Literal["modal", "observer"] = "modal"
) -> CanonicalForm:
    """The one equivalent system in which the state has a meaning of its own.

    **modal**: A is block-diagonal, one number for a real eigenvalue, [[a, w], [-w, a]] with w > 0
    for a pair a +- i w, in the order of `eigenvalues`. The column of C that reads a real mode has
    length 1 and its largest entry positive. For a pair, the complex column c_1 + i c_2 of its two
    columns of C has length 1 and its largest entry real and positive (so c_2 is 0 there). Each
    state is one trend, decay or cycle, in the units of y. Asks for distinct eigenvalues, each
    reaching y.

    **observer**: each state is the contribution of the present state to one future entry of y,
    z'_j = (C A^k z)_i, for the first n pairs (k, i) = (0, 1) .. (0, m), (1, 1), ... that are
    linearly independent. C and A are ones and zeros but for the rows that end a chain. Asks only
    that the state is observable, so it also serves repeated eigenvalues (a local linear trend,
    two random walks).

    Two systems that differ by a change of state have the same form, to rounding.

    Args:
        system: The parameters.
        form: "modal" or "observer".

    Returns:
        The equivalent system, with the same likelihood (see `Realisation.transform`), and T.

    Raises:
        InputError: the form does not exist for this system; the sentence says why.

    Source:
        Kailath (1980), Linear Systems, sections 2.4 and 6.4.
    """
    makers = {"modal": _modal, "observer": _observer}
    if form not in makers:
        raise InputError(
            expected("form", f"one of {tuple(makers)}", repr(form), "Choose one of them.")
        )
    n, m = system.n, system.C.shape[-2]
    if n == 0:
        return CanonicalForm(system, system.A, form)
    batch = torch.broadcast_shapes(system.A.shape[:-2], system.C.shape[:-2])
    As = system.A.detach().double().expand(*batch, n, n).reshape(batch.numel(), n, n)
    Cs = system.C.detach().double().expand(*batch, m, n).reshape(batch.numel(), m, n)
    tolerance = torch.finfo(system.A.dtype).eps ** 0.5
    parts = [makers[form](A, C, tolerance) for A, C in zip(As, Cs, strict=True)]
    A, C, T = (
        torch.stack(x).reshape(*batch, *x[0].shape).to(system.A) for x in zip(*parts, strict=True)
    )
    return CanonicalForm(replace(system.transform(T), A=A, C=C), T, form)


def _modal(A: Tensor, C: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """A', C', T of one system: T^-1 holds eigenvectors, or their real and imaginary parts."""
    values, vectors = torch.linalg.eig(A)
    values, order = ordered(values)
    vectors = vectors[:, order]
    _check_distinct(values, vectors, tolerance)
    read = C.to(vectors.dtype) @ vectors  # (m, n)
    _check_reaches(values, read, C, tolerance)
    length = read.abs().square().sum(0).sqrt()
    rows = _largest(read.abs())
    largest = read.gather(0, rows[None])[0]
    vectors = vectors / (length * largest / largest.abs())
    blocks, columns, zeros, j = [], [], [], 0
    while j < len(values):
        a, w = float(values[j].real), float(values[j].imag)
        if w == 0:
            blocks.append(A.new_tensor([[a]]))
            columns.append(vectors[:, j].real)
            j += 1
        else:
            blocks.append(A.new_tensor([[a, w], [-w, a]]))
            columns += [vectors[:, j].real, vectors[:, j].imag]
            zeros.append((int(rows[j]), j + 1))
            j += 2  # its conjugate follows
    basis = torch.stack(columns, 1)
    new_C = C @ basis
    for i, j in zeros:  # what the phase made real, to rounding
        new_C[i, j] = 0.0
    return torch.block_diag(*blocks), new_C, torch.linalg.inv(basis)


def _largest(size: Tensor) -> Tensor:
    """Row of the largest entry of each column; the first of those equal to rounding."""
    close = size >= (1 - 1e-6) * size.amax(0)
    return close.to(torch.int64).argmax(0)


def _check_distinct(values: Tensor, vectors: Tensor, tolerance: float) -> None:
    gap = (values[:, None] - values[None, :]).abs()
    gap.fill_diagonal_(torch.inf)
    closest, radius = float(gap.min()), float(values.abs().max())
    spread = torch.linalg.cond(vectors)
    if closest <= tolerance * radius or not float(spread) < 1 / tolerance:
        raise InputError(
            expected(
                "A",
                "distinct eigenvalues for the modal form",
                f"two that are {closest:.2g} apart at a spectral radius of {radius:.3g}",
                'Use form="observer".',
            )
        )


def _check_reaches(values: Tensor, read: Tensor, C: Tensor, tolerance: float) -> None:
    length = read.abs().square().sum(0).sqrt()
    blind = length <= tolerance * torch.linalg.matrix_norm(C)
    if bool(blind.any()):
        value = complex(values[blind][0])
        raise InputError(
            expected(
                "C",
                "every mode of A to reach y",
                f"none of the mode with eigenvalue {value:.4g}",
                "The data cannot fix the scale of a mode they do not see; fit a smaller state.",
            )
        )


def _observer(A: Tensor, C: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """A', C', T of one system: rows of T are the first independent rows of C, C A, C A^2, ..."""
    n, m = A.shape[-1], C.shape[-2]
    chosen: dict[tuple[int, int], int] = {}
    rows: list[Tensor] = []
    basis, block = A.new_zeros(0, n), C
    for k in range(n):
        for i in range(m):
            if len(rows) < n and (k == 0 or (k - 1, i) in chosen):  # a chain that ended stays so
                new = _outside(block[i], basis, tolerance)
                if new is not None:
                    chosen[k, i] = len(rows)
                    rows.append(block[i])
                    basis = torch.cat([basis, new[None]])
        block = block @ A
    if len(rows) < n:
        raise InputError(
            expected(
                "C",
                "every direction of the state to reach y",
                f"{len(rows)} independent directions out of {n}",
                "Fit a smaller latent_dim.",
            )
        )
    T = torch.stack(rows)
    inverse = torch.linalg.inv(T)
    new_A, new_C, eye = T @ A @ inverse, C @ inverse, torch.eye(n, dtype=A.dtype, device=A.device)
    for (k, i), j in chosen.items():
        if k == 0:
            new_C[i] = eye[j]
        if (k + 1, i) in chosen:
            new_A[j] = eye[chosen[k + 1, i]]
    return new_A, new_C, T


def _outside(row: Tensor, basis: Tensor, tolerance: float) -> Tensor | None:
    """The direction that `row` adds to orthonormal rows; None where it adds none."""
    size = row.norm()
    rest = row
    for _ in range(2):
        rest = rest - (rest @ basis.mT) @ basis
    if not float(rest.norm()) > tolerance * float(size):
        return None
    return rest / rest.norm()
