"""Tests of whiteness, normality and constant variance, for series with gaps.

Every function takes standardised innovations (*batch, T, m), or (T,) for one univariate series;
NaN is "not there". The answers have shape (*batch, m), or (): one for each entry of each series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from statespace.diagnostics.special import chi2_sf, f_tails
from statespace.errors import InputError, InputTypeError, expected

__all__ = ["Statistic", "autocorrelations", "heteroskedasticity", "jarque_bera", "ljung_box"]


@dataclass(frozen=True)
class Statistic:
    """A test statistic beside its probability under the null hypothesis.

    Attributes:
        value: The statistic, (*batch, m); NaN where too few values are there.
        p_value: The probability of a value at least as extreme if the null hypothesis holds.
        df: Its degrees of freedom, one tensor for each parameter of the distribution.
    """

    value: Tensor
    p_value: Tensor
    df: tuple[Tensor, ...]


def autocorrelations(e: Any, lags: int) -> Tensor:
    """Sample autocorrelations at lags 0 .. `lags`.

    r_k = sum_t (e_t - mean)(e_{t-k} - mean) / sum_t (e_t - mean)^2, over the pairs that are there.

    Args:
        e: Innovations (*batch, T, m) or (T,), NaN where not there.
        lags: The last lag, from 1 to T - 1.

    Returns:
        (*batch, lags + 1, m) or (lags + 1,); NaN where a lag has no pair, or a series no variance.

    Raises:
        InputError: there are not so many lags.

    Example:
        >>> autocorrelations(torch.tensor([1.0, -1.0, 1.0, -1.0]), 2)
        tensor([ 1.0000, -0.7500,  0.5000], dtype=torch.float64)
    """
    x, there, flat = _read(e, lags)
    r, _ = _correlate(x, there, lags)
    return r[..., 0] if flat else r


def ljung_box(e: Any, lags: int, *, fitted: int = 0) -> Statistic:
    """Ljung and Box (1978): are the innovations uncorrelated up to lag `lags`?

    Q = n (n + 2) sum_k r_k^2 / n_k, chi-square with `lags - fitted` degrees of freedom; n values
    are there, and n_k pairs at lag k. Without gaps n_k = n - k, the usual form; with gaps, n_k
    keeps the variance n_k / (n (n + 2)) that r_k has for white noise. A lag without a pair is
    left out, with its degree of freedom.

    Args:
        e: Innovations (*batch, T, m) or (T,), NaN where not there.
        lags: How many autocorrelations are pooled, from 1 to T - 1.
        fitted: Degrees of freedom taken off for parameters that were estimated.

    Returns:
        The statistic, its p-value (NaN where no degree of freedom is left) and (df,).

    Raises:
        InputError: there are not so many lags, or `fitted` is negative.

    Example:
        >>> q = ljung_box(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]), 2)
        >>> round(q.value.item(), 4), round(q.p_value.item(), 4)
        (12.0, 0.0025)
    """
    x, there, flat = _read(e, lags)
    if fitted < 0:
        raise InputError(
            expected("fitted", "at least 0", str(fitted), "Give the number of fitted parameters.")
        )
    r, pairs = _correlate(x, there, lags)
    r, pairs = r[..., 1:, :], pairs[..., 1:, :]
    n = there.sum(-2).double()
    terms = torch.where(pairs > 0, r.square() / pairs, 0.0)
    value = n * (n + 2) * terms.sum(-2)
    used = (pairs > 0).sum(-2).double()
    value = torch.where(used > 0, value, torch.nan)
    df = used - fitted
    return _statistic(flat, value, chi2_sf(value, df), df)


def jarque_bera(e: Any) -> Statistic:
    """Jarque and Bera (1980): are the innovations normal?

    n (S^2 / 6 + (K - 3)^2 / 24) with the skewness S and the kurtosis K, chi-square with 2 degrees
    of freedom in large samples. In small ones (n < 100, say) it rejects less often than stated.

    Args:
        e: Innovations (*batch, T, m) or (T,), NaN where not there.

    Returns:
        The statistic, its p-value and (df,).

    Example:
        >>> jb = jarque_bera(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
        >>> round(jb.value.item(), 4), round(jb.p_value.item(), 4)
        (0.3521, 0.8386)
    """
    x, there, flat = _read(e)
    _, _, skewness, kurtosis = moments(x, there)
    n = there.sum(-2).double()
    value = n * (skewness.square() / 6 + (kurtosis - 3).square() / 24)
    df = torch.full_like(value, 2.0)
    return _statistic(flat, value, chi2_sf(value, df), df)


def heteroskedasticity(
    e: Any, *, alternative: Literal["two-sided", "increasing", "decreasing"] = "two-sided"
) -> Statistic:
    """Durbin and Koopman (2012, section 2.12): is the variance of the innovations constant?

    H(h) = mean square of the last h innovations / mean square of the first h, with h the nearest
    integer to a third of the rows between the first value and the last; F(h, h) distributed, with
    fewer degrees of freedom where values are missing.

    Args:
        e: Innovations (*batch, T, m) or (T,), NaN where not there.
        alternative: What counts as extreme: "increasing" a large H, "decreasing" a small one.

    Returns:
        H(h), its p-value and the degrees of freedom (last, first). NaN where either third has
        fewer than two values.

    Raises:
        InputError: the alternative is unknown.

    Example:
        >>> h = heteroskedasticity(torch.tensor([1.0, -1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, -3.0]))
        >>> round(h.value.item(), 4), round(h.p_value.item(), 4), int(h.df[0])
        (9.0, 0.1041, 3)
    """
    sides = ("two-sided", "increasing", "decreasing")
    if alternative not in sides:
        raise InputError(
            expected("alternative", f"one of {sides}", repr(alternative), "Choose one of these.")
        )
    x, there, flat = _read(e)
    row = torch.arange(x.shape[-2], device=x.device)[:, None]
    first = torch.where(there, row, x.shape[-2]).amin(-2, keepdim=True)
    last = torch.where(there, row, -1).amax(-2, keepdim=True)
    third = ((last - first + 1).double() / 3).round()
    early, late = there & (row < first + third), there & (row > last - third)
    df1, df2 = late.sum(-2).double(), early.sum(-2).double()
    square = torch.where(there, x, 0.0).square()
    value = ((square * late).sum(-2) / df1) / ((square * early).sum(-2) / df2)
    value = torch.where((df1 >= 2) & (df2 >= 2), value, torch.nan)
    lower, upper = f_tails(value, df1, df2)
    p_value = {
        "two-sided": 2 * torch.minimum(lower, upper),
        "increasing": upper,
        "decreasing": lower,
    }[alternative]
    return _statistic(flat, value, p_value, df1, df2)


def moments(x: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance (over n), skewness and kurtosis (a normal has 3) of what is there."""
    n = there.sum(-2).double()
    mean = torch.where(there, x, 0.0).sum(-2) / n
    off = torch.where(there, x - mean[..., None, :], 0.0)
    variance, third, fourth = (off.pow(k).sum(-2) / n for k in (2, 3, 4))
    return mean, variance, third / variance.pow(1.5), fourth / variance.square()


def _read(e: Any, lags: int | None = None) -> tuple[Tensor, Tensor, bool]:
    """Float64 (*batch, T, m), what of it is there, and whether it came as (T,)."""
    x = torch.as_tensor(e).detach().double()
    flat = x.ndim == 1
    if x.ndim == 0:
        raise InputError(
            expected("e", "shape (*batch, T, m) or (T,)", "a single number", "Give a series.")
        )
    x = x[:, None] if flat else x
    if lags is not None:
        if isinstance(lags, bool) or not isinstance(lags, int):
            raise InputTypeError(
                expected("lags", "an integer", type(lags).__name__, "Give the last lag.")
            )
        if not 1 <= lags < x.shape[-2]:
            raise InputError(
                expected(
                    "lags",
                    f"from 1 to T - 1 = {x.shape[-2] - 1}",
                    str(lags),
                    "Ask for lags that the series has.",
                )
            )
    return x, x.isfinite(), flat


def _correlate(x: Tensor, there: Tensor, lags: int) -> tuple[Tensor, Tensor]:
    """Autocorrelations and numbers of pairs at lags 0 .. `lags`, (*batch, lags + 1, m)."""
    steps = x.shape[-2]
    mean, _, _, _ = moments(x, there)
    off = torch.where(there, x - mean[..., None, :], 0.0)
    on = there.double()

    def products(a: Tensor) -> Tensor:
        each = [(a[..., k:, :] * a[..., : steps - k, :]).sum(-2) for k in range(lags + 1)]
        return torch.stack(each, -2)

    sums, pairs = products(off), products(on)
    r = sums / sums[..., :1, :]
    return torch.where(pairs > 0, r, torch.nan), pairs


def _statistic(flat: bool, value: Tensor, p_value: Tensor, *df: Tensor) -> Statistic:
    if flat:
        value, p_value = value[..., 0], p_value[..., 0]
        df = tuple(d[..., 0] for d in df)
    return Statistic(value, p_value, df)
