"""The rest of a start once A and C stand: inputs, offsets, the first state, sizes of the noise.

All in scaled units (see `Table`). The effect of inputs and offsets on y is linear in B, b, D, d:

    y_t = C x_t + D u_t + d + error,    x_t = A x_{t-1} + B u_t + b,  x_1 = 0

so they are one least-squares problem, with the response of y to each entry as a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from statespace.models.lds.subspace.table import Table

__all__ = ["Known", "first_state", "reach", "respond"]

_CELLS = 20_000_000  # of the least-squares problem
_RIDGE = 1e-6


@dataclass(frozen=True)
class Known:
    """A coefficient in scaled units: what is known of it, and which entries are to be found.

    Attributes:
        value: (rows, cols), 0 at entries to be found.
        free: (rows, cols) True where to be found.
    """

    value: Tensor
    free: Tensor


def reach(a: Tensor, c: Tensor) -> Tensor:
    """How strongly each state can move y within n steps, max |C A^k|, (n,); one where it cannot."""
    size, path = torch.zeros_like(c[:1]).sum(0), c
    for _ in range(max(len(a), 1)):
        size = torch.maximum(size, path.abs().amax(0))
        path = path @ a
    return torch.where(size > 0, size, torch.ones_like(size))


def respond(
    table: Table, a: Tensor, c: Tensor, moves: Known, reads: Known
) -> tuple[Tensor, Tensor]:
    """[B b] (n, p + 1) and [D d] (m, p + 1), what is known of them kept.

    Args:
        table: The data.
        a: Transition.
        c: Loadings.
        moves: [B b].
        reads: [D d].
    """
    u = _with_one(table.u)  # (S, T, q)
    rows = _rows(table, moves, reads)
    u, y, seen = u[:, :rows], table.y[:, :rows], table.observed[:, :rows]
    driven = _paths(a, u, moves)  # (S, T, n, 1 + K): known part first, then one per free entry
    response = c @ driven  # (S, T, m, 1 + K)
    direct = (u @ reads.value.mT)[..., None]  # (S, T, m, 1)
    target = y - (response[..., :1] + direct)[..., 0]
    at = reads.free.nonzero()  # (L, 2)
    own = torch.zeros(*y.shape, len(at), dtype=y.dtype, device=y.device)
    if len(at):
        index = torch.arange(len(at), device=y.device)
        own[..., at[:, 0], index] = u[..., at[:, 1]]
    design = torch.cat([response[..., 1:], own], -1)[seen]  # (cells, K + L)
    found = _least_squares(design, target[seen])
    k = int(moves.free.sum())
    b, d = moves.value.clone(), reads.value.clone()
    b[moves.free], d[reads.free] = found[:k], found[k:]
    return b, d


def _with_one(u: Tensor) -> Tensor:
    return torch.cat([u, u.new_ones(*u.shape[:-1], 1)], -1)


def _rows(table: Table, moves: Known, reads: Known) -> int:
    width = 1 + int(moves.free.sum()) + int(reads.free.sum())
    return max(2, min(table.y.shape[1], _CELLS // (width * table.m * len(table.y))))


def _paths(a: Tensor, u: Tensor, moves: Known) -> Tensor:
    """Paths of the state: the known part's, and that of a one in each free entry."""
    at = moves.free.nonzero()
    pushes = torch.zeros(*u.shape[:2], len(a), 1 + len(at), dtype=u.dtype, device=u.device)
    pushes[..., 0] = u @ moves.value.mT
    if len(at):
        index = torch.arange(1, 1 + len(at), device=u.device)
        pushes[..., at[:, 0], index] = u[..., at[:, 1]]
    out = torch.zeros_like(pushes)
    for t in range(1, u.shape[1]):  # nothing leads into z_1
        out[:, t] = (a @ out[:, t - 1] + pushes[:, t]).clamp(-1e12, 1e12)
    return out


def _least_squares(design: Tensor, target: Tensor) -> Tensor:
    """With a ridge, so that what the data do not tell apart is shared out."""
    size = design.square().mean(0).sqrt()
    size = torch.where(size > 0, size, torch.ones_like(size))
    x = design / size
    gram = x.mT @ x / max(len(x), 1)
    right = x.mT @ target / max(len(x), 1)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + _RIDGE * eye, right) / size


def first_state(table: Table, a: Tensor, c: Tensor, moves: Tensor, reads: Tensor) -> Tensor:
    """E[z_1] by least squares on the first rows, drawn to 0 where they say little, (n,)."""
    n = len(a)
    rows = min(table.y.shape[1], max(2 * n, 6))
    u = _with_one(table.u)[:, :rows]
    none = Known(moves, torch.zeros_like(moves, dtype=torch.bool))
    path = _paths(a, u, none)[..., 0]
    target = table.y[:, :rows] - path @ c.mT - u @ reads.mT
    seen = table.observed[:, :rows]
    powers, step = [], c
    for _ in range(rows):
        powers.append(step)
        step = (step @ a).clamp(-1e12, 1e12)
    design = torch.stack(powers).expand(len(u), *(rows, *c.shape))[seen]
    unit = 1 / reach(a, c)
    x = design * unit
    eye = torch.eye(n, dtype=x.dtype, device=x.device)
    return unit * torch.linalg.solve(x.mT @ x + 0.1 * len(u) * eye, x.mT @ target[seen])
