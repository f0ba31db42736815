"""The least-squares problem for delta: what the data say of the augmented directions.

Rows [E | e] collect to a triangular [R_k, z; 0, rho]: delta has mean R_k^-1 z and root R_k^-1,
and  log integral exp(-|E delta + e|^2 / 2) = -rho^2 / 2 - log |R_k| (+ constants).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Delta(NamedTuple):
    """Moments of delta given rows; leading axes (*,)."""

    mean: Tensor  # (*, k)
    root: Tensor  # (*, k, k)   zero along directions not yet resolved
    blind: Tensor  # (*, k, k)   root of those directions, in which nothing is known
    log_det: Tensor  # (*,)        sum of the logs of the singular values of the resolved part
    rss: Tensor  # (*,)        rho^2
    resolved: Tensor  # (*,)        how many directions are


def absorb(rows: Tensor, e: Tensor) -> Tensor:
    """The triangular rows after more: (*, k+1, k+1) and e (*, q, 1+k) -> (*, k+1, k+1).

    `e` comes mean first and with the sign of y - C x, hence the reordering and the minus.
    """
    more = torch.cat([-e[..., 1:], e[..., :1]], -1)
    lead = torch.broadcast_shapes(rows.shape[:-2], more.shape[:-2])
    pile = torch.cat([x.expand(*lead, *x.shape[-2:]) for x in (rows, more)], -2)
    out: Tensor = torch.linalg.qr(pile, mode="r").R
    return out


def solve(rows: Tensor) -> Delta:
    """Moments from triangular rows; directions the rows do not reach are kept apart."""
    k = rows.shape[-1] - 1
    r, z, rss = rows[..., :k, :k], rows[..., :k, k], rows[..., k, k].square()
    if k == 0:
        empty, flat = rows.new_zeros(*rows.shape[:-2], 0), rows.new_zeros(*rows.shape[:-2], 0, 0)
        zero = rows.new_zeros(rows.shape[:-2])
        return Delta(empty, flat, flat, zero, rss, zero)
    size = r.norm(dim=-2, keepdim=True)  # columns by their own length: units do not decide rank
    size = torch.where(size > 0, size, torch.ones_like(size))
    u, sigma, vt = torch.linalg.svd(r / size)
    seen = sigma > torch.finfo(r.dtype).eps ** 0.65 * sigma[..., :1].clamp_min(1e-30)
    inverse = torch.where(seen, 1 / torch.where(seen, sigma, 1.0), 0.0)
    root = vt.mT * inverse[..., None, :] / size.mT
    mean = (root @ (u.mT @ z[..., None]))[..., 0]
    blind = vt.mT * (~seen).to(r)[..., None, :] / size.mT
    if not bool(seen.all()):  # the inverse across what is unseen: it is what moves |R_k| as well
        root = root - blind @ (torch.linalg.pinv(blind) @ root)
    lost = (~seen).to(r) * (u.mT @ z[..., None])[..., 0]
    rss = rss + lost.square().sum(-1)
    return Delta(mean, root, blind, _log_det(r, seen), rss, seen.to(r).sum(-1))


def _log_det(r: Tensor, seen: Tensor) -> Tensor:
    pivots = r.diagonal(dim1=-2, dim2=-1).abs()
    if bool(seen.all()):
        return pivots.log().sum(-1)
    values = torch.linalg.svdvals(r)  # as many of the largest as there are directions resolved
    return torch.where(seen, values, torch.ones_like(values)).log().sum(-1)
