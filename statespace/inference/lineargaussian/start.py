"""The first state as z_1 = x + S e + X delta: what is unknown without limit kept apart.

Diffuse entries have a flat delta. A very wide proper prior is treated alike, with delta ~ N(0, I),
because a covariance of 1e12 beside noise of 1e-4 leaves no digits for a smoother (De Jong 1991
augments the mean with one column per direction). Since a flat distribution convolved with any
Gaussian is still flat, each augmented direction also keeps a share of ordinary variance, as wide
as the noise with which the data see it: that changes no number, and no innovation has zero
variance when R = 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from statespace.inference.lineargaussian.system import System
from statespace.shapes import together

_WIDE = 1e4  # a prior variance this many times the observed noise is kept in columns


class Start(NamedTuple):
    """The augmented start; k columns of delta."""

    x: Tensor  # (*batch, n, 1 + k)   mean, then the columns X
    s: Tensor  # (*batch, n, n)       root of the ordinary part
    rows: Tensor  # (*, k + 1, k + 1)    what is known of delta: rows [E | e] of |E delta - e|^2


def start(system: System) -> Start:
    """The augmented start of a system, from its prior and the noise its data carry."""
    prior, n = system.prior, system.n
    mean = prior.mean[..., None]
    root = prior.covariance.root
    wide = noise_variance(system)  # (*batch, n)
    flat = prior.diffuse
    some = flat is not None and bool(flat.any())
    if flat is None or not some:
        flat = torch.zeros(n, dtype=torch.bool, device=mean.device)
    else:
        root = root * (~flat).to(root)[:, None]
    spread = root.square()  # variance that each column brings to each state
    much = bool((spread.sum(-1) > _WIDE * wide).any())
    if not (some or much) and mean.shape[:-1] == root.shape[:-1] == wide.shape:
        return Start(mean.clone(), _square(root).clone(), mean.new_zeros(1, 1))  # as below
    if much:
        share = torch.where(spread > 0, wide[..., None] / spread, torch.ones_like(spread))
        share = share.amin(-2, keepdim=True).clamp(max=1.0)  # (*batch, 1, width)
        proper, root = root * (1 - share).sqrt(), root * share.sqrt()
    else:
        proper = root[..., :0]
    columns = torch.eye(n, dtype=mean.dtype, device=mean.device)[:, flat]
    own = columns * wide.sqrt()[..., None]
    x = _hcat(mean, proper, columns)
    s = _hcat(root, own)
    k_proper, k_flat = proper.shape[-1], columns.shape[-1]
    known = torch.cat([mean.new_ones(k_proper), mean.new_zeros(k_flat + 1)])
    return Start(x, _square(s), torch.diag(known))


def is_wide(system: System, variance: Tensor) -> bool:
    """Whether variances of the states, (*batch, n), are so wide that columns should carry them."""
    return bool((variance > _WIDE * noise_variance(system)).any())


def _hcat(*xs: Tensor) -> Tensor:
    lead = together(*[x.shape[:-1] for x in xs])
    return torch.cat([x.expand(*lead, x.shape[-1]) for x in xs], -1)


def _square(root: Tensor) -> Tensor:
    """Dropped to n columns where there are more, padded where there are fewer."""
    n, k = root.shape[-2:]
    if k == n:
        return root
    if k < n:
        return torch.nn.functional.pad(root, (0, n - k))
    lower: Tensor = torch.linalg.qr(root.mT, mode="r").R.mT
    return lower


def noise_variance(system: System) -> Tensor:
    """For each state, the variance at which the data can tell it from noise, (*batch, n).

    tau_j^2 = min_i r_i / max_k (C A^k)_ij^2 over k < n, with r_i the noise that reaches output i:
    R_ii + sum_k (C A^k Q A'^k C')_ii. It scales with the data as a variance does; one where the
    system has no noise at all, and where no output ever sees the state.
    """
    rank = len(system.batch_shape())
    c, r = system.over_time("C", rank), system.over_time("R", rank)
    a, q = (system.over_time(k, rank)[-1] for k in "AQ")  # row 0 is not used
    noise = r.square().sum(-1).amax(0)  # (*batch, m)
    reach = torch.zeros_like(c[:1]).sum(0).abs()
    path = c
    for _ in range(max(system.n, 1)):
        reach = torch.maximum(reach, path.square().amax(0))  # (*batch, m, n)
        noise = noise + (path @ q).square().sum(-1).amax(0)
        path = path @ a
    noise = torch.where(noise > 0, noise, torch.full_like(noise, torch.inf))[..., None]
    share = torch.where(reach > 0, noise / reach, torch.full_like(reach, torch.inf))
    tau = share.amin(-2) if system.m else share.sum(-2) + torch.inf
    blind = torch.where(reach > 0, 1 / reach, torch.ones_like(reach)).amin(-2)
    return torch.where(torch.isfinite(tau), tau, blind)
