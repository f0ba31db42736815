"""The backward recursions for r_t and N_t as scans, N with its root."""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.inference.lineargaussian.scan.maps import (
    Affine,
    Spread,
    affine_after,
    affine_joined,
    spread_after,
    spread_joined,
)
from statespace.inference.lineargaussian.scan.prefix import through
from statespace.linalg import lq, quadratic

__all__ = ["descend"]


def descend(
    e: Tensor, g: Tensor, h: Tensor, moving: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Down over all rows at once.

    With L = I - G H,  r-_t = (A_{t+1} L_t)' r-_{t+1} + H'e  and  N-_t likewise, from H'H.

    Args:
        e: (T, *b, m, c) whitened residuals.
        g: (T, *c, n, m) G.
        h: (T, *c, m, n) H = F^-1 C.
        moving: (T - 1 or 1, *c, n, n), A of all rows but the first.

    Returns:
        r- (T, *b, n, c) and N- (T, *c, n, n) at the prediction of each row, and r, N after it.
    """
    rows, n = e.shape[0], g.shape[-2]
    r, v = h.mT @ e, h.mT
    r_before, root = r[-1:], lq(v[-1:])
    if rows > 1:
        left = torch.eye(n, dtype=g.dtype, device=g.device) - (g @ h)[:-1]
        a = (moving @ left).mT.flip(0)
        means, roots = Affine(a, r[:-1].flip(0)), Spread(a, v[:-1].flip(0))
        down_r = through(r_before[0], means, rows - 1, affine_joined, affine_after)
        down_n = through(root[0], roots, rows - 1, spread_joined, spread_after)
        r_before = torch.cat([r_before, down_r]).flip(0)
        root = torch.cat([root, down_n]).flip(0)
    r_after = torch.cat([moving.mT @ r_before[1:], torch.zeros_like(r_before[:1])])
    n_after = torch.cat([quadratic(moving.mT @ root[1:]), torch.zeros_like(root[:1])])
    return r_before, quadratic(root), r_after, n_after
