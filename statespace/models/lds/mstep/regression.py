"""Generalised least squares with held and tied coefficients, and noise of any rank.

The expected log-density of e = D x + w, w ~ N(0, Q), is quadratic in a change D of the
coefficients. With D = sum_k delta_k E_k, E_k the pattern of the k-th learned number,

    H delta = g,    H_kl = tr(E_k' W E_l xx),    g_k = tr(E_k' W ex),    W = Q^+

and, where Q is singular, v'D = 0 for every v with Q v = 0: a noise-free combination of rows is
known without error, so no change of it has a finite density. Numbers that only move such rows
therefore stay (`blocked` names them); the gradient of the likelihood can move them, EM cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from statespace.linalg import Covariance
from statespace.models.lds.mstep.moments import Moments
from statespace.parameters import Normal, Slot

__all__ = ["blocked", "residual_moments", "shift_coefficients"]


class _Learned(NamedTuple):
    """Where learned numbers stand in the coefficient matrix (k, q), entry by entry."""

    rows: Tensor  # (entries,)
    cols: Tensor
    number: Tensor  # which learned number, counted through the slots
    sign: Tensor
    total: int  # learned numbers
    free: list[Slot]


class _Weights(NamedTuple):
    inverse: Tensor  # (..., k, k)    W = Q^+
    null: Tensor | None  # (..., k, k)    v'D = 0  <=>  null D = 0; None where Q has full rank


def shift_coefficients(slots: Sequence[Slot], noise: Covariance, moments: Moments) -> Tensor:
    """Moves the learned numbers of the slots to the maximum; returns D, (*models, k, q).

    Args:
        slots: Side by side they are the coefficient matrix; a vector is one column. Those that
            vary in time, and held entries, stay.
        noise: Q, (*models, [T,] k, k).
        moments: Of residuals at the present coefficients.
    """
    learned = _learned(slots)
    shape = moments.ex.shape
    lead = shape[: moments.count.dim()]
    if learned.total == 0:
        return moments.ex.new_zeros(*lead, *shape[-2:])
    weights = _weights(noise)
    if _ordinary(learned, slots, weights, moments):
        delta = _ordinary_least_squares(learned, moments)
    else:
        delta = _generalised(learned, weights, moments)
    begin = 0
    for slot in learned.free:
        assert slot.theta is not None
        part = delta[..., begin : begin + slot.n_free]
        slot.theta.data += part.to(slot.theta)
        begin += slot.n_free
    change = delta.new_zeros(*delta.shape[:-1], *shape[-2:])
    change[..., learned.rows, learned.cols] = delta[..., learned.number] * learned.sign
    return change


def residual_moments(moments: Moments, change: Tensor) -> Tensor:
    """Sum of E[e e'] after the coefficients moved by D: ee - D ex' - ex D' + D xx D'."""
    across = change @ moments.ex.mT
    return moments.ee - across - across.mT + change @ moments.xx @ change.mT


def blocked(slots: Sequence[Slot], noise: Covariance) -> list[str]:
    """Names of learned numbers that stand in noise-free rows, which the M-step leaves alone."""
    learned = _learned(slots)
    null = _weights(noise).null if learned.total else None
    if null is None:
        return []
    if null.dim() > 2:  # any model, any step
        null = null.abs().flatten(0, -3).amax(0)
    width = int(learned.cols.max()) + 1
    gram = _gram(learned, null, torch.eye(width, dtype=null.dtype, device=null.device))
    size = gram.diagonal().sqrt()
    names = [name for slot in learned.free for name in slot.names()]
    hit = size > 1e-8 * size.max()
    return [name for name, stays in zip(names, hit.tolist(), strict=True) if stays]


def _learned(slots: Sequence[Slot]) -> _Learned:
    rows, cols, number, sign, free = [], [], [], [], []
    left = total = 0
    device = slots[0].held.device
    for slot in slots:
        width = slot.event[1] if len(slot.event) == 2 else 1
        if slot.theta is not None and slot.theta.requires_grad and not slot.varies:
            at = slot.pattern.free.flatten().nonzero()[:, 0]
            rows.append(at // width)
            cols.append(left + at % width)
            number.append(total + slot.pattern.index[at])
            sign.append(slot.pattern.sign[at])
            total += slot.n_free
            free.append(slot)
        left += width
    if not free:
        none = torch.zeros(0, dtype=torch.int64, device=device)
        return _Learned(none, none, none, none, 0, [])
    parts = (torch.cat(x).to(device) for x in (rows, cols, number, sign))
    r, c, k, s = parts
    return _Learned(r, c, k, s.double(), total, free)


def _weights(noise: Covariance) -> _Weights:
    root = noise.root.double()
    q = root @ root.mT
    sd = q.diagonal(dim1=-2, dim2=-1).sqrt()
    unit = torch.where(sd > 0, sd, torch.ones_like(sd))
    scale = 1 / (unit[..., :, None] * unit[..., None, :])
    values, vectors = torch.linalg.eigh(q * scale)
    keep = values > 1e3 * torch.finfo(q.dtype).eps
    inverse = (vectors * torch.where(keep, 1 / values, 0.0)[..., None, :]) @ vectors.mT * scale
    if bool(keep.all()):
        return _Weights(inverse, None)
    return _Weights(inverse, (vectors * (~keep)[..., None, :].double()) @ vectors.mT * scale)


def _ordinary(
    learned: _Learned, slots: Sequence[Slot], weights: _Weights, moments: Moments
) -> bool:
    """Whole slots without ties are ordinary least squares, whatever the weights."""
    lead = moments.count.shape
    return (
        weights.null is None
        and moments.ex.dim() == len(lead) + 2
        and all(s.pattern.plain and s.prior is None and s.batch_shape == lead for s in learned.free)
    )


def _ordinary_least_squares(learned: _Learned, moments: Moments) -> Tensor:
    used = learned.cols.unique()
    xx = moments.xx[..., used[:, None], used]
    change = torch.zeros_like(moments.ex)
    change[..., used] = _solve(xx, moments.ex[..., used].mT).mT
    return change[..., learned.rows, learned.cols]  # the numbers of a plain slot are its entries


def _generalised(learned: _Learned, weights: _Weights, moments: Moments) -> Tensor:
    rows, cols = learned.rows, learned.cols
    by_row = moments.ex.dim() > moments.count.dim() + 2
    right = weights.inverse @ moments.ex
    right = right.sum(-3) if by_row else right
    shape = torch.broadcast_shapes(*(slot.batch_shape for slot in learned.free))
    g = _gather(learned, right[..., rows, cols] * learned.sign).sum_to_size(*shape, learned.total)
    h = _gram(learned, weights.inverse, moments.xx, by_row=by_row)
    h = h.sum_to_size(*shape, learned.total, learned.total)
    precision, pull = _prior(learned)
    h, g = h + torch.diag_embed(precision), g + pull
    if weights.null is None:
        return _solve(h, g[..., None])[..., 0]
    null = weights.null.sum(-3) if by_row else weights.null
    size = moments.xx.sum(-3) if by_row else moments.xx
    scale = torch.diag_embed(size.diagonal(dim1=-2, dim2=-1))
    fixed = _gram(learned, null, scale).sum_to_size(*shape, learned.total, learned.total)
    return _solve(h, g[..., None], fixed)[..., 0]


def _gather(learned: _Learned, x: Tensor) -> Tensor:
    """Sums over entries that read one number: (*, entries) -> (*, numbers)."""
    out = x.new_zeros(*x.shape[:-1], learned.total)
    return out.index_add(-1, learned.number, x)


def _gram(learned: _Learned, w: Tensor, xx: Tensor, *, by_row: bool = False) -> Tensor:
    """tr(E_k' W E_l xx) for all pairs of numbers, (*, numbers, numbers)."""
    r, c, k, q = learned.rows, learned.cols, w.shape[-1], xx.shape[-1]
    if by_row:
        lead = torch.broadcast_shapes(w.shape[:-2], xx.shape[:-2])
        pairs = w.expand(*lead, k, k).flatten(-2).mT @ xx.expand(*lead, q, q).flatten(-2)
        both = pairs[..., r[:, None] * k + r, c[:, None] * q + c]
    else:
        both = w[..., r[:, None], r] * xx[..., c[:, None], c]
    both = both * learned.sign[:, None] * learned.sign
    return _gather(learned, _gather(learned, both).mT)


def _prior(learned: _Learned) -> tuple[Tensor, Tensor]:
    """Precision and pull of `Normal` priors on the learned numbers, (*, numbers)."""
    precisions, pulls = [], []
    for slot in learned.free:
        assert slot.theta is not None
        theta = slot.theta.double()
        if isinstance(slot.prior, Normal):
            first = slot.pattern.first.to(theta.device)
            mean, sd = (
                x.to(theta).expand(slot.event).flatten()[first]
                for x in (slot.prior.mean, slot.prior.sd)
            )
            precisions.append((1 / sd.square()).expand_as(theta))
            pulls.append((mean - theta) / sd.square())
        else:
            precisions.append(torch.zeros_like(theta))
            pulls.append(torch.zeros_like(theta))
    return torch.cat(precisions, -1), torch.cat(pulls, -1)


def _solve(h: Tensor, g: Tensor, fixed: Tensor | None = None) -> Tensor:
    """H^+ g for a positive semidefinite H, (*, k, k), (*, k, r), scaled to a unit diagonal first.

    Directions along which H or `fixed` says that nothing may move get nothing.
    """
    size = h.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    unit = torch.where(size > 0, size, torch.ones_like(size))
    h = h / unit[..., :, None] / unit[..., None, :]
    g = g / unit[..., None]
    eps = torch.finfo(h.dtype).eps * h.shape[-1]
    if fixed is None:
        lower, info = torch.linalg.cholesky_ex(h)
        pivots = lower.diagonal(dim1=-2, dim2=-1)
        if bool(((info == 0) & (pivots > 1e-5).all(-1)).all()):
            return torch.cholesky_solve(g, lower) / unit[..., None]
    else:
        fixed = fixed / unit[..., :, None] / unit[..., None, :]
        values, vectors = torch.linalg.eigh(fixed)
        most = values.abs().amax(-1, keepdim=True)
        open_ = (values <= 1e-9 * most).to(h)
        project = (vectors * open_[..., None, :]) @ vectors.mT
        h, g = project @ h @ project, project @ g
    values, vectors = torch.linalg.eigh(0.5 * (h + h.mT))
    keep = values > 8 * eps * values.abs().amax(-1, keepdim=True).clamp_min(1e-300)
    inverse = torch.where(keep, 1 / values, torch.zeros_like(values))
    return (vectors @ (inverse[..., None] * (vectors.mT @ g))) / unit[..., None]
