"""Sigma points: statistical linear regression on a few well-chosen values of z.

    z_i = m + S xi_i,   g_i = g(z_i),   mean = sum w_i g_i,   F S = sum w_i (g_i - mean) xi_i'
    root root' = sum w_i r_i r_i' + sum w_i L_i L_i',   r_i = g_i - mean - F (z_i - m)

(Arasaratnam and Haykin 2009; Julier and Uhlmann 2004; Saerkkae and Svensson 2023, chapters 8 and
9.) The covariance of the residuals is a triangularisation of weighted deviations. A centre point
of negative weight is taken off it by a downdate, which is refused where nothing would be left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from statespace.errors import NumericalError
from statespace.inference.linearising.rules import Affine, Conditional, Rule
from statespace.linalg import tria

__all__ = ["Cubature", "GaussHermite", "SigmaPoints", "Unscented", "downdate"]


class Points(NamedTuple):
    """Points of N(0, I), (K, n), and their weights in means and in covariances, (K,)."""

    xi: Tensor
    of_mean: Tensor
    of_cov: Tensor


class SigmaPoints(Rule):
    """A rule given by points and weights."""

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Xi (K, n) and weights in means and covariances, (K,)."""
        raise NotImplementedError

    def __call__(self, density: Conditional, mean: Tensor, root: Tensor) -> Affine:
        """See `Rule`."""
        xi, w_mean, w_cov = _tensors(self, mean.shape[-1], mean.dtype, mean.device)
        root = by_rows(root)
        z = mean + (root @ xi.mT).movedim(-1, 0)  # (K, *b, n)
        values, noise = density.moments(z)
        if density.apart is None:  # beside one of them: where all are the same nothing is left
            centre = values[0]
            values = values - centre
        else:  # angles beside the one in the middle
            centre = density.moments(mean[None])[0][0]
            values = density.apart(values, centre)
        average = torch.tensordot(w_mean, values, 1)
        apart = values - average  # (K, *b, k)
        weight, spread = _regressed(apart, w_cov[:, None] * xi, root)
        left = apart - (spread @ xi.mT).movedim(-1, 0)
        return Affine(mean, centre + average, weight, spread,
                      _residual_root(left, noise, w_mean, w_cov))  # fmt: skip


