"""Tail probabilities that torch does not have, to the precision of float64."""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.errors import NumericalError

__all__ = ["beta_tails", "chi2_sf", "f_tails"]


def chi2_sf(x: Tensor, df: Tensor) -> Tensor:
    """P(X > x) for X chi-square with `df` degrees of freedom; NaN where df <= 0.

    Example:
        >>> x, df = torch.tensor([3.841458820694124, 1.0], dtype=torch.float64)
        >>> round(chi2_sf(x, df).item(), 12)
        0.05
    """
    out = torch.special.gammaincc(0.5 * df.clamp_min(0.5), 0.5 * x)
    return torch.where(df > 0, out, torch.full_like(out, torch.nan))


def f_tails(x: Tensor, df1: Tensor, df2: Tensor) -> tuple[Tensor, Tensor]:
    """P(X <= x) and P(X > x) for X with Fisher's F(df1, df2) distribution.

    df1 X / (df1 X + df2) has a beta distribution with parameters df1 / 2 and df2 / 2. Both tails
    are returned, since each keeps its relative precision only where it is the smaller.

    Example:
        >>> lower, upper = f_tails(*torch.tensor([1.0, 8.0, 8.0]).double())
        >>> round(lower.item(), 12), round(upper.item(), 12)
        (0.5, 0.5)
    """
    scaled = df1 * x
    return beta_tails(0.5 * df1, 0.5 * df2, scaled / (scaled + df2), df2 / (scaled + df2))


def beta_tails(a: Tensor, b: Tensor, x: Tensor, complement: Tensor) -> tuple[Tensor, Tensor]:
    """The regularised incomplete beta function I_x(a, b) and 1 - I_x(a, b).

    The continued fraction (DLMF 8.17.22) converges in O(sqrt(max(a, b))) steps for x below the
    mean; above it, the two tails change places: I_x(a, b) = 1 - I_{1-x}(b, a).

    Args:
        a: Positive, float64, of one shape with `x`.
        b: The same.
        x: In [0, 1].
        complement: 1 - x, given apart so that nothing is lost where x is close to 1.

    Returns:
        Both tails; NaN where an argument is NaN.
    """
    flip = x > (a + 1) / (a + b + 2)
    a, b = torch.where(flip, b, a), torch.where(flip, a, b)
    x, complement = torch.where(flip, complement, x), torch.where(flip, x, complement)
    log_front = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    log_front = log_front + torch.xlogy(a, x) + torch.xlogy(b, complement)
    small = log_front.exp() / a * _fraction(a, b, x)
    return torch.where(flip, 1 - small, small), torch.where(flip, small, 1 - small)


def _fraction(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """1 / (1 + d_1 / (1 + d_2 / (1 + ...))) of DLMF 8.17.22, by the modified Lentz method."""
    tiny = 1e-300
    c = torch.ones_like(x)
    d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1), tiny)
    value = d
    wide = torch.maximum(a, b).nan_to_num().max() if x.numel() else torch.zeros(())
    steps = 200 + int(20 * float(wide) ** 0.5)
    for m in range(1, steps):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d, tiny)
            c = _away_from_zero(1 + term / c, tiny)
            change = c * d
            value = value * change
        if not bool(((change - 1).abs() > 4e-16).any()):
            return value
    raise NumericalError(
        f"The incomplete beta function did not converge in {steps} steps. "
        "Its parameters are the halved degrees of freedom; give fewer values."
    )


def _away_from_zero(x: Tensor, tiny: float) -> Tensor:
    return torch.where(x.abs() < tiny, torch.full_like(x, tiny), x)
