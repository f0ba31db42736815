"""When an innovation variance is zero: triangularisation that decides rank entry by entry."""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.linalg import lq


def too_small(f: Tensor) -> Tensor:
    """Which pivots of a triangular root are rounding beside their row, (..., m)."""
    eps = torch.finfo(f.dtype).eps
    pivots = f.diagonal(dim1=-2, dim2=-1).abs()
    size = f.norm(dim=-1)  # an overflow is no rank: it is reported elsewhere
    return (pivots <= 16 * (f.shape[-1] + 1) * eps * size) & torch.isfinite(size)


def rank_safe(joint: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """[[F, 0], [G, S]] of a joint root whose first m rows may depend on one another.

    Rows are orthogonalised in order, twice each (Giraud, Langou and Rozloznik 2005: twice is
    enough). A row that lies in the span of those before it is determined by them: its pivot
    becomes one, its column zero, and it is reported.

    Args:
        joint: (..., m + n, k).
        m: how many rows belong to y.

    Returns:
        The triangular root (..., m + n, m + n), and (..., m) which entries were determined.
    """
    eps = torch.finfo(joint.dtype).eps
    basis = joint.new_zeros(*joint.shape[:-2], m, joint.shape[-1])
    f = joint.new_zeros(*joint.shape[:-2], m, m)
    off = torch.zeros(f.shape[:-1], dtype=torch.bool, device=joint.device)
    for i in range(m):
        row = joint[..., i, :]
        size = row.norm(dim=-1)
        for _ in range(2):
            along = (basis[..., :i, :] @ row[..., None])[..., 0]
            row = row - (along[..., None, :] @ basis[..., :i, :])[..., 0, :]
            f[..., i, :i] += along
        left = row.norm(dim=-1)
        off[..., i] = (left <= 32 * (m + 1) * eps * size) & torch.isfinite(size)
        keep = ~off[..., i]
        f[..., i, i] = torch.where(keep, left, torch.ones_like(left))
        basis[..., i, :] = (
            torch.where(keep[..., None], row, torch.zeros_like(row)) / f[..., i, i, None]
        )
    lower = joint[..., m:, :]
    g = lower @ basis.mT
    s = lower - g @ basis
    s = lq(s - (s @ basis.mT) @ basis)
    top = torch.nn.functional.pad(f, (0, s.shape[-1]))
    return torch.cat([top, torch.cat([g, s], -1)], -2), off