def _regressed(apart: Tensor, weighted: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """F and F S, (*b, k, n), from deviations (K, *b, k) and w_i xi_i, (K, n).

    Where S is singular several xi are one z, and what z cannot explain is left to the noise.
    """
    spread = torch.tensordot(apart.movedim(0, -1), weighted, 1)
    weight, regular = _over(spread, root)
    return weight, spread if regular else weight @ root


def _residual_root(left: Tensor, noise: Tensor, w_mean: Tensor, w_cov: Tensor) -> Tensor:
    """A root of sum w r r' + sum w L L', (*b, k, k), from r (K, *b, k) and L (K, *b, k, r)."""
    plus, minus = [], []
    rows = left.movedim(0, -1)  # (*b, k, K)
    plus.append(rows * w_cov.clamp_min(0).sqrt())
    if bool((w_cov < 0).any()):
        minus.append(rows[..., w_cov < 0] * (-w_cov[w_cov < 0]).sqrt())
    if noise.dim() <= left.dim() or noise.shape[0] == 1:  # the same at every point
        plus.append(noise[0] if noise.dim() > left.dim() else noise)
    else:
        wide = noise.movedim(0, -2)  # (*b, k, K, r)
        plus.append((wide * w_mean.clamp_min(0).sqrt()[:, None]).flatten(-2))
        if bool((w_mean < 0).any()):
            some = w_mean < 0
            minus.append((wide[..., some, :] * (-w_mean[some]).sqrt()[:, None]).flatten(-2))
    root = tria(_beside(plus))
    return downdate(root, _beside(minus)) if minus else root


def _beside(parts: list[Tensor]) -> Tensor:
    lead = torch.broadcast_shapes(*[x.shape[:-1] for x in parts])
    return torch.cat([x.expand(*lead, x.shape[-1]) for x in parts], -1)


def by_rows(root: Tensor) -> Tensor:
    """The triangular root whose columns are zero where a pivot is; itself where none is.

    Sigma points hang on the choice of the root, and where it is singular a QR leaves it open: this
    is what a Cholesky factorisation by rows gives.
    """
    n = root.shape[-1]
    if not n or _regular(root):
        return root
    eps, rows, basis = torch.finfo(root.dtype).eps, [], torch.zeros_like(root)
    for i in range(n):
        left = root[..., i, :]
        along = torch.zeros_like(left)
        for _ in range(2):  # twice is enough (Giraud, Langou and Rozloznik 2005)
            part = (basis @ left[..., None])[..., 0]
            along, left = along + part, left - (part[..., None, :] @ basis)[..., 0, :]
        size = root[..., i, :].detach().norm(dim=-1)
        alive = left.detach().norm(dim=-1) > 32 * (n + 1) * eps * size
        safe = torch.where(alive[..., None], left, torch.ones_like(left))
        pivot = safe.norm(dim=-1)
        own = torch.zeros_like(basis)
        own[..., i, :] = torch.where(alive[..., None], safe / pivot[..., None], 0.0)
        basis = basis + own
        unit = torch.eye(n, dtype=root.dtype, device=root.device)[i]
        rows.append(along + torch.where(alive, pivot, 0.0)[..., None] * unit)
    return torch.stack(rows, -2)


def _regular(root: Tensor) -> bool:
    """Whether S can be divided by; the square of what is too small is what a covariance loses."""
    root = root.detach()
    pivots = root.diagonal(dim1=-2, dim2=-1).abs()
    return bool((pivots > _SMALL * torch.finfo(root.dtype).eps ** 0.5 * root.norm(dim=-1)).all())


_SMALL = 16.0


def downdate(root: Tensor, columns: Tensor) -> Tensor:
    """A root of L L' - V V', column by column of V, (*, k, k) and (*, k, c).

    With a = L^-1 v, I - a a' = (I - s a a')^2 for s = (1 - sqrt(1 - a'a)) / a'a.

    Raises:
        NumericalError: what is left is no covariance.
    """
    eps = torch.finfo(root.dtype).eps
    for v in columns.unbind(-1):
        a = _over(v[..., None, :], root, left=True)[0][..., 0, :]
        size = a.square().sum(-1)
        off = v - (root @ a[..., None])[..., 0]
        bound = 1e3 * root.shape[-1] * eps * (v.abs() + root.norm(dim=-1)).amax(-1)
        if bool(((size >= 1) | (off.abs().amax(-1) > bound)).any()):
            raise NumericalError(
                "sigma points: expected a covariance, received one with a negative variance, which "
                "a negative centre weight has made. Use kappa >= 0 with alpha = 1 and beta = 0, or "
                "CubatureKalman."
            )
        some = size > 0
        safe = torch.where(some, size, torch.ones_like(size))
        share = torch.where(some, (1 - (1 - safe).clamp_min(0).sqrt()) / safe, 0.5)
        root = root - (root @ a[..., None]) @ (share[..., None] * a)[..., None, :]
    return root


def _over(spread: Tensor, root: Tensor, left: bool = False) -> tuple[Tensor, bool]:
    """F from F S, (*b, k, n), and whether S is regular; least squares where it is not.

    With `left` the solution of S a = v, for rows v.
    """
    n = root.shape[-1]
    if not n or not spread.shape[-2]:
        return spread, True
    regular = _regular(root)
    if regular and left:
        return torch.linalg.solve_triangular(root, spread.mT, upper=False).mT, True
    if regular:
        return torch.linalg.solve_triangular(root, spread, upper=False, left=False), True
    scale = root.norm(dim=-1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))[..., None]
    rounding = _SMALL * torch.finfo(root.dtype).eps ** 0.5
    inverse = torch.linalg.pinv(root / scale, rtol=rounding) / scale.mT
    return spread @ (inverse.mT if left else inverse), False


@lru_cache(maxsize=64)
def _tensors(rule: SigmaPoints, n: int, dtype: torch.dtype, device: torch.device) -> Points:
    return Points(*(torch.as_tensor(x, dtype=dtype, device=device) for x in rule.points(n)))


@dataclass(frozen=True)
class Cubature(SigmaPoints):
    """The 2 n points +-sqrt(n) e_i with equal weights: exact for polynomials of degree three."""

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `SigmaPoints`."""
        eye = np.sqrt(n) * np.eye(n)
        weights = np.full(2 * n, 0.5 / max(n, 1)) if n else np.ones(1)
        return (np.concatenate([eye, -eye]) if n else np.zeros((1, 0))), weights, weights


@dataclass(frozen=True)
class Unscented(SigmaPoints):
    """The centre and 2 n points +-sqrt(n + lambda) e_i; lambda = alpha^2 (n + kappa) - n."""

    alpha: float = 1.0
    beta: float = 0.0
    kappa: float | None = None

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `SigmaPoints`."""
        kappa = max(0, 3 - n) if self.kappa is None else self.kappa
        wide = self.alpha**2 * (n + kappa)  # n + lambda
        eye = np.sqrt(wide) * np.eye(n)
        of_mean = np.full(2 * n + 1, 0.5 / wide)
        of_mean[0] = 1 - n / wide
        of_cov = of_mean.copy()
        of_cov[0] += 1 - self.alpha**2 + self.beta
        return np.concatenate([np.zeros((1, n)), eye, -eye]), of_mean, of_cov


@dataclass(frozen=True)
class GaussHermite(SigmaPoints):
    """The product of one-dimensional Gauss-Hermite rules: order^n points."""

    order: int = 3

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `SigmaPoints`."""
        x, w = np.polynomial.hermite_e.hermegauss(self.order)
        w = w / w.sum()
        xi = np.array(list(product(x, repeat=n))).reshape(-1, n)
        weights = np.array([np.prod(c) for c in product(w, repeat=n)])
        return xi, weights, weights
