"""A Gaussian belief conditioned on what was seen of one row, by a triangularisation."""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.inference.lineargaussian.triangular import rank_safe, too_small
from statespace.inference.linearising.rules import Affine
from statespace.linalg import tria

__all__ = ["beside", "update"]

_LOG_2PI = 1.8378770664093453


def update(
    mean: Tensor, root: Tensor, look: Affine, y: Tensor, observed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """N(mean, root root') conditioned on the observed entries of y; and their log density.

    Args:
        mean: (*b, n).
        root: (*b, n, n).
        look: The emission, linearised here or elsewhere.
        y: (*b, m), finite.
        observed: (*b, m).

    Returns:
        Mean, lower-triangular root, log density (*b,), 0 where nothing was observed.
    """
    m, on = y.shape[-1], observed.to(y.dtype)
    spread, noise = look.weight @ root, look.root
    if not bool(observed.all()):
        spread, noise = spread * on[..., None], noise * on[..., None]
        noise = beside(noise, torch.diag_embed(1 - on))
    top = beside(spread, noise)
    bottom = torch.nn.functional.pad(root, (0, top.shape[-1] - root.shape[-1]))
    lead = torch.broadcast_shapes(top.shape[:-2], bottom.shape[:-2])
    both = torch.cat([x.expand(*lead, *x.shape[-2:]) for x in (top, bottom)], -2)
    lower = tria(both)
    v, g, s = lower[..., :m, :m], lower[..., m:, :m], lower[..., m:, m:]
    dead = too_small(v.detach()) & observed
    if bool(dead.any()):
        return _determined(mean, root, look, y, observed, dead | rank_safe(both.detach(), m)[1])
    residual = torch.where(observed, y - look.at(mean), torch.zeros_like(y))
    e = torch.linalg.solve_triangular(v, residual[..., None], upper=False)
    density = -0.5 * (e[..., 0].square() + on * _LOG_2PI).sum(-1)
    density = density - v.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return mean + (g @ e)[..., 0], s, density


def _determined(
    mean: Tensor, root: Tensor, look: Affine, y: Tensor, observed: Tensor, off: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same where some entries have no variance left, given the others: as the core has it.

    They carry no density if they are where they must be, and make it zero if they are not.
    """
    off = off & observed
    mean, root, density = update(mean, root, look, y, observed & ~off)
    there = look.at(mean)
    far = (y - there).abs() > torch.finfo(y.dtype).eps ** 0.6 * (y.abs() + there.abs())
    return mean, root, torch.where((far & off).any(-1), -torch.inf, density)


def beside(a: Tensor, b: Tensor) -> Tensor:
    """Two roots as one: [a, b], of common leading axes."""
    if a.shape[:-1] != b.shape[:-1]:
        lead = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
        a, b = a.expand(*lead, a.shape[-1]), b.expand(*lead, b.shape[-1])
    return torch.cat([a, b], -1)
