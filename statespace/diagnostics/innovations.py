"""Standardised innovations: one-step-ahead errors in units of what the model expected of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected

__all__ = ["standardise"]


def standardise(innovations: Any, y_cov: Any) -> Tensor:
    """Whitens one-step-ahead errors: e = L^-1 (y - E[y]), L L' = Cov[y], both given the past.

    L is the lower Cholesky factor for the entries of row t that are there, in their order, so
    that entry i is what it adds to the entries before it. Under the right linear-Gaussian model
    every finite e is an independent standard normal draw.

    Args:
        innovations: y_t minus its one-step-ahead mean, (*batch, T, m); NaN where not observed and
            beyond a series' end.
        y_cov: One-step-ahead covariances, (*batch, T, m, m); infinite along what a diffuse start
            leaves open.

    Returns:
        Standardised innovations (*batch, T, m), float64. NaN where nothing was observed, where the
        variance is infinite (a diffuse row predicts nothing, so its error says nothing), and where
        the entries before it in the row leave it no variance.

    Raises:
        InputError: the shapes do not belong together.

    Source:
        Durbin and Koopman (2012), Time Series Analysis by State Space Methods, section 7.5.

    Example:
        >>> standardise(torch.tensor([[3.0, torch.nan], [1.0, 3.0]]),
        ...             torch.tensor([[4.0, 2.0], [2.0, 2.0]]).expand(2, 2, 2))
        tensor([[1.5000,    nan],
                [0.5000, 2.5000]], dtype=torch.float64)
    """
    eps = torch.finfo(_floating(y_cov).dtype).eps
    v, cov = _floating(innovations).double(), _floating(y_cov).double()
    if v.ndim < 2 or cov.shape != (*v.shape, v.shape[-1]):
        raise InputError(
            expected(
                "y_cov",
                f"shape (*batch, T, m, m) for innovations of shape {tuple(v.shape)}",
                f"{tuple(cov.shape)}",
                "Give one covariance for each row of the innovations.",
            )
        )
    size = cov.diagonal(dim1=-2, dim2=-1)
    there = v.isfinite() & size.isfinite()
    rest, e = torch.where(there, v, 0.0), torch.full_like(v, torch.nan)
    both = there[..., :, None] & there[..., None, :]
    left = torch.where(both, cov, 0.0)
    floor = 8 * v.shape[-1] * eps * size
    for j in range(v.shape[-1]):  # right-looking Cholesky: each entry is taken out of the rest
        pivot = left[..., j, j]
        use = there[..., j] & (pivot > floor[..., j])
        scale = torch.where(use, pivot, 1.0).sqrt()
        e[..., j] = torch.where(use, rest[..., j] / scale, torch.nan)
        column = torch.where(use[..., None], left[..., j] / scale[..., None], 0.0)
        left = left - column[..., :, None] * column[..., None, :]
        rest = rest - column * torch.where(use, rest[..., j] / scale, 0.0)[..., None]
    return e


def _floating(x: Any) -> Tensor:
    x = torch.as_tensor(x).detach()
    return x if x.is_floating_point() else x.double()
